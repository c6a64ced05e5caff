//! What the kernels are tested against: the definitions, written out in f64.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rand::Rng;

use super::conv::{Geometry, Winograd, conv2d, conv2d_input_gradient};
use crate::config::Precision;
use crate::random::{Purpose, stream};

pub const EPSILON: f64 = f32::EPSILON as f64;

/// Numbers in [-1, 1), the same for the same `seed`.
pub fn real(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, 0);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Whole numbers from -2 to 2, whose sums are exact, so that a tie is one however it is computed.
pub fn whole(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, 1);
    (0..len).map(|_| f32::from(rng.random_range(-2i8..=2))).collect()
}

pub fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

/// Images, and a convolution of them.
pub fn convolutions() -> impl Strategy<Value = (usize, Geometry)> {
    let sizes = (1..5usize, 1..12usize, 1..12usize, 1..20usize, 1..40usize);
    (sizes, 1..6usize, 1..4usize, 0..5usize).prop_filter_map(
        "the kernel fits",
        |((images, height, width, channels, outputs), kernel, stride, padding)| {
            let fits = padding < kernel && kernel <= height.min(width) + 2 * padding;
            fits.then_some((images, Geometry { height, width, channels, outputs, kernel, stride, padding }))
        },
    )
}

/// Calls `f` with the positions in y (N, OH, OW, O), x (N, H, W, C) and weight (O, C, K, K) of every product of a convolution.
pub fn for_products(images: usize, g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let outputs = (0..images * g.out_pixels() * g.outputs).map(|y| (y, y % g.outputs, y / g.outputs));
    for (y, output, out_pixel) in outputs {
        let (image, out_pixel) = (out_pixel / g.out_pixels(), out_pixel % g.out_pixels());
        for tap in 0..g.taps() {
            let (channel, tap_y, tap_x) = (tap / (g.kernel * g.kernel), tap / g.kernel % g.kernel, tap % g.kernel);
            let row = (out_pixel / g.out_width() * g.stride + tap_y).wrapping_sub(g.padding);
            let column = (out_pixel % g.out_width() * g.stride + tap_x).wrapping_sub(g.padding);
            if row < g.height && column < g.width {
                let pixel = (image * g.height + row) * g.width + column;
                f(y, pixel * g.channels + channel, output * g.taps() + tap);
            }
        }
    }
}

/// A sum of products in f64, and what bounds the error of the same sum in f32.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    pub value: f64,
    /// The sum of the terms' magnitudes, which do not cancel.
    magnitude: f64,
    terms: usize,
}

impl Sum {
    pub fn of(term: f32) -> Self {
        let mut sum = Self::default();
        sum.add(term.into());
        sum
    }

    pub fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
        self.terms += 1;
    }

    pub fn add_product(&mut self, a: f32, b: f32) {
        self.add(f64::from(a) * f64::from(b));
    }

    /// How far any order of summation in f32 may be from the value: n terms are rounded n times at most, each by half an
    /// epsilon of what is summed (Higham 2002, section 4.2).
    pub fn bound(&self) -> f64 {
        (self.terms + 1) as f64 * EPSILON * self.magnitude
    }
}

/// Whether each number is the sum, within [`Sum::bound`].
pub fn equals_sums(what: &str, ours: &Tensor, expected: &[Sum]) -> std::result::Result<(), TestCaseError> {
    let ours = doubles(ours)?;
    prop_assert_eq!(ours.len(), expected.len());
    for (position, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let (error, bound) = ((ours - expected.value).abs(), expected.bound());
        prop_assert!(error <= bound, "{what} {position}: {ours} is not {} within {bound:.1e}", expected.value);
    }
    Ok(())
}

