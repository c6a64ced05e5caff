//! The windows of a 2 x 2 max-pool with stride 2, and what is the maximum of one: the first of equals, row by row, as in
//! PyTorch's. All kernels that pool share this.

use crate::ops::float::Float;

/// The four pixels of each window of an image, row by row. An odd last row or column is in none.
pub fn windows(height: usize, width: usize) -> impl Iterator<Item = [usize; 4]> {
    (0..height / 2).flat_map(move |row| {
        (0..width / 2).map(move |column| {
            let first = 2 * (row * width + column);
            [first, first + 1, first + width, first + width + 1]
        })
    })
}

/// The maximum of a window, and what comes with it. A NaN counts as the greatest, so that it is seen in the output.
#[inline(always)]
pub fn first_maximum<T: Float, P: Copy>([(first, of_first), others @ ..]: [(T, P); 4]) -> (T, P) {
    let (mut maximum, mut of_maximum) = (first, of_first);
    for (value, of_value) in others {
        let takes_over = value > maximum || value.is_nan();
        maximum = if takes_over { value } else { maximum };
        of_maximum = if takes_over { of_value } else { of_maximum };
    }
    (maximum, of_maximum)
}

/// Pools an image (H, W, C), and writes the position of each maximum in its window.
#[inline(always)]
pub fn pool<T: Float>(x: &[T], [height, width, channels]: [usize; 3], out: &mut [T], positions: &mut [u8]) {
    let outs = out.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
    for (window, (out, positions)) in windows(height, width).zip(outs) {
        let [a, b, c, d] = window.map(|pixel| &x[pixel * channels..][..channels]);
        for i in 0..channels {
            (out[i], positions[i]) = first_maximum([(a[i], 0), (b[i], 1), (c[i], 2), (d[i], 3)]);
        }
    }
}

/// Pools the sum of two images (H, W, C), and writes the position of each maximum in its window.
#[inline(always)]
pub fn add_and_pool([a, b]: [&[f32]; 2], [height, width, channels]: [usize; 3], out: &mut [f32], positions: &mut [u8]) {
    let outs = out.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
    for (window, (out, positions)) in windows(height, width).zip(outs) {
        let [a, b] = [a, b].map(
            #[inline(always)]
            |image| {
                window.map(
                    #[inline(always)]
                    |pixel| &image[pixel * channels..][..channels],
                )
            },
        );
        add_and_pool_window(a, b, out, positions);
    }
}

/// A function of its own, so that the compiler knows that the slices do not overlap, and makes vectors of them.
#[inline(always)]
fn add_and_pool_window(
    [a0, a1, a2, a3]: [&[f32]; 4],
    [b0, b1, b2, b3]: [&[f32]; 4],
    out: &mut [f32],
    positions: &mut [u8],
) {
    // Equal lengths that the compiler can see leave no bounds to check.
    let channels = out.len();
    let (a0, a1, a2, a3) = (&a0[..channels], &a1[..channels], &a2[..channels], &a3[..channels]);
    let (b0, b1, b2, b3) = (&b0[..channels], &b1[..channels], &b2[..channels], &b3[..channels]);
    let positions = &mut positions[..channels];
    for i in 0..channels {
        let sums = [(a0[i] + b0[i], 0), (a1[i] + b1[i], 1), (a2[i] + b2[i], 2), (a3[i] + b3[i], 3)];
        (out[i], positions[i]) = first_maximum(sums);
    }
}

/// Writes the gradient of what was pooled from that of the maxima, where it is 0 so far.
#[inline(always)]
pub fn unpool<T: Float>(gradient: &[T], positions: &[u8], [height, width, channels]: [usize; 3], dx: &mut [T]) {
    let maxima = gradient.chunks_exact(channels).zip(positions.chunks_exact(channels));
    for (window, (gradient, positions)) in windows(height, width).zip(maxima) {
        let (gradient, positions) = (&gradient[..channels], &positions[..channels]);
        for (position, pixel) in (0..).zip(window) {
            let dx = &mut dx[pixel * channels..][..channels];
            for i in 0..channels {
                let gradient = gradient[i];
                dx[i] = if positions[i] == position { gradient } else { T::zero() };
            }
        }
    }
}
