//! Named entity recognition: texts in, entities out, by one of two engines.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Outcome;
use super::entities::{Entities, NerOptions};
use super::observe::Meter;
use super::session::{EngineOptions, Pool};
use super::token_classification::{TokenClassifier, WindowEncoder};
use crate::BridgeError;
use crate::artifact::manifest::{Sentences, SpacySpec, section};
use crate::artifact::{Manifest, TextFiles};
use crate::spacy::{Document, Network, SpacyRecognizer, SpacyText};

/// The roles of a spaCy pipeline's graphs.
const SPACY_NER: &str = "spacy_ner";
const SPACY_NER_TYPES: &str = "spacy_ner_types";
const SPACY_PARSER: &str = "spacy_parser";
const SPACY_PARSER_TYPES: &str = "spacy_parser_types";

/// For models that take no sentence starts.
pub(super) const NOT_WANTED: &str = "sentence starts were given, but this model takes none: leave them out";

/// What turns texts into an engine's inputs; several variants share it.
#[derive(Clone)]
pub(crate) enum NerTexts {
    TokenClassification(Arc<WindowEncoder>),
    Spacy(Arc<SpacyText>),
}

impl NerTexts {
    /// # Errors
    /// `schema`, where the manifest lacks a section that the check of its schema asks for.
    pub(crate) fn new(files: TextFiles, manifest: &Manifest) -> Result<Self, BridgeError> {
        match files {
            TextFiles::Tokenizer(encoder) => {
                let spec = section(&manifest.token_classification, "token_classification")?;
                Ok(Self::TokenClassification(Arc::new(WindowEncoder::new(*encoder, spec))))
            }
            TextFiles::Spacy(text) => Ok(Self::Spacy(Arc::from(text))),
        }
    }
}

/// The engines.
enum Engine {
    TokenClassification(Box<TokenClassifier>),
    Spacy { recognizer: Box<SpacyRecognizer>, sentences: Sentences },
}

/// One variant of a model that finds named entities.
pub(crate) struct NerModel {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) variant: String,
    engine: Engine,
    text_limit: usize,
    meter: Meter,
}

impl NerModel {
    /// The model of a checked variant of the artifact at `root`; no graph is loaded yet.
    ///
    /// # Errors
    /// `variant` where the manifest has no such variant.
    pub(crate) fn new(
        root: &Path,
        manifest: Arc<Manifest>,
        texts: NerTexts,
        variant: &str,
        options: EngineOptions,
        text_limit: usize,
    ) -> Result<Self, BridgeError> {
        let meter = Meter::of(&manifest);
        let engine = match texts {
            NerTexts::TokenClassification(encoder) => {
                let classifier = TokenClassifier::new(root, &manifest, encoder, variant, options, &meter)?;
                Engine::TokenClassification(Box::new(classifier))
            }
            NerTexts::Spacy(text) => {
                let spec = section(&manifest.spacy, "spacy")?;
                let options = options.with_session_per_thread();
                let pool =
                    |role: &str| Ok(Pool::of_graph(root, manifest.graph(variant, role)?, options.clone(), &meter));
                Self::spacy(spec, text, pool)?
            }
        };
        Ok(Self { manifest, variant: variant.to_owned(), engine, text_limit, meter })
    }

    fn spacy(
        spec: &SpacySpec,
        text: Arc<SpacyText>,
        pool: impl Fn(&str) -> Result<Pool, BridgeError>,
    ) -> Result<Engine, BridgeError> {
        let network = |types, tokens| Ok::<_, BridgeError>(Network::new(pool(types)?, pool(tokens)?));
        let parser = spec.parser.as_ref().map(|_| network(SPACY_PARSER_TYPES, SPACY_PARSER)).transpose()?;
        let recognizer = SpacyRecognizer::new(spec.clone(), text, network(SPACY_NER_TYPES, SPACY_NER)?, parser);
        Ok(Engine::Spacy { recognizer: Box::new(recognizer), sentences: spec.sentences })
    }

