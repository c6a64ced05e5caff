//! The focus, and scrolling in panels, pages and the list of alarms.

use ratatui::layout::Rect;

use crate::tui::app::{App, ChosenRow};
use crate::tui::layout::{Direction, PanelName, scrolled};
use crate::tui::view::alarms::list_area;
use crate::tui::view::panel::Panel;
use crate::tui::view::panels::{self, PANELS, SMALL};
use crate::tui::view::parts::help_page;
use crate::tui::view::{configuration, help, selection};

/// How much there is of a panel, and how much of that is in view.
struct Extent {
    panel: &'static Panel,
    across: bool,
    len: usize,
    page: usize,
}

impl App {
    pub(super) fn move_focus(&mut self, by: isize) {
        let Some(areas) = panels::areas(self, self.screen_area()) else {
            let first = self.ui.first_small_chart as isize + by;
            self.ui.first_small_chart = first.rem_euclid(SMALL.len() as isize) as usize;
            return;
        };
        let shown: Vec<_> = PANELS
            .iter()
            .zip(0..)
            .filter(|(panel, number)| panel.can_focus() && !areas.panel(*number).is_empty())
            .map(|(panel, _)| panel.name)
            .collect();
        let present = shown.iter().position(|&panel| panel == self.ui.focus).unwrap_or(0);
        let next = (present as isize + by).rem_euclid(shown.len() as isize);
        self.ui.focus = shown[next as usize];
    }

    pub(super) fn scroll_alarms(&mut self, direction: Direction) {
        let list = list_area(self.screen_area());
        let page = usize::from(list.height);
        let last_start = self.alarm_lines(list.width).len().saturating_sub(page);
        let first = self.ui.first_alarm_line.min(last_start);
        self.ui.first_alarm_line = scrolled(first, direction, page, last_start);
    }

    pub(super) fn scroll_help(&mut self, direction: Direction) {
        let screen = self.screen_area();
        let page = help_page(screen);
        let last_start = help::lines(self, screen).len().saturating_sub(page);
        self.ui.first_help_line = scrolled(self.ui.first_help_line, direction, page, last_start);
    }

    pub(super) fn scroll_log(&mut self, direction: Direction) {
        let Some(areas) = panels::areas(self, self.screen_area()) else { return };
        let Rect { width, height, .. } = areas.inner(areas.page());
        if let Some(Ok(log)) = &self.files.trainer_log {
            self.ui.log.scroll(log, direction, width, height);
        }
    }

    pub(super) fn scroll_configuration(&mut self, direction: Direction) {
        let Some(areas) = panels::areas(self, self.screen_area()) else { return };
        let page = configuration::page(areas.inner(areas.page()));
        let lines = configuration::lines(self).len();
        self.ui.configuration.scroll(direction, lines, page);
    }

    pub(super) fn scroll_panel(&mut self, name: PanelName, direction: Direction) {
        let Some(Extent { panel, across, len, page }) = self.extent(name) else { return };
        if let (Some(chosen), Some(rows)) = (selection::chosen_row(self, panel), &panel.rows) {
            let next = scrolled(chosen, direction, page, len.saturating_sub(1));
            self.ui.chosen_row = (rows.key)(self, next).map(|key| ChosenRow { panel: name, key });
            self.ui.scrolls.insert(name, self.scroll(name).showing(next, len, page));
            return;
        }
        let page_step = page.max(1) as isize;
        let by = match direction {
            Direction::Up if !across => -1,
            Direction::Down if !across => 1,
            Direction::Left if across => -(page_step / 4).max(1),
            Direction::Right if across => (page_step / 4).max(1),
            Direction::PageUp => -page_step,
            Direction::PageDown => page_step,
            Direction::Start => isize::MIN,
            Direction::Latest => isize::MAX,
            Direction::Up | Direction::Down | Direction::Left | Direction::Right => return,
        };
        self.scroll_panel_view(name, by);
    }

    /// None of a panel that is not moved through.
    fn extent(&self, name: PanelName) -> Option<Extent> {
        let areas = panels::areas(self, self.screen_area())?;
        let (panel, number) = PANELS.iter().zip(0..).find(|(panel, _)| panel.name == name)?;
        let scrolling = panel.scrolling.as_ref()?;
        let (len, page) = ((scrolling.len)(self), (scrolling.page)(&areas, areas.panel(number)));
        Some(Extent { panel, across: scrolling.across, len, page })
    }

    /// Moves what is in view of a panel by so many lines, whichever row is chosen.
    pub(super) fn scroll_panel_view(&mut self, name: PanelName, by: isize) {
        let Some(Extent { len, page, .. }) = self.extent(name) else { return };
        self.ui.scrolls.insert(name, self.scroll(name).moved(by, len, page));
    }

    pub(super) fn screen_area(&self) -> Rect {
        Rect::new(0, 0, self.ui.size.width, self.ui.size.height)
    }
}
