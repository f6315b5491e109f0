# make quickstart   real text in, a trained BERT, its figures and curves out: about ten minutes with the installation
# make test         tests on this machine      make check   style, formatting, types
# make test-scale   many devices, many processes       make test-tpu   the TPU compiler, no TPU needed
# make test-launch  what launchers write, before the engines' own parsers, and a real Slurm
# make docs         the site of the documents, in site/
# make test-wheel   the wheel in an empty environment
# make test-browser the page about runs, in chromium
# make test-newest PYTHON=python3.13   the rooms that a newer Python or jax can break
# Everything is installed into .venv, made when missing and brought up to date when a requirements file changes; by uv,
# which is much faster, where it is on the path.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
TPU := .venv-tpu
CLOUD := .venv-cloud
ENGINES := .venv-engines
DOCS := .venv-docs
NEWEST := .venv-newest
BIN := $(VENV)/bin
RUN := runs/quickstart
UV ?= $(shell command -v uv)
# $(call install,VENV,WHAT). -qq: no chatter and no notices, but every error. uv compiles no module when it installs one.
# Python compiles a module when it first imports it, and it never imports most of what a package brings.
install = $(if $(UV),$(UV) pip install -q -p $(1)/bin/python,$(1)/bin/python -m pip install -qq --disable-pip-version-check) $(2)
SOURCES := jaxbert configs launch tests benchmarks docs .ci/stages.py

# Where the environment sets this variable, every process compiles all of jax and flax from source, for five seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help quickstart install test test-newest test-scale test-tpu test-cloud test-launch test-wheel test-browser test-peers docs test-docs check format same-losses lock clean

help:
	@sed -n '1,8s/^# //p' Makefile
	@echo "also: install, format, test-peers, test-cloud, same-losses, lock, clean; PYTHON=python3.12 chooses the interpreter"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxbert needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing jaxbert and what it needs into $(VENV) (one to four minutes the first time) ..."
	@$(call install,$(VENV),-r requirements.txt)
	@$(call install,$(VENV),--no-deps -e .)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt requirements-test-files.txt
	@echo "installing what tests need into $(VENV) ..."
	@$(call install,$(VENV),-r requirements-test.txt)
	@$(call install,$(VENV),--no-deps -r requirements-test-files.txt)
	@touch $@

install: $(VENV)/.installed

quickstart: $(VENV)/.installed
	@$(BIN)/jaxbert pretrain quickstart --workdir $(RUN) --finish

# make test SET=full: every point at which a kill can end a command that writes, about half an hour more.
test: $(VENV)/.installed-test
	@JAXBERT_POINTS_SET=$(SET) $(BIN)/python -m pytest -q -n 2 --dist loadscope tests

