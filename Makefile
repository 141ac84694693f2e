# make demo     solve the sample shot; pictures and files in out/demo
# make test     the tests            make check    ruff and pyright       make format   ruff, in place
# make test-dcc the tests that Blender itself reads for us (its module bpy, 400 MB, in .venv-bpy)
# make system   Debian packages that a bare machine lacks, and those that tests of windows and pages need

PYTHON ?= python3
BIN := .venv/bin
SHOT := data/sample_shot
PACKAGES := libgl1 libegl1 libglib2.0-0 libusb-1.0-0
# without them tests are skipped; left out where they do not exist, as on Ubuntu
TEST_PACKAGES := xvfb xdotool chromium chromium-driver
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test test-dcc check format system

demo: .venv/.core
	@$(BIN)/python -c "import cv2" 2>/dev/null || { echo "OpenCV lacks system libraries: make system"; $(MAKE) system TEST_PACKAGES=; }
	$(BIN)/sfm reconstruct $(SHOT)/sample.mp4 --depth $(SHOT)/depth --focal-px 622.65 -o out/demo --force
	@echo
	@echo "look at    out/demo/report.html  out/demo/overlay_depth_0025.png  out/demo/top_view.png"
	@echo "in 3D      $(BIN)/pip install -e '.[view]'  then  $(BIN)/sfm view out/demo"

test: .venv/.all
	$(BIN)/python -m pytest -n auto --dist loadfile

test-dcc: .venv/.all .venv-bpy/.done
	SFM_BPY=$(CURDIR)/.venv-bpy/bin/python $(BIN)/python -m pytest tests/test_film_formats.py -m slow

check: .venv/.all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# the stamps: install once, and again when pyproject.toml changes
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || { echo "Python cannot make environments: make system"; $(MAKE) system; }
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.all: pyproject.toml constraints-cpu.txt | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints-cpu.txt -e ".[all,dev]"
	@touch $@ .venv/.core

.venv-bpy/.done:
	$(PYTHON) -m venv .venv-bpy
	.venv-bpy/bin/pip install --quiet --disable-pip-version-check bpy "numpy<2"
	@touch $@

system:
	@command -v apt-get >/dev/null || { echo "no apt-get here: install by hand what gives libGL, libEGL, glib and libusb" >&2; exit 1; }
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends $(PACKAGES) \
		$$(for package in $(TEST_PACKAGES); do apt-cache show $$package >/dev/null 2>&1 && echo $$package; done) \
		$$($(PYTHON) -c "import ensurepip" 2>/dev/null || echo python3-venv)
