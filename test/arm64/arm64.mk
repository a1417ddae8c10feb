# The unit tests of chans, tasks and pollers on arm64, whose memory is weaker than that of x86-64.
# A cross compiler builds them, and qemu's emulation of one process runs them. They are linked with as much of
# common/ as needs no library but libc, and with a small cmocka of their own (cmocka.h).
#
# qemu translates arm64's instructions with their orders (but for one: stores.h). It runs on this
# machine's processor, which may do less than arm64 allows. So it shows what arm64 code does, and
# not all that an arm64 processor may do.

ARM64_CC  ?= aarch64-linux-gnu-gcc
ARM64_RUN ?= qemu-aarch64
ARM64_DIR := $(ROOT)/arm64
CHECKS    += unit-arm64
BUILT     += unit-arm64

# These need other libraries.
ARM64_NOT := common/digest.c common/http_client.c common/json.c common/regex.c common/toml.c \
             common/statsd_client.c
ARM64_LIB := $(filter-out $(ARM64_NOT),$(wildcard common/*.c)) protocol/listener.c \
             test/arm64/without_http.c
ARM64_TESTS := test_chan test_chan_batch test_chan_demand test_chan_fatal test_chan_select \
             test_chan_stress test_chan_timer test_runnext test_ownerless test_timerproc \
             test_pollers test_pollers_deadlines test_pollers_stress test_pollers_threads \
             test_gothread test_lock test_ticker test_deadlines test_heap test_slab
ARM64_BIN := $(ARM64_TESTS:%=$(ARM64_DIR)/%)
ARM64_OBJ := $(ARM64_LIB:%.c=$(ARM64_DIR)/obj/%.o)

# libc's headers are the cross compiler's. Those of uthash are for any processor, and come last.
ARM64_FLAGS := -D_GNU_SOURCE -isystem test/arm64 -I. -idirafter /usr/include -std=gnu11 $(WARN) \
             -O2 -g -pthread -DEMULATED=1 -include test/arm64/stores.h

$(ARM64_DIR)/obj/%.o: %.c test/arm64/arm64.mk
	@mkdir -p $(@D)
	$(call say,ARM64)$(ARM64_CC) $(ARM64_FLAGS) $(ARM64_MORE) -MMD -MP -c -o $@ $<

$(ARM64_TESTS:%=$(ARM64_DIR)/obj/test/unit/%.o): ARM64_MORE := -Wno-unused-parameter
.SECONDARY: $(ARM64_TESTS:%=$(ARM64_DIR)/obj/test/unit/%.o) $(ARM64_OBJ)

# Static: qemu needs no libraries of arm64 then. (ld warns of what that means for /etc/services.)
$(ARM64_DIR)/test_%: $(ARM64_DIR)/obj/test/unit/test_%.o $(ARM64_OBJ)
	$(call say,ARM64)$(ARM64_CC) -static -pthread -Wl,--no-warnings -o $@ $^ -lm

-include $(ARM64_OBJ:.o=.d) $(ARM64_TESTS:%=$(ARM64_DIR)/obj/test/unit/%.d)

.PHONY: unit-arm64 unit-arm64-run unit-arm64-built
# Debian's compiler only recommends the libc for it.
ARM64_HAS_LIBC := echo '\#include <stdio.h>' | $(ARM64_CC) -E - >/dev/null 2>&1

# Without the tools there is nothing to build: the stage says so.
built-unit-arm64:
	@! { $(ARM64_HAS_LIBC); } || $(MAKE) --no-print-directory unit-arm64-built

unit-arm64-built: $(ARM64_BIN)

unit-arm64: ## unit tests of chans, tasks and pollers on arm64, by qemu
	@for tool in $(ARM64_CC) $(ARM64_RUN); do \
	    command -v $$tool >/dev/null || \
	        exec test/skip.sh 'the unit tests on arm64' "there is no $$tool"; \
	done; \
	$(ARM64_HAS_LIBC) || exec test/skip.sh 'the unit tests on arm64' \
	    'there is no libc for them (Debian: libc6-dev-arm64-cross)'; \
	$(MAKE) --no-print-directory unit-arm64-run

unit-arm64-run: export RUN_BY := $(ARM64_RUN)
# A test forks while another thread of the emulator may hold the lock of glib's slices: the child
# would wait for it for ever. malloc's locks are free after a fork.
unit-arm64-run: export G_SLICE := always-malloc
# HTTP is missing; and the emulator's memory is not the program's.
unit-arm64-run: export ARM64_WITHOUT := test_a_thread_that_asks_by_http_hands_on_what_it_keeps \
    test_ended_threads_do_not_pile_up
unit-arm64-run: $(ARM64_BIN)
	@test/unit/run.sh $^
