//! The transforms of F(4 × 4, 3 × 3), on tiles whose positions are vectors of channels.
//!
//! A product of polynomials is evaluated at 0, ±a, ±b and infinity (Toom–Cook): with m(x) = x (x² - a²) (x² - b²), the row
//! of point p of Bᵀ holds the coefficients of m(x) / (x - p), that of G is (1, p, p²) / Π (p - q) over the other finite
//! points q, and the column of Aᵀ is (1, p, p², p³); infinity takes m(x), (0, 0, 1) and (0, 0, 0, 1).

use pulp::{Simd, WithSimd};

use crate::simd::multiply_add;

/// Positions of a side of a transformed tile.
pub const SIDE: usize = 6;
/// Positions of a transformed tile.
pub const POSITIONS: usize = SIDE * SIDE;
/// Pixels of a side of a tile of the output.
pub const STEP: usize = 4;

/// Elements between the matrices of consecutive positions, a cache line of the widest vectors: sizes are powers of two, and
/// without it all positions of a tile would compete for the same few lines of the first-level cache.
const POSITION_GAP: usize = 16;

/// Elements of a position's matrix of `tiles` and `channels`, and of the gap behind it.
pub fn position_len(tiles: usize, channels: usize) -> usize {
    tiles * channels + POSITION_GAP
}

/// With the usual points, 1 and 2, the rounding error is twice as great. All that follows from these is exact but the
/// reciprocals.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// One over the product of differences, for 0, ±a and ±b.
const AT_0: f32 = 1.0 / (A2 * B2);
const AT_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const AT_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// How the tiles of images lie in memory: the distance of pixels, rows and images.
#[derive(Clone, Copy)]
pub struct Tiling {
    pub tile_rows: usize,
    pub tile_columns: usize,
    /// Of an image, without its border: the last tiles may reach beyond it.
    pub height: usize,
    pub width: usize,
    pub pixel: usize,
    pub row: usize,
    pub image: usize,
}

impl Tiling {
    /// Where the first pixel of a tile is, and how many rows and columns of its output are in the image.
    #[inline(always)]
    fn place(&self, tile: usize) -> Place {
        let tiles = self.tile_rows * self.tile_columns;
        let (image, tile) = (tile / tiles, tile % tiles);
        let (row, column) = (tile / self.tile_columns, tile % self.tile_columns);
        Place {
            corner: image * self.image + STEP * (row * self.row + column * self.pixel),
            rows: STEP.min(self.height - STEP * row),
            columns: STEP.min(self.width - STEP * column),
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    corner: usize,
    rows: usize,
    columns: usize,
}

impl Place {
    #[inline(always)]
    fn is_whole(self) -> bool {
        self.rows == STEP && self.columns == STEP
    }
}

/// How a position's matrix of tiles and channels lies in memory: the distance of positions, of panels of channels, and of tiles;
/// the channels of a panel are consecutive.
#[derive(Clone, Copy)]
pub struct Matrices {
    /// The tile of the first row.
    pub first_tile: usize,
    pub tiles: usize,
    pub position: usize,
    pub panel: usize,
    pub tile: usize,
    pub panel_channels: usize,
    pub panels: usize,
}

impl Matrices {
    /// Calls `f` for each vector of channels: with the place of its tile, its channel, and where it is in the first matrix.
    #[inline(always)]
    fn for_vectors<S: Simd>(&self, tiling: &Tiling, mut f: impl FnMut(Place, usize, usize)) {
        for tile in 0..self.tiles {
            let place = tiling.place(self.first_tile + tile);
            for panel in 0..self.panels {
                for channel in (0..self.panel_channels).step_by(S::F32_LANES) {
                    f(place, panel * self.panel_channels + channel, tile * self.tile + panel * self.panel + channel);
                }
            }
        }
    }
}

/// Bᵀ d B of the 6 × 6 pixels of each tile of padded images.
pub struct TransformInput<'a> {
    pub padded: &'a [f32],
    pub tiling: Tiling,
    pub transformed: &'a mut [f32],
    pub matrices: Matrices,
}

impl WithSimd for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { padded, tiling, transformed, matrices } = self;
        matrices.for_vectors::<S>(
            &tiling,
            #[inline(always)]
            |place, channel, at| {
                let corner = place.corner + channel;
                let positions = both_ways::<_, OfInput, _, _>(
                    simd,
                    #[inline(always)]
                    |y, x| load::<S>(padded, corner + y * tiling.row + x * tiling.pixel),
                );
                store_positions(&positions, transformed, at, matrices.position);
            },
        );
    }
}

