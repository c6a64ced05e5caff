//! What follows a convolution or a normalisation, number by number: ReLU, GELU (Hendrycks and Gimpel 2016, by the error
//! function, as PyTorch's default) and SiLU (Elfwing et al. 2018).
//!
//! The functions are plain arithmetic without branches, which the compiler turns into vectors of the path that they are run
//! on, and without fused multiply-adds, so that every path computes the same bits.

use candle_core::{Result, Tensor};

use super::float::activated;
use super::relu::relu;
use crate::config::Activation;

/// An activation in a kernel. A trait, since a function that is passed as a value would not be compiled for the path's
/// instructions.
pub trait Pointwise {
    fn value(x: f32) -> f32;

    /// The derivative.
    fn slope(x: f32) -> f32;
}

/// max(x, 0), with slope 0 at 0.
pub struct Relu;

impl Pointwise for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        activated(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

/// x Φ(x)
pub struct Gelu;

impl Pointwise for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * normal(x).0
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let (distribution, density) = normal(x);
        distribution + x * density
    }
}

/// x σ(x)
pub struct Silu;

impl Pointwise for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x).0
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let (sigmoid, opposite) = sigmoid(x);
        sigmoid + x * sigmoid * opposite
    }
}

/// Runs a generic kernel for an activation.
macro_rules! for_activation {
    ($activation:expr, $A:ident => $body:expr) => {
        match $activation {
            crate::config::Activation::Relu => {
                type $A = crate::ops::activation::Relu;
                $body
            }
            crate::config::Activation::Gelu => {
                type $A = crate::ops::activation::Gelu;
                $body
            }
            crate::config::Activation::Silu => {
                type $A = crate::ops::activation::Silu;
                $body
            }
        }
    };
}
pub(crate) use for_activation;

/// `x` of any shape, by candle's operations; candle's own gradient of GELU has six digits.
pub fn composed(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Relu => relu(x),
        Activation::Gelu => (x * ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?)? * 0.5,
        Activation::Silu => x / ((x.neg()?.exp()? + 1.0)?),
    }
}

/// The distribution function and the density of the standard normal distribution.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    /// Φ(-x) = exp(-x² / 2) · Σ cₖ tᵏ with t = 1 / (1 + 0.23 x), for x ≥ 0: a minimax fit of the relative error, 5e-8.
    const SCALE: f32 = 0.23;
    const COEFFICIENTS: [f32; 9] = [
        -2.775_555e-5,
        0.092_378_34,
        0.085_763_73,
        0.119_510_88,
        -0.032_912_716,
        0.301_461_88,
        -0.278_117_27,
        0.290_409_36,
        -0.078_466_45,
    ];
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let t = 1.0 / (1.0 + SCALE * x.abs());
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = COEFFICIENTS;
    let sum = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * (c6 + t * (c7 + t * c8)))))));
    let bell = exp_of_negative(-0.5 * x * x);
    let tail = bell * sum;
    (if x < 0.0 { tail } else { 1.0 - tail }, DENSITY_AT_0 * bell)
}

/// σ(x) and 1 - σ(x), without the difference of two numbers that are almost 1.
#[inline(always)]
fn sigmoid(x: f32) -> (f32, f32) {
    let smaller = exp_of_negative(-x.abs());
    let greater_half = 1.0 / (1.0 + smaller);
    let smaller_half = smaller * greater_half;
    if x < 0.0 { (smaller_half, greater_half) } else { (greater_half, smaller_half) }
}

/// eˣ of a number that is 0 or less, and 0 below -87: 2ⁿ eʳ, with r between ±ln 2 / 2 (Cody and Waite 1980), and eʳ of
/// six terms as in Moshier's Cephes library.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    /// 1.5 · 2²³: what is added to it is rounded to a whole number, which its last bits hold.
    const ROUNDING: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// The bits of 1.0.
    const ONE: u32 = 0x3f80_0000;
    let fits = x > -87.0;
    let x = if fits { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let sum = 0.166_666_66 + r * (0.041_665_796 + r * (8.333_452e-3 + r * (1.398_2e-3 + r * 1.987_569_1e-4)));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(ONE));
    if fits { power * (1.0 + (r + r * r * (0.5 + r * sum))) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal as normal_numbers};
    use crate::simd;

    /// Every exponent, both signs, and many fractions.
    fn numbers() -> impl Iterator<Item = f32> {
        let steps = (0..400_000).map(|step| (step as f32 - 200_000.0) * 1e-4);
        let exponents = (-126..=127).flat_map(|n| [1.0f32, -1.0, 1.37, -1.93].map(|m| m * 2f32.powi(n)));
        steps.chain(exponents).chain([0.0, -0.0, -37.3, 37.3, f32::MAX, f32::MIN])
    }

    #[test]
    fn values_and_slopes_are_those_of_the_definitions() {
        let erf = candle_core::cpu::erf::erf_f64;
        let distribution = |x: f64| 0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let sigmoid = |x: f64| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
        for x in numbers() {
            let exact = f64::from(x);
            let near = |what: &str, ours: f32, expected: f64| {
                let bound = 3e-7 * expected.abs().max(1.0);
                assert!((f64::from(ours) - expected).abs() <= bound, "{what}({x}) = {ours}, not {expected}");
            };
            near("gelu", Gelu::value(x), exact * distribution(exact));
            near(
                "gelu'",
                Gelu::slope(x),
                distribution(exact) + if x.abs() < 1e9 { exact * density(exact) } else { 0.0 },
            );
            near("silu", Silu::value(x), exact * sigmoid(exact));
            let opposite = sigmoid(-exact);
            near("silu'", Silu::slope(x), sigmoid(exact) * (1.0 + exact * opposite));
            near("relu", Relu::value(x), exact.max(0.0));
        }
    }

    #[test]
    fn every_path_computes_the_same_bits() {
        struct All;
        impl pulp::WithSimd for All {
            type Output = Vec<u32>;
            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, _simd: S) -> Vec<u32> {
                let x: Vec<f32> = numbers().collect();
                let mut out = vec![0; 3 * x.len()];
                for (out, &x) in out.chunks_exact_mut(3).zip(&x) {
                    (out[0], out[1], out[2]) =
                        (Gelu::value(x).to_bits(), Gelu::slope(x).to_bits(), Silu::slope(x).to_bits());
                }
                out
            }
        }
        let portable = simd::run_on(simd::SimdPath::Portable, All);
        for path in simd::SimdPath::ALL.into_iter().filter(|path| path.is_available()) {
            assert!(simd::run_on(path, All) == portable, "{path}");
        }
    }

    #[test]
    fn a_nan_is_seen() {
        for value in [Relu::value(f32::NAN), Gelu::value(f32::NAN), Silu::value(f32::NAN)] {
            assert!(value.is_nan());
        }
    }

    #[test]
    fn the_composed_gradients_are_finite_differences() {
        for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
            assert_gradient(&normal_numbers(1, &[4, 5]), |x| composed(x, activation));
        }
    }

    #[test]
    fn the_composed_ones_are_those_of_the_kernels() -> Result<()> {
        let x = (normal_numbers(1, &[100]) * 3.0)?;
        for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
            let composed = composed(&x, activation)?.to_vec1::<f64>()?;
            let x = x.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
            for (x, composed) in x.into_iter().zip(composed) {
                let ours = for_activation!(activation, A => <A as Pointwise>::value(x));
                assert!((f64::from(ours) - composed).abs() < 1e-6, "{activation:?}({x})");
            }
        }
        Ok(())
    }
}
