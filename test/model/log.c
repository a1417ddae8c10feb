/* SPDX-License-Identifier: MIT */
/*
 * The model of the log: publishers append at the same time, messages are handed over in memory or
 * behind, cursors are written, channels come and go, and all of it ends. The code is that of
 * nsqd/log, above a disk of arrays (log_disk.c).
 *
 * Each scenario has some *actors*. "main" makes what they begin with, waits until they are over, and
 * closes the log. One actor may be the death of the daemon, at any moment: then the end of the
 * scenario looks at what a start would find. The program is coarse, see mc_coarse.c.
 *
 * Here are main, the actors, the list of scenarios, and that of the group commit. The others are in
 * log_queues.c.
 */
#include "test/model/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/clock.h"
#include "nsqd/log/log.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_read.h"
#include "test/model/log_disk.h"
#include "test/model/mc.h"
#include "test/model/mc_stubs.h"
#include "test/model/mc_weak.h"

/* The log waits so long at most for publishers that come again, each time. */
#define PATIENCE (10 * 2 * NSEC_PER_MSEC)
/* Nobody waits so long, not even for a disk that fails some times. */
#define FOR_EVER (60 * NSEC_PER_SEC)

MC_GHOST struct fate fates[MESSAGES], fates_then[MESSAGES];

void mc_always(void)
{
	MC_CHECK(mc_now() < FOR_EVER);
}

/* --- actors ----------------------------------------------------------------------------------- */

static MC_GHOST int n_actors, n_over;
static MC_GHOST bool begun, died;
static MC_GHOST void (*main_make)(void), (*main_finish)(void);

static bool all_over(void *arg)
{
	(void)arg;
	return n_over == n_actors;
}

static bool has_begun(void *arg)
{
	(void)arg;
	return begun;
}

struct actor {
	void (*fn)(void *arg);
	void *arg;
};
static struct actor actors[MC_THREADS];

/* What an actor has done comes before what main does. */
static void be_actor(void *arg)
{
	const struct actor *a = arg;
	mc_weak_acquire(&n_over);
	a->fn(a->arg);
	mc_weak_release(&n_over);
	n_over++;
	/* Its memory is not for another thread, which would make two states of one. */
	mc_wait(all_over, NULL);
}

static void be_main(void *arg)
{
	(void)arg;
	main_make();
	mc_weak_release(&n_over);
	mc_wait(has_begun, NULL);
	mc_wait(all_over, NULL);
	mc_weak_acquire(&n_over);
	main_finish();
}

void begin(void (*make)(void), void (*finish)(void))
{
	mc_draws = 0;
	mc_set_timeouts(0);
	main_make = make;
	main_finish = finish;
	mc_go("main", be_main, NULL);
	mc_settle();
	mc_set_timeouts((unsigned)mc_param("timeouts", 0));
	mc_thread_failures = mc_param("threads", 0);
	if (mc_param("switches", -1) >= 0)
		mc_set_switches((unsigned)mc_param("switches", -1));
	mc_count_idle();
	begun = true;
}

void go(const char *name, void (*fn)(void *arg), void *arg)
{
	actors[n_actors] = (struct actor){fn, arg};
	mc_go(name, be_actor, &actors[n_actors++]);
}

void die(void *arg)
{
	(void)arg;
	mc_yield();
	disk_crash();
	memcpy(fates_then, fates, sizeof(fates));
	died = true;
}

bool has_died(void)
{
	return died;
}

void end_clean(void)
{
	size_t leaked = mc_leaked();
	if (leaked > 0)
		mc_fail("%zu bytes are nobody's", leaked);
	MC_CHECK(disk_n_open(&disk) == 0);
}

struct message *new_message(int number)
{
	struct message_id id = {"a message     00"};
	id.hex[15] = (char)('0' + number);
	size_t len = (size_t)mc_param("body", 1);
	struct message_body *b = message_body_new(len);
	memset(b->data, number, len);
	return message_new(id, b, mc_now());
}

int number_of(const struct message *m)
{
	int number = m->id.hex[15] - '0';
	MC_CHECK(number > 0 && number < MESSAGES && m->body->data[0] == number);
	return number;
}

/* --- the group commit: publishers, and the log ---------------------------------------------------- */

static struct log *group_log;
/* What log_opts.kept has been told: numbers in the log by those of messages, and how many. */
static MC_GHOST uint64_t kept_as[MESSAGES];
static MC_GHOST int n_kept, n_failing;
static MC_GHOST bool is_told;

/* Of one append. What it returns is that publisher's alone. */
static size_t kept(
	void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n)
{
	(void)arg, (void)channel, (void)moved;
	/* One writer at a time. */
	MC_CHECK(!is_told);
	is_told = true;
	mc_yield();
	for (size_t i = 0; i < n; i++) {
		/* Numbers have no gap, also behind what was not kept. */
		MC_CHECK(msgs[i]->seq == (uint64_t)++n_kept);
		kept_as[number_of(msgs[i])] = msgs[i]->seq;
	}
	is_told = false;
	return (size_t)number_of(msgs[0]);
}

/* Of all calls the last one says how the last commit was. */
static void fared(void *arg, const struct err *err)
{
	(void)arg;
	n_failing = err ? 1 : 0;
}

/* One append: of message 1, of 2 and 3, of 4. */
struct append {
	int first, n;
};
static const struct append appends[] = {{1, 1}, {2, 2}, {4, 1}};

/* What a publisher has been told that does not wait in log_append. By the number of its first message. */
static MC_GHOST struct answer {
	bool has_ended, ok;
} answers[MESSAGES];

