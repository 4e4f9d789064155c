//! Both envelopes against the vectors, and against the stand-alone decryptors that lie beside the backups.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kanbu_backup::crypto::{
    Claim, EnvelopeError, KeyMaterial, Keyring, LegacyCheck, LegacyOpener, ManifestKey, Metadata,
    NewSlot, OpenOptions, Opener, Sealer, is_kbk2, rewrap, verify_seal,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const RAW: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn vector(set: &str, file: &str) -> Vec<u8> {
    fs::read(repository("tests/vectors").join(set).join(file)).unwrap()
}

fn json_vector(set: &str) -> Value {
    serde_json::from_slice(&vector(set, "manifest.json")).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn keyring(keys: &[&str]) -> Keyring {
    let mut keys = keys.iter().map(|text| KeyMaterial::parse(text).unwrap());
    Keyring::new(keys.next(), keys.collect())
}

/// Block j of a vector's payload is SHA-256(seed ‖ j).
fn payload(seed: &str, bytes: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..bytes.div_ceil(32) as u64)
        .flat_map(|block| Sha256::digest([seed.as_bytes(), &block.to_be_bytes()].concat()))
        .collect();
    payload.truncate(bytes);
    payload
}

/// How a file is cut before it is pushed.
enum Cut {
    Whole,
    Random(SplitMix),
}

impl Cut {
    /// Random pieces, the same again for the same `TEST_SEED`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own setting, to replay what failed"
    )]
    fn random() -> Self {
        let seed = std::env::var("TEST_SEED").map_or_else(
            |_| getrandom::u64().unwrap(),
            |text| text.parse().expect("TEST_SEED is not a number"),
        );
        println!("random pieces: replay with TEST_SEED={seed}");
        Self::Random(SplitMix(seed))
    }

    fn pieces<'a>(&mut self, mut file: &'a [u8]) -> Vec<&'a [u8]> {
        let Self::Random(random) = self else {
            return vec![file];
        };
        let mut pieces = Vec::new();
        while !file.is_empty() {
            let most = [20, 5_000, 150_000][random.below(3)];
            let (piece, rest) = file.split_at((1 + random.below(most)).min(file.len()));
            pieces.push(piece);
            file = rest;
        }
        pieces
    }
}

/// A generator of numbers for tests: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % limit as u64).unwrap()
    }
}

// ---- Envelope v2 ----------------------------------------------------------------------------------------------------

const V2: &str = "envelope-v2";

fn sidecar(case: &Value) -> Option<Vec<u8>> {
    if case["no_sidecar"] == true {
        return None;
    }
    let named = case["header"].as_str().map(str::to_owned);
    let beside = format!("{}.khdr", text(case, "file"));
    let name = named.or_else(|| {
        let exists = repository("tests/vectors").join(V2).join(&beside).exists();
        exists.then_some(beside)
    })?;
    Some(vector(V2, &name))
}

/// Reads a case as a reader does. What was released is in `out` whether or not the file is accepted.
fn open_case(
    case: &Value,
    keyring: &Keyring,
    cut: &mut Cut,
    out: &mut Vec<u8>,
) -> Result<(), EnvelopeError> {
    let options = OpenOptions {
        sidecar: sidecar(case),
        minimum_generation: case["expect_generation"]
            .as_u64()
            .map(|generation| u32::try_from(generation).unwrap()),
    };
    let mut opener = Opener::new(keyring, options);
    for piece in cut.pieces(&vector(V2, text(case, "file"))) {
        opener.push(piece, out)?;
    }
    let end = opener.finish(out)?;
    assert_eq!(end.payload_bytes, out.len() as u64);
    let Some(name) = case["manifest"].as_str() else {
        return Ok(());
    };
    let manifest = vector(V2, name);
    verify_seal(&manifest, &end.manifest_key)?;
    let envelope = serde_json::from_slice::<Value>(&manifest).unwrap()["envelope"].take();
    let digest = hex::decode(text(&envelope, "payload_sha256")).unwrap();
    let claim = Claim {
        stored_bytes: envelope["bytes"].as_u64(),
        payload_bytes: envelope["payload_bytes"].as_u64(),
        payload_sha256: Some(digest.try_into().unwrap()),
    };
    claim.check(
        end.stored_bytes,
        end.payload_bytes,
        &Sha256::digest(&*out).into(),
    )
}

/// The payload that a file was made from before somebody altered it.
fn original_payload(made_from: &Value, file: &str) -> Vec<u8> {
    let mut made = &made_from[file];
    while let Some(source) = made["from"].as_str() {
        made = &made_from[source];
    }
    let bytes = usize::try_from(made["payload_bytes"].as_u64().unwrap()).unwrap();
    payload(text(made, "payload_seed"), bytes)
}

