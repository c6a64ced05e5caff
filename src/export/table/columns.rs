//! A table as columns of values of one kind each.

/// Columns of equal length.
#[derive(Debug, PartialEq)]
pub struct Table {
    /// Such as `epochs`: the name of its file, without the extension.
    pub name: &'static str,
    pub columns: Vec<Column>,
}

#[derive(Debug, PartialEq)]
pub struct Column {
    /// With the unit, where there is one, such as `elapsed_secs`.
    pub name: String,
    pub values: Values,
}

/// A number that is not finite, and a text that is `None`, is absent: an empty field, or null.
#[derive(Debug, PartialEq)]
pub enum Values {
    Counts(Vec<u64>),
    Numbers(Vec<f64>),
    /// Of single precision, which need half the digits.
    Singles(Vec<f32>),
    /// Unix, in milliseconds.
    Times(Vec<u64>),
    Flags(Vec<bool>),
    Texts(Vec<Option<String>>),
}

/// One value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Absent,
    Count(u64),
    Number(f64),
    Single(f32),
    Flag(bool),
    Text(&'a str),
}

impl Table {
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.rows())
    }
}

impl Values {
    pub fn rows(&self) -> usize {
        match self {
            Self::Counts(values) | Self::Times(values) => values.len(),
            Self::Numbers(values) => values.len(),
            Self::Singles(values) => values.len(),
            Self::Flags(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// # Panics
    /// There is no such row.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Counts(values) | Self::Times(values) => Cell::Count(values[row]),
            Self::Numbers(values) if values[row].is_finite() => Cell::Number(values[row]),
            Self::Singles(values) if values[row].is_finite() => Cell::Single(values[row]),
            Self::Numbers(_) | Self::Singles(_) => Cell::Absent,
            Self::Flags(values) => Cell::Flag(values[row]),
            Self::Texts(values) => values[row].as_deref().map_or(Cell::Absent, Cell::Text),
        }
    }
}

#[cfg(test)]
impl Table {
    /// With every kind of column, and what is hard to write.
    pub(super) fn example() -> Self {
        let column = |name: &str, values| Column { name: name.into(), values };
        Self {
            name: "example",
            columns: vec![
                column("step", Values::Counts(vec![1, 2])),
                column("time_ms", Values::Times(vec![1_795_552_324_001, 1_795_552_324_002])),
                column("loss", Values::Singles(vec![0.1, f32::NAN])),
                column("rate", Values::Numbers(vec![f64::INFINITY, 1e-7])),
                column("best", Values::Flags(vec![true, false])),
                column("message", Values::Texts(vec![Some("a \"b\", c\nd".into()), None])),
            ],
        }
    }
}
