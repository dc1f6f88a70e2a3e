"""The number of elements of a pipeline's vectors: `truncate_dim`, and the number that its modules declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sentence_transformers.base.modules.normalize import Normalize
from torch import nn

from ...artifacts.errors import BuildError

if TYPE_CHECKING:
    import onnx_ir as ir
    from sentence_transformers import SentenceTransformer


def truncation(pipeline: SentenceTransformer) -> int | None:
    """Return the number of first elements that the pipeline's vectors are cut to; None if nothing is cut.

    sentence-transformers cuts after the last module, so vectors that this module normalizes lose the length 1.

    :raises BuildError: with the code `source` for a `truncate_dim` that is no number of elements.
    """
    limit = pipeline.truncate_dim
    if limit is None:
        return None
    if type(limit) is not int or limit < 1:
        what = "truncate_dim in config_sentence_transformers.json"
        raise BuildError("source", what, expected="an integer from 1", actual=repr(limit))
    with pipeline.truncate_embeddings(None):
        whole = pipeline.get_embedding_dimension()
    return limit if whole is None or limit < whole else None


def ends_normalized(heads: Sequence[nn.Module], cut: int | None) -> bool:
    """Return whether vectors have the length 1: the last module normalizes them, and they are not cut after it."""
    return bool(heads) and isinstance(heads[-1], Normalize) and cut is None


def checked_dimension(pipeline: SentenceTransformer, graph: ir.Model) -> int:
    """Return the number of elements that the pipeline declares for its vectors, which must be that of the traced graph.

    :raises BuildError: with the code `unsupported_model`.
    """
    shape = next(output.shape for output in graph.graph.outputs if output.name == "sentence_embedding")
    declared, traced = pipeline.get_embedding_dimension(), None if shape is None else shape[-1]
    if declared is None or traced != declared:
        raise BuildError(
            "unsupported_model",
            "the pipeline declares another number of elements than its vectors have",
            expected=f"{traced}, those of the traced vectors",
            actual=declared,
            hint="Correct the dimension in the config.json of its last module with one, such as 1_Pooling.",
        )
    return declared
