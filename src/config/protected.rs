//! The database to protect, and how its server is reached.

use std::{ffi::OsString, path::PathBuf};

use regex::Regex;

use super::{
    env::Env,
    reader::{Reader, absolute_path, parts},
    secret::Secret,
    setting::Setting,
    settings,
};
use crate::{
    job::{Scope, Subject},
    kanbu::env::pg_mode,
    pg::{cluster::Cluster, docker::ContainerChoice, dump::PgMode},
};

/// What is protected.
#[derive(Clone, Debug)]
pub struct ProtectedSettings {
    /// `DATABASE_URL`, of a form that `pg` understands.
    pub url: Option<Secret>,
    /// Of the URL, else of `POSTGRES_DB`.
    pub database: String,
    /// Of the URL, else of `POSTGRES_USER`.
    pub user: String,
    /// `database:<name>`.
    pub subject: Subject,
    pub mode: PgMode,
    /// Where docker mode finds the protected server.
    pub container: ContainerChoice,
    pub tools: ToolSettings,
}

/// Where the client programs of the database are looked for.
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
    let known = reader.explained(settings::DATABASE_URL, |text| {
        Cluster::from_url(text).map(|cluster| (Secret::from(text), cluster))
    });
    let (url, cluster) = known.unzip();
    let mode = reader.value(settings::PG_MODE, pg_mode);
    let tools = reader.optional(settings::PG_TOOLS, directories);
    let container = container(reader);
    let database = agreed(
        reader,
        settings::POSTGRES_DB,
        cluster.as_ref().map(Cluster::database),
    );
    let user = agreed(
        reader,
        settings::POSTGRES_USER,
        cluster.as_ref().map(Cluster::user),
    );
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

fn container(reader: &mut Reader<'_>) -> Option<ContainerChoice> {
    let name = reader.optional(settings::CONTAINER, |name| Some(name.to_owned()));
    let pattern = reader.value(settings::CONTAINER_PATTERN, |pattern| {
        Regex::new(pattern).ok()
    });
    let socket = reader.value(settings::DOCKER_SOCKET, absolute_path);
    Some(ContainerChoice {
        name,
        pattern: pattern?,
        socket: socket?,
    })
}

/// What the URL says, unless the variable beside it says otherwise; without a URL the variable holds.
fn agreed(
    reader: &mut Reader<'_>,
    setting: &'static Setting,
    of_url: Option<&str>,
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
    Some(of_url.to_owned())
}

pub(super) fn directories(text: &str) -> Option<Vec<PathBuf>> {
    parts(text, ':').map(absolute_path).collect()
}
