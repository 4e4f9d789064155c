//! The plan of a restore: every check, with each of the verdicts that it can have.

use kanbu_backup::{
    backup::Format,
    crypto::Keyring,
    pg::{inventory::Extension, tools::Toolset},
    restore::{self, Check, DatabaseTarget, Deps, Destination, Origin, Plan, Verdict},
    testing::TestServer,
};
use sqlx::Connection;

use crate::{fault_world::Stage, protected::execute, use_world::World};

use Verdict::{Fail, Pass, Warn};

fn found<'a>(plan: &'a Plan, name: &str) -> Option<&'a Check> {
    plan.checks.iter().find(|check| check.name == name)
}

/// The plan has this check with this verdict and these words. A failure refuses, and a warning is handed on.
#[track_caller]
fn assert_told(plan: &Plan, name: &str, verdict: Verdict, words: &str) {
    let check = found(plan, name).unwrap_or_else(|| panic!("no check {name}: {:#?}", plan.checks));
    assert_eq!(check.verdict, verdict, "{check:?}");
    assert!(check.text.contains(words), "{check:?}");
    let warned = plan
        .warnings()
        .any(|w| w.code == format!("restore.plan.{name}"));
    assert_eq!(warned, verdict == Warn, "{check:?}");
    assert_eq!(check.failure.is_some(), verdict == Fail, "{check:?}");
    if verdict == Fail {
        plan.require().unwrap_err();
    }
}

/// A stage and what a plan is made of.
struct Draft {
    stage: Stage,
    deps: Deps,
    origin: Origin,
}

impl Draft {
    async fn new(server: &TestServer, statements: &str) -> Self {
        let stage = Stage::new(server, statements, Format::Native).await;
        let deps = stage.deps().await;
        let origin = stage.origin(&deps).await.unwrap();
        Self {
            stage,
            deps,
            origin,
        }
    }

    fn live(&self) -> Destination {
        Destination::Live {
            name: self.stage.live().to_owned(),
            no_owner: false,
        }
    }

    async fn plan(&self, destination: &Destination) -> Plan {
        restore::plan(&self.origin, destination, self.deps.parts()).await
    }

    fn with_target(&self, change: impl FnOnce(&mut DatabaseTarget)) -> Deps {
        let mut deps = self.deps.clone();
        change(deps.target.as_mut().unwrap());
        deps
    }
}

