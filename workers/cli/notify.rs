//! The command line's part about telling people and programs.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Notify {
    /// The channels in the settings, with what each is told of
    List,
    /// Send a test message through a channel, whatever it is told of, and print the answer
    Test { channel: String },
    /// What became of each message, the newest first
    Log {
        /// Only messages to this channel
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Only what failed or was given up
        #[arg(long)]
        failed: bool,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// Send a message once more: a delivery to its channel, an event to all that want it
    Replay {
        /// A delivery or an event, by its id or the end of one
        id: String,
        /// For an event: only to this channel
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}
