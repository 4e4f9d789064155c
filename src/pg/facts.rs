//! What the protected server and database are: versions, size, locale, identity.
//!
//! One statement that answers with one JSON text, so that it can be asked over a connection or by `psql` in a container.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::error::PgError;

/// Works on every supported server: columns that only some versions have are looked up by name.
pub(super) const FACTS: &str = "\
select json_build_object(
    'version_num',     current_setting('server_version_num')::integer,
    'version',         current_setting('server_version'),
    'database',        d.datname,
    'database_oid',    d.oid::bigint,
    'size_bytes',      pg_database_size(d.oid),
    'encoding',        pg_encoding_to_char(d.encoding),
    'collation',       d.datcollate,
    'ctype',           d.datctype,
    'locale_provider', case to_jsonb(d) ->> 'datlocprovider' when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end,
    'locale',          coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    'owner',           pg_get_userbyid(d.datdba),
    'settings',        (select coalesce(json_agg(setting), '[]')
                          from pg_db_role_setting as r, unnest(r.setconfig) as setting
                         where r.setdatabase = d.oid and r.setrole = 0)
)::text
from pg_database as d
where d.datname = current_database()";

/// A statement of its own: some providers withhold the function.
pub(super) const IDENTITY: &str = "select system_identifier::text from pg_control_system()";

/// The server and one database in it, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `150018`
    pub version_num: u32,
    /// `15.18 (Debian 15.18-0+deb12u1)`
    pub version: String,
    pub database: String,
    pub database_oid: u32,
    pub size_bytes: u64,
    /// The same for a server and its physical copies; `None` where the server withholds it.
    #[serde(default)]
    pub system_identifier: Option<u64>,
    #[serde(flatten)]
    pub shape: Shape,
}

/// What a database is created with: text encoding, locale, owner, settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    #[serde(default)]
    pub encoding: Option<String>,
    /// `LC_COLLATE`
    #[serde(default)]
    pub collation: Option<String>,
    /// `LC_CTYPE`
    #[serde(default)]
    pub ctype: Option<String>,
    #[serde(default)]
    pub locale_provider: LocaleProvider,
    /// The locale of a provider other than `libc`.
    #[serde(default)]
    pub locale: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    /// `name=value` of `alter database … set`
    #[serde(default)]
    pub settings: Vec<String>,
}

/// Who knows how to sort and fold text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocaleProvider {
    #[default]
    Libc,
    Icu,
    Builtin,
}

impl Facts {
    /// `15`
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, PgError> {
        let json: String = sqlx::query_scalar(FACTS)
            .fetch_one(&mut *connection)
            .await
            .map_err(PgError::query("the facts of the server"))?;
        let identity: Option<String> =
            match sqlx::query_scalar(IDENTITY).fetch_one(connection).await {
                Ok(identity) => Some(identity),
                Err(sqlx::Error::Database(refusal)) => {
                    tracing::debug!(%refusal, "the server withholds its system identifier");
                    None
                }
                Err(source) => return Err(PgError::query("the identity of the server")(source)),
            };
        Self::parse(&json, identity.as_deref())
    }

    pub(super) fn parse(json: &str, identity: Option<&str>) -> Result<Self, PgError> {
        let mut facts: Self = serde_json::from_str(json).map_err(PgError::Facts)?;
        // The server prints its 64 bits as a signed number.
        facts.system_identifier = identity
            .and_then(|text| text.trim().parse::<i64>().ok())
            .map(i64::cast_unsigned);
        Ok(facts)
    }
}
