//! Calls the models of a `bridge.toml` at random from several threads: `soak CONFIG`.
//!
//! CONFIG is JSON: `bridge`, the path of the `bridge.toml`; `words`, the path of a text whose words the calls use; `rests`, the
//! beginning and the end of each time without calls, in seconds from the first call; `callers`, the number of threads; `seed`.
//! After the warm-up all models but the first are reloaded at random; before each rest they all are, and the same calls follow. The
//! process ends with the last rest, and prints the numbers of calls by outcome as JSON. `python -m benchmarks.soak` runs it and
//! measures it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use onnx_ml_bridge::{
    BridgeError, CancelToken, EmbedOptions, MlBridge, ModelInfo, RecognizeOptions, ReloadOptions, RerankOptions,
    SummarizeOptions, Task, open_bridge,
};
use serde::Deserialize;

/// A model is reloaded after every interval of this length.
const RELOAD: Duration = Duration::from_secs(30);
/// A text has up to this many words, about 512 tokens.
const MAX_WORDS: f64 = 380.0;
const MAX_BATCH: f64 = 64.0;
/// Limit on the words of a batch, so that no call takes minutes.
const MAX_CALL_WORDS: usize = 4000;

#[derive(Deserialize)]
struct Config {
    bridge: String,
    words: String,
    rests: Vec<(f64, f64)>,
    callers: u64,
    seed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1).ok_or("usage: soak CONFIG")?;
    let config: Config = serde_json::from_str(&argument)?;
    let text = std::fs::read_to_string(&config.words)?;
    let bridge = open_bridge(&config.bridge)?;
    let load = Load {
        bridge: &*bridge,
        models: bridge.models(),
        words: text.split_whitespace().collect(),
        seed: config.seed,
        outcomes: Mutex::default(),
    };
    let mut callers: Vec<_> = (0..config.callers).map(|number| Rng::with_seed(config.seed + number)).collect();
    let mut reloads = Rng::with_seed(config.seed);
    let start = Instant::now();
    load.warm_up(&mut callers);
    for &(first, last) in &config.rests {
        load.call_until(start + Duration::from_secs_f64(first), &mut callers, &mut reloads);
        load.settle();
        thread::sleep((start + Duration::from_secs_f64(last)).saturating_duration_since(Instant::now()));
    }
    println!("{}", serde_json::to_string(&load.outcomes)?);
    Ok(())
}

struct Load<'a> {
    bridge: &'a dyn MlBridge,
    models: Vec<ModelInfo>,
    words: Vec<&'a str>,
    seed: u64,
    /// The numbers of calls by task and outcome.
    outcomes: Mutex<BTreeMap<String, u64>>,
}

