//! The comparison's state, and how keys and updates change it. No clock, no terminal, no input or output.

use std::ops::Range;

use ratatui::crossterm::event::{KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Size;
use ratatui::text::Line;

use super::keys::{Action, BINDINGS};
use super::reader::{News, Update};
use crate::config::Values;
use crate::run::comparison::{Difference, Score, common_accuracy, data_warning, differences};
use crate::run::dir::RunDir;
use crate::run::listing::is_live;
use crate::run::lock::Liveness;
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::run::state::RunState;
use crate::tui::app::Message;
use crate::tui::chart::{SCALE_WIDTH, ScaleKind, Window, next_smoothing};
use crate::tui::key_table;
use crate::tui::layout::{Direction, scrolled};
use crate::tui::stage::{Comparison, Place, Request};
use crate::tui::theme::Theme;
use crate::tui::view::parts::{help_page, key_help_lines};

/// A run that is compared.
#[derive(Debug)]
pub struct Contender {
    pub run: RunDir,
    pub name: String,
    pub log: LogRead,
    pub liveness: Option<Liveness>,
    /// What is wrong with its log or configuration, if anything is.
    pub fault: Option<String>,
    configuration: Option<Values>,
}

#[derive(Debug)]
pub enum LogRead {
    /// Percent that were read.
    Reading(u64),
    Read(Box<RunState>),
}

impl Contender {
    pub fn state(&self) -> Option<&RunState> {
        match &self.log {
            LogRead::Read(state) => Some(state),
            LogRead::Reading(_) => None,
        }
    }

    pub fn is_live(&self) -> bool {
        self.liveness.as_ref().is_some_and(is_live)
    }

    /// The time up to which it was worked at.
    fn until_ms(&self, now_ms: u64) -> u64 {
        let last = self.state().map_or(0, |state| state.last_activity_ms);
        if self.is_live() { now_ms.max(last) } else { last }
    }
}

#[derive(Debug)]
pub struct Compare {
    pub contenders: Vec<Contender>,
    /// Keys that differ, with a value for each contender.
    pub differences: Vec<Difference>,
    pub metric: Metric,
    pub axis: XAxis,
    pub scale: ScaleKind,
    window: Window,
    /// Where values are read off.
    pub cursor: Option<f64>,
    pub smoothing: Smoothing,
    pub chosen: usize,
    /// Columns of the table that were passed by.
    pub first_column: usize,
    /// The accuracy that was asked for, in percent.
    target: Option<f64>,
    /// The first line of the help that is in view, while it is open.
    pub help: Option<usize>,
    pub message: Option<Message>,
    pub theme: Theme,
    pub size: Size,
    /// The present, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Compare {
    pub fn new(comparison: Comparison, theme: Theme) -> Self {
        let Comparison { runs, metric, axis, target } = comparison;
        let contender = |run: RunDir| Contender {
            name: run.name(),
            run,
            log: LogRead::Reading(0),
            liveness: None,
            fault: None,
            configuration: None,
        };
        Self {
            contenders: runs.into_iter().map(contender).collect(),
            differences: vec![],
            metric,
            axis,
            scale: ScaleKind::default(),
            window: Window::Whole,
            cursor: None,
            smoothing: Smoothing::OFF,
            chosen: 0,
            first_column: 0,
            target,
            help: None,
            message: None,
            theme,
            size: Size::default(),
            now_ms: 0,
        }
    }

    /// Those whose logs were read.
    pub fn states(&self) -> impl Iterator<Item = &RunState> {
        self.contenders.iter().filter_map(Contender::state)
    }

    /// Percent of all logs that were read; none where that is done.
    pub fn progress(&self) -> Option<u64> {
        let percents: Vec<u64> = self
            .contenders
            .iter()
            .map(|contender| match contender.log {
                LogRead::Reading(percent) => percent,
                LogRead::Read(_) => 100,
            })
            .collect();
        let all = percents.iter().sum::<u64>() / percents.len().max(1) as u64;
        self.contenders.iter().any(|contender| contender.state().is_none() && contender.fault.is_none()).then_some(all)
    }

    /// The accuracy in percent whose epoch and time are told.
    pub fn target(&self) -> Option<f64> {
        self.target.or_else(|| common_accuracy(self.states()))
    }

    /// One for each contender whose log was read.
    pub fn scores(&self) -> Vec<Option<Score>> {
        let target = self.target();
        let score =
            |contender: &Contender| Some(Score::of(contender.state()?, target, contender.until_ms(self.now_ms)));
        self.contenders.iter().map(score).collect()
    }

    /// What there is to say where the runs are not of the same data.
    pub fn data_warning(&self, scores: &[Option<Score>]) -> Option<String> {
        let data = scores.iter().map(|score| score.as_ref().map_or("", |score| score.data.as_str()));
        data_warning(self.contenders.iter().map(|contender| contender.name.as_str()).zip(data))
    }

    /// From the beginning of all runs to the end of the longest.
    pub fn whole(&self) -> Option<Range<f64>> {
        let extents = self.states().filter_map(|state| state.series(self.metric).extent(self.axis));
        let end = extents.map(|(_, end)| end).max_by(f64::total_cmp)?;
        Some(0.0..if end > 0.0 { end } else { 1.0 })
    }

    pub fn view(&self) -> Option<Range<f64>> {
        self.whole().map(|whole| self.window.view(&whole))
    }

    /// Whether all is in view, and stays so.
    pub fn is_whole(&self) -> bool {
        self.window == Window::Whole
    }

    pub fn update(&mut self, update: Update) {
        let Some(contender) = self.contenders.get_mut(update.run) else { return };
        match update.news {
            News::Progress(percent) => {
                if let LogRead::Reading(read) = &mut contender.log {
                    *read = percent;
                }
            }
            News::Configuration(Ok(values)) => {
                contender.configuration = Some(values);
                let known: Vec<_> = self.contenders.iter().map(|contender| contender.configuration.as_ref()).collect();
                self.differences = differences(&known);
            }
            News::Loaded(state) => contender.log = LogRead::Read(state),
            News::Records(records) => {
                if let LogRead::Read(state) = &mut contender.log {
                    records.iter().for_each(|record| state.apply(record));
                }
            }
            News::Liveness(liveness) => contender.liveness = Some(liveness),
            News::Configuration(Err(why)) | News::Fault(why) => contender.fault = Some(why),
        }
    }

    pub fn handle_key(&mut self, event: KeyEvent) -> Option<Request> {
        if event.kind != KeyEventKind::Press {
            return None;
        }
        self.message = None;
        let action = key_table::action(BINDINGS, &event)?;
        if self.help.is_some() {
            match action {
                Action::Leave if event.modifiers.contains(KeyModifiers::CONTROL) => return Some(Request::Leave),
                Action::Suspend => return Some(Request::Suspend),
                Action::Zoom(1..) | Action::Choose(..0) => self.scroll_help(Direction::Up),
                Action::Zoom(_) | Action::Choose(_) => self.scroll_help(Direction::Down),
                Action::Page(..0) => self.scroll_help(Direction::PageUp),
                Action::Page(_) => self.scroll_help(Direction::PageDown),
                Action::Start => self.scroll_help(Direction::Start),
                Action::Follow => self.scroll_help(Direction::Latest),
                _ => self.help = None,
            }
            return None;
        }
        match action {
            Action::Metric(by) => self.change_metric(by),
            Action::Axis => {
                self.axis = self.axis.next();
                (self.window, self.cursor) = (Window::Whole, None);
            }
            Action::Smoothing => self.smoothing = next_smoothing(self.smoothing),
            Action::Scale => self.scale = self.scale.other(),
            Action::Zoom(times) => self.zoom(times, self.cursor),
            Action::Page(by) => self.look(|window, whole| window.panned(f64::from(by) / 2.0, whole)),
            Action::Start => self.look(Window::at_start),
            Action::Follow => {
                self.look(Window::at_newest);
                self.cursor = None;
            }
            Action::Whole => self.window = Window::Whole,
            Action::Cursor(by) => self.move_cursor(by),
            Action::Choose(by) => self.step_chosen(by),
            Action::Columns(by) => self.first_column = self.first_column.saturating_add_signed(by),
            Action::Open => return self.open(),
            Action::Back => return Some(Request::Go(Place::RunList)),
            Action::Help => self.help = Some(0),
            Action::Leave => return Some(Request::Leave),
            Action::Suspend => return Some(Request::Suspend),
        }
        None
    }

    /// Closer where `times` is positive; that place stays where it is.
    pub fn zoom(&mut self, times: i32, around: Option<f64>) {
        self.look(|window, whole| window.zoomed(times, around, whole));
    }

    /// Chooses the run with that number, and opens it where it is chosen already.
    pub fn choose(&mut self, number: usize) -> Option<Request> {
        if number == self.chosen {
            return self.open();
        }
        self.chosen = number;
        None
    }

    pub fn step_chosen(&mut self, by: isize) {
        let last = self.contenders.len().saturating_sub(1);
        self.chosen = self.chosen.saturating_add_signed(by).min(last);
    }

    fn open(&self) -> Option<Request> {
        Some(Request::Go(Place::Run(self.contenders.get(self.chosen)?.run.clone())))
    }

    /// What the help says, on a screen of the present size.
    pub fn help_lines(&self) -> Vec<Line<'static>> {
        key_help_lines(self.theme, key_table::help(BINDINGS), &[], self.size.into())
    }

    pub fn scroll_help(&mut self, direction: Direction) {
        let page = help_page(self.size.into());
        let last_start = self.help_lines().len().saturating_sub(page);
        self.help = self.help.map(|first| scrolled(first, direction, page, last_start));
    }

    /// To the next metric that any of the runs has.
    fn change_metric(&mut self, by: isize) {
        let all: Vec<Metric> = Metric::all().collect();
        let count = all.len() as isize;
        let at = all.iter().position(|&metric| metric == self.metric).unwrap_or(0) as isize;
        let others = (1..=count).map(|steps| all[(at + by * steps).rem_euclid(count) as usize]);
        let has_data = |metric: &Metric| self.states().any(|state| !state.series(*metric).is_empty());
        if let Some(metric) = others.into_iter().find(has_data) {
            self.metric = metric;
        }
    }

    fn look(&mut self, at: impl FnOnce(&Window, &Range<f64>) -> Window) {
        if let Some(whole) = self.whole() {
            self.window = at(&self.window, &whole);
        }
    }

    /// By columns of the screen; the view comes along. It appears at the newest.
    fn move_cursor(&mut self, by: i32) {
        let Some(whole) = self.whole() else { return };
        let columns = self.size.width.saturating_sub(SCALE_WIDTH);
        let (window, cursor) = self.window.with_cursor_moved(self.cursor, by, columns, &whole);
        (self.window, self.cursor) = (window, Some(cursor));
    }

    /// Whether what is shown changes with the clock.
    pub fn clock_runs(&self) -> bool {
        self.contenders.iter().any(Contender::is_live)
    }
}
