//! What can be seen of a server before a restore changes anything on it: rights, room, roles, extensions, sessions.

use serde::Deserialize;
use sqlx::PgConnection;

use super::{
    cluster::{Address, Cluster, close},
    error::PgError,
    guard::COMMON_DATABASE,
};

/// What the connecting role may and the server has.
#[derive(Clone, Debug, Deserialize)]
pub struct Survey {
    pub version_num: u32,
    pub superuser: bool,
    pub createdb: bool,
    /// May end sessions of others that are no superusers.
    pub signals: bool,
    /// The same for a server and its physical copies; `None` where the server withholds it.
    #[serde(default)]
    pub system_identifier: Option<String>,
    /// What was asked for and isn't there.
    pub missing_roles: Vec<String>,
    pub missing_extensions: Vec<String>,
    pub live: Option<Live>,
    /// On the disk of the server's data directory; `None`: can't be known from here.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    #[serde(default)]
    data_directory: Option<String>,
}

/// The database of the name that was asked about.
#[derive(Clone, Debug, Deserialize)]
pub struct Live {
    pub oid: u32,
    pub bytes: u64,
    pub owner: String,
    /// The connecting role is its owner, or a member of that.
    pub owned: bool,
    /// False behind a fence.
    pub open: bool,
    pub template: bool,
    pub sessions: u32,
    pub prepared: u32,
    pub slots: u32,
}

const SURVEY: &str = "\
select json_build_object(
    'version_num',        current_setting('server_version_num')::integer,
    'superuser',          me.rolsuper,
    'createdb',           me.rolcreatedb or me.rolsuper,
    'signals',            me.rolsuper or pg_has_role(me.oid, 'pg_signal_backend', 'usage'),
    'data_directory',     (select setting from pg_settings where name = 'data_directory'),
    'missing_roles',      array(select name from unnest($2::text[]) name
                                 where not exists (select from pg_roles where rolname = name)),
    'missing_extensions', array(select x.name from unnest($3::text[]) x (name)
                                 where not exists (select from pg_available_extensions e where e.name = x.name)),
    'live', (select json_build_object(
        'oid', d.oid::bigint, 'bytes', pg_database_size(d.oid), 'owner', pg_get_userbyid(d.datdba),
        'owned', pg_has_role(me.oid, d.datdba, 'usage'), 'open', d.datallowconn, 'template', d.datistemplate,
        'sessions', (select count(*) from pg_stat_activity a where a.datid = d.oid and a.pid <> pg_backend_pid()),
        'prepared', (select count(*) from pg_prepared_xacts p where p.database = d.datname),
        'slots',    (select count(*) from pg_replication_slots s where s.datoid = d.oid))
      from pg_database d where d.datname = $1)
)::text
from pg_roles me where me.rolname = current_user";

/// Looks around for a restore that has to do with the database `name`, needs these roles and these extensions.
pub async fn survey(
    cluster: &Cluster,
    name: &str,
    roles: &[String],
    extensions: &[String],
) -> Result<Survey, PgError> {
    let mut connection = cluster.connect(Some(COMMON_DATABASE)).await?;
    let mut survey = ask(&mut connection, name, roles, extensions).await?;
    survey.system_identifier = system_identifier(&mut connection).await?;
    close(connection).await;
    survey.free_bytes = survey
        .data_directory
        .as_deref()
        .filter(|_| is_here(cluster.address()))
        .and_then(free_bytes);
    Ok(survey)
}

async fn ask(
    connection: &mut PgConnection,
    name: &str,
    roles: &[String],
    extensions: &[String],
) -> Result<Survey, PgError> {
    let json: String = sqlx::query_scalar(SURVEY)
        .bind(name)
        .bind(roles)
        .bind(extensions)
        .fetch_one(connection)
        .await
        .map_err(PgError::query("what the server allows"))?;
    serde_json::from_str(&json).map_err(PgError::Facts)
}

/// Some providers withhold the function.
async fn system_identifier(connection: &mut PgConnection) -> Result<Option<String>, PgError> {
    match sqlx::query_scalar(super::facts::IDENTITY)
        .fetch_one(connection)
        .await
    {
        Ok(identity) => Ok(Some(identity)),
        Err(sqlx::Error::Database(_)) => Ok(None),
        Err(source) => Err(PgError::query("the identity of the server")(source)),
    }
}

/// Whether the server's files are on this host. In a container behind a loopback address the path won't be there.
fn is_here(address: &Address) -> bool {
    match address {
        Address::Socket { .. } => true,
        Address::Tcp { host, .. } => matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1"),
        Address::Container => false,
    }
}

fn free_bytes(directory: &str) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}