#[test]
fn every_v2_vector_ends_as_its_manifest_says_in_one_piece_and_in_random_ones() {
    let manifest = json_vector(V2);
    let cases = manifest["cases"].as_array().unwrap();
    assert!(cases.len() >= 143, "only {} cases", cases.len());
    let mut cuts = [Cut::Whole, Cut::random()];
    // One keyring per combination of secrets, so that each passphrase is derived once per salt.
    let mut keyrings: BTreeMap<Vec<&str>, Keyring> = BTreeMap::new();
    for case in cases {
        let secrets: Vec<&str> = ["key", "passphrase"]
            .iter()
            .filter_map(|kind| case[*kind].as_str())
            .collect();
        let keyring = keyrings
            .entry(secrets)
            .or_insert_with_key(|secrets| keyring(secrets));
        for cut in &mut cuts {
            let mut out = Vec::new();
            let ended = open_case(case, keyring, cut, &mut out);
            let name = text(case, "case");
            if case["expect"] == "ok" {
                ended.unwrap_or_else(|error| panic!("{name}: refused as {}", error.name()));
                let digest = hex::encode(Sha256::digest(&out));
                assert_eq!(
                    digest,
                    text(case, "plaintext_sha256"),
                    "{name}: other bytes"
                );
            } else {
                let error = ended.expect_err(name);
                assert_eq!(error.name(), text(case, "error"), "{name}");
                let original = original_payload(&manifest["made_from"], text(case, "file"));
                let is_beginning = original.starts_with(&out);
                assert!(
                    is_beginning,
                    "{name}: released bytes that were never sealed"
                );
            }
        }
    }
}

// ---- Envelope v1 ----------------------------------------------------------------------------------------------------

fn open_legacy(file: &[u8], keyring: &Keyring, cut: &mut Cut) -> Result<Vec<u8>, EnvelopeError> {
    let mut check = LegacyCheck::new(keyring);
    for piece in cut.pieces(file) {
        check.push(piece)?;
    }
    let (mut opener, mut out) = (LegacyOpener::new(check.finish()?), Vec::new());
    for piece in cut.pieces(file) {
        opener.push(piece, &mut out)?;
    }
    assert_eq!(opener.finish()?, out.len() as u64);
    Ok(out)
}

#[test]
fn every_v1_vector_ends_as_its_manifest_says_in_one_piece_and_in_random_ones() {
    let manifest = json_vector("envelope-v1");
    let keyring = keyring(&[RAW]);
    let mut cuts = [Cut::Whole, Cut::random()];
    for case in manifest["cases"].as_array().unwrap() {
        let name = text(case, "file");
        assert_eq!(text(case, "key"), RAW);
        let file = vector("envelope-v1", name);
        for cut in &mut cuts {
            let opened = open_legacy(&file, &keyring, cut);
            if case["expect"] == "ok" {
                let bytes = usize::try_from(case["plaintext_bytes"].as_u64().unwrap()).unwrap();
                let expected = payload(text(case, "payload_seed"), bytes);
                assert!(opened.unwrap() == expected, "{name}: other bytes");
            } else {
                assert_eq!(opened.unwrap_err().name(), text(case, "error"), "{name}");
            }
        }
    }
}

