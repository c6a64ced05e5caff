//! The plots of a table: rows over each other, each the mean of its runs, before the range that they lie in.

use super::results::{Point, RecordedResult};
use super::table::Table;
use crate::export::curves::rate_points;
use crate::export::figure::{Band, Chart, Interpolation, Line, Look, Stroke, Svg};

/// Points of a learning rate that moves at each step.
const RATE_POINTS: usize = 200;
/// Series before colours come again: lines are dashed then, and dotted after that.
const COLOURS: usize = 7;

/// What the points of a curve lie over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Epochs,
    Minutes,
}

/// The name of each plot, what it shows in words, and the plot; those that nothing is known of are left out.
pub fn charts(table: &Table, results: &[RecordedResult]) -> Vec<(&'static str, String, Svg)> {
    let judged_by = results.first().map_or_else(String::new, |first| first.state.judged_by().to_string());
    let all = [
        ("accuracy-epochs", format!("{judged_by} accuracy over epochs"), accuracy(table, results, Over::Epochs)),
        ("accuracy-minutes", format!("{judged_by} accuracy over minutes"), accuracy(table, results, Over::Minutes)),
        ("learning-rate", "learning rate over epochs".to_owned(), learning_rate(table, results)),
    ];
    let drawn = all.into_iter().filter_map(|(name, text, chart)| {
        let text = text[..1].to_uppercase() + &text[1..];
        Some((name, text.clone(), Chart { title: text, ..chart }.draw(Look::Paper)?))
    });
    drawn.collect()
}

fn stroke_of(row: usize) -> Stroke {
    match row / COLOURS {
        0 => Stroke::Solid,
        1 => Stroke::Dashed,
        _ => Stroke::Dotted,
    }
}

fn finished<'a>(results: &'a [RecordedResult], row: &str) -> Vec<&'a RecordedResult> {
    results.iter().filter(|run| run.result.row == row && run.result.is_finished).collect()
}

fn accuracy(table: &Table, results: &[RecordedResult], over: Over) -> Chart {
    let mut chart = Chart {
        x_label: if over == Over::Epochs { "Epoch" } else { "Minutes of training and evaluation" }.into(),
        y_label: "Accuracy (%)".into(),
        whole_x: over == Over::Epochs,
        ..Chart::default()
    };
    for (number, row) in table.rows.iter().enumerate() {
        let runs = finished(results, &row.name);
        let epochs = runs.iter().map(|run| run.result.curve.len()).min().unwrap_or(0);
        let (mut line, mut band) = (vec![], vec![]);
        for epoch in 0..epochs {
            let points: Vec<(f64, f64)> = runs.iter().map(|run| place(run.result.curve[epoch], over)).collect();
            let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / points.len() as f64;
            let (x, y) = (mean(|point| point.0), mean(|point| point.1));
            let accuracies = || points.iter().map(|point| point.1);
            line.push((x, y));
            band.push((x, accuracies().fold(f64::INFINITY, f64::min), accuracies().fold(f64::NEG_INFINITY, f64::max)));
        }
        if runs.len() > 1 {
            chart.bands.push(Band { label: String::new(), colour: number, points: band });
        }
        let label = if line.is_empty() { String::new() } else { row.name.clone() };
        chart.lines.push(Line { label, colour: number, stroke: stroke_of(number), points: line, ..Line::default() });
    }
    chart
}

fn place(Point { epoch, minutes, accuracy, .. }: Point, over: Over) -> (f64, f64) {
    (if over == Over::Epochs { epoch as f64 } else { minutes }, accuracy)
}

/// Of the first finished run of each row: a plateau rule moves that of each run at another time.
fn learning_rate(table: &Table, results: &[RecordedResult]) -> Chart {
    let mut chart = Chart { x_label: "Epoch".into(), y_label: "Learning rate".into(), ..Chart::default() };
    for (number, row) in table.rows.iter().enumerate() {
        let Some(RecordedResult { state: run, .. }) = finished(results, &row.name).first() else { continue };
        let points = rate_points(run, RATE_POINTS);
        let interpolation = if run.learning_rate_moves() { Interpolation::Linear } else { Interpolation::Hold };
        let (label, stroke) = (row.name.clone(), stroke_of(number));
        chart.lines.push(Line { label, colour: number, stroke, interpolation, points });
    }
    chart
}
