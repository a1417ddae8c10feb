# A soak with accounting: many clients and operators do everything at random, the daemon is stopped,
# killed and suspended meanwhile, and then the books are balanced. `make soak MINUTES=5 SEED=7
# SANITIZE=thread`; a seed repeats what each session does. SOAK_ARGS goes to soak.py, for instance
# `make soak SEED=7 SOAK_ARGS='--round 2'`. With DURABLE=1 all topics have logs, and kills take nothing.

CHECKS    += soak-check soak-durable-check

PYTHON3   ?= /usr/bin/python3
MINUTES   ?= 5
SEED      ?=
SOAK_ARGS ?=
DURABLE   ?=

.PHONY: soak
soak: $(BUILD)/nsqd ## a soak of this variant with accounting (MINUTES=5, SEED=, SANITIZE=)
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/soak/soak.py --nsqd $(BUILD)/nsqd \
		--directory $(BUILD)/soak$(if $(DURABLE),-durable) $(if $(DURABLE),--durable) --variant $(or $(SANITIZE),plain) \
		--minutes $(MINUTES) --seed '$(SEED)' $(SOAK_ARGS)

# Side by side: a soak waits more than it works. The seconds of each are the wall's. The seeds are
# always the same: what is red in `make test` can be made red again. `make soak` draws new ones.
SOAK_VARIANTS := soak-plain soak-address soak-thread
SOAK_SEED_plain   := 1
SOAK_SEED_address := 2
SOAK_SEED_thread  := 4
.PHONY: soak-check $(SOAK_VARIANTS)
soak-check: MINUTES := $(if $(filter command line,$(origin MINUTES)),$(MINUTES),1.67)
soak-check: soak-rules ## soaks of the plain build and under two sanitizers, side by side (MINUTES=1.67 each)
	@$(MAKE) --no-print-directory -j3 MINUTES=$(MINUTES) $(SOAK_VARIANTS)

# The same with logs. Each variant has its mode from the seed's rounds: steady, clean, kill.
SOAK_DURABLE_VARIANTS := soak-durable-plain soak-durable-thread
SOAK_SEED_durable-plain  := 3
SOAK_SEED_durable-thread := 5
.PHONY: soak-durable-check $(SOAK_DURABLE_VARIANTS)
soak-durable-check: MINUTES := $(if $(filter command line,$(origin MINUTES)),$(MINUTES),1.67)
soak-durable-check: ## soaks of topics with logs, plain and under ThreadSanitizer, side by side (MINUTES=1.67 each)
	@$(MAKE) --no-print-directory -j2 MINUTES=$(MINUTES) $(SOAK_DURABLE_VARIANTS)

$(SOAK_DURABLE_VARIANTS): soak-durable-%:
	@$(MAKE) --no-print-directory SANITIZE=$(filter-out plain,$*) DURABLE=1 \
		SEED=$(or $(SEED),$(SOAK_SEED_durable-$*)) soak

.PHONY: soak-rules
soak-rules:
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) -m pytest -q -p no:cacheprovider test/soak

$(SOAK_VARIANTS): soak-%:
	@$(MAKE) --no-print-directory SANITIZE=$(filter-out plain,$*) \
		SEED=$(or $(SEED),$(SOAK_SEED_$*)) soak

# After a change to the rules; minutes. (`make soak-faults FAULTS="FIN RDY"`)
FAULTS ?=
.PHONY: soak-faults
soak-faults: $(BUILD)/nsqd ## faults in a copy of the daemon, each of which a soak must find (FAULTS=)
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/soak/faults.py $(ROOT)/soak-faults $(FAULTS)
