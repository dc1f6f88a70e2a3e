"""Answer calls with GLiNER's own library, in the environment that `make agreement-gliner` creates.

    .venv-gliner/bin/python tests/support/gliner_library.py MODEL LIMIT < calls.jsonl > answers.jsonl

LIMIT is the artifact's maximum number of tokens. It is set for a tokenizer without a limit, which cuts no word.

A call is {"text", "labels", "threshold", "nested", "multi_label"}, its answer a list of [start, end, label, score].
Each call is a batch of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings

import torch
from gliner import GLiNER


def main(folder: str, limit: int) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    # `strict` refuses weights that the library would initialize with random numbers otherwise
    model = GLiNER.from_pretrained(folder, local_files_only=True, strict=True)
    tokenizer = model.data_processor.transformer_tokenizer
    tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
    for line in sys.stdin:
        call = json.loads(line)
        (found,) = model.inference(
            [call["text"]],
            call["labels"],
            flat_ner=not call["nested"],
            threshold=call["threshold"],
            multi_label=call["multi_label"],
            batch_size=1,
        )
        answer = [[each["start"], each["end"], each["label"], each["score"]] for each in found]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
