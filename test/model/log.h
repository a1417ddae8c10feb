/* SPDX-License-Identifier: MIT */
/* What the files of the model of the log share: see log.c. */
#ifndef TEST_MODEL_LOG_H
#define TEST_MODEL_LOG_H

#include <stdbool.h>

#include "nsqd/core/message.h"

#define MESSAGES 8 /* their numbers are below */

/* --- log.c ------------------------------------------------------------------------------------ */

/* First of all: main makes what the actors begin with, and ends it when they are over. From setup. */
void begin(void (*make)(void), void (*finish)(void));
/* An actor: a thread that the search begins with. After begin. */
void go(const char *name, void (*fn)(void *arg), void *arg);
/* The daemon dies, at any moment. An actor. */
void die(void *arg);
/* It has. */
bool has_died(void);
/* At the end: no memory is nobody's, and no file is open. */
void end_clean(void);

struct message *new_message(int number);
int number_of(const struct message *m);

/* What is known of a message, by its number: when it happened, and when the daemon died. */
struct fate {
	bool acked;   /* its publisher knows that it is kept */
	bool refused; /* that it is not */
	bool handed;  /* the topic's pump has dealt it out */
	bool put[2];  /* to that channel, too */
	/* A consumer of the channel has begun to finish it, or it is deleted. */
	bool finished[2];
	bool written; /* that is so in the cursor of each, on the disk */
};
extern struct fate fates[MESSAGES], fates_then[MESSAGES];

/* --- log_queues.c ----------------------------------------------------------------------------- */

void setup_hand_over(void);
void setup_catch_up(void);
void setup_end(void);
void setup_members(void);
void setup_rest(void);
/* All is closed: what would a start find, and what would it have found when the daemon died? */
void end_topic(void);

#endif
