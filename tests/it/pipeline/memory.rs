//! The memory of a run is bounded, whatever its size. Measured in a process of its own: the peak is a process's.
//!
//! Of the 64 MiB that are promised for a process, 16 are for its code. That part is measured with the binary that is shipped
//! (`./bench backup`); this one carries every test and no optimisation, and its code grows with each test that is written.

use std::{
    fmt, fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kanbu_backup::pipeline::{CompressionSpec, Limits, PartGrowth, Recipe, Sealed, Written, write};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};

use super::{Chance, Last, World, ZSTD, codes, source, unwatched};

const MIB: usize = 1 << 20;
/// For data, of all kinds.
const LIMIT_KIB: u64 = (64 - 16) * 1024;

#[test]
fn a_gibibyte_to_two_storages_stays_below_64_mib_of_memory() {
    for child in ["zstd", "zstd_at_level_19", "growing_parts"] {
        let peak = peak_of(&format!(
            "pipeline::memory::in_a_process_of_its_own::{child}"
        ));
        println!("{child}: {peak} KiB");
        assert!(peak < LIMIT_KIB, "{child}: {peak} KiB");
    }
}

fn peak_of(child: &str) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "this very test program, which starts nothing itself"
    )]
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{said}");
    let peak = said.lines().find_map(|line| line.strip_prefix("peak: "));
    peak.expect(&said).parse().unwrap()
}

mod in_a_process_of_its_own {
    use super::{CompressionSpec, LARGE, PartGrowth, Sealed, ZSTD, measure};

    #[test]
    #[ignore = "started by the test above"]
    fn zstd() {
        measure(1024, ZSTD, Sealed::None, PartGrowth::default());
    }

    #[test]
    #[ignore = "started by the test above"]
    fn zstd_at_level_19() {
        let slow = CompressionSpec::Zstd {
            level: 19,
            workers: 2,
        };
        measure(16, slow, Sealed::V2, PartGrowth::default());
    }

    #[test]
    #[ignore = "started by the test above"]
    fn growing_parts() {
        measure(768, CompressionSpec::None, Sealed::None, LARGE);
    }
}

/// Most of a run's parts have 16 MiB.
const LARGE: PartGrowth = PartGrowth {
    small: 4,
    small_and_medium: 8,
    scale: 1,
    most: None,
};

/// Rows of a dump, so many mebibytes of them.
fn measure(mebibytes: usize, compression: CompressionSpec, sealed: Sealed, growth: PartGrowth) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Farther apart than a window, the repetition helps no compressor.
    let text = Bytes::from(Chance::new("memory").sql(8 * MIB));
    let chunks = std::iter::repeat_n(text.chunks(256 * 1024), mebibytes / 8).flatten();
    let chunks = chunks.map(|chunk| text.slice_ref(chunk)).collect();
    let written = runtime.block_on(run(chunks, compression, sealed, growth));
    assert_eq!(written.content_bytes, (mebibytes * MIB) as u64);
    assert_eq!(codes(&written.ends), ["ok", "ok"]);
    println!("\npeak: {}", peak_of_data());
}

async fn run(
    chunks: Vec<Bytes>,
    compression: CompressionSpec,
    sealed: Sealed,
    growth: PartGrowth,
) -> Written {
    let world = World::new();
    let recipe = Recipe {
        limits: Limits {
            part_growth: growth,
            ..Limits::default()
        },
        ..Recipe::new(compression, world.seal(sealed))
    };
    let storages = ["one", "two"].map(|name| {
        world.storage(name).wrapped(|inner| {
            Arc::new(Counting {
                inner,
                bytes: Arc::default(),
            })
        })
    });
    let targets = world.targets(sealed, &storages);
    let input = source(chunks, Last::End);
    write(input, recipe, targets, unwatched()).await.unwrap()
}

/// KiB. What was resident at most, without the pages of the program's file, which stay once they are there.
fn peak_of_data() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse().unwrap()
    };
    kib("VmHWM:") - kib("RssFile:")
}

/// Counts the bytes of its only object and forgets them, so that the test needs no space.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn ObjectStore>,
    bytes: Arc<AtomicU64>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the size of {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, payload, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(CountingUpload {
            inner: self.inner.put_multipart_opts(at, how).await?,
            bytes: Arc::clone(&self.bytes),
        }))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let mut got = self.inner.get_opts(at, how).await?;
        got.meta.size = self.bytes.load(Ordering::Relaxed);
        Ok(got)
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

#[derive(Debug)]
struct CountingUpload {
    inner: Box<dyn MultipartUpload>,
    bytes: Arc<AtomicU64>,
}

#[async_trait]
impl MultipartUpload for CountingUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let bytes = Arc::clone(&self.bytes);
        Box::pin(async move {
            // Takes its turn, so that parts of both storages are held at the same time.
            tokio::task::yield_now().await;
            bytes.fetch_add(part.content_length() as u64, Ordering::Relaxed);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
