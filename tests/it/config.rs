//! Settings: precedence, secrets in files, and that every mistake is told at once.

use std::{fs, path::Path, time::Duration};

use kanbu_backup::{
    config::{
        self, BackupFormat, Config, ConfigErrors, Env, LogFormat, Origin, PgMode, SETTINGS,
        SchedulerMode,
    },
    fault::Classified,
    job::Kind,
};
use tempfile::TempDir;

const URL: &str = "postgresql://kanbu:hunter2@db:5432/kanbu";

pub(crate) fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(&pairs.iter().copied().collect(), None)
}

pub(crate) fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    told(&load(pairs).expect_err("wrong settings were accepted"))
}

fn told(errors: &ConfigErrors) -> Vec<String> {
    errors.problems().iter().map(ToString::to_string).collect()
}

/// Each with its role and its URL.
pub(crate) fn storages(config: &Config) -> Vec<String> {
    let storages = config.storage.storages.iter();
    storages
        .map(|storage| format!("{} {} {}", storage.name, storage.role, storage.place))
        .collect()
}

fn origin(config: &Config, name: &str) -> (Option<String>, Origin) {
    let effective = config
        .effective
        .iter()
        .find(|shown| shown.setting.name == name)
        .unwrap();
    (effective.shown.clone(), effective.origin.clone())
}

pub(crate) fn file(directory: &TempDir, name: &str, content: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let config = load(&[]).unwrap();
    assert!(config.control.url.is_none());
    assert!(config.protected.url.is_none() && config.protected.through_docker());
    assert_eq!(config.protected.subject.to_string(), "database:kanbu");
    assert_eq!(config.source.trees[0].root, Path::new("/app"));
    assert_eq!(config.source.trees[0].subject.to_string(), "source:app");
    assert_eq!(config.source.excludes.patterns().len(), 10);
    assert_eq!(storages(&config), ["local primary file:///data/backups"]);
    assert_eq!(config.storage.environment.as_str(), "default");
    assert!(config.encryption.key.is_none());
    assert_eq!(config.pipeline.format, BackupFormat::Native);
    assert_eq!(config.pipeline.zstd_level, 3);
    assert!((1..=4).contains(&config.pipeline.zstd_workers));
    assert_eq!(config.worker.lease, Duration::from_mins(1));
    assert_eq!(config.worker.slots.len(), 5);
    assert_eq!(config.worker.slots[&Kind::Notify], 8);
    assert_eq!(config.notify.channels.len(), 0);
    assert_eq!(config.schedule.timezone, chrono_tz::Europe::Amsterdam);
    assert_eq!(config.schedule.mode, SchedulerMode::Internal);
    assert!(!config.retention.manual.deletes());
    assert_eq!(config.retention.safety.max_age_days, Some(30));
    assert_eq!(config.log.format, LogFormat::ByTerminal);
}

#[test]
fn every_declared_setting_is_read_exactly_once() {
    let config = load(&[]).unwrap();
    let mut read: Vec<&str> = config
        .effective
        .iter()
        .map(|shown| shown.setting.name)
        .collect();
    let mut declared: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    read.sort_unstable();
    declared.sort_unstable();
    assert_eq!(read, declared);
}

#[test]
fn kanbus_variables_keep_their_meaning() {
    let config = load(&[
        (
            "DATABASE_URL",
            "postgresql://ann:p%40ss@db:5433/my%20kanbu?schema=public",
        ),
        ("BACKUP_PG_MODE", "DIRECT"),
        ("BACKUP_STORAGE", "gdrive"),
        ("BACKUP_GDRIVE_PATH", "/mnt/drive"),
        ("KANBU_ENVIRONMENT", "prod"),
        ("BACKUP_SCHEDULER_MODE", "External"),
        ("BACKUP_CRON_TIMEZONE", "UTC"),
        ("BACKUP_ENCRYPTION_KEY", " a passphrase with spaces "),
    ])
    .unwrap();
    assert_eq!(config.protected.database, "my kanbu");
    assert_eq!(config.protected.user, "ann");
    assert_eq!(config.protected.mode, PgMode::Direct);
    assert_eq!(storages(&config), ["gdrive primary mount:///mnt/drive"]);
    assert_eq!(config.schedule.mode, SchedulerMode::External);
    assert_eq!(
        config.encryption.key.unwrap().expose(),
        " a passphrase with spaces "
    );
}

