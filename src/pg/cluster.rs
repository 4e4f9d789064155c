//! The protected server: where it is and how to get in.
//!
//! A `Cluster` can't be taken for our own database (`control::ControlDb` is another type), and shows its password to
//! nobody: not in `Debug`, not in an error, not in an argument list. Client tools get it by their environment alone.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    Connection,
    postgres::{PgConnectOptions, PgConnection, PgSslMode},
};
use zeroize::Zeroizing;

use super::{error::PgError, facts::Facts, url};

/// How long a connection may take to be made when the URL doesn't say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The name under which our own connections appear in `pg_stat_activity`.
pub const APPLICATION: &str = "kanbu_backup";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    Socket {
        directory: PathBuf,
        port: u16,
    },
    /// Only known from inside its container: no connection can be made from here.
    Container,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket { directory, port } => write!(f, "{}:{port}", directory.display()),
            Self::Container => f.write_str("container"),
        }
    }
}

/// Connection settings of the protected server and the name of the database in it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) address: Address,
    pub(super) user: String,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) database: String,
    /// libpq's environment variables for TLS and the like.
    pub(super) settings: BTreeMap<&'static str, String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) ignored: Vec<String>,
}

impl Cluster {
    /// Reads `postgres://` and `postgresql://` URLs as Kanbu, Prisma and libpq write them.
    pub fn from_url(text: &str) -> Result<Self, PgError> {
        url::parse(text)
    }

    /// A server that is reached only by running tools inside its container, as `user` on `database`.
    pub fn in_container(user: &str, database: &str, password: Option<Zeroizing<String>>) -> Self {
        Self {
            address: Address::Container,
            user: user.to_owned(),
            password,
            database: database.to_owned(),
            settings: BTreeMap::new(),
            connect_timeout: None,
            ignored: Vec::new(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    /// Names of URL parameters that mean nothing to us, for a warning at start.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    /// A connection to `database`, or to the cluster's own one.
    pub async fn connect(&self, database: Option<&str>) -> Result<PgConnection, PgError> {
        let database = database.unwrap_or(&self.database);
        let options = self.options(database)?;
        let limit = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        match tokio::time::timeout(limit, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(source)) => Err(PgError::connecting(self, database, source)),
            Err(_) => Err(PgError::ConnectTimeout {
                place: self.address.to_string(),
                limit,
            }),
        }
    }

    /// What the server and the database are, for the manifest and for choosing client tools.
    pub async fn facts(&self) -> Result<Facts, PgError> {
        let mut connection = self.connect(None).await?;
        let facts = Facts::read(&mut connection).await?;
        close(connection).await;
        Ok(facts)
    }

    fn options(&self, database: &str) -> Result<PgConnectOptions, PgError> {
        let options = PgConnectOptions::new_without_pgpass()
            .username(&self.user)
            // Set even when there is none: otherwise sqlx takes PGPASSWORD of our own environment.
            .password(
                self.password
                    .as_ref()
                    .map_or("", |password| password.as_str()),
            )
            .database(database)
            .application_name(APPLICATION);
        match &self.address {
            Address::Tcp { host, port } => Ok(self.tls(options.host(host).port(*port))),
            // libpq never speaks TLS over a socket, whatever sslmode says.
            Address::Socket { directory, port } => Ok(options
                .socket(directory)
                .port(*port)
                .ssl_mode(PgSslMode::Disable)),
            Address::Container => Err(PgError::NoAddress),
        }
    }

    fn tls(&self, options: PgConnectOptions) -> PgConnectOptions {
        let setting = |name| self.settings.get(name);
        let mode = setting("PGSSLMODE")
            .and_then(|mode| PgSslMode::from_str(mode).ok())
            .unwrap_or(PgSslMode::Prefer);
        let mut options = options.ssl_mode(mode);
        // `system` asks libpq for the machine's authorities, which is what no file at all means to sqlx.
        if let Some(file) = setting("PGSSLROOTCERT").filter(|file| file.as_str() != "system") {
            options = options.ssl_root_cert(file);
        }
        if let (Some(certificate), Some(key)) = (setting("PGSSLCERT"), setting("PGSSLKEY")) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        options
    }

    /// The whole environment of a client tool that works on `database` of this server. Holds the password.
    pub(super) fn environment(&self, database: &str, application: &str) -> Vec<(String, String)> {
        let mut environment = self.login(database, application);
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        match &self.address {
            Address::Tcp { host, port } => {
                set("PGHOST", host.clone());
                set("PGPORT", port.to_string());
            }
            Address::Socket { directory, port } => {
                set("PGHOST", directory.display().to_string());
                set("PGPORT", port.to_string());
            }
            Address::Container => {}
        }
        let limit = self.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        set("PGCONNECT_TIMEOUT", limit.as_secs().to_string());
        // No ~/.pgpass, ~/.psqlrc or ~/.postgresql of whoever runs us: the URL says it all.
        set("HOME", "/nonexistent".to_owned());
        for (name, value) in &self.settings {
            set(name, value.clone());
        }
        environment
    }

    /// The part of the environment that also holds inside the server's own container.
    pub(super) fn login(&self, database: &str, application: &str) -> Vec<(String, String)> {
        let mut login = vec![
            // The tools' own messages are read by `complaint`, in English.
            ("LC_ALL".to_owned(), "C".to_owned()),
            ("PGUSER".to_owned(), self.user.clone()),
            ("PGDATABASE".to_owned(), database.to_owned()),
            ("PGAPPNAME".to_owned(), application.to_owned()),
        ];
        if let Some(password) = &self.password {
            login.push(("PGPASSWORD".to_owned(), password.to_string()));
        }
        login
    }
}

/// Ends a connection politely. What was asked has been answered, so a failure changes nothing.
pub(super) async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection to the protected server did not close cleanly");
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user, self.address, self.database)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("database", &self.database)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_never_shows_its_password() {
        let cluster = Cluster::from_url("postgres://kanbu:hunter2@[::1]/kanbu").unwrap();
        let shown = format!("{cluster} {cluster:?}");
        assert!(shown.contains("kanbu@[::1]:5432/kanbu"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_tool_gets_the_connection_and_tls_settings_by_its_environment() {
        let cluster = Cluster::from_url("postgres://u:p%20w@db:6000/d?sslmode=require").unwrap();
        let environment: BTreeMap<_, _> = cluster
            .environment("other", "kanbu_backup/x")
            .into_iter()
            .collect();
        let expected = [
            ("PGHOST", "db"),
            ("PGPORT", "6000"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p w"),
            ("PGDATABASE", "other"),
            ("PGSSLMODE", "require"),
            ("PGAPPNAME", "kanbu_backup/x"),
        ];
        for (name, value) in expected {
            assert_eq!(environment[name], value, "{name}");
        }
    }

    #[tokio::test]
    async fn a_server_inside_a_container_has_no_address_to_connect_to() {
        let cluster = Cluster::in_container("kanbu", "kanbu", None);
        assert!(matches!(
            cluster.connect(None).await,
            Err(PgError::NoAddress)
        ));
    }
}
