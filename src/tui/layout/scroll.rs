//! How far a list is scrolled, and in which direction it is moved through.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Start,
    Latest,
}

/// Where a list is scrolled to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scroll {
    /// At the end, and staying there as it grows.
    #[default]
    Latest,
    /// This is the first item in view.
    From(usize),
}

impl Scroll {
    /// The items in view, of `len` where `page` fit.
    pub fn visible(self, len: usize, page: usize) -> Range<usize> {
        let last_start = len.saturating_sub(page);
        let start = match self {
            Scroll::Latest => last_start,
            Scroll::From(first) => first.min(last_start),
        };
        start..(start + page).min(len)
    }

    /// Moves as little as possible so that the item with that number is in view.
    pub fn showing(self, item: usize, len: usize, page: usize) -> Self {
        let visible = self.visible(len, page);
        let by = if item < visible.start {
            item as isize - visible.start as isize
        } else if item >= visible.end {
            item as isize + 1 - visible.end as isize
        } else {
            return self;
        };
        self.moved(by, len, page)
    }

    /// Moves by `by` items, backwards where it is negative.
    pub fn moved(self, by: isize, len: usize, page: usize) -> Self {
        let start = self.visible(len, page).start.saturating_add_signed(by);
        if start >= len.saturating_sub(page) { Scroll::Latest } else { Scroll::From(start) }
    }
}

/// The first line in view, or the chosen one, of a list that was moved through.
pub fn scrolled(first: usize, direction: Direction, page: usize, last_start: usize) -> usize {
    let moved = match direction {
        Direction::Up => first.saturating_sub(1),
        Direction::Down => first + 1,
        Direction::PageUp => first.saturating_sub(page),
        Direction::PageDown => first + page,
        Direction::Start => 0,
        Direction::Latest => last_start,
        Direction::Left | Direction::Right => first,
    };
    moved.min(last_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_stays_within_the_list() {
        assert_eq!(Scroll::Latest.visible(10, 4), 6..10);
        assert_eq!(Scroll::Latest.visible(2, 4), 0..2);
        assert_eq!(Scroll::Latest.moved(-1, 10, 4), Scroll::From(5));
        assert_eq!(Scroll::From(5).visible(11, 4), 5..9);
        assert_eq!(Scroll::From(5).moved(1, 10, 4), Scroll::Latest);
        assert_eq!(Scroll::From(2).moved(isize::MIN, 10, 4), Scroll::From(0));
        assert_eq!(Scroll::From(2).moved(isize::MAX, 10, 4), Scroll::Latest);
        assert_eq!(Scroll::Latest.moved(-1, 3, 4), Scroll::Latest);
        assert_eq!(Scroll::From(9).visible(3, 4), 0..3);
    }
}
