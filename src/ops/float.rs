//! The two element types that the CPU kernels take: f32 to train, f64 to check gradients.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};

pub trait Float: WithDType + num_traits::Float {}
impl Float for f32 {}
impl Float for f64 {}

/// Whether the f32 kernels take `x`; what they do not take is composed of separate operations.
pub fn has_f32_kernel(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The elements of a contiguous CPU tensor, in row-major order.
pub fn elements<'a, T: Float>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a tensor that is not contiguous: {:?}", layout.shape())
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Calls `f` with the elements of a tensor on the CPU, contiguous or not.
pub fn with_elements<T: Float, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(elements(storage, layout)?),
        _ => bail!("a CPU kernel was given a tensor on another device"),
    }
}

/// Runs a generic kernel for the element type of a tensor.
macro_rules! for_real {
    ($dtype:expr, $name:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::ops::float::unsupported($name, other)),
        }
    };
}
pub(crate) use for_real;

pub fn unsupported(op: &'static str, dtype: DType) -> candle_core::Error {
    candle_core::Error::UnsupportedDTypeForOp(dtype, op).bt()
}

/// The sum of each column of a matrix, over its rows in order.
pub fn sum_rows(matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in matrix.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The sum of `f(i)` over a row, in eight independent lanes so that the compiler may use vectors, in an order that is
/// always the same.
#[inline(always)]
pub fn sum_lanes<T: Float>(len: usize, f: impl Fn(usize) -> T) -> T {
    const LANES: usize = 8;
    let mut lanes = [T::zero(); LANES];
    let whole = len / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    let mut total = T::zero();
    for sum in lanes {
        total += sum;
    }
    for i in whole..len {
        total += f(i);
    }
    total
}

/// The sum of the products of two rows of equal length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a.len(), |i| a[i] * b[i])
}

pub fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

pub fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

/// ReLU that lets NaN through.
#[inline(always)]
pub fn activated(value: f32) -> f32 {
    if value <= 0.0 { 0.0 } else { value }
}

/// The logistic function and its derivative, without the difference of two numbers that are almost 1.
pub fn sigmoid_and_slope(x: f32) -> (f32, f32) {
    let smaller = (-x.abs()).exp();
    let (greater_half, smaller_half) = (1.0 / (1.0 + smaller), smaller / (1.0 + smaller));
    (if x < 0.0 { smaller_half } else { greater_half }, greater_half * smaller_half)
}
