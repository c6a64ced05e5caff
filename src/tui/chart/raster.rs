//! Dots of Braille characters, several curves to a cell.

use std::ops::RangeInclusive;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::dots::{DOTS_ACROSS, DOTS_DOWN};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Behind all lines: a cell with a line shows nothing of it, or it would thicken the line.
    Spread,
    Line,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    line: u8,
    /// The last curve with a dot here.
    line_curve: usize,
    spread: u8,
    spread_curve: usize,
}

#[derive(Debug)]
pub struct Raster {
    width: u16,
    height: u16,
    cells: Vec<Cell>,
}

impl Raster {
    pub fn new(width: u16, height: u16) -> Self {
        Self { width, height, cells: vec![Cell::default(); usize::from(width) * usize::from(height)] }
    }

    /// In cells, as is the height.
    pub fn width(&self) -> u16 {
        self.width
    }

    pub fn height(&self) -> u16 {
        self.height
    }

    /// Sets a dot, counted from the top left, if it is within.
    pub fn set(&mut self, x: i32, y: i32, layer: Layer, curve: usize) {
        /// In the block of Braille characters, by row and column.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let (column, row) = (x / usize::from(DOTS_ACROSS), y / usize::from(DOTS_DOWN));
        if column >= usize::from(self.width) || row >= usize::from(self.height) {
            return;
        }
        let bit = BITS[y % usize::from(DOTS_DOWN)][x % usize::from(DOTS_ACROSS)];
        let cell = &mut self.cells[row * usize::from(self.width) + column];
        match layer {
            Layer::Line => (cell.line, cell.line_curve) = (cell.line | bit, curve),
            Layer::Spread => (cell.spread, cell.spread_curve) = (cell.spread | bit, curve),
        }
    }

    /// Every other dot between two ends, and the ends: lighter than a line.
    pub fn bar(&mut self, x: i32, rows: RangeInclusive<i32>, curve: usize) {
        for y in rows.clone() {
            if (x + y) % 2 == 0 || y == *rows.start() || y == *rows.end() {
                self.set(x, y, Layer::Spread, curve);
            }
        }
    }

    /// The part of a line that is within; `has_dot` says of a column of dots whether it has any.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), curve: usize, has_dot: impl Fn(i32) -> bool) {
        let right = f64::from(self.width * DOTS_ACROSS) - 0.5;
        let bottom = f64::from(self.height * DOTS_DOWN) - 0.5;
        let Some((from, to)) = clipped(from, to, (-0.5, right), (-0.5, bottom)) else { return };
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let steps = across.abs().max(down.abs()).ceil().max(1.0) as u32;
        for step in 0..=steps {
            let share = f64::from(step) / f64::from(steps);
            let (x, y) = ((from.0 + across * share).round() as i32, (from.1 + down * share).round() as i32);
            if has_dot(x) {
                self.set(x, y, Layer::Line, curve);
            }
        }
    }

    /// Over what is in the buffer; cells without dots stay as they are. `styles`: of the line of each curve, and of its
    /// spread.
    pub fn render(&self, area: Rect, styles: &[(Style, Style)], buffer: &mut Buffer) {
        for (index, cell) in self.cells.iter().enumerate() {
            let (dots, style) = match (cell.line, cell.spread) {
                (0, 0) => continue,
                (0, dots) => (dots, styles[cell.spread_curve].1),
                (dots, _) => (dots, styles[cell.line_curve].0),
            };
            let index = index as u16;
            let braille = char::from_u32(0x2800 + u32::from(dots)).expect("a dot pattern has eight bits");
            buffer[(area.x + index % self.width, area.y + index / self.width)].set_char(braille).set_style(style);
        }
    }
}

type Ends = ((f64, f64), (f64, f64));

/// By Liang and Barsky. `None`: no part of it is within.
fn clipped(from: (f64, f64), to: (f64, f64), across: (f64, f64), down: (f64, f64)) -> Option<Ends> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut start, mut end) = (0.0_f64, 1.0_f64);
    for (delta, distance) in
        [(-dx, from.0 - across.0), (dx, across.1 - from.0), (-dy, from.1 - down.0), (dy, down.1 - from.1)]
    {
        let share = distance / delta;
        if delta == 0.0 && distance < 0.0 || !delta.is_finite() || !distance.is_finite() {
            return None;
        }
        if delta < 0.0 {
            start = start.max(share);
        } else if delta > 0.0 {
            end = end.min(share);
        }
    }
    let at = |share: f64| (from.0 + dx * share, from.1 + dy * share);
    (start <= end).then(|| (at(start), at(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_edges() {
        let within = |from, to| clipped(from, to, (0.0, 10.0), (0.0, 10.0));
        assert_eq!(within((-10.0, 5.0), (20.0, 5.0)), Some(((0.0, 5.0), (10.0, 5.0))));
        assert_eq!(within((5.0, -5.0), (5.0, 5.0)), Some(((5.0, 0.0), (5.0, 5.0))));
        assert_eq!(within((5.0, 5.0), (5.0, 5.0)), Some(((5.0, 5.0), (5.0, 5.0))));
        assert_eq!(within((-5.0, 20.0), (20.0, 20.0)), None);
        assert_eq!(within((f64::NAN, 20.0), (20.0, 5.0)), None);
    }

    #[test]
    fn a_line_hides_the_spread_behind_it_and_curves_share_cells() {
        let mut raster = Raster::new(2, 1);
        raster.bar(0, 0..=3, 0);
        raster.bar(2, 0..=3, 0);
        raster.line((0.0, 1.0), (1.0, 1.0), 0, |_| true);
        raster.line((0.0, 3.0), (1.0, 3.0), 1, |_| true);
        let area = Rect::new(0, 0, 2, 1);
        let mut buffer = Buffer::empty(area);
        raster.render(area, &[(Style::new(), Style::new()); 2], &mut buffer);
        assert_eq!(buffer, Buffer::with_lines(["⣒⡅"]));
    }
}
