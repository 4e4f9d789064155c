//! Where backups are kept.

use std::path::PathBuf;

use super::{
    reader::{Reader, absolute_path, parts},
    settings,
};
use crate::{
    kanbu::env::StorageWord,
    storage::{Environment, StorageName},
};

/// The storages: one primary, any number of replicas, with different names and directories.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    pub kind: StorageWord,
    pub primary: PlaceSettings,
    pub replicas: Vec<PlaceSettings>,
    pub environment: Environment,
}

/// A named directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceSettings {
    pub name: StorageName,
    pub directory: PathBuf,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<StorageSettings> {
    let kind = reader.value(settings::STORAGE, StorageWord::parse);
    let local = reader.value(settings::LOCAL_PATH, absolute_path);
    let gdrive = reader.optional(settings::GDRIVE_PATH, absolute_path);
    let replicas = reader.optional(settings::REPLICAS, |text| {
        parts(text, ',').map(place).collect()
    });
    let environment = reader.value(settings::ENVIRONMENT, |text| text.parse().ok());
    let kind = kind?;
    if kind == StorageWord::Gdrive && gdrive.is_none() && !reader.was_given(settings::GDRIVE_PATH) {
        reader.complain(
            settings::GDRIVE_PATH.name,
            "is not set, but BACKUP_STORAGE is gdrive",
            "name the directory in which the Google Drive is mounted",
        );
    }
    let directory = match kind {
        StorageWord::Local => local,
        StorageWord::Gdrive => gdrive,
    };
    let primary = PlaceSettings {
        name: kind.as_str().parse().ok()?,
        directory: directory?,
    };
    let replicas: Vec<PlaceSettings> = replicas.unwrap_or_default();
    refuse_doubles(reader, &primary, &replicas);
    Some(StorageSettings {
        kind,
        primary,
        replicas,
        environment: environment?,
    })
}

fn place(text: &str) -> Option<PlaceSettings> {
    let (name, directory) = text.split_once('=')?;
    Some(PlaceSettings {
        name: name.trim().parse().ok()?,
        directory: absolute_path(directory.trim())?,
    })
}

fn refuse_doubles(reader: &mut Reader<'_>, primary: &PlaceSettings, replicas: &[PlaceSettings]) {
    let mut seen = vec![primary];
    for replica in replicas {
        if let Some(other) = seen
            .iter()
            .find(|other| other.name == replica.name || other.directory == replica.directory)
        {
            let sentence = format!("has {} twice: a copy beside itself is no copy", other.name);
            reader.complain(
                settings::REPLICAS.name,
                sentence,
                "give every replica its own name and directory",
            );
        }
        seen.push(replica);
    }
}
