/* SPDX-License-Identifier: MIT */
/* Tests of runnext: tasks, and the threads that take their steps. */
#include <sys/eventfd.h>

#include "common/http_client.h"
#include "test/unit/listen_test.h"
#include "test/unit/task_harness.h"

/* --- which thread takes a step ---------------------------------------------------------------- */

static void test_the_waker_takes_the_step_and_the_owner_sleeps_on(void **state)
{
	enum { TIMES = 50 };
	struct worker *w = worker_start(NULL, 1);
	long before = sleeps_of(w);
	for (uint64_t i = 1; i <= TIMES; i++) {
		give_here(w, i);
		assert_int_equal(w->n_steps, i);
		assert_int_equal(w->ran_by, gettid());
	}
	assert_int_equal(sleeps_of(w), before);
	assert_int_equal(w->sum, TIMES * (TIMES + 1) / 2);
	assert_int_equal(w->n_by_owner, 0);
	worker_stop(w);
}

static void test_outside_of_begin_and_end_the_owner_is_woken(void **state)
{
	struct worker *w = worker_start(NULL, 1);
	give(w, 1);
	wait_for(w->n_steps == 1);
	assert_int_equal(w->n_by_owner, 1);
	give_here(w, 2); /* whichever takes it */
	await_asleep(w);
	give(w, 3);
	wait_for(w->n_steps == 3);
	assert_int_equal(w->ran_by, w->tid);
	worker_stop(w);
}

static void test_a_step_waits_for_the_end(void **state)
{
	struct worker *w = worker_start(NULL, 1);
	runnext_begin();
	give(w, 1);
	stays(w->n_steps == 0);
	runnext_end();
	assert_int_equal(w->n_steps, 1);
	worker_stop(w);
}

/* Values that are odd, and what is not of IN, are the owner's. */
static bool may_run_even(struct worker *w, int chosen, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (w->values[i] % 2 != 0)
			return false;
	return chosen == IN;
}

static void test_a_case_that_may_run_refuses_is_the_owners(void **state)
{
	static const struct worker_ops ops = {.may_run = may_run_even};
	struct worker *w = worker_start(&ops, 4);
	give_here(w, 2);
	assert_int_equal(w->ran_by, gettid());
	give_here(w, 3);
	wait_for(w->n_steps == 2);
	assert_int_equal(w->ran_by, w->tid);
	assert_int_equal(w->sum, 5);
	worker_stop(w);
}

/* The case that the select of the waker chooses, not the one by which the task was woken. */
static void test_so_is_one_that_is_ready_after_a_step_of_another(void **state)
{
	static const struct worker_ops ops = {.may_run = may_run_even};
	struct worker *w = worker_new(&ops, 4);
	w->max = 1;
	worker_go(w);
	runnext_begin();
	give(w, 2);
	give(w, 7);
	runnext_end();
	wait_for(w->n_steps == 2);
	assert_int_equal(w->ran_by, w->tid);
	assert_int_equal(w->n_by_owner, 1);
	assert_int_equal(w->sum, 9);
	worker_stop(w);
}

static void test_a_task_with_many_values_is_its_owners(void **state)
{
	static const uint64_t values[RUNNEXT_VALUES + 1];
	struct worker *w = worker_start(NULL, COUNT(values));
	for (size_t n = RUNNEXT_VALUES; n <= COUNT(values); n++) {
		runnext_begin();
		assert_int_equal(chan_try_send_n(w->in, values, n), n);
		runnext_end();
		wait_for(w->n_steps == n - RUNNEXT_VALUES + 1);
		assert_int_equal(w->ran_by, n > RUNNEXT_VALUES ? w->tid : gettid());
		await_asleep(w);
	}
	worker_stop(w);
}

static enum task_result wake_as_owner(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen != IN)
		return TASK_ON;
	if (!owner)
		return TASK_NOT_DONE;
	give(w->arg, 1);
	return TASK_ON;
}

static void test_an_owner_takes_the_step_of_what_it_wakes(void **state)
{
	static const struct worker_ops ops = {.act = wake_as_owner};
	struct worker *other = worker_start(NULL, 1), *w = worker_new(&ops, 1);
	w->arg = other;
	worker_go(w);
	long before = sleeps_of(other);
	give(w, 1);
	wait_for(other->n_steps == 1);
	assert_int_equal(other->ran_by, w->tid);
	assert_int_equal(sleeps_of(other), before);
	worker_stop(w);
	worker_stop(other);
}

/* --- what is handed over ---------------------------------------------------------------------- */

struct refusal {
	int refused_by;          /* the first thread */
	_Atomic size_t by_owner; /* steps that said: owner */
	uint64_t values[2];      /* at the last of those */
	size_t n;
	_Atomic bool refuses; /* to prepare */
};

static enum task_result act_as_owner(struct worker *w, int chosen, size_t n, bool owner)
{
	struct refusal *r = w->arg;
	if (chosen != IN)
		return TASK_ON;
	if (!owner) {
		if (r->refused_by == 0)
			r->refused_by = gettid();
		return TASK_NOT_DONE;
	}
	r->by_owner++;
	r->n = n;
	memcpy(r->values, w->values, n * sizeof(*w->values));
	return TASK_ON;
}

