//! Counts the runs of models by name, and calls a hook when a run starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// What happens when a run starts. The argument is the number of runs of the model that have started, including this one.
type Hook = Arc<dyn Fn(u64) + Send + Sync>;

static RUNS: Mutex<BTreeMap<String, (u64, Option<Hook>)>> = Mutex::new(BTreeMap::new());

struct Runs;

struct Run(String);

impl CounterFn for Run {
    fn increment(&self, value: u64) {
        let mut runs = RUNS.lock().expect("not poisoned");
        let entry = runs.entry(self.0.clone()).or_default();
        entry.0 += value;
        let (count, hook) = entry.clone();
        drop(runs);
        if let Some(hook) = hook {
            hook(count);
        }
    }
    fn absolute(&self, _: u64) {}
}

impl Recorder for Runs {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let model = key.labels().find(|label| label.key() == "model").expect("a model").value().to_owned();
        if key.name() == "onnx_ml_bridge_runs_total" {
            Counter::from_arc(Arc::new(Run(model)))
        } else {
            Counter::noop()
        }
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Starts counting the runs of all models of this process.
pub fn record() {
    static RECORDER: Once = Once::new();
    RECORDER.call_once(|| metrics::set_global_recorder(Runs).expect("the only recorder"));
}

/// Sets what happens when a run of a model starts, and counts its runs from 0.
pub fn on_run(model: &str, hook: impl Fn(u64) + Send + Sync + 'static) {
    RUNS.lock().expect("not poisoned").insert(model.to_owned(), (0, Some(Arc::new(hook))));
}

/// The number of runs of a model that have started.
pub fn count(model: &str) -> u64 {
    RUNS.lock().expect("not poisoned").get(model).map_or(0, |(count, _)| *count)
}
