/* SPDX-License-Identifier: MIT */
/*
 * io_loop at a poller: what a step does by itself, what it leaves to a thread, and that nothing is
 * lost or done twice between the two. The test takes the steps itself, and waits for nothing in them.
 */
#include "test/unit/io_loop_test.h"

#include <errno.h>
#include <limits.h>
#include <sys/ioctl.h>

#include "common/gothread_internal.h"
#include "nsqd/client/auth.h"
#include "nsqd/client/io_loop.h"

/* A topic whose memory has room, but not for ever: see topic_put_way. */
#define MEMORY 1000
#define step_test(f) channel_test_with(f, .mem_queue_size = MEMORY)

static void say_pub(struct peer *c, const char *topic, uint32_t seq)
{
	char pub[64];
	int len = snprintf(pub, sizeof(pub), "PUB %s\n", topic);
	memcpy(pub + len, "\0\0\0\4", 4);
	memcpy(pub + len + 4, &seq, 4);
	say_bytes(c, pub, (size_t)len + 8);
}

static void expect_oks(struct peer *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char ok[sizeof(OK_FRAME) - 1];
		receive(c->peer, ok, sizeof(ok));
		assert_memory_equal(ok, OK_FRAME, sizeof(ok));
	}
	EXPECT(c, "");
}

/* --- steps ------------------------------------------------------------------------------------- */

/* How many threads have been started. */
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

/* What a step has left is done in a thread, which reads on until the input ends. */
static void run_to_the_end(struct peer *c)
{
	assert_int_equal(shutdown(c->peer, SHUT_WR), 0);
	run_here(c);
	assert_int_equal(c->client->stage, STAGE_LEAVING);
}

/* --- what runs at a poller --------------------------------------------------------------------- */

struct exchange {
	const char *input;
	size_t len;
	const char *answer;
	size_t answer_len;
};
#define SAID(in, out)                                                                              \
	{                                                                                          \
		in, sizeof(in) - 1, out, sizeof(out) - 1                                           \
	}
#define SUB_OK "SUB test ch\n"

static const struct exchange at_once[] = {
	SAID(SUB_OK, OK_FRAME),
	SAID(SUB_OK "RDY 1\n", OK_FRAME),
	SAID(SUB_OK "CLS\n", OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT"),
	SAID(SUB_OK "FIN " NO_ID "\n",
		OK_FRAME ERROR_FRAME("\x3d", "E_FIN_FAILED FIN " NO_ID " failed ID not in flight")),
	SAID(SUB_OK "REQ " NO_ID " 0\n",
		OK_FRAME ERROR_FRAME("\x3d", "E_REQ_FAILED REQ " NO_ID " failed ID not in flight")),
	SAID(SUB_OK "TOUCH " NO_ID "\n", OK_FRAME ERROR_FRAME("\x41", "E_TOUCH_FAILED TOUCH " NO_ID
								      " failed ID not in flight")),
	SAID("NOP\n", ""),
	SAID(PUB_X("test"), OK_FRAME),
	SAID(PUB_X("test") PUB_X("test") "NOP\n", OK_FRAME OK_FRAME),
	SAID("DPUB test 10\n\0\0\0\4xxxx", OK_FRAME),
	SAID("MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello", OK_FRAME),
	SAID("IDENTIFY\n\0\0\0\2{}", OK_FRAME),
};

static void test_what_cannot_block_is_done_in_a_step(struct fixture *f)
{
	gothread_create = create_and_count;
	n_created = 0;
	for (size_t i = 0; i < COUNT(at_once); i++) {
		const struct exchange *e = &at_once[i];
		struct peer c;
		begin_here(&c, f->nsqd);
		say_bytes(&c, e->input, e->len);
		step_says(&c, NETPOLL_WAIT);
		expect_bytes(&c, e->answer, e->answer_len);
		/* And nothing is left. */
		step_says(&c, NETPOLL_WAIT);
		EXPECT(&c, "");
		end_here(&c);
	}
	assert_int_equal(n_created, 0);
	gothread_create = pthread_create;
}

static void test_a_command_that_is_refused_ends_the_connection_in_a_step(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test") "FOO\n" PUB_X("test"));
	step_here(&c);
	assert_int_equal(c.client->stage, STAGE_LEAVING);
	EXPECT(&c, OK_FRAME ERROR_FRAME("\x21", "E_INVALID invalid command FOO"));
	assert_int_equal(f->topic->message_count, 1);
	end_here(&c);
}

/* An error has ended it, and it has been told so. */
static void begin_to_linger(struct peer *c, struct nsqd *n)
{
	begin_here(c, n);
	SAY(c, PUB_X("test") "FOO\n" PUB_X("test"));
	step_here(c);
	c->client->polled = true;
	wait_for(protocol_v2_leave(c->client) == NETPOLL_WAIT && c->client->has_said_bye);
	EXPECT(c, OK_FRAME ERROR_FRAME("\x21", "E_INVALID invalid command FOO"));
	assert_false(client_v2_is_producer(c->client));
}

static void test_what_comes_after_an_error_is_thrown_away_until_the_client_closes(struct fixture *f)
{
	struct peer c;
	begin_to_linger(&c, f->nsqd);
	for (int i = 0; i < 3; i++) {
		SAY(&c, PUB_X("test"));
		assert_int_equal(protocol_v2_leave(c.client), NETPOLL_YIELD);
		assert_int_equal(protocol_v2_leave(c.client), NETPOLL_WAIT);
	}
	SAY(&c, PUB_X("test"));
	c.client->polled = false;
	assert_int_equal(protocol_v2_leave(c.client), NETPOLL_WAIT);
	assert_int_equal(f->topic->message_count, 1);
	assert_int_equal(shutdown(c.peer, SHUT_WR), 0);
	assert_int_equal(protocol_v2_leave(c.client), NETPOLL_OVER);
	assert_int_equal(c.client->stage, STAGE_OVER);
	end_here(&c);
}

static void test_after_an_error_silence_and_endless_input_end_it(struct fixture *f)
{
	for (int i = 0; i < 3; i++) {
		struct peer c;
		begin_to_linger(&c, f->nsqd);
		if (i == 0)
			c.client->linger_until_ns = 1;
		else
			SAY(&c, PUB_X("test"));
		if (i == 1)
			c.client->linger_end_ns = 1;
		else if (i == 2)
			client_v2_close(c.client);
		assert_int_equal(protocol_v2_leave(c.client), NETPOLL_OVER);
		end_here(&c);
	}
}

static void test_the_end_of_the_input_is_found_in_a_step(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test"));
	shutdown(c.peer, SHUT_WR);
	do
		assert_int_equal(c.client->stage, STAGE_COMMANDS);
	while (step_here(&c) == NETPOLL_YIELD);
	/* A read that has not filled its buffer proves that there is no more; epoll tells of the end. */
	if (c.client->stage == STAGE_COMMANDS)
		step_here(&c);
	assert_int_equal(c.client->stage, STAGE_LEAVING);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

/* --- what is for a thread ---------------------------------------------------------------------- */

/* A step leaves it, and the thread does it. */
static void expect_thread(struct nsqd *n, const struct exchange *e)
{
	struct peer c;
	begin_here(&c, n);
	say_bytes(&c, e->input, e->len);
	step_says(&c, NETPOLL_THREAD);
	EXPECT(&c, "");
	run_to_the_end(&c);
	expect_bytes(&c, e->answer, e->answer_len);
	end_here(&c);
}

static void test_what_makes_a_topic_or_channel_is_for_a_thread(struct fixture *f)
{
	static const struct exchange of_new[] = {
		SAID(PUB_X("a"), OK_FRAME),
		SAID("DPUB b 10\n\0\0\0\4xxxx", OK_FRAME),
		SAID("MPUB c\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello", OK_FRAME),
		SAID("SUB d ch\n", OK_FRAME),
		SAID("SUB test other\n", OK_FRAME),
	};
	struct topic *t;
	for (size_t i = 0; i < COUNT(of_new); i++)
		expect_thread(f->nsqd, &of_new[i]);
	assert_int_equal(topic_count(f->nsqd), 5);
	assert_int_equal(channel_count(f->topic), 2);
	for (const char *name = "abc"; *name; name++) {
		t = get_topic(f->nsqd, (char[]){*name, '\0'});
		assert_int_equal(t->message_count, 1);
	}
	/* They are there now. */
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("a") "SUB test other\n");
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME OK_FRAME);
	end_here(&c);
}

