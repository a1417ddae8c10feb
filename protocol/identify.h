/* SPDX-License-Identifier: MIT */
/* The body of IDENTIFY (nsqd/client_v2.go identifyDataV2), decoded as encoding/json would. */
#ifndef PROTOCOL_IDENTIFY_H
#define PROTOCOL_IDENTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/text.h"

struct identify_data_v2 {
	struct text client_id; /* owned, never NULL; so are the other strings */
	struct text hostname;
	struct text user_agent;
	int64_t heartbeat_interval;    /* ms */
	int64_t output_buffer_size;    /* bytes */
	int64_t output_buffer_timeout; /* ms */
	bool feature_negotiation;
	bool tls_v1;
	bool deflate;
	int64_t deflate_level;
	bool snappy;
	int32_t sample_rate;
	int64_t msg_timeout; /* ms */
	struct text topology_region;
	struct text topology_zone;
};

/*
 * json.Unmarshal: -1 with err set on bad JSON or a value of the wrong type. Then there is nothing
 * to free.
 */
int identify_decode(struct identify_data_v2 *d, const char *json, size_t len, struct err *err);
void identify_free(struct identify_data_v2 *d);

#endif
