# Stock NSQ 1.3.0, built from the Go module cache: the daemon and the tools
# that the benchmarks and the interop tests run. go.sum pins every module.

STOCK_DIR   := $(ROOT)/stock
STOCK_TOOLS := nsqd nsqlookupd nsqadmin nsq_to_file nsq_tail nsq_stat nsq_to_nsq nsq_to_http to_nsq
STOCK_BIN   := $(STOCK_TOOLS:%=$(STOCK_DIR)/%)

.PHONY: stock
stock: $(STOCK_BIN) ## build the stock daemon and tools: build/stock/

# Where it cannot be built the test that wants it says so.
$(STOCK_BIN): $(STOCK_DIR)/%: test/stock/go.mod test/stock/go.sum
	@echo 'GO $@'
	@test/go-build.sh 'stock $*' test/stock github.com/nsqio/nsq/apps/$* $@