static void test_what_is_not_done_is_the_owners_with_its_values(void **state)
{
	static const struct worker_ops ops = {.act = act_as_owner};
	struct refusal r = {0};
	struct worker *w = worker_new(&ops, 4);
	uint64_t values[] = {40, 2};
	w->arg = &r;
	worker_go(w);
	runnext_begin();
	assert_int_equal(chan_try_send_n(w->in, values, 2), 2);
	runnext_end();
	wait_for(w->n_steps == 1);
	assert_int_equal(r.refused_by, gettid());
	assert_int_equal(r.by_owner, 1);
	assert_int_equal(r.n, 2);
	assert_memory_equal(r.values, values, sizeof(values));
	assert_int_equal(w->ran_by, w->tid);
	worker_stop(w);
}

static int prepare_as_owner(struct worker *w, bool owner)
{
	struct refusal *r = w->arg;
	if (!owner && atomic_load(&r->refuses))
		return -1;
	if (owner)
		r->by_owner++;
	return MORE;
}

static void test_what_another_thread_cannot_prepare_is_the_owners(void **state)
{
	static const struct worker_ops ops = {.prepare = prepare_as_owner};
	struct refusal r = {0};
	struct worker *w = worker_new(&ops, 1);
	w->arg = &r;
	worker_go(w);
	assert_int_equal(r.by_owner, 0);
	r.refuses = true;
	for (size_t i = 1; i <= 3; i++) {
		give_here(w, 1);
		assert_int_equal(w->n_steps, i);
		assert_int_equal(w->ran_by, gettid());
		await_asleep(w);
		assert_int_equal(r.by_owner, i);
	}
	worker_stop(w);
}

static enum task_result end_of_task(struct worker *w, int chosen, size_t n, bool owner)
{
	return chosen == IN ? TASK_END : TASK_ON;
}

static void test_an_end_in_another_thread_ends_the_task(void **state)
{
	static const struct worker_ops ops = {.act = end_of_task};
	struct worker *w = worker_start(&ops, 1);
	int tid = w->tid;
	give_here(w, 1);
	worker_free(w);
	assert_int_not_equal(tid, gettid());
}

static int end_if_owner(struct worker *w, bool owner)
{
	struct refusal *r = w->arg;
	return atomic_load(&r->refuses) ? -1 : MORE;
}

static void test_without_a_next_select_the_task_ends(void **state)
{
	static const struct worker_ops ops = {.prepare = end_if_owner};
	struct refusal r = {0};
	struct worker *w = worker_new(&ops, 1);
	w->arg = &r;
	worker_go(w);
	r.refuses = true;
	give_here(w, 1);
	worker_free(w);
}

/* What it wakes after its task is not kept: no runnext_end would follow. */
static void wake_next(struct worker *w)
{
	give(w->arg, 1);
}

static void test_after_its_task_a_thread_keeps_nothing(void **state)
{
	static const struct worker_ops ops = {.after = wake_next};
	struct worker *next = worker_start(NULL, 1);
	struct worker *w = worker_new(&ops, 1);
	w->arg = next;
	worker_go(w);
	worker_stop(w);
	wait_for(next->n_steps == 1);
	assert_int_equal(next->n_by_owner, 1);
	worker_stop(next);
}

static enum task_result note_close(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen != IN)
		return TASK_ON;
	return n == 0 && !w->task.cases[IN].ok ? TASK_END : TASK_ON;
}

static void test_close_reaches_a_parked_task(void **state)
{
	static const struct worker_ops ops = {.act = note_close};
	for (int here = 0; here <= 1; here++) {
		struct worker *w = worker_start(&ops, 1);
		give_here(w, 5);
		assert_int_equal(w->n_steps, 1);
		await_asleep(w);
		if (here)
			runnext_begin();
		chan_close(w->in);
		if (here)
			runnext_end();
		wait_group_wait(&w->wg);
		assert_int_equal(w->n_steps, 2);
		assert_int_equal(w->sum, 5);
		if (here)
			assert_int_equal(w->ran_by, gettid());
		worker_free(w);
	}
}

/* --- chains, turns and bounds ----------------------------------------------------------------- */

struct link {
	struct worker *next; /* NULL: the last */
	uintptr_t frame;     /* of the step */
};

static enum task_result pass_on(struct worker *w, int chosen, size_t n, bool owner)
{
	struct link *l = w->arg;
	if (chosen != IN)
		return TASK_ON;
	l->frame = (uintptr_t)__builtin_frame_address(0);
	if (l->next)
		give(l->next, w->values[0] + 1);
	return TASK_ON;
}

