# SPDX-License-Identifier: MIT
"""Faults that the model must find: one for each rule that the code rests on.

A mutation changes one place of one file. Each of its scenarios is searched until one finds it; if
none does, the rule is not checked by the model, and `make model` fails. `old` must be in the file
exactly once, so a mutation that no longer fits fails as well.
"""

from collections import namedtuple

Mutation = namedtuple("Mutation", "rule file old new scenarios")

CHAN, SELECT, PARK = "common/chan.c", "common/select.c", "common/park.c"
INTERNAL, RUNNEXT, TIMERPROC = "common/chan_internal.h", "common/runnext.c", "common/timerproc.c"
PARK_H, NETPOLL = "common/park.h", "common/netpoll.c"

MUTATIONS = [
    # --- chans
    Mutation("a thread that serves a select has won the claim", CHAN,
             "	if (!park_claim(w->parker))\n		return false;",
             "	(void)park_claim(w->parker);",
             ["core close cap=0 selects=1", "core select cap=0"]),
    Mutation("a close wakes all receivers", CHAN,
             "		waiter_done(&c->recvq, w, false, &wakes);",
             "		waitq_remove(&c->recvq, w);",
             ["core close cap=0 selects=1"]),
    Mutation("a new receiver announces demand", CHAN,
             "	if (c->demandq.first)\n		chan_announce_demand_locked(c, &wakes);\n	chan_unlock(c);",
             "	chan_unlock(c);",
             ["core demand"]),
    Mutation("demand of nobody is no demand", CHAN,
             "		if (w->n == 0 || !waiter_claim(w))",
             "		if (!waiter_claim(w))",
             ["core demand-self"]),
    Mutation("a share is no more than the receiver's room", CHAN,
             "			if (share > room)\n				share = room;\n",
             "",
             ["core deal cap=0 max=1"]),
    Mutation("a free slot is for the sender that waits", CHAN,
             "		if (c->count < c->cap)\n			draw_locked(c, NULL, c->cap - c->count, true, wakes);",
             "",
             ["core order cap=1"]),
    Mutation("the ring's values are older than the senders'", CHAN,
             "	size_t n = c->count < max ? c->count : max;\n	if (n > 0)",
             "	size_t n = c->sendq.first ? 0 : c->count < max ? c->count : max;\n	if (n > 0)",
             ["core senders cap=1", "core order cap=1"]),
    Mutation("receivers are room to send", INTERNAL,
             "	if (c->count < c->cap || c->recvq.first || c->closed)",
             "	if (c->count < c->cap || c->closed)",
             ["core deadline cap=0", "core demand"]),
    Mutation("senders are something to receive", INTERNAL,
             "	if (c->count > 0 || c->sendq.first || c->closed)",
             "	if (c->count > 0 || c->closed)",
             ["core try cap=0"]),
    Mutation("hints are written under the lock", INTERNAL,
             "	if (hints != atomic_load_explicit(&c->hints, memory_order_relaxed))\n"
             "		atomic_store_explicit(&c->hints, hints, memory_order_relaxed);\n",
             "	(void)hints;\n",
             ["core try cap=0", "core try cap=1"]),
    Mutation("an unlock wakes a thread that waits for the lock", INTERNAL,
             "		futex_wake_one(&c->lock);",
             "		;",
             ["core lock"]),
    Mutation("a thread that waits for the lock says so", CHAN,
             "	while (atomic_exchange_explicit(&c->lock, 2, memory_order_acquire) != 0)\n"
             "		futex_wait_until(&c->lock, 2, 0);",
             "	while (atomic_exchange_explicit(&c->lock, 1, memory_order_acquire) != 0)\n"
             "		futex_wait_until(&c->lock, 1, 0);",
             ["core lock"]),
    Mutation("a receiver of a closed chan does not wait", CHAN,
             "	if (n > 0 || c->closed) {",
             "	if (n > 0) {",
             ["core deal cap=0"]),
    # --- selects
    Mutation("only with all chans locked nothing is ready", SELECT,
             "	index = sel_try_all_locked(s);\n	if (index >= 0)\n		sel_unlock_all(s);",
             "	index = -1;",
             ["core select cap=0", "core default cap=1"]),
    Mutation("a select leaves no waiter behind", SELECT,
             "		if (w->queued)\n			waitq_remove(case_queue(cc), w);",
             "",
             ["core select cap=0"]),
    Mutation("after the wake-up a select leaves the chan alone that has served it", SELECT,
             "		if (cc->op == CHAN_TICK || w == won)",
             "		if (cc->op == CHAN_TICK)",
             ["core answer select=1"]),
    Mutation("a deadline must win the claim", SELECT,
             "	} else if (!park_claim(p)) {",
             "	} else if (0) {",
             ["core deadline cap=0"]),
    Mutation("chans are locked in the order of their addresses", SELECT,
             "		while (at > 0 && (uintptr_t)sel_lock_at(s, at - 1) > (uintptr_t)cc->c)\n			at--;\n",
             "",
             ["core mirror"]),
    Mutation("each chan is locked once", SELECT,
             "		if (at > 0 && sel_lock_at(s, at - 1) == cc->c)\n			continue;\n",
             "",
             ["core meet"]),
    Mutation("new receivers of a select announce demand", SELECT,
             "		if (cc->op == CHAN_RECV && cc->c->demandq.first)",
             "		if (0)",
             ["core demand"]),
    # --- parkers
    Mutation("a sleeper goes to sleep by a step that a wake-up forestalls", PARK,
             "		atomic_compare_exchange_strong_explicit(\n"
             "			&p->state, &seen, ASLEEP, memory_order_relaxed, memory_order_relaxed);\n"
             "	while",
             "		atomic_store_explicit(&p->state, ASLEEP, memory_order_relaxed);\n"
             "	while",
             ["core senders cap=0"]),
    Mutation("a wake-up wakes a thread that is asleep", PARK,
             "	if (was == ASLEEP)\n		futex_wake_one(&p->state);\n	else if",
             "	if",
             ["core senders cap=0"]),
    Mutation("a deadline that passes takes back the sleep", PARK,
             "		if (atomic_compare_exchange_strong_explicit(\n"
             "			    &p->state, &seen, AWAKE, memory_order_relaxed, memory_order_relaxed))\n"
             "			return false;",
             "		atomic_store_explicit(&p->state, AWAKE, memory_order_relaxed);\n"
             "		return false;",
             ["core deadline cap=0"]),
    Mutation("one claimer wins", PARK_H,
             "	       !atomic_exchange_explicit(&p->claimed, true, memory_order_acquire);",
             "	       (atomic_store(&p->claimed, true), true);",
             ["core select cap=0", "core close cap=0 selects=1"]),
    # --- tasks
    Mutation("a thread that claims a parked task finds how it goes on", RUNNEXT,
             "	t->chosen = BY_WAKER;\n"
             "	int64_t deadline_ns = sel_enqueue_locked(&t->sel, &t->parker, t->waiters);\n"
             "	park_reopen(&t->parker);",
             "	int64_t deadline_ns = sel_enqueue_locked(&t->sel, &t->parker, t->waiters);\n"
             "	park_reopen(&t->parker);\n"
             "	t->chosen = BY_WAKER;",
             # No step of a thread lies between the two stores: it is a data race, which walks find.
             ["runnext ticker cap=1 timeouts=2 walk=5000", "runnext owned cap=1 walk=5000",
              "runnext blocks tasks=2 walk=5000"]),
    Mutation("the deadline is told after the claim is open", RUNNEXT,
             "	park_reopen(&t->parker);\n	park_perturb(PERTURB_ARM);\n"
             "	bool is_next = deadline_ns != 0 && timer_expect(&t->timer, deadline_ns);",
             "	bool is_next = deadline_ns != 0 && timer_expect(&t->timer, deadline_ns);\n"
             "	park_reopen(&t->parker);",
             ["runnext ticker cap=1 timeouts=1"]),
    Mutation("timerproc hears of a nearer deadline", RUNNEXT,
             "	if (is_next)\n		timerproc_wake();",
             "	(void)is_next;",
             ["runnext ticker cap=1"]),
    Mutation("a thread that blocks hands on what it keeps", PARK,
             "	uint32_t seen = BUSY;\n	park_hand_off();",
             "	uint32_t seen = BUSY;",
             ["runnext blocks"]),
    Mutation("an owner takes over those that wait with its task", RUNNEXT,
             "	kept = t->parker.rest;\n",
             "",
             ["runnext blocks tasks=2"]),
    Mutation("the owner that leaves says so before the next step", RUNNEXT,
             "	park_leave(&t->parker);\n	runnext_begin();\n	take_step(t);",
             "	runnext_begin();\n	take_step(t);\n	park_leave(&t->parker);",
             ["runnext ownerless cap=1 nostep=1 sends=1"]),
    Mutation("the owner leaves only with the claim", RUNNEXT,
             "		if (park_claim(&t->parker))\n			return false;",
             "		return false;",
             ["runnext ownerless cap=1 nostep=1 sends=1"]),
    Mutation("where there is no owner, one is started", PARK,
             "	else if (was == ABSENT)\n		p->absent(p);",
             "",
             ["runnext ownerless cap=1 nostep=1 sends=1"]),
    Mutation("the last step without an owner ends the task", RUNNEXT,
             "	if (park_is_absent(&t->parker))\n		end_task(t);\n	else\n		hand_over(t, ENDED);",
             "	if (park_is_absent(&t->parker))\n		end_task(t);\n	hand_over(t, ENDED);",
             ["runnext ownerless cap=1 sends=1"]),
    Mutation("timerproc plans the next look before it claims", TIMERPROC,
             "		plan_locked(t, INT64_MAX);\n		if (!park_claim_in_order(t->parker))\n			continue;",
             "		bool claimed = park_claim_in_order(t->parker);\n		plan_locked(t, INT64_MAX);\n"
             "		if (!claimed)\n			continue;",
             ["runnext ticker cap=1 timeouts=1"]),
    Mutation("timerproc notes what has changed before it looks", TIMERPROC,
             "		uint32_t seen = atomic_load(&proc.changed);\n"
             "		struct wake_list due = {NULL, NULL, 0};\n"
             "		if (is_stopping())\n			return;\n"
             "		int64_t next = claim_due(&due);",
             "		struct wake_list due = {NULL, NULL, 0};\n"
             "		if (is_stopping())\n			return;\n"
             "		int64_t next = claim_due(&due);\n"
             "		uint32_t seen = atomic_load(&proc.changed);",
             ["runnext ticker cap=1"]),
    # --- connections without threads
    Mutation("what happens while a connection runs is remembered", NETPOLL,
             "		(state == PARKED ? with_state(seen, RUNNING) : seen | AGAIN) | with,",
             "		(state == PARKED ? with_state(seen, RUNNING) : seen) | with,",
             ["netpoll stream", "netpoll stream kicks=1 sends=0"]),
    Mutation("a thread that parks a connection looks whether something has happened", NETPOLL,
             "	while (!(seen & AGAIN)) {",
             "	for (;;) {",
             ["netpoll stream", "netpoll stream kicks=1 sends=0"]),
    Mutation("an event of a connection that is gone is for nobody", NETPOLL,
             "		if (seq_of(seen) != seq || state == FREE)",
             "		if (state == FREE)",
             ["netpoll again"]),
    Mutation("a connection is in epoll before it is parked", NETPOLL,
             "	enter_epoll(pd);\n	plan_look(pd);\n	return release(pd) ? NETPOLL_WAIT : NETPOLL_YIELD;",
             "	bool parked = release(pd);\n	enter_epoll(pd);\n	plan_look(pd);\n"
             "	return parked ? NETPOLL_WAIT : NETPOLL_YIELD;",
             ["netpoll stream begun=0 kicks=1 sends=0"]),
    Mutation("a connection with a thread is not in epoll", NETPOLL,
             "	leave_epoll(pd);\n	return pd->ops->run(pd->arg);",
             "	return pd->ops->run(pd->arg);",
             ["netpoll stream thread=1 lazy=1"]),
    Mutation("the deadline of a connection ends with it", NETPOLL,
             "	mutex_lock(&np->lock);\n	forget_look_locked(pd);\n	uint16_t",
             "	mutex_lock(&np->lock);\n	uint16_t",
             ["netpoll deadline"]),
    Mutation("a deadline that has come nearer sets the timer", NETPOLL,
             "	set_look_locked(pd, look);\n	set_timer_locked(np);",
             "	set_look_locked(pd, look);",
             ["netpoll deadline ends=0"]),
    Mutation("each poller hears of the stop", NETPOLL,
             "	/* The next one is to see it, too. */\n	wake_a_poller(np);",
             "",
             ["netpoll stream"]),
    Mutation("a connection without a thread tries again", NETPOLL,
             "	if (pd->needs_thread)\n		return pd->retry_ns;",
             "",
             ["netpoll stream thread=1 failures=1"]),
]
