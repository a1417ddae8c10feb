/* SPDX-License-Identifier: MIT */
/*
 * The state of a drain. No Go file: stock 1.3.0 cannot drain. The threads of HTTP connections change
 * it, and main; each publisher looks at it.
 */
#include "nsqd/core/drain.h"

void drain_init(struct drain *d)
{
	atomic_init(&d->word, DRAIN_OFF);
	d->changed_chan = chan_new(0, 1);
}

void drain_destroy(struct drain *d)
{
	chan_free(d->changed_chan);
}

/* The word after one more change. */
static uint64_t next_word(uint64_t word, enum drain_state state)
{
	return (drain_changes(word) + 1) << 2 | (uint64_t)state;
}

bool drain_request(struct drain *d, bool on)
{
	enum drain_state wanted = on ? DRAIN_ON : DRAIN_OFF;
	uint64_t word = atomic_load(&d->word);
	do {
		if (drain_state_of(word) == DRAIN_TO_EXIT)
			return on;
		if (drain_state_of(word) == wanted)
			return true;
	} while (!atomic_compare_exchange_strong(&d->word, &word, next_word(word, wanted)));
	chan_signal(d->changed_chan);
	return true;
}

bool drain_to_exit_from(struct drain *d, uint64_t word)
{
	return atomic_compare_exchange_strong(&d->word, &word, next_word(word, DRAIN_TO_EXIT));
}

void drain_to_exit(struct drain *d)
{
	while (!drain_to_exit_from(d, atomic_load(&d->word)))
		;
}
