/* SPDX-License-Identifier: MIT */
/* metadata: nsqd.dat as stock writes and reads it, byte for byte; and what is not to be trusted. */
#include "test/unit/nsqd_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "common/version.h"

#define VERSION_JSON "\"version\":\"" NSQ_VERSION "\"}"

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	if (!f)
		fail_msg("no %s", path);
	char *buf = xcalloc(1, 1 << 20);
	size_t len = fread(buf, 1, (1 << 20) - 1, f);
	buf[len] = '\0';
	fclose(f);
	return buf;
}

static void expect_file(const char *want)
{
	char *got = read_file("nsqd.dat");
	assert_string_equal(got, want);
	free(got);
}

static void persist(struct nsqd *n)
{
	struct err err = {0};
	if (nsqd_persist_metadata(&n->metadata, &err) != 0)
		fail_msg("%s", err.msg);
}

static void load(struct nsqd *n)
{
	struct err err = {0};
	if (nsqd_load_metadata(&n->metadata, &err) != 0)
		fail_msg("%s", err.msg);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void test_nothing_is_written_as_null(struct fixture *f)
{
	persist(f->nsqd);
	expect_file("{\"topics\":null," VERSION_JSON);
	get_topic(f->nsqd, "a");
	persist(f->nsqd);
	expect_file(
		"{\"topics\":[{\"name\":\"a\",\"paused\":false,\"channels\":null}]," VERSION_JSON);
}

static void test_topics_and_channels_are_written_as_stock_does(struct fixture *f)
{
	get_channel(get_topic(f->nsqd, "b"), "y");
	channel_pause(get_channel(get_topic(f->nsqd, "b"), "x"));
	topic_pause(get_topic(f->nsqd, "a"));
	get_channel(get_topic(f->nsqd, "a"), "c.1-2_3");
	persist(f->nsqd);
	expect_file("{\"topics\":[{\"name\":\"a\",\"paused\":true,\"channels\":"
		    "[{\"name\":\"c.1-2_3\",\"paused\":false}]},"
		    "{\"name\":\"b\",\"paused\":false,\"channels\":"
		    "[{\"name\":\"x\",\"paused\":true},{\"name\":\"y\",\"paused\":false}]}]"
		    "," VERSION_JSON);
}

static void test_what_is_ephemeral_is_not_written(struct fixture *f)
{
	get_channel(get_topic(f->nsqd, "a#ephemeral"), "x");
	get_channel(get_topic(f->nsqd, "b"), "x#ephemeral");
	get_channel(get_topic(f->nsqd, "c"), "x#ephemeral");
	get_channel(get_topic(f->nsqd, "c"), "y");
	persist(f->nsqd);
	expect_file("{\"topics\":[{\"name\":\"b\",\"paused\":false,\"channels\":null},"
		    "{\"name\":\"c\",\"paused\":false,\"channels\":"
		    "[{\"name\":\"y\",\"paused\":false}]}]," VERSION_JSON);
}

static void test_what_is_being_deleted_is_not_written(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct topic *t = get_topic(n, "a");
	struct channel *c = get_channel(t, "x");
	struct request channel, topic;
	struct gate gate;
	/* Between the beginning and the end of the deletion, while both are in their maps. */
	slow_deletion(c, &gate);
	begin_request(&channel, n, t, "x", run_delete);
	wait_for(gate.arrived == 1);
	persist(n);
	expect_file(
		"{\"topics\":[{\"name\":\"a\",\"paused\":false,\"channels\":null}]," VERSION_JSON);
	begin_request(&topic, n, NULL, "a", run_delete);
	wait_for(topic_exiting(t));
	persist(n);
	expect_file("{\"topics\":null," VERSION_JSON);
	assert_int_equal(topic_count(n), 1);
	chan_close(gate.open);
	end_request(&channel);
	end_request(&topic);
	chan_free(gate.open);
}

static void test_only_the_owner_may_read_it_and_nothing_else_is_left(struct fixture *f)
{
	struct stat st;
	for (int i = 0; i < 3; i++)
		persist(f->nsqd);
	assert_int_equal(stat("nsqd.dat", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(files_of("nsqd.dat"), 1);
}

static void test_a_file_that_cannot_be_replaced_is_an_error_and_leaves_no_other(struct fixture *f)
{
	struct err err = {0};
	assert_int_equal(mkdir("nsqd.dat", 0700), 0);
	assert_int_equal(nsqd_persist_metadata(&f->nsqd->metadata, &err), -1);
	assert_int_equal(err.code, EISDIR);
	assert_int_equal(files_of("nsqd.dat"), 1);
	assert_int_equal(rmdir("nsqd.dat"), 0);
	persist(f->nsqd);
}

static void test_at_exit_the_file_has_everything_and_stays_so(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	get_channel(get_topic(n, "a"), "x");
	nsqd_exit(n);
	persist(n); /* nobody may write it without the topics that have closed */
	free_nsqd(f);
	expect_file("{\"topics\":[{\"name\":\"a\",\"paused\":false,\"channels\":"
		    "[{\"name\":\"x\",\"paused\":false}]}]," VERSION_JSON);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void test_no_file_is_a_fresh_start(struct fixture *f)
{
	load(f->nsqd);
	assert_int_equal(topic_count(f->nsqd), 0);
	assert_false(context_is_loading(&f->nsqd->ctx));
}

static void make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void test_temporary_files_of_a_killed_daemon_are_removed_and_no_others(struct fixture *f)
{
	static const char *const ours[] = {
		"nsqd.dat.0.tmp", "nsqd.dat.9223372036854775807.tmp", "nsqd.dat.42.tmp"};
	static const char *const others[] = {"nsqd.dat.tmp", "nsqd.dat..tmp", "nsqd.dat.1.tmp.bak",
		"nsqd.dat.1a.tmp", "nsqd.dat.-1.tmp", "my-nsqd.dat.1.tmp", "nsqd.dat.1.TMP",
		"nsqd.dat.10000000000000000000.tmp"};
	for (size_t i = 0; i < COUNT(ours); i++)
		make_file(ours[i]);
	for (size_t i = 0; i < COUNT(others); i++)
		make_file(others[i]);
	assert_int_equal(mkdir("nsqd.dat.2.tmp", 0700), 0);
	assert_int_equal(symlink("nsqd.dat.tmp", "nsqd.dat.3.tmp"), 0);
	load(f->nsqd);
	struct stat st;
	for (size_t i = 0; i < COUNT(ours); i++)
		assert_int_equal(lstat(ours[i], &st), -1);
	for (size_t i = 0; i < COUNT(others); i++)
		assert_int_equal(unlink(others[i]), 0);
	assert_int_equal(rmdir("nsqd.dat.2.tmp"), 0);
	assert_int_equal(unlink("nsqd.dat.3.tmp"), 0);
}

static void test_what_was_written_is_read_again(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	get_channel(get_topic(n, "a"), "x");
	channel_pause(get_channel(get_topic(n, "a"), "y"));
	topic_pause(get_topic(n, "b"));
	end_nsqd(f);
	start_nsqd(f, 10);
	n = f->nsqd;
	load(n);
	assert_int_equal(topic_count(n), 2);
	struct topic *t = nsqd_get_existing_topic(&n->topics, "a");
	assert_non_null(t);
	topic_unref(t);
	assert_int_equal(channel_count(t), 2);
	assert_false(topic_is_paused(t));
	assert_false(channel_is_paused(get_channel(t, "x")));
	assert_true(channel_is_paused(get_channel(t, "y")));
	assert_true(topic_is_paused(get_topic(n, "b")));
	/* And it runs. */
	put(t, 0, 1);
	expect_in_order(get_channel(t, "x"), 0, 1);
}

/* By then the topic's pump may have moved messages from its disk queue into a channel's memory. */
static void test_a_start_that_fails_gives_back_what_it_has_loaded(struct fixture *f)
{
	static const char metadata[] =
		"{\"topics\":[{\"name\":\"a\",\"channels\":[{\"name\":\"x\"}]}]}";
	struct topic *t = get_topic(f->nsqd, "a");
	topic_pause(t);
	get_channel(t, "x");
	put(t, 0, 8);
	end_nsqd(f);
	write_text("nsqd.dat", metadata);
	start_nsqd(f, 10);
	load(f->nsqd);
	t = get_topic(f->nsqd, "a");
	struct channel *c = get_channel(t, "x");
	wait_for(topic_backend_depth(t) == 0 && channel_depth(c) == 8);
	nsqd_give_up(f->nsqd);
	free_nsqd(f);
	expect_file(metadata);
	start_nsqd(f, 10);
	load(f->nsqd);
	expect_each_once(get_channel(get_topic(f->nsqd, "a"), "x"), 0, 8);
}

static void test_any_json_that_stock_takes_is_taken(struct fixture *f)
{
	write_text("nsqd.dat",
		" { \"Version\":\"0.1\", \"new\":[1,{}], \"topics\":[\n"
		"{\"name\":\"a\"},"
		"{\"name\":\"b\",\"paused\":null,\"channels\":null},"
		"{\"NAME\":\"c\",\"channels\":[{\"name\":\"\\u0078\",\"paused\":true,\"more\":1}]}"
		"]}\n");
	load(f->nsqd);
	assert_int_equal(topic_count(f->nsqd), 3);
	assert_int_equal(channel_count(get_topic(f->nsqd, "c")), 1);
	assert_true(channel_is_paused(get_channel(get_topic(f->nsqd, "c"), "x")));
}

static void test_null_and_an_empty_object_are_a_fresh_start(struct fixture *f)
{
	static const char *const texts[] = {"null", "{}", "{\"topics\":null}", "{\"topics\":[]}"};
	for (size_t i = 0; i < COUNT(texts); i++) {
		start_nsqd(f, 10);

		write_text("nsqd.dat", texts[i]);
		load(f->nsqd);
		assert_int_equal(topic_count(f->nsqd), 0);
		end_nsqd(f);
	}
}

static void test_invalid_names_are_skipped_and_the_others_are_there(struct fixture *f)
{
	write_text("nsqd.dat",
		"{\"topics\":[{\"name\":\"\"},{\"name\":\"../evil\"},{\"name\":\"a b\"},{},"
		"{\"name\":\"ok\",\"channels\":[{\"name\":\"x/y\"},{\"name\":\"good\"},{}]}]}");
	load(f->nsqd);
	assert_int_equal(topic_count(f->nsqd), 1);
	assert_int_equal(channel_count(get_topic(f->nsqd, "ok")), 1);
	assert_non_null(get_channel(get_topic(f->nsqd, "ok"), "good"));
}

static void test_a_topic_that_is_listed_twice_is_one(struct fixture *f)
{
	write_text("nsqd.dat",
		"{\"topics\":[{\"name\":\"a\",\"channels\":[{\"name\":\"x\"}]},"
		"{\"name\":\"a\",\"paused\":true,\"channels\":[{\"name\":\"y\"},{\"name\":\"x\"}"
		"]}]}");
	load(f->nsqd);
	assert_int_equal(topic_count(f->nsqd), 1);
	assert_int_equal(channel_count(get_topic(f->nsqd, "a")), 2);
	assert_true(topic_is_paused(get_topic(f->nsqd, "a")));
}

static void test_a_broken_file_is_an_error_creates_nothing_and_stays_as_it_is(struct fixture *f)
{
	static const char *const broken[] = {
		"",
		"{",
		"[]",
		"1",
		"{\"topics\":[{\"name\":\"a\"}]} x",
		"{\"topics\":[{\"name\":\"a\"},]}",
		"{\"topics\":{}}",
		"{\"topics\":\"a\"}",
		"{\"topics\":[\"a\"]}",
		"{\"topics\":[{\"name\":\"a\"},{\"name\":1}]}",
		"{\"topics\":[{\"name\":\"a\",\"paused\":\"true\"}]}",
		"{\"topics\":[{\"name\":\"a\",\"channels\":{}}]}",
		"{\"topics\":[{\"name\":\"a\",\"channels\":[1]}]}",
		"{\"topics\":[{\"name\":\"a\",\"channels\":[{\"name\":true}]}]}",
		"{\"topics\":[{\"name\":\"a\"}],\"version\":1}",
		"{\"topics\":[{\"name\":\"a\"}",
		"{\"topics\":[{\"name\":\"a\n\"}]}",
	};
	for (size_t i = 0; i < COUNT(broken); i++) {
		start_nsqd(f, 10);
		struct err err = {0};
		write_text("nsqd.dat", broken[i]);
		if (nsqd_load_metadata(&f->nsqd->metadata, &err) != -1)
			fail_msg("taken: %s", broken[i]);
		assert_non_null(strstr(err.msg, "failed to parse metadata in "));
		assert_int_equal(topic_count(f->nsqd), 0);
		assert_false(context_is_loading(&f->nsqd->ctx));
		expect_file(broken[i]);
		end_nsqd(f);
	}
}

static void test_a_file_that_cannot_be_read_is_an_error(struct fixture *f)
{
	struct err err = {0};
	assert_int_equal(mkdir("nsqd.dat", 0700), 0);
	assert_int_equal(nsqd_load_metadata(&f->nsqd->metadata, &err), -1);
	assert_non_null(strstr(err.msg, "failed to read metadata from "));
	assert_int_equal(rmdir("nsqd.dat"), 0);
}

/* Somebody waits for a writer of that FIFO, which never comes: not the daemon. */
static void test_what_is_no_file_is_an_error_at_once(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct err err = {0};
	assert_int_equal(mkfifo("nsqd.dat", 0600), 0);
	assert_int_equal(nsqd_load_metadata(&n->metadata, &err), -1);
	assert_non_null(strstr(err.msg, "nsqd.dat: not a regular file"));
	/* But it is replaced. */
	persist(n);
	assert_int_equal(nsqd_load_metadata(&n->metadata, &err), 0);
	assert_int_equal(unlink("nsqd.dat"), 0);
	/* A link is followed to read, as older versions of nsqd made one, and replaced. */
	persist(n);
	assert_int_equal(rename("nsqd.dat", "nsqd.1.dat"), 0);
	assert_int_equal(symlink("nsqd.1.dat", "nsqd.dat"), 0);
	assert_int_equal(nsqd_load_metadata(&n->metadata, &err), 0);
	get_topic(n, "a");
	persist(n);
	struct stat st;
	assert_int_equal(lstat("nsqd.dat", &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(unlink("nsqd.1.dat"), 0);
}

/* --- changes ---------------------------------------------------------------------------------- */

static bool file_has(const char *text)
{
	if (access("nsqd.dat", F_OK) != 0)
		return false;
	char *got = read_file("nsqd.dat");
	bool found = strstr(got, text) != NULL;
	free(got);
	return found;
}

static void test_a_change_is_written_by_itself(struct fixture *f)
{
	struct err err;
	assert_int_equal(nsqd_main(f->nsqd, &err), 0);
	struct topic *t = get_topic(f->nsqd, "a");
	wait_for(file_has("\"name\":\"a\""));
	get_channel(t, "x");
	wait_for(file_has("\"name\":\"x\""));
	assert_int_equal(topic_delete_existing_channel(t, "x", &err), 0);
	wait_for(!file_has("\"name\":\"x\""));
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "a", &err), 0);
	wait_for(!file_has("\"name\":\"a\""));
}

static void test_a_change_that_cannot_be_written_is_written_as_soon_as_it_can(struct fixture *f)
{
	struct err err;
	char event[4096];
	int watch = inotify_init1(IN_CLOEXEC);
	assert_true(inotify_add_watch(watch, ".", IN_DELETE) >= 0);
	assert_int_equal(mkdir("nsqd.dat", 0700), 0);
	assert_int_equal(nsqd_main(f->nsqd, &err), 0);
	get_topic(f->nsqd, "t");
	assert_true(
		read(watch, event, sizeof(event)) > 0); /* the temporary file of the first try */
	close(watch);
	assert_int_equal(rmdir("nsqd.dat"), 0);
	wait_for(file_has("\"t\""));
	expect_file(
		"{\"topics\":[{\"name\":\"t\",\"paused\":false,\"channels\":null}]," VERSION_JSON);
}

static void test_a_change_that_cannot_be_written_is_tried_less_and_less_often(struct fixture *f)
{
	struct err err;
	int watch = inotify_init1(IN_CLOEXEC);
	assert_true(inotify_add_watch(watch, ".", IN_DELETE) >= 0);
	assert_int_equal(mkdir("nsqd.dat", 0700), 0);
	get_topic(f->nsqd, "t");
	int64_t start_ns = clock_mono_ns();
	assert_int_equal(nsqd_main(f->nsqd, &err), 0);
	for (int i = 0; i < 3; i++) {
		char event[sizeof(struct inotify_event) + NAME_MAX + 1];
		/* The temporary file of one try. */
		assert_true(read(watch, event, sizeof(event)) > 0);
	}
	/* One second, and then two. */
	assert_true(clock_mono_ns() - start_ns >= 3 * NSEC_PER_SEC);
	close(watch);
	assert_int_equal(rmdir("nsqd.dat"), 0);
	get_topic(f->nsqd, "u"); /* a new change is tried at once */
	wait_for(file_has("\"t\"") && file_has("\"u\""));
}

static void test_what_is_ephemeral_causes_no_write(struct fixture *f)
{
	struct err err;
	assert_int_equal(nsqd_main(f->nsqd, &err), 0);
	get_channel(get_topic(f->nsqd, "a#ephemeral"), "x#ephemeral");
	stays(access("nsqd.dat", F_OK) != 0);
}

static void test_loading_does_not_write(struct fixture *f)
{
	write_text("nsqd.dat", "{\"topics\":[{\"name\":\"a\",\"channels\":[{\"name\":\"x\"}]}]}");
	load(f->nsqd);
	assert_int_equal(chan_len(f->nsqd->ctx.notify.persist_chan), 0);
	expect_file("{\"topics\":[{\"name\":\"a\",\"channels\":[{\"name\":\"x\"}]}]}");
}

struct persisters {
	struct nsqd *n;
	_Atomic bool stop;
	_Atomic int failed;
};

static void persist_until_stopped(void *arg)
{
	struct persisters *p = arg;
	struct err err;
	while (!p->stop)
		p->failed += nsqd_persist_metadata(&p->n->metadata, &err) != 0;
}

static void change_until_stopped(void *arg)
{
	struct persisters *p = arg;
	for (unsigned i = 0; !p->stop; i++) {
		char name[16];
		struct err err;
		snprintf(name, sizeof(name), "t%u", i % 7);
		struct topic *t = nsqd_get_topic(&p->n->topics, name, &err);
		if (t) {
			channel_unref(topic_get_channel(t, "x", &err));
			topic_pause(t);
			if (i % 3 == 0)
				(void)topic_delete_existing_channel(t, "x", &err);
		}
		topic_unref(t);
		if (i % 5 == 0)
			(void)nsqd_delete_existing_topic(&p->n->topics, name, &err);
	}
}

static void test_many_writers_at_once_leave_a_whole_file(struct fixture *f)
{
	struct persisters p = {.n = f->nsqd};
	struct wait_group wg;
	wait_group_init(&wg);
	get_topic(p.n, "stays");
	persist(p.n);
	go(&wg, persist_until_stopped, &p);
	go(&wg, persist_until_stopped, &p);
	go(&wg, change_until_stopped, &p);
	for (int i = 0; i < ROUNDS(100); i++) {
		char *got = read_file("nsqd.dat");
		assert_int_equal(strncmp(got, "{\"topics\":[{\"name\":\"", 20), 0);
		assert_non_null(strstr(got, "\"name\":\"stays\""));
		assert_string_equal(got + strlen(got) - strlen(VERSION_JSON), VERSION_JSON);
		free(got);
	}
	p.stop = true;
	join(&wg);
	assert_int_equal(p.failed, 0);
	assert_int_equal(files_of("nsqd.dat"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		nsqd_test(test_nothing_is_written_as_null),
		nsqd_test(test_topics_and_channels_are_written_as_stock_does),
		nsqd_test(test_what_is_ephemeral_is_not_written),
		nsqd_test(test_what_is_being_deleted_is_not_written),
		nsqd_test(test_only_the_owner_may_read_it_and_nothing_else_is_left),
		nsqd_test(test_a_file_that_cannot_be_replaced_is_an_error_and_leaves_no_other),
		nsqd_test(test_at_exit_the_file_has_everything_and_stays_so),
		nsqd_test(test_no_file_is_a_fresh_start),
		nsqd_test(test_temporary_files_of_a_killed_daemon_are_removed_and_no_others),
		nsqd_test(test_what_was_written_is_read_again),
		nsqd_test(test_a_start_that_fails_gives_back_what_it_has_loaded),
		nsqd_test(test_any_json_that_stock_takes_is_taken),
		dir_test(test_null_and_an_empty_object_are_a_fresh_start),
		nsqd_test(test_invalid_names_are_skipped_and_the_others_are_there),
		nsqd_test(test_a_topic_that_is_listed_twice_is_one),
		dir_test(test_a_broken_file_is_an_error_creates_nothing_and_stays_as_it_is),
		nsqd_test(test_a_file_that_cannot_be_read_is_an_error),
		nsqd_test(test_what_is_no_file_is_an_error_at_once),
		nsqd_test(test_a_change_is_written_by_itself),
		nsqd_test(test_a_change_that_cannot_be_written_is_written_as_soon_as_it_can),
		nsqd_test(test_a_change_that_cannot_be_written_is_tried_less_and_less_often),
		nsqd_test(test_what_is_ephemeral_causes_no_write),
		nsqd_test(test_loading_does_not_write),
		nsqd_test(test_many_writers_at_once_leave_a_whole_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
