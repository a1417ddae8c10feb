/* SPDX-License-Identifier: MIT */
/* How the directories and files of logs are called, and lists of such names. */
#ifndef NSQD_LOG_NAMES_H
#define NSQD_LOG_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "nsqd/log/log_io.h"

/* The directory of a log has the name of its topic, and this. */
#define LOG_SUFFIX ".log"
/* A channel's cursor has its name, and this. */
#define CURSOR_SUFFIX ".cursor"
/* What is to replace it. */
#define CURSOR_TMP_SUFFIX CURSOR_SUFFIX ".tmp"
/* The topic's cursor. No channel can have this name. */
#define TOPIC_CURSOR ":topic" CURSOR_SUFFIX

/* Begins as {0}. */
struct log_names {
	char **v; /* owned, as each name is */
	size_t n;
};

/* Adds a copy of the first len bytes of name. */
void log_names_add(struct log_names *names, const char *name, size_t len);
/* Adds all of it: a callback for log_io.list, for which arg is the struct log_names. */
void log_names_add_any(void *arg, const char *name);
/* The list is empty afterwards. */
void log_names_free(struct log_names *names);
/* Does name end so, and is not that alone? */
bool log_name_ends(const char *name, const char *suffix);
/*
 * What add takes of the names in the directory, in the order of strcmp. arg of add is names. -1 with
 * err set. *names is to be freed in both cases. Blocks on the disk.
 */
int log_names_list(const struct log_io *io, int dir, void (*add)(void *arg, const char *name),
	struct log_names *names, struct err *err);

#endif
