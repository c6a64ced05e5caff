//! The sizes of a convolution of channels-last images, (H, W, C).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Zeros on each side, fewer than the kernel is wide.
    pub padding: usize,
}

impl Geometry {
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Elements of one image of the input.
    pub fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    pub fn out_pixels(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Elements of one image of the output.
    pub fn out_image(&self) -> usize {
        self.out_pixels() * self.outputs
    }

    /// Weights of one output channel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    pub fn padded_row(&self) -> usize {
        (self.width + 2 * self.padding) * self.channels
    }

    /// Elements of a padded image.
    pub fn padded_len(&self) -> usize {
        (self.height + 2 * self.padding) * self.padded_row()
    }

    /// Copies images into as many padded ones of `frame`, which may be larger to the right and below, and have more channels:
    /// what is not copied to is 0 already.
    pub fn pad(&self, frame: &Self, images: &[f32], padded: &mut [f32]) {
        let images = images.chunks_exact(self.image());
        for (padded, image) in padded.chunks_exact_mut(frame.padded_len()).zip(images) {
            let rows = padded.chunks_exact_mut(frame.padded_row()).skip(self.padding);
            for (padded, row) in rows.zip(image.chunks_exact(self.width * self.channels)) {
                let padded = &mut padded[self.padding * frame.channels..];
                if frame.channels == self.channels {
                    padded[..row.len()].copy_from_slice(row);
                    continue;
                }
                for (padded, pixel) in padded.chunks_exact_mut(frame.channels).zip(row.chunks_exact(self.channels)) {
                    padded[..pixel.len()].copy_from_slice(pixel);
                }
            }
        }
    }

    /// The inverse of [`Geometry::pad`].
    pub fn crop(&self, frame: &Self, padded: &[f32], images: &mut [f32]) {
        let images = images.chunks_exact_mut(self.image());
        for (padded, image) in padded.chunks_exact(frame.padded_len()).zip(images) {
            let rows = padded.chunks_exact(frame.padded_row()).skip(self.padding);
            for (padded, row) in rows.zip(image.chunks_exact_mut(self.width * self.channels)) {
                let padded = &padded[self.padding * frame.channels..];
                if frame.channels == self.channels {
                    row.copy_from_slice(&padded[..row.len()]);
                    continue;
                }
                for (padded, pixel) in padded.chunks_exact(frame.channels).zip(row.chunks_exact_mut(self.channels)) {
                    pixel.copy_from_slice(&padded[..pixel.len()]);
                }
            }
        }
    }
}
