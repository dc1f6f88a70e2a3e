//! [`Providers`]: how many nodes of a model's graphs each execution provider runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The number of nodes by provider, for one graph on one device.
type Counts = BTreeMap<String, Option<usize>>;
/// The counts by the graph's file and the device.
type Recorded = BTreeMap<(String, String), Counts>;

/// The execution providers of ONNX Runtime that run the nodes of a model, with the number of nodes of each, which a
/// profiled run of a short input counted when the graphs were loaded.
///
/// Clones share the counts. In JSON, it is an object with the counts.
#[derive(Clone, Default)]
pub struct Providers {
    recorded: Arc<Mutex<Recorded>>,
}

impl Providers {
    /// The number of nodes that each provider runs; empty before a graph is loaded. `None` stands for all nodes of graphs
    /// that are on the CPU, which are not counted.
    pub fn counts(&self) -> BTreeMap<String, Option<usize>> {
        let mut merged = Counts::new();
        for (provider, count) in self.lock().values().flatten() {
            let sum = merged.entry(provider.clone()).or_insert(Some(0));
            *sum = sum.and_then(|sum| Some(sum + (*count)?));
        }
        merged
    }

    /// Remembers the counts of a graph on a device.
    pub(crate) fn record(&self, graph: &str, device: &str, counts: BTreeMap<String, Option<usize>>) {
        self.lock().insert((graph.to_owned(), device.to_owned()), counts);
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Providers {
    fn eq(&self, other: &Self) -> bool {
        self.counts() == other.counts()
    }
}

impl Eq for Providers {}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Providers").field(&self.counts()).finish()
    }
}

impl Serialize for Providers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.counts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Providers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let providers = Self::default();
        let counts = Counts::deserialize(deserializer)?;
        if !counts.is_empty() {
            providers.record("", "", counts);
        }
        Ok(providers)
    }
}

/// The number of nodes by provider in a profile that ONNX Runtime wrote; a node of a loop counts once.
///
/// # Errors
/// The profile is not JSON.
pub(super) fn count_events(profile: &[u8]) -> serde_json::Result<BTreeMap<String, usize>> {
    let events: Vec<Value> = serde_json::from_slice(profile)?;
    let node = |event: &Value| {
        let name = event["name"].as_str().filter(|name| name.ends_with("_kernel_time"))?;
        let provider = event["args"]["provider"].as_str().filter(|_| event["cat"] == "Node")?;
        Some((provider.to_owned(), name.to_owned()))
    };
    let nodes: BTreeSet<(String, String)> = events.iter().filter_map(node).collect();
    let mut counts = BTreeMap::new();
    for (provider, _) in nodes {
        *counts.entry(provider).or_insert(0) += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(pairs: [(&str, Option<usize>); N]) -> Counts {
        pairs.map(|(name, count)| (name.to_owned(), count)).into()
    }

    #[test]
    fn nodes_of_several_graphs_and_devices_are_added() {
        let providers = Providers::default();
        assert_eq!(providers.counts(), Counts::new());
        let shared = providers.clone();
        shared.record("a", "cuda:0", counts([("CUDA", Some(5)), ("CPU", Some(1))]));
        shared.record("a", "cuda:1", counts([("CUDA", Some(5))]));
        shared.record("b", "cuda:0", counts([("CUDA", Some(2))]));
        shared.record("a", "cuda:1", counts([("CUDA", Some(6))]));
        assert_eq!(providers.counts(), counts([("CPU", Some(1)), ("CUDA", Some(13))]));
        let json = r#"{"CPU":1,"CUDA":13}"#;
        assert_eq!(serde_json::to_string(&providers).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<Providers>(json).expect("counts"), providers);
        providers.record("c", "cpu", counts([("CPU", None)]));
        assert_eq!(providers.counts()["CPU"], None);
    }

    #[test]
    fn a_node_of_a_loop_counts_once() {
        let event = |name: &str, provider: &str, cat: &str| serde_json::json!({"cat": cat, "name": name, "args": {"provider": provider}});
        let events = [
            event("MatMul_1_kernel_time", "X", "Node"),
            event("MatMul_1_kernel_time", "X", "Node"),
            event("MatMul_2_kernel_time", "X", "Node"),
            event("MatMul_2_fence_before", "X", "Node"),
            event("Add_1_kernel_time", "CPU", "Node"),
            serde_json::json!({"cat": "Session", "name": "model_run", "args": {}}),
        ];
        let profile = serde_json::to_vec(&events).expect("JSON");
        let expected = [("CPU".to_owned(), 1), ("X".to_owned(), 2)].into();
        assert_eq!(count_events(&profile).expect("events"), expected);
        assert!(count_events(b"[").is_err());
    }
}
