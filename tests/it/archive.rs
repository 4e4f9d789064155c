//! Directories to archives and back: what comes back, what is refused, and that a failure leaves nothing.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use kanbu_backup::{
    archive::{Excludes, PackReport, PackSpec, UnpackReport, pack, unpack},
    config::Env,
    fault::{Failure, Fault},
    pipeline::{self, CHUNK_BYTES, Feed, Message},
};
use tar::{EntryType, Header};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A tree to archive and a place beside it.
struct World {
    directory: TempDir,
    root: PathBuf,
}

impl World {
    fn new() -> Self {
        Self::within(TempDir::new().unwrap())
    }

    /// In memory where there is such a place: for tens of thousands of files, a disk is a matter of minutes.
    fn in_memory() -> Self {
        Self::within(
            TempDir::new_in("/dev/shm")
                .or_else(|_| TempDir::new())
                .unwrap(),
        )
    }

    fn within(directory: TempDir) -> Self {
        let root = directory.path().join("app");
        fs::create_dir(&root).unwrap();
        Self { directory, root }
    }

    fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn pack(&self) -> (Vec<u8>, PackReport) {
        pack_tree(&self.root, Excludes::none()).await
    }

    /// There and back; the tree is in `back/app` then.
    async fn round_trip(&self) -> (PackReport, UnpackReport) {
        let (archive, packed) = self.pack().await;
        let unpacked = unpack_bytes(archive, &self.place("back")).await.unwrap();
        (packed, unpacked)
    }

    /// Names beside the tree, hidden ones included.
    fn beside(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "app")
            .collect();
        names.sort();
        names
    }
}

async fn pack_tree(root: &Path, excludes: Excludes) -> (Vec<u8>, PackReport) {
    let spec = PackSpec {
        root: root.to_owned(),
        excludes,
    };
    let (feed, handle) = pack(spec, CancellationToken::new());
    let bytes = collect(feed).await.unwrap();
    (bytes, handle.report().await.unwrap())
}

async fn collect(mut feed: Feed) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        match feed.next().await {
            Message::Data(chunk) => {
                assert!(chunk.len() <= CHUNK_BYTES);
                bytes.extend_from_slice(&chunk);
            }
            Message::End => return Ok(bytes),
            Message::Fail(failure) => return Err(failure),
        }
    }
}

/// A feed of these bytes in pieces that fit no block, and then `last`.
fn fed(bytes: Vec<u8>, last: Message) -> Feed {
    let (sender, feed) = pipeline::feed();
    tokio::spawn(async move {
        for piece in bytes.chunks(10_007) {
            if sender
                .send(Message::Data(Bytes::copy_from_slice(piece)))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = sender.send(last).await;
    });
    feed
}

async fn unpack_bytes(bytes: Vec<u8>, destination: &Path) -> Result<UnpackReport, Failure> {
    unpack(
        fed(bytes, Message::End),
        destination,
        CancellationToken::new(),
    )
    .await
}

/// Everything about a file that shall come back.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    mode: u32,
    owner: (u32, u32),
    modified: i64,
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Directory,
    Link(PathBuf),
    File(Vec<u8>),
    /// Another name of the file described under the first.
    SameAs(PathBuf),
}

fn describe(root: &Path) -> BTreeMap<PathBuf, Described> {
    let mut seen = HashMap::new();
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.path().symlink_metadata().unwrap();
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            let first = seen.entry(meta.ino()).or_insert_with(|| name.clone());
            let content = if meta.is_dir() {
                Content::Directory
            } else if meta.is_symlink() {
                Content::Link(fs::read_link(entry.path()).unwrap())
            } else if *first == name {
                Content::File(fs::read(entry.path()).unwrap())
            } else {
                Content::SameAs(first.clone())
            };
            let described = Described {
                mode: meta.mode(),
                owner: (meta.uid(), meta.gid()),
                modified: meta.mtime(),
                content,
            };
            (name, described)
        })
        .collect()
}

