//! Parses what a reader has to check in an ONNX file before ONNX Runtime opens it: the inputs and outputs of the graph, and
//! the files in which its tensors are stored.
//!
//! Field numbers are those of `onnx.proto3`. Every tensor is visited: in initializers, attributes, subgraphs, sparse
//! tensors, functions and training graphs. Unknown fields are skipped, and so are fields whose wire type is not that of
//! `onnx.proto3`, as every protobuf parser does.

use std::collections::{BTreeMap, BTreeSet};

use super::protobuf::{Field, Fields};

/// The maximum nesting depth of graphs, including the main graph.
const MAX_NESTING: usize = 17;
/// The value `TensorProto.DataLocation.EXTERNAL`, which means that a tensor's data is in another file.
const EXTERNAL: u64 = 1;

/// An input or output of the main graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) name: String,
    /// The element type as a number of `TensorProto.DataType`; `None` if the value is not a tensor.
    pub(crate) dtype: Option<u64>,
    /// The number of dimensions; `None` if the file does not state a shape.
    pub(crate) rank: Option<usize>,
}

/// The parsed content of one ONNX file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) ir_version: u64,
    /// The versions of the imported operator sets by domain; `""` is `ai.onnx`.
    pub(crate) imports: BTreeMap<String, u64>,
    /// The operator domains of all nodes, except the nodes of functions that the file defines.
    pub(crate) domains_used: BTreeSet<String>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
    /// The paths of the files with tensor data outside the ONNX file, as the ONNX file spells them.
    pub(crate) external: BTreeSet<String>,
}

