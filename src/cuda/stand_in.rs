//! A stand-in for CUDA's driver, so that tests run the kernels that ship without a card: `tests/cuda` builds it with g++ from
//! their source.

use std::process::Command;

pub use super::built::Built;

/// Set where this process has the stand-in.
const VARIABLE: &str = "TAPER_TEST_WITH_STAND_IN";

/// Runs `body` in processes of their own that find the stand-in as CUDA's driver, one for each set of variables (see
/// `tests/cuda/driver.cpp`). `test` is the whole name of the test that calls it, and does nothing else.
pub fn on_stand_in(test: &str, built: Built, variables: &[&[(&str, &str)]], body: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let library = built.folder();
    for variables in variables {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .env("LD_LIBRARY_PATH", library)
            .env("RUST_BACKTRACE", "0")
            .envs(built.variables())
            .envs(variables.iter().copied())
            .output()
            .expect("this program again");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && told.contains("1 passed"), "{variables:?}:\n{told}");
    }
}

/// The three orders in which the threads of a block may run.
pub const ORDERS: [&[(&str, &str)]; 3] =
    [&[("TAPER_TWIN_ORDER", "ascending")], &[("TAPER_TWIN_ORDER", "descending")], &[("TAPER_TWIN_ORDER", "shuffled")]];
