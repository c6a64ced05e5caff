//! Parts that several views are made of.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph};

use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;
use crate::tui::layout::{SMALLEST, Scroll};
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
/// Lines and columns of the frame of a help.
const HELP_FRAME: (u16, u16) = (2, 6);

/// The footer: keys and their labels, as many as fit. Returns what is left of the area.
pub fn key_line(theme: Theme, labels: Vec<(String, &'static str)>, area: Rect, frame: &mut Frame) -> Rect {
    let mut entries: Vec<[Span; 2]> = labels
        .into_iter()
        .map(|(key, label)| [Span::styled(key, theme.strong()), Span::styled(format!(" {label}  "), theme.faint())])
        .collect();
    let width = |entries: &[[Span; 2]]| entries.iter().flatten().map(Span::width).sum::<usize>();
    // A space before, and the two after the last that nobody sees.
    while entries.len() > LAST_KEPT && 1 + width(&entries) > usize::from(area.width) + 2 {
        entries.remove(entries.len() - LAST_KEPT - 1);
    }
    let keys = Line::from_iter(std::iter::once(Span::raw(" ")).chain(entries.into_iter().flatten()));
    let taken = (keys.width() as u16).min(area.width);
    frame.render_widget(keys, area);
    Rect { x: area.x + taken, width: area.width - taken, ..area }
}

/// Lines of a help: keys, and what they do, one in a line where all fit so; under them remarks.
pub fn key_help_lines(
    theme: Theme,
    rows: Vec<(String, &'static str)>,
    remarks: &[String],
    screen: Rect,
) -> Vec<Line<'static>> {
    let keys_width = rows.iter().map(|(keys, _)| Line::raw(keys).width()).max().unwrap_or(0);
    let is_long = rows.len() > help_page(screen);
    let text_width = usize::from(screen.width.saturating_sub(HELP_FRAME.1)).max(1);
    let entries = rows.into_iter().map(|(keys, help)| {
        let keys = if is_long { format!("{keys}  ") } else { format!("{keys:<keys_width$}  ") };
        Line::from(vec![Span::styled(keys, theme.strong()), Span::raw(help)])
    });
    let mut lines = if is_long { packed(entries, text_width) } else { entries.collect() };
    if lines.iter().any(|line| line.width() > text_width) {
        lines = lines.into_iter().flat_map(|line| wrapped(line, text_width)).collect();
    }
    for remark in remarks {
        lines.push(Line::default());
        lines.extend(textwrap::wrap(remark, text_width).into_iter().map(|line| Line::raw(line.into_owned())));
    }
    lines
}

/// Lines of a help that fit on a screen.
pub fn help_page(screen: Rect) -> usize {
    screen.height.saturating_sub(HELP_FRAME.0).into()
}

/// The lines of a help over the screen: from the one with number `first` on where not all fit.
pub fn scrolled_help(theme: Theme, lines: &[Line<'static>], first: usize, screen: Rect, frame: &mut Frame) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let visible = Scroll::From(first).visible(lines.len(), help_page(screen));
    let title = match position(&visible, lines.len()) {
        Some(position) => format!("Keys, {position}"),
        None => "Keys".to_owned(),
    };
    let inner = box_over(theme, screen, width, lines.len() as u16, &title, frame);
    frame.render_widget(Paragraph::new(lines[visible].to_vec()), inner);
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

/// Keys and what they do, in lines of that width.
fn wrapped(line: Line<'static>, width: usize) -> Vec<Line<'static>> {
    const INDENT: &str = "  ";
    let [keys, help] = line.spans.as_slice() else { return vec![line] };
    let options = textwrap::Options::new(width).initial_indent(&keys.content).subsequent_indent(INDENT);
    let parts = textwrap::wrap(&help.content, options).into_iter();
    let lines = parts.enumerate().map(|(number, part)| match part.strip_prefix(keys.content.as_ref()) {
        Some(rest) if number == 0 => Line::from(vec![keys.clone(), Span::raw(rest.to_owned())]),
        _ => Line::raw(part.into_owned()),
    });
    lines.collect()
}

/// The keys of an overlay, and what each does.
pub fn choices(app: &App, screen: Screen) -> Line<'static> {
    let gap = if app.ui.size.width < SMALLEST.width { "  " } else { "    " };
    let mut spans = Vec::new();
    for binding in keys::bindings(screen) {
        if !spans.is_empty() {
            spans.push(Span::raw(gap));
        }
        spans.push(Span::styled(binding.keys[0].to_string(), app.ui.theme.strong()));
        spans.push(Span::raw(format!(" {}", binding.label)));
    }
    Line::from(spans)
}

/// The rows of a table under its line of headings.
pub fn under_headings(table: Rect) -> Rect {
    Rect { y: table.y + 1, height: table.height.saturating_sub(1), ..table }
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
