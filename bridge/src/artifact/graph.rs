//! The check `graph`: the file is what the manifest declares and keeps no data in a file that is not listed.

use std::collections::BTreeMap;

use super::manifest::{FileEntry, Graph, Tensor};
use super::onnx::{Model, Value};
use crate::BridgeError;

/// Checks one graph's bytes, and returns the data files beside it, relative to the artifact.
pub(crate) fn check_graph(
    bytes: &[u8],
    declared: &Graph,
    files: &BTreeMap<String, FileEntry>,
) -> Result<Vec<String>, BridgeError> {
    let refuse = |problem: String| BridgeError::Graph { file: declared.file.clone(), problem };
    let model = Model::parse(bytes).map_err(|problem| refuse(format!("is no ONNX graph: {problem}")))?;
    let data = data_files(&model, declared, files).map_err(refuse)?;
    let mut problems = version_problems(&model, declared);
    problems.extend(interface_problems("input", &model.inputs, &declared.inputs));
    problems.extend(interface_problems("output", &model.outputs, &declared.outputs));
    problems.extend(role_problems(declared));
    if problems.is_empty() { Ok(data) } else { Err(refuse(problems.join("; "))) }
}

/// The data files of a graph that may be no graph at all: what `open` has to hash. Empty where it cannot be parsed.
pub(crate) fn data_files_of(bytes: &[u8], declared: &Graph, files: &BTreeMap<String, FileEntry>) -> Vec<String> {
    let model = Model::parse(bytes).ok();
    model.and_then(|model| data_files(&model, declared, files).ok()).unwrap_or_default()
}

