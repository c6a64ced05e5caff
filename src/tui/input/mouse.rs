//! The mouse, where the dashboard was told to take it: it does what keys do, at the place where it is.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::chart::{graph_area, x_at};
use crate::tui::layout::Direction;
use crate::tui::view::chart_page::chart_area;
use crate::tui::view::panel::Panel;
use crate::tui::view::panels::{self, PANELS};

/// Lines that the wheel moves a list by.
const WHEEL_LINES: usize = 3;

impl App {
    /// Whether it changed something.
    pub fn handle_mouse(&mut self, event: MouseEvent) -> bool {
        let at = Position::new(event.column, event.row);
        match (self.ui.screens.top(), event.kind) {
            (Screen::Dashboard, MouseEventKind::Down(MouseButton::Left)) => self.click_panel(at),
            (Screen::Dashboard, MouseEventKind::ScrollUp) => self.wheel_panel(at, Direction::Up, Direction::Left),
            (Screen::Dashboard, MouseEventKind::ScrollDown) => self.wheel_panel(at, Direction::Down, Direction::Right),
            (Screen::Chart, MouseEventKind::Down(MouseButton::Left)) => self.read_chart_off(at),
            (Screen::Chart, MouseEventKind::ScrollUp) => self.zoom_chart(at, 1),
            (Screen::Chart, MouseEventKind::ScrollDown) => self.zoom_chart(at, -1),
            (Screen::Alarms, MouseEventKind::ScrollUp) => self.wheel_alarms(Direction::Up),
            (Screen::Alarms, MouseEventKind::ScrollDown) => self.wheel_alarms(Direction::Down),
            _ => return false,
        }
        true
    }

    fn panel_at(&self, at: Position) -> Option<&'static Panel> {
        let areas = panels::areas(self, self.screen_area())?;
        PANELS.iter().zip(0..).find(|(_, number)| areas.panel(*number).contains(at)).map(|(panel, _)| *panel)
    }

    /// Gives the focus to a panel, and opens the chart of the one that has it.
    fn click_panel(&mut self, at: Position) {
        let Some(panel) = self.panel_at(at).filter(|panel| panel.can_focus()) else { return };
        if self.ui.focus == panel.name {
            self.open_focused_chart();
        } else {
            self.ui.focus = panel.name;
        }
    }

    fn wheel_panel(&mut self, at: Position, down: Direction, across: Direction) {
        let Some(panel) = self.panel_at(at) else { return };
        match &panel.scrolling {
            Some(scrolling) if scrolling.across => self.scroll_panel(panel.name, across),
            Some(_) => (0..WHEEL_LINES).for_each(|_| self.scroll_panel(panel.name, down)),
            None => {}
        }
    }

    fn wheel_alarms(&mut self, direction: Direction) {
        (0..WHEEL_LINES).for_each(|_| self.scroll_alarms(direction));
    }

    fn chart_x(&self, at: Position) -> Option<f64> {
        let area = chart_area(&panels::areas(self, self.screen_area())?);
        let view = self.ui.chart.visible(&self.run);
        graph_area(area).contains(at).then(|| x_at(area, &view, at.x))
    }

    fn read_chart_off(&mut self, at: Position) {
        if let Some(x) = self.chart_x(at) {
            self.ui.chart.cursor = Some(x);
        }
    }

    fn zoom_chart(&mut self, at: Position, times: i32) {
        if let Some(x) = self.chart_x(at) {
            self.ui.chart.zoom(times, Some(x), &self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use ratatui::crossterm::event::KeyModifiers;
    use ratatui::layout::Size;

    use super::*;
    use crate::run::event::{Event, Record, RunStarted, StepsDone};
    use crate::tui::app::Update;
    use crate::tui::chart_page::ChartKind;
    use crate::tui::layout::{PanelName, Scroll};
    use crate::tui::theme::Theme;

    fn app() -> App {
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        let started = RunStarted { steps_per_epoch: 100, notice: None, ..RunStarted::example() };
        let steps = StepsDone {
            epoch: 10,
            first_step: 1,
            losses: vec![2.0; 1000],
            gradient_norms: vec![],
            correct: 1,
            samples: 64,
            train_secs: 1.0,
            split_us: None,
            learning_rate: None,
        };
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
}
