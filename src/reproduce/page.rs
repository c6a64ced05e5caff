//! A table in Markdown, and its place in a page.

use std::fmt::Write;

use thiserror::Error;

use super::results::{Estimate, RowReached, RunResult, equal_minutes, rows};
use super::table::Table;
use crate::config::TestTimeAugmentation;
use crate::format;

const END: &str = "<!-- end -->";
const NONE: &str = "–";

fn beginning(table: &str) -> String {
    format!("<!-- results: {table} -->")
}

/// A page has nowhere to put a table.
#[derive(Debug, Error)]
#[error("it has no line {} with a line {END} after it", beginning(.0))]
pub struct NoPlace(String);

/// The bytes of a page that are between the lines around a table's part.
///
/// # Errors
/// There are no such lines.
pub fn place(page: &str, table: &str) -> Result<std::ops::Range<usize>, NoPlace> {
    let begins = format!("{}\n", beginning(table));
    let range = page.find(&begins).and_then(|at| {
        let start = at + begins.len();
        Some(start..start + page[start..].find(END)?)
    });
    range.ok_or_else(|| NoPlace(table.to_owned()))
}

/// The page with another part for the table.
///
/// # Errors
/// As [`place`].
pub fn replace(page: &str, table: &str, part: &str) -> Result<String, NoPlace> {
    let range = place(page, table)?;
    Ok([&page[..range.start], part, &page[range.end..]].concat())
}

