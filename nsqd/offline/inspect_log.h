/* SPDX-License-Identifier: MIT */
/* The log of a topic, and its cursors, for --inspect-data. */
#ifndef NSQD_INSPECT_LOG_H
#define NSQD_INSPECT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/* What a channel has not finished, or the topic has not handed out. */
struct log_report_queue {
	char *channel;  /* NULL: the topic; owned */
	uint64_t floor; /* all before it is finished, or handed out */
	uint64_t messages, deferred, lost;
	int64_t bytes;       /* of the bodies of these messages */
	int64_t first_due;   /* of the deferred ones (wall clock, ns); 0: there are none */
	struct strbuf notes; /* lines, each with its end */
	int64_t now;         /* what is due later is deferred */
};

struct log_report {
	bool opened;
	struct err why;       /* where not opened; or where read_failed */
	bool read_failed;     /* not all could be read */
	uint64_t first, next; /* numbers from first to next - 1 may be there */
	size_t segments;
	int64_t bytes; /* of all segments */
	uint64_t records, copies, lost;
	uint64_t damaged, damaged_bytes;
	struct log_report_queue *queues; /* the topic's, then those of channels, by name; owned */
	size_t n_queues;
	int held_back_by; /* the queue whose floor is least; -1: all is finished */
};

/*
 * Reads the log of the topic in the data path `dir`, all of it. Changes nothing. *r is to be freed.
 * Blocks on the disk for as long as that takes. Main thread only.
 */
void inspect_log(int dir, const char *topic, struct log_report *r);
/* Frees what is in it. */
void log_report_free(struct log_report *r);
/* Messages that are not finished, or not handed out, of all queues. */
uint64_t log_report_messages(const struct log_report *r);
/* Appends it as lines. */
void log_report_text(const struct log_report *r, const char *topic, struct strbuf *out);
/* Appends it as a JSON object. */
void log_report_json(const struct log_report *r, const char *topic, struct strbuf *out);

#endif
