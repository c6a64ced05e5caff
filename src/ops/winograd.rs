//! 3 × 3 convolution with 36 multiplications where the definition has 81: F(2 × 2, 3 × 3) of Winograd's algorithms (Lavin
//! and Gray 2016, section 4.1).
//!
//! Tiles of 4 × 4 pixels that overlap by two are transformed by sums alone, multiplied place by place with the transformed
//! kernel, over all channels, which makes sixteen matrix products, and transformed back to 2 × 2 pixels of the output.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::product::{Initial, Level, Product, panel_columns};
use super::simd;

/// Places of a transformed tile.
const PLACES: usize = 16;

/// Tiles that share one reading of the kernel.
const TILES_AT_ONCE: usize = 64;

/// From padded pictures (H + 2, W + 2, depth) to (H, W, columns).
pub struct Winograd {
    tile_rows: usize,
    tile_columns: usize,
    depth: usize,
    columns: usize,
    panel_columns: usize,
    pictures_at_once: usize,
    /// Where the row of each tile begins in a matrix of transformed tiles.
    starts: Vec<usize>,
}

impl Winograd {
    /// None where it does not apply: sides must be even, and the channels must fill vectors.
    ///
    /// # Errors
    /// The SIMD path that the environment asks for is not to be had.
    pub fn new(height: usize, width: usize, depth: usize, columns: usize) -> candle_core::Result<Option<Self>> {
        let panel_columns = panel_columns()?;
        let even = height.is_multiple_of(2) && width.is_multiple_of(2);
        let applies = even && depth.is_multiple_of(panel_columns / 2) && columns.is_multiple_of(panel_columns);
        let tiles = height / 2 * (width / 2);
        let pictures_at_once = (TILES_AT_ONCE / tiles.max(1)).max(1);
        Ok(applies.then(|| Self {
            tile_rows: height / 2,
            tile_columns: width / 2,
            depth,
            columns,
            panel_columns,
            pictures_at_once,
            starts: (0..pictures_at_once * tiles).map(|tile| tile * depth).collect(),
        }))
    }

    /// Pictures that one call of [`Winograd::compute`] may have, and is quickest with.
    pub fn pictures_at_once(&self) -> usize {
        self.pictures_at_once
    }

    fn tiles(&self) -> usize {
        self.tile_rows * self.tile_columns
    }

    /// Where the first of the 2 x 2 pixels of a tile is, in pictures of so many elements a pixel, a row and a picture.
    #[inline(always)]
    fn corner(&self, tile: usize, [pixel_len, row_len, picture_len]: [usize; 3]) -> usize {
        let (picture, tile) = (tile / self.tiles(), tile % self.tiles());
        let (row, column) = (tile / self.tile_columns, tile % self.tile_columns);
        picture * picture_len + 2 * row * row_len + 2 * column * pixel_len
    }

    /// The transformed kernel `weight(column, tap, channel)`: panels of columns, each (places, depth, panel columns).
    pub fn pack_weight(&self, weight: impl Fn(usize, usize, usize) -> f32 + Sync) -> Vec<f32> {
        let width = self.panel_columns;
        let mut panels = vec![0.0; self.columns * PLACES * self.depth];
        panels.par_chunks_exact_mut(PLACES * self.depth * width).enumerate().for_each(|(number, panel)| {
            for channel in 0..self.depth {
                for column in 0..width {
                    let kernel: [f32; 9] = std::array::from_fn(|tap| weight(number * width + column, tap, channel));
                    for (place, value) in transformed_kernel(kernel).into_iter().enumerate() {
                        panel[(place * self.depth + channel) * width + column] = value;
                    }
                }
            }
        });
        panels
    }

