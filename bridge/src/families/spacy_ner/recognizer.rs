//! The engine of spaCy pipelines: divides the texts of a call into jobs, which run on the threads of the lane.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::options::check_options;
use super::pipeline::{Input, Pipeline};
use super::section::Sentences;
use crate::BridgeError;
use crate::families::ner::model::{Chosen, Recognizer};
use crate::runtime::batch::Outcome;
use crate::runtime::lane::{Caller, Job, Lane};
use crate::status::LaneStatus;
use crate::tasks::RecognizeOptions;
use crate::tasks::entities::Entities;

/// The bytes of the texts of a job for each token of a run: a job of this size has at most about as many tokens as one run of
/// a graph.
const BYTES_PER_TOKEN: usize = 4;
/// The size in bytes that is assumed for texts shorter than this, when texts are grouped into jobs.
const MIN_TEXT_BYTES: usize = 16;

/// A spaCy pipeline's entity recognizer. Graphs are loaded by the first call; any thread may call it.
pub(super) struct SpacyRecognizer {
    lane: Lane<Pipeline>,
}

impl SpacyRecognizer {
    pub(super) fn new(lane: Lane<Pipeline>) -> Self {
        Self { lane }
    }

    fn sentences(&self) -> Sentences {
        self.lane.runner().spec.sentences
    }

    /// Limit on the total size in bytes of the texts of one job.
    fn job_bytes(&self) -> usize {
        self.lane.runner().run_tokens.saturating_mul(BYTES_PER_TOKEN)
    }
}

#[async_trait]
impl Recognizer for SpacyRecognizer {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.lane.warm_up((), caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        None
    }

    fn requires_sentence_starts(&self) -> bool {
        self.sentences() == Sentences::Given
    }

    fn check(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError> {
        check_options(options, self.sentences(), texts)
    }

    async fn recognize_each(
        self: Arc<Self>,
        chosen: Vec<Chosen>,
        options: RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let permit = self.lane.admit()?;
        let (bytes, limit) = (chosen.iter().map(|(_, text)| text.len()).sum(), self.job_bytes());
        let job = caller.prepare(bytes, move || Ok(job(chosen, &options, limit))).await?;
        permit.run(job, caller, |_| ()).await
    }
}

/// The texts of a call, in runs of limited size.
fn job(chosen: Vec<Chosen>, options: &RecognizeOptions, limit: usize) -> Job<Pipeline> {
    let input = |(index, text): Chosen| {
        let sentence_starts = options.sentence_starts_of(index).map(<[usize]>::to_vec);
        Input { text, sentence_starts }
    };
    let rows: Vec<Input> = chosen.into_iter().map(input).collect();
    let runs = jobs(&rows, limit).into_iter().map(Iterator::collect).collect();
    Job { key: (), rows, runs, is_last: true }
}

/// Divides texts into jobs: ranges of consecutive texts whose total size in bytes is at most `limit`. A longer text is a job
/// by itself.
fn jobs(inputs: &[Input], limit: usize) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut available = 0;
    for (index, input) in inputs.iter().enumerate() {
        let bytes = input.text.len().max(MIN_TEXT_BYTES);
        match jobs.last_mut() {
            Some(job) if bytes <= available => {
                job.end = index + 1;
                available -= bytes;
            }
            _ => {
                jobs.push(index..index + 1);
                available = limit.saturating_sub(bytes);
            }
        }
    }
    jobs
}
