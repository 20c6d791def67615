# `make demo` and `make test` set everything up themselves: they need Python 3.10 or newer (with venv) and make.
#   make test PYTHON=python3.12        another interpreter for the environment
#   make test PYTEST_ARGS="-k masking" other arguments for pytest
# On Linux, pip's torch brings CUDA along. For the smaller CPU build, point pip's own variable PIP_EXTRA_INDEX_URL at
# PyTorch's CPU index before the first call.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
PYTEST_ARGS ?= -n 2 --dist loadfile
DEMO_ARGS ?=
# of `make leaderboard`: for example TEST_SETS="tatoeba=data/tatoeba-de-en europarl=data/europarl-en-de"
SOURCE ?= en
TARGET ?= de
TEST_SETS ?=
# and the corpus that shortlists are learnt from, where they are to be measured too
SHORTLIST ?=
LEADERBOARD_MODELS ?= $(patsubst %/config.json,%,$(wildcard model_cards/*$(SOURCE)-$(TARGET)*/config.json))
# of `make exports`
EXPORTED ?= $(filter-out %-autoregressive,$(notdir $(patsubst %/config.json,%,$(wildcard model_cards/*/config.json))))

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECKED := dims_hf training tests docs

# Nothing that runs here may fetch from the Hub. Two test processes of one thread each keep two cores busy.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1

.PHONY: help venv install check demo test test-all leaderboard exports doctest quality types docs package style clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       train a small teacher, distil it, compare the two (8 minutes on 2 CPU cores, 19 without bf16)"
	@echo "make test       the test suite without the slow tests (6 minutes on 2 CPU cores)"
	@echo "make test-all   all tests: trainings, kills, notebooks, documented commands too (20 minutes)"
	@echo "make leaderboard  quality and latency of the shipped models: TEST_SETS=\"NAME=FOLDER ...\""
	@echo "make exports    int8 ONNX and native folders of the shipped models, in exports/"
	@echo "make check      what CI runs: quality, types, doctest, docs, test, package"
	@echo "make quality    ruff: lint and format, checked"
	@echo "make types      mypy"
	@echo "make doctest    the examples in docstrings"
	@echo "make docs       the documentation site, in site/; a dead link is an error"
	@echo "make package    sdist and wheel, built and tried in a fresh environment"
	@echo "make style      ruff: lint and format, fixed in place"
	@echo "make venv       only the environment, in $(VENV)"
	@echo "make clean      remove the environment, caches and builds"

venv install: $(STAMP)

# The stamp makes later calls free; it is older than the files below whenever one of them changes.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else \
	    "dims_hf needs Python 3.10 or newer, $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: $(STAMP)
	$(OFFLINE) $(BIN)/python training/demo.py $(DEMO_ARGS)

test: $(STAMP)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(PYTEST_ARGS)

leaderboard: $(STAMP)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/dims-hf evaluate --leaderboard --source-lang $(SOURCE) --target-lang $(TARGET) \
	    $(foreach folder,$(LEADERBOARD_MODELS),--system $(notdir $(folder))=$(folder)) \
	    $(foreach set,$(TEST_SETS),--test-set $(set)) $(addprefix --shortlist ,$(SHORTLIST)) \
	    --output-dir model_cards/results/leaderboard-$(SOURCE)-$(TARGET)

exports: $(foreach name,$(EXPORTED),exports/$(name)-onnx-int8 exports/$(name)-native)

exports/%-onnx-int8: model_cards/%/model.safetensors | $(STAMP)
	$(OFFLINE) $(BIN)/dims-hf export model_cards/$* --to onnx --int8 --overwrite --output-dir $@

exports/%-native: model_cards/%/model.safetensors | $(STAMP)
	$(BIN)/python -c 'import sys; from dims_hf.native import is_available; sys.exit(not is_available())' \
	    || $(BIN)/python -m dims_hf.native.build
	$(OFFLINE) $(BIN)/dims-hf export model_cards/$* --to native --overwrite --output-dir $@

check: quality types doctest docs test package

doctest: $(STAMP)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider --doctest-modules dims_hf

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(OFFLINE) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -d site

package: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*
	$(OFFLINE) $(BIN)/python training/try_package.py dist

quality: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

style: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +
