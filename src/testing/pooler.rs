//! A PgBouncer for the tests, in transaction mode and with so few server connections that what belongs together is torn
//! apart: whoever comes next gets the connection that was used longest ago.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::{interval, timeout};

use super::{ScratchDirectory, TestServer};
use crate::pg::process::{Child, Program, Signal, Unprivileged};

/// Between a client and a server whose connections it lends for one transaction at a time. Ends with its owner.
#[derive(Debug)]
pub struct Pooler {
    url: String,
    child: Child,
    directory: ScratchDirectory,
    runner: Option<Unprivileged>,
}

const SERVER_CONNECTIONS: usize = 2;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(40);

impl Pooler {
    /// In front of the database at this address, with as many server connections as [`on_each_server`] speaks to.
    /// `settings` are lines of its configuration.
    ///
    /// [`on_each_server`]: Self::on_each_server
    pub async fn before(url: &str, settings: &str) -> Self {
        let directory = ScratchDirectory::new();
        let runner = unprivileged().await;
        let place = directory.path().join("pooler");
        let ini = place.join("pgbouncer.ini");
        fs::create_dir(&place).expect("a directory for the pooler");
        fs::write(&ini, configuration(&place, url, settings)).expect("its configuration");
        fs::set_permissions(&ini, Permissions::from_mode(0o600)).expect("its mode");
        if let Some(runner) = &runner {
            for path in [&place, &ini] {
                chown(path, Some(runner.uid), Some(runner.gid)).expect("to give it away");
            }
        }
        let pooler = Self {
            url: format!(
                "postgres://anybody@localhost:{PORT}/pooled?host={}",
                place.display()
            ),
            child: start(&directory, runner.clone()),
            directory,
            runner,
        };
        pooler.until_it_answers().await;
        pooler
    }

    /// The address of the database by way of the pooler.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it, with whatever was on its way, and starts it again at the same address.
    pub async fn restart(&mut self) {
        self.child.signal(Signal::KILL);
        self.child.wait().await.expect("its end");
        self.child = start(&self.directory, self.runner.clone());
        self.until_it_answers().await;
    }

    /// What a stranger is told who asks the same on each of the server connections, without preparing anything.
    pub async fn on_each_server(&self, sql: &str) -> Vec<String> {
        let mut told = Vec::new();
        let mut held = Vec::new();
        for _ in 0..SERVER_CONNECTIONS {
            let mut connection = self.connect().await.expect("a connection to the pooler");
            let begun = sqlx::raw_sql("begin").execute(&mut connection).await;
            begun.expect("a server connection");
            let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
                .fetch_all(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            told.extend(rows.iter().map(|row| row.get::<String, _>(0)));
            held.push(connection);
        }
        for mut connection in held {
            let ended = sqlx::raw_sql("commit").execute(&mut connection).await;
            ended.expect("the end of a stranger's transaction");
        }
        told
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let options: PgConnectOptions = self.url.parse()?;
        let mut connection = options.extra_float_digits(None).connect().await?;
        sqlx::raw_sql("select 1").execute(&mut connection).await?;
        Ok(connection)
    }

    async fn until_it_answers(&self) {
        let answer = async {
            let mut ticks = interval(Duration::from_millis(20));
            while self.connect().await.is_err() {
                ticks.tick().await;
            }
        };
        tokio::select! {
            answer = timeout(PATIENCE, answer) => answer.expect("an answer of the pooler"),
            end = self.child.wait() => panic!("{end:?}: {}", self.child.stderr_tail()),
        }
    }
}

/// The number in its socket's name.
const PORT: u16 = 6432;

fn start(directory: &ScratchDirectory, runner: Option<Unprivileged>) -> Child {
    Program::new(program())
        .user(runner)
        .arg(directory.path().join("pooler/pgbouncer.ini"))
        .without_stdout()
        .spawn()
        .expect("a pooler")
}

/// Debian keeps it where only root looks.
fn program() -> PathBuf {
    let places = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
    ];
    let found = places
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
    found.expect("PgBouncer (Debian, Ubuntu: apt-get install pgbouncer)")
}

fn configuration(place: &Path, url: &str, settings: &str) -> String {
    let server = url::Url::parse(url).expect("the server's address");
    format!(
        "[databases]
pooled = host={host} port={port} dbname={name} user={user} password={password}
[pgbouncer]
listen_addr =
listen_port = {PORT}
unix_socket_dir = {place}
auth_type = any
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
server_round_robin = 1
server_login_retry = 1
max_client_conn = 400
{settings}
",
        host = server.host_str().unwrap_or_default(),
        port = server.port().unwrap_or_default(),
        name = server.path().trim_start_matches('/'),
        user = server.username(),
        password = server.password().unwrap_or_default(),
        place = place.display(),
    )
}

/// For root, who may not run it: whoever the server runs as.
async fn unprivileged() -> Option<Unprivileged> {
    let data = TestServer::shared().await.directory.server().join("data");
    let data = fs::metadata(data).expect("the server's data");
    geteuid().is_root().then(|| Unprivileged {
        name: "pooler".to_owned(),
        uid: data.uid(),
        gid: data.gid(),
    })
}
