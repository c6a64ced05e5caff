//! The loss of each batch, or the norm of its gradient, as bars, the latest at the right, scaled between the smallest and
//! the largest that are seen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, SparklineBar};

use super::panel::{Panel, Scrolling, panel};
use crate::format;
use crate::terminal_image::Placed;
use crate::tui::app::{App, Bars};
use crate::tui::layout::{Areas, PanelName, Region, SCALE_WIDTH, Scroll, place};

pub static PANEL: Panel = Panel {
    name: PanelName("batch loss"),
    places: [place(Region::Top, Constraint::Fill(1)); 3],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len: |app| app.run.losses.len(), page, across: true }),
    render,
};

/// Right of the scale.
fn page(areas: &Areas, area: Rect) -> usize {
    areas.inner(area).width.saturating_sub(SCALE_WIDTH).into()
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let (title, series) = match app.ui.bars {
        Bars::BatchLoss => ("Batch loss", &app.run.losses),
        Bars::GradientNorm => ("Gradient norm", &app.run.gradient_norms),
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
            Span::styled(format!("{smoothed:.4}"), theme.train()),
            Span::styled("  last ", theme.faint()),
            Span::raw(format!("{last:.4}")),
        ]);
        if let (Bars::BatchLoss, Some(norm)) = (app.ui.bars, app.run.gradient_norms.smoothed()) {
            note.splice(0..0, [Span::styled("gradient ", theme.faint()), Span::raw(figure(norm)), Span::raw("  ")]);
        }
    } else if app.ui.bars == Bars::GradientNorm && app.run.step > 0 {
        note.push(Span::styled("this log has no gradient norms", theme.faint()));
    }
    let inner = panel(app, areas, area, Some(PANEL.name), title, Line::from(note), frame);

    let seen = &values[visible];
    let finite = || seen.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return;
    }
    let [labels, bars] = Layout::horizontal([Constraint::Length(SCALE_WIDTH), Constraint::Fill(1)]).areas(inner);
    let label = |value: f32| Line::styled(format!("{:>6}", figure(value.into())), theme.faint());
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
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        1 + (share * (levels - 1) as f32).round() as u64
    };
    let data = seen.iter().map(|&value| SparklineBar::from(value.is_finite().then(|| level(value))));
    frame.render_widget(Sparkline::default().data(data).max(levels).style(theme.bars()), bars);
}

/// In at most six columns, unless the number is enormous.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.3}"),
        10.0..100.0 => format!("{value:.2}"),
        100.0..1e6 => format!("{value:.0}"),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_fit_beside_the_bars() {
        let figures = [0.0, 1.5, 12.345, 999.6, 123_456.0, 1e9].map(figure);
        assert_eq!(figures, ["0.000", "1.500", "12.35", "1000", "123456", "1e9"]);
        assert!(figures.iter().all(|figure| figure.len() <= 6));
    }
}
