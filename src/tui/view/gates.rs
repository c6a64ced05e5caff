//! How much a block lets each of its channels through: bars on a scale of their own.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Sparkline;

use crate::tui::app::App;

/// A heading and bars.
pub const ROWS: u16 = 3;
/// Of a bar; the least gate has one of them, or its bar could not be seen.
const LEVELS: f32 = 1000.0;
/// Columns of the scale.
const SCALE_WIDTH: u16 = 5;

/// As many bars as fit, each the mean of neighbouring channels.
pub fn render(app: &App, layer: &str, gates: &[f32], area: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let [heading, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let [scale, bars] = Layout::horizontal([Constraint::Length(SCALE_WIDTH), Constraint::Fill(1)]).areas(rest);
    let means = means(gates, bars.width.into());
    let (low, high) = range(&means);
    let each = gates.len().div_ceil(means.len().max(1));
    let of_each = if each > 1 { format!(", each bar the mean of {each}") } else { String::new() };
    let (least, most) = range(gates);
    let text = format!("channel attention of {layer}: {} channels, {least:.2} to {most:.2}{of_each}", gates.len());
    frame.render_widget(Line::styled(text, theme.faint()), heading);
    for (value, y) in [(high, scale.y), (low, scale.bottom().saturating_sub(1))] {
        frame.render_widget(Line::styled(format!("{value:.2}"), theme.faint()), Rect { y, height: 1, ..scale });
    }
    let heights = heights(&means, low, high);
    frame.render_widget(Sparkline::default().data(&heights).max(LEVELS as u64).style(theme.train()), bars);
}

/// At most `bars` means of as many neighbours each.
fn means(gates: &[f32], bars: usize) -> Vec<f32> {
    let each = gates.len().div_ceil(bars.max(1)).max(1);
    gates.chunks(each).map(|chunk| chunk.iter().sum::<f32>() / chunk.len() as f32).collect()
}

fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// From an eighth of a row for the least to all of it for the greatest; the same for all where they are equal.
fn heights(means: &[f32], low: f32, high: f32) -> Vec<u64> {
    let least = LEVELS / f32::from(8 * (ROWS - 1));
    let share = |value: f32| if high > low { (value - low) / (high - low) } else { 1.0 };
    means.iter().map(|&value| (least + (LEVELS - least) * share(value)).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_that_differ_little_are_told_apart() {
        assert_eq!(heights(&[0.43, 0.5, 0.57], 0.43, 0.57), [63, 531, 1000]);
        assert_eq!(heights(&[0.5, 0.5], 0.5, 0.5), [1000, 1000]);
    }

    #[test]
    fn neighbours_share_a_bar_where_there_are_more_than_columns() {
        assert_eq!(means(&[0.0, 1.0, 0.5, 0.5, 1.0], 3), [0.5, 0.5, 1.0]);
        assert_eq!(means(&[0.25, 0.5], 80), [0.25, 0.5]);
        assert_eq!(means(&[], 10), Vec::<f32>::new());
    }
}
