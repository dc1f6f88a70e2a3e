//! The check `graph`: the file is what the manifest declares and keeps no data in a file that is not listed.

use std::collections::BTreeMap;

use super::manifest::{FileEntry, Graph, Tensor};
use super::onnx::{Model, Value};
use crate::BridgeError;

/// Checks the bytes of the graph of one role, and returns the data files beside it, relative to the artifact.
pub(crate) fn check_graph(
    bytes: &[u8],
    role: &str,
    declared: &Graph,
    files: &BTreeMap<String, FileEntry>,
) -> Result<Vec<String>, BridgeError> {
    let refuse = |problem: String| BridgeError::Graph { file: declared.file.clone(), problem };
    let model = Model::parse(bytes).map_err(|problem| refuse(format!("is no ONNX graph: {problem}")))?;
    let data = data_files(&model, declared, files).map_err(refuse)?;
    let mut problems = version_problems(&model, declared);
    problems.extend(interface_problems("input", &model.inputs, &declared.inputs));
    problems.extend(interface_problems("output", &model.outputs, &declared.outputs));
    problems.extend(role_problems(role, declared));
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

/// The name, element type and rank of an input or output.
type Port = (&'static str, &'static str, usize);

/// What graphs of one role take and give: what the runtime feeds and fetches, by name.
struct Interface {
    required: &'static [Port],
    optional: &'static [Port],
    outputs: &'static [Port],
}

const IDS: Port = ("input_ids", "int64", 2);
const MASK: Port = ("attention_mask", "int64", 2);
const TYPES: Port = ("token_type_ids", "int64", 2);
const EMBEDDED: Port = ("embedded", "float32", 2);
const PREACTIVATION: Port = ("preactivation", "float32", 2);

const ENCODER: Interface = Interface {
    required: &[IDS, MASK],
    optional: &[TYPES, ("prompt_length", "int64", 1)],
    outputs: &[("token_embeddings", "float32", 3), ("sentence_embedding", "float32", 2)],
};
const TOKEN_CLASSIFIER: Interface =
    Interface { required: &[IDS, MASK], optional: &[TYPES], outputs: &[("logits", "float32", 3)] };
const SPACY_NER: Interface = Interface {
    required: &[EMBEDDED, PREACTIVATION, ("is_space", "bool", 1), ("is_last", "bool", 1)],
    optional: &[],
    outputs: &[
        ("label", "int32", 1),
        ("begins", "bool", 1),
        ("current", "float32", 2),
        ("first", "float32", 2),
        ("previous", "float32", 2),
    ],
};
const SPACY_PARSER: Interface =
    Interface { required: &[EMBEDDED, PREACTIVATION], optional: &[], outputs: &[("features", "float32", 3)] };
/// Of both networks.
const SPACY_TYPES: Interface = Interface {
    required: &[("rows", "int32", 2)],
    optional: &[("vectors", "int32", 1)],
    outputs: &[EMBEDDED, ("contributions", "float32", 3)],
};

const GENERATE: Interface = Interface {
    required: &[
        IDS,
        MASK,
        ("num_beams", "int64", 1),
        ("min_length", "int64", 1),
        ("max_length", "int64", 1),
        ("length_penalty", "float32", 1),
    ],
    optional: &[],
    outputs: &[("sequences", "int64", 2), ("sequences_scores", "float32", 1)],
};

fn interface(role: &str) -> Option<&'static Interface> {
    match role {
        "encoder" => Some(&ENCODER),
        "token_classifier" => Some(&TOKEN_CLASSIFIER),
        "generate" => Some(&GENERATE),
        "spacy_ner" => Some(&SPACY_NER),
        "spacy_parser" => Some(&SPACY_PARSER),
        "spacy_ner_types" | "spacy_parser_types" => Some(&SPACY_TYPES),
        _ => None,
    }
}

fn role_problems(role: &str, declared: &Graph) -> Vec<String> {
    let Some(interface) = interface(role) else {
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
            None => problems.push(format!("{kind} {:?} is not one of its role", tensor.name)),
            Some((name, dtype, rank)) if tensor.dtype != *dtype || tensor.dims.len() != *rank => {
                problems.push(format!("{kind} {name:?} is not {dtype} of rank {rank}"));
            }
            Some(_) => {}
        }
    }
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
        check_graph(bytes, "encoder", declared, &files(&[])).map(|_| ()).map_err(|error| error.code())
    }

    fn files(names: &[&str]) -> BTreeMap<String, FileEntry> {
        let entry = FileEntry { sha256: String::new(), size: 0 };
        names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect()
    }

    #[test]
    fn a_graph_has_to_be_what_is_declared() {
        let none = files(&[]);
        assert_eq!(check_graph(&model(&[], 2), "encoder", &declared(), &none), Ok(vec![]));
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

    /// A graph of one role with everything that it may have, declared as it is.
    fn of_role(interface: &Interface) -> (Vec<u8>, Graph) {
        let tensor = |port: &Port| json!({"name": port.0, "dtype": port.1, "dims": vec!["d"; port.2]});
        let inputs: Vec<&Port> = interface.required.iter().chain(interface.optional).collect();
        let graph = json!({
            "file": "onnx/m.onnx", "ir_version": 10, "domains": {"": 20}, "min_onnxruntime": "1.18",
            "inputs": inputs.iter().map(|port| tensor(port)).collect::<Vec<_>>(),
            "outputs": interface.outputs.iter().map(tensor).collect::<Vec<_>>(),
        });
        let values = |field, ports: &[&Port]| -> Vec<u8> {
            ports.iter().flat_map(|port| value(field, port.0, element_type(port.1).expect("known"), port.2)).collect()
        };
        let outputs: Vec<&Port> = interface.outputs.iter().collect();
        let bytes = with_graph(&[values(11, &inputs), values(12, &outputs)].concat());
        (bytes, serde_json::from_value(graph).expect("a graph"))
    }

    #[test]
    fn every_role_has_its_own_interface() {
        let roles = ["encoder", "token_classifier", "generate", "spacy_ner", "spacy_ner_types", "spacy_parser"];
        for role in roles {
            let (bytes, declared) = of_role(interface(role).expect("a role"));
            for other in roles {
                let verdict = check_graph(&bytes, other, &declared, &files(&[])).map_err(|error| error.code());
                assert_eq!(verdict.is_ok(), role == other, "{role} as {other}: {verdict:?}");
            }
            assert!(check_graph(&bytes, "decoder", &declared, &files(&[])).is_err());
        }
    }

    #[test]
    fn data_lies_only_in_listed_files() {
        let tensor = |location: &str| {
            let entry = part(13, &[text(1, "location"), text(2, location)].concat());
            model(&part(5, &[entry, number(14, 1)].concat()), 2)
        };
        let listed = files(&["onnx/m.onnx_data", "other"]);
        let found = check_graph(&tensor("m.onnx_data"), "encoder", &declared(), &listed);
        assert_eq!(found, Ok(vec!["onnx/m.onnx_data".to_owned()]));
        for location in ["../other", "other", "./m.onnx_data", "/etc/hosts", "", "../onnx/m.onnx_data", "a\\..\\b"] {
            let verdict = check_graph(&tensor(location), "encoder", &declared(), &listed);
            assert_eq!(verdict.map_err(|error| error.code()), Err("graph"), "{location}");
        }
    }
}
