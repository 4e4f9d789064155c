//! Faults of the server and of the line to it at every step of a replacement: one of the two databases is live, whole and
//! open, and nothing half-made stays.

use std::sync::Arc;

use kanbu_backup::{
    backup::Format,
    execution::Lease,
    fault::Fault,
    job::Kind,
    pg::{facts::Shape, restore::create_database},
    restore,
    testing::TestServer,
};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::fault_world::{Line, Stage, Way, content};

/// What can be seen of a replacement at work; each of them is cut off from the server then.
const MOMENTS: [&str; 5] = [
    "exists (select from pg_database where starts_with(datname, 'kanbu_backup_making_'))",
    "exists (select from pg_database where datname like '%\\_restore\\_%')",
    "exists (select from pg_stat_activity where datname like '%\\_restore\\_%')",
    "exists (select from pg_database where not datallowconn and datname <> 'template0')",
    "exists (select from pg_database where datname like '%\\_before\\_%')",
];

async fn seen(connection: &mut PgConnection, moment: &str) {
    let mut rounds = tokio::time::interval(std::time::Duration::from_millis(1));
    loop {
        let query = AssertSqlSafe(format!("select {moment}"));
        if sqlx::query_scalar(query)
            .fetch_one(&mut *connection)
            .await
            .unwrap()
        {
            return;
        }
        rounds.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_at_any_step_of_a_replacement_leaves_one_of_the_two_and_nothing_else() {
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, "", Format::Native).await;
    let line = Line::to(&stage.world.url(stage.live())).await;
    stage.target = line.cluster.clone();
    let mut admin = stage.world.cluster.connect(Some("postgres")).await.unwrap();
    let (mut failed, mut replaced) = (0, 0);
    for moment in MOMENTS.into_iter().flat_map(|moment| [moment; 3]) {
        let lease = Arc::new(Lease::unattended());
        let mut restoring = Box::pin(stage.restored(Way::Replace, &lease));
        let ended = tokio::select! {
            ended = &mut restoring => ended,
            () = seen(&mut admin, moment) => {
                line.cut();
                restoring.await
            }
        };
        match ended {
            Ok(effects) => {
                replaced += 1;
                assert_eq!(
                    content(&stage.world.cluster).await,
                    stage.backed_up,
                    "{moment}"
                );
                let kept = effects.result["replacement"]["kept_as"].as_str().unwrap();
                assert!(stage.world.has_database(kept).await, "{moment}");
                stage.rolled_back(lease.execution()).await;
            }
            Err(failure) => {
                failed += 1;
                println!("{moment}: {}: {failure}", failure.code);
                assert_eq!(failure.fault, Fault::Transient, "{moment}: {failure}");
                assert!(
                    failure.code.starts_with("restore.") || failure.code.starts_with("database."),
                    "{failure}"
                );
            }
        }
        stage.assert_unharmed(moment).await;
    }
    println!("{failed} failed, {replaced} replaced");
    assert!(failed >= 6 && replaced >= 3, "{failed} {replaced}");
}

/// A role that may end no sessions but its own: a superuser's keeps the exchange waiting behind its fence.
const PLAIN: &str = "
    create role plain login createdb password 'x';
    do $$ begin execute format('alter database %I owner to plain', current_database()); end $$;
    grant all on schema public to plain;
    grant select on all tables in schema public to plain;
    grant select on all sequences in schema public to plain";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_behind_the_fence_comes_again_with_the_old_database_open() {
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, PLAIN, Format::Native).await;
    stage.target = stage.world.as_role("plain");
    stage.no_owner = true;
    let _held = stage.world.cluster.connect(None).await.unwrap();
    let lease = Arc::new(Lease::unattended());
    let (ended, _server) = tokio::join!(stage.restored(Way::Replace, &lease), async {
        let mut admin = stage.world.cluster.connect(Some("postgres")).await.unwrap();
        seen(&mut admin, MOMENTS[3]).await;
        server.crashed_and_restarted().await
    });
    let failure = ended.unwrap_err();
    println!("{}: {failure}", failure.code);
    assert_eq!(
        (&*failure.code, failure.fault),
        ("restore.guard_lost", Fault::Transient),
        "{failure}"
    );
    stage.assert_unharmed("a crash behind the fence").await;
    let states: Vec<String> = sqlx::query_scalar("select state from kanbu_backup.replacement")
        .fetch_all(stage.world.db.bare_pool())
        .await
        .unwrap();
    assert_eq!(states, ["reverted"]);
    // Nothing is in the way of the next one.
    let lease = Arc::new(Lease::unattended());
    stage.restored(Way::Replace, &lease).await.unwrap();
    assert_eq!(content(&stage.world.cluster).await, stage.backed_up);
}

/// The row of an execution that has ended like this.
async fn ended(stage: &Stage, lease: &Lease, kind: Kind, outcome: &str, fault: Option<&str>) {
    let (job, execution) = (lease.job(), lease.execution());
    let fault = fault.map_or("null".to_owned(), |fault| format!("'{fault}'"));
    let rows = format!(
        "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                       backoff_base, backoff_cap, origin)
         values ('{job}', '{kind}', 'database:kanbu', true, '{{}}', 1, 4, '1 second', '1 minute', 'api');
         insert into kanbu_backup.execution (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at,
                                             lease_until, ended_at, outcome, fault)
         values ('{execution}', '{job}', '{kind}', 'database:kanbu', true, '{execution}', 1, now(), now(), now(),
                 '{outcome}', {fault})"
    );
    sqlx::raw_sql(AssertSqlSafe(rows))
        .execute(stage.world.db.bare_pool())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_could_not_drop_because_the_server_was_away_is_dropped_by_who_tidies_up() {
    let server = TestServer::start(&[]).await;
    let stage = Stage::new(&server, "", Format::Native).await;
    let deps = stage.deps().await;
    let tidied = async || {
        let target = deps.target.as_ref().unwrap();
        restore::tidy(target, &deps.catalog).await.unwrap()
    };
    let cases = [
        ("good", "succeeded", None, true),
        ("gone", "failed", Some("transient"), false),
        ("dead", "failed", Some("lease_lost"), false),
        ("stopped", "cancelled", Some("cancelled"), false),
    ];
    for (name, outcome, fault, _) in cases {
        let lease = Lease::unattended();
        create_database(
            &stage.world.cluster,
            name,
            &Shape::default(),
            lease.execution(),
        )
        .await
        .unwrap();
        ended(&stage, &lease, Kind::Restore, outcome, fault).await;
    }
    let told = tidied().await;
    println!("{told:?}");
    assert_eq!(told.len(), 3);
    for (name, _, _, stays) in cases {
        assert_eq!(stage.world.has_database(name).await, stays, "{name}");
    }
    stage.world.drop_database("good").await;
    stage.assert_unharmed("tidied").await;
}
