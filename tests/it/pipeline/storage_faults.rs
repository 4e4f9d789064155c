//! A storage that fails or hangs is lost alone; the others get the whole object.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kanbu_backup::{
    fault::{Failure, Fault},
    pipeline::{CompressionSpec, Limits, PartGrowth, Recipe, Sealed, Written, feed, write},
    storage::{Storage, Trouble},
};
use rustix::io::Errno;

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
    let began = Instant::now();
    let targets = world.targets(Sealed::None, &storages);
    let written = write(source(pieces, Last::End), recipe, targets, unwatched()).await;
    let written = written.unwrap();
    assert_eq!(
        codes(&written.ends),
        ["pipeline.stalled", "pipeline.stalled", "ok"]
    );
    // Both stalls, the time to write 100 MiB in a debug build, and a loaded machine.
    assert!(began.elapsed() < STALL * 10, "{:?}", began.elapsed());
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
        let chunk = kanbu_backup::pipeline::Message::Data(content.clone().into());
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
