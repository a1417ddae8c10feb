# `make model`: searches the scenarios of the real C, and tries all mutations (see README.md).
# MODEL_ARGS="--only netpoll" takes those with this in their name; --proof has the long ones as
# well.

MODEL_ARGS ?=
MODEL_DIR  := $(ROOT)/model
CHECKS     += model

# The checker changes stacks and looks at returns as x86-64 has them.
.PHONY: model
model: ## search the threads' interleavings of the real C, and find all mutations (MODEL_ARGS=)
	@case "$$(uname -m)" in \
	    x86_64) PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/model/run.py --cc "$(CC)" \
	        --build $(MODEL_DIR) $(MODEL_ARGS) ;; \
	    *) test/skip.sh model 'the checker knows x86-64 only' ;; \
	esac
