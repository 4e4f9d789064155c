//! A logical dump as a stream: which way `pg_dump` is reached, and the bytes it gives.
//!
//! Invariant: `End` is sent only after the tool ended with status zero and the marks of its format were seen. Everything
//! else (a server that goes away, a killed tool, a cut stream, a cancel) becomes a `Fail`. There is no fall-back from one
//! route to another: it would back up another project's database under this one's name.

mod completeness;
mod container;
mod direct;
mod header;
mod outlet;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::outlet::Outlet;
pub use self::{
    completeness::Completeness,
    header::{Header, major_of},
};
use super::{
    cluster::{APPLICATION, Address, Cluster},
    docker::{self, Container, ContainerChoice},
    error::PgError,
    facts::Facts,
    tools::{Toolset, choose_client},
};
use crate::{
    id::ExecutionId,
    pipeline::{Feed, feed},
};

/// How long a dump waits for the lock of a table. `pg_dump` takes all its locks at the start, so a table that somebody
/// rewrites is a plain error after this time, and not a dump that hangs and holds its snapshot open.
pub const LOCK_WAIT: Duration = Duration::from_mins(2);

/// What `pg_dump` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpFormat {
    /// The archive of `--format=custom`, uncompressed: compression is the pipeline's.
    Custom,
    /// SQL text.
    Plain,
}

impl DumpFormat {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Custom => &["--format=custom", "--compress=0"],
            Self::Plain => &["--format=plain"],
        }
    }
}

/// `BACKUP_PG_MODE`: which way to the tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PgMode {
    /// Direct when the server's address is known, else docker.
    #[default]
    Auto,
    Direct,
    Docker,
}

/// The way that was chosen.
#[derive(Clone, Debug)]
pub enum Route {
    /// Client tools of this host, over TCP or a socket.
    Direct(Toolset),
    /// The client tools inside the server's container.
    Docker(Container),
}

impl Route {
    /// What the server and the database are, asked on this route.
    pub async fn facts(&self, cluster: &Cluster) -> Result<Facts, PgError> {
        match self {
            Self::Direct(_) => cluster.facts().await,
            Self::Docker(container) => container.facts(cluster).await,
        }
    }
}

/// Chooses the way and shows that it is open: the server answers, or the container runs.
pub async fn route(
    mode: PgMode,
    cluster: &Cluster,
    containers: &ContainerChoice,
    toolsets: &[Toolset],
) -> Result<Route, PgError> {
    match (mode, cluster.address()) {
        (PgMode::Direct, Address::Container) => Err(PgError::NoAddress),
        (PgMode::Docker, _) | (PgMode::Auto, Address::Container) => {
            Ok(Route::Docker(docker::find(containers).await?))
        }
        (PgMode::Auto | PgMode::Direct, Address::Tcp { .. } | Address::Socket { .. }) => {
            let major = cluster.facts().await?.major();
            Ok(Route::Direct(choose_client(toolsets, major)?.clone()))
        }
    }
}

/// What is known of a dump once its feed has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpReport {
    pub bytes: u64,
    /// What the dump says about itself; `None` when it ended before it could.
    pub header: Option<Header>,
    /// `pg_dump: warning: …`, one a line.
    pub warnings: Vec<String>,
    /// The end of standard error.
    pub stderr: String,
}

/// Gives the report after the feed's last message.
#[derive(Debug)]
pub struct DumpHandle(oneshot::Receiver<DumpReport>);

impl DumpHandle {
    /// `None` when the dump's task was lost.
    pub async fn report(self) -> Option<DumpReport> {
        self.0.await.ok()
    }
}

/// What is dumped, and for whom.
#[derive(Clone, Debug)]
pub struct DumpOrder {
    pub format: DumpFormat,
    pub execution: ExecutionId,
    /// The name of a snapshot that another session has exported and holds; else the dump takes its own.
    pub snapshot: Option<String>,
}

/// Starts a dump of the cluster's database in a snapshot of its own.
pub async fn dump(
    route: &Route,
    cluster: &Cluster,
    format: DumpFormat,
    execution: ExecutionId,
    cancel: CancellationToken,
) -> Result<(Feed, DumpHandle), PgError> {
    let order = DumpOrder {
        format,
        execution,
        snapshot: None,
    };
    dump_as_ordered(route, cluster, &order, cancel).await
}

/// Starts a dump of the cluster's database. It runs until the feed ends, the feed is dropped or `cancel` fires.
pub async fn dump_as_ordered(
    route: &Route,
    cluster: &Cluster,
    order: &DumpOrder,
    cancel: CancellationToken,
) -> Result<(Feed, DumpHandle), PgError> {
    let (sender, feed) = feed();
    let outlet = Outlet::new(sender, order.format, cancel);
    let (done, handle) = oneshot::channel();
    match route {
        Route::Direct(tools) => {
            let child = direct::start(tools, cluster, order)?;
            tokio::spawn(direct::run(child, outlet, done));
        }
        Route::Docker(container) => {
            let exec = container::start(container, cluster, order).await?;
            tokio::spawn(container::run(exec, outlet, done));
        }
    }
    Ok((feed, DumpHandle(handle)))
}

/// The arguments of `pg_dump`: no host, user or password, which go by its environment.
fn arguments(order: &DumpOrder) -> Vec<String> {
    let mut arguments: Vec<String> = order
        .format
        .options()
        .iter()
        .map(|&option| option.to_owned())
        .collect();
    arguments.push("--no-password".to_owned());
    arguments.push(format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()));
    if let Some(snapshot) = &order.snapshot {
        arguments.push(format!("--snapshot={snapshot}"));
    }
    arguments
}

/// How the tools' sessions are called on the server.
pub(super) fn application(execution: ExecutionId) -> String {
    format!("{APPLICATION}/{execution}")
}
