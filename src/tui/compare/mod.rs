//! Runs compared: their curves over each other, how each did, and what differs in their configurations.

mod keys;
mod mouse;
pub mod reader;
pub mod state;
pub mod view;

use std::thread;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Size;
use tokio::sync::mpsc;

use self::reader::{Update, read_run};
use self::state::Compare;
use super::app::Message;
use super::stage::{Comparison, Heeded, Moment, News, Request, Stage};
use super::theme::Theme;
use crate::run::dir::RunDir;
use crate::run::lock::Liveness;
use crate::terminal_image::{Detected, Placed};

/// The comparison, and the threads behind it, one for each run, which end when it is left.
pub struct Comparing {
    compare: Compare,
}

impl Comparing {
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        comparison: Comparison,
        liveness: fn(&RunDir) -> Liveness,
        theme: Theme,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Update>)> {
        let (updates, updates_out) = mpsc::channel(4);
        for (number, run) in comparison.runs.iter().cloned().enumerate() {
            let updates = updates.clone();
            let name = format!("compare {number}");
            thread::Builder::new().name(name).spawn(move || read_run(number, &run, liveness, &updates))?;
        }
        Ok((Self { compare: Compare::new(comparison, theme) }, updates_out))
    }
}

impl Stage for Comparing {
    type Update = Update;

    fn handle_key(&mut self, key: KeyEvent) -> anyhow::Result<Option<Request>> {
        Ok(self.compare.handle_key(key))
    }

    fn handle_mouse(&mut self, event: MouseEvent) -> anyhow::Result<Heeded> {
        Ok(self.compare.handle_mouse(event))
    }

    fn update(&mut self, update: Update) -> anyhow::Result<Option<Request>> {
        self.compare.update(update);
        Ok(None)
    }

    fn resized(&mut self, size: Size) {
        self.compare.size = size;
    }

    fn draw_images_by(&mut self, _: &Detected) {}

    fn say(&mut self, message: Message) {
        self.compare.message = Some(message);
    }

    fn clock_runs(&self) -> bool {
        self.compare.clock_runs()
    }

    fn take_news(&mut self) -> Vec<News> {
        vec![]
    }

    fn prepare(&mut self, moment: Moment) {
        self.compare.now_ms = moment.now_ms;
        self.compare.size = moment.size;
    }

    fn render(&mut self, frame: &mut Frame) -> Vec<Placed> {
        view::render(&self.compare, frame);
        vec![]
    }
}
