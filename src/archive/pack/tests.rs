//! What happens when the tree changes under the packer: each test is the other process, between two of its steps.

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    thread,
};

use rustix::thread::CapabilitySet;
use tempfile::TempDir;

use super::*;
use crate::{archive::Paths, pipeline::Message};

struct World {
    directory: TempDir,
    root: PathBuf,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("app");
        fs::create_dir(&root).unwrap();
        Self { directory, root }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Packs on a thread of its own, so that what `hook` does to its thread ends with it.
    async fn pack(&self, mut hook: impl FnMut(&Path) + Send + 'static) -> (Packed, PackReport) {
        let (sender, mut feed) = feed();
        let output = FeedWriter::new(sender, CancellationToken::new(), Handle::current());
        let spec = PackSpec {
            root: self.root.clone(),
            excludes: Excludes::none(),
        };
        let packing = thread::spawn(move || {
            hook(Path::new(""));
            stream(spec, output, hook)
        });
        let mut bytes = Vec::new();
        let ended = loop {
            match feed.next().await {
                Message::Data(chunk) => bytes.extend_from_slice(&chunk),
                Message::End => break Ok(bytes),
                Message::Fail(failure) => break Err(failure),
            }
        };
        (Packed(ended), packing.join().unwrap())
    }
}

struct Packed(Result<Vec<u8>, Failure>);

impl Packed {
    /// Name and content of each entry.
    fn entries(&self) -> Vec<(String, Vec<u8>)> {
        let bytes = self.0.as_ref().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        self.entries().into_iter().map(|(name, _)| name).collect()
    }
}

fn when(
    name: &'static str,
    act: impl FnOnce() + Send + 'static,
) -> impl FnMut(&Path) + Send + 'static {
    let mut act = Some(act);
    move |path| {
        if path == Path::new(name)
            && let Some(act) = act.take()
        {
            act();
        }
    }
}