#[test]
fn the_encrypted_backups_that_kanbu_made_open_and_the_damaged_ones_do_not() {
    let cases = json_vector("kanbu-legacy");
    let mut keyrings: BTreeMap<&str, Keyring> = BTreeMap::new();
    let (mut opened, mut refused) = (0, 0);
    for case in cases.as_array().unwrap() {
        let Some(key) = case["key"].as_str() else {
            continue;
        };
        let name = text(case, "file");
        let file = vector("kanbu-legacy", name);
        assert!(!is_kbk2(&file), "{name} looks like the native format");
        let keyring = keyrings.entry(key).or_insert_with(|| keyring(&[key]));
        match open_legacy(&file, keyring, &mut Cut::Whole) {
            Ok(payload) => {
                let digest = hex::encode(Sha256::digest(payload));
                assert_eq!(digest, text(case, "sha256_before_encryption"), "{name}");
                assert_eq!(text(case, "expect"), "restores", "{name}");
                opened += 1;
            }
            Err(error) => {
                assert_eq!(error, EnvelopeError::LegacyAuth, "{name}");
                assert_eq!(
                    text(case, "expect"),
                    "rejected: authentication fails",
                    "{name}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((opened, refused), (3, 3));
}

// ---- The stand-alone decryptors -------------------------------------------------------------------------------------

/// A file in a directory of its own, with a sealed manifest beside it.
struct Written {
    directory: tempfile::TempDir,
    payload: Vec<u8>,
    bytes: Vec<u8>,
}

impl Written {
    fn new(keyring: &Keyring, payload_bytes: usize) -> Self {
        let payload = payload("stand-alone", payload_bytes);
        let metadata = Metadata {
            kind: Some("database".to_owned()),
            compression: Some("none".to_owned()),
            ..Metadata::default()
        };
        let (mut sealer, mut bytes) = (Sealer::new(keyring, &metadata).unwrap(), Vec::new());
        let manifest_key = sealer.manifest_key();
        sealer.push(&payload, &mut bytes).unwrap();
        sealer.finish(&mut bytes).unwrap();
        let written = Self {
            directory: tempfile::tempdir().unwrap(),
            payload,
            bytes,
        };
        written.put("dump.kbk", &written.bytes);
        written.put("manifest.json", &written.manifest(&manifest_key));
        written
    }

    fn manifest(&self, key: &ManifestKey) -> Vec<u8> {
        let zeros = "0".repeat(64);
        let manifest = json!({
            "object": "dump.kbk",
            "envelope": {
                "format": "kbk2",
                "bytes": self.bytes.len(),
                "payload_bytes": self.payload.len(),
                "payload_sha256": hex::encode(Sha256::digest(&self.payload)),
                "generation": 1,
            },
            "seal": zeros,
        })
        .to_string();
        let seal = key.seal(manifest.as_bytes());
        manifest.replace(&zeros, &seal).into_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn put_damaged(&self, at: usize) {
        let mut bytes = self.bytes.clone();
        bytes[at] ^= 1;
        self.put("dump.kbk", &bytes);
    }

    /// Runs a decryptor on the file with its manifest.
    fn decrypt(&self, tool: &Tool, secret: (&str, &str)) -> Output {
        tool.command()
            .arg(self.path("dump.kbk"))
            .arg("--manifest")
            .arg(self.path("manifest.json"))
            .arg("-o")
            .arg(self.path("plain"))
            .env(secret.0, secret.1)
            .output()
            .unwrap()
    }

    fn assert_opens(&self, tool: &Tool, secret: (&str, &str)) {
        let ended = self.decrypt(tool, secret);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{}: {said}", tool.script);
        let plain = fs::read(self.path("plain")).unwrap();
        assert!(plain == self.payload, "{}: other bytes", tool.script);
        fs::remove_file(self.path("plain")).unwrap();
    }

    fn assert_refused(&self, tool: &Tool, secret: (&str, &str), error: &str) {
        let ended = self.decrypt(tool, secret);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{}: {said}", tool.script);
        assert!(
            said.contains(&format!("kbk2: {error}:")),
            "{}: {said}",
            tool.script
        );
        for left in ["plain", "plain.part"] {
            assert!(!self.path(left).exists(), "{}: left {left}", tool.script);
        }
    }
}

/// A decryptor that works without this project.
struct Tool {
    program: &'static str,
    script: &'static str,
    /// What must run for the tool to work, and the sentence if it doesn't.
    probe: [&'static str; 2],
    needs: &'static str,
}

const TOOLS: [Tool; 2] = [
    Tool {
        program: "python3",
        script: "tools/kbk2_decrypt.py",
        probe: ["-c", "import cryptography"],
        needs: "these tests need python3 with its package cryptography (Debian: python3-cryptography)",
    },
    Tool {
        program: "node",
        script: "tools/kbk2_decrypt.mjs",
        probe: ["-e", "import('node:crypto')"],
        needs: "these tests need Node.js (Debian: nodejs)",
    },
];

impl Tool {
    fn command(&self) -> Command {
        let probe = program(self.program).args(self.probe).output();
        let works = probe.is_ok_and(|probe| probe.status.success());
        assert!(works, "{}", self.needs);
        let mut command = program(self.program);
        command.arg(repository(self.script));
        command
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the decryptors are other people's programs to us"
)]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_remove("KBK2_KEY").env_remove("KBK2_PASSPHRASE");
    command
}

#[test]
fn our_files_open_without_us_with_a_raw_key() {
    let written = Written::new(&keyring(&[RAW]), 150_000);
    let secret = ("KBK2_KEY", RAW);
    for tool in &TOOLS {
        written.assert_opens(tool, secret);
    }
    written.put_damaged(100_000);
    for tool in &TOOLS {
        written.assert_refused(tool, secret, "ChunkAuth");
    }
}

#[test]
fn our_files_open_without_us_with_a_passphrase() {
    let passphrase = "Sleutel über 鍵 🔑 with  spaces ";
    let written = Written::new(&keyring(&[passphrase]), 65_536);
    for tool in &TOOLS {
        written.assert_opens(tool, ("KBK2_PASSPHRASE", passphrase));
        written.assert_refused(tool, ("KBK2_PASSPHRASE", "guess"), "NoMatchingKey");
    }
}

#[test]
fn our_rewrapped_files_open_without_us_with_the_new_key_only() {
    let (old, new) = (keyring(&[RAW]), keyring(&[&"5a".repeat(32)]));
    let written = Written::new(&old, 1000);
    let header = rewrap(&written.bytes, None, &old, &[NewSlot::Wrap(&new)]).unwrap();
    written.put("dump.kbk.khdr", &header);
    for tool in &TOOLS {
        written.assert_opens(tool, ("KBK2_KEY", &"5a".repeat(32)));
        written.assert_refused(tool, ("KBK2_KEY", RAW), "NoMatchingKey");
    }
}
