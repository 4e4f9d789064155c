//! An HTTP receiver that answers as it is told: with a status, not at all, half, for ever, or from elsewhere.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// How one request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// With headers and a body.
    Full(u16, Vec<(String, String)>, String),
    /// The connection stays open, and nothing comes.
    Hang,
    /// The connection ends without a word.
    Cut,
    /// A status, and then a body without an end.
    Endless(u16),
}

/// What somebody sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<Answer>>,
    sent: Mutex<Vec<Sent>>,
    came: Notify,
}

/// Listens until the runtime ends.
pub(crate) struct Receiver {
    state: Arc<State>,
    pub(crate) port: u16,
}

impl Receiver {
    /// Answers with these, one after the other, and then with 200.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            answers: Mutex::new(answers.into_iter().collect()),
            ..State::default()
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { serve(stream, &state).await });
            }
        });
        Self { state, port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn will(&self, answer: Answer) {
        self.state.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.state.sent.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Sent> {
        let coming = async {
            loop {
                let came = self.state.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let sent = self.sent();
                if sent.len() >= count {
                    return sent;
                }
                came.await;
            }
        };
        tokio::time::timeout(super::PATIENCE, coming)
            .await
            .unwrap_or_else(|_| panic!("{} of {count} requests came", self.sent().len()))
    }
}

async fn serve(mut stream: TcpStream, state: &State) {
    let Some(sent) = read(&mut stream).await else {
        return;
    };
    let answer = state.answers.lock().unwrap().pop_front();
    state.sent.lock().unwrap().push(sent);
    state.came.notify_waiters();
    match answer.unwrap_or(Answer::Status(200)) {
        Answer::Status(status) => say(&mut stream, status, &[], "").await,
        Answer::Full(status, headers, body) => say(&mut stream, status, &headers, &body).await,
        Answer::Hang => std::future::pending().await,
        Answer::Cut => {}
        Answer::Endless(status) => {
            let head = format!("HTTP/1.1 {status} Some\r\ntransfer-encoding: chunked\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
    }
}

async fn say(stream: &mut TcpStream, status: u16, headers: &[(String, String)], body: &str) {
    let headers: String = headers
        .iter()
        .map(|(name, value)| [name, ": ", value, "\r\n"].concat())
        .collect();
    let answer = format!(
        "HTTP/1.1 {status} Some\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Sent> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some(Sent {
        method,
        path,
        headers,
        body,
    })
}
