//! Builds the stand-in for CUDA's driver from the kernels' source. The integration tests include this file by its path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
    /// Where it is; it is built once, and again when the kernels have changed.
    pub fn folder(self) -> &'static Path {
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
            let told = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "the kernels cannot be built for the CPU (is g++ installed?): {told}");
            folder
        })
    }

    /// What a process needs that is not built with sanitizers itself.
    pub fn variables(self) -> Vec<(&'static str, String)> {
        let Self::Sanitized = self else { return vec![] };
        let runtimes = ["libasan.so", "libubsan.so"].map(|library| {
            let found = Command::new("g++").arg(format!("-print-file-name={library}")).output().expect("g++");
            String::from_utf8(found.stdout).expect("a path").trim().to_owned()
        });
        vec![("LD_PRELOAD", runtimes.join(":")), ("ASAN_OPTIONS", "detect_leaks=0".into())]
    }
}
