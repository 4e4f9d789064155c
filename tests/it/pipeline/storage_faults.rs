//! A storage that fails or hangs is lost alone; the others get the whole object.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kanbu_backup::{
    fault::{Failure, Fault},
    pipeline::{
        CompressionSpec, Limits, Message, PartGrowth, Recipe, Sealed, Tick, Unwritten, Watch,
        Written, feed, write,
    },
    storage::{Storage, Trouble},
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::{Chance, Last, World, codes, read_all, read_file, recorded, source, unwatched};

const MIB: usize = 1 << 20;
/// Short for a test, and longer than a loaded machine keeps a good storage waiting.
const STALL: Duration = Duration::from_secs(4);

/// Plain, so that the number of parts is known.
async fn run(world: &World, storages: &[Storage], content: &[u8]) -> Result<Written, Failure> {
    let input = source(vec![Bytes::copy_from_slice(content)], Last::End);
    let plain = CompressionSpec::None;
    world
        .write(input, plain, Sealed::None, storages, unwatched())
        .await
}

async fn assert_whole(world: &World, written: &Written, content: &[u8]) {
    let expected = recorded(written, Sealed::None);
    let back = read_all(world.input("good", Sealed::None), expected, &world.keyring).await;
    assert!(
        back.unwrap() == content,
        "the good storage got other content"
    );
    let only = [world.object("good", Sealed::None)];
    assert_eq!(world.files(), only, "the bad storage kept something");
}

#[tokio::test]
async fn a_storage_that_fails_is_lost_alone_and_keeps_nothing() {
    let content = Chance::new("lost alone").noise(12 * MIB);
    for (trouble, code) in [
        (
            Trouble::PartsFail {
                from: 1,
                with: Errno::NOSPC,
            },
            "storage.full",
        ),
        (
            Trouble::PartsFail {
                from: 0,
                with: Errno::ROFS,
            },
            "storage.denied",
        ),
        (
            Trouble::PartsFail {
                from: 2,
                with: Errno::IO,
            },
            "storage.failed",
        ),
        (
            Trouble::CompletionFails { with: Errno::NOSPC },
            "storage.full",
        ),
    ] {
        let world = World::new();
        let storages = [world.storage("bad").faulty(trouble), world.storage("good")];
        let written = run(&world, &storages, &content).await.unwrap();
        assert_eq!(codes(&written.ends), [code, "ok"], "{trouble:?}");
        assert_whole(&world, &written, &content).await;
    }
}

#[tokio::test]
async fn a_storage_whose_directory_is_gone_is_lost_alone() {
    let content = Chance::new("unmounted").noise(6 * MIB);
    let world = World::new();
    let storages = [world.storage("bad"), world.storage("good")];
    fs::remove_dir(world.place.path().join("bad")).unwrap();
    let written = run(&world, &storages, &content).await.unwrap();
    assert_eq!(codes(&written.ends), ["storage.unreachable", "ok"]);
    assert_whole(&world, &written, &content).await;
}

#[tokio::test]
async fn an_object_that_is_already_there_is_never_replaced() {
    let world = World::new();
    let storages = [world.storage("bad"), world.storage("good")];
    let there = world.object("bad", Sealed::None);
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    fs::write(&there, "first come").unwrap();
    let written = run(&world, &storages, b"content").await.unwrap();
    assert_eq!(codes(&written.ends), ["storage.already_exists", "ok"]);
    assert_eq!(read_file(&there), b"first come");
}

#[tokio::test]
async fn hung_storages_are_given_up_and_do_not_hold_up_the_good_one() {
    let world = World::new();
    let piece = Bytes::from(Chance::new("hung").noise(MIB));
    let pieces = vec![piece.clone(); 100];
    // Large parts: only two may live, and each of the hung storages sits on one of its own.
    let recipe = Recipe {
        limits: Limits {
            stall_timeout: STALL,
            part_growth: PartGrowth {
                small: 0,
                small_and_medium: 0,
                ..PartGrowth::default()
            },
            ..Limits::default()
        },
        ..Recipe::new(CompressionSpec::None, world.seal(Sealed::None))
    };
    let storages = [
        world
            .storage("first")
            .faulty(Trouble::PartsHang { from: 0 }),
        world
            .storage("second")
            .faulty(Trouble::PartsHang { from: 1 }),
        world.storage("good"),
    ];
    let targets = world.targets(Sealed::None, &storages);
    let written = write(source(pieces, Last::End), recipe, targets, unwatched()).await;
    let written = written.unwrap();
    assert_eq!(
        codes(&written.ends),
        ["pipeline.stalled", "pipeline.stalled", "ok"]
    );
    assert_whole(&world, &written, &piece.repeat(100)).await;
}