static void tell(void *arg, const struct err *err)
{
	struct answer *a = arg;
	MC_CHECK(!a->has_ended);
	a->ok = !err;
	a->has_ended = true;
}

static bool has_ended(void *arg)
{
	return ((struct answer *)arg)->has_ended;
}

/* log_append_telling, by log_begin_append. Without a thread for it a publisher waits there. */
static int append(
	const struct append *a, struct message *const *msgs, size_t *told, struct err *err)
{
	struct answer *answer = &answers[a->first];
	if (!mc_param("begins", 0) ||
		log_begin_append(group_log, msgs, (size_t)a->n, tell, answer, err) != 0) {
		*err = (struct err){0};
		return log_append_telling(group_log, msgs, (size_t)a->n, told, err);
	}
	mc_wait(has_ended, answer);
	*told = answer->ok ? (size_t)a->first : 0;
	err->code = answer->ok ? 0 : EIO;
	return answer->ok ? 0 : -1;
}

static void publish(void *arg)
{
	const struct append *a = arg;
	struct message *msgs[2];
	struct err err = {0};
	size_t told = 0;
	for (int i = 0; i < a->n; i++)
		msgs[i] = new_message(a->first + i);
	int rc = append(a, msgs, &told, &err);
	/* Each gets its own answer, when the log knows. */
	MC_CHECK(mc_idle() < PATIENCE);
	MC_CHECK((rc == 0) == (kept_as[a->first] != 0));
	MC_CHECK(told == (rc == 0 ? (size_t)a->first : 0));
	MC_CHECK((rc == 0) == (err.code == 0));
	for (int i = 0; i < a->n; i++) {
		MC_CHECK(rc != 0 || msgs[i]->seq == kept_as[a->first] + (uint64_t)i);
		fates[a->first + i].acked = rc == 0;
		fates[a->first + i].refused = rc != 0;
	}
	message_unref_all(msgs, (size_t)a->n);
}

static void publish_twice(void *arg)
{
	static const struct append again = {5, 1};
	publish(arg);
	publish((void *)&again);
}

static struct log_opts group_opts(const struct log_io *io)
{
	return (struct log_opts){.dir = AT_FDCWD,
		.topic = "t",
		.disk = mc_param("disk", 0),
		.segment_bytes = mc_param("segment", 0),
		.io = io,
		.kept = kept,
		.fared = fared};
}

static void make_group(void)
{
	struct err err;
	struct log_opts o = group_opts(&disk_io);
	MC_CHECK(log_open(&o, &group_log, &err) == 0);
	/* So there is a file, and maybe the thread. */
	if (mc_param("first", 0)) {
		static const struct append first = {7, 1};
		publish((void *)&first);
	}
}

/* Closes it, at once or when its thread has ended. */
static void finish_group(void)
{
	if (mc_param("rests", 0)) {
		mutex_lock(&group_log->lock);
		MC_CHECK(group_log->pending == 0);
		mutex_unlock(&group_log->lock);
		return;
	}
	log_close(group_log);
	group_log = NULL;
}

static void set_failures(void)
{
	disk_failures = (struct disk_failures){.writes = mc_param("writes", 0),
		.syncs = mc_param("syncs", 0),
		.truncates = mc_param("truncates", 0)};
}

static void setup_group(void)
{
	int n = mc_param("n", 2);
	begin(make_group, finish_group);
	set_failures();
	for (int i = 0; i < n; i++)
		go(i == 0        ? "publish 1"
			: i == 1 ? "publish 2"
				 : "publish 3",
			i == 0 && mc_param("twice", 0) ? publish_twice : publish,
			(void *)&appends[i]);
	if (mc_param("dies", 0))
		go("die", die, NULL);
}

/* What the next process finds: all that was acknowledged, whole, in order; nothing that was refused. */
static void check_found(const struct log_io *io, const struct fate *fs)
{
	struct log *l;
	struct err err;
	struct log_item item;
	uint64_t found[MESSAGES] = {0}, n = 0;
	struct log_opts o = group_opts(io);
	MC_CHECK(log_open(&o, &l, &err) == 0);
	struct log_reader *r = log_reader_open(l, 1, 0);
	while (log_reader_next(r, &item, &err) == LOG_READ_MESSAGE) {
		int number = number_of(item.msg);
		MC_CHECK(item.seq == ++n && found[number] == 0);
		MC_CHECK(kept_as[number] == 0 || kept_as[number] == item.seq);
		MC_CHECK(!fs[number].refused);
		found[number] = item.seq;
	}
	for (int i = 1; i < MESSAGES; i++)
		MC_CHECK(!fs[i].acked || found[i] == kept_as[i]);
	MC_CHECK((found[2] == 0) == (found[3] == 0));
}

static void end_group(void)
{
	const struct log *l = group_log;
	MC_CHECK(!is_told);
	if (l) {
		/* The turn is there, and the thread is not. */
		MC_CHECK(chan_len(l->turn_chan) == 1 && l->pending == 0);
		MC_CHECK(!atomic_load(&l->has_thread) && l->fd == -1 && !n_failing);
	} else {
		end_clean();
	}
	if (has_died())
		check_found(&crashed_io, fates_then);
	disk_crash();
	check_found(&crashed_io, fates);
}

const struct mc_scenario mc_scenarios[] = {
	{"group", setup_group, end_group},
	{"hand-over", setup_hand_over, end_topic},
	{"catch-up", setup_catch_up, end_topic},
	{"end", setup_end, end_topic},
	{"members", setup_members, end_topic},
	{"rest", setup_rest, end_topic},
	{NULL, NULL, NULL},
};
