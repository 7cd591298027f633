# Everything below needs only Python >= 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/pocket
PEER := benchmarks/.venv-peer

.PHONY: help setup demo demo-short test test-slow test-browser docs dist bench bench-model bench-full bench-gpu test-peer lint format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## .venv with the pinned set, `rlhf` and `accelerate` in .venv/bin

# The stamp is written last: the next make repeats an interrupted installation.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rlhf needs Python >= 3.11; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@# torch first and alone: a build that is already available is kept, whatever the others require
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## the whole pipeline on the bundled model: SFT, labels, reward model, PPO, evaluation
	$(BIN)/rlhf align --config recipes/pocket/align.yaml --output_dir $(RUN)

demo-short: setup ## the same pipeline with a few steps of each stage (minutes)
	$(BIN)/rlhf align --config recipes/pocket/align-short.yaml

test: setup ## the default tests (minutes; without the slow ones)
	@# one thread: the models are tiny, and threads that wait for each other cost more than they save
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not peer and not browser"

test-slow: setup ## the tests that train for minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

test-browser: setup ## the tests of the pages, in Chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser

docs: setup ## the documentation as a site, in site/ (warnings are errors)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: setup ## wheel and source archive in dist/, checked
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

# TRL 1.12, the last with a PPO trainer, in its own environment: ours has a newer one.
$(PEER)/.installed: benchmarks/requirements-peer.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check -r $< torch
	$(PEER)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: setup $(PEER)/.installed ## both engines on workloads A, B, C and E: benchmarks/RESULTS.md (20 to 30 minutes)
	$(BIN)/python -m benchmarks --peer $(PEER)/bin/python --workloads A B C E

bench-model: setup ## all stages on a chat model, compared with TRL: make bench-model MODEL=FOLDER [VLLM=PYTHON] (three hours, idle machine)
	$(BIN)/python -m benchmarks.groups $(MODEL) --workloads R --iterations 5
	$(BIN)/python -m benchmarks.groups $(MODEL) --workloads R-long --iterations 1 --output benchmarks/GROUPS-long.md
	$(BIN)/python -m benchmarks.stages $(MODEL)
	$(BIN)/python -m benchmarks.decoding $(MODEL) $(if $(VLLM),--vllm $(VLLM))
	$(BIN)/python -m benchmarks.rollout_engines $(MODEL) $(if $(VLLM),--vllm $(VLLM))

# TRL gives its reward model the policy's own tokens; the demo's reward model has another template.
runs/pocket/reward_model_of_chat/manifest.json: runs/pocket/sft/manifest.json
	$(BIN)/rlhf reward --config recipes/pocket/reward_model.yaml \
		--model_name_or_path runs/pocket/sft --chat_template auto \
		--train_data runs/pocket/labels/rankings_train.jsonl --output_dir $(@D)

runs/pocket/sft/manifest.json:
	@echo "bench-full needs the models of the demo; run make demo first" >&2; exit 2

bench-full: setup $(PEER)/.installed runs/pocket/reward_model_of_chat/manifest.json ## the learning curves (D) too; needs make demo first (an hour)
	$(BIN)/python -m benchmarks --peer $(PEER)/bin/python --workloads A B C D E

bench-gpu: setup ## a machine with one GPU: runs/gpu/GPU.md (ten minutes)
	$(BIN)/python -m benchmarks.gpu

test-peer: setup $(PEER)/.installed ## the formulas against TRL 1.12's
	RLHF_PEER_PYTHON=$(CURDIR)/$(PEER)/bin/python $(BIN)/python -m pytest -m peer

lint: setup ## ruff, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## delete the environments; runs/ stays, since it may have human labels
	rm -rf $(VENV) $(PEER) dist
