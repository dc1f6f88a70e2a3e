//! Embeddings of a server: requests of many texts, and answers whose order and values are checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Remote, RemoteModel, RemoteTask, usage_of};
use crate::BridgeError;
use crate::backends::wire::{Failure, Wire, fly};
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::tasks::backend::{EmbedBackend, WindowBackend};
use crate::tasks::{EmbedOptions, Embedding, Usage};

/// Limits of one request of OpenAI's API. A token has at least one byte.
const MAX_TEXTS: usize = 2048;
const MAX_BYTES: usize = 300_000;

/// The settings of an embedding model.
#[derive(Debug)]
pub(crate) struct Embeddings {
    /// The number of tokens that the model reads.
    pub(crate) context: usize,
    /// The number of elements of vectors; 0 before the first answer if it was not declared.
    dimensions: AtomicUsize,
    /// Whether requests ask for a number of elements.
    pub(crate) sends_dimensions: bool,
}

impl Embeddings {
    pub(crate) fn new(context: usize, dimensions: Option<usize>, sends_dimensions: bool) -> Self {
        Self { context, dimensions: AtomicUsize::new(dimensions.unwrap_or(0)), sends_dimensions }
    }

    /// The number of elements of vectors, if it is known.
    fn dimensions(&self) -> Option<usize> {
        Some(self.dimensions.load(Ordering::Relaxed)).filter(|dimensions| *dimensions > 0)
    }

