//! How an execution ends, what becomes of its job, and that nobody but the holder of the lease has a say in it.

use kanbu_backup::{
    catalog::{
        self, ArtifactKind, BackupOrigin, Compression, Content, CopyState, Filter, NewArtifact,
        NewCopy,
    },
    execution::{Outcome, Phase, Progress, Warning, store},
    fault::Fault,
    id::ArtifactId,
    job::Verify,
    queue::{Answer, Close, Ending, Renewal},
    storage::Folder,
};
use serde_json::json;

use super::*;

fn ending(claimed: &Claimed, close: Close) -> Ending {
    Ending::new(claimed.execution, claimed.job, close)
}

fn done_with(effects: Effects) -> Close {
    Close::Done(Box::new(effects))
}

fn failure(fault: Fault) -> Failure {
    Failure::new(fault, "test.failed", "it failed")
}

async fn finish(world: &World, claimed: &Claimed, close: Close) -> Answer {
    let ending = ending(claimed, close);
    let answers = queue::finish_many(&world.db, &[&ending]).await.unwrap();
    assert_eq!(answers[0].0, claimed.execution);
    answers[0].1
}

pub(super) async fn done(world: &World, claimed: &Claimed) {
    let answer = finish(world, claimed, done_with(Effects::default())).await;
    assert_eq!(answer, Answer::Closed);
}

pub(super) async fn failed(world: &World, claimed: &Claimed, fault: Fault) {
    let answer = finish(world, claimed, Close::Failed(failure(fault))).await;
    assert_eq!(answer, Answer::Closed);
}

pub(super) async fn ended_with(world: &World, claimed: &Claimed, effects: Effects) {
    let answer = finish(world, claimed, done_with(effects)).await;
    assert_eq!(answer, Answer::Closed);
}

pub(super) async fn cancelled(world: &World, claimed: &Claimed) {
    let answer = finish(world, claimed, Close::Cancelled(Failure::cancelled())).await;
    assert_eq!(answer, Answer::Closed);
}

async fn reap(world: &World) -> usize {
    queue::reap(&world.db).await.unwrap().len()
}

/// A database that was dumped, one verification that follows, and everything that `publish` has to write.
pub(super) fn effects(claimed: &Claimed) -> Effects {
    let created_at = DateTime::from_timestamp(1_768_732_200, 0).unwrap();
    let artifact = ArtifactId::new();
    let subject: kanbu_backup::job::Subject = "database:kanbu".parse().unwrap();
    let new = NewArtifact {
        id: artifact,
        kind: ArtifactKind::Database,
        subject: subject.clone(),
        folder: Folder::of_database("prod".parse().unwrap(), created_at, claimed.execution),
        execution: claimed.execution,
        job: claimed.job,
        label: None,
        pinned: false,
        created_at,
        origin: BackupOrigin::default(),
        holds: None,
        content: Content::PgDumpCustom,
        compression: Compression::Zstd,
        key_id: None,
        content_bytes: 4096,
        payload_bytes: 10,
        payload_sha256: [1; 32],
        stored_bytes: 10,
        stored_sha256: [1; 32],
        manifest: "{}".to_owned(),
    };
    let copy = NewCopy {
        storage: "local".parse().unwrap(),
        state: CopyState::Stored,
        error: None,
        checked_at: None,
    };
    Effects {
        artifact: Some((new, vec![copy])),
        follow_ups: vec![Job::Verify(Verify {
            artifact: Some(artifact),
            ..Verify::of(subject)
        })],
        result: json!({"artifact": artifact}),
        bytes_in: 4096,
        bytes_out: 10,
        ..Effects::default()
    }
}

async fn artifacts(world: &World) -> usize {
    let all = Filter {
        include_lost: true,
        ..Filter::default()
    };
    catalog::list(&world.db, &all).await.unwrap().len()
}

async fn verifications(world: &World) -> i64 {
    world
        .number(
            "select count(*) from kanbu_backup.job where kind = 'verify' and origin = 'follow_up'",
        )
        .await
}

#[tokio::test]
async fn a_claim_charges_the_attempt_and_a_success_ends_the_job() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    assert_eq!((claimed.job, claimed.attempt), (job, 1));
    assert_eq!(world.state(job).await, (JobState::Running, 1));
    let running = world.job(job).await.running.expect("an open execution");
    assert_eq!(running.id, claimed.execution);
    world.holds().await;

    done(&world, &claimed).await;
    assert_eq!(world.state(job).await, (JobState::Succeeded, 1));
    assert!(world.job(job).await.finished_at.is_some());
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(
        (execution.outcome, execution.fault, execution.charged),
        (Some(Outcome::Succeeded), None, true)
    );
    world.holds().await;
}

