//! [`EmbeddingWindows`]: the vectors of the windows of a long text.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;

use super::handle::Handle;
use crate::BridgeError;
use crate::runtime::blocking::block_on;
use crate::runtime::cancellation::Stoppable;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::tasks::backend::{EmbedBackend, WindowBackend};
use crate::tasks::text_windows::{TextWindow, TextWindows};
use crate::tasks::{EmbedOptions, EmbeddingWindow};

/// The number of windows of a long text that are embedded at once
const BLOCK_WINDOWS: usize = 16;

/// Some windows, each with the number of its tokens that no earlier window has.
type Block = Vec<(EmbeddingWindow, usize)>;
type Reading = Pin<Box<dyn Future<Output = (Box<Reader>, Result<Block, BridgeError>)> + Send>>;

/// Computes the windows of one text while it is read, in their order. After an error it ends.
///
/// Between two blocks of windows, the call has no turn in the queue and does not keep the model loaded. Dropping this value
/// stops the call: no further run starts.
pub struct EmbeddingWindows {
    step: Step,
    ready: VecDeque<(EmbeddingWindow, usize)>,
    pooled: Pooled,
    failed: Option<BridgeError>,
}

enum Step {
    Idle(Box<Reader>),
    Reading(Reading),
    Ended,
}

impl EmbeddingWindows {
    /// # Errors
    /// `config` for a time limit of 0, dimensions that the model does not list or a backend without windows, `input_too_large`, `prompt_not_found`, `closed`.
    pub(super) fn new(
        handle: Handle<dyn EmbedBackend>,
        text: Arc<str>,
        options: EmbedOptions,
        stride: usize,
        is_async: bool,
    ) -> Result<Self, BridgeError> {
        let backend = handle.current()?;
        handle.limit(options.timeout)?;
        let windows = of_windows(&backend)?;
        windows.check(&text, &options).inspect_err(|error| backend.meter().error(error.code()))?;
        let pooled = Pooled::new(backend.dim(&options), windows.normalized());
        let model = Arc::downgrade(&windows.model()?);
        let state = Reader {
            handle,
            model,
            text,
            options,
            stride,
            is_async,
            stoppable: None,
            windows: None,
            position: (0, 0),
            started: Instant::now(),
            tokens: 0,
        };
        Ok(Self { step: Step::Idle(Box::new(state)), ready: VecDeque::new(), pooled, failed: None })
    }

    /// Computes the next window; `None` after the last one and after an error.
    pub async fn next(&mut self) -> Option<Result<EmbeddingWindow, BridgeError>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Computes the windows that are left and returns one vector for the whole text.
    ///
    /// It is the mean of all windows, weighted by the number of tokens that no earlier window has, and has the length 1 if
    /// the model's vectors have it. The vector of a text with one window is that of the window.
    ///
    /// # Errors
    /// The error that ended the windows.
    pub async fn pool(&mut self) -> Result<Vec<f32>, BridgeError> {
        while let Some(window) = self.next().await {
            window?;
        }
        self.failed.clone().map_or_else(|| Ok(self.pooled.vector()), Err)
    }

    /// Reads the next block of windows, an empty one at the end.
    fn poll_block(&mut self, context: &mut Context<'_>) -> Poll<Result<Block, BridgeError>> {
        if let Step::Idle(_) = self.step
            && let Step::Idle(mut reader) = std::mem::replace(&mut self.step, Step::Ended)
        {
            self.step = Step::Reading(Box::pin(async move {
                let block = reader.read().await;
                (reader, block)
            }));
        }
        let Step::Reading(reading) = &mut self.step else { return Poll::Ready(Ok(Vec::new())) };
        let (reader, block) = ready!(reading.as_mut().poll(context));
        let is_over = block.as_ref().map_or(true, Vec::is_empty);
        self.step = if is_over { Step::Ended } else { Step::Idle(reader) };
        Poll::Ready(block)
    }
}

impl Stream for EmbeddingWindows {
    type Item = Result<EmbeddingWindow, BridgeError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ready.is_empty() {
            match ready!(self.poll_block(context)) {
                Ok(block) => self.ready.extend(block),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let next = self.ready.pop_front();
        Poll::Ready(next.map(|(window, new_tokens)| {
            self.pooled.add(&window.vector, new_tokens);
            Ok(window)
        }))
    }
}

impl fmt::Debug for EmbeddingWindows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingWindows").field("windows", &self.pooled.windows).finish_non_exhaustive()
    }
}

/// The blocking twin of [`EmbeddingWindows`].
#[derive(Debug)]
pub struct EmbeddingWindowsBlocking(pub(super) EmbeddingWindows);

impl EmbeddingWindowsBlocking {
    /// The blocking twin of [`EmbeddingWindows::pool`].
    ///
    /// # Errors
    /// The error that ended the windows.
    pub fn pool(&mut self) -> Result<Vec<f32>, BridgeError> {
        block_on(self.0.pool())
    }
}

impl Iterator for EmbeddingWindowsBlocking {
    type Item = Result<EmbeddingWindow, BridgeError>;

    fn next(&mut self) -> Option<Self::Item> {
        block_on(self.0.next())
    }
}

/// The weighted sum of the windows that were read.
struct Pooled {
    sum: Vec<f64>,
    tokens: usize,
    windows: usize,
    last: Vec<f32>,
    normalized: bool,
}

impl Pooled {
    fn new(dim: usize, normalized: bool) -> Self {
        Self { sum: vec![0.0; dim], tokens: 0, windows: 0, last: Vec::new(), normalized }
    }

