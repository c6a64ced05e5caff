//! The kernels, forward and backward, at the sizes of the study's network and batch 64: `cargo bench --bench ops`.
//! `RAYON_NUM_THREADS` sets the threads, `TAPER_SIMD` the path; GFLOP/s are those of `taper bench`.

use candle_core::{DType, Device, Result, Tensor, Var};
use divan::Bencher;
use taper::ops::{self, AdamStep, BlockParameters, Ending};

const BATCH: usize = 64;

/// Side of the picture, channels in, channels out.
const BLOCKS: [(usize, usize, usize); 3] = [(32, 3, 32), (16, 32, 64), (8, 64, 128)];

/// Inputs and outputs.
const LINEAR: [(usize, usize); 2] = [(2048, 512), (512, 10)];

fn main() {
    divan::main();
}

fn variable(shape: &[usize]) -> Var {
    let len: usize = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|i| (i * 7919 % 2003) as f32 / 1001.5 - 1.0).collect();
    Var::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

/// Times `f`, or the way back through it alone.
fn forward(bencher: Bencher, f: impl Fn() -> Result<Tensor> + Sync) {
    bencher.bench(|| f().expect("a result"));
}

fn backward(bencher: Bencher, f: impl Fn() -> Result<Tensor> + Sync) {
    bencher.with_inputs(|| f().expect("a result")).bench_values(|y| y.backward().expect("gradients"));
}

struct Block {
    x: Var,
    weight: Var,
    of_channels: [Var; 3],
}

impl Block {
    fn new((side, inputs, outputs): (usize, usize, usize)) -> Self {
        Self {
            x: variable(&[BATCH, side, side, inputs]),
            weight: variable(&[outputs, inputs, 3, 3]),
            of_channels: [variable(&[outputs]), variable(&[outputs]), variable(&[outputs])],
        }
    }

    fn parameters(&self) -> BlockParameters<'_> {
        let [bias, norm_weight, norm_bias] = &self.of_channels;
        BlockParameters { weight: &self.weight, bias, norm_weight, norm_bias, ending: Ending::Pool }
    }

    fn train(&self) -> Result<Tensor> {
        Ok(ops::conv_block_train(&self.x, self.parameters())?.0)
    }

    fn evaluate(&self) -> Result<Tensor> {
        let estimates = Tensor::ones(self.of_channels[0].dims(), DType::F32, &Device::Cpu)?;
        let parameters = self.parameters();
        ops::conv_block_evaluate(&self.x, parameters, &estimates, &estimates)
    }
}

#[divan::bench(args = BLOCKS)]
fn conv_block_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    let block = Block::new(sizes);
    forward(bencher, || block.train());
}

#[divan::bench(args = BLOCKS)]
fn conv_block_backward(bencher: Bencher, sizes: (usize, usize, usize)) {
    let block = Block::new(sizes);
    backward(bencher, || block.train());
}

#[divan::bench(args = BLOCKS)]
fn conv_block_evaluation(bencher: Bencher, sizes: (usize, usize, usize)) {
    let block = Block::new(sizes);
    forward(bencher, || block.evaluate());
}

#[divan::bench(args = BLOCKS)]
fn convolution_alone_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    let block = Block::new(sizes);
    forward(bencher, || ops::conv2d(&block.x, &block.weight, &block.of_channels[0], 1, 1));
}

#[divan::bench(args = LINEAR)]
fn linear_forward(bencher: Bencher, (inputs, outputs): (usize, usize)) {
    let [x, weight, bias] = [variable(&[BATCH, inputs]), variable(&[outputs, inputs]), variable(&[outputs])];
    forward(bencher, || ops::linear(&x, &weight, &bias));
}

#[divan::bench(args = LINEAR)]
fn linear_backward(bencher: Bencher, (inputs, outputs): (usize, usize)) {
    let [x, weight, bias] = [variable(&[BATCH, inputs]), variable(&[outputs, inputs]), variable(&[outputs])];
    backward(bencher, || ops::linear(&x, &weight, &bias));
}

#[divan::bench]
fn cross_entropy_both_ways(bencher: Bencher) {
    let logits = variable(&[BATCH, 10]);
    let labels = Tensor::from_iter((0..BATCH as u32).map(|i| i % 10), &Device::Cpu).expect("labels");
    bencher.bench(|| ops::cross_entropy(&logits, &labels).and_then(|loss| loss.backward()).expect("gradients"));
}

#[divan::bench]
fn adam_of_a_million(bencher: Bencher) {
    let [parameter, gradient, first, second] = [(); 4].map(|()| variable(&[512, 2048]));
    let second = Var::from_tensor(&second.sqr().expect("squares")).expect("a variable");
    let step = AdamStep { learning_rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: 10 };
    bencher.bench(|| step.apply(&parameter, &gradient, &first, &second).expect("a step"));
}
