//! The checkpoints that are on disk, where there is room for them.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::panel::{Panel, Rows, Scrolling, panel};
use super::parts::{position, under_headings};
use crate::format;
use crate::run::checkpoints_on_disk::CheckpointOnDisk;
use crate::run::describe;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::{Areas, PanelName, Region, place};

pub static PANEL: Panel = Panel {
    name: PanelName("checkpoints"),
    places: [None, None, place(Region::Tables, Constraint::Fill(2))],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len: |app| app.files.checkpoints().len(), page, across: false }),
    chart: None,
    rows: Some(Rows { area: rows, key, moment }),
    render,
};

fn page(areas: &Areas, area: Rect) -> usize {
    rows(areas, area).height.into()
}

fn rows(areas: &Areas, area: Rect) -> Rect {
    under_headings(areas.inner(area))
}

fn key(app: &App, index: usize) -> Option<String> {
    Some(app.files.checkpoints().get(index)?.name.clone())
}

fn moment(app: &App, index: usize) -> Option<(ChartKind, u64)> {
    Some((ChartKind::Loss, app.files.checkpoints().get(index)?.step))
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let checkpoints = app.files.checkpoints();
    let visible = app.scroll(PANEL.name).visible(checkpoints.len(), page(areas, area));
    let mut note = vec![];
    if !checkpoints.is_empty() {
        let bytes = checkpoints.iter().fold(0u64, |sum, checkpoint| sum.saturating_add(checkpoint.bytes));
        note.push(format!("{} on disk", format::bytes(bytes)));
    }
    note.extend(position(&visible, checkpoints.len()));
    let note = Line::styled(note.join("  "), theme.faint());
    let inner = panel(app, areas, area, Some(PANEL.name), "Checkpoints", note, frame);
    if checkpoints.is_empty() {
        let (why, style) = match &app.files.checkpoints {
            None => ("Reading the checkpoints…".to_owned(), theme.faint()),
            Some(Ok(_)) => ("None is on disk.".to_owned(), theme.faint()),
            Some(Err(error)) => (error.clone(), theme.alarm()),
        };
        return frame.render_widget(Paragraph::new(Line::styled(why, style)).wrap(Wrap { trim: true }), inner);
    }
    let rows = checkpoints[visible].iter().map(|checkpoint| checkpoint_row(app, checkpoint));
    let heading = Row::new([
        Line::raw("  name"),
        Line::default(),
        Line::raw("step").right_aligned(),
        Line::raw("size").right_aligned(),
        Line::raw("saved"),
        Line::raw("reason"),
    ]);
    let widths = [20, 12, 9, 9, 8, 12].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(heading.style(theme.faint())).column_spacing(2), inner);
}

fn checkpoint_row(app: &App, checkpoint: &CheckpointOnDisk) -> Row<'static> {
    let theme = app.ui.theme;
    let mark = if checkpoint.is_best { Span::styled("★ ", theme.best()) } else { Span::raw("  ") };
    let saved = checkpoint.saved_ms.and_then(|time| Timestamp::from_millisecond(time as i64).ok());
    let saved = saved.map(|time| time.to_zoned(app.ui.zone.clone()).strftime("%H:%M:%S").to_string());
    // As the log tells it, which may have lost it.
    let logged = app.run.checkpoints.iter().find(|logged| logged.saved.name == checkpoint.name);
    let reason = logged.map_or("", |logged| describe::checkpoint_reason(logged.saved.reason));
    let what = match (&checkpoint.fault, checkpoint.is_best, checkpoint.is_latest) {
        (Some(_), ..) => Span::styled("damaged", theme.alarm()),
        (None, true, true) => Span::styled("best, latest", theme.best()),
        (None, true, false) => Span::styled("best", theme.best()),
        (None, false, true) => Span::raw("latest"),
        (None, false, false) => Span::raw(""),
    };
    Row::new([
        Line::from(vec![mark, Span::raw(checkpoint.name.clone())]),
        Line::from(what),
        Line::raw(format::count(checkpoint.step)).right_aligned(),
        Line::raw(format::bytes(checkpoint.bytes)).right_aligned(),
        Line::styled(saved.unwrap_or_default(), theme.faint()),
        Line::raw(reason),
    ])
}