fn assert_came_back(world: &World) {
    let (was, is) = (describe(&world.root), describe(&world.place("back/app")));
    let differing: Vec<_> = was
        .iter()
        .filter(|(name, described)| is.get(*name) != Some(described))
        .map(|(name, was)| (name, was.mode, is.get(name).map(|is| is.mode)))
        .collect();
    assert!(
        differing.is_empty() && was.len() == is.len(),
        "these differ: {differing:?}"
    );
}

fn date(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_tree_comes_back_with_contents_modes_times_and_links() {
    let world = World::new();
    world.file("plain", "text");
    world.file("empty", "");
    let program = world.file("bin/run", vec![7; 600_000]);
    fs::set_permissions(&program, Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(&program, world.root.join("bin/run-again")).unwrap();
    fs::create_dir_all(world.root.join("hollow/inner")).unwrap();
    for (name, target) in [
        ("l1", "plain"),
        ("l2", "./bin//run"),
        ("l3", "/nowhere/at/all"),
        ("l4", "../../up"),
    ] {
        symlink(target, world.root.join(name)).unwrap();
    }
    symlink("t".repeat(300), world.root.join("long-target")).unwrap();
    let closed = world.root.join("hollow");
    fs::set_permissions(&closed, Permissions::from_mode(0o1555)).unwrap();
    date(&world.root.join("plain"), 1_000_000_000);
    date(&closed, 1_100_000_000);
    let (packed, unpacked) = world.round_trip().await;
    assert_came_back(&world);
    for closed in [closed, world.place("back/app/hollow")] {
        // So that whoever is not root can clean up.
        fs::set_permissions(closed, Permissions::from_mode(0o700)).unwrap();
    }
    assert!(packed.is_complete());
    assert_eq!((packed.files, packed.directories), (3, 4));
    assert_eq!((packed.symbolic_links, packed.hard_links), (5, 1));
    assert_eq!((unpacked.files, unpacked.directories), (3, 4));
    assert_eq!((unpacked.symbolic_links, unpacked.hard_links), (5, 1));
    assert_eq!((packed.bytes, unpacked.bytes), (600_004, 600_004));
}

#[tokio::test]
async fn names_that_are_no_text_or_longer_than_a_header_come_back() {
    let world = World::new();
    world.file(OsStr::from_bytes(b"not \xff text"), "1");
    world.file("n".repeat(255), "2");
    world.file(format!("{}/{}", "d".repeat(99), "f".repeat(101)), "3");
    world.file(format!("{}\u{e9}", "x".repeat(95)), "4");
    world.file("with\nnewline and \\ and space", "5");
    let (packed, _) = world.round_trip().await;
    assert!(packed.is_complete());
    assert_came_back(&world);
}

#[tokio::test]
async fn paths_longer_than_the_system_allows_come_back() {
    let world = World::new();
    // Built from the inside: no single call could name the deepest directory.
    let part = "deep".repeat(40);
    for n in 0..60 {
        let outer = world.place(&format!("outer{n}"));
        fs::create_dir(&outer).unwrap();
        fs::write(outer.join("file"), format!("{n}")).unwrap();
        fs::rename(&world.root, outer.join(&part)).unwrap();
        fs::rename(outer, &world.root).unwrap();
    }
    let (archive, packed) = world.pack().await;
    assert!(packed.is_complete());
    assert_eq!((packed.files, packed.directories), (60, 61));
    unpack_bytes(archive.clone(), &world.place("back"))
        .await
        .unwrap();
    let (again, _) = pack_tree(&world.place("back/app"), Excludes::none()).await;
    assert!(archive == again, "the archive of what came back differs");
}

#[tokio::test]
async fn ten_thousand_small_files_come_back_and_give_the_same_archive() {
    let world = World::in_memory();
    for n in 0..10_000 {
        world.file(format!("d{}/f{n}", n % 100), format!("{n}"));
    }
    let (packed, unpacked) = world.round_trip().await;
    assert_eq!((packed.files, unpacked.files), (10_000, 10_000));
    let (first, _) = world.pack().await;
    let (again, _) = pack_tree(&world.place("back/app"), Excludes::none()).await;
    assert!(first == again, "the archive of what came back differs");
}

#[tokio::test]
async fn a_sparse_file_comes_back_sparse() {
    let world = World::new();
    let file = File::create(world.root.join("sparse")).unwrap();
    file.set_len(32 << 20).unwrap();
    file.write_all_at(b"island", 16 << 20).unwrap();
    world.round_trip().await;
    assert_came_back(&world);
    let blocks = fs::metadata(world.place("back/app/sparse"))
        .unwrap()
        .blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks are allocated");
}

#[tokio::test]
async fn owners_come_back_when_root_unpacks() {
    let world = World::new();
    let file = world.file("a", "1");
    symlink("a", world.root.join("l")).unwrap();
    let root = std::os::unix::fs::chown(&file, Some(1234), Some(4321)).is_ok();
    if root {
        std::os::unix::fs::lchown(world.root.join("l"), Some(1235), Some(4321)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o4755)).unwrap();
    }
    let (_, unpacked) = world.round_trip().await;
    assert_eq!(unpacked.owners_kept, root);
    assert_came_back(&world);
}

/// `SplitMix64`: a few lines are enough for a tree.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn size(&mut self, sides: u64) -> usize {
        usize::try_from(self.roll(sides)).unwrap()
    }

    fn name(&mut self) -> OsString {
        let length = if self.roll(8) == 0 {
            1 + self.size(200)
        } else {
            1 + self.size(12)
        };
        let name = (0..length).map(|_| match u8::try_from(1 + self.roll(255)).unwrap() {
            b'/' | b'.' => b'_',
            byte => byte,
        });
        OsString::from_vec(name.collect())
    }
}

