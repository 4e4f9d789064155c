//! Verifications as a whole: every way in which a copy can be bad is found, and what can't be looked at is said.

use std::{fs, sync::Arc, time::Duration};

use kanbu_backup::{
    catalog::{self, ArtifactView, CopyState, Proof},
    crypto::Keyring,
    execution::{Effects, Lease, Outcome, Phase, Stop},
    fault::{Failure, Fault},
    id::ArtifactId,
    job::{Verify, VerifyLevel},
    storage::Trouble,
    verify::{self, Deps},
};
use rustix::io::Errno;

use crate::use_world::{Kept, World, eventually, subject};

const SMALL: &str = "create table t as select n, md5(n::text) from generate_series(1, 2000) as n";

async fn looked(
    deps: &Deps,
    artifact: Option<ArtifactId>,
    level: VerifyLevel,
) -> Result<Effects, Failure> {
    let request = Verify {
        artifact,
        level,
        ..Verify::of(subject("database:kanbu"))
    };
    verify::perform(&request, deps, &Arc::new(Lease::unattended())).await
}

/// Looks, and enters what was found.
async fn recorded(world: &World, deps: &Deps, level: VerifyLevel) -> Effects {
    let effects = looked(deps, None, level).await.unwrap();
    let mut conn = world.db.pool().acquire().await.unwrap();
    catalog::record_checks(&mut conn, &effects.checks)
        .await
        .unwrap();
    effects
}

