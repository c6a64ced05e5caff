//! The non-local block (Wang et al. 2018, section 3), embedded Gaussian: each position of a feature map looks at all of them,
//! y = x + W softmax(θ(x) φ(x)ᵀ) g(x), with θ, φ, g and W convolutions of 1 x 1.
//!
//! The map of an image has as many numbers as pairs of positions: it is for where these are few.

mod kernel;

use std::sync::{Mutex, PoisonError};

use candle_core::{D, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::ops::concat::{concat, concat_as};
use crate::ops::conv::conv2d;
use crate::ops::custom_op::{OnSlices, SliceOp};
use crate::ops::float::has_f32_kernel;
use crate::ops::pool::{add_and_max_pool, max_pool};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::ops::tape::apply1;
use kernel::Size;

/// A convolution of 1 x 1.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// (O, C, 1, 1)
    pub weight: &'a Tensor,
    /// (O)
    pub bias: &'a Tensor,
}

impl Projection<'_> {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, self.weight, self.bias, 1, 0)
    }
}

/// The projections of a non-local block.
#[derive(Clone, Copy)]
pub struct NonLocal<'a> {
    /// From C to D channels, as the two that follow.
    pub theta: Projection<'a>,
    pub phi: Projection<'a>,
    pub g: Projection<'a>,
    /// W, from D to C channels.
    pub out: Projection<'a>,
}

/// What a non-local block makes of a feature map.
pub struct NonLocallyAttended {
    /// Like the input, (N, H, W, C).
    pub output: Tensor,
    /// (N, H · W, H · W): how much each position, row by row, looks at every other; each row of the map sums to 1.
    pub pairs: Tensor,
}

impl NonLocal<'_> {
    /// Of a feature map `x` (N, H, W, C), by candle's operations.
    pub fn attend(&self, x: &Tensor) -> Result<NonLocallyAttended> {
        let (images, height, width, _) = x.dims4()?;
        let of_positions = |projection: Projection| projection.of(x)?.reshape((images, height * width, ()));
        let pairs =
            softmax(&of_positions(self.theta)?.matmul(&of_positions(self.phi)?.transpose(1, 2)?.contiguous()?)?)?;
        let seen = pairs.matmul(&of_positions(self.g)?)?.reshape((images, height, width, ()))?;
        Ok(NonLocallyAttended { output: (x + self.out.of(&seen)?)?, pairs })
    }
}

/// Along the last dimension. (The greatest is subtracted as a constant: its gradient is 0, and candle's has a fault.)
fn softmax(x: &Tensor) -> Result<Tensor> {
    let exponentials = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// A feature map `x` (N, H, W, C) through a non-local block and a 2 x 2 pool, (N, H / 2, W / 2, C).
///
/// # Errors
/// The sizes do not fit.
pub fn non_local_attention_and_pool(x: &Tensor, weights: NonLocal) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    let [theta, phi, g, out] = [weights.theta, weights.phi, weights.g, weights.out].map(|projection| projection.weight);
    if height < 2 || width < 2 || theta.dims() != phi.dims() || theta.dims() != g.dims() || out.dim(0)? != channels {
        bail!("a non-local block of {:?} from {:?} to {:?}", x.shape(), theta.shape(), out.shape())
    }
    if !has_f32_kernel(x) {
        return max_pool(&weights.attend(x)?.output);
    }
    // θ, φ and g as one convolution.
    let size = Size { positions: height * width, channels: theta.dim(0)? };
    let weight = concat_as(&[theta, phi, g], &[3 * size.channels, channels, 1, 1])?;
    let bias = concat(&[weights.theta.bias, weights.phi.bias, weights.g.bias])?;
    let compared = conv2d(x, &weight, &bias, 1, 0)?;
    let seen = apply1(&compared, OnSlices(AttendPairs { size, height, pairs: Mutex::default() }))?;
    add_and_max_pool(x, &weights.out.of(&seen)?)
}

/// softmax(θ φᵀ) g, (N, H, W, D), of θ, φ and g one after another, (N, H, W, 3 D).
struct AttendPairs {
    size: Size,
    height: usize,
    /// The maps, which the backward pass needs.
    pairs: Mutex<Option<PooledBuffer>>,
}

