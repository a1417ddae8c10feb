/* SPDX-License-Identifier: MIT */
/*
 * nsqd/core/settings_store and nsqd/queue/settings_change: which source wins, what the file keeps,
 * what is refused, and changes beside creations, deletions and messages.
 */
#include "test/unit/nsqd_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/check.h"
#include "nsqd/core/policies.h"
#include "nsqd/core/settings_store.h"
#include "nsqd/queue/settings_change.h"

static struct policies *policies_of(const char *text)
{
	struct toml t;
	struct policies *p = NULL;
	struct err err;
	if (toml_parse(&t, text, strlen(text), &err) != 0 || policies_parse(&t, &p, &err) != 0)
		fail_msg("%s", err.msg);
	toml_free(&t);
	return p;
}

static void load(struct nsqd *n)
{
	struct err err = {0};
	if (settings_store_load(&n->ctx.settings, ".", n->ctx.data_dir_fd, &err) != 0)
		fail_msg("%s", err.msg);
}

/* Of a topic, or ("t/c") of a channel, without there being one. */
static int set_of(struct settings_store *s, const char *name, const char *json, struct err *err)
{
	char topic[2 * NAME_SIZE];
	char *slash = strchr(strcpy(topic, name), '/');
	if (slash)
		*slash = '\0';
	assert_true(json_valid(json, strlen(json)));
	mutex_lock(&s->change_lock);
	int rc = settings_store_set_locked(
		s, topic, slash ? slash + 1 : NULL, json_root(json, strlen(json)), err);
	mutex_unlock(&s->change_lock);
	return rc;
}

static void set(struct settings_store *s, const char *name, const char *json)
{
	struct err err = {0};
	if (set_of(s, name, json, &err) != 0)
		fail_msg("%s: %s", name, err.msg);
}

static void expect_refused(
	struct settings_store *s, const char *name, const char *json, const char *why)
{
	struct err err = {0};
	assert_int_equal(set_of(s, name, json, &err), -1);
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.msg, why);
}

static int64_t depth_of(struct settings_store *s, const char *topic, const char *channel)
{
	struct settings *got = settings_store_get(s, topic, channel);
	int64_t depth = got->v.max_depth;
	settings_unref(got);
	return depth;
}

static void expect_file(const char *text)
{
	struct strbuf sb = STRBUF_INIT;
	char buf[4096];
	int fd = open(SETTINGS_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, sizeof(buf));
	if (fd >= 0)
		close(fd);
	strbuf_add(&sb, buf, (size_t)n);
	assert_string_equal(sb.data, text);
	strbuf_free(&sb);
}

/* --- sources ---------------------------------------------------------------------------------- */

static void three_policies(struct options *o)
{
	policies_unref(o->policies);
	o->policies = policies_of("[[policy]]\nmatch = 't*'\nmax_depth = 1\nrate = 1\n"
				  "[[policy]]\nmatch = 't/c*'\nmax_depth = 2\n"
				  "[[policy]]\nmatch = 't/cc'\nmax_depth = 3\n");
	o->msg_timeout = 5 * NSEC_PER_SEC;
}

static void test_the_later_source_wins(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	load(f->nsqd);
	assert_int_equal(depth_of(s, "x", "c"), 0);
	assert_int_equal(depth_of(s, "t", NULL), 1);
	assert_int_equal(depth_of(s, "t", "d"), 1);
	assert_int_equal(depth_of(s, "t", "c"), 2);
	assert_int_equal(depth_of(s, "t", "cc"), 3);
	assert_int_equal(depth_of(s, "t2", "cc"), 1);
	set(s, "t", "{\"max_depth\":4}");
	assert_int_equal(depth_of(s, "t", NULL), 4);
	assert_int_equal(depth_of(s, "t", "cc"), 4);
	set(s, "t/cc", "{\"max_depth\":0}");
	assert_int_equal(depth_of(s, "t", "cc"), 0);
	assert_int_equal(depth_of(s, "t", "c"), 4);
	set(s, "t", "{\"max_depth\":null}");
	assert_int_equal(depth_of(s, "t", NULL), 1);
	set(s, "t/cc", "{\"max_depth\":null}");
	assert_int_equal(depth_of(s, "t", "cc"), 3);
}

