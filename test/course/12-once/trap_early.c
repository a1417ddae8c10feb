/* SPDX-License-Identifier: MIT */
/* BROKEN: a function returns early, and keeps the lock. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/lock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct store {
	struct mutex lock; /* guards value */
	int value;
};

static struct store store;
static struct gate has_failed;

static int set(struct store *s, const char *digit, struct err *err)
{
	mutex_lock(&s->lock); /* @waits */
	if (strlen(digit) != 1)
		return err_set(err, EINVAL, "%s is not a digit", digit);
	s->value = *digit - '0';
	mutex_unlock(&s->lock);
	return 0;
}

static void first(void *arg)
{
	struct err err;

	(void)arg;
	if (set(&store, "ten", &err) < 0)
		printf("%s\n", err.msg);
	gate_open(&has_failed);
}

static void second(void *arg)
{
	struct err err;

	(void)arg;
	gate_wait(&has_failed);
	if (set(&store, "7", &err) < 0) /* @sets */
		printf("%s\n", err.msg);
}

int main(void)
{
	struct wait_group wg;

	mutex_init(&store.lock, RANK_LEAF);
	wait_group_init(&wg);
	go(&wg, "second", second, NULL);
	go(&wg, "first", first, NULL);
	wait_group_wait(&wg);
	printf("%d\n", store.value);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&store.lock);
	return 0;
}