# The suite under the newest Python, without what a version of Python, jax, flax or numpy cannot break where the lower
# versions pass; of a test with several cases every fourth (tests/conftest.py). A new test is in, unless it is named here
# (tests/test_checks.py sees that every name exists). Left out:
# - statistics over 100,000 rows: tests/objectives/test_masking.py holds the same masks to golden bits under both versions;
# - rows against plain references, in 100 passes: tests/data/test_rows.py and test_policies.py write the same rows;
# - a user's training loops: tests/models and the rest of tests/convert compile the same encoders and read the same files
#   (the families' golden gradients are in: other versions of jax must give the same numbers);
# - additions to our tables (tests/test_extension.py, tests/tasks, toys), and the labelled kinds over eight devices:
#   dictionaries do not change with Python, and tests/train and tests/multidevice compile the step and shard it;
# - names and sizes of every published model, which are our own tables; files of other projects, twice over;
# - runs on packed or staged rows, runs that adapt a model, and all runs with a teacher but one: one run of each other
#   kind has the same programs;
# - what each class of a flax file computes: the goldens compile the same encoders, other tests read the same files;
# - the model of the page (tests/report_browser), which Node runs, and what a run says of its corpus (train/test_corpus.py);
# - words through shells (tests/launch/test_injection.py, test_document.py): shells do not change with Python;
# - what runs do about signals, damaged files, full disks and refusals, and what several runs of a fine-tuning do about
#   each other: none of it depends on a library. A kill of each stays, because a continued run needs all of them.
NEWEST_OUT := $(addprefix --ignore=tests/,objectives/test_masking_rates.py objectives/test_masking_schemes.py \
  data/test_against_original.py data/test_against_plain.py \
  convert/test_foreign_loop.py convert/test_names.py convert/test_models_table.py \
  kills/test_points.py train/test_packed_rows.py train/test_initial.py train/test_release.py train/test_bad_input.py \
  report_browser/test_model_js.py train/test_corpus.py finetune/test_devices.py \
  launch/test_injection.py launch/test_document.py test_extension.py tasks/test_tasks.py) \
  $(addprefix --deselect=tests/,train/test_pretrain.py::test_an_interrupt train/test_pretrain.py::test_damaged \
  train/test_pretrain.py::test_all_ train/test_pretrain.py::test_uncommitted train/test_pretrain.py::test_full \
  train/test_pretrain.py::test_overwrite train/test_pretrain.py::test_two_ train/test_pretrain.py::test_steps_ \
  train/test_pretrain.py::test_a_run_that train/test_pretrain.py::test_a_killed_overwrite \
  train/test_pretrain.py::test_a_tokenizer_that train/test_pretrain.py::test_failing train/test_pretrain.py::test_loss \
  train/test_pretrain.py::test_good_ train/test_pretrain.py::test_a_run_that_diverges train/test_pretrain.py::test_early \
  train/test_pretrain.py::test_the_quickstart train/test_pretrain.py::test_a_bug \
  train/test_distillation.py::test_a_teacher_that_is_trained_first train/test_distillation.py::test_a_narrower_student \
  train/test_distillation.py::test_it_starts train/test_distillation.py::test_it_continues \
  convert/test_flax_msgpack.py::test_what_a_class_computes \
  train/test_distillation.py::test_another_teacher data/test_staging.py::test_a_run_reads_them \
  models/test_model.py::test_published_sizes models/test_model.py::test_every_preset_is_a_model \
  multidevice/test_meshes.py::test_a_toy_architecture multidevice/test_meshes.py::test_corruption \
  train/test_window.py::test_the_same_bytes train/test_samples.py::test_a_config_needs \
  finetune/test_runs.py::test_seeds_ finetune/test_runs.py::test_a_head finetune/test_runs.py::test_changed \
  finetune/test_runs.py::test_a_run_that_diverges finetune/test_runs.py::test_labels_that finetune/test_runs.py::test_rows_ \
  finetune/test_runs.py::test_a_run_whose finetune/test_runs.py::test_predictions_read \
  plan/test_command.py::test_where_nothing_would_fit) \
  "--deselect=tests/train/test_pretrain.py::test_a_killed_run_continues_to_the_same_bits[before"

$(NEWEST)/.installed: requirements.txt requirements-test.txt requirements-test-files.txt pyproject.toml
	@echo "installing jaxbert and what tests need into $(NEWEST), by $(PYTHON) ..."
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST) || { rm -rf $(NEWEST); exit 2; }
	@$(call install,$(NEWEST),-r requirements.txt -r requirements-test.txt)
	@$(call install,$(NEWEST),--no-deps -r requirements-test-files.txt -e .)
	@touch $@

test-newest: $(NEWEST)/.installed
	@JAXBERT_TESTS_EVERY=4 $(NEWEST)/bin/python -m pytest -q -n 2 --dist loadscope $(NEWEST_OUT) tests

# Eight fake devices a process, then what several processes hold. With --capture=sys the words of XLA reach the terminal:
# where it ends a process, they are the only ones that say why.
test-scale: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --capture=sys tests/scale
	@$(BIN)/python -m pytest -q -n 2 --ignore tests/multiprocess/test_launch.py tests/multiprocess