/// A dy Aᵀ of the 4 × 4 pixels of each tile of a gradient of the output.
pub struct TransformGradient<'a> {
    pub gradient: &'a [f32],
    pub tiling: Tiling,
    pub transformed: &'a mut [f32],
    pub matrices: Matrices,
}

impl WithSimd for TransformGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gradient, tiling, transformed, matrices } = self;
        matrices.for_vectors::<S>(
            &tiling,
            #[inline(always)]
            |place, channel, at| {
                let corner = place.corner + channel;
                let positions = if place.is_whole() {
                    both_ways::<_, OfOutputGradient, _, _>(
                        simd,
                        #[inline(always)]
                        |y, x| load::<S>(gradient, corner + y * tiling.row + x * tiling.pixel),
                    )
                } else {
                    both_ways::<_, OfOutputGradient, _, _>(
                        simd,
                        #[inline(always)]
                        |y, x| {
                            if y < place.rows && x < place.columns {
                                load::<S>(gradient, corner + y * tiling.row + x * tiling.pixel)
                            } else {
                                simd.splat_f32s(0.0)
                            }
                        },
                    )
                };
                store_positions(&positions, transformed, at, matrices.position);
            },
        );
    }
}

/// Aᵀ m A of each tile, plus a bias: the output, from the channel `first` on.
pub struct Output<'a> {
    pub products: &'a [f32],
    pub matrices: Matrices,
    /// The number of channels of the products.
    pub bias: &'a [f32],
    pub first: usize,
    pub y: &'a mut [f32],
    pub tiling: Tiling,
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { products, matrices, bias, first, y, tiling } = self;
        matrices.for_vectors::<S>(
            &tiling,
            #[inline(always)]
            |place, channel, at| {
                let bias = load::<S>(bias, channel);
                let corner = place.corner + first + channel;
                let pixels = both_ways::<_, OfOutput, _, _>(
                    simd,
                    #[inline(always)]
                    |y, x| load::<S>(products, at + (SIDE * y + x) * matrices.position),
                );
                if place.is_whole() {
                    for (row, pixels) in pixels.into_iter().enumerate() {
                        for (column, pixel) in pixels.into_iter().enumerate() {
                            let position = corner + row * tiling.row + column * tiling.pixel;
                            *vector_mut::<S>(y, position) = simd.add_f32s(pixel, bias);
                        }
                    }
                } else {
                    for (row, pixels) in pixels.into_iter().enumerate().take(place.rows) {
                        for (column, pixel) in pixels.into_iter().enumerate().take(place.columns) {
                            let position = corner + row * tiling.row + column * tiling.pixel;
                            *vector_mut::<S>(y, position) = simd.add_f32s(pixel, bias);
                        }
                    }
                }
            },
        );
    }
}

/// Adds B m Bᵀ of each tile, from the channel `first` on, to the 6 × 6 pixels of the gradient of padded images.
pub struct AddInputGradient<'a> {
    pub products: &'a [f32],
    pub matrices: Matrices,
    pub first: usize,
    pub padded: &'a mut [f32],
    pub tiling: Tiling,
}

impl WithSimd for AddInputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { products, matrices, first, padded, tiling } = self;
        matrices.for_vectors::<S>(
            &tiling,
            #[inline(always)]
            |place, channel, at| {
                let corner = place.corner + first + channel;
                let pixels = both_ways::<_, OfInputGradient, _, _>(
                    simd,
                    #[inline(always)]
                    |y, x| load::<S>(products, at + (SIDE * y + x) * matrices.position),
                );
                for (row, pixels) in pixels.into_iter().enumerate() {
                    for (column, pixel) in pixels.into_iter().enumerate() {
                        let sum = vector_mut::<S>(padded, corner + row * tiling.row + column * tiling.pixel);
                        *sum = simd.add_f32s(*sum, pixel);
                    }
                }
            },
        );
    }
}

/// G g Gᵀ of kernels of nine taps. Kernel (column, depth) is read at `column * column_step + depth * depth_step`, and its
/// position p written to `(p * depths + depth) * columns + column`.
pub struct TransformKernel<'a> {
    pub kernels: &'a [f32],
    pub column_step: usize,
    pub depth_step: usize,
    pub columns: usize,
    pub depths: usize,
    pub panel: &'a mut [f32],
}