    fn add(&mut self, vector: &[f32], new_tokens: usize) {
        let weight = new_tokens as f64;
        self.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        self.tokens += new_tokens;
        self.windows += 1;
        vector.clone_into(&mut self.last);
    }

    fn vector(&self) -> Vec<f32> {
        if self.windows == 1 {
            return self.last.clone();
        }
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.tokens.max(1) as f64).collect();
        let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        let divisor = if self.normalized && length > 0.0 { length } else { 1.0 };
        mean.iter().map(|value| (value / divisor) as f32).collect()
    }
}

/// What computes the windows.
struct Reader {
    handle: Handle<dyn EmbedBackend>,
    /// The model that the call started with. It is not kept alive.
    model: Weak<dyn WindowBackend>,
    text: Arc<str>,
    options: EmbedOptions,
    stride: usize,
    is_async: bool,
    /// What stops the call, from the first window on.
    stoppable: Option<Stoppable>,
    /// The windows that are left, once the text is tokenized.
    windows: Option<TextWindows>,
    /// The start of the last window in characters and in bytes.
    position: (usize, usize),
    /// When the first window was requested, and the number of tokens of the windows since then.
    started: Instant,
    tokens: usize,
}

impl Reader {
    /// Computes the next block of windows; none is left if it is empty. Every block is a call of its own, because a reader
    /// that pauses must not keep a position in the queue, nor the model loaded.
    async fn read(&mut self) -> Result<Block, BridgeError> {
        let caller = self.caller()?;
        let handle = self.handle.clone();
        handle.part(&caller, |backend| self.block(backend, &caller)).await
    }

    fn caller(&mut self) -> Result<Caller, BridgeError> {
        let stoppable = match self.stoppable.take() {
            Some(stoppable) => stoppable,
            None => {
                self.started = Instant::now();
                self.handle.stoppable(self.options.cancel.as_ref(), self.options.timeout)?
            }
        };
        Ok(self.handle.caller(self.stoppable.insert(stoppable), self.is_async))
    }

    /// Computes the next block, and counts the text in the metrics with the last one.
    async fn block(&mut self, backend: Arc<dyn EmbedBackend>, caller: &Caller) -> Result<Block, BridgeError> {
        let block = self.windows(&backend, caller).await;
        self.count(backend.meter(), block.as_ref());
        block
    }

    fn count(&mut self, meter: &Meter, block: Result<&Block, &BridgeError>) {
        let is_answered = match block {
            Ok(block) => {
                self.tokens += block.iter().map(|(window, _)| window.token_count).sum::<usize>();
                block.is_empty()
            }
            Err(error) => {
                meter.error(error.code());
                error.is_stop() || matches!(error, BridgeError::Inference { .. })
            }
        };
        if is_answered {
            meter.request(1, self.tokens, self.started.elapsed());
        }
    }

    async fn windows(&mut self, backend: &Arc<dyn EmbedBackend>, caller: &Caller) -> Result<Block, BridgeError> {
        caller.stop.check()?;
        let model = of_windows(backend)?;
        self.check_model(&model)?;
        if self.windows.is_none() {
            let (text, options) = (Arc::clone(&self.text), self.options.clone());
            self.windows = Some(Arc::clone(&model).split(text, options, self.stride, caller).await?);
        }
        let mut block: Vec<TextWindow> = self.windows.iter_mut().flatten().take(BLOCK_WINDOWS).collect();
        if block.is_empty() {
            return Ok(Vec::new());
        }
        let rows = block.iter_mut().map(|window| std::mem::take(&mut window.ids)).collect::<Vec<_>>();
        let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
        let vectors = Arc::clone(&model).embed_windows(rows, &self.options, caller).await;
        self.check_model(&model)?; // the member of a chain can have been replaced meanwhile
        let windows = block.iter().zip(counts).zip(vectors?);
        Ok(windows.map(|((window, tokens), vector)| (self.finish(window, tokens, vector), window.new_tokens)).collect())
    }

    /// Refuses another version of the model, which a reload opened: the tokens and the windows before are those of the first.
    ///
    /// # Errors
    /// `cancelled`, or the errors of [`WindowBackend::model`].
    fn check_model(&self, backend: &Arc<dyn WindowBackend>) -> Result<(), BridgeError> {
        let model = Arc::clone(backend).model()?;
        match std::ptr::addr_eq(Arc::as_ptr(&model), self.model.as_ptr()) {
            true => Ok(()),
            false => Err(BridgeError::Cancelled),
        }
    }

    fn finish(&mut self, window: &TextWindow, token_count: usize, vector: Vec<f32>) -> EmbeddingWindow {
        let (start, byte) = self.position;
        let start_byte = byte + bytes(&self.text[byte..], window.start.saturating_sub(start));
        let end_byte = start_byte + bytes(&self.text[start_byte..], window.end.saturating_sub(window.start));
        self.position = (window.start, start_byte);
        EmbeddingWindow { start: window.start, end: window.end, start_byte, end_byte, token_count, vector }
    }
}

/// The model behind a backend, if it can split texts into windows.
///
/// # Errors
/// `config`, if it cannot.
fn of_windows(backend: &Arc<dyn EmbedBackend>) -> Result<Arc<dyn WindowBackend>, BridgeError> {
    let refused =
        || BridgeError::config("embed_windows needs an ONNX model: other backends do not tokenize texts here");
    Arc::clone(backend).windows().ok_or_else(refused)
}

/// The size of the first characters of a text in bytes.
fn bytes(text: &str, characters: usize) -> usize {
    text.chars().take(characters).map(char::len_utf8).sum()
}