fn grow(dice: &mut Dice, directory: &Path, depth: u64) {
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..dice.roll(8) {
        let path = directory.join(dice.name());
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match dice.roll(6) {
            0 | 1 if depth > 0 => {
                fs::create_dir(&path).unwrap();
                grow(dice, &path, depth - 1);
            }
            2 => symlink(dice.name(), &path).unwrap(),
            3 if !files.is_empty() => fs::hard_link(&files[0], &path).unwrap(),
            _ => {
                let size = [0, 1, 511, 512, 513, 70_000][dice.size(6)];
                let byte = u8::try_from(dice.roll(3)).unwrap();
                fs::write(&path, vec![byte; size]).unwrap();
                let mode = 0o400 | u32::try_from(dice.roll(0o1000)).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                date(&path, dice.roll(1 << 33));
                files.push(path);
            }
        }
    }
    let mode = 0o700 | u32::try_from(dice.roll(0o2000)).unwrap();
    fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
    date(directory, dice.roll(1 << 31));
}

#[tokio::test]
async fn any_tree_comes_back() {
    let given = Env::capture()
        .get("KANBU_BACKUP_TEST_SEED")
        .map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1);
    println!("KANBU_BACKUP_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    for _ in 0..20 {
        let world = World::new();
        grow(&mut dice, &world.root, 5);
        let (packed, _) = world.round_trip().await;
        assert!(packed.is_complete(), "{packed:?}");
        assert_came_back(&world);
    }
}

