//! What is not exactly what was written is refused: before a byte is handed on where that is possible, before `End` always.

use std::fs;

use kanbu_backup::{
    fault::Failure,
    pipeline::{Compression, CompressionSpec, Expected, Input, Sealed, Written},
};

use super::{
    Chance, ENVELOPES, Last, World, ZSTD, check_it, drain, keyring, read_all, read_file, recorded,
    source, unwatched,
};

const KIB: usize = 1024;

struct Stored {
    world: World,
    written: Written,
    sealed: Sealed,
    bytes: Vec<u8>,
}

impl Stored {
    async fn of(content: Vec<u8>, compression: CompressionSpec, sealed: Sealed) -> Self {
        let world = World::new();
        let input = source(vec![content.into()], Last::End);
        let storages = [world.storage("one")];
        let written = world
            .write(input, compression, sealed, &storages, unwatched())
            .await;
        Self {
            bytes: read_file(&world.object("one", sealed)),
            written: written.unwrap(),
            world,
            sealed,
        }
    }

    fn recorded(&self) -> Expected {
        recorded(&self.written, self.sealed)
    }

    /// Nothing but the form is known, as of a file whose catalog and manifest are lost.
    fn unrecorded(&self) -> Expected {
        Expected {
            sealed: self.sealed,
            compression: Some(Compression::Zstd),
            ..Expected::default()
        }
    }

    fn input(&self) -> Input {
        self.world.input("one", self.sealed)
    }

    /// Replaces the stored bytes; both readers must refuse. Returns why.
    async fn refused(&self, bytes: &[u8], expected: &Expected, what: &str) -> Failure {
        fs::write(self.world.object("one", self.sealed), bytes).unwrap();
        let keyring = &self.world.keyring;
        let checked = check_it(&self.input(), expected, keyring).await;
        assert!(
            checked.is_err(),
            "{:?}, {what}: passed the check",
            self.sealed
        );
        let read = read_all(self.input(), expected.clone(), keyring).await;
        read.err()
            .unwrap_or_else(|| panic!("{:?}, {what}: was called complete", self.sealed))
    }
}

#[tokio::test]
async fn an_object_with_one_flipped_bit_is_refused() {
    let mut chance = Chance::new("flip");
    for sealed in ENVELOPES {
        let stored = Stored::of(chance.sql(700 * KIB), ZSTD, sealed).await;
        for round in 0..50 {
            let at = if round < 10 {
                // The beginning holds the headers, where a bit matters most.
                chance.below(4096.min(stored.bytes.len()))
            } else {
                chance.below(stored.bytes.len())
            };
            let bit = chance.below(8);
            let mut bytes = stored.bytes.clone();
            bytes[at] ^= 1 << bit;
            let what = format!("bit {bit} of byte {at}");
            stored.refused(&bytes, &stored.recorded(), &what).await;
            if sealed != Sealed::None && (round >= 10 || sealed == Sealed::V1) {
                let failure = stored.refused_by_itself(&bytes, &what).await;
                let code = match sealed {
                    Sealed::V1 => "envelope.legacy_auth",
                    _ if at < 4096 => continue,
                    _ => "envelope.chunk_auth",
                };
                assert_eq!(failure.code, code, "{what}");
            }
        }
    }
}

impl Stored {
    /// By its envelope alone. Only the reader that hands content on: a check may end at "no key fits".
    async fn refused_by_itself(&self, bytes: &[u8], what: &str) -> Failure {
        fs::write(self.world.object("one", self.sealed), bytes).unwrap();
        let read = read_all(self.input(), self.unrecorded(), &self.world.keyring).await;
        read.err()
            .unwrap_or_else(|| panic!("{:?}, {what}: was called complete", self.sealed))
    }
}

#[tokio::test]
async fn an_object_cut_anywhere_is_refused() {
    let mut chance = Chance::new("cut");
    let content = chance.noise(200 * KIB);
    for sealed in ENVELOPES {
        let stored = Stored::of(content.clone(), ZSTD, sealed).await;
        let whole = stored.bytes.len();
        let mut cuts = vec![
            0,
            1,
            8,
            32,
            4095,
            4096,
            4096 + 16,
            whole - 17,
            whole - 16,
            whole - 1,
        ];
        // The ends of whole chunks of envelope v2.
        cuts.extend((1..=3).map(|chunk| 4096 + chunk * (64 * KIB + 16)));
        cuts.extend((0..10).map(|_| chance.below(whole)));
        for cut in cuts {
            let what = format!("cut to {cut} of {whole}");
            let bytes = &stored.bytes[..cut];
            let failure = stored.refused(bytes, &stored.recorded(), &what).await;
            assert_eq!(failure.code, "envelope.length_mismatch", "{what}");
            stored.refused(bytes, &stored.unrecorded(), &what).await;
        }
    }
}

#[tokio::test]
async fn an_object_with_bytes_after_its_end_is_refused() {
    let mut chance = Chance::new("tail");
    for sealed in ENVELOPES {
        let stored = Stored::of(chance.noise(130 * KIB), ZSTD, sealed).await;
        for tail in [&b"\0"[..], b"something else", &vec![7; 70_000]] {
            let longer = [&stored.bytes[..], tail].concat();
            let what = format!("{} bytes more", tail.len());
            stored.refused(&longer, &stored.recorded(), &what).await;
            stored.refused(&longer, &stored.unrecorded(), &what).await;
        }
    }
}

