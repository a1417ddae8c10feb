# Stock's own tools (nsqadmin, nsq_to_file ...), nsqlookupd and clients against
# the daemon: what an operator runs beside it. TOOLS_ARGS goes to pytest;
# `make tools-stock` runs them against stock's daemon, where they pass as well.

CHECKS += tools
BUILT  += tools

TOOLS_ARGS ?=
TOOLS_JOBS ?= $(shell nproc)
TOOLS_RUN   = NSQ_BENCH=$(abspath $(BENCH)) STOCK_DIR=$(abspath $(STOCK_DIR)) INTEROP_DIR=$(abspath $(INTEROP)) \
              PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) -m pytest -q -p no:cacheprovider \
              -n $(TOOLS_JOBS) $(TOOLS_ARGS) test/tools

.PHONY: tools tools-stock tools-built
built-tools: $(BUILD)/nsqd $(BENCH) tools-built
tools: $(BUILD)/nsqd $(BENCH) tools-built ## stock's tools and nsqlookupd against the daemon (TOOLS_ARGS=)
	@NSQD=$(abspath $(BUILD)/nsqd) $(TOOLS_RUN)

tools-stock: $(BENCH) tools-built ## the same against stock's daemon
	@NSQD=$(abspath $(STOCK_DIR)/nsqd) $(TOOLS_RUN)

# A tool that cannot be built: each of its tests says so, and fails in CI.
tools-built:
	@$(MAKE) -s --no-print-directory stock $(INTEROP)/python/ready
