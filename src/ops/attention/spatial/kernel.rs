//! Spatial attention and its gradients, for one image.

use crate::ops::attention::squeeze_excite::{SqueezeExcite, add_weight_gradients};
use crate::ops::float::sigmoid_and_slope;
use crate::ops::pool::window::{first_maximum, windows};

#[derive(Clone, Copy)]
pub struct Size {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Side of the kernel.
pub const KERNEL: usize = 7;

impl Size {
    fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Elements of an image.
    pub fn image(self) -> usize {
        self.pixels() * self.channels
    }

    /// Elements of an image that was pooled.
    pub fn pooled(self) -> usize {
        (self.height / 2) * (self.width / 2) * self.channels
    }

    fn padded_width(self) -> usize {
        self.width + KERNEL - 1
    }

    /// Elements of a plane with a border of half a kernel.
    fn padded_plane(self) -> usize {
        (self.height + KERNEL - 1) * self.padded_width()
    }

    /// Where a pixel is in such a plane.
    fn padded(self, row: usize, column: usize) -> usize {
        (row + KERNEL / 2) * self.padded_width() + column + KERNEL / 2
    }
}

pub struct Weights<'a> {
    /// (2, K, K)
    pub kernel: &'a [f32],
    pub channels: Option<SqueezeExcite<'a>>,
}

impl Weights<'_> {
    pub fn len(&self) -> usize {
        self.kernel.len() + self.channels.as_ref().map_or(0, SqueezeExcite::weights)
    }
}

/// What the backward pass needs.
pub struct Kept {
    /// The channel gates: 1 where nothing attends to channels.
    gates: Vec<f32>,
    channels: Option<KeptOfChannels>,
    /// The means and the greatest over the channels, two planes with borders.
    descriptors: Vec<f32>,
    /// The spatial gates, and the slopes of their sigmoid.
    map: Vec<f32>,
    slopes: Vec<f32>,
    /// The position in its window of each maximum of the pool.
    positions: Vec<u8>,
}

struct KeptOfChannels {
    /// Of the channels' means, and of their maxima: the descriptor, (C), and what it is squeezed to, (C / r).
    descriptors: [Vec<f32>; 2],
    squeezed: [Vec<f32>; 2],
    /// The pixels where the greatest are.
    positions: Vec<u32>,
    slopes: Vec<f32>,
}

/// Attends to `x` (H, W, C), and pools it to `out` (H / 2, W / 2, C).
#[inline(always)]
pub fn forward(size: Size, weights: &Weights, x: &[f32], out: &mut [f32]) -> Kept {
    let (gates, channels) = match &weights.channels {
        None => (vec![1.0; size.channels], None),
        Some(squeeze) => {
            let (gates, kept) = channel_gates(size, squeeze, x);
            (gates, Some(kept))
        }
    };
    let mut descriptors = vec![0.0; 2 * size.padded_plane()];
    let (means, greatest) = descriptors.split_at_mut(size.padded_plane());
    for (pixel, x) in x.chunks_exact(size.channels).enumerate() {
        let at = size.padded(pixel / size.width, pixel % size.width);
        let (sum, maximum) = sum_and_greatest(x, &gates);
        means[at] = sum / size.channels as f32;
        greatest[at] = maximum;
    }
    let (map, slopes): (Vec<f32>, Vec<f32>) =
        convolved(size, weights.kernel, &descriptors).into_iter().map(sigmoid_and_slope).unzip();
    let mut positions = vec![0; out.len()];
    pool(size, x, &gates, &map, out, &mut positions);
    Kept { gates, channels, descriptors, map, slopes, positions }
}

#[inline(always)]
fn channel_gates(size: Size, squeeze: &SqueezeExcite, x: &[f32]) -> (Vec<f32>, KeptOfChannels) {
    let channels = size.channels;
    let (mut means, mut greatest) = (vec![0.0; channels], vec![f32::NEG_INFINITY; channels]);
    let mut positions = vec![0; channels];
    for (pixel, x) in (0..).zip(x.chunks_exact(channels)) {
        add_pixel(pixel, x, &mut means, &mut greatest, &mut positions);
    }
    means.iter_mut().for_each(|mean| *mean /= size.pixels() as f32);
    let squeezed = [squeeze.squeezed(&means), squeeze.squeezed(&greatest)];
    let [of_means, of_greatest] = [squeeze.excited(&squeezed[0]), squeeze.excited(&squeezed[1])];
    let (gates, slopes) = of_means.iter().zip(of_greatest).map(|(a, b)| sigmoid_and_slope(a + b)).unzip();
    (gates, KeptOfChannels { descriptors: [means, greatest], squeezed, positions, slopes })
}

