//! Google Drive as a storage, against a fake of its protocol: the promises of every storage, and each fault by itself.

#[path = "gdrive/api.rs"]
mod api;
#[path = "gdrive/beside.rs"]
mod beside;
#[path = "gdrive/fake.rs"]
mod fake;
#[path = "gdrive/logins.rs"]
mod logins;
#[path = "gdrive/mend.rs"]
mod mend;
#[path = "gdrive/names.rs"]
mod names;
#[path = "gdrive/shelf.rs"]
mod shelf;
#[path = "gdrive/uploads.rs"]
mod uploads;

use bytes::Bytes;
use futures::TryStreamExt;
use kanbu_backup::{
    fault::{Classified, Fault},
    storage::{
        CredentialWord, Credentials, ObjectKey, Place, Role, Storage, StorageConfig, Terms,
        conformance,
        gdrive::{Deletion, DriveError, GoogleDrive},
    },
};
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, path::Path,
};

use self::{
    beside::storage,
    fake::{CLIENT_SECRET, FakeDrive, REFRESH_TOKEN, Trouble, Verb},
    shelf::ROOT,
};

const OBJECT: &str = "prod/database/one/dump.kbk";
const FOREVER: u64 = u64::MAX;

fn at(path: &str) -> Path {
    Path::parse(path).unwrap()
}

/// Bytes that differ wherever they are cut.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| u8::try_from(i * 31 % 251).unwrap())
        .collect()
}

async fn create(drive: &GoogleDrive, path: &str, content: &[u8]) -> object_store::Result<()> {
    let payload = PutPayload::from(content.to_vec());
    let put = drive
        .put_opts(&at(path), payload, PutMode::Create.into())
        .await;
    put.map(drop)
}

async fn read(drive: &GoogleDrive, path: &str) -> object_store::Result<Bytes> {
    drive.get(&at(path)).await?.bytes().await
}

async fn list(drive: &GoogleDrive, prefix: &str) -> object_store::Result<Vec<String>> {
    let found: Vec<ObjectMeta> = drive.list(Some(&at(prefix))).try_collect().await?;
    let mut names: Vec<String> = found.into_iter().map(|meta| meta.location.into()).collect();
    names.sort();
    Ok(names)
}

fn reason(error: &object_store::Error) -> (u16, &str) {
    let drive = DriveError::of(error).unwrap_or_else(|| panic!("not google's: {error:?}"));
    (drive.status().unwrap_or(0), drive.reason().unwrap_or(""))
}

/// As a configuration names it.
fn by_url(fake: &FakeDrive) -> Storage {
    let url = format!("gdrive://{ROOT}?endpoint={}", fake.url(""));
    let credentials = Credentials::default()
        .with(CredentialWord::ClientId, "client")
        .with(CredentialWord::ClientSecret, CLIENT_SECRET)
        .with(CredentialWord::RefreshToken, REFRESH_TOKEN);
    let place = Place::parse(&url).unwrap().with_credentials(credentials);
    let config = StorageConfig {
        name: "drive".parse().unwrap(),
        role: Role::Replica,
        place: place.unwrap(),
        terms: Terms::default(),
    };
    Storage::open(&config).unwrap()
}

#[tokio::test]
async fn a_google_drive_keeps_every_promise_of_a_storage() {
    let fake = FakeDrive::start().await;
    conformance::keeps_every_promise(&by_url(&fake)).await;
    let state = fake.state();
    assert_eq!(state.breaches, [""; 0]);
    assert_eq!(state.shelf.objects(), 0);
    assert_eq!(state.refused, 0);
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_to_says_denied() {
    let fake = FakeDrive::start().await;
    let refusal = Trouble::Status(403, "insufficientFilePermissions");
    fake.troubles(Verb::MakeFolder, 0, FOREVER, refusal);
    let error = create(&fake.store(), OBJECT, b"x").await.unwrap_err();
    assert!(
        matches!(error, object_store::Error::PermissionDenied { .. }),
        "{error:?}"
    );
    let (_place, storage) = storage(fake.store());
    let nonce = kanbu_backup::id::ExecutionId::new();
    let error = storage
        .upload(&ObjectKey::Probe { nonce })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("storage.denied", Fault::Permanent)
    );
    assert_eq!(
        fake.count(Verb::MakeFolder),
        2,
        "a refusal for good was asked again"
    );
    fake.assert_clean(0);
}

