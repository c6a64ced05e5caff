//! The two layers of squeeze-and-excitation (Hu et al. 2018, section 3.2) E relu(R z): by candle's operations, and for
//! one image on slices.

use candle_core::{Result, Tensor};

use crate::ops::float::{activated, add_scaled, dot};
use crate::ops::relu::relu;

/// E relu(R z) of each row of `z` (N, C), by candle's operations.
pub fn squeeze_and_excite(z: &Tensor, reduce: &Tensor, expand: &Tensor) -> Result<Tensor> {
    relu(&z.matmul(&reduce.t()?)?)?.matmul(&expand.t()?)
}

/// The weights R (C / r, C) and E (C, C / r).
#[derive(Clone, Copy)]
pub struct SqueezeExcite<'a> {
    reduce: &'a [f32],
    expand: &'a [f32],
}

/// The gradients before the two layers of an image.
pub struct SqueezeExciteGradient {
    /// Before the ReLU, (C / r).
    pub squeezed: Vec<f32>,
    /// By the descriptor, (C).
    pub descriptor: Vec<f32>,
}

impl<'a> SqueezeExcite<'a> {
    /// From R and E, one after the other.
    pub fn split(concatenated: &'a [f32]) -> Self {
        let (reduce, expand) = concatenated.split_at(concatenated.len() / 2);
        Self { reduce, expand }
    }

    /// The number of weights of both.
    pub fn weights(&self) -> usize {
        self.reduce.len() + self.expand.len()
    }

    /// relu(R z), (C / r), of a descriptor z (C).
    pub fn squeezed(&self, descriptor: &[f32]) -> Vec<f32> {
        self.reduce.chunks_exact(descriptor.len()).map(|row| activated(dot(row, descriptor))).collect()
    }

    /// E h, (C), of h (C / r).
    pub fn excited(&self, squeezed: &[f32]) -> Vec<f32> {
        self.expand.chunks_exact(squeezed.len()).map(|row| dot(row, squeezed)).collect()
    }

    /// From the gradient of E h (C), and h = relu(R z) (C / r).
    pub fn backward(&self, excited: &[f32], squeezed: &[f32]) -> SqueezeExciteGradient {
        let mut d_squeezed = vec![0.0; squeezed.len()];
        for (excited, row) in excited.iter().zip(self.expand.chunks_exact(squeezed.len())) {
            add_scaled(&mut d_squeezed, *excited, row);
        }
        for (gradient, &value) in d_squeezed.iter_mut().zip(squeezed) {
            *gradient = if value > 0.0 { *gradient } else { 0.0 };
        }
        let mut descriptor = vec![0.0; excited.len()];
        for (squeezed, row) in d_squeezed.iter().zip(self.reduce.chunks_exact(excited.len())) {
            add_scaled(&mut descriptor, *squeezed, row);
        }
        SqueezeExciteGradient { squeezed: d_squeezed, descriptor }
    }
}

/// Adds to the gradients of R and then E (one after the other) what one image gives: its descriptor z and relu(R z), and
/// the gradients of E h and of R z.
pub fn add_weight_gradients(gradients: &mut [f32], [z, squeezed]: [&[f32]; 2], [d_excited, d_squeezed]: [&[f32]; 2]) {
    let (reduce, expand) = gradients.split_at_mut(z.len() * squeezed.len());
    for (row, d_squeezed) in reduce.chunks_exact_mut(z.len()).zip(d_squeezed) {
        add_scaled(row, *d_squeezed, z);
    }
    for (row, d_excited) in expand.chunks_exact_mut(squeezed.len()).zip(d_excited) {
        add_scaled(row, *d_excited, squeezed);
    }
}
