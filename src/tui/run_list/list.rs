//! The list's state, and how keys and updates change it. No clock, no terminal, no input or output.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Size;
use ratatui::text::Line;

use super::keys::{self, Action, BINDINGS};
use super::row::{LogRead, Row};
use super::sort::Sort;
use crate::run::dir::RunDir;
use crate::run::listing::{Figures, Listed};
use crate::tui::app::Message;
use crate::tui::key_table;
use crate::tui::layout::{Direction, scrolled};
use crate::tui::stage::{Comparison, Place, Request};
use crate::tui::theme::{SERIES_STYLES, Theme};
use crate::tui::view::parts::{help_page, key_help_lines};

/// Lines that are no rows: title, headings, message and footer.
pub const OTHER_LINES: u16 = 4;

/// What the reading thread has found.
#[derive(Debug)]
pub enum Update {
    /// Every run that there is now.
    Listed(Vec<Listed>),
    /// What logs say, or why they cannot be read.
    Read(Vec<(PathBuf, Result<Figures, String>)>),
    /// Why the runs cannot be listed.
    Fault(String),
}

/// What is kept of the list while something else is looked at.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    filter: String,
    sort: Sort,
    reversed: bool,
    marked: BTreeSet<PathBuf>,
    cursor: Option<PathBuf>,
}

#[derive(Debug)]
pub struct RunList {
    rows: Vec<Row>,
    /// Indices of the rows that the filter lets through, in order.
    shown: Vec<usize>,
    kept: Kept,
    /// The place of the cursor among those shown.
    cursor: usize,
    first_shown: usize,
    pub typing: bool,
    /// The first line of the help that is in view, while it is open.
    pub help: Option<usize>,
    /// The runs were listed once.
    pub is_listed: bool,
    pub fault: Option<String>,
    pub message: Option<Message>,
    /// The folder of the runs.
    pub folder: String,
    pub theme: Theme,
    pub size: Size,
    /// The present, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl RunList {
    pub fn new(folder: impl Into<String>, kept: Kept, theme: Theme) -> Self {
        Self {
            rows: vec![],
            shown: vec![],
            kept,
            cursor: 0,
            first_shown: 0,
            typing: false,
            help: None,
            is_listed: false,
            fault: None,
            message: None,
            folder: folder.into(),
            theme,
            size: Size::default(),
            now_ms: 0,
        }
    }

    pub fn into_kept(mut self) -> Kept {
        self.kept.cursor = self.current().map(|row| row.run().path().to_owned());
        self.kept
    }

    pub fn filter(&self) -> &str {
        &self.kept.filter
    }

    pub fn sort(&self) -> (Sort, bool) {
        (self.kept.sort, self.kept.reversed)
    }

    pub fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// In order.
    pub fn shown(&self) -> impl ExactSizeIterator<Item = &Row> + DoubleEndedIterator {
        self.shown.iter().map(|&index| &self.rows[index])
    }

    pub fn current(&self) -> Option<&Row> {
        self.shown.get(self.cursor).map(|&index| &self.rows[index])
    }

    pub fn is_marked(&self, run: &RunDir) -> bool {
        self.kept.marked.contains(run.path())
    }

    pub fn marked(&self) -> usize {
        self.kept.marked.len()
    }

    /// The places in view.
    pub fn visible(&self) -> Range<usize> {
        self.first_shown..(self.first_shown + self.page()).min(self.shown.len())
    }

    /// Rows that fit.
    fn page(&self) -> usize {
        usize::from(self.size.height.saturating_sub(OTHER_LINES)).max(1)
    }

    pub fn update(&mut self, update: Update) {
        // Of the rows that there were.
        let before = self.current_path();
        match update {
            Update::Listed(listed) => {
                self.is_listed = true;
                self.fault = None;
                self.take_listed(listed);
            }
            Update::Read(read) => {
                let mut read: HashMap<PathBuf, _> = read.into_iter().collect();
                for row in &mut self.rows {
                    row.log = match read.remove(row.run().path()) {
                        Some(Ok(figures)) => LogRead::Read(Box::new(figures)),
                        Some(Err(why)) => LogRead::Failed(why),
                        None => continue,
                    };
                }
            }
            Update::Fault(text) => self.fault = Some(text),
        }
        self.arrange(before);
    }

