//! Schedules on a real server. Time is the database's, so a test moves what was looked at back instead of waiting.

use std::{collections::BTreeSet, time::Duration};

use chrono::{TimeDelta, Timelike, Utc};
use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::{ControlConfig, ControlDb},
    id::{JobId, ScheduleId},
    job::{Job, Kind, VerifyLevel},
    queue::{self, JobState},
    retention::Policy,
    schedule::{
        self, Backups, CatchUp, Draft, Look, Overlap, Plan, Producer, Round, ScheduleError,
        ScheduledKind, VerifyEvery,
    },
    testing::{self, TestDatabase},
};
use sqlx::AssertSqlSafe;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

const EVERY_SECOND: &str = "* * * * * *";

struct World {
    database: TestDatabase,
    db: ControlDb,
}

impl World {
    async fn new() -> Self {
        let (database, db) = testing::control_db().await;
        Self { database, db }
    }

    async fn sql(&self, sql: &str) {
        self.database.run(sql).await;
    }

    async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.db.bare_pool())
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    async fn add(&self, draft: &Draft) -> ScheduleId {
        schedule::create(&self.db, draft, "test").await.unwrap()
    }

    /// A schedule that nobody has looked at for so long.
    async fn neglected(&self, draft: &Draft, time: &str) -> ScheduleId {
        let id = self.add(draft).await;
        self.neglect(id, time).await;
        id
    }

    async fn neglect(&self, id: ScheduleId, time: &str) {
        let back = format!(
            "update kanbu_backup.schedule set last_tick_at = now() - interval '{time}', next_tick_at = now()
              where id = '{id}'"
        );
        self.sql(&back).await;
    }

    async fn round(&self) -> Round {
        schedule::round(&self.db).await.unwrap()
    }

    /// The jobs of schedules, the first one first.
    async fn jobs(&self) -> Vec<(JobId, Job)> {
        let rows = self
            .database
            .texts("select id::text from kanbu_backup.job where schedule_id is not null order by run_at, created_at, id")
            .await;
        let mut jobs = Vec::new();
        for row in rows {
            let id: JobId = row.parse().unwrap();
            let payload = format!("select payload::text from kanbu_backup.job where id = '{id}'");
            let payload = self.database.texts(&payload).await.remove(0);
            let kind = queue::job(&self.db, id).await.unwrap().unwrap().kind;
            jobs.push((
                id,
                Job::from_payload(kind, payload.parse().unwrap()).unwrap(),
            ));
        }
        jobs
    }

    /// Ends all open jobs of schedules well.
    async fn end_jobs(&self) {
        self.sql(
            "update kanbu_backup.job set state = 'succeeded', finished_at = now()
              where schedule_id is not null and state in ('queued', 'running')",
        )
        .await;
    }

    async fn events(&self) -> Vec<serde_json::Value> {
        let rows = self
            .database
            .texts("select data::text from kanbu_backup.event where event = 'schedule.missed' order by id")
            .await;
        rows.iter().map(|row| row.parse().unwrap()).collect()
    }
}

fn draft(name: &str, cron: &str) -> Draft {
    let subject = format!("database:{name}").parse().unwrap();
    Draft::of(
        name,
        subject,
        cron.parse().unwrap(),
        chrono_tz::Europe::Amsterdam,
    )
}

/// Looks again and again until it is so.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(30));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        while !look().await {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn a_tick_makes_one_job_that_names_its_schedule() {
    let world = World::new().await;
    let terms = Draft {
        storages: Some(vec!["local".parse().unwrap(), "s3-eu".parse().unwrap()]),
        timeout: Some(Duration::from_hours(3)),
        max_attempts: Some(2),
        verify_every: VerifyEvery::Each,
        verify_level: VerifyLevel::Proven,
        ..draft("nightly", EVERY_SECOND)
    };
    let id = world.neglected(&terms, "10 seconds").await;
    let round = world.round().await;
    assert_eq!(
        (round.looked, round.failed, round.enqueued, round.skipped),
        (1, 0, 1, 0)
    );
    // While it is open it makes the other ticks unnecessary.
    assert!(round.already_open >= 9, "{round:?}");
    let [(job, Job::Backup(backup))] = &world.jobs().await[..] else {
        panic!("not one backup")
    };
    assert_eq!(backup.schedule, Some(id));
    assert_eq!(backup.storages, ["local", "s3-eu"]);
    assert_eq!(
        (backup.timeout, backup.verify),
        (Some(10_800), Some(VerifyLevel::Proven))
    );
    let view = queue::job(&world.db, *job).await.unwrap().unwrap();
    assert_eq!((view.origin.as_str(), view.max_attempts), ("cron", 2));
    let distinct = "select count(distinct job_id) from kanbu_backup.schedule_tick";
    assert_eq!(world.number(distinct).await, 1);
    assert_eq!(world.events().await, Vec::<serde_json::Value>::new());
    // Nothing is due any more.
    assert_eq!(
        schedule::look(&world.db, ScheduleId::new()).await.unwrap(),
        Look::Passed
    );
    assert_eq!(queue::invariants(&world.db).await.unwrap(), []);
}

