//! What the machine is doing and what it has: read for the log of a run while it trains, and for `taper doctor`.

mod cards;
mod host;
mod sampler;
mod thinning;

pub use self::cards::{CardDescription, CardId, Cards, NoCards};
pub use self::host::{Cpu, Host};
pub use self::sampler::Sampler;
pub use self::thinning::Thinning;