static void test_without_any_all_share_one_snapshot(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	struct settings *a = settings_store_get(s, "a", NULL), *b = settings_store_get(s, "b", "c");
	assert_ptr_equal(a, b);
	assert_int_equal(a->v.msg_timeout, 60 * NSEC_PER_SEC);
	assert_true(a->v.count_disconnect_as_attempt);
	settings_unref(a);
	settings_unref(b);
}

static void test_where_each_value_comes_from(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	struct strbuf out = STRBUF_INIT;
	load(f->nsqd);
	set(s, "t", "{\"rate\":9}");
	set(s, "t/cc", "{\"max_bytes\":8}");
	settings_store_show(s, "t", "cc", -1, &out);
	assert_true(json_valid(out.data, out.len));
	assert_non_null(strstr(out.data,
		"{\"max_depth\":{\"value\":3,\"from\":\"policy\",\"match\":\"t/cc\"},"
		"\"max_bytes\":{\"value\":8,\"from\":\"channel\"},"
		"\"overflow\":{\"value\":\"reject\",\"from\":\"default\"},"));
	assert_non_null(strstr(out.data, "\"rate\":{\"value\":9,\"from\":\"topic\"}"));
	assert_non_null(
		strstr(out.data, "\"msg_timeout\":{\"value\":\"5s\",\"from\":\"default\"}"));
	assert_null(strstr(out.data, "no_channel"));
	strbuf_reset(&out);
	settings_store_show(s, "t", NULL, DURABILITY_NONE, &out);
	assert_non_null(strstr(out.data, "no_channel"));
	assert_non_null(
		strstr(out.data, "\"durability\":{\"value\":\"none\",\"from\":\"default\"}"));
	strbuf_reset(&out);
	/* Only where it is another one. */
	settings_store_show(s, "t", NULL, DURABILITY_DISK, &out);
	assert_non_null(strstr(out.data, "\"durability\":{\"value\":\"none\",\"from\":\"default\","
					 "\"in_effect\":\"disk\"}"));
	assert_int_equal(settings_store_durability(s, "t"), DURABILITY_NONE);
	strbuf_free(&out);
}

static void test_a_dead_letter_topic_is_not_its_own(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	load(f->nsqd);
	expect_refused(
		s, "t", "{\"dead_letter_topic\":\"t\"}", "dead_letter_topic: t cannot be its own");
	expect_refused(s, "t/c", "{\"dead_letter_topic\":\"{topic}\"}",
		"dead_letter_topic: t cannot be its own");
	expect_refused(s, "c/c", "{\"dead_letter_topic\":\"{channel}\"}",
		"dead_letter_topic: c cannot be its own");
	/* For a channel of that name alone it is none. */
	set(s, "t", "{\"dead_letter_topic\":\"{channel}\"}");
	struct settings *t = settings_store_get(s, "t", "t"), *c = settings_store_get(s, "t", "c");
	assert_string_equal(t->v.dead_letter_topic, "");
	assert_string_equal(c->v.dead_letter_topic, "{channel}");
	settings_unref(t);
	settings_unref(c);
	/* What was taken back is not asked about any more. */
	set(s, "t", "{\"dead_letter_topic\":null}");
	set(s, "t", "{\"rate\":1}");
}

static void test_what_does_not_go_together_is_refused(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	load(f->nsqd);
	expect_refused(s, "t", "{\"msg_timeout\":\"25h\"}",
		"msg_timeout: 25h0m0s is more than max_msg_timeout, 24h0m0s");
	set(s, "t", "{\"msg_timeout\":\"25h\",\"max_msg_timeout\":\"48h\"}");
	expect_refused(s, "t", "{\"max_msg_timeout\":null}",
		"msg_timeout: 25h0m0s is more than max_msg_timeout, 24h0m0s");
	set(s, "t/c", "{\"msg_timeout\":\"30h\"}");
	expect_refused(s, "t", "{\"msg_timeout\":null,\"max_msg_timeout\":\"26h\"}",
		"channel c: msg_timeout: 30h0m0s is more than max_msg_timeout, 26h0m0s");
	/* t-x and t2 are others. */
	set(s, "t-x", "{\"max_msg_timeout\":\"70m\"}");
	set(s, "t2", "{\"max_msg_timeout\":\"70m\"}");
}

