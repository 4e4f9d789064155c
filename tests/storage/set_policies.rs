//! What several storages must achieve together: each policy with all of them, with one lost, and with too few.

use std::num::{NonZeroU64, NonZeroUsize};

use kanbu_backup::{
    catalog::CopyState::{self, Missing, Pending, Stored},
    execution::Outcome::{self, Degraded, Succeeded},
    storage::{Role, Storage, Terms, Trouble, Turn},
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::{
    s3_server::{ANYTHING, Asks, Fate, Fault, S3Server},
    set::{HASTY, Set, Told, eventually, local},
};

const BROKEN: Trouble = Trouble::PartsFail {
    from: 1,
    with: Errno::IO,
};
const AFTERWARDS: Terms = Terms {
    live: false,
    concurrency: None,
    bandwidth: None,
    parts: NonZeroUsize::MIN,
};

/// Three directories; those that are named are broken.
async fn three(policy: &str, broken: &[&str]) -> Set {
    let mut set = Set::new(|place| {
        let open = |(name, role)| {
            let storage = local(place, name, role, Terms::default());
            if broken.contains(&name) {
                storage.faulty(BROKEN)
            } else {
                storage
            }
        };
        let roles = [
            ("one", Role::Primary),
            ("two", Role::Replica),
            ("three", Role::Replica),
        ];
        roles.map(open).into()
    })
    .await;
    set.deps.policy = policy.parse().unwrap();
    set
}

const ALL: [&str; 3] = ["one", "three", "two"];
const BACKUP: [&str; 2] = ["archive.kbk", "manifest.json"];

/// What lies there, and what is said of it.
fn assert_as_told(set: &Set, told: &Told, (name, state): (&str, CopyState), what: &str) {
    let files = set.lying_on(name);
    if state == Stored {
        assert_eq!(files, BACKUP, "{what}");
    } else {
        assert_eq!(files, [""; 0], "{what}");
    }
    let sentence = format!("no copy on {name}: ");
    let warnings = told.execution.warnings.iter();
    let named = warnings.filter(|warning| warning.text.starts_with(&sentence));
    assert_eq!(named.count(), usize::from(state == Missing), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_comes_out_as_it_says_and_what_is_missing_is_named_and_mended() {
    for (policy, broken, outcome, states) in [
        (
            "all-or-degraded",
            &[] as &[&str],
            Succeeded,
            [Stored, Stored, Stored],
        ),
        (
            "all-or-degraded",
            &["three"],
            Degraded,
            [Stored, Missing, Stored],
        ),
        (
            "all-or-degraded",
            &["one", "two"],
            Degraded,
            [Missing, Stored, Missing],
        ),
        ("quorum(2)", &["one"], Succeeded, [Missing, Stored, Stored]),
        (
            "any",
            &["one", "two"],
            Succeeded,
            [Missing, Stored, Missing],
        ),
        (
            "primary-then-replicate",
            &[],
            Succeeded,
            [Stored, Pending, Pending],
        ),
        // The replicas get it at once, for there is nobody to copy it from.
        (
            "primary-then-replicate",
            &["one"],
            Degraded,
            [Missing, Stored, Stored],
        ),
        (
            "primary-then-replicate",
            &["one", "two"],
            Degraded,
            [Missing, Stored, Missing],
        ),
    ] {
        let set = three(policy, broken).await;
        let told = set.backup().await;
        let what = format!("{policy} without {broken:?}: {:?}", told.execution.error);
        assert_eq!(told.outcome(), outcome, "{what}");
        let expected: Vec<_> = ALL.map(str::to_owned).into_iter().zip(states).collect();
        assert_eq!(told.copies(), expected, "{what}");
        for (name, state) in ALL.into_iter().zip(states) {
            assert_as_told(&set, &told, (name, state), &what);
        }
        if states == [Stored; 3] {
            assert_eq!(told.follow_ups, [""; 0], "{what}");
        } else {
            told.assert_mended();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_met_fails_the_backup_and_nothing_stays() {
    for (policy, broken) in [
        ("quorum(2)", &["one", "two"] as &[&str]),
        ("quorum(3)", &["three"]),
        ("quorum(4)", &[]),
        ("all-or-degraded", &ALL),
        ("any", &ALL),
        ("primary-then-replicate", &ALL),
    ] {
        let set = three(policy, broken).await;
        let told = set.backup().await;
        let what = format!("{policy} without {broken:?}: {:?}", told.execution.error);
        assert_eq!(told.outcome(), Outcome::Failed, "{what}");
        assert!(
            told.artifact.is_none() && told.follow_ups.is_empty(),
            "{what}"
        );
        let error = told.execution.error.as_deref().unwrap();
        for name in broken {
            assert!(error.contains(&format!("{name}: ")), "{what}");
        }
        for name in ALL {
            assert_eq!(set.lying_on(name), [""; 0], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_is_lost_at_the_end_takes_back_what_was_complete() {
    for trouble in [
        Trouble::CompletionFails { with: Errno::IO },
        Trouble::ReadsLie,
        Trouble::PutsFail { with: Errno::IO },
    ] {
        let mut set = three("quorum(3)", &[]).await;
        set.deps.storages[1] = set.deps.storages[1].faulty(trouble);
        let told = set.backup().await;
        let what = format!("{trouble:?}: {:?}", told.execution.error);
        assert_eq!(told.outcome(), Outcome::Failed, "{what}");
        for name in ALL {
            assert_eq!(set.lying_on(name), [""; 0], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_not_live_gets_its_copy_afterwards_and_only_alone_gets_the_stream() {
    for primary_is_down in [false, true] {
        let one = S3Server::start().await;
        let set = Set::new(|place| {
            vec![
                one.storage_as("one", Role::Primary, Terms::default(), HASTY),
                local(place, "two", Role::Replica, AFTERWARDS),
            ]
        })
        .await;
        if primary_is_down {
            one.fails(Fault::always(ANYTHING, Fate::Cut));
        }
        let told = set.backup().await;
        told.assert_mended();
        let (outcome, states) = if primary_is_down {
            (Outcome::Degraded, [Missing, Stored])
        } else {
            (Outcome::Succeeded, [Stored, Pending])
        };
        assert_eq!(told.outcome(), outcome);
        let states: Vec<_> = ["one", "two"]
            .map(str::to_owned)
            .into_iter()
            .zip(states)
            .collect();
        assert_eq!(told.copies(), states);
        assert_eq!(set.lying_on("two").is_empty(), !primary_is_down);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_waits_for_its_turn_at_a_storage_that_takes_one_at_a_time() {
    let set = Set::new(|place| {
        let terms = Terms {
            concurrency: NonZeroUsize::new(1),
            ..Terms::default()
        };
        vec![local(place, "one", Role::Primary, terms)]
    })
    .await;
    let storage: &Storage = &set.deps.storages[0];
    let taken = Turn::at([storage], &CancellationToken::new())
        .await
        .unwrap();
    let waiting = set.backup();
    tokio::pin!(waiting);
    let begun = eventually("the backup to begin", async || {
        let open = kanbu_backup::execution::store::open(&set.db).await.unwrap();
        (!open.is_empty()).then_some(())
    });
    tokio::select! {
        () = begun => {}
        _ = &mut waiting => panic!("it has not waited"),
    }
    assert_eq!(set.lying_on("one"), [""; 0]);
    drop(taken);
    assert_eq!(waiting.await.outcome(), Outcome::Succeeded);
    assert_eq!(set.lying_on("one"), BACKUP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_throttled_is_neither_hung_nor_dropped() {
    let server = S3Server::start().await;
    let mut set = Set::new(|_| {
        // A part takes longer than the stall time.
        let terms = Terms {
            bandwidth: NonZeroU64::new(4 << 20),
            ..Terms::default()
        };
        vec![server.storage_as("one", Role::Primary, terms, HASTY)]
    })
    .await;
    set.deps.stall_timeout = std::time::Duration::from_secs(1);
    let told = set.backup().await;
    assert_eq!(
        told.outcome(),
        Outcome::Succeeded,
        "{:?}",
        told.execution.error
    );
    // 22 MiB up and the same back.
    assert!(
        told.took >= std::time::Duration::from_secs(10),
        "{:?}",
        told.took
    );
    assert_eq!(server.count(Asks::Abort), 0);
}
