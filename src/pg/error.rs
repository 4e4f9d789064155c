//! What can go wrong between us and the protected server, its tools and its container.

use std::{borrow::Cow, path::PathBuf, time::Duration};

use super::{
    cluster::{Address, Cluster},
    complaint::{Complaint, last_lines},
    process::ProcessError,
    tools::ToolsError,
};
use crate::fault::{Classified, Fault};

/// A failure at the protected server. No variant holds a password or a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    #[error("the database URL can't be used: {reason}")]
    Url { reason: String },
    #[error("the server is only known from inside its container")]
    NoAddress,
    #[error("could not reach the server at {place}")]
    Unreachable { place: String, source: sqlx::Error },
    #[error("the server at {place} did not answer within {} s", limit.as_secs())]
    ConnectTimeout { place: String, limit: Duration },
    #[error("could not agree with the server at {place} on TLS")]
    Tls { place: String, source: sqlx::Error },
    #[error("the server at {place} refused user {user:?}")]
    Authentication {
        place: String,
        user: String,
        source: sqlx::Error,
    },
    #[error("there is no database {database:?} on the server at {place}")]
    DatabaseMissing { place: String, database: String },
    #[error("the server did not answer: {what}")]
    Query {
        what: &'static str,
        source: sqlx::Error,
    },
    #[error("the server did not {what}: {reason}")]
    Refused { what: &'static str, reason: String },
    #[error("the server described itself in an unexpected way")]
    Facts(#[source] serde_json::Error),
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("{tool} {} ({end}): {detail}", complaint.sentence())]
    Tool {
        tool: &'static str,
        work: Work,
        complaint: Complaint,
        end: String,
        detail: String,
    },
    #[error("the dump is not complete: {reason}")]
    Incomplete { reason: &'static str },
    #[error(
        "the dump was made by pg_dump {dump}, and the client tools here are of version {client}"
    )]
    DumpTooNew { dump: u32, client: u32 },
    #[error("a database {database:?} exists already")]
    DatabaseExists { database: String },
    #[error("database {database:?} does not carry the mark of execution {execution}")]
    NotOurs { database: String, execution: String },
    #[error("a plain dump names its owners in its text, so it can't be restored without them")]
    PlainOwners,
    #[error(
        "database {database:?} is being restored{}",
        .holder.as_ref().map(|holder| format!(" by execution {holder}")).unwrap_or_default()
    )]
    Guarded {
        database: String,
        holder: Option<String>,
    },
    #[error("the connection that kept others away from database {database:?} was lost")]
    GuardLost { database: String },
    #[error("the database postgres is where restores stand, and can't be restored into")]
    CommonDatabase,
    #[error("sessions on database {database:?} did not end within {} s: {}", limit.as_secs(), holders.join(", "))]
    HeldOn {
        database: String,
        limit: Duration,
        holders: Vec<String>,
    },
    #[error("could not speak to Docker at {}", socket.display())]
    Docker {
        socket: PathBuf,
        source: bollard::errors::Error,
    },
    #[error("no running container was found; tried {}", tried.join(", "))]
    ContainerMissing { tried: Vec<String> },
    #[error("pattern {pattern:?} fits several running containers: {}", names.join(", "))]
    ContainerAmbiguous { pattern: String, names: Vec<String> },
    #[error("the stream from container {container} broke")]
    Exec {
        container: String,
        source: bollard::errors::Error,
    },
    #[error("the stream from container {container} was cut inside a frame")]
    CutFrame { container: String },
    #[error("a command in container {container} did not end in time")]
    ExecEndless { container: String },
}

/// What a client tool was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Dump,
    Load,
    Ask,
}

impl PgError {
    /// Why a connection could not be made.
    pub(super) fn connecting(cluster: &Cluster, database: &str, source: sqlx::Error) -> Self {
        let place = match cluster.address() {
            Address::Container => "its container".to_owned(),
            address => address.to_string(),
        };
        let code = source
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        match (code.as_deref(), &source) {
            (Some("28P01" | "28000"), _) => Self::Authentication {
                place,
                user: cluster.user().to_owned(),
                source,
            },
            (Some("3D000"), _) => Self::DatabaseMissing {
                place,
                database: database.to_owned(),
            },
            (None, sqlx::Error::Tls(_)) => Self::Tls { place, source },
            _ => Self::Unreachable { place, source },
        }
    }

