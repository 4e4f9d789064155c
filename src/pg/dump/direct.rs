//! A dump by a `pg_dump` of this host.

use bytes::BytesMut;
use tokio::{io::AsyncReadExt, process::ChildStdout, sync::oneshot};

use super::{
    DumpOrder, DumpReport, application, arguments,
    outlet::{Outlet, Stop},
};
use crate::{
    pg::{
        cluster::Cluster,
        error::{PgError, Work},
        process::{Child, ProcessError, Program},
        tools::Toolset,
    },
    pipeline::CHUNK_BYTES,
};

pub(super) const TOOL: &str = "pg_dump";

pub(super) fn start(
    tools: &Toolset,
    cluster: &Cluster,
    order: &DumpOrder,
) -> Result<Child, PgError> {
    let mut program = Program::new(tools.program(TOOL)).args(arguments(order));
    for (name, value) in cluster.environment(cluster.database(), &application(order.execution)) {
        program = program.env(name, value);
    }
    Ok(program.spawn()?)
}

/// Carries the output to the outlet and says how it ended. The child has ended when this returns.
pub(super) async fn run(mut child: Child, mut outlet: Outlet, done: oneshot::Sender<DumpReport>) {
    let result = carry(&mut child, &mut outlet).await;
    if result.is_err()
        && let Err(error) = child.terminate().await
    {
        tracing::warn!(%error, "how pg_dump ended could not be learned");
    }
    let _ = done.send(outlet.report(child.stderr_tail()));
    outlet.end(result).await;
}

async fn carry(child: &mut Child, outlet: &mut Outlet) -> Result<(), Stop> {
    let Some(mut stdout) = child.stdout().map_err(PgError::from)? else {
        return Err(PgError::Incomplete {
            reason: "pg_dump has no output",
        }
        .into());
    };
    while read(&mut stdout, outlet).await? {
        outlet.hand_over_full().await?;
    }
    let status = tokio::select! {
        biased;
        () = outlet.cancel.cancelled() => return Err(Stop::Cancelled),
        status = child.wait() => status.map_err(PgError::from)?,
    };
    if !status.success() {
        return Err(
            PgError::tool(TOOL, Work::Dump, status.to_string(), &child.stderr_tail()).into(),
        );
    }
    outlet.hand_over_rest().await?;
    outlet.check_whole()
}

/// Fills the buffer further; false at the end.
async fn read(stdout: &mut ChildStdout, outlet: &mut Outlet) -> Result<bool, Stop> {
    let Outlet { buffer, cancel, .. } = outlet;
    reserve(buffer);
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        read = stdout.read_buf(buffer) => match read {
            Ok(count) => Ok(count > 0),
            Err(source) => {
                let broken = ProcessError::Pipe { program: TOOL.to_owned(), source };
                Err(Stop::Failed(broken.into()))
            }
        },
    }
}

/// Room for what is missing to a chunk, so that no read takes more than a chunk.
fn reserve(buffer: &mut BytesMut) {
    let missing = CHUNK_BYTES.saturating_sub(buffer.len());
    if buffer.capacity() - buffer.len() < missing {
        buffer.reserve(missing);
    }
}