static void no_threads_from_now_on(void)
{
	gothread_drain();
	gothread_create = create_none;
	gothread_learns_limit = false;
}

static void threads_again(void)
{
	gothread_create = pthread_create;
	gothread_learns_limit = true;
}

/* The thread is given up: it may be the one that is missing. */
static void expect_command_waits(struct peer *c)
{
	step_says(c, NETPOLL_THREAD);
	no_threads_from_now_on();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run_here(c), NETPOLL_WAIT);
		EXPECT(c, "");
		step_says(c, NETPOLL_THREAD);
	}
	threads_again();
}

static void test_a_command_waits_if_its_topic_or_channel_gets_no_thread(struct fixture *f)
{
	static const struct exchange of_new[] = {
		SAID(PUB_X("a") PUB_X("a") "NOP\n", OK_FRAME OK_FRAME),
		SAID(PUB_X("test") PUB_X("b") "DPUB c 0\n\0\0\0\4xxxx", OK_FRAME OK_FRAME OK_FRAME),
		SAID("MPUB d\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello", OK_FRAME),
		SAID("SUB e ch\n", OK_FRAME),
		SAID("SUB test other\n", OK_FRAME),
	};
	for (size_t i = 0; i < COUNT(of_new); i++) {
		struct peer c;
		size_t first = i == 1 ? sizeof(PUB_X("test")) - 1 : 0;
		begin_here(&c, f->nsqd);
		say_bytes(&c, of_new[i].input, first);
		if (first > 0) {
			step_says(&c, NETPOLL_WAIT);
			EXPECT(&c, OK_FRAME);
		}
		say_bytes(&c, of_new[i].input + first, of_new[i].len - first);
		expect_command_waits(&c);
		run_to_the_end(&c);
		size_t seen = first > 0 ? sizeof(OK_FRAME) - 1 : 0;
		expect_bytes(&c, of_new[i].answer + seen, of_new[i].answer_len - seen);
		end_here(&c);
	}
	assert_int_equal(topic_count(f->nsqd), 6);
	assert_int_equal(get_topic(f->nsqd, "a")->message_count, 2);
	assert_int_equal(channel_count(f->topic), 2);
}

/* With half a command behind it. */
static void test_a_command_that_waits_for_a_thread_may_have_fellows(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("a") "PUB a\n\0\0");
	expect_command_waits(&c);
	SAY(&c, "\0\4xxxx" PUB_X("a"));
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME OK_FRAME OK_FRAME);
	assert_int_equal(get_topic(f->nsqd, "a")->message_count, 3);
	end_here(&c);
}

static void test_it_does_not_wait_for_ever(struct fixture *f)
{
	static const char refused[] = "PUB e\n\0\0\0\0";
	for (size_t i = 0; i < 2; i++) {
		struct peer c;
		begin_here(&c, f->nsqd);
		SAY(&c, PUB_X("e"));
		say_bytes(&c, refused, i * (sizeof(refused) - 1));
		step_says(&c, NETPOLL_THREAD);
		/* The first has waited for long enough; the second cannot, since what was behind it is used up. */
		if (i == 0)
			c.client->give_up_ns = 1;
		no_threads_from_now_on();
		run_here(&c);
		threads_again();
		assert_int_equal(c.client->stage, STAGE_LEAVING);
		EXPECT(&c, ERROR_FRAME("\x70",
				   "E_PUB_FAILED PUB failed cannot create topic e - could not "
				   "start thread t:e: resource temporarily unavailable"));
		end_here(&c);
	}
}

static void test_auth_is_for_a_thread(struct fixture *f)
{
	static const struct exchange auth =
		SAID("AUTH\n\0\0\0\1x", ERROR_FRAME("\x21", "E_AUTH_DISABLED AUTH disabled"));
	expect_thread(f->nsqd, &auth);
}

/* Puts so many messages into a topic without channels, where they stay. */
static struct topic *topic_with(struct nsqd *n, const char *name, size_t len)
{
	struct topic *t = get_topic(n, name);
	put(t, 0, len);
	assert_int_equal(chan_len(t->memory_msg_chan), len);
	return t;
}

