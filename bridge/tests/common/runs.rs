//! Counts the runs of models by name, and calls a hook when a run starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once};

use metrics::Key;

use super::recorder::{Change, on_change};

/// What happens when a run starts. The argument is the number of runs of the model that have started, including this one.
type Hook = Arc<dyn Fn(u64) + Send + Sync>;

static RUNS: Mutex<BTreeMap<String, (u64, Option<Hook>)>> = Mutex::new(BTreeMap::new());

/// Starts counting the runs of all models of this process.
pub fn record() {
    static RECORDER: Once = Once::new();
    RECORDER.call_once(|| on_change(record_run));
}

fn record_run(key: &Key, change: Change) {
    let (Change::Count(value), "onnx_ml_bridge_runs_total") = (change, key.name()) else { return };
    let model = key.labels().find(|label| label.key() == "model").expect("a model").value().to_owned();
    let mut runs = RUNS.lock().expect("not poisoned");
    let entry = runs.entry(model).or_default();
    entry.0 += value;
    let (count, hook) = entry.clone();
    drop(runs);
    if let Some(hook) = hook {
        hook(count);
    }
}

/// Sets what happens when a run of a model starts, and counts its runs from 0.
pub fn on_run(model: &str, hook: impl Fn(u64) + Send + Sync + 'static) {
    RUNS.lock().expect("not poisoned").insert(model.to_owned(), (0, Some(Arc::new(hook))));
}

/// The number of runs of a model that have started.
pub fn count(model: &str) -> u64 {
    RUNS.lock().expect("not poisoned").get(model).map_or(0, |(count, _)| *count)
}
