//! Containers for the tests: PostgreSQL in an image made of this host's files, on an engine that `./test` provides.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    container::LogOutput,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, TopOptionsBuilder,
    },
};
use futures::StreamExt;
use kanbu_backup::{
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        docker::{ContainerChoice, find},
        dump::Route,
        process::Program,
    },
};
use regex::{Regex, escape};
use tokio::sync::OnceCell;

const IMAGE: &str = "postgres:15-local";

/// The server inside, as Kanbu's compose files set it up.
pub(crate) fn inside() -> Cluster {
    Cluster::in_container("kanbu", "kanbu", None)
}

/// The socket of the engine for the tests, which holds the image.
pub(crate) async fn engine() -> &'static Path {
    static ENGINE: OnceCell<PathBuf> = OnceCell::const_new();
    ENGINE.get_or_init(prepare).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the engine is, is told by ./test"
)]
async fn prepare() -> PathBuf {
    let address = ["KANBU_BACKUP_TEST_DOCKER_HOST", "DOCKER_HOST"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .expect("there is no Docker engine for this test: run ./test, or set KANBU_BACKUP_TEST_DOCKER_HOST to what tests/support/docker-engine prints");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgres-image");
    Program::new(script)
        .arg(&address)
        .run(4096, Duration::from_mins(5))
        .await
        .expect("the image of the test container");
    let socket = address
        .strip_prefix("unix://")
        .expect("the engine for the tests listens on a socket");
    PathBuf::from(socket)
}

/// Which container, by an exact name.
pub(crate) fn named(socket: &Path, name: &str) -> ContainerChoice {
    ContainerChoice {
        socket: socket.to_owned(),
        name: Some(name.to_owned()),
        pattern: pattern("nothing fits this"),
    }
}

/// A pattern that fits names which contain this text.
pub(crate) fn pattern(text: &str) -> Regex {
    Regex::new(&escape(text)).unwrap()
}

/// A running container of one test, removed at its end.
#[derive(Debug)]
pub(crate) struct TestContainer {
    pub(crate) name: String,
    docker: Docker,
}

impl TestContainer {
    /// A container of this name whose server answers.
    pub(crate) async fn start(name: &str) -> Self {
        let container = Self::create(name, Vec::new()).await.unwrap();
        container.wait_for_server().await;
        container
    }

    /// With additions to its environment; its server may still be starting.
    pub(crate) async fn create(
        name: &str,
        env: Vec<String>,
    ) -> Result<Self, bollard::errors::Error> {
        let socket = engine().await.to_string_lossy();
        let docker = Docker::connect_with_unix(&socket, 60, API_DEFAULT_VERSION)?
            .negotiate_version()
            .await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let host_config = HostConfig {
            network_mode: Some("none".into()),
            auto_remove: Some(true),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(IMAGE.into()),
            env: Some(env),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        };
        docker.create_container(Some(options), body).await?;
        let container = Self {
            name: name.to_owned(),
            docker,
        };
        container.docker.start_container(name, None).await?;
        Ok(container)
    }

    /// A name that no other test or run has.
    pub(crate) fn unique(prefix: &str) -> String {
        format!("{prefix}-{}", ExecutionId::new().short())
    }

    async fn wait_for_server(&self) {
        loop {
            let (status, _) = self
                .run(&["psql", "-X", "-U", "kanbu", "-c", "select 1"])
                .await;
            if status == 0 {
                return;
            }
        }
    }

    /// The route of a dump through this container.
    pub(crate) async fn route(&self) -> Route {
        self.route_by(engine().await).await
    }

    /// The same through another socket.
    pub(crate) async fn route_by(&self, socket: &Path) -> Route {
        Route::Docker(find(&named(socket, &self.name)).await.unwrap())
    }

    /// Runs statements in its database.
    pub(crate) async fn execute(&self, statements: &str) {
        let words = [
            "psql",
            "-X",
            "-q",
            "-U",
            "kanbu",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statements,
        ];
        let (status, output) = self.run(&words).await;
        assert_eq!(status, 0, "{output}");
    }

    /// Runs a command to its end: status and all output.
    pub(crate) async fn run(&self, words: &[&str]) -> (i64, String) {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(words.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(&self.name, options).await.unwrap();
        let mut text = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            self.docker.start_exec(&exec.id, None).await.unwrap()
        {
            while let Some(frame) = output.next().await {
                let frame: LogOutput = frame.unwrap();
                text.push_str(&frame.to_string());
            }
        }
        loop {
            let seen = self.docker.inspect_exec(&exec.id).await.unwrap();
            if let (Some(false), Some(status)) = (seen.running, seen.exit_code) {
                return (status, text);
            }
        }
    }

    /// The argument lists of all processes inside, one a line. Asks the engine and not a command inside: the engine
    /// learns no command's end while the output of one that ended before waits for its reader.
    pub(crate) async fn processes(&self) -> String {
        let options = TopOptionsBuilder::new().ps_args("-eo pid,args").build();
        let top = self
            .docker
            .top_processes(&self.name, Some(options))
            .await
            .unwrap();
        let lines: Vec<String> = top
            .processes
            .unwrap()
            .iter()
            .map(|columns| columns[1..].join(" "))
            .collect();
        lines.join("\n")
    }

    /// Whether a dump runs inside.
    pub(crate) async fn dumps(&self) -> bool {
        self.processes()
            .await
            .lines()
            .any(|line| line.starts_with("pg_dump"))
    }

    /// Kills every dump inside, without waiting for the end of the command that does it.
    pub(crate) async fn kill_dumps(&self) {
        // A list of arguments has no line's end, so `read` says that it failed, but has read it.
        const KILL: &str = r#"
            for directory in /proc/[0-9]*; do (
                read -r line <"$directory/cmdline"
                case $line in pg_dump*) kill -9 "${directory#/proc/}" ;; esac
            ) 2>/dev/null; done"#;
        let options = CreateExecOptions {
            cmd: Some(vec!["sh", "-c", KILL]),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(&self.name, options).await.unwrap();
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        self.docker
            .start_exec(&exec.id, Some(detached))
            .await
            .unwrap();
        while self.dumps().await {}
    }
}

impl Drop for TestContainer {
    fn drop(&mut self) {
        let (name, docker) = (self.name.clone(), self.docker.clone());
        // A runtime of its own, because the test's may be ending.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let force = RemoveContainerOptionsBuilder::new().force(true).build();
            runtime.block_on(docker.remove_container(&name, Some(force)))
        });
        let removed = removal.join().unwrap();
        if let Err(error) = removed {
            eprintln!("the container {} was not removed: {error}", self.name);
        }
    }
}
