/* SPDX-License-Identifier: MIT */
/* What is around topics and channels in the model of their end: see delete_stubs.c. */
#ifndef TEST_MODEL_DELETE_STUBS_H
#define TEST_MODEL_DELETE_STUBS_H

#include <stdbool.h>

#include "nsqd/core/context.h"
#include "nsqd/core/message.h"

/* Messages have numbers, from 1 on; so has each its body. */
#define MESSAGES 8

/* The files of a disk queue. */
struct file {
	char name[24];
	bool there;                     /* some are; they stay when the queue is closed */
	bool open;                      /* by a queue */
	unsigned char stored[MESSAGES]; /* how often each message is there */
};

#define FILES 4
extern struct file files[FILES];
/* Those of that name, which may not be there. */
struct file *file_of(const char *name);

/* So many messages the disks of channels refuse; and whether they refuse to remove files. */
extern int disk_refusals;
extern bool disk_keeps_files;

struct message_body *body_of(int number);

/* The daemon's context, with so much room in memory queues. */
extern struct context ctx;
void context_make(int mem_queue_size);
void context_end(void);

#endif
