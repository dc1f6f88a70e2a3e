//! The two graphs of a network: the graph of types computes what depends only on a token's type (its text, norm and
//! trailing space), the graph of tokens what depends on a token's context.

use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::batch::RunTokens;
use super::output_cache::TypeOutputs;
use super::word_types::{NewTypes, TypeCache};
use crate::BridgeError;
use crate::runtime::cancellation::Stop;
use crate::runtime::outputs::{failed, shaped_output};
use crate::runtime::session::{Lease, Pool};

/// The pools of sessions of a network's two graphs.
pub(crate) struct Network {
    types: Pool,
    tokens: Pool,
}

impl Network {
    /// A network with the session pools of its graph of types and of its graph of tokens.
    pub(crate) fn new(types: Pool, tokens: Pool) -> Self {
        Self { types, tokens }
    }

    /// The maximum number of concurrent runs of the network.
    pub(super) fn limit(&self) -> usize {
        self.tokens.limit()
    }

    /// Creates the first session of each graph, unless it has one.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` if ONNX Runtime refuses a graph.
    pub(super) fn warm_up(&self) -> Result<(), BridgeError> {
        self.types.warm_up()?;
        self.tokens.warm_up()
    }

    /// Leases a session of each graph to a call. If all sessions of a graph are leased, it waits, or until the call is
    /// stopped.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` if ONNX Runtime refuses a graph, or the reason why the call was
    /// stopped.
    pub(super) fn lease<'a>(&'a self, stop: &'a Stop) -> Result<NetworkLease<'a>, BridgeError> {
        // All callers lease the two sessions in this order, which prevents deadlocks between them.
        Ok(NetworkLease { types: self.types.lease(stop)?, tokens: self.tokens.lease(stop)?, stop })
    }

    /// Drops the sessions of both graphs that no call uses at the moment.
    pub(super) fn clear(&self) {
        self.types.clear();
        self.tokens.clear();
    }
}

/// One leased session of each of a network's two graphs, and the state of the call that leased them.
pub(super) struct NetworkLease<'a> {
    types: Lease<'a>,
    tokens: Lease<'a>,
    stop: &'a Stop,
}

/// Which of the optional inputs the graphs of a network have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs {
    /// Whether the graph of types has the input `vectors`.
    pub(super) vectors: bool,
    /// Whether the graph of tokens has the inputs `is_space` and `is_last`.
    pub(super) flags: bool,
}

impl NetworkLease<'_> {
    /// Runs the network on the tokens of a run: the graph of types for the types whose outputs are not in the cache,
    /// then the graph of tokens, whose outputs are passed to `read`.
    ///
    /// # Errors
    /// `inference`, without an index, because any document may be the cause; the reason why the call was stopped; or the
    /// error of `read`.
    pub(super) fn run<T>(
        &mut self,
        tokens: RunTokens,
        optional: Inputs,
        cache: &mut TypeCache,
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let RunTokens { types, is_space, is_last, new, .. } = tokens;
        if new.count() > 0 {
            self.embed(new, optional, cache)?;
        }
        let rows = cache.token_inputs(&types);
        let mut inputs = vec![tensor("embedded", rows.embedded)?, tensor("preactivation", rows.preactivation)?];
        if optional.flags {
            inputs.extend([flags("is_space", is_space)?, flags("is_last", is_last)?]);
        }
        self.tokens.run(self.stop, |session, options| read(&session.run_with_options(inputs, options).map_err(failed)?))
    }

    /// Runs the graph of types for the types of a run whose outputs are not in the cache, and adds its outputs to the
    /// cache.
    fn embed(&mut self, new: NewTypes, optional: Inputs, cache: &mut TypeCache) -> Result<(), BridgeError> {
        let mut inputs = vec![tensor("rows", (new.count(), new.rows))?];
        if optional.vectors {
            let count = new.vectors.len();
            inputs.push(("vectors", Tensor::from_array(([count], new.vectors)).map_err(failed)?.into()));
        }
        self.types.run(self.stop, |session, options| {
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
