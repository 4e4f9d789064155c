//! Our own database: connection, migrations. Never the database that is protected.
//!
//! [`ControlDb`] is the only way to it, so that no function can be handed the wrong pool. Work and the renewal of leases
//! have pools of their own: a slow query must not cost a lease. Nothing waits for ever: the server ends a statement
//! after [`STATEMENT_TIMEOUT`], and [`within`] gives up on a server that doesn't even say that. The schema belongs to
//! `migrations/`, the queries to `queue`, `execution` and `catalog`.

mod connection;
mod error;
mod identity;
mod keyring;
mod migrate;
mod pool;
mod pooler;

use std::{fmt, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

pub use self::{
    connection::Connection,
    error::{ControlError, fault_of},
    identity::{Identity, refuse_if_protected},
    pool::{Pool, within},
};

/// How long the server works on one statement of ours.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server puts an end to. A worker that is frozen in the middle of a transaction keeps rows locked, and the
/// reaper passes over locked rows.
const LIMITS: [(&str, Duration); 2] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
];

/// How long a free connection, or a new one, is waited for.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection outside the pools may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const WORK_CONNECTIONS: u32 = 8;
const RENEWAL_CONNECTIONS: u32 = 2;

/// The name of our database in messages.
const CONTROL: &str = "control database";

/// Who can't do with a pooler.
const LISTEN: &str = "LISTEN";

/// How to reach the control database.
#[derive(Clone)]
pub struct ControlConfig {
    /// Where jobs are read and written. Holds a password.
    pub url: String,
    /// A direct address, if `url` leads through a pooler in transaction mode: for LISTEN and migrations. Without it,
    /// workers look for jobs every second, and migrations that are missing are refused.
    pub listen_url: Option<String>,
    /// Who connects, for `pg_stat_activity`: `worker`, `cron`, `cli`.
    pub role: String,
}

impl ControlConfig {
    pub fn new(url: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            role: role.into(),
        }
    }
}

impl fmt::Debug for ControlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlConfig")
            .field("role", &self.role)
            .field("listen_url", &self.listen_url.is_some())
            .finish_non_exhaustive()
    }
}

/// The control database. Cheap to clone.
#[derive(Clone)]
pub struct ControlDb {
    work: Pool,
    renewals: Pool,
    /// Not through a pooler; `None`: unknown.
    direct: Option<PgConnectOptions>,
}

impl ControlDb {
    /// Connects, and fails if the server can't be reached now. Finds out whether there is a pooler in between.
    pub async fn connect(config: &ControlConfig) -> Result<Self, ControlError> {
        let address = options(&config.url, CONTROL)?;
        let given = config.listen_url.as_deref();
        let given = given.map(|url| options(url, CONTROL)).transpose()?;
        let pool = |purpose: &str, pool, pooled| {
            let address = address.clone();
            let address = address.application_name(&name(&config.role, purpose));
            Pool::new(address, pool, pooled)
        };
        let for_work = || PgPoolOptions::new().max_connections(WORK_CONNECTIONS);
        // A renewal that meets a dead connection is tried again at once on another; a test before each would be a second
        // thing that can hang.
        let for_renewals = PgPoolOptions::new()
            .max_connections(RENEWAL_CONNECTIONS)
            .test_before_acquire(false);
        let is_pooled = async |work: &Pool| {
            let found = pooler::is_behind(&work.connections).await;
            found.map_err(|source| unreachable(CONTROL, &address, source))
        };

        let mut work = pool("work", for_work(), given.is_some());
        let pooled = is_pooled(&work).await?;
        if pooled && given.is_none() {
            work = pool("work", for_work(), pooled);
            is_pooled(&work).await?;
        }
        let direct = given.or_else(|| (!pooled).then(|| address.clone()));
        Ok(Self {
            work,
            renewals: pool("renewals", for_renewals, pooled),
            direct: direct.map(|direct| {
                pooler::marked(direct).application_name(&name(&config.role, "direct"))
            }),
        })
    }

    /// What a test asks in SQL of its own, past the rules of [`Connection`].
    #[cfg(feature = "testing")]
    pub fn bare_pool(&self) -> &sqlx::PgPool {
        &self.work.connections
    }

    /// The pool for everything but renewals.
    pub fn pool(&self) -> &Pool {
        &self.work
    }

    /// The pool that leases are renewed from, and nothing else.
    pub fn renewals(&self) -> &Pool {
        &self.renewals
    }

    /// A connection of its own for LISTEN. After a lost connection it reconnects and listens again.
    pub async fn listener(&self) -> Result<PgListener, ControlError> {
        let direct = self.direct_for(LISTEN)?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(direct.clone());
        let listener = PgListener::connect_with(&pool).await;
        let mut listener = listener.map_err(|error| pooler::explain(error, direct, LISTEN))?;
        // Otherwise a stranger inherits the server connection, and what it hears.
        pooler::refuse(&mut listener, LISTEN).await?;
        Ok(listener)
    }

    /// What a pooler can't do has to go there.
    fn direct_for(&self, needed_for: &'static str) -> Result<&PgConnectOptions, ControlError> {
        let direct = self.direct.as_ref();
        direct.ok_or(ControlError::NoDirectAddress { needed_for })
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<(), ControlError> {
        migrate::migrate(self).await
    }

    /// Which database this is, whatever name or address leads to it.
    pub async fn identity(&self) -> Result<Identity, ControlError> {
        within(&self.work, STATEMENT_TIMEOUT, |connection| {
            Box::pin(async move { Ok::<_, ControlError>(identity::read(connection).await?) })
        })
        .await
    }

    /// Closes all connections and waits for those in use.
    pub async fn close(&self) {
        tokio::join!(
            self.work.connections.close(),
            self.renewals.connections.close()
        );
    }
}

impl fmt::Debug for ControlDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlDb")
            .field("work", &self.work)
            .field("direct", &self.direct.as_ref().map(place))
            .finish_non_exhaustive()
    }
}

/// Reads a URL. The error doesn't repeat it.
fn options(url: &str, database: &'static str) -> Result<PgConnectOptions, ControlError> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|source| ControlError::Address { database, source })?;
    // How floats are written out matters only in queries without parameters; poolers refuse to be told.
    Ok(options.extra_float_digits(None))
}

fn name(role: &str, purpose: &str) -> String {
    format!("kanbu_backup/{role} {purpose}")
}

fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_default();
    format!("{host}:{}/{database}", options.get_port())
}

fn unreachable(
    database: &'static str,
    options: &PgConnectOptions,
    source: sqlx::Error,
) -> ControlError {
    ControlError::Unreachable {
        database,
        place: place(options),
        source,
    }
}
