/* SPDX-License-Identifier: MIT */
/*
 * What is set. Mirrors no Go file. Runs in main (load, reload), in the threads of HTTP connections
 * (changes), and in any thread that makes a topic or a channel.
 */
#include "nsqd/core/settings_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "common/check.h"
#include "common/xalloc.h"
#include "nsqd/core/data_file.h"
#include "nsqd/core/dead_letter_name.h"
#include "nsqd/core/options.h"
#include "protocol/names.h"

/* Of the file. One that is newer is refused. */
#define FILE_VERSION 1

/* "TOPIC" or "TOPIC/CHANNEL", which no name can be. */
#define KEY_SIZE (2 * NAME_SIZE)

struct run_time {
	char key[KEY_SIZE];
	struct settings_patch patch;
	UT_hash_handle hh;
};

static const char *make_key(const char *topic, const char *channel, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "%s%s%s", topic, channel ? "/" : "", channel ? channel : "");
	return key;
}

/* --- life ------------------------------------------------------------------------------------- */

static void take_options(struct settings_store *s, const struct options *opts)
{
	setting_values_of_options(&s->defaults, opts);
	s->plain = settings_new(&s->defaults);
	s->policies = policies_ref(opts->policies);
}

void settings_store_init(struct settings_store *s, const struct options *opts)
{
	*s = (struct settings_store){.dir_fd = -1};
	mutex_init(&s->change_lock, RANK_SETTINGS);
	mutex_init(&s->lock, RANK_LEAF);
	take_options(s, opts);
}

static void free_all(struct run_time **map)
{
	struct run_time *r, *tmp;
	HASH_ITER (hh, *map, r, tmp) {
		HASH_DEL(*map, r);
		free(r);
	}
}

void settings_store_destroy(struct settings_store *s)
{
	free_all(&s->run_time);
	policies_unref(s->policies);
	settings_unref(s->plain);
	free(s->path);
	mutex_destroy(&s->lock);
	mutex_destroy(&s->change_lock);
}

/* --- run time ----------------------------------------------------------------------------------- */

static struct run_time *find_in(struct run_time *map, const char *topic, const char *channel)
{
	struct run_time *r;
	char key[KEY_SIZE];
	make_key(topic, channel, key);
	HASH_FIND_STR(map, key, r);
	return r;
}

/* Is it of this channel; or (NULL) of this topic, or of a channel of it? */
static bool concerns(const struct run_time *r, const char *topic, const char *channel)
{
	char key[KEY_SIZE];
	size_t len = strlen(make_key(topic, channel, key));
	return strncmp(r->key, key, len) == 0 &&
	       (r->key[len] == '\0' || (!channel && r->key[len] == '/'));
}

/* Memory alone has it. */
static bool is_ephemeral(const char *topic, const char *channel)
{
	return is_ephemeral_name(topic) || (channel && is_ephemeral_name(channel));
}

/* No settings: no entry. */
static void put_in(struct run_time **map, const char *topic, const char *channel,
	const struct settings_patch *patch)
{
	struct run_time *r = find_in(*map, topic, channel);
	if (!r && patch->set == 0)
		return;
	if (!r) {
		r = xcalloc(1, sizeof(*r));
		make_key(topic, channel, r->key);
		HASH_ADD_STR(*map, key, r);
	}
	r->patch = *patch;
	if (patch->set == 0) {
		HASH_DEL(*map, r);
		free(r);
	}
}

/* --- resolving ---------------------------------------------------------------------------------- */

/* Where each value comes from. */
struct origins {
	const char *kind[32];  /* by row */
	const char *match[32]; /* of the policy; NULL: it is none */
};

static void note(
	struct origins *o, const struct settings_patch *p, const char *kind, const char *match)
{
	for (size_t i = 0; o && i < settings_count(); i++) {
		if (p->set & (1u << i)) {
			o->kind[i] = kind;
			o->match[i] = match;
		}
	}
}

/* A topic is no dead-letter topic of its own: a policy for all topics matches that one as well. */
static void break_loop(struct setting_values *v, const char *topic, const char *channel)
{
	char name[NAME_SIZE];
	if (channel && *v->dead_letter_topic &&
		strcmp(dead_letter_name(v->dead_letter_topic, topic, channel, name), topic) == 0)
		v->dead_letter_topic[0] = '\0';
}