#[tokio::test]
async fn a_degraded_end_is_a_success_of_the_job_that_keeps_its_warnings() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let effects = Effects {
        warnings: vec![Warning {
            code: "storage.replica_failed".to_owned(),
            text: "one storage still owes a copy".to_owned(),
            degrades: true,
        }],
        ..Effects::default()
    };
    finish(&world, &claimed, done_with(effects)).await;
    assert_eq!(world.state(job).await.0, JobState::Succeeded);
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(execution.outcome, Some(Outcome::Degraded));
    assert_eq!(execution.warnings[0].code, "storage.replica_failed");
}

#[tokio::test]
async fn transient_failures_back_off_further_each_time_until_the_job_is_dead() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let base = 30;
    for attempt in 1..=4 {
        let claimed = world.claim().await;
        assert_eq!(claimed.attempt, attempt);
        failed(&world, &claimed, Fault::Transient).await;
        let view = world.job(job).await;
        assert_eq!(view.error_code.as_deref(), Some("test.failed"));
        if attempt == 4 {
            assert_eq!((view.state, view.attempts), (JobState::Dead, 4));
            break;
        }
        assert_eq!((view.state, view.attempts), (JobState::Queued, attempt));
        let wait = (view.run_at - now()).num_seconds();
        let expected = base << (attempt - 1);
        assert!(
            (expected * 8 / 10 - 2..=expected * 12 / 10).contains(&wait),
            "attempt {attempt} waits {wait} s"
        );
        assert!(world.try_claim().await.is_none());
        world.make_due(job).await;
    }
    assert_eq!(world.executions(job).await.len(), 4);
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.dead_letter")
            .await,
        1
    );
    world.holds().await;
}

#[tokio::test]
async fn the_backoff_doubles_up_to_its_cap_and_is_spread_by_a_fifth() {
    let world = World::new().await;
    let waits: Vec<(i32, f64)> = sqlx::query_as(
        "select n, extract(epoch from kanbu_backup.backoff(n, '30 seconds', '30 minutes'))::float8
           from generate_series(1, 200) n",
    )
    .fetch_all(world.db.bare_pool())
    .await
    .unwrap();
    for (attempt, wait) in waits {
        let middle = (30.0 * 2_f64.powi(attempt - 1)).min(1800.0);
        assert!(
            wait >= middle * 0.799 && wait <= middle * 1.201,
            "attempt {attempt}: {wait} s"
        );
    }
}

#[tokio::test]
async fn a_permanent_failure_is_not_repeated() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    failed(&world, &claimed, Fault::Permanent).await;
    assert_eq!(world.state(job).await, (JobState::Dead, 1));
    world.holds().await;
}

#[tokio::test]
async fn a_first_lost_lease_starts_again_at_once_and_a_second_backs_off() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    assert_eq!(reap(&world).await, 0);
    world.expire(claimed.execution).await;
    assert_eq!(reap(&world).await, 1);
    assert_eq!(world.state(job).await, (JobState::Queued, 1));
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(
        (execution.outcome, execution.fault),
        (Some(Outcome::Failed), Some(Fault::LeaseLost))
    );

    let claimed = world.claim().await;
    assert_eq!(claimed.attempt, 2);
    world.expire(claimed.execution).await;
    assert_eq!(reap(&world).await, 1);
    let wait = (world.job(job).await.run_at - now()).num_seconds();
    assert!((45..=72).contains(&wait), "{wait} s");
    assert!(world.try_claim().await.is_none());
    world.holds().await;
}

#[tokio::test]
async fn a_job_that_keeps_losing_its_workers_dies() {
    let world = World::new().await;
    let job = world
        .enqueue(&NewJob {
            max_attempts: Some(2),
            ..backup("database:kanbu")
        })
        .await;
    for _ in 0..2 {
        world.make_due(job).await;
        let claimed = world.claim().await;
        world.expire(claimed.execution).await;
        reap(&world).await;
    }
    let view = world.job(job).await;
    assert_eq!((view.state, view.attempts), (JobState::Dead, 2));
    assert_eq!(view.error_code.as_deref(), Some("lease.lost"));
    world.holds().await;
}

#[tokio::test]
async fn two_reapers_close_an_execution_once() {
    let world = World::new().await;
    for n in 0..30 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    world.claim_many(Kind::Backup, MINUTE, 30).await;
    world
        .sql("update kanbu_backup.execution set lease_until = now() - interval '1 second'")
        .await;
    let reaped = futures::future::join_all((0..6).map(|_| reap(&world))).await;
    assert_eq!(reaped.iter().sum::<usize>(), 30, "{reaped:?}");
    world.holds().await;
}