    /// What was read of a run stays until it is read again.
    fn take_listed(&mut self, listed: Vec<Listed>) {
        let mut known: HashMap<PathBuf, LogRead> =
            std::mem::take(&mut self.rows).into_iter().map(|row| (row.run().path().to_owned(), row.log)).collect();
        self.rows = listed
            .into_iter()
            .map(|listed| Row { log: known.remove(listed.run.path()).unwrap_or(LogRead::Pending), listed })
            .collect();
        self.kept.marked.retain(|path| !known.contains_key(path));
    }

    /// Filters and sorts anew; the cursor stays on the run that it was on.
    fn arrange(&mut self, before: Option<PathBuf>) {
        let before = before.or_else(|| self.kept.cursor.take());
        let words: Vec<String> = self.kept.filter.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let (rows, now_ms) = (&self.rows, self.now_ms);
        let mut shown: Vec<usize> = (0..rows.len()).filter(|&index| rows[index].matches(&words, now_ms)).collect();
        let (sort, reversed) = self.sort();
        shown.sort_by(|&one, &other| sort.compare(&rows[one], &rows[other], reversed, now_ms));
        self.shown = shown;
        if let Some(path) = before {
            match self.shown.iter().position(|&index| self.rows[index].run().path() == path) {
                Some(place) => self.cursor = place,
                // It may yet be listed.
                None if self.rows.is_empty() => self.kept.cursor = Some(path),
                None => {}
            }
        }
        self.keep_in_view();
    }

    fn current_path(&self) -> Option<PathBuf> {
        self.current().map(|row| row.run().path().to_owned())
    }

    fn keep_in_view(&mut self) {
        self.cursor = self.cursor.min(self.shown.len().saturating_sub(1));
        let page = self.page();
        self.first_shown = self.first_shown.clamp((self.cursor + 1).saturating_sub(page), self.cursor);
        self.first_shown = self.first_shown.min(self.shown.len().saturating_sub(page));
    }

    pub fn resized(&mut self, size: Size) {
        self.size = size;
        self.keep_in_view();
    }

    pub fn handle_key(&mut self, event: KeyEvent) -> Option<Request> {
        if event.kind != KeyEventKind::Press {
            return None;
        }
        self.message = None;
        let is_text = !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        if self.typing && is_text && self.type_filter(event.code) {
            return None;
        }
        let action = key_table::action(BINDINGS, &event);
        if self.help.is_some() {
            match action {
                Some(Action::Leave) if event.modifiers.contains(KeyModifiers::CONTROL) => return Some(Request::Leave),
                Some(Action::Suspend) => return Some(Request::Suspend),
                Some(Action::Move(direction)) => self.scroll_help(direction),
                _ => self.help = None,
            }
            return None;
        }
        match action? {
            Action::Open => return self.open(),
            Action::Mark => self.mark(),
            Action::Compare => return self.compare(),
            Action::Filter => self.typing = true,
            Action::Clear if self.kept.filter.is_empty() => self.kept.marked.clear(),
            Action::Clear => self.set_filter(String::new()),
            Action::NextSort => {
                (self.kept.sort, self.kept.reversed) = (self.kept.sort.next(), false);
                self.arrange(self.current_path());
            }
            Action::ReverseSort => {
                self.kept.reversed = !self.kept.reversed;
                self.arrange(self.current_path());
            }
            Action::Move(direction) => self.go(direction),
            Action::Help => self.help = Some(0),
            Action::Leave => return Some(Request::Leave),
            Action::Suspend => return Some(Request::Suspend),
        }
        None
    }

    /// Takes the cursor to a place in view, and opens the run where it is there already.
    pub fn choose(&mut self, place: usize) -> Option<Request> {
        if self.cursor == place {
            return self.open();
        }
        self.cursor = place;
        self.keep_in_view();
        None
    }

    pub fn sort_by(&mut self, sort: Sort) {
        self.kept.reversed = self.kept.sort == sort && !self.kept.reversed;
        self.kept.sort = sort;
        self.arrange(self.current_path());
    }

    fn open(&self) -> Option<Request> {
        self.current().map(|row| Request::Go(Place::Run(row.run().clone())))
    }

