/* SPDX-License-Identifier: MIT */
/*
 * io_loop at a poller, with topics that have a log: a step leaves PUBs, DPUBs and MPUBs with the log,
 * and the client's next commands wait until they are kept, or not. The test takes the steps itself,
 * and says how long the disk takes.
 */
#include "test/unit/io_loop_test.h"

#include <errno.h>

#include "common/gothread_internal.h"
#include "nsqd/client/io_loop.h"
#include "nsqd/client/protocol_v2_put.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/topic_log.h"

static void want_log(struct options *o)
{
	free(o->durability);
	o->durability = xstrdup("process");
}

/* With the log's directory. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	struct err err;
	if (f->nsqd && f->passed)
		(void)nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err);
	return fixture_teardown(state);
}

#define log_test_with(f, ...)                                                                      \
	fixture_test(f, fixture_setup, teardown, .wants = A_CHANNEL, .mem_queue_size = 1000,       \
		.adjust = want_log, __VA_ARGS__)
#define log_test(f) log_test_with(f, .polls = false)

static struct log *log_of(struct topic *t)
{
	return topic_log_log(t->log);
}

/* From now on the disk works, until disk_goes_on. */
static void disk_works(struct topic *t)
{
	chan_recv(log_of(t)->turn_chan, NULL);
}

static void disk_goes_on(struct topic *t)
{
	chan_send(log_of(t)->turn_chan, NULL);
}

static void put_ends(struct peer *c)
{
	wait_for(atomic_load(&c->client->put->ended));
}

static void say_end(struct peer *c)
{
	assert_int_equal(shutdown(c->peer, SHUT_WR), 0);
}

/* --- threads ------------------------------------------------------------------------------------- */

static _Atomic int n_created;

static int create_and_count(
	pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	n_created++;
	return pthread_create(id, attr, fn, arg);
}

static int create_none(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return EAGAIN;
}

/* Its threads are there. */
static void warm_up(struct topic *t)
{
	struct err err;
	struct message_body *body = message_body_new(1);
	body->data[0] = 'x';
	assert_int_equal(topic_put_messages(t, &body, 1, &err), 1);
}

/* --- what is put --------------------------------------------------------------------------------- */

struct exchange {
	const char *input;
	size_t len;
	const char *answer;
	size_t answer_len;
	uint64_t n; /* messages of it */
};
#define SAID(n, in, out)                                                                           \
	{                                                                                          \
		in, sizeof(in) - 1, out, sizeof(out) - 1, n                                        \
	}
#define MPUB_2 "MPUB test\n\0\0\0\x0e\0\0\0\2\0\0\0\1a\0\0\0\1b"
#define CLOSE_WAIT "\0\0\0\x0e\0\0\0\0CLOSE_WAIT"
#define NOT_IN_FLIGHT ERROR_FRAME("\x3d", "E_FIN_FAILED FIN " NO_ID " failed ID not in flight")

static const struct exchange puts_first[] = {
	SAID(1, PUB_X("test"), OK_FRAME),
	SAID(3, PUB_X("test") PUB_X("test") PUB_X("test"), OK_FRAME OK_FRAME OK_FRAME),
	SAID(2, "DPUB test 0\n\0\0\0\4xxxxDPUB test 0\n\0\0\0\4xxxx", OK_FRAME OK_FRAME),
	SAID(2, MPUB_2, OK_FRAME),
};

/* What comes behind it: in the same piece, but for the last bytes, which come while the disk works. */
static const struct exchange behind[] = {
	SAID(0, "", ""),
	SAID(0, "NOP\n", ""),
	SAID(2, MPUB_2, OK_FRAME),
	SAID(1, "DPUB test 20\n\0\0\0\4xxxx", OK_FRAME),
	SAID(2, PUB_X("test") "NOP\n" PUB_X("test"), OK_FRAME OK_FRAME),
	SAID(0, "SUB test ch\nCLS\n", OK_FRAME CLOSE_WAIT),
	SAID(0, "SUB test ch\nFIN " NO_ID "\n", OK_FRAME NOT_IN_FLIGHT),
	SAID(0, "IDENTIFY\n\0\0\0\2{}", OK_FRAME),
	SAID(0, "FOO\n", ERROR_FRAME("\x21", "E_INVALID invalid command FOO")),
	SAID(0, "PUB test\n\0\0\0\0",
		ERROR_FRAME("\x31", "E_BAD_MESSAGE PUB invalid message body size 0")),
	SAID(0, "PUB $\n", ERROR_FRAME("\x2f", "E_BAD_TOPIC PUB topic name \"$\" is not valid")),
};

