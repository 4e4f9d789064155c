//! Where backups are kept.
//!
//! The primary is Kanbu's, by its word and its path, or one of `[[storages]]`; replicas come from there too and from a
//! list. All of them are places by URL, with credentials from `credentials`.

use super::{
    credentials::Purse,
    file::Entries,
    reader::{Reader, absolute_path, parts},
    settings, terms,
};
use crate::{
    kanbu::env::StorageWord,
    storage::{BadPlace, Environment, Place, Policy, Role, StorageConfig, StorageName, Terms},
};

/// The storages: one primary, any number of replicas, with different names and places.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// The primary first.
    pub storages: Vec<StorageConfig>,
    pub policy: Policy,
    pub environment: Environment,
}

impl StorageSettings {
    pub fn get(&self, name: &StorageName) -> Option<&StorageConfig> {
        self.storages.iter().find(|storage| storage.name == *name)
    }
}

/// A storage as it was found, and what its own table says beside its place.
struct Found {
    config: StorageConfig,
    /// Where it was found, for complaints.
    told_by: String,
    entries: Entries,
}

/// Its terms come with its credentials.
fn found_config(name: StorageName, role: Role, place: Place) -> StorageConfig {
    StorageConfig {
        name,
        role,
        place,
        terms: Terms::default(),
    }
}

pub(super) fn read(reader: &mut Reader<'_>, env: &super::Env) -> Option<StorageSettings> {
    let kanbus = kanbus_primary(reader);
    let replicas = reader.explained(settings::REPLICAS, |text| {
        parts(text, ',')
            .map(named_place)
            .collect::<Result<Vec<_>, _>>()
    });
    let environment = reader.value(settings::ENVIRONMENT, |text| text.parse().ok());
    let purse = Purse::read(reader, env);
    let mut found = Vec::new();
    let tables = of_tables(reader);
    let is_primary = |table: &Found| table.config.role == Role::Primary;
    if tables.iter().any(is_primary) {
        refuse_two_primaries(reader);
    } else {
        found.extend(kanbus);
    }
    found.extend(tables);
    found.extend(
        replicas
            .unwrap_or_default()
            .into_iter()
            .map(|(name, place)| Found {
                config: found_config(name, Role::Replica, place),
                told_by: settings::REPLICAS.name.to_owned(),
                entries: Entries::new(),
            }),
    );
    // A stable sort: replicas stay in the order in which they were named.
    found.sort_by_key(|found| found.config.role != Role::Primary);
    refuse_doubles(reader, &found);
    let storages: Vec<StorageConfig> = found
        .into_iter()
        .filter_map(|found| furnished(reader, &purse, found))
        .collect();
    let has_primary = storages
        .first()
        .is_some_and(|first| first.role == Role::Primary);
    let policy = terms::policy(reader, &storages);
    has_primary.then_some(StorageSettings {
        policy: policy?,
        storages,
        environment: environment?,
    })
}

/// The primary storage that Kanbu's words and ours beside them name.
fn kanbus_primary(reader: &mut Reader<'_>) -> Option<Found> {
    let kind = reader.value(settings::STORAGE, StorageWord::parse);
    let local = reader.value(settings::LOCAL_PATH, absolute_path);
    let gdrive = reader.optional(settings::GDRIVE_PATH, absolute_path);
    let url = reader.explained(settings::STORAGE_URL, Place::parse);
    let kind = kind?;
    let by_url = reader.was_given(settings::STORAGE_URL);
    let by_path = reader.was_given(settings::GDRIVE_PATH);
    let place = match kind {
        StorageWord::Local => {
            return primary(reader, kind, Place::Local { directory: local? }, by_url);
        }
        StorageWord::Gdrive if by_path => {
            return primary(reader, kind, Place::Mounted { directory: gdrive? }, by_url);
        }
        StorageWord::Gdrive if !by_url => {
            reader.complain(
                settings::GDRIVE_PATH.name,
                "is not set, but BACKUP_STORAGE is gdrive",
                "name the directory in which the Google Drive is mounted, or its folder in KANBU_BACKUP_STORAGE_URL",
            );
            return None;
        }
        StorageWord::Gdrive | StorageWord::S3 | StorageWord::Gcs | StorageWord::Azure => {
            if !by_url {
                reader.complain(
                    settings::STORAGE_URL.name,
                    format!("is not set, but BACKUP_STORAGE is {}", kind.as_str()),
                    "name the storage there",
                );
            }
            url?
        }
    };
    if place.scheme() != kind.as_str() {
        let sentence = format!(
            "begins with {}, but BACKUP_STORAGE is {}",
            place.scheme(),
            kind.as_str()
        );
        reader.complain(
            settings::STORAGE_URL.name,
            sentence,
            "make both say the same",
        );
        return None;
    }
    primary(reader, kind, place, false)
}

fn primary(
    reader: &mut Reader<'_>,
    kind: StorageWord,
    place: Place,
    url_is_idle: bool,
) -> Option<Found> {
    if url_is_idle {
        let sentence = format!(
            "is set, but with BACKUP_STORAGE={} a path says it",
            kind.as_str()
        );
        reader.complain(
            settings::STORAGE_URL.name,
            sentence,
            "unset it, or the path",
        );
    }
    Some(Found {
        config: found_config(kind.as_str().parse().ok()?, Role::Primary, place),
        told_by: settings::STORAGE.name.to_owned(),
        entries: Entries::new(),
    })
}

