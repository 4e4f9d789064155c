//! Retention of history: what is forgotten, and what stays whatever its age.

use kanbu_backup::queue::History;

use super::*;

const KEEP: Duration = Duration::from_hours(10 * 24);

/// Lets a job run to a good end, a hundred days ago.
async fn ended_long_ago(world: &World, subject: &str) -> JobId {
    let job = world.backup(subject).await;
    let claimed = world.claim().await;
    assert_eq!(claimed.job, job);
    endings::done(world, &claimed).await;
    age(world, job, 100).await;
    job
}

/// As if it had ended so many days ago.
async fn age(world: &World, job: JobId, days: u32) {
    world
        .sql(&format!(
            "update kanbu_backup.job set finished_at = now() - interval '{days} days' where id = '{job}'"
        ))
        .await;
}

async fn is_known(world: &World, job: JobId) -> bool {
    let jobs = format!("select count(*) from kanbu_backup.job where id = '{job}'");
    let executions = format!("select count(*) from kanbu_backup.execution where job_id = '{job}'");
    let known = world.number(&jobs).await > 0;
    assert!(known || world.number(&executions).await == 0);
    known
}

/// Which of these are forgotten once there is nothing more to forget.
async fn forgotten(world: &World, jobs: &[JobId]) -> Vec<bool> {
    while queue::thin(&world.db, Kind::Backup, KEEP).await.unwrap() > 0 {}
    let mut forgotten = Vec::new();
    for job in jobs {
        forgotten.push(!is_known(world, *job).await);
    }
    forgotten
}

#[tokio::test]
async fn what_ended_well_long_ago_is_forgotten_but_the_last_of_each_subject() {
    let world = World::new().await;
    let first = ended_long_ago(&world, "database:a").await;
    let second = ended_long_ago(&world, "database:a").await;
    let last_of_a = ended_long_ago(&world, "database:a").await;
    age(&world, last_of_a, 99).await;
    let only_of_b = ended_long_ago(&world, "database:b").await;
    let young = ended_long_ago(&world, "database:c").await;
    age(&world, young, 9).await;
    let last_of_c = ended_long_ago(&world, "database:c").await;
    age(&world, last_of_c, 1).await;
    // It never ran: nothing to remember, however new it is in its subject.
    let cancelled = world.backup("database:d").await;
    queue::cancel(&world.db, cancelled, "anna").await.unwrap();
    age(&world, cancelled, 100).await;
    let jobs = [
        first, second, last_of_a, only_of_b, young, last_of_c, cancelled,
    ];
    assert_eq!(
        forgotten(&world, &jobs).await,
        [true, true, false, false, false, false, true]
    );
    world.holds().await;
}

#[tokio::test]
async fn the_last_success_stays_beside_later_cancelled_jobs() {
    let world = World::new().await;
    let success = ended_long_ago(&world, "database:a").await;
    let mut cancelled = Vec::new();
    for days in [50, 40] {
        let job = world.backup("database:a").await;
        let claimed = world.claim().await;
        queue::cancel(&world.db, job, "anna").await.unwrap();
        endings::failed(&world, &claimed, Fault::Transient).await;
        assert_eq!(world.state(job).await.0, JobState::Cancelled);
        age(&world, job, days).await;
        cancelled.push(job);
    }
    let jobs = [success, cancelled[0], cancelled[1]];
    assert_eq!(forgotten(&world, &jobs).await, [false, true, false]);
}

#[tokio::test]
async fn dead_and_open_jobs_stay_until_somebody_has_handled_them() {
    let world = World::new().await;
    let dead = world.backup("database:a").await;
    let claimed = world.claim().await;
    endings::failed(&world, &claimed, Fault::Permanent).await;
    age(&world, dead, 1000).await;
    let queued = world.backup("database:b").await;
    world
        .sql("update kanbu_backup.job set created_at = now() - interval '1000 days'")
        .await;
    assert_eq!(forgotten(&world, &[dead, queued]).await, [false, false]);
    assert_eq!(queue::dead(&world.db, None, 10).await.unwrap()[0].id, dead);
}

#[tokio::test]
async fn what_a_backup_in_the_catalog_came_from_stays() {
    let world = World::new().await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(ended_long_ago(&world, "database:a").await);
    }
    let by_job = (jobs[0], ExecutionId::new());
    let by_execution = (JobId::new(), world.executions(jobs[1]).await[0].id);
    for (job, execution) in [by_job, by_execution] {
        world
            .sql(&format!(
                "insert into kanbu_backup.artifact
                   (id, kind, subject, folder, execution_id, job_id, pinned, created_at, content, compression,
                    content_bytes, payload_bytes, payload_sha256, stored_bytes, stored_sha256, manifest)
                 values (gen_random_uuid(), 'database', 'database:a', '{execution}', '{execution}', '{job}', false, now(),
                         'pg_dump-custom', 'zstd', 1, 1, sha256('x'), 1, sha256('x'), '{{}}')"
            ))
            .await;
    }
    age(&world, jobs[3], 50).await;
    assert_eq!(
        forgotten(&world, &jobs).await,
        [false, false, true, false],
        "referred to by job, by execution, by nothing, the last"
    );
}

