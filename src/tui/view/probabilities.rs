//! The probabilities of the classes, beside the evidence for one of them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::render::figures::class_name;
use crate::text;
use crate::tui::app::App;

/// Columns where they are right of the images.
const WIDTH: u16 = 30;
const GAP: u16 = 2;
/// Fewer rows say nothing.
const LEAST_ROWS: u16 = 3;
/// More classes are hardly likely.
const MOST_ROWS: u16 = 10;
/// Columns of `100.0 %`.
const PERCENT_WIDTH: usize = 7;
const LONGEST_NAME: usize = 12;
/// An image may become that much smaller, in percent, or else there are no probabilities.
const IMAGE_KEEPS_PERCENT: u16 = 60;

/// Shares an area out between images and the probabilities of so many classes, right of them or under them, so that the
/// images, whose height in an area `height` tells, are as large as they can be.
pub fn beside(area: Rect, classes: usize, height: impl Fn(Rect) -> u16) -> (Rect, Rect) {
    let most_rows = MOST_ROWS.min(classes as u16);
    let right = (area.width > WIDTH + GAP && area.height >= LEAST_ROWS).then(|| {
        let images = Rect { width: area.width - WIDTH - GAP, ..area };
        (images, Rect { x: images.right() + GAP, width: WIDTH, ..area })
    });
    let under = (LEAST_ROWS.min(most_rows)..=most_rows).filter(|rows| *rows < area.height).map(|rows| {
        let images = Rect { height: area.height - rows, ..area };
        (images, Rect { y: images.bottom(), height: rows, ..area })
    });
    let alone = height(area);
    // Of equals the last: more rows come last.
    let best = under.chain(right).max_by_key(|(images, _)| height(*images));
    match best {
        Some(split) if 100 * height(split.0) >= IMAGE_KEEPS_PERCENT * alone => split,
        _ => (area, Rect::ZERO),
    }
}

/// A line for each class, the likeliest first, as many as fit.
pub fn render(app: &App, area: Rect, frame: &mut Frame) {
    let inspector = &app.ui.inspector;
    let (Some(classes), Some((image, ..))) = (inspector.probabilities(), inspector.image()) else { return };
    let theme = app.ui.theme;
    let shown: Vec<(String, f32, usize)> = classes
        .into_iter()
        .take(area.height.into())
        .map(|(class, share)| (class_name(inspector.classes(), class), share, class))
        .collect();
    let name_width = text::widest(shown.iter().map(|(name, ..)| name)).min(LONGEST_NAME);
    let bar_width = usize::from(area.width).saturating_sub(name_width + PERCENT_WIDTH + 4);
    let lines: Vec<Line> = shown
        .into_iter()
        .map(|(name, share, class)| {
            let percent = format!("{:.1} %", 100.0 * share);
            let bar = "█".repeat((share * bar_width as f32).round() as usize);
            let (mark, style) = match class == image.true_class {
                true => ("✓", theme.best()),
                false => (" ", theme.train()),
            };
            Line::from(vec![
                Span::styled(mark, style),
                Span::raw(format!(" {}", text::padded(&text::cut(&name, name_width), name_width))),
                Span::raw(format!("{percent:>PERCENT_WIDTH$} ")),
                Span::styled(bar, style),
            ])
        })
        .collect();
    // In the middle, as the images are.
    let free = area.height.saturating_sub(lines.len() as u16);
    frame.render_widget(Paragraph::new(lines), Rect { y: area.y + free / 2, height: area.height - free / 2, ..area });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two square images beside each other.
    fn height(area: Rect) -> u16 {
        (area.width / 4).min(area.height)
    }

    #[test]
    fn they_are_where_the_images_stay_largest() {
        let wide = Rect::new(0, 0, 120, 20);
        assert_eq!(beside(wide, 10, height), (Rect::new(0, 0, 88, 20), Rect::new(90, 0, 30, 20)));
        let high = Rect::new(4, 2, 40, 30);
        assert_eq!(beside(high, 10, height), (Rect::new(4, 2, 40, 20), Rect::new(4, 22, 40, 10)));
        let low = Rect::new(0, 0, 40, 13);
        assert_eq!(beside(low, 10, height), (Rect::new(0, 0, 40, 10), Rect::new(0, 10, 40, 3)));
        assert_eq!(beside(high, 2, height).1.height, 2);
    }

    #[test]
    fn images_do_not_become_tiny() {
        let tiny = Rect::new(0, 0, 20, 5);
        assert_eq!(beside(tiny, 10, height), (tiny, Rect::ZERO));
    }
}
