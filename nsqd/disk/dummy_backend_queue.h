/* SPDX-License-Identifier: MIT */
/*
 * The backend of #ephemeral topics and channels (nsqd/dummy_backend_queue.go): messages that do not
 * fit into memory are dropped, and the put succeeds.
 */
#ifndef NSQD_DUMMY_BACKEND_QUEUE_H
#define NSQD_DUMMY_BACKEND_QUEUE_H

#include "nsqd/disk/backend_queue.h"

/* newDummyBackendQueue. Costs no thread and no file; ends with close or delete like the others. */
struct backend_queue *dummy_backend_queue_new(void);

#endif
