//! The mouse, where the dashboard was told to take it: it does what keys do, at the place where it is.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::tui::app::screens::Screen;
use crate::tui::app::{App, ChosenRow};
use crate::tui::chart::{graph_area, x_at};
use crate::tui::inspector::Confused;
use crate::tui::keys::Look;
use crate::tui::layout::Direction;
use crate::tui::view::chart_page::chart_area;
use crate::tui::view::classes::{Target, target_at};
use crate::tui::view::mistakes::arranged;
use crate::tui::view::panel::Panel;
use crate::tui::view::panels::{self, PANELS};
use crate::tui::view::selection::{chosen_row, row_at};

/// Lines that the wheel moves a list by.
const WHEEL_LINES: usize = 3;

impl App {
    /// Whether it changed something.
    pub fn handle_mouse(&mut self, event: MouseEvent) -> bool {
        let at = Position::new(event.column, event.row);
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => self.click(at),
            MouseEventKind::ScrollUp => self.wheel(at, Wheel::Up),
            MouseEventKind::ScrollDown => self.wheel(at, Wheel::Down),
            _ => false,
        }
    }

    fn click(&mut self, at: Position) -> bool {
        let had_message = self.ui.message.take().is_some();
        let is_heeded = match self.ui.screens.top() {
            Screen::Dashboard => self.click_panel(at),
            Screen::Chart => self.read_chart_off(at),
            Screen::Log => self.click_log(at),
            Screen::Classes => self.click_class(at),
            Screen::Mistakes => self.click_mistake(at),
            Screen::Inspector
            | Screen::System
            | Screen::Configuration
            | Screen::Help
            | Screen::Alarms
            | Screen::Diverged
            | Screen::ConfirmStop
            | Screen::EnterLearningRate
            | Screen::FindClass => false,
        };
        // As a key does, but after it is known what lies there: what lies under a notice moves when it goes.
        let had_notice = !std::mem::replace(&mut self.ui.has_pressed_key, true);
        is_heeded || had_message || had_notice
    }

    fn wheel(&mut self, at: Position, wheel: Wheel) -> bool {
        let direction = wheel.down();
        match self.ui.screens.top() {
            Screen::Dashboard => self.wheel_panel(at, wheel),
            Screen::Chart => self.zoom_chart(at, if wheel == Wheel::Up { 1 } else { -1 }),
            Screen::Log => (0..WHEEL_LINES).for_each(|_| self.scroll_log(direction)),
            Screen::Configuration => (0..WHEEL_LINES).for_each(|_| self.scroll_configuration(direction)),
            Screen::Classes | Screen::Mistakes => self.inspect(Look::Choose(direction)),
            Screen::Alarms => (0..WHEEL_LINES).for_each(|_| self.scroll_alarms(direction)),
            Screen::Help => (0..WHEEL_LINES).for_each(|_| self.scroll_help(direction)),
            Screen::Inspector
            | Screen::System
            | Screen::Diverged
            | Screen::ConfirmStop
            | Screen::EnterLearningRate
            | Screen::FindClass => return false,
        }
        true
    }

    fn panel_at(&self, at: Position) -> Option<(&'static Panel, Rect)> {
        let areas = panels::areas(self, self.screen_area())?;
        let panels = PANELS.iter().zip(0..).map(|(panel, number)| (*panel, areas.panel(number)));
        panels.into_iter().find(|(_, area)| area.contains(at))
    }

    /// Gives the focus to a panel and chooses the row that lies there; where that has been done, opens what Enter opens.
    fn click_panel(&mut self, at: Position) -> bool {
        let Some((panel, area)) = self.panel_at(at).filter(|(panel, _)| panel.can_focus()) else { return false };
        let areas = panels::areas(self, self.screen_area());
        let row = areas.and_then(|areas| row_at(self, &areas, panel, area, at));
        let is_chosen = row.is_none_or(|row| chosen_row(self, panel) == Some(row));
        if self.ui.focus == panel.name && is_chosen {
            self.open_focused_chart();
            return true;
        }
        self.ui.focus = panel.name;
        let key = row.zip(panel.rows.as_ref()).and_then(|(row, rows)| (rows.key)(self, row));
        self.ui.chosen_row = key.map(|key| ChosenRow { panel: panel.name, key });
        true
    }

    fn wheel_panel(&mut self, at: Position, wheel: Wheel) {
        let Some((panel, _)) = self.panel_at(at) else { return };
        match &panel.scrolling {
            Some(scrolling) if scrolling.across => self.scroll_panel(panel.name, wheel.across()),
            Some(_) => {
                let by = if wheel == Wheel::Up { -(WHEEL_LINES as isize) } else { WHEEL_LINES as isize };
                self.scroll_panel_view(panel.name, by);
            }
            None => {}
        }
    }

    fn click_log(&mut self, at: Position) -> bool {
        let Some(areas) = panels::areas(self, self.screen_area()) else { return false };
        let inner = areas.inner(areas.page());
        let (Some(Ok(log)), true) = (&self.files.trainer_log, inner.contains(at)) else { return false };
        let line = self.ui.log.line_at(log, inner.width, inner.height, at.y - inner.y);
        if let Some(line) = line {
            self.ui.log.choose(log, line, inner.width, inner.height);
        }
        line.is_some()
    }

    fn click_class(&mut self, at: Position) -> bool {
        let Some(areas) = panels::areas(self, self.screen_area()) else { return false };
        let Some(target) = target_at(self, &areas, at) else { return false };
        let classes = self.inspected_epoch().and_then(|epoch| Some(epoch.confusion.as_ref()?.classes()));
        let chosen = self.ui.classes.cell(classes.unwrap_or(0));
        let (wanted, first_listed) = match target {
            Target::Heading(column) => {
                let shape = self.classes_shape();
                self.ui.classes.sort_by(column, shape);
                return true;
            }
            Target::Cell(cell) => (cell, 0),
            Target::Class { true_class, first_listed } => (Confused { true_class, ..chosen }, first_listed),
        };
        if wanted == chosen {
            self.inspect(Look::Confused);
        } else {
            self.ui.classes.choose(wanted, first_listed);
        }
        true
    }

    fn click_mistake(&mut self, at: Position) -> bool {
        let Some(areas) = panels::areas(self, self.screen_area()) else { return false };
        let slots = arranged(self, areas.inner(areas.page()));
        let Some(place) = slots.iter().position(|slot| slot.image.contains(at) || slot.caption.contains(at)) else {
            return false;
        };
        if self.ui.inspector.chosen_in_gallery() == place {
            self.inspect(Look::Mistake);
        } else {
            self.ui.inspector.choose_in_gallery(place);
        }
        true
    }

    fn chart_x(&self, at: Position) -> Option<f64> {
        let area = chart_area(&panels::areas(self, self.screen_area())?);
        let view = self.ui.chart.visible(&self.run);
        graph_area(area).contains(at).then(|| x_at(area, &view, at.x))
    }

    fn read_chart_off(&mut self, at: Position) -> bool {
        let x = self.chart_x(at);
        self.ui.chart.cursor = x.or(self.ui.chart.cursor);
        x.is_some()
    }

    fn zoom_chart(&mut self, at: Position, times: i32) {
        if let Some(x) = self.chart_x(at) {
            self.ui.chart.zoom(times, Some(x), &self.run);
        }
    }
}

