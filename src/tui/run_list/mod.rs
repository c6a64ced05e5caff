//! The list of runs: which there are, how they stand, and from where one is opened or several are compared.

mod keys;
pub mod list;
mod mouse;
mod reader;
mod row;
mod sort;
pub mod view;

use std::thread;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Size;
use tokio::sync::mpsc;

pub use self::list::Kept;
use self::list::{RunList, Update};
use self::reader::read_runs;
use super::app::Message;
use super::stage::{Heeded, Moment, News, Request, Stage};
use super::theme::Theme;
use crate::run::dir::RunsDir;
use crate::terminal_image::{Detected, Placed};

/// The list, and the thread behind it, which ends when it is left.
pub struct Listing {
    list: RunList,
}

impl Listing {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(runs: RunsDir, kept: Kept, theme: Theme) -> anyhow::Result<(Self, mpsc::Receiver<Update>)> {
        let list = RunList::new(runs.path().display().to_string(), kept, theme);
        let (updates, updates_out) = mpsc::channel(4);
        thread::Builder::new().name("read runs".into()).spawn(move || read_runs(runs, updates))?;
        Ok((Self { list }, updates_out))
    }

    pub fn leave(self) -> Kept {
        self.list.into_kept()
    }
}

impl Stage for Listing {
    type Update = Update;

    fn handle_key(&mut self, key: KeyEvent) -> anyhow::Result<Option<Request>> {
        Ok(self.list.handle_key(key))
    }

    fn handle_mouse(&mut self, event: MouseEvent) -> anyhow::Result<Heeded> {
        Ok(self.list.handle_mouse(event))
    }

    fn update(&mut self, update: Update) -> anyhow::Result<Option<Request>> {
        self.list.update(update);
        Ok(None)
    }

    fn resized(&mut self, size: Size) {
        self.list.resized(size);
    }

    fn draw_images_by(&mut self, _: &Detected) {}

    fn say(&mut self, message: Message) {
        self.list.message = Some(message);
    }

    fn clock_runs(&self) -> bool {
        self.list.clock_runs()
    }

    fn take_news(&mut self) -> Vec<News> {
        vec![]
    }

    fn prepare(&mut self, moment: Moment) {
        self.list.now_ms = moment.now_ms;
        self.list.resized(moment.size);
    }

    fn render(&mut self, frame: &mut Frame) -> Vec<Placed> {
        view::render(&self.list, frame);
        vec![]
    }
}
