//! Our own database, and the directory that a private one lives in.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{
    env::Env,
    reader::{Reader, absolute_path},
    secret::Secret,
    settings,
};

const SYSTEM_STATE_DIRECTORY: &str = "/var/lib/kanbu-backup";

/// Where the control database is.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Without it there is only the private server of `up`.
    pub url: Option<Secret>,
    /// For LISTEN and migrations, when `url` leads through a pooler.
    pub listen_url: Option<Secret>,
    pub state_directory: PathBuf,
}

pub(super) fn read(reader: &mut Reader<'_>, env: &Env) -> Option<ControlSettings> {
    let url = reader.optional(settings::CONTROL_URL, postgres_url);
    let listen_url = reader.optional(settings::LISTEN_URL, postgres_url);
    if url.is_none() && listen_url.is_some() && !reader.was_given(settings::CONTROL_URL) {
        reader.complain(
            settings::LISTEN_URL.name,
            "is set without KANBU_BACKUP_DATABASE_URL",
            "set the control database too, or neither",
        );
    }
    let system = Path::new(SYSTEM_STATE_DIRECTORY);
    let usable = rustix::process::geteuid().is_root()
        || rustix::fs::access(system, Access::WRITE_OK).is_ok();
    let found = state_directory(usable, env).display().to_string();
    let state_directory = reader.value_or(settings::STATE_DIR, found, absolute_path)?;
    Some(ControlSettings {
        url,
        listen_url,
        state_directory,
    })
}

/// Without a home there is no better guess than the system's directory; who can't write there is told so on first use.
fn state_directory(system_is_usable: bool, env: &Env) -> PathBuf {
    let of_user = || {
        let absolute = |name| env.get(name).and_then(absolute_path);
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join("kanbu-backup"))
    };
    let own = if system_is_usable { None } else { of_user() };
    own.unwrap_or_else(|| PathBuf::from(SYSTEM_STATE_DIRECTORY))
}

fn postgres_url(text: &str) -> Option<Secret> {
    let url = url::Url::parse(text).ok()?;
    matches!(url.scheme(), "postgres" | "postgresql").then(|| Secret::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_goes_to_the_system_or_to_the_home_of_whoever_cannot_write_there() {
        let env: Env = [("HOME", "/home/ann")].into_iter().collect();
        assert_eq!(
            state_directory(true, &env),
            Path::new("/var/lib/kanbu-backup")
        );
        assert_eq!(
            state_directory(false, &env),
            Path::new("/home/ann/.local/state/kanbu-backup")
        );
        let env: Env = [("HOME", "/home/ann"), ("XDG_STATE_HOME", "/state")]
            .into_iter()
            .collect();
        assert_eq!(
            state_directory(false, &env),
            Path::new("/state/kanbu-backup")
        );
        assert_eq!(
            state_directory(false, &Env::default()),
            Path::new("/var/lib/kanbu-backup")
        );
    }
}