/* What the sources say, with map for what is set at run time. o, false: as resolve_locked. */
static bool gather_locked(struct settings_store *s, struct run_time *map, const char *topic,
	const char *channel, struct setting_values *v, struct origins *o)
{
	bool any = false;
	mutex_assert_held(&s->lock);
	*v = s->defaults;
	for (size_t i = 0; i < s->policies->n; i++) {
		const struct policy *p = &s->policies->v[i];
		if (!policy_matches(p, topic, channel))
			continue;
		settings_apply(v, &p->patch);
		note(o, &p->patch, "policy", p->match);
		any = true;
	}
	struct run_time *r = find_in(map, topic, NULL);
	if (r) {
		settings_apply(v, &r->patch);
		note(o, &r->patch, "topic", NULL);
	}
	struct run_time *rc = channel ? find_in(map, topic, channel) : NULL;
	if (rc) {
		settings_apply(v, &rc->patch);
		note(o, &rc->patch, "channel", NULL);
	}
	return any || r || rc;
}

/* o may be NULL. False: nothing but the defaults, which are as the flags say. */
static bool resolve_locked(struct settings_store *s, const char *topic, const char *channel,
	struct setting_values *v, struct origins *o)
{
	bool any = gather_locked(s, s->run_time, topic, channel, v, o);
	if (any) {
		break_loop(v, topic, channel);
		/* The flags alone may say so, as in stock. */
		if (v->msg_timeout != s->defaults.msg_timeout ||
			v->max_msg_timeout != s->defaults.max_msg_timeout)
			settings_bound(v);
	}
	return any;
}

struct settings *settings_store_get(
	struct settings_store *s, const char *topic, const char *channel)
{
	struct setting_values v;
	mutex_lock(&s->lock);
	bool any = resolve_locked(s, topic, channel, &v, NULL);
	struct settings *found = any ? settings_new(&v) : settings_ref(s->plain);
	mutex_unlock(&s->lock);
	return found;
}

int settings_store_durability(struct settings_store *s, const char *topic)
{
	struct settings *found = settings_store_get(s, topic, NULL);
	int durability = found->v.durability;
	settings_unref(found);
	return durability;
}

/* Of a topic, which is to be opened anew for another one. */
static void add_in_effect(
	struct strbuf *out, size_t row, const struct setting_values *v, int durability)
{
	if (durability >= 0 && durability != v->durability &&
		strcmp(settings_name(row), "durability") == 0)
		strbuf_addf(out, ",\"in_effect\":\"%s\"", durability_name(durability));
}

void settings_store_show(struct settings_store *s, const char *topic, const char *channel,
	int durability, struct strbuf *out)
{
	struct origins o = {0};
	struct setting_values v;
	int scope = channel ? SETTING_CHANNEL : SETTING_TOPIC;
	bool first = true;
	mutex_lock(&s->lock);
	resolve_locked(s, topic, channel, &v, &o);
	for (size_t i = 0; i < settings_count(); i++) {
		/* A topic's are its channels' as well: all are shown. */
		if (channel && !(settings_scope(i) & scope))
			continue;
		strbuf_addf(out, "%s\"%s\":{\"value\":", first ? "{" : ",", settings_name(i));
		settings_add_json(out, i, &v);
		strbuf_addf(out, ",\"from\":\"%s", o.kind[i] ? o.kind[i] : "default");
		strbuf_addc(out, '"');
		if (o.match[i]) {
			strbuf_adds(out, ",\"match\":");
			strbuf_add_json(out, o.match[i], strlen(o.match[i]));
		}
		add_in_effect(out, i, &v, durability);
		strbuf_addc(out, '}');
		first = false;
	}
	strbuf_addc(out, '}');
	mutex_unlock(&s->lock);
}

/* From now on it holds. */
static void install(struct settings_store *s, struct run_time *take_map)
{
	mutex_lock(&s->lock);
	struct run_time *old = s->run_time;
	s->run_time = take_map;
	mutex_unlock(&s->lock);
	free_all(&old);
}

/* --- the file: writing -------------------------------------------------------------------------- */

static int by_key(struct run_time *a, struct run_time *b)
{
	return strcmp(a->key, b->key);
}

