# make help says what there is. Everything is made under build/ and cargo's target/.

PREFIX ?= $(CURDIR)/build/prefix
MRICRON ?= /usr/share/mricron/templates
BUILD := build
PYTHON := $(BUILD)/venv/bin/python
DEEPBRAIN := $(BUILD)/models/deepbrain.onnx
CBINDGEN := $(BUILD)/tools/bin/cbindgen
WRITE_HEADER = python3 src/ffi/header.py $(CBINDGEN)

# Where setup-debian found Rust, if the path does not lead there.
export PATH := $(CURDIR)/$(BUILD)/rust:$(PATH)

heading = @printf '\n==== %s\n' '$(1)'
, := ,

.DELETE_ON_ERROR:
.PHONY: help library install demo test lint fuzz sanitized coverage header kernels notices clean setup-library setup-demo setup-test

help:
	@echo 'make demo     segment the brain of a real head: builds the library and a C++ program, and runs it'
	@echo 'make test     all tests, of the library as it is installed'
	@echo 'make install  PREFIX=/where/to, build/prefix if not given; where that takes root:'
	@echo '              make library PREFIX=/where/to && sudo cmake --install build/cmake'
	@echo 'make lint     what has to hold of the sources: format, lints, header, licences'
	@echo 'make fuzz     each fuzz target for FUZZ_SECONDS, a minute if not given; sanitized: the library under the sanitizers;'
	@echo '              coverage: which lines unit tests reach'
	@echo 'make header   write include/planrt.h anew from src/ffi'
	@echo 'make kernels  compile src/volume/device/kernels.cu anew, by clang 19'
	@echo 'make notices  write THIRD-PARTY-NOTICES.txt anew from the crates'
	@echo 'make clean    remove build/ and target/'
	@echo
	@echo 'On Debian and Ubuntu what is missing is installed first; RUSTUP=yes lets rustup bring Rust where the distribution'
	@echo 'has none that is new enough.'

setup-library setup-demo setup-test: setup-%:
	@cmake/setup-debian $*

library: | setup-library
	@grep -qx 'CMAKE_HOME_DIRECTORY:INTERNAL=$(CURDIR)' $(BUILD)/cmake/CMakeCache.txt 2>/dev/null || rm -rf $(BUILD)/cmake # moved
	cmake -S . -B $(BUILD)/cmake -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build $(BUILD)/cmake

install: library
	cmake --install $(BUILD)/cmake

# Python packages, in a place of their own.
$(BUILD)/venv/%.done: %/requirements.txt | setup-demo
	python3 -m venv $(BUILD)/venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	mkdir -p $(@D) && touch $@

$(DEEPBRAIN): examples/python/deepbrain_to_onnx.py $(BUILD)/venv/examples/python.done
	mkdir -p $(@D)
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest $(@D) deepbrain==0.1
	$(PYTHON) $< $(@D)/deepbrain-0.1-py3-none-any.whl $@

# A model's folder: the network and what is done around it.
$(BUILD)/models/deepbrain/model.onnx: $(DEEPBRAIN) examples/models/deepbrain/recipe.json
	mkdir -p $(@D)
	cp examples/models/deepbrain/recipe.json $(@D)
	cp $(DEEPBRAIN) $@

demo: export PREFIX := $(CURDIR)/build/prefix
demo: $(BUILD)/models/deepbrain/model.onnx | setup-demo
	$(MAKE) install
	cmake -S examples/cpp/segment_ct -B $(BUILD)/segment_ct -G Ninja \
	  -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH=$(CURDIR)/$(BUILD)/prefix
	cmake --build $(BUILD)/segment_ct
	mkdir -p $(BUILD)/demo
	$(BUILD)/segment_ct/segment_ct $(BUILD)/models/deepbrain $(MRICRON)/ch2.nii.gz --reference $(MRICRON)/ch2bet.nii.gz \
	  --out $(BUILD)/demo/mask.nii.gz --overlay $(BUILD)/demo/brain.png

# What is tested is what is shipped: installed into a prefix, and the prefix moved.
test: $(DEEPBRAIN) $(BUILD)/venv/tests/python.done | setup-test
	$(MAKE) lint
	$(call heading,Rust tests)
	cargo test --release --workspace --locked
	$(call heading,without the CPU engine)
	cargo test --release --no-default-features --locked --target-dir $(BUILD)/small
	$(call heading,interleavings)
	cargo test --release --locked --manifest-path tests/interleavings/Cargo.toml --target-dir $(BUILD)/interleavings
	$(MAKE) coverage
	$(MAKE) fuzz
	$(MAKE) sanitized
	$(call heading,C$(,) C++ and Python against what is installed)
	$(PYTHON) tests/real/fetch_tensorrt.py $(BUILD)/tensorrt
	$(PYTHON) tests/python/setup_torch.py $(BUILD)/torch
	$(MAKE) library
	rm -rf $(BUILD)/test
	cmake --install $(BUILD)/cmake --prefix $(CURDIR)/$(BUILD)/test/installed
	mv $(BUILD)/test/installed $(BUILD)/test/moved
	cmake -S tests -B $(BUILD)/tests -G Ninja -DCMAKE_PREFIX_PATH=$(CURDIR)/$(BUILD)/test/moved \
	  -DPython3_EXECUTABLE=$(CURDIR)/$(PYTHON) -DDEEPBRAIN=$(CURDIR)/$(DEEPBRAIN) -DMRICRON=$(MRICRON) \
	  -DTENSORRT=$(CURDIR)/$(BUILD)/tensorrt -DTORCH_PYTHON=$(CURDIR)/$(BUILD)/torch/bin/python \
	  -DRUST_SANITIZED=$(CURDIR)/$(BUILD)/sanitized
	cmake --build $(BUILD)/tests
	ctest --test-dir $(BUILD)/tests --output-on-failure

# Warnings are errors in the gate only: a newer clippy than the gate's finds more.
lint: $(CBINDGEN) | setup-test
	$(call heading,lint)
	.ci/repository.sh
	src/volume/device/compile.sh --verify
	$(WRITE_HEADER) --verify || { echo 'run make header, and commit include/planrt.h'; exit 1; }
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --release --workspace --all-targets --locked $(if $(CI),-- -D warnings)
	cargo clippy --release --no-default-features --locked --target-dir $(BUILD)/small $(if $(CI),-- -D warnings)
	.ci/dependencies.py check
	@if ! command -v cargo-deny >/dev/null; then echo 'advisories: not looked at, there is no cargo-deny'; \
	elif ! cargo deny fetch db 2>/dev/null; then echo 'advisories: their database was not reached'; cargo deny check bans licenses sources; \
	else cargo deny check; fi

FUZZ_SECONDS ?= 60
fuzz: | setup-library
	$(call heading,fuzzing)
	fuzz/run.sh $(FUZZ_SECONDS) $(BUILD)/fuzz

sanitized: | setup-library
	$(call heading,the library under sanitizers)
	tests/sanitized.sh $(BUILD)/sanitized

coverage: | setup-library
	$(call heading,coverage)
	tests/coverage.sh $(BUILD)/coverage

notices:
	.ci/dependencies.py write

# A program and not a dev-dependency: as one it would have cargo compile tract a second time, with other features.
$(CBINDGEN): | setup-library
	cargo install --quiet --locked cbindgen@0.29.4 --root $(BUILD)/tools

header: $(CBINDGEN)
	$(WRITE_HEADER)

kernels:
	src/volume/device/compile.sh

clean:
	rm -rf $(BUILD)
	cargo clean
