//! 3 × 3 convolution and its gradients with 36 multiplications where the definition has 144: F(4 × 4, 3 × 3) of Winograd's
//! algorithms (Lavin and Gray 2016, section 4).
//!
//! Tiles of 6 × 6 pixels, four apart, are transformed, multiplied position by position with the transformed kernel, over all
//! channels, which makes 36 matrix products, and transformed to 4 × 4 pixels of the output: y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A.
//! Where a side is no multiple of four the last tiles reach beyond it, over zeros, and what they give there is left out.
//! What is linear in each of y, g and d gives both gradients from the same three transforms, transposed:
//! dg = Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G and dd = B [(A dy Aᵀ) ⊙ (G g Gᵀ)] Bᵀ.
//!
//! In bf16 what is transformed is rounded before it is multiplied; all else is f32.

mod rounded;
mod transforms;

use std::borrow::Cow;
use std::ops::Range;

use pulp::bytemuck::cast_slice;
use rayon::prelude::*;

use super::geometry::Geometry;
use super::gradients::Gradients;
use crate::config::Precision;
use crate::ops::bf16::{Bf16, PairProduct};
use crate::ops::float::add;
use crate::ops::matmul::{Initial, Level, Product, panel_columns};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::ops::whole_batch;
use crate::ranks::halves::{Node, nodes, stack_height};
use crate::simd;
use rounded::{Rounded, multiply_rounded, pair_depths, round};
use transforms::{
    AddInputGradient, KernelGradient, Matrices, Output, POSITIONS, STEP, Tiling, TransformGradient, TransformInput,
    TransformKernel, position_len,
};

/// Tiles that share one reading of the kernel, and stay in the second-level cache once transformed.
const TILES_AT_ONCE: usize = 32;
/// Groups of [`TILES_AT_ONCE`] tiles whose products are summed before the sum is stored.
const GROUPS_AT_ONCE: usize = 4;
/// Tiles whose transforms exist at a time for the gradient of the weight: they are read once more while they are in the
/// third-level cache. There are [`GROUPS_A_THREAD`] groups at least for each thread.
const GRADIENT_TILES: usize = 256;
const GROUPS_A_THREAD: usize = 2;

/// Sides from which on its tiles have fewer multiplications than the definition.
const LEAST_SIDE: usize = 3;

/// Channels from which on a last panel is filled with zeros: of fewer the transforms cost what the products save.
const LEAST_FILLED: usize = 24;

pub struct Winograd {
    /// Where products are of bf16.
    bf16: Option<Bf16>,
    geometry: Geometry,
    /// With the sides of whole tiles, and the channels of whole panels.
    frame: Geometry,
    /// Tiles of an image.
    image_tiles: usize,
    panel_columns: usize,
    images_at_once: usize,
    /// Where the row of each tile begins in a panel of channels.
    panel_starts: Vec<usize>,
}

/// The images of a leaf of the tree that the gradient of the weight is summed by, counted from the first of the chunk.
struct Leaf {
    images: Range<usize>,
    /// See [`Node`].
    merges: usize,
    /// Its groups of as many tiles as are multiplied at once, and the tiles of a last, smaller group.
    whole: usize,
    rest: usize,
    /// Where its first group lies in the transforms of the chunk.
    x_start: usize,
    dy_start: usize,
}

/// The transforms of a chunk, group by group.
struct Transformed {
    x: PooledBuffer,
    dy: PooledBuffer,
}

impl Winograd {
    /// None where it does not apply: to other kernels, to small sides, to outputs that do not fill panels, and to channels of
    /// which the zeros that fill the last panel would be too many.
    ///
    /// # Errors
    /// The CPU does not have the SIMD path that the environment asks for, or the precision.
    pub fn new(geometry: Geometry, precision: Precision) -> candle_core::Result<Option<Self>> {
        let Geometry { height, width, channels, outputs, kernel, stride, padding } = geometry;
        let panel_columns = panel_columns()?;
        let bf16 = Bf16::of(precision).map_err(candle_core::Error::wrap)?;
        let applies = (kernel, stride, padding) == (3, 1, 1)
            && [height, width].iter().all(|&side| side >= LEAST_SIDE)
            && outputs.is_multiple_of(panel_columns)
            && (channels.is_multiple_of(panel_columns)
                || channels >= LEAST_FILLED && 3 * channels.next_multiple_of(panel_columns) <= 4 * channels);
        let image_tiles = height.div_ceil(STEP) * width.div_ceil(STEP);
        let images_at_once = (TILES_AT_ONCE / image_tiles.max(1)).max(1);
        let tiles = images_at_once * image_tiles;
        Ok(applies.then(|| Self {
            bf16,
            geometry,
            frame: Geometry {
                height: height.next_multiple_of(STEP),
                width: width.next_multiple_of(STEP),
                channels: channels.next_multiple_of(panel_columns),
                ..geometry
            },
            image_tiles,
            panel_columns,
            images_at_once,
            panel_starts: (0..tiles).map(|tile| tile * panel_columns).collect(),
        }))
    }