#[tokio::test]
async fn whatever_ends_a_job_that_shall_be_cancelled_cancels_it() {
    let world = World::new().await;
    let closes = [
        Some(Close::Failed(failure(Fault::Transient))),
        Some(Close::Failed(failure(Fault::Permanent))),
        Some(Close::Cancelled(Failure::cancelled())),
        Some(Close::Released),
        None,
    ];
    for (n, close) in closes.into_iter().enumerate() {
        let job = world.backup(&format!("database:kanbu{n}")).await;
        let claimed = world.claim().await;
        queue::cancel(&world.db, job, "anna").await.unwrap();
        if let Some(close) = close {
            finish(&world, &claimed, close).await;
        } else {
            world.expire(claimed.execution).await;
            reap(&world).await;
        }
        let view = world.job(job).await;
        assert_eq!(view.state, JobState::Cancelled, "case {n}");
        assert!(view.finished_at.is_some() && view.cancel_requested_at.is_some());
    }
    world.holds().await;
}

#[tokio::test]
async fn what_a_worker_gives_back_is_not_charged() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    finish(&world, &claimed, Close::Released).await;
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(
        (execution.outcome, execution.charged),
        (Some(Outcome::Cancelled), false)
    );
    let again = world.claim().await;
    assert_eq!((again.job, again.attempt), (job, 1));
    world.holds().await;
}

#[tokio::test]
async fn publishing_makes_everything_true_at_once_and_once() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let effects = effects(&claimed);
    let artifact = effects.artifact.as_ref().map(|(a, _)| a.id);
    let ending = ending(&claimed, done_with(effects));
    let publish = async || queue::publish(&world.db, &ending).await.unwrap();
    assert_eq!(publish().await, Answer::Closed);
    assert_eq!(publish().await, Answer::Already);

    assert_eq!(
        (artifacts(&world).await, verifications(&world).await),
        (1, 1)
    );
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(
        (execution.artifact, execution.bytes_in, execution.bytes_out),
        (artifact, Some(4096), Some(10))
    );
    assert_eq!(world.state(job).await.0, JobState::Succeeded);
    let parents = world
        .number(&format!(
            "select count(*) from kanbu_backup.job where parent_job_id = '{job}'"
        ))
        .await;
    assert_eq!(parents, 1);
    world.holds().await;
}

#[tokio::test]
async fn a_follow_up_that_the_queue_refuses_does_not_cost_the_backup() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let mut effects = effects(&claimed);
    effects.follow_ups.insert(
        0,
        Job::Backup(kanbu_backup::job::Backup {
            label: Some("x".repeat(70_000)),
            ..kanbu_backup::job::Backup::of("database:kanbu".parse().unwrap())
        }),
    );
    let ending = ending(&claimed, done_with(effects));
    assert_eq!(
        queue::publish(&world.db, &ending).await.unwrap(),
        Answer::Closed
    );
    assert_eq!(
        (artifacts(&world).await, verifications(&world).await),
        (1, 1)
    );
    assert_eq!(world.state(job).await.0, JobState::Succeeded);
}

#[tokio::test]
async fn a_publication_that_cannot_be_written_whole_is_not_written_at_all() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let mut effects = effects(&claimed);
    if let Some((artifact, _)) = &mut effects.artifact {
        artifact.content_bytes = u64::MAX;
    }
    let ending = ending(&claimed, done_with(effects));
    let error = queue::publish(&world.db, &ending).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    assert_eq!(world.state(job).await, (JobState::Running, 1));
    assert_eq!(
        (artifacts(&world).await, verifications(&world).await),
        (0, 0)
    );
    world.holds().await;
}

/// S11: everything its old owner may still try, with and without a reaper in between.
#[tokio::test]
async fn after_its_lease_ran_out_an_execution_takes_nothing_from_its_owner() {
    for reaped in [false, true] {
        let world = World::new().await;
        let job = world.backup("database:kanbu").await;
        let claimed = world.claim().await;
        world.expire(claimed.execution).await;
        if reaped {
            assert_eq!(reap(&world).await, 1);
        }
        let publication = ending(&claimed, done_with(effects(&claimed)));
        assert_eq!(
            queue::publish(&world.db, &publication).await.unwrap(),
            Answer::Lost
        );
        for close in [
            done_with(Effects::default()),
            Close::Failed(failure(Fault::Permanent)),
            Close::Cancelled(Failure::cancelled()),
            Close::Released,
        ] {
            assert_eq!(finish(&world, &claimed, close).await, Answer::Lost);
        }
        assert_eq!(renew(&world, &[renewal(&claimed)]).await, []);

        assert_eq!(
            (artifacts(&world).await, verifications(&world).await),
            (0, 0)
        );
        let expected = if reaped {
            JobState::Queued
        } else {
            JobState::Running
        };
        assert_eq!(world.state(job).await, (expected, 1), "reaped: {reaped}");
        world.holds().await;
    }
}

