/* SPDX-License-Identifier: MIT */
/*
 * protocol_v2_deliver_for_pump: the channel's pump writes to a consumer that waits, on its pump's
 * behalf.
 */
#include "test/unit/io_loop_test.h"

#include "protocol/frame.h"

#define deliver_test(f) channel_test_with(f, .mem_queue_size = 100)

/* What c's threads have begun they have done: they hold these while they write. */
static void settle(struct peer *c)
{
	rwlock_wrlock(&c->client->channel->lock);
	rwlock_unlock(&c->client->channel->lock);
	mutex_lock(&c->client->write_lock);
	mutex_unlock(&c->client->write_lock);
}

/* Subscribed, with RDY 1, and in line. */
static void start(struct peer *c, struct nsqd *n, struct channel *ch)
{
	size_t demand = chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX);
	char ok[10];
	connect_consumer(c, n);
	run_io_loop(c);
	say(c->peer, "SUB test ch\nRDY 1\n");
	receive(c->peer, ok, sizeof(ok));
	wait_for(chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX) == demand + 1);
	settle(c);
}

/* How often the pump has slept: its voluntary switches. */
static void add_switches(void *arg, const char *name, int tid)
{
	char path[64], line[128];
	long n;
	if (strncmp(name, "pump:", 5) != 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
			*(long *)arg += n;
	if (f)
		fclose(f);
}

static long pump_switches(void)
{
	long n = 0;
	gothread_each(add_switches, &n);
	return n;
}

/* Message by message: the pump stands in line and is served, and sleeps all the time. */
static void test_a_consumer_that_waits_is_served_in_its_sleep(struct fixture *f)
{
	enum { ROUNDS_OF_ONE = 50 };
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f->nsqd, ch);
	long before = pump_switches();
	for (uint32_t i = 0; i < ROUNDS_OF_ONE; i++) {
		put(t, i, 1);
		assert_int_equal(receive_message(&c, id), i);
		settle(&c);
		assert_int_equal(channel_in_flight_count(ch), 1);
		finish(&c, id);
		wait_for(chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX) == 1);
	}
	/* It may not quite have slept when we began to count. (Less: it was dormant, and resumed.) */
	assert_true(pump_switches() - before <= 2);
	assert_int_equal(channel_in_flight_count(ch), 0);
	assert_int_equal(c.client->message_count, ROUNDS_OF_ONE);
	stop(&c);
}

/* The channel's pump does not wait for a socket: the client's does. */
static void test_what_the_socket_does_not_take_is_left_to_the_pump(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c, other;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f->nsqd, ch);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	put(t, 0, 1);
	wait_for(channel_in_flight_count(ch) == 1);
	/* Nobody is held up by it. */
	start(&other, f->nsqd, ch);
	for (uint32_t i = 1; i < 4; i++) {
		put(t, i, 1);
		assert_int_equal(receive_message(&other, id), i);
		finish(&other, id);
		wait_for(channel_in_flight_count(ch) == 1);
	}
	receive_junk(c.peer, filled);
	assert_int_equal(receive_message(&c, id), 0);
	finish(&c, id);
	wait_for(channel_in_flight_count(ch) == 0);
	/* And its pump goes on as before. */
	wait_for(chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX) == 2);
	stop(&other);
	put(t, 4, 1);
	assert_int_equal(receive_message(&c, id), 4);
	stop(&c);
}

static void test_a_client_that_is_being_written_to_is_passed_over(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer first, second;
	char id[MSG_ID_LENGTH + 1];
	start(&first, f->nsqd, ch);
	start(&second, f->nsqd, ch);
	/* As somebody else would: not checked for its rank. */
	pthread_mutex_lock(&first.client->write_lock.m);
	put(t, 7, 1);
	assert_int_equal(receive_message(&second, id), 7);
	pthread_mutex_unlock(&first.client->write_lock.m);
	/* It stands in line still. */
	put(t, 8, 1);
	assert_int_equal(receive_message(&first, id), 8);
	stop(&first);
	stop(&second);
}

