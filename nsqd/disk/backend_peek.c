/* SPDX-License-Identifier: MIT */
/*
 * Looking at what a backend queue has stored. Stock has no such thing. Runs in the threads of HTTP
 * connections.
 */
#include "nsqd/disk/backend_peek.h"

/* A reader may come by each time. One that is so quick leaves little to be seen. */
#define TRIES 5

int backend_peek(struct rwlock *lock, struct backend_queue *const *q, struct message_views *out,
	struct err *err)
{
	for (int i = 0; i < TRIES; i++) {
		rwlock_rdlock(lock);
		struct backend_look *l = *q ? (*q)->ops->look(*q) : NULL;
		rwlock_unlock(lock);
		int rc = l ? l->read(l, out, err) : 0;
		if (l)
			l->free(l);
		if (rc <= 0)
			return rc;
	}
	return err_set(err, 0, "its files go while they are looked at");
}
