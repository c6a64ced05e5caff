//! The kernels, at the sizes of the study's network: `cargo bench --bench ops`.

fn main() {
    divan::main();
}
