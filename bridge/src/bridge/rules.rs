//! The rules between the keys of a `bridge.toml`, which its schema cannot express or would report with the whole table.

use serde_json::{Map, Value};

/// The tasks of which a backend needs one.
const BACKEND_TASKS: [&str; 3] = ["embedding", "ner", "summarization"];

/// The violations of a file, whose values may be of any type.
pub(super) fn problems(file: &Value) -> Vec<String> {
    let names = Names { models: &file["models"], backends: &file["backend"] };
    let (defaults, tasks) = (&file["bridge"]["defaults"], &file["tasks"]);
    let mut problems = Vec::new();
    if !has(file, "models") && !has(file, "backend") {
        problems.push("the file: has neither a [models.NAME] nor a [backend.NAME]".to_owned());
    }
    for (name, backend) in entries(names.backends) {
        if backend.is_object() && !BACKEND_TASKS.iter().any(|task| has(backend, task)) {
            problems.push(format!("backend.{name}: has none of {}", BACKEND_TASKS.join(", ")));
        }
    }
    for (name, _) in entries(names.backends).filter(|(name, _)| has(names.models, name)) {
        problems.push(format!("backend.{name}: a model has this name too"));
    }
    for (task, _) in entries(tasks).filter(|(task, _)| has(defaults, task)) {
        problems.push(format!("tasks.{task}: bridge.defaults has this task too"));
    }
    for (task, name) in entries(defaults) {
        problems.extend(names.problem(&format!("bridge.defaults.{task}"), task, name));
    }
    for (task, chain) in entries(tasks) {
        let members = chain.as_array().map_or(&[][..], Vec::as_slice);
        problems.extend(members.iter().filter_map(|name| names.problem(&format!("tasks.{task}"), task, name)));
        if task == "embedding" && members.len() > 1 {
            problems.extend(names.space_problem(members));
        }
    }
    problems
}

/// The models and the backends of a file, which share their names.
struct Names<'a> {
    models: &'a Value,
    backends: &'a Value,
}

impl Names<'_> {
    /// What is wrong with the name that a key has.
    fn problem(&self, key: &str, task: &str, name: &Value) -> Option<String> {
        let name = name.as_str()?;
        if !has(self.models, name) && !has(self.backends, name) {
            let known: Vec<&String> =
                entries(self.models).chain(entries(self.backends)).map(|(name, _)| name).collect();
            return Some(format!("{key}: {name:?} is not one of the models and backends {known:?}"));
        }
        let is_missing = !has(self.models, name) && !has(&self.backends[name], task);
        is_missing.then(|| format!("{key}: the backend {name:?} has no {task}"))
    }

    /// Whether the members of a chain of embeddings do not declare one space.
    fn space_problem(&self, members: &[Value]) -> Option<String> {
        let spaces: Vec<&Value> = members.iter().filter_map(Value::as_str).map(|name| self.space(name)).collect();
        let is_one = spaces.iter().all(|space| !space.is_null() && *space == spaces[0]);
        (!is_one).then(|| format!("tasks.embedding: the members declare the spaces {spaces:?}, not the same one"))
    }

    fn space(&self, name: &str) -> &Value {
        if has(self.models, name) { &self.models[name]["space"] } else { &self.backends[name]["embedding"]["space"] }
    }
}

fn entries(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table.as_object().into_iter().flat_map(Map::iter)
}

fn has(table: &Value, key: &str) -> bool {
    table.get(key).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::problems;

    #[test]
    fn what_is_absent_is_named_without_the_rest_of_the_file() {
        let neither = "the file: has neither a [models.NAME] nor a [backend.NAME]";
        assert_eq!(problems(&json!({"bridge": {"threads": 1}})), [neither]);
        let file = json!({"backend": {"a": {"kind": "openai", "base_url": "http://localhost/v1"}}});
        assert_eq!(problems(&file), ["backend.a: has none of embedding, ner, summarization"]);
    }
}
