//! The options of a call that a spaCy pipeline accepts.

use super::section::Sentences;
use crate::BridgeError;
use crate::families::ner::model::UNEXPECTED_SENTENCE_STARTS;
use crate::tasks::RecognizeOptions;

/// Checks the options of a call. `texts` is the number of texts of the call.
///
/// # Errors
/// `config` for an option of token classification, `sentence_starts` if sentence starts are missing or unexpected.
pub(super) fn check_options(options: &RecognizeOptions, sentences: Sentences, texts: usize) -> Result<(), BridgeError> {
    for (name, is_set) in
        [("aggregation_strategy", options.aggregation_strategy.is_some()), ("stride", options.stride.is_some())]
    {
        if is_set {
            let problem = format!(
                "the option {name} is for token classification, this model is a spaCy pipeline: omit the option"
            );
            return Err(BridgeError::config(problem));
        }
    }
    let refuse = |problem: String| Err(BridgeError::SentenceStarts { index: None, problem });
    match (sentences == Sentences::Given, &options.sentence_starts) {
        (true, None) => refuse("this model requires the starts of the sentences of every text: pass them".to_owned()),
        (true, Some(starts)) if starts.len() != texts => {
            refuse(format!("sentence starts were passed for {} texts, expected {texts}", starts.len()))
        }
        (false, Some(_)) => refuse(UNEXPECTED_SENTENCE_STARTS.to_owned()),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::AggregationStrategy;

    fn code(sentences: Sentences, options: &RecognizeOptions) -> Result<(), &'static str> {
        check_options(options, sentences, 2).map_err(|error| error.code().as_str())
    }

    #[test]
    fn sentence_starts_are_required_or_refused_by_the_pipeline() {
        let starts = |texts: usize| RecognizeOptions {
            sentence_starts: Some(vec![vec![0]; texts]),
            ..RecognizeOptions::default()
        };
        for sentences in [Sentences::None, Sentences::Parser] {
            assert_eq!(code(sentences, &RecognizeOptions::default()), Ok(()));
            assert_eq!(code(sentences, &starts(2)), Err("sentence_starts"));
        }
        assert_eq!(code(Sentences::Given, &RecognizeOptions::default()), Err("sentence_starts"));
        assert_eq!(code(Sentences::Given, &starts(1)), Err("sentence_starts"));
        assert_eq!(code(Sentences::Given, &starts(2)), Ok(()));
    }

    #[test]
    fn a_pipeline_refuses_a_strategy_and_a_stride() {
        let strategy =
            RecognizeOptions { aggregation_strategy: Some(AggregationStrategy::Max), ..RecognizeOptions::default() };
        let stride = RecognizeOptions { stride: Some(0), ..RecognizeOptions::default() };
        assert_eq!((code(Sentences::None, &strategy), code(Sentences::None, &stride)), (Err("config"), Err("config")));
    }
}
