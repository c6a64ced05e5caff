//! Which places of a picture speak for a class.
//!
//! Grad-CAM (Selvaraju et al. 2017, section 3): L = relu(Σₖ αₖ Aᵏ), with Aᵏ channel k of a convolution's output and αₖ the
//! mean over the picture of the gradient of the class's logit by it. Grad-CAM++ (Chattopadhay et al. 2018, equation 19)
//! weighs the places of that gradient, and leaves out those where it is negative. As `pytorch-grad-cam` has them.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::Map;
use crate::model::{Cnn, Layer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    GradCam,
    GradCamPlusPlus,
}

/// The heat map of each picture for its class, at the size of the layer, not normalised; from the layer's output for the
/// pictures, (N, H, W, C), and a class for each.
///
/// # Errors
/// A class is not one of the network's, or there are not as many as pictures.
pub fn grad_cam(cnn: &Cnn, layer: Layer, output: &Tensor, classes: &[usize], method: Method) -> Result<Vec<Map>> {
    heat_maps(output, &logit_gradients(cnn, layer, output, classes)?, method)
}

/// The gradient of the logit of each picture's class by a layer's output for the pictures, (N, H, W, C) as that output.
///
/// In evaluation mode pictures do not touch each other, so one way back gives the gradients of all.
///
/// # Errors
/// Those of [`grad_cam`].
pub fn logit_gradients(cnn: &Cnn, layer: Layer, output: &Tensor, classes: &[usize]) -> Result<Tensor> {
    let pictures = output.dim(0)?;
    if classes.len() != pictures {
        bail!("{} classes for {pictures} pictures", classes.len())
    }
    let output = Var::from_tensor(output)?;
    let logits = cnn.logits_from(layer, &output)?;
    let loss = logits.mul(&one_hot(classes, logits.dim(1)?, output.device())?)?.sum_all()?;
    match loss.backward()?.remove(&output) {
        Some(gradient) => gradient.contiguous(),
        None => bail!("no gradient reaches {layer}"),
    }
}

/// The heat map of each picture from a layer's output and the gradients by it, both (N, H, W, C).
///
/// # Errors
/// They do not have the same shape.
pub fn heat_maps(output: &Tensor, gradients: &Tensor, method: Method) -> Result<Vec<Map>> {
    let (pictures, height, width, channels) = output.dims4()?;
    let rows = |tensor: &Tensor| -> Result<Vec<Vec<f32>>> {
        tensor.reshape((pictures, height * width * channels))?.to_dtype(DType::F32)?.to_vec2()
    };
    let maps = rows(output)?.into_iter().zip(rows(gradients)?).map(|(output, gradient)| {
        let weights = match method {
            Method::GradCam => mean_gradients(&gradient, channels),
            Method::GradCamPlusPlus => weighted_gradients(&output, &gradient, channels),
        };
        let sums =
            output.chunks_exact(channels).map(|pixel| pixel.iter().zip(&weights).map(|(a, w)| a * w).sum::<f32>());
        Map::new(width, sums.map(|sum| sum.max(0.0)).collect())
    });
    Ok(maps.collect())
}

/// At the size of the picture, min-max normalised to [0, 1]: before it is enlarged bilinearly, and again after.
pub fn at_input(cam: &Map, width: usize, height: usize) -> Map {
    scaled(&scaled(cam).resized(width, height))
}

/// With `pytorch-grad-cam`'s guard against a division by 0.
fn scaled(cam: &Map) -> Map {
    let (low, high) = cam.range();
    cam.mapped(|value| (value - low) / (1e-7 + (high - low)))
}

/// (N, classes)
fn one_hot(classes: &[usize], of: usize, device: &Device) -> Result<Tensor> {
    let mut values = vec![0f32; classes.len() * of];
    for (row, &class) in values.chunks_exact_mut(of).zip(classes) {
        match row.get_mut(class) {
            Some(value) => *value = 1.0,
            None => bail!("class {class} of {of}"),
        }
    }
    Tensor::from_vec(values, (classes.len(), of), device)
}

/// α of each channel, from the gradient (pixels, channels).
fn mean_gradients(gradient: &[f32], channels: usize) -> Vec<f32> {
    let pixels = (gradient.len() / channels) as f32;
    sums(gradient, channels).into_iter().map(|sum| sum / pixels).collect()
}

/// Σ α · relu(dy/dA) with α = g² / (2 g² + ΣA · g³), of each channel, from output and gradient (pixels, channels).
fn weighted_gradients(output: &[f32], gradient: &[f32], channels: usize) -> Vec<f32> {
    /// As `pytorch-grad-cam` has it.
    const EPSILON: f32 = 1e-6;
    let totals = sums(output, channels);
    let mut weights = vec![0.0; channels];
    for pixel in gradient.chunks_exact(channels) {
        for ((weight, &total), &gradient) in weights.iter_mut().zip(&totals).zip(pixel) {
            if gradient > 0.0 {
                let square = gradient * gradient;
                *weight += gradient * square / (2.0 * square + total * square * gradient + EPSILON);
            }
        }
    }
    weights
}

/// Over the pixels, of each channel.
fn sums(values: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for pixel in values.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::ops::gradient_check::normal;

    fn network() -> (Cnn, Tensor) {
        let config =
            ModelConfig { channels: [16, 16, 16], hidden: 12, attention: AttentionKind::Se, ..ModelConfig::default() };
        let x = normal(1, &[3, 32, 32, 3]).to_dtype(DType::F32).expect("f32");
        (Cnn::new(&config, 0, &Device::Cpu).expect("a network"), x)
    }

    #[test]
    fn pictures_together_are_pictures_alone() -> Result<()> {
        let (cnn, x) = network();
        let inside = cnn.look_inside(&x)?;
        for layer in Layer::ALL {
            for method in [Method::GradCam, Method::GradCamPlusPlus] {
                let together = grad_cam(&cnn, layer, inside.output(layer), &[4, 0, 9], method)?;
                for (number, class) in [4, 0, 9].into_iter().enumerate() {
                    let alone = grad_cam(&cnn, layer, &inside.output(layer).narrow(0, number, 1)?, &[class], method)?;
                    let high = alone[0].range().1;
                    for (a, b) in together[number].values.iter().zip(&alone[0].values) {
                        assert!((a - b).abs() <= 1e-4 * high.max(1e-6), "{layer} {method:?}: {a} and {b}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_picture_sized_map_fills_0_to_1_and_nothing_stays_nothing() {
        let cam = at_input(&Map::new(2, vec![0.0, 1.0, 2.0, 8.0]), 32, 32);
        let (low, high) = cam.range();
        assert!(cam.values.len() == 1024 && low == 0.0 && (high - 1.0).abs() < 1e-6, "{low} to {high}");
        assert_eq!(at_input(&Map::new(2, vec![0.0; 4]), 4, 4).values, [0.0; 16]);
    }

    #[test]
    fn a_class_that_is_not_and_a_class_too_few_are_refused() -> Result<()> {
        let (cnn, x) = network();
        let inside = cnn.look_inside(&x)?;
        let of =
            |classes: &[usize]| grad_cam(&cnn, Layer::Conv3, inside.output(Layer::Conv3), classes, Method::GradCam);
        assert!(of(&[0, 1, 10]).is_err_and(|error| error.to_string().contains("class 10")));
        assert!(of(&[0, 1]).is_err());
        Ok(())
    }
}
