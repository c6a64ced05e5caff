//! Checkpoints, where there is room for them.

use ratatui::Frame;
use ratatui::layout::Constraint;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table};

use super::{panel, position};
use crate::format;
use crate::run::describe;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Panel};

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    if areas.checkpoints.is_empty() {
        return;
    }
    let theme = app.ui.theme;
    let checkpoints = &app.run.checkpoints;
    let visible = app.scroll(Panel::Checkpoints).visible(checkpoints.len(), areas.page_of(Panel::Checkpoints));
    let note = position(&visible, checkpoints.len()).unwrap_or_default();
    let note = Line::from(vec![Span::styled(note, theme.faint())]);
    let inner = panel(app, areas, areas.checkpoints, Some(Panel::Checkpoints), "Checkpoints", note, frame);
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
