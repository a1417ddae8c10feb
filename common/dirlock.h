/* SPDX-License-Identifier: MIT */
/*
 * The lock on the data path (internal/dirlock): flock(2) on the directory itself, as stock does, so
 * that a stock nsqd and this one exclude each other.
 */
#ifndef COMMON_DIRLOCK_H
#define COMMON_DIRLOCK_H

#include "common/err.h"

/*
 * Takes the lock, without waiting. Returns a descriptor of the directory that holds it until
 * dirlock_unlock or the end of the process, or -1 with err set: "open dir: ..." or "cannot flock
 * directory dir - ... (possibly in use by another instance of nsqd)".
 */
int dirlock_lock(const char *dir, struct err *err);
/*
 * Whether another process holds the lock: 1, 0, or -1 with err set, as in dirlock_lock. To find out
 * it shares the lock for an instant: one that calls dirlock_lock just then is refused.
 */
int dirlock_is_held(const char *dir, struct err *err);
/* Gives the lock back and closes fd. */
void dirlock_unlock(int fd);

#endif
