//! Storages by URL in every place where one can be named, their credentials, and what is refused.

use std::num::{NonZeroU64, NonZeroUsize};

use kanbu_backup::storage::{CredentialWord as Word, Credentials, Place, Policy, Terms};
use tempfile::TempDir;

use crate::config::{file, load, problems, storages};

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIA"),
    ("AWS_SECRET_ACCESS_KEY", "hunter2"),
];

fn with_keys<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().copied().chain(KEYS).collect()
}

fn credentials(place: &Place) -> &Credentials {
    match place {
        Place::S3(place) => &place.bucket.credentials,
        Place::Azure(place) => &place.bucket.credentials,
        Place::GoogleDrive(place) => &place.bucket.credentials,
        Place::Gcs(bucket) => &bucket.credentials,
        Place::Local { .. } | Place::Mounted { .. } => panic!("{place} has no credentials"),
    }
}

#[test]
fn a_primary_storage_is_named_by_word_and_url() {
    let config = load(&with_keys(&[
        ("BACKUP_STORAGE", "s3"),
        (
            "KANBU_BACKUP_STORAGE_URL",
            "s3://backups/kanbu?region=eu-central-1",
        ),
        (
            "KANBU_BACKUP_REPLICAS",
            "nas=/mnt/nas, drive=mount:///mnt/drive",
        ),
    ]))
    .unwrap();
    assert_eq!(
        storages(&config),
        [
            "s3 primary s3://backups/kanbu?region=eu-central-1",
            "nas replica file:///mnt/nas",
            "drive replica mount:///mnt/drive",
        ]
    );
    let keys = credentials(&config.storage.storages[0].place);
    assert_eq!(keys.get(Word::SecretAccessKey), Some("hunter2"));
}

#[test]
fn the_region_of_the_environment_holds_where_the_url_says_none() {
    let config = load(&with_keys(&[
        ("BACKUP_STORAGE", "s3"),
        ("KANBU_BACKUP_STORAGE_URL", "s3://one"),
        ("KANBU_BACKUP_REPLICAS", "two=s3://two?region=us-west-2"),
        ("AWS_REGION", "eu-west-1"),
    ]))
    .unwrap();
    let told = storages(&config);
    assert_eq!(told[0], "s3 primary s3://one?region=eu-west-1");
    assert_eq!(told[1], "two replica s3://two?region=us-west-2");
}

#[test]
fn a_google_drive_is_a_mounted_directory_or_a_folder_of_it() {
    let config = load(&[
        ("BACKUP_STORAGE", "gdrive"),
        ("KANBU_BACKUP_STORAGE_URL", "gdrive://1AbC"),
        ("GOOGLE_DRIVE_CLIENT_ID", "id"),
        ("GOOGLE_DRIVE_CLIENT_SECRET", "secret"),
        ("GOOGLE_DRIVE_REFRESH_TOKEN", "token"),
    ])
    .unwrap();
    assert_eq!(storages(&config), ["gdrive primary gdrive://1AbC"]);
    let told = problems(&[
        ("BACKUP_STORAGE", "gdrive"),
        ("BACKUP_GDRIVE_PATH", "/mnt/drive"),
        ("KANBU_BACKUP_STORAGE_URL", "gdrive://1AbC"),
    ]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("KANBU_BACKUP_STORAGE_URL is set, but"),
        "{told:?}"
    );
}

#[test]
fn the_configuration_file_has_a_table_for_each_storage() {
    let directory = TempDir::new().unwrap();
    let secret = file(&directory, "secret", "hunter2\n");
    let text = format!(
        r#"
        [[storages]]
        name = "r2"
        role = "primary"
        url = "s3://backups/kanbu"
        options = {{ endpoint = "https://account.r2.example", equal_parts = true, region = "auto" }}
        access_key_id = "of-its-own"
        secret_access_key_file = "{secret}"

        [[storages]]
        name = "azure"
        url = "az://backups?account=acc"
        account_key = "a2V5"

        [[storages]]
        name = "disk"
        url = "file:///srv/backups"
        "#
    );
    let path = file(&directory, "config.toml", &text);
    let config = load(&with_keys(&[
        ("KANBU_BACKUP_CONFIG", &path),
        ("KANBU_BACKUP_REPLICAS", "nas=/mnt/nas"),
    ]))
    .unwrap();
    assert_eq!(
        storages(&config),
        [
            "r2 primary s3://backups/kanbu?region=auto&equal_parts=true&endpoint=https%3A%2F%2Faccount.r2.example%2F",
            "azure replica az://backups?account=acc",
            "disk replica file:///srv/backups",
            "nas replica file:///mnt/nas",
        ]
    );
    let keys = credentials(&config.storage.storages[0].place);
    assert_eq!(keys.get(Word::AccessKeyId), Some("of-its-own"));
    assert_eq!(keys.get(Word::SecretAccessKey), Some("hunter2"));
    let debug = format!("{config:?}");
    assert!(
        !debug.contains("hunter2") && !debug.contains("a2V5"),
        "{debug}"
    );
}

