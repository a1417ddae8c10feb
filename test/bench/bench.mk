# Benchmarks: a load generator in C, and a runner that measures our daemon and
# the stock one in alternation. See docs/benchmarks.md.

include test/stock/stock.mk

BENCH_SRC := $(addprefix test/bench/,nsq_bench.c body.c churn.c conn.c consume.c crowd.c exit.c \
             idle.c latency.c null_server.c open_loop.c options.c peers.c proc.c publish.c stats.c storm.c \
             tally.c timeouts.c tls_client.c transport.c watch.c worker.c)
BENCH_OBJ := $(BENCH_SRC:%.c=$(BUILD)/obj/%.o)
BENCH     := $(BUILD)/test/bench/nsq_bench
PYTHON    ?= /usr/bin/python3
ROW       ?= all
PAIRS     ?= 5
OURS      ?= $(BUILD)/nsqd
BENCH_RUN := $(PYTHON) test/bench/run.py --bench=$(BENCH) --ours=$(OURS) --row=$(ROW) $(BENCH_FLAGS)

# With the daemon's layers for compression, which are a client's as well.
$(BENCH): $(BENCH_OBJ) $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(BENCH_OBJ:.o=.d)

install: $(BENCH)

# A run over all rows is the one that docs/benchmarks.md shows; WRITE=1 puts
# the rows of any other run there instead.
BENCH_WRITE := $(if $(or $(WRITE),$(filter all,$(ROW))),--write=docs/benchmarks.md)

# A server that the rows of group peers run beside ours. Where it cannot be built they say so.
NATS_SERVER := $(ROOT)/peers/nats-server
BENCH_PEERS := $(if $(filter all peers%,$(subst $(comma), ,$(ROW))),$(NATS_SERVER))

$(NATS_SERVER): test/bench/natsserver/go.mod test/bench/natsserver/go.sum
	@echo 'GO $@'
	@test/go-build.sh nats-server test/bench/natsserver github.com/nats-io/nats-server/v2 $@ || \
		echo 'nats-server: not built'

CHECKS    += bench-smoke bench-smoke-thread
BUILT     += bench-smoke bench-smoke-thread

# The script starts daemons of its own; it needs openssl, as the tests do.
.PHONY: footprint
footprint: $(OURS) ## what a client, topic, channel and message cost (WRITE=1: into docs/operating.md)
	@$(PYTHON) test/bench/footprint.py --nsqd=$(OURS) $(if $(WRITE),--write=docs/operating.md)

.PHONY: bench bench-null bench-smoke bench-smoke-thread profile
bench: $(BENCH) $(OURS) $(STOCK_DIR)/nsqd $(BENCH_PEERS) ## measure against stock (ROW=name|group|all PAIRS=5 WRITE=1)
	$(BENCH_RUN) --stock=$(STOCK_DIR)/nsqd --pairs=$(PAIRS) $(BENCH_WRITE)

bench-null: $(BENCH) $(OURS) ## print the limits of the load generator
	@$(BENCH_RUN) --null

built-bench-smoke: $(BENCH) $(OURS)
bench-smoke: $(BENCH) $(OURS) ## short runs on our daemon alone, for the counts
	@$(BENCH_RUN) --no-stock --pairs=1 --scale=0.02 --row=memory,disk,transport,settings,latency,many,timers,stats-2000,churn,log

built-bench-smoke-thread: $(BENCH)
	@$(MAKE) --no-print-directory SANITIZE=thread $(ROOT)/thread/nsqd

# A race ends the daemon, and so the run.
bench-smoke-thread: $(BENCH) ## the same over TLS, snappy and deflate, under ThreadSanitizer
	@$(MAKE) --no-print-directory SANITIZE=thread $(ROOT)/thread/nsqd
	@TSAN_OPTIONS='halt_on_error=1 exitcode=66 second_deadlock_stack=1' \
		$(BENCH_RUN) --ours=$(ROOT)/thread/nsqd --no-stock --pairs=1 --scale=0.05 \
		--row=sub-tls-snappy,sub-deflate,mpubsub-tls-snappy

# perf follows frame pointers, so this daemon is built with them.
profile: $(BENCH) ## profile our daemon under one row (ROW=name), to build/profile-ROW.txt
ifeq ($(origin OURS),file)
	@$(MAKE) --no-print-directory BUILD=$(ROOT)/profile CFLAGS='-O2 -g -fno-omit-frame-pointer' all
	@$(BENCH_RUN) --ours=$(ROOT)/profile/nsqd --profile=$(ROOT)/profile-$(ROW).txt
else
	@$(BENCH_RUN) --profile=$(ROOT)/profile-$(ROW).txt
endif
