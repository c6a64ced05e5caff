//! A graph that grows node by node.

use super::proto::{
    Attribute, AttributeType, DataType, Dimension, Graph, Node, Shape, Tensor, TensorType, Type, Value,
};

/// What a node, an input or a tensor gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

#[derive(Default)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An input or output with a batch of any size.
    fn value(name: &str, dims: &[usize]) -> Value {
        let number = |&dim: &usize| Dimension { dim_value: Some(dim as i64), dim_param: None };
        let batch = Dimension { dim_value: None, dim_param: Some("N".into()) };
        let shape = Shape { dim: std::iter::once(batch).chain(dims.iter().map(number)).collect() };
        let tensor_type = TensorType { elem_type: DataType::Float.into(), shape: Some(shape) };
        Value { name: name.to_owned(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
    }

    pub fn input(&mut self, name: &str, dims: &[usize]) -> Name {
        self.graph.input.push(Self::value(name, dims));
        Name(name.to_owned())
    }

    pub fn floats(&mut self, name: &str, dims: &[usize], values: impl IntoIterator<Item = f32>) -> Name {
        self.tensor(name, dims, DataType::Float, values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    pub fn integers(&mut self, name: &str, values: &[i64]) -> Name {
        self.tensor(
            name,
            &[values.len()],
            DataType::Int64,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    fn tensor(&mut self, name: &str, dims: &[usize], data_type: DataType, raw_data: Vec<u8>) -> Name {
        let dims = dims.iter().map(|&dim| dim as i64).collect();
        self.graph.initializer.push(Tensor { dims, data_type: data_type.into(), name: name.to_owned(), raw_data });
        Name(name.to_owned())
    }

    /// A node with one output, which has its name.
    pub fn node(&mut self, name: &str, op_type: &str, inputs: &[&Name], attributes: Vec<Attribute>) -> Name {
        self.graph.node.push(Node {
            input: inputs.iter().map(|name| name.0.clone()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute: attributes,
        });
        Name(name.to_owned())
    }

    /// With that output, a node's, which gets the name.
    pub fn finish(mut self, graph: &str, output: &Name, name: &str, dims: &[usize]) -> Graph {
        let last = self.graph.node.iter_mut().find(|node| node.output[0] == output.0).expect("the output is a node's");
        last.output[0] = name.to_owned();
        self.graph.output.push(Self::value(name, dims));
        self.graph.name = graph.to_owned();
        self.graph
    }
}

pub fn integer(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, r#type: AttributeType::Int.into(), ..Attribute::default() }
}

pub fn list(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: ints.to_vec(), r#type: AttributeType::Ints.into(), ..Attribute::default() }
}

pub fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.to_owned(), f, r#type: AttributeType::Float.into(), ..Attribute::default() }
}