fn named(paths: &Paths) -> Vec<&str> {
    paths
        .first()
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_is_named_and_the_others_are_archived() {
    let world = World::new();
    world.file("a", "1");
    let gone = world.file("b", "2");
    world.file("c", "3");
    let (packed, report) = world
        .pack(when("app/b", move || fs::remove_file(gone).unwrap()))
        .await;
    assert_eq!(packed.names(), ["app", "app/a", "app/c"]);
    assert_eq!(named(&report.vanished), ["app/b"]);
    assert!(!report.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_vanishes_is_named() {
    let world = World::new();
    world.file("b/x", "2");
    let gone = world.root.join("b");
    let (packed, report) = world
        .pack(when("app/b", move || fs::remove_dir_all(gone).unwrap()))
        .await;
    assert_eq!(packed.names(), ["app"]);
    assert_eq!(named(&report.vanished), ["app/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_takes_the_place_of_a_file_or_directory_is_not_followed() {
    let world = World::new();
    let secret = world.directory.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("x"), "secret").unwrap();
    let file = world.file("a", "1");
    world.file("b/x", "2");
    let directory = world.root.join("b");
    let mut first = when("app/a", {
        let secret = secret.join("x");
        move || {
            fs::remove_file(&file).unwrap();
            symlink(secret, &file).unwrap();
        }
    });
    let mut second = when("app/b", move || {
        fs::remove_dir_all(&directory).unwrap();
        symlink(secret, &directory).unwrap();
    });
    let (packed, report) = world
        .pack(move |path| {
            first(path);
            second(path);
        })
        .await;
    assert_eq!(
        packed.names(),
        ["app", "app/b"],
        "the directory's own name is all that is left"
    );
    assert_eq!(named(&report.changed), ["app/a", "app/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_moved_away_fails_instead_of_archiving_its_new_neighbours() {
    let world = World::new();
    world.file("b/c/x", "2");
    let elsewhere = world.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("secret"), "secret").unwrap();
    let (from, to) = (world.root.join("b/c"), elsewhere.join("c"));
    let (packed, _) = world
        .pack(when("app/b/c/x", move || fs::rename(from, to).unwrap()))
        .await;
    let failure = packed.0.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("source.moved", Fault::Transient)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_named_and_the_others_are_archived() {
    let world = World::new();
    world.file("a", "1");
    let closed = world.file("b", "2");
    world.file("c/x", "3");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let directory = world.root.join("c");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    let (packed, report) = world
        .pack(|path| {
            if path.as_os_str().is_empty() {
                as_an_ordinary_user();
            }
        })
        .await;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(packed.names(), ["app", "app/a", "app/c"]);
    assert_eq!(named(&report.unreadable), ["app/b", "app/c"]);
    assert_eq!(report.files, 1);
}

/// Takes from this thread what lets root read everything.
fn as_an_ordinary_user() {
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective
        .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    rustix::thread::set_capabilities(None, sets).unwrap();
}

/// Packs one file of which `before` was true when it was opened.
async fn pack_file(file: File, before: Stat) -> (Packed, PackReport) {
    let (sender, mut feed) = feed();
    let output = FeedWriter::new(sender, CancellationToken::new(), Handle::current());
    let packing = tokio::task::spawn_blocking(move || {
        let mut packer = Packer {
            tar: Builder::new(output),
            excludes: Excludes::none(),
            before_open: |_: &Path| {},
            linked: HashMap::new(),
            report: PackReport::default(),
        };
        packer
            .append_file(Path::new("app/a"), &file, &before)
            .unwrap();
        packer
            .append_directory(Path::new("app/b"), &before)
            .unwrap();
        packer.tar.finish().unwrap();
        packer.tar.get_mut().end();
        packer.report
    });
    let mut bytes = Vec::new();
    while let Message::Data(chunk) = feed.next().await {
        bytes.extend_from_slice(&chunk);
    }
    (Packed(Ok(bytes)), packing.await.unwrap())
}

#[tokio::test]
async fn a_file_that_shrinks_is_filled_up_and_one_that_grows_is_cut() {
    let world = World::new();
    let path = world.file("a", "0123456789");
    let before = rustix::fs::fstat(File::open(&path).unwrap()).unwrap();
    for (now, archived) in [
        ("0123", "0123\0\0\0\0\0\0"),
        ("0123456789abc", "0123456789"),
    ] {
        fs::write(&path, now).unwrap();
        let (packed, report) = pack_file(File::open(&path).unwrap(), before).await;
        let entries = packed.entries();
        assert_eq!(entries[0].1, archived.as_bytes());
        assert_eq!(entries[1].0, "app/b", "the archive goes on behind the file");
        assert_eq!(named(&report.changed), ["app/a"]);
    }
}

#[test]
fn a_file_above_eight_gibibytes_has_its_size_in_the_header() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(9 << 30).unwrap();
    let stat = rustix::fs::fstat(&file).unwrap();
    let size = u64::try_from(stat.st_size).unwrap();
    let mut header = header(&stat, EntryType::Regular, size);
    header.set_cksum();
    let read = Header::from_byte_slice(header.as_bytes());
    assert_eq!(read.entry_size().unwrap(), 9 << 30);
}

#[tokio::test]
async fn a_file_whose_reading_fails_is_filled_up_and_named_as_unreadable() {
    let world = World::new();
    let before = rustix::fs::fstat(File::open(world.file("a", "0123456789")).unwrap()).unwrap();
    // Nothing is mapped at the beginning of our memory, so that reading there is an error.
    let failing = File::open("/proc/self/mem").unwrap();
    let (packed, report) = pack_file(failing, before).await;
    assert_eq!(packed.entries()[0].1, [0; 10]);
    assert_eq!(packed.names(), ["app/a", "app/b"]);
    assert_eq!(named(&report.unreadable), ["app/a"]);
}
