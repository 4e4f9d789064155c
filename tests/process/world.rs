//! An installation of its own for each test: a protected database, a control database, directories, settings.

use std::{collections::BTreeMap, fs, path::PathBuf};

use kanbu_backup::{
    control::{ControlConfig, ControlDb},
    id::JobId,
    pg::{
        cluster::Cluster,
        process::{Program, Signal},
        restore::{TableChecksum, table_checksums},
    },
    queue::{self, ExecutionView, JobState, JobView},
    testing::{self, ScratchDirectory, Session, TestDatabase, TestServer},
};

use crate::running::{Ended, Running, children_of, everything_in, kanbu_backup, name_of, until};

/// A raw key.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/// A few rows, and a large object, which a dump comes to at its very end.
const CONTENT: &str = "
    create table people (id serial primary key, name text not null);
    insert into people (name) select 'person ' || n from generate_series(1, 500) as n;
    select lo_from_bytea(4242, 'a large object');";

/// Eight megabytes that can't be compressed: a dump of them reaches the storage long before it ends.
const MUCH_CONTENT: &str = "
    create table noise (id integer primary key, bytes bytea not null);
    alter table noise alter bytes set storage external;
    insert into noise select n, string_agg(sha512(convert_to(random()::text || m, 'UTF8')), '')
      from generate_series(1, 16) as n, generate_series(1, 8192) as m group by n;";

/// What Kanbu's own schema and careless tools have trouble with.
const ODD_CONTENT: &str = include_str!("../support/protected.sql");

pub(crate) struct World {
    pub(crate) directory: ScratchDirectory,
    pub(crate) protected: TestDatabase,
    control: Option<(TestDatabase, ControlDb)>,
    env: BTreeMap<String, String>,
    /// A program that starts the binary, with its own arguments.
    wrapper: Vec<String>,
}

impl World {
    /// With a protected database and a migrated control database on the shared server.
    pub(crate) async fn new() -> Self {
        Self::with(CONTENT, Some(testing::control_db().await)).await
    }

    /// Like [`World::new`], with enough in the database that the storage sees bytes long before a dump ends.
    pub(crate) async fn large() -> Self {
        let world = Self::new().await;
        world.protected.run(MUCH_CONTENT).await;
        world
    }

    /// Like [`World::large`], with the control database on a server of its own.
    pub(crate) async fn large_on(server: &TestServer) -> Self {
        let database = server.database("control").await;
        let config = ControlConfig::new(&database.url, "test");
        let db = ControlDb::connect(&config).await.unwrap();
        db.migrate().await.unwrap();
        let world = Self::with(CONTENT, Some((database, db))).await;
        world.protected.run(MUCH_CONTENT).await;
        world
    }

    /// Without a control database, and with a protected one that has about everything.
    pub(crate) async fn alone() -> Self {
        Self::with(ODD_CONTENT, None).await
    }

