//! Which lines of the trainer's log are in view: the last, as it grows, or those that one has scrolled to.

use std::borrow::Cow;
use std::ops::Range;

use super::layout::Direction;
use crate::run::trainer_log::{LogLine, TrainerLog};

#[derive(Clone, Copy, Debug, Default)]
pub struct LogPage {
    /// Where the first line in view begins in the file; `None` follows the end. The lines before it may go.
    first_offset: Option<u64>,
    /// Where the line that is chosen begins.
    chosen_offset: Option<u64>,
}

/// A line of the log in so many columns, in lines of the screen.
pub fn wrapped(line: &LogLine, width: u16) -> Vec<Cow<'_, str>> {
    let options = textwrap::Options::new(usize::from(width.max(1))).wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::wrap(&line.text, options)
}

impl LogPage {
    pub fn follows(&self) -> bool {
        self.first_offset.is_none()
    }

    /// The lines that fit into so many columns and rows; of the last in view perhaps only the beginning.
    pub fn visible(&self, log: &TrainerLog, width: u16, height: u16) -> Range<usize> {
        let count = log.lines.len();
        let last_page = first_of_page_to(count, log, width, height);
        match self.first_offset {
            None => last_page..count,
            Some(offset) => {
                let first = log.lines.partition_point(|line| line.offset < offset).min(last_page);
                first..end_of_page_from(first, log, width, height)
            }
        }
    }

    /// The line in that row of the screen, counted from the first in view.
    pub fn line_at(&self, log: &TrainerLog, width: u16, height: u16, row: u16) -> Option<usize> {
        let mut used = 0;
        self.visible(log, width, height).find(|&line| {
            used += rows(&log.lines[line], width);
            usize::from(row) < used
        })
    }

    pub fn is_chosen(&self, line: &LogLine) -> bool {
        self.chosen_offset == Some(line.offset)
    }

    /// What is in view stays, or the line that is chosen would move away.
    pub fn choose(&mut self, log: &TrainerLog, line: usize, width: u16, height: u16) {
        let first = self.visible(log, width, height).start;
        let offset = |line: usize| log.lines.get(line).map(|line| line.offset);
        (self.first_offset, self.chosen_offset) = (offset(first), offset(line));
    }

    pub fn scroll(&mut self, log: &TrainerLog, direction: Direction, width: u16, height: u16) {
        let visible = self.visible(log, width, height);
        let first = match direction {
            Direction::Up => visible.start.saturating_sub(1),
            Direction::Down => visible.start + 1,
            Direction::PageUp => first_of_page_to(visible.start, log, width, height),
            Direction::PageDown => visible.end.max(visible.start + 1),
            Direction::Start => 0,
            Direction::Latest => log.lines.len(),
            Direction::Left | Direction::Right => return,
        };
        let last_page = first_of_page_to(log.lines.len(), log, width, height);
        self.first_offset = log.lines.get(first).filter(|_| first < last_page).map(|line| line.offset);
    }
}

fn rows(line: &LogLine, width: u16) -> usize {
    wrapped(line, width).len().max(1)
}

/// The first of the lines before `end` that fit; at least one.
fn first_of_page_to(end: usize, log: &TrainerLog, width: u16, height: u16) -> usize {
    let mut used = 0;
    let fitting = log.lines[..end].iter().rev().take_while(|line| {
        used += rows(line, width);
        used <= usize::from(height)
    });
    end - fitting.count().max(1).min(end)
}

/// Behind the last of the lines from `start` on that are in view, the last of them perhaps cut.
fn end_of_page_from(start: usize, log: &TrainerLog, width: u16, height: u16) -> usize {
    let mut used = 0;
    let in_view = log.lines[start..].iter().take_while(|line| {
        let before = used;
        used += rows(line, width);
        before < usize::from(height)
    });
    start + in_view.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::trainer_log::Level;

    fn log(lines: impl IntoIterator<Item = (u64, &'static str)>) -> TrainerLog {
        let line = |(offset, text): (u64, &str)| LogLine { offset, level: Level::Other, text: text.into() };
        TrainerLog { lines: lines.into_iter().map(line).collect(), skipped_bytes: 0 }
    }

    /// With a line of two rows at 10 columns in the middle.
    fn five() -> TrainerLog {
        log([(0, "a"), (10, "b"), (20, "words that wrap"), (40, "d"), (50, "e")])
    }

    #[test]
    fn the_end_is_followed_until_one_scrolls_up() {
        let mut page = LogPage::default();
        assert_eq!(page.visible(&five(), 10, 3), 3..5, "the wrapped line would be cut");
        let mut after = |direction| {
            page.scroll(&five(), direction, 10, 3);
            (page.visible(&five(), 10, 3), page.follows())
        };
        assert_eq!(after(Direction::Up), (2..4, false));
        assert_eq!(after(Direction::PageUp), (0..3, false));
        assert_eq!(after(Direction::Up), (0..3, false));
        assert_eq!(after(Direction::Down), (1..3, false));
        assert_eq!(after(Direction::PageDown), (3..5, true));
        assert_eq!(after(Direction::Start), (0..3, false));
        assert_eq!(after(Direction::Latest), (3..5, true));
    }

    #[test]
    fn what_is_in_view_stays_as_the_log_grows_and_its_beginning_goes() {
        let mut page = LogPage::default();
        page.scroll(&five(), Direction::Start, 10, 3);
        page.scroll(&five(), Direction::Down, 10, 3);
        let later = log([(10, "b"), (20, "words that wrap"), (40, "d"), (50, "e"), (60, "f"), (70, "g")]);
        assert_eq!(page.visible(&later, 10, 3).start, 0, "the same line");
        let much_later = log([(50, "e"), (60, "f"), (70, "g"), (80, "h"), (90, "i")]);
        assert_eq!(page.visible(&much_later, 10, 3), 0..3);
    }

    #[test]
    fn nothing_and_lines_longer_than_the_page_can_be_shown() {
        let empty = log([]);
        assert_eq!(LogPage::default().visible(&empty, 10, 3), 0..0);
        LogPage::default().scroll(&empty, Direction::PageUp, 10, 3);
        let long = log([(0, "one two three four five six"), (30, "end")]);
        assert_eq!(LogPage::default().visible(&long, 5, 2), 1..2);
        let mut page = LogPage::default();
        page.scroll(&long, Direction::Up, 5, 2);
        assert_eq!(page.visible(&long, 5, 2), 0..1);
        page.scroll(&long, Direction::PageDown, 5, 2);
        assert!(page.follows());
        assert_eq!(page.visible(&long, 0, 0).len(), 1);
    }
}
