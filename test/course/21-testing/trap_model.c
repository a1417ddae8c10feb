/* SPDX-License-Identifier: MIT */
/* BROKEN: the same two pumps, without a gate. The model checker runs them in all orders. */
#include "test/course/21-testing/ready.h"
#include "test/model/mc.h"

static void pump(void *arg)
{
	(void)arg;
	if (is_ready())
		count_sent();
}

static void setup(void)
{
	mc_go("pump 0", pump, NULL);
	mc_go("pump 1", pump, NULL);
}

static void end(void)
{
	MC_CHECK(in_flight <= READY);
}

void mc_always(void)
{
}

const struct mc_scenario mc_scenarios[] = {{"lesson", setup, end}, {0}};
