//! A fake of Google Drive's v3 API with faults, in this process and on loopback.
//!
//! It is stricter than Google: what a client must not do is written down as a breach, and a test ends by seeing that there
//! is none, and that no upload session was left open.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use hyper::{
    Request, Response, body::Incoming, header::RETRY_AFTER, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kanbu_backup::storage::gdrive::{Credentials, DriveConfig, GoogleDrive, Patience};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use super::{
    api::{Body, Call, State, refusal},
    shelf::ROOT,
};

pub(crate) const CLIENT_SECRET: &str = "client-secret-hunter2";
pub(crate) const REFRESH_TOKEN: &str = "refresh-token-hunter2";
pub(crate) const GRAIN: u64 = 256 * 1024;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Token,
    Search,
    Look,
    Read,
    MakeFolder,
    Open,
    /// A piece of an upload that isn't its last.
    Piece,
    /// The last one.
    Finish,
    Ask,
    Cancel,
    Remove,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Status(u16, &'static str),
    RetryAfter(u64),
    /// The connection is cut half-way through the request's body, of which whole grains are kept.
    CutInside,
    /// All is done, and the connection is cut before the answer.
    AnswerLost,
    Hang,
    /// Of a piece only this many grains are kept.
    Keep(u64),
    /// What is stored isn't what was sent.
    Garble,
    /// Somebody else's file of the same name was there first.
    OlderRival,
    /// Somebody else's file of the same name comes a moment later.
    YoungerRival,
    /// A search finds nothing.
    Blind,
    /// The connection is cut in the middle of the answer.
    CutAnswer,
    /// The answer ends early, and says that this is all.
    Short,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) verb: Verb,
    pub(super) after: u64,
    pub(super) times: u64,
    pub(super) trouble: Trouble,
}

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) verb: Verb,
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
}

pub(crate) struct FakeDrive {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

type Answer = Result<Response<Body>, Cut>;

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub(crate) struct Cut;

impl Drop for FakeDrive {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeDrive {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request| serve(Arc::clone(&state), request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
        Self {
            address,
            state,
            server,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}/{path}", self.address).parse().unwrap()
    }

    pub(crate) fn credentials() -> Credentials {
        Credentials::refresh_token("client", CLIENT_SECRET, REFRESH_TOKEN)
    }

    pub(crate) fn config(&self, credentials: Credentials) -> DriveConfig {
        let mut config = DriveConfig::new(ROOT, credentials).unwrap();
        config.api = self.url("");
        config.token_url = self.url("token");
        config.patience = Patience {
            answer_within: Duration::from_secs(40),
            retries: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(4),
            ..Patience::default()
        };
        config
    }

    pub(crate) fn store(&self) -> GoogleDrive {
        GoogleDrive::new(self.config(Self::credentials())).unwrap()
    }

    /// The next request of a kind meets this trouble.
    pub(crate) fn trouble(&self, verb: Verb, trouble: Trouble) {
        self.troubles(verb, 0, 1, trouble);
    }

    /// After some requests of a kind, some meet this trouble.
    pub(crate) fn troubles(&self, verb: Verb, after: u64, times: u64, trouble: Trouble) {
        self.state().faults.push(Fault {
            verb,
            after,
            times,
            trouble,
        });
    }

    /// All troubles are over.
    pub(crate) fn mend(&self) {
        self.state().faults.clear();
    }

    pub(crate) fn count(&self, verb: Verb) -> usize {
        self.seen(verb).len()
    }

    pub(crate) fn seen(&self, verb: Verb) -> Vec<Seen> {
        let state = self.state();
        state
            .seen
            .iter()
            .filter(|seen| seen.verb == verb)
            .copied()
            .collect()
    }

    /// No access token that was given is good any more.
    pub(crate) fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Whoever gave consent takes it back.
    pub(crate) fn revoke(&self) {
        let mut state = self.state();
        state.revoked = true;
        state.tokens.clear();
    }

    /// The content of the one file at a path.
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        let ids = state.shelf.at(path);
        assert_eq!(ids.len(), 1, "{path}: {ids:?}");
        state.shelf.get(&ids[0]).unwrap().content.clone().unwrap()
    }

    /// The client kept to the protocol, and left nothing behind but files that were wanted.
    pub(crate) fn assert_clean(&self, objects: usize) {
        assert_eq!(self.state().breaches, [""; 0]);
        assert_eq!(self.state().orphans(), 0, "sessions were left");
        assert_eq!(self.state().shelf.objects(), objects, "files were left");
    }
}

async fn serve(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let call = Call::of(&head);
    let verb = call.verb();
    let trouble = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen {
            verb,
            at: Instant::now(),
            bytes: call.length,
        });
        if verb != Verb::Token && !state.admits(&call) {
            state.refused += 1;
            return Ok(refusal(401, "authError"));
        }
        state.next_trouble(verb)
    };
    let wanted = match trouble {
        Some(Trouble::CutInside) => call.length / 2,
        _ => call.length,
    };
    let body = first_of(body, wanted).await;
    match trouble {
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Status(status, reason)) => return Ok(refusal(status, reason)),
        Some(Trouble::RetryAfter(seconds)) => {
            let mut refusal = refusal(429, "rateLimitExceeded");
            refusal.headers_mut().insert(RETRY_AFTER, seconds.into());
            return Ok(refusal);
        }
        _ => {}
    }
    let answer = state.lock().unwrap().answer(verb, &call, body, trouble);
    match trouble {
        Some(Trouble::CutInside | Trouble::AnswerLost) => Err(Cut),
        _ => Ok(answer),
    }
}

/// The first bytes of a body.
async fn first_of(mut body: Incoming, wanted: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < wanted {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    bytes.truncate(usize::try_from(wanted).unwrap());
    bytes
}
