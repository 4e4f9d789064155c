//! What goes in comes out, whatever its size and form; and what the run says of it is true.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use kanbu_backup::pipeline::{
    CompressionSpec, Expected, Input, Limits, PartGrowth, Recipe, Sealed, Tick, Watch, write,
};
use tokio_util::sync::CancellationToken;

use super::{
    Chance, ENVELOPES, Last, World, ZSTD, check_it, codes, read_all, read_file, recorded, sha256,
    source, unwatched,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[tokio::test]
async fn content_of_every_size_comes_back_through_zstd() {
    all_sizes(ZSTD, "zstd").await;
}

#[tokio::test]
async fn content_of_every_size_comes_back_through_gzip() {
    all_sizes(CompressionSpec::Gzip { level: 1 }, "gzip").await;
}

#[tokio::test]
async fn content_of_every_size_comes_back_uncompressed() {
    all_sizes(CompressionSpec::None, "none").await;
}

async fn all_sizes(compression: CompressionSpec, test: &str) {
    let mut chance = Chance::new(test);
    for size in [
        0,
        1,
        64 * KIB - 1,
        64 * KIB,
        64 * KIB + 1,
        5 * MIB - 1,
        5 * MIB + 1,
        23 * MIB,
    ] {
        let content = chance.noise(size);
        for sealed in ENVELOPES {
            comes_back(&content, compression, sealed, &mut chance).await;
        }
    }
}

async fn comes_back(
    content: &[u8],
    compression: CompressionSpec,
    sealed: Sealed,
    chance: &mut Chance,
) {
    let what = format!("{} bytes, {compression:?}, {sealed:?}", content.len());
    let world = World::new();
    let storages = [world.storage("one"), world.storage("two")];
    let input = source(chance.pieces(content), Last::End);
    let written = world
        .write(input, compression, sealed, &storages, unwatched())
        .await
        .unwrap_or_else(|failure| panic!("{what}: {failure}"));

    assert_eq!(codes(&written.ends), ["ok", "ok"], "{what}");
    assert_eq!(written.content_bytes, content.len() as u64, "{what}");
    assert_eq!(world.files().len(), 2, "{what}: {:?}", world.files());
    for storage in ["one", "two"] {
        let stored = read_file(&world.object(storage, sealed));
        assert_eq!(written.stored_bytes, stored.len() as u64, "{what}");
        assert_eq!(written.stored_sha256, sha256(&stored), "{what}");
    }

    let expected = recorded(&written, sealed);
    let input = world.input("two", sealed);
    let read = check_it(&input, &expected, &world.keyring).await.unwrap();
    let opened = read.opened.expect("the key fits");
    assert_eq!(opened.content_bytes, written.content_bytes, "{what}");
    assert_eq!(opened.payload_sha256, written.payload_sha256, "{what}");
    assert_eq!(opened.payload_bytes, written.payload_bytes, "{what}");
    assert_eq!(read.stored_sha256, written.stored_sha256, "{what}");

    let known = read_all(input, expected, &world.keyring).await.unwrap();
    assert!(known == content, "{what}: other content came back");
    if content.len() < MIB {
        // A file of which nothing is recorded: its name and its first bytes must do.
        let file = Input::file(world.object("one", sealed));
        let strange = read_all(file, Expected::default(), &world.keyring).await;
        assert!(
            strange.unwrap() == content,
            "{what}: other content came back"
        );
    }
}

#[tokio::test]
async fn an_object_of_growing_parts_is_whole() {
    let mut chance = Chance::new("growing");
    let world = World::new();
    let content = chance.noise(60 * MIB);
    let recipe = Recipe {
        compression: CompressionSpec::None,
        seal: world.seal(Sealed::V2),
        limits: Limits {
            part_growth: PartGrowth {
                small: 2,
                small_and_medium: 3,
            },
            ..Limits::default()
        },
    };
    let targets = world.targets(Sealed::V2, &[world.storage("one")]);
    let input = source(chance.pieces(&content), Last::End);
    let written = write(input, recipe, targets, unwatched()).await.unwrap();
    let expected = recorded(&written, Sealed::V2);
    let back = read_all(world.input("one", Sealed::V2), expected, &world.keyring).await;
    assert!(back.unwrap() == content);
}

#[tokio::test]
async fn the_same_content_gives_the_same_gzip_without_name_and_time() {
    let content = Chance::new("gzip header").sql(3 * MIB);
    let mut objects = Vec::new();
    for _ in 0..2 {
        let world = World::new();
        let input = source(vec![content.clone().into()], Last::End);
        let gzip = CompressionSpec::Gzip { level: 6 };
        let storages = [world.storage("one")];
        world
            .write(input, gzip, Sealed::None, &storages, unwatched())
            .await
            .unwrap();
        objects.push(read_file(&world.object("one", Sealed::None)));
    }
    assert_eq!(objects[0], objects[1]);
    assert_eq!(objects[0][..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let mut back = Vec::new();
    flate2::read::GzDecoder::new(&objects[0][..])
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == content);
}

#[tokio::test]
async fn a_second_gzip_member_and_a_second_zstd_frame_belong_to_the_content() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (vec![7_u8; 300_000], b"and then".to_vec());
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
        let mut out = Vec::new();
        gzip.read_to_end(&mut out).unwrap();
        out
    };
    let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    for (name, stored) in [
        ("a.gz", [gzip(&first), gzip(&second)].concat()),
        ("a.zst", [zstd(&first), zstd(&second)].concat()),
    ] {
        let path = place.path().join(name);
        std::fs::write(&path, stored).unwrap();
        let keyring = super::keyring("unused");
        let back = read_all(Input::file(path), Expected::default(), &keyring).await;
        assert!(back.unwrap() == [&first[..], &second].concat(), "{name}");
    }
}

#[tokio::test]
async fn progress_never_goes_back_and_ends_at_the_totals() {
    let world = World::new();
    let content = Chance::new("progress").sql(9 * MIB);
    let last = Arc::new(Mutex::new(Tick::default()));
    let fell = Arc::new(AtomicBool::new(false));
    let tick = {
        let (last, fell) = (Arc::clone(&last), Arc::clone(&fell));
        move |tick: Tick| {
            let mut last = last.lock().unwrap();
            // Two threads count; each sees its own count grow.
            let grew =
                tick.content_bytes >= last.content_bytes || tick.stored_bytes >= last.stored_bytes;
            fell.fetch_or(!grew, Ordering::Relaxed);
            last.content_bytes = last.content_bytes.max(tick.content_bytes);
            last.stored_bytes = last.stored_bytes.max(tick.stored_bytes);
        }
    };
    let watch = Watch::new(CancellationToken::new(), Arc::new(tick));
    let input = source(vec![content.into()], Last::End);
    let storages = [world.storage("one")];
    let written = world
        .write(input, ZSTD, Sealed::V2, &storages, watch)
        .await
        .unwrap();
    let last = *last.lock().unwrap();
    assert_eq!(last.content_bytes, written.content_bytes);
    assert_eq!(last.stored_bytes, written.stored_bytes);
    assert!(!fell.load(Ordering::Relaxed));
}