static void test_a_chain_of_tasks_runs_on_one_thread_without_recursion(void **state)
{
	enum { LENGTH = 12 };
	static const struct worker_ops ops = {.act = pass_on};
	struct worker *w[LENGTH];
	struct link links[LENGTH] = {0};
	long before[LENGTH];
	uintptr_t low = UINTPTR_MAX, high = 0;
	for (int i = LENGTH - 1; i >= 0; i--) {
		w[i] = worker_new(&ops, 1);
		links[i].next = i + 1 < LENGTH ? w[i + 1] : NULL;
		w[i]->arg = &links[i];
		worker_go(w[i]);
		before[i] = sleeps_of(w[i]);
	}
	give_here(w[0], 1);
	for (int i = 0; i < LENGTH; i++) {
		assert_int_equal(w[i]->sum, i + 1);
		assert_int_equal(w[i]->ran_by, gettid());
		assert_int_equal(sleeps_of(w[i]), before[i]);
		low = links[i].frame < low ? links[i].frame : low;
		high = links[i].frame > high ? links[i].frame : high;
	}
	assert_in_range(high - low, 0, 1024);
	for (int i = 0; i < LENGTH; i++)
		worker_stop(w[i]);
}

/* What the test writes down, in the order of the steps. */
struct journal {
	_Atomic size_t n;
	struct worker *by[256];
};

static enum task_result write_down(struct worker *w, int chosen, size_t n, bool owner)
{
	struct journal *j = w->arg;
	size_t at = chosen == IN ? atomic_fetch_add(&j->n, 1) : COUNT(j->by);
	if (at < COUNT(j->by))
		j->by[at] = w;
	return TASK_ON;
}

static void test_a_task_that_is_ready_again_goes_on_but_not_for_ever(void **state)
{
	enum { MANY = 40 };
	static const struct worker_ops ops = {.act = write_down};
	struct journal j = {0};
	struct worker *busy = worker_new(&ops, MANY), *other = worker_new(&ops, 1);
	busy->max = 1;
	busy->arg = other->arg = &j;
	worker_go(busy);
	worker_go(other);
	runnext_begin();
	for (int i = 0; i < MANY; i++)
		give(busy, 1);
	give(other, 1);
	runnext_end();
	wait_for(j.n == MANY + 1);
	size_t turn = 0;
	while (j.by[turn] != other)
		turn++;
	assert_in_range(turn, 2, MANY / 2);
	assert_int_equal(busy->sum, MANY);
	worker_stop(busy);
	worker_stop(other);
}

/* Values must come in order, whichever thread takes them. */
static enum task_result expect_order(struct worker *w, int chosen, size_t n, bool owner)
{
	for (size_t i = 0; chosen == IN && i < n; i++)
		CHECK(w->values[i] == atomic_load(&w->n_steps) + i);
	return TASK_ON;
}

static void test_steps_without_end_are_the_owners_after_some(void **state)
{
	enum { MANY = 2000 };
	static const struct worker_ops ops = {.act = expect_order};
	struct worker *w = worker_new(&ops, MANY);
	w->max = 1;
	worker_go(w);
	runnext_begin();
	for (uint64_t i = 0; i < MANY; i++)
		give(w, i);
	runnext_end();
	wait_for(w->n_steps == MANY);
	assert_true(w->n_by_owner > 0);
	assert_in_range(w->n_by_owner, MANY / 2, MANY - 1);
	worker_stop(w);
}

static void test_more_tasks_than_a_thread_keeps_are_run_by_others(void **state)
{
	enum { MANY = 40 };
	struct worker *w[MANY];
	size_t here = 0;
	for (int i = 0; i < MANY; i++)
		w[i] = worker_start(NULL, 1);
	runnext_begin();
	for (int i = 0; i < MANY; i++)
		give(w[i], 1);
	wait_for(w[PARK_KEPT_MAX - 1]->n_steps == 1); /* before the end */
	runnext_end();
	for (int i = 0; i < MANY; i++) {
		wait_for(w[i]->n_steps == 1);
		here += w[i]->ran_by == gettid();
	}
	assert_in_range(here, 1, RUNNEXT_STEPS);
	for (int i = 0; i < MANY; i++)
		worker_stop(w[i]);
}

/* Each of the tasks in a chain that is longer than one thread's steps. */
static void test_a_chain_longer_than_the_steps_of_a_thread_goes_on_in_others(void **state)
{
	enum { LENGTH = 3 * RUNNEXT_STEPS };
	static const struct worker_ops ops = {.act = pass_on};
	struct worker *w[LENGTH];
	struct link links[LENGTH] = {0};
	size_t here = 0;
	for (int i = LENGTH - 1; i >= 0; i--) {
		w[i] = worker_new(&ops, 1);
		links[i].next = i + 1 < LENGTH ? w[i + 1] : NULL;
		w[i]->arg = &links[i];
		worker_go(w[i]);
	}
	give_here(w[0], 1);
	wait_for(w[LENGTH - 1]->n_steps == 1);
	for (int i = 0; i < LENGTH; i++) {
		assert_int_equal(w[i]->sum, i + 1);
		here += w[i]->ran_by == gettid();
	}
	assert_in_range(here, 1, RUNNEXT_STEPS);
	for (int i = 0; i < LENGTH; i++)
		worker_stop(w[i]);
}

/* --- threads that keep tasks and do something else -------------------------------------------- */

static enum task_result answer(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == IN)
		chan_signal(w->arg);
	return TASK_ON;
}

