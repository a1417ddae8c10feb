/* SPDX-License-Identifier: MIT */
/* Small parts of common/ that a model has in another way. */
#include <stdlib.h>

#include "common/gothread.h"
#include "common/rand.h"
#include "test/model/mc.h"
#include "test/model/mc_os.h"
#include "test/model/mc_stubs.h"
#include "test/model/mc_weak.h"

int mc_draws = -1;

/* The first or the last: of two cases of a select that is either order. */
uint64_t rand_u64(void)
{
	if (mc_draws == 0 || mc_choose(2) == 0)
		return 0;
	mc_draws -= mc_draws > 0;
	return UINT64_MAX;
}

/* --- gothread.c: each function gets a thread of the model ------------------------------------- */

struct call {
	struct wait_group *wg;
	void (*fn)(void *arg);
	void *arg;
};

void wait_group_init(struct wait_group *wg)
{
	wg->running = 0;
}

void wait_group_destroy(struct wait_group *wg)
{
	MC_CHECK(wg->running == 0);
}

void wait_group_add(struct wait_group *wg)
{
	mc_yield_unless_coarse();
	wg->running++;
}

void wait_group_done(struct wait_group *wg)
{
	mc_yield_unless_coarse();
	MC_CHECK(wg->running > 0);
	mc_weak_release(wg);
	wg->running--;
}

static bool is_done(void *wg)
{
	return ((struct wait_group *)wg)->running == 0;
}

void wait_group_wait(struct wait_group *wg)
{
	mc_wait(is_done, wg);
	mc_weak_acquire(wg);
}

bool gothread_is_scarce(size_t wanted, struct err *err)
{
	(void)wanted, (void)err;
	return false;
}

static void run(void *arg)
{
	struct call call = *(struct call *)arg;
	mc_free(arg);
	call.fn(call.arg);
	wait_group_done(call.wg);
}

/* So many times there may be no thread. */
int mc_thread_failures;

int wait_group_wrap(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	if (mc_thread_failures > 0 && mc_choose(2)) {
		mc_thread_failures--;
		return -1;
	}
	struct call *call = mc_malloc(sizeof(*call));
	*call = (struct call){wg, fn, arg};
	(void)err;
	wg->running++;
	mc_go(name, run, call);
	return 0;
}
