//! Whole backups to two storages of which one fails: the outcome, the rows, the job that mends it, and no upload left over.

use std::{fs, path::Path, time::Duration};

use kanbu_backup::{
    catalog::CopyState,
    execution::Outcome,
    storage::{Role, Storage, Terms, Trouble},
};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::{
    s3_server::{ANYTHING, Asks, Fate, Fault, S3Server},
    set::{HASTY, STALL, Set, Told, eventually, local},
};

const BUSY: Fate = Fate::Refused {
    status: 503,
    code: "SlowDown",
};
const FULL: Fate = Fate::Refused {
    status: 507,
    code: "InsufficientStorage",
};
const REVOKED: Fate = Fate::Refused {
    status: 403,
    code: "InvalidAccessKeyId",
};
const NO_BUCKET: Fate = Fate::Refused {
    status: 404,
    code: "NoSuchBucket",
};

fn from_part(number: u64, fate: Fate) -> Fault {
    Fault {
        asks: &[Asks::Part],
        from: number,
        times: u64::MAX,
        fate,
    }
}

/// `one` is the primary, `two` the replica at this server.
async fn beside(primary: &S3OrLocal, server: &S3Server) -> Set {
    Set::new(|place| {
        let one = match primary {
            S3OrLocal::S3(server) => {
                server.storage_as("one", Role::Primary, Terms::default(), HASTY)
            }
            S3OrLocal::Local => local(place, "one", Role::Primary, Terms::default()),
        };
        let two = server.storage_as("two", Role::Replica, Terms::default(), HASTY);
        vec![one, two]
    })
    .await
}

enum S3OrLocal {
    S3(S3Server),
    Local,
}

impl S3OrLocal {
    fn files(&self, set: &Set) -> Vec<String> {
        match self {
            Self::S3(server) => server.objects(),
            Self::Local => set.lying_on("one"),
        }
    }
}

const BACKUP: [&str; 2] = ["archive.kbk", "manifest.json"];

/// The replica is lost for this reason, the primary has the backup, and the rest follows.
fn assert_degraded(told: &Told, reason: &str, what: &str) {
    assert_eq!(told.outcome(), Outcome::Degraded, "{what}");
    let expected = [
        ("one".to_owned(), CopyState::Stored),
        ("two".to_owned(), CopyState::Missing),
    ];
    assert_eq!(told.copies(), expected, "{what}");
    assert!(
        told.reason("two").contains(reason),
        "{what}: {}",
        told.reason("two")
    );
    let said = told.degrading();
    assert!(
        said.len() == 1 && said[0].contains("no copy on two: "),
        "{what}: {said:?}"
    );
    told.assert_mended();
    eprintln!("{what}: degraded after {:.1} s", told.took.as_secs_f64());
}

