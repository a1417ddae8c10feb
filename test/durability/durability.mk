# Durability tests: data directories that move between this daemon and stock,
# exits, crashes, disks that fail, files that are damaged. DURABILITY_ARGS goes
# to pytest, for instance `make durability DURABILITY_ARGS='-k ping_pong -x'`.

CHECKS += durability
BUILT  += durability

PYTHON3         ?= /usr/bin/python3
DURABILITY_ARGS ?=
DURABILITY_JOBS ?= $(shell nproc)
# What the tests have counted and timed.
DURABILITY_FIGURES := $(BUILD)/durability.txt

.PHONY: durability
built-durability: $(BUILD)/nsqd $(STOCK_DIR)/nsqd
durability: $(BUILD)/nsqd $(STOCK_DIR)/nsqd ## disk, restart, exit, crash, exchange with stock (DURABILITY_ARGS=)
	@rm -f $(DURABILITY_FIGURES)
	@FIGURES=$(abspath $(DURABILITY_FIGURES)) NSQD=$(abspath $(BUILD)/nsqd) STOCK=$(abspath $(STOCK_DIR)/nsqd) \
	TIMEOUT_SCALE=$(if $(SANITIZE),5,2) PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) -m pytest -q -p no:cacheprovider -n $(DURABILITY_JOBS) $(DURABILITY_ARGS) test/durability
	@cat $(DURABILITY_FIGURES) 2>/dev/null || true

.PHONY: durability-backlog
durability-backlog: $(BUILD)/nsqd $(STOCK_DIR)/nsqd ## a restart with a million messages on disk, beside stock
	@NSQD=$(BUILD)/nsqd STOCK=$(STOCK_DIR)/nsqd PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) test/durability/backlog.py
