//! The orthogonal matrix that is next to another, roughly: a matrix of the same singular vectors, whose singular values are
//! all near 1, by an iteration after Newton and Schulz (Björck and Bowie 1971; Higham 2008, chapter 8). Its polynomial of the
//! fifth degree and the three steps are Jordan's (2024): they raise small singular values soon, and leave the greater ones
//! between 0.7 and 1.2, not at 1.
//!
//! Products are those of [`super::matmul`], so no number depends on the threads.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::global_norm::sum_of_squares;
use super::matmul::{Initial, Product, one_level, panel_columns};
use super::pooled_buffer::PooledBuffer;

/// Of X, (X Xᵀ) X and (X Xᵀ)² X.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const STEPS: usize = 3;
/// Added to the norm that is divided by.
const LEAST_NORM: f64 = 1e-7;
/// Rows of a product that one task takes: two tiles of the highest.
const TASK_ROWS: usize = 28;

/// Of `matrix`, `rows` x `columns`, row by row. Zeros stay zeros.
pub fn orthogonalized(matrix: &[f32], rows: usize, columns: usize) -> Result<PooledBuffer> {
    let scale = (1.0 / (sum_of_squares(matrix)?.sqrt() + LEAST_NORM)) as f32;
    let mut scaled = PooledBuffer::stale(matrix.len());
    if rows <= columns {
        scaled.iter_mut().zip(matrix).for_each(|(scaled, value)| *scaled = scale * value);
        iterate(&mut scaled, rows, columns)?;
        return Ok(scaled);
    }
    // The smaller one of the two products of the matrix with itself.
    transpose(matrix, columns, scale, &mut scaled);
    iterate(&mut scaled, columns, rows)?;
    let mut result = PooledBuffer::stale(matrix.len());
    transpose(&scaled, rows, 1.0, &mut result);
    Ok(result)
}

/// `x`, `rows` x `columns`, rows being the fewer.
fn iterate(x: &mut [f32], rows: usize, columns: usize) -> Result<()> {
    let [of_x, of_cube, of_fifth] = COEFFICIENTS.map(|coefficient| coefficient as f32);
    let width = panel_columns()?;
    let mut panels_of_rows = PooledBuffer::zeros(rows.div_ceil(width) * columns * width);
    let mut panels_of_gram = PooledBuffer::zeros(rows.div_ceil(width) * rows * width);
    let mut panels_of_x = PooledBuffer::zeros(columns.div_ceil(width) * rows * width);
    let [mut gram, mut polynomial] = [(); 2].map(|()| PooledBuffer::stale(rows * rows));
    for _ in 0..STEPS {
        panels_of_rows.par_chunks_exact_mut(columns * width).zip(x.par_chunks(width * columns)).for_each(
            |(panel, rows)| {
                for (column, row) in rows.chunks_exact(columns).enumerate() {
                    panel.chunks_exact_mut(width).zip(row).for_each(|(packed, &value)| packed[column] = value);
                }
            },
        );
        multiply(x, columns, &panels_of_rows, Initial::Zero, &mut gram, rows)?;

        pack_columns(&gram, rows, of_fifth, width, &mut panels_of_gram);
        polynomial.iter_mut().zip(&*gram).for_each(|(polynomial, value)| *polynomial = of_cube * value);
        multiply(&gram, rows, &panels_of_gram, Initial::Out, &mut polynomial, rows)?;

        pack_columns(x, columns, 1.0, width, &mut panels_of_x);
        x.iter_mut().for_each(|value| *value *= of_x);
        multiply(&polynomial, rows, &panels_of_x, Initial::Out, x, columns)?;
    }
    Ok(())
}

/// The product of `left`, of so many terms a row, with the columns that are packed in panels.
fn multiply(
    left: &[f32],
    terms: usize,
    panels: &[f32],
    initial: Initial,
    out: &mut [f32],
    columns: usize,
) -> Result<()> {
    let width = panel_columns()?;
    out.par_chunks_mut(TASK_ROWS * columns).zip(left.par_chunks(TASK_ROWS * terms)).try_for_each(|(out, left)| {
        let starts: Vec<usize> = (0..left.len()).step_by(terms).collect();
        Product {
            left,
            starts: &starts,
            panels,
            panel_len: terms * width,
            terms: one_level(terms, 1, width),
            initial,
            out,
            out_step: columns,
            columns,
        }
        .compute()
    })
}

