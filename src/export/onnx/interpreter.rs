//! Computes an ONNX graph by the definitions of its operators, in f64, for tests: slow, and independent of the network.

use std::collections::HashMap;

use prost::Message;

use super::proto::{Attribute, DataType, Model, Node};

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub dims: Vec<usize>,
    pub values: Vec<f64>,
}

/// The output of a model of one input.
pub fn run(model: &[u8], input: Array) -> Array {
    let graph = Model::decode(model).unwrap().graph.unwrap();
    let mut known: HashMap<String, Array> = HashMap::new();
    for tensor in &graph.initializer {
        let dims = tensor.dims.iter().map(|&dim| dim as usize).collect();
        let values = match tensor.data_type() {
            DataType::Float => {
                tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect()
            }
            DataType::Int64 => {
                tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect()
            }
            DataType::Undefined => panic!("{}", tensor.name),
        };
        assert!(known.insert(tensor.name.clone(), Array { dims, values }).is_none(), "{} is there twice", tensor.name);
    }
    known.insert(graph.input[0].name.clone(), input);
    for node in &graph.node {
        let inputs: Vec<&Array> = node.input.iter().map(|name| &known[name]).collect();
        let output = compute(node, &inputs);
        assert!(known.insert(node.output[0].clone(), output).is_none(), "{} is there twice", node.name);
    }
    known.remove(&graph.output[0].name).unwrap()
}

fn attribute<'a>(node: &'a Node, name: &str) -> Option<&'a Attribute> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn compute(node: &Node, inputs: &[&Array]) -> Array {
    let integer = |name: &str, default: i64| attribute(node, name).map_or(default, |attribute| attribute.i);
    let x = inputs[0];
    match node.op_type.as_str() {
        "Sub" => broadcast(x, inputs[1], |a, b| a - b),
        "Div" => broadcast(x, inputs[1], |a, b| a / b),
        "Add" => broadcast(x, inputs[1], |a, b| a + b),
        "Mul" => broadcast(x, inputs[1], |a, b| a * b),
        "Relu" => map(x, |value| value.max(0.0)),
        "Sigmoid" => map(x, |value| 1.0 / (1.0 + (-value).exp())),
        "Erf" => map(x, erf),
        "Conv" => conv(node, x, inputs[1], inputs.get(2).copied()),
        "BatchNormalization" => {
            let epsilon = f64::from(attribute(node, "epsilon").unwrap().f);
            per_channel(x, |channel, value| {
                let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|input: usize| inputs[input].values[channel]);
                (value - mean) / (variance + epsilon).sqrt() * scale + bias
            })
        }
        "MaxPool" => {
            assert!(["kernel_shape", "strides"].iter().all(|name| attribute(node, name).unwrap().ints == [2, 2]));
            let [n, c, h, w] = x.dims[..] else { panic!("{:?}", x.dims) };
            fill(vec![n, c, h / 2, w / 2], |at| {
                let corner = [(0, 0), (0, 1), (1, 0), (1, 1)];
                corner
                    .map(|(y, z)| x.at(&[at[0], at[1], 2 * at[2] + y, 2 * at[3] + z]))
                    .into_iter()
                    .fold(f64::MIN, f64::max)
            })
        }
        "GlobalAveragePool" => over_positions(x, |plane| plane.iter().sum::<f64>() / plane.len() as f64),
        "GlobalMaxPool" => over_positions(x, |plane| plane.iter().copied().fold(f64::MIN, f64::max)),
        "Flatten" => Array { dims: vec![x.dims[0], x.values.len() / x.dims[0]], values: x.values.clone() },
        "Gemm" => {
            assert_eq!(integer("transB", 0), 1);
            let alpha = attribute(node, "alpha").map_or(1.0, |alpha| f64::from(alpha.f));
            let (weight, inner) = (inputs[1], x.dims[1]);
            fill(vec![x.dims[0], weight.dims[0]], |at| {
                let product: f64 = (0..inner).map(|k| x.at(&[at[0], k]) * weight.at(&[at[1], k])).sum();
                alpha * product + inputs.get(2).map_or(0.0, |bias| bias.values[at[1]])
            })
        }
        "Reshape" => {
            let mut dims: Vec<i64> = inputs[1].values.iter().map(|&dim| dim as i64).collect();
            for (number, dim) in dims.iter_mut().enumerate().filter(|(_, dim)| **dim == 0) {
                *dim = x.dims[number] as i64;
            }
            let known: i64 = dims.iter().filter(|&&dim| dim != -1).product();
            let dims =
                dims.into_iter().map(|dim| if dim == -1 { x.values.len() / known as usize } else { dim as usize });
            let dims: Vec<usize> = dims.collect();
            assert_eq!(dims.iter().product::<usize>(), x.values.len());
            Array { dims, values: x.values.clone() }
        }
        "ReduceMean" | "ReduceMax" => {
            assert_eq!((&attribute(node, "axes").unwrap().ints[..], integer("keepdims", 1)), (&[1][..], 1));
            let [n, c, h, w] = x.dims[..] else { panic!("{:?}", x.dims) };
            fill(vec![n, 1, h, w], |at| {
                let channels = (0..c).map(|channel| x.at(&[at[0], channel, at[2], at[3]]));
                if node.op_type == "ReduceMax" {
                    channels.fold(f64::MIN, f64::max)
                } else {
                    channels.sum::<f64>() / c as f64
                }
            })
        }
        "Concat" => {
            assert_eq!(integer("axis", 0), 1);
            let (one, other) = (x, inputs[1]);
            let dims = vec![one.dims[0], one.dims[1] + other.dims[1], one.dims[2], one.dims[3]];
            fill(dims, |at| match at[1].checked_sub(one.dims[1]) {
                None => one.at(at),
                Some(channel) => other.at(&[at[0], channel, at[2], at[3]]),
            })
        }
        "Transpose" => {
            assert_eq!(attribute(node, "perm").unwrap().ints, [0, 2, 1]);
            fill(vec![x.dims[0], x.dims[2], x.dims[1]], |at| x.at(&[at[0], at[2], at[1]]))
        }
        "MatMul" => {
            let y = inputs[1];
            fill(vec![x.dims[0], x.dims[1], y.dims[2]], |at| {
                (0..x.dims[2]).map(|k| x.at(&[at[0], at[1], k]) * y.at(&[at[0], k, at[2]])).sum()
            })
        }
        "Softmax" => {
            assert_eq!(integer("axis", -1), x.dims.len() as i64 - 1);
            let mut values = x.values.clone();
            for row in values.chunks_mut(x.dims[x.dims.len() - 1]) {
                let most = row.iter().copied().fold(f64::MIN, f64::max);
                row.iter_mut().for_each(|value| *value = (*value - most).exp());
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|value| *value /= sum);
            }
            Array { dims: x.dims.clone(), values }
        }
        other => panic!("{other}"),
    }
}

