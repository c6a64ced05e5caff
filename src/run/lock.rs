//! Placeholder for the run helper's module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A trainer is at it, on this host.
    Live,
    Dead,
    /// A trainer is at it on another host, or was and cannot be asked from here.
    Elsewhere {
        host: String,
    },
}
