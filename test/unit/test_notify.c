/* SPDX-License-Identifier: MIT */
/* notify: what has come and gone, for the threads that take it from there. */
#include "test/unit/helper.h"

#include "nsqd/core/notify.h"

static void test_events_of_one_name_merge(void **state)
{
	struct notify n;
	notify_init(&n);
	for (int i = 0; i < 100; i++) {
		notify_post(&n, "t", NULL, false, false);
		notify_post(&n, "t", "c", false, false);
		notify_post(&n, "t", "d", false, false);
	}
	notify_post(&n, "t", "c", false, false);
	assert_int_equal(HASH_COUNT(n.events), 3);
	assert_false(n.overflow);
	/* In the order of their last arrival. */
	struct notify_event *e = n.events;
	assert_string_equal(e->name, "t");
	e = e->hh.next;
	assert_string_equal(e->name, "t d");
	e = e->hh.next;
	assert_string_equal(e->name, "t c");
	assert_int_equal(chan_len(n.events_chan), 1);
	notify_destroy(&n);
}

static void test_a_deletion_outlives_the_merge(void **state)
{
	struct notify n;
	notify_init(&n);
	notify_post(&n, "t", NULL, true, false);
	notify_post(&n, "t", "c", false, false);
	notify_post(&n, "t", NULL, false, false);
	notify_post(&n, "t", NULL, false, false);
	struct notify_event *c = n.events, *t = c->hh.next;
	assert_string_equal(c->name, "t c");
	assert_false(c->gone);
	assert_string_equal(t->name, "t");
	assert_true(t->gone);
	notify_destroy(&n);
}

static void test_there_are_never_more_events_than_a_limit(void **state)
{
	struct notify n;
	char name[65];
	notify_init(&n);
	for (int i = 0; i < NOTIFY_MAX_EVENTS; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		notify_post(&n, name, NULL, false, false);
	}
	assert_int_equal(HASH_COUNT(n.events), NOTIFY_MAX_EVENTS);
	assert_false(n.overflow);
	notify_post(&n, "t0", NULL, false, false);
	assert_false(n.overflow);
	notify_post(&n, "one too many", NULL, false, false);
	assert_true(n.overflow);
	assert_int_equal(HASH_COUNT(n.events), 1);
	notify_destroy(&n);
}

static void test_each_reader_hears_of_what_concerns_it(void **state)
{
	struct notify n;
	bool overflow;
	notify_init(&n);
	notify_post(&n, "t", NULL, false, false);
	assert_int_equal(chan_len(n.persist_chan), 0);
	assert_int_equal(chan_len(n.channels_changed_chan), 0);
	notify_post(&n, "t", NULL, false, true);
	assert_int_equal(chan_len(n.persist_chan), 1);
	assert_int_equal(chan_len(n.channels_changed_chan), 0);
	notify_post(&n, "t", "c", false, false);
	assert_int_equal(chan_len(n.channels_changed_chan), 1);
	/* One by one, and as long as there are more events_chan says so. */
	chan_recv(n.events_chan, NULL);
	free(notify_next(&n, &overflow));
	assert_int_equal(chan_len(n.events_chan), 1);
	chan_recv(n.events_chan, NULL);
	free(notify_next(&n, &overflow));
	assert_int_equal(chan_len(n.events_chan), 0);
	assert_null(notify_next(&n, &overflow));
	assert_false(overflow);
	notify_destroy(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_of_one_name_merge),
		cmocka_unit_test(test_a_deletion_outlives_the_merge),
		cmocka_unit_test(test_there_are_never_more_events_than_a_limit),
		cmocka_unit_test(test_each_reader_hears_of_what_concerns_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
