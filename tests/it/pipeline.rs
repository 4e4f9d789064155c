//! Content goes through a run to real directories and back, undisturbed and disturbed.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use kanbu_backup::{
    crypto::{KeyMaterial, Keyring, LegacySealer, Metadata, Sealer},
    fault::Failure,
    id::ExecutionId,
    pipeline::{
        CompressionSpec, Expected, Feed, FeedSender, Gone, Input, Limits, Message, Read, Recipe,
        Seal, Sealed, Target, TargetEnd, Tick, Watch, Written, check, feed, open, write,
    },
    storage::{Folder, ObjectKey, Place, Role, Storage, StorageConfig, Terms},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[path = "pipeline/damage.rs"]
mod damage;
#[path = "pipeline/memory.rs"]
mod memory;
#[path = "pipeline/round_trip.rs"]
mod round_trip;
#[path = "pipeline/source_faults.rs"]
mod source_faults;
#[path = "pipeline/storage_faults.rs"]
mod storage_faults;

const ENVELOPES: [Sealed; 3] = [Sealed::None, Sealed::V2, Sealed::V1];
const ZSTD: CompressionSpec = CompressionSpec::Zstd {
    level: 3,
    workers: 2,
};

/// Directories as storages, and a key.
struct World {
    place: TempDir,
    folder: Folder,
    keyring: Keyring,
}

impl World {
    fn new() -> Self {
        let began = chrono::DateTime::from_timestamp(1_768_732_200, 0).unwrap();
        Self {
            place: tempfile::tempdir().unwrap(),
            folder: Folder::of_database("prod".parse().unwrap(), began, ExecutionId::new()),
            keyring: keyring(&"5e".repeat(32)),
        }
    }

    fn storage(&self, name: &str) -> Storage {
        Storage::open(&StorageConfig {
            name: name.parse().unwrap(),
            role: Role::Primary,
            place: Place::Local {
                directory: self.place.path().join(name),
            },
            terms: Terms::default(),
        })
        .unwrap()
    }

    fn key(&self, sealed: Sealed) -> ObjectKey {
        let name = match sealed {
            Sealed::V1 => "dump.sql.gz.enc",
            Sealed::V2 => "dump.kbk",
            Sealed::None | Sealed::Unknown => "dump.pgc.zst",
        };
        ObjectKey::Data {
            folder: self.folder.clone(),
            name,
        }
    }

    fn seal(&self, sealed: Sealed) -> Seal {
        let keyring = &self.keyring;
        match sealed {
            Sealed::V2 => Seal::V2(Box::new(
                Sealer::new(keyring, &Metadata::default()).unwrap(),
            )),
            Sealed::V1 => Seal::V1(Box::new(LegacySealer::new(keyring).unwrap())),
            Sealed::None | Sealed::Unknown => Seal::Off,
        }
    }

    /// A run to the storages given, more patient than the machine can be slow.
    async fn write(
        &self,
        source: Feed,
        compression: CompressionSpec,
        sealed: Sealed,
        storages: &[Storage],
        watch: Watch,
    ) -> Result<Written, Failure> {
        let recipe = Recipe {
            compression,
            seal: self.seal(sealed),
            limits: Limits::default(),
        };
        Ok(write(source, recipe, self.targets(sealed, storages), watch).await?)
    }

    fn targets(&self, sealed: Sealed, storages: &[Storage]) -> Vec<Target> {
        let to = |storage: &Storage| Target {
            storage: storage.clone(),
            key: self.key(sealed),
        };
        storages.iter().map(to).collect()
    }

    fn object(&self, storage: &str, sealed: Sealed) -> PathBuf {
        let key = self.key(sealed).to_string();
        self.place.path().join(storage).join(key)
    }

    fn input(&self, storage: &str, sealed: Sealed) -> Input {
        Input::Object {
            storage: self.storage(storage),
            key: self.key(sealed),
            sidecar: None,
        }
    }

    /// Every file under all storages, whatever its name.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.place.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }

    fn assert_nothing_is_left(&self, what: &str) {
        let files = self.files();
        assert!(files.is_empty(), "{what} left {files:?}");
    }
}

fn keyring(key: &str) -> Keyring {
    Keyring::new(Some(KeyMaterial::parse(key).unwrap()), Vec::new())
}

