//! The progress of what takes a while before training: a download, or images that are decoded.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format;
use crate::terminal_kind::no_cursor;

/// Between two lines of progress where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A bar on a terminal, else a line now and then.
pub struct Progress {
    bar: ProgressBar,
    /// What is counted.
    unit: Unit,
    total: Option<u64>,
    told: Instant,
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Images,
}

impl Progress {
    pub fn of_download() -> Self {
        Self::start(
            Unit::Bytes,
            "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        )
    }

    pub fn of_images(total: usize) -> Self {
        let mut progress = Self::start(Unit::Images, "{bar:30} {human_pos} of {human_len} images decoded, {eta} left");
        progress.set_total(Some(total as u64));
        progress
    }

    fn start(unit: Unit, template: &str) -> Self {
        let bar = ProgressBar::no_length();
        if no_cursor().is_some() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        Self { bar, unit, total: None, told: Instant::now() }
    }

    pub fn set_total(&mut self, total: Option<u64>) {
        self.total = total;
        if let Some(total) = total {
            self.bar.set_length(total);
        }
    }

    pub fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            let of = |told: fn(u64) -> String| self.total.map_or(String::new(), |total| format!(" of {}", told(total)));
            let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
            match self.unit {
                Unit::Bytes => eprintln!("{}{} MB", megabytes(done), of(megabytes)),
                Unit::Images => eprintln!("{}{} images decoded", format::count(done), of(format::count)),
            }
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
