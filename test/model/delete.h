/* SPDX-License-Identifier: MIT */
/* What the files of the model of how topics and channels end share: see delete.c. */
#ifndef TEST_MODEL_DELETE_H
#define TEST_MODEL_DELETE_H

#include <stdbool.h>

#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "test/model/delete_stubs.h"

/* --- delete.c --------------------------------------------------------------------------------- */

extern struct topics topics;
/* Those of the scenario. */
extern const char *topic_name, *channel_name;
/* When the exit begins to close them; channels: -1 is not known. */
extern int n_topics_left, n_channels_left;
/* It hands nothing out; NULL: none is paused. */
extern struct channel *paused_channel;
/* So much of its batch the disk has refused to take back. */
extern size_t paused_batch_len;
/* It gets nothing, as its topic is paused; NULL: none is. */
extern struct channel *waits_for_topic;

/* How often message number is in that file. */
int in_file(const char *name, int number);
/* First of all: main makes the topic with so many channels, -1: no topic either. From setup. */
void begin(const char *topic, const char *channel, int n_channels);
/* An actor. After begin. */
void go(const char *name, void (*fn)(void));
/* One for which the exit does not wait. */
void go_other(const char *name, void (*fn)(void));
/* One that is over, or waits, before the search begins. */
void go_first(const char *name, void (*fn)(void));
/* At the end: no memory is nobody's, and no file is open. */
void end_clean(void);

/* --- delete_names.c --------------------------------------------------------------------------- */

/* Some thread makes it anew. */
extern bool may_be_new;
/* Publishing began when the deletion had been answered. */
extern bool made_after;
/* So often a message is there to stay, by number. */
extern int acked[MESSAGES];

/* Actors: operators that delete the scenario's topic or channel. */
void delete_topic(void);
void delete_channel(void);
/* Actors: publishers of message 1 or 2, which make the topic if there is none. */
void publish_1(void);
void publish_2(void);
void publish_to(struct topic *t, int number);

void setup_topic_twice(void);
void end_deleted(void);
void setup_close(void);
void setup_topic_exit(void);
void setup_topic_create(void);
void end_made_anew(void);
void setup_channel_twice(void);
void end_channel_deleted(void);
void setup_channel_topic(void);
void setup_channel_exit(void);
void setup_channel_create(void);
void end_channel_made_anew(void);
void setup_ephemeral_last(void);
void end_ephemeral_last(void);

/* --- delete_messages.c ------------------------------------------------------------------------ */

void setup_put_exit(void);
void end_all_there(void);
void setup_put_channel(void);
void end_put_channel(void);
void setup_put_last(void);
void end_put_last(void);
void setup_put_topic(void);
void setup_known(void);
void end_known(void);
void setup_prepared(void);
void end_prepared(void);
void setup_disk(void);
void setup_pause(void);
void setup_use(void);
void setup_answer(void);
void end_answer(void);

/* --- delete_consumers.c ----------------------------------------------------------------------- */

/* The exit does so first: all consumers leave. */
void end_clients(void);

void setup_ephemeral(void);
void end_ephemeral(void);
void setup_consume(void);
void end_consume(void);

#endif
