/* SPDX-License-Identifier: MIT */
/*
 * The name of a dead-letter topic, from the pattern that is set for a channel: "{topic}.dead". No Go
 * file.
 */
#ifndef NSQD_DEAD_LETTER_NAME_H
#define NSQD_DEAD_LETTER_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/names.h"

/* Room for a pattern, terminated. */
#define PATTERN_SIZE 160

/*
 * Is it a topic's name, once {topic} and {channel} are names, and shorter than PATTERN_SIZE? It may
 * become longer than a name may be.
 */
bool dead_letter_pattern_ok(const char *pattern);
/*
 * The name into out. The names' "#ephemeral" are left out where they stand for {topic} and
 * {channel}. What is longer than a name is cut: it ends with "-" and 8 hexadecimal digits, which are
 * the checksum of all of it, and with the pattern's "#ephemeral" if it has that. Returns out.
 */
char *dead_letter_name(
	const char *pattern, const char *topic, const char *channel, char out[NAME_SIZE]);

#endif
