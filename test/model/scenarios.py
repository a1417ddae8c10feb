# SPDX-License-Identifier: MIT
"""What the model searches: programs, and scenarios with their parameters.

A scenario of `make model` is searched to its end. Those of `make proof` alone are larger.
"""

from collections import namedtuple

CHAN = ["common/chan.c", "common/select.c", "common/park.c", "common/ticker.c", "common/clock.c"]
SHARED = ["common/heap.c", "common/xalloc.c", "common/lock.c", "common/err.c"]

CALM = [f"calm:{s}" for s in [*CHAN, "common/heap.c", "common/timerproc.c", "common/deadlines.c",
                              "nsqd/core/message.c", "nsqd/core/guid.c"]]
QUEUE = ["topics", "topic", "topic_pump", "channel", "channel_pump", "gone", "kept", "in_flight_pqueue"]
COARSE = [f"coarse:{s}" for s in [*(f"nsqd/queue/{s}.c" for s in QUEUE), "common/xalloc.c",
                                  "common/lock.c", "common/err.c", "nsqd/disk/backend_queue.c",
                                  "nsqd/disk/dummy_backend_queue.c", "nsqd/disk/dqname.c",
                                  "protocol/names.c"]]
PUMPS = [f"coarse:{s}" for s in ["nsqd/queue/channel.c", "nsqd/queue/channel_pump.c", "nsqd/queue/in_flight_pqueue.c",
                                 "nsqd/queue/kept.c", "nsqd/client/client_v2.c", "nsqd/client/client_consumer.c",
                                 "nsqd/client/protocol_v2_pump.c", "nsqd/client/protocol_v2_send.c",
                                 "protocol/frame.c", "common/strbuf.c", "common/xalloc.c", "common/lock.c",
                                 "common/err.c"]]

# The sources of each, modelled. Of a coarse program (mc_coarse.c) some are calm, those that call them
# are coarse.
PROGRAMS = {
    "core": [*CHAN, "test/model/core.c"],
    "runnext": [*CHAN, *SHARED, "common/runnext.c", "common/timerproc.c", "test/model/runnext.c"],
    "netpoll": [*CHAN, *SHARED, "common/netpoll.c", "test/model/mc_net.c", "test/model/netpoll.c"],
    "delete": [*CALM, "calm+coarse:common/runnext.c", *COARSE, "test/model/mc_coarse.c",
               "coarse:test/model/delete_stubs.c", "coarse:test/model/delete.c"],
    "pumps": [*CALM, "calm+coarse:common/runnext.c", *PUMPS, "test/model/mc_coarse.c",
              "coarse:test/model/pump_stubs.c", "coarse:test/model/pumps.c"],
}

Scenario = namedtuple("Scenario", "name states only_proof")


def quick(name, states=4000000):
    return Scenario(name, states, False)


def proof(name, states=100000000):
    return Scenario(name, states, True)


