//! What a run of the suite is told by its environment: how long the chaos lasts, which seed it follows, where rows go.

use std::{fs::OpenOptions, io::Write, time::Duration};

const CHAOS_SECONDS: u64 = 120;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the suite reads its settings"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let value = setting(name)?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is {value:?}, which is no number")))
}

pub(crate) fn chaos_time() -> Duration {
    Duration::from_secs(number("KANBU_FAULTS_SECONDS").unwrap_or(CHAOS_SECONDS))
}

/// The seed to replay, or a new one; it is printed.
pub(crate) fn seed() -> u64 {
    let seed = number("KANBU_FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}: replay with KANBU_FAULTS_SEED={seed}");
    seed
}

/// Adds a row to the table that `./test faults` prints.
pub(crate) fn record(row: &str) {
    if let Some(path) = setting("KANBU_FAULTS_TABLE") {
        let table = OpenOptions::new().append(true).create(true).open(path);
        writeln!(table.unwrap(), "{row}").unwrap();
    }
}