static void test_what_may_go_to_disk_is_for_a_thread(struct fixture *f)
{
	/* There is room for a batch, and as much again for others as is in the put's comment. */
	enum { SPARE = MEMORY / 4 < PUT_MARGIN ? MEMORY / 4 : PUT_MARGIN };
	static const char *const commands[] = {PUB_X("t"), "DPUB t 1\n\0\0\0\4xxxx"};
	struct topic *t = topic_with(f->nsqd, "t", MEMORY - SPARE - PUB_BATCH);
	for (size_t i = 0; i < COUNT(commands); i++) {
		struct peer fits, full;
		begin_here(&fits, f->nsqd);
		say_bytes(&fits, commands[i], strlen(commands[i]) + 8);
		step_says(&fits, NETPOLL_WAIT);
		EXPECT(&fits, OK_FRAME);
		begin_here(&full, f->nsqd);
		put(t, 0, 1);
		end_here(&fits);
		say_bytes(&full, commands[i], strlen(commands[i]) + 8);
		step_says(&full, NETPOLL_THREAD);
		EXPECT(&full, "");
		run_to_the_end(&full);
		EXPECT(&full, OK_FRAME);
		end_here(&full);
		struct err err;
		assert_int_equal(topic_empty(t, &err), 0);
		put(t, 0, MEMORY - SPARE - PUB_BATCH);
	}
}

/* --- locks ------------------------------------------------------------------------------------- */

/* Another thread has a lock, as one that makes a topic or channel does. */
struct creator {
	struct rwlock *lock;
	_Atomic bool holds, is_done;
	bool gave_up; /* a step has waited for the lock */
	struct wait_group wg;
};

static void hold_lock(void *arg)
{
	struct creator *k = arg;
	int64_t end = clock_mono_ns() + PATIENCE;
	rwlock_wrlock(k->lock);
	k->holds = true;
	while (!k->is_done && !k->gave_up) {
		sleep_ns(100 * NSEC_PER_USEC);
		k->gave_up = clock_mono_ns() > end;
	}
	rwlock_unlock(k->lock);
}

static void creator_begin(struct creator *k, struct rwlock *lock)
{
	*k = (struct creator){.lock = lock};
	wait_group_init(&k->wg);
	go(&k->wg, hold_lock, k);
	wait_for(k->holds);
}

static void creator_end(struct creator *k)
{
	k->is_done = true;
	join(&k->wg);
	assert_false(k->gave_up);
}

static void test_a_step_waits_for_no_creator(struct fixture *f)
{
	static const struct exchange commands[] = {
		SAID(PUB_X("test"), OK_FRAME),
		SAID("DPUB test 10\n\0\0\0\4xxxx", OK_FRAME),
		SAID("MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello", OK_FRAME),
		SAID(SUB_OK, OK_FRAME),
	};
	struct rwlock *locks[] = {&f->nsqd->topics.lock, &f->topic->lock};
	for (size_t i = 0; i < COUNT(commands) * COUNT(locks); i++) {
		const struct exchange *e = &commands[i / COUNT(locks)];
		struct creator k;
		struct peer c;
		begin_here(&c, f->nsqd);
		say_bytes(&c, e->input, e->len);
		creator_begin(&k, locks[i % COUNT(locks)]);
		enum netpoll_next next = step_here(&c);
		creator_end(&k);
		assert_int_equal(next, NETPOLL_THREAD);
		EXPECT(&c, "");
		run_to_the_end(&c);
		expect_bytes(&c, e->answer, e->answer_len);
		end_here(&c);
	}
	assert_int_equal(f->topic->message_count, 3 * COUNT(locks));
}

/* --- auth -------------------------------------------------------------------------------------- */

/* A server that does not answer. */
static void want_auth(struct options *o)
{
	strarray_add(&o->auth_http_addresses, "127.0.0.1:1");
}

/* It may do everything with the topic "test", for so long. */
static void authorize(struct peer *c, int64_t ns)
{
	static const char text[] =
		"{\"ttl\":1000,\"authorizations\":[{\"topic\":\"test\",\"channels\":[\".*\"],"
		"\"permissions\":[\"publish\",\"subscribe\"]}]}";
	struct err err = {0};
	struct auth_state *s = auth_state_decode(text, sizeof(text) - 1, &err);
	if (!s)
		fail_msg("%s", err.msg);
	s->expires_ns = clock_mono_ns() + ns;
	auth_state_free(c->client->auth_state);
	c->client->auth_state = s;
}

static const struct exchange for_authorized[] = {
	SAID(PUB_X("test"), OK_FRAME),
	SAID("DPUB test 10\n\0\0\0\4xxxx", OK_FRAME),
	SAID("MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello", OK_FRAME),
	SAID(SUB_OK, OK_FRAME),
};
#define AUTH_FAILED ERROR_FRAME("\x1d", "E_AUTH_FAILED AUTH failed")

static void test_what_is_authorized_is_done_in_a_step(struct fixture *f)
{
	for (size_t i = 0; i < COUNT(for_authorized); i++) {
		const struct exchange *e = &for_authorized[i];
		struct peer c;
		begin_here(&c, f->nsqd);
		authorize(&c, PATIENCE);
		say_bytes(&c, e->input, e->len);
		step_says(&c, NETPOLL_WAIT);
		expect_bytes(&c, e->answer, e->answer_len);
		end_here(&c);
	}
}

/* The auth server is to be asked again: now, or perhaps before the command is done. */
static void expect_question(struct fixture *f, int64_t ns)
{
	for (size_t i = 0; i < COUNT(for_authorized); i++) {
		const struct exchange *e = &for_authorized[i];
		struct peer c;
		begin_here(&c, f->nsqd);
		authorize(&c, PATIENCE);
		SAY(&c, PUB_X("test"));
		step_says(&c, NETPOLL_WAIT);
		EXPECT(&c, OK_FRAME);
		authorize(&c, ns);
		say_bytes(&c, e->input, e->len);
		step_says(&c, NETPOLL_THREAD);
		EXPECT(&c, "");
		authorize(&c, ns < 0 ? ns : PATIENCE);
		run_to_the_end(&c);
		if (ns < 0)
			EXPECT(&c, AUTH_FAILED);
		else
			expect_bytes(&c, e->answer, e->answer_len);
		end_here(&c);
	}
}

static void test_what_asks_the_auth_server_is_for_a_thread(struct fixture *f)
{
	expect_question(f, -1);
}

static void test_what_may_have_to_ask_the_auth_server_is_for_a_thread(struct fixture *f)
{
	expect_question(f, NSEC_PER_SEC / 2);
}