/* A reload may bring that about: then the longest is the bound. */
static void test_what_several_sources_say_is_bounded(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	load(f->nsqd);
	set(s, "t", "{\"msg_timeout\":\"10m\"}");
	struct options *o = options_copy(nsqd_get_opts(&f->nsqd->ctx));
	policies_unref(o->policies);
	o->policies = policies_of("[[policy]]\nmatch = '*'\nmax_msg_timeout = '5m'\n");
	mutex_lock(&s->change_lock);
	settings_store_reload_locked(s, o);
	mutex_unlock(&s->change_lock);
	struct settings *t = settings_store_get(s, "t", "c");
	assert_int_equal(t->v.msg_timeout, 300 * NSEC_PER_SEC);
	settings_unref(t);
	options_free(o);
}

/* --- the file ---------------------------------------------------------------------------------- */

static void test_the_file_has_what_is_set_and_a_restart_finds_it(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	static const char all[] =
		"{\"topics\":[\n"
		"{\"name\":\"t\",\"settings\":{\"max_depth\":1,\"backoff\":[\"1s\"]}},\n"
		"{\"name\":\"t-a\",\"settings\":{\"max_depth\":5}},\n"
		"{\"name\":\"t.a\",\"settings\":{\"max_depth\":4}},\n"
		"{\"name\":\"t\",\"settings\":{},\"channels\":[{\"name\":\"c\","
		"\"settings\":{\"max_depth\":2}}]},\n"
		"{\"name\":\"t\",\"settings\":{},\"channels\":[{\"name\":\"d\","
		"\"settings\":{\"max_depth\":3}}]}],\"version\":1}\n";
	load(f->nsqd);
	set(s, "t.a", "{\"max_depth\":4}");
	set(s, "t/d", "{\"max_depth\":3}");
	set(s, "t", "{\"backoff\":[\"1s\"],\"max_depth\":1}");
	set(s, "t-a", "{\"max_depth\":5}");
	set(s, "t/c", "{\"max_depth\":2}");
	set(s, "t/e#ephemeral", "{\"max_depth\":6}");
	set(s, "u#ephemeral", "{\"max_depth\":7}");
	set(s, "u#ephemeral/c", "{\"max_depth\":8}");
	expect_file(all);
	assert_int_equal(depth_of(s, "t", "e#ephemeral"), 6);
	assert_int_equal(depth_of(s, "u#ephemeral", "c"), 8);
	end_nsqd(f);
	start_nsqd(f, 10);
	s = &f->nsqd->ctx.settings;
	load(f->nsqd);
	assert_int_equal(depth_of(s, "t", NULL), 1);
	assert_int_equal(depth_of(s, "t", "c"), 2);
	assert_int_equal(depth_of(s, "t", "d"), 3);
	assert_int_equal(depth_of(s, "t.a", NULL), 4);
	assert_int_equal(depth_of(s, "t-a", NULL), 5);
	assert_int_equal(depth_of(s, "t", "e#ephemeral"), 1);
	assert_int_equal(depth_of(s, "u#ephemeral", NULL), 0);
	set(s, "t", "{}");
	expect_file(all);
}

static int try_load(struct nsqd *n, struct err *err)
{
	return settings_store_load(&n->ctx.settings, ".", n->ctx.data_dir_fd, err);
}

static void test_a_file_that_is_none_is_refused_whole(struct fixture *f)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "invalid JSON"},
		{"{\"topics\":[{\"name\":\"t\",\"settings\":{\"max_depth\":1}", "invalid JSON"},
		{"[]", "no version"},
		{"{}", "no version"},
		{"{\"version\":1}", "no topics"},
		{"{\"topics\":[],\"version\":0}", "no version"},
		{"{\"topics\":[],\"version\":\"1\"}", "no version"},
		{"{\"topics\":[],\"version\":2}", "version 2 is newer than this nsqd"},
		{"{\"topics\":null,\"version\":1}", "\"topics\" is no list"},
		{"{\"topics\":[1],\"version\":1}", "an entry without a name"},
		{"{\"topics\":[{}],\"version\":1}", "an entry without a name"},
		{"{\"topics\":[{\"name\":5}],\"version\":1}", "an entry without a name"},
		{"{\"topics\":[{\"name\":\"a/b\"}],\"version\":1}", "a name that is not valid"},
		{"{\"topics\":[{\"name\":\"t\\u0000\"}],\"version\":1}",
			"a name that is not valid"},
		{"{\"topics\":[{\"name\":\"t\",\"channels\":{}}],\"version\":1}",
			"\"channels\" is no list"},
		{"{\"topics\":[{\"name\":\"t\",\"settings\":[]}],\"version\":1}",
			"t: a JSON object of settings is wanted"},
		{"{\"topics\":[{\"name\":\"g\",\"settings\":{\"max_depth\":1}},"
		 "{\"name\":\"t\",\"channels\":[{\"name\":\"c\",\"settings\":"
		 "{\"no_channel\":\"drop\"}}]}],\"version\":1}",
			"t/c: no_channel: not of a channel"},
		{"{\"topics\":[{\"name\":\"t\",\"settings\":{\"max_deep\":1}}],\"version\":1}",
			"t: there is no setting max_deep"},
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err err = {0};
		char why[200];
		write_text(SETTINGS_FILE, bad[i].text);
		if (try_load(f->nsqd, &err) == 0)
			fail_msg("taken: %s", bad[i].text);
		snprintf(why, sizeof(why), "failed to read settings from ./nsqd.settings.json - %s",
			bad[i].why);
		assert_string_equal(err.msg, why);
		assert_int_equal(depth_of(&f->nsqd->ctx.settings, "g", NULL), 0);
	}
	unlink(SETTINGS_FILE);
}