/// Which way it was turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wheel {
    Up,
    Down,
}

impl Wheel {
    /// The way through what lies below each other, and what lies beside each other.
    fn down(self) -> Direction {
        if self == Self::Up { Direction::Up } else { Direction::Down }
    }

    fn across(self) -> Direction {
        if self == Self::Up { Direction::Left } else { Direction::Right }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use ratatui::crossterm::event::KeyModifiers;
    use ratatui::layout::Size;

    use super::*;
    use crate::metrics::Confusion;
    use crate::run::event::{EpochDone, Event, Record, RunStarted, StepsDone};
    use crate::run::trainer_log::{Level, LogLine, TrainerLog};
    use crate::tui::app::Update;
    use crate::tui::chart_page::ChartKind;
    use crate::tui::classes::{Column, Shape};
    use crate::tui::layout::{PanelName, Scroll};
    use crate::tui::theme::Theme;

    fn app() -> App {
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        let started = RunStarted { steps_per_epoch: 100, notice: None, ..RunStarted::example() };
        let steps = StepsDone { epoch: 10, losses: vec![2.0; 1000], ..StepsDone::example() };
        let events = [Event::RunStarted(Box::new(started)), Event::StepsDone(steps)];
        app.update(Update::Records(events.map(|event| Record { time_ms: 1000, event }).into()));
        app
    }

    fn mouse(app: &mut App, kind: MouseEventKind, name: PanelName) {
        let areas = panels::areas(app, app.screen_area()).unwrap();
        let number = PANELS.iter().position(|panel| panel.name == name).unwrap();
        let area = areas.panel(number);
        let modifiers = KeyModifiers::NONE;
        app.handle_mouse(MouseEvent { kind, column: area.x + area.width / 2, row: area.y + 2, modifiers });
    }

    #[test]
    fn a_click_gives_the_focus_and_another_opens_the_chart() {
        let mut app = app();
        let click = MouseEventKind::Down(MouseButton::Left);
        mouse(&mut app, click, PanelName("loss"));
        assert_eq!((app.ui.focus, app.ui.screens.top()), (PanelName("loss"), Screen::Dashboard));
        mouse(&mut app, click, PanelName("loss"));
        assert_eq!((app.ui.chart.kind, app.ui.screens.top()), (ChartKind::Loss, Screen::Chart));
    }

    #[test]
    fn the_wheel_moves_the_panel_under_the_pointer_and_zooms_a_chart() {
        let mut app = app();
        let losses = PanelName("batch loss");
        mouse(&mut app, MouseEventKind::ScrollUp, losses);
        assert!(matches!(app.scroll(losses), Scroll::From(_)), "{:?}", app.scroll(losses));
        assert_eq!(app.ui.focus, PanelName::EPOCHS);
        app.ui.screens.open(Screen::Chart);
        let at = |kind| MouseEvent { kind, column: 20, row: 12, modifiers: KeyModifiers::NONE };
        let before = app.chart_x(Position::new(20, 12)).unwrap();
        assert!(app.handle_mouse(at(MouseEventKind::ScrollUp)));
        assert!(!app.ui.chart.follows());
        assert!((app.chart_x(Position::new(20, 12)).unwrap() - before).abs() < 1e-6);
        app.handle_mouse(at(MouseEventKind::Down(MouseButton::Left)));
        assert!((app.ui.chart.cursor.unwrap() - before).abs() < 1e-6);
        app.handle_mouse(at(MouseEventKind::ScrollDown));
        assert!(app.ui.chart.follows());
        assert!(!app.handle_mouse(at(MouseEventKind::Moved)));
    }

    fn epochs() -> App {
        let mut app = app();
        let done = (1..=30).map(|epoch| {
            let event = Event::EpochDone(EpochDone {
                epoch,
                step: 100 * epoch,
                elapsed_secs: 3.0,
                best: false,
                confusion: Some(Confusion::new(2)),
                ..EpochDone::example()
            });
            Record { time_ms: 2000 + epoch, event }
        });
        app.update(Update::Records(done.collect()));
        app
    }

    #[test]
    fn a_click_chooses_a_row_and_another_shows_its_moment() {
        let mut app = epochs();
        let click = MouseEventKind::Down(MouseButton::Left);
        let name = PanelName::EPOCHS;
        // The rows in view are the last ones; the one of the headings stands for nothing.
        mouse(&mut app, click, name);
        let chosen = app.ui.chosen_row.clone().unwrap();
        let epoch: u64 = chosen.key.parse().unwrap();
        assert!(chosen.panel == name && (20..=30).contains(&epoch), "{chosen:?}");
        app.scroll_panel(name, Direction::Up);
        assert_eq!(app.ui.chosen_row.clone().unwrap().key, (epoch - 1).to_string());
        // The view came along: it is the first in view again.
        mouse(&mut app, click, name);
        assert_eq!((app.ui.chart.kind, app.ui.screens.top()), (ChartKind::Accuracy, Screen::Chart));
        assert_eq!(app.ui.chart.cursor, Some((epoch - 1) as f64));
    }

    #[test]
    fn the_wheel_scrolls_the_help() {
        let mut app = app();
        app.ui.screens.open(Screen::Help);
        app.handle_mouse(MouseEvent {
            kind: MouseEventKind::ScrollDown,
            column: 20,
            row: 12,
            modifiers: KeyModifiers::NONE,
        });
        assert!(app.ui.first_help_line > 0);
    }

    #[test]
    fn classes_are_chosen_and_sorted_by_a_click() {
        let mut app = epochs();
        app.ui.screens.open(Screen::Classes);
        let areas = panels::areas(&app, app.screen_area()).unwrap();
        let inner = areas.inner(areas.page());
        let find = |app: &App, wanted: Target| {
            inner.positions().find(|&at| target_at(app, &areas, at) == Some(wanted)).unwrap()
        };
        let cell = Confused { true_class: 1, predicted_class: 0 };
        let at = find(&app, Target::Cell(cell));
        assert!(app.click(at));
        assert_eq!((app.ui.classes.cell(2), app.ui.screens.top()), (cell, Screen::Classes));
        assert!(app.click(at));
        assert_eq!((app.ui.inspector.only, app.ui.screens.top()), (Some(cell), Screen::Mistakes));
        app.ui.dismiss();
        let at = find(&app, Target::Heading(Column::Recall));
        assert!(app.click(at));
        assert_eq!(app.ui.classes.sorted_by(Shape::Matrix), Column::Recall);
        assert!(!app.ui.classes.descending);
        assert!(app.click(at));
        assert!(app.ui.classes.descending);
    }

    #[test]
    fn a_line_of_the_log_that_is_chosen_stays_in_view() {
        let mut app = app();
        let line = |number: u64| LogLine { offset: 10 * number, level: Level::Other, text: format!("line {number}") };
        let log = |count| TrainerLog { lines: (0..count).map(line).collect(), skipped_bytes: 0 };
        app.update(Update::TrainerLog(Ok(log(100))));
        app.ui.screens.open(Screen::Log);
        assert!(app.click(Position::new(4, 10)));
        assert!(!app.ui.log.follows());
        let chosen = |app: &App| {
            let Some(Ok(log)) = &app.files.trainer_log else { panic!("no log") };
            let visible = app.ui.log.visible(log, 80, 18);
            visible.into_iter().filter(|&number| app.ui.log.is_chosen(&log.lines[number])).collect::<Vec<_>>()
        };
        let before = chosen(&app);
        assert_eq!(before.len(), 1);
        app.update(Update::TrainerLog(Ok(log(200))));
        assert_eq!(chosen(&app), before);
    }
}
