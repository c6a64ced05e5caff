//! What the network made of the pinned images, probe by probe, and the confusion matrices.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;
use image::imageops::replace;
use image::{Rgb, RgbImage};

use super::event_writer::{EventWriter, encoded_picture, picture};
use crate::export::RecordedRun;
use crate::export::figure::{Look, confusion_matrix, pixel_size, rasterise};
use crate::render::colour_map::ColourMode;
use crate::render::figures::class_name;
use crate::render::{Choice, Method, View, figures};
use crate::run::metric::Metric;
use crate::run::probe::{ACTIVE, MAPS, ProbedImage};

/// Pixels of a picture for each of the image's.
const SCALE: u32 = 4;

pub fn write(run: &RecordedRun, events: &mut EventWriter<impl Write>) -> Result<()> {
    for saved in &run.state.probes {
        let Some(probe) = run.probe(&saved.saved.file)? else { continue };
        let classes = &probe.dataset.classes;
        for image in &probe.images {
            let values = sheets(image, classes)
                .into_iter()
                .map(|(tag, sheet)| picture(&tag, &sheet))
                .collect::<Result<Vec<_>>>()?;
            events.summary(saved.time_ms, saved.saved.step, values)?;
        }
    }
    let times: HashMap<u64, u64> =
        run.state.series(Metric::TestAccuracy).points().map(|point| (point.step, point.time_ms)).collect();
    for epoch in &run.state.epochs {
        let (Some(confusion), Some(&time_ms)) = (&epoch.confusion, times.get(&epoch.step)) else { continue };
        let svg = confusion_matrix(confusion, run.classes(), &format!("Epoch {}", epoch.epoch), Look::Paper);
        let mut png = vec![];
        rasterise(&svg, &mut png)?;
        events.summary(time_ms, epoch.step, vec![encoded_picture("confusion_matrix", pixel_size(&svg), png)])?;
    }
    Ok(())
}

/// Tags and pictures: the image beside its Grad-CAM, heat map and attention, and the feature maps of each layer.
fn sheets(image: &ProbedImage, classes: &[String]) -> Vec<(String, RgbImage)> {
    let explanation = &image.explanation;
    let last = explanation.layers.len().saturating_sub(1);
    let name = format!("{}_{}", image.index, class_name(classes, image.true_class));
    let class = explanation.predicted();
    let pixel = (explanation.image.width / 2, explanation.image.height / 2);
    let drawn = |view, layer, channels| {
        let choice = Choice { view, layer, class, pixel, channels };
        let drawn = figures(explanation, &choice, classes);
        drawn
            .iter()
            .map(|figure| figure.drawing.draw(&explanation.image, SCALE, ColourMode::Colours))
            .collect::<Vec<_>>()
    };
    let mut sheets = vec![
        (format!("grad_cam/{name}"), side_by_side(&drawn(View::Evidence(Method::GradCam), last, 0), 2)),
        (format!("heat_map/{name}"), side_by_side(&drawn(View::HeatMap, last, ACTIVE), 4)),
    ];
    // Gates of channels alone are no picture.
    let attention = drawn(View::Attention, last, 0);
    if attention.len() > 1 {
        sheets.push((format!("attention/{name}"), side_by_side(&attention, 2)));
    }
    for (number, layer) in explanation.layers.iter().enumerate() {
        let maps = drawn(View::Maps, number, MAPS);
        sheets.push((format!("feature_maps_{}/{name}", layer.name), side_by_side(&maps, 5)));
    }
    sheets
}

/// In rows of so many, on white.
fn side_by_side(images: &[RgbImage], columns: usize) -> RgbImage {
    const GAP: u32 = 2;
    let (width, height) = images.first().map_or((1, 1), RgbImage::dimensions);
    let columns = columns.min(images.len()).max(1);
    let rows = images.len().div_ceil(columns).max(1);
    let length = |count: usize, size: u32| count as u32 * (size + GAP) - GAP;
    let mut sheet = RgbImage::from_pixel(length(columns, width), length(rows, height), Rgb([255; 3]));
    for (index, image) in images.iter().enumerate() {
        let (column, row) = ((index % columns) as u32, (index / columns) as u32);
        replace(&mut sheet, image, i64::from(column * (width + GAP)), i64::from(row * (height + GAP)));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_in_rows_with_white_between() {
        let images = [10, 20, 30].map(|value| RgbImage::from_pixel(3, 2, Rgb([value; 3])));
        let sheet = side_by_side(&images, 2);
        assert_eq!(sheet.dimensions(), (8, 6));
        let at = |x, y| sheet.get_pixel(x, y)[0];
        assert_eq!([at(0, 0), at(3, 0), at(5, 0), at(0, 2), at(2, 5), at(5, 5)], [10, 255, 20, 255, 30, 255]);
    }
}