static void test_a_thread_that_blocks_on_a_chan_hands_on_what_it_keeps(void **state)
{
	static const struct worker_ops ops = {.act = answer};
	struct worker *w[3];
	for (size_t i = 0; i < COUNT(w); i++) {
		w[i] = worker_new(&ops, 1);
		w[i]->arg = chan_new(0, 1);
		worker_go(w[i]);
	}
	runnext_begin();
	for (size_t i = 0; i < COUNT(w); i++)
		give(w[i], 1);
	/* In a receive, and in a select. */
	assert_true(chan_recv(w[2]->arg, NULL));
	for (size_t i = 0; i < 2; i++) {
		struct chan_case cases[] = {
			chan_case_recv(w[i]->arg, NULL), chan_case_recv(w[2]->arg, NULL)};
		assert_int_equal(chan_select(cases, 2), 0);
	}
	runnext_end();
	for (size_t i = 0; i < COUNT(w); i++) {
		assert_int_not_equal(w[i]->ran_by, gettid());
		chan_free(w[i]->arg);
		worker_stop(w[i]);
	}
}

static void test_a_handoff_hands_on_what_a_thread_keeps(void **state)
{
	struct worker *w[3];
	for (size_t i = 0; i < COUNT(w); i++)
		w[i] = worker_start(NULL, 1);
	runnext_handoff(); /* nothing is kept */
	runnext_begin();
	runnext_handoff();
	for (size_t i = 0; i < COUNT(w); i++)
		give(w[i], 1);
	runnext_handoff();
	for (size_t i = 0; i < COUNT(w); i++) {
		wait_for(w[i]->n_steps == 1);
		assert_int_not_equal(w[i]->ran_by, gettid());
		await_asleep(w[i]);
	}
	/* And it keeps on keeping. */
	give(w[1], 1);
	runnext_end();
	assert_int_equal(w[1]->ran_by, gettid());
	for (size_t i = 0; i < COUNT(w); i++)
		worker_stop(w[i]);
}

struct call {
	struct worker *w;
	int cancel_fd;
};

/* Ends the call when the task has been run; or when nobody has done so for long. */
static void cancel_call(void *arg)
{
	struct call *c = arg;
	int64_t end = clock_mono_ns() + 10 * NSEC_PER_SEC;
	while (c->w->n_steps == 0 && clock_mono_ns() < end)
		sleep_ns(NSEC_PER_MSEC);
	CHECK(eventfd_write(c->cancel_fd, 1) == 0);
}

/* To a peer that accepts, and says nothing. */
static void test_a_thread_that_asks_by_http_hands_on_what_it_keeps(void **state)
{
	struct tcp_listener l = listen_on("127.0.0.1:0");
	struct call c = {.w = worker_start(NULL, 1), .cancel_fd = eventfd(0, EFD_CLOEXEC)};
	struct http_client client = {.cancel_fd = c.cancel_fd};
	struct wait_group wg;
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", l.port);
	struct http_client_call call = {.url = url};
	wait_group_init(&wg);
	runnext_begin();
	give(c.w, 1);
	go(&wg, cancel_call, &c);
	http_client_do(&client, &call, 1);
	assert_false(call.ok);
	assert_int_equal(c.w->n_steps, 1);
	runnext_end();
	join(&wg);
	strbuf_free(&call.body);
	close(c.cancel_fd);
	tcp_listener_close(&l);
	worker_stop(c.w);
}

struct gate {
	_Atomic bool entered, open;
};

/* A step that takes its time. */
static enum task_result wait_at_gate(struct worker *w, int chosen, size_t n, bool owner)
{
	struct gate *g = w->arg;
	if (chosen != IN)
		return TASK_ON;
	atomic_store(&g->entered, true);
	wait_for(atomic_load(&g->open));
	return TASK_ON;
}

static void test_an_owner_that_takes_the_steps_of_others_has_its_own_taken_for_it(void **state)
{
	static const struct worker_ops slow = {.act = wait_at_gate}, ops = {.act = pass_on};
	struct gate gate = {0};
	struct worker *other = worker_new(&slow, 1), *w = worker_new(&ops, 1);
	struct link l = {.next = other};
	other->arg = &gate;
	w->arg = &l;
	worker_go(other);
	worker_go(w);
	give(w, 1); /* its owner acts, and takes the other's step then */
	wait_for(atomic_load(&gate.entered));
	assert_int_equal(w->n_by_owner, 1);
	l.next = NULL;
	give_here(w, 1);
	assert_int_equal(w->n_steps, 2);
	assert_int_equal(w->ran_by, gettid());
	atomic_store(&gate.open, true);
	wait_for(other->n_steps == 1);
	assert_int_equal(other->ran_by, w->tid);
	worker_stop(w);
	worker_stop(other);
}

/*
 * Its first step wakes the other; what comes then is the owner's, which waits until the other has
 * been run: in its act for a value of 1, in the next prepare for one of 2.
 */
static void wait_for_other(struct worker *other)
{
	wait_for(other->n_steps == 1);
}

static enum task_result wait_in_act(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == IN && w->values[0] == 0)
		give(w->arg, 1);
	if (chosen == IN && w->values[0] == 1) {
		if (!owner)
			return TASK_NOT_DONE;
		wait_for_other(w->arg);
	}
	return TASK_ON;
}

