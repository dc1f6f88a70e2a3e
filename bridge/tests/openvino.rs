//! The execution provider of OpenVINO runs models. `make test-openvino` runs these tests with the library of a wheel.
#![cfg(all(feature = "openvino", feature = "sentence-embedding"))]

mod common;

use onnx_ml_bridge::{BridgeOptions, EmbedOptions, Embedder, Model};

const PROVIDER: &str = "OpenVINOExecutionProvider";
const TEXTS: [&str; 3] = ["the cat sings", "a dog", "the small cat saw a dog in the house"];

fn open(device: &str) -> Embedder {
    let model = Model::new(common::golden().join("valid/tiny-embedding")).device(device);
    let model = if device == "cpu" { model.variant("fp32") } else { model };
    Embedder::open(model, BridgeOptions::default().threads(2)).expect("a model")
}

fn vectors(embedder: &Embedder) -> Vec<f32> {
    embedder.embed_blocking(&TEXTS, &EmbedOptions::default()).expect("vectors").vectors.concat()
}

#[test]
fn openvino_runs_the_nodes_and_the_report_says_so() {
    let (openvino, cpu) = (open("openvino:CPU"), open("cpu"));
    assert!(openvino.info().providers.counts().is_empty());
    let (actual, expected) = (vectors(&openvino), vectors(&cpu));
    let error = actual.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(actual.len() == expected.len() && error <= 2e-6, "{error}");
    let info = openvino.info();
    assert_eq!((info.device.as_str(), info.variant.as_str()), ("openvino:CPU", "fp32"));
    let counts = info.providers.counts();
    assert!(counts[PROVIDER].is_some_and(|nodes| nodes >= 1), "{counts:?}");
    assert_eq!(cpu.info().providers.counts(), [("CPUExecutionProvider".to_owned(), None)].into());
}

#[test]
fn auto_takes_no_openvino_and_an_absent_gpu_is_an_error() {
    assert_eq!(open("auto").info().device, "cpu");
    let model = Model::new(common::golden().join("valid/tiny-embedding")).device("openvino:GPU");
    let error = Embedder::open(model, BridgeOptions::default()).expect_err("no GPU");
    assert_eq!(error.code().as_str(), "device");
    assert!(error.to_string().contains("available: cpu, openvino"), "{error}");
}

#[test]
fn sessions_take_devices_in_turn() {
    let embedder = open("openvino,cpu");
    assert_eq!(vectors(&embedder).len() % TEXTS.len(), 0);
    assert_eq!(embedder.info().device, "openvino,cpu");
}