#[tokio::test]
async fn after_downtime_none_the_latest_or_all_are_made_up_for_and_an_event_says_so() {
    let world = World::new().await;
    // Half an hour from now: none of its ticks is in time.
    let cron = format!("{} * * * *", (SystemClock.now().minute() + 30) % 60);
    for (catch_up, made_up) in [(CatchUp::None, 0), (CatchUp::Latest, 1), (CatchUp::All, 3)] {
        let late = Draft {
            catch_up,
            catch_up_limit: 3,
            ..draft(catch_up.as_str(), &cron)
        };
        world.neglected(&late, "10 hours").await;
        let round = world.round().await;
        let [event] = &world.events().await[..] else {
            panic!("not one event")
        };
        assert_eq!(event["schedule"], catch_up.as_str());
        assert_eq!(
            (&event["count"], &event["made_up"]),
            (&10.into(), &made_up.into())
        );
        assert_eq!(
            (round.enqueued, round.failed),
            (made_up, 0),
            "{catch_up:?} {round:?}"
        );
        assert_eq!(round.enqueued + round.skipped, 10);
        let jobs = world.jobs().await;
        assert_eq!(jobs.len(), made_up);
        world
            .sql("truncate kanbu_backup.job, kanbu_backup.event cascade")
            .await;
    }
}

#[tokio::test]
async fn a_schedule_that_queues_makes_a_job_of_every_tick() {
    let world = World::new().await;
    let queueing = Draft {
        overlap: Overlap::Queue,
        ..draft("busy", EVERY_SECOND)
    };
    world.neglected(&queueing, "20 seconds").await;
    let round = world.round().await;
    assert!(round.enqueued >= 20, "{round:?}");
    assert_eq!((round.already_open, round.skipped), (0, 0));
    assert_eq!(world.jobs().await.len(), round.enqueued);
}

#[tokio::test]
async fn what_another_producer_has_locked_is_passed_over_and_made_when_that_one_is_killed() {
    let world = World::new().await;
    let id = world
        .neglected(&draft("nightly", EVERY_SECOND), "5 seconds")
        .await;
    let mut other = world.database.session().await;
    other
        .run(&format!(
            "begin; select from kanbu_backup.schedule where id = '{id}' for update;
             insert into kanbu_backup.schedule_tick (schedule_id, tick_at, disposition, reason)
             values ('{id}', date_trunc('second', now()), 'skipped', 'late')"
        ))
        .await;
    assert_eq!(schedule::look(&world.db, id).await.unwrap(), Look::Passed);
    assert_eq!(world.round().await, Round::default());
    // As a killed process does it: in the middle of its transaction.
    drop(other);
    until("the ticks", async || world.round().await.enqueued == 1).await;
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test]
async fn two_producers_look_at_four_thousand_schedules_in_a_round_and_miss_none() {
    let world = World::new().await;
    world
        .sql(
            "insert into kanbu_backup.schedule (id, name, kind, subject, cron, time_zone, last_tick_at, next_tick_at)
             select gen_random_uuid(), 'schedule ' || n, 'backup', 'database:d' || n, '0 2 * * *', 'Europe/Amsterdam',
                    now() - interval '25 hours', now()
               from generate_series(1, 4000) as n",
        )
        .await;
    let second = ControlDb::connect(&ControlConfig::new(&world.database.url, "second"))
        .await
        .unwrap();
    let (one, other) = tokio::join!(schedule::round(&world.db), schedule::round(&second));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.failed, other.failed), (0, 0));
    assert_eq!(one.looked + other.looked, 4000, "{one:?} {other:?}");
    assert_eq!(one.enqueued + other.enqueued, 4000);
    let distinct = "select count(distinct schedule_id) from kanbu_backup.job";
    assert_eq!(world.number(distinct).await, 4000);
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.job where kind = 'backup'")
            .await,
        4000
    );
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.late_ticks")
            .await,
        0
    );
    assert_eq!(world.round().await, Round::default());
}

