//! Line charts in a terminal: curves, their spread behind them, a scale at the left and one below.
//!
//! They know no run and no dashboard: whoever draws them brings the curves, and says which part of them is in view.

mod axis;
mod curve;
mod dots;
mod raster;
mod window;
mod y_scale;

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

pub use self::axis::Axis;
use self::axis::x_ticks;
pub use self::curve::{Curve, Stroke};
use self::dots::{DOTS_ACROSS, dot_across};
use self::raster::Raster;
pub use self::window::Window;
use self::y_scale::YScale;
pub use self::y_scale::{ScaleKind, ordinary_range};
use crate::format;
use crate::run::series::Smoothing;

/// Columns left of the curves, for the scale; the last stays empty.
pub const SCALE_WIDTH: u16 = 7;

const SMOOTHINGS: [Smoothing; 5] =
    [Smoothing::OFF, Smoothing::new(0.6), Smoothing::new(0.9), Smoothing::new(0.98), Smoothing::new(0.99)];

/// Off, then more and more, then off again.
pub fn next_smoothing(smoothing: Smoothing) -> Smoothing {
    let present = SMOOTHINGS.iter().position(|&one| one == smoothing).unwrap_or(0);
    SMOOTHINGS[(present + 1) % SMOOTHINGS.len()]
}

/// What lies over the curves at some place.
#[derive(Clone, Debug)]
pub struct Mark {
    pub x: f64,
    pub y: MarkPlace,
    pub symbol: &'static str,
    pub style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MarkPlace {
    Top,
    Bottom,
    At(f64),
}

#[derive(Debug)]
pub struct Chart<'a> {
    /// The later ones lie over the earlier ones.
    pub curves: &'a [Curve],
    pub marks: &'a [Mark],
    pub axis: Axis,
    /// The part that is in view.
    pub x: Range<f64>,
    pub scale: ScaleKind,
    /// Where a line shows what is read off.
    pub cursor: Option<f64>,
    /// Of scales and of the line of the cursor.
    pub axis_style: Style,
    /// Of the values that lie beyond the scale.
    pub beyond_style: Style,
}

/// The area within a chart in which its curves are drawn.
pub fn graph_area(area: Rect) -> Rect {
    let left = SCALE_WIDTH.min(area.width);
    Rect { x: area.x + left, width: area.width - left, height: area.height.saturating_sub(1), ..area }
}

/// Points across it that a curve may have: more would not be seen.
pub fn columns(area: Rect) -> usize {
    usize::from(graph_area(area).width * DOTS_ACROSS)
}

/// What the column at `x` of the screen stands for.
pub fn x_at(area: Rect, view: &Range<f64>, column: u16) -> f64 {
    let graph = graph_area(area);
    let place = f64::from(column.saturating_sub(graph.x)) + 0.5;
    view.start + (view.end - view.start) * (place / f64::from(graph.width.max(1))).clamp(0.0, 1.0)
}