#[tokio::test]
async fn excluded_names_are_left_out_at_any_depth_with_all_below_them() {
    let world = World::new();
    for name in [
        "index.js",
        ".env",
        ".env.local",
        "web/dist/out.js",
        "web/node_modules/a/b",
        "web/distance",
        "a/b/debug.log",
        "uploads/x",
        "coverage/x",
    ] {
        world.file(name, "x");
    }
    let (archive, report) = pack_tree(&world.root, Excludes::kanbu_default().unwrap()).await;
    let names = names(&archive);
    let expected = [
        "app",
        "app/.env",
        "app/a",
        "app/a/b",
        "app/index.js",
        "app/uploads",
        "app/uploads/x",
        "app/web",
        "app/web/distance",
    ];
    assert_eq!(names, expected);
    assert!(report.holds_dotenv);
    assert_eq!(report.files, 4);
    let (archive, report) = pack_tree(
        &world.root,
        Excludes::from_patterns(&[".env", "web", "a"]).unwrap(),
    )
    .await;
    assert!(!report.holds_dotenv);
    assert!(
        self::names(&archive).contains(&"app/coverage/x".to_owned()),
        "a list of one's own replaces the default"
    );
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[tokio::test]
async fn a_root_named_like_an_excluded_directory_is_archived_all_the_same() {
    let world = World::new();
    let root = world.place("dist");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "1").unwrap();
    let (archive, _) = pack_tree(&root, Excludes::kanbu_default().unwrap()).await;
    assert_eq!(names(&archive), ["dist", "dist/a"]);
}

