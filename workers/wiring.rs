//! From settings to the things that work: the only place where concrete types meet. Construction, no decisions.

mod channels;

use std::{path::Path, sync::Arc};

use kanbu_backup::{
    backup::{self, ContentTerms, DatabaseSource, Format, Sources, TreeSource},
    catalog::{ArtifactKind, rebuild},
    clock::SystemClock,
    config::{
        BackupFormat, Config, ControlSettings, EncryptionSettings, ProtectedSettings,
        StorageSettings,
    },
    control::{self, ControlConfig, ControlDb, ControlError},
    crypto::{KeyMaterial, Keyring},
    fault::Failure,
    job::Subject,
    pg::{
        cluster::Cluster,
        server,
        tools::{self, Toolset},
    },
    prune,
    restore::{self, DatabaseTarget, Origin},
    storage::{Environment, Place, Role, Storage, StorageConfig, Terms},
    verify::{self, ProofTerms},
};
use tracing::warn;

pub use self::channels::channels;
use crate::dispatch::Deps;

/// The control database that is configured, or else the one of the `up` that runs on this machine.
pub async fn control(settings: &ControlSettings) -> Result<ControlDb, Failure> {
    let url = match &settings.url {
        Some(url) => url.expose().to_owned(),
        None => server::discover(&settings.state_directory)?,
    };
    connect(&url, settings, "cli").await
}

/// Connects as `role`; the schema is the caller's affair.
pub async fn connect(
    url: &str,
    settings: &ControlSettings,
    role: &str,
) -> Result<ControlDb, Failure> {
    let listen_url = settings
        .listen_url
        .as_ref()
        .map(|url| url.expose().to_owned());
    let config = ControlConfig {
        listen_url,
        ..ControlConfig::new(url, role)
    };
    Ok(ControlDb::connect(&config).await?)
}

/// Brings the schema up to date, after a look that this is not the database to be backed up: nothing of ours gets into
/// that one. The protected server may be away: then each backup says so.
pub async fn prepare(config: &Config, db: &ControlDb) -> Result<(), Failure> {
    if let Some(protected) = &config.protected.url {
        match control::refuse_if_protected(db, protected.expose()).await {
            Err(error @ ControlError::SameDatabase { .. }) => return Err(error.into()),
            Err(error) => {
                let failure = Failure::from(error);
                warn!(%failure, "the protected database could not be looked at");
            }
            Ok(()) => {}
        }
    }
    Ok(db.migrate().await?)
}

/// Every configured storage, the primary first. A local directory that is missing is made.
pub fn storages(settings: &StorageSettings) -> Result<Vec<Storage>, Failure> {
    let opened = settings.storages.iter().map(Storage::open);
    Ok(opened.collect::<Result<_, _>>()?)
}

/// The key that new backups are sealed with, and the older ones that still open what they made.
pub fn keyring(settings: &EncryptionSettings) -> Result<Keyring, Failure> {
    let active = settings
        .key
        .as_ref()
        .map(|key| KeyMaterial::parse(key.expose()))
        .transpose()?;
    let old: Result<Vec<_>, _> = settings
        .old_keys
        .iter()
        .map(|key| KeyMaterial::parse(key.expose()))
        .collect();
    Ok(Keyring::new(active, old?))
}

/// The names of everything that can be backed up here, databases first.
pub fn subjects(config: &Config) -> Result<Vec<Subject>, Failure> {
    let database = cluster(&config.protected)?.map(|_| config.protected.subject.clone());
    let trees = config.source.trees.iter().map(|tree| tree.subject.clone());
    Ok(database.into_iter().chain(trees).collect())
}

