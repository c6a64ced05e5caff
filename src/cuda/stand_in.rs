//! A stand-in for CUDA's driver, so that tests run the kernels that ship without a card: `tests/cuda` builds it with g++ from
//! their source.

use std::path::Path;
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
        run_with(test, library, built, variables);
    }
}

/// Runs a test in a process of its own, with a stand-in and with variables.
fn run_with(test: &str, library: &Path, built: Built, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .env("LD_LIBRARY_PATH", library)
        // Which cards have passed the self-test is noted there, and not where the user's are.
        .env("XDG_CACHE_HOME", library.join("cache"))
        .env("RUST_BACKTRACE", "0")
        .envs(built.variables())
        .envs(variables.iter().copied())
        .output()
        .expect("this program again");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{variables:?}:\n{told}");
}

/// The three orders in which the threads of a block may run.
pub const ORDERS: [&[(&str, &str)]; 3] =
    [&[("TAPER_TWIN_ORDER", "ascending")], &[("TAPER_TWIN_ORDER", "descending")], &[("TAPER_TWIN_ORDER", "shuffled")]];

/// One line of the kernels' source, and what is there instead.
pub struct Fault {
    pub file: &'static str,
    pub line: &'static str,
    pub instead: &'static str,
}

/// As [`on_stand_in`], in f32, with a fault in the kernels.
pub fn on_faulty_stand_in(test: &str, fault: &Fault, body: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().expect("a folder"));
    for entry in std::fs::read_dir(root.join("src/cuda/kernels")).expect("the kernels") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    let (Fault { line, instead, .. }, file) = (fault, folder.path().join(fault.file));
    let source = std::fs::read_to_string(&file).expect("a kernel");
    assert_eq!(source.matches(line).count(), 1, "{line}");
    std::fs::write(&file, source.replace(line, instead)).expect("a kernel");
    let library = folder.path().join("library");
    let built = Command::new("sh")
        .arg(root.join("tests/cuda/build.sh"))
        .args([&library, &folder.path().join("kernels.cu"), &root.join("src/cuda/kernels.ptx")])
        .output()
        .expect("a shell");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    run_with(test, &library, Built::Plain, &[("TAPER_TWIN_ORDER", "ascending")]);
}
