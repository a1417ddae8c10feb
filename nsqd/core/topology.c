/* SPDX-License-Identifier: MIT */
/*
 * Near and far consumers. Mirrors parts of nsqd/protocol_v2.go's messagePump in stock's master, and
 * the places that tell the node's zone and region. Pure functions, for any thread.
 */
#include "nsqd/core/topology.h"

#include <string.h>

bool topology_is_aware(const struct options *opts)
{
	return options_has_experiment(opts, EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION);
}

struct topology topology_of(const struct options *opts, struct text zone, struct text region)
{
	struct topology t = {.counted_as = GLOBAL, .served_as = GLOBAL};
	if (!topology_is_aware(opts))
		return t;
	bool same_zone = text_is(zone, opts->topology_zone);
	bool same_region = text_is(region, opts->topology_region);
	if (same_zone)
		t.counted_as = ZONE_LOCAL;
	else if (same_region)
		t.counted_as = REGION_LOCAL;
	if (same_zone && zone.len > 0)
		t.served_as = ZONE_LOCAL;
	else if (same_region && region.len > 0)
		t.served_as = REGION_LOCAL;
	return t;
}

static void add_member(struct strbuf *out, const char *key, const char *value)
{
	strbuf_addf(out, ",\"%s\":", key);
	strbuf_add_json(out, value, strlen(value));
}

void topology_add_zone_region_json(struct strbuf *out, const struct options *opts)
{
	if (!topology_is_aware(opts))
		return;
	add_member(out, "topology_zone", opts->topology_zone);
	add_member(out, "topology_region", opts->topology_region);
}

void topology_add_region_zone_json(struct strbuf *out, const struct options *opts)
{
	if (!topology_is_aware(opts))
		return;
	add_member(out, "topology_region", opts->topology_region);
	add_member(out, "topology_zone", opts->topology_zone);
}