#[test]
fn a_storages_own_credentials_stand_above_those_for_all() {
    let directory = TempDir::new().unwrap();
    let secret = file(&directory, "secret", "own-secret\n");
    let config = load(&with_keys(&[
        ("KANBU_BACKUP_REPLICAS", "eu-1=s3://eu,us=s3://us"),
        ("KANBU_BACKUP_STORAGE_EU_1_ACCESS_KEY_ID", "own"),
        ("KANBU_BACKUP_STORAGE_EU_1_SECRET_ACCESS_KEY_FILE", &secret),
    ]))
    .unwrap();
    let of = |index: usize| credentials(&config.storage.storages[index].place);
    assert_eq!(of(1).get(Word::AccessKeyId), Some("own"));
    assert_eq!(of(1).get(Word::SecretAccessKey), Some("own-secret"));
    assert_eq!(of(2).get(Word::AccessKeyId), Some("AKIA"));
}

#[test]
fn half_of_a_login_is_not_filled_up_with_half_of_another() {
    let told = problems(&with_keys(&[
        ("KANBU_BACKUP_REPLICAS", "eu=s3://eu"),
        ("KANBU_BACKUP_STORAGE_EU_ACCESS_KEY_ID", "own"),
    ]));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("storage eu needs access_key_id and secret_access_key"),
        "{told:?}"
    );
}

#[test]
fn a_role_needs_no_keys_and_is_said_out_loud() {
    let url = ("KANBU_BACKUP_REPLICAS", "eu=s3://eu?login=role");
    let config = load(&[url]).unwrap();
    assert_eq!(storages(&config)[1], "eu replica s3://eu?login=role");
    let told = problems(&[("KANBU_BACKUP_REPLICAS", "eu=s3://eu")]);
    assert!(told[0].contains("login=role"), "{told:?}");
}

