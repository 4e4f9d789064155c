//! What belongs to a database and not to what is in it: owner, settings, grants, connection limit. A dump doesn't hold
//! these; the database that takes a live one's place gets them from that one, before it does.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::pg::{
    error::PgError,
    guard::Guard,
    quote::identifier,
    restore::{Differences, note_refusal, setting},
};

const LIKE: &str =
    "select d.oid::bigint, pg_get_userbyid(d.datdba), d.datconnlimit, d.datacl is not null,
        (select t.spcname from pg_tablespace t where t.oid = d.dattablespace)::text
   from pg_database d where d.datname = $1";

const SETTINGS: &str = "select r.rolname::text, u.setting
   from pg_db_role_setting s
   left join pg_roles r on r.oid = s.setrole
   cross join unnest(s.setconfig) with ordinality as u (setting, place)
  where s.setdatabase = $1::oid and (s.setrole = 0 or r.rolname is not null)
  order by 1 nulls first, u.place";

/// The owner's own rights come with ownership and are granted like all others, since they may have been taken away.
const GRANTS: &str = "select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
        a.privilege_type, a.is_grantable
   from pg_database d cross join aclexplode(d.datacl) a
  where d.oid = $1::oid and (a.grantee = 0 or exists (select from pg_roles r where r.oid = a.grantee))
  order by a.grantee <> d.datdba, 1, 2";

/// Makes `name` like `live` in all that doesn't lie inside. What the connecting role may not give is told.
pub async fn dress(guard: &Guard, live: &str, name: &str) -> Result<Differences, PgError> {
    let mut connection = guard.connection().await?;
    let connection = &mut *connection;
    let read = |what| PgError::query(what);
    let row = sqlx::query(LIKE)
        .bind(live)
        .fetch_one(&mut *connection)
        .await
        .map_err(read("what belongs to the live database"))?;
    let (live_oid, owner): (i64, String) = (row.get(0), row.get(1));
    let (limit, has_grants): (i32, bool) = (row.get(2), row.get(3));
    let database = identifier(name);
    let mut differences = Differences::new();
    let mut statements = vec![
        (
            format!("alter database {database} owner to {}", identifier(&owner)),
            format!("the database is not owned by {owner:?}"),
        ),
        (
            format!("alter database {database} with connection limit {limit}"),
            "the database lacks its connection limit".to_owned(),
        ),
        (
            format!("alter database {database} reset all"),
            "the database keeps settings of the backup".to_owned(),
        ),
    ];
    statements.extend(settings(connection, live_oid, &database).await?);
    if has_grants {
        statements.push((
            format!(
                "revoke all on database {database} from public, {}",
                identifier(&owner)
            ),
            "the database keeps rights that the live one does not give".to_owned(),
        ));
        statements.extend(grants(connection, live_oid, &database).await?);
    }
    for (statement, lacking) in statements {
        note_refusal(connection, statement, &mut differences, || lacking).await?;
    }
    differences.extend(elsewhere(connection, name, row.get(4)).await?);
    Ok(differences)
}

async fn settings(
    connection: &mut PgConnection,
    live: i64,
    database: &str,
) -> Result<Vec<(String, String)>, PgError> {
    let rows = sqlx::query(SETTINGS)
        .bind(live)
        .fetch_all(connection)
        .await
        .map_err(PgError::query("the settings of the live database"))?;
    let statements = rows.into_iter().filter_map(|row| {
        let (role, text): (Option<String>, String) = (row.get(0), row.get(1));
        let (variable, value) = setting(&text)?;
        let whose = match &role {
            Some(role) => format!("role {} in database {database}", identifier(role)),
            None => format!("database {database}"),
        };
        Some((
            format!("alter {whose} set {value}"),
            format!("{whose} lacks its setting {variable:?}"),
        ))
    });
    Ok(statements.collect())
}

async fn grants(
    connection: &mut PgConnection,
    live: i64,
    database: &str,
) -> Result<Vec<(String, String)>, PgError> {
    let rows = sqlx::query(GRANTS)
        .bind(live)
        .fetch_all(connection)
        .await
        .map_err(PgError::query("the grants on the live database"))?;
    let statements = rows.into_iter().map(|row| {
        let (grantee, right): (String, String) = (row.get(0), row.get(1));
        let option = if row.get(2) { " with grant option" } else { "" };
        (
            format!("grant {right} on database {database} to {grantee}{option}"),
            format!("{grantee} lacks the right {right} on the database"),
        )
    });
    Ok(statements.collect())
}

/// Moving a database to another tablespace copies all of it: that is left to an administrator.
async fn elsewhere(
    connection: &mut PgConnection,
    name: &str,
    live: String,
) -> Result<Option<String>, PgError> {
    let found: String = sqlx::query_scalar(AssertSqlSafe(
        "select t.spcname::text from pg_tablespace t join pg_database d on d.dattablespace = t.oid where d.datname = $1",
    ))
    .bind(name)
    .fetch_one(connection)
    .await
    .map_err(PgError::query("where the new database lies"))?;
    Ok((found != live).then(|| format!("the database lies in tablespace {found}, not in {live}")))
}
