//! What `taper data inspect` tells of every kind of data set: images of each class, and the channels' mean and deviation.

use std::io::Write;

use anyhow::Result;

use crate::data::{ChannelStatistics, Dataset};

pub fn write_statistics(out: &mut impl Write, train: &Dataset, test: &Dataset) -> Result<()> {
    if train.is_empty() && test.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{:<14} {:>7} {:>7}", "class", "train", "test")?;
    for ((class, train), test) in train.info.classes.iter().zip(train.class_counts()).zip(test.class_counts()) {
        writeln!(out, "{class:<14} {train:>7} {test:>7}")?;
    }
    writeln!(out, "{:<14} {:>7} {:>7}", "all", train.len(), test.len())?;
    if train.is_empty() {
        return Ok(());
    }
    write_channels(out, &train.channel_statistics())
}

pub fn write_channels(out: &mut impl Write, statistics: &ChannelStatistics) -> Result<()> {
    let names: &[&str] = if statistics.mean.len() == 1 { &["grey"] } else { &["red", "green", "blue"] };
    let row = |cells: Vec<String>| cells.into_iter().map(|cell| format!(" {cell:>10}")).collect::<String>();
    writeln!(out, "\n{:<14}{}", "train channel", row(names.iter().map(ToString::to_string).collect()))?;
    for (name, values) in [("mean", &statistics.mean), ("std", &statistics.std)] {
        writeln!(out, "{name:<14}{}", row(values.iter().map(|value| format!("{value:.8}")).collect()))?;
    }
    Ok(())
}
