# Everything runs in .venv in this folder; the first target that needs it makes it.
PYTHON ?= python3
# The CPU build that CI has. For another one: make TORCH='torch>=2.6'. A torch that .venv already has is kept.
TORCH ?= torch==2.13.0
BIN := .venv/bin
READY := .venv/.ready
# Extras that only tests need. One has to be compiled: where that fails, its tests say so and are skipped.
EXTRAS := .venv/.extras

.PHONY: demo chr21 test test-all lint format schema bench clean

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

$(EXTRAS): $(READY)
	-$(BIN)/python -m pip install --quiet --editable '.[bam]'
	touch $(EXTRAS)

demo: $(READY)          ## simulated genome: ingest, train, predict, evaluate; ends with a report
	$(BIN)/python pipelines/demo.py --out demo

chr21: $(READY)         ## the same on real GM12878 chr21 (needs EPIZARR_SHARED)
	$(BIN)/python pipelines/chr21.py --out chr21

# A process a core, one torch thread each; files stay whole, so that what a file's tests share is made once.
test: $(EXTRAS)         ## the tests that CI runs; without the coverage tracer, which doubles their time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not fault and not slow"

test-all: $(EXTRAS)     ## adds slow tests and kill tests, and prints coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(READY)        ## write stores/SCHEMA.md from epizarr/schema
	$(BIN)/python -c "from epizarr.schema import schema_markdown; print(schema_markdown(), end='')" > stores/SCHEMA.md

bench: $(READY)         ## the benchmark table; each line is measured side by side in one run
	for script in pipelines/benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv demo chr21 simulated ablation .coverage htmlcov
