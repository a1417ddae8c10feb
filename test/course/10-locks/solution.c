/* SPDX-License-Identifier: MIT */
/* Two threads move coins between two purses, one each way, and main counts them meanwhile. */
#include <stdio.h>

#include "common/lock.h"

#include "test/course/go.h"

enum { COINS = 100, MOVES = 2000, COUNTS = 50 };

struct purse {
	struct mutex lock; /* guards coins */
	int coins;
};

struct bank {
	struct rwlock lock; /* a move holds it for reading, a count for writing */
	struct purse purses[2];
};

struct mover {
	struct bank *bank;
	struct purse *from, *to;
};

static bool take(struct purse *p)
{
	mutex_lock(&p->lock);
	bool has_some = p->coins > 0;
	if (has_some)
		p->coins--;
	mutex_unlock(&p->lock);
	return has_some;
}

static void put(struct purse *p)
{
	mutex_lock(&p->lock);
	p->coins++;
	mutex_unlock(&p->lock);
}

static void move(void *arg)
{
	struct mover *m = arg;

	for (int i = 0; i < MOVES; i++) {
		rwlock_rdlock(&m->bank->lock);
		if (take(m->from))
			put(m->to); /* in between the coin is in no purse, but this thread's */
		rwlock_unlock(&m->bank->lock);
	}
}

static int count(struct bank *b)
{
	rwlock_wrlock(&b->lock); /* no move is half done: the purses' locks are not needed */
	int coins = b->purses[0].coins + b->purses[1].coins;
	rwlock_unlock(&b->lock);
	return coins;
}

int main(void)
{
	struct bank bank = {0};
	struct mover movers[2];
	struct wait_group wg;
	int wrong = 0;

	rwlock_init(&bank.lock, RANK_TOPICS);
	wait_group_init(&wg);
	for (int i = 0; i < 2; i++) {
		mutex_init(&bank.purses[i].lock, RANK_TOPIC);
		bank.purses[i].coins = COINS;
		movers[i] = (struct mover){&bank, &bank.purses[i], &bank.purses[1 - i]};
	}
	for (int i = 0; i < 2; i++)
		go(&wg, "move", move, &movers[i]);
	for (int i = 0; i < COUNTS; i++)
		wrong += count(&bank) != 2 * COINS;
	wait_group_wait(&wg);
	printf("%d coins, %d wrong counts\n", count(&bank), wrong);
	wait_group_destroy(&wg);
	gothread_drain();
	for (int i = 0; i < 2; i++)
		mutex_destroy(&bank.purses[i].lock);
	rwlock_destroy(&bank.lock);
	return 0;
}
