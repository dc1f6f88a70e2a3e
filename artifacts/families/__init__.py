"""The families of models. A new one is a declaration here and a module of its name in every stage."""

from __future__ import annotations

from .sentence_embedding import SENTENCE_EMBEDDING
from .spacy_ner import SPACY_NER
from .summarization import SUMMARIZATION
from .token_classification import TOKEN_CLASSIFICATION

FAMILIES = (SENTENCE_EMBEDDING, TOKEN_CLASSIFICATION, SPACY_NER, SUMMARIZATION)