/* Steps, as pollers take them, until the client has left, or waits for input. */
static void steps(struct peer *c)
{
	enum netpoll_next next;
	do {
		next = step_here(c);
		if (c->client->put)
			put_ends(c);
	} while (c->client->stage == STAGE_COMMANDS && (c->client->put || next != NETPOLL_WAIT));
}

/* The last `late` bytes of what is behind come while the disk works; or with the end at once. */
static void expect_exchange(struct fixture *f, const struct exchange *first,
	const struct exchange *then, size_t late, bool end)
{
	struct peer c;
	char all[512];
	uint64_t count = f->topic->message_count;
	begin_here(&c, f->nsqd);
	memcpy(all, first->input, first->len);
	memcpy(all + first->len, then->input, then->len);
	disk_works(f->topic);
	say_bytes(&c, all, first->len + then->len - late);
	if (end && late == 0)
		say_end(&c);
	step_says(&c, NETPOLL_WAIT);
	assert_non_null(c.client->put);
	if (late > 0)
		say_bytes(&c, all + first->len + then->len - late, late);
	if (end && late > 0)
		say_end(&c);
	/* Something has come: that changes nothing. */
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, "");
	assert_int_equal(f->topic->message_count, count);
	disk_goes_on(f->topic);
	put_ends(&c);
	steps(&c);
	/* epoll would tell of the end. */
	if (end && c.client->stage == STAGE_COMMANDS)
		steps(&c);
	memcpy(all, first->answer, first->answer_len);
	memcpy(all + first->answer_len, then->answer, then->answer_len);
	expect_bytes(&c, all, first->answer_len + then->answer_len);
	assert_int_equal(f->topic->message_count, count + first->n + then->n);
	if (end)
		assert_int_equal(c.client->stage, STAGE_LEAVING);
	end_here(&c);
}

static void test_commands_behind_a_put_wait_for_its_end(struct fixture *f)
{
	warm_up(f->topic);
	for (size_t i = 0; i < COUNT(puts_first); i++)
		for (size_t k = 0; k < COUNT(behind); k++)
			for (size_t late = 0; late <= behind[k].len; late++)
				expect_exchange(f, &puts_first[i], &behind[k], late, false);
}