/* --- IDENTIFY ---------------------------------------------------------------------------------- */

static void say_identify(struct peer *c, const char *json)
{
	char text[256];
	int len = snprintf(text, sizeof(text), "IDENTIFY\n....%s", json);
	memcpy(text + 9, (char[]){0, 0, 0, (char)strlen(json)}, 4);
	say_bytes(c, text, (size_t)len);
}

/* The connection gets a layer, which may have to wait for the peer. */
static void expect_layer(struct fixture *f, const char *json)
{
	char answer[1024];
	struct peer c;
	begin_here(&c, f->nsqd);
	say_identify(&c, json);
	step_says(&c, NETPOLL_THREAD);
	EXPECT(&c, "");
	assert_false(client_v2_is_compressed(c.client));
	run_to_the_end(&c);
	assert_true(client_v2_is_compressed(c.client));
	/* Once. */
	ssize_t n = recv(c.peer, answer, sizeof(answer) - 1, MSG_DONTWAIT);
	assert_in_range(n, 200, 400);
	assert_memory_equal(answer + 4, "\0\0\0\0{", 5);
	end_here(&c);
}

static void test_an_identify_that_makes_a_layer_is_for_a_thread(struct fixture *f)
{
	expect_layer(f, "{\"feature_negotiation\":true,\"snappy\":true}");
	expect_layer(f, "{\"feature_negotiation\":true,\"deflate\":true}");
}

static void test_an_identify_without_a_layer_is_done_in_a_step(struct fixture *f)
{
	char answer[1024];
	struct peer c;
	begin_here(&c, f->nsqd);
	say_identify(&c, "{\"feature_negotiation\":true,\"msg_timeout\":1234}");
	step_says(&c, NETPOLL_WAIT);
	assert_int_equal(c.client->msg_timeout, 1234 * NSEC_PER_MSEC);
	assert_true(recv(c.peer, answer, sizeof(answer), MSG_DONTWAIT) > 100);
	end_here(&c);
}

/* --- once, and in order ------------------------------------------------------------------------ */

/* They all but fill a topic's memory, so that it might spill. */
#define FILL 800

/* What happens behind the first read of a step. */
struct change {
	struct topic *t;
	struct peer *c;
	uint32_t fill;     /* so many messages are put, from 1000 on: */
	const char *input; /* the peer says this; NULL: nothing */
	size_t len;
};

static void change_things(void *arg)
{
	struct change *k = arg;
	put(k->t, 1000, k->fill);
	if (k->input)
		say_bytes(k->c, k->input, k->len);
}

/*
 * Three PUBs have been gathered when memory fills up. Behind them comes input, of which the rest
 * follows when a thread runs. Then each message is queued once, and each command answered once.
 */
static void expect_put_back(struct fixture *f, const char *input, size_t len, const char *rest,
	const char *answer, size_t answer_len)
{
	struct topic *t = get_topic(f->nsqd, "full");
	struct watched w;
	struct peer c;
	struct change k = {.t = t, .c = &c, .fill = FILL, .input = input, .len = len};
	begin_here(&c, f->nsqd);
	watch_reads(&w, &c, change_things, &k);
	for (uint32_t i = 0; i < 3; i++)
		say_pub(&c, "full", i);
	step_says(&c, NETPOLL_THREAD);
	assert_int_equal(t->message_count, FILL);
	EXPECT(&c, "");
	if (rest)
		say_bytes(&c, rest, strlen(rest));
	run_to_the_end(&c);
	for (int i = 0; i < 3; i++) {
		char ok[10];
		receive(c.peer, ok, sizeof(ok));
		assert_memory_equal(ok, OK_FRAME, sizeof(ok));
	}
	expect_bytes(&c, answer, answer_len);
	end_here(&c);
}

#define EXPECT_PUT_BACK(f, input, rest, answer)                                                    \
	expect_put_back(f, input, sizeof(input) - 1, rest, answer, sizeof(answer) - 1)

/* Those messages, each once, and in their order. */
static void expect_queued(struct fixture *f)
{
	struct channel *ch = get_channel(get_topic(f->nsqd, "full"), "all");
	expect_in_order(ch, 1000, FILL);
	expect_in_order(ch, 0, 3);
	expect_nothing(ch);
}

static void test_pubs_that_would_block_after_all_are_put_back(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "", NULL, "");
	expect_queued(f);
}

static void test_a_command_that_flushes_them_is_put_back_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "SUB test ch\nCLS\n", NULL, OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
	expect_queued(f);
}

static void test_a_pub_elsewhere_is_put_back_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, PUB_X("test"), NULL, OK_FRAME);
	assert_int_equal(f->topic->message_count, 1);
	expect_queued(f);
}

static void test_half_a_command_stays_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "PUB test\n\0\0\0\4x", "xxx", OK_FRAME);
	assert_int_equal(f->topic->message_count, 1);
	expect_queued(f);
}

static void test_half_a_line_stays_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "SU", "B test ch\n", OK_FRAME);
	expect_queued(f);
}

static void test_half_a_body_of_many_stays_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5he", "llo", OK_FRAME);
	assert_int_equal(f->topic->message_count, 1);
	expect_queued(f);
}

static void test_what_is_refused_is_refused_behind_them(struct fixture *f)
{
	EXPECT_PUT_BACK(f, "FOO\n", NULL, ERROR_FRAME("\x21", "E_INVALID invalid command FOO"));
	expect_queued(f);
}

/* More of it has come since there was a look at how many messages it has. */
static void test_an_mpub_that_grows_after_the_look_is_put_back(struct fixture *f)
{
	enum { N = MEMORY / 2 };
	static const char head[] = "MPUB t\n\0\0\0\0\0\0\0\0";
	char *body = xcalloc(N, 5);
	struct topic *t = topic_with(f->nsqd, "t", MEMORY - N);
	struct watched w;
	struct peer c;
	struct change k = {.t = f->topic, .c = &c, .input = body, .len = N * 5};
	char text[sizeof(head)];
	memcpy(text, head, sizeof(head));
	memcpy(text + 7, (char[]){0, 0, (N * 5 + 4) >> 8, (char)(N * 5 + 4)}, 4);
	memcpy(text + 11, (char[]){0, 0, N >> 8, (char)N}, 4);
	for (size_t i = 0; i < N; i++)
		memcpy(body + 5 * i, "\0\0\0\1x", 5);
	begin_here(&c, f->nsqd);
	watch_reads(&w, &c, change_things, &k);
	say_bytes(&c, text, sizeof(text) - 1);
	step_says(&c, NETPOLL_THREAD);
	assert_int_equal(t->message_count, MEMORY - N);
	EXPECT(&c, "");
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME);
	assert_int_equal(t->message_count, MEMORY);
	end_here(&c);
	free(body);
}