/// Packs `scale` times the columns of a matrix, rows of `row_len`, into panels of `width` columns.
fn pack_columns(matrix: &[f32], row_len: usize, scale: f32, width: usize, panels: &mut [f32]) {
    let panel_len = matrix.len() / row_len * width;
    panels.par_chunks_exact_mut(panel_len).enumerate().for_each(|(number, panel)| {
        let first = number * width;
        let columns = width.min(row_len - first);
        for (packed, row) in panel.chunks_exact_mut(width).zip(matrix.chunks_exact(row_len)) {
            let row = &row[first..first + columns];
            packed.iter_mut().zip(row).for_each(|(packed, value)| *packed = scale * value);
        }
    });
}

/// `scale` times the transpose of a matrix, rows of `row_len`.
fn transpose(matrix: &[f32], row_len: usize, scale: f32, out: &mut [f32]) {
    for (row, values) in out.chunks_exact_mut(matrix.len() / row_len).enumerate() {
        values.iter_mut().enumerate().for_each(|(column, value)| *value = scale * matrix[column * row_len + row]);
    }
}

/// As [`orthogonalized`], of a tensor (rows, columns) on any device, by candle's operations.
pub fn orthogonalized_composed(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let norm = (matrix.sqr()?.sum_all()?.sqrt()? + LEAST_NORM)?;
    let mut x = matrix.broadcast_div(&norm)?;
    if rows > columns {
        x = x.t()?.contiguous()?;
    }
    let [of_x, of_cube, of_fifth] = COEFFICIENTS;
    for _ in 0..STEPS {
        let gram = x.matmul(&x.t()?.contiguous()?)?;
        let polynomial = ((&gram * of_cube)? + (gram.matmul(&gram)? * of_fifth)?)?;
        x = ((&x * of_x)? + polynomial.matmul(&x)?)?;
    }
    if rows > columns { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::reference::{real, tensor};

    /// As many rows as columns, fewer, more, one, and more than a task or a panel takes.
    const SIZES: [(usize, usize); 7] = [(5, 5), (3, 20), (20, 3), (1, 9), (9, 1), (32, 27), (70, 130)];

    #[test]
    fn it_is_what_it_is_in_f64() -> Result<()> {
        for (rows, columns) in SIZES {
            let matrix = real(7, rows * columns);
            let ours = orthogonalized(&matrix, rows, columns)?;
            let expected = orthogonalized_composed(&tensor(matrix, &[rows, columns]).to_dtype(DType::F64)?)?;
            for (&ours, expected) in ours.iter().zip(expected.flatten_all()?.to_vec1::<f64>()?) {
                // Three steps raise the rounding of small singular values by up to 3.4445³ = 41.
                assert!((f64::from(ours) - expected).abs() < 1e-5, "{rows} x {columns}: {ours}, expected {expected}");
            }
        }
        Ok(())
    }

    #[test]
    fn singular_values_are_near_one() -> Result<()> {
        // Those of a matrix of three rows that are orthogonal, of lengths 1, 2 and 4.
        let mut matrix = [0f32; 3 * 8];
        (matrix[0], matrix[8 + 1], matrix[16 + 2]) = (1.0, 2.0, -4.0);
        let result = orthogonalized(&matrix, 3, 8)?;
        for (position, value) in result.iter().enumerate() {
            let is_one = [0, 9, 18].contains(&position);
            assert!(is_one == ((0.6..1.3).contains(&value.abs())) && (is_one || *value == 0.0), "{position}: {value}");
        }
        assert!(result[18] < 0.0);
        assert!(orthogonalized(&[0.0; 12], 3, 4)?.iter().all(|&value| value == 0.0));
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_it() -> Result<()> {
        let matrix = real(3, 70 * 130);
        let results = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| orthogonalized(&matrix, 70, 130)).expect("a matrix").to_vec()
        });
        assert!(results[0] == results[1] && results[1] == results[2]);
        Ok(())
    }
}
