//! Parts that several views are made of.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding};

use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;
use crate::tui::layout::SMALLEST;

/// Draws a frame for `width` × `height` cells over the middle of the screen and returns the area within.
pub fn overlay(app: &App, screen: Rect, width: u16, height: u16, title: &str, frame: &mut Frame) -> Rect {
    let area = screen.centered(
        Constraint::Length((width + 6).min(screen.width)),
        Constraint::Length((height + 4).min(screen.height)),
    );
    let theme = app.ui.theme;
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
