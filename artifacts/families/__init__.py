"""The declarations of all model families; CONTRIBUTING.md explains how to add one."""

from __future__ import annotations

from .gliner import GLINER
from .rerank import RERANK
from .sentence_embedding import SENTENCE_EMBEDDING
from .spacy_ner import SPACY_NER
from .summarization import SUMMARIZATION
from .token_classification import TOKEN_CLASSIFICATION

FAMILIES = (SENTENCE_EMBEDDING, TOKEN_CLASSIFICATION, SPACY_NER, SUMMARIZATION, RERANK, GLINER)
