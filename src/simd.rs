//! Which vector instructions the CPU kernels use: decided once, at run time, so that one binary suits every machine.

use std::any::TypeId;
use std::fmt;
use std::sync::OnceLock;

use pulp::{Scalar128b, Simd, WithSimd};

/// Forces a path: `avx512`, `avx2` or `portable`.
pub const VARIABLE: &str = "TAPER_SIMD";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdPath {
    /// Vectors of four, as every x86-64 and ARM64 has them.
    Portable,
    /// AVX2 and FMA: vectors of eight.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL: vectors of sixteen.
    Avx512,
}

impl SimdPath {
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Whether this machine has no wider one.
    pub fn is_best(self) -> bool {
        self == Self::best()
    }

    /// The widest path of this machine.
    fn best() -> Self {
        Self::ALL.into_iter().rev().find(|path| path.is_available()).expect("portable is always available")
    }

    /// The path that `asked`, the value of [`VARIABLE`], names.
    fn parse(asked: Option<&str>) -> Result<Self, SimdPathError> {
        let Some(asked) = asked else { return Ok(Self::best()) };
        let named = Self::ALL.into_iter().find(|path| path.name() == asked);
        match named {
            None => Err(SimdPathError::Unknown(asked.to_owned())),
            Some(path) if !path.is_available() => Err(SimdPathError::Unavailable(path)),
            Some(path) => Ok(path),
        }
    }
}

impl fmt::Display for SimdPath {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimdPathError {
    #[error("{VARIABLE}={0}: expected avx512, avx2 or portable")]
    Unknown(String),
    #[error("{VARIABLE}={0}: this CPU does not have it; unset {VARIABLE}")]
    Unavailable(SimdPath),
}

/// The path that all kernels of this process take: that of [`VARIABLE`], else the widest.
///
/// # Errors
/// The variable names no path, or one that this machine lacks.
pub fn chosen() -> Result<SimdPath, SimdPathError> {
    static CHOSEN: OnceLock<Result<SimdPath, SimdPathError>> = OnceLock::new();
    CHOSEN.get_or_init(|| SimdPath::parse(std::env::var(VARIABLE).ok().as_deref())).clone()
}

/// Runs a kernel with the chosen path's instructions.
pub fn dispatch<K: WithSimd>(kernel: K) -> candle_core::Result<K::Output> {
    Ok(run_on(chosen().map_err(candle_core::Error::wrap)?, kernel))
}

/// Runs a kernel with the instructions of `path`, which this machine has.
pub fn run_on<K: WithSimd>(path: SimdPath, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    const AVAILABLE: &str = "a path is taken only where it is available";
    match path {
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx512 => Simd::vectorize(pulp::x86::V4::try_new().expect(AVAILABLE), kernel),
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx2 => Simd::vectorize(pulp::x86::V3::try_new().expect(AVAILABLE), kernel),
        _ => Simd::vectorize(Scalar128b, kernel),
    }
}

/// Runs plain loops with the chosen path's instructions: the compiler turns them into its vectors.
pub(super) fn vectorized<R>(f: impl FnOnce() -> R) -> candle_core::Result<R> {
    struct Loops<F>(F);
    impl<R, F: FnOnce() -> R> WithSimd for Loops<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> R {
            (self.0)()
        }
    }
    dispatch(Loops(f))
}

/// `a * b + c`, in one rounding where the path has an instruction for it: without one, pulp would call a function.
#[inline(always)]
pub(super) fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        simd.add_f32s(simd.mul_f32s(a, b), c)
    } else {
        simd.mul_add_e_f32s(a, b, c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_asked_for_and_a_wrong_one_is_named() {
        assert_eq!(SimdPath::parse(Some("portable")), Ok(SimdPath::Portable));
        assert!(SimdPath::parse(None).is_ok_and(SimdPath::is_available));
        let error = SimdPath::parse(Some("sse9")).expect_err("no such path").to_string();
        assert_eq!(error, "TAPER_SIMD=sse9: expected avx512, avx2 or portable");
        for path in SimdPath::ALL {
            let parsed = SimdPath::parse(Some(path.name()));
            let expected = if path.is_available() { Ok(path) } else { Err(SimdPathError::Unavailable(path)) };
            assert_eq!(parsed, expected);
        }
    }
}
