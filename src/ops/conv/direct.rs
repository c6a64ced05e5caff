//! A convolution and its two gradients, on slices, as [`Product`]s, or by [`Winograd`]'s algorithm where it applies.
//!
//! Images are channels-last, (H, W, C), so that the C numbers of a pixel, and the C · K numbers of a row of a window, are
//! consecutive. Weights come in PyTorch's order, (O, C, K, K), and are packed once a call.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::gradients::Gradients;
use super::winograd::Winograd;
use crate::config::Precision;
use crate::ops::float::add;
use crate::ops::matmul::{Initial, Level, Product, panel_columns};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::ops::whole_batch;
use crate::ranks::halves::halved;

/// Pixels whose gradient stays in the first-level cache while every tap of the kernel is summed over them.
const CACHED_PIXELS: usize = 128;

/// The tables that the images of a batch share.
pub struct Convolution {
    geometry: Geometry,
    panel_columns: usize,
    /// Where the window of each output pixel begins in the padded image.
    window_starts: Vec<usize>,
    /// Where each tap (row, column, channel of the kernel) of the first window is in the padded image.
    tap_starts: Vec<usize>,
    /// Where the window of each input pixel begins in the spread gradient.
    gradient_starts: Vec<usize>,
    /// What computes in its stead, where it applies, and alone may do so in bf16.
    winograd: Option<Winograd>,
}

impl Convolution {
    /// # Errors
    /// The CPU does not have the SIMD path that the environment asks for, or the precision.
    pub fn new(geometry: Geometry, precision: Precision) -> candle_core::Result<Self> {
        let Geometry { height, width, channels, outputs, kernel, stride, padding } = geometry;
        assert!(padding < kernel && kernel <= height.min(width) + 2 * padding && stride > 0, "{geometry:?}");
        let grid = |rows: usize, columns: usize, row_step: usize, column_step: usize| {
            let positions = (0..rows).flat_map(move |y| (0..columns).map(move |x| y * row_step + x * column_step));
            positions.collect::<Vec<usize>>()
        };
        let padded_row = (width + 2 * padding) * channels;
        Ok(Self {
            geometry,
            panel_columns: panel_columns()?,
            window_starts: grid(geometry.out_height(), geometry.out_width(), stride * padded_row, stride * channels),
            tap_starts: grid(kernel, kernel * channels, padded_row, 1),
            gradient_starts: grid(height, width, (width + kernel - 1) * outputs, outputs),
            winograd: Winograd::new(geometry, precision)?,
        })
    }

    /// The sizes of an image as it is padded.
    fn frame(&self) -> &Geometry {
        self.winograd.as_ref().map_or(&self.geometry, Winograd::frame)
    }

    /// Room for as many padded images, zeros.
    pub fn padded(&self, images: usize) -> PooledBuffer {
        PooledBuffer::zeros(images * self.frame().padded_len())
    }

    /// Copies images to where [`Convolution::padded`] made room, as [`Convolution::forward`] takes them.
    pub fn pad(&self, images: &[f32], padded: &mut [f32]) {
        self.geometry.pad(self.frame(), images, padded);
    }

    /// Images that [`Convolution::forward`] is quickest with at once.
    pub fn images_at_once(&self) -> usize {
        self.winograd.as_ref().map_or(1, Winograd::images_at_once)
    }

    /// The weight (O, C, K, K) as [`Convolution::forward`] takes it: panels of output channels, each (K, K, C, panel
    /// columns), zeros beyond the last channel; or transformed.
    ///
    /// # Errors
    /// The SIMD path that the environment asks for is not available on this CPU.
    pub fn pack_weight(&self, weight: &[f32]) -> candle_core::Result<PooledBuffer> {
        if let Some(winograd) = &self.winograd {
            return winograd.pack_weight(weight);
        }
        let Geometry { channels, outputs, kernel, .. } = self.geometry;
        let area = kernel * kernel;
        let weight = |output: usize, tap: usize, channel: usize| weight[(output * channels + channel) * area + tap];
        Ok(self.packed(outputs, area, channels, weight))
    }

