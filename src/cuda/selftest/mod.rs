//! Whether a card's kernels compute what they should: a training step and an evaluation of small networks with fixed weights
//! and images, and every output of every launch against a stored table. The table was written by the kernels on a CPU, which
//! compute the same bits: sums have a fixed order, each product and sum is rounded on its own.
//!
//! With products in bfloat16 a tensor core adds in an order of its own: outputs are then compared by [`Sketch`]es, within
//! [`BF16_BOUND`].

mod case;
mod sketch;
mod table;

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Result, bail};

use self::case::CASES;
use self::table::{Line, stored};
use super::context::Context;
use super::kernel::Kernel;
use super::record::Written;
use crate::config::Precision;

/// Of the distance of an output from the stored one, as a share of the stored one's norm. An order of its own changes the last
/// of a sum's 24 bits, and so now and then rounds a factor of the next product to the other one of two neighbours among the
/// numbers of 8 bits. Measured with sums in the opposite order the greatest distance of all outputs was 0.02 %, and with all
/// sums cut to 18 bits 0.06 %.
pub const BF16_BOUND: f64 = 0.01;

/// One output of one launch, compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Which network, such as `se 16-33`.
    pub case: &'static str,
    pub kernel: Kernel,
    /// Which output, such as `y`.
    pub what: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// To the bit.
    Equal,
    /// Within the bound; distance as a share of the norm.
    Near(f64),
    /// Distance as a share of the norm; NaN where an output is not a number.
    Different(f64),
}

impl Compared {
    pub fn is_right(&self) -> bool {
        !matches!(self.verdict, Verdict::Different(_))
    }
}

/// Runs all cases; `done` is called after each.
///
/// # Errors
/// The card fails.
pub fn compare(context: &Arc<Context>, mut done: impl FnMut()) -> Result<Vec<Compared>> {
    let mut lines: VecDeque<Line> = stored(context.precision())?.into();
    let mut compared = vec![];
    for (number, case) in CASES.iter().enumerate() {
        for written in case.run(context, number as u64)? {
            let Some(line) = lines.pop_front().filter(|line| line.is_of(case.name, &written)) else {
                bail!(
                    "the table of the self-test is not of these kernels: {} is next",
                    table::name(case.name, &written)
                )
            };
            let verdict = verdict(&line, &written, context.precision());
            let Written { kernel, what, .. } = written;
            compared.push(Compared { case: case.name, kernel, what, verdict });
        }
        done();
    }
    Ok(compared)
}

/// How often [`compare`] calls `done`.
pub const CASE_COUNT: usize = CASES.len();

fn verdict(line: &Line, written: &Written, precision: Precision) -> Verdict {
    if line.has_hash_of(written) {
        return Verdict::Equal;
    }
    let distance = line.sketch.distance(&sketch::Sketch::of(&written.values()));
    match precision {
        Precision::Bf16 if distance <= BF16_BOUND => Verdict::Near(distance),
        Precision::Bf16 | Precision::F32 => Verdict::Different(distance),
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::cuda::Card;
    use crate::cuda::stand_in::{Built, ORDERS, on_stand_in};

    /// To write the tables anew, after kernels have changed on purpose.
    const UPDATE: &str = "TAPER_UPDATE_SELFTEST";
    const TESTS: &str = "cuda::selftest::tests::";

    fn context(precision: Precision) -> Arc<Context> {
        Context::open(Card::find(0).expect("a GPU"), precision).expect("a context")
    }

    fn is_as_stored(precision: Precision) {
        let context = context(precision);
        if std::env::var_os(UPDATE).is_some() {
            let mut lines = vec![];
            for (number, case) in CASES.iter().enumerate() {
                let written = case.run(&context, number as u64).expect("a case");
                lines.extend(written.iter().map(|written| Line::new(case.name, written).to_string()));
            }
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(table::file(precision));
            return std::fs::write(path, lines.join("\n") + "\n").expect("a table");
        }
        let compared = compare(&context, || {}).expect("a GPU that works");
        let greatest = compared.iter().filter_map(|compared| match compared.verdict {
            Verdict::Equal => None,
            Verdict::Near(distance) | Verdict::Different(distance) => Some(distance),
        });
        println!("greatest distance {:?}", greatest.reduce(f64::max));
        for compared in &compared {
            assert_eq!(compared.verdict, Verdict::Equal, "{compared:?}");
        }
        for kernel in Kernel::VARIANTS {
            assert!(compared.iter().any(|compared| compared.kernel == *kernel), "{kernel:?} is not tested");
        }
    }

    #[test]
    fn all_kernels_write_what_is_stored_in_every_order_of_threads() {
        let test = format!("{TESTS}all_kernels_write_what_is_stored_in_every_order_of_threads");
        on_stand_in(&test, Built::Plain, &ORDERS, || is_as_stored(Precision::F32));
    }

    #[test]
    fn with_bf16_too() {
        on_stand_in(&format!("{TESTS}with_bf16_too"), Built::Bf16, &ORDERS[2..], || is_as_stored(Precision::Bf16));
    }

    #[test]
    fn another_bit_is_different_and_in_bf16_near() {
        let written = |value: f32| Written {
            kernel: Kernel::ConvForward,
            what: "y",
            numbers: crate::cuda::record::Numbers::F32,
            bytes: [1.0, value].iter().flat_map(|value: &f32| value.to_le_bytes()).collect(),
        };
        let line = Line::new("plain 6-70", &written(2.0));
        assert_eq!(verdict(&line, &written(2.0), Precision::F32), Verdict::Equal);
        let next = written(2.0f32.next_up());
        assert!(matches!(verdict(&line, &next, Precision::F32), Verdict::Different(distance) if distance < 1e-6));
        assert!(matches!(verdict(&line, &next, Precision::Bf16), Verdict::Near(_)));
        assert!(matches!(verdict(&line, &written(3.0), Precision::Bf16), Verdict::Different(_)));
        assert!(matches!(verdict(&line, &written(f32::NAN), Precision::Bf16), Verdict::Different(_)));
    }
}
