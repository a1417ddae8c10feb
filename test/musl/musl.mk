# musl, the C library of Alpine. Debian has it, but no library of the daemon for it. So all sources
# are compiled, and those unit tests run that need no such library: they are the ones of test/arm64,
# natively here. common/libc.h says what is different with musl.

MUSL_CC    ?= musl-gcc
MUSL_DIR   := $(ROOT)/musl
CHECKS     += unit-musl
BUILT      += unit-musl
DEPS_TEST  += musl-gcc:musl-tools

# The kernel's headers, and those of libraries, are the system's; libc's come first.
MUSL_MORE  := -idirafter /usr/include/$(shell gcc -print-multiarch 2>/dev/null)
MUSL_OBJ   := $(SRC:%.c=$(MUSL_DIR)/obj/%.o)
MUSL_MAKE   = $(MAKE) --no-print-directory ARM64_CC='$(MUSL_CC) $(MUSL_MORE)' ARM64_RUN= \
              ARM64_DIR=$(MUSL_DIR)/unit ARM64_WITHOUT='$(MUSL_WITHOUT)'
# HTTP is missing; and nobody counts what is allocated.
MUSL_WITHOUT := test_a_thread_that_asks_by_http_hands_on_what_it_keeps \
              test_operations_allocate_nothing

$(MUSL_DIR)/obj/%.o: %.c test/musl/musl.mk
	@mkdir -p $(@D)
	$(call say,MUSL)$(MUSL_CC) -D_GNU_SOURCE -I. -idirafter /usr/include $(MUSL_MORE) -std=gnu11 \
	    $(WARN) -O2 -pthread -MMD -MP -c -o $@ $<

-include $(MUSL_OBJ:.o=.d)

.PHONY: unit-musl built-unit-musl musl-obj
musl-obj: $(MUSL_OBJ)

built-unit-musl:
	@! command -v $(MUSL_CC) >/dev/null || { $(MAKE) --no-print-directory musl-obj && \
	    $(MUSL_MAKE) unit-arm64-built; }

unit-musl: ## compile all with musl; unit tests of chans, tasks, pollers and threads with it
	@command -v $(MUSL_CC) >/dev/null || exec test/skip.sh 'musl' 'there is no $(MUSL_CC)'; \
	$(MAKE) --no-print-directory musl-obj && $(MUSL_MAKE) unit-arm64-run
