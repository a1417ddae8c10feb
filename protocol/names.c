/* SPDX-License-Identifier: MIT */
/*
 * Topic and channel names. Mirrors internal/protocol/names.go, with a loop in place of its regular
 * expression ^[.a-zA-Z0-9_-]+(#ephemeral)?$. Any thread.
 */
#include "protocol/names.h"

#include <string.h>

#include "common/ascii.h"

static const char ephemeral_suffix[] = "#ephemeral";
#define EPHEMERAL_LENGTH (sizeof(ephemeral_suffix) - 1)

static bool ends_ephemeral(const char *name, size_t len)
{
	return len >= EPHEMERAL_LENGTH &&
	       memcmp(name + len - EPHEMERAL_LENGTH, ephemeral_suffix, EPHEMERAL_LENGTH) == 0;
}

static bool is_name_byte(char ch)
{
	return ascii_is_alnum(ch) || ch == '.' || ch == '_' || ch == '-';
}

static bool is_valid_name(const char *name, size_t len)
{
	if (len > NAME_MAX_LENGTH)
		return false;
	if (ends_ephemeral(name, len))
		len -= EPHEMERAL_LENGTH;
	if (len < 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_name_byte(name[i]))
			return false;
	}
	return true;
}

bool is_valid_topic_name(const char *name, size_t len)
{
	return is_valid_name(name, len);
}

bool is_valid_channel_name(const char *name, size_t len)
{
	return is_valid_name(name, len);
}

bool is_ephemeral_name(const char *name)
{
	return ends_ephemeral(name, strlen(name));
}
