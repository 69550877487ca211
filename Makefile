# make demo   compile a real sentence encoder, check it, use it and time it
# make test   linters, types, layers and every test
# make test-onnx  all of ONNX's own test cases; UPDATE=1 rewrites docs/operators.md, ONLY=text picks cases
# make check  what CI runs: make test, then make test-onnx, in a fresh virtual environment
# make fix    put imports and formatting right
# make bench  every benchmark, beside onnxruntime and OpenVINO; writes docs/benchmarks.md and docs/kernels.md

VENV   ?= .venv
BIN    := $(VENV)/bin
SUITS  := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c '$(SUITS)' 2>/dev/null && command -v $$p && break; done)
comma  := ,
LINKER := $(if $(shell command -v ld || command -v cc),,$(comma)linker)
VERDICT = && echo "make $@: PASSED" || { echo "make $@: FAILED, the lines above say why"; exit 1; }

.PHONY: demo test test-onnx check fix bench
.DELETE_ON_ERROR:

demo: $(VENV)/demo.installed
	@$(BIN)/python -m examples.demo $(VERDICT)

test: $(VENV)/test.installed
	@{ $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/pytest -n auto --maxprocesses 4 --dist loadgroup; } $(VERDICT)

test-onnx: $(VENV)/test.installed
	@$(BIN)/python -m tests.onnx_suite $(if $(UPDATE),--update) $(if $(ONLY),--only '$(ONLY)') $(VERDICT)

check:
	.ci/run

fix: $(VENV)/test.installed
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/bench.installed
	@$(BIN)/python -m benchmarks --write $(VERDICT)

$(VENV)/%.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Tilewright and its '$*' requirements into $(VENV); the first time, this downloads about 250 MB ..."
	$(BIN)/python -m pip install -qq --disable-pip-version-check --config-settings editable_mode=compat --editable '.[$*$(LINKER)]'
	$(BIN)/python -m compileall -q tilewright tilewright/*/
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Tilewright needs Python 3.11 to 3.14 with its venv module; none was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)
