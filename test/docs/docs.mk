# Holds the documentation against the code.

CHECKS += docs

.PHONY: docs
docs: ## check what documentation and code must both say
	@test/docs/check.sh
