//! `version`.

use serde_json::json;

use crate::{exit::Exit, output::Output};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn run(out: Output) -> Exit {
    out.document("version", &json!(VERSION), || {
        format!("kanbu-backup {VERSION}")
    });
    Exit::Done
}