    /// What the help says, on a screen of the present size.
    pub fn help_lines(&self) -> Vec<Line<'static>> {
        key_help_lines(self.theme, keys::help(), &[], self.size.into())
    }

    pub fn scroll_help(&mut self, direction: Direction) {
        let page = help_page(self.size.into());
        let last_start = self.help_lines().len().saturating_sub(page);
        self.help = self.help.map(|first| scrolled(first, direction, page, last_start));
    }

    /// Whether the key was for the filter.
    fn type_filter(&mut self, code: KeyCode) -> bool {
        let mut filter = self.kept.filter.clone();
        match code {
            KeyCode::Char(char) => filter.push(char),
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Esc => {
                self.typing = false;
                filter.clear();
            }
            KeyCode::Enter => self.typing = false,
            _ => return false,
        }
        self.set_filter(filter);
        true
    }

    fn set_filter(&mut self, filter: String) {
        if filter != self.kept.filter {
            self.kept.filter = filter;
            self.arrange(self.current_path());
        }
    }

    fn mark(&mut self) {
        self.toggle_mark(self.cursor);
        self.go(Direction::Down);
    }

    /// Marks the run at that place, or takes its mark away.
    pub fn toggle_mark(&mut self, place: usize) {
        let Some(&index) = self.shown.get(place) else { return };
        let path = self.rows[index].run().path().to_owned();
        if !self.kept.marked.remove(&path) {
            self.kept.marked.insert(path);
        }
    }

    fn compare(&mut self) -> Option<Request> {
        let marked: Vec<RunDir> =
            self.in_order(|row| self.kept.marked.contains(row.run().path())).map(|row| row.run().clone()).collect();
        let complaint = match marked.len() {
            2..=SERIES_STYLES => return Some(Request::Go(Place::Compare(Comparison::of(marked)))),
            0 | 1 => "mark the runs to compare with space, at least two".to_owned(),
            count => format!(
                "{count} runs are marked, and at most {SERIES_STYLES} can be compared; Esc takes all marks away"
            ),
        };
        self.message = Some(Message::info(complaint));
        None
    }

    /// Rows in the order of the list, whatever the filter.
    fn in_order<'a>(&'a self, wanted: impl Fn(&Row) -> bool + 'a) -> impl Iterator<Item = &'a Row> {
        let (sort, reversed) = self.sort();
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| wanted(row)).collect();
        rows.sort_by(|one, other| sort.compare(one, other, reversed, self.now_ms));
        rows.into_iter()
    }

    pub fn go(&mut self, direction: Direction) {
        let last = self.shown.len().saturating_sub(1);
        self.cursor = scrolled(self.cursor, direction, self.page(), last);
        self.keep_in_view();
    }

    /// Whether what is shown changes with the clock.
    pub fn clock_runs(&self) -> bool {
        !self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::run::lock::Liveness;
    use crate::run::state::{Phase, RunState, Summary};

    fn listed(name: &str, live: bool, secs: u64) -> Listed {
        Listed {
            run: RunDir::at(format!("/runs/{name}")),
            liveness: if live { Liveness::Live } else { Liveness::Dead },
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
            log_bytes: 1,
        }
    }

    fn read(name: &str, best: Option<f64>, device: &str) -> (PathBuf, Result<Figures, String>) {
        let summary = Summary {
            phase: Phase::Training,
            best_test_accuracy: best,
            best_test_time_augmentation: Default::default(),
            total_steps: Some(1),
            ..RunState::default().summary()
        };
        let figures = Figures {
            summary,
            model: "cnn 32-64-128".into(),
            device: device.into(),
            data: "CIFAR-10".into(),
            loss_curve: vec![],
        };
        (PathBuf::from(format!("/runs/{name}")), Ok(figures))
    }

    /// `live`, then `new`, then `old`.
    fn list() -> RunList {
        let mut list = RunList::new("runs", Kept::default(), Theme::Plain);
        list.resized(Size::new(80, 24));
        list.update(Update::Listed(vec![listed("old", false, 1), listed("live", true, 0), listed("new", false, 2)]));
        list.update(Update::Read(vec![
            read("old", Some(70.0), "cuda:0"),
            read("live", None, "cpu"),
            read("new", Some(80.0), "cpu"),
        ]));
        list
    }

    fn names(list: &RunList) -> Vec<String> {
        list.shown().map(|row| row.run().name()).collect()
    }

    fn press(list: &mut RunList, code: KeyCode) -> Option<Request> {
        list.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn keys(list: &mut RunList, keys: &str) -> Option<Request> {
        keys.chars().map(|char| press(list, KeyCode::Char(char))).last().flatten()
    }

    fn current(list: &RunList) -> String {
        list.current().unwrap().run().name()
    }

    #[test]
    fn live_runs_first_then_the_last_active() {
        assert_eq!(names(&list()), ["live", "new", "old"]);
    }

    #[test]
    fn sorting_goes_through_the_columns_and_turns_round() {
        let mut list = list();
        keys(&mut list, "o");
        assert_eq!((list.sort().0, names(&list)), (Sort::Name, ["live", "new", "old"].map(String::from).to_vec()));
        keys(&mut list, "O");
        assert_eq!(names(&list), ["old", "new", "live"]);
        while list.sort().0 != Sort::Best {
            keys(&mut list, "o");
        }
        assert_eq!(names(&list), ["new", "old", "live"], "the best first, none last");
        keys(&mut list, "O");
        assert_eq!(names(&list), ["old", "new", "live"]);
    }

    #[test]
    fn typing_filters_by_every_word() {
        let mut list = list();
        keys(&mut list, "/cpu");
        assert_eq!(names(&list), ["live", "new"]);
        keys(&mut list, " live");
        assert_eq!(names(&list), ["live"]);
        press(&mut list, KeyCode::Enter);
        assert_eq!((list.typing, list.filter()), (false, "cpu live"));
        press(&mut list, KeyCode::Esc);
        assert_eq!(names(&list).len(), 3);
        keys(&mut list, "/q");
        assert_eq!(list.filter(), "q", "a letter, and no key");
        press(&mut list, KeyCode::Backspace);
        press(&mut list, KeyCode::Esc);
        assert!(!list.typing);
        assert_eq!(keys(&mut list, "q"), Some(Request::Leave));
    }

    #[test]
    fn the_cursor_stays_on_its_run() {
        let mut list = list();
        keys(&mut list, "j");
        assert_eq!(current(&list), "new");
        list.update(Update::Listed(vec![listed("old", true, 9), listed("live", true, 0), listed("new", false, 2)]));
        assert_eq!((names(&list), current(&list)), (["old", "live", "new"].map(String::from).to_vec(), "new".into()));
        list.update(Update::Listed(vec![listed("old", true, 9), listed("live", true, 0)]));
        assert_eq!(current(&list), "live", "that of a vanished run goes to a neighbour");
        list.update(Update::Listed(vec![]));
        assert!(list.current().is_none() && press(&mut list, KeyCode::Enter).is_none());
    }

    #[test]
    fn the_marked_are_compared_in_the_order_of_the_list() {
        let mut list = list();
        assert_eq!(keys(&mut list, "c"), None);
        assert!(list.message.as_ref().unwrap().text.contains("mark the runs"));
        press(&mut list, KeyCode::End);
        keys(&mut list, " kk ");
        assert_eq!(list.marked(), 2);
        let compared = ["live", "old"].map(|name| RunDir::at(format!("/runs/{name}"))).to_vec();
        assert_eq!(keys(&mut list, "c"), Some(Request::Go(Place::Compare(Comparison::of(compared)))));
        list.update(Update::Listed(vec![listed("old", false, 1), listed("new", false, 2)]));
        assert_eq!(list.marked(), 1, "a run that is gone has no mark");
        press(&mut list, KeyCode::Esc);
        assert_eq!(list.marked(), 0);
    }

    #[test]
    fn what_was_looked_at_is_found_again() {
        let mut before = list();
        keys(&mut before, "jo");
        let mut list = RunList::new("runs", before.into_kept(), Theme::Plain);
        list.resized(Size::new(80, 24));
        list.update(Update::Listed(vec![listed("old", false, 1), listed("live", true, 0), listed("new", false, 2)]));
        assert_eq!((current(&list).as_str(), list.sort().0), ("new", Sort::Name));
        let open = press(&mut list, KeyCode::Enter);
        assert_eq!(open, Some(Request::Go(Place::Run(RunDir::at("/runs/new")))));
    }

    #[test]
    fn a_long_list_scrolls_with_the_cursor() {
        let mut list = RunList::new("runs", Kept::default(), Theme::Plain);
        list.resized(Size::new(80, 14));
        list.update(Update::Listed((0..100).map(|secs| listed(&format!("r{secs:02}"), false, 1000 - secs)).collect()));
        assert_eq!(list.visible(), 0..10);
        press(&mut list, KeyCode::PageDown);
        assert_eq!((list.visible(), current(&list)), (1..11, "r10".into()));
        press(&mut list, KeyCode::End);
        assert_eq!((list.visible(), current(&list)), (90..100, "r99".into()));
        list.resized(Size::new(80, 54));
        assert_eq!(list.visible(), 50..100);
        press(&mut list, KeyCode::Home);
        assert_eq!(list.visible(), 0..50);
    }
}
