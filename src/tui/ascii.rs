//! The screen for a terminal that does not take UTF-8: each symbol becomes the nearest character of ASCII.

use ratatui::buffer::Buffer;

/// Puts a character of ASCII in the place of every other symbol.
pub fn simplify(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let nearest = cell.symbol().chars().next().map_or(' ', nearest);
            cell.set_char(nearest);
        }
    }
}

fn nearest(char: char) -> char {
    /// From one eighth of a cell to the whole.
    const HEIGHTS: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];
    match char {
        '─' | '━' | '–' | '—' | '╌' | '┄' | '╴' | '╶' => '-',
        '│' | '┃' | '‖' | '▏' | '▎' | '▍' | '▌' | '▐' => '|',
        '╭' | '╮' | '╰' | '╯' | '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' => '+',
        '▁'..='█' => HEIGHTS[(u32::from(char) - u32::from('▁')) as usize],
        '░' => '.',
        '▒' => ':',
        '▓' => '#',
        '▀' => '^',
        '\u{2800}'..='\u{28ff}' => braille(u32::from(char) - 0x2800),
        '↑' | '▲' | '△' | '▴' => '^',
        '↓' | '▼' | '▽' | '▾' => 'v',
        '←' | '◀' | '◂' => '<',
        '→' | '▶' | '▸' | '›' => '>',
        '★' | '☆' | '●' | '◆' | '■' | '✱' => '*',
        '○' | '◐' | '◇' | '□' | '°' => 'o',
        '✓' => 'v',
        '✗' | '×' | '✕' => 'x',
        '•' | '·' | '…' | '∙' => '.',
        '÷' => '/',
        '±' => '~',
        '²' => '2',
        '³' => '3',
        'µ' | 'μ' => 'u',
        _ => '?',
    }
}

/// Dots 1 2 3 and 7 are the left column from above, 4 5 6 and 8 the right one.
fn braille(dots: u32) -> char {
    const UPPER: u32 = 0b0001_1011;
    match (dots & UPPER != 0, dots & !UPPER != 0) {
        (false, false) => ' ',
        (true, false) => '\'',
        (false, true) => '.',
        (true, true) => ':',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beyond_ascii_is_left() {
        let lines = ["╭─ Loss ─ train • test ★ 61.25 % ─╮", "│▁▂▃▄▅▆▇█ ⠁⡀⣿⠀ ‖ paused · ↑ ✓ ✗ … │", "名前 é"];
        let mut buffer = Buffer::with_lines(lines);
        simplify(&mut buffer);
        let rows = buffer.content.chunks(buffer.area.width.into());
        let text: Vec<String> = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect();
        assert_eq!(text[0], "+- Loss - train . test * 61.25 % -+");
        assert_eq!(text[1].trim_end(), "|_.:-=+*# '.:  | paused . ^ v x . |");
        assert_eq!(text[2].trim_end(), "? ?  ?");
    }
}
