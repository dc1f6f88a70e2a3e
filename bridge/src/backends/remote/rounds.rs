//! The rounds of a call that summarizes: in each, the chunks of all texts that are too long are summarized.

use std::pin::Pin;
use std::sync::Arc;

use super::RemoteModel;
use super::chat::{Completion, Question, ask};
use super::summaries::{SEPARATOR, Summarization};
use crate::BridgeError;
use crate::backends::prompt::Prompt;
use crate::backends::wire::fly_counted;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::tasks::chunks::{chunks, is_whitespace};
use crate::tasks::{SummarizeOptions, Summary, Usage};

/// A text that is replaced by the summaries of its chunks until it fits.
struct Shortened {
    text: String,
    fits: bool,
    /// What the server counted for chunks.
    usage: Vec<Option<Usage>>,
}

/// What all rounds of one call share.
pub(super) struct Rounds<'a> {
    pub(super) model: &'a Arc<RemoteModel<Summarization>>,
    pub(super) options: &'a SummarizeOptions,
    pub(super) prompt: Prompt,
    pub(super) caller: &'a Caller,
}

impl Rounds<'_> {
    /// The summary of every text.
    ///
    /// # Errors
    /// Errors that concern every text.
    pub(super) async fn summaries(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let mut shortened = Vec::with_capacity(texts.len());
        for text in texts {
            shortened.push(match text {
                Ok(text) => self.measured(text, Vec::new()).await,
                Err(error) => Err(error),
            });
        }
        while shortened.iter().flatten().any(|text| !text.fits) {
            shortened = self.shorten(shortened).await?;
        }
        let asked = shortened.iter().enumerate().filter_map(|(index, text)| {
            let text = text.as_ref().ok()?;
            Some((text.text.as_str(), Some(index)))
        });
        let mut answers = self.answers(asked.collect()).await?.into_iter();
        let summary = |text: Outcome<Shortened>| self.summary(text?, answers.next().unwrap_or_else(not_asked)?);
        Ok(shortened.into_iter().map(summary).collect())
    }

    fn summary(&self, text: Shortened, answer: Completion) -> Outcome<Summary> {
        let usage = Usage::total(text.usage.into_iter().chain([answer.usage]));
        let backend = &self.model.remote.wire.backend;
        Ok(Summary::of_server(answer.text.trim().to_owned(), backend, usage, answer.usage))
    }

    async fn measured(&self, text: String, usage: Vec<Option<Usage>>) -> Outcome<Shortened> {
        let fits = self.fits(&text).await?;
        Ok(Shortened { text, fits, usage })
    }

    /// Whether the prompt with a text leaves room for the answer.
    async fn fits(&self, text: &str) -> Outcome<bool> {
        let (task, content) = (&self.model.task, self.prompt.with_text(text));
        let size = task.size.of(content, &self.model.remote, self.caller).await?;
        Ok(size <= task.chat.context - self.max_tokens())
    }

    /// [`fits`](Self::fits) as a type that the compiler can prove to be `Send`.
    fn boxed_fits<'b>(&'b self, text: &'b str) -> Pin<Box<dyn Future<Output = Outcome<bool>> + Send + 'b>> {
        Box::pin(self.fits(text))
    }

    fn max_tokens(&self) -> usize {
        self.options.max_length.unwrap_or(self.model.task.chat.max_output_tokens)
    }

    /// Replaces every text that is too long by the joined summaries of its chunks.
    ///
    /// # Errors
    /// Errors that concern every text. A text that cannot be shortened is replaced by its error.
    async fn shorten(&self, texts: Vec<Outcome<Shortened>>) -> Result<Vec<Outcome<Shortened>>, BridgeError> {
        let mut split = Vec::with_capacity(texts.len());
        for text in texts {
            split.push(self.split(text).await);
        }
        let all = split.iter().flatten().flat_map(|(_, chunks)| chunks.iter().flatten());
        let mut answers = self.answers(all.map(|chunk| (chunk.as_str(), None)).collect()).await?.into_iter();
        let mut shortened = Vec::with_capacity(split.len());
        for outcome in split {
            shortened.push(match outcome {
                Ok((text, Some(chunks))) => self.replaced(text, answers.by_ref().take(chunks.len()).collect()).await,
                Ok((text, None)) => Ok(text),
                Err(error) => Err(error),
            });
        }
        Ok(shortened)
    }

    /// A text and its chunks; without chunks, if it fits.
    async fn split(&self, text: Outcome<Shortened>) -> Outcome<(Shortened, Option<Vec<String>>)> {
        let text = text?;
        if text.fits {
            return Ok((text, None));
        }
        let whole = text.text.as_str();
        let found: Vec<String> =
            chunks(whole, |range| self.boxed_fits(&whole[range])).await?.into_iter().map(str::to_owned).collect();
        for chunk in &found {
            if !self.fits(chunk).await? {
                return Err(too_long("a sentence is too long for the model"));
            }
        }
        Ok((text, Some(found)))
    }

    /// Replaces a text by the summaries of its chunks.
    async fn replaced(&self, text: Shortened, answers: Vec<Outcome<Completion>>) -> Outcome<Shortened> {
        let answers = answers.into_iter().collect::<Outcome<Vec<Completion>>>()?;
        let mut usage = text.usage;
        usage.extend(answers.iter().map(|answer| answer.usage));
        let joined = answers.iter().map(|answer| answer.text.trim()).collect::<Vec<_>>().join(SEPARATOR);
        if joined.len() >= text.text.len() {
            return Err(too_long("the summaries of the chunks are not shorter than the text"));
        }
        if is_whitespace(&joined) {
            return Err(too_long("the summaries of the chunks are empty"));
        }
        self.measured(joined, usage).await
    }

    /// The answers for texts. Those with the index of an input are shown while they are generated.
    async fn answers(&self, texts: Vec<(&str, Option<usize>)>) -> Result<Vec<Outcome<Completion>>, BridgeError> {
        let count = texts.len();
        let parts = texts.into_iter().map(|(text, input)| {
            let (remote, chat) = (Arc::clone(&self.model.remote), Arc::clone(&self.model.task.chat));
            ask(remote, chat, self.question(text, input), self.caller.deadline)
        });
        let report = |done| self.options.progress.iter().for_each(|progress| progress.report(done, count));
        fly_counted(parts.collect(), self.caller, report).await
    }

    fn question(&self, text: &str, input: Option<usize>) -> Question {
        Question {
            content: self.prompt.with_text(text),
            max_tokens: self.max_tokens(),
            temperature: self.options.temperature,
            seed: self.options.seed,
            response_format: None,
            on_token: input.zip(self.options.on_token.clone()),
        }
    }
}

fn too_long(problem: &str) -> BridgeError {
    BridgeError::ContextTooLong { index: None, problem: problem.to_owned() }
}

fn not_asked() -> Outcome<Completion> {
    Err(BridgeError::inference(None, "was not requested"))
}
