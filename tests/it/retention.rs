//! Prune jobs against real rows and real storages: what goes, what stays, what is left when something breaks in between.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, TimeDelta, Utc};
use kanbu_backup::{
    backup::{self, TreeSource},
    catalog::{self, ArtifactView, CatalogError, Fate, Filter, Reason},
    clock::Clock,
    execution::{Effects, Lease, Outcome},
    fault::{Classified, Failure},
    id::{ArtifactId, ScheduleId},
    job::{Backup, Job, Prune, Restore, RestoreInto, Subject},
    prune::{self, Terms},
    queue::{self, NewJob, Origin},
    retention::{KanbuRule, Policy},
    storage::Trouble,
};
use rustix::io::Errno;

use crate::use_world::{Kept, World, environment, subject};

#[path = "retention/endings.rs"]
mod endings;

/// The wall clock of a test.
#[derive(Debug)]
struct ByHand(Mutex<DateTime<Utc>>);

impl Clock for ByHand {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// A world whose backups are made of a small tree, at the times that the test says.
struct Shelf {
    world: World,
    clock: Arc<ByHand>,
    backup: backup::Deps,
}

const TREE: &str = "source:app";

impl Shelf {
    async fn new() -> Self {
        let world = World::new("create table t as select 1 as n").await;
        std::fs::write(world.source().join("note"), "text").unwrap();
        let clock = Arc::new(ByHand(Mutex::new(DateTime::UNIX_EPOCH)));
        let mut backup = backup::Deps {
            clock: clock.clone(),
            ..world.deps.clone()
        };
        // The same name as the database has, and another tree.
        backup.sources.trees.push(TreeSource {
            subject: subject("source:kanbu"),
            ..backup.sources.trees[0].clone()
        });
        Self {
            world,
            clock,
            backup,
        }
    }

    fn at(&self, text: &str) {
        *self.clock.0.lock().unwrap() = text.parse().unwrap();
    }

    async fn sql(&self, statements: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
            .execute(self.world.db.bare_pool())
            .await
            .unwrap();
    }

    async fn text(&self, query: &str) -> String {
        let found: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_one(self.world.db.bare_pool())
            .await
            .unwrap();
        found.unwrap_or_default()
    }

    async fn schedule(&self, name: &str, of: &str, policy: &Policy) -> ScheduleId {
        let id = ScheduleId::new();
        let policy = serde_json::to_string(policy).unwrap();
        self.sql(&format!(
            "insert into kanbu_backup.schedule (id, name, kind, subject, cron, time_zone, retention)
             values ('{id}', '{name}', 'backup', '{of}', '0 2 * * *', 'Europe/Amsterdam', '{policy}')"
        ))
        .await;
        id
    }

    async fn make(
        &self,
        of: &str,
        at: &str,
        schedule: Option<ScheduleId>,
    ) -> (Effects, ArtifactView) {
        self.at(at);
        let request = Backup {
            schedule,
            ..Backup::of(subject(of))
        };
        let lease = Arc::new(Lease::unattended());
        let plan = backup::plan(&request, &self.backup, &lease).unwrap();
        let effects = backup::perform(&request, plan, &self.backup, &lease)
            .await
            .unwrap();
        let (artifact, copies) = effects.artifact.clone().unwrap();
        let view = self.world.list(&artifact, &copies).await;
        (effects, view)
    }

    /// One backup on each of these days of March 2026, at 02:00 UTC.
    async fn days(&self, of: &str, days: &[u32], schedule: Option<ScheduleId>) -> Vec<ArtifactId> {
        let mut made = Vec::new();
        for day in days {
            let at = format!("2026-03-{day:02}T02:00:00Z");
            made.push(self.make(of, &at, schedule).await.1.id);
        }
        made
    }

    /// As if it had been restored in a test.
    async fn prove(&self, id: ArtifactId) {
        self.sql(&format!(
            "insert into kanbu_backup.proof (execution_id, artifact_id, place, holds_until, seconds, notes)
             values (gen_random_uuid(), '{id}', 'directory', now() + interval '1 day', 1, '[]')"
        ))
        .await;
    }

