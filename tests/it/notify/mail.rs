//! Mail by a real server: protected, with a login, to several people, and under its event's own id.

use std::path::{Path, PathBuf};

use kanbu_backup::pg::process::{Child, Program};
use serde_json::Value;
use tokio::net::TcpStream;

use super::*;

/// aiosmtpd at work. Dropping it kills it.
struct Server {
    _child: Child,
    directory: ScratchDirectory,
    port: u16,
}

fn support(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An authority of its own, and a certificate for `localhost` of its making.
async fn certify(directory: &ScratchDirectory) {
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\nextendedKeyUsage=serverAuth\\n' > extensions
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem";
    let program = Program::new("sh")
        .args(["-c", script])
        .directory(directory.path())
        .without_stdout();
    let child = program.spawn().unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{}", child.stderr_tail());
}

impl Server {
    async fn start(mode: &str) -> Self {
        let python = support("target/test-tools/smtp/bin/python");
        assert!(
            python.exists(),
            "no mail server is installed: run `tests/support/smtp-server install`, or `./test notify`"
        );
        let directory = ScratchDirectory::new();
        certify(&directory).await;
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            // RACE: somebody else may take the port before the server does; then it ends, and another one is tried.
            drop(free);
            let program = Program::new(&python)
                .arg(support("tests/support/smtp/server.py"))
                .args([mode, &port.to_string(), "server.pem", "server.key", "mails"])
                .directory(directory.path())
                .without_stdout();
            let child = program.spawn().unwrap();
            let listens = eventually("the mail server", async || {
                TcpStream::connect(("127.0.0.1", port)).await.ok()
            });
            tokio::select! {
                _ = listens => return Self { _child: child, directory, port },
                _ = child.wait() => {}
            }
        }
        panic!("the mail server ends whenever it is started")
    }

    /// A channel to this server.
    fn channel(&self, more: &str) -> String {
        format!(
            "[notify.post]\ntype = \"email\"\nhost = \"localhost\"\nport = {}\nfrom = \"Backups <backup@kanbu.test>\"\n\
             ca_file = \"{}\"\n{more}\n",
            self.port,
            self.directory.path().join("ca.pem").display()
        )
    }

    fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.path().join("mails")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const LOGIN: &str = "username = \"backup\"\npassword = \"c0rrect-horse\"";
const TO: &str = "to = [\"Admin One <one@kanbu.test>\", \"two@kanbu.test\"]";

async fn told(world: &World) -> (String, EventId) {
    let failure = Failure::new(
        Fault::Permanent,
        "test.failed",
        "the dump stopped: größe & \"quotes\"\nsecond line",
    );
    world.backup(Close::Failed(failure)).await;
    let event = world.newest_event().await;
    (world.until_deliveries(1).await.remove(0), event)
}

#[tokio::test]
async fn a_mail_goes_to_everybody_over_a_protected_connection() {
    for (mode, port) in [("starttls", "starttls"), ("tls", "tls")] {
        let server = Server::start(mode).await;
        let world = World::new(&server.channel(&format!("tls = \"{port}\"\n{LOGIN}\n{TO}"))).await;
        let worker = world.work();
        let (delivery, event) = told(&world).await;
        assert_eq!(
            delivery,
            "post delivered 1",
            "{:?}",
            world.texts("select error from kanbu_backup.delivery").await
        );
        let mail = server.mails().remove(0);
        assert_eq!(
            (&mail["tls"], &mail["login"]),
            (&Value::Bool(true), &Value::Bool(true))
        );
        assert_eq!(
            mail["to"],
            serde_json::json!(["one@kanbu.test", "two@kanbu.test"])
        );
        let content = mail["content"].as_str().unwrap();
        for line in [
            format!("Message-ID: <{event}@kanbu.test>"),
            "Subject: [test] Backup of database:kanbu failed".to_owned(),
            "Auto-Submitted: auto-generated".to_owned(),
        ] {
            assert!(
                content.lines().any(|had| had.trim_end() == line),
                "{line} is not in {content}"
            );
        }
        assert!(content.contains("text/plain; charset=utf-8"), "{content}");
        worker.go_home().await;
    }
}

#[tokio::test]
async fn a_server_that_can_not_be_trusted_gets_no_password() {
    let server = Server::start("starttls").await;
    // Without the authority, and under a name that the certificate isn't for.
    let strange = server
        .channel(&format!("{LOGIN}\n{TO}"))
        .replace("ca_file", "#");
    let misnamed = server
        .channel(&format!("{LOGIN}\n{TO}"))
        .replace("\"localhost\"", "\"127.0.0.1\"");
    // Nor does one that can't protect the connection at all.
    let plain = Server::start("plain").await;
    for channel in [strange, misnamed, plain.channel(&format!("{LOGIN}\n{TO}"))] {
        let world = World::new(&channel).await;
        let worker = world.work();
        let (delivery, _) = told(&world).await;
        assert_eq!(delivery, "post failed 1");
        worker.go_home().await;
    }
    assert_eq!((server.mails().len(), plain.mails().len()), (0, 0));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_mailbox_are_refused_for_good_and_a_grey_list_for_now() {
    let server = Server::start("starttls").await;
    let wrong = LOGIN.replace("c0rrect-horse", "wr0ng-h0rse");
    for (settings, expected, code) in [
        (
            format!("{wrong}\n{TO}"),
            "post gave_up 1",
            "notify.mail_refused",
        ),
        (
            format!("{LOGIN}\nto = \"nobody@kanbu.test\""),
            "post gave_up 1",
            "notify.mail_refused",
        ),
        (
            format!("{LOGIN}\nto = \"later@kanbu.test\""),
            "post failed 1",
            "notify.mail_refused",
        ),
    ] {
        let world = World::new(&server.channel(&settings)).await;
        let worker = world.work();
        let (delivery, _) = told(&world).await;
        let error = world
            .text("select error_code || ' ' || error from kanbu_backup.delivery")
            .await;
        assert_eq!(delivery, expected, "{error}");
        assert!(
            error.starts_with(code) && !error.contains("h0rse") && !error.contains("horse"),
            "{error}"
        );
        worker.go_home().await;
    }
    assert_eq!(server.mails().len(), 0);
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_is_left_and_tried_again() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = format!(
        "[notify.post]\ntype = \"email\"\nhost = \"localhost\"\nport = {}\nfrom = \"a@b.test\"\n{TO}\n",
        silent.local_addr().unwrap().port()
    );
    let world = World::new(&channel).await;
    let worker = world.work();
    let (delivery, _) = told(&world).await;
    assert_eq!(delivery, "post failed 1");
    assert_eq!(
        world
            .text("select error_code from kanbu_backup.delivery")
            .await,
        "notify.timed_out"
    );
    worker.go_home().await;
}

#[tokio::test]
async fn an_unprotected_mail_is_sent_only_where_somebody_says_so() {
    let server = Server::start("plain").await;
    let world = World::new(&server.channel(&format!("tls = \"none\"\n{TO}"))).await;
    let worker = world.work();
    let (delivery, _) = told(&world).await;
    assert_eq!(delivery, "post delivered 1");
    assert_eq!(server.mails()[0]["tls"], false);
    worker.go_home().await;
}
