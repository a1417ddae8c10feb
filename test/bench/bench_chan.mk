# The cost of the chan's operations, beside the same in Go (if there is a go).

BENCH_CHAN_GO := $(if $(shell command -v go 2>/dev/null),$(BUILD)/test/bench/chango)

$(BUILD)/test/bench/bench_chan: $(BUILD)/obj/test/bench/bench_chan.o $(filter $(BUILD)/obj/common/%,$(OBJ))
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(BUILD)/obj/test/bench/bench_chan.d

$(BUILD)/test/bench/chango: test/bench/chango/main.go test/bench/chango/go.mod
	@CGO_ENABLED=0 test/go-build.sh 'bench-chan in Go' test/bench/chango . $@

.PHONY: bench-chan
bench-chan: $(BUILD)/test/bench/bench_chan $(BENCH_CHAN_GO) ## ns per chan operation, in C and in Go (ROUNDS=7)
	@test/bench/bench_chan.sh $^