#[tokio::test]
async fn a_running_producer_hears_of_new_paused_and_changed_schedules() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let producer = tokio::spawn({
        let (producer, stop) = (Producer::new(world.db.clone()), stop.clone());
        async move { producer.run(stop).await }
    });
    let id = world.add(&draft("nightly", EVERY_SECOND)).await;
    let ticks = "select count(*) from kanbu_backup.schedule_tick";
    until("a tick", async || world.number(ticks).await > 0).await;
    // Until it has looked: afterwards its next tick is none.
    schedule::pause(&world.db, id, None, "test").await.unwrap();
    let idle = "select count(*) from kanbu_backup.schedule where next_tick_at is null";
    until("the pause", async || world.number(idle).await == 1).await;
    let paused_at = world.number(ticks).await;
    assert!(schedule::resume(&world.db, id, "test").await.unwrap());
    assert!(!schedule::resume(&world.db, id, "test").await.unwrap());
    until("more ticks", async || world.number(ticks).await > paused_at).await;

    let view = schedule::named(&world.db, "nightly").await.unwrap();
    let yearly = Draft {
        cron: "0 0 1 1 *".parse().unwrap(),
        ..view.draft.clone()
    };
    schedule::edit(&world.db, id, view.revision, &yearly, "test")
        .await
        .unwrap();
    let far = "select count(*) from kanbu_backup.schedule where extract(month from next_tick_at at time zone time_zone) = 1
                and extract(day from next_tick_at at time zone time_zone) = 1";
    until("the new rule", async || world.number(far).await == 1).await;
    stop.cancel();
    producer.await.unwrap();
}

#[tokio::test]
async fn running_now_moves_no_tick_and_runs_what_is_off_or_paused() {
    let world = World::new().await;
    let id = world.add(&draft("nightly", "0 2 * * *")).await;
    world.round().await;
    let plan = "select extract(epoch from last_tick_at + (next_tick_at - 'epoch'))::bigint from kanbu_backup.schedule";
    let before = world.number(plan).await;
    let job = schedule::run(&world.db, id, Some("first"), "test")
        .await
        .unwrap();
    // While it is open it is the answer to everybody.
    assert_eq!(
        schedule::run(&world.db, id, None, "test").await.unwrap(),
        job
    );
    assert_eq!(world.number(plan).await, before);
    world.end_jobs().await;
    assert_eq!(
        schedule::run(&world.db, id, Some("first"), "test")
            .await
            .unwrap(),
        job
    );

    schedule::pause(
        &world.db,
        id,
        Some(SystemClock.now() + TimeDelta::hours(1)),
        "test",
    )
    .await
    .unwrap();
    assert!(schedule::disable(&world.db, id, "test").await.unwrap());
    assert!(!schedule::disable(&world.db, id, "test").await.unwrap());
    let second = schedule::run(&world.db, id, None, "test").await.unwrap();
    assert_ne!(second, job);
    let view = schedule::named(&world.db, &id.short()).await.unwrap();
    let last = view.last_run.clone().unwrap();
    assert_eq!((last.job, last.status.as_str()), (second, "queued"));
    assert!(view.next_ticks(3).is_empty());
    assert!(schedule::enable(&world.db, id, "test").await.unwrap());
    let unknown = schedule::run(&world.db, ScheduleId::new(), None, "test")
        .await
        .unwrap_err();
    assert!(
        unknown.to_string().contains("there is no schedule"),
        "{unknown}"
    );
    // By its name, as from a trigger.
    let named = world
        .database
        .texts("select kanbu_backup.run_schedule('nightly')::text")
        .await;
    assert_eq!(named, [second.to_string()]);
}