impl Load<'_> {
    /// Makes the largest calls from all callers, and reloads every model beside them.
    fn warm_up(&self, callers: &mut [Rng]) {
        thread::scope(|scope| {
            for source in callers {
                scope.spawn(|| self.make_largest_calls(source));
            }
            scope.spawn(|| self.reload(&self.models));
        });
    }

    /// Makes random calls from all callers, and reloads models beside them.
    fn call_until(&self, end: Instant, callers: &mut [Rng], reloads: &mut Rng) {
        thread::scope(|scope| {
            for source in callers {
                scope.spawn(move || self.make_random_calls(source, end));
            }
            scope.spawn(|| {
                while Instant::now() + RELOAD < end {
                    thread::sleep(RELOAD);
                    self.reload(reloads.choice(self.replaced()));
                }
            });
        });
    }

    /// Brings the process into the same state each time: what it keeps depends on the last reloads and calls.
    fn settle(&self) {
        self.reload(self.replaced());
        self.make_largest_calls(&mut Rng::with_seed(self.seed));
    }

    fn make_largest_calls(&self, source: &mut Rng) {
        let mut models: Vec<_> = self.models.iter().collect();
        source.shuffle(&mut models);
        for info in models {
            for words in [MAX_CALL_WORDS / MAX_BATCH as usize, MAX_WORDS as usize] {
                let texts = self.texts(source, words, MAX_CALL_WORDS / words);
                self.count(info.task.name(), self.call(info, texts, &CancelToken::new(), None));
            }
        }
    }

    fn make_random_calls(&self, source: &mut Rng, end: Instant) {
        while Instant::now() < end {
            let Some(info) = source.choice(&self.models) else { return };
            self.count(info.task.name(), self.outcome(info, source));
        }
    }

    /// The models that are reloaded after the warm-up. The first one stays, so that the memory which a session never frees is
    /// seen as well.
    fn replaced(&self) -> &[ModelInfo] {
        &self.models[1..]
    }

    fn reload<'a>(&self, models: impl IntoIterator<Item = &'a ModelInfo>) {
        for info in models {
            self.count("reload", self.bridge.reload_blocking(&info.name, &ReloadOptions::default()).map(drop));
        }
    }

    fn count(&self, what: &str, outcome: Result<(), BridgeError>) {
        let code = outcome.map_or_else(|error| error.code().as_str(), |()| "ok");
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *outcomes.entry(format!("{what} {code}")).or_default() += 1;
    }

    fn outcome(&self, info: &ModelInfo, source: &mut Rng) -> Result<(), BridgeError> {
        let token = CancelToken::new();
        let canceller = (source.f64() < 0.1).then(|| {
            let (token, after) = (token.clone(), Duration::from_secs_f64(0.3 * source.f64()));
            thread::spawn(move || {
                thread::sleep(after);
                token.cancel();
            })
        });
        let timeout = (source.f64() < 0.1).then_some(Duration::from_millis(200));
        let outcome = self.call(info, self.random_texts(source), &token, timeout);
        canceller.map(|thread| thread.join());
        outcome
    }

    fn call(
        &self,
        info: &ModelInfo,
        texts: Vec<String>,
        token: &CancelToken,
        timeout: Option<Duration>,
    ) -> Result<(), BridgeError> {
        let name = Some(info.name.as_str());
        match info.task {
            Task::Embedding => {
                let mut options = EmbedOptions::default().cancel(token.clone());
                options.timeout = timeout;
                self.bridge.embedder(name)?.embed_blocking(&texts, &options).map(drop)
            }
            Task::Ner => {
                let mut options = RecognizeOptions::default().cancel(token.clone());
                options.timeout = timeout;
                self.bridge.recognizer(name)?.recognize_blocking(&texts, &options).map(drop)
            }
            Task::Rerank => {
                let mut options = RerankOptions::default().cancel(token.clone());
                options.timeout = timeout;
                let query = texts[0].chars().take(200).collect::<String>();
                self.bridge.reranker(name)?.rerank_blocking(&query, &texts, &options).map(drop)
            }
            Task::Summarization => {
                let options = SummarizeOptions::default().num_beams(2).min_length(0).max_length(16);
                let mut options = options.cancel(token.clone());
                options.timeout = timeout;
                let inputs: Vec<Vec<String>> = texts.into_iter().take(4).map(|text| vec![text]).collect();
                self.bridge.summarizer(name)?.summarize_blocking(&inputs, &options).map(drop)
            }
            other => Err(BridgeError::Config { problem: format!("no calls for {other}"), cause: None }),
        }
    }

    /// Texts whose number and length are log-uniform, so that most calls are small.
    fn random_texts(&self, source: &mut Rng) -> Vec<String> {
        let words = MAX_WORDS.powf(source.f64()) as usize;
        let count = (MAX_BATCH.powf(source.f64()) as usize).min((MAX_CALL_WORDS / words).max(1));
        self.texts(source, words, count)
    }

    fn texts(&self, source: &mut Rng, words: usize, count: usize) -> Vec<String> {
        let mut text = || {
            let start = source.usize(..self.words.len() - words);
            self.words[start..start + words].join(" ")
        };
        (0..count).map(|_| text()).collect()
    }
}
