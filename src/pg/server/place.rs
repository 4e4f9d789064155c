//! The directory of a private server: what lies where, whose it is, and the two locks that keep it to one server.
//!
//! | Name | What |
//! |---|---|
//! | `owner.lock` | locked by the process that started the server |
//! | `server.lock` | locked by the server itself, which has the locked file as its standard input |
//! | `data/` | the cluster, with its password in `kanbu_backup.password`; appears complete or not at all |
//! | `incomplete.…/` | a cluster that `initdb` has not finished |
//! | `connection.json` | how to connect, while the server runs |
//! | `scratch/` | of test restores, each with a directory of its own like this one |
//!
//! While `server.lock` can be locked, no server runs on the directory, whatever `postmaster.pid` says: after a crash, and
//! always in containers, its number may be another process's by now.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Gid, Uid, chown, flock},
    io::Errno,
    process::{Pid, Signal, geteuid, kill_process},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::ServerError;
use crate::pg::process::Unprivileged;

/// How often a lock is tried again: the lock of another process gives no signal.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// Users without privileges that hosts have, the fitting one first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The longest path of a socket on every system that we know, and what the server puts behind its directory.
const MAX_SOCKET_BYTES: usize = 103;
const SOCKET_NAME_BYTES: usize = "/.s.PGSQL.5432".len();

/// Where test restores happen, beside the data; it may be there before the data is.
pub const SCRATCH: &str = "scratch";

/// How the names of unfinished clusters begin; each has its own, because the remains of another may still be written to.
const INCOMPLETE: &str = "incomplete.";

/// How to reach the running server. Holds its password.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) url: String,
    pub(super) port: u16,
}

/// A private server's directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    root: PathBuf,
}

/// This process owns a directory.
#[derive(Debug)]
pub struct Owned(File);

impl Drop for Owned {
    fn drop(&mut self) {
        // RACE: a child that is being started holds all our files until it runs its program, and with them their locks.
        // Who comes next must not have to wait for that.
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock on a directory ends only with its file");
        }
    }
}

impl Place {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn new_password(&self) -> PathBuf {
        self.root.join("password.new")
    }

    /// The password's place inside a cluster's directory.
    pub(super) fn password_in(cluster: &Path) -> PathBuf {
        cluster.join("kanbu_backup.password")
    }

    /// The address of a socket has no room for a long path.
    pub(super) fn require_short(&self) -> Result<(), ServerError> {
        let directory = self.data();
        if directory.as_os_str().len() + SOCKET_NAME_BYTES <= MAX_SOCKET_BYTES {
            return Ok(());
        }
        Err(ServerError::TooLong { directory })
    }

    fn owner_lock(&self) -> PathBuf {
        self.root.join("owner.lock")
    }

    fn server_lock(&self) -> PathBuf {
        self.root.join("server.lock")
    }

    fn connection(&self) -> PathBuf {
        self.root.join("connection.json")
    }

