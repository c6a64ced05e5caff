//! Products of numbers that are rounded to bfloat16 (eight bits of significand, to the nearest, ties to even), summed in f32,
//! by AVX512-BF16: an instruction multiplies and adds twice as many as one of f32 does.
//!
//! Two numbers that follow each other in a sum lie in one word, the first in its lower half. A sum is taken over its pairs in
//! order, so a result depends neither on the number of threads nor on the tiling.

use super::matmul::Level;
use crate::config::Precision;
use crate::simd::{self, SimdPath, SimdPathError};

/// Columns of a panel: two vectors.
pub const COLUMNS: usize = 2 * LANES;
/// Sums in a vector.
const LANES: usize = 16;
/// The most rows of a tile, as in f32.
#[cfg(target_arch = "x86_64")]
const TILE_ROWS: usize = 8;

/// Why there are no products of bf16.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBf16 {
    #[error("bf16 needs AVX512-BF16, which this CPU does not have")]
    Cpu,
    #[error("bf16 needs {variable}=avx512, not {0}", variable = simd::VARIABLE)]
    Path(SimdPath),
    #[error(transparent)]
    NoPath(#[from] SimdPathError),
}

/// Stands for a CPU that has the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Bf16(Proof);

#[cfg(target_arch = "x86_64")]
type Proof = ();
#[cfg(not(target_arch = "x86_64"))]
type Proof = std::convert::Infallible;

/// # Errors
/// Products of `precision` are not for this CPU, or not for the path that the environment asks for.
pub fn check_precision(precision: Precision) -> Result<(), NoBf16> {
    Bf16::of(precision).map(|_| ())
}

/// `out[m][n] = initial + Σ left[starts[m] + left_offset] · panel[panel_offset + n]` over all terms, each a pair of products, for
/// the [`COLUMNS`] of a panel.
pub struct PairProduct<'a> {
    pub left: &'a [u32],
    /// Where the first pair of each row is.
    pub starts: &'a [usize],
    pub panel: &'a [u32],
    /// The loops over the pairs, the outer first.
    pub terms: [Level; 2],
    /// Whether the sums begin with what `out` holds, instead of 0.
    pub adds: bool,
    pub out: &'a mut [f32],
    /// Row `m` begins at `m * out_step`.
    pub out_step: usize,
}

/// Matrices of `rows` x [`COLUMNS`], as many as there are in a slice.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    pub numbers: &'a [f32],
    pub rows: usize,
    /// How far each row is from the one before it.
    pub row_step: usize,
    /// How far each matrix is from the one before it.
    pub step: usize,
}