/// Adds a pixel to the sums, and to the greatest and their positions. A function of its own, so that the compiler knows that the
/// slices do not overlap, and makes vectors of them.
#[inline(always)]
fn add_pixel(pixel: u32, x: &[f32], sums: &mut [f32], greatest: &mut [f32], positions: &mut [u32]) {
    let channels = x.len();
    let (sums, greatest, positions) = (&mut sums[..channels], &mut greatest[..channels], &mut positions[..channels]);
    for i in 0..channels {
        // Read whatever the comparison says: a read under a condition is not made of vectors.
        let (value, so_far, position) = (x[i], greatest[i], positions[i]);
        sums[i] += value;
        let takes_over = value > so_far;
        greatest[i] = if takes_over { value } else { so_far };
        positions[i] = if takes_over { pixel } else { position };
    }
}

const LANES: usize = 16;

/// Of a pixel times the gates of its channels.
#[inline(always)]
fn sum_and_greatest(x: &[f32], gates: &[f32]) -> (f32, f32) {
    let (mut sums, mut maxima) = ([0.0; LANES], [f32::NEG_INFINITY; LANES]);
    let ((x, x_rest), (gates, gates_rest)) = (x.as_chunks::<LANES>(), gates.as_chunks::<LANES>());
    for (x, gates) in x.iter().zip(gates) {
        for lane in 0..LANES {
            let value = x[lane] * gates[lane];
            sums[lane] += value;
            maxima[lane] = larger(maxima[lane], value);
        }
    }
    let (mut sum, mut maximum) = (total(sums), maxima.into_iter().fold(f32::NEG_INFINITY, larger));
    for (x, gate) in x_rest.iter().zip(gates_rest) {
        sum += x * gate;
        maximum = larger(maximum, x * gate);
    }
    (sum, maximum)
}

/// A NaN is seen in the sum.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// In an order that is always the same.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Adds a kernel over a padded plane to `out` (H, W).
#[inline(always)]
fn add_correlation(size: Size, kernel: &[f32], padded: &[f32], out: &mut [f32]) {
    let (taps, _) = kernel.as_chunks::<KERNEL>();
    for (row, out) in out.chunks_exact_mut(size.width).enumerate() {
        for (tap_row, taps) in taps.iter().enumerate() {
            let padded = &padded[(row + tap_row) * size.padded_width()..][..size.padded_width()];
            // Each the row from a tap on, equally long, so that no bound is left to check.
            let shifted: [&[f32]; KERNEL] = core::array::from_fn(
                #[inline(always)]
                |tap| &padded[tap..][..size.width],
            );
            let out = &mut out[..size.width];
            for x in 0..size.width {
                let mut sum = out[x];
                for tap in 0..KERNEL {
                    sum += taps[tap] * shifted[tap][x];
                }
                out[x] = sum;
            }
        }
    }
}

/// The gradient of a kernel over a padded plane, from that of what it gave (H, W).
#[inline(always)]
fn kernel_gradient(size: Size, padded: &[f32], gradient: &[f32], out: &mut [f32]) {
    const LANES: usize = 8;
    let (taps, _) = out.as_chunks_mut::<KERNEL>();
    for (tap_row, taps) in taps.iter_mut().enumerate() {
        let mut sums = [[0.0; LANES]; KERNEL];
        for (row, gradient) in gradient.chunks_exact(size.width).enumerate() {
            let padded = &padded[(row + tap_row) * size.padded_width()..][..size.padded_width()];
            let (gradients, rest) = gradient.as_chunks::<LANES>();
            for (number, gradient) in gradients.iter().enumerate() {
                let padded = &padded[number * LANES..][..LANES + KERNEL - 1];
                for tap in 0..KERNEL {
                    for lane in 0..LANES {
                        sums[tap][lane] += gradient[lane] * padded[tap + lane];
                    }
                }
            }
            let padded = &padded[gradients.len() * LANES..];
            for (tap, sums) in sums.iter_mut().enumerate() {
                for (lane, gradient) in rest.iter().enumerate() {
                    sums[lane] += gradient * padded[tap + lane];
                }
            }
        }
        for (tap, sums) in taps.iter_mut().zip(sums) {
            *tap = sums.into_iter().sum();
        }
    }
}

