//! What kernels write, kept in the order in which they are launched: the self-test looks at it.

use super::kernel::Kernel;

/// One output of one launch.
#[derive(Clone, Debug)]
pub struct Written {
    pub kernel: Kernel,
    /// Which of its outputs, such as `y`.
    pub what: &'static str,
    pub numbers: Numbers,
    pub bytes: Vec<u8>,
}

/// What the bytes of an output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    U8,
    U32,
    F32,
    F64,
}

impl Written {
    pub fn values(&self) -> Vec<f64> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect()
        }
        match self.numbers {
            Numbers::U8 => each(&self.bytes, |[byte]| byte.into()),
            Numbers::U32 => each(&self.bytes, |bytes| u32::from_le_bytes(bytes).into()),
            Numbers::F32 => each(&self.bytes, |bytes| f32::from_le_bytes(bytes).into()),
            Numbers::F64 => each(&self.bytes, f64::from_le_bytes),
        }
    }
}
