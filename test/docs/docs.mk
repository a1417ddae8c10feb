# Holds the documentation against the code.

CHECKS += docs
BUILT  += docs

.PHONY: docs
built-docs:

docs: ## check what documentation and code must both say
	@test/docs/check.sh

# The list of Go functions is compared with the Go source where that is at hand.
GO_SOURCE = $(shell go env GOMODCACHE 2>/dev/null)/github.com/nsqio

.PHONY: go-map
go-map: ## write docs/go-map.md: where the counterpart of each Go function is
	@test/docs/go_map.py --write
	@files=$$(ls $(GO_SOURCE)/nsq@v1.3.0/nsqd/*.go $(GO_SOURCE)/go-diskqueue@v1.1.0/*.go \
	    2>/dev/null | grep -v _test.go); \
	    [ -z "$$files" ] || test/docs/go_map.py --compare $$files
