//! The command `onnx-ml-bridge`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    onnx_ml_bridge::cli::main()
}