/* The thread begins with the command that the step has left, and goes on with those behind it. */
static void test_step_and_thread_together_do_each_command_once(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	say_pub(&c, "test", 0);
	say_pub(&c, "test", 1);
	say_pub(&c, "new", 2);
	say_pub(&c, "test", 3);
	say_pub(&c, "new", 4);
	step_says(&c, NETPOLL_THREAD);
	/* What came before is done, and answered. */
	assert_int_equal(f->topic->message_count, 2);
	EXPECT(&c, OK_FRAME OK_FRAME);
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME OK_FRAME OK_FRAME);
	end_here(&c);
	expect_in_order(f->channel, 0, 2);
	assert_int_equal(take_seq(f->channel), 3);
	struct channel *other = get_channel(get_topic(f->nsqd, "new"), "ch");
	assert_int_equal(take_seq(other), 2);
	assert_int_equal(take_seq(other), 4);
}

static void test_fins_before_what_blocks_are_done_in_the_step(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, SUB_OK);
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME);
	put_in_flight(f->channel, 0, 2, c.client->consumer.id, PATIENCE);
	client_v2_sending_messages(c.client, 2);
	SAY(&c, "FIN 0000000000000000\nFIN 0000000000000001\n" PUB_X("new"));
	step_says(&c, NETPOLL_THREAD);
	assert_int_equal(channel_in_flight_count(f->channel), 0);
	EXPECT(&c, "");
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

static void test_a_thread_goes_back_when_its_client_is_silent(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("new"));
	step_says(&c, NETPOLL_THREAD);
	int64_t begin = clock_mono_ns();
	assert_int_equal(run_here(&c), NETPOLL_WAIT);
	assert_true(clock_mono_ns() - begin >= SILENCE_NS);
	assert_int_equal(c.client->stage, STAGE_COMMANDS);
	EXPECT(&c, OK_FRAME);
	SAY(&c, PUB_X("new"));
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME);
	end_here(&c);
}

/* --- late answers ------------------------------------------------------------------------------ */

/* As another thread would: not checked for its rank. */
static void begin_to_write(struct peer *c)
{
	pthread_mutex_lock(&c->client->write_lock.m);
}

static void end_to_write(struct peer *c)
{
	pthread_mutex_unlock(&c->client->write_lock.m);
}

static void test_while_another_thread_writes_the_answers_are_for_a_thread(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, PUB_X("test"));
	step_says(&c, NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME);
	begin_to_write(&c);
	SAY(&c, PUB_X("test") SUB_OK);
	step_says(&c, NETPOLL_THREAD);
	/* They are done, though. */
	assert_int_equal(f->topic->message_count, 2);
	assert_int_equal(c.client->state, STATE_SUBSCRIBED);
	end_to_write(&c);
	EXPECT(&c, "");
	SAY(&c, "FIN " NO_ID "\nCLS\n");
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME OK_FRAME ERROR_FRAME("\x3d",
			   "E_FIN_FAILED FIN " NO_ID
			   " failed ID not in flight") "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
	end_here(&c);
}

/* Where there is no thread, a step is taken in its place. */
static void test_a_step_sends_late_answers_first_and_does_nothing_before(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	begin_to_write(&c);
	SAY(&c, PUB_X("test"));
	step_says(&c, NETPOLL_THREAD);
	SAY(&c, PUB_X("test"));
	for (int i = 0; i < 3; i++)
		step_says(&c, NETPOLL_THREAD);
	/* The second waits until the first is answered. */
	assert_int_equal(f->topic->message_count, 1);
	EXPECT(&c, "");
	end_to_write(&c);
	/* The pump has got a thread to flush what is written, which may be at it now. */
	wait_for(step_here(&c) == NETPOLL_WAIT);
	EXPECT(&c, OK_FRAME OK_FRAME);
	assert_int_equal(f->topic->message_count, 2);
	end_here(&c);
}

/* The writing has ended in the middle of the step: what follows must not overtake. */
static void write_no_more(void *arg)
{
	struct peer *c = arg;
	end_to_write(c);
	SAY(c, "CLS\n");
}

static void test_late_answers_are_not_overtaken(struct fixture *f)
{
	struct watched w;
	struct peer c;
	begin_here(&c, f->nsqd);
	watch_reads(&w, &c, write_no_more, &c);
	begin_to_write(&c);
	SAY(&c, SUB_OK);
	step_says(&c, NETPOLL_THREAD);
	EXPECT(&c, "");
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
	end_here(&c);
}

static void test_late_answers_come_before_the_goodbye(struct fixture *f)
{
	for (int i = 0; i < 2; i++) {
		struct watched w;
		struct peer c;
		begin_here(&c, f->nsqd);
		if (i == 1)
			watch_reads(&w, &c, write_no_more, &c);
		begin_to_write(&c);
		SAY(&c, SUB_OK);
		if (i == 0)
			SAY(&c, "FOO\n");
		step_here(&c);
		if (i == 0)
			end_to_write(&c);
		c.client->stage = STAGE_LEAVING;
		c.client->polled = true;
		/* The pump is about to flush them. */
		wait_for(protocol_v2_leave(c.client) == NETPOLL_THREAD);
		EXPECT(&c, "");
		c.client->polled = false;
		/* After an error the client is heard to its end. */
		assert_int_equal(protocol_v2_leave(c.client), i == 0 ? NETPOLL_WAIT : NETPOLL_OVER);
		if (i == 0)
			EXPECT(&c, OK_FRAME ERROR_FRAME("\x21", "E_INVALID invalid command FOO"));
		else
			EXPECT(&c, OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
		end_here(&c);
	}
}

/* It commands and commands, but does not read: no memory is spent on that. */
static void test_a_client_that_does_not_read_is_not_read_from_either(struct fixture *f)
{
	enum { COMMANDS = 500, COMMAND = 21, ANSWER = 4 + 0x3d };
	char *text = xcalloc(COMMANDS, COMMAND + 1);
	struct peer c;
	for (size_t i = 0; i < COMMANDS; i++)
		memcpy(text + COMMAND * i, "FIN " NO_ID "\n", COMMAND + 1);
	begin_here(&c, f->nsqd);
	SAY(&c, SUB_OK);
	step_says(&c, NETPOLL_WAIT);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	/* No thread is there for the pump, which would write. */
	gothread_create = create_none;
	gothread_learns_limit = false;
	enum netpoll_next next = NETPOLL_WAIT;
	size_t n = 0;
	while (next != NETPOLL_THREAD) {
		assert_true(n < 2 * COMMANDS);
		say_bytes(&c, text, COMMANDS * COMMAND);
		n += COMMANDS;
		next = step_here(&c);
	}
	gothread_create = pthread_create;
	gothread_learns_limit = true;
	assert_true(client_v2_has_late_answers(c.client));
	receive_junk(c.peer, sizeof(OK_FRAME) - 1 + filled);
	run_to_the_end(&c);
	receive_junk(c.peer, n * ANSWER);
	EXPECT(&c, "");
	free(text);
	end_here(&c);
}

/* A layer that says that a thread which writes is in the way. */
static ssize_t busy_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct watched *w = (struct watched *)stream;
	if (deadline_ns == STREAM_AT_ONCE && w->countdown-- > 0)
		return err_set(err, EBUSY, "another thread writes");
	return w->below->ops->read(w->below, buf, n, deadline_ns, err);
}

