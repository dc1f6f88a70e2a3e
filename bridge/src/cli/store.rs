//! The commands that read a store: `pull`, `list` and `updates`.

use serde::Serialize;

use crate::command::store::{StoreArguments, with_progress};
use crate::command::{Failure, print_line};
use crate::{Store, StoredTag, StoredVersion};

/// Copy an artifact of a store to the cache, check it, and print its folder.
///
/// The artifacts of a store in a folder are checked where they are. With ONNX_ML_BRIDGE_OFFLINE=1, nothing is requested. The
/// cache is the folder in ONNX_ML_BRIDGE_CACHE.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  onnx-ml-bridge pull minilm@1.2.0 --store s3://models/prod --key release.pem")]
pub(crate) struct PullArguments {
    /// NAME, NAME@TAG or NAME@VERSION, and #sha256:IDENTITY to pin it
    spec: String,
    #[command(flatten)]
    store: StoreArguments,
    /// Print one JSON object instead of the folder
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the models of a store, or the versions and tags of a model.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  onnx-ml-bridge list --store /srv/models\n  onnx-ml-bridge list minilm")]
pub(crate) struct ListArguments {
    /// The name of a model
    name: Option<String>,
    #[command(flatten)]
    store: StoreArguments,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the versions that are newer than a version, or than the one that a tag is.
///
/// Pre-releases are printed only if the version is one.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  onnx-ml-bridge updates minilm@1.2.0 --store s3://models/prod")]
pub(crate) struct UpdatesArguments {
    /// NAME, NAME@TAG or NAME@VERSION
    spec: String,
    #[command(flatten)]
    store: StoreArguments,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `list` prints about a version.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    version: StoredVersion,
    tags: Vec<String>,
}

pub(crate) fn pull(arguments: &PullArguments) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let located = with_progress(|report| store.pull_reporting(&arguments.spec, report))?;
    let (path, resolved) = (located.path.display().to_string(), located.resolved);
    if !arguments.json {
        return print_line(&path);
    }
    let object = serde_json::json!({
        "ok": true, "name": resolved.name, "version": resolved.version, "identity": resolved.identity, "path": path,
    });
    print_line(&object.to_string())
}

pub(crate) fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let Some(name) = &arguments.name else {
        let models = store.models_blocking()?;
        let object = serde_json::json!({"ok": true, "models": models});
        return print(arguments.json, &object, &models);
    };
    let versions = listed(&store, name)?;
    let lines = versions.iter().map(|Listed { version, tags }| {
        format!("{}  sha256:{}  {}", version.version, version.identity, tags.join(" ")).trim_end().to_owned()
    });
    let lines: Vec<String> = lines.collect();
    print(arguments.json, &serde_json::json!({"ok": true, "name": name, "versions": versions}), &lines)
}

/// The versions of a model, each with its tags.
fn listed(store: &Store, name: &str) -> Result<Vec<Listed>, Failure> {
    let (versions, tags) = (store.versions_blocking(name)?, store.tags_blocking(name)?);
    let tags_of = |version: &StoredVersion| {
        let same = tags.iter().filter(|tag| tag.version == version.version);
        same.map(|StoredTag { tag, .. }| tag.clone()).collect()
    };
    Ok(versions.into_iter().map(|version| Listed { tags: tags_of(&version), version }).collect())
}

pub(crate) fn updates(arguments: &UpdatesArguments) -> Result<(), Failure> {
    let versions = arguments.store.open()?.updates_blocking(&arguments.spec)?;
    let lines: Vec<String> =
        versions.iter().map(|each| format!("{}  sha256:{}", each.version, each.identity)).collect();
    print(arguments.json, &serde_json::json!({"ok": true, "updates": versions}), &lines)
}

fn print(json: bool, object: &serde_json::Value, lines: &[String]) -> Result<(), Failure> {
    match json {
        true => print_line(&object.to_string()),
        false => lines.iter().try_for_each(|line| print_line(line)),
    }
}
