//! Which events there are, and that none is lost and none is told of telling.

use kanbu_backup::{
    execution::{Warning, event::NewEvent, event::Severity},
    id::ArtifactId,
    job::{Notify, Restore, RestoreInto, Subject, Verify},
};
use serde_json::json;

use super::*;

const CHANNEL: &str = "[notify.hook]\ntype = \"webhook\"\nurl = \"https://example.org/x\"\n";

fn with(result: serde_json::Value, warnings: Vec<Warning>) -> Close {
    Close::Done(Box::new(Effects {
        result,
        warnings,
        ..Effects::default()
    }))
}

fn warning(code: &str, degrades: bool) -> Warning {
    Warning {
        code: code.to_owned(),
        text: format!("{code} was seen"),
        degrades,
    }
}

#[tokio::test]
async fn the_end_of_a_job_is_one_event_and_one_message_in_its_own_transaction() {
    let world = World::new(CHANNEL).await;
    let claimed = world.backup(done()).await;
    assert_eq!(
        world.events().await,
        ["backup.completed info database:kanbu"]
    );
    let found = event::get(&world.db, world.newest_event().await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.execution, Some(claimed.execution));
    assert_eq!(found.data["outcome"], "succeeded");
    assert_eq!(found.data["origin"], "operator");
    assert_eq!(found.id.as_uuid().get_version_num(), 7);
    let message = world
        .text("select payload::text from kanbu_backup.job where kind = 'notify'")
        .await;
    let message: serde_json::Value = serde_json::from_str(&message).unwrap();
    assert_eq!(
        message,
        json!({"subject": "database:kanbu", "event": found.id})
    );
    // An ending that is repeated after a lost reply has been told of.
    assert_eq!(world.end(&claimed, done()).await, Answer::Already);
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn a_failure_is_an_event_when_nobody_tries_again() {
    let world = World::new(CHANNEL).await;
    let job = world.enqueue(backup("database:kanbu")).await;
    for attempt in 1..=4 {
        assert_eq!(world.events().await.len(), 0, "before attempt {attempt}");
        world
            .sql("update kanbu_backup.job set run_at = now() where state = 'queued'")
            .await;
        let claimed = world.claim(Kind::Backup).await;
        assert_eq!(claimed.job, job);
        world.end(&claimed, failed(Fault::Transient)).await;
    }
    assert_eq!(world.events().await, ["backup.failed error database:kanbu"]);
    world.backup(failed(Fault::Permanent)).await;
    assert_eq!(world.events().await.len(), 2);
}

#[tokio::test]
async fn what_the_reaper_closes_for_good_is_told() {
    let world = World::new(CHANNEL).await;
    world
        .sql("update kanbu_backup.kind_rule set max_attempts = 1 where kind = 'backup'")
        .await;
    world.enqueue(backup("database:kanbu")).await;
    world.claim(Kind::Backup).await;
    world
        .sql("update kanbu_backup.execution set lease_until = now() - interval '1 second'")
        .await;
    assert_eq!(queue::reap(&world.db).await.unwrap().len(), 1);
    assert_eq!(world.events().await, ["backup.failed error database:kanbu"]);
    let code = world
        .text("select data ->> 'error_code' from kanbu_backup.event")
        .await;
    assert_eq!(code, "lease.lost");
}

#[tokio::test]
async fn every_kind_of_work_has_a_name_of_its_own() {
    let world = World::new("").await;
    let subject: Subject = "database:kanbu".parse().unwrap();
    let into = RestoreInto::Database {
        name: "fresh".to_owned(),
    };
    for (job, kind) in [
        (Job::Verify(Verify::of(subject.clone())), Kind::Verify),
        (Job::Verify(Verify::proof_of(subject.clone())), Kind::Verify),
        (
            Job::Restore(Restore::of(ArtifactId::new(), into)),
            Kind::Restore,
        ),
    ] {
        for close in [
            done(),
            with(json!(null), vec![warning("x.y", true)]),
            failed(Fault::Permanent),
        ] {
            world.enqueue(job.clone()).await;
            let claimed = world.claim(kind).await;
            world.end(&claimed, close).await;
        }
    }
    let expected = [
        "verification.completed info database:kanbu",
        "verification.degraded warning database:kanbu",
        "verification.failed error database:kanbu",
        "test_restore.succeeded info database:kanbu",
        "test_restore.degraded warning database:kanbu",
        "test_restore.failed error database:kanbu",
        "restore.completed info database:fresh",
        "restore.degraded warning database:fresh",
        "restore.failed error database:fresh",
    ];
    assert_eq!(world.events().await, expected);
    for event in world
        .texts("select distinct event from kanbu_backup.event")
        .await
    {
        assert!(notify::known(&event).is_some(), "{event}");
    }
}

#[tokio::test]
async fn what_can_not_be_told_does_not_keep_an_execution_from_ending() {
    let world = World::new(CHANNEL).await;
    world
        .sql("alter table kanbu_backup.event add check (severity <> 'info')")
        .await;
    let claimed = world.backup(done()).await;
    let job = queue::job(&world.db, claimed.job).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(world.events().await.len(), 0);
}

#[tokio::test]
async fn what_somebody_cancelled_is_no_event() {
    let world = World::new(CHANNEL).await;
    world.backup(Close::Cancelled(Failure::cancelled())).await;
    let waiting = world.enqueue(backup("database:kanbu")).await;
    queue::cancel(&world.db, waiting, "test").await.unwrap();
    assert_eq!(world.events().await.len(), 0);
}

#[tokio::test]
async fn nobody_is_told_that_somebody_was_told_or_could_not_be() {
    let world = World::new(CHANNEL).await;
    world.backup(done()).await;
    let claimed = world.claim(Kind::Notify).await;
    world.end(&claimed, failed(Fault::Permanent)).await;
    let dead = world
        .number("select count(*) from kanbu_backup.job where kind = 'notify' and state = 'dead'")
        .await;
    assert_eq!((dead, world.events().await.len()), (1, 1));
    assert_eq!(queue::invariants(&world.db).await.unwrap(), []);
}

#[tokio::test]
async fn without_channels_events_are_recorded_and_make_no_jobs() {
    let world = World::new("").await;
    world.backup(done()).await;
    assert_eq!(world.events().await.len(), 1);
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.job where kind = 'notify'")
            .await,
        0
    );
}

