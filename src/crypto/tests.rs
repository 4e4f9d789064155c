//! The writer against the vectors: with the same random values it makes the same bytes.
//!
//! Here and not in `tests/`, because nothing outside this module may choose what a file's random values are.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    data_key::DataKey,
    header::{HEADER_BYTES, Header},
    sealer::Recipe,
    secret::Secret,
    sidecar::{SlotSource, rewrap_header},
    slot::{SlotKind, Wrap},
    *,
};

fn vectors(file: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "tests/vectors/envelope-v2",
        file,
    ]
    .iter()
    .collect()
}

fn json(file: &str) -> Value {
    serde_json::from_slice(&fs::read(vectors(file)).unwrap()).unwrap()
}

/// Block j of the payload is SHA-256(seed ‖ j).
pub(super) fn payload(seed: &str, bytes: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..bytes.div_ceil(32) as u64)
        .flat_map(|block| Sha256::digest([seed.as_bytes(), &block.to_be_bytes()].concat()))
        .collect();
    payload.truncate(bytes);
    payload
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn bytes<const N: usize>(value: &Value, member: &str) -> [u8; N] {
    hex::decode(text(value, member))
        .unwrap()
        .try_into()
        .unwrap()
}

/// The files of the specification and what they were made from.
struct Vectors {
    spec: Value,
    made_from: Value,
    /// Keyrings by name of the secret, so that each passphrase is derived once per salt.
    rings: BTreeMap<String, Keyring>,
}

impl Vectors {
    fn read() -> Self {
        let spec = json("spec.json");
        let secrets = spec["secrets"].as_object().unwrap();
        let rings = secrets
            .iter()
            .map(|(name, secret)| {
                let key = KeyMaterial::parse(secret.as_str().unwrap()).unwrap();
                (name.clone(), Keyring::new(Some(key), Vec::new()))
            })
            .collect();
        Self {
            made_from: json("manifest.json")["made_from"].take(),
            rings,
            spec,
        }
    }

    fn file(&self, name: &str) -> &Value {
        let files = self.spec["files"].as_array().unwrap();
        files.iter().find(|file| file["name"] == name).unwrap()
    }

    fn ring(&self, slot: &Value) -> &Keyring {
        let name = slot["key"].as_str().or(slot["passphrase"].as_str());
        &self.rings[name.unwrap()]
    }

    fn wrap(&self, slot: &Value, made: &Value) -> Wrap {
        let salt = bytes(made, "passphrase_salt");
        let iterations = u32::try_from(made["iterations"].as_u64().unwrap()).unwrap();
        let kind = if slot["key"].is_string() {
            SlotKind::Raw
        } else {
            SlotKind::Passphrase
        };
        let master = self
            .ring(slot)
            .masters(kind, salt, iterations)
            .next()
            .unwrap();
        match kind {
            SlotKind::Raw => Wrap::raw(master, bytes(made, "kek_salt")),
            SlotKind::Passphrase => {
                Wrap::passphrase(master, salt, iterations, bytes(made, "kek_salt"))
            }
        }
    }

    fn recipe(&self, name: &str) -> Recipe {
        let made = &self.made_from[name];
        let slots = self.file(name)["slots"].as_array().unwrap();
        let made_slots = made["slots"].as_array().unwrap();
        Recipe {
            chunk_exponent: u8::try_from(made["chunk_exponent"].as_u64().unwrap()).unwrap(),
            metadata: hex::decode(text(made, "metadata_hex")).unwrap(),
            data_key: DataKey::from(Secret::from_hex(text(made, "dek")).unwrap()),
            file_salt: bytes(made, "file_salt"),
            wraps: slots
                .iter()
                .zip(made_slots)
                .map(|(slot, made)| self.wrap(slot, made))
                .collect(),
        }
    }

