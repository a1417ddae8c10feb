# Stock's own tools (nsqadmin, nsq_to_file ...), nsqlookupd, clients and Prometheus against
# the daemon: what an operator runs beside it. TOOLS_ARGS goes to pytest;
# `make tools-stock` runs them against stock's daemon, where they pass as well.

CHECKS += tools
BUILT  += tools

TOOLS_ARGS ?=
TOOLS_JOBS ?= $(shell nproc)
PROMETHEUS  := $(ROOT)/prometheus
TOOLS_RUN   = NSQ_BENCH=$(abspath $(BENCH)) PROMETHEUS_DIR=$(abspath $(PROMETHEUS)) \
              STOCK_DIR=$(abspath $(STOCK_DIR)) INTEROP_DIR=$(abspath $(INTEROP)) \
              PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) -m pytest -q -p no:cacheprovider \
              -n $(TOOLS_JOBS) $(TOOLS_ARGS) test/tools

.PHONY: tools tools-stock tools-built dashboard
built-tools: $(BUILD)/nsqd $(BENCH) tools-built
tools: $(BUILD)/nsqd $(BENCH) tools-built ## stock's tools and nsqlookupd against the daemon (TOOLS_ARGS=)
	@NSQD=$(abspath $(BUILD)/nsqd) $(TOOLS_RUN)

tools-stock: $(BENCH) tools-built ## the same against stock's daemon
	@NSQD=$(abspath $(STOCK_DIR)/nsqd) $(TOOLS_RUN)

# A tool that cannot be built: each of its tests says so, and fails in CI.
tools-built:
	@$(MAKE) -s --no-print-directory stock $(INTEROP)/python/ready
	@test/tools/prometheus.sh $(PROMETHEUS)

# Two minutes of a load; `make docs` holds the picture against the data.
dashboard: $(BUILD)/nsqd ## record docs/monitoring/dashboard.svg: what the dashboard shows of a run
	@test/tools/prometheus.sh $(PROMETHEUS)
	@NSQD=$(abspath $(BUILD)/nsqd) PROMETHEUS_DIR=$(abspath $(PROMETHEUS)) \
	    PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/tools/record_dashboard.py
	@test/docs/dashboard_svg.py