static int wait_in_prepare(struct worker *w, bool owner)
{
	if (w->values[0] == 2) {
		if (!owner)
			return -1;
		wait_for_other(w->arg);
	}
	return MORE;
}

static void test_an_owner_that_may_block_keeps_no_other_waiting(void **state)
{
	static const struct worker_ops ops = {.prepare = wait_in_prepare, .act = wait_in_act};
	for (uint64_t how = 1; how <= 2; how++) {
		struct worker *other = worker_start(NULL, 1), *w = worker_new(&ops, 4);
		uint64_t values[] = {0, how};
		w->arg = other;
		w->max = 1;
		worker_go(w);
		assert_int_equal(chan_try_send_n(w->in, values, 2), 2);
		wait_for(w->n_steps == 2);
		assert_int_equal(w->n_by_owner, 2);
		worker_stop(w);
		worker_stop(other);
	}
}

/* Goes on by itself, until it is told to stop; with the first step it wakes another task. */
struct perpetual {
	struct worker *other;
	_Atomic bool stop;
};

static enum task_result go_on(struct worker *w, int chosen, size_t n, bool owner)
{
	struct perpetual *p = w->arg;
	if (chosen != IN)
		return TASK_ON;
	if (p->other)
		give(p->other, 1);
	p->other = NULL;
	if (!atomic_load(&p->stop))
		give(w, 1);
	return TASK_ON;
}

static void test_a_task_that_is_always_ready_keeps_no_other_waiting(void **state)
{
	static const struct worker_ops ops = {.act = go_on};
	struct worker *other = worker_start(NULL, 1), *w = worker_new(&ops, 1);
	struct perpetual p = {.other = other};
	w->arg = &p;
	worker_go(w);
	give(w, 1);
	wait_for(other->n_steps == 1);
	atomic_store(&p.stop, true);
	worker_stop(w);
	worker_stop(other);
}

/* --- demand ----------------------------------------------------------------------------------- */

struct trade {
	struct chan *goods; /* of uint64_t, without room */
	uint64_t have;      /* the buyer's or the seller's */
	bool receives;      /* the buyer */
};

static int prepare_buyer(struct worker *w, bool owner)
{
	struct trade *t = w->arg;
	w->task.cases[MORE] = chan_case_recv(t->receives ? t->goods : NULL, &t->have);
	return MORE + 1;
}

/* Begins to receive when it is told, and ends when it has something. */
static enum task_result buy(struct worker *w, int chosen, size_t n, bool owner)
{
	struct trade *t = w->arg;
	t->receives = chosen == IN;
	return TASK_ON;
}

static const struct worker_ops buyer_ops = {.prepare = prepare_buyer, .act = buy};

struct asker {
	struct chan *goods;
	_Atomic size_t demand;
};

static void ask(void *arg)
{
	struct asker *a = arg;
	struct chan_case demand = chan_case_demand(a->goods);
	chan_select(&demand, 1);
	a->demand = demand.n;
}

static void test_demand_of_a_task_that_another_thread_parks_is_announced(void **state)
{
	struct trade t = {.goods = chan_new(sizeof(uint64_t), 0)};
	struct asker a = {.goods = t.goods};
	struct worker *w = worker_new(&buyer_ops, 1);
	struct wait_group wg;
	uint64_t price = 77;
	w->arg = &t;
	worker_go(w);
	wait_group_init(&wg);
	go(&wg, ask, &a);
	await_waiters(t.goods, CHAN_DEMAND, 1);
	long before = sleeps_of(w);
	give_here(w, 1);
	join(&wg);
	assert_int_equal(a.demand, 1);
	assert_int_equal(w->ran_by, gettid());
	runnext_begin();
	assert_int_equal(chan_try_send_n(t.goods, &price, 1), 1);
	runnext_end();
	assert_int_equal(t.have, price);
	assert_int_equal(sleeps_of(w), before);
	worker_stop(w);
	chan_free(t.goods);
}

static int prepare_seller(struct worker *w, bool owner)
{
	struct trade *t = w->arg;
	w->task.cases[MORE] = chan_case_demand(t->have ? t->goods : NULL);
	return MORE + 1;
}

static enum task_result sell(struct worker *w, int chosen, size_t n, bool owner)
{
	struct trade *t = w->arg;
	if (chosen != MORE)
		return TASK_ON;
	CHECK(n == 1 && chan_try_send_n(t->goods, &t->have, 1) == 1);
	t->have = 0;
	return TASK_ON;
}

static void test_a_task_that_waits_for_demand_is_run(void **state)
{
	static const struct worker_ops ops = {.prepare = prepare_seller, .act = sell};
	struct chan *goods = chan_new(sizeof(uint64_t), 0);
	struct trade s = {.goods = goods, .have = 99}, b = {.goods = goods};
	struct worker *seller = worker_new(&ops, 1), *buyer = worker_new(&buyer_ops, 1);
	seller->arg = &s;
	buyer->arg = &b;
	worker_go(seller);
	worker_go(buyer);
	assert_int_equal(count_waiters(goods, CHAN_DEMAND), 1);
	give_here(buyer, 1); /* which asks, so the seller sells */
	assert_int_equal(b.have, 99);
	assert_int_equal(seller->n_steps, 1);
	assert_int_equal(seller->ran_by, gettid());
	assert_int_equal(buyer->n_steps, 2);
	assert_int_equal(buyer->ran_by, gettid());
	worker_stop(seller);
	worker_stop(buyer);
	chan_free(goods);
}

