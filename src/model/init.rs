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
    /// As [`Init::Uniform`], but for the first filters of a convolution, as many as it has channels: each passes one channel
    /// on, as it is.
    PartialIdentity {
        fan_in: usize,
    },
    Ones,
    Zeros,
}

impl Init {
    /// The initial value of parameter `index` of the network, f32.
    pub fn value(self, seed: u64, index: u64, dims: &[usize], device: &Device) -> Result<Tensor> {
        match self {
            Self::Uniform { fan_in } => Tensor::from_vec(uniform(fan_in, seed, index, dims), dims, device),
            Self::PartialIdentity { fan_in } => {
                let mut values = uniform(fan_in, seed, index, dims);
                let &[_, channels, height, width] = dims else { panic!("a convolution's weight is (O, C, K, K)") };
                let area = height * width;
                for (filter, taps) in values.chunks_exact_mut(channels * area).take(channels).enumerate() {
                    taps.fill(0.0);
                    taps[filter * area + height / 2 * width + width / 2] = 1.0;
                }
                Tensor::from_vec(values, dims, device)
            }
            Self::Ones => Tensor::ones(dims, DType::F32, device),
            Self::Zeros => Tensor::zeros(dims, DType::F32, device),
        }
    }
}

fn uniform(fan_in: usize, seed: u64, index: u64, dims: &[usize]) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, index);
    (0..dims.iter().product()).map(|_| rng.random_range(-bound..bound)).collect()
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

    #[test]
    fn the_first_filters_pass_a_channel_on() -> Result<()> {
        let value = |dims: &[usize]| Init::PartialIdentity { fan_in: 18 }.value(3, 0, dims, &Device::Cpu);
        let weight = value(&[4, 2, 3, 3])?;
        for (filter, channel) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let taps = weight.get(filter)?.get(channel)?.flatten_all()?.to_vec1::<f32>()?;
            let mut expected = [0.0; 9];
            expected[4] = if filter == channel { 1.0 } else { 0.0 };
            assert_eq!(taps, expected);
        }
        let others = weight.narrow(0, 2, 2)?.abs()?.flatten_all()?;
        assert!(others.min(0)?.to_scalar::<f32>()? > 0.0 && others.max(0)?.to_scalar::<f32>()? <= 18f32.powf(-0.5));
        // Fewer filters than channels, and a kernel without a middle.
        assert_eq!(value(&[1, 2, 2, 2])?.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }
}
