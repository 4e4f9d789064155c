//! What goes in comes out, whatever its size and form; and what the run says of it is true.

use std::{
    io::Read as _,
    sync::{Arc, Mutex},
};

use kanbu_backup::{
    crypto::{HEADER_BYTES, NewSlot, rewrap},
    pipeline::{
        CompressionSpec, Expected, Input, Limits, PartGrowth, Recipe, Sealed, Tick, Watch, write,
    },
    storage::ObjectKey,
};
use tokio_util::sync::CancellationToken;

use super::{
    Chance, ENVELOPES, Last, World, ZSTD, check_it, codes, keyring, read_all, read_file, recorded,
    sha256, source, unwatched,
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
    let known = read_all(world.input("two", sealed), expected.clone(), &world.keyring).await;
    assert!(known.unwrap() == content, "{what}: other content came back");
    // Unoptimised ciphers are slow: the other two readers get only what is small.
    if content.len() > MIB {
        return;
    }
    let input = world.input("one", sealed);
    let read = check_it(&input, &expected, &world.keyring).await.unwrap();
    let opened = read.opened.expect("the key fits");
    assert_eq!(opened.content_bytes, written.content_bytes, "{what}");
    assert_eq!(opened.payload_sha256, written.payload_sha256, "{what}");
    assert_eq!(opened.payload_bytes, written.payload_bytes, "{what}");
    assert_eq!(read.stored_sha256, written.stored_sha256, "{what}");
    // A file of which nothing is recorded: its name and its first bytes must do.
    let file = Input::file(world.object("one", sealed));
    let strange = read_all(file, Expected::default(), &world.keyring).await;
    assert!(
        strange.unwrap() == content,
        "{what}: other content came back"
    );
}

#[tokio::test]
async fn an_object_of_growing_parts_is_whole() {
    let mut chance = Chance::new("growing");
    let world = World::new();
    let content = chance.noise(60 * MIB);
    let recipe = Recipe {
        compression: CompressionSpec::None,
        seal: world.seal(Sealed::None),
        limits: Limits {
            part_growth: PartGrowth {
                small: 2,
                small_and_medium: 3,
                ..PartGrowth::default()
            },
            ..Limits::default()
        },
    };
    let targets = world.targets(Sealed::None, &[world.storage("one")]);
    let input = source(chance.pieces(&content), Last::End);
    let written = write(input, recipe, targets, unwatched()).await.unwrap();
    let expected = recorded(&written, Sealed::None);
    let back = read_all(world.input("one", Sealed::None), expected, &world.keyring).await;
    assert!(back.unwrap() == content);
}

#[tokio::test]
async fn a_sidecar_that_is_named_is_used_if_it_is_there_and_refused_if_it_is_none() {
    let world = World::new();
    let content = Chance::new("sidecar").sql(100 * KIB);
    let input = source(vec![content.clone().into()], Last::End);
    let storages = [world.storage("one")];
    let written = world.write(input, ZSTD, Sealed::V2, &storages, unwatched());
    let expected = recorded(&written.await.unwrap(), Sealed::V2);

    let data = world.object("one", Sealed::V2);
    let ObjectKey::Data { folder, name } = world.key(Sealed::V2) else {
        panic!("not a data object")
    };
    let file = Input::file(&data);
    let object = Input::Object {
        storage: world.storage("one"),
        key: world.key(Sealed::V2),
        sidecar: Some(ObjectKey::Sidecar { folder, name }),
    };
    let new_key = keyring("the next passphrase");
    let header = &read_file(&data)[..HEADER_BYTES];
    let sidecar = rewrap(header, None, &world.keyring, &[NewSlot::Wrap(&new_key)]).unwrap();

    for input in [file, object] {
        let path = data.with_file_name("dump.kbk.khdr");
        let absent = read_all(input.clone(), expected.clone(), &world.keyring).await;
        assert!(absent.unwrap() == content);

        std::fs::write(&path, &sidecar).unwrap();
        let rewrapped = read_all(input.clone(), expected.clone(), &new_key).await;
        assert!(rewrapped.unwrap() == content);
        let opened = check_it(&input, &expected, &new_key).await.unwrap().opened;
        assert_eq!(opened.unwrap().generation, Some(2));

        std::fs::write(&path, [&sidecar[..], b"longer"].concat()).unwrap();
        let longer = read_all(input, expected.clone(), &new_key).await;
        assert_eq!(longer.unwrap_err().code, "envelope.sidecar_invalid");
        std::fs::remove_file(&path).unwrap();
    }
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
async fn progress_ends_at_the_totals() {
    let world = World::new();
    let content = Chance::new("progress").sql(9 * MIB);
    let furthest = Arc::new(Mutex::new(Tick::default()));
    let seen = Arc::clone(&furthest);
    let tick = move |tick: Tick| {
        // Two threads tell, so one may be told late.
        let mut seen = seen.lock().unwrap();
        seen.content_bytes = seen.content_bytes.max(tick.content_bytes);
        seen.stored_bytes = seen.stored_bytes.max(tick.stored_bytes);
    };
    let watch = Watch::new(CancellationToken::new(), Arc::new(tick));
    let input = source(vec![content.into()], Last::End);
    let storages = [world.storage("one")];
    let written = world
        .write(input, ZSTD, Sealed::V2, &storages, watch)
        .await
        .unwrap();
    let furthest = *furthest.lock().unwrap();
    assert_eq!(furthest.content_bytes, written.content_bytes);
    assert_eq!(furthest.stored_bytes, written.stored_bytes);
}
