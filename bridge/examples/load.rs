//! Measures one embedding model under load: how long a single text waits beside a bulk call, and how many texts per second
//! concurrent callers get in comparison with a bulk call. Prints one JSON object.
//!
//! ```text
//! cargo run --release --example load -- DIR [VARIANT] [TEXTS] [WORKERS]
//! ```

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use onnx_ml_bridge::{BridgeError, BridgeOptions, EmbedOptions, Embedder, Model};
use serde_json::{Value, json};

const CALLERS: usize = 64;
/// How many texts every concurrent caller embeds, one by one.
const TEXTS_PER_CALLER: usize = 64;
/// A text of 16 tokens, of which 32 are one full run.
const RUN_TEXT: &str = "the old house by the river was moved to the mill on Friday";
/// The pause between two single texts beside a bulk call.
const PAUSE: Duration = Duration::from_millis(20);

/// A text of 4 to 31 words, which is different for every index.
fn text(index: usize) -> String {
    let words = ["lease", "river", "mill", "signed", "old", "meeting", "Friday", "figures", "moved", "bring", "house"];
    let count = 4 + index * 7 % 28;
    (0..count).map(|word| words[(index * 5 + word * word + word) % words.len()]).collect::<Vec<_>>().join(" ")
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(text).collect()
}

fn embed(embedder: &Embedder, texts: &[String]) -> Result<f64, BridgeError> {
    let started = Instant::now();
    embedder.embed_blocking(texts, &EmbedOptions::default())?;
    Ok(started.elapsed().as_secs_f64())
}

/// The median, the 99th percentile and the maximum of durations, in milliseconds.
fn percentiles(mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds.get(((seconds.len() as f64 * part) as usize).min(seconds.len() - 1));
    let ms = |seconds: Option<&f64>| seconds.map(|seconds| seconds * 1000.0);
    json!({"p50": ms(at(0.5)), "p99": ms(at(0.99)), "max": ms(seconds.last()), "count": seconds.len()})
}

/// How long single texts take while a bulk call runs, and how long the bulk call takes.
fn beside_bulk(embedder: &Embedder, bulk: &[String]) -> Result<(Vec<f64>, f64), BridgeError> {
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let seconds = embed(embedder, bulk);
            has_ended.store(true, Ordering::Relaxed);
            seconds
        });
        let mut single = Vec::new();
        while !has_ended.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
            single.push(embed(embedder, &[text(single.len())])?);
        }
        Ok((single, call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?))
    })
}

/// How long each text of the concurrent callers takes, and how long all of them take.
async fn concurrent(embedder: &Embedder) -> Result<(Vec<f64>, f64), BridgeError> {
    let (started, texts) = (Instant::now(), Arc::new(texts(CALLERS * TEXTS_PER_CALLER)));
    let caller = |caller: usize| {
        let (embedder, texts) = (embedder.clone(), Arc::clone(&texts));
        tokio::spawn(async move {
            let mut seconds = Vec::with_capacity(TEXTS_PER_CALLER);
            for index in 0..TEXTS_PER_CALLER {
                let (started, text) = (Instant::now(), texts[caller * TEXTS_PER_CALLER + index].clone());
                embedder.embed(vec![text], EmbedOptions::default()).await?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            Ok::<_, BridgeError>(seconds)
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
    }
    Ok((all, started.elapsed().as_secs_f64()))
}

fn main() -> Result<(), BridgeError> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or_else(missing)?;
    let variant = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    let (count, workers) = (number().unwrap_or(4096), number());
    let model = workers.into_iter().fold(Model::new(path).variant(variant), Model::workers);
    let embedder = Embedder::open(model, BridgeOptions::default())?;
    let (bulk, one_run) = (texts(count), vec![RUN_TEXT.to_owned(); 32]);
    embed(&embedder, &bulk)?;
    let run: Vec<f64> = (0..9).map(|_| embed(&embedder, &one_run)).collect::<Result<_, _>>()?;
    let alone = embed(&embedder, &bulk)?;
    let (single, beside) = beside_bulk(&embedder, &bulk)?;
    let bulk_of_callers = embed(&embedder, &texts(CALLERS * TEXTS_PER_CALLER))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let (callers, seconds) = runtime.block_on(concurrent(&embedder))?;
    let per_second = |seconds: f64| (CALLERS * TEXTS_PER_CALLER) as f64 / seconds;
    let figures = json!({
        "variant": embedder.info().variant, "workers": workers, "texts": count,
        "one_run_ms": percentiles(run), "bulk_s": alone, "bulk_beside_singles_s": beside,
        "single_beside_bulk_ms": percentiles(single),
        "callers": CALLERS, "callers_ms": percentiles(callers),
        "callers_texts_per_s": per_second(seconds), "bulk_texts_per_s": per_second(bulk_of_callers),
        "callers_over_bulk": bulk_of_callers / seconds,
    });
    println!("{figures}");
    Ok(())
}

fn missing() -> BridgeError {
    eprintln!("usage: load DIR [VARIANT] [TEXTS] [WORKERS]");
    std::process::exit(2)
}