# jax[tpu] brings the libtpu that belongs to this jax; it compiles for chips that are not here.
$(TPU)/.installed: requirements.txt requirements-test.txt requirements-test-files.txt pyproject.toml
	@echo "installing jax[tpu] into $(TPU) ..."
	@test -x $(TPU)/bin/python || $(PYTHON) -m venv $(TPU) || { rm -rf $(TPU); exit 2; }
	@$(call install,$(TPU),-r requirements.txt -r requirements-test.txt "jax[tpu]")
	@$(call install,$(TPU),--no-deps -r requirements-test-files.txt -e .)
	@touch $@

# make test-tpu SET=full: every size, family, layout and remat; more than an hour on two free cores.
SET ?= quick
test-tpu: $(TPU)/.installed
	@JAXBERT_TPU_SET=$(SET) $(TPU)/bin/python -m pytest -q -n 2 tests/tpu

# Apache Beam, and a bucket that an emulator keeps.
$(CLOUD)/.installed: requirements.txt requirements-beam.txt requirements-gcs.txt requirements-s3.txt requirements-cloud.txt pyproject.toml
	@echo "installing Apache Beam and two storage emulators into $(CLOUD) ..."
	@test -x $(CLOUD)/bin/python || $(PYTHON) -m venv $(CLOUD) || { rm -rf $(CLOUD); exit 2; }
	@$(call install,$(CLOUD),-r requirements.txt -r requirements-cloud.txt)
	@$(call install,$(CLOUD),--no-deps -e .)
	@touch $@

test-cloud: $(CLOUD)/.installed
	@$(CLOUD)/bin/python -m pytest -q -n 2 --dist loadscope tests/cloud

# Checks the launchers' commands and files with gcloud's and kubectl's parsers, JobSet's schema, SkyPilot (in a separate
# environment) and shellcheck. Runs a Slurm of two nodes, and processes that are killed, hang and continue. Debian has the
# tools: apt-get install slurm-wlm munge shellcheck.
$(ENGINES)/.installed: requirements-engines.txt
	@echo "installing SkyPilot into $(ENGINES) ..."
	@test -x $(ENGINES)/bin/python || $(PYTHON) -m venv $(ENGINES) || { rm -rf $(ENGINES); exit 2; }
	@$(call install,$(ENGINES),-r requirements-engines.txt)
	@touch $@

test-launch: $(VENV)/.installed-test $(ENGINES)/.installed
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope tests/engines tests/multiprocess/test_launch.py

# The site, in site/. It fails where a link leads nowhere. docs/generate/ reads the pages of the reference from the code.
$(DOCS)/.installed: requirements.txt requirements-docs.txt pyproject.toml
	@echo "installing what makes the site into $(DOCS) ..."
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS) || { rm -rf $(DOCS); exit 2; }
	@$(call install,$(DOCS),-r requirements.txt -r requirements-docs.txt)
	@$(call install,$(DOCS),--no-deps -e .)
	@touch $@

docs: $(DOCS)/.installed
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet
	@echo "wrote site/: open site/index.html, or, for the search too: python3 -m http.server -d site"

# Runs what the documents show: every command, on small texts and with few steps, and the notebook as it is.
test-docs: $(DOCS)/.installed
	@$(DOCS)/bin/python -m pytest -q -n 2 --dist loadscope tests/documents

# The wheel, in an environment that has nothing else: from a folder of text to a filled mask.
test-wheel: $(VENV)/.installed-test
	@UV="$(UV)" $(BIN)/python -m pytest -q -n 0 tests/wheel

# The page about runs in a real browser. Debian has one: apt-get install chromium.
test-browser: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q -n 0 tests/browser

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
	@$(call install,$(PEERS),-r requirements.txt -r requirements-test.txt -r requirements-peers.txt)
	@$(call install,$(PEERS),--no-deps -r requirements-test-files.txt -r requirements-peers-files.txt -e .)
	@touch $@

# Compares with torch and transformers. The goldens record their answers, so that `make test` needs neither.
test-peers: $(PEERS)/.installed
	@$(PEERS)/bin/python -m pytest -q -n 2 --dist loadscope tests/peers

