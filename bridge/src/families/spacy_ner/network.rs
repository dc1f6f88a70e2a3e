//! The two graphs of a network: the graph of types computes what depends only on a token's type (its text, norm and
//! trailing space), the graph of tokens what depends on a token's context.

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::batch::RunTokens;
use super::output_cache::TypeOutputs;
use super::word_types::{NewTypes, TypeCache};
use crate::BridgeError;
use crate::runtime::outputs::{failed, shaped_output};
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;

/// Creates the sessions of a network's two graphs.
pub(crate) struct Network {
    types: SessionFactory,
    tokens: SessionFactory,
}

impl Network {
    /// A network with its graph of types and its graph of tokens.
    pub(crate) fn new(types: SessionFactory, tokens: SessionFactory) -> Self {
        Self { types, tokens }
    }

    /// Creates a session of each graph.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` if ONNX Runtime refuses a graph.
    pub(super) fn create(&self) -> Result<NetworkSessions, BridgeError> {
        Ok(NetworkSessions { types: self.types.create()?, tokens: self.tokens.create()? })
    }
}

/// One session of each of a network's two graphs.
pub(super) struct NetworkSessions {
    types: Session,
    tokens: Session,
}

/// Which of the optional inputs the graphs of a network have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs {
    /// Whether the graph of types has the input `vectors`.
    pub(super) vectors: bool,
    /// Whether the graph of tokens has the inputs `is_space` and `is_last`.
    pub(super) flags: bool,
}

impl NetworkSessions {
    /// Runs the network on the tokens of a run: the graph of types for the types whose outputs are not in the cache,
    /// then the graph of tokens, whose outputs are passed to `read`.
    ///
    /// # Errors
    /// `inference`, without an index, because any document may be the cause; the reason why the call was stopped; or the
    /// error of `read`.
    pub(super) fn run<T>(
        &mut self,
        scope: &RunScope<'_>,
        tokens: RunTokens,
        optional: Inputs,
        cache: &mut TypeCache,
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let RunTokens { types, is_space, is_last, new, .. } = tokens;
        if new.count() > 0 {
            self.embed(scope, new, optional, cache)?;
        }
        let rows = cache.token_inputs(&types);
        let mut inputs = vec![tensor("embedded", rows.embedded)?, tensor("preactivation", rows.preactivation)?];
        if optional.flags {
            inputs.extend([flags("is_space", is_space)?, flags("is_last", is_last)?]);
        }
        let session = &mut self.tokens;
        scope.run(types.len(), |options| read(&session.run_with_options(inputs, options).map_err(failed)?))
    }

    /// Runs the graph of types for the types of a run whose outputs are not in the cache, and adds its outputs to the
    /// cache.
    fn embed(
        &mut self,
        scope: &RunScope<'_>,
        new: NewTypes,
        optional: Inputs,
        cache: &mut TypeCache,
    ) -> Result<(), BridgeError> {
        let types = new.count();
        let mut inputs = vec![tensor("rows", (types, new.rows))?];
        if optional.vectors {
            let count = new.vectors.len();
            inputs.push(("vectors", Tensor::from_array(([count], new.vectors)).map_err(failed)?.into()));
        }
        let session = &mut self.types;
        scope.run(types, |options| {
            let outputs = session.run_with_options(inputs, options).map_err(failed)?;
            let embedded = shaped_output(&outputs, "embedded")?;
            let contributions = shaped_output(&outputs, "contributions")?;
            cache.keep(&new.types, TypeOutputs { embedded, contributions })
        })
    }
}

type Input = (&'static str, SessionInputValue<'static>);

/// A named input of a graph: a tensor with the shape `[rows, values / rows]`.
fn tensor<T>(name: &'static str, (rows, values): (usize, Vec<T>)) -> Result<Input, BridgeError>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let width = values.len() / rows.max(1);
    Ok((name, Tensor::from_array(([rows, width], values)).map_err(failed)?.into()))
}

fn flags(name: &'static str, values: Vec<bool>) -> Result<Input, BridgeError> {
    Ok((name, Tensor::from_array(([values.len()], values)).map_err(failed)?.into()))
}
