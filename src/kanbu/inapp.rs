//! Rows in Kanbu's own table of notifications, for its administrators, under the switches of its settings page.
//!
//! Kanbu's schema is its own: queries are made at run time, and a table that isn't there is a reason to say so, not to fail.
//! All rows of a message are one transaction. They bear the event's time, by which a message that comes twice is known.
//! The connection is made when there is something to tell: after a swap it leads to the database that took the name.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection, Row};
use tokio::time::timeout;

use super::webhook::Webhook;
use crate::{
    fault::{Failure, Fault, chain},
    notify::{Address, Hidden, Message, Notifier, NotifyError, Receipt, WebhookTerms},
    pg::cluster::Cluster,
};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const MOST_TITLE_CHARS: usize = 255;
const LINK: &str = "/admin/backup";

/// What Kanbu's settings page says; without a row its defaults.
struct Switches {
    on_success: bool,
    on_failure: bool,
    url: Option<String>,
    secret: Option<String>,
}

impl Switches {
    fn takes(&self, message: &Message) -> bool {
        let is_failure = message.event.ends_with(".failed");
        message.is_test
            || if is_failure {
                self.on_failure
            } else {
                self.on_success
            }
    }
}

/// Kanbu's administrators, in Kanbu.
#[derive(Debug)]
pub struct InApp {
    cluster: Cluster,
}

/// The webhook of Kanbu's settings page.
#[derive(Debug)]
pub struct KanbuWebhook {
    cluster: Cluster,
    allow_private: bool,
}

impl InApp {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}

impl KanbuWebhook {
    pub fn new(cluster: Cluster, allow_private: bool) -> Self {
        Self {
            cluster,
            allow_private,
        }
    }
}

fn failed(error: &sqlx::Error) -> NotifyError {
    // Whatever is wrong with somebody else's database may be put right.
    let text = chain(error);
    NotifyError::Kanbu(Failure::new(
        Fault::Transient,
        "notify.kanbu_database",
        text,
    ))
}

/// Does something in Kanbu's database, within a limit.
async fn within<T>(
    cluster: &Cluster,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, NotifyError> {
    let slow = || {
        let text = format!("it did not answer within {} s", ANSWER_WITHIN.as_secs());
        NotifyError::Kanbu(Failure::new(
            Fault::Transient,
            "notify.kanbu_database",
            text,
        ))
    };
    let working = async {
        let mut connection = cluster
            .connect(None)
            .await
            .map_err(|error| NotifyError::Kanbu(error.into()))?;
        let done = work(&mut connection).await.map_err(|error| failed(&error));
        connection.close().await.ok();
        done
    };
    timeout(ANSWER_WITHIN, working).await.map_err(|_| slow())?
}

async fn has_table(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass('public.' || quote_ident($1)) is not null")
        .bind(name)
        .fetch_one(connection)
        .await
}

async fn switches(connection: &mut PgConnection) -> Result<Switches, sqlx::Error> {
    let usual = Switches {
        on_success: false,
        on_failure: true,
        url: None,
        secret: None,
    };
    if !has_table(connection, "backup_notification_config").await? {
        return Ok(usual);
    }
    let row = sqlx::query(
        "select notify_on_success, notify_on_failure, webhook_url, webhook_secret
           from public.backup_notification_config order by id limit 1",
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(usual);
    };
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    Ok(Switches {
        on_success: row.try_get("notify_on_success")?,
        on_failure: row.try_get("notify_on_failure")?,
        url: given(row.try_get("webhook_url")?),
        secret: given(row.try_get("webhook_secret")?),
    })
}

#[async_trait]
impl Notifier for InApp {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let row = Notification::of(message);
        let at = message.at.naive_utc();
        let is_wanted = within(&self.cluster, async |connection| {
            if !has_table(connection, "notifications").await? {
                return Ok(Some("the protected database is not Kanbu's"));
            }
            if !switches(connection).await?.takes(message) {
                return Ok(Some("it is switched off in Kanbu"));
            }
            let mut transaction = connection.begin().await?;
            sqlx::query(
                "insert into public.notifications (user_id, type, title, content, data, is_read, created_at)
                   select u.id, $1, $2, $3, $4, false, $5 from public.users u
                    where u.role::text = 'ADMIN' and u.is_active
                      and not exists (select from public.notifications n
                                       where n.user_id = u.id and n.type = $1 and n.title = $2 and n.created_at = $5)",
            )
            .bind(&row.kind)
            .bind(&row.title)
            .bind(&row.content)
            .bind(&row.data)
            // Kanbu keeps milliseconds, in UTC and without a zone.
            .bind(at_milliseconds(at))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(None)
        })
        .await?;
        Ok(match is_wanted {
            Some(why) => Receipt::Skipped(why),
            None => Receipt::Delivered {
                http_status: None,
                said: "written into Kanbu's notifications".to_owned(),
            },
        })
    }
}

