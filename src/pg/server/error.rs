//! What can go wrong with the private server.

use std::{borrow::Cow, io, path::PathBuf};

use crate::{
    fault::{Classified, Fault},
    pg::process::ProcessError,
};

/// Why the private server could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error("PostgreSQL's server is not installed on this host")]
    NotInstalled,
    #[error(
        "the private PostgreSQL in {} was made by version {data}, which is not installed (found: {installed})",
        directory.display()
    )]
    OtherVersion {
        directory: PathBuf,
        data: String,
        installed: String,
    },
    #[error(
        "PostgreSQL refuses to run as root, and this host has neither a user `postgres` nor `nobody`"
    )]
    NobodyToRunAs,
    #[error("could not run PostgreSQL as user {user}")]
    CannotBecome { user: String, source: ProcessError },
    #[error("user {user}, as whom PostgreSQL runs, cannot enter {}", path.display())]
    Closed { user: String, path: PathBuf },
    #[error("{} holds files that are not of a private PostgreSQL", directory.display())]
    NotOurs { directory: PathBuf },
    #[error("another process already runs the private PostgreSQL in {}", directory.display())]
    AlreadyRunning { directory: PathBuf },
    #[error(
        "the private PostgreSQL in {} is still running, though its owner has gone",
        directory.display()
    )]
    Orphaned { directory: PathBuf },
    #[error("a socket in {} would have too long a path", directory.display())]
    TooLong { directory: PathBuf },
    #[error("no private PostgreSQL is running in {}", directory.display())]
    NotRunning { directory: PathBuf },
    #[error("could not {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("could not set up the private PostgreSQL")]
    Setup { source: ProcessError },
    #[error("the private PostgreSQL ended: {said}")]
    Ended { said: String },
    #[error("the private PostgreSQL was not ready within {seconds} s")]
    Slow { seconds: u64 },
    #[error("no free port was found for the private PostgreSQL")]
    NoPort { source: io::Error },
    #[error("could not start the private PostgreSQL")]
    Start { source: ProcessError },
    #[error("could not create the control database in the private PostgreSQL")]
    Database { source: sqlx::Error },
    #[error("the operating system gave no random bytes")]
    Random { source: getrandom::Error },
}

impl Classified for ServerError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotInstalled
            | Self::OtherVersion { .. }
            | Self::NobodyToRunAs
            | Self::CannotBecome { .. }
            | Self::Closed { .. }
            | Self::NotOurs { .. }
            | Self::AlreadyRunning { .. }
            | Self::TooLong { .. }
            | Self::NotRunning { .. } => Fault::Permanent,
            Self::Orphaned { .. }
            | Self::Files { .. }
            | Self::Setup { .. }
            | Self::Ended { .. }
            | Self::Slow { .. }
            | Self::NoPort { .. }
            | Self::Start { .. }
            | Self::Database { .. }
            | Self::Random { .. } => Fault::Transient,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotInstalled => "server.not_installed",
            Self::OtherVersion { .. } => "server.other_version",
            Self::NobodyToRunAs => "server.nobody_to_run_as",
            Self::CannotBecome { .. } => "server.cannot_become",
            Self::Closed { .. } => "server.closed",
            Self::NotOurs { .. } => "server.not_ours",
            Self::AlreadyRunning { .. } => "server.already_running",
            Self::TooLong { .. } => "server.path_too_long",
            Self::Orphaned { .. } => "server.orphaned",
            Self::NotRunning { .. } => "server.not_running",
            Self::Files { .. } => "server.files",
            Self::Setup { .. } => "server.setup",
            Self::Ended { .. } => "server.ended",
            Self::Slow { .. } => "server.slow",
            Self::NoPort { .. } => "server.no_port",
            Self::Start { .. } => "server.start",
            Self::Database { .. } => "server.database",
            Self::Random { .. } => "server.random",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotInstalled => "install it (Debian, Ubuntu: `apt-get install postgresql`), or name a control database \
                 with KANBU_BACKUP_DATABASE_URL"
                .into(),
            Self::OtherVersion { data, .. } => format!(
                "install version {data} again (Debian, Ubuntu: `apt-get install postgresql-{data}`), or convert the \
                 directory with pg_upgrade"
            )
            .into(),
            Self::NobodyToRunAs => "add a user (`useradd --system postgres`), or run kanbu-backup as a normal user".into(),
            Self::CannotBecome { .. } => {
                "run kanbu-backup as a normal user, or allow root to change users (CAP_SETUID, CAP_SETGID)".into()
            }
            Self::Closed { user, path } => format!(
                "open the way with `chmod o+x {}`, or choose a state directory that {user} can reach",
                path.display()
            )
            .into(),
            Self::NotOurs { .. } => "name a directory that is empty or does not exist yet".into(),
            Self::AlreadyRunning { .. } => {
                "stop the other `kanbu-backup up`, or give this one a state directory of its own".into()
            }
            Self::TooLong { .. } => "choose a shorter KANBU_BACKUP_STATE_DIR".into(),
            Self::Orphaned { .. } => "wait until it has shut down, or end its `postgres` process".into(),
            Self::NotRunning { .. } => {
                "start `kanbu-backup up`, or name a control database with KANBU_BACKUP_DATABASE_URL".into()
            }
            Self::Files { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as the user who runs `kanbu-backup up`".into()
            }
            Self::Files { .. }
            | Self::Setup { .. }
            | Self::Ended { .. }
            | Self::Slow { .. }
            | Self::NoPort { .. }
            | Self::Start { .. }
            | Self::Database { .. }
            | Self::Random { .. } => return None,
        })
    }
}
