//! Child processes: the one home of `Command`.
//!
//! A child runs in a process group of its own, sees only the environment it is given (so that no secret of ours reaches
//! it by accident), and does not outlive its owner: its handle, the thread that started it, this process. Exit status and
//! standard error are always collected, by threads and not by a runtime, so a child may outlive the runtime it was
//! started from. `dump`, `restore`, `tools` and the private server of `control` start their programs here.

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

pub use rustix::process::Signal;
use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};
use tokio::{io::AsyncReadExt, sync::watch, time::timeout};

use crate::fault::{Classified, Fault};

/// How much of a child's standard error is kept: the end of it.
pub const STDERR_KEPT_BYTES: usize = 64 * 1024;

/// How long a child may take to end after SIGTERM, unless its [`Program`] says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long the end of a dead child's standard error is waited for: something it started may still hold the pipe.
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// The longest part of a child's standard error that an error message repeats.
const STDERR_QUOTED_CHARS: usize = 600;

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    #[error("could not start {program}")]
    Start { program: String, source: io::Error },
    #[error("{program} failed ({status}){}", quoted(stderr))]
    Failed {
        program: String,
        status: ExitStatus,
        stderr: String,
    },
    #[error("{program} did not end within {} s", limit.as_secs())]
    Slow { program: String, limit: Duration },
    #[error("could not talk to {program}")]
    Pipe { program: String, source: io::Error },
    #[error("how {program} ended could not be learned")]
    Unknown { program: String },
}

impl Classified for ProcessError {
    fn fault(&self) -> Fault {
        match self {
            Self::Start { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Fault::Permanent,
                _ => Fault::Transient,
            },
            Self::Failed { .. } | Self::Slow { .. } | Self::Pipe { .. } | Self::Unknown { .. } => {
                Fault::Transient
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "process.start",
            Self::Failed { .. } => "process.failed",
            Self::Slow { .. } => "process.slow",
            Self::Pipe { .. } => "process.pipe",
            Self::Unknown { .. } => "process.unknown_end",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("install the program, or correct the path it is looked for at".into())
            }
            Self::Start { .. }
            | Self::Failed { .. }
            | Self::Slow { .. }
            | Self::Pipe { .. }
            | Self::Unknown { .. } => None,
        }
    }
}

/// The end of a child's standard error, short enough for a message.
fn quoted(stderr: &str) -> String {
    let text = stderr.trim();
    let excess = text.chars().count().saturating_sub(STDERR_QUOTED_CHARS);
    match (text.is_empty(), excess) {
        (true, _) => String::new(),
        (false, 0) => format!(": {text}"),
        (false, _) => format!(": …{}", text.chars().skip(excess).collect::<String>()),
    }
}

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

/// Arms the parent-death signal in the child. It must come after the change of user, which disarms it; hooks run after.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the signal can only be armed between fork and exec"
)]
fn die_with_owner(command: &mut Command, signal: Signal) {
    let owner = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // RACE: the owner died before the signal was armed; none will come, so end here.
        if rustix::process::getppid() == Some(owner) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(arm) };
}

/// Elsewhere only the handle's end reaches the child.
#[cfg(not(target_os = "linux"))]
fn die_with_owner(_command: &mut Command, _signal: Signal) {}

/// A child to be started, and where to send it.
type Order = (Command, mpsc::SyncSender<io::Result<std::process::Child>>);

/// Forks in the one thread that lives as long as the process. The parent-death signal fires when the *thread* that forked
/// ends, so a child started from a runtime's blocking thread would be killed when that thread is retired.
static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    // Without the thread the inbox is gone, which every order then reports.
    let _ = thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
    orders
});

fn fork(command: Command) -> io::Result<std::process::Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the spawner thread is gone");
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// What the handle and the watcher share.
#[derive(Debug, Default)]
struct Shared {
    /// True as soon as the child's number may belong to another process. Signals are sent under this lock.
    reaped: Mutex<bool>,
    stderr: Mutex<VecDeque<u8>>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Running,
    Ended(ExitStatus),
    Unknown,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the two threads that will drain and await a child. They come before it, so that it never lacks them.
fn watch_over(
    name: &str,
    shared: Arc<Shared>,
    end: watch::Sender<End>,
) -> io::Result<mpsc::Sender<std::process::Child>> {
    let (hand_over, child) = mpsc::channel::<std::process::Child>();
    let (pipe, stderr) = mpsc::channel::<ChildStderr>();
    let (drained, all_read) = mpsc::channel::<()>();
    let tail = Arc::clone(&shared);
    let thread = |role: &str| thread::Builder::new().name(format!("{role} {name}"));
    thread("stderr of").spawn(move || {
        if let Ok(stderr) = stderr.recv() {
            drain(stderr, &tail.stderr);
        }
        drop(drained);
    })?;
    thread("end of").spawn(move || {
        let Ok(mut child) = child.recv() else { return };
        if let Some(stderr) = child.stderr.take() {
            let _ = pipe.send(stderr);
        }
        let status = reap(&mut child, &shared.reaped);
        // Its end, or the patience: either way the tail is as good as it gets.
        let _ = all_read.recv_timeout(STDERR_PATIENCE);
        end.send_replace(status.map_or(End::Unknown, End::Ended));
    })?;
    Ok(hand_over)
}

fn drain(mut stderr: ChildStderr, tail: &Mutex<VecDeque<u8>>) {
    let mut chunk = [0; 8192];
    loop {
        match stderr.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                let mut tail = locked(tail);
                tail.extend(&chunk[..read]);
                let excess = tail.len().saturating_sub(STDERR_KEPT_BYTES);
                tail.drain(..excess);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Waits for the child's end and takes the rest of its group with it.
fn reap(child: &mut std::process::Child, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let seen = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), seen), Err(Errno::INTR)) {}
    // RACE: until it is reaped the number is the dead child's, so the signal can't hit a stranger.
    let mut reaped = locked(reaped);
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait();
    *reaped = true;
    status
}

/// A running child. Dropping it sends its owner-death signal.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: Pid,
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<std::process::ChildStdout>,
    shared: Arc<Shared>,
    end: watch::Receiver<End>,
    orphan_signal: Option<Signal>,
    grace: Duration,
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

    /// The last [`STDERR_KEPT_BYTES`] of its standard error; complete once it has ended.
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

    fn pipe_error(&self, source: io::Error) -> ProcessError {
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
