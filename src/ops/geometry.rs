//! The sizes of a convolution of channels-last pictures, (H, W, C).

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

    /// Elements of one picture of the input.
    pub fn picture(&self) -> usize {
        self.height * self.width * self.channels
    }

    pub fn out_pixels(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Elements of one picture of the output.
    pub fn out_picture(&self) -> usize {
        self.out_pixels() * self.outputs
    }

    /// Weights of one output channel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    pub fn padded_row(&self) -> usize {
        (self.width + 2 * self.padding) * self.channels
    }

    /// Elements of a padded picture.
    pub fn padded_len(&self) -> usize {
        (self.height + 2 * self.padding) * self.padded_row()
    }

    /// Copies pictures to the middles of as many in `padded`, whose borders are 0 already.
    pub fn pad(&self, pictures: &[f32], padded: &mut [f32]) {
        let pictures = pictures.chunks_exact(self.picture());
        for (padded, picture) in padded.chunks_exact_mut(self.padded_len()).zip(pictures) {
            let rows = padded.chunks_exact_mut(self.padded_row()).skip(self.padding);
            for (padded, row) in rows.zip(picture.chunks_exact(self.width * self.channels)) {
                padded[self.padding * self.channels..][..row.len()].copy_from_slice(row);
            }
        }
    }

    /// The way back: copies the middles of padded pictures to as many in `pictures`.
    pub fn crop(&self, padded: &[f32], pictures: &mut [f32]) {
        let pictures = pictures.chunks_exact_mut(self.picture());
        for (padded, picture) in padded.chunks_exact(self.padded_len()).zip(pictures) {
            let rows = padded.chunks_exact(self.padded_row()).skip(self.padding);
            for (padded, row) in rows.zip(picture.chunks_exact_mut(self.width * self.channels)) {
                row.copy_from_slice(&padded[self.padding * self.channels..][..row.len()]);
            }
        }
    }
}
