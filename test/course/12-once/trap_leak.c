/* SPDX-License-Identifier: MIT */
/* BROKEN: where a word is wrong, the copy of the text is not freed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/xalloc.h"

static int check(const char *word, struct err *err)
{
	if (strlen(word) != 3 || word[1] != '=')
		return err_set(err, EINVAL, "%s is not NAME=DIGIT", word);
	return 0;
}

static int load(const char *text, struct err *err)
{
	char *copy = xstrdup(text), *rest; /* @copies */
	int n = 0;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		n++;
		if (check(word, err) < 0)
			return err_wrap(err, "word %d", n);
	}
	free(copy);
	return 0;
}

int main(void)
{
	static const char *const texts[] = {"a=1 b=2", "c=3 d4 e=5", "f=6 f7"};

	for (int i = 0; i < 3; i++) {
		struct err err;

		if (load(texts[i], &err) < 0) /* @loads */
			printf("text %d: %s\n", i + 1, err.msg);
	}
	return 0;
}
