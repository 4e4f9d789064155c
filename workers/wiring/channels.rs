//! From a channel's settings to whoever is told by it.

use std::sync::Arc;

use kanbu_backup::{
    config::Config,
    control::ControlDb,
    fault::{Failure, Fault},
    kanbu::{
        inapp::{InApp, KanbuWebhook},
        webhook::Webhook,
    },
    notify::{self, Channel, ChannelConfig, Chat, Email, Heartbeat, Means, Notifier, Post},
    pg::cluster::Cluster,
};

/// Every channel in the settings.
pub fn channels(config: &Config) -> Result<Vec<Channel>, Failure> {
    let channels = config.notify.channels.iter();
    channels.map(|channel| open(channel, config)).collect()
}

/// What Notify jobs need.
pub(super) fn deps(config: &Config, db: &ControlDb) -> Result<notify::Deps, Failure> {
    Ok(notify::Deps {
        channels: channels(config)?,
        environment: config.storage.environment.to_string(),
        control: db.clone(),
    })
}

fn open(channel: &ChannelConfig, config: &Config) -> Result<Channel, Failure> {
    let notifier: Arc<dyn Notifier> = match &channel.means {
        Means::Webhook(terms) => Arc::new(Webhook::new(terms.clone())?),
        Means::KanbuWebhook { allow_private } => {
            Arc::new(KanbuWebhook::new(kanbus(channel, config)?, *allow_private))
        }
        Means::Kanbu => Arc::new(InApp::new(kanbus(channel, config)?)),
        Means::Email(terms) => Arc::new(Email::new(terms)?),
        Means::Slack(terms) => Arc::new(Chat::slack(terms.clone())?),
        Means::Discord(terms) => Arc::new(Chat::discord(terms.clone())?),
        Means::Template(terms) => Arc::new(Post::new((**terms).clone())?),
        Means::Heartbeat(terms) => Arc::new(Heartbeat::new(terms.clone())?),
    };
    Ok(Channel::new(channel, notifier))
}

/// Kanbu's database is the protected one.
fn kanbus(channel: &ChannelConfig, config: &Config) -> Result<Cluster, Failure> {
    let Some(url) = &config.protected.url else {
        let text = format!(
            "channel {} writes to Kanbu's database, and no DATABASE_URL names it",
            channel.name
        );
        return Err(Failure::new(
            Fault::Permanent,
            "notify.no_kanbu_database",
            text,
        ));
    };
    Ok(Cluster::from_url(url.expose())?)
}
