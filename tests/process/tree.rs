//! A source tree with what trees have: odd names, modes, links, an empty directory, a file of some size.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// What there is to compare of one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: PathBuf },
}

/// Fills an empty directory.
pub(crate) fn plant(root: &Path) {
    fs::create_dir_all(root.join("src/deep/er")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for n in 0..12 {
        fs::write(
            root.join(format!("src/file-{n}.ts")),
            format!("export {n};\n").repeat(n * 100),
        )
        .unwrap();
    }
    fs::write(root.join("src/deep/er/Grüße 世界 \"quoted\".txt"), "ünï").unwrap();
    fs::write(root.join("src/new\nline"), "").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::write(root.join(".env"), "SECRET=1\n").unwrap();
    fs::write(root.join("big.bin"), vec![7; 3_000_001]).unwrap();
    symlink("run.sh", root.join("link")).unwrap();
    symlink("nowhere/at all", root.join("src/broken")).unwrap();
    fs::hard_link(root.join("big.bin"), root.join("src/same.bin")).unwrap();
    for (name, mode) in [("run.sh", 0o755), (".env", 0o600), ("empty", 0o750)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    // Left out by Kanbu's own excludes.
    fs::create_dir(root.join("node_modules")).unwrap();
    fs::write(root.join("node_modules/x.js"), "x").unwrap();
}

/// Where a restored tree begins: an archive holds the directory's own name.
pub(crate) fn root_in(restored: &Path) -> PathBuf {
    let inside = restored.join("tree");
    assert!(inside.is_dir(), "{}", inside.display());
    inside
}

/// Everything below a directory but what is excluded from archives.
pub(crate) fn entries(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let mode = data.permissions().mode() & 0o7777;
        let name = path.strip_prefix(root).unwrap().to_owned();
        if name.ends_with("node_modules") {
            continue;
        }
        let entry = if data.is_symlink() {
            Entry::Link {
                target: fs::read_link(&path).unwrap(),
            }
        } else if data.is_dir() {
            collect(root, &path, found);
            Entry::Directory { mode }
        } else {
            let content = fs::read(&path).unwrap();
            Entry::File { mode, content }
        };
        found.insert(name, entry);
    }
}
