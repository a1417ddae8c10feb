/* SPDX-License-Identifier: MIT */
/* BROKEN: the second way out of a function forgets what the other one frees. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/xalloc.h"

/* Makes a line from a name and a body. The caller frees it; NULL with err set. */
static char *make_line(const char *name, const char *body, struct err *err)
{
	char *upper = xstrdup(name); /* @allocates */

	for (char *c = upper; *c; c++) {
		if (*c < 'a' || *c > 'z') {
			err_set(err, EINVAL, "topic name \"%s\" is not valid", name);
			return NULL;
		}
		*c = (char)(*c - 'a' + 'A');
	}
	char *line = xasprintf("%s %s", upper, body);
	free(upper);
	return line;
}

int main(void)
{
	const char *names[] = {"ord?rs", "orders"};

	for (int i = 0; i < 2; i++) {
		struct err err;
		char *line = make_line(names[i], "hello", &err); /* @calls */

		printf("%s\n", line ? line : err.msg);
		free(line);
	}
	return 0;
}
