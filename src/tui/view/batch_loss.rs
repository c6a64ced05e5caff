//! The loss of each batch as bars, the latest at the right, scaled between the smallest and the largest that are seen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, SparklineBar};

use super::panel;
use crate::format;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Panel, SCALE_WIDTH, Scroll};

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let losses = app.run.losses.values();
    let scroll = app.scroll(Panel::BatchLoss);
    let visible = scroll.visible(losses.len(), areas.page_of(Panel::BatchLoss));
    let mut note = Vec::new();
    if scroll != Scroll::Latest {
        let [first, last] = [visible.start + 1, visible.end].map(|step| format::count(step as u64));
        note.push(Span::styled(format!("steps {first}–{last}, "), theme.warning()));
        note.push(Span::styled("end: back to the latest", theme.warning()));
    } else if let (Some(smoothed), Some(last)) = (app.run.losses.smoothed(), losses.last()) {
        note.extend([
            Span::styled("smoothed ", theme.faint()),
            Span::styled(format!("{smoothed:.4}"), theme.train()),
            Span::styled("  last ", theme.faint()),
            Span::raw(format!("{last:.4}")),
        ]);
    }
    let inner = panel(app, areas, areas.batch_loss, Some(Panel::BatchLoss), "Batch loss", Line::from(note), frame);

    let seen = &losses[visible];
    let finite = || seen.iter().copied().filter(|loss| loss.is_finite());
    let (low, high) =
        finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), loss| (low.min(loss), high.max(loss)));
    if low > high {
        return;
    }
    let [labels, bars] = Layout::horizontal([Constraint::Length(SCALE_WIDTH), Constraint::Fill(1)]).areas(inner);
    let label = |loss: f32| Line::styled(format!("{loss:>6.3}"), theme.faint());
    let mut rows = labels.rows();
    if let Some(top) = rows.next() {
        frame.render_widget(label(high), top);
    }
    if let Some(bottom) = rows.next_back() {
        frame.render_widget(label(low), bottom);
    }
    // Eighths of a row; the smallest loss keeps one, so that it is seen.
    let levels = u64::from(bars.height) * 8;
    let level = |loss: f32| {
        let share = if high > low { (loss - low) / (high - low) } else { 0.5 };
        1 + (share * (levels - 1) as f32).round() as u64
    };
    let data = seen.iter().map(|&loss| SparklineBar::from(loss.is_finite().then(|| level(loss))));
    frame.render_widget(Sparkline::default().data(data).max(levels).style(theme.bars()), bars);
}
