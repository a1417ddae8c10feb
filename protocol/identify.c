/* SPDX-License-Identifier: MIT */
/*
 * The body of IDENTIFY. Mirrors identifyDataV2 of nsqd/client_v2.go and the
 * rules of encoding/json that clients may lean on: names match in any case, the
 * last of two wins, unknown ones are skipped, null changes nothing, a value of
 * the wrong type is an error. Runs in the client's io_loop.
 *
 * cJSON reads numbers as doubles: 1e3 and 1000.0 are taken for the integer that
 * they are, where Go refuses the spelling.
 */
#include "protocol/identify.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/xalloc.h"

enum field_type { FIELD_STRING, FIELD_INT, FIELD_INT32, FIELD_BOOL };

#define FIELD(name, type) {#name, type, offsetof(struct identify_data_v2, name)}

static const struct field {
	const char *name;
	enum field_type type;
	size_t offset;
} fields[] = {
	FIELD(client_id, FIELD_STRING),
	FIELD(hostname, FIELD_STRING),
	FIELD(heartbeat_interval, FIELD_INT),
	FIELD(output_buffer_size, FIELD_INT),
	FIELD(output_buffer_timeout, FIELD_INT),
	FIELD(feature_negotiation, FIELD_BOOL),
	FIELD(tls_v1, FIELD_BOOL),
	FIELD(deflate, FIELD_BOOL),
	FIELD(deflate_level, FIELD_INT),
	FIELD(snappy, FIELD_BOOL),
	FIELD(sample_rate, FIELD_INT32),
	FIELD(user_agent, FIELD_STRING),
	FIELD(msg_timeout, FIELD_INT),
};
#define N_FIELDS (sizeof(fields) / sizeof(*fields))

/* Beyond 2^53 a double does not tell integers apart; every field's own limit is far below. */
#define MAX_INT 9007199254740992.0

static const char *json_type(const cJSON *item)
{
	return cJSON_IsString(item)	 ? "string"
		: cJSON_IsNumber(item)	 ? "number"
		: cJSON_IsBool(item)	 ? "bool"
		: cJSON_IsArray(item)	 ? "array"
					 : "object";
}

static bool is_integer_within(const cJSON *item, double limit)
{
	return cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
		fabs(item->valuedouble) <= limit;
}

/* False: the value is not of the field's type. */
static bool set_field(struct identify_data_v2 *d, const struct field *f, const cJSON *item)
{
	void *p = (char *)d + f->offset;
	switch (f->type) {
	case FIELD_STRING:
		if (!cJSON_IsString(item))
			return false;
		free(*(char **)p);
		*(char **)p = xstrdup(item->valuestring);
		return true;
	case FIELD_INT:
		if (!is_integer_within(item, MAX_INT))
			return false;
		*(int64_t *)p = (int64_t)item->valuedouble;
		return true;
	case FIELD_INT32:
		if (!is_integer_within(item, INT32_MAX))
			return false;
		*(int32_t *)p = (int32_t)item->valuedouble;
		return true;
	case FIELD_BOOL:
		if (!cJSON_IsBool(item))
			return false;
		*(bool *)p = cJSON_IsTrue(item);
		return true;
	}
	return false;
}

static int set_fields(struct identify_data_v2 *d, const cJSON *object, struct err *err)
{
	const cJSON *item;
	cJSON_ArrayForEach(item, object)
	{
		for (size_t i = 0; i < N_FIELDS; i++) {
			if (strcasecmp(item->string, fields[i].name) != 0 || cJSON_IsNull(item))
				continue;
			if (!set_field(d, &fields[i], item))
				return err_set(err, 0, "json: cannot unmarshal %s into field %s",
					json_type(item), fields[i].name);
		}
	}
	return 0;
}

static int decode_object(struct identify_data_v2 *d, const cJSON *root, struct err *err)
{
	if (cJSON_IsNull(root))
		return 0;
	if (!cJSON_IsObject(root))
		return err_set(err, 0, "json: cannot unmarshal %s into an object", json_type(root));
	return set_fields(d, root, err);
}

/* json.Unmarshal refuses anything but white space behind the value. */
static bool is_blank(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p == end;
}

int identify_decode(struct identify_data_v2 *d, const char *json, size_t len, struct err *err)
{
	const char *end = NULL;
	cJSON *root = cJSON_ParseWithLengthOpts(json, len, &end, false);
	if (!root)
		return err_set(err, 0, "invalid JSON");
	if (!is_blank(end, json + len)) {
		cJSON_Delete(root);
		return err_set(err, 0, "invalid character after top-level value");
	}
	*d = (struct identify_data_v2){
		.client_id = xstrdup(""),
		.hostname = xstrdup(""),
		.user_agent = xstrdup(""),
	};
	int rc = decode_object(d, root, err);
	cJSON_Delete(root);
	if (rc != 0)
		identify_free(d);
	return rc;
}

void identify_free(struct identify_data_v2 *d)
{
	free(d->client_id);
	free(d->hostname);
	free(d->user_agent);
	*d = (struct identify_data_v2){0};
}