impl Chart<'_> {
    /// Draws it; nothing where no curve has a point in view.
    pub fn render(&self, area: Rect, buffer: &mut Buffer) {
        let graph = graph_area(area);
        if graph.is_empty() || self.x.is_empty() {
            return;
        }
        let values = self.curves.iter().map(|curve| curve.extremes(&self.x).map(|point| point.1).collect());
        let Some(scale) = YScale::around(values, self.scale, graph.height) else { return };
        for (row, label) in scale.labels(graph.height) {
            let label = format!("{label:>width$}", width = usize::from(SCALE_WIDTH) - 1);
            buffer.set_string(area.x, graph.y + row, label, self.axis_style);
        }
        self.render_x_labels(Rect { x: graph.x, y: graph.bottom(), width: graph.width, height: 1 }, buffer);
        if let Some(cursor) = self.cursor {
            let column = self.column(cursor, graph.width);
            for y in graph.top()..graph.bottom() {
                buffer[(graph.x + column, y)].set_symbol("│").set_style(self.axis_style);
            }
        }
        let mut raster = Raster::new(graph.width, graph.height);
        for (number, curve) in self.curves.iter().enumerate() {
            curve.draw(number, &self.x, &scale, &mut raster);
        }
        let styles: Vec<_> = self.curves.iter().map(|curve| (curve.style, curve.spread_style)).collect();
        raster.render(graph, &styles, buffer);
        for curve in self.curves {
            self.render_markers(curve, &scale, graph, buffer);
        }
        for mark in self.marks.iter().filter(|mark| (self.x.start..=self.x.end).contains(&mark.x)) {
            let row = match mark.y {
                MarkPlace::Top => 0,
                MarkPlace::Bottom => graph.height - 1,
                MarkPlace::At(y) => scale.row(y, graph.height),
            };
            let column = self.column(mark.x, graph.width);
            buffer[(graph.x + column, graph.y + row)].set_symbol(mark.symbol).set_style(mark.style);
        }
        self.render_beyond(&scale, graph, buffer);
    }

    /// The column of the graph in which the dots at `x` are.
    fn column(&self, x: f64, width: u16) -> u16 {
        (dot_across(x, &self.x, width).round() as u16 / DOTS_ACROSS).min(width - 1)
    }

    fn render_x_labels(&self, area: Rect, buffer: &mut Buffer) {
        let mut free_from = area.x;
        for (x, label) in x_ticks(self.axis, &self.x, area.width) {
            let width = label.chars().count() as u16;
            let column = area.x + self.column(x, area.width);
            // Its middle under the place, but within the graph.
            let start = column.saturating_sub(width / 2).max(area.x).min(area.right().saturating_sub(width));
            if start >= free_from && start + width <= area.right() {
                buffer.set_string(start, area.y, &label, self.axis_style);
                free_from = start + width + 2;
            }
        }
    }

    /// At points of the curve, from the latest backwards so that it always has one, and not closer than can be told apart.
    fn render_markers(&self, curve: &Curve, scale: &YScale, graph: Rect, buffer: &mut Buffer) {
        const SPACING: u16 = 3;
        let Some(symbol) = curve.marker else { return };
        let mut next = u16::MAX;
        for &(x, y) in curve.points.iter().rev() {
            if !(self.x.start..=self.x.end).contains(&x) || !scale.holds(y) {
                continue;
            }
            let column = self.column(x, graph.width);
            if column < next {
                let row = scale.row(y, graph.height);
                buffer[(graph.x + column, graph.y + row)].set_symbol(symbol).set_style(curve.style);
                next = (column + 1).saturating_sub(SPACING);
            }
        }
    }

    /// Arrows where values lie beyond the scale, with the one that lies furthest.
    fn render_beyond(&self, scale: &YScale, graph: Rect, buffer: &mut Buffer) {
        let values = || self.curves.iter().flat_map(|curve| curve.extremes(&self.x));
        for (is_beyond, symbol, row) in [
            ((|y, scale| y > scale.high()) as fn(f64, &YScale) -> bool, '↑', 0),
            (|y, scale| y < scale.low(), '↓', graph.height - 1),
        ] {
            let mut furthest: Option<(f64, f64)> = None;
            for (x, y) in values().filter(|point| is_beyond(point.1, scale)) {
                let column = self.column(x, graph.width);
                buffer[(graph.x + column, graph.y + row)].set_char(symbol).set_style(self.beyond_style);
                let is_further = |other: f64| if symbol == '↑' { y > other } else { y < other };
                if furthest.is_none_or(|other| is_further(other.1)) {
                    furthest = Some((x, y));
                }
            }
            if let Some((x, y)) = furthest {
                let label = format!("{symbol}{}", format::compact_round(y, 7));
                let width = label.chars().count() as u16;
                let column = self.column(x, graph.width);
                let start = if column + width <= graph.width { column } else { graph.width.saturating_sub(width) };
                buffer.set_string(graph.x + start, graph.y + row, label, self.beyond_style);
            }
        }
    }
}
