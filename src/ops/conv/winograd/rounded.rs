//! Transforms that are rounded to bf16, in pairs as the products take them. A pair of words lies in a slice of f32: only its
//! bits move.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::transforms::{Matrices, POSITIONS, position_len};
use crate::ops::bf16::{Bf16, Blocks, COLUMNS, PairProduct};
use crate::ops::matmul::one_level;
use crate::ops::pooled_buffer::PooledBuffer;

/// Tiles that are transformed and rounded at once, while they are in the first-level cache. Even, for pairs.
const ROUNDED_AT_ONCE: usize = 4;

/// Where a rounded transform goes.
pub struct Rounded<'a> {
    /// Paired for sums over tiles: of each position, panels of channels, each (pairs of tiles, panel columns).
    pub of_tiles: Option<&'a mut [f32]>,
    /// Paired for sums over channels: of each position, (tiles, pairs of channels).
    pub of_channels: Option<&'a mut [f32]>,
}

/// Rounds a panel of the transformed kernel, (positions, depths, panel columns) with an even number of depths, to
/// (positions, pairs of depths, panel columns).
pub fn pair_depths(bf16: Bf16, panel: &[f32], pairs: &mut [f32]) {
    let blocks = Blocks { numbers: panel, rows: panel.len() / COLUMNS, row_step: COLUMNS, step: panel.len() };
    let step = pairs.len();
    bf16.pair_rows(blocks, cast_slice_mut(pairs), step);
}

/// Rounds the transforms of so many tiles and channels. `products`: where the matrices of some tiles lie. `transform` writes a
/// panel of channels, from the given one on, of some tiles.
pub fn round(
    bf16: Bf16,
    channels: usize,
    tiles: usize,
    rounded: Rounded,
    products: impl Fn(usize) -> Matrices,
    transform: impl Fn(usize, Matrices, &mut [f32]) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    let Rounded { mut of_tiles, mut of_channels } = rounded;
    let (tile_pairs, channel_pairs) = (tiles.div_ceil(2), channels / 2);
    let mut transformed = PooledBuffer::stale(POSITIONS * position_len(ROUNDED_AT_ONCE, COLUMNS));
    for channel in (0..channels).step_by(COLUMNS) {
        for first_tile in (0..tiles).step_by(ROUNDED_AT_ONCE) {
            let rows = ROUNDED_AT_ONCE.min(tiles - first_tile);
            let matrices = Matrices { first_tile, ..products(rows) };
            transform(channel, matrices, &mut transformed)?;
            let numbers = &transformed[..POSITIONS * matrices.position];
            let blocks = Blocks { numbers, rows, row_step: COLUMNS, step: matrices.position };
            if let Some(of_tiles) = &mut of_tiles {
                let first = channel * tile_pairs + first_tile / 2 * COLUMNS;
                bf16.pair_rows(blocks, cast_slice_mut(&mut of_tiles[first..]), position_len(tile_pairs, channels));
            }
            if let Some(of_channels) = &mut of_channels {
                let (first, step) = (first_tile * channel_pairs + channel / 2, position_len(tiles, channel_pairs));
                bf16.pair_columns(blocks, cast_slice_mut(&mut of_channels[first..]), step, channel_pairs);
            }
        }
    }
    Ok(())
}

/// The product of each position's (tiles, pairs of `depths` channels) with its part of a panel of the weight.
pub fn multiply_rounded(bf16: Bf16, left: &[f32], tiles: usize, panel: &[f32], depths: usize, products: &mut [f32]) {
    let pairs = depths / 2;
    let starts: Vec<usize> = (0..tiles).map(|tile| tile * pairs).collect();
    let terms = one_level(pairs, 1, COLUMNS);
    let positions = left.chunks_exact(left.len() / POSITIONS).zip(panel.chunks_exact(panel.len() / POSITIONS));
    for ((left, panel), out) in positions.zip(products.chunks_exact_mut(position_len(tiles, COLUMNS))) {
        let (left, panel) = (cast_slice(left), cast_slice(panel));
        bf16.multiply(PairProduct { left, starts: &starts, panel, terms, adds: false, out, out_step: COLUMNS });
    }
}
