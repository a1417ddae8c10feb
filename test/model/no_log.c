/* SPDX-License-Identifier: MIT */
/*
 * What the models of the end and of the pumps ask of the log: no topic has one, or has had one. So
 * nobody calls the functions of nsqd/log; the model of the log (log.c) is a program of its own.
 */
#include "common/gothread.h"
#include "test/model/mc.h"

struct err;
struct log_io;

/* Is there a TOPIC.log in the data path? */
int log_view_find(int dir, const char *topic, const struct log_io *io, bool *has, struct err *err);
int log_view_find(int dir, const char *topic, const struct log_io *io, bool *has, struct err *err)
{
	(void)dir, (void)topic, (void)io, (void)err;
	*has = false;
	return 0;
}

/* For the appends of a topic: there are none. */
bool wait_group_wait_until(struct wait_group *wg, int64_t deadline_ns)
{
	(void)deadline_ns;
	MC_CHECK(wg->running == 0);
	return true;
}

/* Without its parameters: they are not looked at. */
#define NEVER(name)                                                                                \
	void name(void);                                                                           \
	void name(void)                                                                            \
	{                                                                                          \
		mc_fail(#name ": there is no log");                                                \
	}

NEVER(backend_diskqueue_opts)
NEVER(is_stock_first)
NEVER(log_queue_append_alone)
NEVER(log_queue_deferred)
NEVER(log_queue_due_done)
NEVER(log_queue_finished_locked)
NEVER(log_queue_give_rest)
NEVER(log_queue_leave_due)
NEVER(log_queue_new_channel)
NEVER(log_queue_new_topic)
NEVER(log_queue_on_due)
NEVER(log_queue_on_rest)
NEVER(log_queue_pass_over)
NEVER(log_queue_stats_locked)
NEVER(log_queue_take_due)
NEVER(log_queue_take_first)
NEVER(log_queue_taken_locked)
NEVER(log_queue_touch)
NEVER(log_queue_try_again)
NEVER(log_queue_wait_for)
NEVER(log_view_check_left)
NEVER(nsqd_data_path)
NEVER(nsqd_set_log_health)
NEVER(stock_first_new)
NEVER(stock_first_waiting)
NEVER(topic_log_append)
NEVER(topic_log_close)
NEVER(topic_log_delete)
NEVER(topic_log_each_channel)
NEVER(topic_log_flush)
NEVER(topic_log_get_stats)
NEVER(topic_log_handed)
NEVER(topic_log_handed_upto)
NEVER(topic_log_open)
NEVER(topic_log_set_disk)
NEVER(topic_log_start)
