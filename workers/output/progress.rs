//! The progress bar of a job that is being followed. It never jumps back, and an estimated end is called "about".

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kanbu_backup::execution::{Phase, Progress};

use super::Output;

/// A bar on standard error, or nothing where nobody looks.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    phase: Option<Phase>,
}

impl Bar {
    pub fn new(output: Output) -> Self {
        let bar = if output.shows_bars() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, phase: None }
    }

    /// Shows how far the job is.
    pub fn show(&mut self, progress: &Progress) {
        if self.phase != Some(progress.phase) {
            self.phase = Some(progress.phase);
            self.bar.reset();
            self.bar.set_style(style(progress));
            self.bar.set_prefix(progress.phase.to_string());
        }
        match progress.total_bytes {
            // An estimate may fall short: then the end moves, the bar doesn't.
            Some(total) => self.bar.set_length(total.max(progress.done_bytes)),
            None => self.bar.unset_length(),
        }
        self.bar
            .set_position(progress.done_bytes.max(self.bar.position()));
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(progress: &Progress) -> ProgressStyle {
    let total = match (progress.total_bytes, progress.total_is_estimate) {
        (Some(_), true) => "{bar:24} {bytes} of about {total_bytes}",
        (Some(_), false) => "{bar:24} {bytes} of {total_bytes}",
        (None, _) => "{spinner} {bytes}",
    };
    let template = format!("  {{prefix:10}} {total}  {{bytes_per_sec}}  {{elapsed}}");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
