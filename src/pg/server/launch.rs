//! The programs of a private server: `initdb` once, then `postgres` on a port that is free.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::Duration,
};

use tokio::time::{interval, timeout};

use super::{
    ServerError, ServerOptions, USER, ended,
    place::{Place, files, give, postmaster, random_hex, remove, write_private},
};
use crate::pg::{
    process::{Child, ProcessError, Program, Signal, Unprivileged},
    tools::Toolset,
};

/// How long `initdb` may take on a slow disk.
const SETUP_PATIENCE: Duration = Duration::from_mins(5);

/// Whether the files that `initdb` made are flushed in one go; it would flush a thousand of them one by one.
const FLUSHES_AT_ONCE: bool = cfg!(target_os = "linux");

/// How long the server may take until it accepts connections: crash recovery comes first.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// How often `postmaster.pid` is read while the server starts; it gives no signal.
const READY_TICK: Duration = Duration::from_millis(20);

/// The number in the name of a socket that nobody shares.
const SOCKET_PORT: u16 = 5432;

/// A chosen port may be taken before the server has it; so often another one is tried.
const PORT_ATTEMPTS: usize = 8;

/// A start in progress: the directory is owned, and the server's lock is held.
pub(super) struct Launch<'a> {
    pub(super) options: &'a ServerOptions,
    pub(super) toolset: &'a Toolset,
    pub(super) place: &'a Place,
    pub(super) runner: Option<Unprivileged>,
    pub(super) lock: File,
}

impl Launch<'_> {
    /// Makes the cluster beside its place and moves it there when it is complete.
    pub(super) async fn set_up(&self) -> Result<(), ServerError> {
        let incomplete = self.place.prepare_incomplete(self.runner.as_ref())?;
        let new_password = self.place.new_password();
        remove(&new_password)?;
        let password = random_hex()?;
        write_private(&new_password, password.as_bytes()).map_err(files("write", &new_password))?;
        give(&new_password, self.runner.as_ref())?;

        let mut initdb = Program::new(self.toolset.program("initdb"))
            .user(self.runner.clone())
            .args(["--username", USER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--no-locale", "--data-checksums"])
            .arg("--pwfile")
            .arg(&new_password)
            .arg("--pgdata")
            .arg(&incomplete);
        if self.options.throwaway || FLUSHES_AT_ONCE {
            initdb = initdb.arg("--no-sync");
        }
        let made = initdb.run(64 * 1024, SETUP_PATIENCE).await;
        made.map_err(|source| self.explain(source, |source| ServerError::Setup { source }))?;

        let data = self.place.data();
        let root = self.place.root();
        fs::rename(&new_password, Place::password_in(&incomplete))
            .and_then(|()| self.flush(&incomplete))
            .and_then(|()| fs::rename(&incomplete, &data))
            .and_then(|()| File::open(&root)?.sync_all())
            .map_err(files("create", &data))
    }

    /// What is in the directory reaches the disk before the directory gets its name.
    fn flush(&self, directory: &Path) -> io::Result<()> {
        let directory = File::open(directory)?;
        #[cfg(target_os = "linux")]
        if !self.options.throwaway {
            rustix::fs::syncfs(&directory)?;
        }
        directory.sync_all()
    }

    /// Starts the server on a free port, the last one if it can, and waits until it is ready.
    pub(super) async fn start(&self, last_port: Option<u16>) -> Result<(Child, u16), ServerError> {
        let mut wish = last_port;
        for attempt in 1.. {
            let port = if self.options.socket_only {
                SOCKET_PORT
            } else {
                free_port(wish.take())?
            };
            let child = self.spawn(port)?;
            let ready = timeout(START_PATIENCE, self.ready(&child)).await;
            match ready {
                Ok(Ok(())) => return Ok((child, port)),
                // RACE: somebody took the port between our look and the server's.
                Ok(Err(ServerError::Ended { said }))
                    if said.contains("could not bind") && attempt < PORT_ATTEMPTS => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Err(ServerError::Slow {
            seconds: START_PATIENCE.as_secs(),
        })
    }

    fn spawn(&self, port: u16) -> Result<Child, ServerError> {
        // The data's own directory is the one that the server's user may write to and nobody else may enter.
        let data = self.place.data();
        let directory = data.to_string_lossy();
        let (addresses, sockets) = if self.options.socket_only {
            ("", &*directory)
        } else {
            ("127.0.0.1", "")
        };
        let own = [
            ("listen_addresses", addresses),
            ("unix_socket_directories", sockets),
            ("port", &port.to_string()),
            ("password_encryption", "scram-sha-256"),
            ("shared_buffers", "32MB"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ];
        let theirs = self.options.settings.iter();
        let settings = own
            .into_iter()
            .chain(theirs.map(|(name, value)| (name.as_str(), value.as_str())));
        let lock = self
            .lock
            .try_clone()
            .map_err(files("lock", &self.place.root()))?;
        let orphan_signal = if self.options.throwaway {
            Signal::QUIT
        } else {
            Signal::INT
        };
        let mut postgres = Program::new(self.toolset.program("postgres"))
            .user(self.runner.clone())
            .stdin_from(lock)
            .without_stdout()
            .on_owner_death(Some(orphan_signal))
            .arg("-D")
            .arg(self.place.data());
        for (name, value) in settings {
            postgres = postgres.arg("-c").arg(format!("{name}={value}"));
        }
        postgres
            .spawn()
            .map_err(|source| self.explain(source, |source| ServerError::Start { source }))
    }

    async fn ready(&self, child: &Child) -> Result<(), ServerError> {
        let data = self.place.data();
        let mut ticks = interval(READY_TICK);
        loop {
            tokio::select! {
                status = child.wait() => return Err(ended(child, status)),
                _ = ticks.tick() => {}
            }
            if postmaster(&data) == Some((child.id(), true)) {
                return Ok(());
            }
        }
    }

    /// The likely cause of a failed start: as another user, it is most often a closed directory.
    fn explain(
        &self,
        source: ProcessError,
        otherwise: impl FnOnce(ProcessError) -> ServerError,
    ) -> ServerError {
        let Some(runner) = &self.runner else {
            return otherwise(source);
        };
        let user = runner.name.clone();
        match (&source, self.place.closed_to(runner)) {
            (_, Some(path)) => ServerError::Closed { user, path },
            (ProcessError::Start { source: cause, .. }, None)
                if cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                ServerError::CannotBecome { user, source }
            }
            _ => otherwise(source),
        }
    }
}

/// A port nobody listens on: the wished one if possible, for addresses that clients remember.
fn free_port(wish: Option<u16>) -> Result<u16, ServerError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match wish.map(bind) {
        Some(Ok(listener)) => Ok(listener),
        Some(Err(_)) | None => bind(0),
    };
    listener
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| ServerError::NoPort { source })
}