#[tokio::test]
async fn sockets_pipes_and_devices_are_left_out_and_named() {
    let world = World::new();
    world.file("a", "1");
    let _socket = UnixListener::bind(world.root.join("socket")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        world.root.join("pipe"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    let (archive, report) = world.pack().await;
    assert_eq!(names(&archive), ["app", "app/a"]);
    assert_eq!(report.special.to_string(), "app/pipe, app/socket");
    assert!(report.is_complete(), "there is no content to lose");
}

#[tokio::test]
async fn links_out_of_the_tree_are_kept_as_links() {
    let world = World::new();
    fs::create_dir(world.place("secret")).unwrap();
    fs::write(world.place("secret/x"), "secret").unwrap();
    symlink("../secret", world.root.join("out")).unwrap();
    let (archive, _) = world.pack().await;
    assert_eq!(names(&archive), ["app", "app/out"]);
    assert!(!archive.windows(6).any(|window| window == b"secret/x"));
}

#[tokio::test]
async fn a_root_that_is_a_link_is_archived_under_the_name_it_was_given() {
    let world = World::new();
    world.file("a", "1");
    symlink("app", world.place("link")).unwrap();
    let (archive, _) = pack_tree(&world.place("link"), Excludes::none()).await;
    assert_eq!(names(&archive), ["link", "link/a"]);
}

#[tokio::test]
async fn a_root_that_is_missing_or_no_directory_fails_for_good_and_with_a_hint() {
    let world = World::new();
    let file = world.file("file", "1");
    for (root, code) in [
        (world.place("absent"), "source.missing"),
        (file, "source.not_a_directory"),
        (PathBuf::from("/"), "source.unnamed"),
    ] {
        let excludes = Excludes::none();
        let (feed, handle) = pack(PackSpec { root, excludes }, CancellationToken::new());
        let failure = collect(feed).await.unwrap_err();
        assert_eq!(
            (failure.code.as_ref(), failure.fault),
            (code, Fault::Permanent)
        );
        assert!(failure.hint.unwrap().contains("KANBU_SOURCE_PATH"));
        assert_eq!(handle.report().await.unwrap(), PackReport::default());
    }
}

#[tokio::test]
async fn packing_stops_when_it_is_cancelled_even_if_nobody_reads() {
    let world = World::new();
    world.file("large", vec![1; 8 << 20]);
    let cancel = CancellationToken::new();
    let spec = PackSpec {
        root: world.root.clone(),
        excludes: Excludes::none(),
    };
    let (mut feed, handle) = pack(spec, cancel.clone());
    assert!(matches!(feed.next().await, Message::Data(_)));
    cancel.cancel();
    let report = handle.report().await.unwrap();
    assert_eq!(report.files, 0, "the file was not archived to its end");
    let failure = collect(feed).await.unwrap_err();
    assert!(
        ["execution.cancelled", "pipeline.source_vanished"].contains(&failure.code.as_ref()),
        "{failure:?}"
    );
}

#[tokio::test]
async fn packing_stops_when_the_feed_is_dropped() {
    let world = World::new();
    world.file("large", vec![1; 8 << 20]);
    let spec = PackSpec {
        root: world.root.clone(),
        excludes: Excludes::none(),
    };
    let (mut feed, handle) = pack(spec, CancellationToken::new());
    assert!(matches!(feed.next().await, Message::Data(_)));
    drop(feed);
    assert_eq!(handle.report().await.unwrap().files, 0);
}

#[tokio::test]
async fn an_empty_directory_is_replaced_and_keeps_its_mode() {
    let world = World::new();
    world.file("a", "1");
    let back = world.place("back");
    fs::create_dir(&back).unwrap();
    fs::set_permissions(&back, Permissions::from_mode(0o2750)).unwrap();
    world.round_trip().await;
    assert_came_back(&world);
    assert_eq!(fs::metadata(&back).unwrap().mode() & 0o7777, 0o2750);
    assert_eq!(world.beside(), ["back"]);
}

#[tokio::test]
async fn a_destination_that_holds_something_is_refused_and_left_alone() {
    let world = World::new();
    world.file("a", "1");
    let (archive, _) = world.pack().await;
    fs::create_dir(world.place("full")).unwrap();
    fs::write(world.place("full/.hidden"), "mine").unwrap();
    fs::write(world.place("file"), "mine").unwrap();
    symlink("nowhere", world.place("dangling")).unwrap();
    let before = world.beside();
    for name in ["full", "file", "dangling"] {
        let failure = unpack_bytes(archive.clone(), &world.place(name))
            .await
            .unwrap_err();
        assert_eq!(failure.code, "source.destination_not_empty", "{name}");
    }
    assert_eq!(world.beside(), before);
    assert_eq!(fs::read(world.place("full/.hidden")).unwrap(), b"mine");
}

/// Unpacking must fail with this code and leave nothing.
async fn refused(world: &World, feed: Feed, code: &str) {
    let before = world.beside();
    let failure = unpack(feed, &world.place("back"), CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(failure.code, code, "{failure:?}");
    assert_eq!(world.beside(), before, "something was left");
}

#[tokio::test]
async fn an_archive_that_ends_early_anywhere_leaves_nothing() {
    let world = World::new();
    world.file("a", vec![1; 3000]);
    world.file("b/c", "2");
    let (archive, _) = world.pack().await;
    assert!(archive.ends_with(&[0; 1024]));
    // In the middle of a file, at the end of one, between entries, in a header, before and within the end mark.
    for length in [
        0,
        512,
        600,
        1024,
        2000,
        4096,
        4300,
        archive.len() - 1024,
        archive.len() - 512,
        archive.len() - 1,
    ] {
        let cut = archive[..length].to_vec();
        refused(&world, fed(cut, Message::End), "archive.truncated").await;
    }
    unpack_bytes(archive, &world.place("back")).await.unwrap();
}

#[tokio::test]
async fn a_feed_that_fails_or_falls_silent_at_the_very_end_leaves_nothing() {
    let world = World::new();
    world.file("a", "1");
    let (archive, _) = world.pack().await;
    let failure = Failure::new(
        Fault::Permanent,
        "envelope.chunk_auth",
        "a chunk is not authentic",
    );
    refused(
        &world,
        fed(archive.clone(), Message::Fail(failure)),
        "envelope.chunk_auth",
    )
    .await;
    let (sender, silent) = pipeline::feed();
    sender.send(Message::Data(archive.into())).await.unwrap();
    drop(sender);
    refused(&world, silent, "pipeline.source_vanished").await;
}

#[tokio::test]
async fn unpacking_that_is_cancelled_leaves_nothing() {
    let world = World::new();
    world.file("a", vec![1; 300_000]);
    let (archive, _) = world.pack().await;
    let (sender, feed) = pipeline::feed();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let half = Bytes::copy_from_slice(&archive[..200_000]);
    let back = world.place("back");
    let feeding = async {
        // The queue holds four chunks: when a sixth found room, the reader had taken the first two.
        for part in [
            half,
            Bytes::new(),
            Bytes::new(),
            Bytes::new(),
            Bytes::new(),
            Bytes::new(),
        ] {
            sender.send(Message::Data(part)).await.unwrap();
        }
        stop.cancel();
    };
    let (unpacked, ()) = tokio::join!(unpack(feed, &back, cancel), feeding);
    assert_eq!(unpacked.unwrap_err().fault, Fault::Cancelled);
    assert!(world.beside().is_empty(), "{:?} was left", world.beside());
}

#[tokio::test]
async fn data_behind_the_end_mark_and_damage_are_refused() {
    let world = World::new();
    world.file("a", "1");
    let (archive, _) = world.pack().await;
    let mut longer = archive.clone();
    longer.extend_from_slice(b"more");
    refused(&world, fed(longer, Message::End), "archive.damaged").await;
    let mut damaged = archive.clone();
    damaged[3] ^= 1;
    refused(&world, fed(damaged, Message::End), "archive.damaged").await;
    refused(
        &world,
        fed(b"this is no archive ".repeat(100), Message::End),
        "archive.damaged",
    )
    .await;
    let mut padded = archive;
    padded.extend_from_slice(&[0; 8192]);
    unpack_bytes(padded, &world.place("back")).await.unwrap();
}

/// An archive built by hand: names go into the header as they are.
#[derive(Default)]
struct Forged(Vec<u8>);

impl Forged {
    fn entry(mut self, kind: EntryType, name: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_link_name_literal(target).unwrap();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len().try_into().unwrap());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", b"evil")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn feed(mut self) -> Feed {
        self.0.extend_from_slice(&[0; 1024]);
        fed(self.0, Message::End)
    }
}

#[tokio::test]
async fn names_that_lead_out_of_the_archive_are_refused() {
    let world = World::new();
    let absolute = world.place("owned");
    for name in [
        "../owned",
        "app/../../owned",
        "app/..",
        "..",
        absolute.to_str().unwrap(),
    ] {
        let archive = Forged::default().directory("app").file(name);
        refused(&world, archive.feed(), "archive.outside").await;
        let archive = Forged::default().directory(name);
        refused(&world, archive.feed(), "archive.outside").await;
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let world = World::new();
    fs::create_dir(world.place("victim")).unwrap();
    let victim = world.place("victim");
    let victim = victim.to_str().unwrap();
    for target in [victim, "../../victim", "."] {
        let archive = Forged::default()
            .directory("app")
            .link("app/out", target)
            .file("app/out/x");
        refused(&world, archive.feed(), "archive.through_link").await;
        let archive = Forged::default().link("app", target).directory("app");
        refused(&world, archive.feed(), "archive.through_link").await;
        let archive = Forged::default().link("app", target).directory("app/x");
        refused(&world, archive.feed(), "archive.through_link").await;
    }
    let archive = Forged::default().file("app").file("app/x");
    refused(&world, archive.feed(), "archive.through_link").await;
    assert_eq!(fs::read_dir(victim).unwrap().count(), 0);
}

#[tokio::test]
async fn nothing_that_exists_is_written_again() {
    let world = World::new();
    fs::write(world.place("victim"), "mine").unwrap();
    let victim = world.place("victim");
    let archive = Forged::default()
        .link("x", victim.to_str().unwrap())
        .file("x");
    refused(&world, archive.feed(), "archive.name_twice").await;
    refused(
        &world,
        Forged::default().file("x").file("x").feed(),
        "archive.name_twice",
    )
    .await;
    refused(
        &world,
        Forged::default().file("x").link("x", "y").feed(),
        "archive.name_twice",
    )
    .await;
    assert_eq!(fs::read(victim).unwrap(), b"mine");
}

#[tokio::test]
async fn hard_links_reach_files_of_the_archive_only() {
    let world = World::new();
    fs::write(world.place("victim"), "mine").unwrap();
    let victim = world.place("victim");
    let victim = victim.to_str().unwrap();
    let hard =
        |archive: Forged, target: &str| archive.entry(EntryType::Link, "app/h", target, b"").feed();
    refused(
        &world,
        hard(Forged::default(), "../victim"),
        "archive.outside",
    )
    .await;
    refused(&world, hard(Forged::default(), victim), "archive.outside").await;
    refused(
        &world,
        hard(Forged::default(), "app/none"),
        "archive.link_outside",
    )
    .await;
    refused(
        &world,
        hard(Forged::default().link("app/l", victim), "app/l"),
        "archive.link_outside",
    )
    .await;
    let through = Forged::default().link("app/d", world.directory.path().to_str().unwrap());
    refused(
        &world,
        hard(through, "app/d/victim"),
        "archive.link_outside",
    )
    .await;
    assert_eq!(fs::metadata(victim).unwrap().nlink(), 1);
}

#[tokio::test]
async fn devices_pipes_and_unknown_entries_are_refused() {
    let world = World::new();
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        refused(
            &world,
            Forged::default().entry(kind, "x", "", b"").feed(),
            "archive.device",
        )
        .await;
    }
    let unknown = Forged::default().entry(EntryType::new(b'Z'), "x", "", b"");
    refused(&world, unknown.feed(), "archive.unknown_entry").await;
}

#[tokio::test]
async fn a_directory_that_the_archive_does_not_name_is_made() {
    let world = World::new();
    let archive = Forged::default().directory("./").file("./a//b/c").entry(
        EntryType::Regular,
        "old/",
        "",
        b"",
    );
    unpack(
        archive.feed(),
        &world.place("back"),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    assert_eq!(fs::read(world.place("back/a/b/c")).unwrap(), b"evil");
    assert_eq!(
        fs::metadata(world.place("back/a")).unwrap().mode() & 0o777,
        0o755
    );
    assert!(world.place("back/old").is_dir());
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stranger's tar is the other side of the format"
)]
fn gnu_tar(arguments: &[&OsStr]) -> Output {
    let output = std::process::Command::new("tar")
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "tar {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn tree_for_tar(world: &World) {
    let program = world.file("bin/run", vec![7; 70_000]);
    fs::set_permissions(&program, Permissions::from_mode(0o750)).unwrap();
    fs::hard_link(&program, world.root.join("bin/again")).unwrap();
    symlink("bin/run", world.root.join("link")).unwrap();
    symlink("t".repeat(300), world.root.join("long-target")).unwrap();
    world.file("n".repeat(200), "long");
    world.file(OsStr::from_bytes(b"not \xff text"), "1");
    let sparse = File::create(world.root.join("sparse")).unwrap();
    for n in 0..12 {
        sparse.write_all_at(b"island", n << 20).unwrap();
    }
    sparse.set_len(13 << 20).unwrap();
    date(&world.root.join("bin"), 1_000_000_000);
}

#[tokio::test]
async fn a_strangers_tar_unpacks_what_we_packed() {
    let world = World::new();
    tree_for_tar(&world);
    let (archive, _) = world.pack().await;
    fs::create_dir(world.place("back")).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&archive).unwrap();
    let back = world.place("back");
    gnu_tar(&[
        "-x".as_ref(),
        "-p".as_ref(),
        "-f".as_ref(),
        file.path().as_ref(),
        "-C".as_ref(),
        back.as_ref(),
    ]);
    assert_came_back(&world);
}

#[tokio::test]
async fn we_unpack_what_a_strangers_tar_packed_in_any_of_its_formats() {
    // Sparse files of the posix format are plain entries with a map inside, which few readers know.
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
    ] {
        let world = World::new();
        tree_for_tar(&world);
        let mut arguments: Vec<&OsStr> = vec!["-c".as_ref()];
        arguments.extend(options.iter().map(OsStr::new));
        arguments.extend([
            "-C".as_ref(),
            world.directory.path().as_os_str(),
            "app".as_ref(),
        ]);
        let archive = gnu_tar(&arguments).stdout;
        unpack_bytes(archive, &world.place("back")).await.unwrap();
        assert_came_back(&world);
    }
}
