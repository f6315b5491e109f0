# make quickstart   real text in, a trained BERT, its figures and curves out: about ten minutes with the installation
# make test         all tests          make check   style, formatting, types
# Everything is installed into .venv, made when missing and brought up to date when a requirements file changes.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
RUN := runs/quickstart
# -qq: no chatter and no notices, but every error.
PIP := -m pip install -qq --disable-pip-version-check
SOURCES := jaxbert configs tests $(wildcard benchmarks)

.PHONY: help quickstart install test check format test-peers same-losses lock clean

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "also: install, format, test-peers, same-losses, lock, clean; PYTHON=python3.12 chooses the interpreter"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxbert needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing jaxbert and what it needs into $(VENV) (one to four minutes the first time) ..."
	@$(BIN)/python $(PIP) -r requirements.txt
	@$(BIN)/python $(PIP) --no-deps -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt requirements-test-files.txt
	@echo "installing what tests need into $(VENV) ..."
	@$(BIN)/python $(PIP) -r requirements-test.txt
	@$(BIN)/python $(PIP) --no-deps -r requirements-test-files.txt
	@touch $@

install: $(VENV)/.installed

quickstart: $(VENV)/.installed
	@$(BIN)/jaxbert pretrain quickstart --workdir $(RUN)
	@echo
	@$(BIN)/jaxbert evaluate $(RUN) --baselines --json $(RUN)/evaluation.json
	@echo
	@$(BIN)/jaxbert fill-mask $(RUN) --top 5 \
	  "The name of the [MASK]." \
	  "The Amazon Resource Name ([MASK]) of the role." \
	  "You can use this operation to [MASK] a list of tags." \
	  "The maximum [MASK] of results to return in a single call."
	@echo
	@$(BIN)/jaxbert report $(RUN)
	@echo
	@echo "Everything lies in $(RUN):"
	@echo "  report.html, loss.png        curves and tables: open report.html in a browser"
	@echo "  checkpoints/, tokenizer/     the model; config.json says how it was made"
	@echo "  data/                        records and rows made from the text"
	@echo "  metrics.jsonl                what was computed; telemetry.jsonl: clocks, memory, energy; tensorboard/"
	@echo "Next:"
	@echo "  $(BIN)/jaxbert fill-mask $(RUN) \"The [MASK] of the bucket.\""
	@echo "  $(BIN)/jaxbert convert $(RUN) runs/quickstart-hf --to hf      for transformers"
	@echo "  $(BIN)/jaxbert pretrain bert_tiny --workdir runs/tiny         the published tiny BERT, same text"
	@echo "  $(BIN)/jaxbert doctor                                         what works on this machine"

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope tests

check: $(VENV)/.installed-test
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy && $(BIN)/mypy tests/convert/foreign_loop.py

format: $(VENV)/.installed-test
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

$(PEERS)/.installed: requirements.txt requirements-test.txt requirements-test-files.txt requirements-peers.txt \
  requirements-peers-files.txt pyproject.toml
	@echo "installing torch and transformers into $(PEERS) (some minutes) ..."
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS) || { rm -rf $(PEERS); exit 2; }
	@$(PEERS)/bin/python $(PIP) -r requirements.txt -r requirements-test.txt -r requirements-peers.txt
	@$(PEERS)/bin/python $(PIP) --no-deps -r requirements-test-files.txt -r requirements-peers-files.txt -e .
	@touch $@

# Live against the peers; the goldens under tests/ keep their word without them.
test-peers: $(PEERS)/.installed
	@$(PEERS)/bin/python -m pytest -q -n 2 --dist loadscope tests/peers

# The exact set of a tested run, per Python: make lock PYTHON=python3.13
lock:
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python $(PIP) -r requirements.txt -r requirements-test.txt
	@.venv-lock/bin/python $(PIP) --no-deps -r requirements-test-files.txt
	@version=$$(.venv-lock/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  .venv-lock/bin/python -m pip freeze --exclude-editable > requirements-lock-$$version.txt && \
	  echo "wrote requirements-lock-$$version.txt"
	@rm -rf .venv-lock

# Bit-identical losses of the smoke run here and at another revision: make same-losses REV=main
REV ?= main
same-losses: $(VENV)/.installed
	@rm -rf runs/same-losses && mkdir -p runs/same-losses
	@git worktree add -q --detach runs/same-losses/tree $(REV)
	@$(BIN)/jaxbert pretrain smoke --workdir runs/same-losses/here 2>runs/same-losses/here.log
	@cp -r runs/same-losses/tree/configs runs/same-losses/tree/jaxbert/configs
	@cd runs/same-losses/tree && python=$(CURDIR)/$(BIN)/python && \
	  $$python -c 'import jaxbert, os; assert jaxbert.__file__.startswith(os.getcwd()), jaxbert.__file__' && \
	  $$python -m jaxbert pretrain smoke --workdir ../there 2>../there.log; \
	  code=$$?; cd $(CURDIR); git worktree remove --force runs/same-losses/tree; exit $$code
	@cmp runs/same-losses/here/metrics.jsonl runs/same-losses/there/metrics.jsonl && echo "the same losses as $(REV), bit for bit"

clean:
	rm -rf .venv .venv-peers .venv-lock .mypy_cache .pytest_cache .ruff_cache build *.egg-info
