//! A world for the use cases: a protected database, a control database, two directories as storages, and leases whose
//! keeper is the test.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kanbu_backup::{
    archive::Excludes,
    backup::{self, ContentTerms, DatabaseSource, Deps, Format, Sources, TreeSource},
    catalog::{self, ArtifactView, NewArtifact, NewCopy},
    clock::SystemClock,
    control::ControlDb,
    crypto::{KeyMaterial, Keyring},
    execution::{Effects, Lease, LeaseLost, LeaseSeat, Recheck},
    fault::Failure,
    id::{ArtifactId, ExecutionId, JobId},
    job::{Backup, Subject},
    pg::{cluster::Cluster, docker::ContainerChoice, dump::PgMode},
    pipeline::Slowness,
    restore::{self, DatabaseTarget},
    retention,
    storage::{Environment, Place, Policy, Role, Storage, StorageConfig, Terms},
    testing::{self, TestDatabase, TestServer, toolsets},
    verify::{self, ProofTerms},
};
use regex::Regex;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::protected::{database, tools};

/// Longer than a good storage is ever silent on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(40);

pub(crate) struct World {
    place: TempDir,
    pub(crate) cluster: Cluster,
    pub(crate) db: ControlDb,
    /// Two storages, `one` and `two`, and a key.
    pub(crate) deps: Deps,
    databases: [TestDatabase; 2],
}

impl World {
    /// With the result of these statements in the protected database.
    pub(crate) async fn new(statements: &str) -> Self {
        Self::on(TestServer::shared().await, statements).await
    }

    /// The same, the protected database being on this server.
    pub(crate) async fn on(server: &TestServer, statements: &str) -> Self {
        let (protected, cluster) = database(server, statements).await;
        let (control, db) = testing::control_db().await;
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("app");
        fs::create_dir(&source).unwrap();
        let deps = Deps {
            environment: environment(),
            storages: vec![
                storage(place.path(), "one", Role::Primary),
                storage(place.path(), "two", Role::Replica),
            ],
            policy: Policy::AllOrDegraded,
            keyring: keyring(&"5e".repeat(32)),
            format: Format::Native,
            zstd_level: 1,
            zstd_workers: 1,
            stall_timeout: PATIENT,
            slowness: Slowness::default(),
            sources: sources(&cluster, &source).await,
            content: ContentTerms::default(),
            manual: retention::Policy::everything(None),
            history: db.clone(),
            clock: Arc::new(SystemClock),
        };
        Self {
            place,
            cluster,
            db,
            deps,
            databases: [protected, control],
        }
    }

    /// The protected database, as a role whose password is `x`.
    pub(crate) fn as_role(&self, role: &str) -> Cluster {
        let (_, place) = self.databases[0].url.rsplit_once('@').unwrap();
        Cluster::from_url(&format!("postgres://{role}:x@{place}")).unwrap()
    }

    /// Another database of the protected server.
    pub(crate) fn url(&self, database: &str) -> String {
        let (server, _) = self.databases[0].url.rsplit_once('/').unwrap();
        format!("{server}/{database}")
    }

