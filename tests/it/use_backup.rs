//! Backups as a whole, on real databases, trees and directories: what is stored, what is said of it, and that whatever
//! goes wrong leaves either a good copy or nothing.

use std::{fs, sync::Arc, time::Duration};

use kanbu_backup::{
    backup::{Deps, Format},
    catalog::{CopyState, EnvelopeFormat, Manifest},
    crypto::Keyring,
    execution::{Effects, Lease, Outcome, Phase, Recheck, Stop},
    fault::{Failure, Fault},
    id::{ExecutionId, JobId, WorkerId},
    job::{Backup, Job, Kind},
    queue::{self, Answer, Claim, Close, Ending, Enqueued, NewJob, Origin},
    storage::{Storage, Trouble, sweep},
};
use rustix::io::Errno;

use crate::{
    protected::{BULK, OBJECTS},
    use_world::{Kept, World, backup_of, environment, eventually, keyring},
};

const SMALL: &str = "create table t as select n from generate_series(1, 1000) as n";

/// Short for a test, and longer than a loaded machine keeps a good storage waiting.
const STALL: Duration = Duration::from_secs(4);

fn states(effects: &Effects) -> Vec<(String, CopyState)> {
    let (_, copies) = effects.artifact.as_ref().unwrap();
    let state = |copy: &kanbu_backup::catalog::NewCopy| (copy.storage.to_string(), copy.state);
    copies.iter().map(state).collect()
}

fn degrading(effects: &Effects) -> Vec<&str> {
    let warnings = effects.warnings.iter().filter(|warning| warning.degrades);
    warnings.map(|warning| warning.text.as_str()).collect()
}