#[test]
fn all_mistakes_are_told_at_once_with_name_and_hint() {
    let errors = load(&[
        ("BACKUP_STORAGE", "ftp"),
        ("BACKUP_PG_MODE", "podman"),
        ("BACKUP_CRON_TIMEZONE", "Europe/Utopia"),
        ("KANBU_BACKUP_ZSTD_LEVEL", "99"),
        ("KANBU_BACKUP_LEASE_SECOND", "60"),
        ("KANBU_ENVIRONMENT", "../prod"),
        ("KANBU_SOURCE_PATH", "app"),
        ("KANBU_BACKUP_WORKER_CONCURRENCY", "backup=2,sweep=1"),
        ("KANBU_BACKUP_SAFETY_KEEP_DAYS", "29"),
        ("KANBU_BACKUP_MANUAL_KEEP_DAYS", "0"),
    ])
    .unwrap_err();
    let told = told(&errors);
    let expected = [
        "KANBU_SOURCE_PATH is \"app\"; expected an absolute path",
        "BACKUP_STORAGE is \"ftp\"; expected local, gdrive, s3, gs or az",
        "KANBU_ENVIRONMENT is \"../prod\"; expected 1 to 64 letters",
        "KANBU_BACKUP_ZSTD_LEVEL is \"99\"; expected a whole number from 1 to 19",
        "BACKUP_PG_MODE is \"podman\"; expected auto, direct or docker",
        "BACKUP_CRON_TIMEZONE is \"Europe/Utopia\"; expected a zone",
        "KANBU_BACKUP_WORKER_CONCURRENCY is",
        "KANBU_BACKUP_LEASE_SECOND is not a setting",
        "KANBU_BACKUP_SAFETY_KEEP_DAYS is \"29\"; expected a whole number from 30 to 3650",
        "KANBU_BACKUP_MANUAL_KEEP_DAYS is \"0\"; expected a whole number of days from 1 to 3650, or unlimited",
    ];
    for start in expected {
        assert!(
            told.iter().any(|text| text.starts_with(start)),
            "{start} is missing in {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    assert!(
        errors
            .problems()
            .iter()
            .all(|problem| problem.hint.is_some())
    );
    assert_eq!(errors.code(), "config.invalid");
}

#[test]
fn an_unknown_name_of_ours_is_refused_with_the_nearest_one() {
    let errors = load(&[("KANBU_BACKUP_LOGLEVEL", "debug")]).unwrap_err();
    assert_eq!(
        errors.problems()[0].hint.as_deref(),
        Some("the nearest one is KANBU_BACKUP_LOG_LEVEL")
    );
    let told = problems(&[("KANBU_BACKUP_LOG_FILE", "/x")]);
    assert_eq!(told, ["KANBU_BACKUP_LOG_FILE is not a setting"]);
}

#[test]
fn what_container_platforms_and_tests_inject_is_no_mistake() {
    load(&[
        ("KANBU_BACKUP_SERVICE_HOST", "10.0.0.7"),
        ("KANBU_BACKUP_SERVICE_PORT", "8484"),
        ("KANBU_BACKUP_PORT", "tcp://10.0.0.7:8484"),
        ("KANBU_BACKUP_PORT_8484_TCP_ADDR", "10.0.0.7"),
        ("KANBU_BACKUP_CRON_SERVICE_HOST", "10.0.0.8"),
        ("KANBU_BACKUP_TEST_CRASH_AT", "upload"),
        ("SOMETHING_ELSE", "x"),
    ])
    .unwrap();
}

#[test]
fn a_setting_of_a_part_still_to_come_is_not_silently_ignored() {
    let told = problems(&[("KANBU_BACKUP_MIRROR", "true")]);
    assert_eq!(told, ["KANBU_BACKUP_MIRROR has no meaning in this version"]);
}

#[test]
fn a_secret_file_loses_exactly_one_line_end() {
    let directory = TempDir::new().unwrap();
    for (content, key) in [
        ("k\n", "k"),
        ("k\r\n", "k"),
        ("k\n\n", "k\n"),
        (" k", " k"),
        ("k\r", "k\r"),
    ] {
        let path = file(&directory, "key", content);
        let config = load(&[("BACKUP_ENCRYPTION_KEY_FILE", &path)]).unwrap();
        assert_eq!(
            config.encryption.key.clone().unwrap().expose(),
            key,
            "{content:?}"
        );
        let shown = origin(&config, "BACKUP_ENCRYPTION_KEY");
        assert_eq!(
            shown,
            (Some("***".to_owned()), Origin::SecretFile(path.into()))
        );
    }
}

#[test]
fn a_secret_given_twice_or_in_no_usable_file_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "key", "from the file");
    let told = problems(&[
        ("BACKUP_ENCRYPTION_KEY", "from here"),
        ("BACKUP_ENCRYPTION_KEY_FILE", &path),
    ]);
    assert_eq!(
        told,
        ["BACKUP_ENCRYPTION_KEY and BACKUP_ENCRYPTION_KEY_FILE are both set"]
    );
    for content in ["", "\n"] {
        let path = file(&directory, "empty", content);
        assert!(problems(&[("DATABASE_URL_FILE", &path)])[0].ends_with("is empty"));
    }
    let absent = directory.path().join("absent");
    assert!(
        problems(&[("DATABASE_URL_FILE", absent.to_str().unwrap())])[0]
            .contains("could not be read")
    );
}

