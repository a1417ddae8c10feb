/* SPDX-License-Identifier: MIT */
/*
 * The body of IDENTIFY. Mirrors identifyDataV2 of nsqd/client_v2.go and the rules of encoding/json:
 * names match in any case, the last of two wins, and unknown ones are skipped. null changes
 * nothing; a value of the wrong type is an error. Thread: the client's io_loop.
 */
#include "protocol/identify.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/strbuf.h"

enum field_type { FIELD_STRING, FIELD_NEW_STRING, FIELD_INT, FIELD_INT32, FIELD_BOOL };

#define FIELD(name, type)                                                                          \
	{                                                                                          \
#name, type, offsetof(struct identify_data_v2, name)                               \
	}

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
	FIELD(topology_region, FIELD_NEW_STRING),
	FIELD(topology_zone, FIELD_NEW_STRING),
};
#define N_FIELDS (sizeof(fields) / sizeof(*fields))

static struct text decode_text(struct json_value v)
{
	struct strbuf sb = STRBUF_INIT;
	json_add_string(&sb, v);
	size_t len = sb.len;
	return (struct text){.s = strbuf_detach(&sb), .len = len};
}

/* False: the value is not of the field's type. */
static bool set_field(struct identify_data_v2 *d, const struct field *f, struct json_value v)
{
	void *p = (char *)d + f->offset;
	int64_t n;
	switch (f->type) {
	case FIELD_NEW_STRING:
		/* 1.3.0 does not know this field, and so takes anything. */
		if (v.type != JSON_STRING)
			return true;
		/* fall through */
	case FIELD_STRING:
		if (v.type != JSON_STRING)
			return false;
		text_free(p);
		*(struct text *)p = decode_text(v);
		return true;
	case FIELD_INT:
		return json_int(v, INT64_MIN, INT64_MAX, p);
	case FIELD_INT32:
		if (!json_int(v, INT32_MIN, INT32_MAX, &n))
			return false;
		*(int32_t *)p = (int32_t)n;
		return true;
	case FIELD_BOOL:
		*(bool *)p = *v.p == 't';
		return v.type == JSON_BOOL;
	}
	return false;
}

static const struct field *find_field(struct json_value key)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (json_key_is(key, fields[i].name))
			return &fields[i];
	}
	return NULL;
}

static int set_fields(struct identify_data_v2 *d, struct json_value object, struct err *err)
{
	struct json_value key, value;
	size_t pos = 0;
	while (json_next_member(object, &pos, &key, &value)) {
		const struct field *f = find_field(key);
		if (f && value.type != JSON_NULL && !set_field(d, f, value))
			return err_set(err, 0, "json: cannot unmarshal %s into field %s",
				json_type_name(value.type), f->name);
	}
	return 0;
}

int identify_decode(struct identify_data_v2 *d, const char *json, size_t len, struct err *err)
{
	if (!json_valid(json, len))
		return err_set(err, 0, "invalid JSON");
	struct json_value root = json_root(json, len);
	if (root.type != JSON_OBJECT && root.type != JSON_NULL)
		return err_set(err, 0, "json: cannot unmarshal %s into an object",
			json_type_name(root.type));
	*d = (struct identify_data_v2){
		.client_id = text_from(""),
		.hostname = text_from(""),
		.user_agent = text_from(""),
		.topology_region = text_from(""),
		.topology_zone = text_from(""),
	};
	if (root.type == JSON_OBJECT && set_fields(d, root, err) != 0) {
		identify_free(d);
		return -1;
	}
	return 0;
}

void identify_free(struct identify_data_v2 *d)
{
	text_free(&d->client_id);
	text_free(&d->hostname);
	text_free(&d->user_agent);
	text_free(&d->topology_region);
	text_free(&d->topology_zone);
	*d = (struct identify_data_v2){0};
}
