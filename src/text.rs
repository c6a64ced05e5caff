//! Text in the columns of a terminal: a Chinese letter takes two, a combining one none.

use textwrap::core::display_width;

/// Columns that it takes.
pub fn width(text: &str) -> usize {
    display_width(text)
}

/// Columns that the widest takes.
pub fn widest<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts.into_iter().map(|text| width(text)).max().unwrap_or(0)
}

/// In at most so many columns, with an ellipsis where it is cut. No control characters.
pub fn cut(text: &str, columns: usize) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    if width(&text) <= columns {
        return text;
    }
    match columns.checked_sub(1) {
        Some(left) => format!("{}…", start(&text, left)),
        None => String::new(),
    }
}

/// As much of it as fits in so many columns.
pub fn start(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends.take_while(|&end| width(&text[..end]) <= columns).last();
    &text[..end.unwrap_or(0)]
}

/// With spaces behind it up to so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_and_not_letters() {
        assert_eq!(
            (cut("漢字漢字", 4), cut("漢字", 4), padded("漢字", 6)),
            ("漢…".into(), "漢字".into(), "漢字  ".into())
        );
        assert_eq!(
            (cut("a\u{1b}[31mb", 9), cut("ab", 0), cut("größer", 3)),
            ("a[31mb".into(), String::new(), "gr…".into())
        );
        assert_eq!(widest(&["abc".to_owned(), "漢字".to_owned(), "e\u{301}".to_owned()]), 4);
        assert_eq!(padded("longer", 3), "longer");
    }
}
