# Fuzz targets (libFuzzer, so clang, with AddressSanitizer and UBSan): one
# program per reader of what a peer sends, fuzz_<reader>.c. Each runs FUZZ_TIME
# seconds; what it found before is kept below build/fuzz and tried first. A
# failing input is left there as well: build/fuzz/fuzz_x build/fuzz/crash-...
# repeats it.

FUZZ_TIME ?= 10
FUZZ_CC   ?= clang
FUZZ_DIR  := $(ROOT)/fuzz
FUZZ_SRC  := $(wildcard test/fuzz/fuzz_*.c)
FUZZ_BIN  := $(FUZZ_SRC:test/fuzz/%.c=$(FUZZ_DIR)/%)
FUZZ_LIB  := protocol/stream_snappy.c protocol/stream_deflate.c protocol/http_head.c protocol/http_chunked.c \
             $(filter common/%,$(SRC))
FUZZ_FLAGS := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -std=gnu11 $(WARN) -O1 -g
CHECKS    += fuzz

$(FUZZ_DIR)/%: test/fuzz/%.c $(FUZZ_LIB) $(wildcard protocol/stream*.h protocol/http_*.h test/unit/stream_mem.h test/fuzz/*.h)
	@mkdir -p $(@D)
	$(call say,FUZZ)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_FLAGS) -o $@ $< $(FUZZ_LIB) $(LDLIBS)

# Side by side: each target has one thread.
FUZZ_RUN  := $(FUZZ_SRC:test/fuzz/fuzz_%.c=fuzz-%)

.PHONY: fuzz $(FUZZ_RUN)
fuzz: $(FUZZ_BIN) ## fuzz the readers of compressed streams and of HTTP, FUZZ_TIME=10 seconds each
	@$(MAKE) --no-print-directory -j$$(nproc) $(FUZZ_RUN)

$(FUZZ_RUN): fuzz-%: $(FUZZ_DIR)/fuzz_%
	@mkdir -p $<.corpus
	@$< -max_total_time=$(FUZZ_TIME) -artifact_prefix=$(FUZZ_DIR)/ -verbosity=0 \
		-print_final_stats=1 -max_len=8192 $<.corpus >$<.log 2>&1 || { cat $<.log; exit 1; }
	@echo "ok   $(<F) ($$(sed -n 's/^stat::number_of_executed_units: *//p' $<.log) inputs)"
