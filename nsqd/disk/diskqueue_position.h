/* SPDX-License-Identifier: MIT */
/*
 * The read position of the disk queue: what moves it, and which files go with that. All of it runs
 * in the thread of "io" fields.
 */
#ifndef NSQD_DISKQUEUE_POSITION_H
#define NSQD_DISKQUEUE_POSITION_H

#include "nsqd/disk/diskqueue_internal.h"

/* The first n of the batch were received: moveForward. */
void dq_taken(struct diskqueue *d, size_t n);
/* Moves rd, if the receiver is done with all that it received. May remove files. */
void dq_settle(struct diskqueue *d);
/*
 * The read-ahead goes on at to, with no message in between: so does the receiver of the last one.
 */
void dq_jump_ahead(struct diskqueue *d, struct dq_pos to);
/* The reader follows when it waits at the end of wr.file and that is about to become to. */
void dq_reader_follow(struct diskqueue *d, struct dq_pos to);

#endif
