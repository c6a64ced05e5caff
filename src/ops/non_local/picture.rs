//! What a non-local block does with one picture, and the way back: products of small matrices, whose rows are added up so
//! that the compiler turns them into vectors.

#[derive(Clone, Copy)]
pub struct Size {
    /// Places of a picture.
    pub positions: usize,
    /// Of what they are compared by.
    pub channels: usize,
}

impl Size {
    pub fn picture(self) -> usize {
        self.positions * self.channels
    }

    pub fn map(self) -> usize {
        self.positions * self.positions
    }
}

/// `pairs` = softmax(θ φᵀ), (positions, positions), and `out` = pairs · g; the others are (positions, channels).
#[inline(always)]
pub fn forward(size: Size, theta: &[f32], phi: &[f32], g: &[f32], pairs: &mut [f32], out: &mut [f32]) {
    let Size { positions, channels } = size;
    multiply(theta, &transposed(phi, channels), channels, positions, pairs);
    for row in pairs.chunks_exact_mut(positions) {
        let greatest =
            row.iter().fold(f32::NEG_INFINITY, |greatest, &value| if value > greatest { value } else { greatest });
        row.iter_mut().for_each(|value| *value = (*value - greatest).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
    multiply(pairs, g, positions, channels, out);
}

/// Writes the gradients of θ, φ and g from that of the output.
#[inline(always)]
pub fn backward(
    size: Size,
    [theta, phi, g]: [&[f32]; 3],
    pairs: &[f32],
    gradient: &[f32],
    [d_theta, d_phi, d_g]: [&mut [f32]; 3],
) {
    let Size { positions, channels } = size;
    multiply(&transposed(pairs, positions), gradient, positions, channels, d_g);
    let mut d_pairs = vec![0.0; size.map()];
    multiply(gradient, &transposed(g, channels), channels, positions, &mut d_pairs);
    // Through the softmax.
    for (gradient, pairs) in d_pairs.chunks_exact_mut(positions).zip(pairs.chunks_exact(positions)) {
        let mean: f32 = gradient.iter().zip(pairs).map(|(gradient, pair)| gradient * pair).sum();
        gradient.iter_mut().zip(pairs).for_each(|(gradient, pair)| *gradient = pair * (*gradient - mean));
    }
    multiply(&d_pairs, phi, positions, channels, d_theta);
    multiply(&transposed(&d_pairs, positions), theta, positions, channels, d_phi);
}

/// The product of two matrices, of `inner` columns and of `columns`.
#[inline(always)]
fn multiply(a: &[f32], b: &[f32], inner: usize, columns: usize, out: &mut [f32]) {
    const AT_ONCE: usize = 4;
    out.fill(0.0);
    for (out, a) in out.chunks_exact_mut(columns).zip(a.chunks_exact(inner)) {
        let out = &mut out[..columns];
        let (fours, rest) = a.as_chunks::<AT_ONCE>();
        for (factors, rows) in fours.iter().zip(b.chunks_exact(AT_ONCE * columns)) {
            let (first, rows) = rows.split_at(columns);
            let (second, rows) = rows.split_at(columns);
            let (third, fourth) = rows.split_at(columns);
            let fourth = &fourth[..columns];
            for i in 0..columns {
                out[i] +=
                    (factors[0] * first[i] + factors[1] * second[i]) + (factors[2] * third[i] + factors[3] * fourth[i]);
            }
        }
        for (factor, row) in rest.iter().zip(b[(inner - rest.len()) * columns..].chunks_exact(columns)) {
            out.iter_mut().zip(row).for_each(|(out, value)| *out += factor * value);
        }
    }
}

/// A matrix of rows of `columns`.
#[inline(always)]
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns;
    let mut out = vec![0.0; matrix.len()];
    for (row, values) in matrix.chunks_exact(columns).enumerate() {
        for (column, &value) in values.iter().enumerate() {
            out[column * rows + row] = value;
        }
    }
    out
}

/// The first pixel of each window of two rows of `width` pixels.
#[inline(always)]
fn windows(width: usize, channels: usize) -> impl Iterator<Item = usize> {
    (0..width / 2).map(move |column| 2 * column * channels)
}

/// The maxima of `a + b`, rows of `width` pixels, and their places in their windows.
#[inline(always)]
pub fn add_and_pool(a: &[f32], b: &[f32], [width, channels]: [usize; 2], out: &mut [f32], places: &mut [u8]) {
    let row = width * channels;
    let mut outs = out.chunks_exact_mut(channels).zip(places.chunks_exact_mut(channels));
    for (a, b) in a.chunks_exact(2 * row).zip(b.chunks_exact(2 * row)) {
        for first in windows(width, channels) {
            let Some((out, places)) = outs.next() else { return };
            let (out, places) = (&mut out[..channels], &mut places[..channels]);
            let starts = [first, first + channels, first + row, first + row + channels];
            let [a0, a1, a2, a3] = starts.map(
                #[inline(always)]
                |start| &a[start..][..channels],
            );
            let [b0, b1, b2, b3] = starts.map(
                #[inline(always)]
                |start| &b[start..][..channels],
            );
            for i in 0..channels {
                let (mut maximum, mut place) = (a0[i] + b0[i], 0);
                for (value, value_place) in [(a1[i] + b1[i], 1), (a2[i] + b2[i], 2), (a3[i] + b3[i], 3)] {
                    let takes_over = value > maximum || value.is_nan();
                    maximum = if takes_over { value } else { maximum };
                    place = if takes_over { value_place } else { place };
                }
                out[i] = maximum;
                places[i] = place;
            }
        }
    }
}

/// Writes the gradient of what was pooled, where it is 0 so far.
#[inline(always)]
pub fn unpool(gradient: &[f32], places: &[u8], [width, channels]: [usize; 2], dx: &mut [f32]) {
    let row = width * channels;
    let mut maxima = gradient.chunks_exact(channels).zip(places.chunks_exact(channels));
    for dx in dx.chunks_exact_mut(2 * row) {
        for first in windows(width, channels) {
            let Some((gradient, places)) = maxima.next() else { return };
            let (gradient, places) = (&gradient[..channels], &places[..channels]);
            for (place, start) in (0..).zip([first, first + channels, first + row, first + row + channels]) {
                let dx = &mut dx[start..][..channels];
                for i in 0..channels {
                    let gradient = gradient[i];
                    dx[i] = if places[i] == place { gradient } else { 0.0 };
                }
            }
        }
    }
}
