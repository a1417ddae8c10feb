/* SPDX-License-Identifier: MIT */
/* protocol_v2_pump: how long a batch may take to be written, and whom it may keep waiting. */
#include "test/unit/io_loop_test.h"

#include "common/clock.h"
#include "nsqd/core/message.h"
#include "protocol/frame.h"

#define pump_test(f) channel_test_with(f, .mem_queue_size = 100)

#define N_MESSAGES 8
#define BODY_SIZE 300000

/* A layer that looks at the deadlines of writes. */
struct watch {
	struct stream stream;
	struct stream *below; /* owned */
	int64_t last;         /* deadline of the last write */
	size_t again;         /* writes with the deadline of the one before */
};

static ssize_t watch_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct watch *w = (struct watch *)stream;
	return w->below->ops->read(w->below, buf, n, deadline_ns, err);
}

static int watch_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct watch *w = (struct watch *)stream;
	int64_t now = clock_mono_ns();
	if (deadline_ns == w->last)
		w->again++;
	w->last = deadline_ns;
	/* A write takes some time. */
	while (clock_mono_ns() == now)
		;
	return w->below->ops->writev(w->below, iov, n, deadline_ns, err);
}

static int watch_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	return 0;
}

static void watch_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->close_write(w->below, deadline_ns);
}

static void watch_shutdown(struct stream *stream)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->shutdown(w->below);
}

static void watch_free(struct stream *stream)
{
	struct watch *w = (struct watch *)stream;
	w->below->ops->free(w->below);
}

static const struct stream_ops watch_ops = {
	.read = watch_read,
	.writev = watch_writev,
	.flush = watch_flush,
	.close_write = watch_close_write,
	.shutdown = watch_shutdown,
	.free = watch_free,
};

static void put_large_messages(struct topic *t)
{
	struct message_body *bodies[N_MESSAGES];
	struct err err;
	for (size_t i = 0; i < N_MESSAGES; i++) {
		bodies[i] = message_body_new(BODY_SIZE);
		memset(bodies[i]->data, 'x', BODY_SIZE);
	}
	assert_int_equal(topic_put_messages(t, bodies, N_MESSAGES, &err), N_MESSAGES);
}

static void test_a_large_message_of_a_batch_has_a_deadline_of_its_own(struct fixture *f)
{
	static unsigned char frame[FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH + BODY_SIZE];
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	struct watch w = {.stream.ops = &watch_ops};
	struct peer c;
	char ok[10];
	put_large_messages(t);
	wait_for(channel_depth(ch) == N_MESSAGES);

	connect_consumer(&c, f->nsqd);
	w.below = c.client->base;
	c.client->stream = c.client->reader.stream = c.client->writer.stream = &w.stream;
	run_io_loop(&c);
	say(c.peer, "SUB test ch\n");
	receive(c.peer, ok, sizeof(ok));
	say(c.peer, "RDY 8\n");
	for (size_t i = 0; i < N_MESSAGES; i++)
		receive(c.peer, frame, sizeof(frame));
	stop(&c);
	assert_int_equal(w.again, 0);
}

/* It has written the next message on the pump's behalf, but there was no room for it. */
static void test_io_loop_reads_on_where_it_cannot_write(struct fixture *f)
{
	struct topic *t = f->topic;
	struct channel *ch = f->channel;
	char id[MSG_ID_LENGTH + 1], ok[10];
	struct peer c;
	put(t, 0, 3);
	wait_for(channel_depth(ch) == 3);
	connect_consumer(&c, f->nsqd);
	run_io_loop(&c);
	say(c.peer, "SUB test ch\nRDY 1\n");
	receive(c.peer, ok, sizeof(ok));
	assert_int_equal(receive_message(&c, id), 0);
	size_t filled = fill_socket(stream_sock_fd(c.client->base));
	finish(&c, id);
	wait_for(channel_depth(ch) == 1 && channel_in_flight_count(ch) == 1);
	say(c.peer, "RDY 2\n");
	wait_for(c.client->ready_count == 2);
	receive_junk(c.peer, filled);
	assert_int_equal(receive_message(&c, id), 1);
	assert_int_equal(receive_message(&c, id), 2);
	stop(&c);
}

static void test_a_pump_that_fails_releases_delivery(struct fixture *f)
{
	struct channel *ch = f->channel;
	struct peer c;
	char ok[10];
	connect_consumer(&c, f->nsqd);
	run_io_loop(&c);
	say(c.peer, "SUB test ch\nRDY 1\n");
	receive(c.peer, ok, sizeof(ok));
	wait_for(chan_demand(ch->client_msg_chans[GLOBAL], 1) == 1);
	mutex_lock(&c.client->write_lock);
	c.client->writer.failed = true;
	atomic_store(&c.client->unsent, true);
	mutex_unlock(&c.client->write_lock);
	client_v2_try_update_ready_state(c.client);
	wait_group_wait(&c.wg);
	assert_false(c.client->delivery);
	close(c.peer);
	wait_group_destroy(&c.wg);
	client_v2_free(c.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pump_test(test_a_large_message_of_a_batch_has_a_deadline_of_its_own),
		pump_test(test_io_loop_reads_on_where_it_cannot_write),
		pump_test(test_a_pump_that_fails_releases_delivery),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
