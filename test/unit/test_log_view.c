/* SPDX-License-Identifier: MIT */
/*
 * A log and its cursors, looked at: what a view says is what the next process delivers. A random run
 * of a topic with two channels; at random moments a copy of its files is what a crash would leave.
 * Then copies, in every state in which a crash may leave them, and strange files.
 */
#include "test/unit/log_queue_test.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nsqd/log/log_format.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_view.h"
#include "test/unit/sim_disk.h"

#define STEPS 400
#define HELD_MAX 20
#define MESSAGES_MAX 2000
#define CHANNELS 2
#define HOUR (3600 * NSEC_PER_SEC)

/* Messages, as a channel gets them, or a view has them. */
struct seen {
	size_t n;
	uint64_t ids[MESSAGES_MAX], seqs[MESSAGES_MAX];
	uint16_t attempts[MESSAGES_MAX]; /* before the next delivery */
	bool waits[MESSAGES_MAX];
};

static struct run {
	struct side side;
	int dir, copy_dir;
	uint64_t seed, published, dealt;
	struct message *held[CHANNELS][HELD_MAX];
	size_t n_held[CHANNELS];
} r;

/* What a view has said of the channels, and of the topic. */
static struct seen channels[CHANNELS], topic;
static char root[32];

static uint32_t chance(uint32_t n)
{
	return (uint32_t)(sim_random(&r.seed) % n);
}

/* --- directories ------------------------------------------------------------------------------------ */

static int open_dir(const char *name)
{
	int fd = open(name, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	return fd;
}

static void clear_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	if (!dir)
		return;
	while ((e = readdir(dir)))
		(void)unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

static void copy_file(const char *from, const char *to)
{
	static char buf[1 << 20];
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	size_t n;
	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(buf, 1, sizeof(buf), in)) > 0)
		assert_true(fwrite(buf, 1, n, out) == n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

/* What a crash would leave now: live/t.log as copy/t.log. */
static void copy_files(void)
{
	char from[300], to[300];
	struct dirent *e;
	clear_dir("copy/t.log");
	assert_int_equal(mkdir("copy/t.log", 0700), 0);
	DIR *dir = opendir("live/t.log");
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(from, sizeof(from), "live/t.log/%.200s", e->d_name);
		snprintf(to, sizeof(to), "copy/t.log/%.200s", e->d_name);
		copy_file(from, to);
	}
	closedir(dir);
}

static int setup(void **state)
{
	const char *seed = getenv("SEED");
	memset(&r, 0, sizeof(r));
	r.seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)clock_wall_ns();
	printf("SEED=%llu\n", (unsigned long long)r.seed);
	strcpy(root, "test.XXXXXX");
	if (!mkdtemp(root) || chdir(root) != 0 || mkdir("live", 0700) != 0 ||
		mkdir("copy", 0700) != 0)
		return -1;
	r.dir = open_dir("live");
	r.copy_dir = open_dir("copy");
	return log_setup(state);
}

static int teardown(void **state)
{
	close(r.dir);
	close(r.copy_dir);
	clear_dir("live/t.log");
	clear_dir("copy/t.log");
	if (rmdir("live") != 0 || rmdir("copy") != 0 || chdir("..") != 0 || rmdir(root) != 0)
		return -1;
	return log_teardown(state);
}

/* --- what a view says -------------------------------------------------------------------------------- */

static int see(void *arg, const struct log_view_message *m, struct err *err)
{
	struct seen *s = arg;
	(void)err;
	assert_true(s->n < MESSAGES_MAX);
	s->ids[s->n] = id_of(m->msg);
	s->seqs[s->n] = m->msg->seq;
	s->attempts[s->n] = m->msg->attempts;
	s->waits[s->n] = m->due > clock_wall_ns();
	assert_true(s->n == 0 || s->seqs[s->n - 1] < s->seqs[s->n]);
	s->n++;
	message_unref(m->msg);
	return 0;
}

static struct log_view *open_view(int dir)
{
	struct log_view *v;
	struct err err = {0};
	if (log_view_open(dir, "t", NULL, &v, &err) != 0)
		fail_msg("log_view_open: %s", err.msg);
	return v;
}

static void view_all(int dir, uint64_t expect_lost)
{
	struct log_view *v = open_view(dir);
	struct err err = {0};
	uint64_t lost, all_lost = 0, n = 0;
	assert_int_equal(v->n_channels, CHANNELS);
	topic.n = 0;
	assert_int_equal(log_view_each(v, NULL, see, &topic, &lost, &err), 0);
	all_lost += lost;
	for (int i = 0; i < CHANNELS; i++) {
		assert_string_equal(v->channels[i].name, i == 0 ? "a" : "b");
		channels[i].n = 0;
		assert_int_equal(
			log_view_each(v, &v->channels[i], see, &channels[i], &lost, &err), 0);
		all_lost += lost;
		assert_true(v->channels[i].unfinished >= channels[i].n + lost);
		n += channels[i].n;
	}
	assert_int_equal(all_lost, expect_lost);
	assert_true(log_view_unfinished(v) >= n + topic.n);
	/* Nothing that is finished keeps a start from leaving the log behind. */
	if (expect_lost == 0)
		assert_int_equal(log_view_unfinished(v) == 0, n + topic.n == 0);
	log_view_close(v);
}