/// Everything that can be backed up here, with these client tools.
pub fn sources(config: &Config, toolsets: &[Toolset]) -> Result<Sources, Failure> {
    let databases = match cluster(&config.protected)? {
        Some(cluster) => vec![DatabaseSource {
            subject: config.protected.subject.clone(),
            cluster,
            mode: config.protected.mode,
            containers: config.protected.container.clone(),
            toolsets: toolsets.to_vec(),
        }],
        None => Vec::new(),
    };
    let excludes = &config.source.excludes;
    let trees = config.source.trees.iter().map(|tree| TreeSource {
        subject: tree.subject.clone(),
        root: tree.root.clone(),
        excludes: excludes.clone(),
    });
    Ok(Sources {
        databases,
        trees: trees.collect(),
    })
}

/// The protected server: by address, or known from inside its container only.
fn cluster(settings: &ProtectedSettings) -> Result<Option<Cluster>, Failure> {
    match &settings.url {
        Some(url) => Ok(Some(Cluster::from_url(url.expose())?)),
        None if settings.through_docker() => Ok(Some(Cluster::in_container(
            &settings.user,
            &settings.database,
            None,
        ))),
        None => Ok(None),
    }
}

/// The client tools and server binaries of this machine.
pub async fn toolsets(settings: &ProtectedSettings) -> Vec<Toolset> {
    tools::find_toolsets(&settings.tools.directories, settings.tools.path.as_deref()).await
}

/// The server that restored databases are made on. A server without an address can't be restored to over the network.
pub fn target(config: &Config, toolsets: &[Toolset]) -> Result<Option<DatabaseTarget>, Failure> {
    let Some(url) = &config.protected.url else {
        return Ok(None);
    };
    let cluster = Cluster::from_url(url.expose())?;
    Ok(Some(DatabaseTarget {
        cluster,
        toolsets: toolsets.to_vec(),
    }))
}

/// What the handlers need, each its own.
pub async fn deps(config: &Config, db: ControlDb) -> Result<Deps, Failure> {
    let storages = storages(&config.storage)?;
    let keyring = stable_keyring(config, &db).await?;
    let pipeline = &config.pipeline;
    // Finding them asks every installed program for its version: once is enough.
    let toolsets = toolsets(&config.protected).await;
    let notify = channels::deps(config, &db)?;
    Ok(Deps {
        notify,
        backup: backup::Deps {
            environment: config.storage.environment.clone(),
            storages: storages.clone(),
            policy: config.storage.policy,
            keyring: keyring.clone(),
            format: format(pipeline.format),
            zstd_level: pipeline.zstd_level,
            zstd_workers: pipeline.zstd_workers,
            stall_timeout: pipeline.stall_timeout,
            slowness: pipeline.slowness,
            sources: sources(config, &toolsets)?,
            content: ContentTerms {
                count_budget: config.content.count_budget,
                shrunk_percent: config.content.shrunk_percent,
                small_percent: config.content.small_percent,
            },
            manual: config.retention.manual.clone(),
            history: db.clone(),
            clock: Arc::new(SystemClock),
        },
        prune: prune(config, storages.clone(), db.clone()),
        restore: restore::Deps {
            storages: storages.clone(),
            keyring: keyring.clone(),
            target: target(config, &toolsets)?,
            environment: config.storage.environment.clone(),
            keep_old: config.worker.keep_old,
            catalog: db.clone(),
        },
        verify: verify::Deps {
            proof: proof(config, toolsets)?,
            storages,
            keyring,
            stall_timeout: pipeline.stall_timeout,
            catalog: db,
        },
    })
}

/// What Prune jobs need, and whoever shows what they would do.
pub fn prune(config: &Config, storages: Vec<Storage>, db: ControlDb) -> prune::Deps {
    prune::Deps {
        environment: config.storage.environment.clone(),
        storages,
        terms: prune_terms(config),
        catalog: db,
        clock: Arc::new(SystemClock),
    }
}

/// What keeps the backups that no schedule made.
pub fn prune_terms(config: &Config) -> prune::Terms {
    prune::Terms {
        manual: config.retention.manual.clone(),
        safety: config.retention.safety.clone(),
        zone: config.schedule.timezone,
    }
}

