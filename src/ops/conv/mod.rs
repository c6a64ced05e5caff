//! Convolution of channels-last images with any kernel, stride and padding.
//!
//! The gradient of an input that nobody differentiates (the first layer's) is not computed.

mod direct;
mod geometry;
mod gradients;
mod winograd;

use candle_core::{Result, Shape, Tensor, bail};

use super::channel_statistics::total;
use super::custom_op::{OnSlices, SliceOp};
use super::float::{has_f32_kernel, sum_rows, with_elements};
use super::tape::{apply3, is_differentiable};
use crate::config::Precision;
pub(super) use direct::Convolution;
pub(super) use geometry::Geometry;
#[cfg(test)]
pub(super) use winograd::Winograd;

/// `x` (N, H, W, C) with `weight` (O, C, K, K) and `bias` (O), `padding` zeros on each side: (N, OH, OW, O).
///
/// # Errors
/// The sizes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let geometry = geometry(x, weight, stride, padding)?;
    if has_f32_kernel(x) {
        return apply3(
            &x.contiguous()?,
            &weight.contiguous()?,
            &bias.contiguous()?,
            OnSlices(Conv2d { geometry, wants_x: is_differentiable(x) }),
        );
    }
    let planes = x.permute((0, 3, 1, 2))?.contiguous()?;
    planes.conv2d(weight, padding, stride, 1, 1)?.permute((0, 2, 3, 1))?.broadcast_add(bias)
}

/// The gradient of [`conv2d`]'s input (N, H, W, C), at stride 1, from that of its output (N, OH, OW, O): a convolution too,
/// with the kernel flipped around. It is as quick as the forward pass, and needs nothing of it.
///
/// # Errors
/// The sizes do not fit.
pub fn conv2d_input_gradient(output_gradient: &Tensor, weight: &Tensor, padding: usize) -> Result<Tensor> {
    let (_, channels, kernel, _) = weight.dims4()?;
    let Some(padding) = (kernel - 1).checked_sub(padding) else {
        bail!("a convolution with a kernel of {:?} and padding {padding}", weight.shape())
    };
    let bias = Tensor::zeros(channels, weight.dtype(), weight.device())?;
    conv2d(output_gradient, &flipped(weight)?, &bias, 1, padding)
}

/// A kernel (O, C, K, K) flipped around, (C, O, K, K).
fn flipped(weight: &Tensor) -> Result<Tensor> {
    if !has_f32_kernel(weight) {
        return weight.transpose(0, 1)?.contiguous()?.flip(&[2, 3]);
    }
    let (outputs, channels, height, width) = weight.dims4()?;
    let area = height * width;
    let flipped = with_elements(weight, |weight: &[f32]| {
        let mut flipped = vec![0.0; weight.len()];
        for (position, taps) in weight.chunks_exact(area).enumerate() {
            let (output, channel) = (position / channels, position % channels);
            let flipped = &mut flipped[(channel * outputs + output) * area..][..area];
            flipped.iter_mut().zip(taps.iter().rev()).for_each(|(flipped, &tap)| *flipped = tap);
        }
        Ok(flipped)
    })?;
    Tensor::from_vec(flipped, (channels, outputs, height, width), weight.device())
}

