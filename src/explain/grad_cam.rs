//! Which positions of an image speak for a class.
//!
//! Grad-CAM (Selvaraju et al. 2017, section 3): L = relu(Σₖ αₖ Aᵏ), with Aᵏ channel k of a convolution's output and αₖ the
//! mean over the image of the gradient of the class's logit by it. Grad-CAM++ (Chattopadhay et al. 2018, equation 19)
//! weighs the positions of that gradient, and leaves out those where it is negative. As `pytorch-grad-cam` has them.

use candle_core::Result;

use crate::model::{ForwardTrace, Network};
use crate::ops::{channel_sums, weighted_channels};
use crate::render::Map;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    GradCam,
    GradCamPlusPlus,
}

/// Heat maps at the size of the layer, not normalised: for each row an image of `trace` and a class.
///
/// # Errors
/// There is no such image or class.
pub fn grad_cam(
    cnn: &Network,
    trace: &ForwardTrace,
    layer: usize,
    rows: &[(usize, usize)],
    method: Method,
) -> Result<Vec<Map>> {
    let all: Vec<usize> = (0..rows.len()).collect();
    let mut way = cnn.logit_gradients(trace, rows)?;
    while way.layer() != layer {
        way = way.before(&all)?.expect("a layer that is not the last is before another");
    }
    let (_, _, width, channels) = trace.output(layer).dims4()?;
    let maps = way.map_rows(|output, gradient| heat_map(output, gradient, width, channels, method))?;
    maps.into_iter().collect()
}

/// From a layer's output for an image and the gradient of a logit by it, both (H, W, C).
///
/// # Errors
/// The SIMD path that the environment asks for is not to be had.
pub fn heat_map(output: &[f32], gradient: &[f32], width: usize, channels: usize, method: Method) -> Result<Map> {
    let weights = match method {
        Method::GradCam => mean_gradients(gradient, channels)?,
        Method::GradCamPlusPlus => weighted_gradients(output, gradient, channels)?,
    };
    let mut sums = weighted_channels(output, &weights)?;
    sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
    Ok(Map::new(width, sums))
}

/// At the size of the image, min-max normalised to [0, 1]: before it is enlarged bilinearly, and again after.
pub fn at_input(cam: &Map, width: usize, height: usize) -> Map {
    scaled(&scaled(cam).resized(width, height))
}

/// With `pytorch-grad-cam`'s guard against a division by 0.
fn scaled(cam: &Map) -> Map {
    let (low, high) = cam.range();
    cam.mapped(|value| (value - low) / (1e-7 + (high - low)))
}

/// α of each channel, from the gradient (pixels, channels).
fn mean_gradients(gradient: &[f32], channels: usize) -> Result<Vec<f32>> {
    let pixels = (gradient.len() / channels) as f32;
    Ok(channel_sums(gradient, channels)?.into_iter().map(|sum| sum / pixels).collect())
}

/// Σ α · relu(dy/dA) with α = g² / (2 g² + ΣA · g³), of each channel, from output and gradient (pixels, channels).
fn weighted_gradients(output: &[f32], gradient: &[f32], channels: usize) -> Result<Vec<f32>> {
    /// As `pytorch-grad-cam` has it.
    const EPSILON: f32 = 1e-6;
    let totals = channel_sums(output, channels)?;
    let mut weights = vec![0.0; channels];
    for pixel in gradient.chunks_exact(channels) {
        for ((weight, &total), &gradient) in weights.iter_mut().zip(&totals).zip(pixel) {
            if gradient > 0.0 {
                let square = gradient * gradient;
                *weight += gradient * square / (2.0 * square + total * square * gradient + EPSILON);
            }
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::DatasetInfo;
    use crate::ops::gradient_check::normal;

    fn network() -> (Network, Tensor) {
        let config = ModelConfig {
            channels: vec![16, 16, 16],
            hidden: 12,
            attention: AttentionKind::Se,
            ..ModelConfig::default()
        };
        let x = normal(1, &[3, 32, 32, 3]).to_dtype(DType::F32).expect("f32");
        (Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network"), x)
    }

    #[test]
    fn images_together_are_images_alone() -> Result<()> {
        let (cnn, x) = network();
        let trace = cnn.trace(&x)?;
        for layer in 0..3 {
            for method in [Method::GradCam, Method::GradCamPlusPlus] {
                let rows = [(0, 4), (1, 0), (2, 9)];
                let together = grad_cam(&cnn, &trace, layer, &rows, method)?;
                for ((image, class), together) in rows.into_iter().zip(together) {
                    let trace = cnn.trace(&x.narrow(0, image, 1)?)?;
                    let alone = grad_cam(&cnn, &trace, layer, &[(0, class)], method)?;
                    let high = alone[0].range().1;
                    for (a, b) in together.values.iter().zip(&alone[0].values) {
                        assert!((a - b).abs() <= 1e-4 * high.max(1e-6), "{layer} {method:?}: {a} and {b}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_image_sized_map_fills_0_to_1_and_nothing_stays_nothing() {
        let cam = at_input(&Map::new(2, vec![0.0, 1.0, 2.0, 8.0]), 32, 32);
        let (low, high) = cam.range();
        assert!(cam.values.len() == 1024 && low == 0.0 && (high - 1.0).abs() < 1e-6, "{low} to {high}");
        assert_eq!(at_input(&Map::new(2, vec![0.0; 4]), 4, 4).values, [0.0; 16]);
    }
}
