# Two commands do everything on a fresh machine: `make serve` and `make test`.
PYTHON ?= python3
VENV := .venv
TORCH := .venv-torch
# what runs is compiled then: to compile all that torch and its like hold adds two thirds to their installation
PIP := -m pip install --quiet --disable-pip-version-check --no-compile
# paths in place of finders, which editors and type checkers do not follow
EDITABLE := --config-settings editable_mode=compat
# it writes beside the sources, where another environment that is made at the same time would, too
ALONE := flock pyproject.toml
PYTEST := -m pytest -q
REFUSALS := tests/training/test_importers_refusals.py # with those of export, so that both parts take as long
# most tests of serving wait for programs: those that keep a core busy have the time between, and three times as long
IDLE := nice -n 19
UNHURRIED := --timeout 900
# ... and once, not anew by each of a thousand programs of the tests
unexport PYTHONDONTWRITEBYTECODE
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# Paths may hold spaces and quotes, so recipes read them from the shell: "$$PWD", and "$$DATA" of `make train DATA=...`,
# which make puts into the environment of its recipes.

# $(call environment,FOLDER): one whose Python runs and is new enough stays; else it is made (anew)
define environment
@$(1)/bin/python $(NEW_ENOUGH) 2>/dev/null || $(PYTHON) $(NEW_ENOUGH) || \
	{ echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name one with PYTHON=python3.11"; exit 1; }
$(1)/bin/python $(NEW_ENOUGH) 2>/dev/null || $(PYTHON) -m venv --clear $(1)
endef

# $(call unusable,FOLDER): a prerequisite of its stamp, which then counts as missing, where an environment's Python has gone
unusable = $(if $(wildcard $(1)),$(shell $(1)/bin/python -IS $(NEW_ENOUGH) 2>/dev/null || echo FORCE))
.SECONDEXPANSION:

.PHONY: serve train-env serve-triton bench bench-rois environments test test-server test-client test-training test-export \
	test-slow fuzz lint format train data-given plugin plugin-test tensorrt-bindings clean FORCE

serve: $(VENV)/.serve ## install and start the gateway on the embedded engine with the shipped weights; PORT=another
	$(VENV)/bin/parsing-rcnn serve $(if $(PORT),--port $(PORT))

serve-triton: $(VENV)/.serve ## a Triton server and the gateway before it (Linux x86-64)
	PYTHON="$$PWD/$(VENV)/bin/python" scripts/install_triton.sh
	exec env PYTHON="$$PWD/$(VENV)/bin/python" scripts/serve_triton.sh

bench: $(VENV)/.bench ## embedded engine, Triton and gateway side by side (half an hour); PHOTO=one whole person
	-PYTHON="$$PWD/$(VENV)/bin/python" scripts/install_triton.sh
	$(VENV)/bin/python -m benchmarks.triton $(if $(PHOTO),--photo "$$PHOTO") --out out/benchmarks/triton

bench-rois: $(TORCH)/.train ## the paper's speed table (RoIs of 14, 32, 64) beside torchvision's Mask R-CNN
	$(TORCH)/bin/python -m benchmarks.roi_sizes --out out/benchmarks/roi_sizes

environments: $(VENV)/.test $(VENV)-supervision/.ready $(VENV)-schemathesis/.ready $(VENV)-deploy/.ready $(TORCH)/.train

test: ## install and run all tests
	$(MAKE) --no-print-directory -j2 environments
	-PYTHON="$$PWD/$(VENV)/bin/python" scripts/install_triton.sh # its tests are left out where it cannot be
	@echo 'four parts side by side: each is shown when it is done, after ten to thirty minutes on two cores'
	$(MAKE) --no-print-directory --output-sync=target -j4 test-server test-client test-training test-export

test-server: $(VENV)/.test $(VENV)-schemathesis/.ready
	$(VENV)/bin/python $(PYTEST) tests/server tests/scripts

test-client: $(VENV)/.test $(VENV)-supervision/.ready $(VENV)-deploy/.ready
	$(VENV)/bin/python $(PYTEST) --ignore=tests/server --ignore=tests/scripts --ignore=tests/training --ignore=tests/export
	$(VENV)-supervision/bin/python $(PYTEST) tests/parsing_rcnn/codecs/test_json.py tests/client/video/test_pyav.py \
		tests/client/video/test_sound.py

test-training: $(TORCH)/.train
	$(IDLE) $(TORCH)/bin/python $(PYTEST) $(UNHURRIED) tests/training --ignore=$(REFUSALS) \
		tests/benchmarks/test_training_speed.py tests/benchmarks/test_ladder.py

test-export: $(TORCH)/.train
	$(IDLE) $(TORCH)/bin/python $(PYTEST) $(UNHURRIED) $(REFUSALS) tests/export tests/benchmarks/test_peer_maskrcnn.py tests/benchmarks/test_runtimes.py \
		tests/benchmarks/test_roi_sizes.py tests/benchmarks/test_design.py tests/benchmarks/test_triton_report.py

fuzz: $(VENV)/.test $(VENV)-schemathesis/.ready $(VENV)-atheris/.ready ## wrong requests in numbers, to a gateway of its own (some minutes)
	PRCNN_TEST_FUZZ_CASES=20000 PRCNN_TEST_FUZZ_EXAMPLES=100 $(VENV)/bin/python $(PYTEST) --timeout 3600 tests/server/fuzz
	PYTHONPATH=. $(VENV)-atheris/bin/python tests/server/fuzz/readers.py -max_total_time=120

test-slow: $(TORCH)/.train ## every network learns eight pictures; parity of the paper's sizes (most of an hour)
	$(TORCH)/bin/python $(PYTEST) -m slow tests/training tests/export

lint: $(VENV)/.test ## style, types, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy parsing_rcnn server client/parsing_rcnn_client examples export training benchmarks
	PYTHONPATH=.:client $(VENV)/bin/lint-imports

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

train-env: $(TORCH)/.train ## the environment for training and export: .venv-torch/bin/parsing-rcnn

train: data-given $(TORCH)/.train data/rendered/densepose.json ## train the recipe that the shipped weights began with; DATA=folder with ccp/, groups/, backgrounds/
	$(TORCH)/bin/parsing-rcnn train training/configs/light.yaml --data "$$DATA" --out runs/light

data-given:
	@test -d "$$DATA/backgrounds" || { echo "error: make train DATA=folder: a folder that holds ccp/, groups/ and backgrounds/"; exit 2; }

data/rendered/densepose.json: $(TORCH)/.train
	if [ -d "$$DATA/makehuman_cc0" ]; then set -- --assets "$$DATA/makehuman_cc0"; fi; \
	$(TORCH)/bin/parsing-rcnn render -o data/rendered --count 3600 --seed 1 --size 512x512 --size 640x416 \
		--size 416x608 --backgrounds "$$DATA/backgrounds" "$$@"

$(VENV)/.serve: requirements/serve.txt pyproject.toml client/pyproject.toml $$(call unusable,$$(@D))
	$(call environment,$(VENV))
	$(VENV)/bin/python $(PIP) -r requirements/serve.txt
	$(ALONE) $(VENV)/bin/python $(PIP) --no-deps --no-build-isolation $(EDITABLE) -e . -e client
	touch $@

$(VENV)/.test: $(VENV)/.serve requirements/test.txt
	$(VENV)/bin/python $(PIP) -r requirements/test.txt
	touch $@

$(VENV)/.bench: $(VENV)/.serve requirements/bench.txt
	$(VENV)/bin/python $(PIP) -r requirements/bench.txt
	touch $@

$(VENV)-%/.ready: requirements/%.txt $$(call unusable,$$(@D))
	$(call environment,$(@D))
	$(@D)/bin/python $(PIP) -r $<
	touch $@

$(TORCH)/.train: requirements/train.txt pyproject.toml client/pyproject.toml $$(call unusable,$$(@D))
	$(call environment,$(TORCH))
	$(TORCH)/bin/python $(PIP) -r requirements/train.txt
	$(ALONE) $(TORCH)/bin/python $(PIP) --no-deps --no-build-isolation $(EDITABLE) -e . -e client
	touch $@

plugin: ## PyramidRoiAlign into build/plugin: CPU; CUDA where nvcc is; TensorRT with TENSORRT_INCLUDE_DIR=folder of NvInfer.h
	cmake -S export/plugin -B build/plugin -DPRCNN_CUDA=$(if $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null),ON,OFF) \
		"-DTENSORRT_INCLUDE_DIR=$$TENSORRT_INCLUDE_DIR"
	cmake --build build/plugin

plugin-test: $(TORCH)/.train ## its tests: sanitizers, golden numbers, torchvision and ONNX Runtime
	cmake -S export/plugin -B build/plugin-sanitized -DPRCNN_SANITIZE=ON
	cmake --build build/plugin-sanitized
	ctest --test-dir build/plugin-sanitized --output-on-failure
	$(TORCH)/bin/python $(PYTEST) tests/export/plugin

tensorrt-bindings: $(TORCH)/.train ## TensorRT's Python classes (10, 11) and TensorRT for RTX into build/tensorrt: tests/export/tensorrt uses them, no GPU needed
	for version in 10 11 rtx; do \
		$(TORCH)/bin/python $(PIP) --no-deps --upgrade --target build/tensorrt/$$version -r requirements/tensorrt_$$version.txt; done

clean: ## remove environments and caches
	rm -rf $(VENV) $(VENV)-* .triton build dist *.egg-info client/*.egg-info .pytest_cache .mypy_cache .ruff_cache
