/* SPDX-License-Identifier: MIT */
/*
 * A deletion takes a while, and another thread may come in the middle of it. An answer means that
 * it is over: a thread that finds it begun waits for its end. And nobody else waits.
 */
#include "test/unit/nsqd_test.h"

#include "nsqd/disk/dqname.h"

static void run_create(void *arg)
{
	struct request *r = arg;
	if (r->topic)
		channel_unref(topic_create_channel(r->topic, r->name, &r->err));
	else
		topic_unref(nsqd_create_topic(&r->nsqd->topics, r->name, &r->err));
	r->ended = true;
}

static void run_exit(void *arg)
{
	struct request *r = arg;
	nsqd_exit(r->nsqd);
	r->ended = true;
}

/*
 * The fixture's channel is being deleted, and the disk is slow. Without a memory queue there are
 * messages on it.
 */
struct slow {
	struct nsqd *n;
	struct topic *t;   /* a reference, as the next */
	struct channel *c; /* the old one */
	struct gate gate;
	struct request first;
};

static void begin_slow(struct slow *s, struct fixture *f)
{
	s->n = f->nsqd;
	s->t = topic_ref(f->topic);
	s->c = channel_ref(f->channel);
	if (f->options->mem_queue_size == 0) {
		put(s->t, 0, 100);
		wait_for(topic_depth(s->t) == 0 && channel_depth(s->c) == 100);
	}
	slow_deletion(s->c, &s->gate);
	begin_request(&s->first, s->n, s->t, "ch", run_delete);
	wait_for(s->gate.arrived == 1);
}

/* The disk is done. */
static void let_go(struct slow *s)
{
	chan_close(s->gate.open);
	end_request(&s->first);
	assert_int_equal(s->first.rc, 0);
}

static void end_slow(struct slow *s)
{
	channel_unref(s->c);
	topic_unref(s->t);
	chan_free(s->gate.open);
}

/* So many have found the exit begun, and go on waiting for its end. */
static void all_wait_for(struct chan *gone_chan, size_t n)
{
	wait_for(count_waiters(gone_chan, CHAN_RECV) == n);
	stays(count_waiters(gone_chan, CHAN_RECV) == n);
}

/* --- an answer means that it is gone ---------------------------------------------------------- */

static void test_a_second_delete_of_a_channel_waits_for_the_first(struct fixture *f)
{
	struct slow s;
	struct request again[10];
	begin_slow(&s, f);
	for (size_t i = 0; i < COUNT(again); i++)
		begin_request(&again[i], s.n, s.t, "ch", run_delete);
	all_wait_for(s.c->gone_chan, COUNT(again));
	assert_false(s.first.ended);
	let_go(&s);
	for (size_t i = 0; i < COUNT(again); i++) {
		end_request(&again[i]);
		assert_int_equal(again[i].rc, 0);
	}
	assert_int_equal(channel_count(s.t), 0);
	end_slow(&s);
}

static void test_a_second_delete_of_a_topic_waits_for_the_first(struct fixture *f)
{
	struct nsqd *n = f->nsqd;
	struct topic *t = f->topic;
	struct request first, again;
	struct gate gate;
	gate_init(&gate);
	make_topic_faulty(t)->gate = &gate;
	begin_request(&first, n, NULL, "test", run_delete);
	wait_for(gate.arrived == 1);
	begin_request(&again, n, NULL, "test", run_delete);
	all_wait_for(t->gone_chan, 1);
	assert_int_equal(topic_count(n), 1);
	chan_close(gate.open);
	end_request(&first);
	end_request(&again);
	assert_int_equal(first.rc, 0);
	assert_int_equal(again.rc, 0);
	assert_int_equal(topic_count(n), 0);
	chan_free(gate.open);
}

static void test_the_delete_of_a_topic_waits_for_a_channel_that_is_being_deleted(struct fixture *f)
{
	struct slow s;
	struct request topic;
	begin_slow(&s, f);
	begin_request(&topic, s.n, NULL, "test", run_delete);
	all_wait_for(s.c->gone_chan, 1);
	assert_int_equal(topic_count(s.n), 1);
	let_go(&s);
	end_request(&topic);
	assert_int_equal(topic.rc, 0);
	assert_int_equal(topic_count(s.n), 0);
	assert_int_equal(files_of("test"), 0);
	end_slow(&s);
}

