//! Files that others made become backups, and stay what and where they are.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::world::World;

const PASSPHRASE: &str = "correct horse battery staple";
const OLD_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a run of the verb says of every file, by its name.
async fn import(world: &World, args: &[&str], code: i32) -> BTreeMap<String, Value> {
    let args: Vec<_> = ["storage", "import", "--json"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let report = world.run(&args).await.with(code).document();
    let files = report["import"]["files"].as_array().unwrap();
    let name = |file: &Value| {
        let path = Path::new(file["path"].as_str().unwrap());
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    files
        .iter()
        .map(|file| (name(file), file.clone()))
        .collect()
}

fn fates(files: &BTreeMap<String, Value>) -> BTreeMap<&str, &str> {
    let fate = |file: &Value| file["code"].as_str().map(|_| ()).is_some();
    files
        .iter()
        .map(|(name, file)| {
            let word = if fate(file) { "code" } else { "fate" };
            (name.as_str(), file[word].as_str().unwrap())
        })
        .collect()
}

/// Bytes and times of the files in a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let modified = entry.metadata().unwrap().modified().unwrap();
            (entry.path(), (fs::read(entry.path()).unwrap(), modified))
        })
        .collect()
}

/// What becomes of Kanbu's files in a preview.
const KANBUS_FATES: [(&str, &str); 10] = [
    (
        "kanbu_backup_2026-01-17T10-30-00_v1.sql",
        "would be adopted",
    ),
    ("kanbu_backup_2026-01-18T10-30-00.sql", "would be adopted"),
    (
        "kanbu_backup_2026-01-18T11-30-00.sql.gz",
        "would be adopted",
    ),
    (
        "kanbu_backup_2026-01-18T12-30-00.sql.gz.enc",
        "would be adopted",
    ),
    (
        "kanbu_backup_2026-01-18T13-30-00.sql.gz.enc",
        "would be adopted",
    ),
    (
        "kanbu_backup_2026-01-19T10-30-00.sql.gz.enc",
        "envelope.legacy_auth",
    ),
    (
        "kanbu_backup_2026-01-19T11-30-00.sql.gz.enc",
        "envelope.legacy_auth",
    ),
    (
        "kanbu_backup_2026-01-19T12-30-00.sql.gz.enc",
        "envelope.legacy_auth",
    ),
    (
        "kanbu_backup_2026-01-19T13-30-00.sql.gz",
        "pipeline.compressed_truncated",
    ),
    (
        "kanbu_source_2026-01-18T14-30-00.tar.gz.enc",
        "would be adopted",
    ),
];

/// In Kanbu's own directory; returns it.
fn plant_kanbus_files(world: &World) -> PathBuf {
    let flat = world.path("backups").join("default");
    fs::create_dir_all(&flat).unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/kanbu-legacy");
    for entry in fs::read_dir(vectors).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap();
        if name != "manifest.json" {
            fs::copy(&from, flat.join(name)).unwrap();
        }
    }
    // Kanbu's checksum is of what it then encrypts; and its files of before there were environments lie above.
    let sum = "a9baef34e7e3ad57a33083d954332e5ee96deaf999a55fb9f4b713b4c989c81f  x\n";
    fs::write(
        flat.join("kanbu_backup_2026-01-18T12-30-00.sql.gz.enc.sha256"),
        sum,
    )
    .unwrap();
    let above = world
        .path("backups")
        .join("kanbu_backup_2026-01-17T10-30-00_v1.sql");
    let sql = fs::read_to_string(flat.join("kanbu_backup_2026-01-18T10-30-00.sql")).unwrap();
    fs::write(
        &above,
        sql.replacen(
            "PostgreSQL database dump",
            "PostgreSQL database dump\n--",
            1,
        ),
    )
    .unwrap();
    flat
}

