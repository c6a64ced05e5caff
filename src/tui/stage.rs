//! What may have the terminal: the list of runs, the dashboard of one, or several compared. One at a time.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Size;

use super::app::Message;
use crate::run::dir::RunDir;
use crate::run::metric::Metric;
use crate::run::series::XAxis;
use crate::terminal_image::{Detected, Placed};

/// Where to go.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    RunList,
    Run(RunDir),
    Compare(Comparison),
}

/// Runs to compare, and how they are looked at first.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub runs: Vec<RunDir>,
    pub metric: Metric,
    pub axis: XAxis,
    /// The accuracy in percent whose epoch and time are told; else the highest that all have reached.
    pub target: Option<f64>,
}

impl Comparison {
    /// By test accuracy over epochs.
    pub fn of(runs: Vec<RunDir>) -> Self {
        Self { runs, metric: Metric::TestAccuracy, axis: XAxis::Epoch, target: None }
    }
}

/// What a key or an update wants of the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Go(Place),
    Leave,
    Suspend,
}

/// What became of something that the mouse did.
#[derive(Clone, Debug, PartialEq)]
pub enum Heeded {
    Ignored,
    Changed,
    Asked(Request),
}

/// The terminal as it is at a frame.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub size: Size,
    /// Size of a character in pixels, where the terminal reports it.
    pub cell: Option<Size>,
}

/// Something that calls for attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub run: String,
    pub text: String,
}

pub trait Stage {
    /// What its threads send.
    type Update;

    /// # Errors
    /// A thread that the key needs has ended.
    fn handle_key(&mut self, key: KeyEvent) -> anyhow::Result<Option<Request>>;

    /// # Errors
    /// A thread that it needs has ended.
    fn handle_mouse(&mut self, event: MouseEvent) -> anyhow::Result<Heeded>;

    /// # Errors
    /// A thread that the update needs has ended.
    fn update(&mut self, update: Self::Update) -> anyhow::Result<Option<Request>>;

    fn resized(&mut self, size: Size);

    /// Another terminal shows it now.
    fn draw_images_by(&mut self, detected: &Detected);

    /// Shows what the session has to say.
    fn say(&mut self, message: Message);

    /// Things on the screen change by themselves from second to second.
    fn clock_runs(&self) -> bool;

    /// What has not been told yet, each once.
    fn take_news(&mut self) -> Vec<News>;

    /// Called before each frame.
    fn prepare(&mut self, moment: Moment);

    /// Draws; returns the images that the terminal is to draw, for which it has left room.
    fn render(&mut self, frame: &mut Frame) -> Vec<Placed>;
}