#[tokio::test]
async fn a_job_begins_later_by_the_jitter_of_its_tick() {
    let world = World::new().await;
    let shaken = Draft {
        jitter: Duration::from_mins(30),
        overlap: Overlap::Queue,
        ..draft("shaken", EVERY_SECOND)
    };
    let id = world.neglected(&shaken, "20 seconds").await;
    world.round().await;
    let plan = Plan {
        id,
        ..Plan::of(&shaken)
    };
    let rows: Vec<(chrono::DateTime<Utc>, chrono::DateTime<Utc>, chrono::DateTime<Utc>)> = sqlx::query_as(
        "select t.tick_at, j.run_at, j.created_at from kanbu_backup.schedule_tick t join kanbu_backup.job j on j.id = t.job_id",
    )
    .fetch_all(world.db.bare_pool())
    .await
    .unwrap();
    assert!(rows.len() >= 20);
    let mut distances = BTreeSet::new();
    for (tick, run_at, created_at) in rows {
        assert_eq!(run_at, plan.run_at(tick).max(created_at));
        distances.insert((run_at - tick).num_seconds());
    }
    assert!(distances.len() > 10, "{distances:?}");
}

#[tokio::test]
async fn a_clock_that_jumps_makes_no_tick_twice_and_a_year_ahead_is_one_job() {
    let world = World::new().await;
    let id = world
        .neglected(&draft("nightly", "0 2 * * *"), "1 year")
        .await;
    let round = world.round().await;
    assert_eq!(round.enqueued, 1, "{round:?}");
    assert!(
        (364..=366).contains(&(round.enqueued + round.skipped)),
        "{round:?}"
    );

    // The clock had been a year ahead, and comes back: what was looked at and made lies in the future.
    world
        .sql(
            "update kanbu_backup.schedule_tick set tick_at = tick_at + interval '1 year';
             update kanbu_backup.schedule set last_tick_at = now() + interval '1 year', next_tick_at = now() + interval '366 days'",
        )
        .await;
    let back = world.round().await;
    assert_eq!((back.looked, back.enqueued, back.skipped), (1, 0, 0));
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.schedule where last_tick_at <= now()")
            .await,
        1
    );
    // Ticks that were skipped there are still to come; the one that was made is not made again.
    assert_eq!(
        world
            .number("select count(*) from kanbu_backup.schedule_tick")
            .await,
        1
    );
    let made = "update kanbu_backup.schedule_tick set tick_at =
                  (select max(t) from generate_series(now() - interval '3 days', now(), '1 second') t
                    where (t at time zone 'Europe/Amsterdam')::time(0) = '02:00')";
    world
        .sql(&made.replace("now()", "date_trunc('second', now())"))
        .await;
    world.neglect(id, "3 days").await;
    let again = world.round().await;
    assert_eq!(again.enqueued, 0, "{again:?}");
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_change_of_the_rule_begins_anew_and_one_of_other_terms_does_not() {
    let world = World::new().await;
    let id = world
        .neglected(&draft("nightly", "0 * * * *"), "5 hours")
        .await;
    let view = schedule::named(&world.db, "nightly").await.unwrap();
    let longer = Draft {
        retention: Policy {
            keep_daily: 30,
            ..Policy::default()
        },
        ..view.draft.clone()
    };
    schedule::edit(&world.db, id, view.revision, &longer, "test")
        .await
        .unwrap();
    let changed = schedule::named(&world.db, "nightly").await.unwrap();
    assert_eq!(changed.draft, longer);
    let kept = "select count(*) from kanbu_backup.schedule where last_tick_at < now() - interval '4 hours'";
    assert_eq!(world.number(kept).await, 1);
    // Somebody who looked before that change.
    let stale = schedule::edit(&world.db, id, view.revision, &view.draft, "test").await;
    assert!(matches!(stale, Err(ScheduleError::Changed(_))), "{stale:?}");

    let other = Draft {
        cron: "30 * * * *".parse().unwrap(),
        ..longer
    };
    schedule::edit(&world.db, id, changed.revision, &other, "test")
        .await
        .unwrap();
    let round = world.round().await;
    assert_eq!((round.looked, round.enqueued, round.skipped), (1, 0, 0));
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_after_the_removal() {
    let world = World::new().await;
    let id = world.add(&draft("nightly", "0 2 * * *")).await;
    let taken = schedule::create(&world.db, &draft("nightly", "0 3 * * *"), "test").await;
    assert!(
        matches!(taken, Err(ScheduleError::NameTaken(_))),
        "{taken:?}"
    );
    let second = world.add(&draft("weekly", "0 2 * * 0")).await;
    let renamed =
        schedule::edit(&world.db, second, 1, &draft("nightly", "0 3 * * *"), "test").await;
    assert!(
        matches!(renamed, Err(ScheduleError::NameTaken(_))),
        "{renamed:?}"
    );

    // Its policy is remembered if its backups are to go on expiring by it, and else it is gone.
    schedule::remove(&world.db, id, Backups::Expire, "test")
        .await
        .unwrap();
    schedule::remove(&world.db, second, Backups::Keep, "test")
        .await
        .unwrap();
    let gone = schedule::remove(&world.db, id, Backups::Expire, "test").await;
    assert!(matches!(gone, Err(ScheduleError::NotFound(_))), "{gone:?}");
    let left = "select name || ' ' || (deleted_at is not null) || ' ' || retention from kanbu_backup.schedule";
    assert_eq!(
        world.database.texts(left).await,
        ["nightly true {}".replace("{}", &stored(&Policy::default()))]
    );
    assert!(schedule::list(&world.db).await.unwrap().is_empty());
    world.add(&draft("nightly", "0 2 * * *")).await;
}

/// As the database writes it.
fn stored(policy: &Policy) -> String {
    let members = serde_json::to_value(policy).unwrap();
    let mut members: Vec<_> = members.as_object().unwrap().iter().collect();
    members.sort_by_key(|(name, _)| (name.len(), (*name).clone()));
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:?}: {value}"))
        .collect();
    format!("{{{}}}", members.join(", "))
}

