# Unit tests: one cmocka program per module, test_<module>.c. Each is linked
# with everything but main(), and runs in a process and a directory of its own.

UNIT_SRC  := $(wildcard test/unit/test_*.c)
UNIT_BIN  := $(UNIT_SRC:test/unit/%.c=$(BUILD)/test/unit/%)
CHECKS    += unit unit-thread unit-address chan-perturb

$(BUILD)/test/unit/%: $(BUILD)/obj/test/unit/%.o $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# cmocka hands each test its state, and most tests need none. Other parameters are there for a type
# of callback. So a test does not have to name what it does not use.
$(UNIT_SRC:%.c=$(BUILD)/obj/%.o): ALL_CFLAGS += -Wno-unused-parameter

# Kept: make would remove them as steps on the way, and compile them again.
.SECONDARY: $(UNIT_SRC:%.c=$(BUILD)/obj/%.o)

-include $(UNIT_SRC:%.c=$(BUILD)/obj/%.d)

.PHONY: unit unit-thread unit-address
unit: $(UNIT_BIN) ## unit tests of this variant (SANITIZE=, PERTURB=)
	@test/unit/run.sh $(UNIT_BIN)

unit-thread: ## unit tests under ThreadSanitizer
	@$(MAKE) --no-print-directory SANITIZE=thread unit

unit-address: ## unit tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory SANITIZE=address unit

# Seeded yields where a wrong algorithm would lose a race; CHAN_SEED=n replays.
.PHONY: chan-perturb chan-perturb-run
chan-perturb: ## tests of the chan in the perturbation build, plain and under ThreadSanitizer
	@$(MAKE) --no-print-directory PERTURB=1 chan-perturb-run
	@$(MAKE) --no-print-directory PERTURB=1 SANITIZE=thread chan-perturb-run

chan-perturb-run: $(filter $(BUILD)/test/unit/test_chan%,$(UNIT_BIN))
	@test/unit/run.sh $^
