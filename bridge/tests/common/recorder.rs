//! A recorder of metrics that gives every change to a function.

use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// How a metric changes.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// A counter grows.
    Count(u64),
    /// A gauge grows, or shrinks by a negative value.
    Add(f64),
    /// A histogram gets a value.
    Value(f64),
}

type OnChange = Arc<dyn Fn(&Key, Change) + Send + Sync>;

/// Calls a function for every change of a metric of this process, which can have one such function.
pub fn on_change(function: impl Fn(&Key, Change) + Send + Sync + 'static) {
    metrics::set_global_recorder(Changes(Arc::new(function))).expect("the only recorder");
}

struct Changes(OnChange);

impl Changes {
    fn metric(&self, key: &Key) -> Arc<Metric> {
        Arc::new(Metric { key: key.clone(), on_change: Arc::clone(&self.0) })
    }
}

impl Recorder for Changes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

struct Metric {
    key: Key,
    on_change: OnChange,
}

impl CounterFn for Metric {
    fn increment(&self, value: u64) {
        (self.on_change)(&self.key, Change::Count(value));
    }
    fn absolute(&self, _: u64) {
        panic!("models of one name would overwrite each other");
    }
}

impl GaugeFn for Metric {
    fn increment(&self, value: f64) {
        (self.on_change)(&self.key, Change::Add(value));
    }
    fn decrement(&self, value: f64) {
        (self.on_change)(&self.key, Change::Add(-value));
    }
    fn set(&self, _: f64) {
        panic!("models of one name would overwrite each other");
    }
}

impl HistogramFn for Metric {
    fn record(&self, value: f64) {
        (self.on_change)(&self.key, Change::Value(value));
    }
}
