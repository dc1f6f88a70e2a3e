//! Creates the environment of ONNX Runtime, of which a process has only one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::environment::{Environment, EnvironmentBuilder};

#[cfg(feature = "load-dynamic")]
use super::library::{self, Candidate};
use crate::BridgeError;

/// The environment variable with the path of ONNX Runtime's shared library, which an option can override.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

static PROCESS: Mutex<Process> = Mutex::new(Process::new());

/// What this process has of ONNX Runtime. Neither is ever dropped, because `ort` loads only one library and creates only
/// one environment.
struct Process {
    #[cfg(feature = "load-dynamic")]
    library: Option<Candidate>,
    environment: Option<Environment>,
}

/// ONNX Runtime's environment of this process. The first successful call loads the library.
///
/// # Errors
/// `dependency` if no library can be loaded; a later call may try again. `config` if the process has loaded another library
/// than `library`.
pub(crate) fn environment(library: Option<&Path>) -> Result<Environment, BridgeError> {
    let mut process = Process::lock();
    process.check_library(library)?;
    if let Some(environment) = process.environment.as_ref() {
        return Ok(environment.clone());
    }
    let environment = process.create(library).map_err(|problem| BridgeError::Dependency { problem })?;
    process.environment = Some(environment.clone());
    Ok(environment)
}

/// Checks the options for the library and the environment, without loading anything.
///
/// # Errors
/// `config` if both are given, or if the process has loaded another library than `library`.
pub(crate) fn check_options(library: Option<&Path>, environment: Option<&Environment>) -> Result<(), BridgeError> {
    match library {
        Some(library) if environment.is_some() => Err(BridgeError::config(format!(
            "both an environment and the library {} are given: an environment has a library already, pass only one of them",
            library.display()
        ))),
        _ => Process::lock().check_library(library),
    }
}

impl Process {
    fn lock() -> MutexGuard<'static, Self> {
        PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "load-dynamic")]
impl Process {
    const fn new() -> Self {
        Self { library: None, environment: None }
    }

    /// The library option contradicts the library of the process, which an earlier call with other options has loaded.
    /// Nothing is missing. Hence the error is not `dependency`.
    fn check_library(&self, library: Option<&Path>) -> Result<(), BridgeError> {
        match (library, &self.library) {
            (Some(requested), Some(loaded)) if !loaded.is(requested) => Err(BridgeError::config(format!(
                "the library {} cannot be loaded: the process has already loaded {loaded}, and it can load only one",
                requested.display()
            ))),
            _ => Ok(()),
        }
    }

    fn create(&mut self, library: Option<&Path>) -> Result<Environment, String> {
        let builder = match &self.library {
            // The library was loaded, but an earlier call could not create the environment.
            Some(_) => ort::init(),
            None => {
                let (builder, loaded) = library::load(library)?;
                self.library = Some(loaded);
                builder
            }
        };
        finish(builder).map_err(|problem| format!("{}: {problem}", self.name()))
    }

    /// The loaded library, for error messages.
    fn name(&self) -> String {
        self.library.as_ref().map_or_else(|| "the given environment".to_owned(), Candidate::to_string)
    }
}

#[cfg(not(feature = "load-dynamic"))]
impl Process {
    const fn new() -> Self {
        Self { environment: None }
    }

    fn check_library(&self, library: Option<&Path>) -> Result<(), BridgeError> {
        library.map_or(Ok(()), |library| {
            let problem = "cannot be loaded: ONNX Runtime is linked into this build";
            Err(BridgeError::config(format!("the library {} {problem}", library.display())))
        })
    }

    fn create(&mut self, _: Option<&Path>) -> Result<Environment, String> {
        finish(ort::init())
    }

    fn name(&self) -> String {
        "the linked ONNX Runtime".to_owned()
    }
}

/// Creates the environment. `ort` panics if the library does not have the version of the API that `ort` needs.
fn finish(builder: EnvironmentBuilder) -> Result<Environment, String> {
    let builder = builder.with_name("onnx-ml-bridge").with_telemetry(false);
    let built = catch_unwind(AssertUnwindSafe(|| builder.build()));
    let built = built.map_err(|_| format!("does not have version {} of ONNX Runtime's API", ort::MINOR_VERSION))?;
    built.map_err(|error| format!("did not create an environment: {error}"))
}

/// Checks that the loaded library is not older than the graph requires. A build without a version is accepted.
///
/// # Errors
/// `dependency` if the library is too old.
pub(crate) fn check_version(minimum: &str) -> Result<(), BridgeError> {
    match (version_in(ort::info()), major_minor(minimum)) {
        (Some(loaded), Some(required)) if loaded < required => Err(BridgeError::Dependency {
            problem: format!(
                "{} is ONNX Runtime {}.{}, the graph needs {minimum} or newer",
                Process::lock().name(),
                loaded.0,
                loaded.1
            ),
        }),
        _ => Ok(()),
    }
}

/// The version of ONNX Runtime according to the description of its build, which has the name of the release branch.
fn version_in(build: &str) -> Option<(u32, u32)> {
    let (_, branch) = build.split_once("git-branch=rel-")?;
    major_minor(branch.split([',', ' ']).next()?)
}

fn major_minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_in("ORT Build Info: git-branch=rel-1.31.1, git-commit-id=x"), Some((1, 31)));
        assert_eq!(version_in("ORT Build Info: git-branch=main"), None);
        assert!(major_minor("1.9") < major_minor("1.18"));
    }
}