    /// The sizes of an image as [`Winograd::forward`] takes it, padded.
    pub fn frame(&self) -> &Geometry {
        &self.frame
    }

    /// Images that one call of [`Winograd::forward`] may have, and is quickest with.
    pub fn images_at_once(&self) -> usize {
        self.images_at_once
    }

    /// The transformed weight (O, C, 3, 3): panels of output channels, each (positions, words of C, panel columns).
    pub fn pack_weight(&self, weight: &[f32]) -> candle_core::Result<PooledBuffer> {
        let Geometry { channels, outputs, .. } = self.frame;
        self.packed(&self.widened(weight), [outputs, channels], [channels * 9, 9])
    }

    /// For the gradient of the input: panels of input channels, each (positions, words of O, panel columns).
    fn pack_flipped_weight(&self, weight: &[f32]) -> candle_core::Result<PooledBuffer> {
        let Geometry { channels, outputs, .. } = self.frame;
        self.packed(&self.widened(weight), [channels, outputs], [9, channels * 9])
    }

    fn packed(
        &self,
        weight: &[f32],
        [columns, depths]: [usize; 2],
        [column_step, depth_step]: [usize; 2],
    ) -> candle_core::Result<PooledBuffer> {
        let width = self.panel_columns;
        let mut panels = PooledBuffer::stale(columns * self.words(POSITIONS * depths));
        let transform = |number: usize, panel: &mut [f32]| {
            let kernels = &weight[number * width * column_step..];
            simd::dispatch(TransformKernel { kernels, column_step, depth_step, columns: width, depths, panel })
        };
        let numbered = panels.par_chunks_exact_mut(self.words(POSITIONS * depths) * width).enumerate();
        match self.bf16 {
            None => numbered.try_for_each(|(number, panel)| transform(number, panel))?,
            Some(bf16) => numbered.try_for_each_init(
                || PooledBuffer::stale(POSITIONS * depths * width),
                |transformed, (number, panel)| {
                    transform(number, transformed)?;
                    pair_depths(bf16, transformed, panel);
                    Ok::<(), candle_core::Error>(())
                },
            )?,
        }
        Ok(panels)
    }

    /// Convolves as many images as `y` (n, H, W, O) holds, at most [`Winograd::images_at_once`]: `padded` images
    /// with the packed weight, plus the bias (O).
    pub fn forward(&self, padded: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) -> candle_core::Result<()> {
        let Geometry { channels, outputs, .. } = self.frame;
        let width = self.panel_columns;
        let tiles = y.len() / self.geometry.out_image() * self.image_tiles;
        let mut transformed = PooledBuffer::stale(POSITIONS * position_len(tiles, self.words(channels)));
        match self.bf16 {
            None => self.transform_input(padded, tiles, &mut transformed)?,
            Some(bf16) => {
                self.round_input(bf16, padded, tiles, Rounded { of_tiles: None, of_channels: Some(&mut transformed) })?
            }
        }
        let mut products = PooledBuffer::stale(POSITIONS * position_len(tiles, width));
        let panels = weight.chunks_exact(POSITIONS * self.words(channels) * width).zip(bias.chunks_exact(width));
        for (number, (panel, bias)) in panels.enumerate() {
            self.multiply(&transformed, tiles, panel, channels, &mut products)?;
            simd::dispatch(Output {
                products: &products,
                matrices: self.products(tiles),
                bias,
                first: number * width,
                y,
                tiling: self.tiling(outputs),
            })?;
        }
        Ok(())
    }

