//! The two threads that stand by a child: one drains its standard error, one waits for its end.

use std::{
    collections::VecDeque,
    io::{self, Read},
    process::{Child, ChildStderr, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::sync::watch;

/// How much of a child's standard error is kept: the end of it.
pub const STDERR_KEPT_BYTES: usize = 64 * 1024;

/// How long the end of a dead child's standard error is waited for: something it started may still hold the pipe.
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// What the handle and the watcher share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// True as soon as the child's number may belong to another process. Signals are sent under this lock.
    pub(super) reaped: Mutex<bool>,
    pub(super) stderr: Mutex<VecDeque<u8>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Running,
    Ended(ExitStatus),
    Unknown,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the two threads that will drain and await a child. They come before it, so that it never lacks them.
pub(super) fn watch_over(
    name: &str,
    shared: Arc<Shared>,
    end: watch::Sender<End>,
) -> io::Result<mpsc::Sender<Child>> {
    let (hand_over, child) = mpsc::channel::<Child>();
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
fn reap(child: &mut Child, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
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
