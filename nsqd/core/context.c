/* SPDX-License-Identifier: MIT */
/*
 * The state that the daemon's parts share. Mirrors logf, getOpts, Notify, SetHealth and GetHealth
 * of nsqd/nsqd.go. The thread "main" makes it and ends it; the other functions run in any thread.
 */
#include "nsqd/core/context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/core/log_fields.h"

void context_init(struct context *ctx, struct options *take_opts, int log_fd)
{
	*ctx = (struct context){.data_dir_fd = -1, .exit_fd = -1};
	atomic_init(&ctx->opts, take_opts);
	lg_init(&ctx->lg, log_fd, take_opts->log_prefix, take_opts->log_level);
	lg_use_json(&ctx->lg, log_describe(take_opts));
	if (take_opts->log_dedup > 0)
		lg_count_repeated(&ctx->lg, take_opts->log_dedup);
	nsqd_config_init(&ctx->config, take_opts);
	notify_init(&ctx->notify);
	drain_init(&ctx->drain);
	mutex_init(&ctx->host.lock, RANK_LEAF);
	wait_group_init(&ctx->host.wait_group);
	ctx->host.exit_chan = chan_new(0, 0);
	settings_store_init(&ctx->settings, take_opts);
	deadlines_init(&ctx->deadlines);
	ctx->start_time_ns = clock_wall_ns();
	ctx->flush_patience.ns = FLUSH_PATIENCE_NS;
	ctx->metadata_patience.ns = METADATA_PATIENCE_NS;
	mutex_init(&ctx->health_lock, RANK_HEALTH);
	atomic_init(&ctx->healthy, true);
	ctx->alive_chan = chan_new(0, 0);
	ctx->exit_begun_chan = chan_new(0, 0);
	ctx->exit_chan = chan_new(0, 0);
}

void context_destroy(struct context *ctx)
{
	chan_free(ctx->alive_chan);
	chan_free(ctx->exit_begun_chan);
	chan_free(ctx->exit_chan);
	mutex_destroy(&ctx->health_lock);
	nsqd_config_destroy(&ctx->config);
	notify_destroy(&ctx->notify);
	drain_destroy(&ctx->drain);
	chan_free(ctx->host.exit_chan);
	wait_group_destroy(&ctx->host.wait_group);
	mutex_destroy(&ctx->host.lock);
	settings_store_destroy(&ctx->settings);
	deadlines_destroy(&ctx->deadlines);
	if (ctx->exit_fd >= 0)
		close(ctx->exit_fd);
	lg_stop_writer(&ctx->lg);
	lg_destroy(&ctx->lg);
	options_free(atomic_load(&ctx->opts));
	for (size_t i = 0; i < ctx->n_old_opts; i++)
		options_free(ctx->old_opts[i]);
	free(ctx->old_opts);
}

int context_open(struct context *ctx, struct err *err)
{
	ctx->exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return ctx->exit_fd >= 0 ? 0 : err_errno(err, errno, "eventfd");
}

void context_begin_exit(struct context *ctx)
{
	atomic_store(&ctx->phase, PHASE_EXITING);
	chan_close(ctx->exit_begun_chan);
	CHECK(eventfd_write(ctx->exit_fd, 1) == 0);
}

void nsqd_logf(struct context *ctx, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	lg_vlogf(&ctx->lg, level, fmt, ap);
	va_end(ap);
}

const char *nsqd_data_path(const struct context *ctx)
{
	return options_data_path(nsqd_get_opts(ctx));
}

bool nsqd_swap_opts(struct context *ctx, struct options *take_opts)
{
	if (ctx->n_old_opts == OPTIONS_SWAPS_MAX) {
		options_free(take_opts);
		return false;
	}
	ctx->old_opts = xreallocarray(ctx->old_opts, ctx->n_old_opts + 1, sizeof(*ctx->old_opts));
	ctx->old_opts[ctx->n_old_opts++] = atomic_exchange(&ctx->opts, take_opts);
	return true;
}

/*
 * since the in-memory metadata is incomplete, should not persist metadata while loading it; main
 * persists it after loading
 */
void nsqd_notify(
	struct context *ctx, const char *topic, const char *channel, bool gone, bool persist)
{
	notify_post(&ctx->notify, topic, channel, gone, persist && !context_is_loading(ctx));
}

void nsqd_forget_settings(struct context *ctx, const char *topic, const char *channel)
{
	struct settings_store *s = &ctx->settings;
	struct err err;
	int rc = 0;
	mutex_lock(&s->change_lock);
	if (settings_store_knows(s, topic, channel))
		rc = settings_store_forget_locked(s, topic, channel, &err);
	mutex_unlock(&s->change_lock);
	if (rc != 0)
		nsqd_logf(ctx, LG_ERROR, "failed to write %s without those of %s%s%s - %s",
			SETTINGS_FILE, topic, channel ? ":" : "", channel ? channel : "", err.msg);
}

/* --- health --------------------------------------------------------------------------------- */

static void tell_health_locked(struct context *ctx)
{
	mutex_assert_held(&ctx->health_lock);
	atomic_store(&ctx->healthy, !*ctx->health_error && ctx->failing_logs == 0);
}

void nsqd_set_health(struct context *ctx, const struct err *err)
{
	if (!err && atomic_load_explicit(&ctx->healthy, memory_order_relaxed))
		return;
	mutex_lock(&ctx->health_lock);
	snprintf(ctx->health_error, sizeof(ctx->health_error), "%s", err ? err->msg : "");
	tell_health_locked(ctx);
	mutex_unlock(&ctx->health_lock);
}

void nsqd_set_log_health(struct context *ctx, bool was, const struct err *err)
{
	mutex_lock(&ctx->health_lock);
	CHECK(!was || ctx->failing_logs > 0);
	ctx->failing_logs = ctx->failing_logs - (was ? 1 : 0) + (err ? 1 : 0);
	if (err)
		snprintf(ctx->log_error, sizeof(ctx->log_error), "%s", err->msg);
	tell_health_locked(ctx);
	mutex_unlock(&ctx->health_lock);
}

bool nsqd_is_healthy(struct context *ctx)
{
	return atomic_load(&ctx->healthy);
}

char *nsqd_get_health(struct context *ctx, char *buf, size_t size)
{
	mutex_lock(&ctx->health_lock);
	if (*ctx->health_error)
		snprintf(buf, size, "NOK - %s", ctx->health_error);
	else if (ctx->failing_logs > 0)
		snprintf(buf, size, "NOK - %s", ctx->log_error);
	else
		snprintf(buf, size, "OK");
	mutex_unlock(&ctx->health_lock);
	return buf;
}