impl WithSimd for TransformKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kernels, column_step, depth_step, columns, depths, panel } = self;
        let mut taps = [simd.splat_f32s(0.0); 9];
        for depth in 0..depths {
            for column in (0..columns).step_by(S::F32_LANES) {
                let first = column * column_step + depth * depth_step;
                for (tap, vector) in taps.iter_mut().enumerate() {
                    let lanes = pulp::bytemuck::cast_slice_mut::<_, f32>(std::slice::from_mut(vector));
                    for (lane, value) in lanes.iter_mut().enumerate() {
                        *value = kernels[first + lane * column_step + tap];
                    }
                }
                let positions = both_ways::<_, OfKernel, _, _>(
                    simd,
                    #[inline(always)]
                    |y, x| taps[3 * y + x],
                );
                store_positions(&positions, panel, depth * columns + column, depths * columns);
            }
        }
    }
}

/// Gᵀ m G of a gradient in positions, each `position_step` from the one before it: the nine taps of every channel in turn.
pub struct KernelGradient<'a> {
    pub positions: &'a [f32],
    pub position_step: usize,
    pub gradient: &'a mut [f32],
}

impl WithSimd for KernelGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { positions, position_step, gradient } = self;
        for (number, gradient) in gradient.chunks_exact_mut(9 * S::F32_LANES).enumerate() {
            let taps = both_ways::<_, OfKernelGradient, _, _>(
                simd,
                #[inline(always)]
                |y, x| load::<S>(positions, (SIDE * y + x) * position_step + number * S::F32_LANES),
            );
            for (tap, vector) in taps.as_flattened().iter().enumerate() {
                let lanes = pulp::bytemuck::cast_slice::<_, f32>(std::slice::from_ref(vector));
                for (gradient, &lane) in gradient.chunks_exact_mut(9).zip(lanes) {
                    gradient[tap] = lane;
                }
            }
        }
    }
}

/// A matrix times a vector. A trait, since a function that is passed as a value would not be compiled for the path's
/// instructions.
trait Transform<const I: usize, const O: usize> {
    fn apply<S: Simd>(simd: S, vector: [S::f32s; I]) -> [S::f32s; O];
}

/// Arrays that are written out: elements of a loop would be zeroed in memory first.
struct Elements;

trait Build<const N: usize> {
    fn build<T>(f: impl Fn(usize) -> T) -> [T; N];
}

impl Build<3> for Elements {
    #[inline(always)]
    fn build<T>(f: impl Fn(usize) -> T) -> [T; 3] {
        [f(0), f(1), f(2)]
    }
}

impl Build<4> for Elements {
    #[inline(always)]
    fn build<T>(f: impl Fn(usize) -> T) -> [T; 4] {
        [f(0), f(1), f(2), f(3)]
    }
}

impl Build<6> for Elements {
    #[inline(always)]
    fn build<T>(f: impl Fn(usize) -> T) -> [T; 6] {
        [f(0), f(1), f(2), f(3), f(4), f(5)]
    }
}

/// A transform of the columns of a tile, and then of the rows of what that gives.
#[inline(always)]
fn both_ways<S: Simd, T: Transform<I, O>, const I: usize, const O: usize>(
    simd: S,
    at: impl Fn(usize, usize) -> S::f32s,
) -> [[S::f32s; O]; O]
where
    Elements: Build<I> + Build<O>,
{
    let of_columns = <Elements as Build<I>>::build(
        #[inline(always)]
        |x| {
            T::apply(
                simd,
                Elements::build(
                    #[inline(always)]
                    |y| at(y, x),
                ),
            )
        },
    );
    <Elements as Build<O>>::build(
        #[inline(always)]
        |y| {
            T::apply(
                simd,
                <Elements as Build<I>>::build(
                    #[inline(always)]
                    |x| of_columns[x][y],
                ),
            )
        },
    )
}

/// Bᵀ
struct OfInput;

impl Transform<6, 6> for OfInput {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: [S::f32s; 6]) -> [S::f32s; 6] {
        let (even_a, odd_a) = (plus_scaled(simd, -B2, d[2], d[4]), plus_scaled(simd, -B2, d[1], d[3]));
        let (even_b, odd_b) = (plus_scaled(simd, -A2, d[2], d[4]), plus_scaled(simd, -A2, d[1], d[3]));
        [
            plus_scaled(simd, A2 * B2, d[0], plus_scaled(simd, -(A2 + B2), d[2], d[4])),
            plus_scaled(simd, A, odd_a, even_a),
            plus_scaled(simd, -A, odd_a, even_a),
            plus_scaled(simd, B, odd_b, even_b),
            plus_scaled(simd, -B, odd_b, even_b),
            plus_scaled(simd, A2 * B2, d[1], plus_scaled(simd, -(A2 + B2), d[3], d[5])),
        ]
    }
}

/// B
struct OfInputGradient;

