//! The progress of a download.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal_kind::no_cursor;

/// Between two lines of progress where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A bar on a terminal, else a line now and then.
pub struct Progress {
    bar: ProgressBar,
    total: Option<u64>,
    told: Instant,
}

impl Progress {
    pub fn start() -> Self {
        let bar = ProgressBar::no_length();
        if no_cursor().is_some() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template(
            "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        );
        bar.set_style(style.expect("the template is well-formed"));
        Self { bar, total: None, told: Instant::now() }
    }

    pub fn set_total(&mut self, total: Option<u64>) {
        self.total = total;
        if let Some(total) = total {
            self.bar.set_length(total);
        }
    }

    pub fn set(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            let of = self.total.map_or(String::new(), |total| format!(" of {:.1}", total as f64 / 1e6));
            eprintln!("{:.1}{of} MB", bytes as f64 / 1e6);
        }
    }

    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
