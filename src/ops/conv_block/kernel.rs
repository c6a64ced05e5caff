//! What a block does with one image after its convolution, and its gradients: loops over channels-last pixels that the
//! compiler turns into vectors of the path that they are run on.

use crate::ops::channel_statistics::add_pixels;
use crate::ops::float::activated;
use crate::ops::normalisation::Normalisation;
use crate::ops::pool::window::{first_maximum, windows};

/// No number of a window was above 0: no gradient passes.
pub const DEAD: u8 = 4;

/// The maxima of one image, (H / 2, W / 2, channels) each.
pub struct Maxima<'a> {
    /// Relu.
    pub out: &'a mut [f32],
    /// The position in the window, row by row, or [`DEAD`].
    pub positions: &'a mut [u8],
    /// What was normalised there.
    pub values: &'a mut [f32],
}

/// The pixels of each window of an image.
#[inline(always)]
fn window_pixels(y: &[f32], width: usize, channels: usize) -> impl Iterator<Item = [&[f32]; 4]> {
    windows(y.len() / (width * channels), width).map(
        #[inline(always)]
        move |window| window.map(|pixel| &y[pixel * channels..][..channels]),
    )
}

/// Normalises `y` (pixels, channels), applies ReLU and pools.
#[inline(always)]
pub fn normalise_and_pool(y: &[f32], width: usize, normalisation: &Normalisation, maxima: Maxima) {
    let channels = normalisation.scale.len();
    let outs = maxima.out.chunks_exact_mut(channels);
    let kept = maxima.positions.chunks_exact_mut(channels).zip(maxima.values.chunks_exact_mut(channels));
    for ((out, (positions, values)), window) in outs.zip(kept).zip(window_pixels(y, width, channels)) {
        normalise_and_pool_window(window, normalisation, out, positions, values);
    }
}

#[inline(always)]
fn normalise_and_pool_window(
    [a, b, c, d]: [&[f32]; 4],
    normalisation: &Normalisation,
    out: &mut [f32],
    positions: &mut [u8],
    values: &mut [f32],
) {
    // Equal lengths that the compiler can see leave no bounds to check.
    let channels = out.len();
    let (a, b, c, d) = (&a[..channels], &b[..channels], &c[..channels], &d[..channels]);
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let (shift, positions, values) =
        (&normalisation.shift[..channels], &mut positions[..channels], &mut values[..channels]);
    for i in 0..channels {
        let normalised = |value: f32| (value - mean[i]) * scale[i] + shift[i];
        let candidate = |value: f32, position: u8| (normalised(value), (value, position));
        let (maximum, (value, position)) =
            first_maximum([candidate(a[i], 0), candidate(b[i], 1), candidate(c[i], 2), candidate(d[i], 3)]);
        out[i] = activated(maximum);
        values[i] = value;
        positions[i] = if maximum <= 0.0 { DEAD } else { position };
    }
}

/// As [`normalise_and_pool`], keeping nothing for the backward pass.
#[inline(always)]
pub fn normalise_and_pool_only(y: &[f32], width: usize, normalisation: &Normalisation, out: &mut [f32]) {
    let channels = normalisation.scale.len();
    for (out, [a, b, c, d]) in out.chunks_exact_mut(channels).zip(window_pixels(y, width, channels)) {
        let (a, b, c, d) = (&a[..channels], &b[..channels], &c[..channels], &d[..channels]);
        let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
        let (shift, out) = (&normalisation.shift[..channels], &mut out[..channels]);
        for i in 0..channels {
            let normalised = |value: f32| (value - mean[i]) * scale[i] + shift[i];
            let candidate = |value: f32| (normalised(value), ());
            let (maximum, ()) = first_maximum([candidate(a[i]), candidate(b[i]), candidate(c[i]), candidate(d[i])]);
            out[i] = activated(maximum);
        }
    }
}

/// Over the maxima of an image, of each channel: the sum of the gradient that passes, and of its product with the
/// convolution's output less its mean.
#[inline(always)]
pub fn gradient_sums(gradient: &[f32], positions: &[u8], values: &[f32], mean: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let channels = mean.len();
    let (mut plain, mut with_centred) = (vec![0.0; channels], vec![0.0; channels]);
    let pixels =
        gradient.chunks_exact(channels).zip(positions.chunks_exact(channels)).zip(values.chunks_exact(channels));
    for ((gradient, positions), values) in pixels {
        let (plain, with_centred) = (&mut plain[..channels], &mut with_centred[..channels]);
        let (gradient, positions, values) = (&gradient[..channels], &positions[..channels], &values[..channels]);
        for i in 0..channels {
            let passes = if positions[i] == DEAD { 0.0 } else { gradient[i] };
            plain[i] += passes;
            with_centred[i] += passes * (values[i] - mean[i]);
        }
    }
    (plain, with_centred)
}

/// The gradient of the convolution's output `y` is `scale · dz + slope · (y - mean) + offset` of each channel, with `dz` that
/// of the normalised output.
pub struct GradientTerms<'a> {
    pub scale: Vec<f32>,
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
    pub mean: &'a [f32],
}

