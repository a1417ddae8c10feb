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
CHANNEL_PUMP, CLIENT_PUMP = "nsqd/queue/channel_pump.c", "nsqd/client/protocol_v2_pump.c"
CHANNEL, CLIENT = "nsqd/queue/channel.c", "nsqd/client/client_v2.c"
CHANNEL_PUT, CHANNEL_EXIT = "nsqd/queue/channel_put.c", "nsqd/queue/channel_exit.c"
IN_FLIGHT, CHANNEL_DUE = "nsqd/queue/channel_in_flight.c", "nsqd/queue/channel_due.c"
SEND = "nsqd/client/protocol_v2_send.c"
TOPICS, TOPIC, TOPIC_PUMP = "nsqd/queue/topics.c", "nsqd/queue/topic.c", "nsqd/queue/topic_pump.c"
TOPIC_PUT, TOPIC_EXIT = "nsqd/queue/topic_put.c", "nsqd/queue/topic_exit.c"

LOG, LOG_LOOP, LOG_APPEND = "nsqd/log/log.c", "nsqd/log/log_loop.c", "nsqd/log/log_append.c"
LOG_QUEUE, LOG_PUT = "nsqd/log/log_queue.c", "nsqd/log/log_queue_put.c"
LOG_READ, LOG_DUE = "nsqd/log/log_queue_read.c", "nsqd/log/log_queue_due.c"
LOG_MOVE, LOG_MOVER = "nsqd/log/log_queue_move.c", "nsqd/log/log_mover.c"
TOPIC_LOG, LOG_FLUSH = "nsqd/log/topic_log.c", "nsqd/log/topic_log_flush.c"
LOG_MEMBERS = "nsqd/log/topic_log_members.c"

ANSWER = "pumps deliver msgs=2 answers=1 stalls=1 draws=0 switches=2"
PAUSED = "pumps deliver msgs=2 early=1 pauses=2 draws=0 switches=1"

HELD = "delete consume held=1 mem=1 refusals=2 switches=0 draws=0"

