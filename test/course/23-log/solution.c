/* SPDX-License-Identifier: MIT */
/* The records of the lesson: cut after each byte, and damaged in each bit. */
#include <stdbool.h>
#include <stdio.h>

#include "test/course/23-log/record.h"

enum { MESSAGES = 3 };

static const char *const sent[MESSAGES] = {"pay 1000", "pay 20", "pay 300 to 4711"};

/* What was found is what was sent, from the first on, and nothing else. */
static bool is_prefix(const struct texts *found)
{
	for (int i = 0; i < found->n; i++)
		if (i == MESSAGES || strcmp(found->list[i], sent[i]) != 0)
			return false;
	return true;
}

int main(void)
{
	char log[MESSAGES * (RECORD_HEAD + TEXT_SIZE)];
	size_t ends[MESSAGES], len = 0, wrong = 0, damaged = 0;
	struct texts found;

	for (int i = 0; i < MESSAGES; i++)
		ends[i] = len += put_record(log + len, sent[i]);
	for (size_t cut = 0; cut <= len; cut++) {
		int whole = 0;

		while (whole < MESSAGES && ends[whole] <= cut)
			whole++;
		recover(log, cut, &found);
		wrong += !is_prefix(&found) || found.n != whole;
	}
	printf("%zu cuts, %zu wrong\n", len + 1, wrong);
	for (size_t bit = 0; bit < len * 8; bit++) {
		log[bit / 8] ^= (char)(1 << bit % 8);
		recover(log, len, &found);
		damaged += is_prefix(&found) && found.n < MESSAGES;
		log[bit / 8] ^= (char)(1 << bit % 8);
	}
	printf("%zu bits, %zu noticed\n", len * 8, damaged);
	return 0;
}
