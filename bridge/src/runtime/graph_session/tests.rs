//! Tests with the real session of the shared test artifact.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use ort::logging::LogLevel;
use ort::value::Tensor;

use super::*;
use crate::runtime::outputs::shaped_output;
use crate::runtime::session::{EngineOptions, GraphFile, SessionFactory};

const OUTPUT: &str = "sentence_embedding";

fn factory(threads: usize) -> SessionFactory {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding");
    let path = shared.join("onnx/model.onnx");
    let graph = GraphFile { name: "fp32".to_owned(), path, min_onnxruntime: "1.18".to_owned() };
    SessionFactory::new(graph, EngineOptions { threads: Some(threads), ..EngineOptions::default() })
}

fn session(threads: usize) -> Arc<GraphSession> {
    factory(threads).graph_session().expect("a session")
}

fn ids(rows: usize, width: usize, seed: usize) -> DynValue {
    let values: Vec<i64> = (0..rows * width).map(|index| ((index * 7 + seed) % 5) as i64).collect();
    Tensor::from_array(([rows, width], values)).expect("a tensor").into_dyn()
}

fn inputs(rows: usize, width: usize, seed: usize) -> Vec<(&'static str, DynValue)> {
    let mask = Tensor::from_array(([rows, width], vec![1_i64; rows * width])).expect("a tensor").into_dyn();
    let types = Tensor::from_array(([rows, width], vec![0_i64; rows * width])).expect("a tensor").into_dyn();
    vec![("input_ids", ids(rows, width, seed)), ("attention_mask", mask), ("token_type_ids", types)]
}

fn options() -> RunOptions {
    let mut options = RunOptions::new().expect("options");
    options.set_log_level(LogLevel::Fatal).expect("a level");
    options
}

fn run_with(session: &GraphSession, inputs: Vec<(&str, DynValue)>, options: &RunOptions) -> Result<Vec<f32>, String> {
    let outputs = session.run(inputs, &[OUTPUT], options).map_err(|error| error.to_string())?;
    let (_, values) = shaped_output::<f32>(&outputs, OUTPUT).expect("the output");
    Ok(values.to_vec())
}

fn run(session: &GraphSession, inputs: Vec<(&str, DynValue)>) -> Result<Vec<f32>, String> {
    run_with(session, inputs, &options())
}

fn vectors(session: &GraphSession, seed: usize) -> Vec<f32> {
    run(session, inputs(1 + seed % 4, 3 + seed % 11, seed)).expect("vectors")
}

#[test]
fn runs_beside_each_other_have_the_outputs_of_serial_ones() {
    for threads in [1, 2, 4] {
        let session = session(threads);
        let expected: Vec<Vec<f32>> = (0..40).map(|seed| vectors(&session, seed)).collect();
        let other = RunGuard::enter(&session);
        thread::scope(|scope| {
            for caller in 0..8 {
                let (session, expected) = (&session, &expected);
                scope.spawn(move || {
                    for seed in (0..400).map(|run| (run * 3 + caller) % 40) {
                        assert_eq!(vectors(session, seed), expected[seed]);
                    }
                });
            }
        });
        drop(other);
        let runs = session.runs();
        assert_eq!((runs.all, runs.on_own_threads), (0, 0));
        assert_eq!(runs.ever_on_own_threads > 0, threads > 1, "{runs:?}");
    }
}

#[test]
fn a_run_that_is_alone_is_computed_by_its_caller() {
    let session = session(4);
    let on_own_threads = || session.runs().ever_on_own_threads;
    (0..3).for_each(|seed| drop(vectors(&session, seed)));
    assert_eq!(on_own_threads(), 0);
    let others: Vec<RunGuard<'_>> = (0..6).map(|_| RunGuard::enter(&session)).collect();
    let kinds: Vec<bool> = others.iter().map(|guard| guard.on_own_thread).collect();
    assert_eq!(kinds, [false, true, true, true, false, false]);
    drop(others);
    drop(vectors(&session, 0));
    assert_eq!(on_own_threads(), 3);
}

#[test]
fn errors_of_runs_beside_others_are_returned() {
    let session = session(2);
    let errors = || {
        let named = run(&session, vec![("nothing", ids(1, 2, 0))]).expect_err("an unknown name");
        let mut wrong = inputs(1, 2, 0);
        wrong[0].1 = Tensor::from_array(([1], vec![1_i64])).expect("a tensor").into_dyn();
        let shaped = run(&session, wrong).expect_err("a wrong shape");
        let mut nul = inputs(1, 2, 0);
        nul[0].0 = "a\0b";
        assert!(run(&session, nul).is_err());
        (named, shaped)
    };
    let alone = errors();
    let _other = RunGuard::enter(&session);
    assert_eq!(errors(), alone);
    assert_eq!(session.runs().ever_on_own_threads, 2);
    assert!(alone.0.contains("nothing") && alone.1.contains("input_ids"), "{alone:?}");
    assert!(run(&session, inputs(1, 2, 0)).is_ok());
}

#[test]
fn a_run_beside_another_can_be_terminated() {
    let session = session(2);
    let _other = RunGuard::enter(&session);
    let terminated = options();
    terminated.terminate().expect("a terminated run");
    let error = run_with(&session, inputs(1, 2, 0), &terminated).expect_err("terminated before the start");
    assert!(error.contains("terminate"), "{error}");
    // A run may end before it is terminated, if other processes slow down the thread that terminates it.
    assert!((0..50).any(|_| is_terminated_at_work(&session)));
    assert!(session.runs().ever_on_own_threads >= 3);
}

/// Terminates a large run after a fifth of the time that it takes. Returns whether that ended it.
fn is_terminated_at_work(session: &GraphSession) -> bool {
    let (large, options) = (|| inputs(4000, 24, 0), options());
    let started = Instant::now();
    run(session, large()).expect("vectors");
    let whole = started.elapsed();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(whole / 5);
            options.terminate().expect("a terminated run");
        });
        run_with(session, large(), &options)
    });
    result.is_err_and(|error| error.contains("terminate"))
}

#[test]
fn threads_share_a_session_until_all_have_dropped_it() {
    let factory = factory(2);
    let sessions: Vec<Arc<GraphSession>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| factory.graph_session().expect("a session"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(sessions.iter().all(|session| Arc::ptr_eq(session, &sessions[0])));
    thread::scope(|scope| {
        sessions.iter().for_each(|session| drop(scope.spawn(|| vectors(session, 3))));
    });
    let freed: Weak<GraphSession> = Arc::downgrade(&sessions[0]);
    let used = vectors(&sessions[0], 7);
    drop(sessions);
    assert_eq!(freed.strong_count(), 0);
    assert_eq!(vectors(&factory.graph_session().expect("another session"), 7), used);
}
