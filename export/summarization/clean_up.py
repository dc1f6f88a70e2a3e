"""Expresses in tokenizer.json how transformers cleans up the spaces of decoded text."""

from __future__ import annotations

import copy
from typing import Any

from tokenizers import decoders

# What `clean_up_tokenization` of transformers replaces, in this order
_REPLACEMENTS = {
    " .": ".",
    " ?": "?",
    " !": "!",
    " ,": ",",
    " ' ": "'",
    " n't": "n't",
    " 'm": "'m",
    " 's": "'s",
    " 've": "'ve",
    " 're": "'re",
}


def with_clean_up(tokenizer: Any) -> Any:
    """Return a tokenizer whose own decoder replaces what transformers would replace in the text that it decodes.

    A tokenizer that transformers does not clean up is returned unchanged.
    """
    if not _is_cleaned_up(tokenizer):
        return tokenizer
    tokenizer = copy.deepcopy(tokenizer)
    backend = tokenizer.backend_tokenizer
    replacements = [decoders.Replace(pattern, content) for pattern, content in _REPLACEMENTS.items()]
    # The tokens are joined first, because a replaced text can extend over several tokens
    backend.decoder = decoders.Sequence([backend.decoder, decoders.Fuse(), *replacements])
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _is_cleaned_up(tokenizer: Any) -> bool:
    if type(tokenizer.backend_tokenizer.model).__name__ == "BPE":
        return bool(tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output)
    return bool(tokenizer.clean_up_tokenization_spaces)
