//! Commands inside a container: started, read to their end, their status learned.

use std::{collections::VecDeque, fmt, pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    errors::Error,
    exec::{CreateExecOptions, StartExecResults},
};
use futures::{Stream, StreamExt};
use tokio::{io::AsyncWrite, time::timeout};

use super::Container;
use crate::pg::{error::PgError, process::STDERR_KEPT_BYTES};

/// How long a command that only asks or signals may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

/// How much of such a command's output is read.
const OUTPUT_BYTES: usize = 1024 * 1024;

/// How long Docker may take to learn the status of a command whose output has ended.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// How often Docker is asked for a status; it has no call that waits for one.
const STATUS_INTERVAL: Duration = Duration::from_millis(50);

/// What to run: words, never a line for a shell to split. The environment may hold the password.
pub(in crate::pg) struct Command {
    pub(in crate::pg) words: Vec<String>,
    pub(in crate::pg) environment: Vec<(String, String)>,
}

/// A command that was started.
pub(in crate::pg) struct Exec {
    pub(in crate::pg) id: String,
    pub(in crate::pg) output: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    /// Half of the connection; held so that it stays open. Leads to the command's standard input if that was asked for.
    pub(in crate::pg) input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Exec {
    /// Closes the connection, and gives the id by which the command is known on.
    pub(in crate::pg) fn close(self) -> String {
        self.id
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: i64,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The last part of a command's standard error.
#[derive(Debug, Default)]
pub(in crate::pg) struct StderrTail(VecDeque<u8>);

impl StderrTail {
    pub(in crate::pg) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(STDERR_KEPT_BYTES);
        self.0.drain(..excess);
    }

    pub(in crate::pg) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Container {
    /// Starts a command, as the container's own user.
    pub(in crate::pg) async fn start(&self, command: Command) -> Result<Exec, PgError> {
        self.open(command, false).await
    }

    /// The same for a command that is written to.
    pub(in crate::pg) async fn converse(&self, command: Command) -> Result<Exec, PgError> {
        self.open(command, true).await
    }

    async fn open(&self, command: Command, with_input: bool) -> Result<Exec, PgError> {
        let environment = command
            .environment
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"));
        let options = CreateExecOptions {
            attach_stdin: Some(with_input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.words),
            env: Some(environment.collect()),
            ..CreateExecOptions::default()
        };
        let created = self
            .docker
            .create_exec(&self.id, options)
            .await
            .map_err(|source| self.broken(source))?;
        match self
            .docker
            .start_exec(&created.id, None)
            .await
            .map_err(|source| self.broken(source))?
        {
            StartExecResults::Attached { output, input } => Ok(Exec {
                id: created.id,
                output,
                input,
            }),
            StartExecResults::Detached => Err(self.endless()),
        }
    }

    /// Runs a short command to its end.
    pub(super) async fn run(&self, command: Command) -> Result<Done, PgError> {
        let work = async {
            let mut exec = self.start(command).await?;
            let mut stdout = Vec::new();
            let mut stderr = StderrTail::default();
            while let Some(frame) = exec.output.next().await {
                match frame.map_err(|source| self.broken(source))? {
                    LogOutput::StdOut { message } => {
                        let room = OUTPUT_BYTES.saturating_sub(stdout.len());
                        stdout.extend(message.iter().take(room));
                    }
                    LogOutput::StdErr { message } => stderr.push(&message),
                    LogOutput::Console { .. } | LogOutput::StdIn { .. } => {
                        return Err(PgError::CutFrame {
                            container: self.name.clone(),
                        });
                    }
                }
            }
            let status = self.status(&exec.id).await?;
            Ok(Done {
                status,
                stdout: String::from_utf8_lossy(&stdout).into_owned(),
                stderr: stderr.text(),
            })
        };
        timeout(COMMAND_PATIENCE, work)
            .await
            .unwrap_or_else(|_| Err(self.endless()))
    }

    /// The status of a command whose output has ended. Its end may be known a little later than its output's.
    pub(in crate::pg) async fn status(&self, exec_id: &str) -> Result<i64, PgError> {
        let ask = async {
            let mut beat = tokio::time::interval(STATUS_INTERVAL);
            loop {
                beat.tick().await;
                if let Some(status) = self.status_now(exec_id).await? {
                    return Ok(status);
                }
            }
        };
        timeout(STATUS_PATIENCE, ask)
            .await
            .unwrap_or_else(|_| Err(self.endless()))
    }

    /// `None` while it runs, and before it runs.
    pub(super) async fn status_now(&self, exec_id: &str) -> Result<Option<i64>, PgError> {
        let seen = self
            .docker
            .inspect_exec(exec_id)
            .await
            .map_err(|source| self.broken(source))?;
        Ok(seen.exit_code.filter(|_| seen.running == Some(false)))
    }

    pub(super) fn endless(&self) -> PgError {
        PgError::ExecEndless {
            container: self.name.clone(),
        }
    }
}