/* --- several tasks, several threads ----------------------------------------------------------- */

enum { RALLY = 40000 };

/* arg: the other; the number is that of the stroke. */
static enum task_result strike(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == IN && w->values[0] < ROUNDS(RALLY))
		give(w->arg, w->values[0] + 1);
	return TASK_ON;
}

static void test_two_tasks_talk_to_each_other(void **state)
{
	static const struct worker_ops ops = {.act = strike};
	struct worker *a = worker_new(&ops, 1), *b = worker_new(&ops, 1);
	a->arg = b;
	b->arg = a;
	worker_go(a);
	worker_go(b);
	give_here(a, 1);
	wait_for(a->n_steps + b->n_steps == ROUNDS(RALLY));
	assert_int_equal(a->n_steps, ROUNDS(RALLY) / 2);
	worker_stop(a);
	worker_stop(b);
}

/*
 * The stress: senders wake fronts, some with runnext and some without. A front passes what it has
 * to its sink, some of them only upon demand. All refuse now and then what another thread wants to
 * do for them, in each of the three ways. Each number arrives once, and in the order of its sender
 * and front.
 */
enum { SENDERS = 3, FRONTS = 5, SINKS = 2, PER_SENDER = 100000 };

struct front {
	struct worker *sink;
	bool by_demand;
	uint64_t pending[WORKER_BATCH];
	size_t n_pending, wanted;
	uint64_t random; /* the claim's */
};

struct sink {
	uint64_t next[SENDERS][FRONTS];
	_Atomic size_t n;
	uint64_t random; /* the claim's */
};

struct bazaar {
	struct worker *fronts[FRONTS];
	struct front front[FRONTS];
	struct worker *sinks[SINKS];
	struct sink sink[SINKS];
};

struct sender {
	struct bazaar *b;
	uint64_t id;
};

static uint32_t draw(uint64_t *random, uint32_t n)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % n;
}

static int prepare_front(struct worker *w, bool owner)
{
	struct front *f = w->arg;
	if (!owner && draw(&f->random, 16) == 0)
		return -1;
	size_t wanted = f->n_pending > 0 ? 0
			: f->by_demand   ? chan_demand(f->sink->in, WORKER_BATCH)
					 : 4;
	struct chan_case *cases = w->task.cases;
	cases[IN].max = wanted;
	cases[MORE] = chan_case_send_n(f->sink->in, f->pending, f->n_pending);
	cases[MORE + 1] = chan_case_demand(f->n_pending == 0 && wanted == 0 ? f->sink->in : NULL);
	return MORE + 2;
}

static enum task_result act_front(struct worker *w, int chosen, size_t n, bool owner)
{
	struct front *f = w->arg;
	if (chosen != QUIT && !owner && draw(&f->random, 16) == 0)
		return TASK_NOT_DONE;
	if (chosen == IN) {
		memcpy(f->pending, w->values, n * sizeof(*w->values));
		f->n_pending = n;
	} else if (chosen == MORE) {
		f->n_pending -= n;
		memmove(f->pending, f->pending + n, f->n_pending * sizeof(*f->pending));
	}
	CHECK(chosen != MORE + 1 || n > 0);
	if (chosen == TICK || w->ticker.next_ns == 0)
		ticker_after(&w->ticker, draw(&f->random, 200) * NSEC_PER_USEC);
	return TASK_ON;
}

static bool may_run_front(struct worker *w, int chosen, size_t n)
{
	struct front *f = w->arg;
	return draw(&f->random, 16) != 0;
}

static int prepare_sink(struct worker *w, bool owner)
{
	struct sink *s = w->arg;
	if (!owner && draw(&s->random, 16) == 0)
		return -1;
	/* So timerproc claims it in the moment when it is parked. */
	ticker_after(&w->ticker, draw(&s->random, 20) * NSEC_PER_USEC);
	return MORE;
}

static enum task_result act_sink(struct worker *w, int chosen, size_t n, bool owner)
{
	struct sink *s = w->arg;
	if (chosen != IN)
		return TASK_ON;
	if (!owner && draw(&s->random, 16) == 0)
		return TASK_NOT_DONE;
	for (size_t i = 0; i < n; i++) {
		uint64_t value = w->values[i], from = value >> 48, front = value >> 40 & 255;
		CHECK(from < SENDERS && front < FRONTS);
		CHECK((value & 0xffffffff) == s->next[from][front]++);
	}
	atomic_fetch_add(&s->n, n);
	return TASK_ON;
}

static bool may_run_sink(struct worker *w, int chosen, size_t n)
{
	struct sink *s = w->arg;
	return draw(&s->random, 8) != 0;
}

static void send_some(struct bazaar *b, uint64_t id, uint64_t *next, int n)
{
	while (n-- > 0) {
		uint64_t to = rand_below(FRONTS), value = id << 48 | to << 40 | next[to]++;
		if (rand_below(8) == 0 || chan_try_send_n(b->fronts[to]->in, &value, 1) == 0)
			chan_send(b->fronts[to]->in, &value);
	}
}