#[tokio::test]
async fn a_run_without_a_storage_left_ends_though_its_source_goes_on() {
    let content = Chance::new("none left").noise(12 * MIB);
    let full = |with| Trouble::PartsFail { from: 0, with };
    for (errno, fault) in [
        (Errno::NOSPC, Fault::Transient),
        (Errno::ROFS, Fault::Permanent),
    ] {
        let world = World::new();
        let storages = [
            world.storage("one").faulty(full(errno)),
            world.storage("two").faulty(full(Errno::ROFS)),
        ];
        let (sender, input) = feed();
        let chunk = Message::Data(content.clone().into());
        sender.send(chunk).await.unwrap();
        let plain = CompressionSpec::None;
        let written = world
            .write(input, plain, Sealed::None, &storages, unwatched())
            .await;
        let failure = written.unwrap_err();
        assert_eq!(failure.code, "pipeline.no_storage_left");
        assert_eq!(failure.fault, fault, "{errno:?}");
        assert!(failure.message.contains("one: ") && failure.message.contains("two: "));
        world.assert_nothing_is_left("a run without a storage");
        drop(sender);
    }
}

#[tokio::test]
async fn the_only_storages_failure_is_the_runs_own() {
    let content = Chance::new("only one").noise(6 * MIB);
    for trouble in [
        Trouble::PartsFail {
            from: 1,
            with: Errno::NOSPC,
        },
        Trouble::CompletionFails { with: Errno::NOSPC },
    ] {
        let world = World::new();
        let storages = [world.storage("one").faulty(trouble)];
        let failure = run(&world, &storages, &content).await.unwrap_err();
        assert_eq!(failure.code, "storage.full", "{trouble:?}");
        world.assert_nothing_is_left("a full storage");
    }
}

#[tokio::test]
async fn a_storage_whose_last_answer_is_lost_does_not_count_and_keeps_nothing() {
    let content = Chance::new("unanswered").noise(6 * MIB);
    let world = World::new();
    let storages = [
        world.storage("bad").faulty(Trouble::CompletionUnanswered),
        world.storage("good"),
    ];
    let written = run(&world, &storages, &content).await.unwrap();
    assert_eq!(codes(&written.ends), ["storage.unreachable", "ok"]);
    assert_whole(&world, &written, &content).await;
}

/// A source that goes on for ever: only the run can end.
fn endless() -> kanbu_backup::pipeline::Feed {
    let (sender, input) = feed();
    tokio::spawn(async move {
        let piece = Bytes::from(vec![7; MIB]);
        while sender.send(Message::Data(piece.clone())).await.is_ok() {}
    });
    input
}

fn plain(world: &World, limits: Limits) -> Recipe {
    Recipe {
        limits,
        ..Recipe::new(CompressionSpec::None, world.seal(Sealed::None))
    }
}

#[tokio::test]
async fn a_run_that_can_not_reach_enough_storages_any_more_ends_at_once() {
    let world = World::new();
    let full = Trouble::PartsFail {
        from: 0,
        with: Errno::NOSPC,
    };
    let storages = [
        world.storage("one"),
        world.storage("two").faulty(full),
        world.storage("three"),
    ];
    let limits = Limits {
        least: 3,
        ..Limits::default()
    };
    let targets = world.targets(Sealed::None, &storages);
    let written = write(endless(), plain(&world, limits), targets, unwatched()).await;
    let Err(Unwritten::Storages { failure, ends }) = written else {
        panic!("{written:?}")
    };
    assert_eq!(failure.code, "pipeline.too_few_storages");
    assert!(
        failure.message.contains("two: storage two is full"),
        "{failure}"
    );
    assert!(!failure.message.contains("one: "), "{failure}");
    assert_eq!(codes(&ends)[1], "storage.full");
    world.assert_nothing_is_left("a run to too few storages");
}

#[tokio::test]
async fn objects_that_too_few_storages_completed_are_removed() {
    let world = World::new();
    let storages = [
        world.storage("one"),
        world
            .storage("two")
            .faulty(Trouble::CompletionFails { with: Errno::IO }),
    ];
    let limits = Limits {
        least: 2,
        ..Limits::default()
    };
    let content = Bytes::from(Chance::new("withdrawn").noise(6 * MIB));
    let targets = world.targets(Sealed::None, &storages);
    let input = source(vec![content], Last::End);
    let written = write(input, plain(&world, limits), targets, unwatched()).await;
    let failure = Failure::from(written.unwrap_err());
    assert_eq!(failure.code, "pipeline.too_few_storages");
    assert_eq!(failure.fault, Fault::Transient);
    world.assert_nothing_is_left("a quorum that was not met");
}

#[tokio::test]
async fn a_storage_that_takes_nothing_lets_three_parts_into_memory_and_no_more() {
    let world = World::new();
    let storages = [world.storage("hung").faulty(Trouble::PartsHang { from: 0 })];
    let limits = Limits {
        stall_timeout: STALL,
        ..Limits::default()
    };
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let tick = Arc::new(move |tick: Tick| {
        seen.fetch_max(tick.stored_bytes, Ordering::Relaxed);
    });
    let watch = Watch::new(CancellationToken::new(), tick);
    let targets = world.targets(Sealed::None, &storages);
    let written = write(endless(), plain(&world, limits), targets, watch).await;
    assert_eq!(Failure::from(written.unwrap_err()).code, "pipeline.stalled");
    assert_eq!(sent.load(Ordering::Relaxed), 3 * 5 * MIB as u64);
}