fn at_milliseconds(at: chrono::NaiveDateTime) -> chrono::NaiveDateTime {
    let ms = at.and_utc().timestamp_millis();
    chrono::DateTime::from_timestamp_millis(ms).map_or(at, |at| at.naive_utc())
}

#[async_trait]
impl Notifier for KanbuWebhook {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let switches = within(&self.cluster, async |connection| switches(connection).await).await?;
        if !switches.takes(message) {
            return Ok(Receipt::Skipped("it is switched off in Kanbu"));
        }
        let Some(url) = switches.url else {
            return Ok(Receipt::Skipped("Kanbu has no webhook"));
        };
        let bad = "the webhook in Kanbu's settings is no address";
        let url: Address = url.parse().map_err(|_| NotifyError::Unsuitable(bad))?;
        let webhook = Webhook::new(WebhookTerms {
            url,
            secret: switches.secret.map(Hidden::new),
            allow_private: self.allow_private,
        });
        let webhook = webhook.map_err(|_| NotifyError::Unsuitable("no certificates to trust"))?;
        webhook.deliver(message).await
    }
}

/// A row, but for whom.
#[derive(Debug, PartialEq)]
struct Notification {
    kind: String,
    title: String,
    content: String,
    data: Value,
}

impl Notification {
    fn of(message: &Message) -> Self {
        let what = if message.is_source() {
            "source"
        } else {
            "database"
        };
        let capital = if message.is_source() {
            "Source"
        } else {
            "Database"
        };
        let file = message
            .backup
            .as_ref()
            .map_or("a backup", |backup| backup.file.as_str());
        let (kind, title, content) = match message.event.as_str() {
            "backup.completed" => (
                "backup_completed",
                format!("{capital} backup completed"),
                format!("{file} created successfully"),
            ),
            // Kanbu has no word between the two: it says what is missing.
            "backup.degraded" => (
                "backup_completed",
                format!("{capital} backup completed"),
                format!("{file} created, but: {}", message.text()),
            ),
            "backup.failed" => (
                "backup_failed",
                format!("{capital} backup failed"),
                message.text(),
            ),
            "restore.completed" | "restore.degraded" => (
                "restore_completed",
                "Database restore completed".to_owned(),
                format!("Restored from {file}"),
            ),
            "restore.failed" => (
                "restore_failed",
                "Database restore failed".to_owned(),
                message.text(),
            ),
            other => ("", other.to_owned(), String::new()),
        };
        let (kind, title, content) = if kind.is_empty() {
            (
                message.event.replace('.', "_"),
                message.title(),
                message.text(),
            )
        } else {
            (kind.to_owned(), title, content)
        };
        Self {
            title: title.chars().take(MOST_TITLE_CHARS).collect(),
            content,
            data: data(message, what),
            kind,
        }
    }
}

/// What isn't known is absent, never null.
fn data(message: &Message, what: &str) -> Value {
    let is_restore = message.event.starts_with("restore.");
    let mut data = Map::new();
    let what = if is_restore { "database" } else { what };
    data.insert("backupType".to_owned(), json!(what));
    if let Some(backup) = &message.backup {
        data.insert("backupFilename".to_owned(), json!(backup.file));
        if !is_restore {
            data.insert("backupSize".to_owned(), json!(backup.payload_bytes));
        }
    }
    if let Some(ms) = message.facts.duration_ms {
        data.insert("backupDuration".to_owned(), json!(ms));
    }
    if let Some(error) = &message.facts.error {
        data.insert("backupError".to_owned(), json!(error));
    }
    data.insert("link".to_owned(), json!(LINK));
    Value::Object(data)
}