static void test_deep_json_is_no_matter(struct fixture *f)
{
	struct err err = {0};
	struct strbuf sb = STRBUF_INIT;
	strbuf_adds(&sb, "{\"version\":1,\"topics\":[],\"x\":");
	for (int i = 0; i < 9000; i++)
		strbuf_addc(&sb, '[');
	for (int i = 0; i < 9000; i++)
		strbuf_addc(&sb, ']');
	strbuf_addc(&sb, '}');
	write_text(SETTINGS_FILE, sb.data);
	assert_int_equal(try_load(f->nsqd, &err), 0);
	strbuf_free(&sb);
}

static void test_what_is_no_regular_file_is_refused(struct fixture *f)
{
	struct err err = {0};
	assert_int_equal(mkfifo(SETTINGS_FILE, 0600), 0);
	assert_int_equal(try_load(f->nsqd, &err), -1);
	unlink(SETTINGS_FILE);
	assert_int_equal(mkdir(SETTINGS_FILE, 0700), 0);
	assert_int_equal(try_load(f->nsqd, &err), -1);
	assert_int_equal(rmdir(SETTINGS_FILE), 0);
}

static void test_a_disk_that_refuses_changes_nothing(struct fixture *f)
{
	struct settings_store *s = &f->nsqd->ctx.settings;
	struct rlimit old, small;
	struct err err = {0};
	load(f->nsqd);
	set(s, "t", "{\"max_depth\":1}");
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){8, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int rc = set_of(s, "t", "{\"max_depth\":2}", &err);
	set(s, "u#ephemeral", "{\"max_depth\":3}");
	set(s, "t/c#ephemeral", "{\"max_depth\":4}");
	nsqd_forget_settings(&f->nsqd->ctx, "u#ephemeral", NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, EIO);
	assert_int_equal(depth_of(s, "t", NULL), 1);
	assert_int_equal(depth_of(s, "t", "c#ephemeral"), 4);
	assert_int_equal(depth_of(s, "u#ephemeral", NULL), 0);
	expect_file("{\"topics\":[\n{\"name\":\"t\",\"settings\":{\"max_depth\":1}}],"
		    "\"version\":1}\n");
	assert_int_equal(files_of(SETTINGS_FILE), 1);
}

/* --- topics and channels ------------------------------------------------------------------------ */

static int change(struct topic *t, struct channel *c, const char *json, struct err *err)
{
	return nsqd_set_settings(t, c, json_root(json, strlen(json)), err);
}

static void test_a_change_reaches_topic_channels_and_pumps(struct fixture *f)
{
	struct err err = {0};
	struct channel *other = get_channel(f->topic, "other");
	load(f->nsqd);
	assert_ptr_equal(f->topic->settings, f->channel->settings);
	assert_int_equal(change(f->topic, NULL, "{\"max_depth\":7}", &err), 0);
	assert_int_equal(f->topic->settings->v.max_depth, 7);
	assert_int_equal(f->channel->settings->v.max_depth, 7);
	assert_ptr_equal(f->channel->pump_settings, f->channel->settings);
	assert_int_equal(change(f->topic, f->channel, "{\"max_depth\":8}", &err), 0);
	assert_int_equal(f->topic->settings->v.max_depth, 7);
	assert_int_equal(f->channel->settings->v.max_depth, 8);
	assert_ptr_equal(f->channel->pump_settings, f->channel->settings);
	assert_int_equal(other->settings->v.max_depth, 7);
	assert_int_equal(get_channel(f->topic, "later")->settings->v.max_depth, 7);
	assert_int_equal(change(f->topic, f->channel, "{\"no_channel\":\"drop\"}", &err), -1);
	assert_int_equal(f->channel->settings->v.max_depth, 8);
}