/// The kernel over two padded planes, (H, W).
#[inline(always)]
fn convolved(size: Size, kernel: &[f32], descriptors: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; size.pixels()];
    let planes = descriptors.chunks_exact(size.padded_plane());
    for (kernel, plane) in kernel.chunks_exact(KERNEL * KERNEL).zip(planes) {
        add_correlation(size, kernel, plane, &mut out);
    }
    out
}

/// The gradients of the kernel, which are written to `d_kernel`, and of the two planes, without borders.
#[inline(always)]
fn convolution_gradients(
    size: Size,
    kernel: &[f32],
    descriptors: &[f32],
    gradient: &[f32],
    d_kernel: &mut [f32],
) -> Vec<f32> {
    let mut padded = vec![0.0; size.padded_plane()];
    for (row, gradient) in gradient.chunks_exact(size.width).enumerate() {
        padded[size.padded(row, 0)..][..size.width].copy_from_slice(gradient);
    }
    let mut d_descriptors = vec![0.0; 2 * size.pixels()];
    let planes = descriptors.chunks_exact(size.padded_plane()).zip(d_descriptors.chunks_exact_mut(size.pixels()));
    let kernels = kernel.chunks_exact(KERNEL * KERNEL).zip(d_kernel.chunks_exact_mut(KERNEL * KERNEL));
    for ((kernel, d_kernel), (plane, d_plane)) in kernels.zip(planes) {
        kernel_gradient(size, plane, gradient, d_kernel);
        // The gradient meets the kernel flipped half around.
        let flipped: Vec<f32> = kernel.iter().rev().copied().collect();
        add_correlation(size, &flipped, &padded, d_plane);
    }
    d_descriptors
}

#[inline(always)]
fn pool(size: Size, x: &[f32], gates: &[f32], map: &[f32], out: &mut [f32], positions: &mut [u8]) {
    let channels = size.channels;
    let outs = out.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
    for (pixels, (out, positions)) in windows(size.height, size.width).zip(outs) {
        let of_positions = pixels.map(
            #[inline(always)]
            |pixel| map[pixel],
        );
        let pixels = pixels.map(
            #[inline(always)]
            |pixel| &x[pixel * channels..][..channels],
        );
        pool_window(pixels, gates, of_positions, out, positions);
    }
}

/// As [`add_pixel`], a function of its own.
#[inline(always)]
fn pool_window(
    [a, b, c, d]: [&[f32]; 4],
    gates: &[f32],
    of_positions: [f32; 4],
    out: &mut [f32],
    positions: &mut [u8],
) {
    let channels = out.len();
    let (a, b, c, d) = (&a[..channels], &b[..channels], &c[..channels], &d[..channels]);
    let (gates, positions) = (&gates[..channels], &mut positions[..channels]);
    for i in 0..channels {
        let gate = gates[i];
        let gated = |pixel: &[f32], position: usize| pixel[i] * gate * of_positions[position];
        (out[i], positions[i]) =
            first_maximum([(gated(a, 0), 0), (gated(b, 1), 1), (gated(c, 2), 2), (gated(d, 3), 3)]);
    }
}

