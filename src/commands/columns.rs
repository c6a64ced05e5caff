//! Tables of runs for a terminal.

use std::io::{self, IsTerminal};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format;
use crate::run::overview::Overview;
use crate::text;

/// Spaces between two columns.
const GAP: usize = 2;

/// Columns of the terminal on stdout.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Phase,
    Epoch,
    Best,
    Data,
    Model,
    LearningRate,
    Duration,
    LastActivity,
}

impl Column {
    const ALL: [Self; 9] = [
        Self::Name,
        Self::Phase,
        Self::Epoch,
        Self::Best,
        Self::Data,
        Self::Model,
        Self::LearningRate,
        Self::Duration,
        Self::LastActivity,
    ];

    /// What a narrow table does without, the first first. The data set stays, for an accuracy means nothing without it.
    const DISPENSABLE: [Self; 5] = [Self::Duration, Self::LearningRate, Self::LastActivity, Self::Model, Self::Epoch];

    fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Phase => "PHASE",
            Self::Epoch => "EPOCH",
            Self::Best => "BEST ACC",
            Self::Data => "DATA",
            Self::Model => "MODEL",
            Self::LearningRate => "LR",
            Self::Duration => "DURATION",
            Self::LastActivity => "LAST ACTIVITY",
        }
    }

    fn cell(self, run: &Overview, zone: &TimeZone, now_ms: u64) -> String {
        let summary = &run.told.summary;
        let told = match self {
            Self::Name => Some(run.name.clone()),
            Self::Phase => Some(run.standing().in_words(summary, run.host.as_deref(), now_ms)),
            Self::Epoch => match (summary.epoch, summary.epochs) {
                (epoch, Some(epochs)) => Some(format!("{epoch}/{epochs}")),
                (0, None) => None,
                (epoch, None) => Some(epoch.to_string()),
            },
            Self::Best => summary.best_test_accuracy.zip(summary.best_epoch).map(|(accuracy, epoch)| {
                format!("{accuracy:.2} %{} (epoch {epoch})", summary.best_test_time_augmentation.mark())
            }),
            Self::Data => run.told.data.clone(),
            Self::Model => run.told.model.clone(),
            Self::LearningRate => summary.learning_rate.map(format::learning_rate),
            Self::Duration => run.told.model.as_ref().map(|_| format::duration(summary.active_secs)),
            Self::LastActivity => time(summary.last_activity_ms, zone),
        };
        told.unwrap_or("-".to_owned())
    }
}

/// None: it is not known.
fn time(time_ms: u64, zone: &TimeZone) -> Option<String> {
    let time = i64::try_from(time_ms).ok().filter(|&time_ms| time_ms > 0)?;
    let time = Timestamp::from_millisecond(time).ok()?;
    Some(time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Lines of these runs, without dispensable columns where they are wider than `width`. `further`: the title and the cells of
/// another column, which stays.
pub(super) fn table(
    runs: &[Overview],
    further: Option<(&str, Vec<String>)>,
    zone: &TimeZone,
    now_ms: u64,
    width: Option<usize>,
) -> Vec<String> {
    let of = |column: Column| {
        let cells = runs.iter().map(|run| column.cell(run, zone, now_ms));
        std::iter::once(column.title().to_owned()).chain(cells).collect()
    };
    let further = further.map(|(title, cells)| std::iter::once(title.to_owned()).chain(cells).collect());
    let mut columns: Vec<(Option<Column>, Vec<String>)> =
        Column::ALL.into_iter().map(|column| (Some(column), of(column))).collect();
    columns.extend(further.map(|cells| (None, cells)));
    for dispensable in Column::DISPENSABLE {
        let needed = columns.iter().map(|(_, cells)| text::widest(cells) + GAP).sum::<usize>() - GAP;
        if width.is_none_or(|width| needed <= width) {
            break;
        }
        columns.retain(|(column, _)| *column != Some(dispensable));
    }
    aligned(&columns.into_iter().map(|(_, cells)| cells).collect::<Vec<_>>())
}

/// Columns side by side, of which each has as many cells.
pub(super) fn aligned(columns: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = columns.iter().map(text::widest).collect();
    let line = |row: usize| {
        let padded = columns.iter().zip(&widths).map(|(cells, width)| text::padded(&cells[row], *width));
        padded.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    (0..columns.first().map_or(0, Vec::len)).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let lines = |width| table(&Overview::examples(), None, &TimeZone::UTC, 1_795_552_324_000, width).join("\n");
        insta::assert_snapshot!("wide", lines(None));
        for width in [120, 100, 80] {
            insta::assert_snapshot!(format!("{width}-columns"), lines(Some(width)));
        }
        assert_eq!(lines(Some(1000)), lines(None));
        assert!(lines(Some(10)).starts_with("NAME                 PHASE                BEST ACC           DATA\n"));
        let sizes = (1..=5).map(|size| format!("{size} kB")).collect();
        let sized = table(&Overview::examples(), Some(("SIZE", sizes)), &TimeZone::UTC, 1_795_552_324_000, Some(90));
        assert!(sized[0].ends_with("  SIZE") && sized[5].ends_with("  5 kB"), "{sized:?}");
    }
}