#[tokio::test]
async fn a_reaped_execution_cannot_be_finished_by_its_old_worker_while_its_successor_works() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let old = world.claim().await;
    world.expire(old.execution).await;
    reap(&world).await;
    let new = world.claim().await;
    assert_eq!(
        finish(&world, &old, done_with(Effects::default())).await,
        Answer::Lost
    );
    assert_eq!(world.state(job).await, (JobState::Running, 2));
    done(&world, &new).await;
    assert_eq!(world.state(job).await, (JobState::Succeeded, 2));
    world.holds().await;
}

#[tokio::test]
async fn each_ending_of_a_batch_is_fenced_alone() {
    let world = World::new().await;
    for n in 0..3 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    let claimed = world.claim_many(Kind::Backup, MINUTE, 3).await;
    world.expire(claimed[1].execution).await;
    let endings: Vec<_> = claimed
        .iter()
        .map(|c| ending(c, done_with(Effects::default())))
        .collect();
    let batch: Vec<_> = endings.iter().collect();
    let answers: std::collections::HashMap<_, _> = queue::finish_many(&world.db, &batch)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let told: Vec<_> = claimed.iter().map(|c| answers[&c.execution]).collect();
    assert_eq!(told, [Answer::Closed, Answer::Lost, Answer::Closed]);
    world.holds().await;
}

#[tokio::test]
async fn an_error_text_with_a_nul_in_it_still_ends_the_execution() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let failure = Failure::new(Fault::Permanent, "test.failed", "cannot read a\0b");
    finish(&world, &claimed, Close::Failed(failure)).await;
    assert_eq!(
        world.job(job).await.error.as_deref(),
        Some("cannot read ab")
    );
}

fn renewal(claimed: &Claimed) -> Renewal {
    Renewal {
        id: claimed.execution,
        progress: None,
        log_from: 0,
        log: Vec::new(),
    }
}

async fn renew(world: &World, renewals: &[Renewal]) -> Vec<(ExecutionId, bool)> {
    queue::renew(&world.db, renewals, MINUTE, MINUTE)
        .await
        .unwrap()
        .into_iter()
        .map(|r| (r.execution, r.cancel_requested))
        .collect()
}

#[tokio::test]
async fn a_renewal_carries_progress_and_log_lines_and_repeats_none() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    let progress = Progress {
        phase: Phase::Dump,
        done_bytes: 17,
        ..Progress::default()
    };
    let lines = |n: usize| (0..n).map(|line| format!("line {line}")).collect();
    let told = |from, log| Renewal {
        progress: Some(progress.clone()),
        log_from: from,
        log,
        ..renewal(&claimed)
    };
    // The second repeats the first, whose answer was lost, with more; the third brings nothing.
    for renewal in [told(0, lines(2)), told(0, lines(3)), renewal(&claimed)] {
        assert_eq!(
            renew(&world, &[renewal]).await,
            [(claimed.execution, false)]
        );
    }
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(execution.progress, Some(progress));
    assert_eq!(execution.log, lines(3));

    let mut last = ending(&claimed, done_with(Effects::default()));
    last.log_from = 2;
    last.log = vec!["line 2".to_owned(), "line 3".to_owned()];
    queue::finish_many(&world.db, &[&last]).await.unwrap();
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(execution.log, lines(4));
}

#[tokio::test]
async fn a_renewal_extends_every_lease_and_says_which_shall_stop() {
    let world = World::new().await;
    for n in 0..3 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    let short = Duration::from_secs(20);
    let claimed = world.claim_many(Kind::Backup, short, 3).await;
    queue::cancel(&world.db, claimed[1].job, "anna")
        .await
        .unwrap();
    world.expire(claimed[2].execution).await;
    let renewals: Vec<_> = claimed.iter().map(renewal).collect();
    let answers: std::collections::HashMap<_, _> =
        renew(&world, &renewals).await.into_iter().collect();
    assert_eq!(answers.len(), 2);
    assert!(!answers[&claimed[0].execution]);
    assert!(answers[&claimed[1].execution]);
    let extended = world
        .number("select count(*) from kanbu_backup.execution where lease_until > now() + interval '50 seconds'")
        .await;
    assert_eq!(extended, 2);
}

#[tokio::test]
async fn history_tells_which_executions_have_ended() {
    let world = World::new().await;
    let job = world.backup("database:kanbu").await;
    let first = world.claim().await.execution;
    world.expire(first).await;
    reap(&world).await;
    let second = world.claim().await.execution;
    let unknown = ExecutionId::new();
    let ended = store::ended(&world.db, &[first, second, unknown])
        .await
        .unwrap();
    assert_eq!(ended, [first, unknown]);
    let earlier = queue::earlier_executions(&world.db, job).await.unwrap();
    assert_eq!(earlier, [first]);
}