static void test_a_deletion_forgets(struct fixture *f)
{
	struct err err = {0};
	load(f->nsqd);
	assert_int_equal(change(f->topic, NULL, "{\"max_depth\":7}", &err), 0);
	assert_int_equal(change(f->topic, f->channel, "{\"max_depth\":8}", &err), 0);
	get_topic(f->nsqd, "test2");
	set(&f->nsqd->ctx.settings, "test2", "{\"max_depth\":9}");
	assert_int_equal(topic_delete_existing_channel(f->topic, "ch", &err), 0);
	assert_int_equal(get_channel(f->topic, "ch")->settings->v.max_depth, 7);
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(get_topic(f->nsqd, "test")->settings->v.max_depth, 0);
	expect_file("{\"topics\":[\n{\"name\":\"test2\",\"settings\":{\"max_depth\":9}}],"
		    "\"version\":1}\n");
}

static void test_what_is_exiting_takes_no_change(struct fixture *f)
{
	struct err err = {0};
	load(f->nsqd);
	struct topic *t = topic_ref(f->topic);
	struct channel *c = channel_ref(f->channel);
	assert_int_equal(topic_delete_existing_channel(t, "ch", &err), 0);
	assert_int_equal(change(t, c, "{\"max_depth\":1}", &err), -1);
	assert_int_equal(err.code, ECANCELED);
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_int_equal(change(t, NULL, "{\"max_depth\":1}", &err), -1);
	assert_int_equal(err.code, ECANCELED);
	channel_unref(c);
	topic_unref(t);
	assert_int_equal(access(SETTINGS_FILE, F_OK), -1);
}

static void test_a_reload_reaches_all(struct fixture *f)
{
	struct err err = {0};
	load(f->nsqd);
	assert_int_equal(change(f->topic, f->channel, "{\"rate\":8}", &err), 0);
	struct options *o = options_copy(nsqd_get_opts(&f->nsqd->ctx));
	policies_unref(o->policies);
	o->policies = policies_of("[[policy]]\nmatch = 'te*'\nmax_depth = 5\nrate = 4\n");
	o->msg_timeout = NSEC_PER_SEC;
	nsqd_reload_settings(&f->nsqd->topics, o);
	assert_int_equal(f->topic->settings->v.max_depth, 5);
	assert_int_equal(f->channel->settings->v.max_depth, 5);
	assert_int_equal(f->channel->settings->v.rate, 8);
	assert_int_equal(f->channel->pump_settings->v.msg_timeout, NSEC_PER_SEC);
	options_free(o);
}

/* --- at the same time --------------------------------------------------------------------------- */

struct crowd {
	struct nsqd *nsqd;
	_Atomic bool over;
	_Atomic int number;
};

/* Sets the same value twice; both are always seen together. */
static void changer(void *arg)
{
	struct crowd *w = arg;
	int n = atomic_fetch_add(&w->number, 1);
	for (int i = 0; i < ROUNDS(300); i++) {
		struct err err;
		char json[100];
		int value = n * 1000 + i;
		struct topic *t = nsqd_get_topic(&w->nsqd->topics, "t", &err);
		if (!t)
			continue;
		struct channel *c = i % 2 ? topic_get_channel(t, "c", &err) : NULL;
		snprintf(json, sizeof(json), "{\"max_depth\":%d,\"max_bytes\":%d}", value, value);
		CHECK(change(t, c, json, &err) == 0 || err.code == ECANCELED);
		channel_unref(c);
		topic_unref(t);
	}
}

static void reloader(void *arg)
{
	struct crowd *w = arg;
	while (!atomic_load(&w->over)) {
		nsqd_reload_settings(&w->nsqd->topics, nsqd_get_opts(&w->nsqd->ctx));
		sleep_ns(NSEC_PER_MSEC);
	}
}