    /// The weight for the gradient of the input: panels of input channels, each (K, K, O, panel columns), the kernel flipped
    /// half around.
    fn pack_flipped_weight(&self, weight: &[f32]) -> PooledBuffer {
        let Geometry { channels, outputs, kernel, .. } = self.geometry;
        let area = kernel * kernel;
        let weight =
            |channel: usize, tap: usize, output: usize| weight[(output * channels + channel) * area + (area - 1 - tap)];
        self.packed(channels, area, outputs, weight)
    }

    fn packed(
        &self,
        columns: usize,
        area: usize,
        depth: usize,
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> PooledBuffer {
        let width = self.panel_columns;
        let mut panels = PooledBuffer::zeros(columns.div_ceil(width) * area * depth * width);
        panels.par_chunks_exact_mut(area * depth * width).enumerate().for_each(|(number, panel)| {
            let first = number * width;
            for (row, values) in panel.chunks_exact_mut(width).enumerate() {
                for (column, value) in (first..columns).zip(values) {
                    *value = weight(column, row / depth, row % depth);
                }
            }
        });
        panels
    }

    /// `y` (N, OH, OW, O) of a batch `x` (N, H, W, C), the weight (O, C, K, K) and the bias (O); and what `then` makes of
    /// the output of each image while it is in the cache.
    pub fn forward_batch<T: Send>(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        y: &mut [f32],
        then: impl Fn(&mut [f32]) -> candle_core::Result<T> + Sync,
    ) -> candle_core::Result<Vec<T>> {
        let weight = self.pack_weight(weight)?;
        let (at_once, out_image) = (self.images_at_once(), self.geometry.out_image());
        let groups = y.par_chunks_mut(at_once * out_image).zip(x.par_chunks(at_once * self.geometry.image()));
        let results: Vec<Vec<T>> = groups
            .map_init(
                || self.padded(at_once),
                |padded, (y, x)| {
                    self.pad(x, padded);
                    self.forward(padded, &weight, bias, y)?;
                    y.chunks_exact_mut(out_image).map(&then).collect::<candle_core::Result<_>>()
                },
            )
            .collect::<candle_core::Result<_>>()?;
        Ok(results.into_iter().flatten().collect())
    }

    /// `y` (n, OH, OW, O) of n padded images, at most [`Convolution::images_at_once`], one after another, the packed
    /// weight and the bias (O).
    pub fn forward(&self, padded: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) -> candle_core::Result<()> {
        if let Some(winograd) = &self.winograd {
            return winograd.forward(padded, weight, bias, y);
        }
        let images = y.chunks_exact_mut(self.geometry.out_image()).zip(padded.chunks_exact(self.geometry.padded_len()));
        for (y, padded) in images {
            self.forward_image(padded, weight, bias, y)?;
        }
        Ok(())
    }

    fn forward_image(&self, padded: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) -> candle_core::Result<()> {
        let Geometry { channels, outputs, kernel, .. } = self.geometry;
        let width = self.panel_columns;
        Product {
            left: padded,
            starts: &self.window_starts,
            panels: weight,
            panel_len: self.geometry.taps() * width,
            terms: window_terms(kernel, self.geometry.padded_row(), kernel * channels, width),
            initial: Initial::Columns(bias),
            out: y,
            out_step: outputs,
            columns: outputs,
        }
        .compute()
    }

    /// Elements of a gradient of the output in panels.
    fn gradient_panels_len(&self) -> usize {
        self.geometry.outputs.div_ceil(self.panel_columns) * self.geometry.out_pixels() * self.panel_columns
    }

    /// The gradient of the output (OH, OW, O) as panels of channels, each (OH, OW, panel columns). What lies beyond the last
    /// channel is left as it is.
    fn pack_gradient(&self, dy: &[f32], panels: &mut [f32]) {
        let (outputs, width) = (self.geometry.outputs, self.panel_columns);
        for (number, panel) in panels.chunks_exact_mut(self.geometry.out_pixels() * width).enumerate() {
            let first = number * width;
            let columns = width.min(outputs - first);
            for (packed, pixel) in panel.chunks_exact_mut(width).zip(dy.chunks_exact(outputs)) {
                packed[..columns].copy_from_slice(&pixel[first..first + columns]);
            }
        }
    }

    /// Adds the gradient of the weight to `dw` (K, K, C, O), from a padded image and the gradient of its output in panels.
    fn add_weight_gradient(&self, padded: &[f32], panels: &[f32], dw: &mut [f32]) -> candle_core::Result<()> {
        let Geometry { channels, outputs, stride, .. } = self.geometry;
        let (out_height, out_width) = (self.geometry.out_height(), self.geometry.out_width());
        let width = self.panel_columns;
        let block = (CACHED_PIXELS / out_width).max(1);
        for row in (0..out_height).step_by(block) {
            let rows = block.min(out_height - row);
            Product {
                left: &padded[row * stride * self.geometry.padded_row()..],
                starts: &self.tap_starts,
                panels: &panels[row * out_width * width..],
                panel_len: out_height * out_width * width,
                terms: [
                    Level {
                        count: rows,
                        left_step: stride * self.geometry.padded_row(),
                        panel_step: out_width * width,
                    },
                    Level { count: out_width, left_step: stride * channels, panel_step: width },
                ],
                initial: Initial::Out,
                out: &mut *dw,
                out_step: outputs,
                columns: outputs,
            }
            .compute()?;
        }
        Ok(())
    }

    /// The gradients of a batch `x` (N, H, W, C), given a function that writes the gradient of the output (OH, OW, O) of
    /// one image, by its number: it is made where it is used, while it is in the cache.
    pub fn gradients(
        &self,
        x: &[f32],
        weight: &[f32],
        wants_x: bool,
        output_gradient: impl Fn(usize, &mut [f32]) -> candle_core::Result<()> + Sync,
    ) -> candle_core::Result<Gradients> {
        if let Some(winograd) = &self.winograd {
            return winograd.gradients(x, weight, wants_x, output_gradient);
        }
        let geometry = self.geometry;
        let flipped = if wants_x { self.pack_flipped_weight(weight) } else { PooledBuffer::default() };
        let mut dx = vec![0.0; if wants_x { x.len() } else { 0 }];
        let share = whole_batch::share(x.len() / geometry.image());
        let of_leaf = |images: Range<usize>, dx: &mut [f32]| {
            let mut dw = PooledBuffer::zeros(weight.len());
            let mut padded = self.padded(1);
            let mut dy = PooledBuffer::stale(geometry.out_image());
            let mut panels = PooledBuffer::zeros(self.gradient_panels_len());
            let mut spread = PooledBuffer::zeros(if wants_x { self.spread_len() } else { 0 });
            let mut dx = dx.chunks_exact_mut(geometry.image());
            for image in images {
                output_gradient(image, &mut dy)?;
                self.pad(&x[image * geometry.image()..][..geometry.image()], &mut padded);
                self.pack_gradient(&dy, &mut panels);
                self.add_weight_gradient(&padded, &panels, &mut dw)?;
                if let Some(dx) = dx.next() {
                    self.spread(&dy, &mut spread);
                    self.input_gradient(&spread, &flipped, dx)?;
                }
            }
            Ok(dw)
        };
        let image_len = if wants_x { geometry.image() } else { 0 };
        let sum = sum_of_node(share.images, share.depth, &mut dx, image_len, &of_leaf)?;
        let mut sum = sum.unwrap_or_else(|| PooledBuffer::nothing(weight.len()));
        whole_batch::sum(&mut sum)?;
        Ok(Gradients { x: wants_x.then_some(dx), weight: self.unpack_weight_gradient(&sum) })
    }

    /// A gradient of the weight (K, K, C, O) in PyTorch's order (O, C, K, K).
    fn unpack_weight_gradient(&self, dw: &[f32]) -> Vec<f32> {
        let Geometry { channels, outputs, kernel, .. } = self.geometry;
        let area = kernel * kernel;
        let mut unpacked = vec![0.0; dw.len()];
        unpacked.par_chunks_exact_mut(channels * area).enumerate().for_each(|(output, unpacked)| {
            for (channel, unpacked) in unpacked.chunks_exact_mut(area).enumerate() {
                for (tap, value) in unpacked.iter_mut().enumerate() {
                    *value = dw[(tap * channels + channel) * outputs + output];
                }
            }
        });
        unpacked
    }

    fn spread_row(&self) -> usize {
        (self.geometry.width + self.geometry.kernel - 1) * self.geometry.outputs
    }

    /// Elements of a spread gradient.
    fn spread_len(&self) -> usize {
        (self.geometry.height + self.geometry.kernel - 1) * self.spread_row()
    }

    /// Copies a gradient of the output (OH, OW, O) to `spread`, `stride` pixels apart and with a border, where the kernel
    /// meets it as it met the input (transposed convolution). What is not written is 0 already.
    fn spread(&self, dy: &[f32], spread: &mut [f32]) {
        let Geometry { outputs, kernel, stride, padding, .. } = self.geometry;
        let border = kernel - 1 - padding;
        let rows = spread.chunks_exact_mut(self.spread_row()).skip(border).step_by(stride);
        for (spread, row) in rows.zip(dy.chunks_exact(self.geometry.out_width() * outputs)) {
            let spread = &mut spread[border * outputs..];
            if stride == 1 {
                spread[..row.len()].copy_from_slice(row);
                continue;
            }
            for (spread, pixel) in spread.chunks_mut(stride * outputs).zip(row.chunks_exact(outputs)) {
                spread[..outputs].copy_from_slice(pixel);
            }
        }
    }

    /// The gradient of the input (H, W, C) from a spread gradient and the flipped weight.
    fn input_gradient(&self, spread: &[f32], weight: &[f32], dx: &mut [f32]) -> candle_core::Result<()> {
        let Geometry { channels, outputs, kernel, .. } = self.geometry;
        let width = self.panel_columns;
        Product {
            left: spread,
            starts: &self.gradient_starts,
            panels: weight,
            panel_len: kernel * kernel * outputs * width,
            terms: window_terms(kernel, self.spread_row(), kernel * outputs, width),
            initial: Initial::Zero,
            out: dx,
            out_step: channels,
            columns: channels,
        }
        .compute()
    }
}

/// The sum of what `of_leaf` gives, `depth` halvings of `images` further down; None of no images. It also takes the part of `dx`
/// of its images, of which each has `image_len` elements.
fn sum_of_node(
    images: Range<usize>,
    depth: u32,
    dx: &mut [f32],
    image_len: usize,
    of_leaf: &(impl Fn(Range<usize>, &mut [f32]) -> candle_core::Result<PooledBuffer> + Sync),
) -> candle_core::Result<Option<PooledBuffer>> {
    if images.is_empty() {
        return Ok(None);
    }
    if depth == 0 {
        return of_leaf(images, dx).map(Some);
    }
    let [first, second] = halved(images);
    let (of_first, of_second) = dx.split_at_mut(first.len() * image_len);
    let (sum, other) = rayon::join(
        || sum_of_node(first, depth - 1, of_first, image_len, of_leaf),
        || sum_of_node(second, depth - 1, of_second, image_len, of_leaf),
    );
    let mut sum = sum?;
    if let (Some(sum), Some(other)) = (&mut sum, other?) {
        add(sum, &other);
    }
    Ok(sum)
}

/// The rows of a window, each `row_len` consecutive numbers.
fn window_terms(rows: usize, row_step: usize, row_len: usize, panel_columns: usize) -> [Level; 2] {
    [
        Level { count: rows, left_step: row_step, panel_step: row_len * panel_columns },
        Level { count: row_len, left_step: 1, panel_step: panel_columns },
    ]
}
