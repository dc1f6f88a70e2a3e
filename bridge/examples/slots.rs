//! Stops calls of a language model, for the measurement of how long its server works on: `slots BASE_URL`.
//!
//! Every line of the standard input is a JSON array: `drop` or `cancel`, and the seconds from the first part of
//! the answer until the call is stopped so. Prints the time of the stop for each, in seconds since 1970, or `null` if the
//! answer was complete before. `python -m benchmarks.slots` runs it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onnx_ml_bridge::{
    ApiModel, ApiServer, CancelToken, ErrorCode, MlBridge, OnToken, OpenAiMlBridge, SummarizeOptions, Summarizer,
};
use tokio::sync::Notify;

/// The size of the model's context, of which an answer may take most.
const CONTEXT: usize = 8192;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: slots BASE_URL")?;
    let model = ApiModel::new("m").context(CONTEXT).max_output_tokens(CONTEXT - 2048);
    let bridge = OpenAiMlBridge::builder().summarization(model).server(ApiServer::new(url)).build()?;
    let summarizer = bridge.summarizer(None)?;
    for line in io::stdin().lines() {
        let (how, seconds): (String, f64) = serde_json::from_str(&line?)?;
        let stopped = stopped(&summarizer, &how, Duration::from_secs_f64(seconds)).await?;
        println!("{}", serde_json::to_string(&stopped)?);
    }
    Ok(())
}

/// The time at which a call was stopped; `None` if it had ended.
async fn stopped(summarizer: &Summarizer, how: &str, after: Duration) -> Result<Option<f64>, Box<dyn Error>> {
    let (token, first) = (CancelToken::new(), Arc::new(Notify::new()));
    let shown = Arc::clone(&first);
    let options = SummarizeOptions::default().temperature(2.0).cancel(token.clone());
    let options = options.on_token(OnToken::new(move |_, _| shown.notify_one()));
    let mut call = Box::pin(summarizer.summarize(vec![vec!["one".to_owned()]], options));
    let stop = async {
        first.notified().await;
        tokio::time::sleep(after).await;
    };
    tokio::select! {
        outcome = &mut call => return Ok(outcome.map(|_| None)?),
        () = stop => {}
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
    if how == "drop" {
        drop(call);
        return Ok(Some(now));
    }
    token.cancel();
    match call.await {
        Ok(_) => Ok(None),
        Err(error) if error.code() == ErrorCode::Cancelled => Ok(Some(now)),
        Err(error) => Err(error.into()),
    }
}
