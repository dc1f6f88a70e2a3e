//! The arguments of every command that runs a model.

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{OsStringValueParser, TypedValueParser};

#[cfg(feature = "store")]
use crate::command::store::StoreArguments;
use crate::families::Artifact;
use crate::families::model::FamilyModel;
use crate::handles::FromSource;
use crate::handles::source::Source;
use crate::life::slot::{Opening, Slot};
use crate::location::Locator;
use crate::options::MAX_THREADS;
use crate::runtime::DEFAULT_TEXT_LIMIT;
use crate::runtime::options::ModelOptions;
use crate::{BridgeError, BridgeOptions, Model};

/// The model and its options.
#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// The artifact's directory, or its name in a store: store:NAME@VERSION
    #[arg(long, value_name = "DIR|store:NAME", value_parser = directory())]
    pub(crate) model: PathBuf,
    #[cfg(feature = "store")]
    #[command(flatten)]
    store: StoreArguments,
    /// A variant of the artifact, or auto: int8 if the CPU runs it exactly and fast, else fp32; on other devices fp16 or fp32
    #[arg(long, default_value = "auto")]
    variant: String,
    /// Number of threads (default: the number of CPUs that affinity and the cgroup allow the process)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: Option<u16>,
    /// Limit on the size of a text in bytes of UTF-8
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_TEXT_LIMIT)]
    pub(crate) text_limit: usize,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// Parses the path of a directory. It accepts an empty path, which the check `path_kind` refuses: clap's own parser would
/// report wrong usage instead.
pub(crate) fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl ModelArguments {
    /// Checks an artifact and makes a handle of its model; its graphs are loaded by the first call.
    ///
    /// # Errors
    /// The errors of opening the artifact, or `variant` for an artifact of another task.
    pub(crate) fn open<H: FromSource>(&self) -> Result<H, BridgeError> {
        let model = Model::new(&self.model).variant(&self.variant);
        H::from_source(Source::Artifact(Slot::open(model, &Opening::new(&self.bridge_options(), self.options()?)?)?))
    }

    /// Checks an artifact of any task and opens its model.
    pub(crate) fn open_any(&self) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        let locator = Locator::new(&self.bridge_options())?;
        let model = locator.locate(&Model::new(&self.model).variant(&self.variant).device("cpu"))?;
        let (artifact, variant) = Artifact::open_signed(&model, &locator.trust)?;
        artifact.model(&variant, &self.options()?)
    }

    #[cfg(feature = "store")]
    fn bridge_options(&self) -> BridgeOptions {
        self.store.add_to(BridgeOptions::default())
    }

    #[cfg(not(feature = "store"))]
    fn bridge_options(&self) -> BridgeOptions {
        BridgeOptions::default()
    }

    fn options(&self) -> Result<ModelOptions, BridgeError> {
        let bridge = BridgeOptions { threads: self.threads.map(usize::from), ..BridgeOptions::default() };
        let bridge = bridge.text_limit(self.text_limit);
        bridge.check()?;
        let mut options = bridge.model_options();
        options.engine.library.clone_from(&self.library);
        Ok(options)
    }
}
