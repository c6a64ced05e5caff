//! The epoch table, the best epoch marked with a star, the one under way in its last row.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::panel::{Panel, Rows, Scrolling, panel};
use super::parts::{position, under_headings};
use crate::format;
use crate::run::describe::accuracy;
use crate::run::event::EpochDone;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::{Areas, Density, PanelName, Region, place};

pub static PANEL: Panel = Panel {
    name: PanelName::EPOCHS,
    places: [
        place(Region::Tables, Constraint::Min(56)),
        place(Region::Tables, Constraint::Fill(7)),
        place(Region::Tables, Constraint::Fill(5)),
    ],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len, page, across: false }),
    chart: Some(|_| ChartKind::Accuracy),
    rows: Some(Rows { area: rows, key, moment }),
    render,
};

fn len(app: &App) -> usize {
    app.run.epochs.len() + usize::from(app.has_open_epoch())
}

fn page(areas: &Areas, area: Rect) -> usize {
    rows(areas, area).height.into()
}

fn rows(areas: &Areas, area: Rect) -> Rect {
    under_headings(areas.inner(area))
}

fn key(app: &App, index: usize) -> Option<String> {
    let epoch = app.run.epochs.get(index).map_or(app.run.open_epoch.epoch, |epoch| epoch.epoch);
    (index < len(app)).then(|| epoch.to_string())
}

fn moment(app: &App, index: usize) -> Option<(ChartKind, u64)> {
    let step = app.run.epochs.get(index).map_or(app.run.step, |epoch| epoch.step);
    (index < len(app)).then_some((ChartKind::Accuracy, step))
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let wide = areas.density == Density::Wide;
    let len = len(app);
    let visible = app.scroll(PANEL.name).visible(len, page(areas, area));
    let mut note = Vec::new();
    if let Some(best) = app.run.best() {
        note.push(Span::styled(format!("best ★ {}", accuracy(best)), theme.best()));
        note.push(Span::styled(format!(" epoch {}", best.epoch), theme.faint()));
    }
    if let Some(position) = position(&visible, len) {
        note.push(Span::styled(format!("{}{position}", if note.is_empty() { "" } else { "  " }), theme.faint()));
    }
    let inner = panel(app, areas, area, Some(PANEL.name), "Epochs", Line::from(note), frame);

    let best = app.run.best().map(|best| best.epoch);
    let digits = app.run.epoch.max(1000).to_string().len();
    let rows = visible.map(|index| match app.run.epochs.get(index) {
        Some(epoch) => done_row(app, epoch, best == Some(epoch.epoch), digits, wide),
        None => open_row(app, digits, wide),
    });
    let judged = format!("{} loss", app.run.judged_by().abbreviation());
    let mut headings = vec!["epoch", "train loss", "acc %", &judged, "acc %", "lr", "time"];
    let mut widths = vec![1 + digits as u16, 10, 6, 9, 6, 7, 7];
    if wide {
        headings.push("eval");
        widths.push(7);
    }
    let heading = Row::new(headings.into_iter().map(right)).style(theme.faint());
    let spacing = match inner.width {
        78.. => 3,
        62.. => 2,
        _ => 1,
    };
    // The mark of a test-time augmentation needs a column more.
    if app.run.epochs.iter().any(|epoch| !epoch.test_time_augmentation.is_none()) {
        widths[4] += 1;
    }
    let widths = widths.into_iter().map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(heading).column_spacing(spacing), inner);
}

fn right(text: impl Into<String>) -> Cell<'static> {
    Cell::new(Text::from(text.into()).right_aligned())
}

/// A mark and the number of the epoch, of so many digits.
fn marked(mark: char, epoch: u64, digits: usize) -> Cell<'static> {
    Cell::new(format!("{mark}{epoch:>digits$}"))
}

fn done_row(app: &App, epoch: &EpochDone, best: bool, digits: usize, wide: bool) -> Row<'static> {
    let theme = app.ui.theme;
    let mut cells = vec![
        marked(if best { '★' } else { ' ' }, epoch.epoch, digits),
        right(format::loss(epoch.train_loss, 10)),
        right(percent(epoch.train_accuracy)),
        right(format::loss(epoch.test_loss, 9)),
        right(format!(
            "{}{}",
            percent(epoch.test_accuracy),
            if epoch.test_time_augmentation.is_none() { "" } else { "*" }
        )),
        right(format::learning_rate(epoch.learning_rate)),
        right(format::secs(epoch.elapsed_secs)),
    ];
    if wide {
        // Another program need not tell.
        let evaluation_secs = Some(epoch.evaluation_secs).filter(|&secs| secs > 0.0);
        cells.push(right(evaluation_secs.map_or("–".to_owned(), format::secs)));
    }
    let style = if best { theme.best().add_modifier(Modifier::BOLD) } else { Style::new() };
    Row::new(cells).style(style)
}

fn percent(value: f64) -> String {
    format::decimal(value, 2)
}

fn open_row(app: &App, digits: usize, wide: bool) -> Row<'static> {
    let open = &app.run.open_epoch;
    let number = |value: Option<f64>, written: fn(f64) -> String| value.map_or("–".to_owned(), written);
    let mut cells = vec![
        marked('▸', open.epoch, digits),
        right(number(app.run.open_epoch_loss(), |value| format::loss(value, 10))),
        right(number(open.train_accuracy(), percent)),
        right("–"),
        right("–"),
        right(app.run.learning_rate.map_or("–".to_owned(), format::learning_rate)),
        right(if open.train_secs > 0.0 { format::secs(open.train_secs) } else { "–".to_owned() }),
    ];
    if wide {
        cells.push(right("–"));
    }
    Row::new(cells).style(app.ui.theme.faint())
}