static void test_what_the_disk_refused_is_told_to_all_that_asked(struct fixture *f)
{
	struct topic *t = topic_ref(f->topic);
	struct channel *c = channel_ref(f->channel);
	struct faulty_queue *disk = make_channel_faulty(c);
	struct request first, again;
	struct gate gate;
	gate_init(&gate);
	disk->gate = &gate;
	disk->fail_delete = true;
	begin_request(&first, f->nsqd, t, "ch", run_delete);
	wait_for(gate.arrived == 1);
	begin_request(&again, f->nsqd, t, "ch", run_delete);
	all_wait_for(c->gone_chan, 1);
	chan_close(gate.open);
	end_request(&first);
	end_request(&again);
	assert_int_equal(first.err.code, EIO);
	assert_int_equal(again.err.code, EIO);
	assert_int_equal(channel_count(t), 0); /* gone all the same */
	channel_unref(c);
	topic_unref(t);
	chan_free(gate.open);
}

/* --- what is made anew begins when the old is gone -------------------------------------------- */

static void test_a_channel_is_made_anew_only_when_the_old_one_is_gone(struct fixture *f)
{
	struct slow s;
	struct request create;
	begin_slow(&s, f);
	begin_request(&create, s.n, s.t, "ch", run_create);
	all_wait_for(s.c->gone_chan, 1);
	let_go(&s);
	end_request(&create);
	assert_int_equal(channel_count(s.t), 1);
	struct channel *c = get_channel(s.t, "ch");
	assert_ptr_not_equal(c, s.c);
	assert_false(channel_exiting(c));
	put(s.t, 100, 20);
	expect_in_order(c, 100, 20);
	expect_nothing(c);
	wait_for(channel_depth(c) == 0); /* the pump is done with the last one */
	end_slow(&s);
}

static void test_a_topic_is_made_anew_only_when_the_old_one_is_gone(struct fixture *f)
{
	struct slow s;
	struct request delete, create;
	begin_slow(&s, f);
	begin_request(&delete, s.n, NULL, "test", run_delete);
	wait_for(topic_exiting(s.t));
	begin_request(&create, s.n, NULL, "test", run_create);
	all_wait_for(s.t->gone_chan, 1);
	let_go(&s);
	end_request(&delete);
	end_request(&create);
	struct topic *t = get_topic(s.n, "test");
	assert_ptr_not_equal(t, s.t);
	struct channel *c = get_channel(t, "ch");
	put(t, 100, 20);
	expect_in_order(c, 100, 20);
	expect_nothing(c);
	end_slow(&s);
}

/* The same holds for a creation: it is over when the topic's pump feeds the channel. */
static void test_a_channel_that_is_being_made_is_not_taken_for_one_that_is(struct fixture *f)
{
	struct topic *t = f->topic;
	struct faulty_queue *disk = make_channel_faulty(get_channel(t, "slow"));
	struct request creates[3];
	struct gate gate;
	gate_init(&gate);
	disk->put_gate = &gate;
	put(t, 0, 1);
	wait_for(gate.arrived == 1); /* the pump does not listen */
	for (size_t i = 0; i < COUNT(creates); i++)
		begin_request(&creates[i], f->nsqd, t, "ch", run_create);
	wait_for(channel_count(t) == 2);
	for (size_t i = 0; i < COUNT(creates); i++)
		stays(!creates[i].ended);
	chan_close(gate.open);
	for (size_t i = 0; i < COUNT(creates); i++)
		end_request(&creates[i]);
	put(t, 1, 1);
	expect_in_order(get_channel(t, "ch"), 1, 1);
	end_nsqd(f);
	chan_free(gate.open);
}

/* Publishers and consumers are told at once, as by stock: so they do not wait for each other. */
static void test_what_is_exiting_refuses_publishers_and_consumers(struct fixture *f)
{
	struct slow s;
	struct err err = {0};
	int peer;
	begin_slow(&s, f);
	struct client_v2 *client = new_client(s.n, &peer);
	assert_ptr_equal(get_channel(s.t, "ch"), s.c);
	assert_int_equal(channel_add_client(s.c, &client->consumer, &err), -1);
	assert_string_equal(err.msg, "exiting");

	struct request topic;
	begin_request(&topic, s.n, NULL, "test", run_delete);
	wait_for(topic_exiting(s.t));
	assert_ptr_equal(get_topic(s.n, "test"), s.t);
	assert_int_equal(try_put(s.t, 0, 1, &err), 0);
	assert_string_equal(err.msg, "exiting");
	assert_null(topic_create_channel(s.t, "other", &err));
	assert_string_equal(err.msg, "exiting");
	let_go(&s);
	end_request(&topic);
	free_client(client, peer);
	end_slow(&s);
}

static void test_what_is_published_while_the_only_channel_goes_waits_for_the_next(struct fixture *f)
{
	struct slow s;
	begin_slow(&s, f);
	put(s.t, 0, 50);
	stays(topic_depth(s.t) == 50);
	let_go(&s);
	expect_in_order(get_channel(s.t, "ch"), 0, 50);
	end_slow(&s);
}

/* --- nobody else waits ------------------------------------------------------------------------ */