impl Transform<6, 6> for OfInputGradient {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 6] {
        let (sum_a, difference_a) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
        let (sum_b, difference_b) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
        [
            times(simd, A2 * B2, m[0]),
            plus_scaled(
                simd,
                -A * B2,
                difference_a,
                plus_scaled(simd, -B * A2, difference_b, times(simd, A2 * B2, m[5])),
            ),
            plus_scaled(simd, -(A2 + B2), m[0], plus_scaled(simd, -B2, sum_a, times(simd, -A2, sum_b))),
            plus_scaled(simd, A, difference_a, plus_scaled(simd, B, difference_b, times(simd, -(A2 + B2), m[5]))),
            simd.add_f32s(m[0], simd.add_f32s(sum_a, sum_b)),
            m[5],
        ]
    }
}

/// Aᵀ
struct OfOutput;

impl Transform<6, 4> for OfOutput {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 4] {
        let (sum_a, difference_a) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
        let (sum_b, difference_b) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
        [
            simd.add_f32s(m[0], simd.add_f32s(sum_a, sum_b)),
            plus_scaled(simd, A, difference_a, times(simd, B, difference_b)),
            plus_scaled(simd, A2, sum_a, times(simd, B2, sum_b)),
            plus_scaled(simd, A * A2, difference_a, plus_scaled(simd, B * B2, difference_b, m[5])),
        ]
    }
}

/// A
struct OfOutputGradient;

impl Transform<4, 6> for OfOutputGradient {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, y: [S::f32s; 4]) -> [S::f32s; 6] {
        let (even_a, odd_a) =
            (plus_scaled(simd, A2, y[2], y[0]), plus_scaled(simd, A * A2, y[3], times(simd, A, y[1])));
        let (even_b, odd_b) =
            (plus_scaled(simd, B2, y[2], y[0]), plus_scaled(simd, B * B2, y[3], times(simd, B, y[1])));
        [
            y[0],
            simd.add_f32s(even_a, odd_a),
            simd.sub_f32s(even_a, odd_a),
            simd.add_f32s(even_b, odd_b),
            simd.sub_f32s(even_b, odd_b),
            y[3],
        ]
    }
}

/// G
struct OfKernel;

impl Transform<3, 6> for OfKernel {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, g: [S::f32s; 3]) -> [S::f32s; 6] {
        let (even_a, odd_a) =
            (plus_scaled(simd, A2 * AT_A, g[2], times(simd, AT_A, g[0])), times(simd, A * AT_A, g[1]));
        let (even_b, odd_b) =
            (plus_scaled(simd, B2 * AT_B, g[2], times(simd, AT_B, g[0])), times(simd, B * AT_B, g[1]));
        [
            times(simd, AT_0, g[0]),
            simd.add_f32s(even_a, odd_a),
            simd.sub_f32s(even_a, odd_a),
            simd.add_f32s(even_b, odd_b),
            simd.sub_f32s(even_b, odd_b),
            g[2],
        ]
    }
}

/// Gᵀ
struct OfKernelGradient;

impl Transform<6, 3> for OfKernelGradient {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 3] {
        let (sum_a, difference_a) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
        let (sum_b, difference_b) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
        [
            plus_scaled(simd, AT_0, m[0], plus_scaled(simd, AT_A, sum_a, times(simd, AT_B, sum_b))),
            plus_scaled(simd, A * AT_A, difference_a, times(simd, B * AT_B, difference_b)),
            plus_scaled(simd, A2 * AT_A, sum_a, plus_scaled(simd, B2 * AT_B, sum_b, m[5])),
        ]
    }
}

#[inline(always)]
fn times<S: Simd>(simd: S, factor: f32, value: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(factor), value)
}

#[inline(always)]
fn plus_scaled<S: Simd>(simd: S, factor: f32, value: S::f32s, sum: S::f32s) -> S::f32s {
    multiply_add(simd, simd.splat_f32s(factor), value, sum)
}

#[inline(always)]
fn load<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&values[at..at + S::F32_LANES]).0[0]
}

#[inline(always)]
fn vector_mut<S: Simd>(values: &mut [f32], at: usize) -> &mut S::f32s {
    &mut S::as_mut_simd_f32s(&mut values[at..at + S::F32_LANES]).0[0]
}

/// Writes the positions of a tile, each `step` from the one before it.
#[inline(always)]
fn store_positions<V: Copy + pulp::bytemuck::Pod>(
    positions: &[[V; SIDE]; SIDE],
    out: &mut [f32],
    at: usize,
    step: usize,
) {
    for (position, value) in positions.as_flattened().iter().enumerate() {
        let lanes = pulp::bytemuck::cast_slice::<V, f32>(std::slice::from_ref(value));
        out[at + position * step..][..lanes.len()].copy_from_slice(lanes);
    }
}
