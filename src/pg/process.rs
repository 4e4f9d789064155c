//! Child processes: the one home of `Command`.
//!
//! A child runs in a process group of its own, sees only the environment it is given (so that no secret of ours reaches
//! it by accident), and does not outlive its owner: its handle, the thread that started it, this process. Exit status and
//! standard error are always collected, by threads and not by a runtime, so a child may outlive the runtime it was
//! started from. `dump`, `restore`, `tools` and the private server of `control` start their programs here.

mod child;
mod error;
mod spawner;
mod watcher;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

pub use rustix::process::{Pid, Signal};
use tokio::{io::AsyncReadExt, sync::watch, time::timeout};

pub use self::{child::Child, error::ProcessError, watcher::STDERR_KEPT_BYTES};
use self::{
    spawner::{die_with_owner, fork},
    watcher::{End, Shared, watch_over},
};

/// How long a child may take to end after SIGTERM, unless its [`Program`] says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

/// A user without privileges, for programs that must not run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unprivileged {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// What a child reads as its standard input.
#[derive(Debug)]
enum Input {
    Nothing,
    Pipe,
    File(File),
}

/// A program to start: path, arguments (never a secret, everybody on the host can read them), and its environment.
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<Unprivileged>,
    directory: Option<PathBuf>,
    input: Input,
    discards_stdout: bool,
    orphan_signal: Option<Signal>,
    grace: Duration,
}

