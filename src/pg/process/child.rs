//! The handle of a running child.

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{sync::watch, time::timeout};

use super::{
    ProcessError,
    watcher::{End, Shared, locked},
};

/// A running child. Dropping it sends its owner-death signal.
#[derive(Debug)]
pub struct Child {
    pub(super) name: String,
    pub(super) pid: Pid,
    pub(super) stdin: Option<std::process::ChildStdin>,
    pub(super) stdout: Option<std::process::ChildStdout>,
    pub(super) shared: Arc<Shared>,
    pub(super) end: watch::Receiver<End>,
    pub(super) orphan_signal: Option<Signal>,
    pub(super) grace: Duration,
}

impl Child {
    /// The process number, while it runs.
    pub fn id(&self) -> Pid {
        self.pid
    }

    /// Takes the writing end of its standard input, if it was asked for and not taken yet. Needs a runtime.
    pub fn stdin(&mut self) -> Result<Option<tokio::process::ChildStdin>, ProcessError> {
        let pipe = self.stdin.take();
        pipe.map(tokio::process::ChildStdin::from_std)
            .transpose()
            .map_err(|source| self.pipe_error(source))
    }

    /// Takes the reading end of its standard output, if not taken yet. Needs a runtime.
    pub fn stdout(&mut self) -> Result<Option<tokio::process::ChildStdout>, ProcessError> {
        let pipe = self.stdout.take();
        pipe.map(tokio::process::ChildStdout::from_std)
            .transpose()
            .map_err(|source| self.pipe_error(source))
    }

    /// The end of its standard error, 64 KiB at most; complete once it has ended.
    pub fn stderr_tail(&self) -> String {
        let mut tail = locked(&self.shared.stderr);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }

    /// Waits for its end. May be called, and be given up, any number of times.
    pub async fn wait(&self) -> Result<ExitStatus, ProcessError> {
        let mut end = self.end.clone();
        let ended = end.wait_for(|end| !matches!(end, End::Running)).await;
        match ended.as_deref() {
            Ok(End::Ended(status)) => Ok(*status),
            Ok(End::Running | End::Unknown) | Err(_) => Err(ProcessError::Unknown {
                program: self.name.clone(),
            }),
        }
    }

    /// Waits for its end; any status but zero is an error that quotes its standard error.
    pub async fn success(&self) -> Result<(), ProcessError> {
        let status = self.wait().await?;
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed {
            program: self.name.clone(),
            status,
            stderr: self.stderr_tail(),
        })
    }

    /// SIGTERM to its group, SIGKILL after the grace; returns when it has ended.
    pub async fn terminate(&self) -> Result<ExitStatus, ProcessError> {
        self.signal_group(Signal::TERM);
        if let Ok(end) = timeout(self.grace, self.wait()).await {
            return end;
        }
        self.signal_group(Signal::KILL);
        self.wait().await
    }

    /// Sends a signal to the child alone; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let reaped = locked(&self.shared.reaped);
        if !*reaped {
            let _ = kill_process(self.pid, signal);
        }
    }

    fn signal_group(&self, signal: Signal) {
        let reaped = locked(&self.shared.reaped);
        if !*reaped {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    pub(super) fn pipe_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Pipe {
            program: self.name.clone(),
            source,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(signal) = self.orphan_signal {
            self.signal_group(signal);
        }
    }
}