/// Locations are relative to the graph's folder. Listed paths have no `..`, so that a match cannot leave the artifact.
fn data_files(model: &Model, declared: &Graph, files: &BTreeMap<String, FileEntry>) -> Result<Vec<String>, String> {
    let folder = declared.file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let listed = |location: &String| {
        let path = format!("{folder}{location}");
        let known = files.contains_key(&path);
        let problem = format!("keeps data in {location:?}, which is not a file that the manifest lists as {path:?}");
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

fn interface_problems(kind: &str, found: &[Value], declared: &[Tensor]) -> Vec<String> {
    let found_names = || found.iter().map(|value| value.name.as_str());
    let declared_names = || declared.iter().map(|tensor| tensor.name.as_str());
    let (mut left, mut right): (Vec<_>, Vec<_>) = (found_names().collect(), declared_names().collect());
    left.sort_unstable();
    right.sort_unstable();
    if left != right {
        return vec![format!("{kind}s {left:?}, declared {right:?}")];
    }
    if let Some(twice) = left.windows(2).find(|pair| pair[0] == pair[1]) {
        return vec![format!("{kind} {:?} is there twice", twice[0])];
    }
    let pairs = declared.iter().filter_map(|tensor| Some((tensor, found.iter().find(|v| v.name == tensor.name)?)));
    pairs.filter_map(|(tensor, value)| tensor_problem(kind, tensor, value)).collect()
}

fn tensor_problem(kind: &str, declared: &Tensor, found: &Value) -> Option<String> {
    let name = &declared.name;
    if found.dtype != element_type(&declared.dtype) {
        let found = shown(found.dtype.as_ref());
        return Some(format!("{kind} {name:?} has the ONNX element type {found}, declared {}", declared.dtype));
    }
    let rank = declared.dims.len();
    let problem = || format!("{kind} {name:?} has rank {}, declared {rank}", shown(found.rank.as_ref()));
    (found.rank != Some(rank)).then(problem)
}

fn shown<T: ToString>(found: Option<&T>) -> String {
    found.map_or_else(|| "none".to_owned(), T::to_string)
}

/// `TensorProto.DataType` of a manifest's dtype.
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

/// The interface of the role `encoder`: what the runtime feeds and fetches, by name.
fn role_problems(declared: &Graph) -> Vec<String> {
    const INPUTS: [(&str, usize, bool); 4] = [
        ("input_ids", 2, true),
        ("attention_mask", 2, true),
        ("token_type_ids", 2, false),
        ("prompt_length", 1, false),
    ];
    const OUTPUTS: [(&str, usize, bool); 2] = [("token_embeddings", 3, true), ("sentence_embedding", 2, true)];
    let mut problems = named_problems("input", "int64", &declared.inputs, &INPUTS);
    problems.extend(named_problems("output", "float32", &declared.outputs, &OUTPUTS));
    problems
}

fn named_problems(kind: &str, dtype: &str, declared: &[Tensor], known: &[(&str, usize, bool)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, rank, required) in known {
        match declared.iter().find(|tensor| tensor.name == *name) {
            None if *required => problems.push(format!("{kind} {name:?} is missing")),
            Some(tensor) if tensor.dtype != dtype || tensor.dims.len() != *rank => {
                problems.push(format!("{kind} {name:?} is not {dtype} of rank {rank}"));
            }
            _ => {}
        }
    }
    let strange = declared.iter().filter(|tensor| known.iter().all(|(name, ..)| *name != tensor.name));
    problems.extend(strange.map(|tensor| format!("{kind} {:?} is not one that an encoder has", tensor.name)));
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{number, part, text};
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
        let shape = part(2, &part(1, &[]).repeat(rank));
        part(field, &[text(1, name), part(2, &part(1, &[number(1, dtype), shape].concat()))].concat())
    }

    fn inputs(mask_rank: usize) -> Vec<u8> {
        [value(11, "input_ids", 7, 2), value(11, "attention_mask", 7, mask_rank)].concat()
    }

    fn with_graph(graph: &[u8]) -> Vec<u8> {
        [number(1, 10), part(8, &number(2, 20)), part(7, graph)].concat()
    }

    fn model(extra: &[u8], mask_rank: usize) -> Vec<u8> {
        let outputs = [value(12, "sentence_embedding", 1, 2), value(12, "token_embeddings", 1, 3)].concat();
        with_graph(&[inputs(mask_rank), outputs, extra.to_vec()].concat())
    }

    fn code(bytes: &[u8], declared: &Graph) -> Result<(), &'static str> {
        check_graph(bytes, declared, &files(&[])).map(|_| ()).map_err(|error| error.code())
    }

    fn files(names: &[&str]) -> BTreeMap<String, FileEntry> {
        let entry = FileEntry { sha256: String::new(), size: 0 };
        names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect()
    }

    #[test]
    fn a_graph_has_to_be_what_is_declared() {
        let none = files(&[]);
        assert_eq!(check_graph(&model(&[], 2), &declared(), &none), Ok(vec![]));
        let wrong = [
            vec![0],
            model(&[], 3),
            model(&value(11, "x", 7, 2), 2),
            model(&value(11, "input_ids", 7, 2), 2),
            model(&value(12, "x", 1, 2), 2),
            model(&value(12, "sentence_embedding", 1, 2), 2),
            model(&part(1, &text(7, "com.evil")), 2),
            [model(&[], 2), part(8, &number(2, 20))].concat(),
        ];
        for bytes in wrong {
            assert_eq!(code(&bytes, &declared()), Err("graph"));
        }
    }

    /// However well graph and declaration agree.
    #[test]
    fn an_encoder_has_its_inputs_and_outputs_and_no_others() {
        let outputs = |found: &[u8], change: fn(&mut Vec<Tensor>)| {
            let mut declared = declared();
            change(&mut declared.outputs);
            code(found, &declared)
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
    fn data_lies_only_in_listed_files() {
        let tensor = |location: &str| {
            let entry = part(13, &[text(1, "location"), text(2, location)].concat());
            model(&part(5, &[entry, number(14, 1)].concat()), 2)
        };
        let listed = files(&["onnx/m.onnx_data", "other"]);
        assert_eq!(check_graph(&tensor("m.onnx_data"), &declared(), &listed), Ok(vec!["onnx/m.onnx_data".to_owned()]));
        for location in ["../other", "other", "./m.onnx_data", "/etc/hosts", "", "../onnx/m.onnx_data", "a\\..\\b"] {
            let verdict = check_graph(&tensor(location), &declared(), &listed);
            assert_eq!(verdict.map_err(|error| error.code()), Err("graph"), "{location}");
        }
    }
}