/* It has begun, and its rest does not come. */
static void test_half_a_command_behind_a_put_holds_no_answer(struct fixture *f)
{
	struct peer c;
	warm_up(f->topic);
	disk_works(f->topic);
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test") "PUB test\n\0\0");
	step_says(&c, NETPOLL_WAIT);
	disk_goes_on(f->topic);
	put_ends(&c);
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

static void test_the_end_behind_a_put_waits_as_well(struct fixture *f)
{
	warm_up(f->topic);
	for (size_t i = 0; i < COUNT(puts_first); i++)
		for (size_t k = 0; k < COUNT(behind); k++)
			for (size_t late = 0; late <= behind[k].len; late += 5)
				expect_exchange(f, &puts_first[i], &behind[k], late, true);
}

static void test_no_thread_waits_for_the_disk(struct fixture *f)
{
	enum { N = 3 * LOG_REQS_MAX };
	static struct peer many[N];
	warm_up(f->topic);
	disk_works(f->topic);
	gothread_create = create_and_count;
	n_created = 0;
	for (size_t i = 0; i < N; i++) {
		begin_here(&many[i], f->nsqd);
		SAY(&many[i], PUB_X("test"));
		step_says(&many[i], NETPOLL_WAIT);
	}
	assert_int_equal(n_created, 0);
	gothread_create = pthread_create;
	disk_goes_on(f->topic);
	for (size_t i = 0; i < N; i++) {
		put_ends(&many[i]);
		step_says(&many[i], NETPOLL_WAIT);
		EXPECT(&many[i], OK_FRAME);
		end_here(&many[i]);
	}
	assert_int_equal(f->topic->message_count, N + 1);
}

/* --- a disk that refuses ------------------------------------------------------------------------- */

static ssize_t no_space(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	errno = ENOSPC;
	return -1;
}

/* By a thread it is the same, byte for byte. */
static void test_a_refusal_ends_the_connection(struct fixture *f)
{
	struct log_io io = log_io_real;
	warm_up(f->topic);
	disk_works(f->topic);
	log_of(f->topic)->io = &io;
	disk_goes_on(f->topic);
	io.pwritev = no_space;
	for (size_t i = 0; i < COUNT(puts_first); i++) {
		char answers[2][256];
		for (size_t k = 0; k < 2; k++) {
			struct peer c;
			begin_here(&c, f->nsqd);
			say_bytes(&c, puts_first[i].input, puts_first[i].len);
			SAY(&c, "NOP\n");
			if (k == 0)
				run_here(&c);
			else
				steps(&c);
			assert_int_equal(c.client->stage, STAGE_LEAVING);
			assert_true(c.client->lingers);
			memset(answers[k], 0, sizeof(answers[k]));
			assert_true(recv(c.peer, answers[k], sizeof(answers[k]), MSG_DONTWAIT) > 0);
			end_here(&c);
		}
		assert_memory_equal(answers[0], answers[1], sizeof(answers[0]));
		assert_memory_equal(answers[1] + 4, "\0\0\0\1E_", 6);
	}
	assert_int_equal(f->topic->message_count, 1);
	io.pwritev = log_io_real.pwritev;
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test"));
	steps(&c);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
	disk_works(f->topic);
	log_of(f->topic)->io = &log_io_real;
	disk_goes_on(f->topic);
}

/* --- what cannot begin --------------------------------------------------------------------------- */

/* The log's thread is not there, and cannot be had: a thread of the client's does it, once. */
static void test_without_a_thread_of_the_log_the_client_gets_one(struct fixture *f)
{
	/* It takes some seconds to end each time. */
	for (size_t i = 1; i < COUNT(puts_first); i += 2) {
		struct peer c;
		struct topic *t = get_topic(f->nsqd, "test");
		struct err err;
		begin_here(&c, f->nsqd);
		say_bytes(&c, puts_first[i].input, puts_first[i].len);
		wait_for(!atomic_load(&log_of(t)->has_thread));
		gothread_create = create_none;
		step_says(&c, NETPOLL_THREAD);
		assert_null(c.client->put);
		gothread_create = pthread_create;
		say_end(&c);
		run_here(&c);
		expect_bytes(&c, puts_first[i].answer, puts_first[i].answer_len);
		assert_int_equal(t->message_count, puts_first[i].n);
		end_here(&c);
		assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
		f->topic = get_topic(f->nsqd, "test");
		get_channel(f->topic, "ch");
	}
}

/* Another thread has topic.lock, or a client's write_lock. */
struct creator {
	struct topic *t;
	struct client_v2 *client;
	_Atomic bool holds, is_done;
	struct wait_group wg;
};

static void hold_lock(void *arg)
{
	struct creator *k = arg;
	rwlock_wrlock(&k->t->lock);
	k->holds = true;
	while (!k->is_done)
		sleep_ns(100 * NSEC_PER_USEC);
	rwlock_unlock(&k->t->lock);
}

static void creator_begin(struct creator *k, struct topic *t)
{
	*k = (struct creator){.t = t};
	wait_group_init(&k->wg);
	go(&k->wg, hold_lock, k);
	wait_for(k->holds);
}

static void creator_end(struct creator *k)
{
	k->is_done = true;
	join(&k->wg);
}

/* What happens behind the first read of a step. */
struct change {
	struct creator *creator;
	struct topic *t;
	struct peer *c;
	const char *input;
	size_t len;
};

static void change_things(void *arg)
{
	struct change *k = arg;
	creator_begin(k->creator, k->t);
	say_bytes(k->c, k->input, k->len);
}

/*
 * They were gathered when the lock was free. What is behind them may be used up by then, as it is in
 * error: it waits with them.
 */
static void test_pubs_that_cannot_begin_after_all_are_for_a_thread(struct fixture *f)
{
	warm_up(f->topic);
	for (size_t i = 0; i < COUNT(behind); i++) {
		struct peer c;
		struct creator k;
		struct watched w;
		struct change change = {&k, f->topic, &c, behind[i].input, behind[i].len};
		char all[512];
		uint64_t count = f->topic->message_count;
		begin_here(&c, f->nsqd);
		watch_reads(&w, &c, change_things, &change);
		SAY(&c, PUB_X("test") PUB_X("test"));
		step_says(&c, NETPOLL_THREAD);
		EXPECT(&c, "");
		/* No poller goes on with it. */
		step_says(&c, NETPOLL_THREAD);
		creator_end(&k);
		assert_int_equal(f->topic->message_count, count);
		say_end(&c);
		run_here(&c);
		assert_int_equal(c.client->stage, STAGE_LEAVING);
		memcpy(all, OK_FRAME OK_FRAME, 20);
		memcpy(all + 20, behind[i].answer, behind[i].answer_len);
		expect_bytes(&c, all, 20 + behind[i].answer_len);
		assert_int_equal(f->topic->message_count, count + 2 + behind[i].n);
		end_here(&c);
	}
}

static void limit(struct topic *t, bool on)
{
	/* The pump has looked at the settings, and does so no more. */
	topic_settle_settings(t);
	rwlock_wrlock(&t->lock);
	atomic_store(&t->limits.on, on);
	rwlock_unlock(&t->lock);
}

static void test_where_there_are_limits_a_put_is_for_a_thread(struct fixture *f)
{
	struct peer c;
	limit(f->topic, true);
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test"));
	step_says(&c, NETPOLL_THREAD);
	limit(f->topic, false);
	steps(&c);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

/* --- ends ---------------------------------------------------------------------------------------- */

struct deletion {
	struct nsqd *n;
	_Atomic bool over;
};

static void delete_topic(void *arg)
{
	struct deletion *d = arg;
	struct err err;
	assert_int_equal(nsqd_delete_existing_topic(&d->n->topics, "test", &err), 0);
	d->over = true;
}

/* The deletion waits for the disk, and not for the client, which may come late. */
static void test_its_topic_is_deleted_meanwhile(struct fixture *f)
{
	for (size_t i = 0; i < COUNT(puts_first); i++) {
		struct peer c;
		struct deletion d = {.n = f->nsqd};
		struct wait_group wg;
		struct topic *t = f->topic;
		warm_up(t);
		begin_here(&c, f->nsqd);
		disk_works(t);
		say_bytes(&c, puts_first[i].input, puts_first[i].len);
		step_says(&c, NETPOLL_WAIT);
		wait_group_init(&wg);
		go(&wg, delete_topic, &d);
		wait_for(topic_exiting(t));
		assert_false(d.over);
		step_says(&c, NETPOLL_WAIT);
		disk_goes_on(t);
		join(&wg);
		assert_true(atomic_load(&c.client->put->ended));
		steps(&c);
		expect_bytes(&c, puts_first[i].answer, puts_first[i].answer_len);
		end_here(&c);
		f->topic = get_topic(f->nsqd, "test");
		get_channel(f->topic, "ch");
	}
}

/* That is found when it begins. */
static void test_a_topic_that_exits_refuses_it(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test"));
	atomic_store(&f->topic->exit_flag, true);
	steps(&c);
	atomic_store(&f->topic->exit_flag, false);
	EXPECT(&c, ERROR_FRAME("\x23", "E_PUB_FAILED PUB failed exiting"));
	assert_int_equal(c.client->stage, STAGE_LEAVING);
	end_here(&c);
}

/* A client that has gone is there until its put has ended. */
static void test_its_client_closes_meanwhile(struct fixture *f)
{
	for (size_t i = 0; i < 2; i++) {
		struct peer c;
		warm_up(f->topic);
		begin_here(&c, f->nsqd);
		disk_works(f->topic);
		SAY(&c, PUB_X("test"));
		step_says(&c, NETPOLL_WAIT);
		if (i == 0)
			shutdown(c.peer, SHUT_RDWR);
		else
			client_v2_abort(c.client);
		step_says(&c, NETPOLL_WAIT);
		assert_int_equal(c.client->stage, STAGE_COMMANDS);
		disk_goes_on(f->topic);
		put_ends(&c);
		steps(&c);
		assert_int_equal(c.client->stage, STAGE_LEAVING);
		end_here(&c);
	}
	assert_int_equal(f->topic->message_count, 4);
}

/* --- answers ------------------------------------------------------------------------------------- */

static void hold_writer(void *arg)
{
	struct creator *k = arg;
	mutex_lock(&k->client->write_lock);
	k->holds = true;
	while (!k->is_done)
		sleep_ns(100 * NSEC_PER_USEC);
	mutex_unlock(&k->client->write_lock);
}

/* What was answered before does not wait for the disk: if a poller cannot send it, a thread does. */
static void test_late_answers_do_not_wait_for_the_disk(struct fixture *f)
{
	struct peer c;
	struct creator k = {0};
	warm_up(f->topic);
	begin_here(&c, f->nsqd);
	SAY(&c, "SUB test ch\n");
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME);
	disk_works(f->topic);
	k.client = c.client;
	wait_group_init(&k.wg);
	go(&k.wg, hold_writer, &k);
	wait_for(k.holds);
	SAY(&c, "FIN " NO_ID "\n" PUB_X("test"));
	step_says(&c, NETPOLL_THREAD);
	assert_non_null(c.client->put);
	creator_end(&k);
	assert_int_equal(run_here(&c), NETPOLL_WAIT);
	EXPECT(&c, NOT_IN_FLIGHT);
	disk_goes_on(f->topic);
	put_ends(&c);
	steps(&c);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

/* --- all together -------------------------------------------------------------------------------- */

/* At the pollers: each waits for each answer, and all messages are there in the end. */
static void test_many_clients_at_the_pollers(struct fixture *f)
{
	enum { N = 100, ROUNDS = 20 };
	static struct peer many[N];
	for (size_t i = 0; i < N; i++) {
		connect_consumer(&many[i], f->nsqd);
		run_io_loop(&many[i]);
	}
	for (size_t r = 0; r < ROUNDS; r++) {
		for (size_t i = 0; i < N; i++)
			SAY(&many[i], PUB_X("test"));
		for (size_t i = 0; i < N; i++) {
			char ok[sizeof(OK_FRAME) - 1];
			receive(many[i].peer, ok, sizeof(ok));
			assert_memory_equal(ok, OK_FRAME, sizeof(ok));
		}
	}
	/* The last ones are still under way when they leave. */
	for (size_t i = 0; i < N; i++)
		SAY(&many[i], PUB_X("test"));
	for (size_t i = 0; i < N; i++)
		stop(&many[i]);
	assert_true(f->topic->message_count >= N * ROUNDS);
	assert_true(f->topic->message_count <= N * (ROUNDS + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		log_test(test_commands_behind_a_put_wait_for_its_end),
		log_test(test_half_a_command_behind_a_put_holds_no_answer),
		log_test(test_the_end_behind_a_put_waits_as_well),
		log_test(test_no_thread_waits_for_the_disk),
		log_test(test_a_refusal_ends_the_connection),
		log_test(test_without_a_thread_of_the_log_the_client_gets_one),
		log_test(test_pubs_that_cannot_begin_after_all_are_for_a_thread),
		log_test(test_where_there_are_limits_a_put_is_for_a_thread),
		log_test(test_its_topic_is_deleted_meanwhile),
		log_test(test_a_topic_that_exits_refuses_it),
		log_test(test_its_client_closes_meanwhile),
		log_test(test_late_answers_do_not_wait_for_the_disk),
		log_test_with(test_many_clients_at_the_pollers, .polls = true),
	};
	/* Each function that gets a thread gets a new one: the tests count them, and let some fail. */
	gothread_kept_max = 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
