//! Runs one parser with the inputs of libFuzzer.
//!
//! `ONNX_ML_BRIDGE_FUZZ` is the name of the parser, `ONNX_ML_BRIDGE_VALID` the folder with the valid artifacts. `make fuzz`
//! sets both, and starts with the valid file as the only seed.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use libfuzzer_sys::fuzz_target;
use onnx_ml_bridge::artifact::Manifest;
use onnx_ml_bridge::families::parse_manifest;
use onnx_ml_bridge::fuzzing::{PARSERS, Parser};

/// The limit on the time of a call.
const LIMIT: Duration = Duration::from_secs(1);
/// A call that takes longer may have waited for a CPU: the parser is too slow if this many calls in a row take longer.
const CALLS: usize = 5;

static TARGET: OnceLock<(Parser, Manifest)> = OnceLock::new();

fn target() -> (Parser, Manifest) {
    let name = env::var("ONNX_ML_BRIDGE_FUZZ").expect("the name of a parser");
    let valid = PathBuf::from(env::var_os("ONNX_ML_BRIDGE_VALID").expect("the folder of the valid artifacts"));
    let (_, artifact, _, parser) = PARSERS.into_iter().find(|parser| parser.0 == name).expect("a parser of this name");
    let manifest = fs::read(valid.join(artifact).join("manifest.json")).expect("a manifest");
    (parser, parse_manifest(&manifest).expect("a valid manifest"))
}

fuzz_target!(
    init: {
        // Panics of the tokenizers library are caught. The hook of libFuzzer would end the process at each of them; a
        // panic that nothing catches still ends it.
        panic::set_hook(Box::new(|info| eprintln!("{info}")));
    },
    |bytes: &[u8]| {
        let (parser, manifest) = TARGET.get_or_init(target);
        let is_fast = || {
            let started = Instant::now();
            let _ = parser(bytes, manifest);
            started.elapsed() <= LIMIT
        };
        assert!((0..CALLS).any(|_| is_fast()), "{CALLS} calls took more than {LIMIT:?} each");
    }
);
