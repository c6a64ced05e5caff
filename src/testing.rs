//! How property tests draw their cases: the same ones each time, and nothing is written into the source tree.
//!
//! `TAPER_RANDOM_SEED=random` turns on the search: each process draws fresh cases, and a test that fails prints the seed.
//! `TAPER_RANDOM_SEED=<number>` repeats the cases of that seed. The integration tests include this file by its path.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use proptest::test_runner::{Config, RngSeed};

const VARIABLE: &str = "TAPER_RANDOM_SEED";

static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var(VARIABLE).as_deref() {
    Err(_) => 0,
    Ok("random") => RandomState::new().hash_one(std::process::id()),
    Ok(number) => number.parse().unwrap_or_else(|_| panic!("{VARIABLE} is \"random\" or a number, not {number:?}")),
});

/// The configuration of every property test: it draws `cases` cases.
pub fn property(cases: u32) -> Config {
    // The test harness shows this where the test fails.
    eprintln!("to repeat these cases: {VARIABLE}={}", *SEED);
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(*SEED), ..Config::default() }
}
