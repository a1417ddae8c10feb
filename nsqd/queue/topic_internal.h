/* SPDX-License-Identifier: MIT */
/* What topic.c and its pump, topic_pump.c, share; for no other file. */
#ifndef NSQD_TOPIC_INTERNAL_H
#define NSQD_TOPIC_INTERNAL_H

#include "nsqd/queue/topic.h"

/* The most messages that the pump takes at once, and that are made at once. */
#define TOPIC_BATCH 256

/* The thread; arg is the topic. It ends when exit_chan is closed. (topic_pump.c) */
void topic_message_pump(void *arg);
/*
 * The backend may forget the messages that the pump has received, since the channels have them.
 * While all of these only keep them in memory, a crash had better bring them again. (topic_pump.c)
 * The pump; then exit.
 */
void topic_settle(struct topic *t);

/* Drops a reference to each of n channels, and frees the list. (topic.c) */
void topic_free_channels(struct channel **list, size_t n);

#endif