#[test]
fn old_keys_are_one_per_line() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "keys", "first \nsecond\n\n");
    let config = load(&[("KANBU_BACKUP_OLD_ENCRYPTION_KEYS_FILE", &path)]).unwrap();
    let keys: Vec<&str> = config
        .encryption
        .old_keys
        .iter()
        .map(config::Secret::expose)
        .collect();
    assert_eq!(keys, ["first ", "second"]);
}

#[test]
fn flag_beats_environment_beats_secret_file_beats_configuration_file_beats_default() {
    let directory = TempDir::new().unwrap();
    let path = file(
        &directory,
        "config.toml",
        "[log]\nlevel = \"warn\"\n[worker]\nlease_seconds = 90\n[encryption]\nkey = \"toml\"\n",
    );
    let secret = file(&directory, "key", "file");
    let toml = Path::new(&path);
    let level = |env: &Env| {
        origin(
            &Config::load(env, Some(toml)).unwrap(),
            "KANBU_BACKUP_LOG_LEVEL",
        )
    };
    let env: Env = [("KANBU_BACKUP_LOG_LEVEL", "debug")].into_iter().collect();
    assert_eq!(
        level(&Env::default()),
        (Some("warn".to_owned()), Origin::ConfigFile)
    );
    assert_eq!(level(&env), (Some("debug".to_owned()), Origin::Environment));
    let flagged = env.with_flag("KANBU_BACKUP_LOG_LEVEL", "trace");
    assert_eq!(level(&flagged), (Some("trace".to_owned()), Origin::Flag));
    let env: Env = [("BACKUP_ENCRYPTION_KEY_FILE", &secret)]
        .into_iter()
        .collect();
    let config = Config::load(&env, Some(toml)).unwrap();
    assert_eq!(config.encryption.key.unwrap().expose(), "file");
    assert_eq!(config.worker.lease, Duration::from_secs(90));
    let default = origin(&load(&[]).unwrap(), "KANBU_BACKUP_LOG_LEVEL");
    assert_eq!(default, (Some("info".to_owned()), Origin::Default));
}

#[test]
fn the_configuration_file_holds_the_same_settings() {
    let directory = TempDir::new().unwrap();
    let key = file(&directory, "key", "hunter2\n");
    let text = format!(
        "BACKUP_FORMAT = \"kanbu\"\n[source]\nmore_paths = [\"/srv/a\", \"/srv/b\"]\nexcludes = [\"*.tmp\"]\n\
         [storage]\nreplicas = [\"nas=/mnt/nas\"]\n[encryption]\nkey_file = \"{key}\"\n"
    );
    let path = file(&directory, "config.toml", &text);
    let config = load(&[("KANBU_BACKUP_CONFIG", &path)]).unwrap();
    assert_eq!(config.pipeline.format, BackupFormat::Kanbu);
    let roots: Vec<&Path> = config
        .source
        .trees
        .iter()
        .map(|tree| tree.root.as_path())
        .collect();
    assert_eq!(
        roots,
        [Path::new("/app"), Path::new("/srv/a"), Path::new("/srv/b")]
    );
    assert_eq!(config.source.excludes.patterns(), ["*.tmp"]);
    assert_eq!(storages(&config)[1], "nas replica file:///mnt/nas");
    assert_eq!(config.encryption.key.unwrap().expose(), "hunter2");
}