#[test]
fn every_mistake_with_a_storage_is_told_at_once_and_no_secret_with_it() {
    let directory = TempDir::new().unwrap();
    let text = r#"
        [[storages]]
        url = "file:///srv/unnamed"
        [[storages]]
        name = "odd"
        url = "file:///srv/odd"
        colour = "hunter2"
        [[storages]]
        name = "ftp"
        url = "ftp://user:hunter2@host/x"
        [[storages]]
        name = "twice"
        url = "/data/backups"
        [[storages]]
        name = "king"
        role = "emperor"
        url = "/srv/king"
        "#;
    let path = file(&directory, "config.toml", text);
    let told = problems(&[
        ("KANBU_BACKUP_CONFIG", &path),
        ("KANBU_BACKUP_REPLICAS", "x=s3://AKIA:hunter2@bucket"),
        ("BACKUP_STORAGE", "local"),
    ]);
    for start in [
        "KANBU_BACKUP_REPLICAS has a value that can't be used; x has a user or a password",
        "storages[0] has no name",
        "storages.odd has \"colour\", which",
        "storages.ftp has a user or a password",
        "storages.twice has local twice",
        "storages.king has a role",
    ] {
        assert!(
            told.iter().any(|text| text.starts_with(start)),
            "{start}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
}

#[test]
fn word_and_url_must_agree_and_one_primary_is_enough() {
    let directory = TempDir::new().unwrap();
    let text = "[[storages]]\nname = \"a\"\nrole = \"primary\"\nurl = \"/srv/a\"\n";
    let path = file(&directory, "config.toml", text);
    for (pairs, start) in [
        (
            vec![
                ("BACKUP_STORAGE", "s3"),
                ("KANBU_BACKUP_STORAGE_URL", "az://c?account=a"),
            ],
            "KANBU_BACKUP_STORAGE_URL begins with az, but BACKUP_STORAGE is s3",
        ),
        (
            vec![("BACKUP_STORAGE", "s3")],
            "KANBU_BACKUP_STORAGE_URL is not set, but BACKUP_STORAGE is s3",
        ),
        (
            vec![("KANBU_BACKUP_STORAGE_URL", "s3://b")],
            "KANBU_BACKUP_STORAGE_URL is set, but with BACKUP_STORAGE=local",
        ),
        (
            vec![
                ("KANBU_BACKUP_CONFIG", path.as_str()),
                ("BACKUP_STORAGE", "local"),
            ],
            "BACKUP_STORAGE is set, but the primary storage is one of [[storages]]",
        ),
    ] {
        let told = problems(&pairs);
        assert!(
            told.len() == 1 && told[0].starts_with(start),
            "{start}: {told:#?}"
        );
    }
}

#[test]
fn a_storage_has_limits_in_its_table_and_above_them_in_the_environment() {
    let directory = TempDir::new().unwrap();
    let text = r#"
        [[storages]]
        name = "eu-1"
        url = "/srv/eu"
        live = false
        concurrency = 2
        bandwidth = 5_000_000
        parts = 1
        "#;
    let path = file(&directory, "config.toml", text);
    let config = load(&[
        ("KANBU_BACKUP_CONFIG", &path),
        ("KANBU_BACKUP_REPLICAS", "nas=/mnt/nas"),
        ("KANBU_BACKUP_STORAGE_EU_1_PARTS", "3"),
        ("KANBU_BACKUP_STORAGE_NAS_BANDWIDTH", "65536"),
    ])
    .unwrap();
    let terms = |name: &str| config.storage.get(&name.parse().unwrap()).unwrap().terms;
    let expected = Terms {
        live: false,
        concurrency: NonZeroUsize::new(2),
        bandwidth: NonZeroU64::new(5_000_000),
        parts: NonZeroUsize::new(3).unwrap(),
    };
    assert_eq!(terms("eu-1"), expected);
    assert_eq!(terms("nas").bandwidth, NonZeroU64::new(65_536));
    assert_eq!(terms("local"), Terms::default());
}

#[test]
fn limits_that_are_none_are_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let text = r#"
        [[storages]]
        name = "nas"
        url = "/srv/nas"
        parts = 4
        "#;
    let path = file(&directory, "config.toml", text);
    let told = problems(&[
        ("KANBU_BACKUP_CONFIG", &path),
        ("KANBU_BACKUP_STORAGE_LOCAL_LIVE", "false"),
        ("KANBU_BACKUP_STORAGE_NAS_LIVE", "maybe"),
        ("KANBU_BACKUP_STORAGE_NAS_CONCURRENCY", "0"),
        ("KANBU_BACKUP_STORAGE_NAS_BANDWIDTH", "1000"),
        ("KANBU_BACKUP_STORAGE_NAS_SPEED", "1"),
    ]);
    for part in [
        "storage local is the primary and not live",
        "KANBU_BACKUP_STORAGE_NAS_LIVE is neither true nor false",
        "KANBU_BACKUP_STORAGE_NAS_CONCURRENCY is \"0\"; expected a whole number from 1 to 64",
        "KANBU_BACKUP_STORAGE_NAS_BANDWIDTH is \"1000\"; expected a whole number from 65536",
        "parts in [[storages]], or KANBU_BACKUP_STORAGE_NAS_PARTS, is \"4\"; expected",
        "KANBU_BACKUP_STORAGE_NAS_SPEED is not a setting",
    ] {
        assert!(
            told.iter().any(|text| text.starts_with(part)),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 6, "{told:#?}");
}

#[test]
fn a_policy_that_the_storages_can_not_meet_stops_the_start() {
    let replicas = ("KANBU_BACKUP_REPLICAS", "nas=/mnt/nas,far=/mnt/far");
    let policy = |text| ("KANBU_BACKUP_STORAGE_POLICY", text);
    let config = load(&[replicas]).unwrap();
    assert_eq!(config.storage.policy, Policy::AllOrDegraded);
    let config = load(&[replicas, policy("quorum(3)")]).unwrap();
    assert_eq!(config.storage.policy.to_string(), "quorum(3)");
    let not_live = ("KANBU_BACKUP_STORAGE_FAR_LIVE", "false");
    for (settings, sentence) in [
        (
            vec![policy("quorum(0)")],
            "is \"quorum(0)\"; a quorum of 0 storages asks for no backup",
        ),
        (
            vec![policy("most")],
            "is \"most\"; expected all-or-degraded, quorum(2)",
        ),
        (
            vec![policy("quorum(2)")],
            "is quorum(2), but backups are streamed to 1 storage only",
        ),
        (
            vec![replicas, policy("quorum(4)")],
            "is quorum(4), but backups are streamed to 3 storages only",
        ),
        (
            vec![replicas, policy("quorum(3)"), not_live],
            "is quorum(3), but backups are streamed to 2 storages only",
        ),
    ] {
        let told = problems(&settings);
        let expected = format!("KANBU_BACKUP_STORAGE_POLICY {sentence}");
        assert!(
            told.len() == 1 && told[0].starts_with(&expected),
            "{expected}: {told:?}"
        );
    }
}
