//! The container that the protected server runs in: finding it, and running commands inside.
//!
//! Invariant: exactly one container fits, or there is an error that says what was tried. Docker can't stop what was
//! started by an exec, so everything of ours inside carries its execution id in its environment, by which it is found and
//! ended: at a cancel by the one who started it, after a crash by the successor.

mod exec;
mod leftovers;
mod psql;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bollard::{API_DEFAULT_VERSION, Docker};
use regex::Regex;

pub(super) use self::exec::{Command, Exec, StderrTail};
pub use self::leftovers::end_leftovers;
pub(super) use self::psql::{Asked, Psql};
use super::{
    cluster::{APPLICATION, Cluster},
    error::{PgError, Work},
    facts::{FACTS, Facts, IDENTITY},
};

/// The name looked for when no name is set and the pattern fits none.
pub const DEFAULT_NAME: &str = "kanbu-postgres";

/// The environment variable by which a process inside a container tells whose it is.
pub(super) const EXECUTION_VARIABLE: &str = "KANBU_BACKUP_EXECUTION";

/// How long one request to Docker may take; a stream's data doesn't count.
const REQUEST_SECONDS: u64 = 30;

/// Which container is meant.
#[derive(Clone, Debug)]
pub struct ContainerChoice {
    /// The socket that Docker listens on.
    pub socket: PathBuf,
    /// An exact name: `POSTGRES_CONTAINER`.
    pub name: Option<String>,
    /// Searched in the names of running containers: `POSTGRES_CONTAINER_PATTERN`.
    pub pattern: Regex,
}

/// A running container, by its id: another one that takes its name is another one.
#[derive(Clone)]
pub struct Container {
    docker: Docker,
    id: String,
    name: String,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The container that fits.
pub async fn find(choice: &ContainerChoice) -> Result<Container, PgError> {
    let refused = |source| PgError::Docker {
        socket: choice.socket.clone(),
        source,
    };
    let docker = connect(&choice.socket).map_err(refused)?;
    // Older engines refuse requests of a newer version than their own.
    let docker = docker.negotiate_version().await.map_err(refused)?;
    let running = docker.list_containers(None).await.map_err(refused)?;
    let names: Vec<(String, String)> = running
        .into_iter()
        .filter_map(|container| {
            let id = container.id?;
            // A name with a slash inside is another container's link to this one.
            let name = container.names?.into_iter().find_map(|name| {
                name.strip_prefix('/')
                    .filter(|name| !name.contains('/'))
                    .map(str::to_owned)
            })?;
            Some((name, id))
        })
        .collect();
    let (name, id) = choose(&names, choice)?;
    Ok(Container { docker, id, name })
}

fn connect(socket: &Path) -> Result<Docker, bollard::errors::Error> {
    let address = socket.to_string_lossy();
    Docker::connect_with_unix(&address, REQUEST_SECONDS, API_DEFAULT_VERSION)
}

/// The exact name and nothing else if one is set; then the pattern; then Kanbu's own name.
fn choose(
    running: &[(String, String)],
    choice: &ContainerChoice,
) -> Result<(String, String), PgError> {
    let exactly = |wanted: &str| running.iter().find(|(name, _)| name == wanted).cloned();
    if let Some(wanted) = &choice.name {
        return exactly(wanted).ok_or_else(|| PgError::ContainerMissing {
            tried: vec![format!("the name {wanted:?} (POSTGRES_CONTAINER)")],
        });
    }
    let pattern = &choice.pattern;
    let fitting: Vec<_> = running
        .iter()
        .filter(|(name, _)| pattern.is_match(name))
        .collect();
    match fitting.as_slice() {
        [] => exactly(DEFAULT_NAME).ok_or_else(|| PgError::ContainerMissing {
            tried: vec![
                format!(
                    "the pattern {:?} (POSTGRES_CONTAINER_PATTERN)",
                    pattern.as_str()
                ),
                format!("the name {DEFAULT_NAME:?}"),
            ],
        }),
        [one] => Ok((*one).clone()),
        several => {
            let mut names: Vec<String> = several.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            Err(PgError::ContainerAmbiguous {
                pattern: pattern.as_str().to_owned(),
                names,
            })
        }
    }
}

impl Container {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the server and the cluster's database are, asked by the `psql` inside.
    pub async fn facts(&self, cluster: &Cluster) -> Result<Facts, PgError> {
        let json = self.ask(cluster, FACTS).await?;
        let identity = match self.ask(cluster, IDENTITY).await {
            Ok(identity) => Some(identity),
            Err(PgError::Tool { .. }) => None,
            Err(error) => return Err(error),
        };
        Facts::parse(&json, identity.as_deref())
    }

    async fn ask(&self, cluster: &Cluster, statement: &str) -> Result<String, PgError> {
        let options = [
            "psql",
            "-X",
            "-A",
            "-t",
            "-w",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ];
        let command = Command {
            words: options.map(str::to_owned).to_vec(),
            environment: cluster.login(cluster.database(), APPLICATION),
        };
        self.output("psql", Work::Ask, command).await
    }

    /// What a short command prints. A status other than zero is an error.
    pub(super) async fn output(
        &self,
        tool: &'static str,
        work: Work,
        command: Command,
    ) -> Result<String, PgError> {
        let done = self.run(command).await?;
        match done.status {
            0 => Ok(done.stdout),
            code => Err(PgError::tool(
                tool,
                work,
                format!("exit status: {code}"),
                &done.stderr,
            )),
        }
    }

    pub(super) fn broken(&self, source: bollard::errors::Error) -> PgError {
        PgError::Exec {
            container: self.name.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these running containers, which one is it by this name, and the pattern that Kanbu uses?
    fn chosen(names: &[&str], name: Option<&str>) -> Result<String, PgError> {
        let running: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), format!("id of {name}")))
            .collect();
        let choice = ContainerChoice {
            socket: "/var/run/docker.sock".into(),
            name: name.map(str::to_owned),
            pattern: Regex::new("postgres-").unwrap(),
        };
        choose(&running, &choice).map(|(name, _)| name)
    }

    #[test]
    fn a_name_that_is_set_is_the_only_one_that_counts() {
        let running = ["kanbu-postgres", "kanbu-postgres-1", "web"];
        assert_eq!(chosen(&running, Some("web")).unwrap(), "web");
        let error = chosen(&running, Some("gone")).unwrap_err();
        assert!(matches!(error, PgError::ContainerMissing { .. }));
        assert!(error.to_string().contains("\"gone\""), "{error}");
    }

    #[test]
    fn a_pattern_that_fits_several_containers_is_an_error_that_lists_them() {
        let error = chosen(&["b-postgres-1", "a-postgres-1", "kanbu-postgres"], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pattern \"postgres-\" fits several running containers: a-postgres-1, b-postgres-1"
        );
    }

    #[test]
    fn the_pattern_comes_before_the_name_that_kanbu_gives() {
        assert_eq!(
            chosen(&["kanbu-postgres", "my-postgres-1"], None).unwrap(),
            "my-postgres-1"
        );
        assert_eq!(
            chosen(&["kanbu-postgres", "web"], None).unwrap(),
            "kanbu-postgres"
        );
    }

    #[test]
    fn when_nothing_fits_the_error_names_all_that_was_tried() {
        let error = chosen(&["web"], None).unwrap_err().to_string();
        assert!(
            error.contains("\"postgres-\"") && error.contains("\"kanbu-postgres\""),
            "{error}"
        );
    }
}