    /// The gradients of a batch `x` (N, H, W, C), given a function that writes the gradient of the output (H, W, O) of one
    /// image, by its number.
    pub fn gradients(
        &self,
        x: &[f32],
        weight: &[f32],
        wants_x: bool,
        output_gradient: impl Fn(usize, &mut [f32]) -> candle_core::Result<()> + Sync,
    ) -> candle_core::Result<Gradients> {
        let Geometry { channels, outputs, .. } = self.frame;
        let flipped = if wants_x { Some(self.pack_flipped_weight(weight)?) } else { None };
        let mut dx = vec![0.0; if wants_x { x.len() } else { 0 }];
        let share = whole_batch::share(x.len() / self.geometry.image());
        let halvings = self.halvings_to_a_chunk(share.images.len()).min(share.depth);
        let mut sums: Vec<PooledBuffer> = vec![];
        for Node { images, merges } in nodes(share.images, halvings) {
            let leaves = self.leaves(images.clone(), share.depth - halvings);
            let transformed = self.transform_chunk(
                &leaves,
                &x[images.start * self.geometry.image()..],
                if wants_x { &mut dx[images.start * self.geometry.image()..] } else { &mut [] },
                flipped.as_deref(),
                |image, dy| output_gradient(images.start + image, dy),
            )?;
            sums.push(self.weight_gradient(&leaves, &transformed)?);
            for _ in 0..merges {
                let other = sums.pop().expect("two sums are merged");
                let sum = sums.last_mut().expect("two sums are merged");
                let len = outputs * channels;
                sum.par_chunks_mut(len).zip(other.par_chunks(len)).for_each(|(sum, other)| add(sum, other));
            }
        }
        let mut positions = sums.pop().unwrap_or_else(|| PooledBuffer::nothing(POSITIONS * outputs * channels));
        whole_batch::sum(&mut positions)?;
        let mut dw = vec![0.0; outputs * channels * 9];
        dw.par_chunks_exact_mut(channels * 9).enumerate().try_for_each(|(output, gradient)| {
            let positions = &positions[output * channels..];
            simd::dispatch(KernelGradient { positions, position_step: outputs * channels, gradient })
        })?;
        Ok(Gradients { x: wants_x.then_some(dx), weight: self.narrowed(dw) })
    }

    /// How often so many images are halved until the tiles of a part are as many as should exist at a time.
    fn halvings_to_a_chunk(&self, images: usize) -> u32 {
        let group_tiles = self.panel_starts.len();
        let tiles = GRADIENT_TILES.max(GROUPS_A_THREAD * rayon::current_num_threads() * group_tiles);
        images.div_ceil((tiles / self.image_tiles).max(1)).next_power_of_two().ilog2()
    }

    /// The leaves, `depth` halvings further down, of the tree over `images`; and where the transforms of their groups lie.
    fn leaves(&self, images: Range<usize>, depth: u32) -> Vec<Leaf> {
        let Geometry { channels, outputs, .. } = self.frame;
        let first = images.start;
        let (mut x_start, mut dy_start) = (0, 0);
        let of_node = |Node { images, merges }: Node| {
            let tiles = images.len() * self.image_tiles;
            let (whole, rest) = (tiles / self.panel_starts.len(), tiles % self.panel_starts.len());
            let leaf =
                Leaf { images: images.start - first..images.end - first, merges, whole, rest, x_start, dy_start };
            x_start += self.groups_len(whole, rest, channels);
            dy_start += self.groups_len(whole, rest, outputs);
            leaf
        };
        nodes(images, depth).into_iter().map(of_node).collect()
    }

