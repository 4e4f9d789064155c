//! The database to protect, and how its server is reached.

use std::{ffi::OsString, path::PathBuf};

use percent_encoding::percent_decode_str;
use regex::Regex;
use url::Url;

use super::{
    control::postgres_url,
    env::Env,
    reader::{Reader, absolute_path, parts},
    secret::Secret,
    setting::Setting,
    settings,
};
use crate::{
    job::{Scope, Subject},
    kanbu::env::{DEFAULT_DATABASE, PgMode},
};

/// What is protected.
#[derive(Clone, Debug)]
pub struct ProtectedSettings {
    /// Absent without a `DATABASE_URL`; then `database` and `user` hold.
    pub url: Option<Secret>,
    /// Of the URL, else of `POSTGRES_DB`.
    pub database: String,
    pub user: String,
    /// `database:<name>`.
    pub subject: Subject,
    pub mode: PgMode,
    pub container: ContainerSettings,
    pub tools: ToolSettings,
}

/// Where docker mode finds the protected server.
#[derive(Clone, Debug)]
pub struct ContainerSettings {
    pub name: Option<String>,
    /// Used when no container is named.
    pub pattern: Regex,
    pub socket: PathBuf,
}

/// Where PostgreSQL's programs are looked for.
#[derive(Clone, Debug)]
pub struct ToolSettings {
    /// Before all others.
    pub directories: Vec<PathBuf>,
    /// The process's `PATH`.
    pub path: Option<OsString>,
}

impl ProtectedSettings {
    /// Whether the server is reached through its container.
    pub fn through_docker(&self) -> bool {
        match self.mode {
            PgMode::Auto => self.url.is_none(),
            PgMode::Direct => false,
            PgMode::Docker => true,
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, env: &Env) -> Option<ProtectedSettings> {
    let url = reader.optional(settings::DATABASE_URL, postgres_url);
    let mode = reader.value(settings::PG_MODE, PgMode::parse);
    let tools = reader.optional(settings::PG_TOOLS, directories);
    let container = container(reader);
    let named = url.as_ref().map(|url| names(url.expose()));
    let (of_url, user_of_url) = named.unzip();
    let database = agreed(reader, settings::POSTGRES_DB, of_url);
    let user = agreed(reader, settings::POSTGRES_USER, user_of_url);
    if mode == Some(PgMode::Direct) && url.is_none() && !reader.was_given(settings::DATABASE_URL) {
        reader.complain(
            settings::PG_MODE.name,
            "is direct, but there is no DATABASE_URL",
            "set DATABASE_URL, or use docker mode",
        );
    }
    let database = database?;
    let Ok(subject) = Subject::new(Scope::Database, database.clone()) else {
        reader.complain(
            settings::DATABASE_URL.name,
            format!("names a database that can't be a subject: {database:?}"),
            "use a database name without control characters and '#'",
        );
        return None;
    };
    Some(ProtectedSettings {
        url,
        database,
        user: user?,
        subject,
        mode: mode?,
        container: container?,
        tools: ToolSettings {
            directories: tools.unwrap_or_default(),
            path: env.get_os("PATH").map(ToOwned::to_owned),
        },
    })
}

fn container(reader: &mut Reader<'_>) -> Option<ContainerSettings> {
    let name = reader.optional(settings::CONTAINER, |name| Some(name.to_owned()));
    let pattern = reader.value(settings::CONTAINER_PATTERN, |pattern| {
        Regex::new(pattern).ok()
    });
    let socket = reader.value(settings::DOCKER_SOCKET, absolute_path);
    Some(ContainerSettings {
        name,
        pattern: pattern?,
        socket: socket?,
    })
}

/// Database and user as the URL says or leaves them to Kanbu's defaults.
fn names(url: &str) -> (String, String) {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8_lossy() {
        name if name.is_empty() => DEFAULT_DATABASE.to_owned(),
        name => name.into_owned(),
    };
    let Ok(url) = Url::parse(url) else {
        return (decoded(""), decoded(""));
    };
    (
        decoded(url.path().trim_start_matches('/')),
        decoded(url.username()),
    )
}

/// What the URL says, unless the variable beside it says otherwise; without a URL the variable holds.
fn agreed(
    reader: &mut Reader<'_>,
    setting: &'static Setting,
    of_url: Option<String>,
) -> Option<String> {
    let said = reader.value(setting, |name| Some(name.to_owned()))?;
    let Some(of_url) = of_url else {
        return Some(said);
    };
    if reader.was_given(setting) && said != of_url {
        reader.complain(
            setting.name,
            format!("is {said:?}, but DATABASE_URL says {of_url:?}"),
            "unset it: DATABASE_URL says all that is needed",
        );
    }
    Some(of_url)
}

pub(super) fn directories(text: &str) -> Option<Vec<PathBuf>> {
    parts(text, ':').map(absolute_path).collect()
}