#[tokio::test]
async fn kanbus_directory_is_previewed_then_adopted_once_and_never_changed() {
    let mut world = World::new().await;
    world.set("BACKUP_ENCRYPTION_KEY", PASSPHRASE);
    world.set("KANBU_BACKUP_OLD_ENCRYPTION_KEYS", OLD_KEY);
    let flat = plant_kanbus_files(&world);
    let before = contents(&flat);

    let preview = import(&world, &[], 3).await;
    assert_eq!(fates(&preview), BTreeMap::from(KANBUS_FATES));
    assert_eq!(world.listed().await, 0);

    let applied = import(&world, &["--apply"], 3).await;
    let adopted = applied.values().filter(|file| file["fate"] == "adopted");
    assert_eq!(adopted.count(), 6);
    assert_eq!(world.listed().await, 6);
    let again = import(&world, &["--apply"], 3).await;
    assert_eq!(
        again
            .values()
            .filter(|file| file["fate"] == "known")
            .count(),
        6
    );
    assert_eq!(world.listed().await, 6);
    assert_eq!(contents(&flat), before);

    let list = world.run(&["list", "--json"]).await.with(0).document();
    let oldest = list["backups"].as_array().unwrap().last().unwrap();
    assert_eq!(oldest["created_at"], "2026-01-17T10:30:00Z");
    let label = "imported from kanbu_backup_2026-01-17T10-30-00_v1.sql";
    assert_eq!(oldest["label"], label);
    let subject = format!("database:{}", world.protected.name);
    assert_eq!(oldest["subject"], subject.as_str());
    let worker = world.worker("one").await;
    let verified = world.run(&["verify", "--all"]).await.with(0);
    assert!(verified.stdout.contains("2 subjects"), "{verified:?}");
    world.dismiss(worker).await;
}

#[tokio::test]
async fn an_adopted_backup_is_restored_like_any_other() {
    let mut world = World::new().await;
    let before = world.checksums(&world.protected.name).await;
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    let brought = world.path("brought");
    fs::create_dir(&brought).unwrap();
    // Its name says nothing, its bytes do.
    let archive = brought.join("holiday.jpg");
    world
        .run(&[
            "get",
            "latest",
            "--decrypt",
            "-o",
            archive.to_str().unwrap(),
        ])
        .await
        .with(0);
    let sealed = brought.join("copy.kbk");
    world
        .run(&["get", "latest", "-o", sealed.to_str().unwrap()])
        .await
        .with(0);
    world.dismiss(worker).await;
    world.lose_control().await;
    fs::remove_dir_all(world.path("backups")).unwrap();
    world.run(&["migrate", "db"]).await.with(0);

    let path = brought.to_str().unwrap();
    let unnamed = import(&world, &[path], 3).await;
    assert_eq!(unnamed["holiday.jpg"]["code"], "import.no_subject");
    let url = format!("file://{path}");
    let subject = "database:brought";
    let wrong = import(&world, &[&url, "--subject", "source:site"], 3).await;
    assert_eq!(wrong["holiday.jpg"]["code"], "import.wrong_subject");
    let adopted = import(&world, &[&url, "--subject", subject, "--apply"], 0).await;
    assert_eq!(adopted["holiday.jpg"]["content"], "pg_dump-custom");
    assert_eq!(adopted["copy.kbk"]["envelope"], "kbk2");

    let worker = world.worker("two").await;
    for (number, file) in adopted.values().enumerate() {
        let id = file["artifact"].as_str().unwrap();
        let target = format!("{}_back_{number}", world.protected.name);
        world.result(&["restore", id, "--into", &target]).await;
        assert_eq!(world.checksums(&target).await, before, "{file}");
        world
            .protected
            .run(&format!("drop database {target}"))
            .await;
    }
    assert_eq!(world.result(&["verify", "latest"]).await["good"], 1);
    world.dismiss(worker).await;
    // Its manifest is one like any other: it survives the loss of the catalog.
    world.lose_control().await;
    world.run(&["catalog", "rebuild"]).await.with(0);
    assert_eq!(world.listed().await, 2);
}

const FATES_OF_ALL_SORTS: [(&str, &str); 14] = [
    ("cluster.sql", "import.whole_server"),
    ("empty.sql", "import.empty"),
    ("gone.pgc.sha256", "import.checksum_alone"),
    ("half.pgc", "import.truncated"),
    ("half.tar", "import.truncated"),
    ("half.zst", "pipeline.compressed_truncated"),
    ("head.pgc", "import.truncated"),
    ("link.sql", "import.symbolic_link"),
    ("not-text-\u{fffd}.pgc", "adopted"),
    ("odd.pgc", "import.checksum_malformed"),
    ("photo.jpg", "import.foreign"),
    ("plain.sql", "database.dump_incomplete"),
    ("rotten.pgc", "import.checksum"),
    ("secret.enc", "import.no_key"),
];

