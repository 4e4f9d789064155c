//! A world for whole backups to several storages: a source tree, a control database, the queue, and a worker of one slot.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use kanbu_backup::{
    archive::Excludes,
    backup::{self, ContentTerms, Deps, Format, Sources, TreeSource},
    catalog::{self, ArtifactView, CopyState},
    clock::SystemClock,
    control::ControlDb,
    crypto::{KeyMaterial, Keyring},
    execution::Outcome,
    fault::Failure,
    job::{Backup, Job, Kind},
    pipeline::Slowness,
    queue::{self, Crew, Enqueued, ExecutionView, Handler, NewJob, Origin},
    storage::{Pace, Place, Policy, Role, Storage, StorageConfig, Terms, sweep},
    testing::{self, TestDatabase},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::things::{PACE, environment};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Short for a test, and longer than a busy machine keeps a good storage waiting.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// Requests that fail are given up soon; those that hang are the watchdog's.
pub(crate) const HASTY: Pace = Pace {
    retries: 1,
    retry_for: Duration::from_secs(5),
    ..PACE
};

/// As a backup of random bytes: five parts.
const SOURCE_BYTES: usize = 22 << 20;

pub(crate) struct Set {
    place: TempDir,
    database: TestDatabase,
    pub(crate) db: ControlDb,
    pub(crate) deps: Deps,
}

/// What one execution came to, as its rows tell.
pub(crate) struct Told {
    pub(crate) execution: ExecutionView,
    pub(crate) artifact: Option<ArtifactView>,
    /// The payloads of the jobs that follow.
    pub(crate) follow_ups: Vec<String>,
    pub(crate) took: Duration,
}

impl Set {
    /// With these storages, the primary first; a closure makes them of a directory.
    pub(crate) async fn new(storages: impl FnOnce(&Path) -> Vec<Storage>) -> Self {
        let (database, db) = testing::control_db().await;
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("app");
        fs::create_dir(&root).unwrap();
        let mut noise = vec![0; SOURCE_BYTES];
        getrandom::fill(&mut noise).unwrap();
        fs::write(root.join("noise"), noise).unwrap();
        let storages = storages(place.path());
        let deps = Deps {
            environment: environment(),
            storages,
            policy: Policy::AllOrDegraded,
            keyring: Keyring::new(
                Some(KeyMaterial::parse(&"5e".repeat(32)).unwrap()),
                Vec::new(),
            ),
            format: Format::Native,
            zstd_level: 1,
            zstd_workers: 0,
            stall_timeout: STALL,
            slowness: Slowness::default(),
            sources: Sources {
                databases: Vec::new(),
                trees: vec![TreeSource {
                    subject: "source:app".parse().unwrap(),
                    root,
                    excludes: Excludes::none(),
                }],
            },
            content: ContentTerms::default(),
            manual: kanbu_backup::retention::Policy::everything(None),
            history: db.clone(),
            clock: Arc::new(SystemClock),
        };
        Self {
            place,
            database,
            db,
            deps,
        }
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// One backup from the queue to its end, and what is in the database afterwards.
    pub(crate) async fn backup(&self) -> Told {
        let job = self.enqueue().await;
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let crew = Crew::new(
            self.db.clone(),
            handler(self.deps.clone()),
            BTreeMap::from([(Kind::Backup, 1)]),
            "test",
        );
        let began = Instant::now();
        let crew = tokio::spawn(crew.run(stop.clone(), hurry));
        let execution = eventually("the backup to end", async || {
            let executions = queue::executions(&self.db, job).await.unwrap();
            executions.into_iter().find(|e| e.ended_at.is_some())
        })
        .await;
        let took = began.elapsed();
        stop.cancel();
        crew.await.unwrap().unwrap();
        assert_eq!(queue::invariants(&self.db).await.unwrap(), []);
        let artifact = match execution.artifact {
            Some(id) => catalog::get(&self.db, id).await.unwrap(),
            None => None,
        };
        let payloads =
            "select payload::text from kanbu_backup.job where kind = 'verify' order by id";
        Told {
            execution,
            artifact,
            follow_ups: self.database.texts(payloads).await,
            took,
        }
    }

    async fn enqueue(&self) -> kanbu_backup::id::JobId {
        let request = Job::Backup(Backup::of("source:app".parse().unwrap()));
        let mut tx = self.db.pool().begin().await.unwrap();
        let enqueued = queue::enqueue(&mut tx, &NewJob::new(request, Origin::Operator)).await;
        tx.commit().await.unwrap();
        match enqueued.unwrap() {
            Enqueued::New(job) => job,
            Enqueued::AlreadyOpen(job) => panic!("job {job} is open already"),
        }
    }

    /// Every file of a local storage.
    pub(crate) fn lying_on(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory(name)];
        while let Some(directory) = directories.pop() {
            let Ok(entries) = fs::read_dir(directory) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// As the hourly sweep does it, a day later.
    pub(crate) async fn sweep(&self, storage: &Storage) {
        let soon = kanbu_backup::clock::Clock::now(&SystemClock) + Duration::from_hours(1);
        sweep::sweep(storage, &environment(), &[].into(), soon)
            .await
            .unwrap();
    }
}

fn handler(deps: Deps) -> Handler {
    Arc::new(move |job, lease| {
        let deps = deps.clone();
        async move {
            let Job::Backup(request) = job else {
                panic!("only backups are claimed here")
            };
            let plan = backup::plan(&request, &deps, &lease).map_err(Failure::from)?;
            backup::perform(&request, plan, &deps, &lease).await
        }
        .boxed()
    })
}

impl Told {
    pub(crate) fn outcome(&self) -> Outcome {
        self.execution.outcome.expect("an execution that has ended")
    }

    /// The rows of the copies, in the order of their storages' names.
    pub(crate) fn copies(&self) -> Vec<(String, CopyState)> {
        let artifact = self.artifact.as_ref().expect("a backup in the catalog");
        let mut copies: Vec<_> = artifact
            .copies
            .iter()
            .map(|copy| (copy.storage.to_string(), copy.state))
            .collect();
        copies.sort_by(|one, other| one.0.cmp(&other.0));
        copies
    }

    /// Why there is no copy on a storage, as its row says.
    pub(crate) fn reason(&self, storage: &str) -> &str {
        let artifact = self.artifact.as_ref().expect("a backup in the catalog");
        let copy = artifact
            .copies
            .iter()
            .find(|c| c.storage.as_str() == storage);
        copy.unwrap().error.as_deref().unwrap_or_default()
    }

    pub(crate) fn degrading(&self) -> Vec<&str> {
        let degrading = self.execution.warnings.iter().filter(|w| w.degrades);
        degrading.map(|warning| warning.text.as_str()).collect()
    }

    /// The one job that mends this backup is in the queue.
    pub(crate) fn assert_mended(&self) {
        let artifact = self.artifact.as_ref().expect("a backup in the catalog");
        let [payload] = &self.follow_ups[..] else {
            panic!("{} jobs follow", self.follow_ups.len());
        };
        let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
        assert_eq!(payload["artifact"], artifact.id.to_string());
        assert_eq!(payload["repair"], true);
        assert_eq!(payload["level"], "quick");
        assert_eq!(payload["subject"], "source:app");
    }
}

/// A directory as a storage.
pub(crate) fn local(place: &Path, name: &str, role: Role, terms: Terms) -> Storage {
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

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    });
    answer
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