    /// Creates the first session of every graph, so that the first call does not wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), BridgeError> {
        match &self.engine {
            Engine::TokenClassification(classifier) => classifier.pool().lease().map(|_| ()),
            Engine::Spacy { recognizer, .. } => recognizer.warm_up(),
        }
    }

    /// Drops the sessions that nobody uses.
    pub(crate) fn unload(&self) {
        match &self.engine {
            Engine::TokenClassification(classifier) => classifier.pool().clear(),
            Engine::Spacy { recognizer, .. } => recognizer.unload(),
        }
    }

    /// Recognizes entities in a short text.
    pub(crate) fn is_healthy(&self) -> bool {
        let sentence_starts = self.takes_sentences().then(|| vec![vec![0]]);
        let options = NerOptions { sentence_starts, ..NerOptions::default() };
        self.recognize(&["health"], &options).is_ok()
    }

    /// Whether calls have to bring the starts of sentences.
    pub(crate) fn takes_sentences(&self) -> bool {
        matches!(self.engine, Engine::Spacy { sentences: Sentences::Given, .. })
    }

    /// The tokens that a text is cut to where no stride is asked for; `None` where no text is ever cut.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.manifest.tokenizer.as_ref().map(|spec| spec.max_tokens)
    }

    /// The entities of all texts, or the error of the first text that has one.
    pub(crate) fn recognize(&self, texts: &[&str], options: &NerOptions) -> Result<Vec<Entities>, BridgeError> {
        self.recognize_each(texts, options)?.into_iter().collect()
    }

    /// Every text's own outcome; fails as a whole only where no text can be answered.
    pub(crate) fn recognize_each(
        &self,
        texts: &[&str],
        options: &NerOptions,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(texts, options).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|entities| entities.tokens).sum();
        self.meter.request(texts.len(), tokens, started.elapsed());
        Ok(outcomes)
    }

    fn outcomes(&self, texts: &[&str], options: &NerOptions) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        match &self.engine {
            Engine::TokenClassification(classifier) => {
                let settings = classifier.settings(options)?;
                self.within_limit(texts, |taken| {
                    let taken: Vec<&str> = taken.iter().map(|&at| texts[at]).collect();
                    classifier.recognize_each(&taken, settings)
                })
            }
            Engine::Spacy { recognizer, sentences } => {
                check_spacy(options, *sentences, texts.len())?;
                self.within_limit(texts, |taken| {
                    let document = |at| Document { text: texts[at], sentence_starts: options.sentence_starts_of(at) };
                    recognizer.recognize_each(&taken.iter().copied().map(document).collect::<Vec<_>>())
                })
            }
        }
    }

    /// Runs the texts that are not too large, given by their indices, and puts every outcome in its place.
    fn within_limit(
        &self,
        texts: &[&str],
        run: impl FnOnce(&[usize]) -> Result<Vec<Outcome<Entities>>, BridgeError>,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let limit = self.text_limit;
        let taken: Vec<usize> = (0..texts.len()).filter(|&at| texts[at].len() <= limit).collect();
        let too_large = |at: usize| BridgeError::InputTooLarge { index: Some(at), bytes: texts[at].len(), limit };
        let mut outcomes: Vec<Outcome<Entities>> = (0..texts.len()).map(|at| Err(too_large(at))).collect();
        for (at, answer) in taken.iter().zip(run(&taken)?) {
            outcomes[*at] = answer.map_err(|error| error.with_index(Some(*at)));
        }
        Ok(outcomes)
    }
}

/// What is wrong with the options of a spaCy pipeline, whatever its texts are.
fn check_spacy(options: &NerOptions, sentences: Sentences, texts: usize) -> Result<(), BridgeError> {
    let foreign = |option: &str| {
        let problem =
            format!("option {option} is for token classification, this model is a spaCy pipeline: leave it out");
        Err(BridgeError::Config { problem })
    };
    if options.aggregation_strategy.is_some() {
        return foreign("aggregation_strategy");
    }
    if options.stride.is_some() {
        return foreign("stride");
    }
    let refuse = |problem: String| Err(BridgeError::SentenceStarts { index: None, problem });
    match (sentences == Sentences::Given, &options.sentence_starts) {
        (true, None) => refuse("this model wants to know where every text's sentences start: give them".to_owned()),
        (true, Some(starts)) if starts.len() != texts => {
            refuse(format!("sentence starts were given for {} texts, expected {texts}", starts.len()))
        }
        (false, Some(_)) => refuse(NOT_WANTED.to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::manifest::AggregationStrategy;

    fn code(sentences: Sentences, options: &NerOptions) -> Result<(), &'static str> {
        check_spacy(options, sentences, 2).map_err(|error| error.code())
    }

    #[test]
    fn a_pipeline_takes_sentences_exactly_where_they_are_given() {
        let starts = |texts: usize| NerOptions { sentence_starts: Some(vec![vec![0]; texts]), ..NerOptions::default() };
        for sentences in [Sentences::None, Sentences::Parser] {
            assert_eq!(code(sentences, &NerOptions::default()), Ok(()));
            assert_eq!(code(sentences, &starts(2)), Err("sentence_starts"));
        }
        assert_eq!(code(Sentences::Given, &NerOptions::default()), Err("sentence_starts"));
        assert_eq!(code(Sentences::Given, &starts(1)), Err("sentence_starts"));
        assert_eq!(code(Sentences::Given, &starts(2)), Ok(()));
    }

    #[test]
    fn a_pipeline_has_neither_strategy_nor_stride() {
        let strategy = NerOptions { aggregation_strategy: Some(AggregationStrategy::Max), ..NerOptions::default() };
        let stride = NerOptions { stride: Some(0), ..NerOptions::default() };
        assert_eq!((code(Sentences::None, &strategy), code(Sentences::None, &stride)), (Err("config"), Err("config")));
    }
}
