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
    form: Form,
    quiet: bool,
    bars: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    /// Of one of several things that one call does.
    JsonPart,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        let bars =
            !global.json && !global.quiet && !global.no_progress && std::io::stderr().is_terminal();
        Self {
            form: if global.json { Form::Json } else { Form::Text },
            quiet: global.quiet,
            bars,
        }
    }

    /// For one of several things that one call does: how it ended is a message, because the stream goes on.
    #[must_use]
    pub fn part(self) -> Self {
        let form = match self.form {
            Form::Text => Form::Text,
            Form::Json | Form::JsonPart => Form::JsonPart,
        };
        Self { form, ..self }
    }

    pub fn is_json(self) -> bool {
        self.form != Form::Text
    }

    /// The tag of a line that ends a stream, unless more is to come.
    fn end(self, word: &'static str) -> &'static str {
        match self.form {
            Form::Text | Form::Json => word,
            Form::JsonPart => "message",
        }
    }

    /// Bars appear on a terminal only.
    pub fn shows_bars(self) -> bool {
        self.bars
    }

    /// A list or a document: one JSON document, or the text made of it.
    pub fn document(self, name: &str, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.is_json() {
            print_json(&json!({ "v": SCHEMA, name: value }));
        } else {
            print_line(text().trim_end());
        }
    }

    /// The one line that ends a stream well.
    pub fn result(self, fields: Value, text: &str) {
        if self.is_json() {
            print_json(&tagged(self.end("result"), fields));
        } else {
            print_line(text);
        }
    }

    /// Something said on the way.
    pub fn message(self, text: &str) {
        if self.is_json() {
            print_json(&tagged("message", json!({ "level": "info", "text": text })));
        } else if !self.quiet {
            eprint_line(text);
        }
    }

    pub fn warning(self, code: &str, text: &str) {
        if self.is_json() {
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
        if self.is_json() {
            print_json(&tagged("progress", fields));
        }
    }
}

fn tagged(kind: &str, fields: Value) -> Value {
    extended(json!({ "v": SCHEMA, "type": kind }), fields)
}

/// An object with the members of another one added.
pub fn extended(mut fields: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    fields
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