fn beside() -> Destination {
    Destination::Database {
        name: "beside".to_owned(),
        no_owner: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_the_backup_its_age_its_key_and_what_it_expects() {
    let server = TestServer::start(&[]).await;
    let mut draft = Draft::new(&server, "").await;
    let plan = draft.plan(&beside()).await;
    assert_eq!(plan.refusal(), None, "{plan:#?}");
    assert_told(&plan, "backup", Pass, "stored on one, two");
    assert_told(&plan, "age", Pass, "the backup was made");
    assert_told(&plan, "key", Pass, "are tried before anything is made");
    assert_told(&plan, "expectations", Pass, "1 tables are expected");

    let aged = "update kanbu_backup.artifact set created_at = now() - interval '31 days'";
    let pool = draft.stage.world.db.bare_pool();
    sqlx::query(aged).execute(pool).await.unwrap();
    assert_told(
        &draft.plan(&beside()).await,
        "age",
        Warn,
        "more than 30 days ago",
    );

    draft.origin.expectations = None;
    assert_told(
        &draft.plan(&beside()).await,
        "expectations",
        Warn,
        "nothing can be compared",
    );

    draft.deps.keyring = Keyring::new(None, Vec::new());
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "key", Fail, "no key at hand opens one:");
    assert_eq!(plan.refusal().unwrap().code, "key.none_fits");
    let file = draft.stage.world.place("kanbu_backup.sql");
    std::fs::write(&file, "select 1").unwrap();
    draft.origin = Origin::of_file(&file).unwrap();
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "key", Warn, "the file has to tell");
    assert_told(&plan, "backup", Pass, "kanbu_backup.sql is there");
    assert!(found(&plan, "age").is_none());

    // A catalog that doesn't answer.
    let draft = Draft::new(&server, "").await;
    let World { db, .. } = &draft.stage.world;
    db.bare_pool().close().await;
    db.close().await;
    let plan = draft.plan(&beside()).await;
    let check = found(&plan, "backup").unwrap();
    assert_eq!(check.verdict, Fail, "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_versions_room_names_roles_and_extensions() {
    let server = TestServer::start(&[]).await;
    let mut draft = Draft::new(&server, "create role plain login createdb password 'x'").await;
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "versions", Pass, "backup of server");
    assert_told(&plan, "room", Pass, "free, the database had");
    assert_told(&plan, "name", Pass, "no database beside is there yet");
    for name in ["roles", "extensions", "live", "rights"] {
        assert!(found(&plan, name).is_none(), "{name}: {plan:#?}");
    }

    let taken = Destination::Database {
        name: draft.stage.live().to_owned(),
        no_owner: false,
    };
    assert_told(&draft.plan(&taken).await, "name", Fail, "exists already");

    let whole = draft.origin.clone();
    draft.origin.server.as_mut().unwrap().version_num = 990_001;
    assert_told(&draft.plan(&beside()).await, "versions", Fail, "99");
    let future = Toolset {
        version: (99, 1),
        has_client: true,
        ..draft.stage.toolsets[0].clone()
    };
    let deps = draft.with_target(|target| target.toolsets.push(future));
    let plan = restore::plan(&draft.origin, &beside(), deps.parts()).await;
    assert_told(
        &plan,
        "versions",
        Warn,
        "of the newer server 99, which may not load",
    );

    draft.origin = whole.clone();
    draft.origin.server.as_mut().unwrap().size_bytes = u64::MAX / 2;
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "room", Fail, "bytes free, and the database had");
    assert_eq!(plan.refusal().unwrap().code, "database.full");
    draft.origin.server = None;
    assert_told(&draft.plan(&beside()).await, "room", Pass, "is not known");
    // Only some roles are told where the server's files are.
    let as_role = draft.stage.world.as_role("plain");
    let deps = draft.with_target(|target| target.cluster = as_role);
    let plan = restore::plan(&draft.origin, &beside(), deps.parts()).await;
    assert_told(&plan, "room", Warn, "can't be seen from here");

    draft.origin = whole;
    let shape = &mut draft.origin.server.as_mut().unwrap().shape;
    shape.owner = Some("nobody_here".to_owned());
    let expected = draft.origin.expectations.as_mut().unwrap();
    expected.extensions.push(Extension {
        name: "of_no_server".to_owned(),
        version: "1.0".to_owned(),
        needed: true,
    });
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "roles", Warn, "no role \"nobody_here\"");
    assert_told(&plan, "extensions", Warn, "can't install of_no_server");

    draft.deps.target = None;
    let plan = draft.plan(&beside()).await;
    assert_told(&plan, "server", Fail, "needs DATABASE_URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_whether_the_connecting_role_may_replace_the_live_database() {
    let server = TestServer::start(&[]).await;
    let roles =
        "create role stranger login password 'x'; create role maker login createdb password 'x';
        create role owner login createdb password 'x';
        do $$ begin execute format('alter database %I owner to owner', current_database()); end $$";
    let draft = Draft::new(&server, roles).await;
    let live = draft.live();
    let plan = draft.plan(&live).await;
    assert_eq!(plan.refusal(), None, "{plan:#?}");
    assert_told(&plan, "live", Pass, "is kept when it gives way");
    assert_told(&plan, "rights", Pass, "and sessions ended");

    for (role, verdict, words) in [
        ("stranger", Fail, "may not create databases"),
        ("maker", Fail, "whom the connecting role can't act for"),
        ("owner", Warn, "no member of pg_signal_backend"),
    ] {
        let as_role = draft.stage.world.as_role(role);
        let deps = draft.with_target(|target| target.cluster = as_role);
        let plan = restore::plan(&draft.origin, &live, deps.parts()).await;
        assert_told(&plan, "rights", verdict, words);
    }
    let other = Destination::Live {
        name: "another".to_owned(),
        no_owner: false,
    };
    assert_told(
        &draft.plan(&other).await,
        "live",
        Fail,
        "is not the live database here",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_all_that_holds_on_to_the_live_database() {
    let settings = [("wal_level", "logical"), ("max_prepared_transactions", "5")];
    let server = TestServer::start(&settings).await;
    let draft = Draft::new(&server, "").await;
    let (live, cluster) = (draft.live(), &draft.stage.world.cluster);
    let plan = draft.plan(&live).await;
    assert_told(&plan, "sessions", Pass, "nobody is connected");
    for name in ["fence", "prepared", "slots", "kanbu"] {
        assert!(found(&plan, name).is_none(), "{name}: {plan:#?}");
    }
    let mut session = cluster.connect(None).await.unwrap();
    // The slot first: it would wait for the transaction.
    let held = "select pg_create_logical_replication_slot('slot', 'pgoutput');
        begin; create table held (); prepare transaction 'held'";
    for statement in held.split(';') {
        sqlx::raw_sql(statement)
            .execute(&mut session)
            .await
            .unwrap();
    }
    let plan = draft.plan(&live).await;
    assert_told(
        &plan,
        "sessions",
        Warn,
        "1 sessions on the live database will be ended",
    );
    assert_told(&plan, "prepared", Fail, "1 prepared transactions hold on");
    assert_told(&plan, "slots", Warn, "1 replication slots stay");
    assert_eq!(plan.refusal().unwrap().code, "database.permission");
    for statement in [
        "rollback prepared 'held'",
        "select pg_drop_replication_slot('slot')",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut session)
            .await
            .unwrap();
    }
    session.close().await.unwrap();

    let admin = cluster.with_database("postgres");
    let fence = format!(
        "alter database {} with allow_connections",
        draft.stage.live()
    );
    execute(&admin, &format!("{fence} false")).await;
    assert_told(
        &draft.plan(&live).await,
        "fence",
        Fail,
        "closed to connections",
    );
    execute(&admin, &format!("{fence} true")).await;
}

/// As Prisma keeps it.
const MIGRATIONS: &str = "
    create table _prisma_migrations (migration_name text, finished_at timestamptz, rolled_back_at timestamptz);
    insert into _prisma_migrations values ('20260101_init', now(), null)";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_when_another_kanbu_is_live_than_the_one_that_was_backed_up() {
    let server = TestServer::start(&[]).await;
    let draft = Draft::new(&server, MIGRATIONS).await;
    let plan = draft.plan(&draft.live()).await;
    assert_told(&plan, "kanbu", Pass, "of the Kanbu that is live");
    let cluster = &draft.stage.world.cluster;
    // One that is not finished doesn't count.
    execute(
        cluster,
        "insert into _prisma_migrations values ('20260301_half', null, null)",
    )
    .await;
    assert_told(
        &draft.plan(&draft.live()).await,
        "kanbu",
        Pass,
        "of the Kanbu that is live",
    );
    execute(
        cluster,
        "insert into _prisma_migrations values ('20260201_more', now() + interval '1 s', null)",
    )
    .await;
    let plan = draft.plan(&draft.live()).await;
    assert_told(
        &plan,
        "kanbu",
        Warn,
        "is of Kanbu 20260101_init, and 20260201_more is live",
    );
    assert_eq!(plan.refusal(), None);
    execute(cluster, "drop table _prisma_migrations").await;
    let plan = draft.plan(&draft.live()).await;
    assert_told(
        &plan,
        "kanbu",
        Warn,
        "is of Kanbu 20260101_init, and none is live",
    );
    // Beside the live one nobody is in the way.
    assert!(found(&draft.plan(&beside()).await, "kanbu").is_none());
}
