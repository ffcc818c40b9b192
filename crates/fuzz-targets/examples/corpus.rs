//! Writes the seeds of each target to `fuzz/corpus`, for cargo-fuzz to begin with.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, _) in millrace_fuzz_targets::TARGETS {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in millrace_fuzz_targets::seeds(name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}
