/* SPDX-License-Identifier: MIT */
/* A store that is made once, a lock that each return gives back, and errors that say where. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/lock.h"
#include "common/xalloc.h"

#include "test/course/go.h"

enum { NAMES = 26, TEXTS = 3 };

struct store {
	struct mutex lock; /* guards values */
	int values[NAMES]; /* 0: not set */
};

static struct store the_store;
static pthread_once_t store_once = PTHREAD_ONCE_INIT;

static void make_store(void)
{
	mutex_init(&the_store.lock, RANK_LEAF);
	printf("the store is made\n");
}

static struct store *get_store(void)
{
	PT_OK(pthread_once(&store_once, make_store));
	return &the_store;
}

static bool is_setting(const char *word)
{
	return word[0] >= 'a' && word[0] <= 'z' && word[1] == '=' && word[2] >= '1' &&
	       word[2] <= '9' && word[3] == '\0';
}

/* May return wherever it likes: it has no lock to give back. */
static int set_locked(struct store *s, const char *word, struct err *err)
{
	mutex_assert_held(&s->lock);
	if (!is_setting(word))
		return err_set(err, EINVAL, "%s is not NAME=DIGIT", word);
	int *value = &s->values[word[0] - 'a'];
	if (*value != 0)
		return err_set(err, EEXIST, "%c is set already", word[0]);
	*value = word[2] - '0';
	return 0;
}

static int set(struct store *s, const char *word, struct err *err)
{
	mutex_lock(&s->lock);
	int rc = set_locked(s, word, err);
	mutex_unlock(&s->lock);
	return rc;
}

static int load(const char *text, struct err *err)
{
	struct store *s = get_store();
	char *copy = xstrdup(text), *rest; /* strtok_r cuts what it is given */
	int rc = 0, n = 0;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		n++;
		if (set(s, word, err) < 0) {
			rc = err_wrap(err, "word %d", n);
			break;
		}
	}
	free(copy);
	return rc;
}

struct loader {
	int n;
	const char *text;
	int rc;
	struct err err; /* valid if rc is -1 */
};

static void run_loader(void *arg)
{
	struct loader *l = arg;

	l->rc = load(l->text, &l->err);
	if (l->rc < 0)
		err_wrap(&l->err, "text %d", l->n);
}

int main(void)
{
	static const char *const texts[TEXTS] = {"a=1 b=2", "c=3 d4 e=5", "f=6 f=7"};
	struct loader loaders[TEXTS];
	struct wait_group wg;
	int sum = 0;

	wait_group_init(&wg);
	for (int i = 0; i < TEXTS; i++) {
		loaders[i] = (struct loader){.n = i + 1, .text = texts[i]};
		go(&wg, "loader", run_loader, &loaders[i]);
	}
	wait_group_wait(&wg);
	for (int i = 0; i < TEXTS; i++)
		if (loaders[i].rc < 0)
			printf("%s\n", loaders[i].err.msg);
	for (int i = 0; i < NAMES; i++)
		sum += get_store()->values[i];
	printf("sum %d\n", sum);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&the_store.lock);
	return 0;
}
