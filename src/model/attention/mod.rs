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

/// Whether a parameter of that name, such as `sa1.conv.weight`, is of an attention module.
pub fn has_parameter(name: &str) -> bool {
    let module = name.split('.').next().unwrap_or(name);
    ["ca", "eca", "sa", "nl"].contains(&module.trim_end_matches(|letter: char| letter.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::config::ModelConfig;
    use crate::data::DatasetInfo;
    use crate::model::Network;

    #[test]
    fn the_parameters_of_attention_are_told_by_their_names() -> anyhow::Result<()> {
        let names = |attention| -> anyhow::Result<Vec<String>> {
            let config = ModelConfig { channels: vec![16, 16], hidden: 4, attention, ..ModelConfig::default() };
            let network = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)?;
            Ok(network.weights().parameters.iter().map(|(name, _)| name.clone()).collect())
        };
        let plain = names(AttentionKind::None)?;
        for &kind in AttentionKind::ALL {
            for name in names(kind)? {
                assert_eq!(has_parameter(&name), !plain.contains(&name), "{kind:?}: {name}");
            }
        }
        Ok(())
    }
}