fn state(artifact: &ArtifactView, storage: &str) -> CopyState {
    let copy = artifact
        .copies
        .iter()
        .find(|copy| copy.storage.as_str() == storage);
    copy.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn good_copies_are_checked_with_their_date() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    assert_eq!(artifact.proof, Proof::Replicated);
    let effects = recorded(&world, &world.verify_deps(), VerifyLevel::Checked).await;
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    assert_eq!(effects.result["good"], 2);
    assert_eq!(effects.bytes_in, 2 * artifact.stored_bytes);
    assert_eq!(world.view(artifact.id).await.proof, Proof::Checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found_and_the_other_copy_stays_good() {
    for (harm, found, seen_by_quick) in [
        ("data gone", CopyState::Missing, true),
        ("manifest gone", CopyState::Missing, true),
        ("truncated", CopyState::Damaged, true),
        ("flipped", CopyState::Damaged, false),
        ("manifest swapped", CopyState::Damaged, false),
        ("manifest huge", CopyState::Damaged, false),
    ] {
        let world = World::new(SMALL).await;
        let artifact = world.listed("database:kanbu", &world.deps).await;
        let other = world.listed("database:kanbu", &world.deps).await;
        let data = world.object("one", &artifact);
        let manifest = world.manifest_file("one", &artifact);
        match harm {
            "data gone" => fs::remove_file(&data).unwrap(),
            "manifest gone" => fs::remove_file(&manifest).unwrap(),
            "truncated" => {
                let bytes = fs::read(&data).unwrap();
                fs::write(&data, &bytes[..bytes.len() - 1]).unwrap();
            }
            "flipped" => {
                let mut bytes = fs::read(&data).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&data, bytes).unwrap();
            }
            "manifest swapped" => {
                fs::copy(world.manifest_file("one", &other), &manifest).unwrap();
            }
            _ => fs::write(&manifest, vec![b' '; 2 << 20]).unwrap(),
        }
        let quick = looked(&world.verify_deps(), Some(artifact.id), VerifyLevel::Quick).await;
        let outcome = quick.unwrap().outcome();
        assert_eq!(outcome == Outcome::Degraded, seen_by_quick, "{harm}");
        let effects = recorded(&world, &world.verify_deps(), VerifyLevel::Checked).await;
        assert_eq!(effects.outcome(), Outcome::Degraded, "{harm}");
        assert_eq!(
            (&effects.result["good"], &effects.result["bad"]),
            (&3.into(), &1.into()),
            "{harm}"
        );
        let [warning] = &effects.warnings[..] else {
            panic!("{harm}: {:?}", effects.warnings)
        };
        assert!(warning.text.contains("on one"), "{harm}: {}", warning.text);
        let view = world.view(artifact.id).await;
        assert_eq!(state(&view, "one"), found, "{harm}");
        assert_eq!(state(&view, "two"), CopyState::Stored, "{harm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_look_neither_clears_damage_nor_calls_it_good() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let data = world.object("one", &artifact);
    let whole = fs::read(&data).unwrap();
    let mut bytes = whole.clone();
    bytes[5000] ^= 1;
    fs::write(&data, bytes).unwrap();
    recorded(&world, &world.verify_deps(), VerifyLevel::Checked).await;
    fs::write(&data, whole).unwrap();
    let quick = recorded(&world, &world.verify_deps(), VerifyLevel::Quick).await;
    assert_eq!(quick.outcome(), Outcome::Degraded);
    assert_eq!(quick.result["bad"], 1);
    assert_eq!(
        state(&world.view(artifact.id).await, "one"),
        CopyState::Damaged
    );
    let full = recorded(&world, &world.verify_deps(), VerifyLevel::Checked).await;
    assert_eq!(full.outcome(), Outcome::Succeeded);
    assert_eq!(
        state(&world.view(artifact.id).await, "one"),
        CopyState::Stored
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_a_storage_that_is_configured_no_more_is_a_finding() {
    let world = World::new(SMALL).await;
    world.listed("database:kanbu", &world.deps).await;
    for (kept, good, bad) in [(1, 1, 1), (0, 0, 2)] {
        let deps = Deps {
            storages: world.deps.storages[..kept].to_vec(),
            ..world.verify_deps()
        };
        for level in [VerifyLevel::Quick, VerifyLevel::Checked] {
            let effects = looked(&deps, None, level).await.unwrap();
            assert_eq!(effects.outcome(), Outcome::Degraded);
            assert_eq!(effects.result["good"], good);
            assert_eq!(effects.result["bad"], bad);
            assert!(
                effects
                    .warnings
                    .iter()
                    .all(|w| w.code == "storage.not_configured")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_can_not_be_read_says_nothing_about_its_copy() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    for (trouble, code) in [
        (Trouble::ReadsFail { with: Errno::IO }, "storage.failed"),
        (Trouble::ReadsHang, "storage.stalled"),
    ] {
        let bad = world.storage(0).faulty(trouble);
        let deps = |storages| Deps {
            storages,
            stall_timeout: Duration::from_secs(4),
            ..world.verify_deps()
        };
        let half = deps(vec![bad.clone(), world.storage(1).clone()]);
        let effects = recorded(&world, &half, VerifyLevel::Checked).await;
        assert_eq!(effects.outcome(), Outcome::Degraded, "{trouble:?}");
        assert_eq!(effects.warnings[0].code, code, "{trouble:?}");
        assert_eq!(
            state(&world.view(artifact.id).await, "one"),
            CopyState::Stored
        );
        let blind = deps(vec![bad.clone(), world.storage(1).faulty(trouble)]);
        let failure = looked(&blind, None, VerifyLevel::Checked)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.code.as_ref(), failure.fault),
            (code, Fault::Transient)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fitting_key_the_stored_bytes_are_still_compared() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let deps = Deps {
        keyring: Keyring::new(None, Vec::new()),
        ..world.verify_deps()
    };
    let effects = looked(&deps, None, VerifyLevel::Checked).await.unwrap();
    assert_eq!(effects.result["good"], 2);
    let data = world.object("two", &artifact);
    let mut bytes = fs::read(&data).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&data, bytes).unwrap();
    let effects = looked(&deps, None, VerifyLevel::Checked).await.unwrap();
    assert_eq!(effects.result["bad"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_nothing_to_verify_is_no_good_news() {
    let world = World::new(SMALL).await;
    let effects = looked(&world.verify_deps(), None, VerifyLevel::Checked)
        .await
        .unwrap();
    assert_eq!(effects.outcome(), Outcome::Degraded);
    assert_eq!(effects.warnings[0].code, "backup.none");
    let one = looked(
        &world.verify_deps(),
        Some(ArtifactId::new()),
        VerifyLevel::Quick,
    )
    .await;
    assert_eq!(one.unwrap_err().code, "backup.not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_is_told_to_stop_reports_nothing() {
    let world = World::new(SMALL).await;
    world.listed("database:kanbu", &world.deps).await;
    let hung = world.storage(1).faulty(Trouble::ReadsHang);
    let deps = Deps {
        storages: vec![world.storage(0).clone(), hung],
        ..world.verify_deps()
    };
    let request = Verify::of(subject("database:kanbu"));
    let kept = Kept::new();
    let lease = Arc::clone(&kept.lease);
    let (ended, ()) = tokio::join!(verify::perform(&request, &deps, &lease), async {
        let begun = async || kept.seat.progress().phase == Phase::Check;
        eventually("the look to begin", begun).await;
        kept.seat.stop(Stop::Requested);
    });
    assert_eq!(ended.unwrap_err().fault, Fault::Cancelled);
}
