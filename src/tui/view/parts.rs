//! Parts that several views are made of.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph};

use crate::tui::app::App;
use crate::tui::theme::Theme;

/// Draws a frame for `width` × `height` cells over the middle of the screen and returns the area within.
pub fn overlay(app: &App, screen: Rect, width: u16, height: u16, title: &str, frame: &mut Frame) -> Rect {
    box_over(app.ui.theme, screen, width, height, title, frame)
}

/// As [`overlay`].
fn box_over(theme: Theme, screen: Rect, width: u16, height: u16, title: &str, frame: &mut Frame) -> Rect {
    let area = screen.centered(
        Constraint::Length((width + 6).min(screen.width)),
        Constraint::Length((height + 4).min(screen.height)),
    );
    let padding = u16::from(height + 4 <= screen.height);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .padding(Padding::new(2, 2, padding, padding))
        .title_top(Line::styled(format!(" {title} "), theme.strong()));
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    inner
}

/// Keys of the footer that stay where not all fit: the last, help and leave.
const LAST_KEPT: usize = 2;

/// The footer: keys and their labels, as many as fit.
pub fn key_line(theme: Theme, labels: Vec<(String, &'static str)>, area: Rect, frame: &mut Frame) {
    let mut entries: Vec<[Span; 2]> = labels
        .into_iter()
        .map(|(key, label)| [Span::styled(key, theme.strong()), Span::styled(format!(" {label}  "), theme.faint())])
        .collect();
    let width = |entries: &[[Span; 2]]| entries.iter().flatten().map(Span::width).sum::<usize>();
    // A space before, and the two after the last that nobody sees.
    while entries.len() > LAST_KEPT && 1 + width(&entries) > usize::from(area.width) + 2 {
        entries.remove(entries.len() - LAST_KEPT - 1);
    }
    let spans = std::iter::once(Span::raw(" ")).chain(entries.into_iter().flatten());
    row(area, Line::from_iter(spans), Line::default(), frame);
}

/// The help over the screen: keys, and what they do, one in a line where all fit so; under them how to get more images.
pub fn key_help(
    theme: Theme,
    rows: Vec<(String, &'static str)>,
    image_advice: &[String],
    screen: Rect,
    frame: &mut Frame,
) {
    /// Lines and columns of the frame.
    const FRAME: (u16, u16) = (2, 6);
    let keys_width = rows.iter().map(|(keys, _)| Line::raw(keys).width()).max().unwrap_or(0);
    let is_long = rows.len() > usize::from(screen.height.saturating_sub(FRAME.0));
    let entries = rows.into_iter().map(|(keys, help)| {
        let keys = if is_long { format!("{keys}  ") } else { format!("{keys:<keys_width$}  ") };
        Line::from(vec![Span::styled(keys, theme.strong()), Span::raw(help)])
    });
    let text_width = usize::from(screen.width.saturating_sub(FRAME.1)).max(1);
    let mut lines = if is_long { packed(entries, text_width) } else { entries.collect() };
    for advice in image_advice {
        let advice = format!("For {advice}");
        lines.push(Line::default());
        lines.extend(textwrap::wrap(&advice, text_width).into_iter().map(|line| Line::raw(line.into_owned())));
    }
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let inner = box_over(theme, screen, width, lines.len() as u16, "Keys", frame);
    frame.render_widget(Paragraph::new(lines), inner);
}

/// As many entries in each line as `width` columns hold.
fn packed(entries: impl Iterator<Item = Line<'static>>, width: usize) -> Vec<Line<'static>> {
    const GAP: &str = "   ";
    let mut lines: Vec<Line> = vec![];
    for entry in entries {
        match lines.last_mut() {
            Some(line) if line.width() + GAP.len() + entry.width() <= width => {
                line.spans.push(Span::raw(GAP));
                line.spans.extend(entry.spans);
            }
            _ => lines.push(entry),
        }
    }
    lines
}

/// One line: `left`, cut where it meets `right`.
pub fn row(area: Rect, left: Line, right: Line, frame: &mut Frame) {
    let right_width = (right.width() as u16).min(area.width);
    let gap = if right_width == 0 { 0 } else { 2 };
    let left_area = Rect { width: area.width.saturating_sub(right_width + gap), ..area };
    frame.render_widget(left, left_area);
    frame.render_widget(right.alignment(Alignment::Right), area);
}

/// `8–13 of 40`, where not all of it is in view.
pub fn position(visible: &Range<usize>, len: usize) -> Option<String> {
    (visible.len() < len).then(|| format!("{}–{} of {len}", visible.start + 1, visible.end))
}
