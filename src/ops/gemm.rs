//! Matrix products on slices: bounds are checked here, so that no caller needs `unsafe`.

use gemm::Parallelism;

use super::real::Real;

/// A matrix in a slice, row by row, or the transpose of one.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    elements: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    pub fn new(elements: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(elements.len(), rows * columns, "a {rows} x {columns} matrix");
        Self { elements, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Self {
            elements: self.elements,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `out += a · b` on one thread; `out` is (rows of a, columns of b), row by row.
pub fn add_product<T: Real>(out: &mut [T], a: Matrix<T>, b: Matrix<T>) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert_eq!(out.len(), a.rows * b.columns, "a {} x {} product", a.rows, b.columns);
    // SAFETY: both constructors keep `(rows - 1) * row_stride + (columns - 1) * column_stride` within the slice, `out`
    // has just been checked, and a `&mut` slice overlaps neither input. A call to a sgemm is what makes the convolution
    // several times faster than loops over safe slices.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            true,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_product_of_plain_and_transposed_matrices() {
        let a = [1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0f64, -1.0, 0.5, 2.0, 0.0, 3.0];
        let mut out = [10.0f64; 4];
        add_product(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2));
        assert_eq!(out, [10.0 + 2.0, 10.0 + 12.0, 10.0 + 6.5, 10.0 + 24.0]);
        let mut out = [0.0f64; 4];
        add_product(&mut out, Matrix::new(&a, 3, 2).transposed(), Matrix::new(&b, 3, 2));
        assert_eq!(out, [1.0 + 1.5 + 0.0, -1.0 + 6.0 + 15.0, 2.0 + 2.0 + 0.0, -2.0 + 8.0 + 18.0]);
    }

    #[test]
    #[should_panic(expected = "inner dimensions")]
    fn refuses_matrices_that_do_not_fit() {
        add_product(&mut [0.0f32; 4], Matrix::new(&[0.0; 6], 2, 3), Matrix::new(&[0.0; 4], 2, 2));
    }
}
