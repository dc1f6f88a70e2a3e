//! Finds ONNX Runtime's shared library and loads it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ort::LoadDynamicError;
use ort::environment::EnvironmentBuilder;

use super::environment::LIBRARY_VARIABLE;

/// The names of the library. On Linux, packages for development have the first one, all others only the second one.
#[cfg(target_os = "linux")]
const NAMES: &[&str] = &["libonnxruntime.so", "libonnxruntime.so.1"];
#[cfg(target_os = "windows")]
const NAMES: &[&str] = &["onnxruntime.dll"];
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
const NAMES: &[&str] = &["libonnxruntime.dylib", "libonnxruntime.so"];

/// Who chose the path of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    Executable,
    Loader,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Option => "the library option",
            Self::Variable => LIBRARY_VARIABLE,
            Self::Executable => "beside the executable",
            Self::Loader => "the system's loader",
        })
    }
}

/// A library to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// A path, or only the name of the library, which the system's loader looks for in its own directories.
    path: PathBuf,
    origin: Origin,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.origin)
    }
}

impl Candidate {
    fn new(path: impl Into<PathBuf>, origin: Origin) -> Self {
        Self { path: path.into(), origin }
    }

    /// Whether this is the library at a path.
    pub(super) fn is(&self, path: &Path) -> bool {
        let resolved = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        self.origin != Origin::Loader && resolved(&self.path) == resolved(path)
    }

    /// Whether no other library is tried if this one cannot be loaded. An application would not notice that it runs with
    /// another version than the one that was given or shipped.
    fn is_final(&self) -> bool {
        match self.origin {
            Origin::Option | Origin::Variable => true,
            Origin::Executable => self.path.exists(),
            Origin::Loader => false,
        }
    }

    fn load(&self) -> Result<EnvironmentBuilder, String> {
        if self.origin == Origin::Loader {
            return init(&self.path);
        }
        let metadata = fs::metadata(&self.path).map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("is not a file".to_owned());
        }
        // ort would look for a relative path in the folder of the executable first.
        let path = std::path::absolute(&self.path).map_err(|error| error.to_string())?;
        header_problem(&path).map_or_else(|| init(&path), Err)
    }
}

/// Loads the library at a path, or else the one in `ORT_DYLIB_PATH`, or else the one beside the executable, or else the one
/// that the system's loader finds.
///
/// # Errors
/// The paths that were tried, in order, each with the reason why it was not loaded.
pub(super) fn load(path: Option<&Path>) -> Result<(EnvironmentBuilder, Candidate), String> {
    let variable = std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty());
    let executable = std::env::current_exe().ok();
    let mut tried = Vec::new();
    for candidate in candidates(path, variable, executable.as_deref().and_then(Path::parent)) {
        match candidate.load() {
            Ok(builder) => return Ok((builder, candidate)),
            Err(reason) => tried.push(format!("{candidate}: {reason}")),
        }
        if candidate.is_final() {
            break;
        }
    }
    Err(format!("ONNX Runtime was not loaded; tried in this order: {}", tried.join("; ")))
}

fn candidates(path: Option<&Path>, variable: Option<OsString>, folder: Option<&Path>) -> Vec<Candidate> {
    if let Some(path) = path {
        return vec![Candidate::new(path, Origin::Option)];
    }
    if let Some(path) = variable {
        return vec![Candidate::new(path, Origin::Variable)];
    }
    let beside = folder.into_iter().flat_map(|folder| NAMES.iter().map(|name| folder.join(name)));
    let named = NAMES.iter().map(|name| Candidate::new(*name, Origin::Loader));
    beside.map(|path| Candidate::new(path, Origin::Executable)).chain(named).collect()
}

/// Loads a library in `ort`. It panics if the library's function for the API returns no API.
fn init(path: &Path) -> Result<EnvironmentBuilder, String> {
    let loaded = catch_unwind(|| ort::init_from(path)).map_err(|_| "has no API of ONNX Runtime".to_owned())?;
    loaded.map_err(|error| match error {
        LoadDynamicError::Dlopen { error, .. } => error.to_string(),
        LoadDynamicError::MissingApi { .. } => "is not ONNX Runtime: it has no function OrtGetApiBase".to_owned(),
        LoadDynamicError::InvalidVersionString => "its version is not UTF-8".to_owned(),
        LoadDynamicError::BadVersion { version_str, .. } => {
            format!("is ONNX Runtime {version_str}, expected 1.{} or newer", ort::MINOR_VERSION)
        }
    })
}

/// Why the file at a path cannot be loaded, according to its header. The loader's own message would be that the file does
/// not exist if it is for another architecture.
fn header_problem(path: &Path) -> Option<String> {
    if cfg!(not(target_os = "linux")) {
        return None;
    }
    let own = std::env::current_exe().ok().and_then(|executable| architecture(&executable))?;
    match architecture(path) {
        None => Some("is not a shared library".to_owned()),
        Some(other) if other != own => {
            let [class, order, machine] = other;
            let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
            Some(format!(
                "is a library for another architecture than {arch} {os} (ELF class {class}, byte order {order}, machine \
                 {machine})"
            ))
        }
        Some(_) => None,
    }
}

/// The class, the byte order and the machine in the header of an ELF file; `None` for any other file.
fn architecture(path: &Path) -> Option<[u16; 3]> {
    let mut header = [0; 20];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let machine = [header[18], header[19]];
    let machine = if header[5] == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    header.starts_with(b"\x7fELF").then_some([header[4].into(), header[5].into(), machine])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: Option<&str>, variable: Option<&str>, folder: Option<&str>) -> Vec<String> {
        let found = candidates(path.map(Path::new), variable.map(OsString::from), folder.map(Path::new));
        found.iter().map(Candidate::to_string).collect()
    }

    #[test]
    fn a_given_path_is_the_only_candidate() {
        assert_eq!(shown(Some("/a"), Some("/b"), Some("/c")), ["/a (the library option)"]);
        assert_eq!(shown(None, Some("/b"), Some("/c")), ["/b (ORT_DYLIB_PATH)"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn without_a_path_the_library_is_looked_for_beside_the_executable_and_by_name() {
        let loader = ["libonnxruntime.so (the system's loader)", "libonnxruntime.so.1 (the system's loader)"];
        let beside = ["/c/libonnxruntime.so (beside the executable)", "/c/libonnxruntime.so.1 (beside the executable)"];
        assert_eq!(shown(None, None, Some("/c")), [beside, loader].concat());
        assert_eq!(shown(None, None, None), loader);
    }

    #[test]
    fn a_library_is_the_same_by_its_file_and_not_by_its_path() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, b"").expect("a file");
        fs::write(&other, b"").expect("a file");
        let candidate = Candidate::new(&file, Origin::Option);
        assert!(candidate.is(&folder.path().join(".").join("a")));
        assert!(!candidate.is(&other) && !candidate.is(Path::new("a")));
        assert!(!Candidate::new("a", Origin::Loader).is(Path::new("a")));
    }
}
