# Interop tests: stock client libraries (go-nsq, pynsq, nsqjs) against the
# daemon, or against another one: make interop NSQD=/path/to/nsqd

INTEROP         := $(ROOT)/interop
INTEROP_CLIENTS := go python js
INTEROP_PYTHON  := $(firstword $(wildcard /usr/bin/python3) python3)
NSQD            ?= $(BUILD)/nsqd
CHECKS          += interop interop-durable-quick
BUILT           += interop

# A client that could not be set up (a SKIP) is tried again the next time.
$(INTEROP)/%/ready: test/interop/setup.sh test/venv.sh test/fetch.sh FORCE
	@[ -e $@ ] && [ -z "$$(find test/interop/setup.sh test/venv.sh test/fetch.sh test/interop/$* -newer $@)" ] || \
		test/interop/setup.sh $* $(@D)

.PHONY: FORCE
FORCE:

.PHONY: interop-clients
interop-clients: $(INTEROP_CLIENTS:%=$(INTEROP)/%/ready)

.PHONY: interop
built-interop: $(NSQD)
	@$(MAKE) --no-print-directory interop-clients

interop: $(NSQD) ## interop tests; INTEROP_FLAGS= for run.py
	@$(MAKE) --no-print-directory -j$(words $(INTEROP_CLIENTS)) interop-clients
	@PYTHONDONTWRITEBYTECODE=1 $(INTEROP_PYTHON) test/interop/run.py $(INTEROP_FLAGS) --clients $(INTEROP) $(NSQD)

# Stock's clients must not notice that the topics have logs. DURABILITY=process is the other one. The
# layers are the same with a log as without.
.PHONY: interop-durable interop-durable-quick
interop-durable-quick: INTEROP_FLAGS += --plain
interop-durable-quick: interop-durable ## the same without those that go through each stack of layers

interop-durable: ## interop tests with a log for each topic (DURABILITY=disk)
	@DURABILITY=$(or $(DURABILITY),disk) $(MAKE) --no-print-directory interop \
		INTEROP_FLAGS='$(INTEROP_FLAGS)'

.PHONY: interop-stock
interop-stock: ## interop tests against stock nsqd 1.3.0: they must pass there, too
	@$(MAKE) --no-print-directory $(STOCK_DIR)/nsqd
	@$(MAKE) --no-print-directory interop NSQD=$(STOCK_DIR)/nsqd