    /// Transforms the images of these leaves, from `x`, and the gradients of their outputs; writes the gradients of the images
    /// to `dx`, where the flipped weight is given.
    fn transform_chunk(
        &self,
        leaves: &[Leaf],
        x: &[f32],
        mut dx: &mut [f32],
        flipped: Option<&[f32]>,
        output_gradient: impl Fn(usize, &mut [f32]) -> candle_core::Result<()> + Sync,
    ) -> candle_core::Result<Transformed> {
        let Geometry { channels, outputs, .. } = self.frame;
        let image = self.geometry.image();
        let len = |channels: usize| leaves.iter().map(|leaf| self.groups_len(leaf.whole, leaf.rest, channels)).sum();
        let mut transformed =
            Transformed { x: PooledBuffer::stale(len(channels)), dy: PooledBuffer::stale(len(outputs)) };
        let (mut rest_x, mut rest_dy) = (&mut transformed.x[..], &mut transformed.dy[..]);
        let mut groups = vec![];
        for leaf in leaves {
            for first in leaf.images.clone().step_by(self.images_at_once) {
                let images = first..leaf.images.end.min(first + self.images_at_once);
                let tiles = images.len() * self.image_tiles;
                let (x_len, dy_len) = (self.group_len(tiles, channels), self.group_len(tiles, outputs));
                let dx_len = if flipped.is_some() { images.len() * image } else { 0 };
                let part = "the lengths of the groups are those of the whole";
                groups.push((
                    images,
                    rest_x.split_off_mut(..x_len).expect(part),
                    rest_dy.split_off_mut(..dy_len).expect(part),
                    dx.split_off_mut(..dx_len).expect(part),
                ));
            }
        }
        groups.into_par_iter().try_for_each_init(
            || PooledBuffer::zeros(self.images_at_once * self.frame.padded_len()),
            |padded, (images, transformed_x, transformed_dy, dx)| {
                let tiles = images.len() * self.image_tiles;
                self.geometry.pad(&self.frame, &x[images.start * image..images.end * image], padded);
                match self.bf16 {
                    None => self.transform_input(padded, tiles, transformed_x)?,
                    Some(bf16) => self.round_input(
                        bf16,
                        padded,
                        tiles,
                        Rounded { of_tiles: Some(transformed_x), of_channels: None },
                    )?,
                }
                let mut dy = PooledBuffer::stale(images.len() * self.geometry.out_image());
                for (image, dy) in images.zip(dy.chunks_exact_mut(self.geometry.out_image())) {
                    output_gradient(image, dy)?;
                }
                let for_channels = self.bf16.is_some() && flipped.is_some();
                let len = POSITIONS * position_len(tiles, self.words(outputs));
                let mut of_channels = for_channels.then(|| PooledBuffer::stale(len));
                match self.bf16 {
                    None => self.transform_gradient(&dy, tiles, transformed_dy)?,
                    Some(bf16) => {
                        let of_channels = of_channels.as_deref_mut();
                        let rounded = Rounded { of_tiles: Some(&mut *transformed_dy), of_channels };
                        self.round_gradient(bf16, &dy, tiles, rounded)?;
                    }
                }
                drop(dy);
                let Some(flipped) = flipped else { return Ok(()) };
                self.input_gradient(of_channels.as_deref().unwrap_or(transformed_dy), flipped, tiles, dx)
            },
        )?;
        Ok(transformed)
    }

