//! Measures the memory that models use and give back: `memory CONFIG`.
//!
//! CONFIG is JSON. Its `measure` is `long`, `limit` or `cycles`; the other keys are the fields of the struct of that name.
//! Prints one JSON object; all sizes are in bytes. `python -m benchmarks.memory` runs it.

use std::error::Error;
use std::fs;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use onnx_ml_bridge::{
    BridgeError, BridgeOptions, EmbedOptions, Embedder, MlBridge, Model, ModelInfo, OnnxMlBridge, RecognizeOptions,
    RerankOptions, SummarizeOptions, Task, open_bridge,
};
use serde::Deserialize;
use serde_json::{Value, json};

const SHORT: &str = "the old house by the river";
/// Model number n of [`Limit`] truncates texts to this number of tokens plus n, so that the answers of the models differ.
const FIRST_MAX_TOKENS: usize = 8;
const MEBIBYTE: u64 = 1 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(tag = "measure", rename_all = "lowercase")]
enum Config {
    Long(Long),
    Limit(Limit),
    Cycles(Cycles),
}

fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1).ok_or("usage: memory CONFIG")?;
    let measured = match serde_json::from_str(&argument)? {
        Config::Long(config) => config.measure()?,
        Config::Limit(config) => config.measure()?,
        Config::Cycles(config) => config.measure()?,
    };
    println!("{measured}");
    Ok(())
}

/// A size of this process: `VmRSS`, the resident memory now, `VmHWM`, its highest value, or `RssAnon`, the part of the
/// resident memory that belongs to no file.
fn status(key: &str) -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(key)).ok_or("no such size")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kibibytes * 1024)
}

/// Embeds a short text, a long one and the short one again. `before` and `after` exclude the files: the weights of late
/// positions come into memory with the first long text.
#[derive(Deserialize)]
struct Long {
    /// The artifact.
    path: String,
    variant: String,
    /// The file with the long text.
    text: String,
}

impl Long {
    fn measure(self) -> Outcome<Value> {
        let embedder = Embedder::open(Model::new(&self.path).variant(&self.variant), BridgeOptions::default())?;
        let embed = |text: &str| embedder.embed_blocking(&[text], &EmbedOptions::default());
        embed(SHORT)?;
        let (loaded, before) = (status("VmRSS")?, status("RssAnon")?);
        let long = embed(&fs::read_to_string(self.text)?)?;
        let (peak, tokens) = (status("VmHWM")?, long.token_counts.map_or(0, |counts| counts[0]));
        embed(SHORT)?;
        let after = status("RssAnon")?;
        Ok(json!({"tokens": tokens, "vector": long.vectors[0],
            "loaded": loaded, "peak": peak, "before": before, "after": after}))
    }
}

/// Calls models at random whose memory exceeds the limit of their bridge.
#[derive(Deserialize)]
struct Limit {
    path: String,
    texts: Vec<String>,
    models: usize,
    /// The number of models that the limit holds.
    fits: u64,
    calls: usize,
    callers: usize,
    seed: u64,
}

impl Limit {
    fn model(&self, number: usize) -> Model {
        let model = Model::new(&self.path).name(format!("m{number}")).variant("fp32");
        model.max_tokens(FIRST_MAX_TOKENS + number)
    }

    fn measure(self) -> Outcome<Value> {
        let mut each = 0;
        let mut expected = Vec::new();
        for number in 0..self.models {
            let alone = Embedder::open(self.model(number), BridgeOptions::default())?;
            expected.push(alone.embed_blocking(&self.texts, &EmbedOptions::default())?.vectors);
            each = alone.resident_bytes();
        }
        // A load needs the memory of the graph's file beside that of the loaded graph.
        let memory_mb = (self.fits + 1) * each / MEBIBYTE;
        let base = status("VmRSS")?;
        fs::write("/proc/self/clear_refs", "5")?; // lets VmHWM start again
        let builder =
            (0..self.models).fold(OnnxMlBridge::builder(), |builder, number| builder.model(self.model(number)));
        let bridge = builder.options(BridgeOptions::default().memory_mb(memory_mb as usize)).build()?;
        let right = self.call(&bridge, &expected)?;
        let grown = status("VmHWM")? - base;
        let limit = memory_mb * MEBIBYTE;
        Ok(json!({"each": each, "limit": limit, "calls": self.calls, "right": right, "grown": grown}))
    }

    /// The number of calls with the right answer.
    fn call(&self, bridge: &OnnxMlBridge, expected: &[Vec<Vec<f32>>]) -> Result<usize, BridgeError> {
        let (next, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || -> Result<(), BridgeError> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.calls {
                    return Ok(());
                }
                let mut source = fastrand::Rng::with_seed(self.seed + number as u64);
                let (model, text) = (source.usize(..self.models), source.usize(..self.texts.len()));
                let embedder = bridge.embedder(Some(&format!("m{model}")))?;
                let found = embedder.embed_blocking(&[&self.texts[text]], &EmbedOptions::default())?;
                let mut pairs = found.vectors[0].iter().zip(&expected[model][text]);
                right.fetch_add(usize::from(pairs.all(|(a, b)| (a - b).abs() <= 1e-6)), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.callers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        Ok(right.into_inner())
    }
}

/// Loads, calls and unloads every model of a `bridge.toml` again and again.
#[derive(Deserialize)]
struct Cycles {
    bridge: String,
    cycles: usize,
}

impl Cycles {
    /// Three sizes for each cycle of each model: before the load, loaded, and after the unload.
    fn measure(self) -> Outcome<Value> {
        let bridge = open_bridge(&self.bridge)?;
        let mut measured = serde_json::Map::new();
        for info in bridge.models() {
            let mut sizes = Vec::new();
            for _ in 0..self.cycles {
                let before = status("VmRSS")?;
                let handle = call(&*bridge, &info)?;
                let loaded = status("VmRSS")?;
                handle();
                sizes.push([before, loaded, status("VmRSS")?]);
            }
            measured.insert(info.name.clone(), json!(sizes));
        }
        Ok(measured.into())
    }
}

/// Calls a model, and returns what unloads it.
fn call(bridge: &dyn MlBridge, info: &ModelInfo) -> Outcome<Box<dyn FnOnce()>> {
    let name = Some(info.name.as_str());
    Ok(match info.task {
        Task::Embedding => {
            let embedder = bridge.embedder(name)?;
            embedder.embed_blocking(&[SHORT], &EmbedOptions::default())?;
            Box::new(move || embedder.unload())
        }
        Task::Ner => {
            let recognizer = bridge.recognizer(name)?;
            recognizer.recognize_blocking(&[SHORT], &RecognizeOptions::default())?;
            Box::new(move || recognizer.unload())
        }
        Task::Rerank => {
            let reranker = bridge.reranker(name)?;
            reranker.rerank_blocking(SHORT, &[SHORT], &RerankOptions::default())?;
            Box::new(move || reranker.unload())
        }
        Task::Summarization => {
            let summarizer = bridge.summarizer(name)?;
            let options = SummarizeOptions::default().num_beams(2).min_length(0).max_length(8);
            summarizer.summarize_blocking(&[vec![SHORT.to_owned()]], &options)?;
            Box::new(move || summarizer.unload())
        }
        other => return Err(format!("no calls for {other}").into()),
    })
}
