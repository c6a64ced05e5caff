//! The curve of a test as a file.

use std::path::Path;

use anyhow::{Context, Result};

use crate::commands::failure::UsageError;
use crate::durable;
use crate::export::figure::{Chart, Line, Look, Scale, Stroke, rasterise};
use crate::format;
use crate::train::range_test::{Curve, Point, Suggestion};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Svg,
}

/// A file that is to be written when the test is done.
#[derive(Debug)]
pub struct FigureFile<'a> {
    path: &'a Path,
    format: Format,
}

impl<'a> FigureFile<'a> {
    /// # Errors
    /// It has another extension, there is something of its name already, or no folder for it.
    pub fn at(path: &'a Path) -> Result<Self, UsageError> {
        let wrong = |what: &str| UsageError(format!("--png {}: {what}", path.display()));
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let format = match extension.to_str() {
            Some("png") => Format::Png,
            Some("svg") => Format::Svg,
            _ => return Err(wrong("must end in .png or .svg")),
        };
        // A link that leads nowhere is something, too.
        if path.symlink_metadata().is_ok() {
            return Err(wrong("is there already, and is not overwritten; name another file, or remove it"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(wrong(&format!("there is no folder {}", folder.display())));
        }
        Ok(Self { path, format })
    }

    /// Returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, curve: &Curve, suggestion: Option<&Suggestion>) -> Result<&Path> {
        let path = self.path.display();
        let svg =
            chart(curve, suggestion).draw(Look::Paper).with_context(|| format!("--png {path}: nothing to draw"))?;
        let bytes = match self.format {
            Format::Svg => svg.to_document().into_bytes(),
            Format::Png => {
                let mut png = vec![];
                rasterise(&svg, &mut png)?;
                png
            }
        };
        durable::create(self.path, &bytes).with_context(|| format!("--png: cannot write {path}"))?;
        Ok(self.path)
    }
}

/// The loss of each step and the smoothed one; where it diverges, up to a little above what it was before.
fn chart(curve: &Curve, suggestion: Option<&Suggestion>) -> Chart {
    /// Above the greatest loss before the least.
    const ROOM: f64 = 1.25;
    let points = curve.points();
    let over_rate = |value: fn(&Point) -> f64| points.iter().map(|point| (point.learning_rate, value(point))).collect();
    let mut lines = vec![
        Line {
            label: "each step".into(),
            stroke: Stroke::Faint,
            points: over_rate(|point| point.loss),
            ..Line::default()
        },
        Line {
            label: format!("smoothed, {}", format::compact_round(curve.weight(), 6)),
            points: over_rate(|point| point.smoothed_loss),
            ..Line::default()
        },
    ];
    let losses = || points.iter().map(|point| point.loss);
    let least_at = suggestion.map_or(points.len(), |suggestion| suggestion.minimum.step as usize);
    let usual = losses().take(least_at).fold(f64::NEG_INFINITY, f64::max);
    if let Some(suggestion) = suggestion {
        let rate = suggestion.learning_rate();
        let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
        lines.push(Line {
            label: format!("suggestion, {}", format::learning_rate(rate)),
            colour: 1,
            stroke: Stroke::Dashed,
            points: vec![(rate, low), (rate, high)],
            ..Line::default()
        });
    }
    Chart {
        title: "Learning-Rate Range Test".into(),
        x_label: "Learning Rate".into(),
        y_label: "Loss".into(),
        x_scale: Scale::Logarithmic,
        lines,
        highest_y: (usual > 0.0).then_some(ROOM * usual),
        ..Chart::default()
    }
}
