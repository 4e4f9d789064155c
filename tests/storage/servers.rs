//! Servers that `tests/support/store-servers` installs: found, started on a free port, ended with their test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use kanbu_backup::pg::process::{Child, Program};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any of them takes to begin on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program in the directory of installed servers.
pub(crate) fn installed(path: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/test-tools")
        .join(path);
    assert!(
        program.exists(),
        "{} is not installed: run `tests/support/store-servers install`, or `./test storage`, which does it",
        program.display()
    );
    program
}

/// A server at work. Dropping it kills it.
pub(crate) struct Server {
    _child: Child,
    _directory: TempDir,
    pub(crate) port: u16,
}

impl Server {
    /// Starts what `program` makes of a port and a directory, and waits until it listens.
    pub(crate) async fn start(program: impl Fn(u16, &Path) -> Program) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // RACE: between our closing the port and the server's opening it somebody else may take it; the server then ends.
        for _ in 0..5 {
            let port = free_port();
            let child = program(port, directory.path())
                .without_stdout()
                .spawn()
                .unwrap();
            let listens = async {
                while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    let _ = timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
                }
            };
            tokio::select! {
                listening = timeout(PATIENCE, listens) => {
                    listening.unwrap_or_else(|_| panic!("no server: {}", child.stderr_tail()));
                    return Self { _child: child, _directory: directory, port };
                }
                ended = child.wait() => eprintln!("a server ended at once: {ended:?} {}", child.stderr_tail()),
            }
        }
        panic!("the server ends whenever it is started")
    }

    /// One plain request, and the whole answer as text.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, String)]) -> String {
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{}content-length: 0\r\nconnection: close\r\n\r\n",
            self.port,
            headers.concat()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