fn unwatched() -> Watch {
    Watch::new(CancellationToken::new(), Arc::new(|_: Tick| {}))
}

/// What the catalog would know of an object.
fn recorded(written: &Written, sealed: Sealed) -> Expected {
    Expected {
        stored_bytes: Some(written.stored_bytes),
        stored_sha256: Some(written.stored_sha256),
        payload_bytes: Some(written.payload_bytes),
        payload_sha256: Some(written.payload_sha256),
        sealed,
        ..Expected::default()
    }
}

/// How a source ends.
#[derive(Clone, Debug)]
enum Last {
    End,
    Fail,
    /// The channel closes without a word.
    Silence,
}

/// A source that says these chunks, then its last word.
fn source(chunks: Vec<Bytes>, last: Last) -> Feed {
    let (sender, source) = feed();
    tokio::spawn(say(sender, chunks, last));
    source
}

async fn say(sender: FeedSender, chunks: Vec<Bytes>, last: Last) -> Result<(), Gone> {
    for chunk in chunks {
        sender.send(Message::Data(chunk)).await?;
    }
    match last {
        Last::End => sender.send(Message::End).await,
        Last::Fail => sender.send(Message::Fail(broken())).await,
        Last::Silence => Ok(()),
    }
}

fn broken() -> Failure {
    Failure::new(
        kanbu_backup::fault::Fault::Transient,
        "test.broken_source",
        "pg_dump ended with 1",
    )
}

/// The content of a feed and how it ended.
async fn drain(mut content: Feed) -> (Vec<u8>, Result<(), Failure>) {
    let mut all = Vec::new();
    loop {
        match content.next().await {
            Message::Data(bytes) => all.extend_from_slice(&bytes),
            Message::End => return (all, Ok(())),
            Message::Fail(failure) => return (all, Err(failure)),
        }
    }
}

/// Content that is complete, or why not; whether refused at once or in the course of it.
async fn read_all(input: Input, expected: Expected, keyring: &Keyring) -> Result<Vec<u8>, Failure> {
    let content = open(input, expected, keyring.clone(), unwatched()).await?;
    let (bytes, end) = drain(content).await;
    end.map(|()| bytes)
}

async fn check_it(input: &Input, expected: &Expected, keyring: &Keyring) -> Result<Read, Failure> {
    check(input, expected, keyring, unwatched()).await
}

/// `ok`, or the code of the failure.
fn codes(ends: &[TargetEnd]) -> Vec<String> {
    let code = |end: &TargetEnd| match &end.result {
        Ok(()) => "ok".to_owned(),
        Err(failure) => failure.code.to_string(),
    };
    ends.iter().map(code).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

fn read_file(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// Reproducible chance: splitmix64.
struct Chance(u64);

impl Chance {
    /// Tells its seed; `KANBU_BACKUP_TEST_SEED` replays one.
    fn new(test: &str) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a seed to replay is no setting of the product"
        )]
        let given = std::env::var("KANBU_BACKUP_TEST_SEED");
        let seed = given.map_or_else(
            |_| RandomState::new().hash_one(test),
            |seed| seed.parse().unwrap(),
        );
        println!("{test}: KANBU_BACKUP_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// Bytes that no compressor makes smaller.
    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        for word in noise.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
        noise
    }

    /// Rows as a dump has them.
    fn sql(&mut self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes + 200);
        while text.len() < bytes {
            let (a, b) = (self.next(), self.next());
            let row = format!(
                "{}\ttask {:x}\t2026-01-{:02} 10:30:00+00\t{}\topen\tAs agreed in the last meeting, part {} of {}\n",
                text.len(),
                a,
                b % 28 + 1,
                ["alice", "bob", "carol", "dave"][usize::try_from(b % 4).unwrap()],
                b % 97,
                a % 13,
            );
            text.extend_from_slice(row.as_bytes());
        }
        text.truncate(bytes);
        text
    }

    /// The bytes in pieces of all sizes.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let most = [100, 300_000, 2_000_000][self.below(3)];
            let length = (1 + self.below(most)).min(rest.len());
            // Small pieces only at times: they would take for ever.
            let length = if pieces.len() > 50 {
                length.max(65_000).min(rest.len())
            } else {
                length
            };
            pieces.push(rest.split_to(length));
        }
        pieces
    }
}