static void test_a_slow_deletion_holds_up_nobody_else(struct fixture *f)
{
	struct slow s;
	struct err err;
	begin_slow(&s, f);
	struct channel *other = get_channel(s.t, "other");
	put(s.t, 0, 5);
	expect_in_order(other, 0, 5);
	assert_int_equal(channel_depth(s.c), 0);
	channel_pause(s.c); /* what is exiting is asked, too, and answers */
	assert_int_equal(channel_empty(s.c, &err), 0);
	assert_int_equal(topic_delete_existing_channel(s.t, "other", &err), 0);
	topic_pause(s.t);
	topic_unpause(s.t);
	assert_int_equal(topic_empty(s.t, &err), 0);

	struct topic *u = get_topic(s.n, "other");
	struct channel *c = get_channel(u, "ch");
	put(u, 0, 5);
	expect_in_order(c, 0, 5);
	assert_int_equal(nsqd_delete_existing_topic(&s.n->topics, "other", &err), 0);
	assert_int_equal(topic_count(s.n), 1);
	assert_false(s.first.ended);
	let_go(&s);
	end_slow(&s);
}

/* --- the end of the daemon -------------------------------------------------------------------- */

static void test_the_daemons_exit_wakes_those_that_wait_for_a_deletion(struct fixture *f)
{
	struct slow s;
	struct request create, again, leave;
	begin_slow(&s, f);
	begin_request(&create, s.n, s.t, "ch", run_create);
	begin_request(&again, s.n, s.t, "ch", run_delete);
	all_wait_for(s.c->gone_chan, 2);
	begin_request(&leave, s.n, NULL, "", run_exit);
	end_request(&create);
	end_request(&again);
	assert_int_equal(create.err.code, ECANCELED);
	assert_int_equal(again.rc, -1);
	assert_int_equal(again.err.code, ECANCELED);
	/* The exit itself waits for the deletion: its files are not to be seen half removed. */
	stays(!leave.ended);
	let_go(&s);
	end_request(&leave);
	assert_int_equal(files_of("test:ch"), 0);
	end_slow(&s);
	free_nsqd(f);
}

static void test_the_daemons_exit_waits_for_the_deletion_of_a_topic(struct fixture *f)
{
	struct slow s;
	struct request topic, create, leave;
	begin_slow(&s, f);
	begin_request(&topic, s.n, NULL, "test", run_delete);
	wait_for(topic_exiting(s.t));
	begin_request(&create, s.n, NULL, "test", run_create);
	all_wait_for(s.t->gone_chan, 1);
	begin_request(&leave, s.n, NULL, "", run_exit);
	end_request(&create);
	assert_int_equal(create.err.code, ECANCELED);
	stays(!leave.ended);
	let_go(&s);
	end_request(&topic);
	assert_int_equal(topic.rc, 0);
	end_request(&leave);
	assert_int_equal(files_of("test"), 0);
	end_slow(&s);
	free_nsqd(f);
}

/* --- ephemeral -------------------------------------------------------------------------------- */

struct leaver {
	struct channel *c;
	struct client_v2 *client;
};

static void leave(void *arg)
{
	struct leaver *l = arg;
	channel_remove_client(l->c, &l->client->consumer);
}

static void delete_topic(void *arg)
{
	struct err err;
	(void)nsqd_delete_existing_topic(&((struct nsqd *)arg)->topics, "test#ephemeral", &err);
}

/* Two clients leave, an operator deletes the channel, another one the topic: all at once. */
static void test_an_ephemeral_channel_and_topic_that_several_delete_go_once(struct fixture *f)
{
	for (int i = 0; i < ROUNDS(200); i++) {
		start_nsqd(f, 10);
		struct nsqd *n = f->nsqd;
		struct topic *t = topic_ref(get_topic(n, "test#ephemeral"));
		struct channel *c = channel_ref(get_channel(t, "ch#ephemeral"));
		struct leaver l[2];
		struct request channel;
		struct wait_group wg;
		struct err err;
		int peers[2];
		wait_group_init(&wg);
		for (int k = 0; k < 2; k++) {
			l[k] = (struct leaver){c, new_client(n, &peers[k])};
			assert_int_equal(channel_add_client(c, &l[k].client->consumer, &err), 0);
		}
		go(&wg, leave, &l[0]);
		begin_request(&channel, n, t, "ch#ephemeral", run_delete);
		go(&wg, leave, &l[1]);
		go(&wg, delete_topic, n);
		join(&wg);
		end_request(&channel);
		assert_int_equal(topic_count(n), 0);
		assert_int_equal(channel_count(t), 0);
		for (int k = 0; k < 2; k++)
			free_client(l[k].client, peers[k]);
		channel_unref(c);
		topic_unref(t);
		end_nsqd(f);
	}
}