    /// Makes the directory if it is missing, and this process its owner for as long as the lock lives.
    pub(super) fn own(&self) -> Result<Owned, ServerError> {
        let error = files("create", &self.root);
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).map_err(files("create", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.root) {
            Err(made) if made.kind() != io::ErrorKind::AlreadyExists => return Err(error(made)),
            Err(_) if !self.is_ours()? => {
                return Err(ServerError::NotOurs {
                    directory: self.root(),
                });
            }
            Ok(()) | Err(_) => {}
        }
        let path = self.owner_lock();
        let file = open_lock(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Owned(file)),
            Err(Errno::WOULDBLOCK) => Err(ServerError::AlreadyRunning {
                directory: self.root(),
            }),
            Err(other) => Err(files("lock", &path)(other.into())),
        }
    }

    fn is_ours(&self) -> Result<bool, ServerError> {
        let mut entries = fs::read_dir(&self.root).map_err(files("read", &self.root))?;
        let is_strange =
            |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != SCRATCH);
        Ok(self.owner_lock().exists() || !entries.any(is_strange))
    }

    /// Locks the directory for a server. An orphan of a dead owner is asked to stop, and waited for.
    pub(super) async fn lock_for_server(&self, patience: Duration) -> Result<File, ServerError> {
        let path = self.server_lock();
        let file = open_lock(&path)?;
        let begun = Instant::now();
        let mut ticks = interval(LOCK_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = None;
        loop {
            ticks.tick().await;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) => {}
                Err(other) => return Err(files("lock", &path)(other.into())),
            }
            let waited = begun.elapsed();
            if waited >= patience {
                return Err(ServerError::Orphaned {
                    directory: self.root(),
                });
            }
            // First the orderly shutdown, then the one that leaves the rest to crash recovery.
            let signal = if waited < patience / 2 {
                Signal::INT
            } else {
                Signal::QUIT
            };
            if asked != Some(signal) {
                self.signal_orphan(signal);
                asked = Some(signal);
            }
        }
    }

    /// Signals the process that `postmaster.pid` names, if that works in this very directory as a postmaster does.
    fn signal_orphan(&self, signal: Signal) {
        let Some(pid) = postmaster(&self.data()).map(|(pid, _)| pid) else {
            return;
        };
        let works_in = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid()));
        let data = fs::canonicalize(self.data());
        if matches!((works_in, data), (Ok(cwd), Ok(data)) if cwd == data) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Removes what an earlier server left behind. Call it with the server's lock.
    pub(super) fn forget_earlier_server(&self) -> Result<(), ServerError> {
        for path in [self.data().join("postmaster.pid"), self.connection()] {
            remove(&path)?;
        }
        let entries = fs::read_dir(&self.root).map_err(files("read", &self.root))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(INCOMPLETE) {
                // RACE: what a killed `initdb` had started may still be writing here. The next start removes the rest.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Says how to connect, to whoever may read the directory.
    pub(super) fn publish(&self, connection: &Connection) -> Result<(), ServerError> {
        let path = self.connection();
        let staged = self.root.join("connection.new");
        remove(&staged)?;
        let text = serde_json::to_vec(connection).map_err(io::Error::from);
        text.and_then(|text| write_private(&staged, &text))
            .and_then(|()| fs::rename(&staged, &path))
            .map_err(files("write", &path))
    }

    pub(super) fn unpublish(&self) -> Result<(), ServerError> {
        remove(&self.connection())
    }

    /// The last published connection, of a running server or not.
    pub(super) fn last_connection(&self) -> Option<Connection> {
        let text = fs::read(self.connection()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The connection of the server that runs now.
    pub(super) fn running(&self) -> Result<Connection, ServerError> {
        let path = self.server_lock();
        let absent = || ServerError::NotRunning {
            directory: self.root(),
        };
        let lock = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent(),
            _ => files("read", &path)(error),
        })?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => self.last_connection().ok_or_else(absent),
            Ok(()) => Err(absent()),
            Err(other) => Err(files("lock", &path)(other.into())),
        }
    }

    /// As whom the server runs: ourselves, or, for root, the owner of the data or a user without privileges.
    pub(super) fn runner(&self) -> Result<Option<Unprivileged>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let owner = fs::metadata(self.data())
            .ok()
            .filter(|data| data.uid() != 0);
        let runner = match owner {
            Some(data) => Some(Unprivileged {
                name: name_of(&users, data.uid()),
                uid: data.uid(),
                gid: data.gid(),
            }),
            None => UNPRIVILEGED.iter().find_map(|name| user(&users, name)),
        };
        runner.map(Some).ok_or(ServerError::NobodyToRunAs)
    }

    /// Makes an empty directory for `initdb`. Of ours, only this one and what comes of it belong to the server's user, who
    /// may pass through the rest but neither list nor change it.
    pub(super) fn prepare_incomplete(
        &self,
        runner: Option<&Unprivileged>,
    ) -> Result<PathBuf, ServerError> {
        if runner.is_some() {
            fs::set_permissions(&self.root, Permissions::from_mode(0o711))
                .map_err(files("open", &self.root))?;
        }
        let incomplete = self.root.join(format!("{INCOMPLETE}{}", random_hex()?));
        let made = DirBuilder::new().mode(0o700).create(&incomplete);
        made.map_err(files("create", &incomplete))?;
        give(&incomplete, runner)?;
        Ok(incomplete)
    }

    /// The first directory on the way here that the user can't pass.
    pub(super) fn closed_to(&self, user: &Unprivileged) -> Option<PathBuf> {
        let root = fs::canonicalize(&self.root).ok()?;
        let closed = root.ancestors().skip(1).find(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|directory| {
                let bit = if directory.uid() == user.uid {
                    0o100
                } else if directory.gid() == user.gid {
                    0o010
                } else {
                    0o001
                };
                directory.mode() & bit == 0
            })
        });
        closed.map(Path::to_owned)
    }
}

