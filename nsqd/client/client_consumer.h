/* SPDX-License-Identifier: MIT */
/* A client as its channel sees it: struct client_v2 in the role of Go's Consumer (consumer.h). */
#ifndef NSQD_CLIENT_CONSUMER_H
#define NSQD_CLIENT_CONSUMER_H

#include "nsqd/queue/consumer.h"

/* For client_v2_new: what struct consumer calls of client_v2, its pump and netpoll. */
extern const struct consumer_ops client_consumer_ops;

#endif
