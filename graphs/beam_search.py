"""The composition of the graph of a summarizer."""

import importlib

compose_graph = importlib.import_module("onnx_ml_bridge.export.summarization.compose").compose_graph
