//! What may enter, and who may be claimed when.

use chrono::TimeDelta;
use kanbu_backup::{
    execution::Outcome,
    fault::Fault,
    job::{Job, Prune, Verify, VerifyLevel},
    queue::{Blocked, Cancelled, Dedupe, Retried},
};

use super::*;

fn refused(result: std::result::Result<Enqueued, QueueError>) -> String {
    match result {
        Err(
            error @ (QueueError::KindRefused(_)
            | QueueError::Invalid(_)
            | QueueError::RequestKeyReused(_)),
        ) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn kinds_that_are_not_accepted_are_refused() {
    let world = World::new().await;
    world
        .sql("update kanbu_backup.kind_rule set accepted = false where kind = 'prune'")
        .await;
    let subject: kanbu_backup::job::Subject = "database:kanbu".parse().unwrap();
    let prune = Job::Prune(Prune::of(subject));
    let text = refused(
        world
            .try_enqueue(&NewJob::new(prune, Origin::Operator))
            .await,
    );
    assert!(text.ends_with("jobs are not accepted yet"), "{text}");
    assert_eq!(
        world.number("select count(*) from kanbu_backup.job").await,
        0
    );
}

#[tokio::test]
async fn a_payload_may_have_64_kib_and_no_more() {
    let world = World::new().await;
    let with_label = |bytes: usize| {
        let mut new = backup("database:kanbu");
        let Job::Backup(backup) = &mut new.job else {
            unreachable!()
        };
        backup.label = Some("x".repeat(bytes));
        new
    };
    let rest = r#"{"label": "", "subject": "database:kanbu"}"#.len();
    world.enqueue(&with_label(65536 - rest)).await;
    let text = refused(world.try_enqueue(&with_label(65537 - rest)).await);
    assert!(text.contains("65537 bytes"), "{text}");
}

#[tokio::test]
async fn values_out_of_range_are_refused_at_the_door() {
    let world = World::new().await;
    let base = backup("database:kanbu");
    let bad = [
        NewJob {
            run_at: Some(now() + TimeDelta::days(500)),
            ..base.clone()
        },
        NewJob {
            max_attempts: Some(0),
            ..base.clone()
        },
        NewJob {
            request_key: Some(String::new()),
            ..base.clone()
        },
        NewJob {
            dedupe: Dedupe::Key("k".repeat(256)),
            ..base.clone()
        },
    ];
    for new in bad {
        refused(world.try_enqueue(&new).await);
    }
}

#[tokio::test]
async fn one_open_job_per_dedupe_key_and_the_key_frees_itself() {
    let world = World::new().await;
    let new = backup("database:kanbu").unless_open();
    let first = world.enqueue(&new).await;
    assert_eq!(
        world.try_enqueue(&new).await.unwrap(),
        Enqueued::AlreadyOpen(first)
    );
    let other = world.enqueue(&backup("database:other").unless_open()).await;
    assert_ne!(first, other);

    let claimed = world.claim().await;
    assert_eq!(claimed.job, first);
    assert_eq!(
        world.try_enqueue(&new).await.unwrap(),
        Enqueued::AlreadyOpen(first)
    );
    endings::done(&world, &claimed).await;
    assert_ne!(world.enqueue(&new).await, first);
    world.holds().await;
}

#[tokio::test]
async fn the_same_request_twice_is_one_job_even_after_its_end() {
    let world = World::new().await;
    let new = NewJob {
        request_key: Some("request-1".to_owned()),
        ..backup("database:kanbu")
    };
    let first = world.enqueue(&new).await;
    assert_eq!(
        world.try_enqueue(&new).await.unwrap(),
        Enqueued::AlreadyOpen(first)
    );
    let claimed = world.claim().await;
    endings::done(&world, &claimed).await;
    assert_eq!(
        world.try_enqueue(&new).await.unwrap(),
        Enqueued::AlreadyOpen(first)
    );

    let another = NewJob {
        request_key: new.request_key.clone(),
        ..backup("database:other")
    };
    let error = world.try_enqueue(&another).await.unwrap_err();
    assert!(
        matches!(error, QueueError::RequestKeyReused(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_job_belongs_to_the_transaction_that_enqueues_it() {
    let world = World::new().await;
    let mut tx = world.db.pool().begin().await.unwrap();
    queue::enqueue(&mut tx, &backup("database:kanbu"))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert!(world.try_claim().await.is_none());
}

#[tokio::test]
async fn twenty_claims_on_one_subject_open_one_execution() {
    let world = World::new().await;
    for _ in 0..20 {
        world.backup("database:kanbu").await;
    }
    let claims = (0..20).map(|_| world.try_claim());
    let won = futures::future::join_all(claims).await;
    assert_eq!(won.iter().flatten().count(), 1);
    world.holds().await;
}

#[tokio::test]
async fn twenty_claims_on_twenty_subjects_open_twenty() {
    let world = World::new().await;
    for n in 0..20 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    let claims = (0..20).map(|_| world.try_claim());
    let won = futures::future::join_all(claims).await;
    assert_eq!(won.iter().flatten().count(), 20);
    world.holds().await;
}

#[tokio::test]
async fn a_batch_takes_each_subject_once() {
    let world = World::new().await;
    for subject in ["database:a", "database:b", "database:a", "database:b"] {
        world.backup(subject).await;
    }
    let claimed = world.claim_many(Kind::Backup, MINUTE, 4).await;
    let mut subjects: Vec<_> = claimed.iter().map(|c| c.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["database:a", "database:b"]);
    world.holds().await;
}

#[tokio::test]
async fn a_restore_waits_for_the_backup_of_its_subject_but_a_verify_does_not() {
    let world = World::new().await;
    world.backup("database:kanbu").await;
    let backup = world.claim().await;
    let verify = Job::Verify(Verify {
        level: VerifyLevel::Quick,
        ..Verify::of("database:kanbu".parse().unwrap())
    });
    world.enqueue(&NewJob::new(verify, Origin::Operator)).await;
    world
        .plant("restore", "database:kanbu", r#"{"any": 1}"#)
        .await;
    assert_eq!(world.claim_many(Kind::Verify, MINUTE, 1).await.len(), 1);
    assert!(world.claim_many(Kind::Restore, MINUTE, 1).await.is_empty());
    endings::done(&world, &backup).await;
    assert_eq!(world.claim_many(Kind::Restore, MINUTE, 1).await.len(), 1);
    world.holds().await;
}

#[tokio::test]
async fn the_higher_priority_goes_first_and_then_the_older() {
    let world = World::new().await;
    let old = world.backup("database:old").await;
    let young = world.backup("database:young").await;
    let urgent = world
        .enqueue(&NewJob {
            priority: 1,
            ..backup("database:urgent")
        })
        .await;
    let mut order = Vec::new();
    while let Some(claimed) = world.try_claim().await {
        order.push(claimed.job);
    }
    assert_eq!(order, [urgent, old, young]);
}

#[tokio::test]
async fn a_payload_of_a_newer_release_is_left_to_newer_workers() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    world
        .sql("update kanbu_backup.job set payload_version = payload_version + 1")
        .await;
    assert!(world.try_claim().await.is_none());
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_found_by_its_ids() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let ids = [ExecutionId::new(), ExecutionId::new()];
    let lease = MINUTE;
    drop(queue::claim(&world.db, WorkerId::new(), Kind::Backup, lease, &ids).await);
    let found = queue::recover(&world.db, Kind::Backup, lease, &ids)
        .await
        .unwrap();
    assert_eq!(
        found
            .iter()
            .map(|c| (c.execution, c.job))
            .collect::<Vec<_>>(),
        [(ids[0], job)]
    );
    world.expire(ids[0]).await;
    let found = queue::recover(&world.db, Kind::Backup, lease, &ids)
        .await
        .unwrap();
    assert!(found.is_empty(), "{found:?}");
    queue::reap(&world.db).await.unwrap();
    world.holds().await;
}

#[tokio::test]
async fn an_empty_claim_says_when_the_next_job_is_due() {
    let world = World::new().await;
    world
        .enqueue(&NewJob {
            run_at: Some(now() + TimeDelta::seconds(30)),
            ..backup("database:kanbu")
        })
        .await;
    let answer = queue::claim(
        &world.db,
        WorkerId::new(),
        Kind::Backup,
        MINUTE,
        &[ExecutionId::new()],
    )
    .await
    .unwrap();
    let Claim::Nothing {
        due_in: Some(due_in),
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert!((25..=30).contains(&due_in.as_secs()), "{due_in:?}");
}

#[tokio::test]
async fn what_is_paused_is_not_claimed() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let subject = "database:kanbu".parse().unwrap();
    let other = "database:other".parse().unwrap();
    let db = &world.db;
    for (kind, subject) in [
        (None, None),
        (Some(Kind::Backup), None),
        (None, Some(&subject)),
        (Some(Kind::Backup), Some(&subject)),
    ] {
        queue::pause(db, kind, subject, None, Some("maintenance"), "anna")
            .await
            .unwrap();
        assert!(
            world.try_claim().await.is_none(),
            "{kind:?} {subject:?} did not pause"
        );
        let waiting = queue::waiting(db).await.unwrap();
        assert_eq!(waiting[0].id, job);
        assert!(
            matches!(&waiting[0].blocked, Some(Blocked::Pause { reason: Some(r), .. }) if r == "maintenance")
        );
        assert!(queue::resume(db, kind, subject).await.unwrap());
        assert!(!queue::resume(db, kind, subject).await.unwrap());
    }
    for (kind, subject) in [(Some(Kind::Verify), None), (None, Some(&other))] {
        queue::pause(db, kind, subject, None, None, "anna")
            .await
            .unwrap();
    }
    let soon = now() + TimeDelta::hours(1);
    queue::pause(db, Some(Kind::Backup), None, Some(soon), None, "anna")
        .await
        .unwrap();
    assert!(world.try_claim().await.is_none());
    let pauses = queue::pauses(db).await.unwrap();
    assert_eq!(pauses.len(), 3);
    assert_eq!(pauses[2].until.unwrap().timestamp(), soon.timestamp());
    world
        .sql("update kanbu_backup.queue_control set paused_until = now() - interval '1 second' where kind = 'backup'")
        .await;
    assert_eq!(world.claim().await.job, job);
    // What has ended by itself is no pause any more.
    assert_eq!(queue::pauses(db).await.unwrap().len(), 2);
    assert!(!queue::resume(db, Some(Kind::Backup), None).await.unwrap());
}

#[tokio::test]
async fn what_can_pause_or_limit_nothing_is_refused() {
    let world = World::new().await;
    let tried = async |call: &str| {
        let call = format!("select from kanbu_backup.{call}");
        let refused = sqlx::query(AssertSqlSafe(call.clone()))
            .execute(world.db.bare_pool())
            .await;
        let error = refused.expect_err(&call);
        error
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned()
    };
    for call in [
        "pause('bakcup')",
        "pause(null)",
        "pause('backup', 'kanbu')",
        "pause(p_subject => null)",
        "pause(p_until => now() - interval '1 second')",
        "resume('bakcup')",
        "limit_running('*', 1)",
        "limit_running('backup', 0)",
        "limit_running('bakcup', 1)",
        "retry(gen_random_uuid(), 0::smallint)",
        "thin_history('backup', '1 hour')",
    ] {
        assert_eq!(tried(call).await, "22023", "{call}");
    }
    let rows = world
        .number("select count(*) from kanbu_backup.queue_control")
        .await;
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_cap_holds_over_all_workers() {
    let world = World::new().await;
    for n in 0..10 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    queue::limit_running(&world.db, Kind::Backup, Some(3))
        .await
        .unwrap();
    let claims = (0..10).map(|_| world.claim_many(Kind::Backup, MINUTE, 2));
    let won: Vec<_> = futures::future::join_all(claims)
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(won.len(), 3);
    let waiting = queue::waiting(&world.db).await.unwrap();
    assert!(
        waiting.iter().all(|job| job.blocked == Some(Blocked::Cap)),
        "{waiting:?}"
    );

    endings::done(&world, &won[0]).await;
    assert_eq!(world.claim_many(Kind::Backup, MINUTE, 5).await.len(), 1);
    queue::limit_running(&world.db, Kind::Backup, None)
        .await
        .unwrap();
    assert_eq!(world.claim_many(Kind::Backup, MINUTE, 9).await.len(), 6);
    world.holds().await;
}

#[tokio::test]
async fn who_waits_is_told_for_what() {
    let world = World::new().await;
    world.backup("database:kanbu").await;
    let second = world.backup("database:kanbu").await;
    let free = world.backup("database:other").await;
    let claimed = world.claim().await;
    let waiting = queue::waiting(&world.db).await.unwrap();
    let told: Vec<_> = waiting.into_iter().map(|w| (w.id, w.blocked)).collect();
    assert_eq!(
        told,
        [
            (second, Some(Blocked::Subject(claimed.execution))),
            (free, None)
        ]
    );
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked() {
    let world = World::new().await;
    let queued = world.backup("database:kanbu").await;
    let cancel = async |job| queue::cancel(&world.db, job, "anna").await.unwrap();
    assert_eq!(cancel(queued).await, Cancelled::AtOnce);
    assert_eq!(world.state(queued).await, (JobState::Cancelled, 0));
    assert!(world.try_claim().await.is_none());

    let running = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    assert_eq!(cancel(running).await, Cancelled::Requested);
    assert_eq!(cancel(running).await, Cancelled::Requested);
    assert_eq!(world.state(running).await.0, JobState::Running);
    endings::done(&world, &claimed).await;
    assert_eq!(
        cancel(running).await,
        Cancelled::TooLate(JobState::Succeeded)
    );

    let unknown = queue::cancel(&world.db, JobId::new(), "anna").await;
    assert!(matches!(unknown, Err(QueueError::NotFound(_))));
    world.holds().await;
}

#[tokio::test]
async fn a_job_for_later_or_for_another_attempt_can_be_made_due() {
    let world = World::new().await;
    let later = NewJob {
        run_at: Some(now() + TimeDelta::days(1)),
        ..backup("database:kanbu")
    };
    let job = world.enqueue(&later).await;
    assert!(world.try_claim().await.is_none());
    queue::run_now(&world.db, job).await.unwrap();
    let claimed = world.claim().await;
    assert_eq!(claimed.job, job);
    let running = queue::run_now(&world.db, job).await;
    assert!(
        matches!(running, Err(QueueError::NotQueued { .. })),
        "{running:?}"
    );
    endings::failed(&world, &claimed, Fault::Transient).await;
    assert!(world.try_claim().await.is_none());
    queue::run_now(&world.db, job).await.unwrap();
    assert_eq!(world.claim().await.attempt, 2);
    let unknown = queue::run_now(&world.db, JobId::new()).await;
    assert!(matches!(unknown, Err(QueueError::NotFound(_))));
    world.holds().await;
}

#[tokio::test]
async fn a_dead_job_is_retried_under_its_old_id() {
    let world = World::new().await;
    let new = backup("database:kanbu").unless_open();
    let job = world.enqueue(&new).await;
    let not_dead = queue::retry(&world.db, job, 1).await;
    assert!(matches!(not_dead, Err(QueueError::NotDead { .. })));

    let claimed = world.claim().await;
    endings::failed(&world, &claimed, Fault::Permanent).await;
    assert_eq!(world.state(job).await, (JobState::Dead, 1));

    let newer = world.enqueue(&new).await;
    assert_eq!(
        queue::retry(&world.db, job, 1).await.unwrap(),
        Retried::AlreadyOpen(newer)
    );
    queue::cancel(&world.db, newer, "anna").await.unwrap();

    assert_eq!(
        queue::retry(&world.db, job, 2).await.unwrap(),
        Retried::Queued
    );
    let view = world.job(job).await;
    assert_eq!(
        (
            view.state,
            view.attempts,
            view.max_attempts,
            view.finished_at
        ),
        (JobState::Queued, 1, 3, None)
    );
    let claimed = world.claim().await;
    assert_eq!((claimed.job, claimed.attempt), (job, 2));
    world.holds().await;
}

#[tokio::test]
async fn the_states_of_workers_are_those_of_the_enum() {
    let world = World::new().await;
    let view: String =
        sqlx::query_scalar("select pg_get_viewdef('kanbu_backup.worker_state'::regclass)")
            .fetch_one(world.db.bare_pool())
            .await
            .unwrap();
    let of_state = view.split("CASE").nth(1).unwrap();
    let words: Vec<_> = of_state
        .split('\'')
        .skip(1)
        .step_by(2)
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    assert_eq!(
        sorted(words),
        sorted(queue::WorkerState::ALL.iter().map(|s| s.as_str()))
    );
}

/// The words of a column, as its CHECK has them.
async fn words_of(world: &World, table: &str, column: &str) -> Vec<String> {
    let definitions: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "select pg_get_constraintdef(oid) from pg_constraint
          where conrelid = 'kanbu_backup.{table}'::regclass and contype = 'c'
            and pg_get_constraintdef(oid) like 'CHECK (({column} = ANY (ARRAY[%'"
    )))
    .fetch_all(world.db.bare_pool())
    .await
    .unwrap();
    let [definition] = &definitions[..] else {
        panic!("{table}.{column}: {definitions:?}")
    };
    let mut words: Vec<_> = definition
        .split('\'')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    words.sort();
    words
}

fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_unstable();
    words
}

#[tokio::test]
async fn the_words_of_the_schema_are_those_of_the_enums() {
    let world = World::new().await;
    let kinds = sorted(Kind::ALL.map(Kind::as_str));
    for table in ["job", "execution", "kind_rule"] {
        assert_eq!(words_of(&world, table, "kind").await, kinds, "{table}");
    }
    let ruled: Vec<String> =
        sqlx::query_scalar("select kind from kanbu_backup.kind_rule order by 1")
            .fetch_all(world.db.bare_pool())
            .await
            .unwrap();
    assert_eq!(ruled, kinds);
    let controlled = sorted(Kind::ALL.map(Kind::as_str).into_iter().chain(["*"]));
    assert_eq!(words_of(&world, "queue_control", "kind").await, controlled);
    assert_eq!(
        words_of(&world, "job", "state").await,
        sorted(JobState::ALL.iter().map(|s| s.as_str()))
    );
    assert_eq!(
        words_of(&world, "job", "origin").await,
        sorted(Origin::ALL.iter().map(|o| o.as_str()))
    );
    assert_eq!(
        words_of(&world, "execution", "outcome").await,
        sorted(Outcome::ALL.map(Outcome::as_str))
    );
    assert_eq!(
        words_of(&world, "execution", "fault").await,
        sorted(Fault::ALL.map(Fault::as_str))
    );
}

#[tokio::test]
async fn the_invariant_query_finds_what_is_broken() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    world
        .sql("update kanbu_backup.job set state = 'running'")
        .await;
    let violations = queue::invariants(&world.db).await.unwrap();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].rule, "running_job_without_one_open_execution");
    assert_eq!(violations[0].job, Some(job));

    world
        .sql("update kanbu_backup.job set state = 'queued'")
        .await;
    world.claim().await;
    world
        .sql("update kanbu_backup.job set state = 'queued', attempts = 0")
        .await;
    let violations = queue::invariants(&world.db).await.unwrap();
    let mut rules: Vec<_> = violations.into_iter().map(|v| v.rule).collect();
    rules.sort();
    assert_eq!(
        rules,
        [
            "attempts_are_not_the_charged_executions",
            "open_execution_of_a_job_that_is_not_running"
        ]
    );
}

#[tokio::test]
async fn a_job_is_meant_by_the_last_digits_of_its_id() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let resolve = async |text: &str| queue::resolve(&world.db, text).await;
    assert_eq!(resolve(&job.to_string()).await.unwrap(), job);
    assert_eq!(resolve(&job.short()).await.unwrap(), job);
    assert_eq!(
        resolve(&job.short()[4..].to_uppercase()).await.unwrap(),
        job
    );
    for text in ["", "abc", "%%%%", &JobId::new().to_string()] {
        assert!(
            matches!(resolve(text).await, Err(QueueError::NotFound(_))),
            "{text:?}"
        );
    }
}
