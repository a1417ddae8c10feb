# Unit tests: one cmocka program per module, test_<module>.c. Each is linked
# with everything but main(), and runs in a process and a directory of its own.

UNIT_SRC  := $(wildcard test/unit/test_*.c)
UNIT      := $(UNIT_SRC:test/unit/%.c=%)
UNIT_BIN  := $(UNIT:%=$(BUILD)/test/unit/%)
CHECKS    += unit unit-thread unit-address chan-perturb
BUILT     += unit unit-quick unit-thread unit-address chan-perturb

# The programs that `make quick` leaves out: those that run for more than 7 s. They kill, damage and
# wait many times over. The other runs start with them, so that none is alone at the end.
UNIT_SLOW := test_diskqueue_damage test_diskqueue_kill test_diskqueue_faults \
             test_protocol_v2_pump test_pollers_stress test_diskqueue test_log_crash \
             test_log_mover test_topic_log_crash
UNIT_QUICK := $(filter-out $(UNIT_SLOW),$(UNIT))
UNIT_ALL  := $(UNIT_SLOW) $(UNIT_QUICK)

# T=, only where it was given to make itself: a variable T of the environment is another's.
ifeq ($(if $(T),$(origin T)),command line)
UNIT_RUN  := $(T)
else
UNIT_RUN  := $(UNIT_ALL)
endif

# A name in one of these lists that is no program's: an error at once, whatever is to be made.
UNIT_UNKNOWN := $(filter-out $(UNIT),$(UNIT_RUN) $(UNIT_SLOW))
ifneq ($(UNIT_UNKNOWN),)
$(error There is no unit test program named $(UNIT_UNKNOWN). There are: $(UNIT))
endif

UNIT_FILTER := $(BUILD)/obj/test/unit/filter.o

$(BUILD)/test/unit/%: $(BUILD)/obj/test/unit/%.o $(UNIT_FILTER) $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# cmocka hands each test its state, and most tests need none. Other parameters are there for a type
# of callback. So a test does not have to name what it does not use.
$(UNIT_SRC:%.c=$(BUILD)/obj/%.o): ALL_CFLAGS += -Wno-unused-parameter

# Kept: make would remove them as steps on the way, and compile them again.
.SECONDARY: $(UNIT_SRC:%.c=$(BUILD)/obj/%.o) $(UNIT_FILTER)

-include $(UNIT_SRC:%.c=$(BUILD)/obj/%.d)

.PHONY: unit unit-quick unit-thread unit-address
built-unit: $(UNIT_RUN:%=$(BUILD)/test/unit/%)
unit: $(UNIT_RUN:%=$(BUILD)/test/unit/%) ## unit tests of this variant (SANITIZE=, PERTURB=), or T="test_chan ..." alone
	@test/unit/run.sh $^

built-unit-quick: $(UNIT_QUICK:%=$(BUILD)/test/unit/%)
unit-quick: $(UNIT_QUICK:%=$(BUILD)/test/unit/%) ## unit tests of this variant, without the few slow ones
	@test/unit/run.sh $^

built-unit-thread:
	@$(MAKE) --no-print-directory SANITIZE=thread built-unit

unit-thread: ## unit tests under ThreadSanitizer
	@$(MAKE) --no-print-directory SANITIZE=thread unit

built-unit-address:
	@$(MAKE) --no-print-directory SANITIZE=address built-unit

unit-address: ## unit tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory SANITIZE=address unit

# Seeded yields where a wrong algorithm would lose a race; CHAN_SEED=n replays.
.PHONY: chan-perturb chan-perturb-run chan-perturb-built
PERTURBED := test_chan% test_runnext test_ownerless test_timerproc test_pollers_stress
chan-perturb: ## tests of chan, runnext and netpoll in the perturbation build, plain and under ThreadSanitizer
	@$(MAKE) --no-print-directory PERTURB=1 chan-perturb-run
	@$(MAKE) --no-print-directory PERTURB=1 SANITIZE=thread chan-perturb-run

built-chan-perturb:
	@$(MAKE) --no-print-directory PERTURB=1 chan-perturb-built
	@$(MAKE) --no-print-directory PERTURB=1 SANITIZE=thread chan-perturb-built

chan-perturb-built: $(filter $(PERTURBED:%=$(BUILD)/test/unit/%),$(UNIT_BIN))

chan-perturb-run: $(filter $(PERTURBED:%=$(BUILD)/test/unit/%),$(UNIT_BIN))
	@test/unit/run.sh $^
