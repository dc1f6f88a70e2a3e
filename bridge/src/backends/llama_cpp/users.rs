//! [`Users`]: the models that use a server, and what the metrics count of their loads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::runtime::meter::{Meter, UnloadReason};
use crate::tasks::Task;

/// The models that use a server, by their tasks. As in Python, each counts the server as its own.
#[derive(Default)]
pub(super) struct Users {
    meters: BTreeMap<Task, Meter>,
    /// The memory in bytes that is counted for each user; `None` until the server runs for it.
    active: BTreeMap<Task, Option<u64>>,
}

impl Users {
    /// Sets the metrics of a model that may use the server.
    pub(super) fn measure(&mut self, task: Task, meter: Meter) {
        self.meters.insert(task, meter);
    }

    pub(super) fn insert(&mut self, task: Task) {
        self.active.entry(task).or_default();
    }

    /// Counts that the server runs for a user, unless that is counted.
    pub(super) fn loaded(&mut self, task: Task, elapsed: Duration, bytes: u64) {
        let Some(counted @ None) = self.active.get_mut(&task) else { return };
        *counted = Some(bytes);
        if let Some(meter) = self.meters.get(&task) {
            meter.load(elapsed);
            meter.loaded(bytes);
        }
    }

    /// Removes a user: by an unload with a reason, or with the server itself.
    pub(super) fn remove(&mut self, task: Task, reason: Option<UnloadReason>) {
        if let (Some(Some(bytes)), Some(meter)) = (self.active.remove(&task), self.meters.get(&task)) {
            meter.unloaded(bytes, reason);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for task in self.active.keys().copied().collect::<Vec<_>>() {
            self.remove(task, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
        Unit,
    };

    use super::*;

    /// The sums of all metrics by their names.
    #[derive(Default)]
    struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Sum(String, Arc<Mutex<BTreeMap<String, f64>>>);

    impl Sum {
        fn add(&self, value: f64) {
            *self.1.lock().expect("a lock").entry(self.0.clone()).or_default() += value;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.add(value as f64);
        }
        fn absolute(&self, _: u64) {}
    }

    impl GaugeFn for Sum {
        fn increment(&self, value: f64) {
            self.add(value);
        }
        fn decrement(&self, value: f64) {
            self.add(-value);
        }
        fn set(&self, _: f64) {}
    }

    impl HistogramFn for Sum {
        fn record(&self, _: f64) {
            self.add(1.0);
        }
    }

    impl Sums {
        fn of(&self, key: &Key) -> Arc<Sum> {
            Arc::new(Sum(key.name().replace("onnx_ml_bridge_", ""), Arc::clone(&self.0)))
        }

        /// The number of loads, that of loaded models, their memory, and the number of unloads.
        fn all(&self) -> [f64; 4] {
            let sums = self.0.lock().expect("a lock");
            ["load_seconds", "loaded", "resident_bytes", "unloads_total"]
                .map(|name| sums.get(name).copied().unwrap_or(0.0))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.of(key))
        }
    }

    #[test]
    fn loads_are_counted_once_for_each_user() {
        let sums = Sums::default();
        metrics::with_local_recorder(&sums, || {
            let mut users = Users::default();
            for task in [Task::Ner, Task::Summarization] {
                users.measure(task, Meter::of_backend("local", "m"));
                users.loaded(task, Duration::ZERO, 7); // not a user
                users.insert(task);
                assert_eq!(sums.all()[1..2], [f64::from(u8::from(task == Task::Summarization))]);
                users.loaded(task, Duration::ZERO, 7);
                users.insert(task);
                users.loaded(task, Duration::ZERO, 9);
            }
            assert_eq!(sums.all(), [2.0, 2.0, 14.0, 0.0]);
            users.remove(Task::Ner, Some(UnloadReason::Call));
            users.remove(Task::Ner, Some(UnloadReason::Call));
            assert_eq!(sums.all(), [2.0, 1.0, 7.0, 1.0]);
            assert!(!users.is_empty());
            drop(users);
            assert_eq!(sums.all(), [2.0, 0.0, 0.0, 1.0]);
        });
    }
}
