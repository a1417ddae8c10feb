/* SPDX-License-Identifier: MIT */
/*
 * --enable-experiment=topology-aware-consumption (stock: master): messages go to consumers of this
 * node's zone first, then to those of its region. Without the experiment no consumer is near, and
 * nothing of it shows.
 */
#ifndef NSQD_TOPOLOGY_H
#define NSQD_TOPOLOGY_H

#include <stdbool.h>

#include "common/strbuf.h"
#include "common/text.h"
#include "nsqd/core/options.h"

/* The nearest first: the order in which consumers are served. */
enum closeness {
	ZONE_LOCAL,
	REGION_LOCAL,
	GLOBAL,
	N_CLOSENESS,
};

struct topology {
	/* How a message for this consumer is counted. As in stock "no zone" equals "no zone". */
	enum closeness counted_as;
	/*
	 * How the consumer is served: if this node has no zone or no region, that prefers no
	 * consumer.
	 */
	enum closeness served_as;
};

bool topology_is_aware(const struct options *opts);
/* A consumer that said these in its IDENTIFY. */
struct topology topology_of(const struct options *opts, struct text zone, struct text region);

/*
 * The node's zone and region as members of a JSON object, with a comma in front; nothing if !aware.
 */
void topology_add_zone_region_json(struct strbuf *out, const struct options *opts);
void topology_add_region_zone_json(struct strbuf *out, const struct options *opts);

#endif
