//! What ratatui draws by: as its own backend for crossterm, but in fewer bytes, which it counts. That one writes both colours
//! wherever one of them changes, and the whole place of every cell that does not follow the last; over a slow link it shows.

use std::fmt::Write as _;
use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::crossterm::cursor::{MoveTo, MoveToColumn};
use ratatui::crossterm::queue;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

/// Its writer counts what is written.
#[derive(Debug)]
pub struct CountingBackend<W: Write> {
    writer: Counting<W>,
}

#[derive(Debug)]
struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> CountingBackend<W> {
    pub fn new(writer: W) -> Self {
        Self { writer: Counting { inner: writer, bytes: 0 } }
    }

    /// Bytes that were written since this was asked last.
    pub fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.writer.bytes)
    }

    fn crossterm(&mut self) -> CrosstermBackend<&mut Counting<W>> {
        CrosstermBackend::new(&mut self.writer)
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Write for CountingBackend<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W: Write> Backend for CountingBackend<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut pen, mut last) = (Pen::default(), None);
        for (x, y, cell) in content {
            match last {
                Some((last_x, last_y)) if (last_x + 1, last_y) == (x, y) => {}
                Some((_, last_y)) if last_y == y => queue!(self.writer, MoveToColumn(x))?,
                _ => queue!(self.writer, MoveTo(x, y))?,
            }
            last = Some((x, y));
            let wanted = Pen::of(cell);
            self.writer.write_all(pen.change_to(wanted).as_bytes())?;
            pen = wanted;
            self.writer.write_all(cell.symbol().as_bytes())?;
        }
        self.writer.write_all(pen.change_to(Pen::default()).as_bytes())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.crossterm().hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.crossterm().show_cursor()
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        self.crossterm().get_cursor_position()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.crossterm().set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.crossterm().clear()
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.crossterm().clear_region(region)
    }

    fn append_lines(&mut self, lines: u16) -> io::Result<()> {
        self.crossterm().append_lines(lines)
    }

    fn size(&self) -> io::Result<Size> {
        CrosstermBackend::new(io::sink()).size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.crossterm().window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// How the terminal writes characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pen {
    foreground: Color,
    background: Color,
    modifier: Modifier,
}

impl Pen {
    fn of(cell: &Cell) -> Self {
        Self { foreground: cell.fg, background: cell.bg, modifier: cell.modifier }
    }

    /// The sequence after which the terminal writes so; none where it does already.
    fn change_to(self, wanted: Self) -> String {
        if self == wanted {
            return String::new();
        }
        if wanted == Self::default() {
            return "\x1b[m".to_owned();
        }
        let mut from = self;
        let mut parameters = String::new();
        // What takes a modifier away differs from terminal to terminal.
        if !wanted.modifier.contains(from.modifier) {
            parameters.push_str("0;");
            from = Self::default();
        }
        for (modifier, number) in MODIFIERS {
            if (wanted.modifier - from.modifier).contains(modifier) {
                push(&mut parameters, format_args!("{number}"));
            }
        }
        if wanted.foreground != from.foreground {
            push_colour(&mut parameters, wanted.foreground, Layer::Foreground);
        }
        if wanted.background != from.background {
            push_colour(&mut parameters, wanted.background, Layer::Background);
        }
        format!("\x1b[{}m", parameters.trim_end_matches(';'))
    }
}

/// Those of ECMA-48.
const MODIFIERS: [(Modifier, u8); 9] = [
    (Modifier::BOLD, 1),
    (Modifier::DIM, 2),
    (Modifier::ITALIC, 3),
    (Modifier::UNDERLINED, 4),
    (Modifier::SLOW_BLINK, 5),
    (Modifier::RAPID_BLINK, 6),
    (Modifier::REVERSED, 7),
    (Modifier::HIDDEN, 8),
    (Modifier::CROSSED_OUT, 9),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Foreground,
    Background,
}

fn push(parameters: &mut String, parameter: std::fmt::Arguments) {
    write!(parameters, "{parameter};").expect("a string takes everything");
}

