//! Repairs as a whole: what is bad is made anew from what is good, byte for byte, and nothing good is ever given up.

use std::{fs, num::NonZeroUsize, path::Path, sync::Arc};

use futures::FutureExt;

use kanbu_backup::{
    catalog::{ArtifactView, CopyState, CopyView, Proof},
    clock::{Clock, SystemClock},
    execution::{Effects, Lease, Outcome, Stop},
    fault::{Failure, Fault},
    job::{Percent, Verify, VerifyLevel},
    storage::{Role, Terms, Turn},
    verify::{self, Deps},
};

use tokio_util::sync::CancellationToken;

use crate::use_world::{Kept, World, eventually, storage, storage_on, subject};

pub(crate) const SMALL: &str =
    "create table t as select n, md5(n::text) from generate_series(1, 2000) as n";

/// Reads every copy, and mends.
pub(crate) fn scrub() -> Verify {
    Verify {
        repair: true,
        ..look()
    }
}

/// Reads every copy.
pub(crate) fn look() -> Verify {
    Verify::of(subject("database:kanbu"))
}

pub(crate) async fn done(request: &Verify, deps: &Deps) -> Result<Effects, Failure> {
    verify::perform(request, deps, &Arc::new(Lease::unattended())).await
}

pub(crate) fn copy<'a>(artifact: &'a ArtifactView, storage: &str) -> &'a CopyView {
    let copy = artifact
        .copies
        .iter()
        .find(|copy| copy.storage.as_str() == storage);
    copy.unwrap()
}

pub(crate) fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = byte % bytes.len();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn codes(effects: &Effects) -> Vec<&str> {
    effects.warnings.iter().map(|w| w.code.as_ref()).collect()
}

/// What lies on both storages is the same, and nothing besides.
fn assert_alike(world: &World, what: &str) {
    let (one, two) = (world.lying_on("one"), world.lying_on("two"));
    assert_eq!(one.len(), two.len(), "{what}: {one:?} and {two:?}");
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(
            fs::read(one).unwrap(),
            fs::read(two).unwrap(),
            "{what}: {one} and {two} differ"
        );
    }
}