impl Model {
    /// Reads an ONNX file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self::default();
        let mut graph = None;
        let mut function_domains = BTreeSet::new();
        for field in Fields::of(bytes) {
            match field? {
                (1, Field::Number(version)) => model.ir_version = version,
                (7, Field::Bytes(_)) if graph.is_some() => return Err("has two graphs".to_owned()),
                (7, Field::Bytes(message)) => graph = Some(message),
                (8, Field::Bytes(message)) => model.import(message)?,
                (20, Field::Bytes(message)) => model.training(message)?,
                (25, Field::Bytes(message)) => {
                    function_domains.insert(model.function(message)?);
                }
                _ => {}
            }
        }
        let graph = graph.ok_or("has no graph")?;
        model.interface(graph)?;
        model.graph(graph, 0)?;
        model.domains_used.retain(|domain| !function_domains.contains(domain));
        Ok(model)
    }

    fn import(&mut self, message: &[u8]) -> Result<(), String> {
        let (mut domain, mut version) = ("", 0);
        for field in Fields::of(message) {
            match field? {
                (1, Field::Bytes(value)) => domain = text(value)?,
                (2, Field::Number(value)) => version = value,
                _ => {}
            }
        }
        let domain = canonical(domain);
        match self.imports.insert(domain.to_owned(), version) {
            Some(_) => Err(format!("imports the domain {domain:?} twice")),
            None => Ok(()),
        }
    }

    /// Reads the main graph's inputs and outputs. An input with an initializer is left out: it has a default value and need
    /// not be fed.
    fn interface(&mut self, graph: &[u8]) -> Result<(), String> {
        let mut defaults = BTreeSet::new();
        for field in Fields::of(graph) {
            match field? {
                (5, Field::Bytes(value)) => {
                    defaults.insert(tensor_name(value)?.to_owned());
                }
                (11, Field::Bytes(value)) => self.inputs.push(value_info(value)?),
                (12, Field::Bytes(value)) => self.outputs.push(value_info(value)?),
                _ => {}
            }
        }
        self.inputs.retain(|input| !defaults.contains(&input.name));
        Ok(())
    }

    fn graph(&mut self, message: &[u8], depth: usize) -> Result<(), String> {
        let depth = deeper(depth)?;
        for field in Fields::of(message) {
            match field? {
                (1, Field::Bytes(value)) => self.node(value, depth)?,
                (5, Field::Bytes(value)) => self.tensor(value)?,
                (15, Field::Bytes(value)) => self.sparse(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn node(&mut self, message: &[u8], depth: usize) -> Result<(), String> {
        let mut domain = "";
        for field in Fields::of(message) {
            match field? {
                (5, Field::Bytes(value)) => self.attribute(value, depth)?,
                (7, Field::Bytes(value)) => domain = text(value)?,
                _ => {}
            }
        }
        let domain = canonical(domain);
        if !self.domains_used.contains(domain) {
            self.domains_used.insert(domain.to_owned());
        }
        Ok(())
    }

    fn attribute(&mut self, message: &[u8], depth: usize) -> Result<(), String> {
        for field in Fields::of(message) {
            match field? {
                (5 | 10, Field::Bytes(value)) => self.tensor(value)?,
                (6 | 11, Field::Bytes(value)) => self.graph(value, depth)?,
                (22 | 23, Field::Bytes(value)) => self.sparse(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn sparse(&mut self, message: &[u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            if let (1 | 2, Field::Bytes(value)) = field? {
                self.tensor(value)?;
            }
        }
        Ok(())
    }

    /// Visits the nodes of a function that the ONNX file defines. Returns the domain of the function.
    fn function(&mut self, message: &[u8]) -> Result<String, String> {
        let mut domain = "";
        for field in Fields::of(message) {
            match field? {
                (7, Field::Bytes(value)) => self.node(value, 1)?,
                (10, Field::Bytes(value)) => domain = text(value)?,
                (11, Field::Bytes(value)) => self.attribute(value, 1)?,
                _ => {}
            }
        }
        Ok(canonical(domain).to_owned())
    }

    fn training(&mut self, message: &[u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            if let (1 | 2, Field::Bytes(value)) = field? {
                self.graph(value, 0)?;
            }
        }
        Ok(())
    }

    /// Adds the path of a tensor's external data. It is added even if the tensor's `data_location` is not `EXTERNAL`,
    /// because parsers treat such contradictory tensors differently.
    fn tensor(&mut self, message: &[u8]) -> Result<(), String> {
        let (mut external, mut locations) = (false, 0);
        for field in Fields::of(message) {
            match field? {
                (13, Field::Bytes(value)) => locations += usize::from(self.external_entry(value)?),
                (14, Field::Number(value)) => external |= value == EXTERNAL,
                _ => {}
            }
        }
        if external && locations != 1 {
            return Err(format!("a tensor's external data has {locations} locations, expected 1"));
        }
        Ok(())
    }

    /// Reads one entry of a tensor's `external_data`: a key and a value. Returns whether the key is `location`.
    fn external_entry(&mut self, message: &[u8]) -> Result<bool, String> {
        let (mut key, mut content) = ("", "");
        for field in Fields::of(message) {
            match field? {
                (1, Field::Bytes(value)) => key = text(value)?,
                (2, Field::Bytes(value)) => content = text(value)?,
                _ => {}
            }
        }
        if key == "location" && !self.external.contains(content) {
            self.external.insert(content.to_owned());
        }
        Ok(key == "location")
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("a string is not UTF-8: {error}"))
}

/// The canonical name of a domain: `ai.onnx` and the empty name are the same domain.
fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn deeper(depth: usize) -> Result<usize, String> {
    if depth == MAX_NESTING { Err(format!("graphs are nested deeper than {MAX_NESTING}")) } else { Ok(depth + 1) }
}

fn tensor_name(message: &[u8]) -> Result<&str, String> {
    let mut name = "";
    for field in Fields::of(message) {
        if let (8, Field::Bytes(value)) = field? {
            name = text(value)?;
        }
    }
    Ok(name)
}

fn value_info(message: &[u8]) -> Result<Value, String> {
    let mut value = Value::default();
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(name)) => value.name = text(name)?.to_owned(),
            (2, Field::Bytes(message)) => tensor_type(message, &mut value)?,
            _ => {}
        }
    }
    Ok(value)
}

fn tensor_type(message: &[u8], value: &mut Value) -> Result<(), String> {
    for field in Fields::of(message) {
        if let (1, Field::Bytes(tensor)) = field? {
            for field in Fields::of(tensor) {
                match field? {
                    (1, Field::Number(dtype)) => value.dtype = Some(dtype),
                    (2, Field::Bytes(shape)) => value.rank = Some(rank(shape)?),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn rank(shape: &[u8]) -> Result<usize, String> {
    let mut rank = 0;
    for field in Fields::of(shape) {
        rank += usize::from(matches!(field?, (1, Field::Bytes(_))));
    }
    Ok(rank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{message, number, text};
    use super::*;

    fn external_tensor(location: &str) -> Vec<u8> {
        let entry = message(13, &[text(1, "location"), text(2, location)].concat());
        [text(8, "w"), entry, number(14, EXTERNAL)].concat()
    }

    fn model(graph: &[u8]) -> Vec<u8> {
        let import = message(8, &[text(1, "com.microsoft"), number(2, 1)].concat());
        [number(1, 10), message(8, &number(2, 20)), import, message(7, graph)].concat()
    }

    fn locations(graph: &[u8]) -> Vec<String> {
        let parsed = Model::parse(&model(graph)).expect("well-formed");
        parsed.external.into_iter().collect()
    }

    #[test]
    fn reads_the_interface() {
        let shape = message(2, &[message(1, &text(2, "batch")), message(1, &number(1, 4))].concat());
        let kind = message(2, &message(1, &[number(1, 7), shape].concat()));
        let graph = [
            message(5, &text(8, "w")),
            message(11, &[text(1, "x"), kind.clone()].concat()),
            message(11, &text(1, "w")),
            message(12, &[text(1, "y"), kind].concat()),
            message(1, &text(7, "ai.onnx")),
        ];
        let parsed = Model::parse(&model(&graph.concat())).expect("well-formed");
        let value = |name: &str| Value { name: name.to_owned(), dtype: Some(7), rank: Some(2) };
        assert_eq!((parsed.inputs, parsed.outputs), (vec![value("x")], vec![value("y")]));
        assert_eq!((parsed.ir_version, parsed.imports[""], parsed.imports["com.microsoft"]), (10, 20, 1));
        assert_eq!(parsed.domains_used, BTreeSet::from([String::new()]));
    }

    #[test]
    fn external_data_is_found_in_every_tensor_field() {
        let tensor = external_tensor("../secret");
        let inner = message(5, &tensor);
        let graphs = [
            inner.clone(),
            message(15, &message(1, &tensor)),
            message(15, &message(2, &tensor)),
            message(1, &message(5, &message(5, &tensor))),
            message(1, &message(5, &message(10, &tensor))),
            message(1, &message(5, &message(6, &inner))),
            message(1, &message(5, &message(11, &message(1, &message(5, &message(6, &inner)))))),
            message(1, &message(5, &message(22, &message(1, &tensor)))),
            message(1, &message(5, &message(23, &message(2, &tensor)))),
        ];
        for graph in graphs {
            assert_eq!(locations(&graph), ["../secret"]);
        }
        let node = message(5, &message(5, &tensor));
        for outer in [
            message(25, &message(7, &node)),
            message(25, &message(11, &message(5, &tensor))),
            message(20, &message(1, &inner)),
        ] {
            let parsed = Model::parse(&[model(&[]), outer].concat()).expect("well-formed");
            assert!(parsed.external.contains("../secret"));
        }
    }

    #[test]
    fn domains_of_the_files_own_functions_are_left_out() {
        let call = model(&message(1, &text(7, "own")));
        let function = message(25, &[text(10, "own"), message(7, &text(7, "com.other"))].concat());
        let used = |bytes: &[u8]| Model::parse(bytes).expect("well-formed").domains_used;
        assert_eq!(used(&call), BTreeSet::from(["own".to_owned()]));
        assert_eq!(used(&[call, function].concat()), BTreeSet::from(["com.other".to_owned()]));
    }

    #[test]
    fn invalid_models_are_refused() {
        let without_location = message(5, &number(14, EXTERNAL));
        let mut deep = Vec::new();
        for _ in 0..=MAX_NESTING {
            deep = message(1, &message(5, &message(6, &deep)));
        }
        let good = model(&message(5, &external_tensor("a")));
        let location = message(13, &[text(1, "location"), text(2, "a")].concat());
        let two_locations = message(5, &[location.clone(), location, number(14, EXTERNAL)].concat());
        for graph in [&without_location, &two_locations, &deep] {
            assert!(Model::parse(&model(graph)).is_err());
        }
        let unreadable_domain = model(&message(1, &message(7, b"\xff")));
        for bytes in [&b""[..], b"not a model", &good[..good.len() - 1], &unreadable_domain] {
            assert!(Model::parse(bytes).is_err());
        }
        for second in
            [message(7, &[]), message(8, &number(2, 20)), message(8, &[text(1, "ai.onnx"), number(2, 20)].concat())]
        {
            assert!(Model::parse(&[good.clone(), second].concat()).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Model::parse(&bytes);
        }

        #[test]
        fn never_panics_on_flipped_bits(offset in 0_usize..200, bit in 0..8) {
            let mut bytes = model(&message(1, &message(5, &message(6, &message(5, &external_tensor("x"))))));
            let offset = offset % bytes.len();
            bytes[offset] ^= 1_u8 << bit;
            let _ = Model::parse(&bytes);
        }
    }
}
