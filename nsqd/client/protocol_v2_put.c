/* SPDX-License-Identifier: MIT */
/*
 * A put that io_loop does not wait for: protocol_v2_put.h. Mirrors no Go file.
 *
 * The log's thread says that it has ended, and kicks the client, whose next step answers it. Behind
 * that word the client may go on, and be freed, at once. So the log's thread does not touch it; to
 * kick a connection that is over does no harm.
 */
#include "nsqd/client/protocol_v2_put.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/netpoll.h"
#include "common/xalloc.h"

/* How often a client looks at a put that takes long. */
#define LOOK_NS NSEC_PER_SEC

/* topic_put.done */
static void ended(struct topic_put *put)
{
	struct pending_put *p =
		(struct pending_put *)((char *)put - offsetof(struct pending_put, put));
	struct poll_desc *pd = p->pd;
	atomic_store(&p->ended, true);
	netpoll_kick(pd);
}

/* Large fields are not set before they are used. */
static struct pending_put *new_put(
	struct client_v2 *c, const char *command, size_t n, int64_t deferred_ns)
{
	CHECK(!c->put);
	struct pending_put *p = xmalloc(sizeof(*p));
	p->put.topic = NULL;
	p->put.done = ended;
	p->put.deferred_ns = deferred_ns;
	p->pd = c->pd;
	atomic_init(&p->ended, false);
	p->command = command;
	p->n = n;
	p->behind = BEHIND_COMMANDS;
	p->aside = NULL;
	p->needs_thread = false;
	p->bodies = NULL;
	return p;
}

bool protocol_v2_begin_put(struct io_loop *l, const char *command, struct topic *t,
	struct message_body *const *take_bodies, size_t n, int64_t deferred_ns)
{
	struct pending_put *p = new_put(l->client, command, n, deferred_ns);
	p->put.topic = topic_ref(t);
	if (topic_begin_put(&p->put, take_bodies, n)) {
		l->client->put = p;
		return true;
	}
	atomic_store_explicit(&p->ended, true, memory_order_relaxed);
	protocol_v2_free_put(p);
	return false;
}

void protocol_v2_keep_for_thread(struct io_loop *l)
{
	struct pending_put *p = new_put(l->client, l->pub_command, l->n_pubs, l->pub_deferred_ns);
	p->needs_thread = true;
	strcpy(p->topic_name, l->pub_topic);
	p->bodies = xreallocarray(NULL, l->n_pubs, sizeof(*p->bodies));
	memcpy(p->bodies, l->pubs, l->n_pubs * sizeof(*p->bodies));
	atomic_store_explicit(&p->ended, true, memory_order_relaxed);
	l->n_pubs = 0;
	l->client->put = p;
}

void protocol_v2_take_from_keep(struct io_loop *l, struct pending_put *p)
{
	CHECK(l->n_pubs == 0 && p->n <= PUB_BATCH);
	strcpy(l->pub_topic, p->topic_name);
	l->pub_command = p->command;
	l->pub_deferred_ns = p->put.deferred_ns;
	l->n_pubs = p->n;
	memcpy(l->pubs, p->bodies, p->n * sizeof(*p->bodies));
}

struct put_aside *protocol_v2_put_aside(struct pending_put *p)
{
	if (!p->aside)
		p->aside = xcalloc(1, sizeof(*p->aside));
	return p->aside;
}

bool protocol_v2_put_has_ended(struct client_v2 *c)
{
	if (atomic_load(&c->put->ended))
		return true;
	topic_look_at_log(c->put->put.topic);
	return false;
}

int64_t protocol_v2_put_deadline(void)
{
	return clock_mono_ns() + LOOK_NS;
}

void protocol_v2_free_put(struct pending_put *p)
{
	if (!p)
		return;
	CHECK(atomic_load_explicit(&p->ended, memory_order_relaxed));
	topic_unref(p->put.topic);
	if (p->aside)
		strbuf_free(&p->aside->error.text);
	free(p->aside);
	free(p->bodies);
	free(p);
}
