//! No attention.

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, AttentionWeights, Kind};
use crate::ops::Epilogue;

pub(super) static KIND: Kind = Kind {
    min_channels: 1,
    max_positions: usize::MAX,
    only_in_last_block: false,
    parameters: |_| vec![],
    flops: |_| 0,
    build: |_| Box::new(NoAttention),
};

struct NoAttention;

impl Attention for NoAttention {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::Pool
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        Ok(Attended { output: x.clone(), weights: AttentionWeights::default() })
    }
}