    /// Remembers the number of elements of the first answer.
    fn learn(&self, vectors: &[Vec<f32>]) {
        let learned = vectors.first().map_or(0, Vec::len);
        // Another request may have been first; answers of different lengths are refused from then on.
        let _ = self.dimensions.compare_exchange(0, learned, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[async_trait]
impl RemoteTask for Embeddings {
    type Input = String;
    type Options = EmbedOptions;
    type Answer = Embedding;

    fn check(&self, options: &EmbedOptions) -> Result<(), BridgeError> {
        if let Some(requested) = options.prompt_name.clone() {
            return Err(BridgeError::PromptNotFound { requested, known: Vec::new() });
        }
        let Some(asked) = options.dimensions else { return Ok(()) };
        let own = self.dimensions();
        let is_possible =
            own == Some(asked) || self.sends_dimensions && asked > 0 && own.is_none_or(|own| asked <= own);
        if is_possible {
            return Ok(());
        }
        let expected = own.map_or_else(|| "none".to_owned(), |own| own.to_string());
        let advice = if self.sends_dimensions { " or fewer" } else { "; send_dimensions lets calls ask for fewer" };
        Err(BridgeError::config(format!("dimensions is {asked}, expected {expected}{advice}")))
    }

    fn probe_input() -> (String, EmbedOptions) {
        ("health".to_owned(), EmbedOptions::default())
    }

    fn tokens(answer: &Embedding) -> usize {
        let counted = answer.usage.map_or(0, |usage| usize::try_from(usage.prompt_tokens).unwrap_or(usize::MAX));
        answer.token_count.unwrap_or(counted)
    }

    async fn outcomes(
        model: &Arc<RemoteModel<Self>>,
        inputs: Vec<String>,
        options: &EmbedOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Embedding>>, BridgeError> {
        let (remote, task) = (&model.remote, &model.task);
        let checked: Vec<Outcome<()>> = inputs.iter().map(|text| remote.check_text(text)).collect();
        let sizes = checked.iter().zip(&inputs).map(|(checked, text)| checked.is_ok().then_some(text.len()));
        let plan = plan(sizes, task.context);
        let request = |texts: &Vec<usize>| {
            let texts = texts.iter().map(|index| inputs[*index].as_str()).collect::<Vec<_>>();
            Request::new(remote, task, &texts, options, caller.deadline).send()
        };
        let answers = fly(plan.iter().map(request).collect(), caller).await?;
        answers.iter().flatten().for_each(|vectors| task.learn(&vectors.vectors));
        let mut outcomes: Vec<Outcome<Embedding>> =
            checked.into_iter().map(|checked| Err(unanswered(checked))).collect();
        for (texts, answer) in plan.into_iter().zip(answers) {
            let embeddings = split(answer, texts.len(), &remote.wire.backend);
            texts.into_iter().zip(embeddings).for_each(|(index, outcome)| outcomes[index] = outcome);
        }
        Ok(outcomes)
    }
}

/// The error of a text that is in no request.
fn unanswered(checked: Outcome<()>) -> BridgeError {
    checked.err().unwrap_or_else(|| BridgeError::inference(None, "was not requested"))
}

/// The embeddings of the texts of one request.
fn split(answer: Outcome<Vectors>, texts: usize, backend: &str) -> Vec<Outcome<Embedding>> {
    let Vectors { vectors, usage } = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![Err(error); texts],
    };
    let embedding = |(row, vector): (usize, Vec<f32>)| {
        let tokens = usage.filter(|_| texts == 1).and_then(|usage| usize::try_from(usage.prompt_tokens).ok());
        // All tokens of a request count for its first text, so that sums are right.
        let usage = usage.map(|usage| if row == 0 { usage } else { Usage::default() });
        Ok(Embedding::of_server(vector, tokens, backend, usage))
    };
    vectors.into_iter().enumerate().map(embedding).collect()
}

/// Plans the requests: the indices of the texts of each, in the order of the call. `sizes` are the sizes of the texts in bytes,
/// `None` for those that are not requested.
///
/// A text that may have more tokens than the model reads goes alone, so that its error is not that of others.
fn plan(sizes: impl Iterator<Item = Option<usize>>, context: usize) -> Vec<Vec<usize>> {
    let (mut requests, mut batch, mut total) = (Vec::new(), Vec::new(), 0);
    for (index, size) in sizes.enumerate().filter_map(|(index, size)| Some((index, size?))) {
        if size > context {
            requests.push(vec![index]);
            continue;
        }
        if batch.len() == MAX_TEXTS || total + size > MAX_BYTES {
            requests.push(std::mem::take(&mut batch));
            total = 0;
        }
        batch.push(index);
        total += size;
    }
    requests.push(batch);
    requests.retain(|batch| !batch.is_empty());
    requests
}

/// One request.
struct Request {
    remote: Arc<Remote>,
    body: Vec<u8>,
    texts: usize,
    dimensions: Option<usize>,
    deadline: Option<Instant>,
}

impl Request {
    fn new(
        remote: &Arc<Remote>,
        task: &Embeddings,
        texts: &[&str],
        options: &EmbedOptions,
        deadline: Option<Instant>,
    ) -> Self {
        let dimensions = options.dimensions.or_else(|| task.dimensions());
        let mut body = json!({"model": remote.wire.model, "input": texts, "encoding_format": "base64"});
        if let Some(dimensions) = dimensions.filter(|_| task.sends_dimensions) {
            body["dimensions"] = dimensions.into();
        }
        let body = body.to_string().into_bytes();
        Self { remote: Arc::clone(remote), body, texts: texts.len(), dimensions, deadline }
    }

    async fn send(self) -> Outcome<Vectors> {
        let (wire, texts, dimensions) = (&self.remote.wire, self.texts, self.dimensions);
        let answer = |response| async move { read(wire, &wire.whole(response).await?, texts, dimensions) };
        wire.post("/embeddings", &self.body, self.deadline, answer).await
    }
}

/// The vectors of the texts of one request, in their order.
#[derive(Debug)]
struct Vectors {
    vectors: Vec<Vec<f32>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    embedding: Encoded,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Encoded {
    Base64(String),
    List(Vec<f64>),
}

impl Encoded {
    /// The elements: base64 has float32 in little-endian order.
    fn vector(self) -> Result<Vec<f32>, &'static str> {
        let vector: Vec<f32> = match self {
            Self::List(values) => values.into_iter().map(|value| value as f32).collect(),
            Self::Base64(text) => {
                let bytes = STANDARD.decode(text).map_err(|_| "an embedding is not base64")?;
                let (elements, []) = bytes.as_chunks() else { return Err("an embedding is not float32") };
                elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
        };
        if vector.iter().all(|value| value.is_finite()) { Ok(vector) } else { Err("a value is not finite") }
    }
}

/// Reads the answer to a request of some texts.
fn read(wire: &Wire, body: &[u8], texts: usize, dimensions: Option<usize>) -> Result<Vectors, Failure> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Failure::lasting(wire.off_schema("it is no list of embeddings"))
        } else {
            wire.unreadable("the answer is not JSON")
        }
    })?;
    let usage = usage_of(&answer.usage);
    let vectors =
        ordered(answer.data, texts, dimensions).map_err(|problem| Failure::lasting(wire.off_schema(problem)))?;
    Ok(Vectors { vectors, usage })
}

