//! A network as an ONNX model (operator set 17): from images with channels first, (N, C, H, W) in [0, 1], to logits. The graph
//! normalises the images itself.

mod graph;
#[cfg(test)]
mod interpreter;
mod proto;

use anyhow::{Result, anyhow, ensure};
use prost::Message;
use safetensors::{Dtype, SafeTensors};

use self::graph::{GraphBuilder, Name, float, integer, list};
use self::proto::{Model, OperatorSet, Property};
use crate::config::{Activation, AttentionKind, ModelConfig, NetworkKind, Pool};
use crate::data::DatasetInfo;
use crate::version::VERSION;

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;
const PRODUCER: &str = "taper";
const INPUT: &str = "images";
const OUTPUT: &str = "logits";

/// The bytes of a model of that configuration with the weights in the bytes of a safetensors file.
///
/// # Errors
/// A weight is missing, or is no tensor of f32.
pub fn to_onnx(config: &ModelConfig, info: &DatasetInfo, weights: &[u8]) -> Result<Vec<u8>> {
    let weights = SafeTensors::deserialize(weights)?;
    let mut network = Builder { graph: GraphBuilder::default(), weights, config, info };
    let size = [info.channels, info.height, info.width];
    let images = network.graph.input(INPUT, &size);
    let x = network.normalise(&images);
    let (logits, classes) = match config.network {
        NetworkKind::Cnn => network.cnn(x)?,
        NetworkKind::Airbench => network.airbench(x)?,
    };
    ensure!(classes == info.classes.len(), "{classes} logits, but {} classes", info.classes.len());
    let graph = network.graph.finish(&info.name, &logits, OUTPUT, &[classes]);
    let property = |key: &str, value: String| Property { key: key.to_owned(), value };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: PRODUCER.into(),
        producer_version: VERSION.into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }],
        metadata_props: vec![
            property("classes", serde_json::to_string(&info.classes)?),
            property(
                "input",
                format!("{INPUT}: (N, {}, {}, {}), from 0 to 1, not normalised", size[0], size[1], size[2]),
            ),
        ],
    };
    Ok(model.encode_to_vec())
}

/// Whether the bytes are a model that [`to_onnx`] made.
pub fn is_of_taper(bytes: &[u8]) -> bool {
    Model::decode(bytes).is_ok_and(|model| model.producer_name == PRODUCER)
}

struct Builder<'a> {
    graph: GraphBuilder,
    weights: SafeTensors<'a>,
    config: &'a ModelConfig,
    info: &'a DatasetInfo,
}

