//! Attention modules: what a block makes more or less of, learned with the rest. A kind is a file here, and a line of
//! [`kind_of`].
//!
//! All are between a block's ReLU and its pool. Positive factors of channels commute with the pool, so channel attention is
//! a part of the block's operation; what attends to positions does not, and follows it.

mod cbam;
mod eca;
mod kind;
mod non_local;
mod none;
mod spatial;
mod squeeze_excite;

pub use kind::AttentionWeights;
pub(super) use kind::{Attended, Attention, Kind};

use crate::config::AttentionKind;

pub(super) fn kind_of(kind: AttentionKind) -> &'static Kind {
    match kind {
        AttentionKind::None => &none::KIND,
        AttentionKind::Se => &squeeze_excite::KIND,
        AttentionKind::Eca => &eca::KIND,
        AttentionKind::Spatial => &spatial::KIND,
        AttentionKind::Cbam => &cbam::KIND,
        AttentionKind::NonLocal => &non_local::KIND,
    }
}

/// What a network with that attention has in one of its blocks.
pub(super) fn in_block(attention: AttentionKind, is_last: bool) -> AttentionKind {
    if kind_of(attention).only_in_last_block && !is_last { AttentionKind::None } else { attention }
}