#[tokio::test]
async fn compressed_data_that_ends_in_the_middle_is_refused_though_its_envelope_is_whole() {
    let content = Chance::new("inner cut").sql(300 * KIB);
    let zstd = zstd::stream::encode_all(&content[..], 3).unwrap();
    let gzip = {
        use std::io::Read as _;
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(&content[..], flate2::Compression::fast())
            .read_to_end(&mut out)
            .unwrap();
        out
    };
    for (payload, compression) in [(zstd, Compression::Zstd), (gzip, Compression::Gzip)] {
        for cut in [0, 1, 3, payload.len() / 2, payload.len() - 1] {
            for sealed in ENVELOPES {
                let payload = payload[..cut].to_vec();
                let stored = Stored::of(payload, CompressionSpec::None, sealed).await;
                let expected = Expected {
                    compression: Some(compression),
                    ..stored.recorded()
                };
                let failure = stored.refused(&stored.bytes, &expected, "cut inside").await;
                assert_eq!(
                    failure.code, "pipeline.compressed_truncated",
                    "{compression:?} at {cut}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_opens_nothing_and_says_so_before_any_content() {
    let wrong = keyring("another passphrase");
    let content = Chance::new("wrong key").sql(200 * KIB);
    for (sealed, code) in [
        (Sealed::V2, "key.no_match"),
        (Sealed::V1, "envelope.legacy_auth"),
    ] {
        let stored = Stored::of(content.clone(), ZSTD, sealed).await;
        for expected in [stored.recorded(), stored.unrecorded()] {
            let opened =
                kanbu_backup::pipeline::open(stored.input(), expected, wrong.clone(), unwatched());
            assert_eq!(opened.await.unwrap_err().code, code);
        }
        let none = kanbu_backup::crypto::Keyring::new(None, Vec::new());
        for keyring in [&wrong, &none] {
            let read = check_it(&stored.input(), &stored.recorded(), keyring)
                .await
                .unwrap();
            assert!(read.opened.is_none());
            assert_eq!(read.stored_sha256, stored.written.stored_sha256);
        }
        // Without a key a check still sees damage, by the recorded hash.
        let mut bytes = stored.bytes.clone();
        bytes[5000] ^= 1;
        fs::write(stored.world.object("one", sealed), bytes).unwrap();
        let failure = check_it(&stored.input(), &stored.recorded(), &wrong)
            .await
            .unwrap_err();
        assert_eq!(failure.code, "pipeline.stored_digest_mismatch");
    }
}

#[tokio::test]
async fn content_that_is_not_the_recorded_one_never_ends_well() {
    let content = Chance::new("record").sql(900 * KIB);
    for sealed in ENVELOPES {
        let stored = Stored::of(content.clone(), ZSTD, sealed).await;
        let right = stored.recorded();
        for (expected, code) in [
            (
                Expected {
                    payload_sha256: Some([1; 32]),
                    ..right.clone()
                },
                "envelope.digest_mismatch",
            ),
            (
                Expected {
                    stored_sha256: Some([1; 32]),
                    ..right.clone()
                },
                "pipeline.stored_digest_mismatch",
            ),
            (
                Expected {
                    payload_bytes: Some(1),
                    ..right.clone()
                },
                "envelope.length_mismatch",
            ),
            (
                Expected {
                    stored_bytes: Some(1),
                    ..right.clone()
                },
                "envelope.length_mismatch",
            ),
        ] {
            let failure = stored.refused(&stored.bytes, &expected, code).await;
            assert_eq!(failure.code, code, "{sealed:?}");
        }
        read_all(stored.input(), right, &stored.world.keyring)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_plain_object_does_not_pass_for_an_encrypted_one() {
    let stored = Stored::of(Chance::new("plain").sql(90 * KIB), ZSTD, Sealed::None).await;
    let expected = Expected {
        sealed: Sealed::V2,
        ..stored.recorded()
    };
    let failure = stored.refused(&stored.bytes, &expected, "plain").await;
    assert_eq!(failure.code, "envelope.not_kbk2");
}

#[tokio::test]
async fn nothing_of_a_damaged_legacy_file_is_handed_on() {
    let stored = Stored::of(Chance::new("v1").sql(3000 * KIB), ZSTD, Sealed::V1).await;
    let mut bytes = stored.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(stored.world.object("one", Sealed::V1), bytes).unwrap();
    let keyring = stored.world.keyring.clone();
    let opened =
        kanbu_backup::pipeline::open(stored.input(), stored.unrecorded(), keyring, unwatched())
            .await;
    assert_eq!(opened.unwrap_err().code, "envelope.legacy_auth");
}

#[tokio::test]
async fn a_cancelled_reader_says_so_and_never_ends_well() {
    let content = Chance::new("cancelled reader").sql(9000 * KIB);
    let stored = Stored::of(content, ZSTD, Sealed::V2).await;
    let watch = unwatched();
    let cancel = watch.cancel.clone();
    let keyring = stored.world.keyring.clone();
    let opened = kanbu_backup::pipeline::open(stored.input(), stored.recorded(), keyring, watch);
    let content = opened.await.unwrap();
    cancel.cancel();
    let (_, end) = drain(content).await;
    assert_eq!(end.unwrap_err().code, "execution.cancelled");
}

#[tokio::test]
async fn an_object_that_is_not_there_is_an_error_of_its_storage() {
    let world = World::new();
    let read = read_all(
        world.input("one", Sealed::V2),
        Expected::default(),
        &world.keyring,
    )
    .await;
    assert_eq!(read.unwrap_err().code, "storage.not_found");
    let file = Input::file(world.place.path().join("absent.kbk"));
    let read = read_all(file, Expected::default(), &world.keyring).await;
    assert_eq!(read.unwrap_err().code, "pipeline.file");
}
