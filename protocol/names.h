/* SPDX-License-Identifier: MIT */
/* Topic and channel names (internal/protocol/names.go). */
#ifndef PROTOCOL_NAMES_H
#define PROTOCOL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_MAX_LENGTH 64
/* The longest valid name and its terminator. */
#define NAME_SIZE (NAME_MAX_LENGTH + 1)

/*
 * IsValidTopicName: 1 to 64 of [.a-zA-Z0-9_-], then perhaps "#ephemeral". name need not be
 * terminated.
 */
bool is_valid_topic_name(const char *name, size_t len);
/* IsValidChannelName: the same rule. */
bool is_valid_channel_name(const char *name, size_t len);
/* strings.HasSuffix(name, "#ephemeral"). */
bool is_ephemeral_name(const char *name);

#endif
