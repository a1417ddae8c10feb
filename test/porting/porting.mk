# Programs in C and in Go that must say the same: <name>/<name>.c, <name>/main.go.

PORTING := sieve1 powser1
CHECKS  += porting
BUILT   += porting

PORTING_C  := $(PORTING:%=$(BUILD)/test/porting/%)
PORTING_GO := $(PORTING:%=$(BUILD)/test/porting/%.go)

$(foreach p,$(PORTING),$(eval $(BUILD)/test/porting/$(p): $(BUILD)/obj/test/porting/$(p)/$(p).o))
$(PORTING_C): $(filter $(BUILD)/obj/common/%,$(OBJ))
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(PORTING:%=$(BUILD)/obj/test/porting/%.d)

$(PORTING_GO): $(BUILD)/test/porting/%.go: test/porting/%/main.go
	@CGO_ENABLED=0 test/go-build.sh 'porting $*' $(<D) . $@

# Without a Go tool chain there is nothing to compare with: that has been said.
.PHONY: porting
built-porting: $(PORTING_C) $(PORTING_GO)
porting: $(PORTING_C) $(PORTING_GO) ## paired programs in C and in Go, outputs compared
	@for p in $(PORTING); do \
	    [ -x $(BUILD)/test/porting/$$p.go ] || continue; \
	    $(BUILD)/test/porting/$$p >$(BUILD)/test/porting/$$p.out && \
	    $(BUILD)/test/porting/$$p.go | cmp - $(BUILD)/test/porting/$$p.out || exit 1; \
	    echo "ok   $$p"; \
	done