static void test_a_step_that_is_kept_from_reading_comes_again_and_gets_a_thread(struct fixture *f)
{
	static const int for_so_many_steps[] = {1, 5, INT_MAX};
	struct stream_ops ops = watched_ops;
	ops.read = busy_read;
	for (size_t i = 0; i < COUNT(for_so_many_steps); i++) {
		bool long_ = for_so_many_steps[i] == INT_MAX;
		enum netpoll_next next;
		struct watched w;
		struct peer c;
		begin_here(&c, f->nsqd);
		watch_reads(&w, &c, NULL, NULL);
		w.stream.ops = &ops;
		w.countdown = for_so_many_steps[i];
		SAY(&c, PUB_X("test"));
		int steps = 0;
		/* Each is the next look, at the deadline. */
		while ((next = step_here(&c)) == NETPOLL_WAIT && w.countdown >= 0)
			assert_true(++steps <= 20);
		assert_int_equal(next, long_ ? NETPOLL_THREAD : NETPOLL_WAIT);
		assert_true(long_ || steps == for_so_many_steps[i]);
		if (long_)
			run_to_the_end(&c);
		EXPECT(&c, OK_FRAME);
		end_here(&c);
	}
}

/* --- busy clients ------------------------------------------------------------------------------ */

static enum netpoll_next step_with_commands(struct peer *c, int n)
{
	for (int i = 0; i < n; i++)
		SAY(c, "NOP\n");
	return step_here(c);
}

/* So that the commands of these steps are a matter of few milliseconds, however slow the machine. */
static void test_a_busy_client_gets_a_thread(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	wait_for(({
		bool gets_thread = false;
		for (int i = 0; i < 8 && !gets_thread; i++)
			gets_thread = step_with_commands(&c, 8) == NETPOLL_THREAD;
		gets_thread;
	}));
	end_here(&c);
}

static void test_a_client_whose_steps_are_many_and_quick_is_busy(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	for (int i = 1; i < 64; i++)
		assert_int_equal(step_with_commands(&c, 1), NETPOLL_WAIT);
	/* On a busy machine they have not been quick enough. */
	wait_for(step_with_commands(&c, 1) == NETPOLL_THREAD);
	end_here(&c);
}

static void test_a_client_that_says_little_at_a_time_is_not_busy(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	for (int i = 0; i < 150; i++) {
		assert_int_equal(step_with_commands(&c, 7), NETPOLL_WAIT);
		sleep_ns(NSEC_PER_MSEC / 2);
	}
	end_here(&c);
}

static void test_a_client_that_says_something_now_and_then_is_not_busy(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	for (int i = 0; i < 24; i++) {
		assert_int_equal(step_with_commands(&c, 20), NETPOLL_WAIT);
		sleep_ns(4 * NSEC_PER_MSEC);
	}
	end_here(&c);
}

static void test_a_step_ends_also_where_the_input_does_not(struct fixture *f)
{
	enum { COMMANDS = 20000 };
	struct peer c;
	begin_here(&c, f->nsqd);
	char *text = xcalloc(COMMANDS, 4);
	for (size_t i = 0; i < COMMANDS; i++)
		memcpy(text + 4 * i, "NOP\n", 4);
	say_bytes(&c, text, COMMANDS * 4);
	size_t steps = 0, most = 0;
	for (enum netpoll_next next = NETPOLL_YIELD; next == NETPOLL_YIELD; steps++) {
		int before, after;
		assert_int_equal(ioctl(stream_sock_fd(c.client->base), FIONREAD, &before), 0);
		next = step_here(&c);
		assert_int_equal(ioctl(stream_sock_fd(c.client->base), FIONREAD, &after), 0);
		if ((size_t)(before - after) > most)
			most = (size_t)(before - after);
		if (next == NETPOLL_THREAD)
			next = NETPOLL_YIELD; /* it is busy */
	}
	assert_true(most <= 2 * (size_t)DEFAULT_BUFFER_SIZE);
	assert_true(steps >= COMMANDS * 4 / (2 * DEFAULT_BUFFER_SIZE));
	free(text);
	end_here(&c);
}

/* --- half commands ----------------------------------------------------------------------------- */

static void test_a_command_in_two_parts_is_done_once(struct fixture *f)
{
	static const struct exchange commands[] = {
		SAID("NOP\r\n", ""),
		SAID("PUB test\n\0\0\0\4xxxx", OK_FRAME),
		SAID("DPUB test 1\n\0\0\0\4xxxx", OK_FRAME),
		SAID("MPUB test\n\0\0\0\x12\0\0\0\2\0\0\0\2ab\0\0\0\4cdef", OK_FRAME),
		SAID("IDENTIFY\n\0\0\0\2{}", OK_FRAME),
		SAID(SUB_OK, OK_FRAME),
	};
	for (size_t i = 0; i < COUNT(commands); i++) {
		const struct exchange *e = &commands[i];
		for (size_t at = 1; at < e->len; at++) {
			struct peer c;
			begin_here(&c, f->nsqd);
			say_bytes(&c, e->input, at);
			step_says(&c, NETPOLL_WAIT);
			step_says(&c, NETPOLL_WAIT);
			EXPECT(&c, "");
			say_bytes(&c, e->input + at, e->len - at);
			step_says(&c, NETPOLL_WAIT);
			expect_bytes(&c, e->answer, e->answer_len);
			end_here(&c);
		}
	}
	assert_int_equal(f->topic->message_count, (17 - 1) + (20 - 1) + 2 * (32 - 1));
}

