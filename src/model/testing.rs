//! Networks and images for tests.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::airbench_shape::AirbenchShape;
use super::{Airbench, Cnn, CnnShape, Mode, Network};
use crate::config::{Activation, AttentionKind, ModelConfig, Pool};
use crate::data::DatasetInfo;
use crate::ops::gradient_check::normal;
use crate::ops::{self, tape};

/// A data set of so many classes, with square images.
pub fn dataset(side: usize, channels: usize, classes: usize) -> DatasetInfo {
    DatasetInfo {
        name: "test".into(),
        channels,
        height: side,
        width: side,
        classes: (0..classes).map(|class| class.to_string()).collect(),
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
    }
}

/// Small networks of 1 to 5 blocks, on images of several sizes, with either pool.
pub fn architectures() -> Vec<(ModelConfig, DatasetInfo)> {
    let network = |channels: &[usize], pool, dataset| {
        (ModelConfig { channels: channels.to_vec(), hidden: 12, pool, ..ModelConfig::default() }, dataset)
    };
    vec![
        network(&[17], Pool::Average, dataset(16, 3, 4)),
        network(&[16, 18], Pool::Flatten, dataset(28, 1, 47)),
        network(&[16, 16, 32], Pool::Flatten, DatasetInfo::cifar10()),
        network(&[16, 16, 17], Pool::Average, dataset(28, 1, 47)),
        network(&[16, 16, 16, 18], Pool::Flatten, dataset(28, 1, 47)),
        network(&[16, 16, 16, 16, 17], Pool::Average, dataset(96, 3, 3)),
    ]
}

/// Those architectures with each kind of attention: all kinds where `all`, or for the study's three blocks.
pub fn with_attention(all: bool) -> impl Iterator<Item = (ModelConfig, DatasetInfo)> {
    architectures().into_iter().flat_map(move |(config, dataset)| {
        let of_study = dataset == DatasetInfo::cifar10();
        let kinds = AttentionKind::ALL
            .iter()
            .copied()
            .filter(move |&kind| all || of_study || matches!(kind, AttentionKind::None | AttentionKind::NonLocal));
        kinds.map(move |attention| (ModelConfig { attention, ..config.clone() }, dataset.clone()))
    })
}

/// Standard normal images (N, H, W, C).
pub fn images(seed: u64, count: usize, dataset: &DatasetInfo) -> Tensor {
    let x = normal(seed, &[count, dataset.height, dataset.width, dataset.channels]);
    x.to_dtype(DType::F32).expect("f32")
}

/// As [`Network::new`].
pub fn cnn(config: &ModelConfig, dataset: &DatasetInfo, seed: u64) -> Cnn {
    let shape = CnnShape::new(config, dataset).expect("a network that can be");
    Cnn::new(shape, config, seed, &Device::Cpu).expect("a network")
}

/// After one forward pass in training, so that its running statistics are not those that it began with, and with numbers in
/// place of zeros that would hide what non-local attention does.
pub fn trained(config: &ModelConfig, dataset: &DatasetInfo) -> Cnn {
    let cnn = cnn(config, dataset, 3);
    cnn.forward(&images(7, 6, dataset), Mode::Train { seed: 0, step: 1 }).expect("a training pass");
    for (name, parameter) in cnn.weights().parameters.iter().filter(|(name, _)| name.contains(".W.")) {
        let value = normal(name.len() as u64, parameter.dims()).to_dtype(DType::F32).expect("f32");
        parameter.set(&(value * 0.1).expect("f32")).expect("of the same shape");
    }
    cnn
}

/// A tiny network of the study's shape.
pub fn tiny(seed: u64) -> Network {
    let config = ModelConfig { channels: vec![2, 3, 4], hidden: 5, ..ModelConfig::default() };
    Network::new(&config, &DatasetInfo::cifar10(), seed, &Device::Cpu).expect("a network")
}

/// Small networks like airbench's, of each activation and pool, on images of several sizes.
pub fn airbenches() -> [(ModelConfig, DatasetInfo); 3] {
    let config = |channels: &[usize], activation, pool, whitening| ModelConfig {
        channels: channels.to_vec(),
        activation,
        pool,
        whitening,
        ..ModelConfig::airbench()
    };
    [
        (config(&[25, 32, 32], Activation::Gelu, Pool::Max, false), DatasetInfo::cifar10()),
        (config(&[9], Activation::Silu, Pool::Flatten, false), dataset(6, 1, 4)),
        (config(&[5, 6], Activation::Relu, Pool::Average, false), DatasetInfo { width: 15, ..dataset(12, 3, 3) }),
    ]
}

/// As [`Network::new`].
pub fn airbench(config: &ModelConfig, dataset: &DatasetInfo, seed: u64) -> Airbench {
    let shape = AirbenchShape::new(config, dataset).expect("a network that can be");
    Airbench::new(shape, config, seed, &Device::Cpu).expect("a network")
}

/// That the tape's gradients of the loss of three images are candle's, to the bit.
pub fn assert_tape_is_candle(
    parameters: &[(String, Var)],
    config: &ModelConfig,
    logits: impl Fn() -> Result<Tensor>,
) -> Result<()> {
    let labels = Tensor::new(&[1u32, 2, 0], &Device::Cpu)?;
    let loss = || ops::cross_entropy(&logits()?, &labels);
    let expected = loss()?.backward()?;
    let (loss, tape) = tape::record(loss)?;
    assert!(!tape::is_recording() && !loss.track_op());
    let ours = tape.backward(&loss)?;
    for (name, parameter) in parameters {
        let of = |gradient: Option<&Tensor>| gradient.expect(name).flatten_all()?.to_vec1::<f32>();
        assert_eq!(of(ours.get(parameter))?, of(expected.get(parameter))?, "{config:?}: {name}");
    }
    Ok(())
}

/// That one image's gradient is near to what is expected of it, of which some number is not 0.
pub fn assert_gradient_near(ours: &[f32], expected: &Tensor, what: &str) -> Result<()> {
    let expected = expected.flatten_all()?.to_vec1::<f32>()?;
    let greatest = expected.iter().fold(0f32, |greatest, value| greatest.max(value.abs()));
    let error = ours.iter().zip(&expected).fold(0f32, |error, (a, b)| error.max((a - b).abs()));
    assert!(greatest > 0.0 && error <= 1e-4 * greatest, "{what}: {error:e} of {greatest:e}");
    Ok(())
}