/// What the gates of an image do to the gradient, of each channel.
pub struct GateGradient<'a> {
    /// The factor of the maxima.
    pub gates: &'a [f32],
    /// What the gradient of a gate gives back to each pixel above 0.
    pub shares: &'a [f32],
    pub normalisation: &'a Normalisation,
}

/// Writes the gradient of the convolution's output to `dy`, like `y` (pixels, channels); `gradient` and `positions` are those
/// of the maxima.
#[inline(always)]
pub fn output_gradient(
    y: &[f32],
    width: usize,
    terms: &GradientTerms,
    gradient: &[f32],
    positions: &[u8],
    gate_gradient: Option<GateGradient>,
    dy: &mut [f32],
) {
    match gate_gradient {
        None => output_gradient_with(
            y,
            width,
            terms,
            OfMaxima { gradient, positions, scale: &terms.scale },
            dy,
            #[inline(always)]
            |_, _| 0.0,
        ),
        Some(GateGradient { gates, shares, normalisation }) => {
            let channels = terms.scale.len();
            let scaled = |factors: &[f32]| -> Vec<f32> {
                terms.scale.iter().zip(factors).map(|(scale, factor)| scale * factor).collect()
            };
            let (of_maxima, shares) = (scaled(gates), scaled(shares));
            let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
            let (shift, shares) = (&normalisation.shift[..channels], &shares[..channels]);
            output_gradient_with(
                y,
                width,
                terms,
                OfMaxima { gradient, positions, scale: &of_maxima },
                dy,
                #[inline(always)]
                |i: usize, y: f32| {
                    // Read whatever the comparison says: a read under a condition is not made of vectors.
                    let share = shares[i];
                    if (y - mean[i]) * scale[i] + shift[i] > 0.0 { share } else { 0.0 }
                },
            );
        }
    }
}

/// The gradient that comes through the pool, and what scales it.
#[derive(Clone, Copy)]
struct OfMaxima<'a> {
    gradient: &'a [f32],
    positions: &'a [u8],
    /// One for each channel.
    scale: &'a [f32],
}

/// As [`output_gradient`]; `of_pixel(channel, y)` is added to the gradient of each pixel.
#[inline(always)]
fn output_gradient_with(
    y: &[f32],
    width: usize,
    terms: &GradientTerms,
    of_maxima: OfMaxima,
    dy: &mut [f32],
    of_pixel: impl Fn(usize, f32) -> f32,
) {
    let channels = terms.scale.len();
    let mut maxima = of_maxima.gradient.chunks_exact(channels).zip(of_maxima.positions.chunks_exact(channels));
    let (pooled_rows, rest) = dy.split_at_mut(y.len() / (2 * width * channels) * 2 * width * channels);
    let (pooled_y, rest_y) = y.split_at(pooled_rows.len());
    let rows = pooled_rows.chunks_exact_mut(2 * width * channels).zip(pooled_y.chunks_exact(2 * width * channels));
    for (dy, y) in rows {
        let (dy_top, dy_bottom) = dy.split_at_mut(width * channels);
        let (y_top, y_bottom) = y.split_at(width * channels);
        for column in 0..width / 2 {
            let Some((gradient, positions)) = maxima.next() else { return };
            let of_maximum = OfMaxima { gradient, positions, ..of_maxima };
            let at = 2 * column * channels;
            for (position, dy, y) in [(0, &mut dy_top[at..], &y_top[at..]), (2, &mut dy_bottom[at..], &y_bottom[at..])]
            {
                let (left, right) = dy.split_at_mut(channels);
                pixel_gradient(y, terms, of_maximum, position, left, &of_pixel);
                pixel_gradient(&y[channels..], terms, of_maximum, position + 1, &mut right[..channels], &of_pixel);
            }
        }
        // An odd column, which no window holds.
        for (dy, y) in [(dy_top, y_top), (dy_bottom, y_bottom)] {
            unpooled_gradient(&y[width / 2 * 2 * channels..], terms, &mut dy[width / 2 * 2 * channels..], &of_pixel);
        }
    }
    unpooled_gradient(rest_y, terms, rest, &of_pixel);
}

#[inline(always)]
fn pixel_gradient(
    y: &[f32],
    terms: &GradientTerms,
    of_maximum: OfMaxima,
    position: u8,
    dy: &mut [f32],
    of_pixel: &impl Fn(usize, f32) -> f32,
) {
    let channels = dy.len();
    let OfMaxima { gradient, positions, scale } = of_maximum;
    let (y, gradient, positions) = (&y[..channels], &gradient[..channels], &positions[..channels]);
    let (scale, slope) = (&scale[..channels], &terms.slope[..channels]);
    let (offset, mean) = (&terms.offset[..channels], &terms.mean[..channels]);
    for i in 0..channels {
        let gradient = gradient[i];
        let of_maximum = if positions[i] == position { gradient } else { 0.0 };
        dy[i] = scale[i] * of_maximum + of_pixel(i, y[i]) + (slope[i] * (y[i] - mean[i]) + offset[i]);
    }
}

