//! A Docker socket that loses the ends of streams, as a network or a restarting proxy does.

use std::path::{Path, PathBuf};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{UnixListener, UnixStream},
};

/// What is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// A connection ends after so many bytes of answers, wherever that is.
    After(usize),
    /// A stream ends in front of this text in its standard output. Every frame before it is whole.
    Before(&'static str),
}

/// Serves on a new socket in the directory until the runtime ends, and hands everything on to the engine's.
pub(crate) fn serve(directory: &Path, engine: &Path, cut: Cut) -> PathBuf {
    let path = directory.join("cut.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let engine = engine.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&engine).await.unwrap();
            tokio::spawn(forward(client, server, Cutter::new(cut)));
        }
    });
    path
}

/// Ends both connections when the cut was made or one side ended.
async fn forward(client: UnixStream, server: UnixStream, mut cutter: Cutter) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut chunk).await {
            let (ready, over) = cutter.pass(&chunk[..read]);
            if to_client.write_all(&ready).await.is_err() || over {
                return;
            }
        }
        let _ = to_client.write_all(&cutter.rest()).await;
    };
    tokio::select! {
        () = answers => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}

/// What of one connection's answers is handed on.
struct Cutter {
    cut: Cut,
    passed: usize,
    /// The connection is a stream of frames.
    streams: bool,
    /// The beginning of a frame, or of the head of an answer.
    waiting: Vec<u8>,
    /// Standard output that may be the beginning of the text.
    held: Vec<u8>,
}

impl Cutter {
    fn new(cut: Cut) -> Self {
        Self {
            cut,
            passed: 0,
            streams: false,
            waiting: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The bytes to hand on, and whether nothing follows.
    fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        match self.cut {
            Cut::After(limit) => {
                let kept = bytes.len().min(limit - self.passed);
                self.passed += kept;
                (bytes[..kept].to_vec(), self.passed == limit)
            }
            Cut::Before(text) => {
                self.waiting.extend_from_slice(bytes);
                self.pass_frames(text)
            }
        }
    }

    fn pass_frames(&mut self, text: &str) -> (Vec<u8>, bool) {
        let mut ready = Vec::new();
        if !self.streams {
            let upgrade =
                find(&self.waiting, b"HTTP/1.1 101").map(|_| find(&self.waiting, b"\r\n\r\n"));
            match upgrade {
                None => return (std::mem::take(&mut self.waiting), false),
                Some(None) => return (ready, false),
                Some(Some(end)) => ready.extend(self.waiting.drain(..end + 4)),
            }
            self.streams = true;
        }
        while let Some(length) = self
            .waiting
            .get(4..8)
            .map(|length| u32::from_be_bytes(length.try_into().unwrap()))
        {
            let end = 8 + usize::try_from(length).unwrap();
            if self.waiting.len() < end {
                break;
            }
            let whole: Vec<u8> = self.waiting.drain(..end).collect();
            if whole[0] != 1 {
                ready.extend(whole);
                continue;
            }
            self.held.extend_from_slice(&whole[8..]);
            if let Some(at) = find(&self.held, text.as_bytes()) {
                ready.extend(frame(&self.held[..at]));
                return (ready, true);
            }
            let safe = self.held.len().saturating_sub(text.len());
            ready.extend(frame(&self.held[..safe]));
            self.held.drain(..safe);
        }
        (ready, false)
    }

    /// What was held back, when the server ends the connection.
    fn rest(&self) -> Vec<u8> {
        frame(&self.held)
    }
}

/// Standard output as a frame; nothing for nothing.
fn frame(payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() {
        return Vec::new();
    }
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [[1, 0, 0, 0].as_slice(), &length, payload].concat()
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
