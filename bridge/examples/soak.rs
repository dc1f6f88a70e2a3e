//! Calls the models of a `bridge.toml` at random from several threads: `soak CONFIG`.
//!
//! CONFIG is JSON: `bridge`, the path of the `bridge.toml`; `words`, the path of a text whose words the calls use; `rests`, the
//! beginning and the end of each time without calls, in seconds from the first call; `callers`, the number of threads; `seed`.
//! The process ends with the last rest, and prints the numbers of calls by outcome as JSON. `python -m benchmarks.soak` runs it
//! and measures it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

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
    let load = Load {
        bridge: &*open_bridge(&config.bridge)?,
        words: text.split_whitespace().collect(),
        rests: rests_from(Instant::now(), &config.rests),
        outcomes: Mutex::default(),
    };
    thread::scope(|scope| {
        for caller in 0..config.callers {
            let load = &load;
            scope.spawn(move || load.call_until_end(config.seed + caller));
        }
        scope.spawn(|| load.reload_until_end(config.seed));
    });
    println!("{}", serde_json::to_string(&load.outcomes)?);
    Ok(())
}

fn rests_from(start: Instant, seconds: &[(f64, f64)]) -> Vec<(Instant, Instant)> {
    let at = |seconds| start + Duration::from_secs_f64(seconds);
    seconds.iter().map(|&(first, last)| (at(first), at(last))).collect()
}

struct Load<'a> {
    bridge: &'a dyn MlBridge,
    words: Vec<&'a str>,
    /// The times without calls.
    rests: Vec<(Instant, Instant)>,
    /// The numbers of calls by task and outcome.
    outcomes: Mutex<BTreeMap<String, u64>>,
}

impl Load<'_> {
    /// Waits for the end of a rest, if there is one now; false after the last.
    fn rest(&self) -> bool {
        for &(first, last) in &self.rests {
            let now = Instant::now();
            if first <= now {
                thread::sleep(last.saturating_duration_since(now));
            }
        }
        self.rests.last().is_some_and(|&(_, end)| Instant::now() < end)
    }

    /// Makes the largest calls, then random ones.
    fn call_until_end(&self, seed: u64) {
        let mut source = fastrand::Rng::with_seed(seed);
        let mut models = self.bridge.models();
        source.shuffle(&mut models);
        for info in &models {
            for words in [MAX_WORDS as usize, MAX_CALL_WORDS / MAX_BATCH as usize] {
                let texts = self.texts(&mut source, words, MAX_CALL_WORDS / words);
                self.count(info.task.name(), self.call(info, texts, &CancelToken::new(), None));
            }
        }
        while self.rest() {
            let Some(info) = source.choice(&models) else { return };
            self.count(info.task.name(), self.outcome(info, &mut source));
        }
    }

    /// Reloads every model, then random ones.
    fn reload_until_end(&self, seed: u64) {
        let mut source = fastrand::Rng::with_seed(seed);
        let models = self.bridge.models();
        let reload = |info: &ModelInfo| {
            self.count("reload", self.bridge.reload_blocking(&info.name, &ReloadOptions::default()).map(drop));
        };
        models.iter().for_each(reload);
        while self.rest() {
            thread::sleep(RELOAD);
            if !self.rest() {
                return;
            }
            let Some(info) = source.choice(&models) else { return };
            reload(info);
        }
    }

    fn count(&self, what: &str, outcome: Result<(), BridgeError>) {
        let code = outcome.map_or_else(|error| error.code().as_str(), |()| "ok");
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *outcomes.entry(format!("{what} {code}")).or_default() += 1;
    }

    fn outcome(&self, info: &ModelInfo, source: &mut fastrand::Rng) -> Result<(), BridgeError> {
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
    fn random_texts(&self, source: &mut fastrand::Rng) -> Vec<String> {
        let words = MAX_WORDS.powf(source.f64()) as usize;
        let count = (MAX_BATCH.powf(source.f64()) as usize).min((MAX_CALL_WORDS / words).max(1));
        self.texts(source, words, count)
    }

    fn texts(&self, source: &mut fastrand::Rng, words: usize, count: usize) -> Vec<String> {
        let mut text = || {
            let start = source.usize(..self.words.len() - words);
            self.words[start..start + words].join(" ")
        };
        (0..count).map(|_| text()).collect()
    }
}