static void test_commands_byte_by_byte_are_done_once(struct fixture *f)
{
	static const char text[] = "IDENTIFY\n\0\0\0\2{}" PUB_X("test")
		PUB_X("test") "MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5hello" SUB_OK "CLS\n";
	struct peer c;
	begin_here(&c, f->nsqd);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		say_bytes(&c, text + i, 1);
		step_says(&c, NETPOLL_WAIT);
	}
	EXPECT(&c, OK_FRAME OK_FRAME OK_FRAME OK_FRAME OK_FRAME "\0\0\0\x0e\0\0\0\0CLOSE_WAIT");
	assert_int_equal(f->topic->message_count, 3);
	end_here(&c);
}

static void test_half_a_command_and_the_end_is_an_error(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, "PUB test\n\0\0\0\4xx");
	step_says(&c, NETPOLL_WAIT);
	shutdown(c.peer, SHUT_WR);
	step_here(&c);
	assert_int_equal(c.client->stage, STAGE_LEAVING);
	EXPECT(&c, ERROR_FRAME("\x31", "E_BAD_MESSAGE PUB failed to read message body"));
	assert_int_equal(f->topic->message_count, 0);
	end_here(&c);
}

/* What came in together with it does not wait for its rest. */
static void test_what_comes_before_half_a_command_is_done(struct fixture *f)
{
	static const struct exchange halves[] = {
		SAID("PUB te", "st\n\0\0\0\4xxxx"),
		SAID("PUB test\n", "\0\0\0\4xxxx"),
		SAID("PUB test\n\0\0\0\4x", "xxx"),
		SAID("MPUB test\n\0\0\0\x0d\0\0\0\1\0\0\0\5hel", "lo"),
		SAID("DPUB test 1\n\0\0\0\4x", "xxx"),
	};
	for (size_t i = 0; i < COUNT(halves); i++) {
		struct peer c;
		begin_here(&c, f->nsqd);
		SAY(&c, PUB_X("test") PUB_X("test"));
		say_bytes(&c, halves[i].input, halves[i].len);
		step_says(&c, NETPOLL_WAIT);
		EXPECT(&c, OK_FRAME OK_FRAME);
		say_bytes(&c, halves[i].answer, halves[i].answer_len);
		step_says(&c, NETPOLL_WAIT);
		EXPECT(&c, OK_FRAME);
		end_here(&c);
	}
}

/* With nothing, or half a line, or half a body: its time goes on from step to step. */
static void test_a_client_that_is_silent_for_too_long_is_over(struct fixture *f)
{
	static const struct exchange parts[] = {
		SAID("", ""), SAID("PUB te", ""), SAID("PUB test\n\0\0\0\4xx", "")};
	for (size_t i = 0; i < COUNT(parts); i++) {
		struct peer c;
		begin_here(&c, f->nsqd);
		c.client->heartbeat_interval = 5 * NSEC_PER_MSEC;
		say_bytes(&c, parts[i].input, parts[i].len);
		int64_t end = clock_mono_ns() + PATIENCE, begin = clock_mono_ns();
		while (c.client->stage == STAGE_COMMANDS) {
			assert_true(clock_mono_ns() < end);
			step_here(&c);
			sleep_ns(NSEC_PER_MSEC);
		}
		assert_true(clock_mono_ns() - begin >= 2 * c.client->heartbeat_interval);
		end_here(&c);
	}
	assert_int_equal(f->topic->message_count, 0);
}

/* A thread reads it faster, and with less copying. */
static void test_a_large_command_gets_a_thread(struct fixture *f)
{
	enum { SIZE = 100000 };
	char *text = xcalloc(1, SIZE + 13);
	struct peer c;
	begin_here(&c, f->nsqd);
	memcpy(text, "PUB test\n\0\1\x86\xa0", 13);
	say_bytes(&c, text, 1000);
	step_says(&c, NETPOLL_THREAD);
	say_bytes(&c, text + 1000, SIZE + 13 - 1000);
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME);
	assert_int_equal(f->topic->message_count, 1);
	free(text);
	end_here(&c);
}

/* But not for each part, where they drip in: only when it is whole, since that may take long. */
static void test_a_large_command_that_drips_in_gets_a_thread_at_its_end(struct fixture *f)
{
	enum { SIZE = 100000, PART = 500 };
	char *text = xcalloc(1, SIZE + 13);
	struct peer c;
	begin_here(&c, f->nsqd);
	memcpy(text, "PUB test\n\0\1\x86\xa0", 13);
	say_bytes(&c, text, 1000);
	step_says(&c, NETPOLL_THREAD);
	/* It is silent for so long. */
	assert_int_equal(run_here(&c), NETPOLL_WAIT);
	for (size_t at = 1000; at < SIZE + 13; at += PART) {
		size_t left = SIZE + 13 - at;
		say_bytes(&c, text + at, left < PART ? left : PART);
		step_says(&c, left > PART ? NETPOLL_WAIT : NETPOLL_THREAD);
		EXPECT(&c, "");
		/* No more memory than twice what has come. */
		assert_true(c.client->reader.cap <= 2 * (at + PART) + DEFAULT_BUFFER_SIZE);
	}
	run_to_the_end(&c);
	EXPECT(&c, OK_FRAME);
	assert_int_equal(f->topic->message_count, 1);
	free(text);
	end_here(&c);
}

/* --- leaving ----------------------------------------------------------------------------------- */

static enum netpoll_next leave_here(struct peer *c, bool polled)
{
	c->client->polled = polled;
	c->client->stage = STAGE_LEAVING;
	return protocol_v2_leave(c->client);
}

