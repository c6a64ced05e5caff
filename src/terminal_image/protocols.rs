//! Single images by a terminal's protocol.

use std::env;
use std::io::{self, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use image::{DynamicImage, RgbImage};
use ratatui::crossterm::cursor::{MoveDown, MoveUp};
use ratatui::crossterm::execute;
use ratatui::layout::Size;
use viuer::ViuError;

use super::backend::Protocol;
use super::placed::InRow;
use super::{placeholders, sixel};

/// Images may be on the screen. Those of kitty's protocol stay there until they are deleted; Konsole keeps those of any
/// protocol, whatever is written over them, and deletes them likewise.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Where the upper left corner of an image goes.
#[derive(Clone, Copy, Debug)]
pub enum Corner {
    OfScreen {
        x: u16,
        y: u16,
    },
    /// In the line of the cursor.
    InLine {
        x: u16,
    },
}

/// Draws images of `size` cells beside each other, `gap` columns apart, from the line of the cursor on, and leaves the
/// cursor under them.
///
/// # Errors
/// The terminal is gone, or viuer cannot draw.
pub fn print_row(protocol: Protocol, images: &[InRow], size: Size, gap: u16, cell: Option<Size>) -> io::Result<()> {
    let mut out = stdout().lock();
    if protocol == Protocol::Placeholders {
        return placeholders::print_row(images, size, gap, &mut out);
    }
    // Room first: what scrolls while an image is drawn takes the cursor's place with it.
    for row in 0..size.height {
        let room = " ".repeat(size.width.into());
        let parts: Vec<String> = images.iter().map(|image| format!("{room}{}", image.beside(row))).collect();
        writeln!(out, "{}", parts.join(&" ".repeat(gap.into())).trim_end())?;
    }
    execute!(out, MoveUp(size.height))?;
    drop(out);
    let mut x = 0;
    for InRow { image, beside_width, .. } in images {
        print(protocol, image, size, Corner::InLine { x }, cell).map_err(io::Error::other)?;
        x += size.width + beside_width + gap;
    }
    execute!(stdout(), MoveDown(size.height))
}

/// Has viuer draw one image of `size` cells.
///
/// # Errors
/// The terminal is gone, or viuer cannot draw.
pub fn print(
    protocol: Protocol,
    image: &RgbImage,
    size: Size,
    corner: Corner,
    cell: Option<Size>,
) -> Result<(), ViuError> {
    DRAWN.store(true, Ordering::SeqCst);
    let (image, width, height) = match protocol {
        Protocol::Sixel => sixel::prepare(image, size, cell),
        Protocol::Kitty | Protocol::Placeholders | Protocol::Iterm2 | Protocol::Iterm2PastTmux => {
            (image.clone(), size.width.into(), size.height.into())
        }
    };
    let (absolute_offset, x, y) = match corner {
        Corner::OfScreen { x, y } => (true, x, y as i16),
        Corner::InLine { x } => (false, x, 0),
    };
    let config = viuer::Config {
        transparent: true,
        absolute_offset,
        x,
        y,
        restore_cursor: true,
        width: Some(width),
        height: Some(height),
        use_kitty: protocol == Protocol::Kitty,
        use_iterm: protocol == Protocol::Iterm2,
        use_sixel: protocol == Protocol::Sixel,
        ..viuer::Config::default()
    };
    viuer::print(&DynamicImage::ImageRgb8(image), &config).map(|_| ())
}

/// Deletes the images that would outlive the dashboard.
///
/// # Errors
/// The terminal is gone.
pub fn forget_all() -> io::Result<()> {
    placeholders::delete_all()?;
    forget()
}

/// Deletes those that viuer has drawn.
///
/// # Errors
/// The terminal is gone.
pub fn forget() -> io::Result<()> {
    // tmux would take it for a title; it deletes its sixel images itself.
    if DRAWN.swap(false, Ordering::SeqCst) && env::var_os("TMUX").is_none() {
        // All that are visible, with their data, and without a reply. A terminal that does not know this ignores it, as it
        // did the question.
        let mut out = stdout().lock();
        out.write_all(b"\x1b_Ga=d,d=A,q=2\x1b\\")?;
        out.flush()?;
    }
    Ok(())
}