#[test]
fn mistakes_in_the_configuration_file_are_told_with_its_name_and_without_its_text() {
    let directory = TempDir::new().unwrap();
    let of = |text: &str| {
        let path = file(&directory, "config.toml", text);
        problems(&[("KANBU_BACKUP_CONFIG", &path)])
    };
    assert!(of("[log]\nlevle = \"warn\"\n")[0].starts_with("log.levle in "));
    assert!(
        of("[log]\nlevel = [\"warn\"]\n")[0].ends_with("is a list where one value was expected")
    );
    assert!(
        of("[source]\nmore_paths = [\"/a:/b\"]\n")[0].ends_with("the separator of the list in it")
    );
    let broken = of("[encryption]\nkey = \"hunter2\n");
    assert!(
        broken[0].contains("is not TOML") && broken[0].contains("in line 2"),
        "{broken:?}"
    );
    assert!(!broken[0].contains("hunter2"), "{broken:?}");
    let twice = of("BACKUP_FORMAT = \"native\"\n[pipeline]\nformat = \"kanbu\"\n");
    assert!(twice[0].contains("is given twice"), "{twice:?}");
}

#[test]
fn a_named_configuration_file_must_exist() {
    assert!(
        problems(&[("KANBU_BACKUP_CONFIG", "/nonexistent/config.toml")])[0]
            .contains("could not be read")
    );
}

#[test]
fn an_empty_value_counts_as_none() {
    let config = load(&[
        ("BACKUP_ENCRYPTION_KEY", ""),
        ("BACKUP_STORAGE", ""),
        ("DATABASE_URL", ""),
    ])
    .unwrap();
    assert!(config.encryption.key.is_none());
    assert_eq!(config.storage.storages[0].name.as_str(), "local");
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    for (pairs, start) in [
        (
            vec![("DATABASE_URL", URL), ("POSTGRES_DB", "other")],
            "POSTGRES_DB is \"other\", but DATABASE_URL says",
        ),
        (
            vec![("DATABASE_URL", URL), ("POSTGRES_USER", "bob")],
            "POSTGRES_USER is \"bob\", but",
        ),
        (
            vec![("DATABASE_URL", URL), ("KANBU_BACKUP_DATABASE_URL", URL)],
            "KANBU_BACKUP_DATABASE_URL is the same",
        ),
        (
            vec![("KANBU_BACKUP_LISTEN_URL", URL)],
            "KANBU_BACKUP_LISTEN_URL is set without",
        ),
        (
            vec![("BACKUP_PG_MODE", "direct")],
            "BACKUP_PG_MODE is direct, but",
        ),
        (
            vec![("BACKUP_STORAGE", "gdrive")],
            "BACKUP_GDRIVE_PATH is not set",
        ),
        (
            vec![("KANBU_BACKUP_SOURCE_PATHS", "/srv/app")],
            "KANBU_BACKUP_SOURCE_PATHS names /srv/app, which is source:app",
        ),
        (
            vec![("KANBU_BACKUP_REPLICAS", "local=/mnt/x")],
            "KANBU_BACKUP_REPLICAS has local twice",
        ),
        (
            vec![("KANBU_BACKUP_REPLICAS", "b=/data/backups")],
            "KANBU_BACKUP_REPLICAS has local twice",
        ),
    ] {
        let told = problems(&pairs);
        assert!(
            told.len() == 1 && told[0].starts_with(start),
            "{start}: {told:#?}"
        );
    }
    load(&[
        ("DATABASE_URL", URL),
        ("POSTGRES_DB", "kanbu"),
        ("POSTGRES_USER", "kanbu"),
    ])
    .unwrap();
}

