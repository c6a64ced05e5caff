//! PyTorch's default initialisation: uniform in ±1/√fan_in, for weights (Kaiming uniform with a = √5) and biases alike.

use candle_core::{Device, Result, Shape, Tensor};
use rand::Rng;

use crate::random::{Purpose, stream};

/// The initial value of parameter `index` of the network, f32.
pub fn uniform(seed: u64, index: u64, shape: impl Into<Shape>, fan_in: usize, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, index);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.random_range(-bound..bound)).collect();
    Tensor::from_vec(values, shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_the_interval_evenly_and_repeats() -> Result<()> {
        let draw = |index| uniform(3, index, 10_000, 25, &Device::Cpu)?.to_vec1::<f32>();
        let values = draw(0)?;
        assert!(values.iter().all(|v| v.abs() <= 0.2));
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 10_000.0;
        assert!((variance - 0.04 / 3.0).abs() < 5e-4, "{variance}");
        assert_eq!(values, draw(0)?);
        assert_ne!(values, draw(1)?);
        Ok(())
    }
}
