//! The arguments of every command that names an artifact in a store.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::location::Locator;
use crate::terminal::{CLEAR, bar, print_error};
use crate::{BridgeError, BridgeOptions, Model, Store};

/// The store and the trusted keys.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct StoreArguments {
    /// Address of the store: a folder, s3://, gs://, az:// or https:// (default: the one in ONNX_ML_BRIDGE_STORE)
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// Trusted public key in PEM (ECDSA on P-256), repeatable; an artifact or a tag that none of the keys signed is refused
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

impl StoreArguments {
    /// Adds the store and the keys to options.
    pub(crate) fn add_to(&self, options: BridgeOptions) -> BridgeOptions {
        BridgeOptions { store: self.store.clone(), trusted_keys: self.key.clone(), ..options }
    }

    /// # Errors
    /// The errors of [`Locator::new`].
    pub(crate) fn locator(&self) -> Result<Locator, BridgeError> {
        Locator::new(&self.add_to(BridgeOptions::default()))
    }

    /// # Errors
    /// The errors of opening the store or a key; `config` without a store.
    pub(crate) fn open(&self) -> Result<Store, BridgeError> {
        Store::of(self.store.as_deref(), &self.locator()?.trust)
    }

    /// The model with the folder of its artifact, which is pulled if the path is a name in a store.
    ///
    /// # Errors
    /// The errors of [`Locator::locate`].
    pub(crate) fn locate(&self, path: &Path) -> Result<Model, BridgeError> {
        with_progress(|report| self.locator()?.locate_reporting(&Model::new(path), report))
    }
}

/// Runs a download. Shows its progress if standard error is a terminal.
pub(crate) fn with_progress<T>(run: impl FnOnce(&dyn Fn(u64, u64)) -> T) -> T {
    if !io::stderr().is_terminal() {
        return run(&|_, _| ());
    }
    let mebibytes = |bytes: u64| usize::try_from(bytes >> 20).unwrap_or(usize::MAX);
    let result = run(&|done, total| {
        print_error(&format!("{CLEAR}{}", bar("pulling (MiB)", mebibytes(done), mebibytes(total))));
    });
    print_error(CLEAR);
    result
}