#[test]
fn every_form_of_url_that_the_client_tools_know_is_taken() {
    let config = load(&[(
        "DATABASE_URL",
        "postgres://ann:p%40ss@/wiki?host=/run/postgresql",
    )])
    .unwrap();
    assert_eq!(
        (
            config.protected.database.as_str(),
            config.protected.user.as_str()
        ),
        ("wiki", "ann")
    );
}

#[test]
fn a_key_that_cannot_be_used_is_refused_without_being_shown() {
    let long = "hunter2".repeat(200);
    for name in ["BACKUP_ENCRYPTION_KEY", "KANBU_BACKUP_OLD_ENCRYPTION_KEYS"] {
        let told = problems(&[(name, &long)]);
        assert!(
            told[0].starts_with(name) && told[0].contains("1400") && !told[0].contains("hunter2"),
            "{told:?}"
        );
    }
}

#[test]
fn without_a_database_url_the_container_variables_name_the_database() {
    let config = load(&[("POSTGRES_DB", "wiki"), ("POSTGRES_USER", "bob")]).unwrap();
    assert_eq!(config.protected.subject.to_string(), "database:wiki");
    assert_eq!(
        (config.protected.user.as_str(), config.protected.mode),
        ("bob", PgMode::Auto)
    );
}

#[test]
fn slots_are_one_per_kind_unless_said() {
    let config = load(&[("KANBU_BACKUP_WORKER_CONCURRENCY", "backup=2")]).unwrap();
    assert_eq!(config.worker.slots[&Kind::Backup], 2);
    assert_eq!(config.worker.slots[&Kind::Verify], 1);
    let told = problems(&[
        ("KANBU_BACKUP_WORKER_KINDS", "verify"),
        ("KANBU_BACKUP_WORKER_CONCURRENCY", "backup=2"),
    ]);
    assert!(
        told[0].contains("not among KANBU_BACKUP_WORKER_KINDS"),
        "{told:?}"
    );
}

#[test]
fn our_own_scheduler_mode_stands_above_kanbus() {
    let config = load(&[
        ("BACKUP_SCHEDULER_MODE", "external"),
        ("KANBU_BACKUP_SCHEDULER_MODE", "internal"),
    ])
    .unwrap();
    assert_eq!(config.schedule.mode, SchedulerMode::Internal);
}

#[test]
fn no_secret_is_seen_in_settings_errors_or_debug() {
    let env: Env = [
        ("DATABASE_URL", URL),
        (
            "KANBU_BACKUP_DATABASE_URL",
            "postgresql://b:hunter2@db/kanbu_backup?password=hunter2",
        ),
        ("BACKUP_ENCRYPTION_KEY", "hunter2"),
        ("KANBU_BACKUP_OLD_ENCRYPTION_KEYS", "hunter2"),
    ]
    .into_iter()
    .collect();
    let config = Config::load(&env, None).unwrap();
    let text = format!("{env:?} {config:?} {:?}", config.effective);
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(
        origin(&config, "DATABASE_URL").0.unwrap(),
        "postgresql://kanbu:***@db:5432/kanbu"
    );
    let told = problems(&[("DATABASE_URL", "mysql://kanbu:hunter2@db/kanbu")]);
    assert!(!told[0].contains("hunter2"), "{told:?}");
}

#[test]
fn the_documentation_says_what_the_table_says() {
    let documented = include_str!("../../docs/configuration.md");
    let (_, rest) = documented
        .split_once("<!-- settings -->\n")
        .expect("the table's begin mark");
    let (table, _) = rest
        .split_once("\n<!-- end of settings -->")
        .expect("the table's end mark");
    if table != config::reference() {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("settings.md");
        fs::write(&fresh, config::reference()).unwrap();
        panic!(
            "docs/configuration.md differs from the table; what it should be is in {}",
            fresh.display()
        );
    }
}

#[test]
fn the_example_environment_names_only_settings_and_is_valid() {
    let example = include_str!("../../.env.example");
    let pairs: Vec<(&str, &str)> = example
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once('='))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    assert!(pairs.len() > 10, "{pairs:?}");
    for (name, _) in &pairs {
        let known = SETTINGS
            .iter()
            .any(|setting| setting.name == *name || setting.file_name() == *name);
        assert!(known, "{name} is not a setting");
    }
    load(&pairs).unwrap();
}