static void send_all(void *arg)
{
	struct sender *s = arg;
	uint64_t next[FRONTS] = {0};
	for (int left = ROUNDS(PER_SENDER); left > 0;) {
		int n = 1 + (int)rand_below(8);
		bool keeping = rand_below(4) != 0;
		if (n > left)
			n = left;
		if (keeping)
			runnext_begin();
		send_some(s->b, s->id, next, n);
		if (keeping && rand_below(8) == 0)
			runnext_handoff();
		if (keeping)
			runnext_end();
		left -= n;
	}
}

static void open_bazaar(struct bazaar *b)
{
	static const struct worker_ops sink_ops = {
		.prepare = prepare_sink, .may_run = may_run_sink, .act = act_sink};
	static const struct worker_ops front_ops = {
		.prepare = prepare_front, .may_run = may_run_front, .act = act_front};
	for (size_t i = 0; i < SINKS; i++) {
		b->sinks[i] = worker_new(&sink_ops, i % 2 * 4);
		b->sinks[i]->arg = &b->sink[i];
		b->sink[i].random = rand_u64();
		worker_go(b->sinks[i]);
	}
	for (size_t i = 0; i < FRONTS; i++) {
		b->front[i] = (struct front){
			.sink = b->sinks[i / 3], .by_demand = i % 2 == 0, .random = rand_u64()};
		b->fronts[i] = worker_new(&front_ops, i % 3 * 4);
		b->fronts[i]->arg = &b->front[i];
		go(&b->fronts[i]->wg, worker_run, b->fronts[i]);
	}
}

static void test_one_thread_at_a_time_runs_a_task_and_nothing_is_lost(void **state)
{
	static struct bazaar b;
	struct sender senders[SENDERS];
	struct wait_group wg;
	open_bazaar(&b);
	wait_group_init(&wg);
	for (size_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){&b, i};
		go(&wg, send_all, &senders[i]);
	}
	join(&wg);
	wait_for(b.sink[0].n + b.sink[1].n == SENDERS * ROUNDS(PER_SENDER));
	for (size_t i = 0; i < FRONTS; i++)
		worker_stop(b.fronts[i]);
	for (size_t i = 0; i < SINKS; i++)
		worker_stop(b.sinks[i]);
}

/* Tasks and threads that wait on the same chan: each number comes to one of them. */
enum { SHARED = 100000 };

struct market {
	struct chan *c; /* of uint64_t */
	_Atomic uint64_t next;
	_Atomic size_t n;
	_Atomic bool seen[SHARED];
};

static void take_shared(struct market *m, const uint64_t *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(values[i] < SHARED && !atomic_exchange(&m->seen[values[i]], true));
	atomic_fetch_add(&m->n, n);
}

static int prepare_taker(struct worker *w, bool owner)
{
	struct market *m = w->arg;
	w->task.cases[MORE] = chan_case_recv_n(m->c, w->values, 1 + rand_below(4));
	ticker_after(&w->ticker, rand_below(100) * NSEC_PER_USEC);
	return MORE + 1;
}

static enum task_result take(struct worker *w, int chosen, size_t n, bool owner)
{
	if (chosen == MORE)
		take_shared(w->arg, w->values, n);
	return TASK_ON;
}

/* The same in a thread, with a time-out. */
static void take_in_thread(void *arg)
{
	struct market *m = arg;
	uint64_t values[4];
	while (m->n < ROUNDS(SHARED)) {
		struct ticker t;
		struct chan_case cases[] = {
			chan_case_recv_n(m->c, values, 1 + rand_below(4)), chan_case_tick(&t)};
		ticker_after(&t, rand_below(100) * NSEC_PER_USEC);
		if (chan_select(cases, 2) == 0)
			take_shared(m, values, cases[0].n);
	}
}

static void offer_shared(void *arg)
{
	struct market *m = arg;
	uint64_t value;
	while ((value = atomic_fetch_add(&m->next, 1)) < ROUNDS(SHARED)) {
		bool keeping = rand_below(2) == 0;
		if (keeping)
			runnext_begin();
		chan_send(m->c, &value);
		if (keeping)
			runnext_end();
	}
}

static void test_tasks_and_threads_share_a_chan(void **state)
{
	static const struct worker_ops ops = {.prepare = prepare_taker, .act = take};
	static struct market m;
	struct worker *w[3];
	struct wait_group wg;
	m.c = chan_new(sizeof(uint64_t), 2);
	wait_group_init(&wg);
	for (size_t i = 0; i < COUNT(w); i++) {
		w[i] = worker_new(&ops, 1);
		w[i]->arg = &m;
		go(&w[i]->wg, worker_run, w[i]);
	}
	for (int i = 0; i < 2; i++) {
		go(&wg, take_in_thread, &m);
		go(&wg, offer_shared, &m);
	}
	join(&wg);
	assert_int_equal(m.n, ROUNDS(SHARED));
	for (size_t i = 0; i < COUNT(w); i++)
		worker_stop(w[i]);
	chan_free(m.c);
}

