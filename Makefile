# Two commands: `make run` (device packages only, no torch) and `make test` (everything).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
OUT ?= out
# The first Python from 3.11 to 3.14 that runs; override with `make run PYTHON=python3.12`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEVICE := $(VENV)/.installed-device
TRAIN := $(VENV)/.installed-test
WORKERS ?= 2

# What tests use of the system, on Debian: the simulator's EGL; a browser for the page and an RTSP
# server for cameras. Where it cannot be installed, the tests that need it are skipped and say so.
EGL := libegl1 libgl1-mesa-dri
LIVE := chromium python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-rtsp \
	$(addprefix gstreamer1.0-plugins-,base good bad ugly)
APT = { test "$$(id -u)" = 0 && command -v apt-get && apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends $(1); } > /dev/null \
	|| echo "note: some tests will be skipped, unless you: apt-get install $(1)"

.PHONY: run test test-llama arm64 check lint bench clean

run: $(DEVICE)
	@$(BIN)/edgetwin run examples/affordance.mp4 -q "What could I cut paper with?" -o $(OUT)/affordance
	@echo
	@$(BIN)/edgetwin run examples/spatial.mp4 -q "What is left of the blue glass?" -o $(OUT)/spatial
	@echo
	@$(BIN)/edgetwin run examples/temporal.mp4 -q "Which object came in during the video?" -o $(OUT)/temporal
	@echo
	@echo "Now open $(OUT)/affordance/overlay.mp4, $(OUT)/spatial/overlay.mp4 and $(OUT)/temporal/overlay.mp4"

test: lint
	$(BIN)/pytest -n $(WORKERS)

# llama.cpp as a backend: its binding is built from source, which takes minutes.
test-llama: $(TRAIN)
	$(PIP) --editable '.[llama]'
	$(BIN)/pytest tests/reasoner/test_llama_cpp.py tests/distill/test_reasoner_gguf.py tests/distill/test_evaluate_language.py

# The same answer on aarch64: Debian's arm64 libraries and the real wheels under qemu's emulation,
# in runs/arm64 (1.5 GB, minutes).
arm64: $(DEVICE)
	$(BIN)/python -m tests.arm64.smoke

check: test

lint: $(TRAIN)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@mkdir -p .types && ln -sfn .. .types/edgetwin
	@$(BIN)/python tests/perception/tensorrt_stubs.py .types
	MYPYPATH=.types $(BIN)/mypy -p edgetwin

# Figures of this machine, written into README. The test split is for reports: `edgetwin eval
# twinbench` scores the validation split.
bench: $(TRAIN)
	$(BIN)/edgetwin bench examples/*.mp4 --repeat 3 -o $(OUT)/bench.json --write-readme README.md
	$(BIN)/edgetwin eval twinbench --split test --all -o $(OUT)/twinbench.json --write-readme README.md
	$(BIN)/edgetwin eval reasoner --split test -o $(OUT)/reasoning.json --write-readme README.md
	$(BIN)/edgetwin distill cards --from $(OUT)/twinbench.json

clean:
	rm -rf $(OUT) build dist .types .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 to 3.14 is needed and none was found: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(DEVICE): pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

# torch first, by its exact version: where an index offers a CPU build under it, that is taken.
# trackeval and timm without what they ask for: an OpenCV that replaces the headless one, and a
# torchvision that replaces torch.
$(TRAIN): pyproject.toml | $(BIN)/python
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[export,sim,test]'
	$(PIP) --no-deps 'trackeval>=1.3' 'timm>=1.0'
	@ldconfig -p | grep -q libEGL.so.1 || $(call APT,$(EGL))
	@{ command -v chromium && command -v gst-launch-1.0; } > /dev/null || $(call APT,$(LIVE))
	@touch $(DEVICE) $@