#[tokio::test]
async fn children_outlive_their_parents_and_open_ones_keep_them() {
    let world = World::new().await;
    let of_finished = ended_long_ago(&world, "database:a").await;
    let of_open = ended_long_ago(&world, "database:a").await;
    let last = ended_long_ago(&world, "database:a").await;
    age(&world, last, 50).await;
    let child = async |parent: JobId| {
        let new = backup("database:child");
        world
            .enqueue(&NewJob {
                parent: Some(parent),
                ..new
            })
            .await
    };
    let finished = child(of_finished).await;
    let claimed = world.claim().await;
    endings::done(&world, &claimed).await;
    let open = child(of_open).await;
    assert_eq!(
        forgotten(&world, &[of_finished, of_open]).await,
        [true, false]
    );
    assert_eq!(world.job(finished).await.parent, None);
    assert_eq!(world.job(open).await.parent, Some(of_open));
    world.holds().await;
}

#[test]
fn messages_are_forgotten_after_a_month_at_most() {
    let days = |days: u64| Duration::from_hours(24 * days);
    let usual = History::default();
    assert_eq!(usual.of(Kind::Backup), days(180));
    assert_eq!(usual.of(Kind::Notify), days(30));
    assert_eq!(History::new(days(7)).of(Kind::Notify), days(7));
    assert_eq!(History::new(Duration::ZERO).of(Kind::Verify), days(1));
}

/// Messages that ended a hundred days ago, with their executions.
async fn plant_old_messages(world: &World, count: u32) {
    world
        .sql(&format!(
            "with old as (
               insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, state, attempts,
                                             max_attempts, backoff_base, backoff_cap, origin, finished_at)
               select gen_random_uuid(), 'notify', 'database:kanbu', false, '{{}}', 1, 'succeeded', 1, 4, '1 second',
                      '1 minute', 'api', now() - interval '100 days' from generate_series(1, {count})
               returning id, finished_at)
             insert into kanbu_backup.execution (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at,
                                                 lease_until, ended_at, outcome)
             select gen_random_uuid(), id, 'notify', 'database:kanbu', false, gen_random_uuid(), 1, finished_at,
                    finished_at, finished_at, 'succeeded' from old"
        ))
        .await;
}

async fn old_messages(world: &World) -> i64 {
    let old = "select count(*) from kanbu_backup.job where kind = 'notify' and finished_at < now() - interval '30 days'";
    world.number(old).await
}

#[tokio::test]
async fn one_thins_at_a_time_and_waits_for_nobody() {
    let world = World::new().await;
    plant_old_messages(&world, 5).await;
    let thin = async || queue::thin(&world.db, Kind::Notify, KEEP).await.unwrap();

    let mut rival = world.db.bare_pool().begin().await.unwrap();
    sqlx::query("select kanbu_backup.thin_history('backup', interval '10 days')")
        .execute(&mut *rival)
        .await
        .unwrap();
    assert_eq!(thin().await, 0);
    rival.rollback().await.unwrap();

    let mut holder = world.db.bare_pool().begin().await.unwrap();
    let held = "select id from kanbu_backup.job where kind = 'notify' limit 2 for key share";
    sqlx::query(held).execute(&mut *holder).await.unwrap();
    // Of the five one is the last of its subject, and two are held.
    let thinned = thin().await;
    assert!((2..=3).contains(&thinned), "{thinned}");
    holder.rollback().await.unwrap();
    assert_eq!(thinned + thin().await, 4);
    assert_eq!(old_messages(&world).await, 1);
}

#[tokio::test]
async fn a_crew_forgets_by_itself_while_it_works() {
    let world = World::new().await;
    plant_old_messages(&world, 1500).await;
    world
        .sql(
            "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                           backoff_base, backoff_cap, origin)
               select gen_random_uuid(), 'notify', 'database:kanbu', false,
                      jsonb_build_object('subject', 'database:kanbu', 'event', gen_random_uuid()),
                      1, 4, '1 second', '1 minute', 'api' from generate_series(1, 200)",
        )
        .await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.slots = BTreeMap::from([(Kind::Notify, 10)]);
    });
    for _ in 0..200 {
        hands.next().await.succeeds();
    }
    eventually("the old ones to be forgotten", async || {
        (old_messages(&world).await == 0).then_some(())
    })
    .await;
    hands.go_home().await;
    let attempts = "select count(*) from kanbu_backup.execution";
    assert_eq!(world.number(attempts).await, 200);
    let done = "select count(*) from kanbu_backup.job where state = 'succeeded' and attempts = 1";
    assert_eq!(world.number(done).await, 200);
    world.holds().await;
}
