/* SPDX-License-Identifier: MIT */
/* The signal by which stacks.c asks each thread for its stack, for gothread.c as well. */
#ifndef COMMON_STACKS_SIGNAL_H
#define COMMON_STACKS_SIGNAL_H

#include <signal.h>

/*
 * The one signal that gothread leaves unblocked in its threads. From elsewhere it does nothing: by
 * default it is ignored, and there is no handler before stacks_print. (The Go runtime interrupts
 * its threads with it, too.)
 */
#define STACKS_SIGNAL SIGURG

#endif