/// The vectors in the order of the texts.
fn ordered(data: Vec<Entry>, texts: usize, dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, &'static str> {
    let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); texts];
    let mut dimensions = dimensions;
    for entry in data {
        let slot = vectors.get_mut(entry.index).filter(|slot| slot.is_empty()).ok_or("an index is wrong")?;
        let vector = entry.embedding.vector()?;
        if vector.is_empty() || vector.len() != *dimensions.get_or_insert(vector.len()) {
            return Err("a vector has another number of elements");
        }
        *slot = vector;
    }
    if vectors.iter().all(|vector| !vector.is_empty()) { Ok(vectors) } else { Err("a vector is missing") }
}

#[async_trait]
impl EmbedBackend for RemoteModel<Embeddings> {
    fn check_options(&self, options: &EmbedOptions) -> Result<(), BridgeError> {
        self.task.check(options)
    }

    fn dim(&self, options: &EmbedOptions) -> usize {
        options.dimensions.or_else(|| self.task.dimensions()).unwrap_or(0)
    }

    async fn embed_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Embedding>>, BridgeError> {
        self.each(texts, &options, &caller).await
    }

    fn meter(&self) -> &Meter {
        &self.remote.wire.meter
    }

    fn windows(self: Arc<Self>) -> Option<Arc<dyn WindowBackend>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sizes: &[usize], context: usize) -> Vec<Vec<usize>> {
        plan(sizes.iter().map(|size| (*size > 0).then_some(*size)), context)
    }

    #[test]
    fn requests_are_limited_and_long_texts_go_alone() {
        assert_eq!(planned(&[10, 90, 0, 10], 50), [vec![1], vec![0, 3]]);
        assert_eq!(planned(&[200_000, 100_000, 1], 1 << 20), [vec![0, 1], vec![2]]);
        let many = planned(&[1; 5000], 50);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [2048, 2048, 904]);
        assert_eq!((planned(&[], 5), planned(&[0], 5)), (vec![], Vec::<Vec<usize>>::new()));
    }

    fn vectors(data: Value, texts: usize, dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, &'static str> {
        let data: Vec<Entry> = serde_json::from_value(data).map_err(|_| "data")?;
        ordered(data, texts, dimensions)
    }

    #[test]
    fn answers_are_checked() {
        let one = STANDARD.encode(1.0_f32.to_le_bytes());
        let entry = |index: i64, embedding: Value| json!({"index": index, "embedding": embedding});
        let both = json!([entry(1, json!([2])), entry(0, json!(one))]);
        assert_eq!(vectors(both, 2, Some(1)), Ok(vec![vec![1.0], vec![2.0]]));
        for bad in [
            json!([entry(0, json!([1])), entry(0, json!([1]))]),
            json!([entry(0, json!([1]))]),
            json!([entry(0, json!([1])), entry(2, json!([1]))]),
            json!([entry(0, json!([1])), entry(-1, json!([1]))]),
            json!([entry(0, json!([1])), entry(1, json!([1, 2]))]),
            json!([entry(0, json!([1])), entry(1, json!([]))]),
            json!([entry(0, json!([1])), entry(1, json!([1e300]))]),
            json!([entry(0, json!([1])), entry(1, json!("AAA"))]),
            json!([entry(0, json!([1])), entry(1, json!("AAAA"))]),
            json!([entry(0, json!([1])), entry(1, json!(null))]),
        ] {
            assert!(vectors(bad.clone(), 2, None).is_err(), "{bad}");
        }
        assert!(vectors(json!([entry(0, json!([1, 2]))]), 1, Some(3)).is_err());
    }
}
