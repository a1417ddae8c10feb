/* SPDX-License-Identifier: MIT */
/* What goes of a log: segments that nobody wants, and the whole of it. */
#ifndef NSQD_LOG_REMOVE_H
#define NSQD_LOG_REMOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/log/log_io.h"

struct log;

/*
 * Nothing below floor is wanted any more: removes the segments in which nothing else is. -1 with
 * err set: some are left. One thread at a time. Blocks on the disk.
 */
int log_forget(struct log *l, uint64_t floor, struct err *err);
/*
 * The log of the topic, which nobody has open, gets the name `as`, so that no start finds it. A
 * directory that has that name already is removed, with its files. -1 with err set. Blocks on the disk.
 */
int log_put_aside(int dir, const char *topic, const char *as, struct err *err);
/*
 * Removes file, a name in dir, if that is what a deletion has left that was cut short. -1 with err
 * set: some of it is still there. io NULL: log_io_real. Blocks on the disk.
 */
int log_remove_deleted(const struct log_io *io, int dir, const char *file, struct err *err);
/*
 * For log_delete: removes the log of a topic, which nobody has open, from the data path dir. First its
 * name goes, with disk for certain. -1 with err set: something is left. If its name has gone, no later
 * log of the topic will find it. Blocks on the disk.
 */
int log_remove(const struct log_io *io, int dir, const char *topic, bool disk, struct err *err);

#endif
