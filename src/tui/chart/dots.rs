//! The dots of Braille characters.

use std::ops::Range;

/// Dots of a cell.
pub const DOTS_ACROSS: u16 = 2;
pub const DOTS_DOWN: u16 = 4;

/// Where `x` lies among the dots of so many cells across; beyond them where it is not in view.
pub fn dot_across(x: f64, view: &Range<f64>, cells: u16) -> f64 {
    let last = f64::from(cells * DOTS_ACROSS - 1);
    (x - view.start) / (view.end - view.start) * last
}
