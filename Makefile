# Two commands on a fresh machine with Python, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Nothing is compiled beforehand, of ten thousand files of TensorFlow's few are ever imported; what
# is imported is kept, also where the environment says otherwise, or each process compiles it anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test coverage test-all check torture bench bench-heads bench-exports bench-tuning docs dist clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/made:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; name another with PYTHON=") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml pipeline/_version.py
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/made pyproject.toml pipeline/_version.py
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	touch $@

# What computes fastest here: CUDA with a GPU, else OpenVINO where there is one for this machine.
EXTRA := $(if $(shell command -v nvidia-smi),gpu,openvino)
$(VENV)/installed-fast: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$(EXTRA)]' || echo "no $(EXTRA) for this machine: TensorFlow computes, more slowly"
	touch $@

demo: $(VENV)/installed-fast ## install and run the main job on handwritten digits
	$(BIN)/pipeline demo

check: $(VENV)/installed-test ## lint, imports, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: check ## install, lint and run the tests (some minutes)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

coverage: check ## the tests again, with the share of branches that they take (half an hour)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'not slow' --cov --cov-report=term

test-all: check ## all tests, also those that need gigabytes and an hour
	$(BIN)/pytest

torture: $(VENV)/installed-test ## kills, power cuts, failing calls, flipped bits and mutated files: a table of what survives (hours)
	$(BIN)/python -m tests.torture

bench: $(VENV)/installed-test ## measure stage one against the articles' loop (half an hour)
	$(BIN)/python -m benchmarks.bench

bench-heads: $(VENV)/installed-test ## measure stage two against scikit-learn (half an hour)
	$(BIN)/python -m benchmarks.heads

PHOTOS ?= ../shared/data/clothing
bench-exports: $(VENV)/installed-test ## every export format against its head (half an hour)
	$(BIN)/python -m benchmarks.exports $(PHOTOS) $(if $(VGG16),--vgg16 $(VGG16))

bench-tuning: $(VENV)/installed-test ## fine-tuning against the usual loop in Keras (ten minutes)
	$(BIN)/python -m benchmarks.tuning $(PHOTOS) $(if $(VGG16),--vgg16 $(VGG16))

$(VENV)/installed-docs: $(VENV)/made pyproject.toml pipeline/_version.py
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[docs]'
	touch $@

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/installed-docs ## build the site into build/site; a link that leads nowhere is an error
	$(BIN)/mkdocs build --strict

$(VENV)/installed-dist: $(VENV)/made
	$(BIN)/python -m pip install --quiet --no-compile 'build>=1.2,<2'
	touch $@

# The wheel is built from the sdist; what an earlier build noted would slip into both.
dist: $(VENV)/installed-dist ## build sdist and wheel into dist, and compare them with what git has
	rm -rf dist *.egg-info
	$(BIN)/python -m build
	$(BIN)/python -m tests.dist

clean: ## remove the virtual environment and what building leaves
	rm -rf $(VENV) build dist *.egg-info
