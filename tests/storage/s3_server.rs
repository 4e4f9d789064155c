//! An S3 server within the test: s3s over a temporary directory, in which a bucket is a directory and an object a file,
//! with faults in front of it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Request, Response, StatusCode, body::Frame, body::Incoming};
use hyper_util::rt::TokioIo;
use kanbu_backup::storage::{
    CredentialWord, Credentials, Pace, Place, Role, Storage, StorageConfig, Terms,
};
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

use crate::things::open;

pub(crate) const BUCKET: &str = "backups";
const KEY: &str = "AKIATEST";
const SECRET: &str = "not-a-secret";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Begin,
    Part,
    Complete,
    Abort,
    Put,
    Get,
    Head,
    List,
    Delete,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is answered with an error at once, and nothing is done.
    Refused { status: u16, code: &'static str },
    /// It is never answered, and nothing is done.
    Hangs,
    /// It is done only after this time.
    Waits(Duration),
    /// The connection ends, and nothing is done.
    Cut,
    /// It is done, and the connection ends without an answer.
    Unanswered,
    /// The connection ends in the middle of the answer.
    CutAnswer,
    /// It is done, and all that is told is right; but the object is cut in half behind its back.
    Halved,
}

/// Which requests meet with a fate: those that ask for one of these, from the nth on, counted from 0.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) asks: &'static [Asks],
    pub(crate) from: u64,
    pub(crate) times: u64,
    pub(crate) fate: Fate,
}

impl Fault {
    /// All of them, for ever.
    pub(crate) fn always(asks: &'static [Asks], fate: Fate) -> Self {
        Self {
            asks,
            from: 0,
            times: u64::MAX,
            fate,
        }
    }
}

/// Everything a storage asks.
pub(crate) const ANYTHING: &[Asks] = &[
    Asks::Begin,
    Asks::Part,
    Asks::Complete,
    Asks::Abort,
    Asks::Put,
    Asks::Get,
    Asks::Head,
    Asks::List,
    Asks::Delete,
];

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    /// Requests that the fault's kinds had since it is set.
    met: AtomicU64,
    requests: Mutex<Vec<Asks>>,
    /// Those that hang and that somebody still waits for.
    hanging: Mutex<Vec<Asks>>,
    /// The names of objects that are, or were, to come of uploads, by the uploads' ids.
    uploads: Mutex<BTreeMap<String, String>>,
}

/// A request that hangs, until whoever asked goes away.
struct Hanging<'a>(&'a State, Asks);

impl<'a> Hanging<'a> {
    fn begin(state: &'a State, asks: Asks) -> Self {
        state.hanging.lock().unwrap().push(asks);
        Self(state, asks)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        let mut hanging = self.0.hanging.lock().unwrap();
        let place = hanging.iter().position(|asks| *asks == self.1);
        hanging.swap_remove(place.unwrap());
    }
}

/// Ends when dropped.
pub(crate) struct S3Server {
    directory: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

/// A storage behind any such server.
pub(crate) fn storage_at(url: &str, secret: &str, pace: Pace) -> Storage {
    let credentials = [
        (CredentialWord::AccessKeyId, KEY.to_owned()),
        (CredentialWord::SecretAccessKey, secret.to_owned()),
    ];
    open(url, credentials, pace)
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(directory.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let files = directory.path().join(BUCKET);
        let serving = tokio::spawn(serve(listener, service, Arc::clone(&state), files));
        Self {
            directory,
            address,
            state,
            serving,
        }
    }

    /// Where the objects of [`url`](Self::url) lie as files.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join(BUCKET).join("a b")
    }

    /// Its bucket, below a prefix, with these options more.
    pub(crate) fn url(&self, options: &str) -> String {
        let address = self.address;
        format!("s3://{BUCKET}/a%20b?endpoint=http://{address}&list_uploads=false{options}")
    }

    pub(crate) fn storage(&self, pace: Pace) -> Storage {
        storage_at(&self.url(""), SECRET, pace)
    }

    /// The same with what a run needs of it.
    pub(crate) fn storage_as(&self, name: &str, role: Role, terms: Terms, pace: Pace) -> Storage {
        let credentials = Credentials::default()
            .with(CredentialWord::AccessKeyId, KEY)
            .with(CredentialWord::SecretAccessKey, SECRET);
        let address = self.address;
        let url = format!("s3://{BUCKET}/set?endpoint=http://{address}");
        let bucket = Place::parse(&url).unwrap();
        let config = StorageConfig {
            name: name.parse().unwrap(),
            role,
            place: bucket.with_credentials(credentials).unwrap(),
            terms,
        };
        Storage::open_at(&config, pace).unwrap()
    }

    pub(crate) fn fails(&self, fault: Fault) {
        self.state.met.store(0, Ordering::Relaxed);
        *self.state.fault.lock().unwrap() = Some(fault);
    }

    pub(crate) fn is_well_again(&self) {
        *self.state.fault.lock().unwrap() = None;
    }

    /// How often it was asked for this.
    pub(crate) fn count(&self, asks: Asks) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|met| **met == asks).count()
    }

    /// What it was asked for after it was last asked for `this`.
    pub(crate) fn asked_since(&self, this: Asks) -> Vec<Asks> {
        let requests = self.state.requests.lock().unwrap();
        let last = requests.iter().rposition(|met| *met == this);
        requests[last.map_or(0, |last| last + 1)..].to_vec()
    }

    /// How many requests for this hang while somebody still waits for their answers.
    pub(crate) fn hanging(&self, asks: Asks) -> usize {
        let hanging = self.state.hanging.lock().unwrap();
        hanging.iter().filter(|met| **met == asks).count()
    }

    /// Everything that lies in its bucket as an object.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.path().join(BUCKET)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// The files of uploads that were begun and neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // What the server notes of finished objects lies beside them.
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