fn push_colour(parameters: &mut String, colour: Color, layer: Layer) {
    let number = |of_foreground: u8| match layer {
        Layer::Foreground => of_foreground,
        Layer::Background => of_foreground + 10,
    };
    // Of the terminal's own sixteen by their number: some make the others brighter where they are bold.
    let index = match colour {
        Color::Reset => return push(parameters, format_args!("{}", number(39))),
        Color::Rgb(red, green, blue) => {
            return push(parameters, format_args!("{};2;{red};{green};{blue}", number(38)));
        }
        Color::Indexed(index) => index,
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
    };
    push(parameters, format_args!("{};5;{index}", number(38)));
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    /// What is written where the screen changes from one to the other.
    fn written(before: &Buffer, after: &Buffer) -> String {
        let mut backend = CountingBackend::new(Vec::new());
        backend.draw(before.diff(after).into_iter()).unwrap();
        assert_eq!(backend.writer.bytes as usize, backend.writer.inner.len());
        String::from_utf8(backend.writer.inner).unwrap()
    }

    fn screen(parts: &[(u16, u16, &str, Style)]) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 3));
        for &(x, y, text, style) in parts {
            buffer.set_string(x, y, text, style);
        }
        buffer
    }

    #[test]
    fn a_colour_is_written_where_it_changes_and_a_place_where_it_does_not_follow() {
        let (red, blue) = (Color::Rgb(255, 0, 0), Color::Rgb(0, 0, 255));
        let on_blue = Style::new().fg(red).bg(blue);
        let after = screen(&[(2, 1, "ab", on_blue), (4, 1, "c", on_blue.fg(blue)), (9, 1, "d", Style::new())]);
        assert_eq!(
            written(&screen(&[]), &after),
            "\x1b[2;3H\x1b[38;2;255;0;0;48;2;0;0;255mab\x1b[38;2;0;0;255mc\x1b[10G\x1b[md"
        );
        assert_eq!(written(&after, &after), "");
    }

    #[test]
    fn a_modifier_that_goes_takes_the_colours_along() {
        let bold = Style::new().fg(Color::LightRed).add_modifier(Modifier::BOLD);
        let after = screen(&[(0, 0, "a", bold), (1, 0, "b", Style::new().fg(Color::LightRed)), (2, 0, "c", bold)]);
        assert_eq!(written(&screen(&[]), &after), "\x1b[1;1H\x1b[1;38;5;9ma\x1b[0;38;5;9mb\x1b[1mc\x1b[m");
    }

    #[test]
    fn a_terminal_shows_what_was_drawn() {
        let styles = [
            Style::new().fg(Color::Indexed(200)).bg(Color::DarkGray),
            Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            Style::new().bg(Color::White).add_modifier(Modifier::ITALIC),
            Style::new().fg(Color::Black),
        ];
        let (mut before, mut terminal) = (screen(&[]), vt100::Parser::new(3, 20, 0));
        for number in 0..12 {
            let style = |offset: usize| styles[(number + offset) % styles.len()];
            let after = screen(&[
                (number as u16, 0, "one★", style(0)),
                (3, 1, "two", style(1)),
                (9, 1, "three", style(2)),
                (19, 2, "!", style(3)),
            ]);
            terminal.process(written(&before, &after).as_bytes());
            for y in 0..3 {
                for x in 0..20 {
                    let (cell, shown) = (&after[(x, y)], terminal.screen().cell(y, x).unwrap());
                    let text = if shown.has_contents() { shown.contents() } else { " " };
                    assert_eq!(text, cell.symbol(), "{x} {y}");
                    assert_eq!(shown.bold(), cell.modifier.contains(Modifier::BOLD));
                    assert_eq!(shown.inverse(), cell.modifier.contains(Modifier::REVERSED));
                    assert_eq!(shown.italic(), cell.modifier.contains(Modifier::ITALIC));
                    assert_eq!(shown.fgcolor() == vt100::Color::Default, cell.fg == Color::Reset);
                    assert_eq!(shown.bgcolor() == vt100::Color::Default, cell.bg == Color::Reset);
                }
            }
            before = after;
        }
    }
}
