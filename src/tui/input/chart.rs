//! Which chart fills the screen, and which part of it.

use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::chart;
use crate::tui::chart_page::ChartKind;
use crate::tui::keys::ChartMove;
use crate::tui::view::chart_page::chart_area;
use crate::tui::view::charts::x_of;
use crate::tui::view::{panels, selection};

/// Of the view, that a page is moved by.
const PAGE: f64 = 0.5;

impl App {
    pub(super) fn open_chart(&mut self, kind: ChartKind) {
        self.ui.chart.show(kind);
        if self.ui.screens.top() != Screen::Chart {
            self.ui.show(Screen::Chart);
        }
    }

    /// The chart of the panel that has the focus, if it has one; where a row is chosen, at the moment that it stands for.
    pub(super) fn open_focused_chart(&mut self) {
        let Some(panel) = panels::PANELS.iter().find(|panel| panel.name == self.ui.focus) else { return };
        let chosen = selection::chosen_row(self, panel).zip(panel.rows.as_ref());
        if let Some((kind, step)) = chosen.and_then(|(row, rows)| (rows.moment)(self, row)) {
            self.open_chart(kind);
            let x = x_of(&self.run, step, self.ui.chart.axis);
            self.ui.chart.read_at(x, &self.run);
        } else if let Some(kind) = panel.chart {
            self.open_chart(kind(self));
        }
    }

    pub(super) fn move_chart(&mut self, by: ChartMove) {
        let columns = self.chart_columns();
        let (page, run) = (&mut self.ui.chart, &self.run);
        match by {
            ChartMove::Chart(by) => page.step(by, run),
            ChartMove::Zoom(times) => page.zoom(times, None, run),
            ChartMove::Cursor(by) => page.move_cursor(by, columns, run),
            ChartMove::Page(pages) => page.pan(PAGE * f64::from(pages), run),
            ChartMove::Start => page.go_to_start(run),
            ChartMove::Follow => page.follow(run),
            ChartMove::Whole => page.show_whole(),
            ChartMove::Axis => page.next_axis(run),
            ChartMove::Scale => page.next_scale(),
            ChartMove::Smoothing => page.next_smoothing(),
        }
    }

    fn chart_columns(&self) -> u16 {
        let areas = panels::areas(self, self.screen_area());
        areas.map_or(1, |areas| chart::graph_area(chart_area(&areas)).width)
    }
}
