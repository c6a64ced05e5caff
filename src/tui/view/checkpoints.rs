//! Checkpoints, where there is room for them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table};

use super::panel::{Panel, Scrolling, panel};
use super::parts::position;
use crate::format;
use crate::run::describe;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::layout::{Areas, PanelName, Region, place};

pub static PANEL: Panel = Panel {
    name: PanelName("checkpoints"),
    places: [None, None, place(Region::Tables, Constraint::Fill(2))],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len: |app| app.run.checkpoints.len(), page, across: false }),
    chart: None,
    render,
};

/// Under a line of headings.
fn page(areas: &Areas, area: Rect) -> usize {
    areas.inner(area).height.saturating_sub(1).into()
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let checkpoints = &app.run.checkpoints;
    let visible = app.scroll(PANEL.name).visible(checkpoints.len(), page(areas, area));
    let note = position(&visible, checkpoints.len()).unwrap_or_default();
    let note = Line::from(vec![Span::styled(note, theme.faint())]);
    let inner = panel(app, areas, area, Some(PANEL.name), "Checkpoints", note, frame);
    let rows = checkpoints[visible].iter().map(|checkpoint| {
        let saved = &checkpoint.saved;
        Row::new([
            Line::raw(saved.name.clone()),
            Line::raw(format::count(saved.step)).right_aligned(),
            Line::raw(format::bytes(saved.bytes)).right_aligned(),
            Line::raw(format!("{:.2}s", saved.save_secs)).right_aligned(),
            Line::raw(describe::checkpoint_reason(saved.reason)),
        ])
    });
    let heading = Row::new([
        Line::raw("name"),
        Line::raw("step").right_aligned(),
        Line::raw("size").right_aligned(),
        Line::raw("took").right_aligned(),
        Line::raw("reason"),
    ]);
    let widths = [20, 9, 10, 8, 14].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(heading.style(theme.faint())).column_spacing(2), inner);
}