    /// A weight (O, C, 3, 3) with zeros for the channels that fill the last panel.
    fn widened<'a>(&self, weight: &'a [f32]) -> Cow<'a, [f32]> {
        let [narrow, wide] = [&self.geometry, &self.frame].map(|geometry| geometry.channels * 9);
        if narrow == wide {
            return Cow::Borrowed(weight);
        }
        let mut widened = vec![0.0; self.geometry.outputs * wide];
        for (widened, weight) in widened.chunks_exact_mut(wide).zip(weight.chunks_exact(narrow)) {
            widened[..narrow].copy_from_slice(weight);
        }
        Cow::Owned(widened)
    }

    /// The inverse of [`Winograd::widened`].
    fn narrowed(&self, weight: Vec<f32>) -> Vec<f32> {
        let [narrow, wide] = [&self.geometry, &self.frame].map(|geometry| geometry.channels * 9);
        if narrow == wide {
            return weight;
        }
        weight.chunks_exact(wide).flat_map(|weight| &weight[..narrow]).copied().collect()
    }

    /// `dx` (n, H, W, C) of n images, from their transformed gradients of the output.
    fn input_gradient(
        &self,
        transformed_dy: &[f32],
        flipped: &[f32],
        tiles: usize,
        dx: &mut [f32],
    ) -> candle_core::Result<()> {
        let outputs = self.geometry.outputs;
        let width = self.panel_columns;
        let mut products = PooledBuffer::stale(POSITIONS * position_len(tiles, width));
        let mut padded = PooledBuffer::zeros(dx.len() / self.geometry.image() * self.frame.padded_len());
        for (number, panel) in flipped.chunks_exact(POSITIONS * self.words(outputs) * width).enumerate() {
            self.multiply(transformed_dy, tiles, panel, outputs, &mut products)?;
            simd::dispatch(AddInputGradient {
                products: &products,
                matrices: self.products(tiles),
                first: number * width,
                padded: &mut padded,
                tiling: self.padded_tiling(),
            })?;
        }
        self.geometry.crop(&self.frame, &padded, dx);
        Ok(())
    }

    /// The product of each position's panels of `depths` channels with its part of a panel of the weight.
    fn multiply(
        &self,
        left: &[f32],
        tiles: usize,
        panel: &[f32],
        depths: usize,
        products: &mut [f32],
    ) -> candle_core::Result<()> {
        if let Some(bf16) = self.bf16 {
            multiply_rounded(bf16, left, tiles, panel, depths, products);
            return Ok(());
        }
        let width = self.panel_columns;
        let starts = &self.panel_starts[..tiles];
        let terms = [
            Level { count: depths / width, left_step: tiles * width, panel_step: width * width },
            Level { count: width, left_step: 1, panel_step: width },
        ];
        let positions = left.chunks_exact(left.len() / POSITIONS).zip(panel.chunks_exact(panel.len() / POSITIONS));
        for ((left, panels), out) in positions.zip(products.chunks_exact_mut(position_len(starts.len(), width))) {
            Product {
                left,
                starts,
                panels,
                panel_len: panels.len(),
                terms,
                initial: Initial::Zero,
                out,
                out_step: width,
                columns: width,
            }
            .compute()?;
        }
        Ok(())
    }

    /// The products of transformed gradients and images, summed over the tiles of each leaf in order and then as the tree has it:
    /// (positions, O, C). One position is one task.
    fn weight_gradient(&self, leaves: &[Leaf], transformed: &Transformed) -> candle_core::Result<PooledBuffer> {
        let len = self.frame.outputs * self.frame.channels;
        let height = stack_height(leaves.iter().map(|leaf| leaf.merges));
        let mut positions = PooledBuffer::stale(POSITIONS * len);
        positions.par_chunks_exact_mut(len).enumerate().try_for_each_init(
            || PooledBuffer::stale(height.saturating_sub(1) * len),
            |others, (position, sums)| {
                // The lowest of the stack is the result.
                let mut stack: Vec<&mut [f32]> = std::iter::once(sums).chain(others.chunks_exact_mut(len)).collect();
                let mut height = 0;
                for leaf in leaves {
                    self.leaf_products(position, leaf, transformed, stack[height])?;
                    height += 1;
                    for _ in 0..leaf.merges {
                        height -= 1;
                        let (lower, upper) = stack.split_at_mut(height);
                        add(lower[height - 1], upper[0]);
                    }
                }
                Ok::<(), candle_core::Error>(())
            },
        )?;
        Ok(positions)
    }

    /// Those of a leaf and a position, (O, C).
    fn leaf_products(
        &self,
        position: usize,
        leaf: &Leaf,
        transformed: &Transformed,
        out: &mut [f32],
    ) -> candle_core::Result<()> {
        let Geometry { channels, outputs, .. } = self.frame;
        let width = self.panel_columns;
        let group_tiles = self.panel_starts.len();
        let (x_group, dy_group) = (self.group_len(group_tiles, channels), self.group_len(group_tiles, outputs));
        let of_whole = (0..leaf.whole).step_by(GROUPS_AT_ONCE);
        // The last group may have fewer tiles.
        let blocks = of_whole.map(|first| (first, GROUPS_AT_ONCE.min(leaf.whole - first), group_tiles));
        for (first, groups, tiles) in blocks.chain((leaf.rest > 0).then_some((leaf.whole, 1, leaf.rest))) {
            let words = self.words(tiles);
            let left = &transformed.dy[leaf.dy_start + first * dy_group + position * position_len(words, outputs)..];
            let panels = &transformed.x[leaf.x_start + first * x_group + position * position_len(words, channels)..];
            let panel_len = words * width;
            let starts = (0..outputs).map(|output| output / width * panel_len + output % width);
            let starts: Vec<usize> = starts.collect();
            let terms = [
                Level { count: groups, left_step: dy_group, panel_step: x_group },
                Level { count: words, left_step: width, panel_step: width },
            ];
            match self.bf16 {
                None => Product {
                    left,
                    starts: &starts,
                    panels,
                    panel_len,
                    terms,
                    initial: if first == 0 { Initial::Zero } else { Initial::Out },
                    out: &mut *out,
                    out_step: channels,
                    columns: channels,
                }
                .compute()?,
                Some(bf16) => {
                    for channel in (0..channels).step_by(width) {
                        bf16.multiply(PairProduct {
                            left: cast_slice(left),
                            starts: &starts,
                            panel: cast_slice(&panels[channel / width * panel_len..]),
                            terms,
                            adds: first > 0,
                            out: &mut out[channel..],
                            out_step: channels,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Words that hold so many consecutive terms of a sum.
    fn words(&self, terms: usize) -> usize {
        if self.bf16.is_some() { terms.div_ceil(2) } else { terms }
    }

    /// Words of the transforms of whole groups of tiles and of one with the rest.
    fn groups_len(&self, whole: usize, rest: usize, channels: usize) -> usize {
        whole * self.group_len(self.panel_starts.len(), channels) + self.group_len(rest, channels)
    }

    /// Words of the transforms of a group of tiles, as the gradient of the weight takes them.
    fn group_len(&self, tiles: usize, channels: usize) -> usize {
        if tiles == 0 { 0 } else { POSITIONS * position_len(self.words(tiles), channels) }
    }

    /// Panels of channels, each a matrix (tiles, panel columns).
    fn transform_input(&self, padded: &[f32], tiles: usize, transformed: &mut [f32]) -> candle_core::Result<()> {
        let channels = self.frame.channels;
        simd::dispatch(TransformInput {
            padded,
            tiling: self.padded_tiling(),
            transformed,
            matrices: self.panels(tiles, channels),
        })
    }

    /// Panels of channels, each a matrix (tiles, panel columns).
    fn transform_gradient(&self, dy: &[f32], tiles: usize, transformed: &mut [f32]) -> candle_core::Result<()> {
        let outputs = self.geometry.outputs;
        simd::dispatch(TransformGradient {
            gradient: dy,
            tiling: self.tiling(outputs),
            transformed,
            matrices: self.panels(tiles, outputs),
        })
    }

    fn panels(&self, tiles: usize, channels: usize) -> Matrices {
        let width = self.panel_columns;
        Matrices {
            first_tile: 0,
            tiles,
            position: position_len(tiles, channels),
            panel: tiles * width,
            tile: width,
            panel_channels: width,
            panels: channels / width,
        }
    }

    /// Bᵀ d B, rounded.
    fn round_input(&self, bf16: Bf16, padded: &[f32], tiles: usize, rounded: Rounded) -> candle_core::Result<()> {
        let tiling = self.padded_tiling();
        round(
            bf16,
            self.frame.channels,
            tiles,
            rounded,
            |rows| self.products(rows),
            |channel, matrices, transformed| {
                simd::dispatch(TransformInput { padded: &padded[channel..], tiling, transformed, matrices })
            },
        )
    }

    /// A dy Aᵀ, rounded.
    fn round_gradient(&self, bf16: Bf16, dy: &[f32], tiles: usize, rounded: Rounded) -> candle_core::Result<()> {
        let outputs = self.geometry.outputs;
        let tiling = self.tiling(outputs);
        round(
            bf16,
            outputs,
            tiles,
            rounded,
            |rows| self.products(rows),
            |channel, matrices, transformed| {
                simd::dispatch(TransformGradient { gradient: &dy[channel..], tiling, transformed, matrices })
            },
        )
    }

    /// The products of a panel, (positions, tiles, panel columns).
    fn products(&self, tiles: usize) -> Matrices {
        self.panels(tiles, self.panel_columns)
    }

    /// Of images without a border, whose last tiles may reach beyond them.
    fn tiling(&self, channels: usize) -> Tiling {
        let Geometry { height, width, .. } = self.geometry;
        self.tiles([height, width], channels, width * channels, height * width * channels)
    }

    /// Of padded images, which have the pixels of whole tiles.
    fn padded_tiling(&self) -> Tiling {
        let Geometry { height, width, channels, .. } = self.frame;
        self.tiles([height, width], channels, self.frame.padded_row(), self.frame.padded_len())
    }

    fn tiles(&self, [height, width]: [usize; 2], pixel: usize, row: usize, image: usize) -> Tiling {
        Tiling {
            tile_rows: self.frame.height / STEP,
            tile_columns: self.frame.width / STEP,
            height,
            width,
            pixel,
            row,
            image,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use proptest::prelude::*;

    use super::*;
    use crate::ops::reference::{convolution_is_the_definition, real, tensor, with_gradients};
    use crate::ops::{AfterConvolution, check_precision, conv_pool};

    proptest! {
        #![proptest_config(crate::testing::property(24))]
        /// Of sizes that it applies to, on every path: images that fill a call and that do not.
        #[test]
        fn is_the_definition(images in 1..19usize, height in LEAST_SIDE..13, width in LEAST_SIDE..13, wide in 0..4usize) {
            let (channels, outputs) = ([32, 64, 24, 56][wide], [64, 32, 32, 32][wide]);
            let g = Geometry { height, width, channels, outputs, kernel: 3, stride: 1, padding: 1 };
            prop_assert!(Winograd::new(g, Precision::F32).unwrap().is_some());
            convolution_is_the_definition(images, &g)?;
        }
    }

    proptest! {
        #![proptest_config(crate::testing::property(24))]
        /// Where there is bf16: what it gives is as far from f32 as rounding both operands of each product makes it.
        #[test]
        fn bf16_is_f32_but_for_rounding(images in 1..19usize, height in LEAST_SIDE..13, width in LEAST_SIDE..13, wide in 0..4usize) {
            /// Standard deviation of the error of a number that is rounded to eight bits, relative to it.
            const ROUNDING: f64 = 0.00157;
            /// What the transforms multiply it by: six were measured.
            const AMPLIFICATION: f64 = 8.0;
            if check_precision(Precision::Bf16).is_err() {
                return Ok(());
            }
            let (channels, outputs) = ([32, 64, 24, 56][wide], [64, 32, 32, 32][wide]);
            let g = Geometry { height, width, channels, outputs, kernel: 3, stride: 1, padding: 1 };
            let arguments = [
                tensor(real(1, images * g.image()), &[images, height, width, channels]),
                tensor(real(2, outputs * g.taps()), &[outputs, channels, 3, 3]),
            ];
            let gradient = tensor(real(3, images * g.out_image()), &[images, height, width, outputs]);
            let [f32, bf16] = [Precision::F32, Precision::Bf16].map(|precision| {
                let f = |a: &[Tensor]| conv_pool(&a[0], &a[1], AfterConvolution::Nothing, precision);
                with_gradients(&arguments, &gradient, f)
            });
            let ((y, of_y), (rounded, of_rounded)) = (f32?, bf16?);
            let pairs = [(y, rounded)].into_iter().chain(of_y.into_iter().zip(of_rounded));
            for (what, (exact, rounded)) in ["y", "dx", "dw"].into_iter().zip(pairs) {
                let norm = |tensor: &Tensor| tensor.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
                let error = f64::from(norm(&(rounded - &exact)?)? / norm(&exact)?);
                prop_assert!(error <= AMPLIFICATION * ROUNDING * 2f64.sqrt(), "{what}: {error}");
                prop_assert!(error >= ROUNDING, "{what}: {error} is not rounded");
            }
        }
    }

    #[test]
    fn small_sides_other_kernels_and_channels_that_fill_no_panel_are_left_to_others() {
        let g = Geometry { height: 8, width: 5, channels: 32, outputs: 64, kernel: 3, stride: 1, padding: 1 };
        assert!(Winograd::new(g, Precision::F32).expect("a path").is_some());
        for other in [
            Geometry { height: 2, ..g },
            Geometry { width: 1, ..g },
            Geometry { channels: 3, ..g },
            Geometry { outputs: 20, ..g },
            Geometry { kernel: 1, padding: 0, ..g },
            Geometry { stride: 2, ..g },
        ] {
            assert!(Winograd::new(other, Precision::F32).expect("a path").is_none(), "{other:?}");
        }
    }
}