/* --- what the next process delivers -------------------------------------------------------------------- */

static void expect_one(struct seen *s, const struct message *m, size_t *left)
{
	uint64_t id = id_of(m);
	size_t i = 0;
	while (i < s->n && s->ids[i] != id)
		i++;
	if (i == s->n || s->waits[i])
		fail_msg("message %llu is not in the view", (unsigned long long)id);
	if (m->attempts != s->attempts[i] + 1)
		fail_msg("message %llu: attempt %u, and the view says %u", (unsigned long long)id,
			m->attempts, s->attempts[i]);
	s->waits[i] = true; /* not a second time */
	--*left;
}

static void deliver_and_compare(struct side *s, int i)
{
	struct chan_side *c = &s->channels[i];
	size_t left = 0, waiting = 0;
	/* The topic's go to all channels. */
	for (size_t k = 0; k < topic.n; k++) {
		channels[i].ids[channels[i].n] = topic.ids[k];
		channels[i].attempts[channels[i].n] = topic.attempts[k];
		channels[i].waits[channels[i].n++] = topic.waits[k];
	}
	for (size_t k = 0; k < channels[i].n; k++) {
		waiting += channels[i].waits[k];
		left += !channels[i].waits[k];
	}
	while (left > 0) {
		struct message *m = take_message(c);
		expect_one(&channels[i], m, &left);
		finish(c, m);
	}
	mutex_lock(&c->lock);
	struct cursor *cursor = log_queue_cursor(c->q);
	assert_int_equal(cursor_waiting(cursor), waiting);
	assert_int_equal(
		cursor_unfinished(cursor, SEQ_END - 1) - (SEQ_END - 1 - r.published - 1), waiting);
	mutex_unlock(&c->lock);
}

static void crash_and_compare(void)
{
	struct side s = {
		.dir = r.copy_dir, .memory_size = 8, .segment_bytes = 8192, .sync_timeout = HOUR};
	copy_files();
	view_all(r.copy_dir, 0);
	open_side(&s, "a", "b");
	uint64_t handed = cursor_floor(topic_log_cursor(s.tl));
	pump(&s, r.published + 1 - handed);
	for (int i = 0; i < CHANNELS; i++)
		deliver_and_compare(&s, i);
	close_side(&s);
}

/* --- the run --------------------------------------------------------------------------------------------- */

static void take_some(int i)
{
	struct message *m = NULL;
	if (r.n_held[i] < HELD_MAX)
		m = take_within(&r.side.channels[i], NSEC_PER_MSEC);
	if (m)
		r.held[i][r.n_held[i]++] = m;
}

static void let_go(int i, bool finished)
{
	size_t k = r.n_held[i] > 0 ? chance((uint32_t)r.n_held[i]) : 0;
	if (r.n_held[i] == 0)
		return;
	struct message *m = r.held[i][k];
	r.held[i][k] = r.held[i][--r.n_held[i]];
	if (finished)
		finish(&r.side.channels[i], m);
	else
		requeue(&r.side.channels[i], m, chance(3) == 0 ? HOUR : 0);
}

/* All; or one cursor alone, which then knows more than the topic's. */
static void flush(int i)
{
	struct chan_side *c = &r.side.channels[i];
	struct err err = {0};
	uint32_t what = chance(3);
	if (what == 0)
		assert_int_equal(topic_log_flush(r.side.tl), 0);
	if (what == 0)
		return;
	/* As far as this channel has come. */
	for (int k = 0; k < 3; k++)
		take_some(i);
	let_go(i, true);
	assert_int_equal(cursor_flush(log_queue_cursor(c->q), &c->lock, &err), 0);
	crash_and_compare();
}

static void one_step(void)
{
	int i = (int)chance(CHANNELS);
	size_t n = 1 + chance(5);
	switch (chance(12)) {
	case 0:
	case 1:
		publish_delayed(&r.side, r.published + 1, n, 20, chance(6) == 0 ? HOUR : 0);
		r.published += n;
		break;
	case 2:
	case 3:
	case 4:
		if (n > r.published - r.dealt)
			n = r.published - r.dealt;
		pump(&r.side, n);
		r.dealt += n;
		break;
	case 5:
	case 6:
	case 7:
		take_some(i);
		break;
	case 8:
	case 9:
		let_go(i, true);
		break;
	case 10:
		let_go(i, false);
		break;
	case 11:
		flush(i);
		break;
	}
}

