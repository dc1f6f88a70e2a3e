//! Measures one embedding model on a device: the seconds of a call with all texts, and its vectors. Prints one JSON
//! object.
//!
//! ```text
//! cargo run --release --example device -- DIR DEVICE VARIANT RUN_TOKENS ROUNDS < TEXTS.json
//! ```

use std::io;
use std::time::Instant;

use onnx_ml_bridge::{BridgeError, BridgeOptions, EmbedOptions, Embedder, Model};
use serde_json::json;

fn main() -> Result<(), BridgeError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, device, variant, run_tokens, rounds] = arguments.as_slice() else { usage() };
    let (Ok(run_tokens), Ok(rounds)) = (run_tokens.parse(), rounds.parse::<usize>()) else { usage() };
    let Ok(texts) = serde_json::from_reader::<_, Vec<String>>(io::stdin().lock()) else { usage() };
    let model = Model::new(path).device(device).variant(variant).run_tokens(run_tokens);
    let embedder = Embedder::open(model, BridgeOptions::default())?;
    let vectors = embedder.embed_blocking(&texts, &EmbedOptions::default())?.vectors;
    let mut seconds = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        embedder.embed_blocking(&texts, &EmbedOptions::default())?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let info = embedder.info();
    println!("{}", json!({"device": info.device, "providers": info.providers, "seconds": seconds, "vectors": vectors}));
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: device DIR DEVICE VARIANT RUN_TOKENS ROUNDS < TEXTS.json (an array of strings)");
    std::process::exit(2)
}
