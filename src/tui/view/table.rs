//! Tables of text that share out the columns of the screen: what does not fit is cut with an ellipsis, and the least
//! important columns are left out.

use ratatui::layout::Alignment;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::text;

/// Columns between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    pub title: &'a str,
    pub alignment: Alignment,
    /// Columns of the screen that it takes at most, and those below which it is not worth showing.
    pub most: usize,
    pub least: usize,
    /// Those with the highest are left out first.
    pub rank: u8,
}

/// How wide each column is; 0 where it is left out.
pub fn widths(columns: &[Column], wanted: &[usize], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns
        .iter()
        .zip(wanted)
        .map(|(column, &wanted)| wanted.max(Line::raw(column.title).width()).min(column.most).max(1))
        .collect();
    loop {
        let shown = widths.iter().filter(|width| **width > 0).count();
        let taken = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
        let Some(mut excess) = taken.checked_sub(width).filter(|excess| *excess > 0) else { return widths };
        let of_rank = |index: &usize| columns[*index].rank;
        let by_rank = |widths: &[usize]| (0..columns.len()).filter(|&index| widths[index] > 0).max_by_key(of_rank);
        let slack = |widths: &[usize]| {
            let over = |index: usize| widths[index].saturating_sub(columns[index].least);
            (0..columns.len()).map(over).sum::<usize>()
        };
        if slack(&widths) >= excess {
            // The widest of those that can be narrower gives way first.
            while excess > 0 {
                let narrower = (0..columns.len()).filter(|&index| widths[index] > columns[index].least);
                let Some(index) = narrower.max_by_key(|&index| widths[index]) else { break };
                widths[index] -= 1;
                excess -= 1;
            }
            return widths;
        }
        match by_rank(&widths) {
            Some(index) if shown > 1 => widths[index] = 0,
            Some(index) => {
                widths[index] = width;
                return widths;
            }
            None => return widths,
        }
    }
}

/// The number of the column that lies so far from the left of the table.
pub fn column_at(widths: &[usize], x: usize) -> Option<usize> {
    let mut start = 0;
    widths.iter().position(|&width| {
        let is_here = width > 0 && (start..start + width).contains(&x);
        start += if width > 0 { width + GAP } else { 0 };
        is_here
    })
}

/// A row; a cell is its text and style.
pub fn row(columns: &[Column], widths: &[usize], cells: Vec<(String, Style)>) -> Line<'static> {
    let mut spans = Vec::new();
    let shown = columns.iter().zip(widths).zip(cells).filter(|((_, width), _)| **width > 0);
    for ((column, &width), (text, style)) in shown {
        if !spans.is_empty() {
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        let text = cut(&text, width);
        let space = " ".repeat(width - Line::raw(text.as_str()).width());
        match column.alignment {
            Alignment::Right => spans.extend([Span::raw(space), Span::styled(text, style)]),
            Alignment::Left | Alignment::Center => spans.extend([Span::styled(text, style), Span::raw(space)]),
        }
    }
    Line::from(spans)
}

/// As [`text::cut`], but not within a number, a part of which is another.
pub fn cut(text: &str, width: usize) -> String {
    let cut = text::cut(text, width);
    let is_of_number = |char: char| char.is_ascii_digit() || matches!(char, '.' | ',');
    match cut.strip_suffix('…') {
        Some(start) if text.chars().nth(start.chars().count()).is_some_and(is_of_number) => {
            let before = start.trim_end_matches(is_of_number).trim_end();
            if before.is_empty() { cut } else { format!("{before}…") }
        }
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<'static>; 3] = [
        Column { title: "name", alignment: Alignment::Left, most: 30, least: 6, rank: 0 },
        Column { title: "best", alignment: Alignment::Right, most: 8, least: 8, rank: 1 },
        Column { title: "model", alignment: Alignment::Left, most: 20, least: 10, rank: 2 },
    ];

    #[test]
    fn columns_shrink_and_then_the_least_important_goes() {
        let widths = |width| widths(&COLUMNS, &[20, 8, 15], width);
        assert_eq!(widths(100), [20, 8, 15]);
        assert_eq!(widths(40), [14, 8, 14]);
        assert_eq!(widths(28), [6, 8, 10]);
        assert_eq!(widths(27), [17, 8, 0]);
        assert_eq!(widths(10), [10, 0, 0]);
        assert_eq!(widths(3), [3, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_cut_visibly() {
        assert_eq!(["abc", "abcd", "größer"].map(|text| cut(text, 3)), ["abc", "ab…", "gr…"]);
        assert_eq!(cut("silent for 12m 03s", 13), "silent for…", "a part of a number is another number");
        assert_eq!(cut("silent for 12m 03s", 15), "silent for 12m…");
        assert_eq!((cut("1,234", 3), text::cut("20261124-175203", 12)), ("1,…".into(), "20261124-17…".into()));
        assert_eq!(
            [0, 5, 6, 8, 11, 12].map(|x| column_at(&[6, 0, 4], x)),
            [Some(0), Some(0), None, Some(2), Some(2), None]
        );
        let cells = ["wide", "1.00", "cnn"].map(|text| (text.to_owned(), Style::new())).to_vec();
        assert_eq!(row(&COLUMNS, &[6, 8, 0], cells).to_string(), "wide        1.00");
    }
}
