//! Fully connected layer.
//!
//! The operand that is packed is always the smaller one, or one panel of the weight at a time: the weight itself, megabytes
//! of it, is read once.

use std::ops::Range;

use candle_core::{Error, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::bf16::{Bf16, COLUMNS};
use super::custom_op::{OnSlices, SliceOp};
use super::float::{has_f32_kernel, sum_rows};
use super::matmul::{Initial, Product, one_level, pack_rows, panel_columns};
use super::pooled_buffer::PooledBuffer;
use super::rounded_linear::RoundedLinear;
use super::tape::{apply2, apply3, is_differentiable};
use super::whole_batch;
use crate::config::Precision;
use crate::ranks::Place;

/// Outputs that one task takes.
const TASK_OUTPUTS: usize = 32;

/// `x` (N, I) with `weight` (O, I) and `bias` (O): (N, O). Products of bf16 where that is the `precision` and inputs and outputs
/// are multiples of 32.
///
/// # Errors
/// The sizes do not fit, or the CPU has no bf16.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Tensor> {
    if has_f32_kernel(x) {
        let mut linear = Linear::new(x, weight, is_differentiable(weight) || is_differentiable(bias))?;
        let Linear { samples, inputs, outputs, .. } = linear;
        let bf16 = Bf16::of(precision).map_err(Error::wrap)?;
        linear.rounded = bf16.and_then(|bf16| RoundedLinear::new(bf16, samples, inputs, outputs));
        return apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, OnSlices(linear));
    }
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// `x` (N, I) with `weight` (O, I), and the products times `scale`: (N, O).
///
/// # Errors
/// The sizes do not fit.
pub fn scaled_linear(x: &Tensor, weight: &Tensor, scale: f32) -> Result<Tensor> {
    if has_f32_kernel(x) {
        let linear = Linear::new(x, weight, is_differentiable(weight))?;
        return apply2(&x.contiguous()?, &weight.contiguous()?, OnSlices(Scaled { linear, scale }));
    }
    x.matmul(&weight.t()?)? * f64::from(scale)
}

struct Scaled {
    linear: Linear,
    scale: f32,
}

impl SliceOp<2> for Scaled {
    const NAME: &'static str = "scaled_linear";

    fn forward(&self, [x, weight]: [&[f32]; 2]) -> Result<(Vec<f32>, Shape)> {
        let mut y = self.linear.output(x, weight, &vec![0.0; self.linear.outputs])?;
        y.iter_mut().for_each(|y| *y *= self.scale);
        Ok((y, Shape::from((self.linear.samples, self.linear.outputs))))
    }

    fn backward(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> Result<[Option<Vec<f32>>; 2]> {
        let dy: Vec<f32> = dy.iter().map(|dy| dy * self.scale).collect();
        let dx = self.linear.input_gradient(weight, &dy)?;
        if !self.linear.wants_parameters {
            return Ok([Some(dx), None]);
        }
        let Linear { inputs, outputs, .. } = self.linear;
        let dw = self.linear.weight_gradient(&whole_batch::rows(x, inputs)?, &whole_batch::rows(&dy, outputs)?)?;
        Ok([Some(dx), Some(self.linear.of_all_ranks(dw)?)])
    }
}

struct Linear {
    samples: usize,
    inputs: usize,
    outputs: usize,
    /// Whether the gradients of weight and bias are needed.
    wants_parameters: bool,
    /// Where the products are of bf16.
    rounded: Option<RoundedLinear>,
    place: Place,
}

impl SliceOp<3> for Linear {
    const NAME: &'static str = "linear";

    fn forward(&self, [x, weight, bias]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        Ok((self.output(x, weight, bias)?, Shape::from((self.samples, self.outputs))))
    }