impl Program {
    /// A program by its full path. Its environment holds a plain `PATH` and the C locale, so that messages can be read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("LC_ALL".into(), "C".into()),
            ],
            user: None,
            directory: None,
            input: Input::Nothing,
            discards_stdout: false,
            orphan_signal: Some(Signal::KILL),
            grace: GRACE,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable; the last value given for a name counts.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as this user, in `/` unless told otherwise: our own directory may be closed to it.
    #[must_use]
    pub fn user(mut self, user: Option<Unprivileged>) -> Self {
        self.user = user;
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Standard input will be written through [`Child::stdin`].
    #[must_use]
    pub fn piped_stdin(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Standard input is this file; the child holds it open, and with it a lock on it.
    #[must_use]
    pub fn stdin_from(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// Standard output goes nowhere. Without this it must be read, or the child blocks on a full pipe.
    #[must_use]
    pub fn without_stdout(mut self) -> Self {
        self.discards_stdout = true;
        self
    }

    /// What the child gets when its owner (handle, spawner or process) goes: SIGKILL unless set; `None` lets it live on.
    #[must_use]
    pub fn on_owner_death(mut self, signal: Option<Signal>) -> Self {
        self.orphan_signal = signal;
        self
    }

    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts it. Returns when the program runs, or when it is known that it can't.
    pub fn spawn(self) -> Result<Child, ProcessError> {
        let name = display_name(&self.path);
        self.start(&name).map_err(|source| ProcessError::Start {
            program: name,
            source,
        })
    }

    /// Runs it to its end and returns the first `limit_bytes` of its output. A status other than zero is an error.
    pub async fn run(self, limit_bytes: u64, deadline: Duration) -> Result<Vec<u8>, ProcessError> {
        let mut child = self.spawn()?;
        let work = async {
            let mut output = Vec::new();
            if let Some(mut stdout) = child.stdout()? {
                let read = async {
                    (&mut stdout)
                        .take(limit_bytes)
                        .read_to_end(&mut output)
                        .await?;
                    tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await
                };
                read.await.map_err(|source| child.pipe_error(source))?;
            }
            child.success().await?;
            Ok(output)
        };
        if let Ok(outcome) = timeout(deadline, work).await {
            return outcome;
        }
        child.terminate().await?;
        Err(ProcessError::Slow {
            program: child.name.clone(),
            limit: deadline,
        })
    }

    fn start(self, name: &str) -> io::Result<Child> {
        let orphan_signal = self.orphan_signal;
        let grace = self.grace;
        let shared = Arc::new(Shared::default());
        let (end_seen, end) = watch::channel(End::Running);
        let watcher = watch_over(name, Arc::clone(&shared), end_seen)?;
        let mut child = fork(self.into_command())?;
        let pid = Pid::from_child(&child);
        let handle = Child {
            name: name.to_owned(),
            pid,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            shared,
            end,
            orphan_signal,
            grace,
        };
        let gone = |_| io::Error::other("the watcher of the child is gone");
        watcher.send(child).map_err(gone)?;
        Ok(handle)
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of child processes")]
    fn into_command(self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(self.args)
            .env_clear()
            .envs(self.env)
            .process_group(0)
            .stderr(Stdio::piped())
            .stdin(match self.input {
                Input::Nothing => Stdio::null(),
                Input::Pipe => Stdio::piped(),
                Input::File(file) => file.into(),
            })
            .stdout(if self.discards_stdout {
                Stdio::null()
            } else {
                Stdio::piped()
            });
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid).current_dir("/");
        }
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        if let Some(signal) = self.orphan_signal {
            die_with_owner(&mut command, signal);
        }
        command
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsString> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Program")
            .field("path", &self.path)
            .field("args", &self.args)
            .field("env", &names)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

fn display_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;
    use crate::fault::Classified;

    /// Far longer than any of these may take.
    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").arg("-c").arg(script)
    }

    async fn first_line(child: &mut Child) -> String {
        let stdout = child.stdout().unwrap().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
        let script = "trap '' TERM; echo ready; while :; do sleep 60; done";
        let grace = Duration::from_millis(100);
        let mut child = shell(script).grace(grace).spawn().unwrap();
        assert_eq!(first_line(&mut child).await, "ready\n");
        let status = child.terminate().await.unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }

    #[tokio::test]
    async fn a_child_that_heeds_sigterm_has_its_own_say() {
        let script = "trap 'echo bye >&2; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = shell(script).grace(LONG).spawn().unwrap();
        assert_eq!(first_line(&mut child).await, "ready\n");
        let status = child.terminate().await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(child.stderr_tail().ends_with("bye\n"));
    }

    #[tokio::test]
    async fn only_the_end_of_ten_megabytes_of_stderr_is_kept() {
        let script = "head -c 10000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1";
        let child = shell(script).without_stdout().spawn().unwrap();
        let error = child.success().await.unwrap_err();
        let tail = child.stderr_tail();
        assert_eq!(tail.len(), STDERR_KEPT_BYTES);
        assert!(tail.ends_with("the end\n"));
        let message = error.to_string();
        assert!(
            message.ends_with("the end") && message.len() < 1000,
            "{message}"
        );
    }

    #[tokio::test]
    async fn what_a_child_leaves_in_its_group_dies_with_it() {
        // The sleeper holds standard output, so the run ends only when it does.
        let output = shell("sleep 600 & echo started").run(100, LONG).await;
        assert_eq!(output.unwrap(), b"started\n");
    }

    #[tokio::test]
    async fn a_dropped_handle_takes_the_child_along() {
        let mut child = shell("echo ready; exec sleep 600").spawn().unwrap();
        let mut stdout = child.stdout().unwrap().unwrap();
        drop(child);
        let mut output = Vec::new();
        let end = timeout(LONG, stdout.read_to_end(&mut output)).await;
        assert!(end.is_ok(), "the child still holds its output");
    }

    #[tokio::test]
    async fn a_child_sees_only_the_environment_it_is_given() {
        let program = Program::new("/usr/bin/env").env("PGPASSWORD", "hunter2");
        let shown = format!("{program:?}");
        assert!(shown.contains("PGPASSWORD") && !shown.contains("hunter2"));
        let output = String::from_utf8(program.run(10_000, LONG).await.unwrap()).unwrap();
        let mut names: Vec<_> = output.lines().map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, [Some("LC_ALL"), Some("PATH"), Some("PGPASSWORD")]);
    }

    #[tokio::test]
    async fn a_run_past_its_deadline_is_ended() {
        let late = shell("exec sleep 600").run(10, Duration::from_millis(50));
        assert_eq!(late.await.unwrap_err().code(), "process.slow");
    }

    #[test]
    fn a_child_outlives_the_runtime_it_was_started_from() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let start = async { shell("read line; exit 7").piped_stdin().spawn() };
        let mut child = runtime().block_on(start).unwrap();
        let status = runtime().block_on(async {
            drop(child.stdin());
            child.wait().await
        });
        assert_eq!(status.unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_a_hint() {
        let error = Program::new("/nowhere/pg_dump").spawn().unwrap_err();
        assert_eq!(error.to_string(), "could not start pg_dump");
        assert!(error.hint().unwrap().starts_with("install"));
    }
}