EMPTY = "delete consume empties=1 switches=1 draws=0"
EMPTY_KEPT = "delete consume empties=1 waits=0 two=1 mem=1 refusals=1 switches=1 draws=0"

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
             "	if (c->demandq.first)\n"
             "		chan_announce_demand_locked(c, &wakes);\n"
             "	chan_unlock(c);",
             "	chan_unlock(c);",
             ["core demand"]),
    Mutation("demand of nobody is no demand", CHAN,
             "		if (w->n == 0 || !waiter_claim(w))",
             "		if (!waiter_claim(w))",
             ["core demand-self"]),
    Mutation("a share is no more than the receiver's room", CHAN,
             "			if (share > room)\n"
             "				share = room;\n",
             "",
             ["core deal cap=0 max=1 n=2"]),
    Mutation("a free slot is for the sender that waits", CHAN,
             "		chan_refill_locked(c, wakes);",
             "",
             ["core order cap=1"]),
    Mutation("the ring's values are older than the senders'", CHAN,
             "	size_t n = c->count < max ? c->count : max;\n	if (n > 0)",
             "	size_t n = c->sendq.first ? 0 : c->count < max ? c->count : max;\n"
             "	if (n > 0)",
             ["core senders cap=1", "core order cap=1"]),
    Mutation("receivers are room to send", INTERNAL,
             "	if (c->count < c->cap || c->recvq.first || c->closed)",
             "	if (c->count < c->cap || c->closed)",
             ["core deadline cap=0", "core demand"]),
    Mutation("senders are something to receive", INTERNAL,
             "	if (c->count > 0 || c->sendq.first || c->closed)",
             "	if (c->count > 0 || c->closed)",
             ["core try cap=0"]),
    Mutation("hints are written", INTERNAL,
             "	if (hints != atomic_load_explicit(&c->hints, memory_order_relaxed))\n"
             "		atomic_store_explicit(&c->hints, hints, memory_order_relaxed);\n",
             "	(void)hints;\n",
             ["core try cap=0", "core try cap=1"]),
    Mutation("hints are written under the lock", INTERNAL,
             "	if (hints != atomic_load_explicit(&c->hints, memory_order_relaxed))\n"
             "		atomic_store_explicit(&c->hints, hints, memory_order_relaxed);\n"
             "#if defined(DEBUG_LOCKS) || defined(CHAN_PERTURB)\n"
             "	chan_check_invariants_locked(c);\n#endif\n"
             "	/*\n"
             "	 * Once the lock is released, another thread may take it and free c. From "
             "here "
             "only the\n"
             "	 * address is used.\n	 */\n"
             "	if (__builtin_expect(atomic_exchange_explicit(&c->lock, 0, "
             "memory_order_release) "
             "== 2, 0))\n"
             "		futex_wake_one(&c->lock);\n",
             "	uint32_t was = atomic_exchange_explicit(&c->lock, 0, memory_order_release);\n"
             "	atomic_store_explicit(&c->hints, hints, memory_order_relaxed);\n"
             "	if (was == 2)\n		futex_wake_one(&c->lock);\n",
             ["core try cap=0"]),
    Mutation("receivers are demand", INTERNAL,
             "	if (c->recvq.first)\n		hints |= HINT_RECEIVERS;",
             "",
             ["core look leaves=0"]),
    Mutation("demand is looked for under the lock", CHAN,
             "	chan_lock(c);\n	size_t room = chan_demand_locked(c, most, NULL);\n"
             "	chan_unlock(c);",
             "	size_t room = chan_demand_locked(c, most, NULL);",
             ["core look walk=1000"]),
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
    Mutation("a select leaves as soon as one of its values is taken", CHAN,
             "		if (w->shared || w->n == w->max)",
             "		if (w->n == w->max)",
             ["core select-n cap=0"]),
    Mutation("only with all chans locked nothing is ready", SELECT,
             "	index = sel_try_all_locked(s);\n	if (index >= 0)\n"
             "		sel_unlock_all(s);",
             "	index = -1;",
             ["core select cap=0", "core default cap=1"]),
    Mutation("a select leaves no waiter behind", SELECT,
             "		if (w->queued)\n"
             "			waitq_remove(case_queue(cc), w);",
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
             "		while (at > 0 && (uintptr_t)sel_lock_at(s, at - 1) > "
             "(uintptr_t)cc->c)\n"
             "			at--;\n",
             "",
             ["core mirror"]),
    Mutation("each chan is locked once", SELECT,
             "		if (at > 0 && sel_lock_at(s, at - 1) == cc->c)\n"
             "			continue;\n",
             "",
             ["core meet"]),
    Mutation("new receivers of a select announce demand", SELECT,
             "		if (cc->op == CHAN_RECV && cc->c->demandq.first)",
             "		if (0)",
             ["core demand"]),
    # --- parkers
    Mutation("a sleeper goes to sleep by a step that a wake-up forestalls", PARK,
             "		atomic_compare_exchange_strong_explicit(\n"
             "			&p->state, &seen, ASLEEP, memory_order_relaxed, "
             "memory_order_relaxed);\n"
             "	while",
             "		atomic_store_explicit(&p->state, ASLEEP, memory_order_relaxed);\n"
             "	while",
             ["core senders cap=0"]),
    Mutation("a wake-up wakes a thread that is asleep", PARK,
             "	if (was == ASLEEP)\n		futex_wake_one(&p->state);\n"
             "	else if",
             "	if",
             ["core senders cap=0"]),
    Mutation("a deadline that passes takes back the sleep", PARK,
             "		if (atomic_compare_exchange_strong_explicit(\n"
             "			    &p->state, &seen, AWAKE, memory_order_relaxed, "
             "memory_order_relaxed))\n"
             "			return false;",
             "		atomic_store_explicit(&p->state, AWAKE, memory_order_relaxed);\n"
             "		return false;",
             ["core deadline cap=0"]),
    Mutation("a sleeper looks at its word again", PARK,
             "		if (futex_wait_until(&p->state, ASLEEP, deadline_ns) != ETIMEDOUT)\n"
             "			continue;",
             "		if (futex_wait_until(&p->state, ASLEEP, deadline_ns) != ETIMEDOUT)\n"
             "			break;",
             # A sleep ends for nothing in walks only.
             ["core senders cap=0 walk=1000"]),
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
             "	if (park_is_absent(&t->parker))\n		end_task(t);\n	else\n"
             "		hand_over(t, ENDED);",
             "	if (park_is_absent(&t->parker))\n		end_task(t);\n"
             "	hand_over(t, ENDED);",
             ["runnext ownerless cap=1 sends=1"]),
    Mutation("a task that waits for a thread hands on what it was given", RUNNEXT,
             "	while ((p = wake_list_take(&rest)))\n		keep(p);\n",
             "	(void)p;\n",
             ["runnext relieve"]),
    Mutation("timerproc plans the next look before it claims", TIMERPROC,
             "		plan_locked(t, INT64_MAX);\n"
             "		if (!park_claim_in_order(t->parker))\n"
             "			continue;",
             "		bool claimed = park_claim_in_order(t->parker);\n"
             "		plan_locked(t, INT64_MAX);\n"
             "		if (!claimed)\n			continue;",
             ["runnext ticker cap=1 timeouts=1"]),
    Mutation("timerproc notes what has changed before it looks", TIMERPROC,
             "		uint32_t seen = atomic_load_explicit(&proc.changed, "
             "memory_order_relaxed);\n"
             "		struct wake_list due = {NULL, NULL, 0};\n"
             "		if (is_stopping())\n			return;\n"
             "		int64_t next = claim_due(&due);",
             "		struct wake_list due = {NULL, NULL, 0};\n"
             "		if (is_stopping())\n			return;\n"
             "		int64_t next = claim_due(&due);\n"
             "		uint32_t seen = atomic_load_explicit(&proc.changed, "
             "memory_order_relaxed);",
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
             "	enter_epoll(pd);\n	plan_look(pd);\n"
             "	return release(pd) ? NETPOLL_WAIT : NETPOLL_YIELD;",
             "	bool parked = release(pd);\n	enter_epoll(pd);\n"
             "	plan_look(pd);\n"
             "	return parked ? NETPOLL_WAIT : NETPOLL_YIELD;",
             ["netpoll stream begun=0 kicks=1 sends=0"]),
    Mutation("that a peer has hung up is remembered", NETPOLL,
             "		(state == PARKED ? with_state(seen, RUNNING) : seen | AGAIN) | with,",
             "		state == PARKED ? with_state(seen, RUNNING) : seen | AGAIN,",
             ["netpoll stream hup=1"]),
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
    Mutation("for want of a thread a poller runs a connection that cannot wait for one", NETPOLL,
             "	if (next == NETPOLL_THREAD)\n		next = run(pd);\n"
             "	else if",
             "	if",
             ["netpoll stream thread=1 failures=1 without=1"]),
    Mutation("a connection that can do without a thread takes a step", NETPOLL,
             "	return next == NETPOLL_WAIT ? park(pd) : next;\n}\n\n"
             "static void stop_waiting",
             "	return next == NETPOLL_WAIT ? park(pd) : NETPOLL_WAIT;\n}\n\n"
             "static void stop_waiting",
             ["netpoll stream thread=1 failures=1 without=2"]),
    Mutation("a connection that is given up for want of a thread is not touched", NETPOLL,
             "	return next == NETPOLL_WAIT ? park(pd) : next;\n}\n\n"
             "static void stop_waiting",
             "	return next == NETPOLL_YIELD ? next : park(pd);\n}\n\n"
             "static void stop_waiting",
             ["netpoll stream kicks=1 sends=0 thread=1 failures=1 without=3"]),
    Mutation("a connection that epoll has refused looks for itself", NETPOLL,
             "	return !pd->registered && pd->retry_ns < look ? pd->retry_ns : look;",
             "	return look;",
             ["netpoll stream begun=0 refusals=1"]),
    # --- a channel's pump
    Mutation("without demand the channel's pump waits for demand", CHANNEL_PUMP,
             "		if (!client)\n			continue;\n"
             "		struct chan_case",
             "		if (!client || c->batch_len == 0)\n"
             "			continue;\n"
             "		struct chan_case",
             ["pumps deliver msgs=3"]),
    Mutation("no new batch before the last has left", CHANNEL_PUMP,
             "	p->wanted = batch_len(c) > 0 ? 0 : demand_of_all(c);",
             "	p->wanted = demand_of_all(c);",
             ["pumps deliver msgs=3", "pumps deliver msgs=3 clients=2"]),
    Mutation("what has been handed out is in hand no more", CHANNEL_PUMP,
             "	atomic_store(&c->batch_len, left);\n	c->look_ns = 0;",
             "	atomic_store(&c->batch_len, left + 1);\n	c->look_ns = 0;",
             ["pumps deliver msgs=3"]),
    Mutation("a pause sends the batch back into the queue", CHANNEL_PUMP,
             "		if (channel_is_paused(c))\n"
             "			put_batch_back(c);",
             "		;",
             ["pumps deliver msgs=1 pauses=1 draws=0 switches=2"]),
    Mutation("a pause keeps the pump from taking messages", CHANNEL_PUMP,
             "	return channel_is_paused(c) ? 0 : nearest_demand(c);",
             "	return nearest_demand(c);",
             ["delete consume pauses=1 switches=1 draws=0"]),
    Mutation("nor is it past the pump", CHANNEL_PUMP,
             "	if (!c->memory_msg_chan || c->topology_aware || channel_is_paused(c))",
             "	if (!c->memory_msg_chan || c->topology_aware)",
             ["delete use use=4 put=1 pauses=1 early=1 switches=1 draws=0"]),
    Mutation("a batch that the disk refuses to take back is not offered during a pause",
             CHANNEL_PUMP,
             "	if (p->wanted > 0 || channel_is_paused(c))\n		return n;",
             "	if (p->wanted > 0)\n		return n;",
             [HELD]),
    Mutation("nor is it to near consumers", CHANNEL_PUMP,
             "	if (c->topology_aware && !channel_is_paused(c))",
             "	if (c->topology_aware)",
             [f"{HELD} near=1"]),
    Mutation("a topic that is paused hands nothing out", TOPIC_PUMP,
             "	bool flowing = p->n_channels > 0 && !topic_is_paused(t) && !stuck;",
             "	bool flowing = p->n_channels > 0 && !stuck;",
             ["delete pause first=1", "delete pause switches=1 draws=0"]),
    Mutation("nor does it defer", TOPIC_PUT,
             "	if (!atomic_load(&t->started) || topic_is_paused(t))",
             "	if (!atomic_load(&t->started))",
             ["delete pause first=1 deferred=1"]),
    Mutation("a topic's pump hears of a pause", TOPIC,
             "	atomic_store(&t->paused, pause);\n	update_pump(t, t->pause_chan);",
             "	atomic_store(&t->paused, pause);\n	if (!pause)\n"
             "		update_pump(t, t->pause_chan);",
             ["delete pause switches=1 draws=0", "delete pause first=1"]),
    Mutation("and of its end", TOPIC,
             "	atomic_store(&t->paused, pause);\n	update_pump(t, t->pause_chan);",
             "	atomic_store(&t->paused, pause);\n	if (pause)\n"
             "		update_pump(t, t->pause_chan);",
             ["delete pause first=1"]),
    Mutation("a client of a channel that is paused has no room", CLIENT,
             "	if (channel_is_paused(ch))\n		return 0;\n",
             "	(void)ch;\n",
             ["pumps deliver msgs=1 early=1 rdy=2 buffers=100 pauses=3"]),
    Mutation("clients hear of the end of a pause", CHANNEL,
             "		client->ops->ready_changed(client);\n",
             "		(void)client;\n",
             [PAUSED]),
    Mutation("so does the pump", CHANNEL,
             "	channel_update_pump(c, CHANNEL_PAUSED);\n",
             "",
             [PAUSED, "pumps deliver msgs=1 pauses=1 draws=0 switches=2"]),
    Mutation("a batch for a consumer that has left goes back", CHANNEL_PUMP,
             "		if (nearest_demand(c) == 0)\n"
             "			put_batch_back(c);",
             "",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("the channel asks its pump when a consumer has left", CHANNEL,
             "		channel_update_pump(c, CHANNEL_CLIENT_LEFT);",
             "		;",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("the pump answers an update", CHANNEL_PUMP,
             "		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, "
             "NULL)};\n"
             "	chan_select(cases, 2);",
             "		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, "
             "NULL)};\n"
             "	(void)cases;",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("the pump has nothing in hand that is older than what is taken past it", CHANNEL_PUMP,
             "	if (may_take || atomic_load(&c->batch_len) > 0)",
             "	if (may_take)",
             ["pumps deliver msgs=3 keeps=0 looks=1 after=1 ordered=1"]),
    Mutation("nor is it about to take it", CHANNEL_PUMP,
             "	if (may_take || atomic_load(&c->batch_len) > 0)",
             "	(void)may_take;\n	if (atomic_load(&c->batch_len) > 0)",
             ["pumps deliver msgs=3 keeps=0 looks=1 after=1 ordered=1"]),
    Mutation("whether it is about to is asked first", CHANNEL_PUMP,
             "	bool may_take = atomic_load(&c->may_take) && atomic_load(&c->client_count) "
             "== 1;",
             "	bool no_batch = atomic_load(&c->batch_len) == 0;\n"
             "	bool may_take = atomic_load(&c->may_take) && atomic_load(&c->client_count) "
             "== 1;\n"
             "	if (no_batch && !may_take)\n"
             "		return chan_try_recv_n(c->memory_msg_chan, msgs, max, NULL);",
             ["pumps deliver msgs=3 keeps=0 looks=1 after=1 ordered=1"]),
    Mutation("the pump says that it takes before it looks for demand", CHANNEL_PUMP,
             "	atomic_store(&c->may_take, true);\n"
             "	p->wanted = batch_len(c) > 0 ? 0 : demand_of_all(c);\n",
             "	p->wanted = batch_len(c) > 0 ? 0 : demand_of_all(c);\n"
             "	atomic_store(&c->may_take, true);\n",
             ["pumps deliver msgs=4 looks=2 after=1 ordered=1 draws=0"]),
    Mutation("what came from disk is done with when it has left", CHANNEL_PUMP,
             "	if (c->batch_from_backend)\n"
             "		c->backend->ops->done(c->backend, n);\n",
             "",
             ["pumps deliver msgs=2 disk=1"]),
    Mutation("only that is", CHANNEL_PUMP,
             "	c->batch_from_backend = from_backend;",
             "	c->batch_from_backend = true;\n	(void)from_backend;",
             ["pumps deliver msgs=2 disk=1"]),
    Mutation("far consumers are served if no near one waits", CHANNEL_PUMP,
             "	for (int i = 0; i < N_CLOSENESS; i++) {\n"
             "		struct chan *client = c->client_msg_chans[i];\n"
             "		if (!client)",
             "	for (int i = 0; i < GLOBAL; i++) {\n"
             "		struct chan *client = c->client_msg_chans[i];\n"
             "		if (!client)",
             ["pumps deliver msgs=1 near=1 leaves=1 clients=2 draws=0"]),
    Mutation("a client that loses a message to the clock may get another one", CHANNEL_DUE,
             "	channel_tell_timed_out(c, msgs, n);\n",
             "",
             ["pumps deliver msgs=2 scan=1"]),
    Mutation("its pump hears of that", CLIENT,
             "	if (less_in_flight(c, n))\n"
             "		client_v2_try_update_ready_state(c);",
             "	(void)less_in_flight(c, n);",
             ["pumps deliver msgs=2 scan=1"]),
    Mutation("at the exit the batch is flushed", CHANNEL_EXIT,
             "	lost = flush_batch(c);",
             "	atomic_store(&c->batch_len, 0);\n	lost = 0;",
             ["pumps exit msgs=1 leaves=1 exits=1"]),
    # --- a client's pump
    Mutation("a client gets no more than it is ready for", CLIENT_PUMP,
             "	cases[MESSAGE] = chan_case_recv_n(msg_chan, msgs, room < most ? room : "
             "most);",
             "	cases[MESSAGE] = chan_case_recv_n(msg_chan, msgs, most);",
             ["pumps deliver msgs=3", "pumps deliver msgs=3 clients=2"]),
    Mutation("nor from the channel's memory", CLIENT_PUMP,
             "		p->sub_channel, q->few, room < SHORT_WRITE ? room : SHORT_WRITE);",
             "		p->sub_channel, q->few, SHORT_WRITE);",
             ["pumps deliver msgs=3"]),
    Mutation("a client that is not ready waits for no message", CLIENT_PUMP,
             "	struct chan *msg_chan = room > 0 ? client_msg_chan(p) : NULL;",
             "	struct chan *msg_chan = client_msg_chan(p);\n	room += room == 0;",
             ["pumps deliver msgs=3"]),
    Mutation("a client that is not ready is flushed", CLIENT_PUMP,
             "	bool force = room == 0 && !p->flushed;",
             "	bool force = false;",
             ["pumps deliver msgs=3"]),
    Mutation("what was written is not flushed yet", CLIENT_PUMP,
             "		protocol_v2_write_messages_locked(c, p->sub_channel, p->msg_timeout, "
             "msgs, "
             "n);\n"
             "		p->flushed = false;",
             "		protocol_v2_write_messages_locked(c, p->sub_channel, p->msg_timeout, "
             "msgs, "
             "n);",
             ["pumps deliver msgs=3"]),
    Mutation("what waits in the writer goes out after a while", CLIENT_PUMP,
             "	struct ticker *flusher = room > 0 && !p->flushed ? &p->output_buffer_ticker "
             ": "
             "NULL;",
             "	struct ticker *flusher = NULL;",
             ["pumps deliver msgs=3 rdy=2 buffers=100"]),
    Mutation("what the peer does not take is for the pump's own thread", CLIENT_PUMP,
             "		p->flush_now = p->flush_now || c->writer.below || "
             "c->writer.failed;\n",
             "",
             ["pumps deliver msgs=3 rdy=2 stalls=1 size=0 draws=0"]),
    Mutation("only one thread at a time writes", CLIENT_PUMP,
             "client_v2_has_left(c) || !client_v2_begin_try_write(c))",
             "client_v2_has_left(c))",
             ["pumps deliver msgs=3"]),
    Mutation("what was taken from memory is delivered once", CLIENT_PUMP,
             "	q->n_taken = 0;\n	return true;",
             "	return true;",
             ["pumps deliver msgs=3"]),
    Mutation("the pump's own thread delivers what another has taken", CLIENT_PUMP,
             "	if (q->n_taken == 0) {\n",
             "	if (1) {\n",
             [ANSWER]),
    Mutation("answers that are left to the pump are flushed", CLIENT_PUMP,
             "	if (atomic_exchange(&o->flush, false))\n		p->flush_now = true;",
             "	(void)atomic_exchange(&o->flush, false);",
             ["pumps deliver msgs=1 answers=1 stalls=1"]),
    Mutation("what io_loop cannot flush is left to the pump", CLIENT,
             "		atomic_store(&c->pump_orders.flush, true);\n"
             "		client_v2_try_update_ready_state(c);",
             "		atomic_store(&c->pump_orders.flush, true);",
             ["pumps deliver msgs=1 answers=1 stalls=1"]),
    Mutation("a client's end ends its pump", CLIENT_PUMP,
             "	if (atomic_load(&o->exit))\n		return PUMP_EXIT;",
             "",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("the client is told of the end of its pump last of all", CLIENT_PUMP,
             "	struct client_v2 *c = q->p->client;\n"
             "	nsqd_logf(c->ctx, LG_INFO, \"PROTOCOL(V2): [%s] exiting messagePump\", "
             "c->remote_addr);",
             "	struct client_v2 *c = q->p->client;\n"
             "	wait_group_done(&c->wait_group);\n"
             "	nsqd_logf(c->ctx, LG_INFO, \"\");\n	wait_group_add(&c->wait_group);",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("messages that a client has not got when it leaves go back", CLIENT_PUMP,
             "		channel_return_messages(p->sub_channel, msgs, n);\n",
             "",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("a step drops its reference to what it has written", CLIENT_PUMP,
             "	mutex_unlock(&c->write_lock);\n	message_unref_all(msgs, n);\n"
             "	return true;",
             "	mutex_unlock(&c->write_lock);\n	return true;",
             ["pumps exit msgs=1 leaves=1 exits=1"]),
    Mutation("what is noted for io_loop is there before the flag", CLIENT_PUMP,
             "	atomic_store(&c->pump_waits, true);\n	/* From now",
             "	atomic_store_explicit(&c->pump_waits, true, memory_order_relaxed);\n"
             "	/* From now",
             ["pumps deliver msgs=2 stalls=1 failures=2 timeouts=1 walk=1000"]),
    Mutation("an owner that leaves gives up what is on its stack", CLIENT_PUMP,
             "	q->owner = NULL;\n",
             "",
             ["pumps deliver msgs=2 stalls=1 failures=2 timeouts=1"]),
    Mutation("a pump without a thread says so before it kicks io_loop", CLIENT_PUMP,
             "	atomic_store(&c->pump_waits, true);\n	/* From now",
             "	netpoll_kick(pd);\n	atomic_store(&c->pump_waits, true);\n"
             "	return;\n"
             "	/* From now",
             ["pumps deliver msgs=2 stalls=1 failures=2 timeouts=1"]),
    Mutation("io_loop tries again", CLIENT_PUMP,
             "		give_up(c, &err);\n	atomic_store(&c->pump_waits, true);",
             "		give_up(c, &err);",
             ["pumps deliver msgs=2 stalls=1 failures=2 timeouts=1"]),
    Mutation("what its pump is to see is there before the signal", CLIENT,
             "	atomic_store(&c->pump_orders.exit, true);\n"
             "	client_v2_try_update_ready_state(c);",
             "	client_v2_try_update_ready_state(c);\n"
             "	atomic_store(&c->pump_orders.exit, true);",
             ["pumps leave msgs=1 leaves=1"]),
    Mutation("the pump hears of it when the client is ready again", CLIENT,
             "	return before >= atomic_load(&c->ready_count);",
             "	return before > atomic_load(&c->ready_count);",
             ["pumps deliver msgs=3"]),
    Mutation("the pump has a reference to what it writes", SEND,
             "		struct message *m = message_ref(msgs[i]);",
             "		struct message *m = msgs[i];",
             ["pumps deliver msgs=3"]),
    Mutation("a message is in flight when it is written", SEND,
             "	channel_start_in_flight_timeout(channel, msgs, n, c->consumer.id, "
             "msg_timeout);\n}",
             "}",
             ["pumps deliver msgs=3"]),
    Mutation("a message is counted before it is in flight", SEND,
             "	client_v2_sending_messages(c, n);\n"
             "	channel_start_in_flight_timeout(channel, msgs, n, c->consumer.id, "
             "msg_timeout);\n",
             "	channel_start_in_flight_timeout(channel, msgs, n, c->consumer.id, "
             "msg_timeout);\n"
             "	client_v2_sending_messages(c, n);\n",
             ["pumps deliver msgs=2 scan=1"]),
    Mutation("a connection that cannot be written to is ended", CLIENT_PUMP,
             "			c->remote_addr, q->owner->err.msg);\n"
             "		client_v2_abort(c);",
             "			c->remote_addr, q->owner->err.msg);",
             ["pumps deliver msgs=2 errors=1 leaves=2 clients=2 draws=0"]),
    Mutation("no step adds to what the peer has not taken", CLIENT,
             "	if (!c->writer.failed && !c->writer.below)",
             "	if (!c->writer.failed)",
             [ANSWER]),
    Mutation("a message that comes while another thread writes is for the pump's own thread",
             CLIENT_PUMP,
             "	if (!is_short(msgs, n) || client_v2_has_left(c) || !client",
             "	if (mutex_trylock(&c->write_lock)) {\n"
             "		mutex_unlock(&c->write_lock);\n"
             "	} else {\n"
             "		message_unref_all(msgs, n);\n		return true;\n"
             "	}\n"
             "	if (!is_short(msgs, n) || client_v2_has_left(c) || !client",
             [ANSWER]),
    Mutation("what is left in the socket is not flushed", CLIENT,
             "		ok = bufio_flush(&c->writer, STREAM_NOW, &ignored) == 0 && "
             "!c->writer.unflushed;",
             "		ok = bufio_flush(&c->writer, STREAM_NOW, &ignored) == 0;",
             ["pumps deliver msgs=2 stalls=1"]),
    Mutation("at the end io_loop lends the pump its thread", CLIENT_PUMP,
             "	if (atomic_exchange(&c->pump_waits, false))\n		own(c);",
             "	(void)atomic_exchange(&c->pump_waits, false);",
             ["pumps leave msgs=1 leaves=1 stalls=1 failures=1"]),
    Mutation("the pump hears of another RDY", CLIENT,
             "	if (atomic_exchange(&c->ready_count, count) != count)\n"
             "		client_v2_try_update_ready_state(c);",
             "	(void)atomic_exchange(&c->ready_count, count);",
             ["pumps deliver msgs=1 begun=0", "pumps deliver msgs=3 rdy=2 dance=1 buffers=100"]),
    # --- the end of topics and channels
    Mutation("a topic is looked for again under the lock under which it is made", TOPICS,
             "	HASH_FIND_STR(ts->topic_map, name, t);\n	if (!t && context",
             "	t = NULL;\n	if (!t && context",
             ["delete prepared switches=1 draws=0"]),
    Mutation("the reference to a topic is taken under the lock", TOPICS,
             "	if (t)\n		topic_ref(t);\n	rwlock_unlock(&ts->lock);\n"
             "	return t;\n}\n\nenum",
             "	rwlock_unlock(&ts->lock);\n	if (t)\n		topic_ref(t);\n"
             "	return t;\n}\n\nenum",
             ["delete topic-twice"]),
    Mutation("the maker's reference to a topic is taken under the lock", TOPICS,
             "	if (t)\n		topic_ref(t);\n	rwlock_unlock(&ts->lock);\n"
             "	return t;\n}\n\nstruct",
             "	rwlock_unlock(&ts->lock);\n	if (t)\n		topic_ref(t);\n"
             "	return t;\n}\n\nstruct",
             ["delete prepared delete=1 walk=3000"]),
    Mutation("while the daemon exits no topic is made", TOPICS,
             "	if (!t && context_is_exiting(ts->ctx)) {",
             "	if (0) {",
             ["delete put-exit early=1 channels=-1"]),
    Mutation("a topic's pump starts when the channels are there that it begins with", TOPICS,
             "	if (ts->prepare)\n		ts->prepare(ts->prepare_arg, t);\n",
             "	topic_start(t);\n	if (ts->prepare)\n"
             "		ts->prepare(ts->prepare_arg, t);\n",
             ["delete prepared channels=2 switches=0 draws=0"]),
    Mutation("an operator makes a topic anew that is being deleted", TOPICS,
             "		if (!t || !topic_exiting(t))\n			return t;",
             "		if (!t || t)\n			return t;",
             ["delete topic-create"]),
    Mutation("a name is free before the threads are told that wait for that", TOPICS,
             "	rwlock_wrlock(&ts->lock);\n"
             "	HASH_FIND_STR(ts->topic_map, t->name, found);\n"
             "	CHECK(found == t);\n"
             "	HASH_DEL(ts->topic_map, t);\n	rwlock_unlock(&ts->lock);\n"
             "	t->files_left = res == EXIT_FAILED;\n	chan_close(t->gone_chan);\n",
             "	t->files_left = res == EXIT_FAILED;\n	chan_close(t->gone_chan);\n"
             "	rwlock_wrlock(&ts->lock);\n"
             "	HASH_FIND_STR(ts->topic_map, t->name, found);\n"
             "	CHECK(found == t);\n"
             "	HASH_DEL(ts->topic_map, t);\n	rwlock_unlock(&ts->lock);\n",
             ["delete topic-twice"]),
    Mutation("a thread that has waited for a deletion knows whether files are left", TOPICS,
             "	t->files_left = res == EXIT_FAILED;\n	chan_close(t->gone_chan);",
             "	chan_close(t->gone_chan);\n	t->files_left = res == EXIT_FAILED;",
             ["delete topic-twice keeps=1 walk=3000"]),
    Mutation("the map's reference to a topic is dropped", TOPICS,
             "	chan_close(t->gone_chan);\n	topic_unref(t);",
             "	chan_close(t->gone_chan);",
             ["delete topic-twice"]),
    Mutation("a second deletion of a topic waits for the first", TOPICS,
             "		return gone_wait_deleted(ts->ctx, t->gone_chan, &t->files_left, "
             "err);",
             "		return 0;",
             ["delete topic-twice"]),
    Mutation("the exit waits for topics that others are deleting", TOPICS,
             "		chan_recv(t->gone_chan, NULL);\n		return;",
             "		return;",
             ["delete topic-exit early=1"]),
    Mutation("the exit waits for the threads that close topics", TOPICS,
             "	close_some(&c);\n	wait_group_wait(&wg);",
             "	close_some(&c);",
             ["delete close"]),
    Mutation("the exit drops its references to topics", TOPICS,
             "	for (size_t i = 0; i < count; i++)\n"
             "		topic_unref(topics[i]);\n",
             "",
             ["delete topic-exit early=1"]),
    Mutation("the reference to a channel is taken under the lock", TOPIC,
             "	if (c)\n		channel_ref(c);\n	rwlock_unlock(&t->lock);\n"
             "	return c;",
             "	rwlock_unlock(&t->lock);\n	if (c)\n		channel_ref(c);\n"
             "	return c;",
             ["delete channel-twice"]),
    Mutation("the maker's reference to a channel is taken under the lock", TOPIC,
             "		if (c)\n			channel_ref(c);\n"
             "		rwlock_unlock(&t->lock);",
             "		rwlock_unlock(&t->lock);\n		if (c)\n"
             "			channel_ref(c);",
             ["delete channel-create channels=0 put=0 switches=1 draws=0"]),
    Mutation("a channel is looked for again under the lock under which it is made", TOPIC,
             "	HASH_FIND_STR(t->channel_map, name, c);\n	if (c)\n"
             "		return c;\n",
             "",
             ["delete known begin=0 switches=1 draws=0"]),
    Mutation("a topic that ends gets no new channel", TOPIC,
             "	if (topic_exiting(t)) {\n		err_set(err, 0, \"exiting\");\n"
             "		return NULL;",
             "	if (0) {\n		return NULL;",
             ["delete channel-create topic=1 channels=0"]),
    Mutation("a channel that is found is known to the topic's pump", TOPIC,
             "		topic_update_channels(t);\n"
             "		atomic_store(&c->pump_knows, true);",
             "		atomic_store(&c->pump_knows, true);",
             ["delete known switches=1 draws=0"]),
    Mutation("every thread that finds a channel waits until the pump knows it", TOPIC,
             "		topic_update_channels(t);\n"
             "		atomic_store(&c->pump_knows, true);",
             "		atomic_store(&c->pump_knows, true);\n"
             "		topic_update_channels(t);",
             ["delete known switches=1 draws=0"]),
    Mutation("no thread waits for a topic's pump with topic.lock held", TOPIC,
             "		topic_update_channels(t);\n"
             "		atomic_store(&c->pump_knows, true);",
             "		rwlock_wrlock(&t->lock);\n		topic_update_channels(t);\n"
             "		rwlock_unlock(&t->lock);\n"
             "		atomic_store(&c->pump_knows, true);",
             ["delete known switches=1 draws=0"]),
    Mutation("an operator makes a channel anew that is being deleted", TOPIC,
             "		if (!c || !channel_exiting(c))\n			return c;",
             "		if (!c || c)\n			return c;",
             ["delete channel-create put=0 switches=1 draws=0"]),
    Mutation("the map's reference to a channel is dropped", TOPIC,
             "	chan_close(c->gone_chan);\n	channel_unref(c);",
             "	chan_close(c->gone_chan);",
             ["delete channel-twice"]),
    Mutation("a channel's name is free before the threads are told that wait for that", TOPIC,
             "	rwlock_wrlock(&t->lock);\n"
             "	HASH_FIND_STR(t->channel_map, c->name, found);\n"
             "	CHECK(found == c);\n"
             "	HASH_DEL(t->channel_map, c);\n"
             "	size_t left = HASH_COUNT(t->channel_map);\n"
             "	rwlock_unlock(&t->lock);\n	c->files_left = res == EXIT_FAILED;\n"
             "	chan_close(c->gone_chan);\n",
             "	c->files_left = res == EXIT_FAILED;\n	chan_close(c->gone_chan);\n"
             "	rwlock_wrlock(&t->lock);\n"
             "	HASH_FIND_STR(t->channel_map, c->name, found);\n"
             "	CHECK(found == c);\n"
             "	HASH_DEL(t->channel_map, c);\n"
             "	size_t left = HASH_COUNT(t->channel_map);\n"
             "	rwlock_unlock(&t->lock);\n",
             ["delete channel-twice"]),
    Mutation("a second deletion of a channel waits for the first", TOPIC,
             "		return gone_wait_deleted(t->ctx, c->gone_chan, &c->files_left, err);",
             "		return 0;",
             ["delete channel-twice"]),
    Mutation("the end of a topic waits for the end of its channels", TOPIC_EXIT,
             "		chan_recv(c->gone_chan, NULL);\n"
             "		return !c->files_left;",
             "		return !c->files_left;",
             ["delete channel-topic"]),
    Mutation("the last channel is gone before its ephemeral topic is deleted", TOPIC,
             "	rwlock_unlock(&t->lock);\n	c->files_left = res == EXIT_FAILED;",
             "	rwlock_unlock(&t->lock);\n	if (left == 0 && t->ephemeral &&\n"
             "		!atomic_exchange(&t->deleter_once, true))\n"
             "		t->delete_callback(t->delete_arg, t);\n"
             "	c->files_left = res == EXIT_FAILED;",
             ["delete ephemeral-last topic=1 one=1"]),
    Mutation("an ephemeral topic goes with its last channel", TOPIC,
             "	if (left == 0 && t->ephemeral && !atomic_exchange(&t->deleter_once, true))",
             "	if (0)",
             ["delete ephemeral subs=0 topic=1"]),
    Mutation("a topic's exit begins while no put is under way", TOPIC_EXIT,
             "	rwlock_wrlock(&t->lock);\n	bool first = !topic_exiting(t);",
             "	rwlock_rdlock(&t->lock);\n	bool first = !topic_exiting(t);",
             ["delete put-exit early=1 channels=0"]),
    Mutation("a topic that ends refuses what is published", TOPIC_PUT,
             "	if (!refuses(t, flags & PUT_BEGUN, err))\n"
             "		done",
             "	(void)refuses;\n"
             "	done",
             ["delete put-exit early=1"]),
    Mutation("a put holds topic.lock", TOPIC_PUT,
             "	rwlock_rdlock(&t->lock);\n"
             "	limits_begin_put(t, &p, lens, n, flags & PUT_ADMITTED);\n"
             "	if (!refuses(t, flags & PUT_BEGUN, err))\n"
             "		done = put(t, msgs, n, flags & PUT_DEFERRED, &in_memory, err);\n"
             "	limits_end_put(t, &p, in_memory);\n"
             "	rwlock_unlock(&t->lock);\n",
             "	if (!refuses(t, flags & PUT_BEGUN, err))\n"
             "		done = put(t, msgs, n, flags & PUT_DEFERRED, &in_memory, err);\n"
             "	(void)p;\n",
             ["delete put-exit early=1"]),
    Mutation("a topic's pump has ended before the topic is flushed", TOPIC_EXIT,
             "	wait_group_wait(&t->wait_group);\n\n	size_t lost;",
             "	size_t lost;",
             ["delete put-exit early=1"]),
    Mutation("at its end a topic is flushed", TOPIC_EXIT,
             "		flush(t);\n	}",
             "	}",
             ["delete put-exit early=1 channels=0"]),
    Mutation("at its end a topic settles what its channels have flushed", TOPIC_EXIT,
             "		if (t->undone > 0 && lost == 0)\n"
             "			topic_settle(t);",
             "		if (0)\n			topic_settle(t);",
             ["delete disk mem=0 refusals=1 switches=1 draws=0"]),
    Mutation("a topic keeps on disk what a channel could not flush", TOPIC_EXIT,
             "		if (t->undone > 0 && lost == 0)",
             "		if (t->undone > 0)",
             ["delete disk mem=0 refusals=2 sick=1 switches=1 draws=0"]),
    Mutation("a thread that tells a topic's pump something stops waiting at its end", TOPIC,
             "	struct chan_case cases[] = {chan_case_send(c, NULL), "
             "chan_case_recv(t->exit_chan, "
             "NULL)};\n"
             "	chan_select(cases, 2);",
             "	chan_send(c, NULL);",
             ["delete use use=0"]),
    Mutation("a topic's backend is taken away under the lock", TOPIC_EXIT,
             "	rwlock_wrlock(&t->lock);\n	struct backend_queue *q = t->backend;\n"
             "	t->backend = NULL;\n"
             "	rwlock_unlock(&t->lock);",
             "	struct backend_queue *q = t->backend;\n	t->backend = NULL;",
             ["delete use use=1"]),
    Mutation("the depth of a topic that has ended is asked without its backend", TOPIC,
             "	int64_t depth = t->backend ? t->backend->ops->depth(t->backend) : 0;",
             "	int64_t depth = t->backend->ops->depth(t->backend);",
             ["delete use use=1"]),
    Mutation("a deferred message is not handed to a channel that ends", TOPIC_PUT,
             "		if (channel_exiting(c))\n			continue;\n",
             "",
             ["delete put-last told=1 deferred=1 switches=1 draws=0"]),
    Mutation("a channel holds its topic", TOPIC,
             "&channel_topic_ops, topic_ref(t), err);",
             "&channel_topic_ops, t, err);",
             ["delete topic-twice"]),
    Mutation("a topic's pump leaves out a channel that is being deleted", TOPIC_PUMP,
             "		if (channel_exiting(channels[i]))",
             "		if (0)",
             ["delete put-last told=1"]),
    Mutation("a topic's pump drops its reference to a channel that is being deleted", TOPIC_PUMP,
             "			channel_unref(channels[i]);\n		else",
             "			;\n		else",
             ["delete channel-twice"]),
    Mutation("messages that a channel refuses are dropped", TOPIC_PUMP,
             "	message_unref_all(msgs, n);\n}\n\n/* Queues n messages in the channel, runs",
             "}\n\n/* Queues n messages in the channel, runs",
             ["delete put-last"]),
    Mutation("a record that is queued is not ours to copy", TOPIC_PUMP,
             "	struct message *copies[TOPIC_BATCH] UNINITIALIZED;\n	for (size_t i",
             "	struct message *copies[TOPIC_BATCH] UNINITIALIZED;\n"
             "	deliver_to_channel(p, p->channels[0], msgs, n);\n"
             "	for (size_t i",
             ["delete put-channel switches=1 draws=0"]),
    Mutation("the backend forgets messages when the channels have them", TOPIC_PUMP,
             "	if (t->undone > 0 && !stuck)\n		topic_settle(t);",
             "	if (t->undone > 0)\n		topic_settle(t);",
             ["delete disk mem=0 refusals=2 sick=1 switches=1 draws=0"]),
    Mutation("a channel's exit begins while no put is under way", CHANNEL_EXIT,
             "	rwlock_wrlock(&c->exit_lock);\n	bool first = !channel_exiting(c);",
             "	rwlock_rdlock(&c->exit_lock);\n	bool first = !channel_exiting(c);",
             ["delete answer"]),
    Mutation("a channel that ends refuses messages", CHANNEL_PUT,
             "	if (channel_exiting(c)) {\n		rwlock_unlock(&c->exit_lock);\n"
             "		err_set(err, 0, \"exiting\");\n"
             "		return 0;\n	}\n",
             "",
             ["delete put-topic mem=0 ephemeral=1 channel=1 switches=1 draws=0"]),
    Mutation("a channel that ends gets no new consumer", CHANNEL,
             "	if (channel_exiting(c)) {\n"
             "		rc = err_set(err, 0, \"exiting\");\n"
             "	} else if",
             "	if",
             ["delete ephemeral again=0 switches=1 draws=0"]),
    Mutation("locks are taken in the order of their ranks", CHANNEL,
             "	rwlock_rdlock(&c->exit_lock);\n	rwlock_wrlock(&c->lock);",
             "	rwlock_wrlock(&c->lock);\n	rwlock_rdlock(&c->exit_lock);",
             ["delete ephemeral subs=0"]),
    Mutation("consumers of a channel that ends are told so", CHANNEL_EXIT,
             "	close_clients(c);\n	chan_close",
             "	chan_close",
             ["delete ephemeral again=0 switches=1 draws=0"]),
    Mutation("the topic's pump hears of a channel's end", CHANNEL_EXIT,
             "	c->topic_ops->update_channels(c->topic);\n	wait_group_wait",
             "	wait_group_wait",
             ["delete put-last"]),
    Mutation("a channel's pump has ended before the channel is flushed", CHANNEL_EXIT,
             "	c->topic_ops->update_channels(c->topic);\n"
             "	wait_group_wait(&c->wait_group);",
             "	c->topic_ops->update_channels(c->topic);",
             ["delete topic-exit early=1"]),
    Mutation("a channel's backend is taken away under exit_lock", CHANNEL_EXIT,
             "	rwlock_wrlock(&c->exit_lock);\n"
             "	struct backend_queue *q = c->backend;\n"
             "	c->backend = NULL;\n"
             "	mutex_lock(&c->in_flight_lock);\n"
             "	c->log_queue = NULL;\n"
             "	mutex_unlock(&c->in_flight_lock);\n"
             "	rwlock_unlock(&c->exit_lock);",
             "	struct backend_queue *q = c->backend;\n	c->backend = NULL;",
             ["delete use use=1 topic=0 switches=1 draws=0"]),
    Mutation("the depth of a channel that has ended is asked without its backend", CHANNEL,
             "	int64_t depth = c->backend ? c->backend->ops->depth(c->backend) : 0;",
             "	int64_t depth = c->backend->ops->depth(c->backend);",
             ["delete use use=2 topic=0"]),
    Mutation("a message is asked for when it is sure that it can be requeued", IN_FLIGHT,
             "	if (channel_exiting(c)) {\n		rwlock_unlock(&c->exit_lock);\n"
             "		return err_set(err, 0, \"exiting\");\n	}\n"
             "	struct message *m = pop_in_flight(c, client_id, id, err);",
             "	struct message *m = pop_in_flight(c, client_id, id, err);\n"
             "	if (channel_exiting(c)) {\n		rwlock_unlock(&c->exit_lock);\n"
             "		return err_set(err, 0, \"exiting\");\n	}\n",
             ["delete answer early=1"]),
    Mutation("nor is one that would be deferred once the exit has begun", IN_FLIGHT,
             "	if (channel_exiting(c)) {\n		rwlock_unlock(&c->exit_lock);\n"
             "		return err_set",
             "	if (delay_ns == 0 && channel_exiting(c)) {\n"
             "		rwlock_unlock(&c->exit_lock);\n		return err_set",
             ["delete answer early=1 delay=1000"]),
    Mutation("messages that come back to a deleted channel are dropped", CHANNEL_PUT,
             "	if (channel_exiting(c))\n		message_unref_all(take_msgs, n);\n"
             "	else\n		channel_put_back",
             "	channel_put_back",
             ["delete use use=5 topic=0 mem=0"]),
    Mutation("once the exit has begun nothing in flight times out", CHANNEL_DUE,
             "	if (channel_exiting(c))\n		return 0;\n	mutex_lock",
             "	mutex_lock",
             ["delete answer answer=2"]),
    Mutation("once the exit has begun no deferred message comes back", CHANNEL_DUE,
             "	if (!channel_exiting(c)) {\n		mutex_lock",
             "	if (1) {\n		mutex_lock",
             ["delete answer delay=1000"]),
    Mutation("what is in flight is flushed", CHANNEL_EXIT,
             "	lost += flush_pqueue(c, &c->in_flight_lock, &c->in_flight, msgs);\n",
             "",
             ["delete answer answer=2"]),
    Mutation("what is deferred is flushed", CHANNEL_EXIT,
             "	lost += flush_pqueue(c, &c->deferred_lock, &c->deferred, msgs);\n",
             "",
             ["delete answer delay=1000"]),
    Mutation("what is in a channel's memory is flushed", CHANNEL_EXIT,
             "		(n = chan_try_recv_n(c->memory_msg_chan, msgs, FLUSH_BATCH, NULL)) > "
             "0)",
             "		(n = 0) > 0)",
             ["delete put-exit early=1"]),
    Mutation("a channel's batch is flushed", CHANNEL_EXIT,
             "	lost = flush_batch(c);",
             "	lost = 0;\n"
             "	message_unref_all(c->batch, atomic_exchange(&c->batch_len, 0));",
             ["delete consume switches=1 draws=0"]),
    Mutation("an ephemeral channel goes with its last consumer", CHANNEL,
             "	if (left == 0 && c->ephemeral && !atomic_exchange(&c->deleter_once, true))",
             "	if (0 * left)",
             ["delete ephemeral subs=0"]),
    Mutation("the pump drops its batch when the channel is emptied", CHANNEL_EXIT,
             "	channel_update_pump(c, CHANNEL_EMPTIED);\n	clear_in_flight",
             "	clear_in_flight",
             [EMPTY]),
    Mutation("what is in memory is thrown away", CHANNEL_EXIT,
             "		channel_update_pump(c, CHANNEL_EMPTIED);\n	empty_memory(c);\n",
             "		channel_update_pump(c, CHANNEL_EMPTIED);\n	(void)empty_memory;\n",
             [EMPTY_KEPT]),
    Mutation("so is what is in flight", CHANNEL_EXIT,
             "	channel_update_pump(c, CHANNEL_EMPTIED);\n"
             "	clear_in_flight_and_deferred(c);",
             "	channel_update_pump(c, CHANNEL_EMPTIED);",
             [EMPTY]),
    Mutation("an emptied channel drops what its disk has refused", CHANNEL_PUMP,
             "		kept_clear(&c->kept);\n		channel_kept_less(c);\n"
             "		break;",
             "		channel_kept_less(c);\n		break;",
             [EMPTY_KEPT]),
    Mutation("what a channel keeps is flushed", CHANNEL_EXIT,
             "	lost += flush_kept(c, msgs);\n",
             "",
             ["delete put-exit two=1 mem=1 refusals=1"]),
    Mutation("a message that the disk refuses is kept", CHANNEL_PUT,
             "	if (kept_push(&c->kept, take_msgs, n, &first)) {",
             "	(void)first;\n	if (0) {",
             ["delete put-exit two=1 mem=1 refusals=1"]),
    Mutation("a channel drops its topic", CHANNEL,
             "	c->topic_ops->unref(c->topic);\n",
             "",
             ["delete topic-twice"]),
    Mutation("a thread that tells a channel's pump something stops waiting at its end",
             CHANNEL_PUMP,
             "	if (chan_select(tell, 2) != 0)\n		return;",
             "	chan_send(c->update_chan, &update);\n	(void)tell;",
             ["delete use use=0 topic=0 switches=1 draws=0"]),
    Mutation("a thread that waits for a channel's pump stops waiting at its end", CHANNEL_PUMP,
             "	chan_select(wait, 2);",
             "	chan_recv(c->updated_chan, NULL);\n	(void)wait;",
             ["delete use use=0 topic=0 switches=1 draws=0"]),
    Mutation("a channel's pump does not wait at its end for a thread that has gone", CHANNEL_PUMP,
             "		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, "
             "NULL)};\n"
             "	chan_select(cases, 2);",
             "		chan_case_send(c->updated_chan, NULL), chan_case_recv(c->exit_chan, "
             "NULL)};\n"
             "	(void)cases;\n	chan_send(c->updated_chan, NULL);",
             ["delete use use=0 topic=0 switches=1 draws=0"]),
    Mutation("nothing is taken past the pump of a channel that ends", CHANNEL_PUMP,
             "	if (!channel_exiting(c) && c->backend->ops->depth(c->backend) == 0)",
             "	if (c->backend->ops->depth(c->backend) == 0)",
             ["delete use use=4"]),
    # --- the log: group commit
    Mutation("a thread that commits alone has the turn", LOG_LOOP,
             "	if (log_syncs(l) || chan_try_recv_n(l->turn_chan, NULL, 1, NULL) == 0)\n"
             "		return false;\n"
             "	mutex_lock(&l->lock);\n"
             "	(void)start_locked(l, &ignored);\n"
             "	mutex_unlock(&l->lock);\n"
             "	log_commit(l, &r, 1);\n"
             "	chan_send(l->turn_chan, NULL);",
             "	if (log_syncs(l))\n"
             "		return false;\n"
             "	mutex_lock(&l->lock);\n"
             "	(void)start_locked(l, &ignored);\n"
             "	mutex_unlock(&l->lock);\n"
             "	log_commit(l, &r, 1);",
             ["log group"]),
    Mutation("a thread that commits alone gives the turn back", LOG_LOOP,
             "	log_commit(l, &r, 1);\n	chan_send(l->turn_chan, NULL);\n	return true;",
             "	log_commit(l, &r, 1);\n	return true;",
             ["log group"]),
    Mutation("the thread commits with the turn", LOG_LOOP,
             "	chan_recv(l->turn_chan, NULL);\n"
             "	int64_t begun = clock_mono_ns();\n"
             "	log_commit(l, reqs, n);\n"
             "	chan_send(l->turn_chan, NULL);",
             "	int64_t begun = clock_mono_ns();\n"
             "	log_commit(l, reqs, n);",
             ["log group"]),
    Mutation("the thread rests with the turn", LOG_LOOP,
             "	chan_recv(l->turn_chan, NULL);\n	log_rest(l);\n",
             "	log_rest(l);\n	chan_recv(l->turn_chan, NULL);\n",
             ["log group first=1 timeouts=3 switches=1"]),
    Mutation("the turn is kept until all that is kept was told", LOG_APPEND,
             "	for (size_t i = 0; i < n; i++) {\n"
             "		reqs[i]->rc = rc;\n"
             "		reqs[i]->told = 0;\n"
             "		if (rc != 0)\n"
             "			reqs[i]->err = err;\n"
             "		else\n"
             "			take(reqs[i]);\n"
             "		if (rc == 0 && l->kept)\n"
             "			reqs[i]->told = l->kept(l->kept_arg, reqs[i]->channel, "
             "reqs[i]->moved,\n"
             "				reqs[i]->msgs, reqs[i]->n);\n"
             "	}",
             "	chan_send(l->turn_chan, NULL);\n"
             "	for (size_t i = 0; i < n; i++) {\n"
             "		reqs[i]->rc = rc;\n"
             "		reqs[i]->told = 0;\n"
             "		if (rc != 0)\n"
             "			reqs[i]->err = err;\n"
             "		else\n"
             "			take(reqs[i]);\n"
             "		if (rc == 0 && l->kept)\n"
             "			reqs[i]->told = l->kept(l->kept_arg, reqs[i]->channel, "
             "reqs[i]->moved,\n"
             "				reqs[i]->msgs, reqs[i]->n);\n"
             "	}\n"
             "	chan_recv(l->turn_chan, NULL);",
             ["log group"]),
    Mutation("a commit that fails fails for each of its publishers", LOG_APPEND,
             "		reqs[i]->rc = rc;\n		reqs[i]->told = 0;",
             "		reqs[i]->rc = i == 0 ? rc : 0;\n		reqs[i]->told = 0;",
             ["log group disk=1 writes=1 truncates=1 switches=1"]),
    Mutation("each publisher learns what was said of its own messages", LOG_APPEND,
             "			reqs[i]->told = l->kept(",
             "			reqs[0]->told = l->kept(",
             ["log group disk=1"]),
    Mutation("each publisher is answered", LOG_LOOP,
             "	answer_all(l, reqs, n);\n}",
             "	answer_all(l, reqs, 1);\n}",
             ["log group disk=1"]),
    Mutation("the thread is told of a request where there was none", LOG_LOOP,
             "	if (first)\n		chan_signal(l->append_chan);",
             "	if (!first)\n		chan_signal(l->append_chan);",
             ["log group n=1 begins=1"]),
    Mutation("what nobody waits for is over when it is told", LOG_LOOP,
             "	l->pending -= over;",
             "	(void)over;",
             ["log group begins=1 threads=1 rests=1 switches=1"]),
    Mutation("a publisher that does not wait learns that its append has failed", LOG_LOOP,
             "r->done(r->done_arg, r->rc != 0 ? &r->err : NULL);",
             "r->done(r->done_arg, NULL);",
             ["log group begins=1 disk=1 syncs=1 switches=1"]),
    Mutation("a publisher is answered behind the commit", LOG_LOOP,
             "	log_commit(l, reqs, n);\n	chan_send(l->turn_chan, NULL);\n"
             "	p->answered_ns = clock_mono_ns();",
             "	for (size_t i = 0; i < n; i++)\n"
             "		chan_send(reqs[i]->response_chan, NULL);\n"
             "	log_commit(l, reqs, n);\n	chan_send(l->turn_chan, NULL);\n"
             "	n = 0;\n"
             "	p->answered_ns = clock_mono_ns();",
             ["log group disk=1"]),
    Mutation("the thread does not end while it must answer", LOG_LOOP,
             "	if (l->pending == 0 && chan_len(l->wake_chan) == 0)",
             "	if (chan_len(l->wake_chan) == 0)",
             ["log group n=1 disk=1 first=1 rests=1 timeouts=3 switches=1"]),
    Mutation("without a thread a publisher commits with the turn", LOG_LOOP,
             "		chan_recv(l->turn_chan, NULL);\n"
             "		log_commit(l, &r, 1);\n"
             "		chan_send(l->turn_chan, NULL);\n"
             "		return;",
             "		log_commit(l, &r, 1);\n		return;",
             ["log group disk=1 threads=1 writes=1 rests=1 switches=1"]),
    Mutation("what a failed write has left is cut off", LOG_APPEND,
             "	l->torn = true;\n	int rc = cut_tail(l, l->active.end, &err);",
             "	int rc = cut_tail(l, l->active.end, &err);",
             ["log group disk=1 writes=1 dies=1 switches=0"]),
    Mutation("what cannot be cut off stays behind in its segment", LOG_APPEND,
             "			l->topic, err.msg);\n	leave_segment(l);",
             "			l->topic, err.msg);",
             ["log group disk=1 writes=1 truncates=1 switches=1"]),
    Mutation("behind a failed sync nothing of the commit is in the log", LOG_APPEND,
             "	l->failed_syncs++;\n	leave_segment(l);",
             "	l->failed_syncs++;",
             ["log group n=1 disk=1 syncs=1 dies=1 switches=1"]),
    Mutation("the end of the log waits for its thread", LOG,
             "	chan_close(l->exit_chan);\n	wait_group_wait(&l->wait_group);\n"
             "	chan_recv(l->turn_chan, NULL);",
             "	chan_close(l->exit_chan);\n	chan_recv(l->turn_chan, NULL);",
             ["log group"]),
    # --- the log: from the log into memory, or to the reader
    Mutation("what is left to a reader that has just looked is looked for again", LOG_QUEUE,
             "		q->more = !caught_up && q->to != q->seen && q->retry.next_ns == 0;\n",
             "",
             ["log hand-over n=3 switches=1",
              "log hand-over mem=0 switches=1"]),
    Mutation("what the log has kept is told of with the owner's lock", LOG_PUT,
             "	struct log_queue *q = arg;\n	(void)moved;\n	bool start = false;\n"
             "	mutex_lock(q->lock);\n"
             "	/* What the reader has seen already. */\n"
             "	size_t i = 0, sent = 0;\n"
             "	while (i < n && msgs[i]->seq < q->to)\n		i++;\n",
             "	struct log_queue *q = arg;\n	(void)moved;\n	bool start = false;\n"
             "	size_t i = 0, sent = 0;\n"
             "	while (i < n && msgs[i]->seq < q->to)\n		i++;\n"
             "	mutex_lock(q->lock);\n",
             ["log hand-over n=3 switches=1", "log hand-over mem=0 switches=1"]),
    Mutation("into a channel, too, it is one moment", LOG_PUT,
             "		sent = chan_try_send_n(memory, msgs, run);\n"
             "	for (size_t i = sent; i < n; i++) {",
             "		sent = chan_try_send_n(memory, msgs, run);\n"
             "	mutex_unlock(q->lock);\n	mutex_lock(q->lock);\n"
             "	for (size_t i = sent; i < n; i++) {",
             ["log catch-up switches=2", "log catch-up back=1 switches=1"]),
    Mutation("behind the reader nothing goes into the topic's memory", LOG_PUT,
             "	if (i == 0 && !q->behind && q->memory && !q->held)",
             "	if (i == 0 && q->memory && !q->held)",
             ["log hand-over n=3 switches=1"]),
    Mutation("behind the reader nothing goes into a channel's memory", LOG_PUT,
             "	bool runs = memory && !q->behind;",
             "	bool runs = memory;",
             ["log catch-up switches=2"]),
    Mutation("what is read is offered when memory is empty", LOG_QUEUE,
             "	bool offer = q->at < q->n && (q->waited || q->drained);",
             "	bool offer = q->at < q->n;",
             ["log hand-over n=3 reader=1 switches=1",
              "log catch-up reader=1 switches=2"]),
    Mutation("the reader looks again when memory has run empty", LOG_QUEUE,
             "chan_case_demand(holds && !offer ? q->memory : NULL)",
             "chan_case_demand(NULL)",
             ["log hand-over n=3 switches=1", "log catch-up switches=2"]),
    Mutation("the reader has caught up when all is read", LOG_QUEUE,
             "		caught_up = q->next >= q->to;",
             "		caught_up = true;",
             ["log hand-over mem=0 switches=1", "log hand-over n=3 switches=1"]),
    Mutation("what the reader has seen before it was told of is not told of again", LOG_PUT,
             "	while (i < n && msgs[i]->seq < q->to)\n		i++;",
             "	while (i < n && msgs[i]->seq < q->to - (q->to > 1))\n		i++;",
             ["log hand-over n=3 switches=1", "log hand-over mem=0 switches=1"]),
    Mutation("the reader says what it has seen before that was told of", LOG_READ,
             "		news = seq - q->to;\n		q->to = seq;",
             "		news = seq - q->to;",
             ["log hand-over n=3 switches=1", "log hand-over mem=0 switches=1"]),
    Mutation("a queue falls behind with the first message that has no room", LOG_PUT,
             "	q->next = q->hint = m->seq;",
             "	q->next = q->hint = m->seq + 1;",
             ["log hand-over switches=1", "log catch-up switches=2"]),
    Mutation("a reader that rests is poked", LOG_QUEUE,
             "	if (poke)\n		chan_signal(q->wake_chan);",
             "	(void)poke;",
             ["log hand-over mem=0 switches=1"]),
    Mutation("a reader does not end while there is something to read", LOG_QUEUE,
             "	if (!is_wanted_locked(q) && chan_len(q->wake_chan) == 0) {",
             "	if (true) {",
             ["log hand-over n=1 first=1 mem=0 timeouts=1 switches=1"]),
    Mutation("a reader that could not be started is tried again", LOG_QUEUE,
             "		q->start_ns = clock_mono_ns() + START_NS;",
             "		q->start_ns = INT64_MAX;",
             ["log catch-up threads=1 switches=1"]),
    Mutation("what waits is told of to the owner", LOG_DUE,
             "	q->told_ns = at;\n	q->on_due(q->on_due_arg, at);",
             "	q->told_ns = at;",
             ["log catch-up back=2 waits=1 switches=1"]),
    Mutation("without room in memory the reader sees to what is due", LOG_DUE,
             "	if (room == 0) {\n		q->reads_due = q->poke = true;\n		return 0;\n	}",
             "	if (room == 0)\n		return 0;",
             ["log catch-up mem=0 back=2 waits=1 switches=1"]),
    # --- the log: the end
    Mutation("a topic's queue is closed behind the mover", TOPIC_LOG,
             "	log_mover_wait(tl->mover);",
             "	;",
             ["log end segment=1 body=300 switches=2"]),
    Mutation("a channel that leaves is no channel of the mover any more", LOG_MEMBERS,
             "	log_mover_left_locked(tl->mover, m);",
             "	;",
             ["log end segment=1 body=300 switches=2"]),
    Mutation("nobody is told of copies whose channel has left", LOG_MOVER,
             "	if (msgs == mv->msgs && mv->member) {",
             "	if (msgs == mv->msgs) {",
             ["log end segment=1 body=300 switches=2"]),
    Mutation("what is being copied stays", LOG_FLUSH,
             "forget(tl, held < floor ? held : floor)",
             "forget(tl, held < floor ? floor : floor)",
             ["log end segment=1 body=300 finish=1 leave=0 switches=2"]),
    Mutation("until the cursors know of the copies", LOG_MOVER,
             "	uint64_t held = mv->held;",
             "	uint64_t held = mv->picked;",
             ["log end segment=1 body=300 finish=1 flushes=1 leave=0 dies=1 switches=1"]),
    Mutation("a channel is told of its copies", LOG_MOVER,
             "		mv->member->ops->moved(mv->member->arg, mv->moves, n);",
             "		;",
             ["log end segment=1 body=300 finish=1 leave=0 switches=2"]),
    Mutation("a consumer of a message that was copied calls it by its old number", LOG_MOVE,
             "			entries_put(&q->aliases, &e);",
             "			;",
             ["log end segment=1 body=300 finish=1 leave=0 switches=2"]),
    Mutation("what leaves while the topic closes is not forgotten", LOG_MEMBERS,
             "	tl->closing |= !remove;",
             "",
             ["log end segment=1 body=300 switches=2",
              "log end segment=1 body=300 dies=1 switches=1"]),
    Mutation("when the topic is closed a tick does nothing", TOPIC_LOG,
             "	tl->handed = NULL;\n	tl->closed = true;",
             "	tl->handed = NULL;",
             ["log end segment=1 body=300 flush=0 leave=0 timeouts=1 switches=1"]),
    Mutation("a queue ends behind its reader", LOG_QUEUE,
             "	chan_close(q->exit_chan);\n	wait_group_wait(&q->wait_group);",
             "	chan_close(q->exit_chan);",
             ["log catch-up switches=2"]),
    Mutation("a channel writes what is pending when it leaves", LOG_MEMBERS,
             "	int rc = remove ? cursor_remove(m->cursor, err) : topic_log_flush_member(tl, m, err);",
             "	int rc = remove ? cursor_remove(m->cursor, err) : 0;",
             ["log catch-up switches=2"]),
    # --- the log: cursors are written while channels join and leave
    Mutation("the topic's cursor stays while a channel has no file", LOG_FLUSH,
             "	if (tl->n_unsaved == 0 && floor < tl->handed_to)",
             "	if (floor < tl->handed_to)",
             ["log members n=1 dies=1 switches=1"]),
    Mutation("a channel that has got its file lets the topic's cursor go on", LOG_FLUSH,
             "	m->saved = true;\n	mutex_lock(&tl->lock);\n	tl->n_unsaved--;",
             "	m->saved = true;\n	mutex_lock(&tl->lock);",
             ["log members switches=1"]),
    Mutation("so does one that is deleted before it has got one", LOG_MEMBERS,
             "		tl->n_unsaved--;\n		topic_log_move_handed_locked(tl);\n	}",
             "	}",
             ["log members join=2 switches=1"]),
    Mutation("what the topic has not handed out stays", LOG_FLUSH,
             "	for (floor = handed; m; m = m->next) {",
             "	for (floor = UINT64_MAX; m; m = m->next) {",
             ["log members leave=1 join=0 remove=1 segment=1 dies=1 switches=0"]),
    Mutation("what a channel wants stays", LOG_FLUSH,
             "		uint64_t f = floor_of(m->cursor, m->lock);\n"
             "		floor = f < floor ? f : floor;\n"
             "		again |=",
             "		again |=",
             ["log end segment=1 body=300 switches=2",
              "log end segment=1 body=300 dies=1 switches=1"]),
    Mutation("one thread at a time writes cursors", LOG_FLUSH,
             "	bool more;\n	topic_log_take_turn(tl);\n	bool failed = flush_all(tl, &more);\n"
             "	topic_log_give_turn(tl);",
             "	bool more;\n	bool failed = flush_all(tl, &more);",
             ["log members leave=1 join=0 switches=2",
              "log end segment=1 body=300 switches=2"]),
    Mutation("a new channel is known with its cursor", LOG_MEMBERS,
             "		m->next = tl->members.first;\n		tl->members.first = m;\n"
             "		mutex_unlock(&tl->members.lock);",
             "		mutex_unlock(&tl->members.lock);\n"
             "		m->next = tl->members.first;\n		tl->members.first = m;",
             ["log members walk=1000"]),
    Mutation("what happens during a tick asks for another one", LOG_FLUSH,
             "	atomic_store(&tl->touched, false);\n	topic_log_take_turn(tl);\n"
             "	/* Before the start there are channels to come, whose messages must not be "
             "forgotten. */\n"
             "	if (!tl->closed)\n"
             "		again = !tl->started || flush_all(tl, &more);\n"
             "	topic_log_give_turn(tl);",
             "	topic_log_take_turn(tl);\n"
             "	if (!tl->closed)\n"
             "		again = !tl->started || flush_all(tl, &more);\n"
             "	topic_log_give_turn(tl);\n"
             "	atomic_store(&tl->touched, false);",
             ["log rest timeouts=3 switches=1"]),
    Mutation("a thread that is woken does not end", LOG_LOOP,
             "	if (l->pending == 0 && chan_len(l->wake_chan) == 0)",
             "	if (l->pending == 0)",
             ["log rest timeouts=3 switches=1"]),
    Mutation("a thread says that it ends before it looks", LOG_LOOP,
             "	atomic_store(&l->has_thread, false);\n"
             "	if (l->pending == 0 && chan_len(l->wake_chan) == 0)\n"
             "		done = true;\n"
             "	else\n"
             "		atomic_store(&l->has_thread, true);",
             "	if (l->pending == 0 && chan_len(l->wake_chan) == 0) {\n"
             "		done = true;\n"
             "		atomic_store(&l->has_thread, false);\n"
             "	}",
             ["log rest timeouts=3 switches=1"]),
    Mutation("a caller that has woken a thread looks whether it is still there", LOG_LOOP,
             "	chan_signal(l->wake_chan);\n	return atomic_load(&l->has_thread);",
             "	chan_signal(l->wake_chan);\n	return true;",
             ["log rest timeouts=3 switches=1"]),
    Mutation("a tick that nobody could promise is asked for by the owner", LOG_DUE,
             "	q->touch_ns = 0;\n	lq_tell_due_locked(q);",
             "	q->touch_ns = 0;",
             ["log rest timeouts=3 switches=1"]),
]
