//! One worker process, and the signals it gets. Every signal is written down with its time, for the verdict.

use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

use chrono::{DateTime, Utc};
use kanbu_backup::pg::process::{Child, Program, Signal};
use kanbu_backup_faults::journal::true_now;
use serde::Serialize;
use tokio::time::timeout;

use crate::world::PATIENCE;

/// How to start a worker.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) lease_ms: u64,
    pub(crate) slots: usize,
    pub(crate) grace_ms: u64,
    pub(crate) clean_up_ms: u64,
    pub(crate) deadline_ms: u64,
    /// Another address of the control database.
    pub(crate) url: Option<String>,
    /// What its wall clock is off by, as libfaketime writes it.
    pub(crate) clock: Option<&'static str>,
}

impl Terms {
    pub(crate) fn lease(seconds: u64) -> Self {
        Self {
            lease_ms: seconds * 1000,
            slots: 1,
            grace_ms: 30_000,
            clean_up_ms: 10_000,
            deadline_ms: 600_000,
            url: None,
            clock: None,
        }
    }

    pub(crate) fn slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }

    pub(crate) fn grace(self, grace_ms: u64) -> Self {
        Self { grace_ms, ..self }
    }

    pub(crate) fn clean_up(self, clean_up_ms: u64) -> Self {
        Self {
            clean_up_ms,
            ..self
        }
    }

    pub(crate) fn deadline(self, deadline_ms: u64) -> Self {
        Self {
            deadline_ms,
            ..self
        }
    }

    pub(crate) fn through(self, url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            ..self
        }
    }

    pub(crate) fn clock(self, offset: &'static str) -> Self {
        Self {
            clock: Some(offset),
            ..self
        }
    }

    pub(crate) fn args(&self) -> Vec<String> {
        let options = [
            ("--lease-ms", self.lease_ms),
            ("--slots", self.slots as u64),
            ("--grace-ms", self.grace_ms),
            ("--clean-up-ms", self.clean_up_ms),
            ("--deadline-ms", self.deadline_ms),
        ];
        let options = options.map(|(name, value)| [name.to_owned(), value.to_string()]);
        [vec!["work".to_owned()], options.concat()].concat()
    }
}

/// What befell a process: `kill`, `dead`, or a time in which it was `frozen`; or all of them: a `standstill`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Blow {
    pub(crate) pid: i32,
    pub(crate) what: &'static str,
    pub(crate) since: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

impl Blow {
    /// The machine stood still until now.
    pub(crate) fn standstill(since: DateTime<Utc>) -> Self {
        Self {
            pid: 0,
            what: "standstill",
            since,
            until: true_now(),
        }
    }
}

/// A process of the suite. Dropping it kills it.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    frozen_since: Option<DateTime<Utc>>,
    blows: Vec<Blow>,
}

impl Process {
    pub(crate) fn start(program: Program, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            child: program.without_stdout().spawn().unwrap(),
            frozen_since: None,
            blows: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().as_raw_nonzero().get()
    }

    pub(crate) fn said(&self) -> String {
        self.child.stderr_tail()
    }

    fn blow(&mut self, what: &'static str, since: DateTime<Utc>) {
        let blow = Blow {
            pid: self.pid(),
            what,
            since,
            until: true_now(),
        };
        self.blows.push(blow);
    }

    /// SIGKILL; when this returns the process is gone.
    pub(crate) async fn kill(mut self) -> Vec<Blow> {
        let since = true_now();
        self.child.signal(Signal::KILL);
        self.child.wait().await.unwrap();
        self.blow("kill", since);
        self.buried(since)
    }

    pub(crate) fn freeze(&mut self) {
        self.frozen_since = Some(true_now());
        self.child.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&mut self) {
        self.child.signal(Signal::CONT);
        if let Some(since) = self.frozen_since.take() {
            self.blow("frozen", since);
        }
    }

    pub(crate) fn terminate(&self) {
        self.child.signal(Signal::TERM);
    }

    /// Whether it has ended, by whatever cause.
    pub(crate) fn has_ended(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.pid())).exists()
    }

    /// Its end, which comes by itself.
    pub(crate) async fn end(self) -> (ExitStatus, String, Vec<Blow>) {
        let since = true_now();
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("{} does not end: {}", self.name, self.said());
        };
        let (status, tail) = (status.unwrap(), self.said());
        if !status.success() {
            println!("{} ({}) ended, {status}: {tail}", self.name, self.pid());
        }
        (status, tail, self.buried(since))
    }

    /// SIGTERM, and it goes home in good order.
    pub(crate) async fn dismiss(self) -> Vec<Blow> {
        self.terminate();
        self.gone().await
    }

    /// It was told to go and goes home in good order.
    pub(crate) async fn gone(self) -> Vec<Blow> {
        let (name, pid) = (self.name.clone(), self.pid());
        let (status, tail, blows) = self.end().await;
        assert!(
            status.success(),
            "{name} ({pid}) ended with {:?}, signal {:?}: {tail}",
            status.code(),
            status.signal(),
        );
        blows
    }

    fn buried(mut self, since: DateTime<Utc>) -> Vec<Blow> {
        if let Some(frozen) = self.frozen_since.take() {
            self.blow("frozen", frozen);
        }
        self.blow("dead", since);
        std::mem::take(&mut self.blows)
    }
}
