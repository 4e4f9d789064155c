//! PostgreSQL's own programs on this host: where they are and of which version.
//!
//! Client tools (`pg_dump`, `pg_restore`, `psql`) and server binaries (`postgres`, `initdb`) are told apart, because
//! images often have the one without the other. A dump needs a client that is at least as new as its server. Wrappers
//! that choose a version by themselves (Debian's in `/usr/bin`) are passed over for the programs behind them.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::process::Program;
use crate::fault::{Classified, Fault};

const CLIENT: [&str; 3] = ["pg_dump", "pg_restore", "psql"];
const SERVER: [&str; 2] = ["postgres", "initdb"];

/// Where distributions put a version's programs; one level may vary, marked by `*` at the end of a name.
const PLACES: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
];

/// How long a program may take to tell its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// No fitting programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsError {
    #[error("no PostgreSQL client tools were found for a server of version {server}")]
    NoClient { server: u32 },
    #[error(
        "the server is of version {server}, but the newest client tools found are of version {newest}"
    )]
    ClientTooOld { server: u32, newest: u32 },
}

impl Classified for ToolsError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoClient { .. } | Self::ClientTooOld { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoClient { .. } => "tools.no_client",
            Self::ClientTooOld { .. } => "tools.client_too_old",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let (Self::NoClient { server } | Self::ClientTooOld { server, .. }) = self;
        Some(
            format!("install pg_dump, pg_restore and psql of version {server} or newer (Debian, Ubuntu: apt-get install postgresql-client-{server})")
                .into(),
        )
    }
}

/// The programs of one version in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolset {
    pub directory: PathBuf,
    /// Major and minor: (15, 14).
    pub version: (u32, u32),
    /// What the programs say about themselves: `15.14 (Debian 15.14-0+deb12u1)`.
    pub text: String,
    /// `pg_dump`, `pg_restore` and `psql` are there.
    pub has_client: bool,
    /// `postgres` and `initdb` are there.
    pub has_server: bool,
}

impl Toolset {
    pub fn major(&self) -> u32 {
        self.version.0
    }

    /// The full path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    async fn in_directory(directory: &Path) -> Option<Self> {
        let has_all = |names: &[&str]| names.iter().all(|name| is_program(directory, name));
        let (has_client, has_server) = (has_all(&CLIENT), has_all(&SERVER));
        let speaker = match (has_client, has_server) {
            (true, _) => CLIENT[0],
            (false, true) => SERVER[0],
            (false, false) => return None,
        };
        let said = ask(&directory.join(speaker), "--version").await?;
        let (version, text) = parse_version(&said)?;
        Some(Self {
            directory: directory.to_owned(),
            version,
            text,
            has_client,
            has_server,
        })
    }
}

/// All toolsets on this host, the newest first; of two equal ones that which was named or found first. `path_var` is the
/// value of `PATH`.
pub async fn find_toolsets(extra_dirs: &[PathBuf], path_var: Option<&OsStr>) -> Vec<Toolset> {
    let on_path: Vec<PathBuf> = path_var
        .map(|path| std::env::split_paths(path).collect())
        .unwrap_or_default();
    let mut places = extra_dirs.to_vec();
    places.extend(on_path.iter().cloned());
    for directory in extra_dirs.iter().chain(&on_path) {
        let told = ask(&directory.join("pg_config"), "--bindir").await;
        places.extend(told.map(|line| PathBuf::from(line.trim())));
    }
    places.extend(PLACES.iter().flat_map(|place| expand(place)));

    let mut seen = Vec::new();
    let mut found = Vec::new();
    for place in places {
        let Ok(directory) = fs::canonicalize(place) else {
            continue;
        };
        if !seen.contains(&directory) {
            found.extend(Toolset::in_directory(&directory).await);
            seen.push(directory);
        }
    }
    found.sort_by_key(|toolset| std::cmp::Reverse(toolset.version));
    found
}

/// The client tools for a server: of the lowest major version that is not below the server's.
pub fn choose_client(toolsets: &[Toolset], server_major: u32) -> Result<&Toolset, ToolsError> {
    let clients = || toolsets.iter().filter(|toolset| toolset.has_client);
    // `min_by_key` keeps the first of equals: the newest minor version.
    let fitting = clients()
        .filter(|toolset| toolset.major() >= server_major)
        .min_by_key(|toolset| toolset.major());
    fitting.ok_or_else(|| match clients().map(Toolset::major).max() {
        Some(newest) => ToolsError::ClientTooOld {
            server: server_major,
            newest,
        },
        None => ToolsError::NoClient {
            server: server_major,
        },
    })
}

/// A file of that name which isn't a wrapper under another name.
fn is_program(directory: &Path, name: &str) -> bool {
    fs::canonicalize(directory.join(name)).is_ok_and(|real| {
        real.is_file()
            && real
                .file_name()
                .is_some_and(|file| file != OsStr::new("pg_wrapper"))
    })
}

async fn ask(program: &Path, question: &str) -> Option<String> {
    if !program.is_file() {
        return None;
    }
    let answer = Program::new(program)
        .arg(question)
        .run(4096, VERSION_PATIENCE)
        .await;
    answer
        .ok()
        .and_then(|answer| String::from_utf8(answer).ok())
}

/// Reads `pg_dump (PostgreSQL) 15.14 (Debian …)`; a beta has a minor version of 0.
fn parse_version(said: &str) -> Option<((u32, u32), String)> {
    let (_, text) = said.trim().split_once("(PostgreSQL) ")?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let released = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let minor = if released.starts_with('.') {
        numbers.next()?.parse().ok()?
    } else {
        0
    };
    Some(((major, minor), text.to_owned()))
}

/// The directories that a place with one `*` stands for.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else {
        return vec![PathBuf::from(place)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolset(version: (u32, u32), has_client: bool) -> Toolset {
        Toolset {
            directory: PathBuf::from(format!("/pg/{}.{}", version.0, version.1)),
            version,
            text: String::new(),
            has_client,
            has_server: true,
        }
    }

    #[test]
    fn versions_of_releases_betas_and_packages_are_read() {
        let read = |said| parse_version(said).map(|(version, _)| version);
        assert_eq!(
            read("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some((15, 14))
        );
        assert_eq!(read("postgres (PostgreSQL) 18beta2\n"), Some((18, 0)));
        assert_eq!(read("postgres (PostgreSQL) 19devel"), Some((19, 0)));
        assert_eq!(read("psql: not found"), None);
    }

    #[test]
    fn the_oldest_client_that_is_new_enough_is_chosen() {
        let sets = [
            toolset((18, 0), true),
            toolset((17, 6), true),
            toolset((17, 2), true),
            toolset((16, 1), false),
            toolset((15, 1), true),
        ];
        assert_eq!(choose_client(&sets, 16).unwrap().version, (17, 6));
        assert_eq!(choose_client(&sets, 15).unwrap().version, (15, 1));
    }

    #[test]
    fn a_client_older_than_the_server_is_refused_with_both_versions() {
        let error = choose_client(&[toolset((15, 1), true)], 17).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server is of version 17, but the newest client tools found are of version 15"
        );
        let none = choose_client(&[toolset((17, 1), false)], 17).unwrap_err();
        assert_eq!(none.code(), "tools.no_client");
    }

    #[test]
    fn a_wrapper_that_chooses_versions_by_itself_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["pg_wrapper", "psql"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("pg_wrapper", directory.path().join("pg_dump")).unwrap();
        assert!(!is_program(directory.path(), "pg_dump"));
        assert!(is_program(directory.path(), "psql"));
        assert!(!is_program(directory.path(), "pg_restore"));
    }
}