#[tokio::test]
async fn a_tick_that_the_queue_refuses_is_skipped_aloud() {
    let world = World::new().await;
    world
        .neglected(&draft("nightly", EVERY_SECOND), "3 seconds")
        .await;
    world
        .sql("update kanbu_backup.kind_rule set accepted = false where kind = 'backup'")
        .await;
    let round = world.round().await;
    assert_eq!((round.looked, round.enqueued), (1, 0));
    assert!(round.skipped >= 3, "{round:?}");
    let [event] = &world.events().await[..] else {
        panic!("not one event")
    };
    assert_eq!(event["refusal"], "backup jobs are not accepted yet");
    let reasons = "select distinct reason from kanbu_backup.schedule_tick";
    assert_eq!(world.database.texts(reasons).await, ["refused"]);
}

#[tokio::test]
async fn a_row_that_nobody_understands_keeps_no_other_schedule_waiting() {
    let world = World::new().await;
    let broken = world
        .neglected(&draft("broken", EVERY_SECOND), "1 hour")
        .await;
    world
        .sql(&format!(
            "update kanbu_backup.schedule set cron = 'whenever' where id = '{broken}'"
        ))
        .await;
    world
        .neglected(&draft("nightly", EVERY_SECOND), "3 seconds")
        .await;
    let round = world.round().await;
    assert_eq!((round.looked, round.failed, round.enqueued), (1, 1, 1));
    let error = schedule::look(&world.db, broken).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a row of a schedule has \"whenever\" as cron"
    );
    // It shows where people look.
    world.sql("update kanbu_backup.schedule set next_tick_at = now() - interval '2 minutes' where cron = 'whenever'").await;
    let late = schedule::late_ticks(&world.db).await.unwrap();
    assert_eq!(late.len(), 1);
    assert_eq!(
        (late[0].schedule, late[0].name.as_str()),
        (broken, "broken")
    );
}

#[tokio::test]
async fn the_first_backup_of_a_day_or_week_is_verified_and_the_next_if_that_one_failed() {
    let world = World::new().await;
    for every in [VerifyEvery::Daily, VerifyEvery::Weekly] {
        let id = world
            .add(&Draft {
                verify_every: every,
                ..draft(every.as_str(), "0 2 * * *")
            })
            .await;
        let mut verified = Vec::new();
        for state in ["dead", "succeeded", "succeeded"] {
            let job = schedule::run(&world.db, id, None, "test").await.unwrap();
            let payload = format!(
                "select (payload ? 'verify')::text from kanbu_backup.job where id = '{job}'"
            );
            verified.push(world.database.texts(&payload).await.remove(0));
            world
                .sql(&format!("update kanbu_backup.job set state = '{state}', finished_at = now() where id = '{job}'"))
                .await;
        }
        assert_eq!(verified, ["true", "true", "false"], "{every:?}");
        // A period later.
        world
            .sql("update kanbu_backup.job set created_at = created_at - interval '7 days'")
            .await;
        let job = schedule::run(&world.db, id, None, "test").await.unwrap();
        let payload =
            format!("select payload ->> 'verify' from kanbu_backup.job where id = '{job}'");
        assert_eq!(world.database.texts(&payload).await, ["checked"]);
    }
}

