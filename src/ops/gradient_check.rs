//! Gradients against central differences, in f64.

use candle_core::{Device, Result, Tensor, Var};
use rand::Rng;

use crate::random::{Purpose, stream};

/// Standard normal numbers, the same for the same `seed` (Box and Muller 1958).
pub fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, 0);
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

/// The gradient of the sum of `f(x)` weighted by fixed numbers of either sign, so that no error cancels.
pub fn weighted_gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, f64)> {
    let variable = Var::from_tensor(x)?;
    let y = f(&variable)?;
    let loss = (&y * normal(99, y.dims()))?.sum_all()?;
    let gradient = loss.backward()?.get(&variable).cloned().unwrap_or(x.zeros_like()?);
    Ok((gradient, loss.to_scalar()?))
}

/// The gradient of the plain sum of `f(x)`.
pub fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
    let inner = || -> Result<Tensor> {
        let variable = Var::from_tensor(x)?;
        let gradients = f(&variable)?.sum_all()?.backward()?;
        Ok(gradients.get(&variable).expect("x takes part in f").clone())
    };
    inner().expect("the op is differentiable")
}

/// Panics unless the gradient of `f` at `x` equals central differences within 1e-6 of its greatest element.
#[track_caller]
pub fn assert_gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) {
    const STEP: f64 = 1e-5;
    let inner = || -> Result<()> {
        let (gradient, _) = weighted_gradient(x, &f)?;
        let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        let scale = gradient.iter().fold(1e-3, |scale: f64, g| scale.max(g.abs()));
        let values = x.flatten_all()?.to_vec1::<f64>()?;
        for (i, &ours) in gradient.iter().enumerate() {
            let at = |offset: f64| -> Result<f64> {
                let mut values = values.clone();
                values[i] += offset;
                Ok(weighted_gradient(&Tensor::from_vec(values, x.shape(), x.device())?, &f)?.1)
            };
            let difference = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            assert!(
                (ours - difference).abs() <= 1e-6 * scale,
                "element {i} of {:?}: gradient {ours}, central difference {difference}",
                x.shape()
            );
        }
        Ok(())
    };
    inner().expect("the op is differentiable");
}

/// Panics unless the greatest difference is at most `tolerance`.
#[track_caller]
pub fn close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.shape(), b.shape());
    let greatest = || (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
    let greatest = greatest().expect("both are f64");
    assert!(greatest <= tolerance, "differ by {greatest}");
}