    fn backward(&self, [x, weight, _bias]: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        if !self.wants_parameters {
            return Ok([Some(self.input_gradient(weight, dy)?), None, None]);
        }
        let (all_x, all_dy) = (whole_batch::rows(x, self.inputs)?, whole_batch::rows(dy, self.outputs)?);
        let (dx, (dw, db)) = rayon::join(
            || self.input_gradient(weight, dy),
            || (self.weight_gradient(&all_x, &all_dy), sum_rows(&all_dy, self.outputs)),
        );
        Ok([Some(dx?), Some(self.of_all_ranks(dw?)?), Some(db)])
    }
}

impl Linear {
    fn new(x: &Tensor, weight: &Tensor, wants_parameters: bool) -> Result<Self> {
        let ((samples, inputs), (outputs, weight_inputs)) = (x.dims2()?, weight.dims2()?);
        if inputs != weight_inputs {
            bail!("a linear layer of {:?} with a weight of {:?}", x.shape(), weight.shape())
        }
        Ok(Self { samples, inputs, outputs, wants_parameters, rounded: None, place: whole_batch::place() })
    }

    fn output(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Result<Vec<f32>> {
        let &Self { samples, outputs, .. } = self;
        if samples == 0 {
            return Ok(vec![]);
        }
        let (columns, transposed) = match self.rounded {
            Some(rounded) => (rounded.columns(), rounded.transposed_output(x, weight)),
            None => (samples, self.transposed_output(x, weight)?),
        };
        let mut y = vec![0.0; samples * outputs];
        for (sample, y) in y.chunks_exact_mut(outputs).enumerate() {
            for (output, y) in y.iter_mut().enumerate() {
                *y = transposed[output * columns + sample] + bias[output];
            }
        }
        Ok(y)
    }

    /// (O, N), without bias. Panels of samples: the weight's rows are the left operand.
    fn transposed_output(&self, x: &[f32], weight: &[f32]) -> Result<PooledBuffer> {
        let &Self { samples, inputs, outputs, .. } = self;
        let width = panel_columns()?;
        let mut panels = PooledBuffer::zeros(samples.div_ceil(width) * inputs * width);
        let packed = panels.par_chunks_exact_mut(inputs * width).zip(x.par_chunks(width * inputs));
        packed.for_each(|(panel, x)| pack_rows(x, inputs, width, panel));
        let mut transposed = PooledBuffer::stale(outputs * samples);
        transposed.par_chunks_mut(TASK_OUTPUTS * samples).zip(weight.par_chunks(TASK_OUTPUTS * inputs)).try_for_each(
            |(out, weight)| {
                let starts: Vec<usize> = (0..weight.len()).step_by(inputs).collect();
                Product {
                    left: weight,
                    starts: &starts,
                    panels: &panels,
                    panel_len: inputs * width,
                    terms: one_level(inputs, 1, width),
                    initial: Initial::Zero,
                    out,
                    out_step: samples,
                    columns: samples,
                }
                .compute()
            },
        )?;
        Ok(transposed)
    }

    /// (N, I)
    fn input_gradient(&self, weight: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
        let &Self { samples, inputs, .. } = self;
        if samples == 0 {
            return Ok(vec![]);
        }
        let (width, panels) = match self.rounded {
            Some(rounded) => (COLUMNS, rounded.input_gradient(weight, dy)),
            None => (panel_columns()?, self.input_gradient_panels(weight, dy)?),
        };
        let mut dx = vec![0.0; samples * inputs];
        dx.par_chunks_exact_mut(inputs).enumerate().for_each(|(sample, dx)| {
            for (dx, panel) in dx.chunks_mut(width).zip(panels.chunks_exact(samples * width)) {
                dx.copy_from_slice(&panel[sample * width..][..dx.len()]);
            }
        });
        Ok(dx)
    }

    /// Panels of inputs, each (N, panel columns).
    fn input_gradient_panels(&self, weight: &[f32], dy: &[f32]) -> Result<PooledBuffer> {
        let &Self { samples, inputs, outputs, .. } = self;
        let width = panel_columns()?;
        let starts: Vec<usize> = (0..samples).map(|sample| sample * outputs).collect();
        let mut panels = PooledBuffer::stale(inputs.div_ceil(width) * samples * width);
        panels.par_chunks_exact_mut(samples * width).enumerate().try_for_each_init(
            || PooledBuffer::zeros(outputs * width),
            |panel, (number, out)| {
                let first = number * width;
                let columns = width.min(inputs - first);
                pack_columns(weight, inputs, first, columns, width, panel);
                Product {
                    left: dy,
                    starts: &starts,
                    panels: panel,
                    panel_len: outputs * width,
                    terms: one_level(outputs, 1, width),
                    initial: Initial::Zero,
                    out,
                    out_step: width,
                    columns,
                }
                .compute()
            },
        )?;
        Ok(panels)
    }

    /// The outputs whose weights' gradients this rank computes: its part of them, where each has whole tasks; else all.
    fn rank_outputs(&self) -> Range<usize> {
        let Place { rank, size } = self.place;
        match self.outputs.is_multiple_of(size * TASK_OUTPUTS) {
            true => rank * self.outputs / size..(rank + 1) * self.outputs / size,
            false => 0..self.outputs,
        }
    }

    /// The gradient of the weight (O, I), from the part of each rank.
    fn of_all_ranks(&self, dw: Vec<f32>) -> Result<Vec<f32>> {
        if self.rank_outputs().len() == self.outputs { Ok(dw) } else { whole_batch::parts(&dw) }
    }

    /// From `x` (N, I) and `dy` (N, O) of the whole batch: the rows of [`Linear::rank_outputs`], (outputs, I).
    fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Result<Vec<f32>> {
        let &Self { inputs, outputs, .. } = self;
        let of_rank = self.rank_outputs();
        if let Some(rounded) = self.rounded {
            return Ok(rounded.weight_gradient(x, dy, of_rank));
        }
        let samples = x.len() / inputs;
        let width = panel_columns()?;
        let mut panels = PooledBuffer::zeros(inputs.div_ceil(width) * samples * width);
        panels.par_chunks_exact_mut(samples * width).enumerate().for_each(|(number, panel)| {
            let first = number * width;
            pack_columns(x, inputs, first, width.min(inputs - first), width, panel);
        });
        let mut dw = vec![0.0; of_rank.len() * inputs];
        dw.par_chunks_mut(TASK_OUTPUTS * inputs).enumerate().try_for_each(|(task, dw)| {
            let first_output = of_rank.start + task * TASK_OUTPUTS;
            let starts: Vec<usize> = (first_output..first_output + dw.len() / inputs).collect();
            Product {
                left: dy,
                starts: &starts,
                panels: &panels,
                panel_len: samples * width,
                terms: one_level(samples, outputs, width),
                initial: Initial::Zero,
                out: dw,
                out_step: inputs,
                columns: inputs,
            }
            .compute()
        })?;
        Ok(dw)
    }
}

/// Copies columns of a matrix, rows of `row_len`, to a panel of `width` columns.
fn pack_columns(matrix: &[f32], row_len: usize, first: usize, columns: usize, width: usize, panel: &mut [f32]) {
    for (packed, row) in panel.chunks_exact_mut(width).zip(matrix.chunks_exact(row_len)) {
        packed[..columns].copy_from_slice(&row[first..first + columns]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;
    use crate::ops::check_precision;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, Sum, equals_f64, equals_sums, real, tensor, with_gradients};

    /// In bf16: for operands that it holds exactly.
    fn is_the_definition(n: usize, i: usize, o: usize, precision: Precision) -> std::result::Result<(), TestCaseError> {
        let operand = |seed, len| match precision {
            Precision::F32 => real(seed, len),
            Precision::Bf16 => {
                real(seed, len).into_iter().map(|number| f32::from_bits(number.to_bits() & 0xffff_0000)).collect()
            }
        };
        let (x, weight, bias, dy) = (operand(1, n * i), operand(2, o * i), real(3, o), operand(4, n * o));
        let mut y: Vec<Sum> = (0..n * o).map(|position| Sum::of(bias[position % o])).collect();
        let (mut dx, mut dw) = (vec![Sum::default(); n * i], vec![Sum::default(); o * i]);
        let mut db = vec![Sum::default(); o];
        for (position, &dy) in dy.iter().enumerate() {
            let (sample, output) = (position / o, position % o);
            db[output].add(dy.into());
            for input in 0..i {
                let (x_position, w_position) = (sample * i + input, output * i + input);
                y[position].add_product(x[x_position], weight[w_position]);
                dx[x_position].add_product(dy, weight[w_position]);
                dw[w_position].add_product(dy, x[x_position]);
            }
        }
        let arguments = [tensor(x, &[n, i]), tensor(weight, &[o, i]), tensor(bias, &[o])];
        let f = |arguments: &[Tensor]| linear(&arguments[0], &arguments[1], &arguments[2], precision);
        let (ours, gradients) = with_gradients(&arguments, &tensor(dy, &[n, o]), f)?;
        equals_sums("output", &ours, &y)?;
        for ((what, ours), expected) in ["dx", "dw", "db"].into_iter().zip(&gradients).zip([&dx, &dw, &db]) {
            equals_sums(what, ours, expected)?;
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(crate::testing::property(64))]
        #[test]
        fn output_and_gradients_are_the_definition(n in 1..70usize, i in 1..80usize, o in 1..70usize) {
            is_the_definition(n, i, o, Precision::F32)?;
        }

        #[test]
        fn products_of_bf16_are_the_definition(n in 1..70usize, i in 1..6usize, o in 1..4usize) {
            // Elsewhere there is nothing to test.
            if check_precision(Precision::Bf16).is_ok() {
                is_the_definition(n, 32 * i, 32 * o, Precision::Bf16)?;
            }
        }
    }

    #[test]
    fn sizes_that_fill_no_panels_are_multiplied_in_f32() {
        if check_precision(Precision::Bf16).is_err() {
            return;
        }
        for (i, o) in [(33, 32), (32, 10), (16, 16)] {
            let (x, weight, bias) =
                (tensor(real(1, 3 * i), &[3, i]), tensor(real(2, o * i), &[o, i]), tensor(real(3, o), &[o]));
            let [f32, bf16] = [Precision::F32, Precision::Bf16].map(|precision| {
                linear(&x, &weight, &bias, precision).and_then(|y| y.to_vec2::<f32>()).expect("an output")
            });
            assert_eq!(f32, bf16);
        }
    }

    /// The output is 3.5e-5 of itself away: rounding, measured against terms that nearly cancel.
    #[test]
    fn an_output_that_nearly_cancels() {
        is_the_definition(1, 36, 1, Precision::F32).expect("within the rounding of its terms");
    }

    #[test]
    fn the_gradients_on_other_devices_are_finite_differences() {
        let (x, weight, bias) = (normal(1, &[3, 5]), normal(2, &[4, 5]), normal(3, &[4]));
        let linear = |x: &Tensor, weight: &Tensor, bias: &Tensor| linear(x, weight, bias, Precision::F32);
        assert_gradient(&x, |x| linear(x, &weight, &bias));
        assert_gradient(&weight, |weight| linear(&x, weight, &bias));
        assert_gradient(&bias, |bias| linear(&x, &weight, bias));
        assert_gradient(&x, |x| scaled_linear(x, &weight, 0.5));
        assert_gradient(&weight, |weight| scaled_linear(&x, weight, 0.5));
    }

    proptest! {
        #![proptest_config(crate::testing::property(32))]
        #[test]
        fn a_scaled_one_equals_the_product(n in 1..70usize, i in 1..80usize, o in 1..70usize) {
            let inexact = [tensor(real(1, n * i), &[n, i]), tensor(real(2, o * i), &[o, i])];
            equals_f64(Arguments { inexact: &inexact, ..Arguments::default() }, |a| {
                scaled_linear(&a[0], &a[1], 1.0 / 9.0)
            })?;
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let (x, weight, bias) = (tensor(real(1, 6), &[2, 3]), tensor(real(1, 8), &[2, 4]), tensor(real(1, 2), &[2]));
        assert!(linear(&x, &weight, &bias, Precision::F32).is_err() && scaled_linear(&x, &weight, 1.0).is_err());
    }
}
