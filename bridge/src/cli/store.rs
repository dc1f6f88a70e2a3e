//! The commands that read a store: `pull`, `list` and `updates`.

use serde::Serialize;

use crate::command::store::{StoreArguments, with_progress};
use crate::command::{Failure, print_line};
use crate::terminal::table;
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
    /// Print one JSON object instead of a table
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
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// A model as `list` prints it.
#[derive(Serialize)]
struct Listed {
    name: String,
    versions: Vec<StoredVersion>,
    tags: Vec<StoredTag>,
}

impl Listed {
    fn read(store: &Store, name: String) -> Result<Self, Failure> {
        Ok(Self { versions: store.versions_blocking(&name)?, tags: store.tags_blocking(&name)?, name })
    }

    /// One row for each version.
    fn rows(&self) -> impl Iterator<Item = [String; 4]> {
        self.versions.iter().map(|StoredVersion { version, identity }| {
            let tags = self.tags.iter().filter(|tag| tag.version == *version).map(|tag| tag.tag.as_str());
            [self.name.clone(), version.clone(), tags.collect::<Vec<_>>().join(", "), identity.clone()]
        })
    }
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
    let names = match &arguments.name {
        Some(name) => vec![name.clone()],
        None => store.models_blocking()?,
    };
    let models: Vec<Listed> = names.into_iter().map(|name| Listed::read(&store, name)).collect::<Result<_, _>>()?;
    let rows: Vec<_> = models.iter().flat_map(Listed::rows).collect();
    let lines = match models.is_empty() {
        true => vec!["the store is empty".to_owned()],
        false => table(["model", "version", "tags", "identity"], &rows),
    };
    print(arguments.json, &serde_json::json!({"ok": true, "models": models}), &lines)
}

pub(crate) fn updates(arguments: &UpdatesArguments) -> Result<(), Failure> {
    let versions = arguments.store.open()?.updates_blocking(&arguments.spec)?;
    let rows: Vec<_> = versions.iter().map(|each| [each.version.clone(), each.identity.clone()]).collect();
    let lines = match versions.is_empty() {
        true => vec!["no updates".to_owned()],
        false => table(["version", "identity"], &rows),
    };
    print(arguments.json, &serde_json::json!({"ok": true, "updates": versions}), &lines)
}

fn print(json: bool, object: &serde_json::Value, lines: &[String]) -> Result<(), Failure> {
    match json {
        true => print_line(&object.to_string()),
        false => lines.iter().try_for_each(|line| print_line(line)),
    }
}
