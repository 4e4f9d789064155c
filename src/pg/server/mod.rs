//! A private PostgreSQL, started from installed server binaries: that of `up` for the control database, and a throw-away one
//! for each test restore.
//!
//! Never two servers on one directory, never one as root, and none that outlives its owner. It listens on loopback, on a
//! free port, or only on a socket in its own directory, and asks for a password that only the directory's owner can read.
//! Its data survives the death of either process at any moment, unless it is to be thrown away. [`discover`] is how a verb
//! in another process finds it. `place` knows the directory, `launch` the programs.

mod error;
mod launch;
mod place;

use std::{
    fmt, fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::timeout;

pub use self::{
    error::ServerError,
    place::{Owned, SCRATCH},
};
use self::{
    launch::Launch,
    place::{Connection, Place, files},
};
use super::{
    process::{Child, Pid, ProcessError, Signal},
    tools::Toolset,
};

/// The role that owns everything in the private server.
const USER: &str = "kanbu_backup";

/// The database that is in it from the start: of `up`, the control database.
const DATABASE: &str = "kanbu_backup";

/// How long an orderly shutdown may take before it is made an immediate one.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How long an orphaned server may take to end.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    directory: PathBuf,
    toolsets: Vec<Toolset>,
    settings: Vec<(String, String)>,
    throwaway: bool,
    socket_only: bool,
    orphan_patience: Duration,
}

impl ServerOptions {
    /// A server on a directory of its own, which is made if it is missing; its binaries are chosen among the toolsets: for
    /// new data the newest, else those that made the data.
    pub fn new(directory: impl Into<PathBuf>, toolsets: Vec<Toolset>) -> Self {
        Self {
            directory: directory.into(),
            toolsets,
            settings: Vec::new(),
            throwaway: false,
            socket_only: false,
            orphan_patience: ORPHAN_PATIENCE,
        }
    }

    /// Adds a setting of `postgresql.conf`, which overrules ours.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Speed over safety: nothing is flushed to disk (what is committed survives processes, but not the host), and the end
    /// of the owner ends it at once. For tests.
    #[must_use]
    pub fn throwaway(mut self) -> Self {
        self.throwaway = true;
        self.setting("fsync", "off")
            .setting("full_page_writes", "off")
    }

    /// Reached through a socket in its own directory alone, and by nobody over the network.
    #[must_use]
    pub fn socket_only(mut self) -> Self {
        self.socket_only = true;
        self
    }

    /// How long a server whose owner has died may take to end before the start is given up.
    #[must_use]
    pub fn orphan_patience(mut self, patience: Duration) -> Self {
        self.orphan_patience = patience;
        self
    }

    /// The server binaries: the newest, or those that fit the data.
    fn choose(&self, data: &Path) -> Result<&Toolset, ServerError> {
        let servers = || self.toolsets.iter().filter(|set| set.has_server);
        let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else {
            let newest = servers().max_by_key(|set| set.version);
            return newest.ok_or(ServerError::NotInstalled);
        };
        let made_by = version.trim().to_owned();
        let fitting = servers()
            .filter(|set| set.major().to_string() == made_by)
            .max_by_key(|set| set.version);
        fitting.ok_or_else(|| {
            let mut installed: Vec<String> = servers().map(|set| set.major().to_string()).collect();
            installed.dedup();
            if installed.is_empty() {
                return ServerError::NotInstalled;
            }
            ServerError::OtherVersion {
                directory: self.directory.clone(),
                data: made_by,
                installed: installed.join(", "),
            }
        })
    }
}

/// A running private server. Dropping it shuts it down without waiting; [`PrivateServer::stop`] waits.
pub struct PrivateServer {
    child: Child,
    place: Place,
    /// Host and port, as they stand in a URL.
    address: String,
    password: String,
    url: String,
    /// Held for as long as this process owns the directory.
    _owner: Owned,
}

impl PrivateServer {
    /// Starts the server, and sets it up if the directory is new. Refused while another process owns the directory.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let place = Place::new(&options.directory);
        let toolset = options.choose(&place.data())?;
        let owner = place.own()?;
        let lock = place.lock_for_server(options.orphan_patience).await?;
        if options.socket_only {
            place.require_short()?;
        }
        let last_port = place.last_connection().map(|connection| connection.port);
        place.forget_earlier_server()?;
        let runner = place.runner()?;

