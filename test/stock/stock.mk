# Stock NSQ 1.3.0, built from the Go module cache: the daemon and the tools
# that the benchmarks and the interop tests run. go.sum pins every module.

STOCK_DIR   := $(ROOT)/stock
STOCK_TOOLS := nsqd nsqlookupd nsqadmin nsq_to_file nsq_tail nsq_stat nsq_to_nsq nsq_to_http to_nsq
STOCK_BIN   := $(STOCK_TOOLS:%=$(STOCK_DIR)/%)
GO          ?= go

.PHONY: stock
stock: $(STOCK_BIN) ## build the stock daemon and tools: build/stock/

# One at a time: a Go build takes all cores as it is.
$(STOCK_BIN): $(STOCK_DIR)/%: test/stock/go.mod test/stock/go.sum
	@command -v $(GO) >/dev/null || test/install-deps.sh golang-go
	@mkdir -p $(@D)
	cd test/stock && $(GO) build -trimpath -o $(CURDIR)/$@ github.com/nsqio/nsq/apps/$*
