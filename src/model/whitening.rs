//! The kernel that whitens: its filters are the directions in which patches of the training images vary, each scaled to a
//! variance of 1, and their negatives (Jordan 2024, section 3.2; Page 2018).

use candle_core::{Device, Error, Result, Tensor};
use rayon::prelude::*;

use crate::data::Dataset;

/// Training images that it is made of, the first ones.
const IMAGES: usize = 5000;
/// Added to the variances.
const EPSILON: f64 = 5e-4;

/// (2 · C · side², C, side, side), from the images as they are when normalised. No bit depends on the number of threads.
///
/// # Errors
/// candle's, or an image cannot be read any more.
///
/// # Panics
/// There are no images, or they are smaller than a patch.
pub fn whitening_kernel(data: &Dataset, side: usize) -> Result<Tensor> {
    let size = data.info.size();
    let numbers = size.channels * side * side;
    let (values, vectors) = eigenvectors(&second_moments(data, side)?, numbers);
    let scaled = vectors.chunks_exact(numbers).zip(values).flat_map(|(vector, value)| {
        let scale = 1.0 / (value.max(0.0) + EPSILON).sqrt();
        vector.iter().map(move |number| (number * scale) as f32)
    });
    let scaled: Vec<f32> = scaled.collect();
    let opposite: Vec<f32> = scaled.iter().map(|number| -number).collect();
    Tensor::from_vec([scaled, opposite].concat(), (2 * numbers, size.channels, side, side), &Device::Cpu)
}

/// The mean of the product of each two numbers of a normalised patch, a symmetric matrix; numbers are in the order channel,
/// row, column. What is summed are whole numbers, so that the order does not matter.
fn second_moments(data: &Dataset, side: usize) -> Result<Vec<f64>> {
    let size = data.info.size();
    let images = data.len().min(IMAGES);
    let (rows, columns) = (size.height + 1 - side, size.width + 1 - side);
    let positions: Vec<(usize, usize)> = (0..size.channels * side * side)
        .map(|number| {
            let (channel, row, column) = (number / (side * side), number / side % side, number % side);
            (channel, channel * size.plane() + row * size.width + column)
        })
        .collect();
    let numbers = positions.len();
    // Sums of the numbers, and of the products of each two of them.
    let zeros = || vec![0u64; numbers + numbers * numbers];
    let sums = (0..images)
        .into_par_iter()
        .try_fold(zeros, |mut sums, image| {
            let image = data.image(image).map_err(Error::wrap)?;
            for row in 0..rows {
                let of_row = |start: usize| &image[start + row * size.width..][..columns];
                for (a, &(_, start)) in positions.iter().enumerate() {
                    let first = of_row(start);
                    sums[a] += first.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                    for (b, &(_, start)) in positions.iter().enumerate().take(a + 1) {
                        let products = first.iter().zip(of_row(start)).map(|(&x, &y)| u32::from(x) * u32::from(y));
                        sums[numbers + a * numbers + b] += products.map(u64::from).sum::<u64>();
                    }
                }
            }
            Ok::<_, Error>(sums)
        })
        .try_reduce(zeros, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            Ok(a)
        })?;
    let (sums, products) = sums.split_at(numbers);
    let patches = (images * rows * columns) as f64;
    let mean = |number: usize| f64::from(data.info.mean[positions[number].0]);
    let deviation = |number: usize| f64::from(data.info.std[positions[number].0]);
    let of_bytes = |number: usize| sums[number] as f64 / patches / 255.0;
    Ok((0..numbers * numbers)
        .map(|position| {
            let (a, b) = (position / numbers, position % numbers);
            let product = products[a.max(b) * numbers + a.min(b)] as f64 / patches / (255.0 * 255.0);
            let about_means = product - mean(a) * of_bytes(b) - mean(b) * of_bytes(a) + mean(a) * mean(b);
            about_means / (deviation(a) * deviation(b))
        })
        .collect())
}