/// Files of every sort that is no backup, and one that is.
fn plant_all_sorts(brought: &Path, [archive, zstd, tar]: [&[u8]; 3]) {
    fs::create_dir(brought).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(brought.join(name), bytes).unwrap();
    put("empty.sql", b"");
    put("half.pgc", &archive[..archive.len() / 2]);
    put("head.pgc", &archive[..20]);
    put("half.zst", &zstd[..zstd.len() / 2]);
    put("half.tar", &tar[..2048]);
    put(
        "plain.sql",
        b"--\n-- PostgreSQL database dump\n--\n\nselect 1;\n",
    );
    put(
        "cluster.sql",
        b"--\n-- PostgreSQL database cluster dump\n--\n",
    );
    put("photo.jpg", &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
    put("secret.enc", &[7; 900]);
    put("rotten.pgc", archive);
    put(
        "rotten.pgc.sha256",
        format!("{}  rotten.pgc\n", "0".repeat(64)).as_bytes(),
    );
    put("odd.pgc", archive);
    put("odd.pgc.sha256", b"who knows");
    put("gone.pgc.sha256", b"");
    put(".backup-test", b"");
    fs::create_dir(brought.join("below")).unwrap();
    symlink(brought.join("empty.sql"), brought.join("link.sql")).unwrap();
    let not_text = brought.join(OsStr::from_bytes(b"not-text-\xff.pgc"));
    fs::write(not_text, archive).unwrap();
}

#[tokio::test]
async fn what_is_no_whole_backup_is_left_out_with_its_reason() {
    let mut world = World::new().await;
    world.unset("BACKUP_ENCRYPTION_KEY");
    let tree = world.path("tree");
    fs::write(tree.join("page"), "x".repeat(5000)).unwrap();
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    world.result(&["backup", "source"]).await;
    let get = async |kind: &str, name: &str, decrypt: bool| {
        let path = world.path(name);
        let mut args = vec![
            "get",
            "latest",
            "--kind",
            kind,
            "-o",
            path.to_str().unwrap(),
        ];
        args.extend(decrypt.then_some("--decrypt"));
        world.run(&args).await.with(0);
        fs::read(path).unwrap()
    };
    let archive = get("database", "a.pgc", true).await;
    let zstd = get("database", "a.pgc.zst", false).await;
    let tar = get("source", "a.tar", true).await;
    world.dismiss(worker).await;

    let brought = world.path("brought");
    plant_all_sorts(&brought, [&archive, &zstd, &tar]);
    let args = [
        brought.to_str().unwrap(),
        "--subject",
        "database:x",
        "--apply",
    ];
    let files = import(&world, &args, 3).await;
    assert_eq!(fates(&files), BTreeMap::from(FATES_OF_ALL_SORTS));
    let text = world.run(&["storage", "import", args[0]]).await.with(3);
    assert!(
        text.stdout.contains("left out: ") && text.stdout.contains("1 directories"),
        "{text:?}"
    );
}

#[tokio::test]
async fn an_import_that_cannot_begin_says_why() {
    let mut world = World::new().await;
    let missing = world.path("nowhere");
    let missing = missing.to_str().unwrap();
    world
        .run(&["storage", "import", missing])
        .await
        .refused(4, "import.not_found", "nowhere");
    let bucket = world
        .run(&["storage", "import", "s3://bucket/old", "--apply"])
        .await
        .with(2);
    assert!(
        bucket.stderr.contains("no directory of this machine"),
        "{bucket:?}"
    );
    world
        .run(&["storage", "import", "--storage", "third", missing])
        .await
        .refused(2, "usage.no_subject", "third");
    // Thousands of other people's files are read no further than their beginning.
    let crowd = world.path("crowd");
    fs::create_dir(&crowd).unwrap();
    for number in 0..3000 {
        fs::write(crowd.join(format!("{number}.log")), "a line\n".repeat(900)).unwrap();
    }
    let files = import(&world, &[crowd.to_str().unwrap()], 3).await;
    assert_eq!(files.len(), 3000);
    assert!(files.values().all(|file| file["code"] == "import.foreign"));
    // Where it is to go is away.
    fs::remove_dir_all(&crowd).unwrap();
    fs::create_dir(&crowd).unwrap();
    let dump =
        "--\n-- PostgreSQL database dump\n--\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
    fs::write(crowd.join("kanbu_backup_2026-01-18T10-30-00.sql"), dump).unwrap();
    fs::write(world.path("elsewhere"), "").unwrap();
    world.set(
        "BACKUP_LOCAL_PATH",
        world.path("elsewhere").to_str().unwrap(),
    );
    let away = world
        .run(&["storage", "import", crowd.to_str().unwrap(), "--apply"])
        .await
        .with(7);
    assert!(away.stderr.contains("storage."), "{away:?}");
    assert_eq!(world.listed().await, 0);
}