/// Whether the numbers are the sums where an algorithm mixes neighbours before it sums: within `epsilons` of the sums of
/// the magnitudes, in the norm of all.
fn nearly_equals_sums(
    what: &str,
    ours: &Tensor,
    expected: &[Sum],
    epsilons: f64,
) -> std::result::Result<(), TestCaseError> {
    let ours = doubles(ours)?;
    prop_assert_eq!(ours.len(), expected.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>().sqrt();
    let error = norm(&mut ours.iter().zip(expected).map(|(ours, expected)| ours - expected.value));
    let bound = epsilons * EPSILON * norm(&mut expected.iter().map(|expected| expected.magnitude));
    prop_assert!(error <= bound, "{what}: an error of {error:.1e}, more than {bound:.1e}");
    Ok(())
}

fn doubles(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Whether a convolution of `images` images, and its gradients, are the definition.
pub fn convolution_is_the_definition(images: usize, g: &Geometry) -> std::result::Result<(), TestCaseError> {
    /// Its transforms multiply rounding by as much.
    const WINOGRAD_EPSILONS: f64 = 10.0;
    let (x, weight) = (real(1, images * g.image()), real(2, g.outputs * g.taps()));
    let (bias, dy) = (real(3, g.outputs), real(4, images * g.out_image()));
    let mut y: Vec<Sum> = (0..dy.len()).map(|position| Sum::of(bias[position % g.outputs])).collect();
    let (mut dx, mut dw) = (vec![Sum::default(); x.len()], vec![Sum::default(); weight.len()]);
    let mut db = vec![Sum::default(); bias.len()];
    for_products(images, g, |y_position, x_position, w_position| {
        y[y_position].add_product(x[x_position], weight[w_position]);
        dx[x_position].add_product(dy[y_position], weight[w_position]);
        dw[w_position].add_product(dy[y_position], x[x_position]);
    });
    dy.iter().enumerate().for_each(|(position, &dy)| db[position % g.outputs].add(dy.into()));

    let arguments = [
        tensor(x, &[images, g.height, g.width, g.channels]),
        tensor(weight, &[g.outputs, g.channels, g.kernel, g.kernel]),
        tensor(bias, &[g.outputs]),
    ];
    let dy = tensor(dy, &[images, g.out_height(), g.out_width(), g.outputs]);
    let (ours, gradients) = with_gradients(&arguments, &dy, |arguments| {
        conv2d(&arguments[0], &arguments[1], &arguments[2], g.stride, g.padding)
    })?;
    prop_assert_eq!(ours.dims(), dy.dims());
    prop_assert_eq!(gradients[0].dims(), arguments[0].dims());
    let mut results = vec![("output", ours, &y), ("dx", gradients[0].clone(), &dx), ("dw", gradients[1].clone(), &dw)];
    if g.stride == 1 {
        results.push(("dx alone", conv2d_input_gradient(&dy, &arguments[1], g.padding)?, &dx));
    }
    for (what, ours, expected) in results {
        match Winograd::new(*g, Precision::F32)? {
            Some(_) => nearly_equals_sums(what, &ours, expected, WINOGRAD_EPSILONS)?,
            None => equals_sums(what, &ours, expected)?,
        }
    }
    equals_sums("db", &gradients[2], &db)
}

/// The output of `f`, and the gradients of its sum weighted by `output_gradient`, by each of its arguments.
pub fn with_gradients(
    arguments: &[Tensor],
    output_gradient: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let variables: Vec<Var> = arguments.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let gradients = (&y * output_gradient)?.sum_all()?.backward()?;
    let of = |variable: &Var| gradients.get(variable).cloned().expect("the argument takes part");
    Ok((y, variables.iter().map(of).collect()))
}

/// What [`equals_f64`] calls a function with: all of it, in this order.
#[derive(Clone, Copy, Default)]
pub struct Arguments<'a> {
    /// Numbers that no rounding changes, so that a tie is one.
    pub exact: &'a [Tensor],
    pub inexact: &'a [Tensor],
    /// Inexact ones that have no gradient.
    pub constants: &'a [Tensor],
    /// For each gradient how much rounding inside the function may move it where the terms of one of its sums cancel, in the
    /// norm: a change of the arguments does not show that. Empty where no such sum is known.
    pub cancellation: &'a [f64],
}

/// The gradient of an output of this shape that [`equals_f64`] takes.
pub fn output_gradient(dims: &[usize]) -> Tensor {
    tensor(real(100, dims.iter().product()), dims)
}

/// Whether `f` and its gradients in f32 equal those in f64, which `f` composes of candle's operations.
///
/// The bound follows from the conditioning: an error may be at most what becomes of a change of the inexact arguments, and of
/// the gradient of the output, by up to `SAFETY * NEAR` of each number, and [`Arguments::cancellation`]. Such changes do not
/// cancel where the terms of a sum do. A gradient is measured against a tenth of the worst conditioned one at least, as one that is 0 by its nature is
/// nothing but rounding.
///
/// A case is passed over if numbers as near as rounding have another gradient: there, which of two is the greatest or
/// whether a number is positive is chance. Of a change and its opposite one crosses where that happens.
///
/// # Errors
/// They differ, or the case is passed over.
pub fn equals_f64(
    arguments: Arguments,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> std::result::Result<(), TestCaseError> {
    const NEAR: f64 = 25.0 * EPSILON;
    const SAFETY: f64 = 3.0;
    let Arguments { exact, inexact, constants, cancellation } = arguments;
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let variables = [exact, inexact].concat();
    let of_gradients = |variables: &[Tensor], constants: &[Tensor], output_gradient: &Tensor| {
        let f = |variables: &[Tensor]| f(&[variables, constants].concat());
        let (y, gradients) = with_gradients(variables, output_gradient, f)?;
        Ok::<_, candle_core::Error>([vec![y], gradients].concat())
    };
    let output = f(&[&variables, constants].concat())?;
    let output_gradient = output_gradient(output.dims());
    let ours = of_gradients(&variables, constants, &output_gradient)?;

    let doubles = |tensors: &[Tensor]| tensors.iter().map(double).collect::<Result<Vec<_>>>();
    let (variables, constants, output_gradient) =
        (doubles(&variables)?, doubles(constants)?, double(&output_gradient)?);
    let expected = of_gradients(&variables, &constants, &output_gradient)?;
    let norms = expected.iter().map(norm).collect::<Result<Vec<f64>>>()?;
    let greatest = norms[1..].iter().copied().fold(0.0, f64::max);
    let mut changes = vec![0.0; expected.len()];
    for seed in [200, 300, 400, 500] {
        for sign in [NEAR, -NEAR] {
            let nearby = |position: usize, tensor: &Tensor| {
                let change = double(&self::tensor(real(seed + position as u64, tensor.elem_count()), tensor.dims()))?;
                tensor * ((change * sign)? + 1.0)?
            };
            let mut near = variables.clone();
            for (position, argument) in near.iter_mut().enumerate().skip(exact.len()) {
                *argument = nearby(position, argument)?;
            }
            let near_constants = constants.iter().zip(50..).map(|(t, position)| nearby(position, t));
            let near_constants = near_constants.collect::<Result<Vec<_>>>()?;
            let near = of_gradients(&near, &near_constants, &nearby(99, &output_gradient)?)?;
            for (position, (near, expected)) in near.iter().zip(&expected).enumerate() {
                let change = norm(&(near - expected)?)?;
                if position > 0 && change > 1e-3 * norms[position].max(0.1 * greatest) {
                    return Err(TestCaseError::reject("rounding decides"));
                }
                changes[position] = change.max(changes[position]);
            }
        }
    }
    // Each number is rounded at least once more.
    changes.iter_mut().zip(&norms).for_each(|(change, norm)| *change = change.max(4.0 * EPSILON * norm));
    let worst = changes[1..].iter().copied().fold(0.0, f64::max);
    for (position, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let error = norm(&(double(ours)? - expected)?)?;
        let change = if position == 0 { changes[0] } else { changes[position].max(0.1 * worst) };
        let what = position.checked_sub(1).map_or("the output".to_owned(), |argument| format!("gradient {argument}"));
        let cancelled = position.checked_sub(1).and_then(|gradient| cancellation.get(gradient)).copied();
        let bound = SAFETY * change + cancelled.unwrap_or(0.0);
        prop_assert!(error <= bound, "{what}: an error of {error:.1e}, more than {bound:.1e}");
    }
    Ok(())
}

fn norm(tensor: &Tensor) -> Result<f64> {
    tensor.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt)
}

/// The bits of what [`with_gradients`] gives, one after another, computed on `threads` threads.
pub fn bits_on_threads(
    threads: usize,
    arguments: &[Tensor],
    output_gradient: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send,
) -> Result<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let (y, gradients) = with_gradients(arguments, output_gradient, f)?;
        let mut bits = vec![];
        for tensor in std::iter::once(&y).chain(&gradients) {
            bits.extend(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits));
        }
        Ok(bits)
    })
}
