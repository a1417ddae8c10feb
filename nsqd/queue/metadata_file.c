/* SPDX-License-Identifier: MIT */
/*
 * nsqd.dat as it is read. Mirrors readOrEmpty, and the unmarshalling in LoadMetadata, of
 * nsqd/nsqd.go. Runs in the thread "main"; no state.
 */
#include "nsqd/queue/metadata_file.h"

#include <stdlib.h>

#include "common/json.h"
#include "common/strbuf.h"
#include "nsqd/core/data_file.h"

/* encoding/json's rule for a field: absent or null is the zero value, another type is an error. */
static bool field_ok(const cJSON *object, const char *name, cJSON_bool (*is_type)(const cJSON *))
{
	const cJSON *f = cJSON_GetObjectItem(object, name);
	return !f || cJSON_IsNull(f) || is_type(f);
}

static bool entries_ok(const cJSON *list, int depth)
{
	const cJSON *e;
	cJSON_ArrayForEach(e, list)
	{
		if (!cJSON_IsObject(e) || !field_ok(e, "name", cJSON_IsString) ||
			!field_ok(e, "paused", cJSON_IsBool))
			return false;
		if (depth > 0 &&
			(!field_ok(e, "channels", cJSON_IsArray) ||
				!entries_ok(cJSON_GetObjectItem(e, "channels"), depth - 1)))
			return false;
	}
	return true;
}

const char *metadata_name(const cJSON *e)
{
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(e, "name"));
	return name ? name : "";
}

bool metadata_paused(const cJSON *e)
{
	return cJSON_IsTrue(cJSON_GetObjectItem(e, "paused"));
}

static cJSON *parse(const char *fn, const struct strbuf *sb, struct err *err)
{
	const char *json = sb->data ? sb->data : "";
	cJSON *root = json_valid(json, sb->len) ? cJSON_ParseWithLength(json, sb->len) : NULL;
	if (root && (cJSON_IsObject(root) || cJSON_IsNull(root)) &&
		field_ok(root, "version", cJSON_IsString) &&
		field_ok(root, "topics", cJSON_IsArray) &&
		entries_ok(cJSON_GetObjectItem(root, "topics"), 1))
		return root;
	cJSON_Delete(root);
	err_set(err, 0, "failed to parse metadata in %s - invalid JSON", fn);
	return NULL;
}

int metadata_file_read(const char *data_path, cJSON **root, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	char *fn = data_file_path(data_path, METADATA_FILE);
	int rc = data_file_read(fn, &sb, err);
	if (rc < 0)
		err_wrap(err, "failed to read metadata from %s - ", fn);
	*root = rc > 0 ? parse(fn, &sb, err) : NULL;
	if (rc > 0 && !*root)
		rc = -1;
	strbuf_free(&sb);
	free(fn);
	return rc;
}
