//! The check `graph`: an ONNX file matches its declaration in the manifest, has the interface of its role, and stores data
//! only in files that the manifest lists.

use std::collections::BTreeMap;

use super::manifest::{FileEntry, Graph, Tensor};
use super::onnx::{Model, Value};
use crate::BridgeError;

/// The name, element type and rank of an input or output of a graph.
pub(crate) type Port = (&'static str, &'static str, usize);

/// The inputs and outputs of the graphs of one role, which the runtime feeds and fetches by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface {
    /// Inputs that every graph of the role has.
    pub(crate) required: &'static [Port],
    /// Inputs that a graph of the role may have or lack.
    pub(crate) optional: &'static [Port],
    /// Outputs that every graph of the role has.
    pub(crate) outputs: &'static [Port],
}

/// The parsed ONNX files of an artifact by their paths. A file that cannot be parsed is an error.
pub(crate) type ParsedFiles = BTreeMap<String, Result<Model, String>>;

/// A parsed ONNX file with its declaration in the manifest. `model` is an error if the file cannot be parsed.
pub(crate) struct GraphFile<'a> {
    declared: &'a Graph,
    model: Result<&'a Model, &'a String>,
}

impl<'a> GraphFile<'a> {
    /// The parsed file of a declared graph; `None` if `files` does not have it.
    pub(crate) fn find(files: &'a ParsedFiles, declared: &'a Graph) -> Option<Self> {
        files.get(&declared.file).map(|model| Self { declared, model: model.as_ref() })
    }

    /// The files with the graph's external data, relative to the artifact. Empty if the graph cannot be parsed or names a
    /// file that is not listed; [`check`](Self::check) refuses both.
    pub(crate) fn data_files(&self, files: &BTreeMap<String, FileEntry>) -> Vec<String> {
        let model = self.model.ok();
        model.and_then(|model| data_files(model, self.declared, files).ok()).unwrap_or_default()
    }

    /// Checks that the graph matches its declaration and has the interface of its role.
    ///
    /// # Errors
    /// `graph`, with all differences at once.
    pub(crate) fn check(
        &self,
        role: &str,
        interface: Option<&Interface>,
        files: &BTreeMap<String, FileEntry>,
    ) -> Result<(), BridgeError> {
        let declared = self.declared;
        let refuse = |problem: String| BridgeError::Graph { file: declared.file.clone(), problem };
        let model = self.model.map_err(|problem| refuse(format!("is not an ONNX graph: {problem}")))?;
        data_files(model, declared, files).map_err(refuse)?;
        let mut problems = version_problems(model, declared);
        problems.extend(interface_problems("input", &model.inputs, &declared.inputs));
        problems.extend(interface_problems("output", &model.outputs, &declared.outputs));
        problems.extend(role_problems(role, interface, declared));
        if problems.is_empty() { Ok(()) } else { Err(refuse(problems.join("; "))) }
    }
}

/// The paths of the graph's external data, as the manifest lists them. An ONNX file states them relative to its own
/// folder. Listed paths have no `..`, so that a listed file is always inside the artifact.
fn data_files(model: &Model, declared: &Graph, files: &BTreeMap<String, FileEntry>) -> Result<Vec<String>, String> {
    let folder = declared.file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let listed = |location: &String| {
        let path = format!("{folder}{location}");
        let known = files.contains_key(&path);
        let problem = format!("stores data in {location:?}, but the manifest does not list the file {path:?}");
        if known { Ok(path) } else { Err(problem) }
    };
    model.external.iter().map(listed).collect()
}

fn version_problems(model: &Model, declared: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    if model.ir_version != declared.ir_version {
        problems.push(format!("IR version {}, declared {}", model.ir_version, declared.ir_version));
    }
    if model.imports != declared.domains {
        problems.push(format!("imports the domains {:?}, declared {:?}", model.imports, declared.domains));
    }
    let undeclared = model.domains_used.iter().filter(|domain| !declared.domains.contains_key(*domain));
    problems.extend(undeclared.map(|domain| format!("uses the domain {domain:?}, which is not declared")));
    problems
}

fn interface_problems(kind: &str, actual: &[Value], declared: &[Tensor]) -> Vec<String> {
    let mut actual_names: Vec<&str> = actual.iter().map(|value| value.name.as_str()).collect();
    let mut declared_names: Vec<&str> = declared.iter().map(|tensor| tensor.name.as_str()).collect();
    actual_names.sort_unstable();
    declared_names.sort_unstable();
    if actual_names != declared_names {
        return vec![format!("{kind}s {actual_names:?}, declared {declared_names:?}")];
    }
    if let Some(pair) = actual_names.windows(2).find(|pair| pair[0] == pair[1]) {
        return vec![format!("has two {kind}s named {:?}", pair[0])];
    }
    let pairs = declared.iter().filter_map(|tensor| Some((tensor, actual.iter().find(|v| v.name == tensor.name)?)));
    pairs.filter_map(|(tensor, value)| tensor_problem(kind, tensor, value)).collect()
}