#[tokio::test]
async fn a_schedule_of_verifications_asks_for_its_level() {
    let world = World::new().await;
    let proofs = Draft {
        kind: ScheduledKind::Verify,
        verify_level: VerifyLevel::Proven,
        timeout: Some(Duration::from_mins(90)),
        ..draft("proofs", EVERY_SECOND)
    };
    let id = world.neglected(&proofs, "3 seconds").await;
    assert_eq!(world.round().await.enqueued, 1);
    let [(job, Job::Verify(verify))] = &world.jobs().await[..] else {
        panic!("not one verification")
    };
    assert_eq!(
        (verify.level, verify.schedule, verify.timeout),
        (VerifyLevel::Proven, Some(id), Some(5400))
    );
    let view = queue::job(&world.db, *job).await.unwrap().unwrap();
    assert_eq!((view.kind, view.state), (Kind::Verify, JobState::Queued));
    assert_eq!(view.subject, "database:proofs#verify");
}

#[tokio::test]
async fn a_schedule_is_read_as_it_was_written() {
    let world = World::new().await;
    let all = Draft {
        enabled: false,
        catch_up: CatchUp::All,
        catch_up_limit: 7,
        overlap: Overlap::Queue,
        jitter: Duration::from_millis(1500),
        retention: Policy {
            max_total_bytes: Some(1 << 40),
            ..Policy::everything(Some(90))
        },
        storages: Some(vec!["one".parse().unwrap()]),
        verify_every: VerifyEvery::Weekly,
        verify_level: VerifyLevel::Quick,
        timeout: Some(Duration::from_hours(2)),
        max_attempts: Some(9),
        zone: chrono_tz::Australia::Lord_Howe,
        name: "ünusual: näme #1".to_owned(),
        ..draft("unusual", "@daily")
    };
    let id = world.add(&all).await;
    let view = schedule::named(&world.db, &all.name).await.unwrap();
    assert_eq!((view.id, &view.draft), (id, &all));
    assert_eq!(
        (view.revision, view.created_by.as_deref()),
        (1, Some("test"))
    );
    assert_eq!(view.draft.cron.text(), "@daily");
    let missing = schedule::named(&world.db, "nobody").await.unwrap_err();
    assert!(matches!(missing, ScheduleError::NotFound(_)), "{missing}");
}

/// The words of a column's check.
async fn words(world: &World, table: &str, column: &str) -> BTreeSet<String> {
    let query = format!(
        "select (regexp_matches(pg_get_constraintdef(oid), '''([a-z_]+)''::text', 'g'))[1] from pg_constraint
          where conrelid = 'kanbu_backup.{table}'::regclass and contype = 'c' and conname = '{table}_{column}_check'"
    );
    world.database.texts(&query).await.into_iter().collect()
}

#[tokio::test]
async fn the_words_of_the_table_are_those_of_the_types() {
    let world = World::new().await;
    let set = |words: Vec<&str>| {
        words
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    for (column, known) in [
        (
            "kind",
            set(ScheduledKind::ALL.iter().map(|one| one.as_str()).collect()),
        ),
        (
            "catch_up",
            set(CatchUp::ALL.iter().map(|one| one.as_str()).collect()),
        ),
        (
            "overlap",
            set(Overlap::ALL.iter().map(|one| one.as_str()).collect()),
        ),
        (
            "verify_every",
            set(VerifyEvery::ALL.iter().map(|one| one.as_str()).collect()),
        ),
        (
            "verify_level",
            set(VerifyLevel::ALL.iter().map(|one| one.as_str()).collect()),
        ),
    ] {
        assert_eq!(words(&world, "schedule", column).await, known, "{column}");
    }
}
