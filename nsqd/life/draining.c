/* SPDX-License-Identifier: MIT */
/*
 * What main does while the daemon drains. Mirrors no Go file of 1.3.0, but StartDraining of pull
 * request 1305. Runs in the thread "main".
 *
 * It looks ten times a second: what is empty is unregistered, and when all is, the exit begins. The
 * last message of a queue tells nobody that it goes: no message shall cost more for that.
 */
#include "nsqd/life/draining.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "common/clock.h"

#define LOOK_NS (100 * NSEC_PER_MSEC)
#define TELL_NS (10 * NSEC_PER_SEC)

void draining_init(struct draining *d, struct context *ctx, struct topics *topics)
{
	*d = (struct draining){.ctx = ctx, .topics = topics};
	ticker_stop(&d->look);
}

static bool is_draining(const struct draining *d)
{
	return d->look.next_ns != 0;
}

/* The state has changed to this word; it may have been called off and begun anew since. */
static void begin(struct draining *d, uint64_t word)
{
	char text[32];
	bool goes_on = is_draining(d) && drain_changes(word) - drain_changes(d->word) <= 1;
	d->word = word;
	drained_await_puts(d->topics);
	if (goes_on)
		return;
	int64_t timeout = nsqd_get_opts(d->ctx)->drain_timeout;
	d->begun_ns = clock_mono_ns();
	d->tell_ns = d->begun_ns + TELL_NS;
	ticker_start(&d->look, LOOK_NS);
	d->look.next_ns = d->begun_ns; /* at once: there may be nothing to wait for */
	nsqd_logf(d->ctx, LG_INFO, "NSQ: draining, for %s at most",
		timeout ? duration_format(timeout, text, sizeof(text)) : "ever");
}

static void call_off(struct draining *d)
{
	if (!is_draining(d))
		return;
	ticker_stop(&d->look);
	drained_announce_all(d->topics);
	nsqd_logf(d->ctx, LG_INFO, "NSQ: the drain is called off");
}

void draining_changed(struct draining *d)
{
	uint64_t word = atomic_load(&d->ctx->drain.word);
	if (drain_state_of(word) == DRAIN_OFF)
		call_off(d);
	else
		begin(d, word);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void log_early_end(const struct draining *d, enum lg_level level, const char *why)
{
	nsqd_logf(d->ctx, level,
		"NSQ: the drain ends, %s; %" PRId64 " messages of %zu topics are kept on disk", why,
		d->left.messages, d->left.topics);
}

/* Now and then, how far it is. */
static void tell(struct draining *d, int64_t now)
{
	if (now < d->tell_ns)
		return;
	d->tell_ns = now + TELL_NS;
	nsqd_logf(d->ctx, LG_INFO, "NSQ: draining, %" PRId64 " messages of %zu topics are left",
		d->left.messages, d->left.topics);
}

/* From here on it cannot be called off. False: it just has been. */
static bool make_final(struct draining *d)
{
	return drain_to_exit_from(&d->ctx->drain, d->word);
}

bool draining_look(struct draining *d)
{
	int64_t timeout = nsqd_get_opts(d->ctx)->drain_timeout;
	int64_t now = clock_mono_ns();
	drained_announce(d->topics, &d->left);
	if (drained_all(d->topics) && make_final(d)) {
		nsqd_logf(d->ctx, LG_INFO, "NSQ: drained");
		return true;
	}
	if (timeout != 0 && now - d->begun_ns >= timeout && make_final(d)) {
		log_early_end(d, LG_WARN, "its time is up");
		return true;
	}
	tell(d, now);
	return false;
}

/* --- signals ---------------------------------------------------------------------------------- */

/* True: the signal is to end the daemon, not to begin a drain. */
static bool is_to_exit(const struct draining *d, int signum)
{
	struct context *ctx = d->ctx;
	if (signum != SIGTERM || strcmp(nsqd_get_opts(ctx)->sigterm, "drain") != 0)
		return true;
	/* These two are sent by the daemon itself. */
	if (atomic_load(&ctx->main_failed) || lg_is_broken(&ctx->lg))
		return true;
	return drain_state_of(atomic_load(&ctx->drain.word)) == DRAIN_TO_EXIT;
}

bool draining_signalled(struct draining *d, int signum)
{
	if (is_to_exit(d, signum)) {
		if (is_draining(d)) {
			drained_announce(d->topics, &d->left);
			log_early_end(d, LG_INFO, signum == SIGTERM ? "by SIGTERM" : "by SIGINT");
		}
		return true;
	}
	drain_to_exit(&d->ctx->drain);
	draining_changed(d);
	return false;
}
