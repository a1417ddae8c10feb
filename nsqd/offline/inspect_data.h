/* SPDX-License-Identifier: MIT */
/* --inspect-data: what is in the data path, and what a start would make of it. */
#ifndef NSQD_INSPECT_DATA_H
#define NSQD_INSPECT_DATA_H

#include "nsqd/core/options.h"

/*
 * Prints to out_fd, as text or (o->json_format) as one JSON object, what is in the data path of o;
 * reasons for which it cannot go to err_fd. Returns the exit code: 0, or 1 if not all could be
 * read, or a start would fail. o is changed as options_check does. Changes nothing, and shares the
 * lock for an instant only: a daemon may run with the same data path, and then numbers are of no
 * one moment. Memory: a line for each queue, and the numbers of one queue's files; of strange files
 * only so many are named. Blocks on the disk for as long as it takes to read all messages. Main
 * thread, before any other.
 */
int inspect_data(struct options *o, int out_fd, int err_fd);

#endif