fn tensor_problem(kind: &str, declared: &Tensor, actual: &Value) -> Option<String> {
    let name = &declared.name;
    if actual.dtype != element_type(&declared.dtype) {
        let actual = or_none(actual.dtype.as_ref());
        return Some(format!("{kind} {name:?} has the ONNX element type {actual}, declared {}", declared.dtype));
    }
    let rank = declared.dims.len();
    let problem = || format!("{kind} {name:?} has rank {}, declared {rank}", or_none(actual.rank.as_ref()));
    (actual.rank != Some(rank)).then(problem)
}

fn or_none<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), T::to_string)
}

/// The number in ONNX's `TensorProto.DataType` of an element type that the manifest names.
fn element_type(dtype: &str) -> Option<u64> {
    match dtype {
        "float32" => Some(1),
        "uint8" => Some(2),
        "int8" => Some(3),
        "int32" => Some(6),
        "int64" => Some(7),
        "bool" => Some(9),
        _ => None,
    }
}

fn role_problems(role: &str, interface: Option<&Interface>, declared: &Graph) -> Vec<String> {
    let Some(interface) = interface else {
        return vec![format!("has the role {role:?}, which this reader does not know")];
    };
    let mut problems = named_problems("input", &declared.inputs, interface.required, interface.optional);
    problems.extend(named_problems("output", &declared.outputs, interface.outputs, &[]));
    problems
}

