//! Figures in the terminal, by its own means or as characters.

mod ansi;
mod tile;

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use ratatui::layout::Size;

pub use self::tile::file_name;
use self::tile::{GAP, lines, rows};
use super::shell::say;
use crate::render::colour_map::ColourMode;
use crate::render::{Figure, Planes};
use crate::terminal_image::half_blocks::{Palette, Symbols};
use crate::terminal_image::{self, Background, ImageBackend, Images, InRow, Protocol};

/// The images, where there is a terminal, else their captions.
pub fn print(figures: &[Figure], planes: &Planes, images: Images) -> Result<()> {
    let all_captions = || figures.iter().map(|figure| figure.caption.as_str()).collect::<Vec<_>>().join("; ");
    if !io::stdout().is_terminal() {
        return say(all_captions());
    }
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(80, |size| size.ws_col.max(1));
    let detected = terminal_image::detect_in_shell(images, Background::Unasked)?;
    if detected.is_second_best {
        say(format!("images are drawn as {}: {}", detected.backend, detected.why))?;
    }
    let symbols = Symbols::of(detected.is_utf8);
    let print_cells = |palette| lines(figures, planes, columns.into(), palette, symbols).iter().try_for_each(say);
    match detected.backend {
        ImageBackend::Cells(palette) => print_cells(palette),
        // It would stay where it is while tmux scrolls the lines.
        ImageBackend::Protocol(Protocol::Iterm2PastTmux) => print_cells(detected.palette),
        ImageBackend::Protocol(protocol) => print_by(protocol, detected.palette, symbols, figures, planes, columns),
        ImageBackend::Nothing => say(all_captions()),
    }
}

/// Each under its caption, as large as with half blocks, by the terminal's own means.
fn print_by(
    protocol: Protocol,
    palette: Palette,
    symbols: Symbols,
    figures: &[Figure],
    planes: &Planes,
    columns: u16,
) -> Result<()> {
    /// Pixels for each of the image's: smooth enough, and little enough for a slow link.
    const SCALE: u32 = 2;
    const MODE: ColourMode = ColourMode::Colours;
    let width = u16::try_from(planes.width).unwrap_or(u16::MAX).min(columns);
    let cell = terminal_image::cell_size();
    let size = Size::new(width, rows_of(planes, width, cell));
    for row in rows(figures, planes, columns.into(), MODE) {
        say(row.captions(MODE))?;
        let image = |figure: &Figure| InRow {
            image: figure.drawing.draw(planes, SCALE, MODE),
            beside: row.beside(figure, size.height.into(), palette, symbols),
            beside_width: row.beside_width(figure, MODE) as u16,
        };
        let images: Vec<InRow> = row.figures.iter().map(image).collect();
        terminal_image::print_row(protocol, &images, size, GAP as u16, cell).context("stdout")?;
    }
    Ok(())
}

/// As many as keep the image's shape, the nearest, in so many columns; with characters of this size in pixels, or of the
/// usual shape.
fn rows_of(planes: &Planes, columns: u16, cell: Option<Size>) -> u16 {
    let Size { width, height } = cell.unwrap_or(Size::new(1, 2));
    let rows = f64::from(columns) * f64::from(width) / f64::from(height) * planes.height as f64 / planes.width as f64;
    (rows.round() as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_its_shape_whatever_shape_characters_have() {
        let square = Planes { width: 32, height: 32, bytes: vec![0; 32 * 32] };
        assert_eq!(rows_of(&square, 32, None), 16);
        assert_eq!(rows_of(&square, 32, Some(Size::new(8, 16))), 16);
        assert_eq!(rows_of(&square, 32, Some(Size::new(8, 19))), 13);
        assert_eq!(rows_of(&square, 1, Some(Size::new(8, 30))), 1);
        let wide = Planes { width: 32, height: 16, bytes: vec![0; 32 * 16] };
        assert_eq!(rows_of(&wide, 32, None), 8);
    }
}
