/* SPDX-License-Identifier: MIT */
/* BROKEN: two pumps send to one client. A gate lets them do it at the worst moment. */
#include "test/course/21-testing/ready.h"
#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate others[2]; /* open: that pump has looked */

static void pump(void *arg)
{
	int i = *(int *)arg;

	if (is_ready()) {
		gate_open(&others[i]);
		gate_wait(&others[1 - i]);
		count_sent();
	}
}

int main(void)
{
	int numbers[] = {0, 1};
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "pump 0", pump, &numbers[0]);
	go(&wg, "pump 1", pump, &numbers[1]);
	wait_group_wait(&wg);
	printf("ready for %d, in flight %d\n", READY, in_flight);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