/// Writes the gradient of `x`, from that of the pool; returns those of the weights, one after another.
#[inline(always)]
pub fn backward(size: Size, weights: &Weights, kept: &Kept, x: &[f32], gradient: &[f32], dx: &mut [f32]) -> Vec<f32> {
    let channels = size.channels;
    // First the gradient of the gated pixels.
    let mut d_map = vec![0.0; size.pixels()];
    unpool(size, kept, x, gradient, dx, &mut d_map);
    d_map.iter_mut().zip(&kept.slopes).for_each(|(gradient, slope)| *gradient *= slope);

    let mut d_weights = vec![0.0; weights.len()];
    let (d_kernel, d_channels) = d_weights.split_at_mut(weights.kernel.len());
    let d_descriptors = convolution_gradients(size, weights.kernel, &kept.descriptors, &d_map, d_kernel);
    let (d_means, d_greatest) = d_descriptors.split_at(size.pixels());
    let (_, greatest) = kept.descriptors.split_at(size.padded_plane());
    for (pixel, (dx, x)) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).enumerate() {
        let at = size.padded(pixel / size.width, pixel % size.width);
        let share = d_means[pixel] / channels as f32;
        dx.iter_mut().for_each(|dx| *dx += share);
        let mut gated = x.iter().zip(&kept.gates).map(|(x, gate)| x * gate);
        if let Some(channel) = gated.position(|value| value == greatest[at]) {
            dx[channel] += d_greatest[pixel];
        }
    }
    if let Some((squeeze, of_channels)) = weights.channels.as_ref().zip(kept.channels.as_ref()) {
        channel_gates_gradient(size, squeeze, kept, of_channels, x, dx, d_channels);
    }
    d_weights
}

/// Writes to `dx` the gradient of the gated pixels that comes through the pool, and to `d_map` that of the map.
#[inline(always)]
fn unpool(size: Size, kept: &Kept, x: &[f32], gradient: &[f32], dx: &mut [f32], d_map: &mut [f32]) {
    let channels = size.channels;
    let gates = &kept.gates[..channels];
    let maxima = gradient.chunks_exact(channels).zip(kept.positions.chunks_exact(channels));
    for (window, (gradient, positions)) in windows(size.height, size.width).zip(maxima) {
        let (gradient, positions) = (&gradient[..channels], &positions[..channels]);
        for (position, pixel) in (0..).zip(window) {
            let (x, dx) = (&x[pixel * channels..][..channels], &mut dx[pixel * channels..][..channels]);
            let of_position = kept.map[pixel];
            let mut lanes = [0.0; LANES];
            let whole = channels / LANES * LANES;
            for start in (0..whole).step_by(LANES) {
                for (sum, i) in lanes.iter_mut().zip(start..) {
                    let gradient = gradient[i];
                    let passes: f32 = if positions[i] == position { gradient } else { 0.0 };
                    *sum += passes * (x[i] * gates[i]);
                    dx[i] = passes * of_position;
                }
            }
            let mut sum = total(lanes);
            for i in whole..channels {
                let passes = if positions[i] == position { gradient[i] } else { 0.0 };
                sum += passes * (x[i] * gates[i]);
                dx[i] = passes * of_position;
            }
            d_map[pixel] = sum;
        }
    }
}

/// Takes the gradient of the gated pixels in `dx`, and leaves that of the pixels there.
#[inline(always)]
fn channel_gates_gradient(
    size: Size,
    squeeze: &SqueezeExcite,
    kept: &Kept,
    of_channels: &KeptOfChannels,
    x: &[f32],
    dx: &mut [f32],
    d_weights: &mut [f32],
) {
    let channels = size.channels;
    let mut excited = vec![0.0; channels];
    for (dx, x) in dx.chunks_exact(channels).zip(x.chunks_exact(channels)) {
        let (excited, dx, x) = (&mut excited[..channels], &dx[..channels], &x[..channels]);
        for i in 0..channels {
            excited[i] += dx[i] * x[i];
        }
    }
    excited.iter_mut().zip(&of_channels.slopes).for_each(|(gradient, slope)| *gradient *= slope);
    let [mut of_means, of_greatest] = [0, 1].map(|which| {
        let squeezed = &of_channels.squeezed[which];
        let gradient = squeeze.backward(&excited, squeezed);
        add_weight_gradients(d_weights, [&of_channels.descriptors[which], squeezed], [&excited, &gradient.squeezed]);
        gradient.descriptor
    });
    of_means.iter_mut().for_each(|gradient| *gradient /= size.pixels() as f32);
    let (gates, of_means) = (&kept.gates[..channels], &of_means[..channels]);
    for dx in dx.chunks_exact_mut(channels) {
        let dx = &mut dx[..channels];
        for i in 0..channels {
            dx[i] = dx[i] * gates[i] + of_means[i];
        }
    }
    for (channel, (pixel, gradient)) in of_channels.positions.iter().zip(of_greatest).enumerate() {
        dx[*pixel as usize * channels + channel] += gradient;
    }
}