    async fn with(content: &str, control: Option<(TestDatabase, ControlDb)>) -> Self {
        let directory = ScratchDirectory::new();
        let protected = TestServer::shared().await.database("protected").await;
        protected.run(content).await;
        let mut world = Self {
            directory,
            protected,
            control,
            env: BTreeMap::new(),
            wrapper: Vec::new(),
        };
        fs::create_dir(world.path("tree")).unwrap();
        let paths = [
            ("BACKUP_LOCAL_PATH", world.path("backups")),
            ("KANBU_SOURCE_PATH", world.path("tree")),
            ("KANBU_BACKUP_STATE_DIR", world.directory.server()),
        ];
        for (name, path) in paths {
            world.set(name, path.to_str().unwrap());
        }
        world.set("DATABASE_URL", &world.protected.url.clone());
        if let Some((database, _)) = &world.control {
            let url = database.url.clone();
            world.set("KANBU_BACKUP_DATABASE_URL", &url);
        }
        world.set("BACKUP_ENCRYPTION_KEY", KEY);
        world.set("KANBU_BACKUP_LOG", "text");
        world.set("KANBU_BACKUP_LEASE_SECONDS", "3");
        world.set("KANBU_BACKUP_ZSTD_WORKERS", "1");
        // Tests read the jobs that they asked for.
        world.set("KANBU_BACKUP_SCRUB_DAYS", "off");
        world.set("KANBU_BACKUP_PROVE_DAYS", "off");
        world
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// Starts the binary by this program from now on: it finds the binary and its arguments behind its own.
    pub(crate) fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|&part| part.to_owned()).collect();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, args: &[&str]) -> Program {
        let base = match self.wrapper.split_first() {
            Some((program, rest)) => Program::new(program)
                .args(rest)
                .arg(env!("CARGO_BIN_EXE_kanbu-backup")),
            None => kanbu_backup(),
        };
        let program = base.args(args).directory(self.directory.path());
        self.env
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
    }

    /// Starts the binary and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.program(args), &args.join(" "))
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end().await
    }

    /// Runs the binary, which is to succeed, and reads its last line.
    pub(crate) async fn result(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<_> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).await.with(0).result()
    }

    /// Starts a worker that is at work when this returns.
    pub(crate) async fn worker(&self, name: &str) -> Running {
        let worker = self.start(&["worker", "--name", name]);
        worker.until_it_says("working").await;
        worker
    }

    /// What the tables of a database on the protected server hold.
    pub(crate) async fn checksums(&self, database: &str) -> Vec<TableChecksum> {
        let cluster = Cluster::from_url(&self.protected.url).unwrap();
        table_checksums(&cluster, database).await.unwrap()
    }

    pub(crate) async fn has_database(&self, name: &str) -> bool {
        let query = format!("select datname::text from pg_database where datname = '{name}'");
        !self.protected.texts(&query).await.is_empty()
    }

    pub(crate) fn db(&self) -> &ControlDb {
        &self.control.as_ref().expect("a control database").1
    }

    pub(crate) fn control(&self) -> &TestDatabase {
        &self.control.as_ref().expect("a control database").0
    }

    pub(crate) async fn job(&self, id: JobId) -> JobView {
        queue::job(self.db(), id).await.unwrap().unwrap()
    }

    /// The job that was enqueued last.
    pub(crate) async fn newest_job(&self) -> JobView {
        until("a job", async || {
            let jobs = queue::jobs(self.db(), &queue::JobFilter::default()).await;
            jobs.unwrap().into_iter().next()
        })
        .await
    }

    pub(crate) async fn until_job(&self, id: JobId, state: JobState) -> JobView {
        let what = format!("job {id} to be {state}");
        until(&what, async || {
            let job = queue::job(self.db(), id).await.ok().flatten();
            job.filter(|job| job.state == state)
        })
        .await
    }

    /// The executions of a job, the first one first.
    pub(crate) async fn executions(&self, id: JobId) -> Vec<ExecutionView> {
        let mut executions = queue::executions(self.db(), id).await.unwrap();
        executions.reverse();
        executions
    }

    /// The control database is dropped with all that it knew; an empty one, not even prepared, takes its place.
    pub(crate) async fn lose_control(&mut self) {
        if let Some((lost, db)) = self.control.take() {
            db.close().await;
            drop(lost);
        }
        let database = TestServer::shared().await.database("control_anew").await;
        let config = ControlConfig::new(&database.url, "test");
        let db = ControlDb::connect(&config).await.unwrap();
        self.set("KANBU_BACKUP_DATABASE_URL", &database.url.clone());
        self.control = Some((database, db));
    }

    /// From now on a job is dead after its first failure, so that a test needn't wait for the next attempts.
    pub(crate) async fn without_retries(&self) {
        let rule = "update kanbu_backup.kind_rule set max_attempts = 1";
        self.control().run(rule).await;
    }

    /// Makes the next attempts of jobs due now.
    pub(crate) async fn hurry(&self) {
        let due = "update kanbu_backup.job set run_at = now() where state = 'queued'";
        self.control().run(due).await;
        self.control()
            .run("notify kanbu_backup_job, 'backup'")
            .await;
    }

    /// The queue's own rules hold.
    pub(crate) async fn holds(&self) {
        assert_eq!(queue::invariants(self.db()).await.unwrap(), []);
    }

    /// Makes every dump wait before its last part, the large objects, until the session is dropped.
    pub(crate) async fn hold_dumps(&self) -> Session {
        let mut session = self.protected.session().await;
        session
            .run("begin; lock table pg_largeobject in access exclusive mode")
            .await;
        session
    }

    /// Waits until a dump of this worker has come to the held large objects and its tables lie in a staging file.
    /// Returns its `pg_dump`.
    pub(crate) async fn until_dump_waits(&self, worker: &Running) -> i32 {
        until("a dump in its middle", async || {
            let waiting = "select pid::text from pg_stat_activity
                where datname = current_database() and application_name like 'kanbu_backup/%'
                  and wait_event_type = 'Lock'";
            let waits = !self.protected.texts(waiting).await.is_empty();
            let has_written = self.stored().iter().any(|path| size(path) > 0);
            let dump = children_of(worker.pid())
                .into_iter()
                .find(|pid| name_of(*pid).as_deref() == Some("pg_dump"));
            dump.filter(|_| waits && has_written)
        })
        .await
    }

    /// Every file on the storage.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut all = everything_in(&self.path("backups"));
        all.retain(|path| fs::metadata(path).is_ok_and(|data| data.is_file()));
        all
    }

    /// The one data object on the storage.
    pub(crate) fn object(&self) -> PathBuf {
        let mut objects = self.stored();
        objects.retain(|path| !path.ends_with("manifest.json"));
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.remove(0).into()
    }

    /// The data object of the one backup of this kind.
    pub(crate) fn object_of(&self, kind: &str) -> String {
        self.object_in("backups", kind)
    }

    /// The same in another directory.
    pub(crate) fn object_in(&self, directory: &str, kind: &str) -> String {
        let mut objects = everything_in(&self.path(directory));
        let within = format!("/{kind}/");
        objects.retain(|path| {
            path.contains(&within)
                && !path.ends_with("manifest.json")
                && fs::metadata(path).unwrap().is_file()
        });
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.remove(0)
    }

    /// How many backups the catalog lists.
    pub(crate) async fn listed(&self) -> usize {
        let list = self.run(&["list", "--json"]).await.with(0);
        list.document()["backups"].as_array().unwrap().len()
    }

    /// Ends a worker in good order.
    pub(crate) async fn dismiss(&self, worker: Running) {
        worker.signal(Signal::TERM);
        worker.end().await.with(0);
    }
}

fn size(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}