static void add_entry(struct strbuf *sb, const char *name, const struct settings_patch *p)
{
	strbuf_adds(sb, "{\"name\":");
	strbuf_add_json(sb, name, strlen(name));
	strbuf_adds(sb, ",\"settings\":{");
	settings_patch_add_json(sb, p);
	strbuf_addc(sb, '}');
}

/*
 * Sorted by key, so that a topic's channels come one after the other; '/' is before all that a name
 * has but '-' and '.', so that topics may stand between them. Hence a topic may come twice.
 */
static void add_file(struct strbuf *sb, struct run_time *map)
{
	static const struct settings_patch nothing;
	bool first = true;
	strbuf_adds(sb, "{\"topics\":[");
	for (struct run_time *r = map; r; r = r->hh.next) {
		char topic[KEY_SIZE];
		char *slash = strchr(strcpy(topic, r->key), '/');
		if (slash)
			*slash = '\0';
		if (is_ephemeral(topic, slash ? slash + 1 : NULL))
			continue;
		strbuf_adds(sb, first ? "\n" : ",\n");
		add_entry(sb, topic, slash ? &nothing : &r->patch);
		if (slash) {
			strbuf_adds(sb, ",\"channels\":[");
			add_entry(sb, slash + 1, &r->patch);
			strbuf_adds(sb, "}]");
		}
		strbuf_addc(sb, '}');
		first = false;
	}
	strbuf_addf(sb, "],\"version\":%d}\n", FILE_VERSION);
}

/* Writes the file as it would be with map. */
static int write_file(struct settings_store *s, struct run_time **map, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	HASH_SORT(*map, by_key);
	add_file(&sb, *map);
	int rc = data_file_replace(s->dir_fd, s->path, &sb, err);
	strbuf_free(&sb);
	return rc;
}

/* --- the file: reading -------------------------------------------------------------------------- */

static int bad(struct err *err, const char *what)
{
	return err_set(err, EINVAL, "%s", what);
}

/* The member of that name; false: there is none. */
static bool member(struct json_value object, const char *name, struct json_value *out)
{
	struct json_value key;
	size_t pos = 0;
	while (json_next_member(object, &pos, &key, out)) {
		if (json_key_is(key, name))
			return true;
	}
	return false;
}

static int read_entry(
	struct run_time **map, struct json_value e, const char *topic, struct err *err);

static int read_entries(
	struct run_time **map, struct json_value list, const char *topic, struct err *err)
{
	struct json_value e;
	size_t pos = 0;
	if (list.type != JSON_ARRAY)
		return bad(err, topic ? "\"channels\" is no list" : "\"topics\" is no list");
	while (json_next_element(list, &pos, &e)) {
		if (read_entry(map, e, topic, err) != 0)
			return -1;
	}
	return 0;
}

static int read_settings(struct run_time **map, struct json_value e, const char *topic,
	const char *channel, struct err *err)
{
	struct settings_patch patch = {0};
	struct json_value settings;
	struct run_time *there = find_in(*map, topic, channel);
	if (there)
		patch = there->patch;
	if (member(e, "settings", &settings) &&
		settings_patch_set_json(
			&patch, settings, channel ? SETTING_CHANNEL : SETTING_TOPIC, err) != 0)
		return err_wrap(err, "%s%s%s: ", topic, channel ? "/" : "", channel ? channel : "");
	put_in(map, topic, channel, &patch);
	return 0;
}

/* One topic, or (topic) one of its channels. */
static int read_entry(
	struct run_time **map, struct json_value e, const char *topic, struct err *err)
{
	struct json_value v, channels;
	if (e.type != JSON_OBJECT || !member(e, "name", &v) || v.type != JSON_STRING)
		return bad(err, "an entry without a name");
	char *name = json_string(v);
	size_t len = strlen(name);
	bool ok = topic ? is_valid_channel_name(name, len) : is_valid_topic_name(name, len);
	int rc = ok ? read_settings(map, e, topic ? topic : name, topic ? name : NULL, err)
		    : bad(err, "a name that is not valid");
	if (rc == 0 && !topic && member(e, "channels", &channels))
		rc = read_entries(map, channels, name, err);
	free(name);
	return rc;
}

