//! The kernels, forward and backward, at the sizes of the study's network and batch 64: `cargo bench --bench ops`.
//! `RAYON_NUM_THREADS` sets the threads, `TAPER_SIMD` the path; GFLOP/s are those of `taper bench`.

use candle_core::{DType, Device, Result, Tensor, Var};
use divan::Bencher;
use taper::config::{Activation, Precision};
use taper::ops::{
    self, AdamStep, AfterConvolution, BlockParameters, Epilogue, MuonStep, NonLocal, NormActivation, Projection,
    SgdStep, SpatialGates,
};

const BATCH: usize = 64;

/// Side of the image, channels in, channels out.
const BLOCKS: [(usize, usize, usize); 3] = [(32, 3, 32), (16, 32, 64), (8, 64, 128)];

/// The same, of the convolutions of airbench's network.
const AIRBENCH: [(usize, usize, usize); 5] = [(31, 24, 64), (15, 64, 64), (15, 64, 256), (7, 256, 256), (3, 256, 256)];

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

/// Times `f`, or the backward pass through it alone.
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
        BlockParameters {
            weight: &self.weight,
            bias,
            norm_weight,
            norm_bias,
            epilogue: Epilogue::Pool,
            precision: Precision::F32,
        }
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

/// A convolution of airbench's network, without the pool.
fn conv_pool((side, inputs, outputs): (usize, usize, usize)) -> impl Fn() -> Result<Tensor> + Sync {
    let [x, weight] = [variable(&[BATCH, side, side, inputs]), variable(&[outputs, inputs, 3, 3])];
    move || ops::conv_pool(&x, &weight, AfterConvolution::Nothing, Precision::F32)
}

#[divan::bench(args = AIRBENCH)]
fn airbench_conv_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    forward(bencher, conv_pool(sizes));
}

#[divan::bench(args = AIRBENCH)]
fn airbench_conv_backward(bencher: Bencher, sizes: (usize, usize, usize)) {
    backward(bencher, conv_pool(sizes));
}

/// The normalisation and activation of airbench's network.
fn norm_activation((side, _, channels): (usize, usize, usize)) -> impl Fn() -> Result<Tensor> + Sync {
    let x = variable(&[BATCH, side, side, channels]);
    let [weight, bias] = [variable(&[channels]), variable(&[channels])];
    let (epsilon, activation) = (1e-12, Activation::Gelu);
    move || {
        let norm = NormActivation { weight: &weight, bias: &bias, epsilon, activation };
        Ok(ops::norm_activation_train(&x, norm)?.0)
    }
}

#[divan::bench(args = AIRBENCH)]
fn norm_activation_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    forward(bencher, norm_activation(sizes));
}

#[divan::bench(args = AIRBENCH)]
fn norm_activation_backward(bencher: Bencher, sizes: (usize, usize, usize)) {
    backward(bencher, norm_activation(sizes));
}

#[divan::bench(args = LINEAR)]
fn linear_forward(bencher: Bencher, (inputs, outputs): (usize, usize)) {
    let [x, weight, bias] = [variable(&[BATCH, inputs]), variable(&[outputs, inputs]), variable(&[outputs])];
    forward(bencher, || ops::linear(&x, &weight, &bias, Precision::F32));
}

#[divan::bench(args = LINEAR)]
fn linear_backward(bencher: Bencher, (inputs, outputs): (usize, usize)) {
    let [x, weight, bias] = [variable(&[BATCH, inputs]), variable(&[outputs, inputs]), variable(&[outputs])];
    backward(bencher, || ops::linear(&x, &weight, &bias, Precision::F32));
}

/// What follows a block that attends to channels and positions.
struct Positions {
    x: Var,
    weights: [Var; 3],
}

impl Positions {
    fn new((side, _, channels): (usize, usize, usize)) -> Self {
        let squeezed = channels / 16;
        let weights = [variable(&[squeezed, channels]), variable(&[channels, squeezed]), variable(&[1, 2, 7, 7])];
        Self { x: variable(&[BATCH, side, side, channels]), weights }
    }

    fn pooled(&self) -> Result<Tensor> {
        let [reduce, expand, kernel] = &self.weights;
        ops::spatial_attention_and_pool(&self.x, SpatialGates { channels: Some([reduce, expand]), kernel })
    }
}

#[divan::bench(args = BLOCKS)]
fn spatial_attention_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    let positions = Positions::new(sizes);
    forward(bencher, || positions.pooled());
}

#[divan::bench(args = BLOCKS)]
fn spatial_attention_backward(bencher: Bencher, sizes: (usize, usize, usize)) {
    let positions = Positions::new(sizes);
    backward(bencher, || positions.pooled());
}

/// What follows the last block, if it attends to pairs of positions.
struct Pairs {
    x: Var,
    weights: [[Var; 2]; 4],
}

impl Pairs {
    fn new() -> Self {
        let projection = |outputs: usize, inputs: usize| [variable(&[outputs, inputs, 1, 1]), variable(&[outputs])];
        let weights = [projection(64, 128), projection(64, 128), projection(64, 128), projection(128, 64)];
        Self { x: variable(&[BATCH, 8, 8, 128]), weights }
    }

    fn pooled(&self) -> Result<Tensor> {
        let [theta, phi, g, out] = [0, 1, 2, 3]
            .map(|number: usize| Projection { weight: &self.weights[number][0], bias: &self.weights[number][1] });
        ops::non_local_attention_and_pool(&self.x, NonLocal { theta, phi, g, out })
    }
}

#[divan::bench]
fn non_local_attention_forward(bencher: Bencher) {
    let pairs = Pairs::new();
    forward(bencher, || pairs.pooled());
}

#[divan::bench]
fn non_local_attention_backward(bencher: Bencher) {
    let pairs = Pairs::new();
    backward(bencher, || pairs.pooled());
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
    let step = AdamStep { learning_rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 10 };
    bencher.bench(|| step.apply(&parameter, &gradient, &first, &second).expect("a step"));
}

#[divan::bench]
fn sgd_of_a_million(bencher: Bencher) {
    let [parameter, gradient, velocity] = [(); 3].map(|()| variable(&[512, 2048]));
    let step = SgdStep { learning_rate: 1e-6, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };
    bencher.bench(|| step.apply(&parameter, &gradient, &velocity).expect("a step"));
}

/// Outputs and inputs of 3 x 3 filters: those of the study, and of networks for the record.
#[divan::bench(args = [(32, 3), (64, 32), (128, 64), (256, 256)])]
fn muon_of_filters(bencher: Bencher, (outputs, inputs): (usize, usize)) {
    let [parameter, gradient, velocity] = [(); 3].map(|()| variable(&[outputs, inputs, 3, 3]));
    let step = MuonStep { learning_rate: 1e-6, momentum: 0.6, nesterov: true };
    bencher.bench(|| step.apply(&parameter, &gradient, &velocity).expect("a step"));
}