# What `launch` installs on machines elsewhere: the versions of the lock file above, and what belongs to the chip.
machines = .venv-lock/bin/python -m pip install -qq uv && jax=$$(sed -n 's/^jax==//p' requirements-lock-3.13.txt) && \
  echo "jax[$(2)]==$$jax" | .venv-lock/bin/uv pip compile -q --no-header --no-annotate --python-version 3.13 \
  --python-platform x86_64-manylinux_$(3) --constraint requirements-lock-3.13.txt \
  --output-file requirements-lock-3.13-$(1).txt requirements.txt requirements-gcs.txt requirements-s3.txt - && \
  echo "wrote requirements-lock-3.13-$(1).txt"

# The exact set of a tested run, per Python: make lock PYTHON=python3.13
lock:
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@$(call install,.venv-lock,-r requirements.txt -r requirements-test.txt)
	@$(call install,.venv-lock,--no-deps -r requirements-test-files.txt)
	@version=$$(.venv-lock/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  .venv-lock/bin/python -m pip freeze --exclude-editable > requirements-lock-$$version.txt && \
	  echo "wrote requirements-lock-$$version.txt"; \
	  if [ $$version = 3.13 ]; then $(call machines,tpu,tpu,2_31) && $(call machines,cuda,cuda13,2_28) && \
	    $(call machines,cuda12,cuda12,2_28); fi
	@rm -rf .venv-lock

# Bit-identical losses here and at another revision, of the smoke run and of each family's tiny config:
#   make same-losses REV=main [CONFIGS="smoke bert_tiny"] [STEPS=0.1]
# STEPS is a fraction of each config's steps. The other revision runs with this .venv, from a tree in which configs/ and
# launch/ are where the installed package has them.
REV ?= main
CONFIGS ?= smoke bert_tiny roberta_tiny albert_tiny spanbert_tiny distilbert_tiny
STEPS ?=
SAME := $(CURDIR)/runs/same-losses
same-losses: $(VENV)/.installed
	@rm -rf $(SAME) && git worktree prune && mkdir -p $(SAME)/here $(SAME)/there
	@git worktree add -q --detach $(SAME)/tree $(REV)
	@trap 'git worktree remove --force $(SAME)/tree' EXIT; trap 'exit 130' INT TERM; \
	cp -r $(SAME)/tree/configs $(SAME)/tree/jaxbert/configs && cp -r $(SAME)/tree/launch $(SAME)/tree/jaxbert/launch && \
	cd $(SAME)/tree && export PYTHONPATH=$(SAME)/tree && \
	$(CURDIR)/$(BIN)/python -c 'import jaxbert, os; assert jaxbert.__file__.startswith(os.getcwd()), jaxbert.__file__' || exit 1; \
	different=""; \
	for config in $(CONFIGS); do \
	  for side in here there; do \
	    if [ $$side = here ]; then place=$(CURDIR); else place=$(SAME)/tree; fi; \
	    (cd $$place && PYTHONPATH=$$place $(CURDIR)/$(BIN)/python -m jaxbert pretrain $$config \
	      --workdir $(SAME)/$$side/$$config $(if $(STEPS),--set scale.steps=$(STEPS)) >$(SAME)/$$side/$$config.log 2>&1) || \
	      { tail -5 $(SAME)/$$side/$$config.log; echo "$$config did not run ($$side)"; exit 1; }; \
	  done; \
	  if cmp $(SAME)/here/$$config/metrics.jsonl $(SAME)/there/$$config/metrics.jsonl; then \
	    echo "$$config: the same losses as $(REV), bit for bit ($$(wc -l < $(SAME)/here/$$config/metrics.jsonl) lines)"; \
	  else different="$$different $$config"; fi; \
	done; \
	[ -z "$$different" ] || { echo "other losses than $(REV):$$different"; exit 1; }

clean:
	rm -rf .venv .venv-newest .venv-peers .venv-tpu .venv-cloud .venv-engines .venv-docs .venv-lock .venv-uv .mypy_cache .pytest_cache .ruff_cache build site *.egg-info