    /// For `map_err`: a statement that failed, with what it asked for.
    pub(super) fn query(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { what, source }
    }

    /// A tool that the shell of a container did not find.
    pub(super) fn tool_missing(tool: &'static str, stderr: &str) -> Self {
        let (complaint, end) = (Complaint::ToolMissing, "exit status: 127".to_owned());
        Self::Tool {
            tool,
            work: Work::Dump,
            complaint,
            end,
            detail: last_lines(stderr),
        }
    }

    /// A tool that ended otherwise than with status zero.
    pub(super) fn tool(tool: &'static str, work: Work, end: String, stderr: &str) -> Self {
        let complaint = Complaint::read(stderr);
        Self::Tool {
            tool,
            work,
            complaint,
            end,
            detail: last_lines(stderr),
        }
    }
}

impl Classified for PgError {
    fn fault(&self) -> Fault {
        match self {
            Self::Tools(error) => error.fault(),
            Self::Process(error) => error.fault(),
            Self::Tool {
                complaint, work, ..
            } => complaint_fault(complaint, *work),
            Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::Query { .. }
            | Self::Refused { .. }
            | Self::Incomplete { .. }
            | Self::Docker { .. }
            | Self::ContainerMissing { .. }
            | Self::Exec { .. }
            | Self::CutFrame { .. }
            | Self::ExecEndless { .. }
            | Self::Guarded { .. }
            | Self::GuardLost { .. }
            | Self::HeldOn { .. } => Fault::Transient,
            Self::Url { .. }
            | Self::NoAddress
            | Self::Tls { .. }
            | Self::Authentication { .. }
            | Self::DatabaseMissing { .. }
            | Self::Facts(_)
            | Self::DumpTooNew { .. }
            | Self::DatabaseExists { .. }
            | Self::NotOurs { .. }
            | Self::PlainOwners
            | Self::CommonDatabase
            | Self::ContainerAmbiguous { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "database.url",
            Self::NoAddress => "database.no_address",
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => "database.unreachable",
            Self::Tls { .. } => "database.tls",
            Self::Authentication { .. } => "database.authentication",
            Self::DatabaseMissing { .. } => "database.missing",
            Self::Query { .. } | Self::Refused { .. } => "database.query",
            Self::Facts(_) => "database.facts",
            Self::Tools(error) => error.code(),
            Self::Process(error) => error.code(),
            Self::Tool {
                complaint, work, ..
            } => complaint_code(complaint, *work),
            Self::Incomplete { .. } => "database.dump_incomplete",
            Self::DumpTooNew { .. } => "tools.client_too_old",
            Self::DatabaseExists { .. } => "database.exists",
            Self::NotOurs { .. } => "database.not_ours",
            Self::PlainOwners => "restore.plain_owners",
            Self::Guarded { .. } => "restore.already_running",
            Self::GuardLost { .. } => "restore.guard_lost",
            Self::CommonDatabase => "usage.database_name",
            Self::HeldOn { .. } => "restore.sessions_stay",
            Self::Docker { .. } => "docker.unreachable",
            Self::ContainerMissing { .. } => "docker.container_missing",
            Self::ContainerAmbiguous { .. } => "docker.container_ambiguous",
            Self::Exec { .. } | Self::CutFrame { .. } => "docker.stream",
            Self::ExecEndless { .. } => "docker.exec_endless",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let text = match self {
            Self::Tools(error) => return error.hint(),
            Self::Process(error) => return error.hint(),
            Self::Tool {
                complaint: Complaint::RoleMissing(role),
                tool: "psql",
                ..
            } => {
                return Some(
                    format!("create the role {role:?} on the server: a plain dump names its owners in its text")
                        .into(),
                );
            }
            Self::Tool {
                complaint, work, ..
            } => return complaint_hint(complaint, *work),
            Self::DumpTooNew { dump, .. } => {
                return Some(
                    format!("install the PostgreSQL client tools of version {dump} or newer")
                        .into(),
                );
            }
            Self::Url { .. } => {
                "write it as postgres://user:password@host:5432/database, with odd characters percent-encoded"
            }
            Self::NoAddress => "set DATABASE_URL, or BACKUP_PG_MODE=docker",
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => {
                "check that the server runs and that DATABASE_URL names its host and port"
            }
            Self::Tls { .. } => "check sslmode and sslrootcert in DATABASE_URL",
            Self::Authentication { .. } => {
                "check user and password in DATABASE_URL, and pg_hba.conf on the server"
            }
            Self::DatabaseMissing { .. } => "check the name of the database in DATABASE_URL",
            Self::DatabaseExists { .. } => "choose another name, or drop that database first",
            Self::NotOurs { .. } => "nothing was dropped; if it may go, drop it by hand",
            Self::PlainOwners => "create the roles that the dump names, and restore with owners",
            Self::Guarded { .. } => "wait for that restore; `kanbu-backup job list` shows it",
            Self::GuardLost { .. } => "nothing that was live was changed after that; restore again",
            Self::HeldOn { .. } => {
                "nothing was changed; stop these programs, or let the connecting role be a member of pg_signal_backend"
            }
            Self::Docker { .. } => "check that the Docker socket is mounted and may be used",
            Self::ContainerMissing { .. } => {
                "start the container, or set POSTGRES_CONTAINER to its exact name"
            }
            Self::ContainerAmbiguous { .. } => {
                "set POSTGRES_CONTAINER to the exact name of the one to back up"
            }
            Self::Query { .. }
            | Self::CommonDatabase
            | Self::Refused { .. }
            | Self::Facts(_)
            | Self::Incomplete { .. }
            | Self::Exec { .. }
            | Self::CutFrame { .. }
            | Self::ExecEndless { .. } => return None,
        };
        Some(text.into())
    }
}

fn complaint_fault(complaint: &Complaint, work: Work) -> Fault {
    match complaint {
        Complaint::Unreachable
        | Complaint::WentAway
        | Complaint::LockTimeout
        | Complaint::Snapshot
        | Complaint::DiskFull => Fault::Transient,
        Complaint::Authentication
        | Complaint::DatabaseMissing
        | Complaint::Permission
        | Complaint::RoleMissing(_)
        | Complaint::WordUnknown
        | Complaint::ToolMissing => Fault::Permanent,
        Complaint::Other => match work {
            Work::Dump | Work::Ask => Fault::Transient,
            Work::Load => Fault::Permanent,
        },
    }
}

fn complaint_code(complaint: &Complaint, work: Work) -> &'static str {
    match complaint {
        Complaint::Authentication => "database.authentication",
        Complaint::DatabaseMissing => "database.missing",
        Complaint::Unreachable => "database.unreachable",
        Complaint::WentAway => "database.went_away",
        Complaint::LockTimeout => "database.locked",
        Complaint::Snapshot => "database.snapshot",
        Complaint::Permission => "database.permission",
        Complaint::RoleMissing(_) => "restore.role_missing",
        Complaint::WordUnknown => "tools.client_too_old",
        Complaint::DiskFull => "database.full",
        Complaint::ToolMissing => "tools.no_client",
        Complaint::Other => match work {
            Work::Dump => "database.dump_failed",
            Work::Load => "restore.load_failed",
            Work::Ask => "database.query",
        },
    }
}

fn complaint_hint(complaint: &Complaint, work: Work) -> Option<Cow<'static, str>> {
    let text = match complaint {
        Complaint::Authentication => "check user and password, and pg_hba.conf on the server",
        Complaint::DatabaseMissing => "check the name of the database",
        Complaint::Unreachable | Complaint::WentAway => {
            "check that the server runs and why it ended the connection"
        }
        Complaint::LockTimeout => {
            "another session holds a table exclusively (alter table, truncate, vacuum full); run again when it is done"
        }
        Complaint::Snapshot => {
            "something between us and the server leads sessions to different servers: connect directly"
        }
        Complaint::Permission => {
            "the user has to own the objects, or be a member of pg_read_all_data"
        }
        Complaint::RoleMissing(role) => {
            return Some(
                format!(
                    "create the role {role:?} on the server, or restore without owners (--no-owner)"
                )
                .into(),
            );
        }
        Complaint::WordUnknown => {
            "update the PostgreSQL client tools: psql knows the word since the minor releases of August 2025"
        }
        Complaint::DiskFull => "make room on the server's disk",
        Complaint::ToolMissing => {
            "use an image that holds PostgreSQL's client tools, or BACKUP_PG_MODE=direct"
        }
        Complaint::Other => match work {
            Work::Dump | Work::Ask | Work::Load => return None,
        },
    };
    Some(text.into())
}