#[tokio::test]
async fn a_used_up_quota_says_full_and_keeps_nothing() {
    let fake = FakeDrive::start().await;
    for verb in [Verb::Piece, Verb::Finish] {
        let refusal = Trouble::Status(403, "storageQuotaExceeded");
        fake.troubles(verb, 0, FOREVER, refusal);
    }
    let (_place, storage) = storage(fake.store());
    conformance::a_full_place_says_full_and_keeps_nothing(&storage).await;
    assert_eq!(fake.count(Verb::Piece), 1, "a full drive was asked again");
    fake.assert_clean(0);
}

#[tokio::test]
async fn a_root_folder_that_is_gone_is_missing_and_not_empty() {
    for trash in [false, true] {
        let fake = FakeDrive::start().await;
        let storage = by_url(&fake);
        if trash {
            fake.state().shelf.get_mut(ROOT).unwrap().trashed = true;
        } else {
            fake.state().shelf.remove(ROOT);
        }
        conformance::a_missing_bucket_says_so(&storage).await;
        let error = fake.store().present().await.unwrap_err();
        assert!(
            matches!(DriveError::of(&error), Some(DriveError::NoRoot { .. })),
            "{error:?}"
        );
    }
    FakeDrive::start().await.store().present().await.unwrap();
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for (status, word, expected) in [
        (403, "storageQuotaExceeded", "Generic"),
        (403, "insufficientFilePermissions", "PermissionDenied"),
        (403, "dailyLimitExceeded", "Generic"),
        (403, "userRateLimitExceeded", "Generic"),
        (401, "authError", "Unauthenticated"),
        (404, "notFound", "NotFound"),
        (500, "backendError", "Generic"),
    ] {
        let fake = FakeDrive::start().await;
        create(&fake.store(), OBJECT, b"x").await.unwrap();
        fake.troubles(Verb::Read, 0, FOREVER, Trouble::Status(status, word));
        let error = read(&fake.store(), OBJECT).await.unwrap_err();
        assert_eq!(reason(&error), (status, word));
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        let asked_again = matches!(word, "userRateLimitExceeded" | "backendError" | "authError");
        assert_eq!(fake.count(Verb::Read) > 1, asked_again, "{word}");
    }
}

#[tokio::test]
async fn a_request_waits_as_long_as_google_asks() {
    let fake = FakeDrive::start().await;
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    fake.trouble(Verb::Read, Trouble::RetryAfter(1));
    assert_eq!(read(&fake.store(), OBJECT).await.unwrap(), "x");
    let reads = fake.seen(Verb::Read);
    assert_eq!(reads.len(), 2);
    assert!(reads[1].at - reads[0].at >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn a_request_doesnt_wait_for_hours() {
    let fake = FakeDrive::start().await;
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    fake.trouble(Verb::Read, Trouble::RetryAfter(3600));
    let error = read(&fake.store(), OBJECT).await.unwrap_err();
    assert_eq!(reason(&error).0, 429);
}

#[tokio::test]
async fn reading_goes_on_after_a_cut_and_never_ends_early() {
    let sent = content(700_000);
    for trouble in [
        Trouble::CutAnswer,
        Trouble::Short,
        Trouble::Status(503, "backendError"),
    ] {
        let fake = FakeDrive::start().await;
        let drive = fake.store();
        create(&drive, OBJECT, &sent).await.unwrap();
        fake.troubles(Verb::Read, 0, 2, trouble);
        let got = read(&drive, OBJECT).await.unwrap();
        assert!(got == sent, "{trouble:?}: {} bytes", got.len());
        assert_eq!(fake.count(Verb::Read), 3, "{trouble:?}");
    }
}

#[tokio::test]
async fn ranges_are_asked_of_google_and_not_cut_from_the_whole() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"0123456789").await.unwrap();
    for (range, expected) in [
        (GetRange::Bounded(2..5), "234"),
        (GetRange::Bounded(8..99), "89"),
        (GetRange::Offset(7), "789"),
        (GetRange::Suffix(3), "789"),
    ] {
        let options = GetOptions {
            range: Some(range.clone()),
            ..GetOptions::default()
        };
        let got = drive.get_opts(&at(OBJECT), options).await.unwrap();
        assert_eq!(got.meta.size, 10);
        assert_eq!(got.bytes().await.unwrap(), expected, "{range:?}");
    }
    drive.get_range(&at(OBJECT), 10..11).await.unwrap_err();
}

