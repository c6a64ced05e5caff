//! A run's figures for a paper, one a file, as SVG and PNG.

use anyhow::Result;

use super::figure::{Look, Svg, confusion_matrix, rasterise};
use super::{ExportFolder, RecordedRun, curves, probe_figures};

/// The name of a file, without extension, and what is in it. A figure of which the run has nothing is left out.
///
/// # Errors
/// A probe cannot be read.
pub fn plots(run: &RecordedRun) -> Result<Vec<(String, Svg)>> {
    let look = Look::Paper;
    let charts = [
        ("iteration-loss", curves::batch_loss(&[run])),
        ("loss", curves::loss(&[run])),
        ("accuracy", curves::accuracy(&[run])),
        ("learning-rate", curves::learning_rate(&[run])),
        ("gradient-norm", curves::gradient_norm(&[run])),
    ];
    let mut plots: Vec<(String, Svg)> =
        charts.into_iter().filter_map(|(name, chart)| Some((name.to_owned(), chart.draw(look)?))).collect();
    if let Some((epoch, confusion)) = run.detailed_epoch() {
        let title = format!("Confusion Matrix, Epoch {}", epoch.epoch);
        plots.push(("confusion-matrix".to_owned(), confusion_matrix(confusion, run.classes(), &title, look)));
    }
    let Some(probe) = run.best_probe()? else { return Ok(plots) };
    for image in &probe.images {
        plots.push((format!("feature-maps-{}", image.index), probe_figures::feature_maps(&probe, image, look)));
        plots.push((format!("heat-maps-{}", image.index), probe_figures::heat_maps(&probe, image, look)));
    }
    if !probe.images.is_empty() {
        let title = format!("Grad-CAM, Epoch {}", probe.epoch);
        plots.push(("grad-cam".to_owned(), probe_figures::grad_cam(&probe, &probe.images, &title, look)));
    }
    if !probe.mistakes.is_empty() {
        let title = format!("Most Confident Mistakes, Epoch {}", probe.epoch);
        plots.push(("mistakes".to_owned(), probe_figures::grad_cam(&probe, &probe.mistakes, &title, look)));
    }
    Ok(plots)
}

/// # Errors
/// A probe cannot be read, or a file cannot be written.
pub fn write_plots(run: &RecordedRun, folder: &mut ExportFolder) -> Result<()> {
    for (name, svg) in plots(run)? {
        folder
            .add(&format!("{name}.svg"), |out| Ok::<_, anyhow::Error>(out.write_all(svg.to_document().as_bytes())?))?;
        folder.add(&format!("{name}.png"), |out| Ok::<_, anyhow::Error>(rasterise(&svg, out)?))?;
    }
    Ok(())
}