fn harm(world: &World, what: &str, artifact: &ArtifactView, other: &ArtifactView) {
    let data = world.object("one", artifact);
    let manifest = world.manifest_file("one", artifact);
    match what {
        "data gone" => fs::remove_file(&data).unwrap(),
        "data truncated" => {
            let bytes = fs::read(&data).unwrap();
            fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
        }
        "data flipped" => flip(&data, 5000),
        "manifest gone" => fs::remove_file(&manifest).unwrap(),
        "manifest truncated" => fs::write(&manifest, "{").unwrap(),
        "manifest flipped" => flip(&manifest, 300),
        "manifest of another" => {
            fs::copy(world.manifest_file("one", other), &manifest).unwrap();
        }
        "both flipped" => {
            flip(&data, 7000);
            flip(&manifest, 20);
        }
        "data gone, manifest flipped" => {
            fs::remove_file(&data).unwrap();
            flip(&manifest, 20);
        }
        "data flipped, manifest gone" => {
            flip(&data, 1);
            fs::remove_file(&manifest).unwrap();
        }
        "both gone" => fs::remove_dir_all(data.parent().unwrap()).unwrap(),
        _ => unreachable!("{what}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_to_one_copy_is_found_and_mended_byte_for_byte() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let other = world.listed("database:kanbu", &world.deps).await;
    let deps = world.verify_deps();
    for what in [
        "data gone",
        "data truncated",
        "data flipped",
        "manifest gone",
        "manifest truncated",
        "manifest flipped",
        "manifest of another",
        "both flipped",
        "data gone, manifest flipped",
        "data flipped, manifest gone",
        "both gone",
    ] {
        harm(&world, what, &artifact, &other);
        let looked = done(&look(), &deps).await.unwrap();
        assert_eq!(looked.outcome(), Outcome::Degraded, "{what}");
        assert_eq!(looked.result["bad"], 1, "{what}: {looked:?}");
        let found = world.view(artifact.id).await;
        assert!(copy(&found, "one").state.is_bad(), "{what}");
        assert!(copy(&found, "one").bad_since.is_some(), "{what}");
        assert!(codes(&looked).contains(&"copy.last_at_risk"), "{what}");

        let mended = done(&scrub(), &deps).await.unwrap();
        assert_eq!(mended.outcome(), Outcome::Succeeded, "{what}: {mended:?}");
        assert_eq!(codes(&mended), ["copy.repaired"], "{what}");
        assert_eq!(
            (&mended.result["bad"], &mended.result["repaired"]),
            (&0.into(), &1.into()),
            "{what}"
        );
        assert_alike(&world, what);
        let view = world.view(artifact.id).await;
        let copy = copy(&view, "one");
        assert_eq!(copy.state, CopyState::Stored, "{what}");
        assert_eq!(copy.bytes, Some(artifact.stored_bytes), "{what}");
        assert!(
            copy.check_holds && copy.bad_since.is_none() && copy.error.is_none(),
            "{what}: {copy:?}"
        );
        assert_eq!(view.proof, Proof::Checked, "{what}");
        let again = done(&scrub(), &deps).await.unwrap();
        assert_eq!(again.warnings, [], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_look_mends_what_it_can_see() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let quick = Verify {
        artifact: Some(artifact.id),
        level: VerifyLevel::Quick,
        ..scrub()
    };
    for what in ["data gone", "data truncated", "manifest gone", "both gone"] {
        harm(&world, what, &artifact, &artifact);
        let mended = done(&quick, &world.verify_deps()).await.unwrap();
        assert_eq!(mended.result["repaired"], 1, "{what}: {mended:?}");
        assert_alike(&world, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_copy_is_bad_it_is_said_loudly_and_all_are_kept() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let (one, two) = (
        world.object("one", &artifact),
        world.object("two", &artifact),
    );
    flip(&one, 4000);
    flip(&two, 8000);
    let lie = |path| fs::read(path).unwrap();
    let before = (lie(&one), lie(&two));
    for request in [look(), scrub(), scrub()] {
        let effects = done(&request, &world.verify_deps()).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Degraded);
        assert_eq!(effects.result["bad"], 2);
        let lost = effects.warnings.iter().find(|w| w.code == "backup.lost");
        let text = &lost.expect("it to be said").text;
        for part in [
            artifact.id.short().as_str(),
            "damaged on one",
            "damaged on two",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!((lie(&one), lie(&two)), before);
        assert!(world.manifest_file("one", &artifact).exists());
        assert!(world.manifest_file("two", &artifact).exists());
        assert_eq!(world.view(artifact.id).await.proof, Proof::Lost);
    }
    // Somebody brings one of them back.
    flip(&two, 8000);
    let effects = done(&scrub(), &world.verify_deps()).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded, "{effects:?}");
    assert_alike(&world, "brought back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_turns_out_bad_is_no_source_and_nothing_is_replaced_by_it() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let (one, two) = (
        world.object("one", &artifact),
        world.object("two", &artifact),
    );
    let bytes = fs::read(&one).unwrap();
    fs::write(&one, &bytes[..bytes.len() - 100]).unwrap();
    flip(&two, 3000);
    let (cut, flipped) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    // A quick look takes the flipped one for good.
    let quick = Verify {
        level: VerifyLevel::Quick,
        ..scrub()
    };
    let effects = done(&quick, &world.verify_deps()).await.unwrap();
    assert!(codes(&effects).contains(&"backup.lost"), "{effects:?}");
    assert_eq!(fs::read(&one).unwrap(), cut);
    assert_eq!(fs::read(&two).unwrap(), flipped);
    let view = world.view(artifact.id).await;
    assert_eq!(copy(&view, "two").state, CopyState::Damaged);
    assert_eq!(world.lying_on("one").len(), 2, "an upload stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_copies_the_last_good_one_mends_the_other_two() {
    let world = World::new(SMALL).await;
    let mut deps = world.deps.clone();
    let third = storage(&world.place(""), "three", Role::Replica);
    deps.storages.push(third.clone());
    let artifact = world.listed("database:kanbu", &deps).await;
    flip(&world.object("one", &artifact), 100);
    fs::remove_file(world.object("two", &artifact)).unwrap();
    let mut verify = world.verify_deps();
    verify.storages.push(third);
    let effects = done(&scrub(), &verify).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded, "{effects:?}");
    assert_eq!(effects.result["repaired"], 2);
    assert_alike(&world, "three");
    assert_eq!(
        fs::read(world.object("one", &artifact)).unwrap(),
        fs::read(world.object("three", &artifact)).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_alone_is_written_anew_though_there_is_no_other_copy() {
    let world = World::new(SMALL).await;
    let only = Deps {
        storages: vec![world.storage(0).clone()],
        ..world.verify_deps()
    };
    let backup = kanbu_backup::backup::Deps {
        storages: only.storages.clone(),
        ..world.deps.clone()
    };
    let artifact = world.listed("database:kanbu", &backup).await;
    let manifest = world.manifest_file("one", &artifact);
    for text in [None, Some("{}")] {
        match text {
            None => fs::remove_file(&manifest).unwrap(),
            Some(text) => fs::write(&manifest, text).unwrap(),
        }
        let looked = done(&look(), &only).await;
        assert!(codes(&looked.unwrap()).contains(&"backup.lost"));
        let effects = done(&scrub(), &only).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Succeeded, "{effects:?}");
        assert_eq!(fs::read_to_string(&manifest).unwrap(), artifact.manifest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_never_made_is_made_on_every_required_storage() {
    let world = World::new(SMALL).await;
    let backup = kanbu_backup::backup::Deps {
        storages: vec![world.storage(0).clone()],
        ..world.deps.clone()
    };
    let artifact = world.listed("database:kanbu", &backup).await;
    assert_eq!(artifact.copies.len(), 1);
    // Looking alone makes nothing, and finds nothing wrong.
    let looked = done(&look(), &world.verify_deps()).await.unwrap();
    assert_eq!(looked.outcome(), Outcome::Succeeded);
    let effects = done(&scrub(), &world.verify_deps()).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded, "{effects:?}");
    assert_alike(&world, "made");
    let view = world.view(artifact.id).await;
    assert_eq!(copy(&view, "two").state, CopyState::Stored);
    assert_eq!(view.proof, Proof::Checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_scrub_reads_the_longest_unread_backups_first() {
    let world = World::new(SMALL).await;
    let mut artifacts = Vec::new();
    for _ in 0..4 {
        artifacts.push(world.listed("database:kanbu", &world.deps).await);
    }
    let days = [Some(3), Some(30), None, Some(10)];
    for (artifact, days) in artifacts.iter().zip(days) {
        sqlx::query(
            "update kanbu_backup.artifact_copy set checked_at = clock_timestamp() - make_interval(days => $2)
              where artifact_id = $1",
        )
        .bind(artifact.id.as_uuid())
        .bind(days)
        .execute(world.db.bare_pool())
        .await
        .unwrap();
    }
    let half = Verify {
        sample: Some(Percent::try_from(50).unwrap()),
        ..scrub()
    };
    let read_today = async || {
        let mut read = Vec::new();
        for artifact in &artifacts {
            let view = world.view(artifact.id).await;
            let today = |copy: &CopyView| {
                copy.checked_at
                    .is_some_and(|at| SystemClock.now() - at < chrono::TimeDelta::hours(1))
            };
            read.push(view.copies.iter().all(today));
        }
        read
    };
    let effects = done(&half, &world.verify_deps()).await.unwrap();
    assert_eq!(effects.result["good"], 4);
    assert_eq!(read_today().await, [false, true, true, false]);
    // The next one goes on where this one ended.
    done(&half, &world.verify_deps()).await.unwrap();
    assert_eq!(read_today().await, [true; 4]);
    let recent = Verify {
        older_than: Some(3600),
        ..scrub()
    };
    let effects = done(&recent, &world.verify_deps()).await.unwrap();
    assert_eq!(effects.result["good"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_waits_for_its_turn_at_storages_that_take_one_at_a_time() {
    let world = World::new(SMALL).await;
    world.listed("database:kanbu", &world.deps).await;
    let singly = Terms {
        concurrency: NonZeroUsize::new(1),
        ..Terms::default()
    };
    let open = |name, role| storage_on(singly, &world.place("."), name, role);
    let deps = Deps {
        storages: vec![open("one", Role::Primary), open("two", Role::Replica)],
        ..world.verify_deps()
    };
    let [one, two] = [&deps.storages[0], &deps.storages[1]];
    let never = CancellationToken::new();
    let taken = Turn::at([two], &never).await;
    let request = look();
    for told_to_stop in [true, false] {
        let kept = Kept::new();
        let (lease, seat, keeper) = kept.split();
        let waiting = verify::perform(&request, &deps, &lease);
        tokio::pin!(waiting, keeper);
        // It takes its turns in the order of their names.
        let begun = eventually("the first turn to be taken", async || {
            Turn::at([one], &never).now_or_never().is_none()
        });
        tokio::select! {
            () = begun => {}
            () = &mut keeper => unreachable!("it keeps on"),
            _ = &mut waiting => panic!("it has not waited"),
        }
        if told_to_stop {
            seat.stop(Stop::Requested);
            let stopped = waiting.await.unwrap_err();
            assert_eq!(stopped.fault, Fault::Cancelled);
            continue;
        }
        drop(taken);
        let effects = tokio::select! {
            () = &mut keeper => unreachable!("it keeps on"),
            ended = &mut waiting => ended.unwrap(),
        };
        assert_eq!(effects.result["good"], 2);
        return;
    }
}
