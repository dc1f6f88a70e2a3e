//! ONNX Runtime itself: finding the library, and the one environment of the process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use crate::BridgeError;

/// The variable that names the shared library where no option does.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// ONNX Runtime allows one environment per process, and `ort` one per process for good; so it is kept here for ever.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The process's environment. The first call decides which library is loaded; later ones share it.
///
/// # Errors
/// `dependency` where there is no library, or not one that can be loaded; a later call may try again.
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
            return Err(format!("ONNX Runtime was not found: {LIBRARY_VARIABLE} is not set and no library was given"));
        }
    };
    if !path.is_file() {
        return Err(format!("ONNX Runtime was not found: {} is no file", path.display()));
    }
    // ort would look for a relative path beside the executable first.
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
    let linked = || format!("a library was given, but this build has ONNX Runtime linked into it");
    library.map_or_else(|| finish(ort::init()), |_| Err(linked()))
}

fn finish(builder: ort::environment::EnvironmentBuilder) -> Result<Environment, String> {
    let environment = builder.with_name("onnx-ml-bridge").with_telemetry(false).build();
    environment.map_err(|error| format!("ONNX Runtime gave no environment: {error}"))
}

/// Refuses a library older than a graph needs. A build that does not tell its version is let through.
pub(crate) fn check_version(minimum: &str) -> Result<(), BridgeError> {
    let wanted = major_minor(minimum);
    match version_in(ort::info()) {
        Some(found) if wanted.is_some_and(|wanted| found < wanted) => Err(BridgeError::Dependency {
            problem: format!("ONNX Runtime {}.{} is loaded, the graph needs {minimum} or newer", found.0, found.1),
        }),
        _ => Ok(()),
    }
}

/// The version in ONNX Runtime's description of its build, which names the branch it was released from.
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