    /// Convolves as many pictures as `y` (n, H, W, columns) holds, at most [`Winograd::pictures_at_once`]: `padded` pictures
    /// with the packed weight, plus `bias` (columns), if any.
    pub fn compute(
        &self,
        padded: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> candle_core::Result<()> {
        let (width, depth) = (self.panel_columns, self.depth);
        let tiles = y.len() / (4 * self.columns);
        let mut transformed = Buffer::stale(PLACES * tiles * depth);
        simd::dispatch(TransformInput { winograd: self, padded, transformed: &mut transformed })?;
        let mut products = Buffer::stale(PLACES * tiles * width);
        for (number, panel) in weight.chunks_exact(PLACES * depth * width).enumerate() {
            let places = transformed.chunks_exact(tiles * depth).zip(panel.chunks_exact(depth * width));
            for ((left, panel), out) in places.zip(products.chunks_exact_mut(tiles * width)) {
                Product {
                    left,
                    starts: &self.starts[..tiles],
                    panels: panel,
                    panel_len: depth * width,
                    terms: [
                        Level { count: 1, left_step: 0, panel_step: 0 },
                        Level { count: depth, left_step: 1, panel_step: width },
                    ],
                    initial: Initial::Zero,
                    out,
                    out_step: width,
                    columns: width,
                }
                .compute()?;
            }
            let first = number * width;
            let bias = bias.map(|bias| &bias[first..first + width]);
            simd::dispatch(TransformOutput { winograd: self, products: &products, bias, first, y })?;
        }
        Ok(())
    }
}

/// G g Gᵀ.
fn transformed_kernel(kernel: [f32; 9]) -> [f32; PLACES] {
    let of_three = |a: f32, b: f32, c: f32| [a, ((a + c) + b) * 0.5, ((a + c) - b) * 0.5, c];
    let at = |row: usize, column: usize| kernel[3 * row + column];
    let columns: [[f32; 4]; 3] = std::array::from_fn(|column| of_three(at(0, column), at(1, column), at(2, column)));
    let rows: [[f32; 4]; 4] = std::array::from_fn(|row| of_three(columns[0][row], columns[1][row], columns[2][row]));
    std::array::from_fn(|place| rows[place / 4][place % 4])
}

/// Bᵀ d B of every tile, into a matrix (tiles, depth) for each place.
struct TransformInput<'a> {
    winograd: &'a Winograd,
    padded: &'a [f32],
    transformed: &'a mut [f32],
}

impl WithSimd for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { winograd, padded, transformed } = self;
        let depth = winograd.depth;
        let row_len = (2 * winograd.tile_columns + 2) * depth;
        let picture_len = (2 * winograd.tile_rows + 2) * row_len;
        let matrix_len = transformed.len() / PLACES;
        for tile in 0..matrix_len / depth {
            let corner = winograd.corner(tile, [depth, row_len, picture_len]);
            for channel in (0..depth).step_by(S::F32_LANES) {
                let mut of_columns = [[simd.splat_f32s(0.0); 4]; 4];
                for (x, of_column) in of_columns.iter_mut().enumerate() {
                    *of_column = input_of_four(
                        simd,
                        core::array::from_fn(
                            #[inline(always)]
                            |y| vector::<S>(&padded[corner + y * row_len + x * depth + channel..]),
                        ),
                    );
                }
                for y in 0..4 {
                    let of_row = input_of_four(
                        simd,
                        of_columns.map(
                            #[inline(always)]
                            |column| column[y],
                        ),
                    );
                    for (x, value) in of_row.into_iter().enumerate() {
                        let place = (4 * y + x) * matrix_len + tile * depth + channel;
                        *vector_mut::<S>(&mut transformed[place..]) = value;
                    }
                }
            }
        }
    }
}

/// Aᵀ m A of every tile, and the bias, into the columns of `y` from `first` on.
struct TransformOutput<'a> {
    winograd: &'a Winograd,
    products: &'a [f32],
    bias: Option<&'a [f32]>,
    first: usize,
    y: &'a mut [f32],
}

