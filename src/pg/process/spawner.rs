//! The one thread that forks, and the signal that children get when it, and thus this process, is gone.

#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::{
    io,
    process::{Child, Command},
    sync::{LazyLock, mpsc},
    thread,
};

#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::process::Signal;

/// A child to be started, and where to send it.
type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

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

pub(super) fn fork(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the spawner thread is gone");
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Arms the parent-death signal in the child. It must come after the change of user, which disarms it; hooks run after.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the signal can only be armed between fork and exec"
)]
pub(super) fn die_with_owner(command: &mut Command, signal: Signal) {
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
pub(super) fn die_with_owner(_command: &mut Command, _signal: Signal) {}