static void test_rdy_0_ends_the_delivery(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c;
	char id[MSG_ID_LENGTH + 1];
	start(&c, f->nsqd, ch);
	say(c.peer, "RDY 0\n");
	wait_for(chan_demand(ch->client_msg_chans[GLOBAL], SIZE_MAX) == 0);
	put(t, 1, 1);
	sleep_ns(A_WHILE);
	assert_int_equal(channel_depth(ch), 1);
	say(c.peer, "RDY 1\n");
	assert_int_equal(receive_message(&c, id), 1);
	stop(&c);
}

struct holder {
	struct rwlock *lock;
	struct chan *held, *release;
};

static void hold(void *arg)
{
	struct holder *h = arg;
	rwlock_wrlock(h->lock);
	chan_send(h->held, NULL);
	chan_recv(h->release, NULL);
	rwlock_unlock(h->lock);
}

/* While the channel's pump serves c: how many messages that come then may another thread take? */
static size_t take_while_it_serves(struct topic *t, struct channel *ch, struct peer *c)
{
	struct holder h = {&ch->lock, chan_new(0, 0), chan_new(0, 0)};
	char id[MSG_ID_LENGTH + 1];
	struct wait_group wg;
	struct message *m;
	/* The pump comes so far and no further. */
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "holder", hold, &h, NULL), 0);
	chan_recv(h.held, NULL);
	put(t, 1, 1);
	wait_for(ch->batch_len == 1 && ch->delivering);
	put(t, 2, 1);
	wait_for(chan_len(ch->memory_msg_chan) == 1);
	size_t taken = channel_take_messages(ch, &m, 1);
	if (taken == 1) {
		assert_int_equal(seq_of(m), 2);
		message_unref(m);
	}
	chan_send(h.release, NULL);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(h.held);
	chan_free(h.release);
	assert_int_equal(receive_message(c, id), 1);
	return taken;
}

static void test_others_need_not_wait_for_clients_that_are_served(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c, other;
	start(&c, f->nsqd, ch);
	start(&other, f->nsqd, ch);
	assert_int_equal(take_while_it_serves(t, ch, &c), 1);
	stop(&c);
	stop(&other);
}

static void test_one_alone_is_not_overtaken_by_itself(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c;
	start(&c, f->nsqd, ch);
	assert_int_equal(take_while_it_serves(t, ch, &c), 0);
	stop(&c);
}

static void publish(void *arg)
{
	struct topic *t = arg;
	for (uint32_t i = 0; i < 3000; i++) {
		put(t, i, 1);
		if (i % 32 == 0)
			sleep_ns(20 * NSEC_PER_USEC);
	}
}

/* Consumers that leave, in the middle of whatever is done for them, take nothing with them. */
static void test_consumers_leave_while_they_are_served(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct peer c[4];
	struct wait_group wg;
	int64_t finished = 0;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "publisher", publish, t, NULL), 0);
	while (channel_depth(ch) + (int64_t)channel_in_flight_count(ch) + finished < 2500) {
		char id[MSG_ID_LENGTH + 1], ok[10];
		for (int i = 0; i < 4; i++) {
			connect_consumer(&c[i], f->nsqd);
			run_io_loop(&c[i]);
			say(c[i].peer, "SUB test ch\nRDY 1\n");
		}
		receive(c[0].peer, ok, sizeof(ok));
		receive_message(&c[0], id);
		finish(&c[0], id);
		/* The end may overtake the FIN, where a message is not read. */
		for (int i = 0; i < 4; i++)
			finished += (int64_t)stop(&c[i]);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	wait_for(channel_depth(ch) + (int64_t)channel_in_flight_count(ch) + finished == 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		deliver_test(test_a_consumer_that_waits_is_served_in_its_sleep),
		deliver_test(test_what_the_socket_does_not_take_is_left_to_the_pump),
		deliver_test(test_a_client_that_is_being_written_to_is_passed_over),
		deliver_test(test_rdy_0_ends_the_delivery),
		deliver_test(test_others_need_not_wait_for_clients_that_are_served),
		deliver_test(test_one_alone_is_not_overtaken_by_itself),
		channel_test_with(
			test_consumers_leave_while_they_are_served, .mem_queue_size = 10000),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
