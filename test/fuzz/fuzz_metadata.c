/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: nsqd.dat, an input being one. Where it is refused, nothing has been created. Where it is
 * loaded, the daemon writes a file from which the same topics and channels come again.
 */
#include "test/fuzz/daemon.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "nsqd/queue/topic.h"
#include "protocol/names.h"
#include "test/fuzz/fuzz.h"

static struct nsqd *nsqd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(&(struct daemon_options){0});
	return 0;
}

static size_t count_topics(void)
{
	size_t n;
	struct topic **topics = nsqd_topics(&nsqd->topics, &n);
	for (size_t i = 0; i < n; i++)
		topic_unref(topics[i]);
	free(topics);
	return n;
}

/* Each topic whose name is valid is there, and paused if the file says so. */
static void check_topics(const uint8_t *data, size_t size)
{
	cJSON *root = cJSON_ParseWithLength((const char *)data, size);
	const cJSON *e, *topics = cJSON_GetObjectItem(root, "topics");
	cJSON_ArrayForEach(e, topics)
	{
		const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(e, "name"));
		if (!name || !is_valid_topic_name(name, strlen(name)))
			continue;
		struct topic *t = nsqd_get_existing_topic(&nsqd->topics, name);
		CHECK(t);
		CHECK(topic_is_paused(t) || !cJSON_IsTrue(cJSON_GetObjectItem(e, "paused")));
		topic_unref(t);
	}
	cJSON_Delete(root);
}

/* What the daemon writes. */
static void persist(struct strbuf *out)
{
	struct err err;
	char buf[4096];
	ssize_t got;
	CHECK(nsqd_persist_metadata(&nsqd->metadata, &err) == 0);
	int fd = open(fuzz_path("nsqd.dat"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		strbuf_add(out, buf, (size_t)got);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
	struct err err = {0};
	fuzz_write_file(fuzz_path("nsqd.dat"), data, size);
	/* As a daemon that was killed leaves it. */
	fuzz_write_file(fuzz_path("nsqd.dat.1.tmp"), data, size);
	if (nsqd_load_metadata(&nsqd->metadata, &err) != 0) {
		CHECK(*err.msg && count_topics() == 0);
	} else {
		check_topics(data, size);
		persist(&first);
		daemon_clear(nsqd);
		CHECK(nsqd_load_metadata(&nsqd->metadata, &err) == 0);
		persist(&second);
		CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
	}
	CHECK(access(fuzz_path("nsqd.dat.1.tmp"), F_OK) != 0);
	strbuf_free(&first);
	strbuf_free(&second);
	daemon_clear(nsqd);
	return 0;
}
