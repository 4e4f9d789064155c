//! Repairs that are cut off, and storages that are in the way: at no moment is a good copy less than it was.

use std::{fs, sync::Arc, time::Duration};

use futures::{FutureExt, future};
use kanbu_backup::{
    catalog::{self, CopyState},
    execution::{Outcome, Phase, Stop},
    fault::Fault,
    job::{Verify, VerifyLevel},
    storage::Trouble,
    verify::{self, Deps},
};
use rustix::io::Errno;

use crate::{
    scrub::{SMALL, codes, copy, done, flip, look, scrub},
    use_world::{Kept, World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lost_at_any_step_of_a_repair_leaves_the_good_copy_and_a_right_row() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let deps = world.verify_deps();
    let (data, manifest) = (
        world.object("one", &artifact),
        world.manifest_file("one", &artifact),
    );
    let good = fs::read(world.object("two", &artifact)).unwrap();
    let mut steps = 0;
    loop {
        flip(&data, 6000);
        fs::remove_file(&manifest).unwrap();
        let bad = fs::read(&data).unwrap();
        let mut kept = Kept::new();
        let (lease, request) = (Arc::clone(&kept.lease), scrub());
        let keeping = async {
            for _ in 0..steps {
                kept.renew().await;
            }
            kept.lose().await;
        };
        let keeping = keeping.then(|()| future::pending::<()>());
        let ended = tokio::select! {
            ended = verify::perform(&request, &deps, &lease) => ended,
            () = keeping => unreachable!("it goes on for ever"),
        };
        assert_eq!(fs::read(world.object("two", &artifact)).unwrap(), good);
        let found = fs::read(&data).unwrap();
        assert!(
            found == bad || found == good,
            "step {steps}: half an object"
        );
        let state = copy(&world.view(artifact.id).await, "one").state;
        if ended.is_ok() {
            break;
        }
        assert_eq!(ended.unwrap_err().fault, Fault::LeaseLost, "step {steps}");
        assert!(
            !manifest.exists(),
            "step {steps}: the manifest came before all else"
        );
        if steps > 0 {
            assert!(state.is_bad(), "step {steps}: {state}");
        }
        let finished = done(&scrub(), &deps).await.unwrap();
        assert_eq!(finished.outcome(), Outcome::Succeeded, "step {steps}");
        assert_eq!(fs::read(&data).unwrap(), good, "step {steps}");
        assert_eq!(
            fs::read_to_string(&manifest).unwrap(),
            artifact.manifest,
            "step {steps}"
        );
        assert_eq!(
            world.lying_on("one").len(),
            2,
            "step {steps}: an upload stayed"
        );
        steps += 1;
    }
    assert!(steps >= 4, "{steps} steps ask for the lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_can_not_be_read_is_neither_a_finding_nor_written_to() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let before = fs::read(world.object("one", &artifact)).unwrap();
    for trouble in [Trouble::ReadsFail { with: Errno::IO }, Trouble::ReadsHang] {
        let deps = Deps {
            storages: vec![world.storage(0).faulty(trouble), world.storage(1).clone()],
            stall_timeout: Duration::from_secs(4),
            ..world.verify_deps()
        };
        let effects = done(&scrub(), &deps).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Degraded, "{trouble:?}");
        assert_eq!(effects.result["bad"], 0, "{trouble:?}");
        let view = world.view(artifact.id).await;
        assert_eq!(copy(&view, "one").state, CopyState::Stored, "{trouble:?}");
        assert_eq!(fs::read(world.object("one", &artifact)).unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_takes_nothing_keeps_what_it_has_and_the_repair_comes_later() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let data = world.object("one", &artifact);
    for trouble in [
        Trouble::PartsFail {
            from: 0,
            with: Errno::NOSPC,
        },
        Trouble::PartsHang { from: 0 },
    ] {
        flip(&data, 900);
        let bad = fs::read(&data).unwrap();
        let deps = Deps {
            storages: vec![world.storage(0).faulty(trouble), world.storage(1).clone()],
            stall_timeout: Duration::from_secs(4),
            ..world.verify_deps()
        };
        let effects = done(&scrub(), &deps).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Degraded, "{trouble:?}");
        assert!(codes(&effects).contains(&"copy.damaged"), "{effects:?}");
        assert!(
            codes(&effects).contains(&"copy.last_at_risk"),
            "{effects:?}"
        );
        assert_eq!(fs::read(&data).unwrap(), bad, "{trouble:?}");
        // Whoever asked for this one backup has it tried again by the queue.
        let this_one = Verify {
            artifact: Some(artifact.id),
            level: VerifyLevel::Quick,
            ..scrub()
        };
        let again = done(&this_one, &deps).await.unwrap_err();
        assert_eq!(again.fault, Fault::Transient, "{trouble:?}");
        let later = done(&scrub(), &world.verify_deps()).await.unwrap();
        assert_eq!(later.outcome(), Outcome::Succeeded, "{trouble:?}");
        assert_eq!(world.lying_on("one").len(), 2, "{trouble:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_gives_back_something_else_is_not_believed() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    fs::remove_file(world.object("one", &artifact)).unwrap();
    let deps = Deps {
        storages: vec![
            world.storage(0).faulty(Trouble::ReadsLie),
            world.storage(1).clone(),
        ],
        ..world.verify_deps()
    };
    let effects = done(&scrub(), &deps).await.unwrap();
    assert_eq!(effects.result["repaired"], 0, "{effects:?}");
    let view = world.view(artifact.id).await;
    assert!(copy(&view, "one").state.is_bad());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_that_is_cancelled_keeps_what_it_has_found_out() {
    let world = World::new(SMALL).await;
    let sick = world.listed("database:kanbu", &world.deps).await;
    flip(&world.object("one", &sick), 50);
    done(&look(), &world.verify_deps()).await.unwrap();
    let other = world.listed("database:kanbu", &world.deps).await;
    // The sick one is looked at first, for it is known to be bad; then the reading hangs.
    let hung = world.storage(1).faulty(Trouble::ReadsHang);
    let deps = Deps {
        storages: vec![world.storage(0).clone(), hung],
        ..world.verify_deps()
    };
    let (lease, seat, keeping) = Kept::new().split();
    let request = scrub();
    let stopping = async {
        let begun = async || seat.progress().phase == Phase::Check;
        eventually("the look to begin", begun).await;
        seat.stop(Stop::Requested);
    };
    let ended = tokio::select! {
        (ended, ()) = async { tokio::join!(verify::perform(&request, &deps, &lease), stopping) } => ended,
        () = keeping => panic!("the lease has gone"),
    };
    assert_eq!(ended.unwrap_err().fault, Fault::Cancelled);
    let states = async |id| {
        let view = world.view(id).await;
        (copy(&view, "one").state, copy(&view, "two").state)
    };
    assert_eq!(
        states(sick.id).await,
        (CopyState::Damaged, CopyState::Stored)
    );
    assert_eq!(
        states(other.id).await,
        (CopyState::Stored, CopyState::Stored)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_deleted_while_it_is_mended_does_not_come_back() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let deps = world.verify_deps();
    fs::remove_dir_all(world.object("one", &artifact).parent().unwrap()).unwrap();
    let mut kept = Kept::new();
    let (lease, request) = (Arc::clone(&kept.lease), scrub());
    let deleting = async {
        // After the look, before the repair, before the data appears; and now the manifest is about to be written.
        for _ in 0..3 {
            kept.renew().await;
        }
        let asked = kept.asked().await;
        let decided = catalog::decide_deletion(&world.db, artifact.id, "test", "test", true);
        for deletion in decided.await.unwrap() {
            let storage = deps.storages.iter().find(|s| *s.name() == deletion.storage);
            let performed = catalog::perform_deletion(&world.db, &deletion, storage.unwrap());
            performed.await.unwrap();
        }
        asked.reply.send(Ok(())).unwrap();
    };
    let (ended, ()) = tokio::join!(verify::perform(&request, &deps, &lease), deleting);
    drop(ended);
    world.assert_nothing_lies("after the deletion");
}