async fn serve(listener: TcpListener, service: S3Service, state: Arc<State>, files: PathBuf) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (service, state, files) = (service.clone(), Arc::clone(&state), files.clone());
        let answer = move |request| {
            let (service, state, files) = (service.clone(), Arc::clone(&state), files.clone());
            async move { answer(request, &service, &state, &files).await }
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), hyper::service::service_fn(answer));
        tokio::spawn(connection);
    }
}

/// The connection is to end.
#[derive(Debug, thiserror::Error)]
#[error("the test cuts the connection")]
struct CutOff;

async fn answer(
    request: Request<Incoming>,
    service: &S3Service,
    state: &State,
    files: &std::path::Path,
) -> Result<Response<Body>, CutOff> {
    let path = request.uri().path().to_owned();
    let fate = fate_of(&request, state);
    match &fate {
        Some(Fate::Refused { status, code }) => {
            let refused = refusal(*status, code, &request);
            // An answer that overtakes the request would be lost with the connection.
            let _all = request.into_body().collect().await;
            return Ok(refused);
        }
        Some(Fate::Hangs) => {
            let asks = asked(request.method(), request.uri().query().unwrap_or_default());
            let _waiting = Hanging::begin(state, asks);
            future::pending::<()>().await;
        }
        Some(Fate::Waits(time)) => {
            let _ = timeout(*time, future::pending::<Infallible>()).await;
        }
        Some(Fate::Cut) => return Err(CutOff),
        _ => {}
    }
    let begins = asked(request.method(), request.uri().query().unwrap_or_default()) == Asks::Begin;
    if *request.method() == Method::GET
        && request.uri().query().is_some_and(|q| q.contains("uploads"))
    {
        return Ok(list_of_uploads(state, files));
    }
    let done = hyper::service::Service::call(service, request).await;
    let mut done = done.map_err(|_| CutOff)?;
    if begins {
        done = noted(done, &path, state).await;
    }
    match fate {
        Some(Fate::Unanswered) => Err(CutOff),
        Some(Fate::CutAnswer) => Ok(cut_in_half(done).await),
        Some(Fate::Halved) => {
            halve(files, &path);
            Ok(done)
        }
        _ => Ok(done),
    }
}

fn fate_of(request: &Request<Incoming>, state: &State) -> Option<Fate> {
    let asks = asked(request.method(), request.uri().query().unwrap_or_default());
    state.requests.lock().unwrap().push(asks);
    let fault = state.fault.lock().unwrap();
    let fault = fault.as_ref().filter(|fault| fault.asks.contains(&asks))?;
    let number = state.met.fetch_add(1, Ordering::Relaxed);
    let within = number >= fault.from && number - fault.from < fault.times;
    within.then(|| fault.fate.clone())
}

fn asked(method: &Method, query: &str) -> Asks {
    let has = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    match *method {
        Method::POST if has("uploads") => Asks::Begin,
        Method::POST if has("uploadId") => Asks::Complete,
        Method::PUT if has("uploadId") => Asks::Part,
        Method::DELETE if has("uploadId") => Asks::Abort,
        Method::POST | Method::DELETE => Asks::Delete,
        Method::PUT => Asks::Put,
        Method::HEAD => Asks::Head,
        _ if has("list-type") => Asks::List,
        _ => Asks::Get,
    }
}

fn refusal(status: u16, code: &str, request: &Request<Incoming>) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    );
    let body = if request.method() == Method::HEAD {
        Body::empty()
    } else {
        Body::from(text)
    };
    let status = StatusCode::from_u16(status).unwrap();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The head of an answer, half of its body, and the end of the connection.
async fn cut_in_half(answer: Response<Body>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let whole = BodyExt::collect(body).await.unwrap().to_bytes();
    let half = stream::iter([Ok(Frame::data(whole.slice(..whole.len() / 2))), Err(CutOff)]);
    let body = StreamBody::new(half.then(future::ready::<Result<Frame<Bytes>, CutOff>>));
    Response::from_parts(parts, Body::http_body(body))
}

/// The server can't list unfinished uploads, so that what it answers to their beginnings is kept in mind.
async fn noted(answer: Response<Body>, path: &str, state: &State) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let whole = BodyExt::collect(body).await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&whole).into_owned();
    if let Some((_, rest)) = text.split_once("<UploadId>") {
        let id = rest.split('<').next().unwrap().to_owned();
        let key = path.trim_start_matches(&format!("/{BUCKET}/"));
        let key = percent_encoding::percent_decode_str(key)
            .decode_utf8()
            .unwrap();
        state.uploads.lock().unwrap().insert(id, key.into_owned());
    }
    Response::from_parts(parts, Body::from(text))
}

fn list_of_uploads(state: &State, files: &std::path::Path) -> Response<Body> {
    let root = files.parent().unwrap();
    let uploads = state.uploads.lock().unwrap();
    let unfinished = uploads
        .iter()
        .filter(|(id, _)| root.join(format!(".upload-{id}.json")).exists());
    let listed: Vec<String> = unfinished
        .map(|(id, key)| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"))
        .collect();
    let listed = listed.concat();
    Response::new(Body::from(format!(
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{listed}</ListMultipartUploadsResult>"
    )))
}

fn halve(files: &std::path::Path, path: &str) {
    let path = path.trim_start_matches(&format!("/{BUCKET}/"));
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(files.join(path.as_ref()))
        .unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}
