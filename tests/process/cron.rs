//! Producers as processes: killed and started again, beside one another, and told to do nothing.

use std::time::{Duration, Instant};

use kanbu_backup::{
    pg::process::Signal,
    queue::JobState,
    schedule::{self, CatchUp, Draft, Overlap},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{running::until, world::World};

const EVERY_SECOND: &str = "* * * * * *";

/// How long two producers are watched in real time; 3600 for the whole hour.
#[expect(clippy::disallowed_methods, reason = "a knob of the test suite")]
fn seconds() -> u64 {
    let said = std::env::var("KANBU_SCHEDULES_SECONDS").ok();
    said.map_or(40, |text| {
        text.parse().expect("KANBU_SCHEDULES_SECONDS is a number")
    })
}

fn draft(world: &World, name: &str, cron: &str) -> Draft {
    let subject = format!("database:{}", world.protected.name);
    let zone = "Europe/Amsterdam".parse().unwrap();
    Draft::of(name, subject.parse().unwrap(), cron.parse().unwrap(), zone)
}

async fn number(world: &World, query: &str) -> i64 {
    let text = world
        .control()
        .texts(&format!("select ({query})::text"))
        .await;
    text[0].parse().unwrap()
}

/// Every second between the first and the last tick has one row, and every row a job of its own.
async fn every_tick_has_exactly_one_job(world: &World, ticks: i64) {
    let count = "select count(*) from kanbu_backup.schedule_tick";
    assert_eq!(number(world, count).await, ticks, "ticks");
    for (what, query) in [
        (
            "ticks with a job",
            "select count(*) from kanbu_backup.schedule_tick t join kanbu_backup.job j on j.id = t.job_id",
        ),
        (
            "jobs of ticks",
            "select count(distinct job_id) from kanbu_backup.schedule_tick where disposition = 'enqueued'",
        ),
        (
            "jobs",
            "select count(*) from kanbu_backup.job where origin = 'cron'",
        ),
    ] {
        assert_eq!(number(world, query).await, ticks, "{what}");
    }
    world.holds().await;
}

/// Two producers; of one after the other there is an end every few seconds, and a new one.
async fn with_dying_producers(world: &World, mut is_over: impl AsyncFnMut() -> bool) -> usize {
    let mut producers = [world.start(&["cron"]), world.start(&["cron"])];
    for producer in &producers {
        producer.until_it_says("making the jobs of schedules").await;
    }
    let mut rounds = interval(Duration::from_millis(1700));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds.tick().await;
    let mut killed = 0;
    while !is_over().await {
        rounds.tick().await;
        let doomed = &mut producers[killed % 2];
        doomed.signal(Signal::KILL);
        let fresh = world.start(&["cron"]);
        std::mem::replace(doomed, fresh).end().await.with(137);
        killed += 1;
    }
    for producer in &producers {
        producer.until_it_says("making the jobs of schedules").await;
    }
    for producer in producers {
        world.dismiss(producer).await;
    }
    killed
}

#[tokio::test]
async fn two_producers_of_which_one_dies_again_and_again_make_every_second_exactly_once() {
    let world = World::new().await;
    let queueing = Draft {
        overlap: Overlap::Queue,
        catch_up: CatchUp::All,
        catch_up_limit: 1000,
        ..draft(&world, "every second", EVERY_SECOND)
    };
    let first = "select floor(extract(epoch from created_at))::bigint from kanbu_backup.schedule";
    schedule::create(world.db(), &queueing, "test")
        .await
        .unwrap();
    let first = number(&world, first).await;
    let begun = Instant::now();
    let killed = with_dying_producers(&world, async || {
        begun.elapsed() >= Duration::from_secs(seconds())
    })
    .await;
    assert!(killed >= 3, "{killed} were killed");
    let last = "select extract(epoch from max(tick_at))::bigint from kanbu_backup.schedule_tick";
    let last = number(&world, last).await;
    let ticks = last - first;
    println!("{ticks} seconds, {killed} producers killed");
    assert!(
        ticks >= i64::try_from(seconds()).unwrap() - 2,
        "{ticks} ticks"
    );
    every_tick_has_exactly_one_job(&world, ticks).await;
}

#[tokio::test]
async fn an_hour_of_seconds_is_made_up_for_exactly_once_while_producers_are_killed() {
    let world = World::new().await;
    // At most a thousand late ticks of a schedule are made up for: four quarters of an hour, each in one transaction.
    for quarter in 0..4 {
        let late = Draft {
            overlap: Overlap::Queue,
            catch_up: CatchUp::All,
            catch_up_limit: 1000,
            ..draft(&world, &format!("quarter {quarter}"), EVERY_SECOND)
        };
        schedule::create(world.db(), &late, "test").await.unwrap();
    }
    // What is in time belongs to it as well; a year's end has no ticks afterwards, so that the count stands still.
    world
        .control()
        .run(
            "update kanbu_backup.schedule
                set last_tick_at = date_trunc('second', now()) - interval '15 minutes', next_tick_at = now()",
        )
        .await;
    let begin = number(
        &world,
        "select extract(epoch from min(last_tick_at))::bigint from kanbu_backup.schedule",
    )
    .await;
    let looked = "select count(*) from kanbu_backup.schedule where last_tick_at > now() - interval '10 minutes'";
    let killed = with_dying_producers(&world, async || number(&world, looked).await == 4).await;
    let ticks = number(
        &world,
        &format!("select sum(extract(epoch from m)::bigint - {begin})::bigint
                    from (select max(tick_at) m from kanbu_backup.schedule_tick group by schedule_id) x"),
    )
    .await;
    println!("{ticks} ticks, {killed} producers killed");
    assert!(ticks >= 3600, "{ticks} ticks");
    every_tick_has_exactly_one_job(&world, ticks).await;
}

#[tokio::test]
async fn a_producer_in_external_mode_makes_nothing_and_says_so() {
    let mut world = World::new().await;
    let id = schedule::create(world.db(), &draft(&world, "nightly", EVERY_SECOND), "test")
        .await
        .unwrap();
    world.set("BACKUP_SCHEDULER_MODE", "external");
    let idle = world.start(&["cron"]);
    idle.until_it_says("KANBU_BACKUP_SCHEDULER_MODE=internal")
        .await;
    let job = world
        .control()
        .texts("select kanbu_backup.run_schedule('nightly')::text")
        .await;
    world.dismiss(idle).await;
    assert_eq!(
        number(&world, "select count(*) from kanbu_backup.schedule_tick").await,
        0
    );
    let view = schedule::named(world.db(), "nightly").await.unwrap();
    assert_eq!(view.last_run.unwrap().job.to_string(), job[0]);

    // Our own setting stands above the one that is meant for Kanbu.
    world.set("KANBU_BACKUP_SCHEDULER_MODE", "both");
    let busy = world.start(&["cron"]);
    until("a tick", async || {
        let ticks = schedule::ticks(world.db(), id, 1).await.unwrap();
        ticks.into_iter().next()
    })
    .await;
    world.dismiss(busy).await;
}

#[tokio::test]
async fn one_process_makes_the_backups_of_its_schedules_and_verifies_them() {
    let mut world = World::new().await;
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("spare={}", world.path("spare").display()),
    );
    let up = world.start(&["up"]);
    up.until_it_says("making the jobs of schedules").await;
    let subject = format!("database:{}", world.protected.name);
    let add = [
        "schedule",
        "add",
        "often",
        "--subject",
        &subject,
        "--cron",
        EVERY_SECOND,
    ];
    let terms = [
        "--tz",
        "Asia/Kathmandu",
        "--storages",
        "local",
        "--timeout",
        "1h",
    ];
    let verified = ["--verify-every", "daily", "--verify-level", "checked"];
    let made = world.result(&[&add[..], &terms, &verified].concat()).await;
    assert_eq!(made["time_zone"], "Asia/Kathmandu");
    let first = until("a backup of the schedule", async || {
        let view = schedule::named(world.db(), "often").await.unwrap();
        let ticks = schedule::ticks(world.db(), view.id, 1000).await.unwrap();
        ticks.into_iter().rev().find_map(|tick| tick.job)
    })
    .await;
    world.until_job(first, JobState::Succeeded).await;
    let verified =
        "select count(*) from kanbu_backup.job where kind = 'verify' and schedule_id is not null
                     and state = 'succeeded'";
    until("its verification", async || {
        (number(&world, verified).await == 1).then_some(())
    })
    .await;
    world.result(&["schedule", "disable", "often"]).await;
    let copies =
        "select string_agg(distinct storage || ' ' || state, ', ' order by storage || ' ' || state)
                    from kanbu_backup.artifact_copy";
    assert_eq!(
        world.control().texts(copies).await,
        ["local stored, spare deleted"]
    );
    // A repair makes no copy there.
    world.result(&["verify", "--all", "--repair"]).await;
    assert_eq!(
        world.control().texts(copies).await,
        ["local stored, spare deleted"]
    );
    world.dismiss(up).await;
}

#[tokio::test]
async fn a_schedule_is_made_and_changed_by_its_verbs_and_what_is_wrong_refused() {
    let world = World::new().await;
    let add = ["schedule", "add", "nightly", "--cron", "30 2 * * *"];
    let terms = [
        "--keep-daily",
        "14",
        "--max-age-days",
        "90",
        "--jitter",
        "5m",
    ];
    let made = world.result(&[&add[..], &terms].concat()).await;
    assert_eq!(made["cron_description"], "30 2 * * *");
    assert_eq!(made["meaning"], "at 02:30");
    let policy = &made["retention"];
    assert_eq!(
        (&policy["keep_daily"], &policy["max_age_days"]),
        (&14.into(), &90.into())
    );
    assert!(
        made["next_run"].is_string() && made["last_run"].is_null(),
        "{made}"
    );

    let never = ["schedule", "add", "never", "--cron", "0 0 30 2 *"];
    let refused = world.run(&never).await.with(2);
    assert!(
        refused.stderr.contains("no day is ever named by it"),
        "{}",
        refused.stderr
    );
    world.run(&add).await.with(5);
    world.run(&["schedule", "show", "nobody"]).await.with(4);

    let edit = ["schedule", "edit", "nightly", "--cron", "0 */6 * * *"];
    let terms = ["--max-age-days", "none", "--attempts", "2"];
    let changed = world.result(&[&edit[..], &terms].concat()).await;
    assert_eq!(
        (&changed["revision"], &changed["max_attempts"]),
        (&2.into(), &2.into())
    );
    assert!(changed["retention"]["max_age_days"].is_null(), "{changed}");
    let stale = [
        "schedule",
        "edit",
        "nightly",
        "--revision",
        "1",
        "--catch-up",
        "all",
    ];
    world.run(&stale).await.with(5);
}

#[tokio::test]
async fn a_schedule_is_removed_when_somebody_says_what_becomes_of_its_backups() {
    let world = World::new().await;
    world
        .result(&["schedule", "add", "nightly", "--cron", "@daily"])
        .await;
    let unsaid = world.run(&["schedule", "rm", "nightly"]).await.with(2);
    assert!(
        unsaid.stderr.contains("--keep-backups"),
        "{}",
        unsaid.stderr
    );
    world
        .result(&["schedule", "rm", "nightly", "--keep-backups"])
        .await;
    let listed = world.run(&["schedule", "list", "--json"]).await.with(0);
    assert!(
        listed.document()["schedules"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_schedule_is_paused_run_and_shown_by_its_verbs() {
    let world = World::new().await;
    world
        .result(&["schedule", "add", "often", "--cron", "0 */6 * * *"])
        .await;
    let paused = world
        .result(&["schedule", "pause", "often", "--until", "2h"])
        .await;
    assert!(paused["paused_until"].is_string(), "{paused}");
    world.result(&["schedule", "resume", "often"]).await;
    world.run(&["schedule", "resume", "often"]).await.with(4);
    let dry = world
        .result(&["schedule", "disable", "often", "--dry-run"])
        .await;
    assert_eq!(dry["dry_run"], true);
    let now = [
        "schedule",
        "run",
        "often",
        "--no-wait",
        "--request-key",
        "once",
    ];
    let run = world.result(&now).await;
    assert_eq!(world.result(&now).await["job"], run["job"]);

    let shown = world
        .run(&["schedule", "show", "often"])
        .await
        .with(0)
        .stdout;
    let words = [
        "0 */6 * * *: at 00:00, 06:00, 12:00 and 18:00",
        "Europe/Amsterdam",
        "queued",
        "7 daily",
    ];
    for words in words {
        assert!(shown.contains(words), "{shown}");
    }
    let next = ["schedule", "next", "often", "--count", "3", "--json"];
    let next = world.run(&next).await.with(0);
    assert_eq!(next.document()["next"].as_array().unwrap().len(), 3);
    let listed = world.run(&["schedule", "list", "--json"]).await.with(0);
    assert_eq!(
        listed.document()["schedules"][0]["last_run"]["job"],
        run["job"]
    );
}

#[tokio::test]
async fn a_rule_is_explained_without_a_service() {
    let world = World::alone().await;
    let explained = world
        .run(&[
            "schedule",
            "explain",
            "30 2 * * mon-fri",
            "--tz",
            "America/New_York",
        ])
        .await
        .with(0);
    for words in [
        "at 02:30, on Monday to Friday (America/New_York)",
        "still runs once",
        "02:30:00 -0",
    ] {
        assert!(explained.stdout.contains(words), "{}", explained.stdout);
    }
    world.run(&["schedule", "explain", "* * * *"]).await.with(2);
    world
        .run(&["schedule", "explain", "@daily", "--tz", "Mars/Olympus"])
        .await
        .with(2);
}
