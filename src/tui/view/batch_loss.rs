//! The loss of each batch, or the norm of its gradient, as bars, the latest at the right, scaled between the smallest and
//! the largest that are seen; those that would flatten the rest have an arrow.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, SparklineBar};

use super::panel::{Panel, Scrolling, note_width, panel};
use crate::format;
use crate::terminal_image::Placed;
use crate::tui::app::{App, Bars};
use crate::tui::chart::{SCALE_WIDTH, ordinary_range};
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::{Areas, PanelName, Region, Scroll, place};

/// Columns of a figure in the title.
const FIGURE_WIDTH: usize = 6;

pub static PANEL: Panel = Panel {
    name: PanelName("batch loss"),
    places: [place(Region::Top, Constraint::Fill(1)); 3],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len: |app| app.run.losses.len(), page, across: true }),
    chart: Some(|app| match app.ui.bars {
        Bars::BatchLoss => ChartKind::BATCH_LOSS,
        Bars::GradientNorm => ChartKind::GRADIENT_NORM,
    }),
    rows: None,
    render,
};

/// Right of the scale.
fn page(areas: &Areas, area: Rect) -> usize {
    areas.inner(area).width.saturating_sub(SCALE_WIDTH).into()
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let (title, series) = match app.ui.bars {
        Bars::BatchLoss => ("3 Batch Loss", &app.run.losses),
        Bars::GradientNorm => ("4 Gradient Norm", &app.run.gradient_norms),
    };
    let values = series.values();
    let scroll = app.scroll(PANEL.name);
    let visible = scroll.visible(values.len(), page(areas, area));
    let mut note = Vec::new();
    if scroll != Scroll::Latest {
        let [first, last] = [visible.start + 1, visible.end].map(|step| format::count(step as u64));
        note.push(Span::styled(format!("steps {first}–{last}, "), theme.warning()));
        note.push(Span::styled("end: back to the latest", theme.warning()));
    } else if let (Some(smoothed), Some(last)) = (series.smoothed(), values.last()) {
        note.extend([
            Span::styled("smoothed ", theme.faint()),
            Span::styled(figure(smoothed), theme.train()),
            Span::styled("  last ", theme.faint()),
            Span::raw(figure((*last).into())),
        ]);
        if let (Bars::BatchLoss, Some(norm)) = (app.ui.bars, app.run.gradient_norms.smoothed()) {
            note.splice(0..0, [Span::styled("gradient ", theme.faint()), Span::raw(figure(norm)), Span::raw("  ")]);
        }
    } else if app.ui.bars == Bars::GradientNorm && app.run.step > 0 {
        note.push(Span::styled("this log has no gradient norms", theme.faint()));
    }
    // What does not fit goes from the left: the latest value is the last.
    while Line::from(note.clone()).width() > note_width(area, title) {
        note.drain(..2.min(note.len()));
    }
    let inner = panel(app, areas, area, Some(PANEL.name), title, Line::from(note), frame);

    let seen = &values[visible];
    let finite = seen.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
    let Some((low, high)) = ordinary_range(finite.collect()) else { return };
    let [labels, bars] = Layout::horizontal([Constraint::Length(SCALE_WIDTH), Constraint::Fill(1)]).areas(inner);
    let label = |value: f64| Line::styled(format!("{:>6}", figure(value)), theme.faint());
    let mut rows = labels.rows();
    if let Some(top) = rows.next() {
        frame.render_widget(label(high), top);
    }
    if let Some(bottom) = rows.next_back() {
        frame.render_widget(label(low), bottom);
    }
    // Eighths of a row; the smallest keeps one, so that it is seen.
    let levels = u64::from(bars.height) * 8;
    let level = |value: f32| {
        let share = if high > low { (f64::from(value) - low) / (high - low) } else { 0.5 };
        1 + (share.clamp(0.0, 1.0) * (levels - 1) as f64).round() as u64
    };
    let data = seen.iter().map(|&value| SparklineBar::from(value.is_finite().then(|| level(value))));
    frame.render_widget(Sparkline::default().data(data).max(levels).style(theme.bars()), bars);
    for (column, &value) in bars.columns().zip(seen) {
        if value.is_finite() && f64::from(value) > high {
            frame.buffer_mut().set_string(column.x, column.y, "↑", theme.alarm());
        }
    }
}

fn figure(value: f64) -> String {
    format::compact(value, FIGURE_WIDTH)
}