        let launch = Launch {
            options: &options,
            toolset,
            place: &place,
            runner,
            lock,
        };
        if !place.data().exists() {
            launch.set_up().await?;
        }
        let password_file = Place::password_in(&place.data());
        let password = fs::read_to_string(&password_file).map_err(files("read", &password_file))?;
        let (child, port) = launch.start(last_port).await?;
        let host = if options.socket_only {
            let directory = place.data();
            percent_encode(directory.as_os_str().as_bytes(), NON_ALPHANUMERIC).to_string()
        } else {
            "127.0.0.1".to_owned()
        };
        let address = format!("{host}:{port}");
        let server = Self {
            child,
            url: url(USER, &password, &address, DATABASE),
            password,
            address,
            place,
            _owner: owner,
        };
        server.ensure_database().await?;
        server.place.publish(&Connection {
            url: server.url.clone(),
            port,
        })?;
        Ok(server)
    }

    /// The URL of the database that is there from the start. Holds the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of another database on it, whose name needs no escaping.
    pub fn url_of(&self, database: &str) -> String {
        url(USER, &self.password, &self.address, database)
    }

    /// The same for another role that has the owner's password. Its name needs no escaping either.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        url(role, &self.password, &self.address, database)
    }

    /// The password of its owner.
    pub fn password(&self) -> &str {
        &self.password
    }

    pub fn pid(&self) -> Pid {
        self.child.id()
    }

    /// Waits until the server has ended by itself or by somebody else's hand, and says with which last words.
    pub async fn ended(&self) -> ServerError {
        let status = self.child.wait().await;
        ended(&self.child, status)
    }

    /// Shuts it down and waits: orderly first, after half a minute with crash recovery at the next start.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.place.unpublish()?;
        self.child.signal(Signal::INT);
        if timeout(STOP_PATIENCE, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        self.child.signal(Signal::QUIT);
        let end = self.child.wait().await;
        end.map(drop)
            .map_err(|source| ServerError::Start { source })
    }

    /// Ends it at once and waits: for data that nobody wants again.
    pub async fn discard(self) -> Result<(), ServerError> {
        self.child.signal(Signal::QUIT);
        let end = self.child.wait().await;
        end.map(drop)
            .map_err(|source| ServerError::Start { source })
    }

    async fn ensure_database(&self) -> Result<(), ServerError> {
        let create = async {
            let mut connection = PgConnection::connect(&self.url_of("postgres")).await?;
            let exists: bool =
                sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                    .bind(DATABASE)
                    .fetch_one(&mut connection)
                    .await?;
            if !exists {
                let create = format!("create database {DATABASE}");
                sqlx::query(AssertSqlSafe(create))
                    .execute(&mut connection)
                    .await?;
            }
            connection.close().await
        };
        create
            .await
            .map_err(|source| ServerError::Database { source })
    }
}

impl fmt::Debug for PrivateServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateServer")
            .field("place", &self.place)
            .field("pid", &self.child.id())
            .finish_non_exhaustive()
    }
}

/// Makes a directory ours without a server, for as long as the lock lives.
pub fn occupy(directory: &Path) -> Result<Owned, ServerError> {
    Place::new(directory).own()
}

/// Ends an orphaned server and removes the directory with all that is in it. False: its owner lives, and nothing happened.
pub async fn clear(directory: &Path) -> Result<bool, ServerError> {
    if !directory.exists() {
        return Ok(true);
    }
    let place = Place::new(directory);
    let _owner = match place.own() {
        Ok(owner) => owner,
        Err(ServerError::AlreadyRunning { .. }) => return Ok(false),
        Err(other) => return Err(other),
    };
    let _lock = place.lock_for_server(ORPHAN_PATIENCE).await?;
    // RACE: what a killed `initdb` had started may still be writing here; then a second pass finds the rest.
    let removed = async || tokio::fs::remove_dir_all(directory).await;
    match removed().await {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => removed().await,
        first => first,
    }
    .map_err(files("remove", directory))?;
    Ok(true)
}

/// The URL of the private server that another process runs on this directory.
pub fn discover(directory: &Path) -> Result<String, ServerError> {
    let connection = Place::new(directory).running()?;
    Ok(connection.url)
}

/// The end of the server in its own last words.
fn ended(child: &Child, status: Result<ExitStatus, ProcessError>) -> ServerError {
    let said = child.stderr_tail();
    let last: Vec<&str> = said.trim().lines().rev().take(4).collect();
    let said = match (last.is_empty(), status) {
        (false, _) => last.into_iter().rev().collect::<Vec<_>>().join("; "),
        (true, Ok(status)) => status.to_string(),
        (true, Err(error)) => error.to_string(),
    };
    ServerError::Ended { said }
}

fn url(role: &str, password: &str, address: &str, database: &str) -> String {
    format!("postgres://{role}:{password}@{address}/{database}")
}