/* --- the end of a task ------------------------------------------------------------------------ */

struct siege {
	struct chan *signal, *quit;
	_Atomic bool over;
};

struct mortal {
	struct task task; /* first */
	struct chan_case cases[3];
	struct waiter waiters[3];
	struct siege *s;
	struct ticker ticker;
};

static int prepare_mortal(struct task *t, bool owner)
{
	struct mortal *m = (struct mortal *)t;
	t->cases[0] = chan_case_recv(m->s->signal, NULL);
	t->cases[1] = chan_case_recv(m->s->quit, NULL);
	t->cases[2] = chan_case_tick(&m->ticker);
	return 3;
}

static bool may_run_mortal(struct task *t, int chosen, size_t n)
{
	return chosen != 1;
}

static enum task_result die(struct task *t, int chosen, bool owner)
{
	return TASK_END;
}

/* One task after the other, each in memory of its own, which is gone when it has ended. */
static void live_and_die(void *arg)
{
	static const struct task_ops ops = {
		.prepare = prepare_mortal, .may_run = may_run_mortal, .act = die};
	struct siege *s = arg;
	for (int i = 0; i < ROUNDS(10000); i++) {
		struct mortal *m = xcalloc_aligned(_Alignof(struct mortal), sizeof(*m));
		task_init(&m->task, m->cases, m->waiters, COUNT(m->cases));
		m->s = s;
		ticker_after(&m->ticker, rand_below(40) * NSEC_PER_USEC);
		task_run(&m->task, &ops);
		memset(m, 0xdd, sizeof(*m));
		free(m);
	}
	atomic_store(&s->over, true);
}

static void besiege(void *arg)
{
	struct siege *s = arg;
	while (!atomic_load(&s->over)) {
		runnext_begin();
		chan_signal(rand_below(4) == 0 ? s->quit : s->signal);
		runnext_end();
		if (rand_below(4) == 0)
			sched_yield();
	}
}

static void test_a_task_ends_while_others_wake_it(void **state)
{
	struct siege s = {.signal = chan_new(0, 1), .quit = chan_new(0, 1)};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, live_and_die, &s);
	go(&wg, besiege, &s);
	go(&wg, besiege, &s);
	join(&wg);
	chan_free(s.signal);
	chan_free(s.quit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_waker_takes_the_step_and_the_owner_sleeps_on),
		cmocka_unit_test(test_outside_of_begin_and_end_the_owner_is_woken),
		cmocka_unit_test(test_a_step_waits_for_the_end),
		cmocka_unit_test(test_a_case_that_may_run_refuses_is_the_owners),
		cmocka_unit_test(test_so_is_one_that_is_ready_after_a_step_of_another),
		cmocka_unit_test(test_a_task_with_many_values_is_its_owners),
		cmocka_unit_test(test_an_owner_takes_the_step_of_what_it_wakes),
		cmocka_unit_test(test_what_is_not_done_is_the_owners_with_its_values),
		cmocka_unit_test(test_what_another_thread_cannot_prepare_is_the_owners),
		cmocka_unit_test(test_an_end_in_another_thread_ends_the_task),
		cmocka_unit_test(test_without_a_next_select_the_task_ends),
		cmocka_unit_test(test_after_its_task_a_thread_keeps_nothing),
		cmocka_unit_test(test_close_reaches_a_parked_task),
		cmocka_unit_test(test_a_chain_of_tasks_runs_on_one_thread_without_recursion),
		cmocka_unit_test(test_a_task_that_is_ready_again_goes_on_but_not_for_ever),
		cmocka_unit_test(test_steps_without_end_are_the_owners_after_some),
		cmocka_unit_test(test_more_tasks_than_a_thread_keeps_are_run_by_others),
		cmocka_unit_test(test_a_chain_longer_than_the_steps_of_a_thread_goes_on_in_others),
		cmocka_unit_test(test_a_thread_that_blocks_on_a_chan_hands_on_what_it_keeps),
		cmocka_unit_test(test_a_handoff_hands_on_what_a_thread_keeps),
		cmocka_unit_test(test_a_thread_that_asks_by_http_hands_on_what_it_keeps),
		cmocka_unit_test(
			test_an_owner_that_takes_the_steps_of_others_has_its_own_taken_for_it),
		cmocka_unit_test(test_an_owner_that_may_block_keeps_no_other_waiting),
		cmocka_unit_test(test_a_task_that_is_always_ready_keeps_no_other_waiting),
		cmocka_unit_test(test_demand_of_a_task_that_another_thread_parks_is_announced),
		cmocka_unit_test(test_a_task_that_waits_for_demand_is_run),
		cmocka_unit_test(test_two_tasks_talk_to_each_other),
		cmocka_unit_test(test_one_thread_at_a_time_runs_a_task_and_nothing_is_lost),
		cmocka_unit_test(test_tasks_and_threads_share_a_chan),
		cmocka_unit_test(test_a_task_ends_while_others_wake_it),
	};
	struct err err;
	if (http_client_global_init(&err) != 0)
		return 1;
	return cmocka_run_group_tests(tests, start_runnext, stop_runnext);
}
