//! The scale below: round steps, epochs or times, and where the view ends.

use std::ops::Range;

use crate::format;
use crate::run::series::XAxis;
use crate::ticks::{logarithmic_texts, multiples, round_step};

/// Columns from one label to the next, at least.
const SPACING: f64 = 12.0;

/// What lies along the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Of a run.
    Run(XAxis),
    /// Logarithms, to base ten, of learning rates.
    LearningRate,
}

/// (place, label) in the order in which they are to find room.
pub fn x_ticks(axis: Axis, view: &Range<f64>, width: u16) -> Vec<(f64, String)> {
    match axis {
        Axis::Run(axis) => run_ticks(axis, view, width),
        Axis::LearningRate => logarithmic_texts(view.start, view.end, usize::from(width) / SPACING as usize + 1),
    }
}

fn run_ticks(axis: XAxis, view: &Range<f64>, width: u16) -> Vec<(f64, String)> {
    let span = view.end - view.start;
    let least = span / (f64::from(width) / SPACING).max(1.0);
    let step = match axis {
        XAxis::Time => time_step(least),
        XAxis::Step => round_step(least).max(1.0),
        // Ends of epochs, unless there are too few in view.
        XAxis::Epoch if span >= 1.5 => round_step(least).max(1.0).ceil(),
        XAxis::Epoch => round_step(least),
    };
    let ticks = multiples(step, view.start, view.end).take(width.into());
    // Where the view ends comes last, and only where there is room.
    let end = (view.end, end_label(axis, view.end, step));
    ticks.map(|x| (x, label(axis, x, step))).chain([end]).collect()
}

/// As exact as it is worth beside steps of that length.
fn end_label(axis: XAxis, x: f64, step: f64) -> String {
    let text = label(axis, x, 10f64.powf((step / 50.0).log10().floor()));
    match (axis, text.contains('.')) {
        (XAxis::Epoch, true) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        (XAxis::Time, _) => time_label(x, step / 10.0),
        _ => text,
    }
}

/// A place on the axis, as exact as `step` needs.
pub fn label(axis: XAxis, x: f64, step: f64) -> String {
    match axis {
        XAxis::Step => format::compact(x, 7),
        XAxis::Epoch => {
            let decimals = (0..6).find(|&decimals| (step * 10f64.powi(decimals)).fract().abs() < 1e-6).unwrap_or(6);
            format!("{x:.*}", decimals as usize)
        }
        XAxis::Time => time_label(x, step),
    }
}

/// In seconds.
fn time_step(least: f64) -> f64 {
    const STEPS: [f64; 18] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
        43_200.0, 86_400.0,
    ];
    match least {
        ..1.0 => round_step(least),
        _ => STEPS.into_iter().find(|&step| step >= least).unwrap_or_else(|| 86_400.0 * round_step(least / 86_400.0)),
    }
}

fn time_label(secs: f64, step: f64) -> String {
    let unit = |size: f64, letter: &str| {
        let decimals = usize::from((secs / size).fract().abs() > 1e-6);
        format!("{:.decimals$}{letter}", secs / size)
    };
    match step {
        86_400.0.. => unit(86_400.0, "d"),
        3600.0.. => unit(3600.0, "h"),
        60.0.. if secs >= 3600.0 => format!("{}h{:02}m", (secs / 3600.0) as u64, (secs / 60.0).round() as u64 % 60),
        60.0.. => unit(60.0, "m"),
        1.0.. if secs >= 3600.0 => {
            format!("{}h{:02}m{:02}s", (secs / 3600.0) as u64, (secs / 60.0) as u64 % 60, secs.round() as u64 % 60)
        }
        1.0.. if secs >= 60.0 => format!("{}m{:02}s", (secs / 60.0) as u64, secs.round() as u64 % 60),
        _ => format!("{}s", format::compact_round(secs, 6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: XAxis, view: Range<f64>, width: u16) -> Vec<String> {
        let mut labels: Vec<String> = run_ticks(axis, &view, width).into_iter().map(|(_, label)| label).collect();
        labels.pop();
        labels
    }

    #[test]
    fn ticks_end_where_the_view_ends() {
        assert_eq!(labels(XAxis::Epoch, 0.0..3.0, 60), ["0", "1", "2", "3"]);
        assert_eq!(labels(XAxis::Epoch, 0.0..0.4, 30), ["0.0", "0.2", "0.4"]);
        assert_eq!(labels(XAxis::Step, 0.0..39_100.0, 60), ["0", "10000", "20000", "30000"]);
        assert_eq!(labels(XAxis::Step, 1e6..3e6, 60), ["1000000", "1500000", "2000000", "2500000", "3000000"]);
        assert_eq!(labels(XAxis::Time, 0.0..5400.0, 60), ["0m", "30m", "1h00m", "1h30m"]);
        assert_eq!(run_ticks(XAxis::Epoch, &(0.0..14.6), 30).pop(), Some((14.6, "14.6".to_owned())));
        assert_eq!(labels(XAxis::Time, 3.5..4.6, 60), ["3.5s", "4s", "4.5s"]);
        assert_eq!(labels(XAxis::Time, 50.0..130.0, 60), ["1m00s", "1m30s", "2m00s"]);
    }

    #[test]
    fn learning_rates_are_told_by_decades() {
        let ticks = x_ticks(Axis::LearningRate, &(-6.0..0.0), 73);
        let (places, labels): (Vec<f64>, Vec<String>) = ticks.into_iter().unzip();
        assert_eq!(labels, ["1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]);
        assert!((places[1] + 5.0).abs() < 1e-12 && places[6] == 0.0, "{places:?}");
    }
}
