//! The table: every setting there is, declared once.

use super::setting::{Fallback, Form, Secrecy, Setting};
use crate::{archive, kanbu::env as kanbu, pg::scratch::Ground};

const POSTGRES_URL: Form = Form::Said("a URL postgresql://user:password@host:port/database");
const ADDRESSES: Form = Form::List {
    of: "absolute paths",
    separator: ':',
};

macro_rules! settings {
    ($($const:ident: $name:expr, $key:expr, $form:expr, $default:expr, $secrecy:ident, $meaning:literal;)+) => {
        $(pub(super) const $const: &Setting = &Setting {
            name: $name,
            key: $key,
            form: $form,
            default: $default,
            secrecy: Secrecy::$secrecy,
            meaning: $meaning,
        };)+

        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[&Setting] = &[$($const),+];
    };
}

settings! {
    CONFIG: "KANBU_BACKUP_CONFIG", None, Form::Path, Fallback::Text("/etc/kanbu-backup/config.toml"), Open,
        "The configuration file; missing is an error only if it is named.";

    CONTROL_URL: "KANBU_BACKUP_DATABASE_URL", Some("control.url"), POSTGRES_URL, Fallback::None, SecretUrl,
        "The control database; without it `up` starts a private PostgreSQL of its own.";
    LISTEN_URL: "KANBU_BACKUP_LISTEN_URL", Some("control.listen_url"), POSTGRES_URL, Fallback::None, SecretUrl,
        "A direct address of the control database, when the other leads through a pooler in transaction mode: for \
         LISTEN and migrations. Without it workers look for jobs every second.";
    STATE_DIR: "KANBU_BACKUP_STATE_DIR", Some("control.state_directory"), Form::Path,
        Fallback::Computed(
            "/var/lib/kanbu-backup for root or where that is writable, else $XDG_STATE_HOME/kanbu-backup \
             or ~/.local/state/kanbu-backup"
        ), Open,
        "Where the private PostgreSQL and other state of this host live.";

    DATABASE_URL: kanbu::DATABASE_URL, Some("database.url"), POSTGRES_URL, Fallback::None, SecretUrl,
        "The database to protect.";
    PG_MODE: kanbu::BACKUP_PG_MODE, Some("database.mode"), Form::Words(kanbu::PG_MODES),
        Fallback::Text(kanbu::DEFAULT_PG_MODE), Open,
        "How the protected server is reached; auto is direct when there is a `DATABASE_URL`, else docker.";
    PG_TOOLS: "KANBU_BACKUP_PG_TOOLS", Some("database.tools"), ADDRESSES, Fallback::None, Open,
        "Directories that are searched for PostgreSQL's programs before the usual ones.";
    CONTAINER: kanbu::POSTGRES_CONTAINER, Some("database.container"), Form::Said("the name of a container"),
        Fallback::None, Open,
        "The container of the protected server in docker mode; it must be running.";
    CONTAINER_PATTERN: kanbu::POSTGRES_CONTAINER_PATTERN, Some("database.container_pattern"),
        Form::Said("a regular expression"), Fallback::Text(kanbu::DEFAULT_CONTAINER_PATTERN), Open,
        "Finds the container when none is named; more than one hit is an error.";
    DOCKER_SOCKET: "KANBU_BACKUP_DOCKER_SOCKET", Some("database.docker_socket"), Form::Path,
        Fallback::Text("/var/run/docker.sock"), Open,
        "The socket of the Docker engine, used in docker mode only.";
    POSTGRES_DB: kanbu::POSTGRES_DB, Some("database.name"), Form::Said("the name of a database"),
        Fallback::Text(kanbu::DEFAULT_DATABASE), Open,
        "The database to protect when there is no `DATABASE_URL`; must not contradict it.";
    POSTGRES_USER: kanbu::POSTGRES_USER, Some("database.user"), Form::Said("the name of a role"),
        Fallback::Text(kanbu::DEFAULT_DATABASE), Open,
        "The role to connect as when there is no `DATABASE_URL`; must not contradict it.";

    SOURCE_PATH: kanbu::KANBU_SOURCE_PATH, Some("source.path"), Form::Path,
        Fallback::Text(kanbu::DEFAULT_SOURCE_PATH), Open,
        "The directory that a source backup archives.";
    SOURCE_PATHS: "KANBU_BACKUP_SOURCE_PATHS", Some("source.more_paths"), ADDRESSES, Fallback::None, Open,
        "Further directories to archive, each a subject of its own, named by its last part.";
    SOURCE_EXCLUDES: "KANBU_BACKUP_SOURCE_EXCLUDES", Some("source.excludes"),
        Form::List { of: "tar patterns", separator: ':' }, Fallback::List(archive::DEFAULT_EXCLUDES), Open,
        "What source archives leave out; a pattern matches any part of a path, and a list replaces the default.";

    STORAGE: kanbu::BACKUP_STORAGE, Some("storage.kind"), Form::Words(kanbu::StorageWord::WORDS),
        Fallback::Text(kanbu::DEFAULT_STORAGE), Open,
        "The kind of the primary storage: a local directory, a Google Drive, or what `KANBU_BACKUP_STORAGE_URL` names.";
    LOCAL_PATH: kanbu::BACKUP_LOCAL_PATH, Some("storage.local_path"), Form::Path,
        Fallback::Text(kanbu::DEFAULT_LOCAL_PATH), Open,
        "The directory of the local storage.";
    GDRIVE_PATH: kanbu::BACKUP_GDRIVE_PATH, Some("storage.gdrive_path"), Form::Path, Fallback::None, Open,
        "The directory in which a Google Drive is mounted; with `gdrive`, this or a URL `gdrive://…` is required.";
    STORAGE_URL: "KANBU_BACKUP_STORAGE_URL", Some("storage.url"),
        Form::Said("a URL s3://…, gs://…, az://… or gdrive://… without credentials, of the kind that BACKUP_STORAGE says"),
        Fallback::None, Address,
        "Where the primary storage is, see [storages](storages.md); required for `s3`, `gs` and `az`.";
    REPLICAS: "KANBU_BACKUP_REPLICAS", Some("storage.replicas"),
        Form::List { of: "name=/absolute/path or name=URL", separator: ',' }, Fallback::None, Address,
        "Further storages that every backup is written to as well; a comma within a URL is %2C.";
    POLICY: "KANBU_BACKUP_STORAGE_POLICY", Some("storage.policy"),
        Form::Said("all-or-degraded, quorum(2) or another number, primary-then-replicate or any"),
        Fallback::Text("all-or-degraded"), Open,
        "When a backup on several storages counts, see [storages](storages.md#several-storages).";
    ENVIRONMENT: kanbu::KANBU_ENVIRONMENT, Some("storage.environment"),
        Form::Said("1 to 64 letters, digits, '.', '_' or '-', not starting with '.'"),
        Fallback::Text(kanbu::DEFAULT_ENVIRONMENT), Open,
        "Keeps installations apart on one storage.";

    S3_KEY_ID: "AWS_ACCESS_KEY_ID", Some("s3.access_key_id"), Form::Said("the id of an access key"), Fallback::None, Secret,
        "The access key of S3 storages.";
    S3_SECRET: "AWS_SECRET_ACCESS_KEY", Some("s3.secret_access_key"), Form::Said("a secret access key"),
        Fallback::None, Secret,
        "The secret of that access key.";
    S3_TOKEN: "AWS_SESSION_TOKEN", Some("s3.session_token"), Form::Said("a session token"), Fallback::None, Secret,
        "The token of a temporary access key; a service that runs for long needs `login=role` instead.";
    S3_REGION: "AWS_REGION", Some("s3.region"), Form::Said("the name of a region"), Fallback::None, Open,
        "The region of S3 storages whose URL names none; us-east-1 if nobody says.";
    GOOGLE_KEY: "GOOGLE_SERVICE_ACCOUNT_KEY", Some("google.service_account_key"),
        Form::Said("the JSON document of a service account's key"), Fallback::None, Secret,
        "The service account of Google Cloud and Google Drive storages.";
    GOOGLE_CREDENTIALS: "GOOGLE_APPLICATION_CREDENTIALS", Some("google.application_credentials"), Form::Path,
        Fallback::None, Open,
        "The file with the credentials of Google Cloud storages, as Google's own programs take it.";
    DRIVE_CLIENT_ID: "GOOGLE_DRIVE_CLIENT_ID", Some("google.drive_client_id"), Form::Said("the id of an OAuth client"),
        Fallback::None, Secret,
        "The OAuth client that Google Drive storages are entered with.";
    DRIVE_CLIENT_SECRET: "GOOGLE_DRIVE_CLIENT_SECRET", Some("google.drive_client_secret"),
        Form::Said("the secret of an OAuth client"), Fallback::None, Secret,
        "The secret of that OAuth client.";
    DRIVE_TOKEN: "GOOGLE_DRIVE_REFRESH_TOKEN", Some("google.drive_refresh_token"), Form::Said("a refresh token"),
        Fallback::None, Secret,
        "The token that the owner of the Google Drive granted to that OAuth client.";
    AZURE_KEY: "AZURE_STORAGE_ACCOUNT_KEY", Some("azure.account_key"), Form::Said("an account's key"),
        Fallback::None, Secret,
        "The key of the storage account of Azure storages.";
    AZURE_SAS: "AZURE_STORAGE_SAS_TOKEN", Some("azure.sas_token"), Form::Said("a shared access signature"),
        Fallback::None, Secret,
        "A shared access signature, instead of that key.";
    AZURE_TENANT: "AZURE_TENANT_ID", Some("azure.tenant_id"), Form::Said("the id of a tenant"), Fallback::None, Secret,
        "The tenant of an application that enters Azure storages.";
    AZURE_CLIENT_ID: "AZURE_CLIENT_ID", Some("azure.client_id"), Form::Said("the id of an application"),
        Fallback::None, Secret,
        "That application.";
    AZURE_CLIENT_SECRET: "AZURE_CLIENT_SECRET", Some("azure.client_secret"), Form::Said("the secret of an application"),
        Fallback::None, Secret,
        "The secret of that application.";

    ENCRYPTION_KEY: kanbu::BACKUP_ENCRYPTION_KEY, Some("encryption.key"),
        Form::Said("64 hex digits or a passphrase"), Fallback::None, Secret,
        "Switches encryption on: 64 hex digits are a key, anything else is a passphrase, taken as it stands.";
    OLD_KEYS: "KANBU_BACKUP_OLD_ENCRYPTION_KEYS", Some("encryption.old_keys"),
        Form::List { of: "keys or passphrases", separator: '\n' }, Fallback::None, Secret,
        "Further keys that are used for reading only.";

    FORMAT: "BACKUP_FORMAT", Some("pipeline.format"), Form::Words(kanbu::BackupFormat::WORDS),
        Fallback::Text("native"), Open,
        "The form of new backups; both forms are always readable.";
    ZSTD_LEVEL: "KANBU_BACKUP_ZSTD_LEVEL", Some("pipeline.zstd_level"), Form::Whole { from: 1, to: 19 },
        Fallback::Text("3"), Open,
        "How hard zstd tries: smaller backups against more time.";
    ZSTD_WORKERS: "KANBU_BACKUP_ZSTD_WORKERS", Some("pipeline.zstd_workers"), Form::Whole { from: 0, to: 64 },
        Fallback::Computed("the number of cores, at most 4"), Open,
        "Threads that compress one stream; 0 compresses in the stream's own thread.";
    STALL: "KANBU_BACKUP_STALL_SECONDS", Some("pipeline.stall_seconds"), Form::Whole { from: 5, to: 3600 },
        Fallback::Text("60"), Open,
        "A storage that finishes nothing for so many seconds is dropped from a running backup.";
    SLOW_SECONDS: "KANBU_BACKUP_SLOW_SECONDS", Some("pipeline.slow_seconds"), Form::Whole { from: 5, to: 3600 },
        Fallback::Text("60"), Open,
        "Over so many seconds the rates of replicas that hold up a running backup are compared with the primary's.";
    SLOW_PERCENT: "KANBU_BACKUP_SLOW_PERCENT", Some("pipeline.slow_percent"), Form::Whole { from: 0, to: 100 },
        Fallback::Text("50"), Open,
        "Such a replica is dropped when its rate is below so many percent of the primary's; 0 drops none.";

    COUNT_SECONDS: "KANBU_BACKUP_COUNT_SECONDS", Some("content.count_seconds"), Form::Whole { from: 0, to: 86_400 },
        Fallback::Text("60"), Open,
        "How long the rows of all tables are counted while a dump runs; tables that are not counted by then are estimated.";
    SHRUNK_PERCENT: "KANBU_BACKUP_SHRUNK_PERCENT", Some("content.shrunk_percent"), Form::Whole { from: 0, to: 100 },
        Fallback::Text("50"), Open,
        "A table that lost more than so many percent of its rows since the backup before is told; 0 tells none.";
    SMALL_PERCENT: "KANBU_BACKUP_SMALL_PERCENT", Some("content.small_percent"), Form::Whole { from: 0, to: 100 },
        Fallback::Text("50"), Open,
        "A dump that is smaller than so many percent of the usual size is told; 0 tells none.";

    KINDS: "KANBU_BACKUP_WORKER_KINDS", Some("worker.kinds"),
        Form::List { of: "backup, restore, prune, verify, notify", separator: ',' },
        Fallback::List(&["backup", "restore", "prune", "verify", "notify"]), Open,
        "The kinds of job that this worker executes.";
    CONCURRENCY: "KANBU_BACKUP_WORKER_CONCURRENCY", Some("worker.concurrency"),
        Form::List { of: "kind=1 to 64", separator: ',' }, Fallback::None, Open,
        "Jobs of a kind that this worker executes at once, for instance backup=2,verify=1; 8 of notify and 1 of the others unless said.";
    LEASE: "KANBU_BACKUP_LEASE_SECONDS", Some("worker.lease_seconds"), Form::Whole { from: 2, to: 3600 },
        Fallback::Text("60"), Open,
        "Length of a lease: how long a dead worker's job waits for the next one.";
    GRACE: "KANBU_BACKUP_GRACE_SECONDS", Some("worker.grace_seconds"), Form::Whole { from: 0, to: 3600 },
        Fallback::Text("25"), Open,
        "What running jobs may still take at shutdown before they are handed back; `worker --drain-timeout` overrides it.";
    SWEEP_AFTER: "KANBU_BACKUP_SWEEP_AFTER_SECONDS", Some("worker.sweep_after_seconds"),
        Form::Whole { from: 60, to: 31_536_000 }, Fallback::Text("86400"), Open,
        "Age at which what a dead execution left on a storage is removed; longer than any lease and any difference of clocks.";
    HISTORY: "KANBU_BACKUP_HISTORY_DAYS", Some("worker.history_days"), Form::Whole { from: 1, to: 36_500 },
        Fallback::Text("180"), Open,
        "How long succeeded and cancelled jobs are remembered; those of existing backups, dead ones and each subject's last stay.";
    KEEP_OLD: "KANBU_BACKUP_KEEP_REPLACED_DAYS", Some("worker.keep_replaced_days"), Form::Whole { from: 1, to: 365 },
        Fallback::Text("7"), Open,
        "How long a database that a restore replaced is kept for a rollback; then it is dropped.";
    SCRUB_DAYS: "KANBU_BACKUP_SCRUB_DAYS", Some("worker.scrub_days"),
        Form::Said("a whole number of days from 1 to 365, or off"), Fallback::Text("7"), Open,
        "How often every copy is read again and mended if it is bad; once per period, however many workers ask.";
    SCRUB_PERCENT: "KANBU_BACKUP_SCRUB_PERCENT", Some("worker.scrub_percent"), Form::Whole { from: 1, to: 100 },
        Fallback::Text("100"), Open,
        "How many of the backups each of these rounds reads, those read longest ago first.";
    PROVE_DAYS: "KANBU_BACKUP_PROVE_DAYS", Some("proof.days"),
        Form::Said("a whole number of days from 1 to 365, or off"), Fallback::Text("7"), Open,
        "How often the newest backup of each subject is restored in a [test](proof.md), one after the other.";
    PROVE_ON: "KANBU_BACKUP_PROVE_ON", Some("proof.on"), Form::Words(Ground::WORDS), Fallback::Text("auto"), Open,
        "Where databases are restored to in a test: a private server started from installed binaries, a database on the \
         protected server, or the first of these that is possible.";
    PROOF_HOLDS: "KANBU_BACKUP_PROOF_HOLDS_DAYS", Some("proof.holds_days"), Form::Whole { from: 1, to: 3650 },
        Fallback::Text("31"), Open,
        "How long a backup counts as proven after a test restore.";
    PROVE_AMCHECK: "KANBU_BACKUP_PROVE_AMCHECK", Some("proof.amcheck"), Form::Words(&["on", "off"]),
        Fallback::Text("off"), Open,
        "Whether `pg_amcheck` looks at every database that was restored in a test.";
    CHECKS_FILE: "KANBU_BACKUP_CHECKS_FILE", Some("proof.checks_file"), Form::Path, Fallback::None, Open,
        "SQL statements that must each return true in a database that was restored in a test; read where the test is asked for.";

    TIMEZONE: kanbu::BACKUP_CRON_TIMEZONE, Some("schedule.timezone"),
        Form::Said("a zone of the IANA database, like Europe/Amsterdam"), Fallback::Text(kanbu::DEFAULT_TIMEZONE), Open,
        "The zone in which schedules and terminals tell the time.";
    SCHEDULER_MODE: kanbu::BACKUP_SCHEDULER_MODE, Some("schedule.mode"), Form::Words(kanbu::SchedulerMode::WORDS),
        Fallback::Text(kanbu::DEFAULT_SCHEDULER_MODE), Open,
        "Who makes schedules due: this service, a trigger from outside, or both.";
    OWN_SCHEDULER_MODE: "KANBU_BACKUP_SCHEDULER_MODE", Some("schedule.own_mode"),
        Form::Words(kanbu::SchedulerMode::WORDS), Fallback::None, Open,
        "Overrides `BACKUP_SCHEDULER_MODE` for this service, since Kanbu beside it must be `external`.";

    MANUAL_KEEP: "KANBU_BACKUP_MANUAL_KEEP_DAYS", Some("retention.manual_days"),
        Form::Said("a whole number of days from 1 to 3650, or unlimited"), Fallback::Text("unlimited"), Open,
        "How long backups that no schedule made are kept, if they may be [let go](retention.md).";
    SAFETY_KEEP: "KANBU_BACKUP_SAFETY_KEEP_DAYS", Some("retention.safety_days"), Form::Whole { from: 30, to: 3650 },
        Fallback::Text("30"), Open,
        "How long a backup that was made before a live database gave way is kept at least.";
    WEBHOOK_URL: "KANBU_BACKUP_WEBHOOK_URL", Some("notify.webhook_url"), Form::Said("a URL https://host/path"),
        Fallback::None, Secret,
        "A [webhook](notifications.md) with Kanbu's events and body, as the channel `webhook`; it is told of failures and \
         warnings.";
    WEBHOOK_SECRET: "KANBU_BACKUP_WEBHOOK_SECRET", Some("notify.webhook_secret"), Form::Said("a text"), Fallback::None,
        Secret,
        "Signs what is sent to that webhook.";
    HEARTBEAT_URL: "KANBU_BACKUP_HEARTBEAT_URL", Some("notify.heartbeat_url"), Form::Said("a URL https://host/path"),
        Fallback::None, Secret,
        "A monitor that every backup pings at its start and its end, as healthchecks understands it: the channel `heartbeat`.";
    NOTIFY_KANBU: "KANBU_BACKUP_NOTIFY_KANBU", Some("notify.in_kanbu"), Form::Words(&["on", "off"]),
        Fallback::Text("off"), Open,
        "Whether Kanbu's administrators are told in Kanbu, and its own webhook is called, under the switches of its settings \
         page: the channels `kanbu` and `kanbu-webhook`.";

    LOG: "KANBU_BACKUP_LOG", Some("log.format"), Form::Words(&["text", "json"]),
        Fallback::Computed("text on a terminal, else json"), Open,
        "The form of log lines.";
    LOG_LEVEL: "KANBU_BACKUP_LOG_LEVEL", Some("log.level"), Form::Words(&["error", "warn", "info", "debug", "trace"]),
        Fallback::Text("info"), Open,
        "The least important line that is still written.";
}

/// Names of the interface that belong to parts which this version doesn't have: setting one would promise something.
pub(super) const NOT_YET: &[&str] = &[
    "KANBU_BACKUP_API_KEY",
    "KANBU_BACKUP_BIND",
    "KANBU_BACKUP_MIRROR",
    "KANBU_BACKUP_URL",
];
