# Disk queues handed to and fro between stock's library (Go) and ours.

CROSSDQ := $(BUILD)/test/crossdq
CHECKS  += crossdq
BUILT   += crossdq

CROSSDQ_OBJ := $(filter $(BUILD)/obj/common/% $(BUILD)/obj/nsqd/disk/diskqueue% \
                        $(BUILD)/obj/nsqd/core/message% $(BUILD)/obj/nsqd/disk/backend_queue.o \
                        $(BUILD)/obj/nsqd/disk/disk_stats.o,$(OBJ))

$(CROSSDQ)/crossdq: $(BUILD)/obj/test/crossdq/crossdq.o $(CROSSDQ_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(BUILD)/obj/test/crossdq/crossdq.d

$(CROSSDQ)/stock: test/crossdq/main.go test/crossdq/go.mod test/crossdq/go.sum
	@CGO_ENABLED=0 test/go-build.sh crossdq test/crossdq . $@

# Where stock's part cannot be built, that has been said.
.PHONY: crossdq bench-dq
built-crossdq: $(CROSSDQ)/crossdq $(CROSSDQ)/stock
crossdq: $(CROSSDQ)/crossdq $(CROSSDQ)/stock ## disk queues handed to and fro between stock's library and ours
	@[ ! -x $(CROSSDQ)/stock ] || test/crossdq/run.sh $(CROSSDQ)/stock $(CROSSDQ)/crossdq $(CROSSDQ)/data

bench-dq: $(CROSSDQ)/crossdq $(CROSSDQ)/stock ## stock's disk queue against ours, 200-byte bodies
	@for p in stock crossdq; do rm -rf $(CROSSDQ)/data; mkdir -p $(CROSSDQ)/data; \
	    $(CROSSDQ)/$$p bench $(CROSSDQ)/data q 104857600 200 200000; done; rm -rf $(CROSSDQ)/data