fn refuse_two_primaries(reader: &mut Reader<'_>) {
    for setting in [settings::STORAGE, settings::STORAGE_URL] {
        if reader.was_given(setting) {
            reader.complain(
                setting.name,
                "is set, but the primary storage is one of [[storages]]",
                "unset it, or make that one a replica",
            );
        }
    }
}

/// `name=/path` or `name=URL`.
fn named_place(text: &str) -> Result<(StorageName, Place), BadReplica> {
    let (name, place) = text.split_once('=').ok_or(BadReplica::NoName)?;
    let name = name.trim().parse().map_err(|_| BadReplica::BadName)?;
    match Place::parse(place.trim()) {
        Ok(place) => Ok((name, place)),
        Err(error) => Err(BadReplica::BadPlace(name, error)),
    }
}

/// The text may hold a secret, hence is not repeated.
#[derive(Debug, thiserror::Error)]
enum BadReplica {
    #[error("expected name=/absolute/path or name=URL, separated by \",\"")]
    NoName,
    #[error(
        "a name is no name: use 1 to 64 letters, digits, '.', '_' or '-', not starting with '.'"
    )]
    BadName,
    #[error("{0} {1}")]
    BadPlace(StorageName, BadPlace),
}

/// The storages of the configuration file. Their credentials stay in their tables for now.
fn of_tables(reader: &mut Reader<'_>) -> Vec<Found> {
    let tables = reader.tables("storages");
    let mut found = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        match of_table(index, table) {
            Ok(storage) => found.push(storage),
            Err((told_by, sentence)) => reader.complain(
                &told_by,
                sentence,
                "a storage has a name, a url, and if need be a role, options, limits and credentials",
            ),
        }
    }
    found
}

fn of_table(index: usize, mut entries: Entries) -> Result<Found, (String, String)> {
    let unnamed = || format!("storages[{index}]");
    let name = entries
        .remove("name")
        .ok_or_else(|| (unnamed(), "has no name".to_owned()))?;
    let name: StorageName = name
        .parse()
        .map_err(|_| (unnamed(), "has a name that can't be one".to_owned()))?;
    let told_by = format!("storages.{name}");
    let bad = |sentence: String| (told_by.clone(), sentence);
    let role = match entries.remove("role").as_deref() {
        None | Some("replica") => Role::Replica,
        Some("primary") => Role::Primary,
        Some(_) => {
            return Err(bad(
                "has a role that is neither primary nor replica".to_owned()
            ));
        }
    };
    let url = entries
        .remove("url")
        .ok_or_else(|| bad("has no url".to_owned()))?;
    let url = with_options(&url, &mut entries);
    let place = Place::parse(&url).map_err(|error| bad(error.to_string()))?;
    Ok(Found {
        config: found_config(name, role, place),
        told_by,
        entries,
    })
}

/// `options.region` and the like, which are the URL's query in another form.
fn with_options(url: &str, entries: &mut Entries) -> String {
    let mut text = url.to_owned();
    let options = entries.extract_if("options.".to_owned().., |key, _| {
        key.starts_with("options.")
    });
    for (key, value) in options {
        let name = key.trim_start_matches("options.");
        let mut pair = url::form_urlencoded::Serializer::new(String::new());
        pair.append_pair(name, &value);
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(&pair.finish());
    }
    text
}

fn refuse_doubles(reader: &mut Reader<'_>, found: &[Found]) {
    for (index, storage) in found.iter().enumerate() {
        let config = &storage.config;
        let double = found.iter().take(index).find(|other| {
            other.config.name == config.name || other.config.place.is_same_as(&config.place)
        });
        if let Some(other) = double {
            let sentence = format!(
                "has {} twice: a copy beside itself is no copy",
                other.config.name
            );
            reader.complain(
                &storage.told_by,
                sentence,
                "give every storage its own name and place",
            );
        }
    }
}

/// The storage with its credentials, if they are enough to enter it.
fn furnished(reader: &mut Reader<'_>, purse: &Purse, found: Found) -> Option<StorageConfig> {
    let Found {
        config,
        told_by,
        mut entries,
    } = found;
    let StorageConfig {
        name, role, place, ..
    } = config;
    let (place, credentials) = purse.take(reader, &name, place, &mut entries);
    let terms = terms::of_storage(reader, &name, role, &mut entries);
    if let Some(unknown) = entries.into_keys().next() {
        reader.complain(
            &told_by,
            format!("has {unknown:?}, which such a storage doesn't know"),
            "see the documentation of storages for what it knows",
        );
    }
    match place.with_credentials(credentials) {
        Ok(place) => Some(StorageConfig {
            name,
            role,
            place,
            terms,
        }),
        Err(error) => {
            reader.complain(
                &format!("storage {name}"),
                error.to_string(),
                "set them for all storages of its kind, or for this one as KANBU_BACKUP_STORAGE_<NAME>_<WORD>",
            );
            None
        }
    }
}
