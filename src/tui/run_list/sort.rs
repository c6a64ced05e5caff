//! What the list is sorted by.

use std::cmp::{Ordering, Reverse};

use super::row::Row;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Live runs first, then the last active.
    #[default]
    Activity,
    Name,
    /// The lowest training loss first.
    Loss,
    Phase,
    /// The longest trained first.
    Epoch,
    /// The highest accuracy first.
    Best,
    Device,
    Data,
    Model,
}

impl Sort {
    const ALL: [Self; 9] = [
        Self::Activity,
        Self::Name,
        Self::Loss,
        Self::Phase,
        Self::Epoch,
        Self::Best,
        Self::Device,
        Self::Data,
        Self::Model,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Activity => "age",
            Self::Name => "name",
            Self::Loss => "loss",
            Self::Phase => "phase",
            Self::Epoch => "epoch",
            Self::Best => "best",
            Self::Device => "device",
            Self::Data => "data",
            Self::Model => "model",
        }
    }

    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// The order of two rows; those without a value come last either way. Equal ones are as by activity.
    pub fn compare(self, one: &Row, other: &Row, reversed: bool, now_ms: u64) -> Ordering {
        let directed = |order: Ordering| if reversed { order.reverse() } else { order };
        let by_activity = || {
            let key = |row: &Row| (!row.listed.is_live(), Reverse(row.listed.since));
            key(one).cmp(&key(other)).then_with(|| one.run().name().cmp(&other.run().name()))
        };
        let highest_first = |value: fn(&Row) -> Option<f64>| by_value(value(one), value(other), !reversed);
        let text = |value: fn(&Row) -> Option<String>| by_value(value(one), value(other), reversed);
        let order = match self {
            Self::Activity => return directed(by_activity()),
            Self::Name => directed(one.run().name().cmp(&other.run().name())),
            Self::Phase => directed(one.standing(now_ms).cmp(&other.standing(now_ms))),
            Self::Loss => {
                let loss = |row: &Row| row.figures()?.summary.smoothed_loss;
                by_value(loss(one), loss(other), reversed)
            }
            Self::Epoch => highest_first(|row| Some(row.figures()?.summary.epoch as f64)),
            Self::Best => highest_first(Row::best),
            Self::Device => text(|row| Some(row.figures()?.device.clone())),
            Self::Data => text(|row| Some(row.figures()?.data.clone())),
            Self::Model => text(|row| Some(row.figures()?.model.clone())),
        };
        order.then_with(by_activity)
    }
}

fn by_value<T: PartialOrd>(one: Option<T>, other: Option<T>, descending: bool) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => {
            let order = one.partial_cmp(&other).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