    /// The tree that `source:app` is.
    pub(crate) fn source(&self) -> PathBuf {
        self.place.path().join("app")
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn storage(&self, index: usize) -> &Storage {
        &self.deps.storages[index]
    }

    /// The same with these storages instead.
    pub(crate) fn with(&self, storages: [Storage; 2]) -> Deps {
        Deps {
            storages: storages.into(),
            ..self.deps.clone()
        }
    }

    pub(crate) async fn backup(&self, deps: &Deps) -> Result<Effects, Failure> {
        backup_of("database:kanbu", deps, &Arc::new(Lease::unattended())).await
    }

    /// A backup that is in the catalog, too.
    pub(crate) async fn listed(&self, subject: &str, deps: &Deps) -> ArtifactView {
        let lease = Arc::new(Lease::unattended());
        let effects = backup_of(subject, deps, &lease).await.unwrap();
        let (artifact, copies) = effects.artifact.unwrap();
        self.list(&artifact, &copies).await
    }

    pub(crate) async fn list(&self, artifact: &NewArtifact, copies: &[NewCopy]) -> ArtifactView {
        let mut conn = self.db.pool().acquire().await.unwrap();
        catalog::insert(&mut conn, artifact, copies).await.unwrap();
        drop(conn);
        self.view(artifact.id).await
    }

    /// The backup of the catalog that lacks a copy.
    pub(crate) async fn lacking(&self) -> ArtifactId {
        let query = "select artifact_id from kanbu_backup.artifact_copy where state = 'missing'";
        let id: uuid::Uuid = sqlx::query_scalar(query)
            .fetch_one(self.db.bare_pool())
            .await
            .unwrap();
        id.into()
    }

    pub(crate) async fn view(&self, id: ArtifactId) -> ArtifactView {
        catalog::get(&self.db, id).await.unwrap().unwrap()
    }

    /// The row of an execution that died with its worker.
    pub(crate) async fn bury(&self, lease: &Lease) {
        let (job, execution) = (lease.job(), lease.execution());
        let rows = format!(
            "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                           backoff_base, backoff_cap, origin)
             values ('{job}', 'backup', 'database:kanbu', true, '{{}}', 1, 4, '1 second', '1 minute', 'api')
             on conflict do nothing;
             insert into kanbu_backup.execution (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at,
                                                 lease_until, ended_at, outcome, fault)
             values ('{execution}', '{job}', 'backup', 'database:kanbu', true, '{execution}', 1, now(), now(), now(),
                     'failed', 'lease_lost')"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
            .execute(self.db.bare_pool())
            .await
            .unwrap();
    }

    /// Everything under a storage's environment that a backup makes: execution folders and what is in them.
    pub(crate) fn lying_on(&self, storage: &str) -> Vec<String> {
        let root = self.place(storage);
        let mut found = Vec::new();
        for class in ["database", "source"] {
            for folder in entries(&root.join("prod").join(class)) {
                let names = entries(&folder);
                if names.is_empty() {
                    found.push(folder.display().to_string());
                }
                found.extend(names.iter().map(|path| path.display().to_string()));
            }
        }
        found
    }

    pub(crate) fn assert_nothing_lies(&self, what: &str) {
        for storage in ["one", "two"] {
            let left = self.lying_on(storage);
            assert!(left.is_empty(), "{what}: {left:?} stayed on {storage}");
        }
    }

    /// The data object of a backup on one storage.
    pub(crate) fn object(&self, storage: &str, artifact: &ArtifactView) -> PathBuf {
        let key = artifact.manifest().unwrap().data_key();
        self.place(storage).join(key.to_string())
    }

    pub(crate) fn manifest_file(&self, storage: &str, artifact: &ArtifactView) -> PathBuf {
        let key = artifact.manifest().unwrap().manifest_key();
        self.place(storage).join(key.to_string())
    }

    pub(crate) async fn restore_deps(&self) -> restore::Deps {
        restore::Deps {
            storages: self.deps.storages.clone(),
            keyring: self.deps.keyring.clone(),
            target: Some(DatabaseTarget {
                cluster: self.cluster.clone(),
                toolsets: vec![tools().await],
            }),
            environment: environment(),
            keep_old: 7.try_into().unwrap(),
            catalog: self.db.clone(),
        }
    }

    pub(crate) fn verify_deps(&self) -> verify::Deps {
        verify::Deps {
            storages: self.deps.storages.clone(),
            keyring: self.deps.keyring.clone(),
            stall_timeout: PATIENT,
            catalog: self.db.clone(),
            proof: ProofTerms::new(self.place("scratch"), None, Vec::new()),
        }
    }

    pub(crate) async fn has_database(&self, name: &str) -> bool {
        let mut connection = self.cluster.connect(None).await.unwrap();
        let found =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .unwrap();
        connection.close().await.unwrap();
        found
    }

    pub(crate) async fn drop_database(&self, name: &str) {
        crate::protected::execute(
            &self.cluster,
            &format!("drop database if exists \"{name}\" with (force)"),
        )
        .await;
    }
}

pub(crate) fn environment() -> Environment {
    "prod".parse().unwrap()
}

pub(crate) fn keyring(key: &str) -> Keyring {
    Keyring::new(Some(KeyMaterial::parse(key).unwrap()), Vec::new())
}

pub(crate) fn storage(place: &Path, name: &str, role: Role) -> Storage {
    storage_on(Terms::default(), place, name, role)
}

pub(crate) fn storage_on(terms: Terms, place: &Path, name: &str, role: Role) -> Storage {
    Storage::open(&StorageConfig {
        name: name.parse().unwrap(),
        role,
        place: Place::Local {
            directory: place.join(name),
        },
        terms,
    })
    .unwrap()
}

async fn sources(cluster: &Cluster, tree: &Path) -> Sources {
    Sources {
        databases: vec![DatabaseSource {
            subject: subject("database:kanbu"),
            cluster: cluster.clone(),
            mode: PgMode::Direct,
            containers: ContainerChoice {
                socket: "/nonexistent/docker.sock".into(),
                name: None,
                pattern: Regex::new("postgres-").unwrap(),
            },
            toolsets: toolsets().await,
        }],
        trees: vec![TreeSource {
            subject: subject("source:app"),
            root: tree.to_owned(),
            excludes: Excludes::none(),
        }],
    }
}

pub(crate) fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

pub(crate) async fn backup_of(
    subject_text: &str,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let request = Backup::of(subject(subject_text));
    let plan = backup::plan(&request, deps, lease)?;
    backup::perform(&request, plan, deps, lease).await
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A lease that the test keeps: it answers, or takes it away.
pub(crate) struct Kept {
    pub(crate) lease: Arc<Lease>,
    pub(crate) seat: LeaseSeat,
    rechecks: mpsc::Receiver<Recheck>,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self::of_job(JobId::new())
    }

    pub(crate) fn of_job(job: JobId) -> Self {
        let (sender, rechecks) = mpsc::channel(1);
        let (lease, seat) = Lease::grant(ExecutionId::new(), job, 1, sender);
        Self {
            lease: Arc::new(lease),
            seat,
            rechecks,
        }
    }

    /// Waits until the holder asks. What is done before the question is answered happens between two of its steps.
    pub(crate) async fn asked(&mut self) -> Recheck {
        self.rechecks.recv().await.expect("the holder to ask")
    }

    pub(crate) async fn renew(&mut self) {
        self.asked().await.reply.send(Ok(())).unwrap();
    }

    pub(crate) async fn lose(&mut self) {
        let asked = self.asked().await;
        let lost = LeaseLost(asked.execution);
        asked.reply.send(Err(lost)).unwrap();
    }

    /// The holder's end, the keeper's eyes, and a keeper that renews whenever asked.
    pub(crate) fn split(self) -> (Arc<Lease>, LeaseSeat, impl Future<Output = ()>) {
        let Self {
            lease,
            seat,
            mut rechecks,
        } = self;
        let keeping = async move {
            while let Some(asked) = rechecks.recv().await {
                let _ = asked.reply.send(Ok(()));
            }
        };
        (lease, seat, keeping)
    }
}

/// Asks again and again until it is so.
pub(crate) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let mut round = tokio::time::interval(Duration::from_millis(2));
    let waiting = async {
        loop {
            round.tick().await;
            if ask().await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENT, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
