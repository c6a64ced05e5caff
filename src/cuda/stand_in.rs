//! A stand-in for CUDA's driver, so that tests run the kernels that ship without a card: `tests/cuda` builds it with g++ from
//! their source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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

/// How the stand-in is built.
#[derive(Clone, Copy, Debug)]
pub enum Built {
    Plain,
    /// Of the kernels with products in bf16.
    Bf16,
    /// With AddressSanitizer and UndefinedBehaviorSanitizer, which end the process at the first fault of a kernel.
    Sanitized,
}

impl Built {
    /// Where it is; it is built once.
    fn folder(self) -> &'static Path {
        static FOLDERS: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
        let (name, ptx, flags) = match self {
            Self::Plain => ("cuda-stand-in", "src/cuda/kernels.ptx", &[][..]),
            Self::Bf16 => ("cuda-stand-in-bf16", "src/cuda/kernels-bf16.ptx", &["-DTAPER_BF16"][..]),
            Self::Sanitized => (
                "cuda-stand-in-sanitized",
                "src/cuda/kernels.ptx",
                &[
                    "-fsanitize=address,undefined",
                    "-fno-sanitize=object-size",
                    "-fno-sanitize-recover=undefined",
                    "-g1",
                ][..],
            ),
        };
        FOLDERS[self as usize].get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            // Beside this program, in the folder of what is built.
            let folder = std::env::current_exe().expect("this program").with_file_name(name);
            let built = Command::new("sh")
                .arg(root.join("tests/cuda/build.sh"))
                .arg(&folder)
                .args(["src/cuda/kernels/kernels.cu", ptx].map(|file| root.join(file)))
                .args(flags)
                .output()
                .expect("a shell");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            folder
        })
    }

    /// What a process needs that is not built with sanitizers itself.
    fn variables(self) -> Vec<(&'static str, String)> {
        let Self::Sanitized = self else { return vec![] };
        let runtimes = ["libasan.so", "libubsan.so"].map(|library| {
            let found = Command::new("g++").arg(format!("-print-file-name={library}")).output().expect("g++");
            String::from_utf8(found.stdout).expect("a path").trim().to_owned()
        });
        vec![("LD_PRELOAD", runtimes.join(":")), ("ASAN_OPTIONS", "detect_leaks=0".into())]
    }
}

/// The three orders in which the threads of a block may run.
pub const ORDERS: [&[(&str, &str)]; 3] =
    [&[("TAPER_TWIN_ORDER", "ascending")], &[("TAPER_TWIN_ORDER", "descending")], &[("TAPER_TWIN_ORDER", "shuffled")]];
