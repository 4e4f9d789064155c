//! A dump by the `pg_dump` inside the server's container.
//!
//! Docker's stream proves nothing by ending: a cut connection ends it as a finished dump does, and the exit status may be
//! zero although the last bytes were lost on the way. So the shell that runs `pg_dump` writes a mark behind its output,
//! unique to the execution, and only if the status was zero. `End` needs the mark, the status, and the format's own marks.
//! Whatever ends otherwise is killed inside the container, because closing a connection stops nothing there.

use bollard::container::LogOutput;
use futures::StreamExt;
use tokio::sync::oneshot;

use super::{
    DumpOrder, DumpReport, application, arguments,
    direct::TOOL,
    outlet::{Outlet, Stop},
};
use crate::{
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        docker::{Command, Container, EXECUTION_VARIABLE, Exec, StderrTail},
        error::{PgError, Work},
    },
};

/// Needs nothing but a POSIX shell in the image. Waiting instead of `exec` is what lets it write the mark.
const SCRIPT: &str = r#"pg_dump "$@" && printf %s "$KANBU_BACKUP_END_MARK""#;

/// The status by which a shell says that it found no such program.
const NOT_FOUND: i64 = 127;

/// A dump that runs in a container.
#[derive(Debug)]
pub(super) struct Running {
    container: Container,
    exec: Exec,
    execution: ExecutionId,
    mark: Vec<u8>,
}

pub(super) async fn start(
    container: &Container,
    cluster: &Cluster,
    order: &DumpOrder,
) -> Result<Running, PgError> {
    let execution = order.execution;
    let mark = format!("\nkanbu-backup-end:{execution}\n");
    let mut environment = cluster.login(cluster.database(), &application(execution));
    environment.push((EXECUTION_VARIABLE.to_owned(), execution.to_string()));
    environment.push(("KANBU_BACKUP_END_MARK".to_owned(), mark.clone()));
    let mut words = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        SCRIPT.to_owned(),
        "sh".to_owned(),
    ];
    words.extend(arguments(order));
    let exec = container.start(Command { words, environment }).await?;
    Ok(Running {
        container: container.clone(),
        exec,
        execution,
        mark: mark.into_bytes(),
    })
}

/// Carries the output to the outlet and says how it ended. Nothing of it runs in the container when this returns, unless
/// the container could not be reached, which is logged.
pub(super) async fn run(
    mut running: Running,
    mut outlet: Outlet,
    done: oneshot::Sender<DumpReport>,
) {
    let mut stderr = StderrTail::default();
    let result = running.carry(&mut outlet, &mut stderr).await;
    if result.is_err() {
        running.stop().await;
    }
    let _ = done.send(outlet.report(stderr.text()));
    outlet.end(result).await;
}

impl Running {
    async fn carry(&mut self, outlet: &mut Outlet, stderr: &mut StderrTail) -> Result<(), Stop> {
        // The end of the output stays here until it is known whether it is the mark.
        let mut held: Vec<u8> = Vec::new();
        loop {
            let frame = tokio::select! {
                biased;
                () = outlet.cancel.cancelled() => return Err(Stop::Cancelled),
                frame = self.exec.output.next() => frame,
            };
            match frame {
                None => break,
                Some(Ok(LogOutput::StdOut { message })) => {
                    held.extend_from_slice(&message);
                    let safe = held.len().saturating_sub(self.mark.len());
                    outlet.buffer.extend(held.drain(..safe));
                    outlet.hand_over_full().await?;
                }
                Some(Ok(LogOutput::StdErr { message })) => stderr.push(&message),
                // The decoder's word for bytes that are no frame: the connection was cut.
                Some(Ok(LogOutput::Console { .. } | LogOutput::StdIn { .. })) => {
                    return Err(PgError::CutFrame {
                        container: self.container.name().to_owned(),
                    }
                    .into());
                }
                Some(Err(source)) => return Err(self.container.broken(source).into()),
            }
        }
        check_status(&self.container, &self.exec.id, outlet, stderr).await?;
        if held != self.mark {
            return Err(PgError::Incomplete {
                reason: "the end of its stream was lost",
            }
            .into());
        }
        outlet.hand_over_rest().await?;
        outlet.check_whole()
    }

    async fn stop(self) {
        let Self {
            container,
            exec,
            execution,
            ..
        } = self;
        // RACE: the engine handles the ends of a container's commands in turn, and that of one whose output waits for its
        // reader not before all is read. So the stream is closed first, or the end of the killing command is never seen.
        let exec_id = exec.close();
        if let Err(error) = container.end(&exec_id, execution).await {
            tracing::warn!(
                %error,
                container.name = container.name(),
                execution.id = %execution,
                "a dump may still run in its container"
            );
        }
    }
}

async fn check_status(
    container: &Container,
    exec_id: &str,
    outlet: &Outlet,
    stderr: &StderrTail,
) -> Result<(), Stop> {
    let status = tokio::select! {
        biased;
        () = outlet.cancel.cancelled() => return Err(Stop::Cancelled),
        status = container.status(exec_id) => status?,
    };
    match status {
        0 => Ok(()),
        NOT_FOUND => Err(Stop::Failed(PgError::tool_missing(TOOL, &stderr.text()))),
        code => {
            let end = format!("exit status: {code}");
            Err(PgError::tool(TOOL, Work::Dump, end, &stderr.text()).into())
        }
    }
}
