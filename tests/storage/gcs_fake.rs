//! What the XML interface of Google Cloud Storage answers, for one bucket named `backups`, in memory.
//!
//! Only what `object_store` asks, checked for what it must say: an object's generation decides whether it may be created,
//! an upload without parts can't be completed, and a range is a range of the object there is.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::{net::TcpListener, task::JoinHandle};

#[derive(Default)]
struct Shelf {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    begun: u64,
}

/// Ends when dropped.
pub(crate) struct GcsFake {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    serving: JoinHandle<()>,
}

impl Drop for GcsFake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl GcsFake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = Arc::clone(&shelf);
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let shelf = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |request| {
                    let shelf = Arc::clone(&shelf);
                    async move { Ok::<_, Infallible>(answer(request, &shelf).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        Self {
            address,
            shelf,
            serving,
        }
    }

    pub(crate) fn url(&self, bucket: &str) -> String {
        let address = self.address;
        format!("gs://{bucket}/below?endpoint=http://{address}&login=nobody")
    }

    pub(crate) fn objects(&self) -> usize {
        self.shelf.lock().unwrap().objects.len()
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.shelf.lock().unwrap().uploads.len()
    }
}

type Answer = Response<Full<Bytes>>;

fn said(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

fn refused(status: StatusCode, code: &str) -> Answer {
    let text = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    said(status, text)
}

async fn answer(request: Request<Incoming>, shelf: &Mutex<Shelf>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = percent_decode_str(head.uri.path()).decode_utf8().unwrap();
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
    let mut shelf = shelf.lock().unwrap();
    let Some(name) = path.strip_prefix("/backups") else {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    };
    let name = name.trim_start_matches('/').to_owned();
    let upload = query.get("uploadId");
    match (&head.method, upload) {
        (&Method::GET, _) if name.is_empty() => shelf.list(&query["prefix"]),
        (&Method::GET | &Method::HEAD, _) => shelf.get(&name, header("range")),
        (&Method::PUT, Some(upload)) => {
            shelf.put_part(upload, query["partNumber"].parse().unwrap(), body)
        }
        (&Method::PUT, None) => {
            let must_be_new = header("x-goog-if-generation-match").as_deref() == Some("0");
            shelf.put(name, body, must_be_new)
        }
        (&Method::POST, Some(upload)) => shelf.complete(name, upload),
        (&Method::POST, None) => shelf.begin(),
        (&Method::DELETE, Some(upload)) => match shelf.uploads.remove(upload) {
            Some(_) => said(StatusCode::NO_CONTENT, String::new()),
            None => refused(StatusCode::NOT_FOUND, "NoSuchUpload"),
        },
        (&Method::DELETE, None) => match shelf.objects.remove(&name) {
            Some(_) => said(StatusCode::NO_CONTENT, String::new()),
            None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        (method, _) => panic!("nobody asked for {method} {path}"),
    }
}

impl Shelf {
    fn put(&mut self, name: String, body: Bytes, must_be_new: bool) -> Answer {
        if must_be_new && self.objects.contains_key(&name) {
            return refused(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        self.objects.insert(name, body);
        tagged(said(StatusCode::OK, String::new()))
    }

    fn begin(&mut self) -> Answer {
        self.begun += 1;
        let id = format!("upload-{}", self.begun);
        self.uploads.insert(id.clone(), BTreeMap::new());
        said(
            StatusCode::OK,
            format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ),
        )
    }

    fn put_part(&mut self, upload: &str, number: u32, body: Bytes) -> Answer {
        match self.uploads.get_mut(upload) {
            Some(parts) => {
                parts.insert(number, body);
                tagged(said(StatusCode::OK, String::new()))
            }
            None => refused(StatusCode::NOT_FOUND, "NoSuchUpload"),
        }
    }

    fn complete(&mut self, name: String, upload: &str) -> Answer {
        let Some(parts) = self.uploads.remove(upload) else {
            return refused(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        assert!(!parts.is_empty(), "google refuses an upload without parts");
        let parts: Vec<Bytes> = parts.into_values().collect();
        self.objects.insert(name, parts.concat().into());
        said(
            StatusCode::OK,
            "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>"
                .to_owned(),
        )
    }

    fn get(&self, name: &str, range: Option<String>) -> Answer {
        let Some(whole) = self.objects.get(name) else {
            return refused(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let Some(range) = range else {
            let mut answer = tagged(Response::new(Full::from(whole.clone())));
            // Also to HEAD, and for an object without a byte.
            let headers = answer.headers_mut();
            headers.insert("content-length", whole.len().into());
            return answer;
        };
        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        if start >= whole.len() {
            return refused(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        let end = whole.len().min(end.parse::<usize>().unwrap() + 1);
        let mut answer = tagged(Response::new(Full::from(whole.slice(start..end))));
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let told = format!("bytes {start}-{}/{}", end - 1, whole.len());
        answer
            .headers_mut()
            .insert("content-range", told.parse().unwrap());
        answer
    }

    fn list(&self, prefix: &str) -> Answer {
        let found = self
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let contents: Vec<String> = found
            .map(|(name, body)| {
                let bytes = body.len();
                format!(
                    "<Contents><Key>{name}</Key><Size>{bytes}</Size><ETag>\"{bytes}\"</ETag>\
                     <LastModified>2026-01-18T10:30:00.000Z</LastModified></Contents>"
                )
            })
            .collect();
        let contents = contents.concat();
        said(
            StatusCode::OK,
            format!("<ListBucketResult>{contents}</ListBucketResult>"),
        )
    }
}

/// With the headers that an object has.
fn tagged(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert("etag", "\"tag\"".parse().unwrap());
    headers.insert("x-goog-generation", "1".parse().unwrap());
    headers.insert(
        "last-modified",
        "Sun, 18 Jan 2026 10:30:00 GMT".parse().unwrap(),
    );
    answer
}
