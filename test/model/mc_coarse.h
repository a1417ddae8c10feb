/* SPDX-License-Identifier: MIT */
/* The calls of chans in a coarse program: see mc_coarse.c. */
#ifndef TEST_MODEL_MC_COARSE_H
#define TEST_MODEL_MC_COARSE_H

#include "common/chan.h"
#include "common/select_internal.h"
#include "nsqd/core/message.h"

void coarse_chan_close(struct chan *c);
void coarse_chan_send(struct chan *c, const void *v);
bool coarse_chan_recv(struct chan *c, void *v);
size_t coarse_chan_len(struct chan *c);
size_t coarse_chan_recv_n(struct chan *c, void *v, size_t max);
size_t coarse_chan_try_send_n(struct chan *c, const void *v, size_t n);
void coarse_chan_signal(struct chan *c);
size_t coarse_chan_try_recv_n(struct chan *c, void *v, size_t max, bool *closed);
size_t coarse_chan_demand(struct chan *c, size_t most);
void coarse_message_drain_chan(struct chan *c);
int coarse_chan_select(struct chan_case *cases, int ncases);
void coarse_sel_init(struct sel *s, struct chan_case *cases, int ncases);

#endif