#[tokio::test]
async fn trouble_with_a_storage_and_its_end_are_each_told_once() {
    let world = World::new("").await;
    let seen = |one: serde_json::Value, two: serde_json::Value| {
        with(json!({"storages": {"one": one, "two": two}}), vec![])
    };
    let away = || json!({"trouble": "unreachable", "text": "no route"});
    let bad = || json!({"trouble": "damaged", "text": "3 copies"});
    for (one, two) in [
        (json!(null), json!(null)),
        (away(), json!(null)),
        (away(), bad()),
        (bad(), bad()),
        (json!(null), bad()),
        (json!(null), json!(null)),
        (json!(null), json!(null)),
    ] {
        world.backup(seen(one, two)).await;
    }
    let told = world
        .texts("select event || ' ' || (data ->> 'storage') from kanbu_backup.event where event like 'storage.%' order by id")
        .await;
    let expected = [
        "storage.unreachable one",
        "storage.damaged two",
        "storage.damaged one",
        "storage.recovered one",
        "storage.recovered two",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_storage_that_answers_another_subject_is_in_reach_again_and_its_bad_copies_stay_bad() {
    let world = World::new("").await;
    let of = async |subject: &str, trouble: serde_json::Value| {
        world.enqueue(backup(subject)).await;
        let claimed = world.claim(Kind::Backup).await;
        world
            .end(&claimed, with(json!({"storages": {"s3": trouble}}), vec![]))
            .await;
    };
    of("database:a", json!({"trouble": "damaged", "text": ""})).await;
    of("database:b", json!({"trouble": "unreachable", "text": ""})).await;
    of("database:c", json!(null)).await;
    of("database:b", json!(null)).await;
    let told = world
        .texts("select event || ' ' || subject from kanbu_backup.event where event like 'storage.%' order by id")
        .await;
    let expected = [
        "storage.damaged database:a",
        "storage.unreachable database:b",
        "storage.recovered database:c",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_backup_that_holds_much_less_is_an_alarm_beside_its_end() {
    let world = World::new("").await;
    let warnings = vec![
        warning("content.shrunk", false),
        warning("storage.no_copy", true),
    ];
    world.backup(with(json!(null), warnings)).await;
    let expected = [
        "backup.degraded warning database:kanbu",
        "content.alarm warning database:kanbu",
    ];
    assert_eq!(world.events().await, expected);
    let alarm = event::get(&world.db, world.newest_event().await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        alarm.data["warnings"],
        json!([{"code": "content.shrunk", "text": "content.shrunk was seen", "degrades": false}])
    );
    world
        .backup(with(json!(null), vec![warning("backup.lost", true)]))
        .await;
    assert_eq!(
        world.events().await[2],
        "backup.degraded error database:kanbu"
    );
}

#[tokio::test]
async fn a_failure_that_asks_for_patience_gets_it() {
    let world = World::new(CHANNEL).await;
    let job = world.enqueue(backup("database:kanbu")).await;
    let claimed = world.claim(Kind::Backup).await;
    let failure = Failure {
        retry_after: Some(Duration::from_hours(5)),
        ..Failure::new(Fault::Transient, "test.failed", "not now")
    };
    world.end(&claimed, Close::Failed(failure)).await;
    let waits = format!(
        "select run_at > now() + interval '4 hours' from kanbu_backup.job where id = '{job}'"
    );
    assert_eq!(world.text(&format!("select ({waits})::text")).await, "true");
}

#[tokio::test]
async fn whoever_records_an_event_does_so_in_a_transaction_of_his_own_making() {
    let world = World::new(CHANNEL).await;
    let new = NewEvent {
        name: "schedule.missed",
        severity: Severity::Error,
        subject: "database:kanbu".parse().unwrap(),
        data: json!({"schedule_name": "nightly"}),
        execution: None,
        schedule: None,
    };
    let mut tx = world.db.pool().begin().await.unwrap();
    event::record(&mut tx, &new).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(world.events().await.len(), 0);
    let mut tx = world.db.pool().begin().await.unwrap();
    let id = event::record(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.newest_event().await, id);
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.job where kind = 'notify'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_message_is_tried_for_a_day_at_least() {
    // As the migration made it: a world changes it.
    let (_database, db) = testing::control_db().await;
    let (attempts, base, cap): (i16, f64, f64) = sqlx::query_as(
        "select max_attempts, extract(epoch from backoff_base)::float8, extract(epoch from backoff_cap)::float8
           from kanbu_backup.kind_rule where kind = 'notify'",
    )
    .fetch_one(db.bare_pool())
    .await
    .unwrap();
    // The shortest that chance allows: a fifth less each time.
    let waits =
        (1..i32::from(attempts)).map(|attempt| (base * 2_f64.powi(attempt - 1)).min(cap) * 0.8);
    let hours = waits.sum::<f64>() / 3600.0;
    assert!((24.0..36.0).contains(&hours), "{hours} hours");
}

#[tokio::test]
async fn old_events_are_forgotten_and_the_last_word_on_a_storage_is_not() {
    let world = World::new("").await;
    world
        .backup(with(
            json!({"storages": {"s3": {"trouble": "unreachable", "text": ""}}}),
            vec![],
        ))
        .await;
    world
        .sql("update kanbu_backup.event set at = at - interval '30 days'")
        .await;
    world.backup(done()).await;
    assert_eq!(
        event::thin(&world.db, Duration::from_hours(48))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        event::thin(&world.db, Duration::from_hours(48))
            .await
            .unwrap(),
        0
    );
    let left = [
        "storage.unreachable error database:kanbu",
        "backup.completed info database:kanbu",
    ];
    assert_eq!(world.events().await, left);
    assert!(
        event::thin(&world.db, Duration::from_hours(1))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_event_goes_to_the_channels_that_want_it() {
    let world = World::new(
        r#"
        [notify.failures]
        type = "slack"
        url = "https://example.org/a"
        on = "failure"
        [notify.usual]
        type = "slack"
        url = "https://example.org/b"
        [notify.everything]
        type = "slack"
        url = "https://example.org/c"
        on = "all"
        [notify.by-name]
        type = "slack"
        url = "https://example.org/d"
        on = ["backup.completed", "backup.started"]
        [notify.others]
        type = "slack"
        url = "https://example.org/e"
        on = "all"
        subjects = ["source:*", "database:other"]
        "#,
    )
    .await;
    let wanted = async |name: &'static str, severity| {
        let new = NewEvent {
            name,
            severity,
            subject: "database:kanbu".parse().unwrap(),
            data: json!({}),
            execution: None,
            schedule: None,
        };
        let mut tx = world.db.pool().begin().await.unwrap();
        let id = event::record(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        let event = event::get(&world.db, id).await.unwrap().unwrap();
        let taking = world
            .deps
            .channels
            .iter()
            .filter(|channel| channel.wants.takes(&event));
        taking
            .map(|channel| channel.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        wanted("backup.completed", Severity::Info).await,
        ["by-name", "everything"]
    );
    assert_eq!(
        wanted("backup.degraded", Severity::Warning).await,
        ["everything", "usual"]
    );
    assert_eq!(
        wanted("backup.failed", Severity::Error).await,
        ["everything", "failures", "usual"]
    );
    assert_eq!(wanted("backup.started", Severity::Info).await, ["by-name"]);
}

#[tokio::test]
async fn a_message_names_its_event_and_perhaps_its_channel() {
    let world = World::new(CHANNEL).await;
    world.backup(done()).await;
    let notify = Notify {
        subject: "database:kanbu".parse().unwrap(),
        event: world.newest_event().await,
        channel: Some("hook".to_owned()),
    };
    world.enqueue(Job::Notify(notify.clone())).await;
    let stored = world
        .text("select payload::text from kanbu_backup.job where payload ? 'channel'")
        .await;
    let payload = serde_json::from_str(&stored).unwrap();
    assert_eq!(
        Job::from_payload(Kind::Notify, payload).unwrap(),
        Job::Notify(notify)
    );
}
