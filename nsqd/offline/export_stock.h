/* SPDX-License-Identifier: MIT */
/* --export-stock: the way back, from the logs of --durability to stock's files. */
#ifndef NSQD_EXPORT_STOCK_H
#define NSQD_EXPORT_STOCK_H

#include "nsqd/core/options.h"

/*
 * Writes what each channel of a topic with a log has not finished into stock's disk queue of that
 * channel. What the topic has not handed out goes into that of the topic. All goes behind what is
 * there, in the order of the log, with its attempts. Then puts the logs aside. So stock, and this daemon without
 * --durability, find all of it. Says to out_fd what it has done, and to err_fd why it cannot.
 *
 * Returns the exit code: 0; or 1, and then nothing was changed, or the same command completes it. o
 * is changed as options_check does. Holds the lock of the data path. Needs as much room on the disk
 * as the messages take. Blocks for as long as that takes. Main thread, before any other.
 */
int export_stock(struct options *o, int out_fd, int err_fd);

#endif
