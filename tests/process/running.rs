//! The binary as a process: started, waited for, listened to.

use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus, time::Duration};

use kanbu_backup::pg::process::{Child, Program, Signal};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(30);

/// The binary under test.
pub(crate) fn kanbu_backup() -> Program {
    Program::new(env!("CARGO_BIN_EXE_kanbu-backup"))
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A process at work. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    command: String,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) command: String,
    /// The exit code, or 128 and the signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(program: Program, command: &str) -> Self {
        let mut child = program.spawn().unwrap();
        let mut pipe = child.stdout().unwrap().unwrap();
        let stdout = tokio::spawn(async move {
            let mut read = Vec::new();
            pipe.read_to_end(&mut read).await.unwrap();
            read
        });
        Self {
            child,
            stdout,
            command: command.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().as_raw_nonzero().get()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// What it has said on standard error so far.
    pub(crate) fn said(&self) -> String {
        self.child.stderr_tail()
    }

    /// Waits until it says this on standard error.
    pub(crate) async fn until_it_says(&self, words: &str) -> String {
        let what = format!("`{}` to say {words:?}", self.command);
        let waiting = until(&what, async || {
            Some(self.said()).filter(|said| said.contains(words))
        });
        tokio::select! {
            said = waiting => said,
            end = self.child.wait() => {
                let said = self.said();
                assert!(said.contains(words), "{}: {end:?} without {words:?}: {said}", self.command);
                said
            }
        }
    }

    pub(crate) async fn end(self) -> Ended {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("`{}` does not end: {}", self.command, self.said());
        };
        let stdout = self.stdout.await.unwrap();
        Ended {
            code: code(status.unwrap()),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: self.child.stderr_tail(),
            command: self.command,
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap())
}

impl Ended {
    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "`{}`\n{}\n{}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// It failed as a failure should: this exit code, this stable code, a sentence with these words, and a hint.
    #[track_caller]
    pub(crate) fn refused(self, exit: i32, code: &str, words: &str) -> Self {
        let ended = self.with(exit);
        let line = ended
            .stderr
            .lines()
            .find(|line| line.starts_with("error: ") && line.ends_with(&format!("({code})")))
            .unwrap_or_else(|| panic!("no error {code}: {}", ended.stderr));
        assert!(line.contains(words), "{line}");
        assert!(ended.stderr.contains("  hint: "), "{}", ended.stderr);
        ended
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        let mut documents = self.lines();
        assert_eq!(documents.len(), 1, "{}", self.stdout);
        documents.remove(0)
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| {
                let value: Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["v"], 1, "{line}");
                value
            })
            .collect()
    }

    /// The last of the JSON lines, which alone is a result or an error.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        let mut lines = self.lines();
        let last = lines.pop().expect("a last line");
        assert!(is_end(&last), "{last}");
        assert!(!lines.iter().any(is_end), "{}", self.stdout);
        last
    }
}

fn is_end(line: &Value) -> bool {
    line["type"] == "result" || line["type"] == "error"
}

/// The numbers of the processes whose parent is this one.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    let of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which may hold blanks, stands in brackets.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(1)?.parse::<i32>().ok()
    };
    processes().filter(|pid| of(*pid) == Some(parent)).collect()
}

pub(crate) fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The program name of a process, if it (still) runs.
pub(crate) fn name_of(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let is_dead = rest.starts_with('Z') || rest.starts_with('X');
    (!is_dead).then(|| head.split_once('(').unwrap().1.to_owned())
}

/// What a process was started with, as everybody on the host can read it.
pub(crate) fn arguments_of(pid: i32) -> String {
    let read = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&read).replace('\0', " ")
}

/// Everything below a directory, files and directories, by path.
pub(crate) fn everything_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(everything_in(&path));
        }
    }
    found.sort();
    found
}