/// The eigenvalues of a symmetric matrix, rising, and its eigenvectors, one after another, by Jacobi's rotations (Golub and
/// Van Loan 2013, section 8.5). The greatest number of each vector is positive, the first of equals.
fn eigenvectors(matrix: &[f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    /// Each sweep more than doubles the digits, once they are few.
    const SWEEPS: usize = 50;
    let mut a = matrix.to_vec();
    let mut vectors: Vec<f64> = (0..size * size).map(|at| if at / size == at % size { 1.0 } else { 0.0 }).collect();
    for _ in 0..SWEEPS {
        let mut has_rotated = false;
        for p in 0..size {
            for q in p + 1..size {
                let off_diagonal = a[p * size + q];
                let (of_p, of_q) = (a[p * size + p], a[q * size + q]);
                if off_diagonal.abs() <= f64::EPSILON * (of_p * of_q).abs().sqrt() {
                    continue;
                }
                has_rotated = true;
                let theta = (of_q - of_p) / (2.0 * off_diagonal);
                let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                let sine = tangent * cosine;
                let rotated = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
                for k in 0..size {
                    (a[k * size + p], a[k * size + q]) = rotated(a[k * size + p], a[k * size + q]);
                }
                for k in 0..size {
                    (a[p * size + k], a[q * size + k]) = rotated(a[p * size + k], a[q * size + k]);
                    // Rows, so that a vector's numbers are consecutive.
                    (vectors[p * size + k], vectors[q * size + k]) =
                        rotated(vectors[p * size + k], vectors[q * size + k]);
                }
            }
        }
        if !has_rotated {
            break;
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&i, &j| a[i * size + i].total_cmp(&a[j * size + j]));
    let values = order.iter().map(|&i| a[i * size + i]).collect();
    let vectors = order.iter().flat_map(|&i| {
        let vector = &vectors[i * size..][..size];
        let greatest = vector.iter().fold(0.0f64, |best, &x| if x.abs() > best.abs() { x } else { best });
        vector.iter().map(move |x| x * greatest.signum())
    });
    (values, vectors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::sample;
    use crate::ops::gradient_check::normal;

    #[test]
    fn eigenvectors_diagonalise() -> Result<()> {
        for size in [1, 2, 5, 12] {
            let factor = normal(size as u64, &[size, size]);
            let symmetric = factor.matmul(&factor.t()?)?;
            let matrix = symmetric.flatten_all()?.to_vec1::<f64>()?;
            let (values, vectors) = eigenvectors(&matrix, size);
            assert!(values.is_sorted());
            let vectors = Tensor::from_vec(vectors, (size, size), &Device::Cpu)?;
            let diagonal = vectors.matmul(&symmetric)?.matmul(&vectors.t()?)?.to_vec2::<f64>()?;
            let orthogonal = vectors.matmul(&vectors.t()?)?.to_vec2::<f64>()?;
            for i in 0..size {
                for j in 0..size {
                    let (value, one) = if i == j { (values[i], 1.0) } else { (0.0, 0.0) };
                    assert!((diagonal[i][j] - value).abs() < 1e-12 * values[size - 1]);
                    assert!((orthogonal[i][j] - one).abs() < 1e-12);
                }
            }
        }
        // Nothing varies.
        assert_eq!(eigenvectors(&[0.0; 4], 2).0, [0.0; 2]);
        Ok(())
    }

    #[test]
    fn what_it_gives_is_white_whatever_the_threads() -> Result<()> {
        let (train, _) = sample::read().expect("the sample");
        let kernel = whitening_kernel(&train, 2)?;
        assert_eq!(kernel.dims(), [24, 3, 2, 2]);
        let numbers = |kernel: &Tensor| kernel.flatten_all()?.to_vec1::<f32>();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("threads");
        assert_eq!(numbers(&pool.install(|| whitening_kernel(&train, 2))?)?, numbers(&kernel)?);
        let filters: Vec<Vec<f64>> = kernel.flatten_from(1)?.to_dtype(candle_core::DType::F64)?.to_vec2()?;
        assert!(filters[..12].iter().zip(&filters[12..]).all(|(a, b)| a.iter().zip(b).all(|(a, b)| *a == -b)));
        // F S Fᵀ is the unit matrix, but for what is added to the variances.
        let moments = second_moments(&train, 2).unwrap();
        let product = |x: &[f64], y: &[f64]| -> f64 { (0..144).map(|at| x[at / 12] * moments[at] * y[at % 12]).sum() };
        for i in 0..12 {
            for j in 0..i {
                assert!(product(&filters[i], &filters[j]).abs() < 1e-5);
            }
        }
        let strongest = product(&filters[11], &filters[11]);
        assert!((0.999..=1.0).contains(&strongest), "{strongest}");
        Ok(())
    }
}
