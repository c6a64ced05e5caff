//! Matrix products whose left operand may lie anywhere in memory: every multiplication of the network is one.
//!
//! A row of the left operand is read through an offset of its own (the indirect convolution of Dukhan 2019), so that
//! a convolution needs no unfolded copy of its input, whatever its kernel, stride and padding. The right operand is packed
//! into panels, as wide as a tile of sums that stays in registers (Goto and van de Geijn 2008).
//!
//! A sum is taken over its terms in order, so a result depends neither on the number of threads nor on the tiling. It does
//! depend on whether the path of [`crate::simd`] has a fused multiply-add.

use pulp::{Simd, WithSimd};

use crate::simd;

/// Vectors in a row of a tile.
const TILE_VECTORS: usize = 2;
/// The most rows of a tile: with sixteen registers twelve hold sums, three the operands.
const TILE_ROWS: usize = 6;
/// The most rows of a tile with thirty-two registers. More would fit, but not the pointers to them in the sixteen others: with
/// eleven or fourteen rows it was a tenth to a fifth slower, with six or ten as quick or little less.
const TILE_ROWS_OF_32_REGISTERS: usize = 8;

/// How the chosen path computes a panel.
#[derive(Clone, Copy)]
struct TileShape {
    /// The columns of a panel, in f32.
    columns: usize,
    /// The most rows of a tile.
    rows: usize,
}

struct TileShapeOfPath;

impl WithSimd for TileShapeOfPath {
    type Output = TileShape;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> TileShape {
        let rows = if S::REGISTER_COUNT >= 32 { TILE_ROWS_OF_32_REGISTERS } else { TILE_ROWS };
        TileShape { columns: TILE_VECTORS * S::F32_LANES, rows }
    }
}

fn tile_shape() -> candle_core::Result<TileShape> {
    simd::dispatch(TileShapeOfPath)
}

/// The columns of a panel on the chosen path, in f32.
pub fn panel_columns() -> candle_core::Result<usize> {
    Ok(tile_shape()?.columns)
}

/// One level of the loops over the terms of a sum: how many there are, and how far each lies from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub count: usize,
    pub left_step: usize,
    pub panel_step: usize,
}

/// The loops of a sum whose terms all lie equally far from each other.
pub fn one_level(count: usize, left_step: usize, panel_step: usize) -> [Level; 2] {
    [Level { count: 1, left_step: 0, panel_step: 0 }, Level { count, left_step, panel_step }]
}

/// Copies the rows of a matrix, each of `row_len`, to the columns of a panel, which has `width`.
pub fn pack_rows(matrix: &[f32], row_len: usize, width: usize, panel: &mut [f32]) {
    for (column, row) in matrix.chunks_exact(row_len).enumerate() {
        for (packed, &number) in panel.chunks_exact_mut(width).zip(row) {
            packed[column] = number;
        }
    }
}

/// What the sums begin with.
#[derive(Clone, Copy, Debug)]
pub enum Initial<'a> {
    Zero,
    /// One number a column.
    Columns(&'a [f32]),
    /// What `out` holds.
    Out,
}

/// `out[m][n] = initial + Σ left[starts[m] + left_offset] * panels[panel_offset + n]` over all terms, for panels that hold
/// the columns in turn.
pub struct Product<'a> {
    pub left: &'a [f32],
    /// Where the first term of each row is.
    pub starts: &'a [usize],
    /// From the first term of the first panel on.
    pub panels: &'a [f32],
    /// How far each panel lies from the one before it.
    pub panel_len: usize,
    /// The loops over the terms, the outer first.
    pub terms: [Level; 2],
    pub initial: Initial<'a>,
    /// Row `m` begins at `m * out_step`.
    pub out: &'a mut [f32],
    pub out_step: usize,
    /// Columns that are wanted; the last panel may be wider.
    pub columns: usize,
}

impl Product<'_> {
    /// # Errors
    /// The SIMD path that the environment asks for is not available on this CPU.
    ///
    /// # Panics
    /// A term, or an element of `out`, lies outside of its slice.
    pub fn compute(self) -> candle_core::Result<()> {
        let TileShape { columns, rows } = tile_shape()?;
        self.for_panels(columns, |panel| panel.compute(rows))
    }

    /// Calls `f` with the part of each panel of `width` columns.
    fn for_panels<E>(self, width: usize, mut f: impl FnMut(PanelProduct) -> Result<(), E>) -> Result<(), E> {
        let Self { left, starts, panels, panel_len, terms, initial, out, out_step, columns } = self;
        for (number, first) in (0..columns).step_by(width).enumerate() {
            let columns = width.min(columns - first);
            f(PanelProduct {
                left,
                starts,
                panel: &panels[number * panel_len..],
                terms,
                initial: match initial {
                    Initial::Columns(values) => Initial::Columns(&values[first..first + columns]),
                    Initial::Zero | Initial::Out => initial,
                },
                out: &mut out[first..],
                out_step,
                columns,
            })?;
        }
        Ok(())
    }
}

