//! Finds and loads the library of ONNX Runtime and creates the environment of the process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use crate::BridgeError;

/// The environment variable with the path of ONNX Runtime's shared library, which an option can override.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// ONNX Runtime's environment of this process. It is never dropped, because `ort` can create only one per process.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// ONNX Runtime's environment of this process. The first successful call loads the library; `library` has no effect on
/// later calls.
///
/// # Errors
/// `dependency` if the library is missing or cannot be loaded. A later call may try again.
pub(crate) fn environment(library: Option<&Path>) -> Result<Environment, BridgeError> {
    let mut shared = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = shared.as_ref() {
        return Ok(environment.clone());
    }
    let environment = create(library).map_err(|problem| BridgeError::Dependency { problem })?;
    *shared = Some(environment.clone());
    Ok(environment)
}

#[cfg(feature = "load-dynamic")]
fn create(library: Option<&Path>) -> Result<Environment, String> {
    let path = match library.map(Path::to_path_buf).or_else(from_variable) {
        Some(path) => path,
        None => {
            return Err(format!("ONNX Runtime was not found: {LIBRARY_VARIABLE} is not set and no library was passed"));
        }
    };
    if !path.is_file() {
        return Err(format!("ONNX Runtime was not found: {} is not a file", path.display()));
    }
    // For a relative path, `ort` would look in the folder of the executable first.
    let path = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let builder = ort::init_from(&path).map_err(|error| format!("ONNX Runtime was not loaded: {error}"))?;
    finish(builder)
}

#[cfg(feature = "load-dynamic")]
fn from_variable() -> Option<PathBuf> {
    std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(not(feature = "load-dynamic"))]
fn create(library: Option<&Path>) -> Result<Environment, String> {
    let problem = || "a library was passed, but ONNX Runtime is linked into this build".to_owned();
    library.map_or_else(|| finish(ort::init()), |_| Err(problem()))
}

fn finish(builder: ort::environment::EnvironmentBuilder) -> Result<Environment, String> {
    let environment = builder.with_name("onnx-ml-bridge").with_telemetry(false).build();
    environment.map_err(|error| format!("ONNX Runtime did not create an environment: {error}"))
}

/// Checks that the loaded library is not older than the graph requires. A build without a version is accepted.
///
/// # Errors
/// `dependency` if the library is too old.
pub(crate) fn check_version(minimum: &str) -> Result<(), BridgeError> {
    match (version_in(ort::info()), major_minor(minimum)) {
        (Some(loaded), Some(required)) if loaded < required => Err(BridgeError::Dependency {
            problem: format!("ONNX Runtime {}.{} is loaded, the graph needs {minimum} or newer", loaded.0, loaded.1),
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
