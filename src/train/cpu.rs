//! The CPU in words.

use crate::simd;

/// Such as `cpu (2 threads, avx2)`; `more` comes last in the brackets.
pub fn described(more: &str) -> String {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    // Where something is computed there is a path.
    let path = simd::chosen().map_or(String::new(), |path| format!(", {path}"));
    format!("cpu ({threads} thread{plural}{path}{more})")
}