    fn deps(&self) -> prune::Deps {
        prune::Deps {
            environment: environment(),
            storages: self.world.deps.storages.clone(),
            terms: Terms {
                manual: Policy::everything(None),
                safety: Policy::everything(Some(30)),
                zone: chrono_tz::Europe::Amsterdam,
            },
            catalog: self.world.db.clone(),
            clock: self.clock.clone(),
        }
    }

    async fn try_prune(&self, deps: &prune::Deps) -> Result<Effects, Failure> {
        let lease = Arc::new(Lease::unattended());
        prune::perform(&Prune::of(subject(TREE)), deps, &lease).await
    }

    async fn prune(&self) -> Effects {
        self.try_prune(&self.deps()).await.unwrap()
    }

    /// What the catalog lists, of all subjects.
    async fn listed(&self) -> BTreeSet<ArtifactId> {
        let all = Filter {
            include_lost: true,
            ..Filter::default()
        };
        let views = catalog::list(&self.world.db, &all).await.unwrap();
        views.into_iter().map(|view| view.id).collect()
    }

    /// Those of which both storages hold the data and the manifest.
    fn whole(&self, views: &[ArtifactView]) -> BTreeSet<ArtifactId> {
        let is_whole = |view: &&ArtifactView| {
            ["one", "two"].iter().all(|storage| {
                self.world.object(storage, view).exists()
                    && self.world.manifest_file(storage, view).exists()
            })
        };
        views.iter().filter(is_whole).map(|view| view.id).collect()
    }

    async fn reason(&self, id: ArtifactId) -> String {
        let all = catalog::journal(&self.world.db, None, 100).await.unwrap();
        let entry = all.into_iter().find(|entry| entry.id == id).unwrap();
        format!("{}: {}", entry.by, entry.reason)
    }
}

fn ids(all: &[ArtifactId]) -> BTreeSet<ArtifactId> {
    all.iter().copied().collect()
}

fn last(days: u32) -> Policy {
    Policy {
        keep_daily: days,
        ..Policy::bare()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_deletes_what_no_rule_keeps_from_every_storage_and_says_why() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(2)).await;
    let made = shelf.days(TREE, &[1, 2, 3, 4], Some(nightly)).await;
    shelf.prove(made[3]).await;
    let mut views = Vec::new();
    for id in &made {
        views.push(shelf.world.view(*id).await);
    }
    let effects = shelf.prune().await;
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    assert_eq!(effects.result["deleted"], 2, "{}", effects.result);
    assert_eq!(shelf.listed().await, ids(&made[2..]));
    assert_eq!(shelf.whole(&views), ids(&made[2..]));
    for storage in ["one", "two"] {
        let lying = shelf.world.lying_on(storage);
        let gone = views[0].folder.to_string();
        assert!(lying.iter().all(|path| !path.contains(&gone)), "{lying:?}");
    }
    assert_eq!(shelf.reason(made[0]).await, "prune: no rule keeps it");
    let fates = "select string_agg(distinct fate, ',') from kanbu_backup.prune_item where verdict = 'expired'";
    assert_eq!(shelf.text(fates).await, "deleted");
    let open = "select count(*)::text from kanbu_backup.prune_plan where ended_at is null";
    assert_eq!(shelf.text(open).await, "0");
    // Again, it finds nothing to do.
    let again = shelf.prune().await;
    assert_eq!(again.result["deleted"], 0);
    assert_eq!(shelf.listed().await, ids(&made[2..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_while_the_newer_ones_are_unproven() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3, 4], Some(nightly)).await;
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made), "none is proven");
    shelf.prove(made[1]).await;
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made[1..]), "the second is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_set_between_plan_and_deletion_saves_the_backup() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3], Some(nightly)).await;
    shelf.prove(made[2]).await;
    let mut kept = Kept::new();
    let lease = kept.lease.clone();
    let deps = shelf.deps();
    let run =
        tokio::spawn(async move { prune::perform(&Prune::of(subject(TREE)), &deps, &lease).await });
    kept.renew().await; // before the plan is stored
    let asked = kept.asked().await; // before the first items are decided
    let planned = "select count(*)::text from kanbu_backup.prune_item where verdict = 'expired' and fate is null";
    assert_eq!(shelf.text(planned).await, "2");
    catalog::pin(&shelf.world.db, made[0]).await.unwrap();
    asked.reply.send(Ok(())).unwrap();
    let (_, _seat, keeping) = kept.split();
    let keeping = tokio::spawn(keeping);
    let effects = run.await.unwrap().unwrap();
    keeping.abort();
    assert_eq!(
        (&effects.result["spared"], &effects.result["deleted"]),
        (&1.into(), &1.into())
    );
    assert_eq!(shelf.listed().await, ids(&[made[0], made[2]]));
    let spared = "select spared from kanbu_backup.prune_item where fate = 'spared'";
    assert_eq!(shelf.text(spared).await, "pinned");
}