fn named_problems(kind: &str, declared: &[Tensor], required: &[Port], optional: &[Port]) -> Vec<String> {
    let mut problems = Vec::new();
    let is_declared = |name: &str| declared.iter().any(|tensor| tensor.name == name);
    let missing = required.iter().filter(|(name, ..)| !is_declared(name));
    problems.extend(missing.map(|(name, ..)| format!("{kind} {name:?} is missing")));
    for tensor in declared {
        match required.iter().chain(optional).find(|(name, ..)| *name == tensor.name) {
            None => problems.push(format!("the role's interface does not have the {kind} {:?}", tensor.name)),
            Some((name, dtype, rank)) if tensor.dtype != *dtype || tensor.dims.len() != *rank => {
                let (actual, actual_rank) = (&tensor.dtype, tensor.dims.len());
                problems.push(format!(
                    "{kind} {name:?} is {actual} of rank {actual_rank}, expected {dtype} of rank {rank}"
                ));
            }
            Some(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{message, number, text};
    use super::*;

    fn declared() -> Graph {
        let tensor =
            |name: &str, dtype: &str, rank: usize| json!({"name": name, "dtype": dtype, "dims": vec!["d"; rank]});
        let graph = json!({
            "file": "onnx/m.onnx", "ir_version": 10, "domains": {"": 20}, "min_onnxruntime": "1.18",
            "inputs": [tensor("input_ids", "int64", 2), tensor("attention_mask", "int64", 2)],
            "outputs": [tensor("token_embeddings", "float32", 3), tensor("sentence_embedding", "float32", 2)],
        });
        serde_json::from_value(graph).expect("a graph")
    }

    fn value(field: u64, name: &str, dtype: u64, rank: usize) -> Vec<u8> {
        let shape = message(2, &message(1, &[]).repeat(rank));
        message(field, &[text(1, name), message(2, &message(1, &[number(1, dtype), shape].concat()))].concat())
    }

    fn inputs(mask_rank: usize) -> Vec<u8> {
        [value(11, "input_ids", 7, 2), value(11, "attention_mask", 7, mask_rank)].concat()
    }

    fn with_graph(graph: &[u8]) -> Vec<u8> {
        [number(1, 10), message(8, &number(2, 20)), message(7, graph)].concat()
    }

    fn model(extra: &[u8], mask_rank: usize) -> Vec<u8> {
        let outputs = [value(12, "sentence_embedding", 1, 2), value(12, "token_embeddings", 1, 3)].concat();
        with_graph(&[inputs(mask_rank), outputs, extra.to_vec()].concat())
    }

    const ENCODER: Interface = Interface {
        required: &[("input_ids", "int64", 2), ("attention_mask", "int64", 2)],
        optional: &[("prompt_length", "int64", 1)],
        outputs: &[("token_embeddings", "float32", 3), ("sentence_embedding", "float32", 2)],
    };

    fn parsed(bytes: &[u8], declared: &Graph) -> ParsedFiles {
        ParsedFiles::from([(declared.file.clone(), Model::parse(bytes))])
    }

    fn check(bytes: &[u8], declared: &Graph, files: &BTreeMap<String, FileEntry>) -> Result<(), &'static str> {
        let parsed = parsed(bytes, declared);
        let graph = GraphFile::find(&parsed, declared).expect("a graph");
        graph.check("encoder", Some(&ENCODER), files).map_err(|error| error.code().as_str())
    }

    fn code(bytes: &[u8], declared: &Graph) -> Result<(), &'static str> {
        check(bytes, declared, &files(&[]))
    }

    fn files(names: &[&str]) -> BTreeMap<String, FileEntry> {
        let entry = FileEntry { sha256: String::new(), size: 0 };
        names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect()
    }

    #[test]
    fn a_graph_that_differs_from_its_declaration_is_refused() {
        assert_eq!(code(&model(&[], 2), &declared()), Ok(()));
        let wrong = [
            vec![0],
            model(&[], 3),
            model(&value(11, "x", 7, 2), 2),
            model(&value(11, "input_ids", 7, 2), 2),
            model(&value(12, "x", 1, 2), 2),
            model(&value(12, "sentence_embedding", 1, 2), 2),
            model(&message(1, &text(7, "com.evil")), 2),
            [model(&[], 2), message(8, &number(2, 20))].concat(),
        ];
        for bytes in wrong {
            assert_eq!(code(&bytes, &declared()), Err("graph"));
        }
    }

    /// A graph without the interface of its role is refused even if it matches its declaration in the manifest.
    #[test]
    fn a_graph_without_the_interface_of_its_role_is_refused() {
        let outputs = |bytes: &[u8], change: fn(&mut Vec<Tensor>)| {
            let mut declared = declared();
            change(&mut declared.outputs);
            code(bytes, &declared)
        };
        let of =
            |name: &str, rank| [inputs(2), value(12, "sentence_embedding", 1, 2), value(12, name, 1, rank)].concat();
        let only = [inputs(2), value(12, "sentence_embedding", 1, 2)].concat();
        assert_eq!(outputs(&with_graph(&of("token_embeddings", 3)), |outputs| outputs.reverse()), Ok(()));
        assert_eq!(outputs(&with_graph(&only), |outputs| drop(outputs.remove(0))), Err("graph"));
        assert_eq!(outputs(&with_graph(&of("x", 3)), |outputs| outputs[0].name = "x".to_owned()), Err("graph"));
        let again = value(12, "sentence_embedding", 1, 2);
        assert_eq!(outputs(&model(&again, 2), |outputs| outputs.push(outputs[1].clone())), Err("graph"));
        let mut twice = declared();
        twice.inputs.push(twice.inputs[0].clone());
        assert_eq!(code(&model(&value(11, "input_ids", 7, 2), 2), &twice), Err("graph"));
    }

    #[test]
    fn a_role_that_the_family_does_not_have_is_refused() {
        let declared = declared();
        let parsed = parsed(&model(&[], 2), &declared);
        let refused = GraphFile::find(&parsed, &declared).expect("a graph").check("decoder", None, &files(&[]));
        assert!(refused.is_err_and(|error| error.to_string().contains("\"decoder\"")));
    }

    #[test]
    fn external_data_is_accepted_only_in_listed_files() {
        let tensor = |location: &str| {
            let entry = message(13, &[text(1, "location"), text(2, location)].concat());
            model(&message(5, &[entry, number(14, 1)].concat()), 2)
        };
        let listed = files(&["onnx/m.onnx_data", "other"]);
        let (declared, bytes) = (declared(), tensor("m.onnx_data"));
        assert_eq!(check(&bytes, &declared, &listed), Ok(()));
        let data_files = |bytes: &[u8]| {
            let parsed = parsed(bytes, &declared);
            GraphFile::find(&parsed, &declared).expect("a graph").data_files(&listed)
        };
        assert_eq!(data_files(&bytes), ["onnx/m.onnx_data"]);
        for location in ["../other", "other", "./m.onnx_data", "/etc/hosts", "", "../onnx/m.onnx_data", "a\\..\\b"] {
            let bytes = tensor(location);
            assert_eq!(check(&bytes, &declared, &listed), Err("graph"), "{location}");
            assert!(data_files(&bytes).is_empty(), "{location}");
        }
    }
}