/// A replica with this fault, beside a directory and beside another bucket.
async fn a_replica_that(fault: Fault, reason: &str, what: &str) {
    for primary in [S3OrLocal::Local, S3OrLocal::S3(S3Server::start().await)] {
        let server = S3Server::start().await;
        let set = beside(&primary, &server).await;
        server.fails(fault.clone());
        let told = set.backup().await;
        assert_degraded(&told, reason, what);
        assert_eq!(primary.files(&set), BACKUP, "{what}");
        server.is_well_again();
        // Where nobody answers, what lies there is left to the repair, or to the sweep.
        eventually("nothing to be left", async || {
            set.sweep(&set.deps.storages[1]).await;
            (server.unfinished().is_empty() && server.objects().is_empty()).then_some(())
        })
        .await;
        if let S3OrLocal::S3(primary) = &primary {
            assert_eq!(primary.unfinished(), [""; 0], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_busy_from_the_third_part_on_is_dropped_and_mended() {
    a_replica_that(from_part(2, BUSY), "503", "503 from part 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_dropped_and_mended() {
    a_replica_that(
        from_part(2, Fate::Hangs),
        "moved nothing for 10 s",
        "hangs at part 3",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_answers_nothing_at_all_is_dropped_and_mended() {
    let fault = Fault::always(ANYTHING, Fate::Hangs);
    a_replica_that(fault, "moved nothing for 10 s", "never answers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lies_about_what_it_stored_is_dropped_and_mended() {
    let fault = Fault::always(&[Asks::Complete], Fate::Halved);
    a_replica_that(fault, "but the storage took", "lies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_room_is_dropped_and_mended() {
    a_replica_that(from_part(1, FULL), "is full", "full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_dropped_and_mended() {
    let fault = Fault::always(ANYTHING, NO_BUCKET);
    a_replica_that(fault, "is not at the server", "no bucket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_revoked_on_the_way_cost_one_copy_and_leave_their_upload_to_the_sweep()
{
    // The look whether the object is there, the beginning, and two parts.
    let fault = Fault {
        asks: ANYTHING,
        from: 4,
        times: u64::MAX,
        fate: REVOKED,
    };
    a_replica_that(fault, "refused access", "revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replica_is_dropped_and_mended_and_a_slow_primary_is_waited_for() {
    for (slow, seconds) in [("two", 20), ("one", 6)] {
        let (one, two) = (S3Server::start().await, S3Server::start().await);
        let primary = S3OrLocal::S3(one);
        let mut set = beside(&primary, &two).await;
        set.deps.stall_timeout = Duration::from_mins(1);
        set.deps.slowness.window = Duration::from_secs(4);
        let S3OrLocal::S3(one) = &primary else {
            panic!("it is a bucket")
        };
        let server = if slow == "one" { one } else { &two };
        server.fails(Fault::always(
            &[Asks::Part],
            Fate::Waits(Duration::from_secs(seconds)),
        ));
        let told = set.backup().await;
        if slow == "two" {
            assert_degraded(&told, "too slow", "slow");
        } else {
            assert_eq!(told.outcome(), Outcome::Succeeded, "{:?}", told.degrading());
            assert_eq!(told.follow_ups, [""; 0]);
        }
        eventually("nothing to be left", async || {
            (one.unfinished().is_empty() && two.unfinished().is_empty()).then_some(())
        })
        .await;
    }
}

/// A file system of a few megabytes, where this process may mount one; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let size = c"size=8m";
        let mounted = mount("tmpfs", at, "tmpfs", MountFlags::empty(), size);
        mounted.ok().map(|()| Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Whoever still looks into it may do so to the end.
        let _unmounted = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_is_dropped_and_mended_and_keeps_nothing() {
    let server = S3Server::start().await;
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("two");
    fs::create_dir(&directory).unwrap();
    let disk = SmallDisk::mount(&directory);
    let set = Set::new(|_| {
        let two = local(place.path(), "two", Role::Replica, Terms::default());
        let two = match &disk {
            Some(_) => two,
            // Nobody but root may make a disk that is small: then a storage only says that it is full.
            None => two.faulty(Trouble::PartsFail {
                from: 4,
                with: Errno::NOSPC,
            }),
        };
        vec![
            server.storage_as("one", Role::Primary, Terms::default(), HASTY),
            two,
        ]
    })
    .await;
    let told = set.backup().await;
    let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
    let left = left.len();
    drop(disk);
    assert_degraded(&told, "is full", "a full disk");
    assert!(left <= 1, "no more than an environment's empty directory");
    assert_eq!(server.objects(), BACKUP);
    assert_eq!(server.unfinished(), [""; 0]);
}

/// The primary is lost, the replica has the backup.
fn assert_fallback(told: &Told, what: &str) {
    assert_eq!(told.outcome(), Outcome::Degraded, "{what}");
    let expected = [
        ("one".to_owned(), CopyState::Missing),
        ("two".to_owned(), CopyState::Stored),
    ];
    assert_eq!(told.copies(), expected, "{what}");
    assert!(told.degrading()[0].contains("no copy on one: "), "{what}");
    told.assert_mended();
    eprintln!("{what}: fallback after {:.1} s", told.took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_down_from_the_start_or_goes_down_on_the_way_leaves_the_backup_to_the_replica()
 {
    for from in [0, 3] {
        for fate in [Fate::Cut, Fate::Hangs] {
            let what = format!("{fate:?} from request {from}");
            let (one, two) = (S3Server::start().await, S3Server::start().await);
            let set = Set::new(|_| {
                vec![
                    one.storage_as("one", Role::Primary, Terms::default(), HASTY),
                    two.storage_as("two", Role::Replica, Terms::default(), HASTY),
                ]
            })
            .await;
            one.fails(Fault {
                asks: ANYTHING,
                from,
                times: u64::MAX,
                fate,
            });
            let told = set.backup().await;
            assert_fallback(&told, &what);
            assert_eq!(two.objects(), BACKUP, "{what}");
            assert_eq!(two.unfinished(), [""; 0], "{what}");
            one.is_well_again();
            eventually("nothing to be left on the primary", async || {
                set.sweep(&set.deps.storages[0]).await;
                (one.unfinished().is_empty() && one.objects().is_empty()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_holds_up_a_backup_for_the_stall_time_and_not_for_its_abort() {
    let (one, two) = (S3Server::start().await, S3Server::start().await);
    let storages = |two: Storage| {
        vec![
            one.storage_as("one", Role::Primary, Terms::default(), HASTY),
            two,
        ]
    };
    let two_as = || two.storage_as("two", Role::Replica, Terms::default(), HASTY);
    let set = Set::new(|_| storages(two_as())).await;
    let well = set.backup().await;
    assert_eq!(well.outcome(), Outcome::Succeeded, "{:?}", well.degrading());
    assert_eq!(well.follow_ups, [""; 0]);
    // Only the upload's begin is answered: however slow the machine, nothing that comes after it is.
    two.fails(Fault {
        asks: ANYTHING,
        from: 4,
        times: u64::MAX,
        fate: Fate::Hangs,
    });
    let hung = set.backup().await;
    assert_eq!(hung.outcome(), Outcome::Degraded);
    // A deletion that comes through late would meet what the repair has made by then, so none is begun.
    let asked = two.asked_since(Asks::Begin);
    assert!(
        !asked.contains(&Asks::List) && !asked.contains(&Asks::Delete),
        "{asked:?}"
    );
    // Its abort goes on beside the run, which has ended before it.
    assert_eq!(two.hanging(Asks::Abort), 1);
    eprintln!(
        "a hung replica: {:.2} s instead of {:.2} s; the stall time is {} s",
        hung.took.as_secs_f64(),
        well.took.as_secs_f64(),
        STALL.as_secs(),
    );
}