static void deleter(void *arg)
{
	struct crowd *w = arg;
	for (int i = 0; !atomic_load(&w->over); i++) {
		struct err err;
		struct topic *t = nsqd_get_existing_topic(&w->nsqd->topics, "t");
		if (i % 4 == 0)
			(void)nsqd_delete_existing_topic(&w->nsqd->topics, "t", &err);
		else if (t)
			(void)topic_delete_existing_channel(t, "c", &err);
		topic_unref(t);
		sleep_ns(NSEC_PER_MSEC);
	}
}

static void publisher(void *arg)
{
	struct crowd *w = arg;
	while (!atomic_load(&w->over)) {
		struct err err;
		struct topic *t = nsqd_get_topic(&w->nsqd->topics, "t", &err);
		if (!t)
			continue;
		(void)try_put(t, 1, 1, &err);
		rwlock_rdlock(&t->lock);
		const struct setting_values *v = &t->settings->v;
		CHECK(v->max_depth == v->max_bytes);
		rwlock_unlock(&t->lock);
		struct channel *c = topic_get_existing_channel(t, "c");
		if (c) {
			rwlock_rdlock(&c->exit_lock);
			CHECK(c->settings->v.max_depth == c->settings->v.max_bytes);
			rwlock_unlock(&c->exit_lock);
			mutex_lock(&c->in_flight_lock);
			CHECK(c->settings->v.max_depth == c->settings->v.max_bytes);
			mutex_unlock(&c->in_flight_lock);
		}
		channel_unref(c);
		topic_unref(t);
	}
}

static void test_changes_beside_all_else(struct fixture *f)
{
	struct crowd w = {.nsqd = f->nsqd};
	struct wait_group changers, others;
	struct err err;
	load(f->nsqd);
	wait_group_init(&changers);
	wait_group_init(&others);
	assert_int_equal(wait_group_wrap(&others, "reloader", reloader, &w, &err), 0);
	assert_int_equal(wait_group_wrap(&others, "deleter", deleter, &w, &err), 0);
	assert_int_equal(wait_group_wrap(&others, "publisher", publisher, &w, &err), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wait_group_wrap(&changers, "changer", changer, &w, &err), 0);
	wait_group_wait(&changers);
	atomic_store(&w.over, true);
	wait_group_wait(&others);
	wait_group_destroy(&changers);
	wait_group_destroy(&others);
	/* Store, topic, channel and file are of one mind. */
	struct topic *t = get_topic(f->nsqd, "t");
	struct channel *c = get_channel(t, "c");
	assert_int_equal(change(t, NULL, "{\"max_depth\":1,\"max_bytes\":1}", &err), 0);
	assert_int_equal(change(t, c, "{\"max_depth\":null,\"max_bytes\":null}", &err), 0);
	assert_int_equal(t->settings->v.max_depth, 1);
	assert_int_equal(c->settings->v.max_depth, 1);
	assert_int_equal(c->pump_settings->v.max_depth, 1);
	assert_int_equal(depth_of(&f->nsqd->ctx.settings, "t", "c"), 1);
	expect_file("{\"topics\":[\n{\"name\":\"t\",\"settings\":{\"max_depth\":1,\"max_bytes\":1}}"
		    "],\"version\":1}\n");
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "t", &err), 0);
	expect_file("{\"topics\":[],\"version\":1}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		nsqd_test_with(test_the_later_source_wins, .adjust = three_policies),
		nsqd_test(test_without_any_all_share_one_snapshot),
		nsqd_test_with(test_where_each_value_comes_from, .adjust = three_policies),
		nsqd_test(test_a_dead_letter_topic_is_not_its_own),
		nsqd_test(test_what_does_not_go_together_is_refused),
		nsqd_test(test_what_several_sources_say_is_bounded),
		nsqd_test(test_the_file_has_what_is_set_and_a_restart_finds_it),
		nsqd_test(test_a_file_that_is_none_is_refused_whole),
		nsqd_test(test_deep_json_is_no_matter),
		nsqd_test(test_what_is_no_regular_file_is_refused),
		nsqd_test(test_a_disk_that_refuses_changes_nothing),
		channel_test(test_a_change_reaches_topic_channels_and_pumps),
		channel_test(test_a_deletion_forgets),
		channel_test(test_what_is_exiting_takes_no_change),
		channel_test(test_a_reload_reaches_all),
		nsqd_test(test_changes_beside_all_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
