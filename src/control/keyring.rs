//! The salt that makes a passphrase's key id the same for every process.

use super::{ControlDb, ControlError, STATEMENT_TIMEOUT, within};

impl ControlDb {
    /// The installation's salt; `fresh` becomes it if there is none yet.
    pub async fn passphrase_salt(&self, fresh: [u8; 16]) -> Result<[u8; 16], ControlError> {
        let stored: Vec<u8> = within(&self.work, STATEMENT_TIMEOUT, |connection| {
            Box::pin(async move {
                let salt = sqlx::query_scalar!(
                    "insert into kanbu_backup.keyring as k (passphrase_salt) values ($1)
                     on conflict (single) do update set passphrase_salt = k.passphrase_salt
                     returning passphrase_salt",
                    &fresh[..],
                )
                .fetch_one(connection)
                .await?;
                Ok::<_, ControlError>(salt)
            })
        })
        .await?;
        // The table's check allows 16 bytes and nothing else.
        Ok(stored.try_into().unwrap_or(fresh))
    }
}
