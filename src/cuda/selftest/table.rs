//! The stored tables: a line for each output of each launch.

use std::fmt;

use anyhow::{Context as _, Result};

use super::sketch::{SUMS, Sketch};
use crate::checksum::sha256;
use crate::config::Precision;
use crate::cuda::record::Written;

/// Of a hash are kept.
const DIGITS: usize = 16;

#[derive(Clone, Debug)]
pub struct Line {
    /// Case, kernel and output, as [`name`] has them.
    name: String,
    hash: String,
    pub sketch: Sketch,
}

/// Where the table of a precision is, from the repository's root.
#[cfg(test)]
pub fn file(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "src/cuda/selftest/f32.tsv",
        Precision::Bf16 => "src/cuda/selftest/bf16.tsv",
    }
}

/// # Errors
/// The table is damaged.
pub fn stored(precision: Precision) -> Result<Vec<Line>> {
    let text = match precision {
        Precision::F32 => include_str!("f32.tsv"),
        Precision::Bf16 => include_str!("bf16.tsv"),
    };
    text.lines().map(|line| Line::parse(line).with_context(|| format!("the table of the self-test: {line}"))).collect()
}

pub fn name(case: &str, written: &Written) -> String {
    format!("{case}\t{}\t{}", <&str>::from(written.kernel), written.what)
}

fn hash(written: &Written) -> String {
    sha256(&written.bytes)[..DIGITS].to_owned()
}

impl Line {
    #[cfg(test)]
    pub fn new(case: &str, written: &Written) -> Self {
        Self { name: name(case, written), hash: hash(written), sketch: Sketch::of(&written.values()) }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [case, kernel, what, hash, norm, sums @ ..] = &fields[..] else { return None };
        let sums: Vec<f64> = sums.iter().map(|sum| sum.parse().ok()).collect::<Option<_>>()?;
        let sketch = Sketch { norm: norm.parse().ok()?, sums: <[f64; SUMS]>::try_from(sums).ok()? };
        Some(Self { name: [*case, kernel, what].join("\t"), hash: (*hash).to_owned(), sketch })
    }

    pub fn is_of(&self, case: &str, written: &Written) -> bool {
        self.name == name(case, written)
    }

    pub fn has_hash_of(&self, written: &Written) -> bool {
        self.hash == hash(written)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, hash, sketch } = self;
        write!(f, "{name}\t{hash}\t{:.6e}", sketch.norm)?;
        sketch.sums.iter().try_for_each(|sum| write!(f, "\t{sum:.6e}"))
    }
}