async fn wanted_by_a_restore(shelf: &Shelf, id: ArtifactId) -> kanbu_backup::id::JobId {
    let path = shelf.world.place("restored");
    let restore = Restore::of(id, RestoreInto::Directory { path });
    let new = NewJob::new(Job::Restore(restore), Origin::Operator);
    queue::submit(&shelf.world.db, &new).await.unwrap().job()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_restore_uses_stays() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3], Some(nightly)).await;
    shelf.prove(made[2]).await;
    let job = wanted_by_a_restore(&shelf, made[0]).await;
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&[made[0], made[2]]));
    let by_hand = catalog::decide_deletion(&shelf.world.db, made[0], "test", "x", true).await;
    assert!(
        matches!(by_hand, Err(CatalogError::InUse { .. })),
        "{by_hand:?}"
    );
    queue::cancel(&shelf.world.db, job, "test").await.unwrap();
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made[2..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_found_the_backup_just_before_its_end_reads_on() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2], Some(nightly)).await;
    shelf.prove(made[1]).await;
    let view = shelf.world.view(made[0]).await;
    let mut kept = Kept::new();
    let (lease, deps) = (kept.lease.clone(), shelf.deps());
    let run =
        tokio::spawn(async move { prune::perform(&Prune::of(subject(TREE)), &deps, &lease).await });
    kept.renew().await; // before the plan is stored
    kept.renew().await; // before the decision
    let asked = kept.asked().await; // before the first deletion
    let job = wanted_by_a_restore(&shelf, made[0]).await;
    asked.reply.send(Ok(())).unwrap();
    let (_, _seat, keeping) = kept.split();
    let keeping = tokio::spawn(keeping);
    let effects = run.await.unwrap().unwrap();
    keeping.abort();
    assert_eq!(effects.outcome(), Outcome::Failed, "{}", effects.result);
    assert_eq!(effects.failed.unwrap().code, "prune.failed");
    assert_eq!(shelf.whole(std::slice::from_ref(&view)), ids(&made[..1]));
    queue::cancel(&shelf.world.db, job, "test").await.unwrap();
    let effects = shelf.prune().await;
    assert_eq!(effects.result["deleted"], 1);
    assert!(shelf.whole(&[view]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subjects_of_one_name_never_touch_one_another() {
    let shelf = Shelf::new().await;
    let of_tree = shelf.schedule("trees", TREE, &last(1)).await;
    let of_other = shelf.schedule("others", "source:kanbu", &last(9)).await;
    let mut others = shelf.days("source:kanbu", &[1, 2, 3], Some(of_other)).await;
    others.extend(shelf.days("database:kanbu", &[1, 2], None).await);
    // The same instants.
    let made = shelf.days(TREE, &[1, 2, 3], Some(of_tree)).await;
    shelf.prove(made[2]).await;
    for id in &others {
        shelf.prove(*id).await;
    }
    shelf.prune().await;
    let mut expected = ids(&others);
    expected.insert(made[2]);
    assert_eq!(shelf.listed().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schedule_has_its_own_policy_and_none_has_that_of_manual_backups() {
    let shelf = Shelf::new().await;
    let strict = shelf.schedule("hourly", TREE, &last(1)).await;
    let lax = shelf.schedule("nightly", TREE, &last(30)).await;
    let strictly = shelf.days(TREE, &[1, 3, 5], Some(strict)).await;
    let laxly = shelf.days(TREE, &[2, 4, 6], Some(lax)).await;
    let manual = shelf.days(TREE, &[1, 7], None).await;
    shelf.prove(manual[1]).await;
    shelf.prune().await;
    let mut expected = ids(&laxly);
    expected.extend(&manual);
    expected.insert(strictly[2]);
    assert_eq!(shelf.listed().await, expected);

    shelf.at("2026-03-12T02:00:00Z");
    let mut deps = shelf.deps();
    deps.terms.manual = Policy::everything(Some(10));
    shelf.try_prune(&deps).await.unwrap();
    expected.remove(&manual[0]);
    assert_eq!(shelf.listed().await, expected);
    assert_eq!(shelf.reason(manual[0]).await, "prune: older than 10 days");
    // A schedule that is gone leaves its backups to the policy of manual ones.
    shelf
        .sql(&format!(
            "delete from kanbu_backup.schedule where id = '{strict}'"
        ))
        .await;
    shelf.at("2026-05-01T00:00:00Z");
    shelf.prune().await;
    assert_eq!(shelf.listed().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_safety_backup_is_kept_thirty_days_at_least() {
    let shelf = Shelf::new().await;
    shelf.at("2026-03-01T02:00:00Z");
    let request = Backup::of(subject(TREE));
    let lease = Arc::new(Lease::unattended());
    let plan = backup::plan(&request, &shelf.backup, &lease)
        .unwrap()
        .for_safety();
    let effects = backup::perform(&request, plan, &shelf.backup, &lease)
        .await
        .unwrap();
    assert!(effects.follow_ups.is_empty(), "{:?}", effects.follow_ups);
    let (artifact, copies) = effects.artifact.unwrap();
    assert_eq!(artifact.origin.reason, Reason::Safety);
    shelf.world.list(&artifact, &copies).await;
    let newer = shelf.make(TREE, "2026-03-02T02:00:00Z", None).await.1.id;
    shelf.prove(newer).await;
    shelf.at("2026-03-31T20:00:00Z");
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&[artifact.id, newer]));
    shelf.at("2026-04-01T20:00:00Z");
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&[newer]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_alarm_holds_the_subject_until_somebody_acknowledges_it() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3, 4], Some(nightly)).await;
    shelf.prove(made[3]).await;
    let (held, alarm) = (made[1], made[2]);
    shelf
        .sql(&format!(
            "update kanbu_backup.artifact set holds = '{held}' where id = '{alarm}'"
        ))
        .await;
    let effects = shelf.prune().await;
    assert_eq!(effects.warnings[0].code, "prune.held");
    assert_eq!(shelf.listed().await, ids(&made));
    catalog::acknowledge(&shelf.world.db, alarm, "test", "looked at it")
        .await
        .unwrap();
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made[3..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_schedule_is_held_a_day_and_then_loses_only_what_both_rules_let_go() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3, 4], Some(nightly)).await;
    shelf.prove(made[3]).await;
    // Kanbu's rule would keep the newest two.
    let rule = KanbuRule {
        retention_days: 30,
        keep_daily: 0,
        keep_weekly: 1,
        keep_monthly: 1,
    };
    let until = shelf.clock.now() + TimeDelta::hours(24);
    catalog::import_rule(&shelf.world.db, nightly, rule, until)
        .await
        .unwrap();
    let held = shelf.prune().await;
    assert_eq!(held.warnings[0].code, "prune.held");
    assert_eq!(shelf.listed().await, ids(&made));
    shelf.at("2026-03-05T03:00:00Z");
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made[2..]), "the first cycle");
    shelf.prune().await;
    assert_eq!(shelf.listed().await, ids(&made[3..]), "the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_enlarged_after_the_plan_spares_what_it_keeps_now() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let made = shelf.days(TREE, &[1, 2, 3], Some(nightly)).await;
    shelf.prove(made[2]).await;
    let mut kept = Kept::new();
    let (lease, deps) = (kept.lease.clone(), shelf.deps());
    let run =
        tokio::spawn(async move { prune::perform(&Prune::of(subject(TREE)), &deps, &lease).await });
    kept.renew().await;
    let asked = kept.asked().await;
    let larger = serde_json::to_string(&last(2)).unwrap();
    shelf
        .sql(&format!(
            "update kanbu_backup.schedule set retention = '{larger}'"
        ))
        .await;
    asked.reply.send(Ok(())).unwrap();
    let (_, _seat, keeping) = kept.split();
    let keeping = tokio::spawn(keeping);
    run.await.unwrap().unwrap();
    keeping.abort();
    assert_eq!(shelf.listed().await, ids(&made[1..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_follows_every_backup_whose_policy_lets_something_go() {
    let mut shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let follows = |effects: &Effects| {
        let prune = Job::Prune(Prune::of(subject(TREE)));
        effects.follow_ups.contains(&prune)
    };
    let (effects, view) = shelf
        .make(TREE, "2026-03-01T02:00:00Z", Some(nightly))
        .await;
    assert!(follows(&effects));
    let schedule = view.origin.schedule.unwrap();
    assert_eq!((schedule.id, schedule.name.as_str()), (nightly, "nightly"));
    let (effects, view) = shelf.make(TREE, "2026-03-01T03:00:00Z", None).await;
    assert_eq!(view.origin.reason, Reason::Manual);
    assert!(
        !follows(&effects),
        "manual backups are kept until somebody deletes them"
    );
    shelf.backup.manual = Policy::everything(Some(90));
    let (effects, _) = shelf.make(TREE, "2026-03-01T04:00:00Z", None).await;
    assert!(follows(&effects));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_backup_comes_from_survives_a_rebuild() {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(1)).await;
    let before = shelf
        .make(TREE, "2026-03-01T02:00:00Z", Some(nightly))
        .await
        .1;
    shelf.sql("truncate kanbu_backup.artifact cascade").await;
    let environment = environment();
    let sources = catalog::restock::Sources {
        storages: &shelf.world.deps.storages,
        environment: &environment,
        keyring: &shelf.world.deps.keyring,
    };
    catalog::restock::restock(&shelf.world.db, &sources, false)
        .await
        .unwrap();
    let after = shelf.world.view(before.id).await;
    assert_eq!(after.origin, before.origin);
    assert_eq!(after.origin.schedule.unwrap().id, nightly);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_backup_and_the_newest_proven_one_outlive_every_road() {
    let shelf = Shelf::new().await;
    let strictest = Policy {
        max_age_days: Some(0),
        max_total_bytes: Some(0),
        min_proven: 0,
        ..Policy::bare()
    };
    let nightly = shelf.schedule("nightly", TREE, &strictest).await;
    let made = shelf.days(TREE, &[1, 2, 3], Some(nightly)).await;
    shelf.prove(made[0]).await;
    shelf.prove(made[1]).await;
    shelf.at("2036-01-01T00:00:00Z");
    shelf.prune().await;
    // Newest proven, newest stored.
    assert_eq!(shelf.listed().await, ids(&made[1..]));
    let db = &shelf.world.db;
    let delete = async |id, force| catalog::decide_deletion(db, id, "test", "x", force).await;
    let refused = delete(made[1], false).await.unwrap_err();
    assert_eq!(refused.code(), "catalog.newest_proven");
    delete(made[2], false).await.unwrap();
    let refused = delete(made[1], false).await.unwrap_err();
    assert_eq!(refused.code(), "catalog.last_of_subject");
    // Nor by the end of its storages.
    for storage in ["one", "two"] {
        let name = storage.parse().unwrap();
        let gone = catalog::retire(db, &name).await;
        assert_eq!(gone.is_ok(), storage == "one", "{storage}");
    }
    assert_eq!(shelf.listed().await, ids(&made[1..2]));
    // With a reason it can be, and the reason stays.
    catalog::decide_deletion(db, made[1], "cli", "moving out", true)
        .await
        .unwrap();
    assert_eq!(shelf.reason(made[1]).await, "cli: moving out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_backup_is_no_substitute_for_the_last_good_one() {
    let shelf = Shelf::new().await;
    let made = shelf.days(TREE, &[1, 2], None).await;
    shelf
        .sql(&format!(
            "insert into kanbu_backup.proof (execution_id, artifact_id, place, seconds, notes, error_code, error)
             values (gen_random_uuid(), '{}', 'directory', 1, '[]', 'proof.differs', 'it differs')",
            made[1]
        ))
        .await;
    let db = &shelf.world.db;
    let refused = catalog::decide_deletion(db, made[0], "test", "x", false)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "catalog.last_of_subject");
    catalog::decide_deletion(db, made[1], "test", "x", false)
        .await
        .unwrap();
}