/// The sizes of a convolution of `x` (N, H, W, C) with `weight` (O, C, K, K).
pub fn geometry(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Geometry> {
    let (_, height, width, channels) = x.dims4()?;
    let (outputs, weight_channels, kernel, kernel_width) = weight.dims4()?;
    let fits = kernel == kernel_width && weight_channels == channels && padding < kernel && stride > 0;
    if !fits || kernel > height.min(width) + 2 * padding {
        bail!(
            "a convolution of {:?} with a kernel of {:?}, stride {stride}, padding {padding}",
            x.shape(),
            weight.shape()
        )
    }
    Ok(Geometry { height, width, channels, outputs, kernel, stride, padding })
}

struct Conv2d {
    geometry: Geometry,
    /// Whether the gradient of the input is needed.
    wants_x: bool,
}

impl SliceOp<3> for Conv2d {
    const NAME: &'static str = "conv2d";

    fn forward(&self, [x, weight, bias]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        let geometry = self.geometry;
        let images = x.len() / geometry.image();
        let mut y = vec![0.0; images * geometry.out_image()];
        Convolution::new(geometry, Precision::F32)?.forward_batch(x, weight, bias, &mut y, |_| Ok(()))?;
        Ok((y, Shape::from((images, geometry.out_height(), geometry.out_width(), geometry.outputs))))
    }

    fn backward(&self, [x, weight, _bias]: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let geometry = self.geometry;
        let gradients =
            Convolution::new(geometry, Precision::F32)?.gradients(x, weight, self.wants_x, |image, out| {
                out.copy_from_slice(&dy[image * geometry.out_image()..][..geometry.out_image()]);
                Ok(())
            })?;
        let of_images: Vec<Vec<f32>> =
            dy.chunks_exact(geometry.out_image()).map(|dy| sum_rows(dy, geometry.outputs)).collect();
        let d_bias = total(of_images.iter().map(Vec::as_slice), geometry.outputs)?;
        let d_bias = d_bias.into_iter().map(|sum| sum as f32).collect();
        Ok([gradients.x, Some(gradients.weight), Some(d_bias)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, normal, weighted_gradient};
    use crate::ops::reference::{convolution_is_the_definition, convolutions, real, tensor};

    proptest! {
        #![proptest_config(crate::testing::property(64))]
        #[test]
        fn output_and_gradients_are_the_definition((images, g) in convolutions()) {
            convolution_is_the_definition(images, &g)?;
        }
    }

    #[test]
    fn sizes_that_are_no_multiples() {
        let sizes = [
            (1, [28, 28], 1, 33),
            (2, [14, 14], 33, 10),
            (1, [7, 7], 10, 5),
            (3, [3, 3], 5, 3),
            (1, [96, 96], 3, 5),
            (2, [12, 20], 3, 7),
            // By Winograd's algorithm, images that are more tiles than it takes at once, and narrower than high.
            (1, [28, 28], 32, 32),
            (3, [36, 4], 32, 64),
        ];
        for (images, [height, width], channels, outputs) in sizes {
            let g = Geometry { height, width, channels, outputs, kernel: 3, stride: 1, padding: 1 };
            convolution_is_the_definition(images, &g).expect("equal");
        }
    }

    #[test]
    fn the_gradients_on_other_devices_are_finite_differences() -> Result<()> {
        let (x, weight, bias) = (normal(1, &[2, 4, 5, 3]), normal(2, &[4, 3, 3, 3]), normal(3, &[4]));
        assert_gradient(&x, |x| conv2d(x, &weight, &bias, 1, 1));
        assert_gradient(&weight, |weight| conv2d(&x, weight, &bias, 1, 1));
        assert_gradient(&bias, |bias| conv2d(&x, &weight, bias, 1, 1));
        let (expected, _) = weighted_gradient(&x, |x| conv2d(x, &weight, &bias, 1, 1))?;
        close(&conv2d_input_gradient(&normal(99, &[2, 4, 5, 4]), &weight, 1)?, &expected, 1e-12);
        Ok(())
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() -> Result<()> {
        let x = tensor(real(1, 2 * 2 * 3), &[1, 2, 2, 3]);
        let bias = tensor(real(1, 4), &[4]);
        for (weight, stride, padding) in
            [([4, 2, 3, 3], 1, 1), ([4, 3, 3, 3], 1, 0), ([4, 3, 3, 3], 0, 1), ([4, 3, 3, 3], 1, 3)]
        {
            let weight = tensor(real(1, weight.iter().product()), &weight);
            assert!(conv2d(&x, &weight, &bias, stride, padding).is_err(), "{:?} {stride} {padding}", weight.shape());
        }
        Ok(())
    }
}
