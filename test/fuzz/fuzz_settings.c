/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: settings of topics and channels. The first byte says what the rest is: 0,
 * nsqd.settings.json; 1 and 2, the body of a PUT for the topic t, or for its channel c; 3, a config
 * file with [[policy]] tables. What is refused has changed nothing, in memory or on disk. What is
 * taken is written, and a daemon that reads that has the same settings.
 */
#include "test/fuzz/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/toml.h"
#include "nsqd/core/policies.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/settings_change.h"
#include "nsqd/queue/topic.h"
#include "test/fuzz/fuzz.h"

static struct nsqd *nsqd;
static struct settings_store *store;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(&(struct daemon_options){0});
	store = &nsqd->ctx.settings;
	return 0;
}

static int load(struct err *err)
{
	return settings_store_load(store, fuzz_dir(), nsqd->ctx.data_dir_fd, err);
}

/* What holds for t and c, and what the file has. */
static struct strbuf state(void)
{
	struct strbuf sb = STRBUF_INIT;
	char buf[4096];
	ssize_t got;
	settings_store_show(store, "t", NULL, -1, &sb);
	settings_store_show(store, "t", "c", -1, &sb);
	CHECK(sb.len > 0);
	int fd = open(fuzz_path(SETTINGS_FILE), O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (got = read(fd, buf, sizeof(buf))) > 0)
		strbuf_add(&sb, buf, (size_t)got);
	if (fd >= 0)
		close(fd);
	return sb;
}

static void expect_same(struct strbuf *before)
{
	struct strbuf now = state();
	CHECK(now.len == before->len && memcmp(now.data, before->data, now.len) == 0);
	strbuf_free(&now);
	strbuf_free(before);
}

/* A topic's PUT that sets nothing writes all of the file. */
static void write_all(struct topic *t)
{
	struct err err;
	static const char nothing[] = "{}";
	CHECK(nsqd_set_settings(t, NULL, json_root(nothing, 2), &err) == 0 || err.code == EINVAL);
}

static void try_file(struct topic *t, struct input in)
{
	struct err err = {0};
	struct strbuf before = state();
	fuzz_write_file(fuzz_path(SETTINGS_FILE), in.p, in.n);
	int rc = load(&err);
	CHECK(rc == 0 || *err.msg);
	if (rc != 0) {
		unlink(fuzz_path(SETTINGS_FILE));
		expect_same(&before);
		return;
	}
	strbuf_free(&before);
	write_all(t);
	CHECK(load(&err) == 0);
	before = state();
	write_all(t);
	expect_same(&before);
}

static void try_put(struct topic *t, struct channel *c, struct input in)
{
	struct err err = {0};
	const char *text = (const char *)in.p;
	struct strbuf before = state();
	if (!json_valid(text, in.n)) {
		strbuf_free(&before);
		return;
	}
	if (nsqd_set_settings(t, c, json_root(text, in.n), &err) != 0) {
		CHECK(err.code == EINVAL && *err.msg);
		expect_same(&before);
		return;
	}
	strbuf_free(&before);
	before = state();
	struct settings *v = settings_store_get(store, "t", c ? "c" : NULL);
	CHECK(memcmp(&v->v, c ? &c->settings->v : &t->settings->v, sizeof(v->v)) == 0);
	settings_unref(v);
	CHECK(load(&err) == 0);
	expect_same(&before);
}

static void try_policies(struct topic *t, struct input in)
{
	struct toml toml;
	struct policies *p;
	struct err err = {0};
	(void)t;
	if (toml_parse(&toml, (const char *)in.p, in.n, &err) != 0)
		return;
	int rc = policies_parse(&toml, &p, &err);
	toml_free(&toml);
	CHECK((rc == 0) == (p != NULL) && (rc == 0 || *err.msg));
	if (rc != 0)
		return;
	CHECK(policies_equal(p, p));
	struct options *o = options_copy(nsqd_get_opts(&nsqd->ctx));
	struct options *old = options_copy(o);
	policies_unref(o->policies);
	o->policies = p;
	if (options_check(o, &err) == 0) {
		nsqd_reload_settings(&nsqd->topics, o);
		struct strbuf sb = state();
		strbuf_free(&sb);
		nsqd_reload_settings(&nsqd->topics, old);
	} else {
		CHECK(*err.msg);
	}
	options_free(o);
	options_free(old);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct err err;
	int what = input_byte(&in) % 4;
	struct topic *t = nsqd_get_topic(&nsqd->topics, "t", &err);
	CHECK(t);
	struct channel *c = topic_get_channel(t, "c", &err);
	CHECK(c);
	if (what == 0)
		try_file(t, in);
	else if (what == 3)
		try_policies(t, in);
	else
		try_put(t, what == 2 ? c : NULL, in);
	channel_unref(c);
	topic_unref(t);
	/* Deletes t, and forgets what is set for it. */
	daemon_clear(nsqd);
	CHECK(!settings_store_knows(store, "t", NULL));
	unlink(fuzz_path(SETTINGS_FILE));
	CHECK(load(&err) == 0);
	return 0;
}
