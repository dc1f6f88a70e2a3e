//! The command `onnx-ml-bridge`: checks artifacts, embeds texts and finds named entities where no Python is.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