/// Pixels without a window still take part in the statistics, and in a mean.
#[inline(always)]
fn unpooled_gradient(y: &[f32], terms: &GradientTerms, dy: &mut [f32], of_pixel: &impl Fn(usize, f32) -> f32) {
    let channels = terms.scale.len();
    for (dy, y) in dy.chunks_exact_mut(channels).zip(y.chunks_exact(channels)) {
        for (i, (dy, &y)) in dy.iter_mut().zip(y).enumerate() {
            *dy = of_pixel(i, y) + (terms.slope[i] * (y - terms.mean[i]) + terms.offset[i]);
        }
    }
}

/// Sums of one image, of each channel, over the pixels that are above 0 once normalised.
pub struct ActivatedSums {
    /// The mean of all pixels, activated.
    pub means: Vec<f32>,
    /// How many pixels are above 0.
    pub counts: Vec<f32>,
    /// The sum of the convolution's output less its mean.
    pub centred: Vec<f32>,
}

/// The mean of the activated pixels of each channel.
#[inline(always)]
pub fn activated_means_only(y: &[f32], normalisation: &Normalisation, means: &mut [f32]) {
    let channels = means.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    means.fill(0.0);
    add_pixels(
        y,
        [&mut *means],
        #[inline(always)]
        |y, i| [activated((y - mean[i]) * scale[i] + shift[i])],
    );
    let pixels = (y.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= pixels);
}

/// The means of the activated pixels, and what their gradient needs.
#[inline(always)]
pub fn activated_sums(y: &[f32], normalisation: &Normalisation) -> ActivatedSums {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    let (mut means, mut counts, mut centred) = (vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]);
    add_pixels(
        y,
        [&mut means, &mut counts, &mut centred],
        #[inline(always)]
        |y, i| {
            let of_pixel = y - mean[i];
            let normalised = of_pixel * scale[i] + shift[i];
            let passes = normalised > 0.0;
            [activated(normalised), if passes { 1.0 } else { 0.0 }, if passes { of_pixel } else { 0.0 }]
        },
    );
    let pixels = (y.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= pixels);
    ActivatedSums { means, counts, centred }
}

/// Normalises `y` (pixels, channels) and applies ReLU.
#[inline(always)]
pub fn relu(y: &[f32], normalisation: &Normalisation, out: &mut [f32]) {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    for (out, y) in out.chunks_exact_mut(channels).zip(y.chunks_exact(channels)) {
        let (out, y) = (&mut out[..channels], &y[..channels]);
        for i in 0..channels {
            out[i] = activated((y[i] - mean[i]) * scale[i] + shift[i]);
        }
    }
}

/// As [`relu`], where the numbers are.
#[inline(always)]
pub fn relu_in_place(y: &mut [f32], normalisation: &Normalisation) {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    for y in y.chunks_exact_mut(channels) {
        let y = &mut y[..channels];
        for i in 0..channels {
            y[i] = activated((y[i] - mean[i]) * scale[i] + shift[i]);
        }
    }
}

/// Over the pixels of an image that are above 0 once normalised, of each channel: the sum of the gradient, and of its
/// product with the convolution's output `y` less its mean.
#[inline(always)]
pub fn activated_gradient_sums(y: &[f32], gradient: &[f32], normalisation: &Normalisation) -> (Vec<f32>, Vec<f32>) {
    let channels = normalisation.scale.len();
    let (mut plain, mut with_centred) = (vec![0.0; channels], vec![0.0; channels]);
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    for (y, gradient) in y.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
        let (plain, with_centred) = (&mut plain[..channels], &mut with_centred[..channels]);
        let (y, gradient) = (&y[..channels], &gradient[..channels]);
        for i in 0..channels {
            let (centred, gradient) = (y[i] - mean[i], gradient[i]);
            let passes = if centred * scale[i] + shift[i] > 0.0 { gradient } else { 0.0 };
            plain[i] += passes;
            with_centred[i] += passes * centred;
        }
    }
    (plain, with_centred)
}

/// Writes the gradient of the convolution's output to `dy`, like `y` (pixels, channels) and the gradient of what [`relu`]
/// made of it.
#[inline(always)]
pub fn activated_output_gradient(
    y: &[f32],
    terms: &GradientTerms,
    normalisation: &Normalisation,
    gradient: &[f32],
    dy: &mut [f32],
) {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let (shift, slope) = (&normalisation.shift[..channels], &terms.slope[..channels]);
    let (offset, of_gradient) = (&terms.offset[..channels], &terms.scale[..channels]);
    let pixels = y.chunks_exact(channels).zip(gradient.chunks_exact(channels));
    for (dy, (y, gradient)) in dy.chunks_exact_mut(channels).zip(pixels) {
        let (dy, y, gradient) = (&mut dy[..channels], &y[..channels], &gradient[..channels]);
        for i in 0..channels {
            let (centred, gradient) = (y[i] - mean[i], gradient[i]);
            let passes = if centred * scale[i] + shift[i] > 0.0 { gradient } else { 0.0 };
            dy[i] = of_gradient[i] * passes + (slope[i] * centred + offset[i]);
        }
    }
}
