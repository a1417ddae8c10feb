/* SPDX-License-Identifier: MIT */
/* Receives several values, with one deadline for all of them. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"

/* Receives up to n values, within ns for all of them together. Returns how many have come. */
static size_t gather(struct chan *c, int *v, size_t n, int64_t ns)
{
	struct ticker deadline;
	size_t got = 0;

	ticker_after(&deadline, ns); /* once, for all rounds */
	while (got < n) {
		struct chan_case cases[] = {
			chan_case_recv_n(c, v + got, n - got),
			chan_case_tick(&deadline),
		};

		if (chan_select(cases, 2) == 1) /* what is there now has come in time */
			return got + chan_try_recv_n(c, v + got, n - got, NULL);
		if (!cases[0].ok)
			return got;
		got += cases[0].n;
	}
	return got;
}

int main(void)
{
	struct chan *c = chan_new(sizeof(int), 5);
	int v[5];

	for (int i = 1; i <= 5; i++)
		chan_send(c, &i);
	printf("%zu\n", gather(c, v, 2, 60 * NSEC_PER_SEC));
	printf("%zu\n", gather(c, v, 5, 20 * NSEC_PER_MSEC));
	chan_close(c);
	printf("%zu\n", gather(c, v, 5, 60 * NSEC_PER_SEC));
	chan_free(c);
	return 0;
}
