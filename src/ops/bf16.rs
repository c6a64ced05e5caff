//! Products of numbers that are rounded to bfloat16 (eight bits of significand, to the nearest, ties to even), summed in f32,
//! by AVX512-BF16: an instruction multiplies and adds twice as many as one of f32 does.
//!
//! Two numbers that follow each other in a sum lie in one word, the first in its lower half. A sum is taken over its pairs in
//! order, so a result depends neither on the number of threads nor on the tiling.

use super::matmul::Level;

/// Columns of a panel: two vectors.
pub const COLUMNS: usize = 2 * LANES;
/// Sums in a vector.
const LANES: usize = 16;
/// The most rows of a tile: with thirty-two registers 28 hold sums.
#[cfg(target_arch = "x86_64")]
const TILE_ROWS: usize = 14;

/// Stands for a CPU that has the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Bf16(Proof);

#[cfg(target_arch = "x86_64")]
type Proof = ();
#[cfg(not(target_arch = "x86_64"))]
type Proof = std::convert::Infallible;

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

/// Matrices of `rows` x [`COLUMNS`], and how far each is from the one before it.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    pub numbers: &'a [f32],
    pub rows: usize,
    pub step: usize,
}

impl Bf16 {
    /// None where the CPU has not what it takes.
    #[cfg(target_arch = "x86_64")]
    pub fn of_this_cpu() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        has.then_some(Self(()))
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn of_this_cpu() -> Option<Self> {
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

    use super::{Blocks, COLUMNS, LANES, PairProduct, TILE_ROWS};
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
        tiles_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
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
                        accumulate(&mut sums, lefts.map(|left| *left.add(at)), panel.as_ptr().add(panel_at));
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

    /// Adds the products of a pair of each row to its sums.
    ///
    /// # Safety
    /// There are [`COLUMNS`] words at `panel`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn accumulate<const M: usize>(sums: &mut [[__m512; 2]; M], left: [u32; M], panel: *const u32) {
        // SAFETY: as this function's; a vector is any bits.
        let columns: [__m512bh; 2] = unsafe {
            [panel, panel.add(LANES)].map(|panel| transmute::<__m512i, __m512bh>(_mm512_loadu_si512(panel.cast())))
        };
        for (sums, left) in sums.iter_mut().zip(left) {
            // SAFETY: a vector is any bits.
            let left = unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(left as i32)) };
            sums[0] = _mm512_dpbf16_ps(sums[0], left, columns[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], left, columns[1]);
        }
    }

    fn check(blocks: Blocks, out: &[u32], matrix: usize, out_step: usize) -> usize {
        let Blocks { numbers, rows, step } = blocks;
        assert!(rows * COLUMNS <= step && matrix <= out_step, "matrices overlap");
        let count = (numbers.len() + step - rows * COLUMNS) / step;
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
                    let first = blocks.numbers.as_ptr().add(matrix * blocks.step + row * COLUMNS);
                    let out = out.as_mut_ptr().add(matrix * out_step + row / 2 * COLUMNS);
                    for at in [0, LANES] {
                        let upper = first.add(at);
                        let lower = if row + 1 < blocks.rows {
                            _mm512_loadu_ps(upper.add(COLUMNS))
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
                    let numbers = blocks.numbers.as_ptr().add(matrix * blocks.step + row * COLUMNS);
                    let pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(numbers.add(LANES)), _mm512_loadu_ps(numbers));
                    let out = out.as_mut_ptr().add(matrix * out_step + row * row_step);
                    _mm512_storeu_si512(out.cast(), transmute::<__m512bh, __m512i>(pairs));
                }
            }
        }
    }
}
