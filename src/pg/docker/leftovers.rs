//! Ending what runs inside a container for an execution.
//!
//! By the execution id in a process's environment and not by its number: the id is there from the process's first moment,
//! is inherited by its children, and can't come to mean a stranger's process.

use std::time::Duration;

use tokio::time::{Instant, interval};

use super::{Command, Container, EXECUTION_VARIABLE};
use crate::{id::ExecutionId, pg::error::PgError, pg::process::GRACE};

/// How long a process may live after SIGKILL before that is an error.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether processes have gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Signals each process of the executions named by the arguments after the first, and prints their numbers. Uses nothing
/// but a POSIX shell, whose `read` leaves out the zero bytes between the entries of an environment.
const SIGNAL_ALL: &str = r#"
signal=$1
shift
for directory in /proc/[0-9]*; do
    (
        while IFS= read -r line || [ -n "$line" ]; do
            for execution in "$@"; do
                case $line in
                    *"KANBU_BACKUP_EXECUTION=$execution"*)
                        kill "-$signal" "${directory#/proc/}" && printf '%s\n' "${directory#/proc/}"
                        exit 0 ;;
                esac
            done
        done <"$directory/environ"
    ) 2>/dev/null
done
exit 0
"#;

/// Ends what dead workers left running in a container for these executions. Returns when nothing of them is left, with
/// the number of processes that were found.
pub async fn end_leftovers(
    container: &Container,
    executions: &[ExecutionId],
) -> Result<usize, PgError> {
    container.end_all(executions, None).await
}

impl Container {
    /// Ends a command that belongs to an execution, and everything it started.
    pub(in crate::pg) async fn end(
        &self,
        exec_id: &str,
        execution: ExecutionId,
    ) -> Result<(), PgError> {
        self.end_all(&[execution], Some(exec_id)).await.map(drop)
    }

    /// SIGTERM until the grace is over, then SIGKILL, until a look finds nothing.
    ///
    /// RACE: a command that Docker has accepted may not have begun yet, so finding nothing is not enough: the
    /// command of `exec_id`, if there is one, must also have a status.
    async fn end_all(
        &self,
        executions: &[ExecutionId],
        exec_id: Option<&str>,
    ) -> Result<usize, PgError> {
        debug_assert!(
            SIGNAL_ALL.contains(EXECUTION_VARIABLE),
            "the script looks for the variable"
        );
        let begun = Instant::now();
        let mut found = 0;
        let mut beat = interval(LOOK_INTERVAL);
        loop {
            beat.tick().await;
            let patience_over = begun.elapsed() > GRACE;
            let seen = self
                .signal_all(if patience_over { "KILL" } else { "TERM" }, executions)
                .await?;
            found = found.max(seen);
            let ended = match exec_id {
                Some(id) => self.status_now(id).await?.is_some(),
                None => true,
            };
            if seen == 0 && ended {
                return Ok(found);
            }
            if begun.elapsed() > GRACE + KILL_PATIENCE {
                return Err(self.endless());
            }
        }
    }

    async fn signal_all(&self, signal: &str, executions: &[ExecutionId]) -> Result<usize, PgError> {
        let mut words = ["sh", "-c", SIGNAL_ALL, "sh", signal]
            .map(str::to_owned)
            .to_vec();
        words.extend(executions.iter().map(ToString::to_string));
        let done = self
            .run(Command {
                words,
                environment: Vec::new(),
            })
            .await?;
        Ok(done.stdout.lines().count())
    }
}
