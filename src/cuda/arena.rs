//! All parameters of a network one after another, so that the optimizer moves them in one pass. Weights are in the order in
//! which the kernels read them, which differs from PyTorch's.

use std::ops::Range;

use anyhow::{Context as _, Result};

use crate::config::Pool;
use crate::model::{HeadShape, Network};

/// Parameters begin at multiples of this, so that four numbers can be read at once.
const ALIGNMENT: usize = 4;

/// Where a parameter is, and how its numbers are ordered.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    first: usize,
    len: usize,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As in PyTorch.
    Same,
    /// A matrix of `rows` whose columns are (A, B) in PyTorch, and (B, A) here, before the rows or after them.
    Swapped { rows: usize, a: usize, b: usize, rows_last: bool },
}

impl Parameter {
    pub fn first(&self) -> usize {
        self.first
    }

    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.len
    }

    /// Calls `pair(here, in PyTorch)` with the place of every number.
    fn for_each_place(&self, mut pair: impl FnMut(usize, usize)) {
        match self.order {
            Order::Same => (0..self.len).for_each(|i| pair(i, i)),
            Order::Swapped { rows, a, b, rows_last } => {
                for row in 0..rows {
                    for i in 0..a {
                        for j in 0..b {
                            let column = j * a + i;
                            let here = if rows_last { column * rows + row } else { row * a * b + column };
                            pair(here, (row * a + i) * b + j);
                        }
                    }
                }
            }
        }
    }

    /// From PyTorch's order.
    fn arrange(&self, theirs: &[f32], ours: &mut [f32]) {
        self.for_each_place(|here, there| ours[here] = theirs[there]);
    }

    /// To PyTorch's order.
    pub fn restore(&self, ours: &[f32]) -> Vec<f32> {
        let mut theirs = vec![0.0; self.len];
        self.for_each_place(|here, there| theirs[there] = ours[here]);
        theirs
    }
}

/// The parameters of a network, in its order.
#[derive(Clone, Debug)]
pub struct Arena {
    parameters: Vec<Parameter>,
    len: usize,
}

impl Arena {
    pub fn new(network: &Network, head: &HeadShape) -> Self {
        let HeadShape { pool, features, .. } = *head;
        let last_channels = network.layers().last().map_or(1, |layer| layer.channels);
        let mut len = 0;
        let parameters = network.weights().parameters.iter().map(|(name, var)| {
            let order = match *var.dims() {
                // (O, C, 3, 3) is (3, 3, C, O) here.
                [outputs, inputs, height, width] => {
                    Order::Swapped { rows: outputs, a: inputs, b: height * width, rows_last: true }
                }
                // A flattened feature map is (C, H, W) in PyTorch, and (H, W, C) here.
                [hidden, columns] if name == "fc1.weight" && pool == Pool::Flatten && columns == features => {
                    Order::Swapped { rows: hidden, a: last_channels, b: features / last_channels, rows_last: false }
                }
                _ => Order::Same,
            };
            let parameter = Parameter { name: name.clone(), first: len, len: var.elem_count(), order };
            len += parameter.len.next_multiple_of(ALIGNMENT);
            parameter
        });
        let parameters = parameters.collect();
        Self { parameters, len }
    }

    /// Numbers, with those between parameters, which are 0.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The one of that name.
    ///
    /// # Errors
    /// There is none: the network is not of the family that the kernels compute.
    pub fn parameter(&self, name: &str) -> Result<&Parameter> {
        let found = self.parameters.iter().find(|parameter| parameter.name == name);
        found.with_context(|| format!("the network has no parameter {name}"))
    }

    /// `values` of each parameter, in their order and in PyTorch's, as they lie here.
    pub fn arrange(&self, values: impl IntoIterator<Item = Vec<f32>>) -> Vec<f32> {
        let mut arranged = vec![0.0; self.len];
        for (parameter, values) in self.parameters.iter().zip(values) {
            parameter.arrange(&values, &mut arranged[parameter.range()]);
        }
        arranged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(len: usize, order: Order) -> Parameter {
        Parameter { name: "conv1.weight".into(), first: 0, len, order }
    }

    #[test]
    fn a_convolution_is_transposed_to_taps_inputs_outputs() {
        // (2, 3, 9) as numbers that tell their place: 100 · output + 10 · input + tap.
        let theirs: Vec<f32> =
            (0..2).flat_map(|o| (0..3).flat_map(move |i| (0..9).map(move |t| (100 * o + 10 * i + t) as f32))).collect();
        let parameter = parameter(54, Order::Swapped { rows: 2, a: 3, b: 9, rows_last: true });
        let mut ours = vec![0.0; 54];
        parameter.arrange(&theirs, &mut ours);
        assert_eq!(ours[..8], [0.0, 100.0, 10.0, 110.0, 20.0, 120.0, 1.0, 101.0]);
        assert_eq!(parameter.restore(&ours), theirs);
    }

    #[test]
    fn flattened_planes_become_pixels() {
        // (1, C = 2, 3 positions): 10 · channel + position.
        let theirs = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        let parameter = parameter(6, Order::Swapped { rows: 1, a: 2, b: 3, rows_last: false });
        let mut ours = vec![0.0; 6];
        parameter.arrange(&theirs, &mut ours);
        assert_eq!(ours, [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
        assert_eq!(parameter.restore(&ours), theirs);
    }
}
