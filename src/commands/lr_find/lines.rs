//! What was drawn for a screen as lines of text with control sequences, for the terminal to scroll.

use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::style::ContentStyle;
use ratatui::style::Style;

/// A line for each row, without the blanks at its end. The colours end with the line.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    buffer.content.chunks(usize::from(buffer.area.width).max(1)).map(line).collect()
}

fn line(cells: &[Cell]) -> String {
    let end = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
    let alike = cells[..end].chunk_by(|one, other| one.style() == other.style());
    alike.map(|cells| styled(cells[0].style(), cells.iter().map(Cell::symbol).collect())).collect()
}

fn styled(style: Style, text: String) -> String {
    // A cell of a buffer has the terminal's colours where it was given none.
    let unset = Cell::EMPTY.style();
    let colour = |own, unset| if own == unset { None } else { own };
    let style =
        Style { fg: colour(style.fg, unset.fg), bg: colour(style.bg, unset.bg), underline_color: None, ..style };
    let style: ContentStyle = style.into_crossterm();
    style.apply(text).to_string()
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::style::force_color_output;
    use ratatui::layout::Rect;
    use ratatui::style::Color;

    use super::*;

    #[test]
    fn styles_are_set_where_they_change_and_blank_ends_are_left_out() {
        // Whatever NO_COLOR says.
        force_color_output(true);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        buffer.set_string(0, 0, "ab", Style::new());
        buffer.set_string(2, 0, "cd", Style::new().fg(Color::Indexed(75)));
        assert_eq!(lines(&buffer), ["ab\u{1b}[38;5;75mcd\u{1b}[39m", ""]);
    }
}
