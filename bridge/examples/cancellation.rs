//! Measures how long a bulk call runs on after it was cancelled: `cancellation MODEL VARIANT TEXTS SECONDS ...`.
//!
//! TEXTS is a file with one JSON string per line. For each number of seconds, a call embeds all texts and another thread
//! cancels it after that time. Prints the milliseconds from each cancellation to the end of its call as a JSON array.
//! `python -m benchmarks.cancellation` runs it.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use onnx_ml_bridge::{BridgeOptions, CancelToken, EmbedOptions, Embedder, ErrorCode, Model};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, variant, texts, times @ ..] = arguments.as_slice() else {
        return Err("usage: cancellation MODEL VARIANT TEXTS SECONDS ...".into());
    };
    let lines = std::fs::read_to_string(texts)?;
    let texts = lines.lines().map(serde_json::from_str).collect::<Result<Vec<String>, _>>()?;
    let embedder = Embedder::open(Model::new(model).variant(variant), BridgeOptions::default())?;
    embedder.warm_up_blocking()?;
    let mut stops = Vec::new();
    for seconds in times {
        stops.push(milliseconds_to_stop(&embedder, &texts, Duration::from_secs_f64(seconds.parse()?))?);
    }
    println!("{}", serde_json::to_string(&stops)?);
    Ok(())
}

fn milliseconds_to_stop(embedder: &Embedder, texts: &[String], after: Duration) -> Result<f64, Box<dyn Error>> {
    let token = CancelToken::new();
    let options = EmbedOptions::default().cancel(token.clone());
    let canceller = thread::spawn(move || {
        thread::sleep(after);
        let cancelled = Instant::now();
        token.cancel();
        cancelled
    });
    let outcome = embedder.embed_blocking(texts, &options);
    let ended = Instant::now();
    let cancelled = canceller.join().map_err(|_| "the cancelling thread panicked")?;
    match outcome {
        Err(error) if error.code() == ErrorCode::Cancelled => {
            Ok(1000.0 * ended.saturating_duration_since(cancelled).as_secs_f64())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(format!("a call ended before it was cancelled, after {after:?}").into()),
    }
}