/// Data object and manifest.
fn assert_one_backup(world: &World, storage: &str) {
    let files = world.lying_on(storage);
    assert!(
        files.len() == 2 && files.iter().any(|file| file.ends_with("manifest.json")),
        "{files:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_lies_on_every_storage_with_the_same_manifest() {
    let world = World::new(OBJECTS).await;
    for (format, envelope, name) in [
        (Format::Native, EnvelopeFormat::Kbk2, "dump.kbk"),
        (Format::Kanbu, EnvelopeFormat::KanbuV1, "dump.sql.gz.enc"),
    ] {
        let deps = Deps {
            format,
            ..world.deps.clone()
        };
        let effects = world.backup(&deps).await.unwrap();
        assert_eq!(
            effects.outcome(),
            Outcome::Succeeded,
            "{:?}",
            effects.warnings
        );
        let (artifact, _) = effects.artifact.as_ref().unwrap();
        for storage in ["one", "two"] {
            let folder = world.place(storage).join(artifact.folder.to_string());
            let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
            assert_eq!(text, artifact.manifest);
            let manifest = Manifest::parse(text.as_bytes()).unwrap();
            assert_eq!(manifest.envelope.format, envelope);
            assert!(manifest.source["server"]["version_num"].is_u64(), "{text}");
            assert!(manifest.source["client_version"].is_string(), "{text}");
            let size = fs::metadata(folder.join(name)).unwrap().len();
            assert_eq!(size, effects.bytes_out);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_a_key_says_so_in_its_manifest() {
    let world = World::new(SMALL).await;
    let deps = Deps {
        keyring: Keyring::new(None, Vec::new()),
        ..world.deps.clone()
    };
    let effects = world.backup(&deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    let (artifact, _) = effects.artifact.unwrap();
    let manifest = Manifest::parse(artifact.manifest.as_bytes()).unwrap();
    assert_eq!(manifest.warnings[0].code, "encryption.off");
}

fn troubles() -> Vec<Trouble> {
    vec![
        Trouble::PartsFail {
            from: 0,
            with: Errno::NOSPC,
        },
        Trouble::PartsHang { from: 0 },
        Trouble::CompletionFails { with: Errno::IO },
        Trouble::PutsFail { with: Errno::NOSPC },
        Trouble::ReadsFail { with: Errno::IO },
        Trouble::ReadsHang,
        Trouble::ReadsLie,
    ]
}

/// Patient with a good storage, impatient with a hung one.
fn with(world: &World, storages: [Storage; 2]) -> Deps {
    Deps {
        stall_timeout: STALL,
        ..world.with(storages)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_fails_degrades_the_backup_and_keeps_no_copy() {
    for trouble in troubles() {
        let world = World::new(SMALL).await;
        let bad = world.storage(1).faulty(trouble);
        let deps = with(&world, [world.storage(0).clone(), bad]);
        let effects = world.backup(&deps).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Degraded, "{trouble:?}");
        assert!(
            degrading(&effects)[0].contains("no copy on two: "),
            "{trouble:?}"
        );
        let expected = [
            ("one".to_owned(), CopyState::Stored),
            ("two".to_owned(), CopyState::Missing),
        ];
        assert_eq!(states(&effects), expected, "{trouble:?}");
        assert_one_backup(&world, "one");
        let left = world.lying_on("two");
        if matches!(trouble, Trouble::ReadsHang) {
            // Nobody deletes where nobody answers; the repair reads what lies there, and may need no more than that.
            assert!(left.len() == 1 && left[0].ends_with("dump.kbk"), "{left:?}");
        } else {
            assert_eq!(left, Vec::<String>::new(), "{trouble:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_may_be_the_one_that_is_lost() {
    for trouble in [
        Trouble::ReadsLie,
        Trouble::CompletionFails { with: Errno::IO },
    ] {
        let world = World::new(SMALL).await;
        let bad = world.storage(0).faulty(trouble);
        let deps = with(&world, [bad, world.storage(1).clone()]);
        let effects = world.backup(&deps).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Degraded, "{trouble:?}");
        assert_eq!(world.lying_on("one"), Vec::<String>::new(), "{trouble:?}");
        assert_one_backup(&world, "two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_no_storage_holds_has_failed_for_all_their_reasons_and_leaves_nothing() {
    for (first, second) in [
        (Trouble::ReadsLie, Trouble::ReadsFail { with: Errno::IO }),
        (Trouble::PutsFail { with: Errno::NOSPC }, Trouble::ReadsLie),
        (
            Trouble::CompletionFails { with: Errno::IO },
            Trouble::PutsFail { with: Errno::IO },
        ),
        (
            Trouble::PartsFail {
                from: 0,
                with: Errno::NOSPC,
            },
            Trouble::PartsHang { from: 0 },
        ),
    ] {
        let world = World::new(SMALL).await;
        let storages = [
            world.storage(0).faulty(first),
            world.storage(1).faulty(second),
        ];
        let failure = world.backup(&with(&world, storages)).await.unwrap_err();
        let what = format!("{first:?} and {second:?}: {failure}");
        assert!(failure.message.contains("one: "), "{what}");
        assert!(failure.message.contains("; two: "), "{what}");
        world.assert_nothing_lies(&what);
    }
}

async fn lost_at(question: usize) -> (World, Failure) {
    let world = World::new(SMALL).await;
    let mut kept = Kept::new();
    let lease = Arc::clone(&kept.lease);
    let (made, ()) = tokio::join!(backup_of("database:kanbu", &world.deps, &lease), async {
        for _ in 0..question {
            kept.renew().await;
        }
        kept.lose().await;
    });
    (world, made.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_before_the_manifest_leaves_no_backup_and_no_debris() {
    // The first question is the gate before the uploads are completed, the second the one before the manifests.
    for question in 0..2 {
        let (world, failure) = lost_at(question).await;
        assert_eq!(failure.fault, Fault::LeaseLost, "{failure}");
        world.assert_nothing_lies(&format!("question {question}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_after_the_manifest_removes_nothing() {
    let world = World::new(SMALL).await;
    let bad = world
        .storage(1)
        .faulty(Trouble::PutsFail { with: Errno::IO });
    let deps = world.with([world.storage(0).clone(), bad]);
    let mut kept = Kept::new();
    let lease = Arc::clone(&kept.lease);
    let (made, ()) = tokio::join!(backup_of("database:kanbu", &deps, &lease), async {
        kept.renew().await;
        kept.renew().await;
        kept.lose().await;
    });
    assert_eq!(made.unwrap().outcome(), Outcome::Degraded);
    assert_one_backup(&world, "one");
    assert_eq!(
        world.lying_on("two").len(),
        1,
        "the data object is the sweep's affair"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cancelled_in_mid_dump_leaves_nothing() {
    for stop in [Stop::Requested, Stop::Lost] {
        let world = World::new(BULK).await;
        // It stays in the middle: the storage never takes the first part.
        let hung = world.storage(0).faulty(Trouble::PartsHang { from: 0 });
        let deps = Deps {
            format: Format::Kanbu,
            ..world.with([hung, world.storage(1).clone()])
        };
        let kept = Kept::new();
        let lease = Arc::clone(&kept.lease);
        let (made, ()) = tokio::join!(backup_of("database:kanbu", &deps, &lease), async {
            let at_work = async || {
                let progress = kept.seat.progress();
                progress.phase == Phase::Dump && progress.done_bytes > 0
            };
            eventually("the dump to be under way", at_work).await;
            kept.seat.stop(stop);
        });
        assert_eq!(made.unwrap_err().fault, Fault::Cancelled);
        world.assert_nothing_lies(&format!("{stop:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_goes_through_the_phases_in_order_and_never_back() {
    let world = World::new(BULK).await;
    let (lease, seat, keeping) = Kept::new().split();
    let mut seen = vec![seat.progress()];
    let looking = async {
        let mut round = tokio::time::interval(Duration::from_millis(1));
        loop {
            round.tick().await;
            let now = seat.progress();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
    };
    tokio::select! {
        made = backup_of("database:kanbu", &world.deps, &lease) => drop(made.unwrap()),
        () = looking => {}
        () = keeping => panic!("the lease has gone"),
    }
    let phases: Vec<_> = seen.iter().map(|progress| progress.phase).collect();
    assert!(phases.is_sorted(), "{phases:?}");
    assert!(phases.contains(&Phase::Dump), "{phases:?}");
    assert_eq!(seat.progress().phase, Phase::Record);
    for phase in [Phase::Dump, Phase::ReadBack] {
        let of_phase = seen.iter().filter(|progress| progress.phase == phase);
        let done: Vec<_> = of_phase.map(|progress| progress.done_bytes).collect();
        assert!(done.is_sorted(), "{phase}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_degrades_the_backup_and_is_named() {
    let world = World::new("").await;
    // A hole, which takes long enough to read for the next file to go meanwhile.
    let hole = fs::File::create(world.source().join("a")).unwrap();
    hole.set_len(512 << 20).unwrap();
    let fleeting = world.source().join("b.txt");
    fs::write(&fleeting, "soon gone").unwrap();
    let (lease, seat, keeping) = Kept::new().split();
    let going = async {
        let at_work = async || seat.progress().done_bytes > 0;
        eventually("the archive to be under way", at_work).await;
        fs::remove_file(&fleeting).unwrap();
    };
    let making = backup_of("source:app", &world.deps, &lease);
    let made = tokio::select! {
        (made, ()) = async { tokio::join!(making, going) } => made,
        () = keeping => panic!("the lease has gone"),
    };
    let effects = made.unwrap();
    assert_eq!(effects.outcome(), Outcome::Degraded);
    let said = degrading(&effects);
    assert!(
        said[0].contains("1 file vanished") && said[0].contains("b.txt"),
        "{said:?}"
    );
    let (artifact, _) = effects.artifact.unwrap();
    let manifest = Manifest::parse(artifact.manifest.as_bytes()).unwrap();
    assert!(
        manifest
            .warnings
            .iter()
            .any(|w| w.code == "source.vanished" && w.degrades)
    );
}

/// A backup whose execution died before it could report it.
async fn orphan(world: &World, subject: &str, deps: &Deps) -> (JobId, Effects) {
    let dead = Arc::new(Lease::unattended());
    let effects = backup_of(subject, deps, &dead).await.unwrap();
    world.bury(&dead).await;
    (dead.job(), effects)
}

/// The next execution of that job.
async fn next(job: JobId, deps: &Deps) -> Result<Effects, Failure> {
    let (lease, _seat, keeping) = Kept::of_job(job).split();
    tokio::select! {
        made = backup_of("database:kanbu", deps, &lease) => made,
        () = keeping => panic!("the lease has gone"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_completed_and_not_reported_is_adopted() {
    for format in [Format::Native, Format::Kanbu] {
        let world = World::new(SMALL).await;
        let deps = Deps {
            format,
            ..world.deps.clone()
        };
        let (job, made) = orphan(&world, "database:kanbu", &deps).await;
        let adopted = next(job, &deps).await.unwrap();
        assert_eq!(adopted.outcome(), Outcome::Succeeded);
        assert_eq!(adopted.result, made.result);
        assert_eq!(states(&adopted), states(&made));
        assert_one_backup(&world, "one");
        assert_one_backup(&world, "two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_backup_that_lacks_a_copy_is_degraded_and_its_debris_swept() {
    let world = World::new(SMALL).await;
    let (job, made) = orphan(&world, "database:kanbu", &world.deps).await;
    let (artifact, _) = made.artifact.unwrap();
    let folder = world.place("two").join(artifact.folder.to_string());
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let adopted = next(job, &world.deps).await.unwrap();
    assert_eq!(adopted.outcome(), Outcome::Degraded);
    assert!(degrading(&adopted)[0].contains("no copy on two"));
    assert_one_backup(&world, "one");
    assert_eq!(world.lying_on("two"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_backup_is_as_degraded_as_it_was() {
    let world = World::new("").await;
    for n in 0..20 {
        fs::write(world.source().join(format!("{n}")), "text").unwrap();
    }
    let deps = Deps {
        keyring: Keyring::new(None, Vec::new()),
        ..world.deps.clone()
    };
    let (job, made) = orphan(&world, "source:app", &deps).await;
    let (lease, _seat, keeping) = Kept::of_job(job).split();
    let adopted = tokio::select! {
        made = backup_of("source:app", &deps, &lease) => made.unwrap(),
        () = keeping => panic!("the lease has gone"),
    };
    assert!(!made.warnings.is_empty());
    assert_eq!(adopted.warnings, made.warnings);
    assert_eq!(adopted.result["artifact"], made.result["artifact"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wholly_good_is_not_adopted_and_a_new_backup_is_made() {
    for harm in ["data", "manifest", "key", "job", "listing"] {
        let world = World::new(SMALL).await;
        let (mut job, made) = orphan(&world, "database:kanbu", &world.deps).await;
        let mut deps = world.deps.clone();
        let (artifact, _) = made.artifact.unwrap();
        for storage in ["one", "two"] {
            let folder = world.place(storage).join(artifact.folder.to_string());
            match harm {
                "data" => flip(&folder.join("dump.kbk"), 5000),
                // Still well formed: only the seal tells.
                "manifest" => {
                    let path = folder.join("manifest.json");
                    let text = fs::read_to_string(&path).unwrap();
                    let forged = text.replace("\"content_bytes\":", "\"content_bytes\":1");
                    assert_ne!(text, forged);
                    fs::write(path, forged).unwrap();
                }
                _ => {}
            }
        }
        match harm {
            "key" => deps.keyring = keyring(&"7a".repeat(32)),
            "job" => {
                let other = Lease::unattended();
                world.bury(&other).await;
                job = other.job();
            }
            "listing" => {
                let with = Errno::IO;
                deps.storages = deps
                    .storages
                    .iter()
                    .map(|storage| storage.faulty(Trouble::ListingFails { with }))
                    .collect();
            }
            _ => {}
        }
        let again = next(job, &deps).await.unwrap();
        assert_eq!(
            again.outcome(),
            Outcome::Succeeded,
            "{harm}: {:?}",
            again.warnings
        );
        assert_ne!(again.result["artifact"], made.result["artifact"], "{harm}");
    }
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_takes_old_debris_and_leaves_what_lives_and_what_is_complete() {
    let world = World::new(SMALL).await;
    let [complete, dead, live] = [(), (), ()].map(|()| Arc::new(Lease::unattended()));
    for lease in [&complete, &dead, &live] {
        backup_of("database:kanbu", &world.deps, lease)
            .await
            .unwrap();
    }
    for file in world.lying_on("one") {
        let is_complete = file.contains(&complete.execution().to_string());
        if file.ends_with("manifest.json") && !is_complete {
            fs::remove_file(file).unwrap();
        }
    }
    let storage = world.storage(0);
    let living = [live.execution()].into();
    let begun = world.deps.clock.now() - Duration::from_hours(1);
    let young = sweep::sweep(storage, &environment(), &living, begun)
        .await
        .unwrap();
    assert_eq!(young, []);
    let soon = world.deps.clock.now() + Duration::from_hours(1);
    let swept = sweep::sweep(storage, &environment(), &living, soon)
        .await
        .unwrap();
    let swept: Vec<_> = swept
        .iter()
        .map(|debris| debris.folder.execution())
        .collect();
    assert_eq!(swept, [dead.execution()]);
    let left = world.lying_on("one").join(" ");
    assert_eq!(world.lying_on("one").len(), 3, "{left}");
    for lease in [&complete, &live] {
        assert!(left.contains(&lease.execution().to_string()), "{left}");
    }
}

/// The payloads of the jobs that follow a backup with this world's deps, by way of the queue.
async fn following(world: &World, deps: &Deps) -> (Outcome, Vec<serde_json::Value>) {
    let request = Job::Backup(Backup::of("database:kanbu".parse().unwrap()));
    let mut tx = world.db.pool().begin().await.unwrap();
    let enqueued = queue::enqueue(&mut tx, &NewJob::new(request, Origin::Operator)).await;
    tx.commit().await.unwrap();
    assert!(matches!(enqueued.unwrap(), Enqueued::New(_)));
    let (worker, patience) = (WorkerId::new(), Duration::from_mins(10));
    let ids = [ExecutionId::new()];
    let claim = queue::claim(&world.db, worker, Kind::Backup, patience, &ids);
    let Claim::Jobs(claimed) = claim.await.unwrap() else {
        panic!("nothing to claim")
    };
    let (rechecks, mut asked) = tokio::sync::mpsc::channel::<Recheck>(1);
    let (execution, job) = (claimed[0].execution, claimed[0].job);
    let (lease, _seat) = Lease::grant(execution, job, 1, rechecks);
    let lease = Arc::new(lease);
    let keeping = async {
        while let Some(asked) = asked.recv().await {
            let _ = asked.reply.send(Ok(()));
        }
    };
    let effects = tokio::select! {
        made = backup_of("database:kanbu", deps, &lease) => made.unwrap(),
        () = keeping => panic!("the lease has gone"),
    };
    let outcome = effects.outcome();
    let ending = Ending::new(execution, job, Close::Done(Box::new(effects)));
    let answer = queue::publish(&world.db, &ending).await.unwrap();
    assert_eq!(answer, Answer::Closed);
    let rows = sqlx::query_scalar(
        "select payload from kanbu_backup.job where kind = 'verify' and origin = 'follow_up'",
    );
    let payloads = rows.fetch_all(world.db.bare_pool()).await.unwrap();
    assert_eq!(queue::invariants(&world.db).await.unwrap(), []);
    (outcome, payloads)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_lacks_a_copy_queues_the_job_that_makes_it_and_a_whole_one_queues_none() {
    let world = World::new(SMALL).await;
    let (outcome, follow_ups) = following(&world, &world.deps).await;
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(follow_ups, [serde_json::Value::Null; 0]);

    let bad = world.storage(1).faulty(Trouble::ReadsLie);
    let deps = world.with([world.storage(0).clone(), bad]);
    let (outcome, follow_ups) = following(&world, &deps).await;
    assert_eq!(outcome, Outcome::Degraded);
    let [payload] = &follow_ups[..] else {
        panic!("{follow_ups:?}")
    };
    let artifact = world.lacking().await;
    let expected = serde_json::json!({
        "subject": "database:kanbu", "artifact": artifact, "level": "quick", "repair": true,
    });
    assert_eq!(*payload, expected);
}
