//! The norm of many tensors together: one pass over their numbers, in an order that does not depend on the threads.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::float::{has_f32_kernel, with_elements};
use crate::simd;

/// Elements handled by one task.
const TASK_ELEMENTS: usize = 1 << 15;
/// Elements whose squares are summed in f32; sums of these are f64.
const BLOCK_ELEMENTS: usize = 1 << 12;
/// Separate sums in a block: a fixed number, so that the width of the vectors changes nothing.
const LANES: usize = 32;

/// The Euclidean norm of all elements of tensors on one device. It is not finite if an element is not, or if it is an f32
/// beyond 1.8e19, whose square none holds.
pub fn global_norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let (mut sum, mut elsewhere) = (0.0, vec![]);
    for tensor in tensors {
        if has_f32_kernel(tensor) {
            sum += with_elements(tensor, sum_of_squares)?;
        } else {
            elsewhere.push(tensor.sqr()?.sum_all()?);
        }
    }
    if !elsewhere.is_empty() {
        // One number for all: each that is read waits for the device.
        sum += Tensor::stack(&elsewhere, 0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    Ok(sum.sqrt())
}

pub(super) fn sum_of_squares(values: &[f32]) -> Result<f64> {
    let of_tasks = values.par_chunks(TASK_ELEMENTS).map(|task| {
        simd::vectorized(
            #[inline(always)]
            || task.chunks(BLOCK_ELEMENTS).map(block_sum).sum::<f64>(),
        )
    });
    let of_tasks: Vec<Result<f64>> = of_tasks.collect();
    of_tasks.into_iter().sum()
}

#[inline(always)]
fn block_sum(block: &[f32]) -> f64 {
    let mut lanes = [0f32; LANES];
    let rows = block.chunks_exact(LANES);
    let rest = rows.remainder();
    for row in rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value * value;
        }
    }
    lanes.iter().chain(&[rest.iter().map(|value| value * value).sum()]).map(|&sum| f64::from(sum)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::{real, tensor};
    use candle_core::Device;

    #[test]
    fn it_is_the_root_of_the_sum_of_all_squares() -> Result<()> {
        for len in [2, 31, 32, 33, 4_096, 100_000] {
            let numbers = real(len as u64, len);
            let expected = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let one = global_norm([&tensor(numbers.clone(), &[len])])?;
            assert!((one - expected).abs() <= 1e-6 * expected, "{len}: {one}, expected {expected}");
            let (head, tail) = numbers.split_at(len / 3);
            let parts = [tensor(head.to_vec(), &[head.len()]), tensor(tail.to_vec(), &[tail.len()])];
            let several = global_norm(&parts)?;
            assert!((several - expected).abs() <= 1e-6 * expected, "{len}: {several}, expected {expected}");
            // In separate operations.
            let parts = [parts[0].to_dtype(DType::F64)?, parts[1].to_dtype(DType::F64)?];
            assert!((global_norm(&parts)? - expected).abs() <= 1e-9 * expected, "{len}");
        }
        assert_eq!(global_norm([])?, 0.0);
        Ok(())
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_wherever_it_is() -> Result<()> {
        for len in [1, 100, 70_000] {
            for position in [0, len / 2, len - 1] {
                for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
                    let mut numbers = vec![0.5f32; len];
                    numbers[position] = poison;
                    let norm = global_norm([&Tensor::new(numbers, &Device::Cpu)?])?;
                    assert!(!norm.is_finite(), "{poison} at {position} of {len}: {norm}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_it() -> Result<()> {
        let numbers = tensor(real(7, 300_001), &[300_001]);
        let norms = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| global_norm([&numbers])).expect("a norm")
        });
        assert!(norms.iter().all(|norm| norm.to_bits() == norms[0].to_bits()), "{norms:?}");
        Ok(())
    }
}
