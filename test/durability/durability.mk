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
DISK_GATE_SO := $(ROOT)/durability/disk_gate.so

# Never sanitized: it stands between the daemon and the sanitizer.
$(DISK_GATE_SO): test/durability/disk_gate.c test/durability/durability.mk
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -fPIC -shared -o $@ $< -ldl

# A host whose clock and disk obey tests. Never sanitized: it stands between the daemon and the sanitizer.
HOST_SO := $(ROOT)/durability/host.so
$(HOST_SO): test/durability/host.c test/durability/durability.mk
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -fPIC -shared -o $@ $< -ldl

.PHONY: durability
built-durability: $(BUILD)/nsqd $(STOCK_DIR)/nsqd $(DISK_GATE_SO) $(HOST_SO)
durability: $(BUILD)/nsqd $(STOCK_DIR)/nsqd $(DISK_GATE_SO) $(HOST_SO) ## disk, restart, exit, crash, exchange with stock (DURABILITY_ARGS=)
	@rm -f $(DURABILITY_FIGURES)
	@FIGURES=$(abspath $(DURABILITY_FIGURES)) NSQD=$(abspath $(BUILD)/nsqd) STOCK=$(abspath $(STOCK_DIR)/nsqd) \
	DISK_GATE_SO=$(abspath $(DISK_GATE_SO)) HOST_SO=$(abspath $(HOST_SO)) \
	TIMEOUT_SCALE=$(if $(SANITIZE),5,2) PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) -m pytest -q -p no:cacheprovider -n $(DURABILITY_JOBS) $(DURABILITY_ARGS) test/durability
	@cat $(DURABILITY_FIGURES) 2>/dev/null || true

.PHONY: durability-backlog
durability-backlog: $(BUILD)/nsqd $(STOCK_DIR)/nsqd ## a restart with a million messages on disk, beside stock
	@NSQD=$(BUILD)/nsqd STOCK=$(STOCK_DIR)/nsqd PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) test/durability/backlog.py
