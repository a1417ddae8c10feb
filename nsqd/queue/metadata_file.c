/* SPDX-License-Identifier: MIT */
/*
 * nsqd.dat as it is read. Mirrors readOrEmpty, and the unmarshalling in LoadMetadata, of
 * nsqd/nsqd.go. Runs in the thread "main"; no state.
 */
#include "nsqd/queue/metadata_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/regfile.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

/* No daemon has this many names: what is larger is not ours. */
#define MAX_METADATA_SIZE (1 << 30)

char *metadata_file_path(const char *dir)
{
	size_t len = strlen(dir);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	return xasprintf("%.*s%snsqd.dat", (int)len, dir, dir[len - 1] == '/' ? "" : "/");
}

static int read_all(int fd, struct strbuf *sb, struct err *err)
{
	char buf[65536];
	ssize_t got;
	while ((got = read(fd, buf, sizeof(buf))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, errno, "read");
		if (sb->len > MAX_METADATA_SIZE)
			return err_set(err, EFBIG, "file too large");
		strbuf_add(sb, buf, (size_t)got);
	}
	return 0;
}

/* 1: read; 0: there is no such file; -1 with err set. */
static int read_or_empty(const char *fn, struct strbuf *sb, struct err *err)
{
	int fd = regfile_open(fn, err);
	if (fd < 0 && err->code == ENOENT)
		return 0;
	int rc = fd < 0 ? -1 : read_all(fd, sb, err);
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		return err_wrap(err, "failed to read metadata from %s - ", fn);
	return 1;
}

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
	char *fn = metadata_file_path(data_path);
	int rc = read_or_empty(fn, &sb, err);
	*root = rc > 0 ? parse(fn, &sb, err) : NULL;
	if (rc > 0 && !*root)
		rc = -1;
	strbuf_free(&sb);
	free(fn);
	return rc;
}

/* nsqd.dat.N.tmp, as nsqd_persist_metadata makes it, and stock. */
bool metadata_is_temporary(const char *name)
{
	static const char begin[] = "nsqd.dat.";
	if (strncmp(name, begin, sizeof(begin) - 1) != 0)
		return false;
	const char *number = name + sizeof(begin) - 1;
	size_t digits = strspn(number, "0123456789");
	return digits > 0 && digits <= 19 && strcmp(number + digits, ".tmp") == 0;
}
