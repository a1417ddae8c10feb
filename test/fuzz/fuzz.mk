# Fuzz targets (libFuzzer, so clang, with AddressSanitizer and UBSan): one
# program for each thing that comes from outside, fuzz_<thing>.c. run.py starts
# them: see there, and docs/testing.md.

FUZZ_TIME ?= 10
FUZZ_CC   ?= clang
# At once. A target waits for its threads half of the time.
FUZZ_JOBS ?= $(shell expr 4 '*' $$(nproc))
FUZZ_DIR  := $(ROOT)/fuzz
FUZZ_SRC  := $(wildcard test/fuzz/fuzz_*.c)
FUZZ_BIN  := $(FUZZ_SRC:test/fuzz/%.c=$(FUZZ_DIR)/%)
FUZZ_SAN  := address,undefined
# Locks are checked, and a client's thread gives up after 1 ms of silence: an
# input costs no more. The macro with the long name is the usual one: it leaves
# out checksums that no fuzzer guesses (protocol/stream_snappy.c).
FUZZ_CFLAGS := -std=gnu11 $(WARN) -O1 -g -pthread -fno-omit-frame-pointer \
               -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -fno-sanitize-recover=all \
               -fprofile-instr-generate -fcoverage-mapping \
               -DDEBUG_LOCKS -DSILENCE_NS=1000000 -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
FUZZ_HARNESS := $(filter-out $(FUZZ_SRC),$(wildcard test/fuzz/*.c))
FUZZ_OBJ  := $(patsubst %.c,$(FUZZ_DIR)/obj/%.o,$(filter-out nsqd/main.c,$(SRC)) $(FUZZ_HARNESS))
FUZZ_LIB  := $(FUZZ_DIR)/libnsqd.a
CHECKS    += fuzz
BUILT     += fuzz

$(FUZZ_DIR)/obj/%.o: %.c test/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call say,FUZZ)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(FUZZ_LIB): $(FUZZ_OBJ)
	@rm -f $@
	$(call say,AR)ar rc $@ $^

$(FUZZ_DIR)/%: $(FUZZ_DIR)/obj/test/fuzz/%.o $(FUZZ_LIB)
	$(call say,LD)$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $< $(FUZZ_LIB) $(LDLIBS)

.SECONDARY: $(FUZZ_SRC:%.c=$(FUZZ_DIR)/obj/%.o)
-include $(FUZZ_OBJ:.o=.d) $(FUZZ_SRC:%.c=$(FUZZ_DIR)/obj/%.d)

.PHONY: fuzz
built-fuzz: $(FUZZ_BIN)
fuzz: $(FUZZ_BIN) ## fuzz what comes from outside, FUZZ_TIME=10 seconds per target (FUZZ="http tls": these)
	@test/fuzz/make_corpus.py --check
	@test/fuzz/run.py --time $(FUZZ_TIME) --jobs $(FUZZ_JOBS) --build $(FUZZ_DIR) $(FUZZ)