/// A [`Product`] of one panel.
struct PanelProduct<'a> {
    left: &'a [f32],
    starts: &'a [usize],
    panel: &'a [f32],
    terms: [Level; 2],
    initial: Initial<'a>,
    out: &'a mut [f32],
    out_step: usize,
    columns: usize,
}

impl PanelProduct<'_> {
    /// In as few tiles of at most `most_rows` as there can be, of the same height: a last one of few rows would take as long as
    /// any.
    fn compute(self, most_rows: usize) -> candle_core::Result<()> {
        match self.starts.len().div_ceil(self.starts.len().div_ceil(most_rows).max(1)) {
            1 => simd::dispatch(Tiles::<1>(self)),
            2 => simd::dispatch(Tiles::<2>(self)),
            3 => simd::dispatch(Tiles::<3>(self)),
            4 => simd::dispatch(Tiles::<4>(self)),
            5 => simd::dispatch(Tiles::<5>(self)),
            6 => simd::dispatch(Tiles::<6>(self)),
            7 => simd::dispatch(Tiles::<7>(self)),
            8 => simd::dispatch(Tiles::<8>(self)),
            _ => Ok(()),
        }
    }
}

/// The product of a panel in tiles of `M` rows: a kernel of its own, of each height and without the loop over panels. In one
/// function with others its registers are divided otherwise, and a step was a twentieth slower.
struct Tiles<'a, const M: usize>(PanelProduct<'a>);

impl<const M: usize> WithSimd for Tiles<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        tiles::<S, M>(simd, self.0);
    }
}

#[inline(always)]
fn tiles<S: Simd, const M: usize>(simd: S, product: PanelProduct) {
    let PanelProduct { left, starts, panel, terms, initial, out, out_step, columns } = product;
    let width = TILE_VECTORS * S::F32_LANES;
    assert!(columns <= width, "{columns} columns of a panel of {width}");
    let mut row = 0;
    while row < starts.len() {
        // The last tile repeats its last row instead of being a case of its own: what is stored twice is the same.
        let tile_row: [usize; M] = core::array::from_fn(
            #[inline(always)]
            |m| (row + m).min(starts.len() - 1),
        );
        let tile_starts = tile_row.map(
            #[inline(always)]
            |row| starts[row],
        );
        let sums = match initial {
            Initial::Zero => [[simd.splat_f32s(0.0); TILE_VECTORS]; M],
            Initial::Columns(values) => [load::<S>(simd, &values[..columns]); M],
            Initial::Out => tile_row.map(
                #[inline(always)]
                |row| load::<S>(simd, &out[row * out_step..][..columns]),
            ),
        };
        let sums = accumulate(simd, sums, left, tile_starts, panel, terms);
        for m in 0..M {
            store::<S>(simd, &mut out[tile_row[m] * out_step..][..columns], sums[m]);
        }
        row += M;
    }
}

/// The columns of a row of a tile, zeros beyond them.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> [S::f32s; TILE_VECTORS] {
    if let (&[first, second], []) = S::as_simd_f32s(values) {
        return [first, second];
    }
    let (first, second) = values.split_at(values.len().min(S::F32_LANES));
    [simd.partial_load_f32s(first), simd.partial_load_f32s(second)]
}

#[inline(always)]
fn store<S: Simd>(simd: S, out: &mut [f32], sums: [S::f32s; TILE_VECTORS]) {
    if let ([first, second], []) = S::as_mut_simd_f32s(out) {
        (*first, *second) = (sums[0], sums[1]);
        return;
    }
    let (first, second) = out.split_at_mut(out.len().min(S::F32_LANES));
    simd.partial_store_f32s(first, sums[0]);
    simd.partial_store_f32s(second, sums[1]);
}

