//! A live database gives way to a restored one and comes back, with clients at work; whatever goes wrong in between, one of
//! the two is live, whole and open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kanbu_backup::{
    catalog::{ArtifactView, ReplacementState, Replacements, replacements},
    execution::{Effects, Lease, LeaseSeat, Recheck},
    fault::Failure,
    id::{ExecutionId, WorkerId},
    job::{Job, Kind, Restore, RestoreInto},
    pg::{
        cluster::Cluster,
        inventory,
        restore::{TableChecksum, table_checksums},
    },
    queue::{self, Claim, NewJob},
    restore::{self, DatabaseTarget, Destination, Origin, Safety, Tidied, Verdict},
    testing::TestServer,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::sync::mpsc;

use crate::{
    protected::execute,
    use_world::{World, eventually},
};

const CONTENT: &str = "
    create table people (id serial primary key, name text not null);
    insert into people (name) select 'person ' || n from generate_series(1, 500) as n;
    create table backup_executions (id serial primary key, status text not null, error_message text,
        started_at timestamp(3) not null default now(), completed_at timestamp(3));
    insert into backup_executions (status) values ('COMPLETED')";

/// Written after the backup: what a restore takes back.
const LATER: &str =
    "insert into people (name) values ('newcomer'); delete from people where id = 7";

struct Scene {
    world: World,
    artifact: ArtifactView,
    deps: restore::Deps,
    old: Vec<TableChecksum>,
    backed_up: Vec<TableChecksum>,
}

impl Scene {
    /// A database that has changed since its backup.
    async fn new() -> Self {
        let world = World::new(CONTENT).await;
        let artifact = world.listed("database:kanbu", &world.deps).await;
        let backed_up = content(&world.cluster).await;
        execute(&world.cluster, LATER).await;
        let old = content(&world.cluster).await;
        assert_ne!(old, backed_up);
        let deps = world.restore_deps().await;
        Self {
            world,
            artifact,
            deps,
            old,
            backed_up,
        }
    }

    fn live(&self) -> &str {
        self.world.cluster.database()
    }

    fn confirmed(&self) -> String {
        restore::confirmation(&self.deps, self.live())
    }

    fn request(&self) -> Restore {
        let name = self.live().to_owned();
        Restore {
            confirm: Some(self.confirmed()),
            ..Restore::of(self.artifact.id, RestoreInto::Live { name })
        }
    }

    async fn replaced(&self, lease: &Arc<Lease>) -> Result<Effects, Failure> {
        self.replaced_as(&self.request(), lease).await
    }

    async fn replaced_as(&self, request: &Restore, lease: &Arc<Lease>) -> Result<Effects, Failure> {
        let deps = &self.deps;
        let origin =
            Origin::of_artifact(self.artifact.id, None, &deps.storages, &deps.catalog).await?;
        let begun = restore::begin(request, self.live(), origin, deps, lease).await?;
        restore::replace(begun, Safety::Declined("a test".to_owned())).await
    }

    async fn rolled_back(&self, restore: ExecutionId) -> Result<Effects, Failure> {
        let lease = Arc::new(Lease::unattended());
        let confirm = self.confirmed();
        restore::rollback(&restore.to_string(), Some(&confirm), &self.deps, &lease).await
    }

    async fn state(&self, restore: ExecutionId) -> Option<ReplacementState> {
        let id = restore.to_string();
        let rows = replacements(&self.deps.catalog, Replacements::Of(&id)).await;
        rows.unwrap().first().map(|row| row.state)
    }

    /// Every database that has to do with the live one, with whether it is open.
    async fn databases(&self) -> Vec<(String, bool)> {
        let mut connection = self.world.cluster.connect(Some("postgres")).await.unwrap();
        let rows = sqlx::query(
            "select datname::text, datallowconn from pg_database where starts_with(datname, $1) order by 1",
        )
        .bind(self.live())
        .fetch_all(&mut connection)
        .await
        .unwrap();
        rows.into_iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect()
    }

    /// The live database is this one and open, and no half-made one is there.
    async fn assert_live(&self, expected: &[TableChecksum]) {
        assert_eq!(content(&self.world.cluster).await, expected);
        let databases = self.databases().await;
        assert!(
            databases.contains(&(self.live().to_owned(), true)),
            "{databases:?}"
        );
        assert!(
            !databases.iter().any(|(name, _)| name.contains("_restore_")),
            "{databases:?}"
        );
    }

