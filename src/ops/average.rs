//! Averages of weights while these are trained: in place and in one pass, with the arithmetic of PyTorch's `lerp`.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::float::with_elements;
use super::in_place::{TASK_ELEMENTS, with_elements_mut};
use crate::simd;

/// Moves `average` by `weight`, from 0 to 1, of the way to `value`: at 0 it stays, at 1 it is `value`. Both have the same
/// shape, f32.
pub fn average_in(average: &Var, value: &Tensor, weight: f64) -> Result<()> {
    if !average.device().is_cpu() {
        return average.set(&lerp_composed(average.as_tensor(), value, weight)?);
    }
    let weight = weight as f32;
    with_elements(value, |value: &[f32]| {
        with_elements_mut(average, |average| {
            let tasks = average.par_chunks_mut(TASK_ELEMENTS).zip(value.par_chunks(TASK_ELEMENTS));
            tasks.try_for_each(|(average, value)| {
                simd::vectorized(
                    #[inline(always)]
                    || {
                        average
                            .iter_mut()
                            .zip(value)
                            .for_each(|(average, &value)| *average = lerp(*average, value, weight))
                    },
                )
            })
        })
    })
}

/// Moves `slow` by `weight`, from 0 to 1, of the way to `fast`, and `fast` to where `slow` is then. Both have the same shape,
/// f32.
pub fn look_ahead(slow: &Var, fast: &Var, weight: f64) -> Result<()> {
    if !slow.device().is_cpu() {
        slow.set(&lerp_composed(slow.as_tensor(), fast.as_tensor(), weight)?)?;
        return fast.set(slow.as_tensor());
    }
    let weight = weight as f32;
    with_elements_mut(fast, |fast| {
        with_elements_mut(slow, |slow| {
            let tasks = slow.par_chunks_mut(TASK_ELEMENTS).zip(fast.par_chunks_mut(TASK_ELEMENTS));
            tasks.try_for_each(|(slow, fast)| {
                simd::vectorized(
                    #[inline(always)]
                    || {
                        for (slow, fast) in slow.iter_mut().zip(fast) {
                            *slow = lerp(*slow, *fast, weight);
                            *fast = *slow;
                        }
                    },
                )
            })
        })
    })
}

/// From the nearer end, so that each end is met exactly.
#[inline(always)]
fn lerp(start: f32, end: f32, weight: f32) -> f32 {
    if weight < 0.5 { start + weight * (end - start) } else { end - (end - start) * (1.0 - weight) }
}

fn lerp_composed(start: &Tensor, end: &Tensor, weight: f64) -> Result<Tensor> {
    let difference = (end - start)?;
    if weight < 0.5 { start + (difference * weight)? } else { end - (difference * (1.0 - weight))? }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::{real, tensor};

    /// More than a task.
    const LEN: usize = TASK_ELEMENTS + 77;
    const WEIGHTS: [f64; 5] = [0.0, 0.001, 0.49, 0.7, 1.0];

    fn numbers(seed: u64) -> Result<Var> {
        Var::from_tensor(&tensor(real(seed, LEN), &[LEN]))
    }

    fn assert_close(ours: &Var, expected: &Tensor) -> Result<()> {
        for (ours, expected) in ours.to_vec1::<f32>()?.into_iter().zip(expected.to_vec1::<f32>()?) {
            assert!((ours - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{ours}, composed {expected}");
        }
        Ok(())
    }

    #[test]
    fn both_equal_those_for_other_devices() -> Result<()> {
        for weight in WEIGHTS {
            let (slow, fast) = (numbers(1)?, numbers(2)?);
            let expected = lerp_composed(slow.as_tensor(), fast.as_tensor(), weight)?;
            let average = numbers(1)?;
            average_in(&average, fast.as_tensor(), weight)?;
            assert_close(&average, &expected)?;
            look_ahead(&slow, &fast, weight)?;
            assert_close(&slow, &expected)?;
            assert_eq!(fast.to_vec1::<f32>()?, slow.to_vec1::<f32>()?);
        }
        Ok(())
    }

    #[test]
    fn the_ends_are_met_exactly() -> Result<()> {
        let (start, end) = (numbers(1)?.to_vec1::<f32>()?, numbers(2)?);
        let average = numbers(1)?;
        average_in(&average, end.as_tensor(), 0.0)?;
        assert_eq!(average.to_vec1::<f32>()?, start);
        average_in(&average, end.as_tensor(), 1.0)?;
        assert_eq!(average.to_vec1::<f32>()?, end.to_vec1::<f32>()?);
        for weight in WEIGHTS {
            average_in(&average, end.as_tensor(), weight)?;
            assert_eq!(average.to_vec1::<f32>()?, end.to_vec1::<f32>()?, "what does not move stays: {weight}");
        }
        Ok(())
    }
}
