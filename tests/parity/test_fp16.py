"""The fp16 variant of a real model against its fp32 variant, on the CPU."""

import numpy as np
from onnx_ml_bridge import Embedder, Model
from onnx_ml_bridge.graphs.files import save_graph
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.quantize.fp16 import convert
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.session import create_session


def test_vectors_in_float16_have_a_cosine_of_0_999_or_more(minilm_artifact, tmp_path):
    embedder = Embedder.open(Model(minilm_artifact, variant="fp32"))
    save_graph(convert(minilm_artifact / "onnx/model.onnx"), tmp_path, "onnx/model_fp16.onnx")
    session = create_session(tmp_path / "onnx/model_fp16.onnx", usable_cpus())
    tokenizer, cosines, lengths = embedder.backend.model.tokenizer, [], []
    texts = parity_texts()[::8]
    for expected, tokens in zip(embedder.embed(texts).vectors, tokenizer.encode(texts), strict=True):
        ids, mask = tokenizer.pad([tokens])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        vector = session.run(["sentence_embedding"], feeds)[0][0]
        cosines.append(float(vector @ expected))
        lengths.append(float(np.linalg.norm(vector)))
    print(f"{len(texts)} texts, cosine min {min(cosines):.6f}, mean {np.mean(cosines):.6f}")
    assert len(texts) > 50 and min(cosines) >= 0.999
    assert max(abs(length - 1) for length in lengths) < 1e-5
    size = sum(path.stat().st_size for path in (tmp_path / "onnx").iterdir())
    assert size < 0.55 * (minilm_artifact / "onnx/model.onnx_data").stat().st_size