impl WithSimd for TransformOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { winograd, products, bias, first, y } = self;
        let (width, columns) = (winograd.panel_columns, winograd.columns);
        let row_len = 2 * winograd.tile_columns * columns;
        let picture_len = 2 * winograd.tile_rows * row_len;
        let matrix_len = products.len() / PLACES;
        for lane in (0..width).step_by(S::F32_LANES) {
            let bias = bias.map_or(
                simd.splat_f32s(0.0),
                #[inline(always)]
                |bias| vector::<S>(&bias[lane..]),
            );
            for tile in 0..matrix_len / width {
                let corner = winograd.corner(tile, [columns, row_len, picture_len]) + first + lane;
                let mut of_columns = [[simd.splat_f32s(0.0); 2]; 4];
                for (place_x, of_column) in of_columns.iter_mut().enumerate() {
                    *of_column = output_of_four(
                        simd,
                        core::array::from_fn(
                            #[inline(always)]
                            |place_y| {
                                vector::<S>(&products[(4 * place_y + place_x) * matrix_len + tile * width + lane..])
                            },
                        ),
                    );
                }
                for pixel_y in 0..2 {
                    let of_row = output_of_four(
                        simd,
                        of_columns.map(
                            #[inline(always)]
                            |column| column[pixel_y],
                        ),
                    );
                    for (pixel_x, value) in of_row.into_iter().enumerate() {
                        let place = corner + pixel_y * row_len + pixel_x * columns;
                        *vector_mut::<S>(&mut y[place..]) = simd.add_f32s(value, bias);
                    }
                }
            }
        }
    }
}

/// Bᵀ d
#[inline(always)]
fn input_of_four<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(d[0], d[2]), simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[2], d[1]), simd.sub_f32s(d[1], d[3])]
}

/// Aᵀ m
#[inline(always)]
fn output_of_four<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    [simd.add_f32s(m[0], sum), simd.sub_f32s(difference, m[3])]
}

/// The first vector of a slice that holds one.
#[inline(always)]
fn vector<S: Simd>(values: &[f32]) -> S::f32s {
    S::as_simd_f32s(&values[..S::F32_LANES]).0[0]
}

#[inline(always)]
fn vector_mut<S: Simd>(values: &mut [f32]) -> &mut S::f32s {
    &mut S::as_mut_simd_f32s(&mut values[..S::F32_LANES]).0[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::conv::conv2d;
    use crate::ops::convolution::Geometry;
    use crate::ops::reference::{for_products, real, relative_error, tensor, with_gradients};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Of sizes that it applies to, on every path: pictures that fill a call and that do not.
        #[test]
        fn is_the_definition(pictures in 1..19usize, tile_rows in 1..6usize, tile_columns in 1..6usize, wide in 0..2usize) {
            let (height, width) = (2 * tile_rows, 2 * tile_columns);
            let (channels, outputs) = ([32, 64][wide], [64, 32][wide]);
            prop_assert!(Winograd::new(height, width, channels, outputs).unwrap().is_some());
            let g = Geometry { height, width, channels, outputs, kernel: 3, stride: 1, padding: 1 };
            let (x, weight, bias) = (real(1, pictures * g.picture()), real(2, outputs * g.taps()), real(3, outputs));
            let dy = real(4, pictures * g.out_picture());
            let mut y: Vec<f64> = (0..dy.len()).map(|place| bias[place % outputs].into()).collect();
            let mut dx = vec![0.0; x.len()];
            for_products(pictures, &g, |y_place, x_place, w_place| {
                let w = f64::from(weight[w_place]);
                y[y_place] += f64::from(x[x_place]) * w;
                dx[x_place] += f64::from(dy[y_place]) * w;
            });
            let arguments = [
                tensor(x, &[pictures, height, width, channels]),
                tensor(weight, &[outputs, channels, 3, 3]),
                tensor(bias, &[outputs]),
            ];
            let dy = tensor(dy, &[pictures, height, width, outputs]);
            let f = |arguments: &[candle_core::Tensor]| conv2d(&arguments[0], &arguments[1], &arguments[2], 1, 1);
            let (ours, gradients) = with_gradients(&arguments, &dy, f).unwrap();
            for (ours, expected) in [(&ours, &y), (&gradients[0], &dx)] {
                let error = relative_error(ours, expected).unwrap();
                prop_assert!(error <= 1e-5, "{error:.1e}");
            }
        }
    }

    #[test]
    fn odd_sides_and_channels_that_fill_no_vector_are_left_to_others() {
        for (height, width, depth, columns) in [(3, 4, 32, 64), (4, 3, 32, 64), (4, 4, 3, 64), (4, 4, 32, 20)] {
            assert!(Winograd::new(height, width, depth, columns).expect("a path").is_none());
        }
    }
}