static int parse(const struct strbuf *sb, struct run_time **map, struct err *err)
{
	struct json_value v;
	int64_t version;
	if (!json_valid(sb->data, sb->len))
		return bad(err, "invalid JSON");
	struct json_value root = json_root(sb->data, sb->len);
	if (root.type != JSON_OBJECT || !member(root, "version", &v) ||
		!json_int(v, 1, INT32_MAX, &version))
		return bad(err, "no version");
	if (version > FILE_VERSION)
		return err_set(
			err, EINVAL, "version %lld is newer than this nsqd", (long long)version);
	return member(root, "topics", &v) ? read_entries(map, v, NULL, err) : bad(err, "no topics");
}

static int read_file(const char *path, struct run_time **map, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	int rc = data_file_read(path, &sb, err);
	*map = NULL;
	if (rc > 0)
		rc = parse(&sb, map, err);
	strbuf_free(&sb);
	if (rc == 0)
		return 0;
	free_all(map);
	return err_wrap(err, "failed to read settings from %s - ", path);
}

int settings_store_load(
	struct settings_store *s, const char *data_path, int dir_fd, struct err *err)
{
	struct run_time *map;
	char *path = data_file_path(data_path, SETTINGS_FILE);
	if (read_file(path, &map, err) != 0) {
		free(path);
		return -1;
	}
	free(s->path);
	s->path = path;
	s->dir_fd = dir_fd;
	install(s, map);
	return 0;
}

/* --- changes ------------------------------------------------------------------------------------ */

/* A copy to be changed and written, before it holds. */
static struct run_time *copy_all(struct settings_store *s)
{
	struct run_time *map = NULL;
	mutex_lock(&s->lock);
	for (struct run_time *r = s->run_time; r; r = r->hh.next) {
		struct run_time *copy = xcalloc(1, sizeof(*copy));
		memcpy(copy->key, r->key, sizeof(copy->key));
		copy->patch = r->patch;
		HASH_ADD_STR(map, key, copy);
	}
	mutex_unlock(&s->lock);
	return map;
}

/* Would they go together, for this topic or channel? What the flags say alone is not asked. */
static int check_one(struct settings_store *s, struct run_time *map, const char *topic,
	const char *channel, struct err *err)
{
	struct setting_values v;
	mutex_lock(&s->lock);
	gather_locked(s, map, topic, channel, &v, NULL);
	bool as_flags = v.msg_timeout == s->defaults.msg_timeout &&
			v.max_msg_timeout == s->defaults.max_msg_timeout;
	mutex_unlock(&s->lock);
	return as_flags ? 0 : settings_check(&v, err);
}

/* Likewise each channel of the topic that has settings of its own. */
static int check_channels(
	struct settings_store *s, struct run_time *map, const char *topic, struct err *err)
{
	for (struct run_time *r = map; r; r = r->hh.next) {
		const char *slash = strchr(r->key, '/');
		if (slash && concerns(r, topic, NULL) &&
			check_one(s, map, topic, slash + 1, err) != 0)
			return err_wrap(err, "channel %s: ", slash + 1);
	}
	return 0;
}

/* So many topics are looked at for a loop of dead-letter topics, and so far from the first. */
#define LOOP_LOOKS_MAX 10000
#define LOOP_DEPTH_MAX 8

/* A walk from one dead-letter topic to the next. */
struct walk {
	const char *to; /* where it must not come */
	int looks_left;
};

static bool leads_there_locked(
	struct settings_store *s, struct walk *w, const char *topic, int depth);

/* The dead letters of that channel of the topic; "": of any for which nothing else is set. */
static bool channel_leads_there_locked(
	struct settings_store *s, struct walk *w, const char *topic, const char *channel, int depth)
{
	struct setting_values v;
	char name[NAME_SIZE];
	resolve_locked(s, topic, *channel ? channel : NULL, &v, NULL);
	if (!*v.dead_letter_topic)
		return false;
	dead_letter_name(v.dead_letter_topic, topic, channel, name);
	if (strcmp(name, w->to) == 0)
		return true;
	return strcmp(name, topic) != 0 && depth > 0 && leads_there_locked(s, w, name, depth - 1);
}