    async fn tidied(&self) -> Vec<Tidied> {
        let target = self.deps.target.as_ref().unwrap();
        restore::tidy(target, &self.deps.catalog).await.unwrap()
    }

    async fn clear(&self) {
        for (name, _) in self.databases().await {
            if name != self.live() {
                let mut admin = self.world.cluster.connect(Some("postgres")).await.unwrap();
                let drop = format!("drop database if exists \"{name}\" with (force)");
                sqlx::query(AssertSqlSafe(drop))
                    .execute(&mut admin)
                    .await
                    .unwrap();
            }
        }
    }
}

async fn content(cluster: &Cluster) -> Vec<TableChecksum> {
    table_checksums(cluster, cluster.database()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_database_gives_way_to_its_backup_and_comes_back() {
    let scene = Scene::new().await;
    let lease = Arc::new(Lease::unattended());
    let effects = scene.replaced(&lease).await.unwrap();
    scene.assert_live(&scene.backed_up).await;
    let restore = lease.execution();
    assert_eq!(scene.state(restore).await, Some(ReplacementState::Replaced));
    let told = &effects.result["replacement"];
    assert_eq!(told["no_safety_backup"], "a test");
    assert!(told["pause_ms"].is_u64(), "{told}");
    let kept = told["kept_as"].as_str().unwrap().to_owned();
    assert!(scene.databases().await.contains(&(kept, false)));

    execute(
        &scene.world.cluster,
        "insert into people (name) values ('late')",
    )
    .await;
    let back = scene.rolled_back(restore).await.unwrap();
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.state(restore).await, Some(ReplacementState::Undone));
    let undone = back.result["rollback"]["kept_as"].as_str().unwrap();
    assert!(
        scene
            .databases()
            .await
            .contains(&(undone.to_owned(), false))
    );
    let again = scene.rolled_back(restore).await.unwrap_err();
    assert_eq!(again.code, "refused.not_replaced");
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_word_by_word_changes_nothing() {
    let scene = Scene::new().await;
    for confirm in [None, Some("prod"), Some("test/other"), Some("")] {
        let request = Restore {
            confirm: confirm.map(str::to_owned),
            ..scene.request()
        };
        let lease = Arc::new(Lease::unattended());
        let refused = scene.replaced_as(&request, &lease).await.unwrap_err();
        assert_eq!(refused.code, "usage.not_confirmed");
        assert!(refused.hint.unwrap().contains(&scene.confirmed()));
    }
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.databases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_settings_grants_and_comment_stay_with_the_live_name() {
    let scene = Scene::new().await;
    let live = scene.live().to_owned();
    let role = format!("{live}_app");
    let dress = format!(
        "create role {role}; alter database {live} owner to {role};
         alter database {live} set work_mem = '7MB'; alter database {live} set search_path = '$user', public, \"odd, one\";
         alter role {role} in database {live} set statement_timeout = '9s';
         revoke all on database {live} from public; grant connect on database {live} to {role} with grant option;
         grant create on database {live} to public;
         alter database {live} connection limit 77; comment on database {live} is 'it''s ours'"
    );
    execute(&scene.world.cluster, &dress).await;
    let before = belongings(&scene.world.cluster).await;
    let lease = Arc::new(Lease::unattended());
    scene.replaced(&lease).await.unwrap();
    assert_eq!(belongings(&scene.world.cluster).await, before);
    scene.rolled_back(lease.execution()).await.unwrap();
    assert_eq!(belongings(&scene.world.cluster).await, before);
    scene.clear().await;
    let undress = format!(
        "alter database {live} owner to current_user; revoke all on database {live} from {role};
         alter role {role} in database {live} reset all; drop role {role}"
    );
    execute(&scene.world.cluster, &undress).await;
}

/// All that a database has outside of itself.
async fn belongings(cluster: &Cluster) -> String {
    let mut connection = cluster.connect(Some("postgres")).await.unwrap();
    sqlx::query_scalar(
        "select concat_ws(E'\\n', pg_get_userbyid(d.datdba), d.datconnlimit, d.datallowconn,
                array(select a::text from unnest(d.datacl) a order by 1),
                array(select concat(s.setrole::regrole, s.setconfig) from pg_db_role_setting s
                       where s.setdatabase = d.oid order by 1),
                shobj_description(d.oid, 'pg_database'))
           from pg_database d where d.datname = $1",
    )
    .bind(cluster.database())
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

/// A client that writes all the time, on a new connection whenever its session ended.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    work: tokio::task::JoinHandle<Told>,
}

/// What the client was told.
#[derive(Default)]
struct Told {
    refusals: Vec<String>,
    /// The database, by its oid, and the row that it has.
    rows: Vec<(i64, i32)>,
    longest_pause: Duration,
}

impl Writer {
    /// Writes into a table of its own that is in every version of the database.
    fn start(url: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (order, count) = (Arc::clone(&stop), Arc::clone(&written));
        let work = tokio::spawn(async move {
            let (mut told, mut last) = (Told::default(), Instant::now());
            while !order.load(Ordering::Relaxed) {
                let ended = match PgConnection::connect(&url).await {
                    Ok(connection) => {
                        write(connection, &order, |row| {
                            count.fetch_add(1, Ordering::Relaxed);
                            told.rows.push(row);
                            told.longest_pause = told.longest_pause.max(last.elapsed());
                            last = Instant::now();
                        })
                        .await
                    }
                    Err(error) => Some(error),
                };
                told.refusals.extend(ended.map(|error| code(&error)));
            }
            told
        });
        Self {
            stop,
            written,
            work,
        }
    }

    async fn until_it_writes(&self) {
        let seen = self.written.load(Ordering::Relaxed);
        eventually("a write", async || {
            self.written.load(Ordering::Relaxed) > seen + 5
        })
        .await;
    }

    async fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.unwrap()
    }
}

/// Which database took the row stands in what it answers.
const WRITE: &str = "insert into people (name) values ('busy')
    returning (select oid::bigint from pg_database where datname = current_database()), id";

async fn write(
    mut connection: PgConnection,
    stop: &AtomicBool,
    mut written: impl FnMut((i64, i32)),
) -> Option<sqlx::Error> {
    while !stop.load(Ordering::Relaxed) {
        match sqlx::query_as(WRITE).fetch_one(&mut connection).await {
            Ok(row) => written(row),
            Err(error) => return Some(error),
        }
    }
    None
}

fn code(error: &sqlx::Error) -> String {
    let state = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    state.map_or_else(|| error.to_string(), std::borrow::Cow::into_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_all_the_time_sees_one_pause_and_no_other_error() {
    let scene = Scene::new().await;
    let url = TestServer::shared().await.url_of(scene.live());
    let writer = Writer::start(url);
    writer.until_it_writes().await;
    let lease = Arc::new(Lease::unattended());
    let effects = scene.replaced(&lease).await.unwrap();
    println!(
        "closed for {} ms",
        effects.result["replacement"]["pause_ms"]
    );
    writer.until_it_writes().await;
    let back = scene.rolled_back(lease.execution()).await.unwrap();
    println!("closed for {} ms", back.result["rollback"]["pause_ms"]);
    writer.until_it_writes().await;
    let told = writer.end().await;
    println!(
        "{} rows, none for {:?} at most",
        told.rows.len(),
        told.longest_pause
    );
    let refusals = &told.refusals;
    // Ended; refused behind the fence; or met between the two names.
    let known = ["57P01", "55000", "3D000"];
    assert!(!refusals.is_empty());
    assert!(
        refusals.iter().all(|code| known.contains(&code.as_str())),
        "{refusals:?}"
    );
    assert_eq!(
        refusals.iter().filter(|code| *code == "57P01").count(),
        2,
        "{refusals:?}"
    );

    // Each of the three periods is in the database that was live then, and nothing else is.
    let undone = back.result["rollback"]["kept_as"].as_str().unwrap();
    execute(
        &scene.world.cluster.with_database("postgres"),
        &format!("alter database {undone} with allow_connections true"),
    )
    .await;
    let rest = "select count(*) from people where name <> 'busy'";
    let old = count(&scene.world.cluster, rest).await;
    let new = count(&scene.world.cluster.with_database(undone), rest).await;
    assert_eq!((old, new), (500, 500));
    assert_kept(&scene, undone, &told.rows).await;
    let newcomers = "select count(*) from people where name = 'newcomer'";
    assert_eq!(count(&scene.world.cluster, newcomers).await, 1);
    assert_eq!(
        count(&scene.world.cluster.with_database(undone), newcomers).await,
        0
    );
    scene.clear().await;
}

/// Every row that the client was told to be there is in the database that it was told of.
async fn assert_kept(scene: &Scene, undone: &str, promised_rows: &[(i64, i32)]) {
    let mut taken = 0;
    for database in [scene.live(), undone] {
        let busy =
            "select (select oid::bigint from pg_database where datname = current_database()), id
                      from people where name = 'busy' order by id";
        let cluster = scene.world.cluster.with_database(database);
        let mut connection = cluster.connect(None).await.unwrap();
        let there: Vec<(i64, i32)> = sqlx::query_as(busy)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let ours = promised_rows.iter().filter(|(oid, _)| *oid == there[0].0);
        let promised: Vec<_> = ours.copied().collect();
        taken += promised.len();
        assert!(
            promised.iter().all(|row| there.contains(row)),
            "{database} lost a row"
        );
        // A session may end after its row was committed and before anybody was told.
        assert!(
            there.len() <= promised.len() + 1,
            "{database} has rows that nobody wrote"
        );
    }
    assert_eq!(taken, promised_rows.len(), "a third database took rows");
}

async fn count(cluster: &Cluster, query: &str) -> i64 {
    let mut connection = cluster.connect(None).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_of_kanbus_is_ended_in_what_becomes_live() {
    let scene = Scene::new().await;
    execute(
        &scene.world.cluster,
        "update backup_executions set status = 'RUNNING'",
    )
    .await;
    let artifact = scene
        .world
        .listed("database:kanbu", &scene.world.deps)
        .await;
    let scene = Scene { artifact, ..scene };
    let lease = Arc::new(Lease::unattended());
    let effects = scene.replaced(&lease).await.unwrap();
    let told = effects
        .warnings
        .iter()
        .any(|w| w.code == "restore.phantoms");
    assert!(told, "{:?}", effects.warnings);
    let ended = "select count(*) from backup_executions where status = 'FAILED' and error_message = 'interrupted by restore'";
    assert_eq!(count(&scene.world.cluster, ended).await, 1);
    scene.clear().await;
}

/// What can be seen of a replacement at work; at each of these it is to die.
const MOMENTS: [&str; 5] = [
    "exists (select from pg_database where datname = 'kanbu_backup_making_' || $2)",
    "exists (select from pg_database where starts_with(datname, $1 || '_restore_'))",
    "exists (select from pg_stat_activity where starts_with(datname, $1 || '_restore_') and application_name like '%' || $2)",
    "exists (select from pg_database where datname = $1 and not datallowconn)",
    "exists (select from pg_database where starts_with(datname, $1 || '_before_'))",
];

/// Looks all the time until it sees the moment.
async fn seen(scene: &Scene, moment: &str, execution: ExecutionId) {
    let mut connection = scene.world.cluster.connect(Some("postgres")).await.unwrap();
    let mut rounds = tokio::time::interval(Duration::from_millis(2));
    loop {
        let is_there: bool =
            sqlx::query_scalar(AssertSqlSafe(format!("select {moment} and $2 is not null")))
                .bind(scene.live())
                .bind(execution.to_string())
                .fetch_one(&mut connection)
                .await
                .unwrap();
        if is_there {
            return;
        }
        rounds.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_dies_anywhere_leaves_one_of_the_two_and_is_settled() {
    let scene = Scene::new().await;
    let mut ends = [0; 2];
    for moment in MOMENTS.into_iter().flat_map(|moment| [moment; 4]) {
        let mut claimed = Claimed::new(&scene).await;
        let lease = Arc::clone(&claimed.lease);
        // Dropping the work cuts its connections, as the death of its process would.
        let died = tokio::select! {
            ended = scene.replaced(&lease) => {
                ended.unwrap();
                false
            }
            () = claimed.keep() => panic!("the lease has gone"),
            () = seen(&scene, moment, lease.execution()) => true,
        };
        claimed.lose(&scene).await;
        let live = content(&scene.world.cluster).await;
        assert!(live == scene.old || live == scene.backed_up, "{moment}");
        scene.assert_live(&live).await;
        let state = scene.state(lease.execution()).await;
        let is_new = live == scene.backed_up;
        ends[usize::from(is_new)] += 1;
        match (state, is_new) {
            (None | Some(ReplacementState::Reverted), false) => assert!(died, "{moment}"),
            (Some(ReplacementState::Replaced), true) => {
                scene.rolled_back(lease.execution()).await.unwrap();
            }
            other => panic!("{moment}: {other:?}"),
        }
        scene.assert_live(&scene.old).await;
        scene.clear().await;
    }
    println!("died before {}, after {}", ends[0], ends[1]);
    // The last moment comes after the exchange.
    assert!(ends[0] > 0 && ends[1] >= 4, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_nobody_settled_does_not_hinder_the_next_one() {
    let scene = Scene::new().await;
    for moment in &MOMENTS[3..] {
        let mut claimed = Claimed::new(&scene).await;
        let lease = Arc::clone(&claimed.lease);
        let died = tokio::select! {
            ended = scene.replaced(&lease) => {
                ended.unwrap();
                false
            }
            () = claimed.keep() => panic!("the lease has gone"),
            () = seen(&scene, moment, lease.execution()) => true,
        };
        println!("died: {died}");
        claimed.expire(&scene).await;
        let lease = Arc::new(Lease::unattended());
        scene.replaced(&lease).await.unwrap();
        scene.assert_live(&scene.backed_up).await;
        claimed.lose(&scene).await;
        scene.assert_live(&scene.backed_up).await;
    }
    scene.clear().await;
}

/// A restore that a worker has claimed.
struct Claimed {
    lease: Arc<Lease>,
    _seat: LeaseSeat,
    rechecks: mpsc::Receiver<Recheck>,
}

impl Claimed {
    async fn new(scene: &Scene) -> Self {
        let db = &scene.deps.catalog;
        let job = NewJob::new(
            Job::Restore(scene.request()),
            kanbu_backup::queue::Origin::Operator,
        );
        queue::submit(db, &job).await.unwrap();
        let ids = [ExecutionId::new()];
        let claim = queue::claim(
            db,
            WorkerId::new(),
            Kind::Restore,
            Duration::from_mins(1),
            &ids,
        );
        let Claim::Jobs(jobs) = claim.await.unwrap() else {
            panic!("nothing to claim")
        };
        let (sender, rechecks) = mpsc::channel(1);
        let (lease, seat) = Lease::grant(jobs[0].execution, jobs[0].job, 1, sender);
        Self {
            lease: Arc::new(lease),
            _seat: seat,
            rechecks,
        }
    }

    /// Answers every question of the holder with a renewed lease.
    async fn keep(&mut self) {
        while let Some(asked) = self.rechecks.recv().await {
            let _ = asked.reply.send(Ok(()));
        }
    }

    /// The worker is not heard of any more.
    async fn expire(&self, scene: &Scene) {
        let over =
            "update kanbu_backup.execution set lease_until = now() - interval '1 s' where id = $1";
        sqlx::query(over)
            .bind(self.lease.execution().as_uuid())
            .execute(scene.deps.catalog.bare_pool())
            .await
            .unwrap();
    }

    /// The next worker comes by.
    async fn lose(self, scene: &Scene) {
        self.expire(scene).await;
        assert_eq!(queue::reap(&scene.deps.catalog).await.unwrap().len(), 1);
        let tidied = scene.tidied().await;
        println!("{tidied:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_restores_of_one_database_never_run_at_once() {
    let scene = Scene::new().await;
    let first = Arc::new(Lease::unattended());
    let request = scene.request();
    let origin = Origin::of_artifact(
        scene.artifact.id,
        None,
        &scene.deps.storages,
        &scene.deps.catalog,
    )
    .await
    .unwrap();
    let begun = restore::begin(&request, scene.live(), origin, &scene.deps, &first)
        .await
        .unwrap();
    let second = Arc::new(Lease::unattended());
    let refused = scene.replaced(&second).await.unwrap_err();
    assert_eq!(refused.code, "restore.already_running");
    assert!(
        refused.message.contains(&first.execution().to_string()),
        "{refused}"
    );
    restore::replace(begun, Safety::Declined("a test".to_owned()))
        .await
        .unwrap();
    scene.assert_live(&scene.backed_up).await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_lock_is_lost_stops_and_changes_nothing() {
    let scene = Scene::new().await;
    let lease = Arc::new(Lease::unattended());
    let request = scene.request();
    let origin = Origin::of_artifact(
        scene.artifact.id,
        None,
        &scene.deps.storages,
        &scene.deps.catalog,
    )
    .await
    .unwrap();
    let begun = restore::begin(&request, scene.live(), origin, &scene.deps, &lease)
        .await
        .unwrap();
    let cut = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'kanbu_backup/{}'",
        lease.execution()
    );
    execute(&scene.world.cluster.with_database("postgres"), &cut).await;
    let failure = restore::replace(begun, Safety::Declined("a test".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(failure.code, "restore.guard_lost", "{failure}");
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.databases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_do_not_end_are_named_and_nothing_is_changed() {
    let scene = Scene::new().await;
    let live = scene.live().to_owned();
    let role = format!("{live}_plain");
    let setup = format!(
        "create role {role} login createdb password 'plain'; alter database {live} owner to {role};
         grant all on schema public to {role}; grant select on all tables in schema public to {role}"
    );
    execute(&scene.world.cluster, &setup).await;
    let url = TestServer::shared().await.url_of(&live);
    let (_, place) = url.split_once('@').unwrap();
    let cluster = Cluster::from_url(&format!("postgres://{role}:plain@{place}")).unwrap();
    let target = scene
        .deps
        .target
        .clone()
        .map(|target| DatabaseTarget { cluster, ..target });
    let scene = Scene {
        deps: restore::Deps {
            target,
            ..scene.deps.clone()
        },
        ..scene
    };
    // A superuser's, which a plain role can't end.
    let held = scene.world.cluster.connect(None).await.unwrap();
    let lease = Arc::new(Lease::unattended());
    let request = Restore {
        no_owner: true,
        ..scene.request()
    };
    let refused = scene.replaced_as(&request, &lease).await.unwrap_err();
    assert_eq!(refused.code, "restore.sessions_stay");
    assert!(refused.message.contains("process "), "{refused}");
    assert_eq!(
        scene.state(lease.execution()).await,
        Some(ReplacementState::Reverted)
    );
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.databases().await.len(), 1);

    held.close().await.unwrap();
    let lease = Arc::new(Lease::unattended());
    scene.replaced_as(&request, &lease).await.unwrap();
    scene.assert_live(&scene.backed_up).await;
    scene.clear().await;
    let undress = format!(
        "alter database {live} owner to current_user; reassign owned by {role} to current_user;
         drop owned by {role}; drop role {role}"
    );
    execute(&scene.world.cluster, &undress).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_long_enough_is_dropped() {
    let scene = Scene::new().await;
    let lease = Arc::new(Lease::unattended());
    scene.replaced(&lease).await.unwrap();
    assert_eq!(scene.tidied().await, []);
    assert_eq!(scene.databases().await.len(), 2);
    sqlx::query("update kanbu_backup.replacement set keep_until = now() - interval '1 s'")
        .execute(scene.world.db.bare_pool())
        .await
        .unwrap();
    let tidied = scene.tidied().await;
    assert!(tidied[0].text.contains("kept for 7 days"), "{tidied:?}");
    assert_eq!(
        scene.state(lease.execution()).await,
        Some(ReplacementState::Dropped)
    );
    assert_eq!(scene.databases().await.len(), 1);
    let refused = scene.rolled_back(lease.execution()).await.unwrap_err();
    assert_eq!(refused.code, "refused.not_replaced");
    scene.assert_live(&scene.backed_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_that_differs_replaces_nothing_and_the_difference_is_named() {
    let scene = Scene::new().await;
    let deps = &scene.deps;
    let expect = async || {
        let origin = Origin::of_artifact(scene.artifact.id, None, &deps.storages, &deps.catalog);
        let mut origin = origin.await.unwrap();
        let lease = Arc::new(Lease::unattended());
        // What the backup holds, told by a database that was made from it.
        let name = format!("{}_told", scene.live());
        let to = Destination::Database {
            name: name.clone(),
            no_owner: false,
        };
        restore::perform(origin.clone(), &to, deps.parts(), &lease)
            .await
            .unwrap();
        let told = inventory::take(&scene.world.cluster, &name, Duration::from_mins(1)).await;
        scene.world.drop_database(&name).await;
        origin.expectations = Some(told.unwrap());
        origin
    };
    let mut origin = expect().await;
    let expectations = origin.expectations.as_mut().unwrap();
    let people = expectations
        .tables
        .iter_mut()
        .find(|table| table.table == "people")
        .unwrap();
    people.rows += 1;
    let lease = Arc::new(Lease::unattended());
    let request = scene.request();
    let begun = restore::begin(&request, scene.live(), origin.clone(), deps, &lease)
        .await
        .unwrap();
    let refused = restore::replace(begun, Safety::Declined("a test".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "restore.differs");
    assert!(
        refused
            .message
            .contains("people has 500 rows instead of 501"),
        "{refused}"
    );
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.databases().await.len(), 1);

    // Beside the live one as well; and it stays only for who asked for that.
    let name = format!("{}_kept", scene.live());
    let to = Destination::Database {
        name: name.clone(),
        no_owner: false,
    };
    let lease = Arc::new(Lease::unattended());
    let refused = restore::perform(origin.clone(), &to, deps.parts(), &lease).await;
    assert_eq!(refused.unwrap_err().code, "restore.differs");
    assert!(!scene.world.has_database(&name).await);
    let refused = restore::perform_and_keep(origin, &to, deps.parts(), &lease).await;
    assert_eq!(refused.unwrap_err().code, "restore.differs");
    assert!(scene.world.has_database(&name).await);
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_by_a_database_without_tables() {
    let world = World::new("create sequence alone").await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    execute(&world.cluster, CONTENT).await;
    let old = content(&world.cluster).await;
    let deps = world.restore_deps().await;
    let scene = Scene {
        backed_up: Vec::new(),
        world,
        artifact,
        deps,
        old,
    };
    let lease = Arc::new(Lease::unattended());
    let refused = scene.replaced(&lease).await.unwrap_err();
    assert_eq!(refused.code, "restore.no_tables");
    scene.assert_live(&scene.old).await;
    assert_eq!(scene.databases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_speaks_against_a_replacement() {
    let scene = Scene::new().await;
    let live = scene.live().to_owned();
    let deps = &scene.deps;
    let origin = Origin::of_artifact(scene.artifact.id, None, &deps.storages, &deps.catalog);
    let origin = origin.await.unwrap();
    let into = |name: &str| Destination::Live {
        name: name.to_owned(),
        no_owner: false,
    };
    let verdicts = async |name: &str| {
        let plan = restore::plan(&origin, &into(name), deps.parts()).await;
        let told = plan.checks.iter().map(|check| (check.name, check.verdict));
        let told: Vec<_> = told.collect();
        (told, plan.refusal().map(|failure| failure.code.to_string()))
    };
    let (told, refusal) = verdicts(&live).await;
    assert_eq!(refusal, None, "{told:?}");
    assert!(told.contains(&("sessions", Verdict::Pass)), "{told:?}");

    let session = scene.world.cluster.connect(None).await.unwrap();
    let (told, refusal) = verdicts(&live).await;
    assert!(told.contains(&("sessions", Verdict::Warn)), "{told:?}");
    assert_eq!(refusal, None);
    session.close().await.unwrap();

    assert_eq!(
        verdicts("postgres").await.1.as_deref(),
        Some("usage.not_live")
    );
    let fence = format!("alter database {live} with allow_connections");
    let admin = scene.world.cluster.with_database("postgres");
    execute(&admin, &format!("{fence} false")).await;
    let (told, refusal) = verdicts(&live).await;
    assert!(told.contains(&("fence", Verdict::Fail)), "{told:?}");
    assert!(refusal.is_some());
    execute(&admin, &format!("{fence} true")).await;
}