impl SliceOp<1> for AttendPairs {
    const NAME: &'static str = "non_local_attention";

    fn forward(&self, [x]: [&[f32]; 1]) -> Result<(Vec<f32>, Shape)> {
        let images = x.len() / (3 * self.size.image());
        let mut out = vec![0.0; images * self.size.image()];
        let mut pairs = PooledBuffer::stale(images * self.size.map());
        out.par_chunks_exact_mut(self.size.image())
            .zip(pairs.par_chunks_exact_mut(self.size.map()))
            .zip(x.par_chunks_exact(3 * self.size.image()))
            .try_for_each(|((out, pairs), x)| kernel::forward(self.size, x, pairs, out))?;
        *self.pairs.lock().unwrap_or_else(PoisonError::into_inner) = Some(pairs);
        Ok((out, Shape::from((images, self.height, self.size.positions / self.height, self.size.channels))))
    }

    fn backward(&self, [x]: [&[f32]; 1], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = pairs.as_ref().expect("the forward pass has kept the maps");
        let mut dx = vec![0.0; x.len()];
        let sources = x
            .par_chunks_exact(3 * self.size.image())
            .zip(pairs.par_chunks_exact(self.size.map()))
            .zip(gradient.par_chunks_exact(self.size.image()));
        dx.par_chunks_exact_mut(3 * self.size.image())
            .zip(sources)
            .try_for_each(|(dx, ((x, pairs), gradient))| kernel::backward(self.size, x, pairs, gradient, dx))?;
        Ok([Some(dx)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};
    use candle_nn::ops::softmax;
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, EPSILON, equals_f64, output_gradient, real, tensor};

    fn weights(values: &[Tensor]) -> NonLocal<'_> {
        let of = |number: usize| Projection { weight: &values[2 * number], bias: &values[2 * number + 1] };
        NonLocal { theta: of(0), phi: of(1), g: of(2), out: of(3) }
    }

    fn pooled(arguments: &[Tensor]) -> Result<Tensor> {
        non_local_attention_and_pool(&arguments[0], weights(&arguments[1..]))
    }

    /// The shapes of x and of the weights and biases.
    fn shapes([images, height, width, channels]: [usize; 4], inner: usize) -> Vec<Vec<usize>> {
        let mut shapes = vec![vec![images, height, width, channels]];
        for (outputs, inputs) in [(inner, channels), (inner, channels), (inner, channels), (channels, inner)] {
            shapes.extend([vec![outputs, inputs, 1, 1], vec![outputs]]);
        }
        shapes
    }

    fn arguments(shape: [usize; 4], inner: usize) -> Vec<Tensor> {
        let shapes = shapes(shape, inner);
        (1..).zip(&shapes).map(|(seed, shape)| tensor(real(seed, shape.iter().product()), shape)).collect()
    }

