//! How a failure is told.

use kanbu_backup::fault::{Failure, Fault};
use serde_json::json;

use super::{Output, eprint_line, print_json, tagged};

impl Output {
    /// The one line that ends a stream badly: what happened, its stable code, what to do.
    pub fn error(self, failure: &Failure) {
        if self.json {
            let mut fields = json!({
                "code": failure.code,
                "text": failure.message,
                "retryable": failure.fault == Fault::Transient,
            });
            if let Some(hint) = &failure.hint {
                fields["hint"] = json!(hint);
            }
            if self.is_part {
                fields["level"] = json!("error");
            }
            let kind = if self.is_part { "message" } else { "error" };
            print_json(&tagged(kind, fields));
            return;
        }
        eprint_line(&format!("error: {} ({})", failure.message, failure.code));
        print_hint(failure);
    }

    /// A failure that is not the end, and what comes next.
    pub fn setback(self, failure: &Failure, next: &str) {
        if self.json {
            let fields = json!({
                "level": "warning",
                "code": failure.code,
                "text": failure.message,
                "hint": failure.hint,
                "next": next,
            });
            print_json(&tagged("message", fields));
            return;
        }
        eprint_line(&format!("warning: {} ({})", failure.message, failure.code));
        print_hint(failure);
        eprint_line(&format!("  {next}"));
    }
}

fn print_hint(failure: &Failure) {
    if let Some(hint) = &failure.hint {
        eprint_line(&format!("  hint: {hint}"));
    }
}
