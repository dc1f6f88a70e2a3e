//! The sections of the manifest for summarizers.

use serde::{Deserialize, Deserializer};

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tokenizer::TokenizerSpec;

/// The sections `tokenizer` and `summarization`.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) summarization: SummarizationSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, summarization: manifest.section("summarization")? })
    }

    /// Checks the rules that concern several fields.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, summarization } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems: summarization.problems() })
    }
}

/// The section `summarization`: what a summarizer has in addition to its graph and its tokenizer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SummarizationSpec {
    /// The separator between the messages of one input.
    pub join: String,
    /// The id of the decoder's start token, which is the first token of every summary.
    pub decoder_start_token_id: u64,
    /// The id of the token that ends a summary.
    pub eos_token_id: u64,
    /// The number of positions of the decoder, which is the largest `max_length` of a call.
    pub max_target_tokens: usize,
    /// The default settings, which apply to calls without options.
    pub defaults: GenerationDefaults,
    /// The settings of the search that are part of the graph and cannot be changed.
    pub fixed: FixedGeneration,
}

/// Settings of the beam search. Lengths count tokens, including the decoder's start token.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GenerationDefaults {
    /// The number of beams; 1 is greedy search.
    pub num_beams: usize,
    /// The minimum length of a summary in tokens.
    pub min_length: usize,
    /// The maximum length of a summary in tokens.
    pub max_length: usize,
    /// The length penalty: the score of a summary is divided by its length raised to this power.
    pub length_penalty: f64,
}

/// The settings of the beam search that are part of the graph and cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FixedGeneration {
    /// The size in tokens of the n-grams that a summary must not repeat; 0 allows all repetitions.
    pub no_repeat_ngram_size: u64,
    /// The condition that ends the search for a text.
    pub early_stopping: EarlyStopping,
    /// The id of the token that has to follow the start token; `None` allows any token.
    #[serde(deserialize_with = "Option::deserialize")]
    pub forced_bos_token_id: Option<u64>,
    /// The id of the token that has to end a summary of the maximum length; `None` allows any token.
    #[serde(deserialize_with = "Option::deserialize")]
    pub forced_eos_token_id: Option<u64>,
}

/// The condition that ends the beam search for a text (`early_stopping` of transformers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyStopping {
    /// The search ends when as many summaries are finished as there are beams (`true`).
    WhenFinished,
    /// The search ends when the best beam, scored at its current length, is worse than every finished summary
    /// (`false`).
    WhenBeaten,
    /// The search ends when the best beam is worse than every finished summary. If the length penalty is above 0, the
    /// beam is scored at the maximum length (`"never"`).
    Never,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spelling {
    Flag(bool),
    Word(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Never,
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Spelling::deserialize(deserializer)? {
            Spelling::Flag(true) => Self::WhenFinished,
            Spelling::Flag(false) => Self::WhenBeaten,
            Spelling::Word(Word::Never) => Self::Never,
        })
    }
}

impl SummarizationSpec {
    /// One message for each violated rule between fields, which a JSON schema cannot express.
    pub(super) fn problems(&self) -> Vec<String> {
        let (defaults, limit) = (&self.defaults, self.max_target_tokens);
        let mut problems = Vec::new();
        if defaults.max_length > limit {
            let max_length = defaults.max_length;
            problems.push(format!("summarization.defaults.max_length {max_length} exceeds max_target_tokens {limit}"));
        }
        if defaults.min_length > defaults.max_length {
            let GenerationDefaults { min_length, max_length, .. } = defaults;
            problems.push(format!("summarization.defaults.min_length {min_length} exceeds max_length {max_length}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn section() -> Value {
        json!({"join": " ", "decoder_start_token_id": 2, "eos_token_id": 2, "max_target_tokens": 1024,
            "defaults": {"num_beams": 4, "min_length": 56, "max_length": 142, "length_penalty": 2},
            "fixed": {"no_repeat_ngram_size": 3, "early_stopping": true, "forced_bos_token_id": 0,
                "forced_eos_token_id": null}})
    }

    fn problems(min_length: u64, max_length: u64) -> usize {
        let mut section = section();
        section["defaults"]["min_length"] = json!(min_length);
        section["defaults"]["max_length"] = json!(max_length);
        serde_json::from_value::<SummarizationSpec>(section).expect("a section").problems().len()
    }

    #[test]
    fn lengths_that_exceed_each_other_are_reported() {
        assert_eq!([problems(0, 2), problems(142, 142), problems(1024, 1024)], [0, 0, 0]);
        assert_eq!([problems(143, 142), problems(0, 1025), problems(1026, 1025)], [1, 1, 2]);
    }

    #[test]
    fn early_stopping_has_three_spellings() {
        let read = |value: Value| {
            let mut section = section();
            section["fixed"]["early_stopping"] = value;
            serde_json::from_value::<SummarizationSpec>(section).map(|spec| spec.fixed.early_stopping).ok()
        };
        assert_eq!(read(json!(true)), Some(EarlyStopping::WhenFinished));
        assert_eq!(read(json!(false)), Some(EarlyStopping::WhenBeaten));
        assert_eq!(read(json!("never")), Some(EarlyStopping::Never));
        assert_eq!([read(json!("Never")), read(json!(1)), read(Value::Null)], [None, None, None]);
    }

    #[test]
    fn missing_and_unknown_keys_are_refused() {
        assert!(serde_json::from_value::<SummarizationSpec>(section()).is_ok());
        for path in ["/join", "/fixed/forced_eos_token_id", "/defaults/length_penalty"] {
            let mut without = section();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            without.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(key);
            assert!(serde_json::from_value::<SummarizationSpec>(without).is_err(), "{path}");
        }
        let mut more = section();
        more["defaults"]["x"] = json!(1);
        assert!(serde_json::from_value::<SummarizationSpec>(more).is_err());
    }
}