#[tokio::test]
async fn a_look_tells_size_sum_and_revision() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"first").await.unwrap();
    let first = drive.head(&at(OBJECT)).await.unwrap();
    assert_eq!(first.size, 5);
    assert_eq!(
        first.e_tag.as_deref(),
        Some("8b04d5e3775d298e78455efc5ca404d5")
    );
    drive.put(&at(OBJECT), "second".into()).await.unwrap();
    let second = drive.head(&at(OBJECT)).await.unwrap();
    assert_ne!(
        (&first.e_tag, &first.version),
        (&second.e_tag, &second.version)
    );
    assert_eq!(fake.content(OBJECT), b"second");
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_listing_has_every_page_and_every_folder_below() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let mut expected = Vec::new();
    for folder in [
        "prod/database/one",
        "prod/database/two",
        "prod/source/three",
    ] {
        for number in 0..5 {
            let path = format!("{folder}/{number}");
            create(&drive, &path, b"x").await.unwrap();
            expected.push(path);
        }
    }
    create(&drive, "other/one", b"x").await.unwrap();
    assert_eq!(list(&fake.store(), "prod").await.unwrap(), expected);
    let direct = drive.list_with_delimiter(Some(&at("prod"))).await.unwrap();
    let mut folders = direct.common_prefixes;
    folders.sort();
    assert_eq!(folders, ["prod/database", "prod/source"].map(at));
    assert_eq!(list(&drive, "nothing/here").await.unwrap(), [""; 0]);
    let missing = drive
        .list(Some(&at("prod/database/one")))
        .try_collect::<Vec<_>>();
    assert_eq!(missing.await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_listing_that_fails_half_way_is_an_error() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    for number in 0..5 {
        create(&drive, &format!("prod/{number}"), b"x")
            .await
            .unwrap();
    }
    let forbidden = Trouble::Status(403, "insufficientFilePermissions");
    fake.troubles(Verb::Search, 1, FOREVER, forbidden);
    list(&drive, "prod").await.unwrap_err();
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_not_in_the_trash() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    create(&drive, OBJECT, b"x").await.unwrap();
    fake.trouble(Verb::Remove, Trouble::AnswerLost);
    drive.delete(&at(OBJECT)).await.unwrap();
    fake.assert_clean(0);
    assert_eq!(
        fake.state().shelf.at("prod/database/one"),
        [""; 0],
        "its folder stayed"
    );
    assert_eq!(fake.state().shelf.at("prod/database").len(), 1);
    let error = drive.delete(&at(OBJECT)).await.unwrap_err();
    assert!(
        matches!(error, object_store::Error::NotFound { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_deleted_object_goes_to_the_trash_where_that_is_wanted() {
    let fake = FakeDrive::start().await;
    let mut config = fake.config(FakeDrive::credentials());
    config.deletion = Deletion::Trash;
    let drive = GoogleDrive::new(config).unwrap();
    create(&drive, OBJECT, b"x").await.unwrap();
    drive.delete(&at(OBJECT)).await.unwrap();
    let error = drive.head(&at(OBJECT)).await.unwrap_err();
    assert!(
        matches!(error, object_store::Error::NotFound { .. }),
        "{error:?}"
    );
    assert_eq!(list(&drive, "prod").await.unwrap(), [""; 0]);
    fake.assert_clean(1);
    create(&drive, OBJECT, b"again").await.unwrap();
    assert_eq!(fake.content(OBJECT), b"again");
}

#[tokio::test]
async fn what_is_not_done_here_is_said() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let how = CopyOptions::new().with_mode(CopyMode::Overwrite);
    let copied = drive.copy_opts(&at("a"), &at("b"), how).await;
    assert!(
        matches!(copied, Err(object_store::Error::NotImplemented { .. })),
        "{copied:?}"
    );
}
