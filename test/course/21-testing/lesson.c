/* SPDX-License-Identifier: MIT */
/* A test that waits for a condition: a server answers first, and counts a moment later. */
#include <stdio.h>
#include <time.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/lock.h"

#include "test/course/go.h"

struct server {
	struct chan *asked, *answers; /* of int */
	struct mutex lock;
	int served; /* guarded by lock */
};

static void serve(void *arg)
{
	struct server *s = arg;
	int v;

	while (chan_recv(s->asked, &v)) {
		v *= v;
		chan_send(s->answers, &v);
		mutex_lock(&s->lock);
		s->served++;
		mutex_unlock(&s->lock);
	}
}

/* What a closure of Go holds by itself: so many are to be counted. */
struct counted {
	struct server *server;
	int n;
};

static bool is_counted(void *arg)
{
	struct counted *c = arg;

	mutex_lock(&c->server->lock);
	bool is = c->server->served == c->n;
	mutex_unlock(&c->server->lock);
	return is;
}

/* Looks again and again until the condition holds. Only a test that fails waits to the end. */
static bool wait_for(bool (*cond)(void *arg), void *arg, int64_t patience_ns)
{
	int64_t end = clock_mono_ns() + patience_ns;

	while (!cond(arg)) {
		if (clock_mono_ns() > end)
			return false;
		nanosleep(&(struct timespec){0, NSEC_PER_MSEC / 4}, NULL);
	}
	return true;
}

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

int main(void)
{
	struct server s = {.asked = chan_new(sizeof(int), 0), .answers = chan_new(sizeof(int), 0)};
	struct counted three = {&s, 3}, four = {&s, 4};
	struct wait_group wg;
	int answer;

	mutex_init(&s.lock, RANK_LEAF);
	wait_group_init(&wg);
	go(&wg, "server", serve, &s);
	for (int v = 1; v <= 3; v++) {
		chan_send(s.asked, &v);
		chan_recv(s.answers, &answer);
		printf("%d\n", answer);
	}
	/* The third answer is here. The third count may not be. */
	printf("3 are counted: %s\n", truth(wait_for(is_counted, &three, 60 * NSEC_PER_SEC)));
	printf("4 are counted: %s\n", truth(wait_for(is_counted, &four, NSEC_PER_SEC / 50)));
	chan_close(s.asked);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&s.lock);
	chan_free(s.asked);
	chan_free(s.answers);
	return 0;
}
