//! Initial values of parameters, as PyTorch's layers have them.

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;

use crate::random::{Purpose, stream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Uniform in ±1/√fan_in, for weights (Kaiming uniform with a = √5) and biases alike.
    Uniform {
        fan_in: usize,
    },
    Ones,
    Zeros,
}

impl Init {
    /// The initial value of parameter `index` of the network, f32.
    pub fn value(self, seed: u64, index: u64, dims: &[usize], device: &Device) -> Result<Tensor> {
        match self {
            Self::Uniform { fan_in } => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                let mut rng = stream(seed, Purpose::InitialiseWeights, 0, index);
                let len = dims.iter().product();
                let values: Vec<f32> = (0..len).map(|_| rng.random_range(-bound..bound)).collect();
                Tensor::from_vec(values, dims, device)
            }
            Self::Ones => Tensor::ones(dims, DType::F32, device),
            Self::Zeros => Tensor::zeros(dims, DType::F32, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_its_interval_and_repeats() -> Result<()> {
        let draw = |index| Init::Uniform { fan_in: 25 }.value(3, index, &[10_000], &Device::Cpu)?.to_vec1::<f32>();
        let values = draw(0)?;
        assert!(values.iter().all(|v| v.abs() <= 0.2));
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 10_000.0;
        assert!((variance - 0.04 / 3.0).abs() < 5e-4, "{variance}");
        assert_eq!(values, draw(0)?);
        assert_ne!(values, draw(1)?);
        Ok(())
    }
}
