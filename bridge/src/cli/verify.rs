//! `verify`: every check on an artifact, then its golden cases on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnx_ml_bridge::artifact::Artifact;
use onnx_ml_bridge::golden::VariantReport;
use serde::Serialize;

use super::model::directory;
use super::{Failure, print_line, probe};

/// Check an artifact: every file, every graph, and the golden cases replayed on this machine.
///
/// The replay happens in a child process with limits on memory and time, because a hostile graph may crash ONNX Runtime.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  onnx-ml-bridge verify dist/all-minilm-l6-v2\n  \
    ORT_DYLIB_PATH=/opt/onnxruntime/lib/libonnxruntime.so onnx-ml-bridge verify --json DIR")]
pub(crate) struct Arguments {
    /// The artifact's directory
    #[arg(value_parser = directory())]
    dir: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// What a verified artifact is.
#[derive(Serialize)]
struct Report {
    ok: bool,
    name: String,
    version: String,
    identity: String,
    files: usize,
    bytes: u64,
    variants: BTreeMap<String, VariantReport>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let artifact = Artifact::verify(&arguments.dir)?;
    let bytes = artifact.manifest().files.values().map(|file| file.size).sum();
    let variants = probe::replay_in_child(artifact.root(), arguments.library.as_deref(), bytes)?;
    let manifest = artifact.manifest();
    let report = Report {
        ok: true,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        identity: artifact.identity().to_owned(),
        files: manifest.files.len(),
        bytes,
        variants,
    };
    if arguments.json { print_line(&serde_json::json!(report).to_string()) } else { print_line(&table(&report)) }
}

fn table(report: &Report) -> String {
    let mut lines = vec![
        format!("{} {}", report.name, report.version),
        format!("sha256:{}", report.identity),
        format!("{} files, {} bytes: as listed", report.files, report.bytes),
        String::new(),
    ];
    lines.extend(header(report));
    lines.extend(report.variants.iter().map(|(name, variant)| format!("{name:<12} {}", figures(variant))));
    lines.join("\n")
}

/// All variants have the same task.
fn header(report: &Report) -> Option<String> {
    let columns = match report.variants.values().next()? {
        VariantReport::Entities(_) => {
            format!("{:>6} {:>12} {:>12} {:>13}", "cases", "differing", "entity_f1", "score_max_abs")
        }
        VariantReport::Summaries(_) => format!("{:>6} {:>12} {:>12}", "cases", "differing", "sealed_same"),
        VariantReport::Embedding(_) => format!("{:>6} {:>12} {:>12}", "cases", "max_abs", "cosine_min"),
    };
    Some(format!("{:<12} {columns}", "variant"))
}

fn figures(report: &VariantReport) -> String {
    match report {
        VariantReport::Embedding(found) => {
            format!("{:>6} {:>12.3e} {:>12.8}", found.cases, found.max_abs, found.cosine_min)
        }
        VariantReport::Entities(found) => {
            let score = found.score_max_abs.map_or_else(|| "-".to_owned(), |score| format!("{score:.3e}"));
            format!("{:>6} {:>12} {:>12.8} {score:>13}", found.cases, found.differing, found.entity_f1)
        }
        VariantReport::Summaries(found) => {
            let same = found.sealed_same.map_or_else(|| "-".to_owned(), |same| format!("{same:.8}"));
            format!("{:>6} {:>12} {same:>12}", found.cases, found.differing)
        }
    }
}