static void test_as_the_next_process(void **state)
{
	r.side = (struct side){
		.dir = r.dir, .memory_size = 8, .segment_bytes = 8192, .sync_timeout = HOUR};
	open_side(&r.side, "a", "b");
	/* The first flush makes the files of the channels. */
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	for (int step = 0; step < STEPS; step++) {
		one_step();
		if (chance(20) == 0)
			crash_and_compare();
	}
	for (int i = 0; i < CHANNELS; i++)
		message_unref_all(r.held[i], r.n_held[i]);
	close_side(&r.side);
	crash_and_compare();
}

/* --- copies --------------------------------------------------------------------------------------------- */

static struct message *hold(struct chan_side *c)
{
	struct message *m = take_message(c);
	return m;
}

/* Appends a copy of m for channel a; cursor a knows of it, if so asked. */
static void copy_for_a(struct message *m, bool moved)
{
	struct chan_side *a = &r.side.channels[0];
	struct err err = {0};
	struct cursor_move move = {.from = m->seq};
	struct message *copy = message_copy(m);
	copy->attempts = m->attempts;
	if (log_append_copies(topic_log_log(r.side.tl), "a", &copy, 1, &err) != 0)
		fail_msg("log_append_copies: %s", err.msg);
	move.to = copy->seq;
	move.offset = copy->offset;
	message_unref(copy);
	mutex_lock(&a->lock);
	if (moved)
		cursor_moved(log_queue_cursor(a->q), &move, 1);
	mutex_unlock(&a->lock);
}

static void expect_ids(const struct seen *s, const uint64_t *ids, size_t n)
{
	if (s->n != n)
		fail_msg("%zu messages instead of %zu", s->n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(s->ids[i], ids[i]);
}

/* Wherever the crash comes, a has each message once, and b and the topic have no copy. */
static void test_copies(void **state)
{
	static const uint64_t before[] = {1, 2, 3, 4, 5}, after[] = {1, 3, 4, 5, 2};
	static const uint64_t of_topic[] = {6, 7};
	r.side = (struct side){
		.dir = r.dir, .memory_size = 8, .segment_bytes = 8192, .sync_timeout = HOUR};
	open_side(&r.side, "a", "b");
	/* The first flush makes the files of the channels. */
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	pub(&r.side, 1, 5);
	pump(&r.side, 5);
	struct message *held[2];
	for (int i = 0; i < 2; i++)
		held[i] = hold(&r.side.channels[0]);
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	/* The topic has not dealt out those yet: copies come to lie behind them. */
	pub(&r.side, 6, 2);
	copy_for_a(held[1], false);
	copy_files();
	view_all(r.copy_dir, 0);
	expect_ids(&channels[0], before, 5);
	expect_ids(&channels[1], before, 5);
	expect_ids(&topic, of_topic, 2);
	/* The cursor has heard of it. */
	copy_for_a(held[1], true);
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	copy_files();
	view_all(r.copy_dir, 0);
	expect_ids(&channels[0], after, 5);
	assert_int_equal(channels[0].attempts[4], 1);
	expect_ids(&channels[1], before, 5);
	expect_ids(&topic, of_topic, 2);
	message_unref_all(held, 2);
	close_side(&r.side);
}

/* --- damage --------------------------------------------------------------------------------------------- */

static uint64_t lost_of(struct log_view *v, int channel)
{
	struct err err = {0};
	struct seen seen = {0};
	uint64_t lost;
	const struct log_view_channel *c = channel < 0 ? NULL : &v->channels[channel];
	assert_int_equal(log_view_each(v, c, see, &seen, &lost, &err), 0);
	return lost;
}

static void expect_lost(bool topic_first)
{
	struct log_view *v = open_view(r.copy_dir);
	if (topic_first)
		assert_int_equal(lost_of(v, -1), 1);
	assert_int_equal(lost_of(v, 0), 1);
	assert_int_equal(lost_of(v, 1), 0);
	assert_int_equal(lost_of(v, -1), 1);
	log_view_close(v);
}

/*
 * The last message that channel a knows is damaged, and the topic's cursor has gone. So nobody can say
 * whether b has had it.
 */
static void test_what_is_lost_is_so_in_any_order(void **state)
{
	struct message *held[3];
	r.side = (struct side){
		.dir = r.dir, .memory_size = 8, .segment_bytes = 8192, .sync_timeout = HOUR};
	open_side(&r.side, "a", "b");
	pub(&r.side, 1, 3);
	/* Behind it the others are damaged, and not what a crash has left. */
	pub(&r.side, 4, 1);
	pump(&r.side, 3);
	for (int i = 0; i < 3; i++)
		held[i] = hold(&r.side.channels[0]);
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	copy_files();
	assert_int_equal(unlink("copy/t.log/" TOPIC_CURSOR), 0);
	FILE *f = fopen("copy/t.log/00000000000000000001.seg", "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, held[2]->offset + LOG_RECORD_HEAD, SEEK_SET), 0);
	assert_int_equal(fputc('?', f), '?');
	assert_int_equal(fclose(f), 0);
	expect_lost(true);
	expect_lost(false);
	message_unref_all(held, 3);
	close_side(&r.side);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_the_next_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_lost_is_so_in_any_order, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
