//! What people and programs see: data on standard output, everything else on standard error.

mod error;
mod progress;
pub mod sink;
mod table;

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

pub use self::{progress::Bar, table::Table};
use crate::cli::Global;

/// The version of every JSON document and line; readers must ignore unknown fields.
const SCHEMA: u8 = 1;

/// How this process talks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    bars: bool,
    /// Several things are done by one call, and this talks of one of them.
    is_part: bool,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        let bars =
            !global.json && !global.quiet && !global.no_progress && std::io::stderr().is_terminal();
        Self {
            json: global.json,
            quiet: global.quiet,
            bars,
            is_part: false,
        }
    }

    /// For one of several things that one call does: how it ended is a message, because the stream goes on.
    #[must_use]
    pub fn part(self) -> Self {
        Self {
            is_part: true,
            ..self
        }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// Bars appear on a terminal only.
    pub fn shows_bars(self) -> bool {
        self.bars
    }

    /// A list or a document: one JSON document, or the text made of it.
    pub fn document(self, name: &str, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            print_json(&json!({ "v": SCHEMA, name: value }));
        } else {
            print_line(text().trim_end());
        }
    }

    /// The one line that ends a stream well.
    pub fn result(self, fields: Value, text: &str) {
        if self.json {
            let kind = if self.is_part { "message" } else { "result" };
            print_json(&tagged(kind, fields));
        } else {
            print_line(text);
        }
    }

    /// Something said on the way.
    pub fn message(self, text: &str) {
        if self.json {
            print_json(&tagged("message", json!({ "level": "info", "text": text })));
        } else if !self.quiet {
            eprint_line(text);
        }
    }

    pub fn warning(self, code: &str, text: &str) {
        if self.json {
            print_json(&tagged(
                "message",
                json!({ "level": "warning", "code": code, "text": text }),
            ));
        } else {
            eprint_line(&format!("warning: {text} ({code})"));
        }
    }

    /// How far a job is; only programs get lines, people get a bar.
    pub fn progress(self, fields: Value) {
        if self.json {
            print_json(&tagged("progress", fields));
        }
    }
}

fn tagged(kind: &str, fields: Value) -> Value {
    let mut line = json!({ "v": SCHEMA, "type": kind });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}

fn print_json(value: &Value) {
    print_line(&value.to_string());
}

/// A reader that has gone (`| head`) is no error of ours.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
