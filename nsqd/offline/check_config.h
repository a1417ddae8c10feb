/* SPDX-License-Identifier: MIT */
/* --check-config: would nsqd start with these options? */
#ifndef NSQD_CHECK_CONFIG_H
#define NSQD_CHECK_CONFIG_H

#include "nsqd/core/options.h"

/*
 * Checks what a start would: the options against each other, addresses, certificates, the data
 * path. Each error and warning is a line on err_fd; the verdict is one on out_fd, or on err_fd if
 * it is bad. Returns the exit code: 0 or 1. Writes nothing, listens nowhere, and holds no lock: a
 * daemon may run with the same data path. o is changed as options_check does. Blocks on files, and
 * on look-ups of hosts. Main thread, before any other.
 */
int check_config(struct options *o, int out_fd, int err_fd);

#endif
