//! A curve, its spread, and how both look.

use std::ops::Range;

use ratatui::style::Style;

use super::dots::{DOTS_DOWN, dot_across};
use super::raster::{Layer, Raster};
use super::y_scale::YScale;
use crate::run::metric::Metric;
use crate::run::series::{Bucket, Series, Smoothing, XAxis};

/// How a line is drawn: told apart without colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    #[default]
    Solid,
    Dashed,
    Dotted,
}

impl Stroke {
    pub const ALL: [Self; 3] = [Self::Solid, Self::Dashed, Self::Dotted];

    /// Whether there is a dot in that column of dots.
    fn has_dot(self, column: i32) -> bool {
        match self {
            Self::Solid => true,
            Self::Dashed => column.rem_euclid(6) < 3,
            Self::Dotted => column.rem_euclid(2) == 0,
        }
    }

    /// For a legend.
    pub fn sample(self) -> &'static str {
        match self {
            Self::Solid => "─",
            Self::Dashed => "╌",
            Self::Dotted => "┈",
        }
    }
}

/// What a chart shows of one metric of one run.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// For the legend.
    pub name: String,
    pub style: Style,
    pub stroke: Stroke,
    /// At each point, as far as there is room.
    pub marker: Option<&'static str>,
    /// (x, y) from left to right; those just out of view lead the line to the edge.
    pub points: Vec<(f64, f64)>,
    /// What the points are means of: their least and greatest values.
    pub spread: Vec<Bucket>,
    pub spread_style: Style,
}

impl Curve {
    /// The points of a series in `view` and those just out of it, in at most so many columns; where smoothed, the raw values
    /// are the spread behind.
    pub fn of(series: &Series, axis: XAxis, view: &Range<f64>, columns: usize, smoothing: Smoothing) -> Self {
        let spread = series.envelope(axis, view.clone(), columns);
        let (before, after) = series.beside(axis, view);
        let outside = |point: Option<crate::run::series::Point>| point.map(|point| (point.x(axis), point.value));
        let within = if smoothing.is_off() {
            spread.iter().map(|bucket| (bucket.x, bucket.mean)).collect()
        } else {
            series.smoothed(axis, view.clone(), columns, smoothing)
        };
        // Raw values would bend the ends of a smooth curve.
        let (before, after) = if smoothing.is_off() { (outside(before), outside(after)) } else { (None, None) };
        Self {
            points: before.into_iter().chain(within).chain(after).collect(),
            spread: if smoothing.is_off() {
                spread.into_iter().filter(|bucket| bucket.count > 1).collect()
            } else {
                spread
            },
            ..Self::default()
        }
    }

    pub fn named(self, name: impl Into<String>, style: Style, spread_style: Style) -> Self {
        Self { name: name.into(), style, spread_style, ..self }
    }

    /// Metrics of which smoothing makes sense: a learning rate is known exactly.
    pub fn is_noisy(metric: Metric) -> bool {
        metric != Metric::LearningRate
    }

    /// The last of its points.
    pub fn latest(&self) -> Option<f64> {
        self.points.last().map(|point| point.1)
    }

    /// (x, y) of all that is in view, the ends of its spread included.
    pub(super) fn extremes(&self, view: &Range<f64>) -> impl Iterator<Item = (f64, f64)> {
        let spread = self.spread.iter().flat_map(|bucket| [(bucket.x, bucket.min), (bucket.x, bucket.max)]);
        let points = self.points.iter().copied();
        let view = view.clone();
        points.chain(spread).filter(move |point| point.1.is_finite() && view.start <= point.0 && point.0 <= view.end)
    }

    pub(super) fn draw(&self, number: usize, view: &Range<f64>, scale: &YScale, raster: &mut Raster) {
        let (width, height) = (raster.width(), raster.height());
        let place = |(x, y): (f64, f64)| (dot_across(x, view, width), scale.dot(y, height));
        let rows = f64::from(height * DOTS_DOWN);
        for bucket in &self.spread {
            let (column, top) = place((bucket.x, bucket.max));
            let (_, bottom) = place((bucket.x, bucket.min));
            // As far as it is in view; an end that is beyond has an arrow.
            if !(bottom < 0.0 || top > rows) {
                let (top, bottom) = (top.round().max(0.0) as i32, bottom.round().min(rows - 1.0) as i32);
                raster.bar(column.round() as i32, top..=bottom, number);
            }
        }
        let points = || self.points.iter().copied().filter(|point| point.1.is_finite());
        if let Some(first) = points().next() {
            let (x, y) = place(first);
            raster.set(x.round() as i32, y.round() as i32, Layer::Line, number);
        }
        for (from, to) in points().zip(points().skip(1)) {
            raster.line(place(from), place(to), number, |column| self.stroke.has_dot(column));
        }
    }
}
