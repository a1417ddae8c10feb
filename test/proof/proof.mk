# `make proof`: the long form of everything, hours. PROOF_SCALE=0.01 shortens each part by as much,
# PROOF="model below" takes those parts only. docs/testing.md says what the parts write.

PROOF_SCALE ?= 1
PROOF_DIR   := $(ROOT)/proof
PROOF_PARTS := tests functional-durable interop-durable coverage perturb model fuzz soak soak-thread \
               soak-address soak-durable soak-durable-thread soak-faults below below-durable
PROOF       ?= $(PROOF_PARTS)
# What has no length of its own; to try the proof, for instance PROOF_MODEL='--only deal'.
PROOF_MODEL ?= --proof --weaken
PROOF_BELOW ?= all

# $(call scaled,N,LEAST): N times PROOF_SCALE, a whole number, but not less than LEAST.
scaled = $(shell awk 'BEGIN { n = int($(1) * $(PROOF_SCALE)); print n < $(2) ? $(2) : n }')

.PHONY: proof $(PROOF_PARTS:%=proof-%)
proof: ## everything, in its long form: hours (PROOF_SCALE=1 PROOF="model fuzz ...")
	@MAKE='$(MAKE)' PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/proof/proof.py $(PROOF_DIR) $(PROOF)

proof-tests:
	@$(MAKE) --no-print-directory check KEEP=1

# The stages of the same names in `make test` are a part of it, and have one kind of log.
proof-functional-durable:
	@$(MAKE) --no-print-directory functional-durable DURABILITY=process
	@$(MAKE) --no-print-directory functional-durable DURABILITY=disk

proof-interop-durable:
	@$(MAKE) --no-print-directory interop-durable DURABILITY=process

proof-coverage:
	@$(MAKE) --no-print-directory coverage

# Each round draws other seeds, and says which.
proof-perturb:
	@for round in $$(seq $(call scaled,50,1)); do \
	    echo "== round $$round"; $(MAKE) --no-print-directory chan-perturb || exit 1; done

proof-model:
	@$(MAKE) --no-print-directory model MODEL_ARGS='$(PROOF_MODEL)'

proof-fuzz:
	@$(MAKE) --no-print-directory fuzz FUZZ_TIME=$(call scaled,1800,5)

proof-soak:
	@$(MAKE) --no-print-directory soak MINUTES=$(call scaled,60,1)

proof-soak-thread:
	@$(MAKE) --no-print-directory soak SANITIZE=thread MINUTES=$(call scaled,60,1)

proof-soak-address:
	@$(MAKE) --no-print-directory soak SANITIZE=address MINUTES=$(call scaled,60,1)

proof-soak-durable:
	@$(MAKE) --no-print-directory soak DURABLE=1 MINUTES=$(call scaled,60,1)

proof-soak-durable-thread:
	@$(MAKE) --no-print-directory soak DURABLE=1 SANITIZE=thread MINUTES=$(call scaled,60,1)

proof-soak-faults:
	@$(MAKE) --no-print-directory soak-faults

proof-below-durable:
	@$(MAKE) --no-print-directory below-durable BELOW=$(PROOF_BELOW)

proof-below:
	@$(MAKE) --no-print-directory below BELOW=$(PROOF_BELOW)
