//! A non-local block and its gradients, for one image.

use candle_core::Result;

use crate::ops::matmul::{Initial, Product, one_level, panel_columns};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::simd;

#[derive(Clone, Copy)]
pub struct Size {
    /// Positions of an image.
    pub positions: usize,
    /// Of what they are compared by.
    pub channels: usize,
}

impl Size {
    pub fn image(self) -> usize {
        self.positions * self.channels
    }

    pub fn map(self) -> usize {
        self.positions * self.positions
    }

    /// θ, φ and g of `x` (positions, 3 channels).
    fn compared(self, x: &[f32]) -> [Matrix<'_>; 3] {
        [0, 1, 2].map(|number| Matrix { values: &x[number * self.channels..], row: 3 * self.channels, column: 1 })
    }

    /// (positions, channels)
    fn of_positions(self, values: &[f32]) -> Matrix<'_> {
        Matrix { values, row: self.channels, column: 1 }
    }

    /// (positions, positions)
    fn of_pairs(self, values: &[f32]) -> Matrix<'_> {
        Matrix { values, row: self.positions, column: 1 }
    }
}

/// `pairs` = softmax(θ φᵀ), (positions, positions), and `out` = pairs · g, (positions, channels), of `x`, which is θ, φ and g,
/// (positions, 3 channels).
pub fn forward(size: Size, x: &[f32], pairs: &mut [f32], out: &mut [f32]) -> Result<()> {
    let Size { positions, channels } = size;
    let [theta, phi, g] = size.compared(x);
    multiply(theta, phi.transposed(), [positions, channels, positions], pairs, positions)?;
    simd::vectorized(
        #[inline(always)]
        || softmax(pairs, positions),
    )?;
    multiply(size.of_pairs(pairs), g, [positions, positions, channels], out, channels)
}

/// Writes the gradient of `x` from that of the output.
pub fn backward(size: Size, x: &[f32], pairs: &[f32], gradient: &[f32], dx: &mut [f32]) -> Result<()> {
    let Size { positions, channels } = size;
    let [theta, phi, g] = size.compared(x);
    let d_out = size.of_positions(gradient);
    let mut d_pairs = PooledBuffer::stale(size.map());
    multiply(d_out, g.transposed(), [positions, channels, positions], &mut d_pairs, positions)?;
    simd::vectorized(
        #[inline(always)]
        || softmax_gradient(pairs, positions, &mut d_pairs),
    )?;
    let (pairs, d_pairs) = (size.of_pairs(pairs), size.of_pairs(&d_pairs));
    let of_theta_phi_g = [(d_pairs, phi), (d_pairs.transposed(), theta), (pairs.transposed(), d_out)];
    for (number, (left, right)) in of_theta_phi_g.into_iter().enumerate() {
        let dx = &mut dx[number * channels..];
        multiply(left, right, [positions, positions, channels], dx, 3 * channels)?;
    }
    Ok(())
}

/// One for each row.
#[inline(always)]
fn softmax(rows: &mut [f32], columns: usize) {
    for row in rows.chunks_exact_mut(columns) {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, larger);
        row.iter_mut().for_each(|value| *value = (*value - greatest).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// From the gradient of what [`softmax`] gave to that of what it was given.
#[inline(always)]
fn softmax_gradient(rows: &[f32], columns: usize, gradient: &mut [f32]) {
    for (gradient, row) in gradient.chunks_exact_mut(columns).zip(rows.chunks_exact(columns)) {
        let mean: f32 = gradient.iter().zip(row).map(|(gradient, value)| gradient * value).sum();
        gradient.iter_mut().zip(row).for_each(|(gradient, value)| *gradient = value * (*gradient - mean));
    }
}

/// A matrix whose rows, and whose columns, lie so far from each other.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl Matrix<'_> {
    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// The product of two matrices, (rows, inner) and (inner, columns), with rows `out_step` apart.
fn multiply(
    left: Matrix,
    right: Matrix,
    [rows, inner, columns]: [usize; 3],
    out: &mut [f32],
    out_step: usize,
) -> Result<()> {
    let width = panel_columns()?;
    let mut panels = PooledBuffer::zeros(columns.div_ceil(width) * inner * width);
    for (number, panel) in panels.chunks_exact_mut(inner * width).enumerate() {
        let first = number * width;
        for (row, packed) in panel.chunks_exact_mut(width).enumerate() {
            for (column, packed) in (first..columns).zip(packed) {
                *packed = right.values[row * right.row + column * right.column];
            }
        }
    }
    let starts: Vec<usize> = (0..rows).map(|row| row * left.row).collect();
    Product {
        left: left.values,
        starts: &starts,
        panels: &panels,
        panel_len: inner * width,
        terms: one_level(inner, left.column, width),
        initial: Initial::Zero,
        out,
        out_step,
        columns,
    }
    .compute()
}
