# Functional tests: black box, against the built daemon on free ports. They run
# plain and under the sanitizers, which slow the daemon down about ten times:
# TIMEOUT_SCALE stretches the deadlines. FUNCTIONAL_ARGS goes to pytest, for
# instance `make functional FUNCTIONAL_ARGS='-k pause -x'`.

CHECKS += functional functional-thread functional-address functional-handover \
          functional-durable-quick
BUILT  += functional functional-quick functional-thread functional-address functional-handover \
          functional-durable functional-durable-quick

# Debian's python3, which sees Debian's pytest; another one first in PATH
# usually does not.
PYTHON3         ?= /usr/bin/python3
# The tests wait more than they work, so more of them at once than there are processors: those of the
# plain build use a fifth of the processors with two for each, those with ThreadSanitizer a quarter.
FUNCTIONAL_JOBS ?= $(shell expr $(if $(SANITIZE),5,6) '*' $$(nproc) / 2)
FUNCTIONAL_ARGS ?=
FUNCTIONAL_SCALE := $(if $(SANITIZE),5,1)
FUNCTIONAL      = PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) -m pytest -q -p no:cacheprovider \
                  -n $(FUNCTIONAL_JOBS) $(FUNCTIONAL_LEFT_OUT) $(FUNCTIONAL_ARGS) test/functional

# The files that `make quick` leaves out. Seconds that their tests take, added up, on an idle
# machine: 136, 45, 28, 26, 26, 25, 23, 21, 15, 13, 12, 9 and 80, of 630 for all. Most of them wait
# for a time-out, or for a disk. Of the last but one, each test wants root and a user of its own.
FUNCTIONAL_SLOW := test_client_pollers test_tls test_http_limits test_standstill test_auth \
                   test_lookupd test_statsd test_timeouts test_http_malformed test_exit \
                   test_full_sockets test_thread_limit test_slow_disk
$(foreach f,$(FUNCTIONAL_SLOW:%=test/functional/%.py),$(if $(wildcard $(f)),,\
    $(error FUNCTIONAL_SLOW: there is no $(f))))

# What test_http_side_by_side.py compares with. Where it cannot be built those tests are
# skipped, and fail in CI.
SIDE_BY_SIDE    := $(ROOT)/stock/nsqd
# Beside it, for test_lookupd.py: the same goes for it.
STOCK_LOOKUPD   := $(ROOT)/stock/nsqlookupd
# For test_slow_disk.py: it makes system calls slow (test/below/below.mk).
SLOW_DISK       := $(ROOT)/below/below.so
FUNCTIONAL_RUN   = BELOW_SO=$(abspath $(SLOW_DISK)) STOCK=$${STOCK:-$(abspath $(SIDE_BY_SIDE))} NSQD=$(abspath $(BUILD)/nsqd) \
                   TIMEOUT_SCALE=$(FUNCTIONAL_SCALE) $(FUNCTIONAL)

.PHONY: functional functional-quick functional-thread functional-address functional-handover functional-stock
.PHONY: functional-durable functional-durable-quick
built-functional: $(BUILD)/nsqd $(SIDE_BY_SIDE) $(STOCK_LOOKUPD) $(SLOW_DISK)
functional: $(BUILD)/nsqd $(SIDE_BY_SIDE) $(STOCK_LOOKUPD) $(SLOW_DISK) ## functional tests of this variant (SANITIZE=, FUNCTIONAL_ARGS=)
	@$(FUNCTIONAL_RUN)

# Stock's programs are not built for this: the tests that want them say so where there are none.
functional-quick: FUNCTIONAL_LEFT_OUT := $(FUNCTIONAL_SLOW:%=--ignore=test/functional/%.py)
built-functional-quick: $(BUILD)/nsqd
functional-quick: $(BUILD)/nsqd ## functional tests without the slow files
	@$(FUNCTIONAL_RUN)

built-functional-thread:
	@$(MAKE) --no-print-directory SANITIZE=thread built-functional

functional-thread: ## functional tests under ThreadSanitizer
	@$(MAKE) --no-print-directory SANITIZE=thread functional

built-functional-address:
	@$(MAKE) --no-print-directory SANITIZE=address built-functional

functional-address: ## functional tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory SANITIZE=address functional

# A daemon whose clients get a thread with each command, and give it up after a
# millisecond, as their pumps do: what happens now and then in the others is between any
# two commands there.
HANDOVER := SANITIZE=thread BUILD=$(ROOT)/handover \
            CFLAGS='-O2 -g -DSILENCE_NS=1000000 -DBUSY_COMMANDS=1 -DBUSY_STEPS=1'
built-functional-handover:
	@$(MAKE) --no-print-directory $(HANDOVER) built-functional

functional-handover: ## the tests of delivery, with clients that get threads and give them up all the time, under ThreadSanitizer
	@$(MAKE) --no-print-directory $(HANDOVER) \
		FUNCTIONAL_ARGS='-k "test_delivery or test_pause or test_ephemeral or test_timeouts"' functional

# Each topic has a log. test/functional/with_logs.py says what is otherwise. Left out are the files
# in which no message matters, and those whose daemons have logs, or none, by flags of their own.
FUNCTIONAL_WITHOUT_MESSAGES := test_http_answers test_http_framing test_http_malformed test_https \
                               test_http_side_by_side test_tls test_access test_addresses test_auth \
                               test_flags test_log test_service_manager test_statsd
FUNCTIONAL_OF_LOGS := test_delays test_durability test_durability_per_topic test_durability_settings \
                      test_log_by_id test_log_directories test_log_inspect test_slow_disk \
                      test_stock_and_back
# What a part of it leaves out as well: two thirds of the time, and mostly about clients.
FUNCTIONAL_LITTLE_OF_LOGS := test_bad_input test_channel_timeouts test_client_pollers \
                             test_command_line test_flow test_full_sockets test_http_limits \
                             test_http_pollers test_lookupd test_output_buffer \
                             test_protocol_identify test_standstill test_thread_limit \
                             test_transports
$(foreach f,$(FUNCTIONAL_WITHOUT_MESSAGES) $(FUNCTIONAL_OF_LOGS) $(FUNCTIONAL_LITTLE_OF_LOGS),\
    $(if $(wildcard test/functional/$(f).py),,$(error functional.mk: there is no $(f).py)))

built-functional-durable built-functional-durable-quick: $(BUILD)/nsqd
functional-durable functional-durable-quick: \
    FUNCTIONAL_LEFT_OUT = $(patsubst %,--ignore=test/functional/%.py,$(FUNCTIONAL_WITHOUT_MESSAGES) \
                            $(FUNCTIONAL_OF_LOGS) $(FUNCTIONAL_OTHERS))
functional-durable-quick: FUNCTIONAL_OTHERS := $(FUNCTIONAL_LITTLE_OF_LOGS)
functional-durable: $(BUILD)/nsqd ## functional tests with a log for each topic (DURABILITY=process)
functional-durable-quick: $(BUILD)/nsqd ## those of them in which a log matters most
functional-durable functional-durable-quick:
	@DURABILITY=$(or $(DURABILITY),process) $(FUNCTIONAL_RUN)

functional-stock: ## functional tests against the stock daemon: STOCK=path
	@test -x '$(STOCK)' || { echo 'set STOCK=path to an nsqd 1.3.0'; exit 2; }
	@NSQD=$(abspath $(STOCK)) $(FUNCTIONAL)
