# Faults from below: the daemon under a library that makes its system calls fail, one after the
# other (docs/testing.md). BELOW=all tries every call and every way to fail, instead of a sample.
# BELOW_ARGS goes to the runner, for instance `make below BELOW_ARGS='--kinds fsync,rename'`.

CHECKS += below below-durable
BUILT  += below below-durable

PYTHON3     ?= /usr/bin/python3
BELOW       ?= sample
BELOW_ARGS  ?=
# Which faults the sample has beside those that it always has.
BELOW_SEED  ?= 1
BELOW_SO    := $(ROOT)/below/below.so

# Never sanitized: it stands between the daemon and the sanitizer.
$(BELOW_SO): test/below/below.c test/below/below.mk
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -fPIC -shared -o $@ $< -ldl

# What a log asks of the system. The rest of the daemon is the same, and `make below` has it.
BELOW_LOG := openat fdopendir readdir mkdirat renameat unlinkat fallocate pread pwritev fdatasync \
             fsync ftruncate fstat
comma := ,
empty :=
built-below-durable: built-below
.PHONY: below-durable
below-durable: ## system calls of topics with logs fail (DURABILITY=disk)
	@DURABILITY=$(or $(DURABILITY),disk) $(MAKE) --no-print-directory below \
		BELOW_ARGS='--kinds $(subst $(empty) $(empty),$(comma),$(strip $(BELOW_LOG))) $(BELOW_ARGS)'

.PHONY: below
built-below: $(BUILD)/nsqd $(BELOW_SO)
below: $(BUILD)/nsqd $(BELOW_SO) ## system calls of the daemon fail, one in each run (BELOW=all: every one; BELOW_ARGS=)
	@NSQD=$(abspath $(BUILD)/nsqd) BELOW_SO=$(abspath $(BELOW_SO)) \
	TIMEOUT_SCALE=$(if $(SANITIZE),5,1) PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) test/below/run.py --seed $(BELOW_SEED) $(if $(filter all,$(BELOW)),--all) $(BELOW_ARGS)
