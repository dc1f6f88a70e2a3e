//! Prints the verdict of this reader on many artifacts in one process.
//!
//! Every line of the standard input is `verify DIR`, `replay DIR` or `bridge FILE`, where FILE is a bridge.toml. The answer
//! is one line: the code of the error, `valid` or `panic`. `replay` also runs the golden cases, in this process.

use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use onnx_ml_bridge::families::{Artifact, replay};
use onnx_ml_bridge::{BridgeError, open_bridge};

fn check(kind: &str, path: &Path) -> Result<(), BridgeError> {
    match kind {
        "verify" => Artifact::verify(path).map(drop),
        "replay" => Artifact::verify(path).and_then(|artifact| replay(artifact, None)).map(drop),
        "bridge" => open_bridge(path).map(drop),
        _ => panic!("{kind} is neither verify nor replay nor bridge"),
    }
}

fn verdict(kind: &str, path: &Path) -> &'static str {
    match catch_unwind(AssertUnwindSafe(|| check(kind, path))) {
        Ok(Ok(())) => "valid",
        Ok(Err(error)) => error.code().as_str(),
        Err(_) => "panic",
    }
}

fn main() -> io::Result<()> {
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (kind, path) = line.split_once(' ').unwrap_or((&line, ""));
        writeln!(answers, "{}", verdict(kind, Path::new(path)))?;
        answers.flush()?;
    }
    Ok(())
}
