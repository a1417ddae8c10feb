# What the log does without the rest of the daemon.

BENCH_LOG_DIR ?= $(ROOT)

$(BUILD)/test/bench/bench_log: $(BUILD)/obj/test/bench/bench_log.o $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(BUILD)/obj/test/bench/bench_log.d

.PHONY: bench-log
bench-log: $(BUILD)/test/bench/bench_log ## appends and readers of the log alone (BENCH_LOG_DIR=build)
	@$< $(BENCH_LOG_DIR)