#[inline(always)]
fn accumulate<S: Simd, const M: usize>(
    simd: S,
    mut sums: [[S::f32s; TILE_VECTORS]; M],
    left: &[f32],
    starts: [usize; M],
    panel: &[f32],
    [outer, inner]: [Level; 2],
) -> [[S::f32s; TILE_VECTORS]; M] {
    if outer.count == 0 || inner.count == 0 {
        return sums;
    }
    let last = |step: fn(Level) -> usize| (outer.count - 1) * step(outer) + (inner.count - 1) * step(inner);
    let last_start = starts.iter().fold(0, |last: usize, &start| last.max(start));
    assert!(last_start + last(|level| level.left_step) < left.len(), "a term lies outside of the left operand");
    let panel_end = last(|level| level.panel_step) + TILE_VECTORS * S::F32_LANES;
    assert!(panel_end <= panel.len(), "a term lies outside of the panel");
    let rows = starts.map(|start| left[start..].as_ptr());
    for i in 0..outer.count {
        let (mut left_offset, mut panel_offset) = (i * outer.left_step, i * outer.panel_step);
        for _ in 0..inner.count {
            // Where debug assertions are on, as in the tests, every read is checked.
            debug_assert!(starts.iter().all(|start| start + left_offset < left.len()));
            debug_assert!(panel_offset + TILE_VECTORS * S::F32_LANES <= panel.len());
            // SAFETY: no offset exceeds that of the last term, for which both assertions have just been made. Checked
            // indices would cost two comparisons for each multiplication of a row.
            unsafe {
                let vectors: [S::f32s; TILE_VECTORS] = core::array::from_fn(|v| {
                    panel.as_ptr().add(panel_offset + v * S::F32_LANES).cast::<S::f32s>().read_unaligned()
                });
                for m in 0..M {
                    let left = simd.splat_f32s(*rows[m].add(left_offset));
                    for v in 0..TILE_VECTORS {
                        sums[m][v] = simd::multiply_add(simd, left, vectors[v], sums[m][v]);
                    }
                }
            }
            left_offset += inner.left_step;
            panel_offset += inner.panel_step;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::ops::reference::{Sum, real};
    use crate::simd::{SimdPath, run_on};

    /// A product with random steps: of rows that overlap, of columns that fill no panel, or several.
    #[derive(Clone, Debug)]
    struct Case {
        rows: usize,
        row_step: usize,
        columns: usize,
        counts: [usize; 2],
        left_steps: [usize; 2],
        initial: usize,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let sizes = (1..30usize, 0..9usize, 1..=80usize, 0..3usize);
        (sizes, [0..5usize, 0..40], [0..50usize, 0..5]).prop_map(
            |((rows, row_step, columns, initial), counts, left_steps)| Case {
                rows,
                row_step,
                columns,
                counts,
                left_steps,
                initial,
            },
        )
    }

    /// Compares a product with the definition in f64, within the bound of any order of summation.
    fn check(case: &Case, width: usize, compute: impl Fn(PanelProduct)) {
        let columns = case.columns;
        let [outer, inner] = case.counts;
        let reach = case.left_steps[0] * outer + case.left_steps[1] * inner;
        let left = real(1, case.rows * case.row_step + reach + 1);
        let panel_len = outer * inner * width;
        let panels = real(2, columns.div_ceil(width) * panel_len);
        let starts: Vec<usize> = (0..case.rows).map(|row| row * case.row_step).collect();
        let out_step = columns + 3;
        let before = real(3, case.rows * out_step);
        let of_columns = real(4, columns);
        let mut out = before.clone();
        let product = Product {
            left: &left,
            starts: &starts,
            panels: &panels,
            panel_len,
            terms: [
                Level { count: outer, left_step: case.left_steps[0], panel_step: inner * width },
                Level { count: inner, left_step: case.left_steps[1], panel_step: width },
            ],
            initial: [Initial::Zero, Initial::Columns(&of_columns), Initial::Out][case.initial],
            out: &mut out,
            out_step,
            columns,
        };
        let Ok(()) = product.for_panels(width, |panel| {
            compute(panel);
            Ok::<(), Infallible>(())
        });
        for (row, &start) in starts.iter().enumerate() {
            for column in 0..out_step {
                let position = row * out_step + column;
                if column >= columns {
                    assert_eq!(out[position], before[position], "beyond the columns");
                    continue;
                }
                let initial = [0.0, of_columns[column], before[position]][case.initial];
                let mut sum = Sum::of(initial);
                for i in 0..outer {
                    for j in 0..inner {
                        let left = left[start + i * case.left_steps[0] + j * case.left_steps[1]];
                        let right = panels[column / width * panel_len + (i * inner + j) * width + column % width];
                        sum.add_product(left, right);
                    }
                }
                let (bound, error) = (sum.bound(), (f64::from(out[position]) - sum.value).abs());
                assert!(
                    error <= bound,
                    "row {row}, column {column}: {} is not {} within {bound:.1e}",
                    out[position],
                    sum.value
                );
            }
        }
    }

    proptest! {
        #![proptest_config(crate::testing::property(256))]
        #[test]
        fn every_path_computes_the_definition(case in cases()) {
            for path in SimdPath::ALL.into_iter().filter(|path| path.is_available()) {
                let TileShape { columns, .. } = run_on(path, TileShapeOfPath);
                check(&case, columns, |product| run_on(path, Tiles::<TILE_ROWS>(product)));
                check(&case, columns, |product| run_on(path, Tiles::<1>(product)));
            }
            // The tiles of wide vectors, and of many rows, in plain numbers: for paths that this machine does not have.
            check(&case, 32, |product| pulp::Scalar512b.vectorize(Tiles::<TILE_ROWS_OF_32_REGISTERS>(product)));
        }

        #[test]
        fn the_chosen_path_computes_the_definition(case in cases()) {
            let TileShape { columns, rows } = tile_shape().expect("a path");
            check(&case, columns, |product| product.compute(rows).expect("a path"));
        }
    }

    #[test]
    #[should_panic(expected = "a term lies outside of the left operand")]
    fn a_term_outside_is_refused() {
        let width = panel_columns().expect("a path");
        let product = Product {
            left: &[1.0; 10],
            starts: &[0, 5],
            panels: &vec![1.0; 6 * width],
            panel_len: 6 * width,
            terms: [
                Level { count: 1, left_step: 0, panel_step: 0 },
                Level { count: 6, left_step: 1, panel_step: width },
            ],
            initial: Initial::Zero,
            out: &mut [0.0; 2],
            out_step: 1,
            columns: 1,
        };
        product.compute().expect("a path");
    }
}