static bool leads_there_locked(
	struct settings_store *s, struct walk *w, const char *topic, int depth)
{
	size_t len = strlen(topic);
	if (w->looks_left-- <= 0)
		return false;
	if (channel_leads_there_locked(s, w, topic, "", depth))
		return true;
	for (struct run_time *r = s->run_time; r; r = r->hh.next) {
		if (strncmp(r->key, topic, len) == 0 && r->key[len] == '/' &&
			channel_leads_there_locked(s, w, topic, r->key + len + 1, depth))
			return true;
	}
	return false;
}

/* Would dead letters of the topic come back to it? -1 with err set: by way of the first of them. */
static int check_loop(struct settings_store *s, struct run_time *map, const char *topic,
	const char *dead, struct err *err)
{
	struct walk w = {.to = topic, .looks_left = LOOP_LOOKS_MAX};
	mutex_lock(&s->lock);
	struct run_time *old = s->run_time;
	s->run_time = map;
	bool loop = leads_there_locked(s, &w, dead, LOOP_DEPTH_MAX);
	s->run_time = old;
	mutex_unlock(&s->lock);
	return loop ? err_set(err, EINVAL,
			      "dead_letter_topic: the dead letters of %s would come back to %s",
			      dead, topic)
		    : 0;
}

/* What would be the case with the patch for this topic or channel. */
static int check(struct settings_store *s, struct run_time *map, const char *topic,
	const char *channel, const struct settings_patch *patch, struct err *err)
{
	char name[NAME_SIZE];
	const char *pattern = patch->v.dead_letter_topic;
	if (*pattern &&
		strcmp(dead_letter_name(pattern, topic, channel ? channel : "", name), topic) == 0)
		return err_set(err, EINVAL, "dead_letter_topic: %s cannot be its own", topic);
	if (*pattern && check_loop(s, map, topic, name, err) != 0)
		return -1;
	if (check_one(s, map, topic, channel, err) != 0)
		return -1;
	return channel ? 0 : check_channels(s, map, topic, err);
}

/*
 * Before a change holds. Where the disk refuses, it may have renamed the file already: then the old
 * one is written once more, for what it is worth.
 */
static int keep(struct settings_store *s, struct run_time **map, struct err *err)
{
	if (write_file(s, map, err) == 0)
		return 0;
	struct run_time *old = copy_all(s);
	(void)write_file(s, &old, NULL);
	free_all(&old);
	err->code = EIO; /* whatever the disk says: EINVAL is for settings that cannot be */
	return -1;
}

int settings_store_set_locked(struct settings_store *s, const char *topic, const char *channel,
	struct json_value object, struct err *err)
{
	mutex_assert_held(&s->change_lock);
	CHECK(s->path);
	struct run_time *map = copy_all(s), *there = find_in(map, topic, channel);
	struct settings_patch patch = there ? there->patch : (struct settings_patch){0};
	int rc = settings_patch_set_json(
		&patch, object, channel ? SETTING_CHANNEL : SETTING_TOPIC, err);
	if (rc == 0) {
		put_in(&map, topic, channel, &patch);
		rc = check(s, map, topic, channel, &patch, err);
	}
	if (rc == 0 && !is_ephemeral(topic, channel))
		rc = keep(s, &map, err);
	if (rc == 0)
		install(s, map);
	else
		free_all(&map);
	return rc;
}

bool settings_store_knows(struct settings_store *s, const char *topic, const char *channel)
{
	bool found = false;
	mutex_lock(&s->lock);
	for (struct run_time *r = s->run_time; r && !found; r = r->hh.next)
		found = concerns(r, topic, channel);
	mutex_unlock(&s->lock);
	return found;
}

int settings_store_forget_locked(
	struct settings_store *s, const char *topic, const char *channel, struct err *err)
{
	mutex_assert_held(&s->change_lock);
	struct run_time *map = copy_all(s), *r, *tmp;
	HASH_ITER (hh, map, r, tmp) {
		if (concerns(r, topic, channel)) {
			HASH_DEL(map, r);
			free(r);
		}
	}
	int rc = is_ephemeral(topic, channel) ? 0 : write_file(s, &map, err);
	install(s, map);
	return rc;
}

void settings_store_reload_locked(struct settings_store *s, const struct options *opts)
{
	mutex_assert_held(&s->change_lock);
	mutex_lock(&s->lock);
	struct settings *plain = s->plain;
	struct policies *policies = s->policies;
	take_options(s, opts);
	mutex_unlock(&s->lock);
	settings_unref(plain);
	policies_unref(policies);
}
