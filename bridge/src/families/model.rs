//! The interface between a family and the rest of the crate: a declaration, a preprocessor and models.

#[cfg(feature = "cli")]
use std::ops::Range;
#[cfg(feature = "cli")]
use std::path::Path;
use std::sync::Arc;

use super::golden_cases::Report;
use super::report::{Column, VariantReport};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Interface;
use crate::artifact::manifest::SectionCheck;
#[cfg(feature = "cli")]
use crate::jsonl::{LineInput, read_file};
use crate::runtime::options::ModelOptions;
use crate::tasks::backend::{AnyBackend, Backend};

/// What a family declares for reading its artifacts.
pub(crate) struct Declaration {
    /// The newest `task_revision` that this reader implements.
    pub(crate) revision: u64,
    /// The interfaces of the graphs, by role.
    pub(crate) roles: &'static [(&'static str, Interface)],
    /// Parses the family's sections of a manifest and checks the rules between their fields.
    ///
    /// # Errors
    /// `schema`, if a section is missing or cannot be parsed.
    pub(crate) check_sections: fn(&Manifest) -> Result<SectionCheck, BridgeError>,
    /// Runs the check `tokenizer` on an artifact that passed the earlier checks, and returns the preprocessor.
    pub(crate) load: fn(&ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError>,
    /// The columns of the table that `verify` prints.
    pub(crate) columns: &'static [Column],
}

impl Declaration {
    /// The interface of the graphs with a role; `None` if the family has no such role.
    pub(crate) fn interface(&self, role: &str) -> Option<&'static Interface> {
        self.roles.iter().find(|(name, _)| *name == role).map(|(_, interface)| interface)
    }
}

/// Converts inputs to the tensors of a graph with a tokenizer, or with rules and tables. The variants of an artifact share
/// it.
pub(crate) trait Preprocessor: Send + Sync {
    /// Opens one variant. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant`, if the artifact has no such variant.
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError>;
}

/// One variant of an open model, of any family.
pub(crate) trait FamilyModel: Backend {
    /// The manifest of the model's artifact.
    fn manifest(&self) -> &Manifest;

    /// The variant's name.
    fn variant(&self) -> &str;

    /// The model behind the handles of its task.
    fn into_backend(self: Arc<Self>) -> AnyBackend;

    /// Loads the graphs, replays golden cases one by one, given the bytes of their file, and compares the answers with
    /// the variant's gate. `report` is called when the graphs are loaded and after every case.
    ///
    /// # Errors
    /// `golden` if the gate is not met or the cases cannot be read, or an error of the model.
    fn replay(self: Arc<Self>, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError>;

    /// Reads the inputs of a file of JSON lines for the command `bench`. `limit` is the maximum size of a text in bytes of
    /// UTF-8.
    ///
    /// # Errors
    /// `io`, or the error of the first line that is not an input.
    #[cfg(feature = "cli")]
    fn workload(self: Arc<Self>, file: &Path, limit: usize) -> Result<Box<dyn Workload>, BridgeError>;
}

/// A workload for the command `bench`: inputs, and the model that answers them with its default options.
#[cfg(feature = "cli")]
pub(crate) trait Workload {
    /// The number of inputs of the workload.
    fn len(&self) -> usize;

    /// The number of words of all inputs. Words are separated by whitespace.
    fn words(&self) -> usize;

    /// Answers some of the inputs in one call and drops the answers.
    ///
    /// # Errors
    /// The error of the first input that has one.
    fn run(&self, inputs: Range<usize>) -> Result<(), BridgeError>;
}

/// A workload made of typed inputs and the call that answers them.
#[cfg(feature = "cli")]
struct TypedWorkload<I, F> {
    inputs: Vec<I>,
    answer: F,
}

/// Reads the inputs of a file of JSON lines, which `answer` answers; a text may have `limit` bytes of UTF-8.
///
/// # Errors
/// `io`, or the error of the first line that is not an input.
#[cfg(feature = "cli")]
pub(crate) fn read_workload<I, F>(file: &Path, limit: usize, answer: F) -> Result<Box<dyn Workload>, BridgeError>
where
    I: LineInput + 'static,
    F: Fn(&[I]) -> Result<(), BridgeError> + 'static,
{
    Ok(Box::new(TypedWorkload { inputs: read_file(file, limit)?, answer }))
}

#[cfg(feature = "cli")]
impl<I: LineInput, F: Fn(&[I]) -> Result<(), BridgeError>> Workload for TypedWorkload<I, F> {
    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn words(&self) -> usize {
        self.inputs.iter().flat_map(LineInput::texts).map(|text| text.split_whitespace().count()).sum()
    }

    fn run(&self, inputs: Range<usize>) -> Result<(), BridgeError> {
        (self.answer)(&self.inputs[inputs])
    }
}