/* --- many at once ----------------------------------------------------------------------------- */

#define CHANNELS 4

struct crowd {
	struct nsqd *n;
	_Atomic bool stop;
	_Atomic int rounds[CHANNELS];
	_Atomic int wrong;
	_Atomic int next;
};

/*
 * Each has a channel of its own: once its deletion has been answered, what is made anew begins
 * empty, and holds what is put since, unless the topic is deleted meanwhile.
 */
static void delete_and_make_anew(void *arg)
{
	struct crowd *w = arg;
	int me = w->next++;
	char name[8];
	snprintf(name, sizeof(name), "ch%d", me);
	while (!w->stop) {
		struct err err = {0};
		struct topic *t = nsqd_create_topic(&w->n->topics, "test", &err);
		struct channel *c = t ? topic_create_channel(t, name, &err) : NULL;
		int rc = c ? topic_delete_existing_channel(t, name, &err) : -1;
		char backend[BACKEND_NAME_SIZE], file[BACKEND_NAME_SIZE + 32];
		snprintf(file, sizeof(file), "%s.diskqueue.",
			get_backend_name("test", name, backend, sizeof(backend)));
		/* Nobody else makes it: its files are gone. */
		if (rc == 0 && (files_of(file) != 0 || !channel_exiting(c)))
			w->wrong++;
		if (t)
			(void)try_put(t, 0, 3, &err);
		w->rounds[me] += rc == 0;
		channel_unref(c);
		topic_unref(t);
	}
}

static void test_channels_that_many_delete_beside_their_topic_are_gone_when_answered(
	struct fixture *f)
{
	struct crowd w = {.n = f->nsqd};
	struct wait_group wg;
	struct err err;
	int deleted = 0;
	wait_group_init(&wg);
	for (int i = 0; i < CHANNELS; i++)
		go(&wg, delete_and_make_anew, &w);
	while (deleted < ROUNDS(60)) {
		int who = deleted % CHANNELS, before = w.rounds[who];
		deleted += nsqd_delete_existing_topic(&w.n->topics, "test", &err) == 0;
		wait_for(w.rounds[who] > before || w.wrong > 0);
	}
	w.stop = true;
	join(&wg);
	assert_int_equal(w.wrong, 0);
	(void)nsqd_delete_existing_topic(&w.n->topics, "test", &err);
	assert_int_equal(files_of("test"), 0);
}

/* A client may leave a channel that is gone, and asks first whether that may block. */
static void test_a_durable_channel_that_is_gone_is_asked(struct fixture *f)
{
	struct err err;
	struct channel *c = channel_ref(f->channel);
	assert_true(c->logged && channel_has_room(c, 1));
	assert_int_equal(nsqd_delete_existing_topic(&f->nsqd->topics, "test", &err), 0);
	assert_true(channel_has_room(c, 1));
	assert_false(channel_removal_may_block(c));
	channel_unref(c);
}

static void make_durable(struct options *o)
{
	free(o->durability);
	o->durability = xstrdup("process");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		channel_test(test_a_second_delete_of_a_channel_waits_for_the_first),
		topic_test(test_a_second_delete_of_a_topic_waits_for_the_first),
		channel_test_with(
			test_the_delete_of_a_topic_waits_for_a_channel_that_is_being_deleted,
			.mem_queue_size = 0),
		channel_test(test_what_the_disk_refused_is_told_to_all_that_asked),
		channel_test_with(test_a_channel_is_made_anew_only_when_the_old_one_is_gone,
			.mem_queue_size = 0),
		channel_test_with(test_a_topic_is_made_anew_only_when_the_old_one_is_gone,
			.mem_queue_size = 0),
		topic_test_with(test_a_channel_that_is_being_made_is_not_taken_for_one_that_is,
			.mem_queue_size = 0),
		channel_test(test_what_is_exiting_refuses_publishers_and_consumers),
		channel_test_with(
			test_what_is_published_while_the_only_channel_goes_waits_for_the_next,
			.mem_queue_size = 100),
		channel_test(test_a_slow_deletion_holds_up_nobody_else),
		channel_test_with(test_the_daemons_exit_wakes_those_that_wait_for_a_deletion,
			.mem_queue_size = 0),
		channel_test_with(test_the_daemons_exit_waits_for_the_deletion_of_a_topic,
			.mem_queue_size = 0),
		channel_test_with(
			test_a_durable_channel_that_is_gone_is_asked, .adjust = make_durable),
		dir_test(test_an_ephemeral_channel_and_topic_that_several_delete_go_once),
		nsqd_test_with(
			test_channels_that_many_delete_beside_their_topic_are_gone_when_answered,
			.mem_queue_size = 0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