    /// Files that somebody may open, and that were written whole rather than altered.
    fn good(&self) -> Vec<String> {
        let cases = json("manifest.json")["cases"].take();
        let mut names: Vec<String> = cases
            .as_array()
            .unwrap()
            .iter()
            .filter(|case| case["expect"] == "ok")
            .map(|case| text(case, "file").to_owned())
            .filter(|name| {
                self.made_from[name]["payload_seed"].is_string()
                    && !self.file(name)["slots"]
                        .to_string()
                        .contains("wraps_other_dek")
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

#[test]
fn the_writer_makes_each_good_vector_again_byte_for_byte() {
    let vectors_read = Vectors::read();
    let names = vectors_read.good();
    assert!(names.len() >= 20, "only {names:?}");
    for name in names {
        let made = &vectors_read.made_from[&name];
        let mut sealer = Sealer::from_recipe(&vectors_read.recipe(&name)).unwrap();
        let length = usize::try_from(made["payload_bytes"].as_u64().unwrap()).unwrap();
        let mut out = Vec::new();
        sealer
            .push(&payload(text(made, "payload_seed"), length), &mut out)
            .unwrap();
        sealer.finish(&mut out).unwrap();
        let expected = fs::read(vectors(&name)).unwrap();
        assert!(out == expected, "{name} came out differently");
    }
}

#[test]
fn the_rewrapped_headers_are_made_again_byte_for_byte() {
    let vectors_read = Vectors::read();
    let mut made_again = 0;
    for (name, made) in vectors_read.made_from.as_object().unwrap() {
        let Some(source) = made["rewrap_of"].as_str() else {
            continue;
        };
        let slots = vectors_read.file(name)["slots"].as_array().unwrap();
        let sources: Vec<SlotSource> = slots
            .iter()
            .zip(made["slots"].as_array().unwrap())
            .map(|(slot, made)| match slot["keep"].as_u64() {
                Some(index) => SlotSource::Keep(usize::try_from(index).unwrap()),
                None => SlotSource::Wrap(vectors_read.wrap(slot, made)),
            })
            .collect();
        let file = fs::read(vectors(source)).unwrap();
        let opening = vectors_read.ring(&vectors_read.file(source)["slots"][0]);
        let generation = u32::try_from(made["generation"].as_u64().unwrap()).unwrap();
        let header = Header::parse(&file).unwrap();
        let new = rewrap_header(header, opening, &sources, generation).unwrap();
        assert!(
            new == fs::read(vectors(name)).unwrap(),
            "{name} came out differently"
        );
        made_again += 1;
    }
    assert_eq!(made_again, 3);
}

#[test]
fn the_manifest_seals_are_made_again() {
    let vectors_read = Vectors::read();
    for (manifest, file) in [
        ("base.manifest.json", "base.kbk"),
        ("chunks-3.manifest.json", "chunks-3.kbk"),
    ] {
        let sealer = Sealer::from_recipe(&vectors_read.recipe(file)).unwrap();
        let stored = fs::read_to_string(vectors(manifest)).unwrap();
        let seal = serde_json::from_str::<Value>(&stored).unwrap()["seal"].take();
        let unsealed = stored.replace(seal.as_str().unwrap(), &"0".repeat(64));
        assert_eq!(sealer.manifest_key().seal(unsealed.as_bytes()), seal);
    }
}

#[test]
fn the_check_values_of_the_format_document_hold() {
    let file = fs::read(vectors("size-1.kbk")).unwrap();
    let recipe = Vectors::read().recipe("size-1.kbk");
    let core = file[..48].try_into().unwrap();
    assert_eq!(
        hex::encode(recipe.data_key.commitment(&core)),
        "3a6e706c24ede72748016cc22440533f21724f383f208338ae35bbfcf35ed090"
    );
    assert_eq!(
        hex::encode(recipe.data_key.header_mac(&core, &file[..4064])),
        "257205d5b9963aafde5deba568754cfc015d994704e977f1321afb8a99febb1b"
    );
    assert_eq!(
        recipe.wraps[0].key_id().to_string(),
        "de81084388c151fae06b71e123bc8c9a"
    );
    assert_eq!(
        hex::encode(Sha256::digest(&file)),
        "a555db6916a430e59ea94d9d404236c7b7a43c7fc1dd5be5d304edb17a95fd60"
    );
}

/// Sizes that matter are those around whole chunks.
fn size_around_chunks() -> impl Strategy<Value = usize> {
    let chunk = 65536_usize;
    (0..4_usize, -2..3_isize)
        .prop_map(move |(chunks, off)| (chunks * chunk).saturating_add_signed(off))
}

/// Shared, so that what is derived for it is derived once.
fn ring() -> &'static Keyring {
    static RING: LazyLock<Keyring> = LazyLock::new(|| {
        let key = KeyMaterial::parse(&"07".repeat(32)).unwrap();
        Keyring::new(Some(key), Vec::new())
    });
    &RING
}

fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn piece_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(
        prop_oneof![1..40_usize, 4000..4200_usize, 65000..140_000_usize],
        1..8,
    )
    .prop_map(|mut sizes| {
        // One large piece in each round keeps a run of single bytes from taking for ever.
        sizes.push(70_001);
        sizes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_sealed_in_any_pieces_opens_in_any_other(
        size in size_around_chunks(),
        in_sizes in piece_sizes(),
        out_sizes in piece_sizes(),
    ) {
        let payload = payload("round trip", size);
        let ring = ring();
        let (mut sealer, mut file) = (Sealer::new(ring, &Metadata::default()).unwrap(), Vec::new());
        for piece in pieces(&payload, &in_sizes) {
            sealer.push(piece, &mut file).unwrap();
        }
        let summary = sealer.finish(&mut file).unwrap();
        let chunks = size.div_ceil(65536).max(1);
        prop_assert_eq!(file.len(), HEADER_BYTES + size + 16 * chunks);
        prop_assert_eq!(summary.stored_bytes, file.len() as u64);

        let (mut opener, mut out) = (Opener::new(ring, OpenOptions::default()), Vec::new());
        for piece in pieces(&file, &out_sizes) {
            opener.push(piece, &mut out).unwrap();
        }
        let end = opener.finish(&mut out).unwrap();
        prop_assert_eq!((end.payload_bytes, end.stored_bytes), (size as u64, file.len() as u64));
        prop_assert!(out == payload, "the payload came out differently");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_and_what_was_released_is_a_true_beginning(
        size in size_around_chunks(),
        cut in any::<prop::sample::Index>(),
        sizes in piece_sizes(),
    ) {
        let payload = payload("cut", size);
        let ring = ring();
        let (mut sealer, mut file) = (Sealer::new(ring, &Metadata::default()).unwrap(), Vec::new());
        sealer.push(&payload, &mut file).unwrap();
        sealer.finish(&mut file).unwrap();
        let keep = cut.index(file.len());

        let (mut opener, mut out) = (Opener::new(ring, OpenOptions::default()), Vec::new());
        for piece in pieces(&file[..keep], &sizes) {
            let _ = opener.push(piece, &mut out);
        }
        prop_assert!(opener.finish(&mut out).is_err(), "{keep} of {} bytes were accepted", file.len());
        prop_assert!(payload.starts_with(&out), "other bytes than the payload's were released");
    }

    #[test]
    fn a_legacy_file_written_in_any_pieces_opens_in_any_other(
        size in 0..200_000_usize,
        in_sizes in piece_sizes(),
        out_sizes in piece_sizes(),
    ) {
        let payload = payload("legacy", size);
        let ring = ring();
        let (mut sealer, mut file) = (LegacySealer::new(ring).unwrap(), Vec::new());
        for piece in pieces(&payload, &in_sizes) {
            sealer.push(piece, &mut file).unwrap();
        }
        sealer.finish(&mut file).unwrap();
        prop_assert_eq!(file.len(), size + 32);

        let mut check = LegacyCheck::new(ring);
        for piece in pieces(&file, &in_sizes) {
            check.push(piece).unwrap();
        }
        let (mut opener, mut out) = (LegacyOpener::new(check.finish().unwrap()), Vec::new());
        for piece in pieces(&file, &out_sizes) {
            opener.push(piece, &mut out).unwrap();
        }
        prop_assert_eq!(opener.finish().unwrap(), size as u64);
        prop_assert!(out == payload, "the payload came out differently");
    }
}