/// A table of the rows, one of their runs, and what is to be known of all of them. `pictures`: what each shows, and its file as
/// seen from the page.
pub fn markdown(table: &Table, runs: &[&RunResult], pictures: &[(String, String)]) -> String {
    let mut text = String::from("\n");
    if runs.iter().all(|run| !run.is_finished) {
        text.push_str("No run of this table is published yet.\n\n");
        return text;
    }
    let mut lines = vec![heading(table, runs)];
    lines.push(vec!["---".to_owned(), "---".to_owned()]);
    let numbers = lines[0].len() - 2;
    lines[1].extend(std::iter::repeat_n("---:".to_owned(), numbers));
    lines.extend(row_cells(table, runs));
    push_lines(&mut text, lines);
    text.push_str(
        "\nPercent of the images that a run is judged by; of several runs the mean ± the standard deviation of the sample. \
         Minutes are those of training and evaluation, epoch by epoch. Rows are compared at equal epochs, and in the time that \
         the quickest of them takes. A threshold is reached in the first epoch with that \
         accuracy; of several runs the mean over those that reach it. TTA: with test-time flips, or flips and shifts. PFLOP: \
         10^15 operations of convolutions and matrix products in training, by their definition.\n",
    );
    text.push('\n');
    for line in differences(table) {
        let _ = writeln!(text, "* {line}");
    }
    for (shown, file) in pictures {
        let _ = write!(text, "\n![{shown}: {}]({file})\n", row_names(table, runs));
    }
    text.push_str("\nRun by run; `taper attach data/results/RUN` shows its curves:\n\n");
    let mut lines = vec![
        ["run", "seed", "best", "in epoch", "last", "minutes", "step (ms)", "commit", "remarks"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let alignment = ["---", "---:", "---:", "---:", "---:", "---:", "---:", "---", "---"];
    lines.push(alignment.map(str::to_owned).to_vec());
    lines.extend(runs.iter().filter(|run| run.is_finished).map(|run| {
        vec![
            format!("`{}`", run.run),
            run.seed.to_string(),
            accuracy(run.accuracies.best, run.accuracies.best_augmentation),
            run.accuracies.best_epoch.map_or_else(|| NONE.to_owned(), |epoch| epoch.to_string()),
            accuracy(run.accuracies.last, run.accuracies.last_augmentation),
            format::decimal(run.minutes, 1),
            run.step_millis.map_or_else(|| NONE.to_owned(), |millis| format::decimal(millis, 1)),
            commit(run),
            if run.remarks.is_empty() { NONE.to_owned() } else { run.remarks.join(", ") },
        ]
    }));
    push_lines(&mut text, lines);
    text.push('\n');
    for line in common(runs) {
        let _ = writeln!(text, "* {line}");
    }
    text.push('\n');
    text
}

/// What each row after the first has otherwise than that one.
fn differences(table: &Table) -> Vec<String> {
    /// Keys of a row that are named.
    const MOST: usize = 12;
    let Some((first, others)) = table.rows.split_first() else { return vec![] };
    let lines = others.iter().map(|row| {
        let differences = row.differences(&first.config);
        let mut told: Vec<String> = differences
            .iter()
            .take(MOST)
            .map(|change| match &change.to {
                Some(value) => format!("`{} = {value}`", change.key),
                None => format!("no `{}`", change.key),
            })
            .collect();
        if differences.len() > MOST {
            told.push(format!("and {} more", differences.len() - MOST));
        }
        let told = if told.is_empty() { "the same configuration".to_owned() } else { told.join(", ") };
        format!("`{}` is `{}` with {told}", row.name, first.name)
    });
    lines.collect()
}

/// Titles of the columns of rows.
pub fn heading(table: &Table, runs: &[&RunResult]) -> Vec<String> {
    let mut cells = ["row", "seeds", "epochs", "best (%)", "last (%)"].map(str::to_owned).to_vec();
    let minutes = equal_minutes(table, runs.iter().copied());
    cells.push(
        minutes.map_or_else(|| "best at equal time (%)".to_owned(), |minutes| format!("best in {minutes:.1} min (%)")),
    );
    cells.extend(table.thresholds.iter().map(|threshold| format!("to {threshold} %")));
    cells.extend(["minutes", "step (ms)", "PFLOP"].map(str::to_owned));
    cells
}

/// A line of cells for each row, in the order of [`heading`].
pub fn row_cells(table: &Table, runs: &[&RunResult]) -> Vec<Vec<String>> {
    let results = rows(table, runs.iter().copied());
    let lines = results.iter().zip(&table.rows).map(|(result, row)| {
        let trained = |seed: &u64| runs.iter().any(|run| run.row == row.name && run.seed == *seed && run.is_finished);
        let seeds: Vec<String> = row.seeds.iter().copied().filter(trained).map(|seed| seed.to_string()).collect();
        let mut told = if seeds.is_empty() { NONE.to_owned() } else { seeds.join(", ") };
        if result.finished < result.planned {
            let _ = write!(told, " ({} of {})", result.finished, result.planned);
        }
        let mut cells = vec![row.name.clone(), told];
        cells.push(result.epochs.map_or_else(|| NONE.to_owned(), |epochs| epochs.to_string()));
        cells.extend(
            [
                (result.best_accuracy, result.best_test_time_augmentation),
                (result.last_accuracy, result.last_test_time_augmentation),
                (result.equal_time_accuracy, result.equal_time_test_time_augmentation),
            ]
            .map(|(accuracy, augmentation)| format!("{}{}", estimate(accuracy, 2), augmentation.mark())),
        );
        cells.extend(result.reached.iter().map(|reached| reached_cell(reached, result.finished)));
        cells.extend([result.minutes, result.step_millis].map(|value| estimate(value, 1)));
        cells.push(result.petaflop.map_or_else(|| NONE.to_owned(), |petaflop| format::decimal(petaflop, 3)));
        cells
    });
    lines.collect()
}

fn reached_cell(reached: &RowReached, runs: usize) -> String {
    let (Some(epoch), Some(minutes)) = (reached.epoch, reached.minutes) else { return NONE.to_owned() };
    let few = if reached.runs < runs { format!(", {} of {runs}", reached.runs) } else { String::new() };
    let decimals = usize::from(epoch.fract() != 0.0);
    let mark = reached.test_time_augmentation.mark();
    format!("epoch {}{mark}, {} min{few}", format::decimal(epoch, decimals), format::decimal(minutes, 1))
}

/// Such as `83.81 ± 0.12`.
fn estimate(value: Option<Estimate>, decimals: usize) -> String {
    match value {
        None => NONE.to_owned(),
        Some(Estimate { mean, deviation: None }) => format::decimal(mean, decimals),
        Some(Estimate { mean, deviation: Some(deviation) }) => {
            format!("{} ± {}", format::decimal(mean, decimals), format::decimal(deviation, decimals))
        }
    }
}

/// In percent, and what it was judged with.
pub fn accuracy(percent: Option<f64>, augmentation: TestTimeAugmentation) -> String {
    let percent = percent.map_or_else(|| NONE.to_owned(), |percent| format::decimal(percent, 2));
    format!("{percent}{}", augmentation.mark())
}

fn commit(run: &RunResult) -> String {
    run.commit.clone().unwrap_or_else(|| "unknown".to_owned())
}

fn row_names(table: &Table, runs: &[&RunResult]) -> String {
    let is_there = |row: &&str| runs.iter().any(|run| run.row == **row && run.is_finished);
    let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).filter(|row| is_there(row)).collect();
    names.join(", ")
}

/// What data, networks, devices and machines there are, and which runs are of each.
pub fn common(runs: &[&RunResult]) -> Vec<String> {
    let finished: Vec<&RunResult> = runs.iter().copied().filter(|run| run.is_finished).collect();
    type Value = fn(&RunResult) -> String;
    let values: [(&str, Value); 3] = [
        ("data", |run| run.data.clone()),
        ("device", |run| run.device.clone()),
        ("machine", |run| run.machine.clone().unwrap_or_else(|| "unknown".to_owned())),
    ];
    let lines = values.into_iter().map(|(what, value)| {
        let mut groups: Vec<(String, Vec<&str>)> = vec![];
        for run in &finished {
            let value = value(run);
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, names)) => names.push(&run.run),
                None => groups.push((value, vec![&run.run])),
            }
        }
        let told: Vec<String> = match groups.as_slice() {
            [(value, _)] => vec![value.clone()],
            groups => groups.iter().map(|(value, names)| format!("{value} ({})", names.join(", "))).collect(),
        };
        format!("{what}: {}", told.join("; "))
    });
    lines.collect()
}

fn push_lines(text: &mut String, lines: Vec<Vec<String>>) {
    for cells in lines {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::example::study;
    use crate::reproduce::results::read;

    #[test]
    fn a_table_with_its_runs() {
        let (_folder, table, runs) = study();
        let mut results: Vec<RunResult> = read(&table, &runs).unwrap().into_iter().map(|read| read.result).collect();
        results[0].commit = Some("c673cad19a".to_owned());
        let results: Vec<&RunResult> = results.iter().collect();
        let pictures = [("Test accuracy over epochs".to_owned(), "results/study-accuracy.svg".to_owned())];
        insta::assert_snapshot!(markdown(&table, &results, &pictures));
        assert_eq!(markdown(&table, &results[2..], &[]), "\nNo run of this table is published yet.\n\n");
    }

    #[test]
    fn a_part_of_a_page_is_replaced() {
        let page = "a\n<!-- results: x -->\nold\n<!-- end -->\n<!-- results: y -->\n<!-- end -->\n";
        let replaced = replace(page, "y", "new\n").unwrap();
        assert_eq!(replaced, "a\n<!-- results: x -->\nold\n<!-- end -->\n<!-- results: y -->\nnew\n<!-- end -->\n");
        let error = replace(page, "z", "").unwrap_err().to_string();
        assert_eq!(error, "it has no line <!-- results: z --> with a line <!-- end --> after it");
    }
}