/// How backups are restored in a test.
pub fn proof(config: &Config, toolsets: Vec<Toolset>) -> Result<ProofTerms, Failure> {
    let settings = &config.worker.proof;
    let directory = config.control.state_directory.join(server::SCRATCH);
    let target = target(config, &toolsets)?;
    Ok(ProofTerms {
        ground: settings.ground,
        with_amcheck: settings.with_amcheck,
        holds_for: settings.holds_for,
        ..ProofTerms::new(directory, target, toolsets)
    })
}

fn format(format: BackupFormat) -> Format {
    match format {
        BackupFormat::Native => Format::Native,
        BackupFormat::Kanbu => Format::Kanbu,
    }
}

/// A passphrase keeps its key id as long as it keeps its salt, which the control database remembers.
async fn stable_keyring(config: &Config, db: &ControlDb) -> Result<Keyring, Failure> {
    let keyring = keyring(&config.encryption)?;
    let salt = db.passphrase_salt(keyring.passphrase_salt()?).await?;
    Ok(keyring.with_passphrase_salt(salt))
}

/// A directory that backups lie in, for verbs that work without a service. Nothing is made.
pub fn existing_directory(directory: &Path) -> Result<Storage, Failure> {
    let name = "directory"
        .parse()
        .map_err(|_| restore::RestoreError::NotABackup(directory.to_owned()))?;
    let place = Place::Local {
        directory: directory.to_owned(),
    };
    Ok(Storage::open_existing(&StorageConfig {
        name,
        role: Role::Primary,
        place,
        terms: Terms::default(),
    })?)
}

/// The environments that have a folder there.
pub fn environments(directory: &Path) -> Result<Vec<Environment>, Failure> {
    let unreadable = |error| crate::verbs::VerbError::File("read", directory.to_owned(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        found.extend(
            name.to_str()
                .and_then(|name| name.parse::<Environment>().ok()),
        );
    }
    found.sort();
    Ok(found)
}

/// What a path given by hand means: a single file, a backup's own folder, or a storage's directory with the id of one.
pub async fn origin(
    from: &Path,
    id: &str,
    kind: Option<ArtifactKind>,
    keyring: &Keyring,
) -> Result<Origin, Failure> {
    if from.is_file() {
        return Ok(Origin::of_file(from)?);
    }
    let (directory, wanted) = match own_folder(from) {
        Some((storage, execution)) => (storage, execution),
        None => (from.to_owned(), id.to_owned()),
    };
    let storage = existing_directory(&directory)?;
    let mut newest = None;
    for environment in environments(&directory)? {
        for found in rebuild::scan(&storage, &environment, keyring).await? {
            let Ok(manifest) = found.manifest else {
                continue;
            };
            let is_meant = wanted == "latest"
                || manifest.artifact.to_string().ends_with(&wanted)
                || manifest.execution.to_string() == wanted;
            let fits = kind.is_none_or(|kind| kind == manifest.kind);
            let is_newer = newest
                .as_ref()
                .is_none_or(|n: &kanbu_backup::catalog::Manifest| {
                    n.created_at < manifest.created_at
                });
            if is_meant && fits && is_newer {
                newest = Some(manifest);
            }
        }
    }
    let manifest = newest.ok_or_else(|| restore::RestoreError::NotABackup(from.to_owned()))?;
    Ok(Origin::on_storage(&storage, &manifest))
}

/// `…/environment/database/stamp_execution`: the storage's directory and the execution.
fn own_folder(path: &Path) -> Option<(std::path::PathBuf, String)> {
    let name = path.file_name()?.to_str()?;
    let (_, execution) = name.rsplit_once('_')?;
    path.join("manifest.json").is_file().then_some(())?;
    Some((path.ancestors().nth(3)?.to_owned(), execution.to_owned()))
}
