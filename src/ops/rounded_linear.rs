//! The products of a fully connected layer, of numbers that are rounded to bf16. Each sum is over pairs: of inputs, of outputs, or
//! of samples. A pair of words lies in a slice of f32: only its bits move.

use std::ops::Range;

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::bf16::{Bf16, Blocks, COLUMNS, PairProduct};
use super::matmul::{one_level, pack_rows};
use super::pooled_buffer::PooledBuffer;

/// Outputs that one task takes: a block of columns, where they are that.
const TASK_OUTPUTS: usize = COLUMNS;
/// Panels of the weight that one task rounds at a time: so many numbers of a row lie beside each other in memory.
const TASK_PANELS: usize = 4;

/// A layer of so many inputs and outputs, for a batch.
#[derive(Clone, Copy)]
pub struct RoundedLinear {
    bf16: Bf16,
    samples: usize,
    inputs: usize,
    outputs: usize,
}

impl RoundedLinear {
    /// None where inputs and outputs do not fill whole panels.
    pub fn new(bf16: Bf16, samples: usize, inputs: usize, outputs: usize) -> Option<Self> {
        let fills = |columns: usize| columns > 0 && columns.is_multiple_of(COLUMNS);
        (fills(inputs) && fills(outputs)).then_some(Self { bf16, samples, inputs, outputs })
    }

    /// Samples, filled up to whole panels.
    pub fn columns(self) -> usize {
        self.samples.next_multiple_of(COLUMNS)
    }

    /// `x` (N, I) with `weight` (O, I): (O, columns), without bias. Panels of samples, as in f32.
    pub fn transposed_output(self, x: &[f32], weight: &[f32]) -> PooledBuffer {
        let Self { bf16, inputs, outputs, .. } = self;
        let (pairs, columns) = (inputs / 2, self.columns());
        let mut panels = PooledBuffer::zeros(columns * pairs);
        panels.par_chunks_exact_mut(COLUMNS * pairs).zip(x.par_chunks(COLUMNS * inputs)).for_each_init(
            || PooledBuffer::stale(COLUMNS * pairs),
            |rounded, (panel, x)| {
                let rounded = &mut rounded[..x.len() / 2];
                pair_all_columns(bf16, x, rounded);
                pack_rows(rounded, pairs, COLUMNS, panel);
            },
        );
        let mut transposed = PooledBuffer::stale(outputs * columns);
        transposed.par_chunks_mut(TASK_OUTPUTS * columns).zip(weight.par_chunks(TASK_OUTPUTS * inputs)).for_each_init(
            || PooledBuffer::stale(TASK_OUTPUTS * pairs),
            |rounded, (out, weight)| {
                let rounded = &mut rounded[..weight.len() / 2];
                pair_all_columns(bf16, weight, rounded);
                let starts: Vec<usize> = (0..rounded.len()).step_by(pairs).collect();
                for (panel, first) in panels.chunks_exact(COLUMNS * pairs).zip((0..).step_by(COLUMNS)) {
                    bf16.multiply(PairProduct {
                        left: cast_slice(rounded),
                        starts: &starts,
                        panel: cast_slice(panel),
                        terms: one_level(pairs, 1, COLUMNS),
                        adds: false,
                        out: &mut out[first..],
                        out_step: columns,
                    });
                }
            },
        );
        transposed
    }

    /// From `weight` (O, I) and `dy` (N, O): panels of inputs, each (N, [`COLUMNS`]), some at a time.
    pub fn input_gradient(self, weight: &[f32], dy: &[f32]) -> PooledBuffer {
        let Self { bf16, samples, inputs, outputs } = self;
        let pairs = outputs / 2;
        let mut rounded_dy = PooledBuffer::stale(dy.len() / 2);
        pair_all_columns(bf16, dy, &mut rounded_dy);
        let starts: Vec<usize> = (0..samples).map(|sample| sample * pairs).collect();
        let mut panels = PooledBuffer::stale(inputs * samples);
        panels.par_chunks_mut(TASK_PANELS * COLUMNS * samples).enumerate().for_each_init(
            || PooledBuffer::stale(TASK_PANELS * COLUMNS * pairs),
            |rounded, (task, out)| {
                let columns = out.len() / samples;
                let first = task * TASK_PANELS * COLUMNS;
                let numbers = &weight[first..first + (outputs - 1) * inputs + columns];
                let blocks = Blocks { numbers, rows: outputs, row_step: inputs, step: COLUMNS };
                let rounded = &mut rounded[..columns * pairs];
                bf16.pair_rows(blocks, cast_slice_mut(rounded), COLUMNS * pairs);
                for (panel, out) in rounded.chunks_exact(COLUMNS * pairs).zip(out.chunks_exact_mut(COLUMNS * samples)) {
                    bf16.multiply(PairProduct {
                        left: cast_slice(&rounded_dy),
                        starts: &starts,
                        panel: cast_slice(panel),
                        terms: one_level(pairs, 1, COLUMNS),
                        adds: false,
                        out,
                        out_step: COLUMNS,
                    });
                }
            },
        );
        panels
    }

    /// From `x` (N, I) and `dy` (N, O) of any number of samples: the rows of some `outputs`, whole panels of them, (outputs, I).
    pub fn weight_gradient(self, x: &[f32], dy: &[f32], outputs: Range<usize>) -> Vec<f32> {
        let Self { bf16, inputs, .. } = self;
        let samples = x.len() / inputs;
        let pairs = samples.div_ceil(2);
        let of_samples = |matrix: &[f32], row_step: usize, columns: Range<usize>| {
            let mut panels = PooledBuffer::stale(columns.len() * pairs);
            if samples > 0 {
                let numbers = &matrix[columns.start..(samples - 1) * row_step + columns.end];
                let blocks = Blocks { numbers, rows: samples, row_step, step: COLUMNS };
                bf16.pair_rows(blocks, cast_slice_mut(&mut panels), COLUMNS * pairs);
            }
            panels
        };
        let (of_x, of_dy) =
            rayon::join(|| of_samples(x, inputs, 0..inputs), || of_samples(dy, self.outputs, outputs.clone()));
        let starts: Vec<usize> = (0..COLUMNS).collect();
        let mut dw = vec![0.0; outputs.len() * inputs];
        dw.par_chunks_exact_mut(COLUMNS * inputs).zip(of_dy.par_chunks_exact(COLUMNS * pairs)).for_each(|(dw, dy)| {
            for (x, first) in of_x.chunks_exact(COLUMNS * pairs).zip((0..).step_by(COLUMNS)) {
                bf16.multiply(PairProduct {
                    left: cast_slice(dy),
                    starts: &starts,
                    panel: cast_slice(x),
                    terms: one_level(pairs, COLUMNS, COLUMNS),
                    adds: false,
                    out: &mut dw[first..],
                    out_step: inputs,
                });
            }
        });
        dw
    }
}

/// Rounds and pairs each two numbers that follow each other; a whole number of panels' rows.
fn pair_all_columns(bf16: Bf16, numbers: &[f32], pairs: &mut [f32]) {
    let blocks = Blocks { numbers, rows: numbers.len() / COLUMNS, row_step: COLUMNS, step: numbers.len() };
    let len = pairs.len();
    bf16.pair_columns(blocks, cast_slice_mut(pairs), len, COLUMNS / 2);
}