SCENARIOS = [
    quick("core senders cap=0"),
    quick("core senders cap=1"),
    proof("core deal cap=0"),
    proof("core deal cap=1"),
    proof("core deal cap=0 max=1"),
    quick("core order cap=0"),
    quick("core order cap=1"),
    quick("core select cap=0"),
    quick("core select cap=1"),
    quick("core mirror"),
    quick("core meet"),
    quick("core close cap=0 selects=1"),
    quick("core close cap=1 selects=1"),
    proof("core close cap=0"),
    proof("core close cap=1"),
    quick("core default cap=1"),
    quick("core try cap=0"),
    quick("core try cap=1"),
    quick("core deadline cap=0"),
    quick("core deadline cap=1"),
    quick("core signal cap=1"),
    quick("core demand"),
    quick("core demand-self"),
    quick("core answer"),
    quick("core answer select=1"),
    quick("core lock"),
    quick("runnext owned cap=0"),
    quick("runnext owned cap=1"),
    quick("runnext owned cap=1 both=1"),
    quick("runnext owned cap=1 nostep=1"),
    proof("runnext owned cap=1 parked=0"),
    quick("runnext blocks"),
    quick("runnext blocks tasks=2"),
    quick("runnext ticker cap=1"),
    proof("runnext ticker cap=1 timeouts=1"),
    proof("runnext ticker cap=1 nostep=2 timeouts=1"),
    quick("runnext ownerless"),
    quick("runnext ownerless cap=1 nostep=1"),
    quick("runnext ownerless cap=1 nostep=1 sends=1 timeouts=2 failures=1"),
    proof("runnext ownerless cap=1 nostep=1 timeouts=2 failures=2"),
    quick("runnext ownerless cap=1 tick=1 sends=1"),
    quick("netpoll stream"),
    quick("netpoll stream begun=0"),
    quick("netpoll stream sends=2"),
    quick("netpoll stream kicks=1 told=1"),
    quick("netpoll stream kicks=1 sends=0"),
    quick("netpoll stream kicks=1 sends=0 begun=0"),
    proof("netpoll stream kicks=1"),
    proof("netpoll stream kicks=2"),
    quick("netpoll stream thread=1"),
    quick("netpoll stream thread=1 lazy=1"),
    proof("netpoll stream thread=1 failures=1"),
    quick("netpoll deadline"),
    quick("netpoll deadline ends=0 begun=0"),
    quick("netpoll again sends=0"),
    proof("netpoll again"),
    # --- the end of topics and channels
    quick("delete topic-twice"),
    quick("delete topic-twice keeps=1"),
    quick("delete topic-exit early=1"),
    quick("delete topic-create"),
    quick("delete topic-create publish=1"),
    proof("delete topic-create early=1"),
    proof("delete topic-twice early=1"),
    quick("delete channel-twice"),
    proof("delete channel-twice early=1"),
    quick("delete channel-topic"),
    quick("delete channel-exit early=1"),
    proof("delete channel-create put=0"),
    quick("delete channel-create topic=1"),
    quick("delete put-exit early=1"),
    quick("delete put-exit early=1 channels=0"),
    quick("delete put-exit early=1 channels=2"),
    quick("delete put-exit early=1 deferred=1"),
    proof("delete put-channel"),
    quick("delete put-channel deferred=1"),
    quick("delete put-last"),
    quick("delete put-topic channels=2"),
    quick("delete use use=0"),
    proof("delete use use=0 topic=0"),
    quick("delete use use=0 early=1"),
    quick("delete use use=1"),
    proof("delete use use=1 topic=0"),
    proof("delete use use=1 early=1 topic=0"),
    quick("delete use use=2 topic=0"),
    quick("delete use use=3"),
    quick("delete use use=4"),
    proof("delete use use=4 topic=0 put=1"),
    quick("delete answer"),
    quick("delete answer delay=1000"),
    quick("delete answer answer=1"),
    quick("delete answer answer=2"),
    quick("delete answer delete=1 scan=0"),
    proof("delete answer delete=1"),
    proof("delete known begin=0"),
    proof("delete prepared"),
    proof("delete disk early=1"),
    proof("delete ephemeral again=0"),
    proof("delete ephemeral subs=0 delete=1"),
    proof("delete ephemeral topic=1 subs=0 delete-topic=1"),
    proof("delete ephemeral-last"),
    # --- the pumps
    quick("pumps deliver msgs=3"),
    quick("pumps deliver msgs=3 clients=2"),
    quick("pumps deliver msgs=3 rdy=2 buffers=100"),
    quick("pumps deliver msgs=3 rdy=2 dance=1 buffers=100"),
    quick("pumps deliver msgs=2 stalls=1"),
    quick("pumps deliver msgs=2 stalls=1 size=0"),
    quick("pumps deliver msgs=2 stalls=1 failures=2 timeouts=1"),
    quick("pumps deliver msgs=3 keeps=0 looks=1 after=1 ordered=1"),
    quick("pumps deliver msgs=4 looks=2 after=1 ordered=1 draws=0"),
    quick("pumps deliver msgs=1 answers=1 stalls=1"),
    quick("pumps deliver msgs=2 disk=1"),
    quick("pumps deliver msgs=2 disk=1 clients=2 draws=0"),
    quick("pumps deliver msgs=2 scan=1"),
    quick("pumps deliver msgs=3 near=1 clients=2 draws=0"),
    quick("pumps deliver msgs=1 near=1 leaves=1 clients=2 draws=0"),
    quick("pumps deliver msgs=2 errors=1 leaves=2 clients=2 draws=0"),
    quick("pumps deliver msgs=1 begun=0"),
    quick("pumps deliver msgs=1 pauses=1 draws=0 switches=2"),
    quick("pumps deliver msgs=1 leaves=1 clients=2 draws=0"),
    quick("pumps leave msgs=1 leaves=1"),
    quick("pumps leave msgs=1 leaves=1 stalls=1 failures=1"),
    quick("pumps exit msgs=1 leaves=1 exits=1"),
    quick("pumps delete msgs=1 leaves=1 exits=1 draws=0"),
    proof("pumps deliver msgs=4 clients=2 draws=2"),
    proof("pumps deliver msgs=2 answers=2 stalls=2 draws=1"),
    proof("pumps deliver msgs=2 pauses=1 clients=2 draws=1 switches=3"),
    proof("pumps deliver msgs=2 leaves=1 clients=2 stalls=1 draws=1"),
    proof("pumps deliver msgs=2 scan=1 stalls=1 clients=2 draws=1"),
    proof("pumps deliver msgs=3 disk=1 clients=2"),
    proof("pumps delete msgs=2 leaves=1 exits=1 draws=1"),
]

# Those that are walked, in the memory of C11.
WALKS = [
    "core signal cap=1", "core senders cap=0", "core senders cap=1", "core select cap=0", "core close",
    "core senders cap=1 spins=1", "core answer", "core answer select=1", "core demand", "core deadline cap=0", "core default cap=1",
    "runnext ticker cap=1 nostep=2", "runnext ticker cap=1 timeouts=2", "runnext owned cap=1",
    "runnext ownerless cap=1 nostep=3 both=1 timeouts=2", "runnext blocks tasks=2", "runnext ownerless cap=1 nostep=1 timeouts=2 failures=1",
    "netpoll stream kicks=1 sends=2", "netpoll stream kicks=2 told=1", "netpoll stream thread=1 failures=1", "netpoll deadline",
    "netpoll again",
]