impl Array {
    fn at(&self, position: &[usize]) -> f64 {
        let index = position.iter().zip(&self.dims).fold(0, |index, (&position, &dim)| {
            assert!(position < dim);
            index * dim + position
        });
        self.values[index]
    }
}

/// Each value from its position.
fn fill(dims: Vec<usize>, value: impl Fn(&[usize]) -> f64) -> Array {
    let count = dims.iter().product();
    let mut position = vec![0; dims.len()];
    let values = (0..count)
        .map(|index: usize| {
            let mut rest = index;
            for (position, dim) in position.iter_mut().zip(&dims).rev() {
                *position = rest % dim;
                rest /= dim;
            }
            value(&position)
        })
        .collect();
    Array { dims, values }
}

fn map(x: &Array, f: impl Fn(f64) -> f64) -> Array {
    Array { dims: x.dims.clone(), values: x.values.iter().map(|&value| f(value)).collect() }
}

fn per_channel(x: &Array, f: impl Fn(usize, f64) -> f64) -> Array {
    fill(x.dims.clone(), |at| f(at[1], x.at(at)))
}

fn over_positions(x: &Array, f: impl Fn(&[f64]) -> f64) -> Array {
    let plane = x.dims[2] * x.dims[3];
    Array { dims: vec![x.dims[0], x.dims[1], 1, 1], values: x.values.chunks(plane).map(f).collect() }
}

fn broadcast(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let rank = a.dims.len().max(b.dims.len());
    let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
    let [a, b] = [a, b].map(|array| Array { dims: padded(&array.dims), values: array.values.clone() });
    let dims = a.dims.iter().zip(&b.dims).map(|(&a, &b)| a.max(b)).collect();
    let within = |array: &Array, at: &[usize]| {
        array.at(&at.iter().zip(&array.dims).map(|(&at, &dim)| if dim == 1 { 0 } else { at }).collect::<Vec<_>>())
    };
    fill(dims, |at| f(within(&a, at), within(&b, at)))
}

/// Of one or two dimensions, stride 1.
fn conv(node: &Node, x: &Array, weight: &Array, bias: Option<&Array>) -> Array {
    let one_dimension = x.dims.len() == 3;
    let two = |dims: &[usize]| if one_dimension { vec![dims[0], dims[1], 1, dims[2]] } else { dims.to_vec() };
    let pads = attribute(node, "pads").map_or(vec![], |pads| pads.ints.clone());
    let (top, left) = match pads[..] {
        [] => (0, 0),
        [left, right] if left == right => (0, left),
        [top, left, bottom, right] if (top, left) == (bottom, right) => (top, left),
        _ => panic!("{pads:?}"),
    };
    let x = Array { dims: two(&x.dims), values: x.values.clone() };
    let weight = Array { dims: two(&weight.dims), values: weight.values.clone() };
    let [n, c, h, w] = x.dims[..] else { panic!("{:?}", x.dims) };
    let [outputs, inputs, kh, kw] = weight.dims[..] else { panic!("{:?}", weight.dims) };
    assert_eq!(c, inputs);
    let (height, width) = (h + 2 * top as usize + 1 - kh, w + 2 * left as usize + 1 - kw);
    let y = fill(vec![n, outputs, height, width], |at| {
        let mut sum = bias.map_or(0.0, |bias| bias.values[at[1]]);
        for channel in 0..c {
            for row in 0..kh {
                for column in 0..kw {
                    let (y, z) = ((at[2] + row) as i64 - top, (at[3] + column) as i64 - left);
                    if (0..h as i64).contains(&y) && (0..w as i64).contains(&z) {
                        sum +=
                            x.at(&[at[0], channel, y as usize, z as usize]) * weight.at(&[at[1], channel, row, column]);
                    }
                }
            }
        }
        sum
    });
    if one_dimension { Array { dims: vec![n, outputs, width], values: y.values } } else { y }
}

/// By its series (Abramowitz and Stegun 7.1.6), which converges everywhere.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[test]
fn erf_has_its_known_values() {
    for (x, expected) in
        [(0.0, 0.0), (0.5, 0.520_499_877_813_046_5), (-1.0, -0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4)]
    {
        assert!((erf(x) - expected).abs() < 1e-14, "{x}");
    }
}
