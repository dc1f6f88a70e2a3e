//! The two graphs of a network: what depends on a token's type alone, and what depends on its neighbours.

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::kept::TypeOutputs;
use super::parts::Lineup;
use super::types::{NewTypes, TypeCache};
use crate::BridgeError;
use crate::runtime::outputs::{failed, shaped_output};
use crate::runtime::session::{Lease, Pool};

/// The sessions of a network's graphs.
pub(crate) struct Network {
    types: Pool,
    tokens: Pool,
}

impl Network {
    /// From the pool of the graph of the types and that of the tokens.
    pub(crate) fn new(types: Pool, tokens: Pool) -> Self {
        Self { types, tokens }
    }

    /// Runs at the same time at most.
    pub(super) fn limit(&self) -> usize {
        self.tokens.limit()
    }

    /// A session of each graph for this caller alone; waits where all are lent.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` where ONNX Runtime refuses a graph.
    pub(super) fn lease(&self) -> Result<NetworkLease<'_>, BridgeError> {
        // Always in this order: whoever has the first waits only for callers that have both.
        Ok(NetworkLease { types: self.types.lease()?, tokens: self.tokens.lease()? })
    }

    /// Drops the sessions that nobody uses.
    pub(super) fn clear(&self) {
        self.types.clear();
        self.tokens.clear();
    }
}

/// A lent session of each graph.
pub(super) struct NetworkLease<'a> {
    types: Lease<'a>,
    tokens: Lease<'a>,
}

/// Which inputs the graphs have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    pub(super) vectors: bool,
    /// Whether the graph of the tokens is told which are spaces and which are the last of their sentence.
    pub(super) marks: bool,
}

impl NetworkLease<'_> {
    /// Runs the graph of the types for those that the cache does not know, then that of the tokens.
    ///
    /// # Errors
    /// `inference`, without an index: any document may be to blame.
    pub(super) fn run(
        &mut self,
        lineup: Lineup,
        feed: Feed,
        cache: &mut TypeCache,
    ) -> Result<SessionOutputs<'_>, BridgeError> {
        let Lineup { types, is_space, is_last, new, .. } = lineup;
        if new.count() > 0 {
            embed(self.types.session()?, new, feed, cache)?;
        }
        let rows = cache.token_inputs(&types);
        let mut inputs = vec![tensor("embedded", rows.embedded)?, tensor("preactivation", rows.preactivation)?];
        if feed.marks {
            inputs.extend([marks("is_space", is_space)?, marks("is_last", is_last)?]);
        }
        self.tokens.session()?.run(inputs).map_err(failed)
    }
}

/// Runs the graph of the types; the cache keeps what it gives.
fn embed(session: &mut Session, new: NewTypes, feed: Feed, cache: &mut TypeCache) -> Result<(), BridgeError> {
    let mut inputs = vec![tensor("rows", (new.count(), new.rows))?];
    if feed.vectors {
        let count = new.vectors.len();
        inputs.push(("vectors", Tensor::from_array(([count], new.vectors)).map_err(failed)?.into()));
    }
    let outputs = session.run(inputs).map_err(failed)?;
    let (embedded, contributions) = (shaped_output(&outputs, "embedded")?, shaped_output(&outputs, "contributions")?);
    cache.keep(&new.types, TypeOutputs { embedded, contributions })
}

type Input = (&'static str, SessionInputValue<'static>);

/// An input of rows of equal length.
fn tensor<T>(name: &'static str, (rows, values): (usize, Vec<T>)) -> Result<Input, BridgeError>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let width = values.len() / rows.max(1);
    Ok((name, Tensor::from_array(([rows, width], values)).map_err(failed)?.into()))
}

fn marks(name: &'static str, values: Vec<bool>) -> Result<Input, BridgeError> {
    Ok((name, Tensor::from_array(([values.len()], values)).map_err(failed)?.into()))
}
