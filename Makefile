# Everything happens in .venv, which `make` makes and fills by itself.
export MLFLOW_DISABLE_TELEMETRY = true
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR = false
export GIT_PYTHON_REFRESH = quiet

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
READY := .venv/.ready
# An environment that was made elsewhere and moved here points to nowhere: make it again.
$(shell test ! -e $(READY) || test "`cat $(READY)`" = "$(CURDIR)" || rm -f $(READY))

# A misspelt variable would run something else than was asked for.
KNOWN := DATA ITEMS USER_COLUMN ITEM_COLUMN RATING_COLUMN TITLE_COLUMN TIMESTAMP_COLUMN THRESHOLD MIN_USER_ITEMS SPLIT_KIND \
	RECIPES SET K REGISTER REFIT OUT DATASET TABLE TRIALS BUDGET PYTHON SHELL
GIVEN := $(foreach one,$(.VARIABLES),$(if $(findstring command,$(origin $(one))),$(one)))
UNKNOWN := $(filter-out $(KNOWN),$(GIVEN))
$(if $(UNKNOWN),$(error make takes no variable $(firstword $(UNKNOWN)): choose one of $(KNOWN)))

DATA ?= sample
PARAMS := -P "data=$(DATA)" $(if $(ITEMS),-P "items=$(ITEMS)") \
	$(if $(USER_COLUMN),-P "user_column=$(USER_COLUMN)") $(if $(ITEM_COLUMN),-P "item_column=$(ITEM_COLUMN)") \
	$(if $(RATING_COLUMN),-P "rating_column=$(RATING_COLUMN)") $(if $(TITLE_COLUMN),-P "title_column=$(TITLE_COLUMN)") \
	$(if $(THRESHOLD),-P "threshold=$(THRESHOLD)") $(if $(RECIPES),-P "recipes=$(RECIPES)") \
	$(if $(TIMESTAMP_COLUMN),-P "timestamp_column=$(TIMESTAMP_COLUMN)") $(if $(MIN_USER_ITEMS),-P "min_user_items=$(MIN_USER_ITEMS)") \
	$(if $(SPLIT_KIND),-P "split_kind=$(SPLIT_KIND)") $(if $(REGISTER),-P "register=$(REGISTER)") $(if $(REFIT),-P "refit=$(REFIT)") \
	$(if $(SET),-P "set=$(SET)") $(if $(K),-P "k=$(K)") $(if $(OUT),-P "out=$(OUT)")

.PHONY: run test test-slow lint format types leaderboard bench ui clean help

run: $(READY) ## the whole pipeline; DATA= ITEMS= (files) USER_COLUMN= ITEM_COLUMN= RATING_COLUMN= TITLE_COLUMN= TIMESTAMP_COLUMN= THRESHOLD= MIN_USER_ITEMS= SPLIT_KIND= RECIPES= SET= K= REGISTER= REFIT= OUT=
	@MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} \
	  mlflow run . --env-manager local --experiment-name recsys-vae --run-name main $(PARAMS)

test: $(READY) ## all tests but the slow ones
	python -m pytest -m "not slow"

test-slow: $(READY) ## the long proofs
	python -m pytest -m slow

lint: $(READY) ## style and the order of the layers
	ruff check .
	ruff format --check .
	lint-imports --no-cache

format: $(READY) ## mend style
	ruff check --fix .
	ruff format .

types: $(READY) ## mypy --strict
	mypy

DATASET ?= gowalla
FOLDER = $(or $(DATA:sample=),data/downloads/$(DATASET))
LEADERBOARD = outputs/leaderboard-$(DATASET)
TABLE ?= benchmarks/results/$(DATASET).md

leaderboard: $(READY) ## all baselines on a published split: DATASET= (recipes/DATASET) DATA= (folder with train.txt, test.txt) TABLE= TRIALS= BUDGET=
	@test -f "$(FOLDER)/train.txt" || { echo "$(FOLDER)/train.txt is not there: name its folder with DATA=, or see recsys-vae datasets show $(DATASET)" >&2; exit 2; }
	@test -f "$(LEADERBOARD)/split/split.json" || \
	  python -m recsys_vae ready --train "$(FOLDER)/train.txt" --test "$(FOLDER)/test.txt" --out "$(LEADERBOARD)/split"
	python -m recsys_vae leaderboard --split "$(LEADERBOARD)/split" --choose-by ndcg@20 \
	  --recipes "$(or $(RECIPES),$(wildcard pipelines/recipes/$(DATASET)),pipelines/recipes)" \
	  $(if $(TRIALS),--trials $(TRIALS)) $(if $(BUDGET),--budget $(BUDGET)) --table "$(TABLE)" --out "$(LEADERBOARD)/results"

bench: $(READY) ## how fast training is against the reference and the machine's limit
	for shape in ml-1m ml-20m gowalla million-items; do python -m benchmarks.train --shape $$shape --json; done

ui: $(READY) ## look at the runs in a browser
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false PYTHONWARNINGS=ignore mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

clean: ## remove what was made, but not .venv and the runs
	rm -rf outputs build *.egg-info .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "setting up .venv (once; a minute or more, 2 to 6 GB: torch may bring a GPU's libraries)"
	@$(PYTHON) -m venv --clear .venv
	@"$(BIN)/python" -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@printf '%s' "$(CURDIR)" > $(READY)