static void test_a_client_leaves_without_a_thread(struct fixture *f)
{
	static const struct exchange lives[] = {
		SAID("", ""),
		SAID(PUB_X("test"), OK_FRAME),
		SAID(SUB_OK, OK_FRAME),
		SAID(SUB_OK "RDY 5\n", OK_FRAME),
	};
	uint64_t n_taken = 0;
	gothread_create = create_and_count;
	n_created = 0;
	for (size_t i = 0; i < COUNT(lives); i++) {
		struct peer c;
		begin_here(&c, f->nsqd);
		say_bytes(&c, lives[i].input, lives[i].len);
		step_says(&c, NETPOLL_WAIT);
		assert_int_equal(leave_here(&c, true), NETPOLL_OVER);
		assert_null(f->channel->clients);
		end_here(&c);
		/* What is published here may come late, and would be written in the middle of a step. */
		if (f->topic->message_count > n_taken) {
			message_unref(take_one(f->channel));
			n_taken++;
		}
	}
	assert_int_equal(n_created, 0);
	gothread_create = pthread_create;
}

static void test_the_end_of_an_ephemeral_channel_is_for_a_thread(struct fixture *f)
{
	struct peer c;
	get_channel(f->topic, "e#ephemeral");
	begin_here(&c, f->nsqd);
	SAY(&c, "SUB test e#ephemeral\n");
	step_says(&c, NETPOLL_WAIT);
	assert_int_equal(leave_here(&c, true), NETPOLL_THREAD);
	assert_int_equal(channel_count(f->topic), 2);
	assert_int_equal(leave_here(&c, false), NETPOLL_OVER);
	assert_int_equal(channel_count(f->topic), 1);
	end_here(&c);
}

/* The channel's pump puts back what it has taken for the consumer, perhaps onto disk. */
static void test_leaving_a_channel_without_room_is_for_a_thread(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	SAY(&c, SUB_OK);
	step_says(&c, NETPOLL_WAIT);
	put(f->topic, 0, MEMORY - 1);
	wait_for(chan_len(f->channel->memory_msg_chan) == MEMORY - 1);
	assert_int_equal(leave_here(&c, true), NETPOLL_THREAD);
	assert_non_null(f->channel->clients);
	assert_int_equal(leave_here(&c, false), NETPOLL_OVER);
	assert_null(f->channel->clients);
	end_here(&c);
}

static void test_what_the_socket_does_not_take_at_the_end_is_for_a_thread(struct fixture *f)
{
	struct peer c;
	begin_here(&c, f->nsqd);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	SAY(&c, PUB_X("test"));
	step_says(&c, NETPOLL_WAIT);
	wait_for(leave_here(&c, true) == NETPOLL_THREAD);
	receive_junk(c.peer, filled);
	assert_int_equal(leave_here(&c, false), NETPOLL_OVER);
	expect_oks(&c, 1);
	end_here(&c);
}

#define auth_test(f) channel_test_with(f, .mem_queue_size = MEMORY, .adjust = want_auth)

int main(void)
{
	const struct CMUnitTest tests[] = {
		step_test(test_what_cannot_block_is_done_in_a_step),
		step_test(test_a_command_that_is_refused_ends_the_connection_in_a_step),
		step_test(test_what_comes_after_an_error_is_thrown_away_until_the_client_closes),
		step_test(test_after_an_error_silence_and_endless_input_end_it),
		step_test(test_the_end_of_the_input_is_found_in_a_step),
		step_test(test_what_makes_a_topic_or_channel_is_for_a_thread),
		step_test(test_a_command_waits_if_its_topic_or_channel_gets_no_thread),
		step_test(test_a_command_that_waits_for_a_thread_may_have_fellows),
		step_test(test_it_does_not_wait_for_ever),
		step_test(test_auth_is_for_a_thread),
		step_test(test_what_may_go_to_disk_is_for_a_thread),
		step_test(test_a_step_waits_for_no_creator),
		auth_test(test_what_is_authorized_is_done_in_a_step),
		auth_test(test_what_asks_the_auth_server_is_for_a_thread),
		auth_test(test_what_may_have_to_ask_the_auth_server_is_for_a_thread),
		step_test(test_an_identify_that_makes_a_layer_is_for_a_thread),
		step_test(test_an_identify_without_a_layer_is_done_in_a_step),
		step_test(test_pubs_that_would_block_after_all_are_put_back),
		step_test(test_a_command_that_flushes_them_is_put_back_behind_them),
		step_test(test_a_pub_elsewhere_is_put_back_behind_them),
		step_test(test_half_a_command_stays_behind_them),
		step_test(test_half_a_line_stays_behind_them),
		step_test(test_half_a_body_of_many_stays_behind_them),
		step_test(test_what_is_refused_is_refused_behind_them),
		step_test(test_an_mpub_that_grows_after_the_look_is_put_back),
		step_test(test_step_and_thread_together_do_each_command_once),
		step_test(test_fins_before_what_blocks_are_done_in_the_step),
		step_test(test_a_thread_goes_back_when_its_client_is_silent),
		step_test(test_while_another_thread_writes_the_answers_are_for_a_thread),
		step_test(test_a_step_sends_late_answers_first_and_does_nothing_before),
		step_test(test_late_answers_are_not_overtaken),
		step_test(test_late_answers_come_before_the_goodbye),
		step_test(test_a_client_that_does_not_read_is_not_read_from_either),
		step_test(test_a_step_that_is_kept_from_reading_comes_again_and_gets_a_thread),
		step_test(test_a_busy_client_gets_a_thread),
		step_test(test_a_client_whose_steps_are_many_and_quick_is_busy),
		step_test(test_a_client_that_says_little_at_a_time_is_not_busy),
		step_test(test_a_client_that_says_something_now_and_then_is_not_busy),
		step_test(test_a_step_ends_also_where_the_input_does_not),
		step_test(test_a_command_in_two_parts_is_done_once),
		step_test(test_commands_byte_by_byte_are_done_once),
		step_test(test_half_a_command_and_the_end_is_an_error),
		step_test(test_what_comes_before_half_a_command_is_done),
		step_test(test_a_client_that_is_silent_for_too_long_is_over),
		step_test(test_a_large_command_gets_a_thread),
		step_test(test_a_large_command_that_drips_in_gets_a_thread_at_its_end),
		step_test(test_a_client_leaves_without_a_thread),
		step_test(test_the_end_of_an_ephemeral_channel_is_for_a_thread),
		step_test(test_leaving_a_channel_without_room_is_for_a_thread),
		step_test(test_what_the_socket_does_not_take_at_the_end_is_for_a_thread),
	};
	/* Each function that gets a thread gets a new one: the tests count them, and let some fail. */
	gothread_kept_max = 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
