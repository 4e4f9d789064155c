//! Private servers and databases for the tests (feature `testing`).
//!
//! Whatever is started here ends with the test process, even one that is killed: servers die with their owner, and a
//! janitor that outlives both removes their files.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a world that can't be built fails its test"
)]

mod pooler;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use crate::{
    control::{ControlConfig, ControlDb},
    pg::{
        process::{Child, Program},
        server::{PrivateServer, ServerOptions},
        tools::{Toolset, find_toolsets},
    },
};

pub use self::pooler::Pooler;

/// A PostgreSQL for tests, without safety against crashes of the host.
#[derive(Debug)]
pub struct TestServer {
    server: PrivateServer,
    directory: ScratchDirectory,
}

/// One server for all tests of this process.
static SHARED: OnceCell<TestServer> = OnceCell::const_new();

/// A migrated database, from which [`control_db`] makes copies.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

impl TestServer {
    /// The server that all tests of this process share.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&[])).await
    }

    /// A server for one test, with settings of its own.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(ScratchDirectory::new(), settings).await
    }

    /// A server for one test, of these programs.
    pub async fn start_with(programs: Vec<Toolset>) -> Self {
        Self::start_of(ScratchDirectory::new(), programs, &[]).await
    }

    async fn start_in(directory: ScratchDirectory, settings: &[(&str, &str)]) -> Self {
        Self::start_of(directory, toolsets().await, settings).await
    }

    async fn start_of(
        directory: ScratchDirectory,
        programs: Vec<Toolset>,
        settings: &[(&str, &str)],
    ) -> Self {
        let base = ServerOptions::new(directory.server(), programs)
            .throwaway()
            .setting("max_connections", "400");
        let options = settings
            .iter()
            .fold(base, |options, (name, value)| options.setting(name, value));
        let server = PrivateServer::start(options).await;
        Self {
            server: server.expect("a private PostgreSQL for the tests"),
            directory,
        }
    }

    /// Kills the server and starts it again at the same address.
    pub async fn crashed_and_restarted(self) -> Self {
        let Self { server, directory } = self;
        kill_process(server.pid(), Signal::KILL).expect("a running server");
        server.ended().await;
        drop(server);
        Self::start_in(directory, &[]).await
    }

    /// The URL of its database `postgres`, as the superuser.
    pub fn url(&self) -> String {
        self.server.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        self.server.url_of(database)
    }

    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// An empty database whose name begins with the prefix, which must need no quotes.
    pub async fn database(&self, prefix: &str) -> TestDatabase {
        self.copy_of("template0", prefix).await
    }

    async fn copy_of(&self, template: &str, prefix: &str) -> TestDatabase {
        let mut random = [0; 6];
        getrandom::fill(&mut random).expect("random bytes");
        let name = format!("{prefix}_{}", hex::encode(random));
        let create = format!("create database {name} template {template}");
        let mut admin = PgConnection::connect(&self.url())
            .await
            .expect("a connection to the test server");
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut admin)
            .await
            .expect("a database on the test server");
        TestDatabase {
            url: self.url_of(&name),
            name,
            admin_url: self.url(),
        }
    }
}

/// A database of one test. Dropping it drops the database, connections or not.
#[derive(Debug)]
pub struct TestDatabase {
    pub url: String,
    pub name: String,
    admin_url: String,
}

impl TestDatabase {
    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.session().await.run(sql).await;
    }

    /// The rows of a query for one column of text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        self.session().await.texts(query).await
    }

    /// A connection to hold on to: what it locks stays locked until it is dropped.
    pub async fn session(&self) -> Session {
        let connection = PgConnection::connect(&self.url).await;
        Session(connection.expect("a connection to the test database"))
    }
}

/// One connection of a test.
#[derive(Debug)]
pub struct Session(PgConnection);

impl Session {
    /// Runs statements.
    pub async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.0)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The rows of a query for one column of text.
    pub async fn texts(&mut self, query: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(&mut self.0)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("drop database if exists {} with (force)", self.name);
        let url = self.admin_url.clone();
        // A thread and a runtime of its own, because the test's runtime may be ending. The server's end does the same.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime
                .block_on(async {
                    let mut admin = PgConnection::connect(&url).await?;
                    sqlx::query(AssertSqlSafe(drop)).execute(&mut admin).await
                })
                .map_err(std::io::Error::other)
        });
    }
}

/// A migrated control database of its own on the shared server.
pub async fn control_db() -> (TestDatabase, ControlDb) {
    let server = TestServer::shared().await;
    let template = TEMPLATE
        .get_or_init(|| async {
            let database = server.database("template").await;
            let db = connect(&database).await;
            db.migrate().await.expect("migrations apply");
            // Only a database without connections can be copied.
            db.close().await;
            let name = database.name.clone();
            // Kept for the whole process.
            std::mem::forget(database);
            name
        })
        .await;
    let database = server.copy_of(template, "control").await;
    let db = connect(&database).await;
    (database, db)
}

async fn connect(database: &TestDatabase) -> ControlDb {
    ControlDb::connect(&ControlConfig::new(&database.url, "test"))
        .await
        .expect("a control database")
}

/// The PostgreSQL programs of this host.
#[expect(
    clippy::disallowed_methods,
    reason = "tests use the PostgreSQL that the developer's shell finds"
)]
pub async fn toolsets() -> Vec<Toolset> {
    find_toolsets(&[], std::env::var_os("PATH").as_deref()).await
}

/// A directory that a server's user may pass through. A janitor removes it when its owner, and then the server in it,
/// have gone.
#[derive(Debug)]
pub struct ScratchDirectory {
    path: PathBuf,
    _janitor: Child,
}

/// Waits for the end of its input, which is our end, then for the server's lock.
const JANITOR: &str =
    r#"cat >/dev/null; mkdir -p "$0/server"; exec flock "$0/server/server.lock" rm -rf "$0""#;

impl ScratchDirectory {
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let path = tempfile::Builder::new()
            .prefix("kanbu-backup-test-")
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .expect("a scratch directory")
            .keep();
        let janitor = Program::new("/bin/sh")
            .args(["-c", JANITOR])
            .arg(&path)
            .piped_stdin()
            .without_stdout()
            .on_owner_death(None)
            .spawn()
            .expect("a janitor");
        Self {
            path,
            _janitor: janitor,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of the private server in it; the janitor waits for that one.
    pub fn server(&self) -> PathBuf {
        self.path.join("server")
    }
}
