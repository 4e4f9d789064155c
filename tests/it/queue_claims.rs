//! What a claim looks at: however long the queue and its past, only what it needs.

use super::*;

/// More than a claim looks at before it goes by subjects.
const MANY: i64 = 150;

impl World {
    /// So many backups of a subject that are ahead of everybody else's.
    async fn crowd(&self, subject: &str) {
        self.sql(&format!(
            "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                           backoff_base, backoff_cap, origin, priority)
             select gen_random_uuid(), 'backup', '{subject}', true, '{{}}', 1, 4, '1 second', '1 minute', 'api', 9
               from generate_series(1, {MANY})"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_crowd_of_jobs_that_must_wait_hides_nobody() {
    let world = World::new().await;
    world.crowd("database:busy").await;
    world.crowd("database:paused").await;
    let paused = "database:paused".parse().unwrap();
    queue::pause(
        &world.db,
        Some(Kind::Backup),
        Some(&paused),
        None,
        None,
        "me",
    )
    .await
    .unwrap();
    let busy = world.claim().await;
    assert_eq!(busy.subject, "database:busy");
    assert!(world.try_claim().await.is_none());

    let calm = world.backup("database:calm").await;
    world.backup("database:calm").await;
    let urgent = NewJob {
        priority: 1,
        ..backup("database:urgent")
    };
    let urgent = world.enqueue(&urgent).await;
    assert_eq!(world.claim().await.job, urgent);
    assert_eq!(world.claim().await.job, calm);
    assert!(world.try_claim().await.is_none());
    endings::done(&world, &busy).await;
    assert_eq!(world.claim().await.subject, "database:busy");
    world.holds().await;
}

/// Enqueues, claims and finishes one job.
const TURN: &str = "do $$
declare
  run uuid := gen_random_uuid();
begin
  insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts, backoff_base,
                                backoff_cap, origin)
  values (gen_random_uuid(), 'KIND', 'database:kanbu', 'KIND' = 'backup', '{}', 1, 4, '1 second', '1 minute', 'api');
  perform from kanbu_backup.claim(gen_random_uuid(), 'KIND', 1, '1 minute', array[run]);
  perform from kanbu_backup.renew(jsonb_build_array(jsonb_build_object('id', run)), '1 minute');
  perform from kanbu_backup.finish(jsonb_build_array(jsonb_build_object(
    'id', run, 'outcome', 'succeeded', 'charged', true, 'log_from', 0, 'log', '[]'::jsonb)));
  perform from kanbu_backup.reap();
end
$$";

const ROWS_READ: &str = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
     from pg_stat_xact_user_tables where schemaname = 'kanbu_backup' and relname in ('job', 'execution')";

/// Plans are made once in a session, for tables as they are then.
#[tokio::test]
async fn a_session_that_began_on_empty_tables_reads_no_more_rows_when_they_have_grown() {
    for kind in ["backup", "notify"] {
        let world = World::new().await;
        world
            .sql("vacuum (analyze) kanbu_backup.job, kanbu_backup.execution")
            .await;
        let turn = TURN.replace("KIND", kind);
        let mut session = world.db.bare_pool().begin().await.unwrap();
        let mut rows_read = Vec::new();
        // Past the point at which the server settles on a plan.
        for growth in [0, 0, 0, 0, 0, 0, 0, 2000] {
            let grow = format!(
                "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                        backoff_base, backoff_cap, origin, state, attempts, finished_at)
                 select gen_random_uuid(), '{kind}', 'database:kanbu', true, '{{}}', 1, 4, '1 second', '1 minute', 'api',
                        'succeeded', 1, now()
                   from generate_series(1, {growth});
                 insert into kanbu_backup.execution (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at,
                        lease_until, ended_at, outcome)
                 select gen_random_uuid(), j.id, j.kind, j.subject, true, gen_random_uuid(), 1, now(), now(), now(),
                        'succeeded'
                   from kanbu_backup.job j where {growth} > 0 and j.state = 'succeeded'"
            );
            for statement in [&grow, &turn] {
                sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                    .execute(&mut *session)
                    .await
                    .unwrap();
                let read: i64 = sqlx::query_scalar(ROWS_READ)
                    .fetch_one(&mut *session)
                    .await
                    .unwrap();
                rows_read.push(read);
            }
        }
        let cost: Vec<i64> = rows_read.chunks(2).map(|pair| pair[1] - pair[0]).collect();
        let (first, last) = (cost[1], cost[cost.len() - 1]);
        assert!(last <= first + 50, "{kind}: {cost:?}");
        session.commit().await.unwrap();
    }
}