impl Builder<'_> {
    /// The tensor of that name, in its own shape.
    fn weight(&mut self, name: &str) -> Result<Name> {
        let dims = self.dims(name)?;
        self.reshaped(name, &dims)
    }

    fn dims(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.weights.tensor(name).map_err(|error| anyhow!("{name}: {error}"))?.shape().to_vec())
    }

    fn reshaped(&mut self, name: &str, dims: &[usize]) -> Result<Name> {
        let tensor = self.weights.tensor(name).map_err(|error| anyhow!("{name}: {error}"))?;
        ensure!(tensor.dtype() == Dtype::F32, "{name}: {:?} instead of f32", tensor.dtype());
        let (bytes, []) = tensor.data().as_chunks() else { return Err(anyhow!("{name}: a part of a number")) };
        Ok(self.graph.floats(name, dims, bytes.iter().map(|&number| f32::from_le_bytes(number))))
    }

    fn normalise(&mut self, x: &Name) -> Name {
        let info = self.info;
        let dims = [1, info.channels, 1, 1];
        let mean = self.graph.floats("mean", &dims, info.mean.iter().copied());
        let std = self.graph.floats("std", &dims, info.std.iter().copied());
        let centred = self.graph.node("centred", "Sub", &[x, &mean], vec![]);
        self.graph.node("normalised", "Div", &[&centred, &std], vec![])
    }

    /// The logits, and how many.
    fn cnn(&mut self, mut x: Name) -> Result<(Name, usize)> {
        let blocks = self.config.channels.len();
        for number in 1..=blocks {
            let weights = [self.weight(&format!("conv{number}.weight"))?, self.weight(&format!("conv{number}.bias"))?];
            x = self.conv(&format!("conv{number}"), &x, &weights, 1);
            x = self.batch_norm(&format!("bn{number}"), &x, 1e-5)?;
            x = self.graph.node(&format!("relu{number}"), "Relu", &[&x], vec![]);
            x = self.attention(number, number == blocks, x)?;
            x = self.max_pool(&format!("pool{number}"), &x);
        }
        x = self.pooled(&x);
        x = self.linear("fc1", &x)?;
        x = self.graph.node("relu", "Relu", &[&x], vec![]);
        Ok((self.linear("fc2", &x)?, self.dims("fc2.weight")?[0]))
    }

    fn airbench(&mut self, mut x: Name) -> Result<(Name, usize)> {
        let weights = [self.weight("whiten.weight")?, self.weight("whiten.bias")?];
        x = self.conv("whiten", &x, &weights, 0);
        x = self.activation("whiten", &x);
        for number in 1..=self.config.channels.len() {
            let name = |part: &str| format!("layers.{number}.{part}");
            for (part, norm) in [("conv1", "norm1"), ("conv2", "norm2")] {
                let weights = [self.weight(&format!("{}.weight", name(part)))?];
                x = self.conv(&name(part), &x, &weights, 1);
                if part == "conv1" {
                    x = self.max_pool(&name("pool"), &x);
                }
                x = self.batch_norm(&name(norm), &x, 1e-12)?;
                x = self.activation(&name(norm), &x);
            }
        }
        x = self.pooled(&x);
        let weight = self.weight("head.weight")?;
        let attributes = vec![integer("transB", 1), float("alpha", 1.0 / 9.0)];
        let logits = self.graph.node("head", "Gemm", &[&x, &weight], attributes);
        Ok((logits, self.dims("head.weight")?[0]))
    }

    /// `weights`: the kernel, and a bias if there is one.
    fn conv(&mut self, name: &str, x: &Name, weights: &[Name], padding: i64) -> Name {
        let inputs: Vec<&Name> = std::iter::once(x).chain(weights).collect();
        self.graph.node(name, "Conv", &inputs, vec![list("pads", &[padding; 4])])
    }

    fn batch_norm(&mut self, name: &str, x: &Name, epsilon: f32) -> Result<Name> {
        let parts = ["weight", "bias", "running_mean", "running_var"];
        let weights = parts.iter().map(|part| self.weight(&format!("{name}.{part}"))).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&Name> = std::iter::once(x).chain(&weights).collect();
        Ok(self.graph.node(name, "BatchNormalization", &inputs, vec![float("epsilon", epsilon)]))
    }

    fn max_pool(&mut self, name: &str, x: &Name) -> Name {
        self.graph.node(name, "MaxPool", &[x], vec![list("kernel_shape", &[2, 2]), list("strides", &[2, 2])])
    }

    /// A feature map to a vector.
    fn pooled(&mut self, x: &Name) -> Name {
        let pooled = match self.config.pool {
            Pool::Flatten => x.clone(),
            Pool::Average => self.graph.node("average", "GlobalAveragePool", &[x], vec![]),
            Pool::Max => self.graph.node("max", "GlobalMaxPool", &[x], vec![]),
        };
        self.graph.node("flatten", "Flatten", &[&pooled], vec![integer("axis", 1)])
    }

    fn linear(&mut self, name: &str, x: &Name) -> Result<Name> {
        let (weight, bias) = (self.weight(&format!("{name}.weight"))?, self.weight(&format!("{name}.bias"))?);
        Ok(self.graph.node(name, "Gemm", &[x, &weight, &bias], vec![integer("transB", 1)]))
    }

    fn activation(&mut self, of: &str, x: &Name) -> Name {
        let name = |part: &str| format!("{of}.{part}");
        match self.config.activation {
            Activation::Relu => self.graph.node(&name("relu"), "Relu", &[x], vec![]),
            Activation::Silu => {
                let gate = self.graph.node(&name("sigmoid"), "Sigmoid", &[x], vec![]);
                self.graph.node(&name("silu"), "Mul", &[x, &gate], vec![])
            }
            // x / 2 (1 + erf(x / √2)): the operator set has it from 20 on only.
            Activation::Gelu => {
                let mut constant = |part: &str, value: f32| self.graph.floats(&name(part), &[], [value]);
                let (root, one, half) =
                    (constant("root", std::f32::consts::SQRT_2), constant("one", 1.0), constant("half", 0.5));
                let scaled = self.graph.node(&name("scaled"), "Div", &[x, &root], vec![]);
                let erf = self.graph.node(&name("erf"), "Erf", &[&scaled], vec![]);
                let raised = self.graph.node(&name("raised"), "Add", &[&erf, &one], vec![]);
                let product = self.graph.node(&name("product"), "Mul", &[x, &raised], vec![]);
                self.graph.node(&name("gelu"), "Mul", &[&product, &half], vec![])
            }
        }
    }

    fn attention(&mut self, block: usize, is_last: bool, x: Name) -> Result<Name> {
        match self.config.attention {
            AttentionKind::None => Ok(x),
            AttentionKind::Se => {
                let mean = self.graph.node(&format!("ca{block}.mean"), "GlobalAveragePool", &[&x], vec![]);
                let weights = self.excitation_weights(block)?;
                let excited = self.excited(&format!("ca{block}.mean"), &mean, &weights);
                Ok(self.gated(&format!("ca{block}"), &x, &excited))
            }
            AttentionKind::Eca => self.efficient_channel_attention(block, &x),
            AttentionKind::Spatial => self.spatial_attention(block, &x),
            AttentionKind::Cbam => {
                let mean = self.graph.node(&format!("ca{block}.mean"), "GlobalAveragePool", &[&x], vec![]);
                let most = self.graph.node(&format!("ca{block}.most"), "GlobalMaxPool", &[&x], vec![]);
                let weights = self.excitation_weights(block)?;
                let of_mean = self.excited(&format!("ca{block}.mean"), &mean, &weights);
                let of_most = self.excited(&format!("ca{block}.most"), &most, &weights);
                let sum = self.graph.node(&format!("ca{block}.sum"), "Add", &[&of_mean, &of_most], vec![]);
                let x = self.gated(&format!("ca{block}"), &x, &sum);
                self.spatial_attention(block, &x)
            }
            AttentionKind::NonLocal if is_last => self.non_local(block, &x),
            AttentionKind::NonLocal => Ok(x),
        }
    }

    /// The two layers of squeeze-and-excitation, as convolutions of 1 x 1.
    fn excitation_weights(&mut self, block: usize) -> Result<[Name; 2]> {
        let mut weight = |name: String| {
            let dims = [&self.dims(&name)?[..], &[1, 1]].concat();
            self.reshaped(&name, &dims)
        };
        Ok([weight(format!("ca{block}.fc.0.weight"))?, weight(format!("ca{block}.fc.2.weight"))?])
    }

    fn excited(&mut self, name: &str, x: &Name, [reduce, expand]: &[Name; 2]) -> Name {
        let reduced = self.graph.node(&format!("{name}.reduced"), "Conv", &[x, reduce], vec![]);
        let active = self.graph.node(&format!("{name}.relu"), "Relu", &[&reduced], vec![]);
        self.graph.node(&format!("{name}.expanded"), "Conv", &[&active, expand], vec![])
    }

    /// `x` times the sigmoid of `logits`.
    fn gated(&mut self, name: &str, x: &Name, logits: &Name) -> Name {
        let gates = self.graph.node(&format!("{name}.gates"), "Sigmoid", &[logits], vec![]);
        self.graph.node(&format!("{name}.gated"), "Mul", &[x, &gates], vec![])
    }

    fn efficient_channel_attention(&mut self, block: usize, x: &Name) -> Result<Name> {
        let name = |part: &str| format!("eca{block}.{part}");
        let kernel = self.weight(&name("conv.weight"))?;
        let padding = (self.dims(&name("conv.weight"))?[2] / 2) as i64;
        // The channels beside each other, as a signal of one channel.
        let (row, map) =
            (self.graph.integers(&name("row"), &[0, 1, -1]), self.graph.integers(&name("map"), &[0, -1, 1, 1]));
        let mean = self.graph.node(&name("mean"), "GlobalAveragePool", &[x], vec![]);
        let signal = self.graph.node(&name("signal"), "Reshape", &[&mean, &row], vec![]);
        let mixed = self.graph.node(&name("conv"), "Conv", &[&signal, &kernel], vec![list("pads", &[padding; 2])]);
        let logits = self.graph.node(&name("logits"), "Reshape", &[&mixed, &map], vec![]);
        Ok(self.gated(&format!("eca{block}"), x, &logits))
    }

    fn spatial_attention(&mut self, block: usize, x: &Name) -> Result<Name> {
        let name = |part: &str| format!("sa{block}.{part}");
        let kernel = self.weight(&name("conv.weight"))?;
        let padding = (self.dims(&name("conv.weight"))?[2] / 2) as i64;
        let over_channels = || vec![list("axes", &[1]), integer("keepdims", 1)];
        let mean = self.graph.node(&name("mean"), "ReduceMean", &[x], over_channels());
        let most = self.graph.node(&name("most"), "ReduceMax", &[x], over_channels());
        let both = self.graph.node(&name("both"), "Concat", &[&mean, &most], vec![integer("axis", 1)]);
        let logits = self.conv(&name("conv"), &both, &[kernel], padding);
        Ok(self.gated(&format!("sa{block}"), x, &logits))
    }

    fn non_local(&mut self, block: usize, x: &Name) -> Result<Name> {
        let name = |part: &str| format!("nl{block}.{part}");
        let inner = self.dims(&name("theta.weight"))?[0] as i64;
        // Each block before this one halves the sides.
        let side = |side: usize| (side >> (block - 1)) as i64;
        let columns = self.graph.integers(&name("columns"), &[0, inner, -1]);
        let projected = |builder: &mut Self, part: &str| -> Result<Name> {
            let weights =
                [builder.weight(&name(&format!("{part}.weight")))?, builder.weight(&name(&format!("{part}.bias")))?];
            let map = builder.conv(&name(part), x, &weights, 0);
            Ok(builder.graph.node(&name(&format!("{part}.columns")), "Reshape", &[&map, &columns], vec![]))
        };
        // Each (N, C / 2, positions).
        let (theta, phi, g) = (projected(self, "theta")?, projected(self, "phi")?, projected(self, "g")?);
        let transposed = || vec![list("perm", &[0, 2, 1])];
        let queries = self.graph.node(&name("queries"), "Transpose", &[&theta], transposed());
        let scores = self.graph.node(&name("scores"), "MatMul", &[&queries, &phi], vec![]);
        let matrix = self.graph.node(&name("matrix"), "Softmax", &[&scores], vec![integer("axis", 2)]);
        let values = self.graph.node(&name("values"), "Transpose", &[&g], transposed());
        let seen = self.graph.node(&name("seen"), "MatMul", &[&matrix, &values], vec![]);
        let seen = self.graph.node(&name("seen.columns"), "Transpose", &[&seen], transposed());
        let dims = [0, inner, side(self.info.height), side(self.info.width)];
        let dims = self.graph.integers(&name("map"), &dims);
        let seen = self.graph.node(&name("seen.map"), "Reshape", &[&seen, &dims], vec![]);
        let weights = [self.weight(&name("W.weight"))?, self.weight(&name("W.bias"))?];
        let out = self.conv(&name("W"), &seen, &weights, 0);
        Ok(self.graph.node(&name("sum"), "Add", &[x, &out], vec![]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device, Tensor};

    use super::interpreter::{Array, run};
    use super::*;
    use crate::data::Dataset;
    use crate::data::loader::evaluation_batch;
    use crate::model::{Mode, Network, input};
    use crate::random::{Purpose, stream};

    fn dataset(channels: usize, [height, width]: [usize; 2]) -> DatasetInfo {
        let classes = ["cat", "dog", "horse"].map(str::to_owned).to_vec();
        let (mean, std) = (vec![0.45; channels], vec![0.2; channels]);
        DatasetInfo { name: "animals".into(), channels, height, width, classes, mean, std }
    }

    /// Three images of noise.
    fn images(info: &DatasetInfo) -> Dataset {
        use rand::RngCore;
        let mut images = Dataset::new(Arc::new(info.clone()));
        for number in 0..3 {
            let mut bytes = vec![0; info.size().bytes()];
            stream(number, Purpose::Augment, 0, 0).fill_bytes(&mut bytes);
            images.push(number as u16, &bytes);
        }
        images
    }

    /// The logits of the network, and of its model.
    fn logits(config: &ModelConfig, info: &DatasetInfo) -> (Vec<f32>, Vec<f64>) {
        let network = Network::new(config, info, 1, &Device::Cpu).unwrap();
        let images = images(info);
        network.prepare(&images).unwrap();
        // Weights that begin as zeros or ones would hide what is wrong with them.
        for (name, var) in network.weights().named().filter(|(_, var)| var.dtype() == DType::F32) {
            let seed: u64 = name.bytes().map(u64::from).sum();
            let noise = (0..var.elem_count()).map(|at| 0.02 * ((seed * 31 + at as u64 * 17) % 13) as f32);
            let noise = Tensor::from_iter(noise, &Device::Cpu).unwrap().reshape(var.shape()).unwrap();
            var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
        }
        let batch = evaluation_batch(&images, 0..3).unwrap();
        let x = input::images(&batch, &Device::Cpu).unwrap();
        let expected = network.forward(&x, Mode::Evaluate).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let model = to_onnx(config, info, &network.weights().to_safetensors().unwrap()).unwrap();
        let values = images.in_memory().unwrap().iter().map(|&byte| f64::from(byte) / 255.0).collect();
        let output = run(&model, Array { dims: vec![3, info.channels, info.height, info.width], values });
        assert_eq!(output.dims, [3, 3]);
        (expected, output.values)
    }

    fn assert_equal(config: &ModelConfig, info: &DatasetInfo) {
        let (expected, found) = logits(config, info);
        let greatest = expected.iter().fold(0f32, |greatest, logit| greatest.max(logit.abs()));
        let error = expected.iter().zip(&found).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(greatest > 0.01 && error < 1e-5 * f64::from(greatest.max(1.0)), "{config:?}: {error:e} of {greatest}");
    }

    #[test]
    fn the_study_s_network_with_any_attention_is_equal() {
        for &attention in AttentionKind::ALL {
            let config = ModelConfig { channels: vec![16, 32], hidden: 6, attention, ..ModelConfig::default() };
            assert_equal(&config, &dataset(3, [12, 12]));
        }
        for pool in [Pool::Average, Pool::Max] {
            let config = ModelConfig { channels: vec![3, 4, 5], hidden: 6, pool, ..ModelConfig::default() };
            assert_equal(&config, &dataset(1, [13, 10]));
        }
    }

    #[test]
    fn airbench_is_equal() {
        for (activation, pool, whitening) in [
            (Activation::Gelu, Pool::Max, true),
            (Activation::Silu, Pool::Flatten, false),
            (Activation::Relu, Pool::Average, false),
        ] {
            let config = ModelConfig { channels: vec![5, 6], activation, pool, whitening, ..ModelConfig::airbench() };
            assert_equal(&config, &dataset(3, [13, 13]));
        }
    }

    #[test]
    fn a_model_of_taper_s_is_told_from_others() {
        let model = Model { producer_name: "pytorch".into(), ..Model::default() }.encode_to_vec();
        assert!(!is_of_taper(&model) && !is_of_taper(b"") && !is_of_taper(b"text, and no model"));
        let model = Model { producer_name: PRODUCER.into(), ..Model::default() }.encode_to_vec();
        assert!(is_of_taper(&model));
    }

    #[test]
    fn a_missing_weight_is_named() {
        let config = ModelConfig { channels: vec![2], hidden: 3, ..ModelConfig::default() };
        let empty = safetensors::serialize(Vec::<(&str, safetensors::tensor::TensorView)>::new(), None).unwrap();
        let error = to_onnx(&config, &dataset(1, [4, 4]), &empty).unwrap_err().to_string();
        assert!(error.contains("conv1.weight"), "{error}");
    }
}