impl Bf16 {
    /// Where products of `precision` are of bf16.
    ///
    /// # Errors
    /// They cannot be: the CPU, or the path that the environment asks for, does not have it.
    pub fn of(precision: Precision) -> Result<Option<Self>, NoBf16> {
        match (precision, simd::chosen()?) {
            (Precision::F32, _) => Ok(None),
            (Precision::Bf16, SimdPath::Avx512) => Self::of_this_cpu().ok_or(NoBf16::Cpu).map(Some),
            (Precision::Bf16, path) if path.is_best() => Err(NoBf16::Cpu),
            (Precision::Bf16, path) => Err(NoBf16::Path(path)),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn of_this_cpu() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        has.then_some(Self(()))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_this_cpu() -> Option<Self> {
        None
    }

    /// # Panics
    /// A term, or an element of `out`, lies outside of its slice.
    pub fn multiply(self, product: PairProduct) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `self` exists only where the instructions do.
        unsafe {
            x86::multiply(product);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.0 {}
    }

    /// Rounds and pairs each two consecutive rows, column by column: [`COLUMNS`] words for each pair, one after another; a
    /// last row alone is paired with zeros. `out` has a matrix every `out_step`.
    ///
    /// # Panics
    /// A matrix lies outside of its slice.
    pub fn pair_rows(self, blocks: Blocks, out: &mut [u32], out_step: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `self` exists only where the instructions do.
        unsafe {
            x86::pair_rows(blocks, out, out_step);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.0 {}
    }

    /// Rounds and pairs each two consecutive columns: half of [`COLUMNS`] words a row, and a row every `row_step`. `out` has a
    /// matrix every `out_step`.
    ///
    /// # Panics
    /// A matrix lies outside of its slice.
    pub fn pair_columns(self, blocks: Blocks, out: &mut [u32], out_step: usize, row_step: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `self` exists only where the instructions do.
        unsafe {
            x86::pair_columns(blocks, out, out_step, row_step);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.0 {}
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
        _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_storeu_si512,
    };
    use core::mem::transmute;

    use crate::ops::bf16::{Blocks, COLUMNS, LANES, PairProduct, TILE_ROWS};
    use crate::ops::matmul::Level;

    /// The halves of two vectors of sixteen in turn.
    const INTERLEAVED: [u16; COLUMNS] = {
        let mut order = [0; COLUMNS];
        let mut i = 0;
        while i < COLUMNS {
            order[i] = (i / 2 + i % 2 * LANES) as u16;
            i += 1;
        }
        order
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn multiply(product: PairProduct) {
        // As few tiles as there can be, of the same height: a last one of few rows would take as long as any.
        macro_rules! tiles_of {
            ($($rows:literal)*) => {
                match product.starts.len().div_ceil(product.starts.len().div_ceil(TILE_ROWS).max(1)) {
                    $($rows => tiles::<$rows>(product),)*
                    _ => {}
                }
            };
        }
        tiles_of!(1 2 3 4 5 6 7 8);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tiles<const M: usize>(product: PairProduct) {
        let PairProduct { left, starts, panel, terms: [outer, inner], adds, out, out_step } = product;
        let last = |step: fn(Level) -> usize| {
            outer.count.saturating_sub(1) * step(outer) + inner.count.saturating_sub(1) * step(inner)
        };
        let last_start = starts.iter().fold(0, |last: usize, &start| last.max(start));
        assert!(last_start + last(|level| level.left_step) < left.len(), "a term lies outside of the left operand");
        assert!(last(|level| level.panel_step) + COLUMNS <= panel.len(), "a term lies outside of the panel");
        assert!((starts.len() - 1) * out_step + COLUMNS <= out.len(), "a row lies outside of the output");
        for row in (0..starts.len()).step_by(M) {
            // The last tile repeats its last row instead of being a case of its own: what is stored twice is the same.
            let rows: [usize; M] = core::array::from_fn(|m| (row + m).min(starts.len() - 1));
            // SAFETY: no offset exceeds that of the last term or row, for which the assertions have just been made.
            unsafe {
                let mut sums = [[_mm512_setzero_ps(); 2]; M];
                if adds {
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        let out = out.as_ptr().add(row * out_step);
                        *sums = [_mm512_loadu_ps(out), _mm512_loadu_ps(out.add(LANES))];
                    }
                }
                let lefts = rows.map(|row| left.as_ptr().add(starts[row]));
                for i in 0..outer.count {
                    let (mut at, mut panel_at) = (i * outer.left_step, i * outer.panel_step);
                    for _ in 0..inner.count {
                        debug_assert!(rows.iter().all(|&row| starts[row] + at < left.len()));
                        debug_assert!(panel_at + COLUMNS <= panel.len());
                        accumulate(&mut sums, &lefts, at, panel.as_ptr().add(panel_at));
                        at += inner.left_step;
                        panel_at += inner.panel_step;
                    }
                }
                for (sums, row) in sums.iter().zip(rows) {
                    let out = out.as_mut_ptr().add(row * out_step);
                    _mm512_storeu_ps(out, sums[0]);
                    _mm512_storeu_ps(out.add(LANES), sums[1]);
                }
            }
        }
    }

    /// Adds the products of the pair of each row at `at` to its sums. A word is read where it is taken: an array of them would be
    /// gathered in registers first.
    ///
    /// # Safety
    /// There are [`COLUMNS`] words at `panel`, and a word of each row at `at`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn accumulate<const M: usize>(
        sums: &mut [[__m512; 2]; M],
        lefts: &[*const u32; M],
        at: usize,
        panel: *const u32,
    ) {
        // SAFETY: as this function's; a vector is any bits.
        unsafe {
            let columns: [__m512bh; 2] =
                [panel, panel.add(LANES)].map(|panel| transmute::<__m512i, __m512bh>(_mm512_loadu_si512(panel.cast())));
            for (sums, left) in sums.iter_mut().zip(lefts) {
                let left = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*left.add(at) as i32));
                sums[0] = _mm512_dpbf16_ps(sums[0], left, columns[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], left, columns[1]);
            }
        }
    }

    fn check(blocks: Blocks, out: &[u32], matrix: usize, out_step: usize) -> usize {
        let Blocks { numbers, rows, row_step, step } = blocks;
        assert!(matrix <= out_step, "matrices overlap");
        let after_first = rows.checked_sub(1).and_then(|row| numbers.len().checked_sub(row * row_step + COLUMNS));
        let count = after_first.map_or(0, |numbers| numbers / step + 1);
        assert!(count == 0 || (count - 1) * out_step + matrix <= out.len(), "a matrix lies outside of the output");
        count
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn pair_rows(blocks: Blocks, out: &mut [u32], out_step: usize) {
        let count = check(blocks, out, blocks.rows.div_ceil(2) * COLUMNS, out_step);
        // SAFETY: it is as long as a vector; and all of every matrix is within its slice, by the check.
        unsafe {
            let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
            for matrix in 0..count {
                for row in (0..blocks.rows).step_by(2) {
                    let first = blocks.numbers.as_ptr().add(matrix * blocks.step + row * blocks.row_step);
                    let out = out.as_mut_ptr().add(matrix * out_step + row / 2 * COLUMNS);
                    for at in [0, LANES] {
                        let upper = first.add(at);
                        let lower = if row + 1 < blocks.rows {
                            _mm512_loadu_ps(upper.add(blocks.row_step))
                        } else {
                            _mm512_setzero_ps()
                        };
                        let halves: __m512i = transmute(_mm512_cvtne2ps_pbh(lower, _mm512_loadu_ps(upper)));
                        _mm512_storeu_si512(out.add(at).cast(), _mm512_permutexvar_epi16(order, halves));
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn pair_columns(blocks: Blocks, out: &mut [u32], out_step: usize, row_step: usize) {
        let count = check(blocks, out, blocks.rows.saturating_sub(1) * row_step + LANES, out_step);
        for matrix in 0..count {
            for row in 0..blocks.rows {
                // SAFETY: all of every matrix is within its slice, by the check.
                unsafe {
                    let numbers = blocks.numbers.as_ptr().add(matrix * blocks.step + row * blocks.row_step);
                    let pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(numbers.add(LANES)), _mm512_loadu_ps(numbers));
                    let out = out.as_mut_ptr().add(matrix * out_step + row * row_step);
                    _mm512_storeu_si512(out.cast(), transmute::<__m512bh, __m512i>(pairs));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::matmul::one_level;
    use crate::ops::reference::{Sum, real};

    /// To the nearest, ties to even.
    fn rounded(value: f32) -> u32 {
        let bits = value.to_bits();
        (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    }

    fn pair(first: f32, second: f32) -> u32 {
        rounded(first) | rounded(second) << 16
    }

    fn halves(pair: u32) -> [f32; 2] {
        [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
    }

    #[test]
    fn rows_and_columns_are_rounded_and_paired() {
        // Elsewhere there is nothing to test, as in what follows.
        let Some(bf16) = Bf16::of_this_cpu() else { return };
        let (rows, step, count) = (5, 5 * COLUMNS + 16, 3);
        let mut numbers = real(1, count * step);
        // Ties, to an even number above and below.
        (numbers[0], numbers[1]) = (f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000));
        let blocks = Blocks { numbers: &numbers, rows, row_step: COLUMNS, step };
        let mut pairs = vec![0; count * 100];
        bf16.pair_rows(blocks, &mut pairs, 100);
        let mut columns = vec![0; count * 200];
        bf16.pair_columns(blocks, &mut columns, 200, 40);
        for matrix in 0..count {
            let at = |row: usize, column: usize| {
                if row < rows { numbers[matrix * step + row * COLUMNS + column] } else { 0.0 }
            };
            for row in 0..rows {
                for column in 0..COLUMNS {
                    let expected = pair(at(row / 2 * 2, column), at(row / 2 * 2 + 1, column));
                    assert_eq!(pairs[matrix * 100 + row / 2 * COLUMNS + column], expected, "rows, {row} {column}");
                    let expected = pair(at(row, column / 2 * 2), at(row, column / 2 * 2 + 1));
                    assert_eq!(columns[matrix * 200 + row * 40 + column / 2], expected, "columns, {row} {column}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(crate::testing::property(128))]
        #[test]
        fn a_product_is_the_definition(
            (rows, row_step) in (1..30usize, 0..9usize),
            [outer, inner] in [1..5usize, 1..40],
            [outer_step, inner_step] in [0..50usize, 0..5],
            adds in any::<bool>(),
        ) {
            let Some(bf16) = Bf16::of_this_cpu() else { return Ok(()) };
            let words = |seed, len: usize| -> Vec<u32> {
                real(seed, 2 * len).chunks_exact(2).map(|two| pair(two[0], two[1])).collect()
            };
            let starts: Vec<usize> = (0..rows).map(|row| row * row_step).collect();
            let left = words(1, rows * row_step + outer * outer_step + inner * inner_step + 1);
            let panel = words(2, outer * inner * COLUMNS);
            let out_step = COLUMNS + 3;
            let before = real(3, rows * out_step);
            let mut out = before.clone();
            bf16.multiply(PairProduct {
                left: &left,
                starts: &starts,
                panel: &panel,
                terms: [
                    Level { count: outer, left_step: outer_step, panel_step: inner * COLUMNS },
                    Level { count: inner, left_step: inner_step, panel_step: COLUMNS },
                ],
                adds,
                out: &mut out,
                out_step,
            });
            for (row, &start) in starts.iter().enumerate() {
                for column in 0..out_step {
                    let position = row * out_step + column;
                    if column >= COLUMNS {
                        prop_assert_eq!(out[position], before[position], "beyond the columns");
                        continue;
                    }
                    let mut sum = Sum::of(if adds { before[position] } else { 0.0 });
                    for (i, j) in (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))) {
                        let left = halves(left[start + i * outer_step + j * inner_step]);
                        let right = halves(panel[(i * inner + j) * COLUMNS + column]);
                        left.into_iter().zip(right).for_each(|(left, right)| sum.add_product(left, right));
                    }
                    let (bound, error) = (sum.bound(), (f64::from(out[position]) - sum.value).abs());
                    prop_assert!(error <= bound, "row {row}, column {column}: {error:.1e}, more than {bound:.1e}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a term lies outside of the panel")]
    fn a_term_outside_is_refused() {
        let Some(bf16) = Bf16::of_this_cpu() else { panic!("a term lies outside of the panel") };
        let terms = one_level(6, 1, COLUMNS);
        let (left, panel, mut out) = ([0; 10], [0; 6 * COLUMNS - 1], [0.0; COLUMNS]);
        bf16.multiply(PairProduct {
            left: &left,
            starts: &[0],
            panel: &panel,
            terms,
            adds: false,
            out: &mut out,
            out_step: COLUMNS,
        });
    }
}
