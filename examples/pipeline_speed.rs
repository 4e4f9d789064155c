//! How fast a run is and how much memory it takes, with a file as its source and directories as its storages.
//!
//! ```text
//! pipeline_speed generate 2000 dump.sql        mebibytes
//! pipeline_speed write dump.sql storages 3 2 1     level, workers, number of storages
//! ```

use std::{
    error::Error,
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    path::Path,
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use kanbu_backup::{
    bytes::ByteSize,
    clock::{Clock as _, SystemClock},
    crypto::{KeyMaterial, Keyring, Metadata, Sealer},
    id::ExecutionId,
    pipeline::{
        CHUNK_BYTES, CompressionSpec, Feed, FeedSender, Gone, Message, Recipe, Seal, Target, Watch,
        feed, write,
    },
    storage::{Folder, ObjectKey, Place, Role, Storage, StorageConfig, Terms},
};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["generate", mebibytes, file] => generate(mebibytes.parse()?, file),
        ["write", file, place, level, workers, storages] => {
            let compression = CompressionSpec::Zstd {
                level: level.parse()?,
                workers: workers.parse()?,
            };
            measure(file, Path::new(place), compression, storages.parse()?).await
        }
        _ => Err(
            "usage: pipeline_speed generate MIB FILE | write FILE PLACE LEVEL WORKERS STORAGES"
                .into(),
        ),
    }
}

/// Rows as a dump has them: half of every row is text from a small vocabulary, the rest numbers and digests.
fn generate(mebibytes: u64, file: &str) -> Result<()> {
    let words = [
        "agreed", "board", "card", "deadline", "customer", "review", "later", "open", "meeting",
        "sprint", "release", "invoice", "follow", "with", "and", "the", "of", "for", "see", "note",
    ];
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let (mut written, mut row, mut state) = (0, 0_u64, 0x9e37_79b9_7f4a_7c15_u64);
    let mut chance = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    while written < mebibytes << 20 {
        row += 1;
        let mut line = format!(
            "{row}\t{}\t2026-01-{:02} {:02}:{:02}:{:02}.{:06}+00\t{:016x}\t",
            chance(5000),
            chance(28) + 1,
            chance(24),
            chance(60),
            chance(60),
            chance(1_000_000),
            chance(u64::MAX),
        );
        for _ in 0..4 + chance(12) {
            line.push_str(words[usize::try_from(chance(20))?]);
            line.push(' ');
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(())
}

async fn measure(
    file: &str,
    place: &Path,
    compression: CompressionSpec,
    storages: u32,
) -> Result<()> {
    let keyring = Keyring::new(Some(KeyMaterial::parse(&"5e".repeat(32))?), Vec::new());
    let seal = Seal::V2(Box::new(Sealer::new(&keyring, &Metadata::default())?));
    let execution = ExecutionId::new();
    let folder = Folder::of_database("bench".parse()?, SystemClock.now(), execution);
    let targets = (0..storages)
        .map(|number| {
            let name = format!("storage-{number}");
            let storage = Storage::open(&StorageConfig {
                name: name.parse()?,
                role: Role::Primary,
                place: Place::Local {
                    directory: place.join(name),
                },
                terms: Terms::default(),
            })?;
            let key = ObjectKey::Data {
                folder: folder.clone(),
                name: "dump.kbk",
            };
            Ok(Target { storage, key })
        })
        .collect::<Result<Vec<_>>>()?;

    let before = resident("VmRSS:")?;
    let began = Instant::now();
    let watch = Watch::new(CancellationToken::new(), Arc::new(|_| {}));
    let written = write(read(file)?, Recipe::new(compression, seal), targets, watch).await?;
    let took = began.elapsed();
    println!(
        "{} in {:.2} s, {}/s, {} stored, memory {before} before, {} at the peak",
        ByteSize(written.content_bytes),
        took.as_secs_f64(),
        ByteSize(written.content_bytes).per_second(took),
        ByteSize(written.stored_bytes),
        resident("VmHWM:")?,
    );
    Ok(())
}

/// The file as a source that reads as from a pipe.
fn read(file: &str) -> Result<Feed> {
    let (sender, source) = feed();
    let file = File::open(file)?;
    tokio::task::spawn_blocking(move || say(file, &sender));
    Ok(source)
}

fn say(mut file: File, sender: &FeedSender) -> std::result::Result<(), Gone> {
    loop {
        let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
        match file.read(&mut chunk) {
            Ok(0) => return sender.blocking_send(Message::End),
            Ok(bytes) => {
                chunk.truncate(bytes);
                sender.blocking_send(Message::Data(chunk.freeze()))?;
            }
            // Said by silence: the run fails.
            Err(_) => return Ok(()),
        }
    }
}

fn resident(what: &str) -> Result<ByteSize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(ByteSize(kib.ok_or("no such line")?.parse::<u64>()? * 1024))
}
