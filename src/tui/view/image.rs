//! Images in a frame: cells where they are drawn by characters, else room for them.

use std::sync::Arc;

use image::RgbImage;
use image::imageops::{FilterType, resize};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;

use crate::terminal_image::half_blocks::{Cell, Colour, Ink, Palette, rows};
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;

/// Draws an image over all of `area`, or leaves room for it in `placed`.
pub fn place(app: &App, image: &Arc<RgbImage>, area: Rect, frame: &mut Frame, placed: &mut Vec<Placed>) {
    match app.ui.backend {
        ImageBackend::Nothing => {}
        ImageBackend::Protocol(_) => placed.push(Placed { area, image: image.clone() }),
        ImageBackend::Cells(palette) => {
            let (width, height) = (u32::from(area.width), 2 * u32::from(area.height));
            draw_cells(app, &resize(&**image, width, height, FilterType::Triangle), palette, area, frame);
        }
    }
}

/// Draws an image that has as many columns as the area, and twice as many rows.
pub fn draw_cells(app: &App, image: &RgbImage, palette: Palette, area: Rect, frame: &mut Frame) {
    for (row, y) in rows(image, palette, app.ui.symbols).zip(area.y..area.bottom()) {
        for (cell, x) in row.zip(area.x..area.right()) {
            let Some(target) = frame.buffer_mut().cell_mut((x, y)) else { continue };
            match cell {
                Cell::Halves { top, bottom } => target.set_char('▀').set_fg(colour(top)).set_bg(colour(bottom)),
                Cell::Shade { char, ink: None } => target.set_char(char),
                Cell::Shade { char, ink: Some(Ink { colour: of_ink, ground }) } => {
                    target.set_char(char).set_fg(colour(of_ink)).set_bg(colour(ground))
                }
            };
        }
    }
}

pub fn colour(colour: Colour) -> Color {
    match colour {
        Colour::Rgb([r, g, b]) => Color::Rgb(r, g, b),
        Colour::Indexed(number) => Color::Indexed(number),
    }
}
