//! The curve of a test for a terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use crate::format;
use crate::terminal_image::half_blocks::Symbols;
use crate::train::range_test::{Point, Suggestion};
use crate::tui::chart::{Axis, Chart, Curve, Mark, MarkPlace, ScaleKind, Stroke};
use crate::tui::simplify;
use crate::tui::theme::Theme;

/// Rows of the curve, and those of the screen that are left for what is said beside it.
const MOST_ROWS: u16 = 24;
const LEAST_ROWS: u16 = 8;
const ROWS_BESIDE: u16 = 14;
const MOST_COLUMNS: u16 = 160;

/// The legend, then the curve over the learning rate, with the suggestion marked. Nothing without two points.
pub fn draw(
    points: &[Point],
    suggestion: Option<&Suggestion>,
    screen: Size,
    theme: Theme,
    symbols: Symbols,
) -> Option<Buffer> {
    let (first, last) = (points.first()?.learning_rate.log10(), points.last()?.learning_rate.log10());
    let height = screen.height.saturating_sub(ROWS_BESIDE).clamp(LEAST_ROWS, MOST_ROWS);
    let mut buffer = Buffer::empty(Rect::new(0, 0, screen.width.min(MOST_COLUMNS), 1 + height));
    let curve = |value: fn(&Point) -> f64| Curve {
        points: points.iter().map(|point| (point.learning_rate.log10(), value(point))).collect(),
        ..Curve::default()
    };
    let curves = [
        Curve { stroke: Stroke::Dotted, style: theme.faint(), ..curve(|point| point.loss) },
        Curve { style: theme.train(), ..curve(|point| point.smoothed_loss) },
    ];
    let marks: Vec<Mark> = suggestion.map(|suggestion| mark(suggestion, theme)).into_iter().collect();
    let chart = Chart {
        curves: &curves,
        marks: &marks,
        axis: Axis::LearningRate,
        x: first..last,
        scale: ScaleKind::Linear,
        cursor: suggestion.map(|suggestion| suggestion.learning_rate().log10()),
        axis_style: theme.faint(),
        beyond_style: theme.faint(),
    };
    chart.render(Rect { y: 1, height, ..buffer.area }, &mut buffer);
    legend(suggestion, theme).render(Rect { height: 1, ..buffer.area }, &mut buffer);
    if symbols == Symbols::Ascii {
        simplify(&mut buffer);
    }
    Some(buffer)
}

const MARK: &str = "◆";

fn mark(suggestion: &Suggestion, theme: Theme) -> Mark {
    Mark {
        x: suggestion.learning_rate().log10(),
        y: MarkPlace::At(suggestion.steepest.smoothed_loss),
        symbol: MARK,
        style: theme.best(),
    }
}

fn legend(suggestion: Option<&Suggestion>, theme: Theme) -> Line<'static> {
    let mut line = Line::from(" loss over learning rate   ");
    line.push_span(Span::styled(format!("{} each step", Stroke::Dotted.sample()), theme.faint()));
    line.push_span(Span::styled(format!("   {} smoothed", Stroke::Solid.sample()), theme.train()));
    if let Some(suggestion) = suggestion {
        let rate = format::learning_rate(suggestion.learning_rate());
        line.push_span(Span::styled(format!("   {MARK} suggestion {rate}"), theme.best()));
    }
    line.style(Style::new())
}