    /// How far rounding may move the gradients by `arguments`, in the norm. The gradient of a softmax's input is
    /// P ∘ (dP - Σ P ∘ dP): where one of P is nearly 1, the difference is much smaller than what is subtracted, and its
    /// rounding is that of the magnitudes (Higham 2002, section 3.1).
    fn cancellation(arguments: &[Tensor]) -> Result<Vec<f64>> {
        let values = arguments.iter().map(|value| value.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
        let [x, theta_weight, theta_bias, phi_weight, phi_bias, g_weight, g_bias, out_weight, out_bias] = &values[..]
        else {
            panic!("x, and four projections")
        };
        let (images, height, width, channels) = x.dims4()?;
        let positions = height * width;
        let flat = x.reshape((images, positions, channels))?;
        let matrix = |weight: &Tensor| weight.flatten_from(1);
        let project =
            |x: &Tensor, weight: &Tensor, bias: &Tensor| x.broadcast_matmul(&matrix(weight)?.t()?)?.broadcast_add(bias);
        let (theta, phi) = (project(&flat, theta_weight, theta_bias)?, project(&flat, phi_weight, phi_bias)?);
        let g = project(&flat, g_weight, g_bias)?;
        let attention = softmax(&theta.matmul(&phi.t()?)?, D::Minus1)?;

        let attended = Var::from_tensor(&attention.matmul(&g)?)?;
        let output = (&flat + project(attended.as_tensor(), out_weight, out_bias)?)?;
        let output = max_pool(&output.reshape((images, height, width, channels))?)?;
        let sum = (&output * output_gradient(output.dims()).to_dtype(DType::F64)?)?.sum_all()?;
        let attended_gradient = sum.backward()?.remove(&attended).expect("it takes part").abs()?;

        let attention_gradient = attended_gradient.matmul(&g.abs()?.t()?)?;
        let subtracted = (&attention * &attention_gradient)?.sum_keepdim(D::Minus1)?;
        let magnitude = (&attention * attention_gradient.broadcast_add(&subtracted)?)?;
        let terms = theta.dim(D::Minus1)? + positions + 3;
        let rounding = (magnitude * (terms as f64 * EPSILON))?;

        let (by_theta, by_phi) = (rounding.matmul(&phi.abs()?)?, rounding.t()?.matmul(&theta.abs()?)?);
        let norm = |tensor: Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt);
        let of_weight = |by: &Tensor| norm(by.t()?.matmul(&flat.abs()?)?.sum(0)?);
        let of_bias = |by: &Tensor| norm(by.sum((0, 1))?);
        let of_x = |by: &Tensor, weight: &Tensor| by.broadcast_matmul(&matrix(weight)?.abs()?);
        Ok(vec![
            norm((of_x(&by_theta, theta_weight)? + of_x(&by_phi, phi_weight)?)?)?,
            of_weight(&by_theta)?,
            of_bias(&by_theta)?,
            of_weight(&by_phi)?,
            of_bias(&by_phi)?,
        ])
    }

    fn equals_composed(shape: [usize; 4], inner: usize) -> std::result::Result<(), TestCaseError> {
        let inexact = arguments(shape, inner);
        let cancellation = cancellation(&inexact)?;
        equals_f64(Arguments { inexact: &inexact, cancellation: &cancellation, ..Arguments::default() }, pooled)
    }

    proptest! {
        #![proptest_config(crate::testing::property(32))]
        #[test]
        fn equals_candles_operations(
            (n, h, w, c) in (1..5usize, 2..8usize, 2..8usize, 1..24usize), inner in 1..20usize
        ) {
            equals_composed([n, h, w, c], inner)?;
        }
    }

    /// The gradient by θ's weight is 1.9e-5 away, of 0.34: its terms nearly cancel in the softmax. In the second case it is
    /// 1.8e-5 of 9.4e-4.
    #[test]
    fn a_gradient_that_nearly_cancels() {
        for (shape, inner) in [([1, 2, 2, 20], 17), ([1, 3, 2, 22], 17)] {
            equals_composed(shape, inner).expect("within the rounding");
        }
    }

    #[test]
    fn sizes_that_are_no_multiples() {
        for (shape, inner) in [([1, 7, 7, 10], 5), ([2, 3, 3, 33], 16), ([1, 14, 9, 3], 1), ([1, 28, 28, 1], 3)] {
            equals_composed(shape, inner).expect("equal");
        }
    }

    #[test]
    fn the_gradients_are_finite_differences() {
        let values: Vec<Tensor> =
            (1..).zip(shapes([2, 4, 3, 4], 3)).map(|(seed, shape)| normal(seed, &shape)).collect();
        for position in 0..values.len() {
            assert_gradient(&values[position], |value| {
                let mut values = values.clone();
                values[position] = value.clone();
                Ok(weights(&values[1..]).attend(&values[0])?.output)
            });
        }
    }

    #[test]
    fn each_row_of_the_attention_matrix_sums_to_1() -> Result<()> {
        let arguments = arguments([2, 3, 4, 5], 3);
        let pairs = weights(&arguments[1..]).attend(&arguments[0])?.pairs;
        assert_eq!(pairs.dims(), [2, 12, 12]);
        assert!(pairs.sum(2)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        Ok(())
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let mut arguments = arguments([1, 4, 4, 6], 3);
        arguments[3] = tensor(real(1, 12), &[2, 6, 1, 1]);
        assert!(pooled(&arguments).is_err());
    }
}
