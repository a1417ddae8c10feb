/* SPDX-License-Identifier: MIT */
/* Looking at what is stored in a disk queue, from any thread. */
#ifndef NSQD_DISKQUEUE_PEEK_H
#define NSQD_DISKQUEUE_PEEK_H

#include "nsqd/disk/diskqueue_internal.h"

/* Shows the state of now to the others. In the thread of "io" fields; takes shown_lock. */
void dq_show(struct diskqueue *d);
/* The same where the first of the batch may be another thread's already: but for its timestamp. */
void dq_show_place(struct diskqueue *d);
/* What backend_queue_ops.look and first_timestamp are. Any thread; take shown_lock. */
struct backend_look *dq_look_new(struct diskqueue *d);
bool dq_shown_empty(struct diskqueue *d);
int64_t dq_shown_first(struct diskqueue *d);
size_t dq_shown_ahead(struct diskqueue *d, int64_t *first, int64_t *last);

#endif