/// The number in `postmaster.pid`, and whether the server behind it says that it is ready.
pub(super) fn postmaster(data: &Path) -> Option<(Pid, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().and_then(Pid::from_raw)?;
    // The eighth line is the status, padded with blanks.
    let ready = lines.nth(6).is_some_and(|status| status.trim() == "ready");
    Some((pid, ready))
}

/// Gives a file or directory to the one who runs the server.
pub(super) fn give(path: &Path, runner: Option<&Unprivileged>) -> Result<(), ServerError> {
    let Some(runner) = runner else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(runner.uid), Gid::from_raw(runner.gid));
    chown(path, Some(uid), Some(gid)).map_err(|error| files("give away", path)(error.into()))
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn remove(path: &Path) -> Result<(), ServerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn files(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ServerError {
    let path = path.to_owned();
    move |source| ServerError::Files {
        action,
        path: path.clone(),
        source,
    }
}

/// A name or a password that nobody guesses.
pub(super) fn random_hex() -> Result<String, ServerError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|source| ServerError::Random { source })?;
    Ok(hex::encode(bytes))
}

fn open_lock(path: &Path) -> Result<File, ServerError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(files("open", path))
}

/// A user of `/etc/passwd` by name. Root under another name doesn't count.
fn user(passwd: &str, wanted: &str) -> Option<Unprivileged> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
        let gid = fields.next()?.parse().ok()?;
        Some(Unprivileged {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

fn name_of(passwd: &str, uid: u32) -> String {
    let number = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next())
        .unwrap_or(&number)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\npg:x:70:71:,,,:/:/bin/sh\n";

    #[test]
    fn root_under_another_name_is_no_unprivileged_user() {
        assert_eq!(user(PASSWD, "toor"), None);
        assert_eq!(user(PASSWD, "postgres"), None);
        let pg = user(PASSWD, "pg").unwrap();
        assert_eq!((pg.uid, pg.gid), (70, 71));
    }

    #[test]
    fn an_owner_without_a_name_is_called_by_number() {
        assert_eq!(name_of(PASSWD, 70), "pg");
        assert_eq!(name_of(PASSWD, 999), "999");
    }

    #[test]
    fn a_server_is_ready_when_the_eighth_line_says_so() {
        let data = tempfile::tempdir().unwrap();
        let pid_file = data.path().join("postmaster.pid");
        let text = |status: &str| format!("4711\n/data\n1\n5432\n\n127.0.0.1\n 1 2\n{status}\n");
        fs::write(&pid_file, text("starting")).unwrap();
        assert!(!postmaster(data.path()).unwrap().1);
        fs::write(&pid_file, text("ready   ")).unwrap();
        assert!(postmaster(data.path()).unwrap().1);
        fs::write(&pid_file, "").unwrap();
        assert!(postmaster(data.path()).is_none());
    }

    #[test]
    fn an_owner_who_goes_is_followed_at_once_though_a_child_still_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        let owner = place.own().unwrap();
        let in_a_child = owner.0.try_clone().unwrap();
        assert!(matches!(
            place.own(),
            Err(ServerError::AlreadyRunning { .. })
        ));
        drop(owner);
        assert!(place.own().is_ok());
        drop(in_a_child);
    }

    #[test]
    fn a_directory_with_other_files_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), "").unwrap();
        let refused = Place::new(directory.path()).own();
        assert!(matches!(refused, Err(ServerError::NotOurs { .. })));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
