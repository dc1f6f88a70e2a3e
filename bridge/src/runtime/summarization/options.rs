//! The settings of a summary's search: what a call says, what it leaves to the model, what is refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::BridgeError;
use crate::artifact::manifest::SummarizationSpec;
use crate::runtime::stop::CancelToken;

/// How inputs are summarized. Every setting that is `None` stands for the manifest's own value. Lengths count tokens, the
/// decoder's start token included.
#[derive(Debug, Clone, Default)]
pub struct SummarizeOptions {
    /// Beams of the search, at least 1; 1 is greedy search.
    pub num_beams: Option<usize>,
    /// The length before which no summary ends, 0 to `max_length`.
    pub min_length: Option<usize>,
    /// The length that no summary exceeds, 2 to the manifest's `max_target_tokens`.
    pub max_length: Option<usize>,
    /// The exponent of the length that a summary's score is divided by; finite.
    pub length_penalty: Option<f32>,
    /// Whether longer inputs are read in parts, whose summaries are summarized in turn, instead of being cut.
    pub map_reduce: bool,
    /// How long the whole call may take, above 0; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// What cancels the call from another thread.
    pub cancel: Option<CancelToken>,
    /// What is told how far the call has come.
    pub progress: Option<Progress>,
}

/// Is told how far a call has come. Clones tell the same.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Progress {
    /// `tell` is given how many texts of a round are done and how many it has: inputs, or parts of one. It is called after
    /// every run, from the threads that run the graph.
    pub fn new(tell: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, done: usize, texts: usize) {
        (self.0)(done, texts);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// The summary of one input.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// The summary.
    pub text: String,
    /// Its token ids, with the decoder's start token first.
    pub token_ids: Vec<i64>,
    /// How many tokens were generated: all of `token_ids` but the first.
    pub tokens: usize,
    /// The score of the best finished beam; scores of the same settings alone can be compared.
    pub score: f32,
    /// Whether a part of the input was not read.
    pub truncated: bool,
}

/// What a call searches with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub(super) num_beams: usize,
    pub(super) min_length: usize,
    pub(super) max_length: usize,
    pub(super) length_penalty: f32,
}

impl Settings {
    /// What options mean for a model; `beam_limit` is the largest product of beams and `max_length`.
    ///
    /// # Errors
    /// `config` for a setting out of its range, or a product beyond the limit.
    pub(super) fn resolve(
        options: &SummarizeOptions,
        spec: &SummarizationSpec,
        beam_limit: usize,
    ) -> Result<Self, BridgeError> {
        let defaults = &spec.defaults;
        let max_length = within("max_length", options.max_length, defaults.max_length, 2, spec.max_target_tokens)?;
        let min_length = within("min_length", options.min_length, defaults.min_length, 0, max_length)?;
        let num_beams = within("num_beams", options.num_beams, defaults.num_beams, 1, usize::MAX)?;
        if num_beams.checked_mul(max_length).is_none_or(|places| places > beam_limit) {
            return Err(config(format!(
                "num_beams {num_beams} times max_length {max_length} exceeds the beam limit {beam_limit}: ask for less, \
                 or raise the limit, which bounds the memory of a run"
            )));
        }
        // Beyond float32 the conversion gives an infinity.
        let length_penalty = options.length_penalty.unwrap_or(defaults.length_penalty as f32);
        if !length_penalty.is_finite() {
            return Err(config(format!("length_penalty is {length_penalty}, expected a finite float32")));
        }
        if options.timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(config("timeout is 0 s, expected more".to_owned()));
        }
        Ok(Self { num_beams, min_length, max_length, length_penalty })
    }

    /// Places in the beams of one text.
    pub(super) fn places(&self) -> usize {
        self.num_beams * self.max_length
    }
}

fn within(name: &str, asked: Option<usize>, default: usize, least: usize, most: usize) -> Result<usize, BridgeError> {
    let value = asked.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let whose = if asked.is_none() { " (the artifact's own)" } else { "" };
    let range = if most == usize::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
    Err(config(format!("{name} is {value}{whose}, expected {range}")))
}

fn config(problem: String) -> BridgeError {
    BridgeError::Config { problem }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(length_penalty: f64) -> SummarizationSpec {
        serde_json::from_value(json!({"join": " ", "decoder_start_token_id": 2, "eos_token_id": 2,
            "max_target_tokens": 1024,
            "defaults": {"num_beams": 4, "min_length": 56, "max_length": 142, "length_penalty": length_penalty},
            "fixed": {"no_repeat_ngram_size": 3, "early_stopping": "never", "forced_bos_token_id": null,
                "forced_eos_token_id": null}}))
        .expect("a section")
    }

    fn resolve(options: &SummarizeOptions) -> Result<Settings, &'static str> {
        Settings::resolve(options, &spec(2.0), 8192).map_err(|error| error.code())
    }

    fn with(num_beams: usize, min_length: usize, max_length: usize) -> SummarizeOptions {
        let (num_beams, min_length, max_length) = (Some(num_beams), Some(min_length), Some(max_length));
        SummarizeOptions { num_beams, min_length, max_length, ..SummarizeOptions::default() }
    }

    #[test]
    fn the_manifest_has_the_defaults() {
        let defaults = Settings { num_beams: 4, min_length: 56, max_length: 142, length_penalty: 2.0 };
        assert_eq!(resolve(&SummarizeOptions::default()), Ok(defaults));
        let longer = SummarizeOptions { max_length: Some(200), ..SummarizeOptions::default() };
        assert_eq!(resolve(&longer), Ok(Settings { max_length: 200, ..defaults }));
        let negative = SummarizeOptions { length_penalty: Some(-0.5), ..SummarizeOptions::default() };
        assert_eq!(resolve(&negative), Ok(Settings { length_penalty: -0.5, ..defaults }));
    }

    #[test]
    fn settings_have_their_ranges() {
        for good in [with(1, 0, 2), with(1, 2, 2), with(8, 1024, 1024), with(4096, 0, 2)] {
            assert!(resolve(&good).is_ok(), "{good:?}");
        }
        for bad in [with(0, 0, 2), with(1, 0, 1), with(1, 3, 2), with(1, 0, 1025), with(usize::MAX, 0, 2)] {
            assert_eq!(resolve(&bad), Err("config"), "{bad:?}");
        }
        // The artifact's own min_length is longer than that.
        assert_eq!(resolve(&SummarizeOptions { max_length: Some(55), ..SummarizeOptions::default() }), Err("config"));
    }

    #[test]
    fn the_product_of_beams_and_length_is_bounded() {
        assert!(resolve(&with(8, 0, 1024)).is_ok());
        assert_eq!((resolve(&with(9, 0, 1024)), resolve(&with(4097, 0, 2))), (Err("config"), Err("config")));
    }

    #[test]
    fn penalties_are_finite_as_float32() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let options = SummarizeOptions { length_penalty: Some(bad), ..SummarizeOptions::default() };
            assert_eq!(resolve(&options), Err("config"), "{bad}");
        }
        assert!(Settings::resolve(&SummarizeOptions::default(), &spec(1e39), 8192).is_err());
    }

    #[test]
    fn no_time_is_no_timeout() {
        let timeout = |limit| SummarizeOptions { timeout: Some(limit), ..SummarizeOptions::default() };
        assert_eq!(resolve(&timeout(Duration::ZERO)), Err("config"));
        assert!(resolve(&timeout(Duration::from_nanos(1))).is_ok());
    }
}
