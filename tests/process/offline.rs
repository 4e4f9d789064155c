//! Without any service: a directory or a file, a key, and a server to restore into.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use futures::{StreamExt, stream};
use kanbu_backup::pg::process::Program;
use serde_json::Value;

use crate::{
    running::{PATIENCE, Running, kanbu_backup},
    tree,
    world::{KEY, World},
};

#[tokio::test]
async fn backups_are_listed_read_and_restored_from_a_directory_and_from_a_file() {
    let mut world = World::new().await;
    tree::plant(&world.path("tree"));
    let worker = world.worker("one").await;
    world.result(&["backup", "--label", "kept"]).await;
    world.result(&["backup", "source"]).await;
    world.dismiss(worker).await;
    let before = world.checksums(&world.protected.name).await;
    // Whoever comes later has the directory, and nothing else of the installation.
    for setting in [
        "KANBU_BACKUP_DATABASE_URL",
        "BACKUP_LOCAL_PATH",
        "KANBU_SOURCE_PATH",
    ] {
        world.unset(setting);
    }
    fs::rename(world.path("backups"), world.path("found")).unwrap();

    let list = world
        .run(&["list", "--from", "found", "--json"])
        .await
        .with(0);
    let document = list.document();
    let backups = document["backups"].as_array().unwrap();
    assert_eq!(backups.len(), 2);
    assert!(
        backups.iter().all(|backup| backup["seal"] == "sealed"),
        "{document}"
    );

    let target = format!("{}_back", world.protected.name);
    let restored = world
        .result(&[
            "restore", "--from", "found", "--kind", "database", "--into", &target,
        ])
        .await;
    assert_eq!(restored["database"], target.as_str());
    assert_eq!(world.checksums(&target).await, before);
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;

    let object = world.object_in("found", "database");
    fs::copy(&object, world.path("brought.kbk")).unwrap();
    let inspected = world
        .run(&["inspect", "brought.kbk", "--json"])
        .await
        .with(0)
        .document();
    assert_eq!(inspected["file"]["format"], "kbk2");
    assert_eq!(
        inspected["file"]["metadata_unverified"]["content"],
        "pg_dump-custom"
    );
    world
        .result(&["restore", "--from", "brought.kbk", "--into", &target])
        .await;
    assert_eq!(world.checksums(&target).await, before);
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;

    let decrypted = world
        .result(&["decrypt", "brought.kbk", "--decompress", "-o", "plain"])
        .await;
    let plain = fs::read(world.path("plain")).unwrap();
    assert_eq!(decrypted["bytes"], plain.len());
    assert!(plain.starts_with(b"PGDMP"));
    world
        .run(&["decrypt", "brought.kbk", "--decompress", "-o", "plain"])
        .await
        .refused(5, "refused.exists", "exists already");

    let back = world.path("tree back");
    world
        .result(&[
            "restore",
            "--from",
            "found",
            "--kind",
            "source",
            "--into",
            back.to_str().unwrap(),
        ])
        .await;
    let before = tree::entries(&world.path("tree"));
    assert_eq!(tree::entries(&tree::root_in(&back)), before);
}

/// The names under which the format documents its refusals, and their codes.
fn codes() -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository("docs/formats/envelope-v2.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('`');
        let name = cells.next()?.to_owned();
        let code = cells.nth(1)?.to_owned();
        code.contains('.').then_some((name, code))
    });
    rows.collect()
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

/// What is wrong with the answer of `decrypt` to one of the vectors, if anything.
async fn flaw(case: &Value, codes: &BTreeMap<String, String>) -> Option<String> {
    let text = |name: &str| case[name].as_str();
    let vectors = repository("tests/vectors/envelope-v2");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file.kbk");
    fs::copy(vectors.join(text("file").unwrap()), &file).unwrap();
    let beside = format!("{}.khdr", text("file").unwrap());
    let sidecar = vectors.join(text("header").unwrap_or(&beside));
    if sidecar.exists() {
        fs::copy(sidecar, place.path().join("file.kbk.khdr")).unwrap();
    }
    let files = fs::read_dir(place.path()).unwrap().count();
    let mut program = kanbu_backup()
        .directory(place.path())
        .arg("decrypt")
        .arg(&file);
    if case["no_sidecar"] == true {
        program = program.arg("--no-sidecar");
    }
    let keys: Vec<_> = [text("key"), text("passphrase")]
        .into_iter()
        .flatten()
        .collect();
    program = program.env("BACKUP_ENCRYPTION_KEY", keys.first().unwrap_or(&""));
    if let Some(second) = keys.get(1) {
        program = program.env("KANBU_BACKUP_OLD_ENCRYPTION_KEYS", second);
    }
    let ended = Running::start(program, "decrypt").end().await;
    let output = place.path().join("file");
    let is_right = if case["expect"] == "ok" {
        ended.code == 0 && digest(&output).await == case["plaintext_sha256"]
    } else {
        let code = codes.get(text("error").unwrap()).unwrap();
        let exit = if code.starts_with("key.") { 10 } else { 6 };
        ended.code == exit
            && ended.stderr.contains(&format!("({code})"))
            && fs::read_dir(place.path()).unwrap().count() == files
    };
    let name = text("case").unwrap();
    (!is_right).then(|| {
        format!(
            "{name}: expected {}, {} {}",
            case["expect"], ended.code, ended.stderr
        )
    })
}

async fn digest(file: &Path) -> String {
    let program = Program::new("/usr/bin/sha256sum").arg(file);
    let said = program.run(1000, PATIENCE).await.unwrap_or_default();
    let said = String::from_utf8(said).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn decrypt_answers_every_vector_of_the_envelope_as_it_should() {
    let text = fs::read_to_string(repository("tests/vectors/envelope-v2/manifest.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    // A manifest, and a generation that was seen before, are not told to `decrypt`.
    let is_for_decrypt =
        |case: &&Value| case["manifest"].is_null() && case["expect_generation"].is_null();
    let cases: Vec<_> = vectors["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_for_decrypt)
        .collect();
    assert!(cases.len() > 120, "{}", cases.len());
    let codes = codes();
    let flaws: Vec<_> = stream::iter(cases)
        .map(|case| flaw(case, &codes))
        .buffer_unordered(4)
        .filter_map(async |flaw| flaw)
        .collect()
        .await;
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[tokio::test]
async fn a_passphrase_file_opens_what_its_passphrase_sealed() {
    let mut world = World::new().await;
    world.set(
        "BACKUP_ENCRYPTION_KEY",
        "a passphrase with a blank at its end ",
    );
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    world.dismiss(worker).await;
    let object = world.object_of("database");
    world.set("BACKUP_ENCRYPTION_KEY", KEY);
    world
        .run(&["decrypt", &object, "-o", "plain"])
        .await
        .refused(10, "key.no_match", "no key");
    assert!(!world.path("plain").exists());
    fs::write(world.path("key"), "a passphrase with a blank at its end \n").unwrap();
    world
        .result(&["decrypt", &object, "-o", "plain", "--key-file", "key"])
        .await;
    assert!(world.path("plain").exists());
}
