# Which lines the tests run: gcc's counters in a build variant of its own, SANITIZE=coverage.
# docs/testing.md lists the files of which less than 90 % are run, with the reasons.

# All tests that run the daemon or its units, and take the variant, but two. Faults from below would
# meet the counters' own files. What a soak runs is chance, and so would be what is listed.
COVERED := unit functional durability interop tools crossdq
COVERAGE_DIR := $(ROOT)/coverage

# A test that fails here fails in its own stage as well, where that is counted. Daemons that run as
# other users write counters, too: hence the umask.
.PHONY: coverage coverage-report coverage-clean
coverage: ## which lines of which file the tests run (all tests once, slowly)
	@$(MAKE) --no-print-directory coverage-clean
	-@umask 0; MAKE='$(MAKE)' SANITIZE=coverage KEEP=1 BUILT='$(BUILT)' BESIDE='$(BESIDE)' \
	    RESULTS=$(abspath $(ROOT)/check-coverage.txt) test/check.sh $(COVERED)
	@$(MAKE) --no-print-directory coverage-report

coverage-clean:
	@mkdir -p $(COVERAGE_DIR)
	@find $(COVERAGE_DIR) -name '*.gcda' -delete

coverage-report: ## the same table again, of the last run
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/coverage/coverage.py $(COVERAGE_DIR)/obj
