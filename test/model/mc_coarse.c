/* SPDX-License-Identifier: MIT */
/*
 * The calls of chans in a coarse program, whose subject is not the chan: each is one step. chan.c,
 * select.c and park.c are calm there (mc_access.c), and the callers' objects call these functions
 * instead, by coarse.txt. The models of chans and tasks show that a call has the same effect as one
 * that no other thread disturbs. (chan_free needs no point: what it finds is found also if it comes
 * early.)
 */
#include "test/model/mc_coarse.h"

#include "test/model/mc_internal.h"

#define HERE __builtin_return_address(0)

void coarse_chan_close(struct chan *c)
{
	mc_point("chan_close", c, HERE);
	chan_close(c);
}

void coarse_chan_send(struct chan *c, const void *v)
{
	mc_point("chan_send", c, HERE);
	chan_send(c, v);
}

bool coarse_chan_recv(struct chan *c, void *v)
{
	mc_point("chan_recv", c, HERE);
	return chan_recv(c, v);
}

size_t coarse_chan_len(struct chan *c)
{
	mc_point("chan_len", c, HERE);
	return chan_len(c);
}

size_t coarse_chan_recv_n(struct chan *c, void *v, size_t max)
{
	mc_point("chan_recv_n", c, HERE);
	return chan_recv_n(c, v, max);
}

size_t coarse_chan_try_send_n(struct chan *c, const void *v, size_t n)
{
	mc_point("chan_try_send_n", c, HERE);
	return chan_try_send_n(c, v, n);
}

void coarse_chan_signal(struct chan *c)
{
	mc_point("chan_signal", c, HERE);
	chan_signal(c);
}

size_t coarse_chan_try_recv_n(struct chan *c, void *v, size_t max, bool *closed)
{
	mc_point("chan_try_recv_n", c, HERE);
	return chan_try_recv_n(c, v, max, closed);
}

size_t coarse_chan_demand(struct chan *c, size_t most)
{
	mc_point("chan_demand", c, HERE);
	return chan_demand(c, most);
}

/* message.c is calm, so its receives are no points. The first one takes all that there is. */
void coarse_message_drain_chan(struct chan *c)
{
	mc_point("drain", c, HERE);
	message_drain_chan(c);
}

int coarse_chan_select(struct chan_case *cases, int ncases)
{
	mc_point("chan_select", NULL, HERE);
	return chan_select(cases, ncases);
}

/* The select of a task begins. */
void coarse_sel_init(struct sel *s, struct chan_case *cases, int ncases)
{
	mc_point("select", NULL, HERE);
	sel_init(s, cases, ncases);
}
