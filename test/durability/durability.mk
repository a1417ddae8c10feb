# Durability tests: data directories that move between this daemon and stock,
# exits, crashes, disks that fail, files that are damaged. DURABILITY_ARGS goes
# to pytest, for instance `make durability DURABILITY_ARGS='-k ping_pong -x'`.

CHECKS += durability

PYTHON3         ?= /usr/bin/python3
DURABILITY_ARGS ?=

.PHONY: durability
durability: $(BUILD)/nsqd $(STOCK_DIR)/nsqd ## disk, restart, exit, crash, exchange with stock (DURABILITY_ARGS=)
	@NSQD=$(abspath $(BUILD)/nsqd) STOCK=$(abspath $(STOCK_DIR)/nsqd) \
	TIMEOUT_SCALE=$(if $(SANITIZE),5,2) PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) -m pytest -q -p no:cacheprovider $(DURABILITY_ARGS) test/durability
