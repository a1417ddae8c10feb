/* SPDX-License-Identifier: MIT */
/* What a file has at its beginning, or why it cannot be read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/err.h"
#include "common/xalloc.h"

enum { SIZE = 100 };

/* Returns how many bytes there are, 100 at most; or -1 with err set. */
static int load(const char *path, struct err *err)
{
	char *buf = NULL;
	int rc = -1;

	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(err, errno, "open %s", path);
		goto out;
	}
	buf = xmalloc(SIZE);
	rc = (int)read(fd, buf, SIZE);
	if (rc < 0)
		err_errno(err, errno, "read %s", path);
out:
	free(buf);
	if (fd >= 0)
		close(fd);
	return rc;
}

int main(void)
{
	static const char *const paths[] = {"/dev/null", "/no/such/file", "/"};

	for (int i = 0; i < 3; i++) {
		struct err err;
		int n = load(paths[i], &err);

		if (n < 0) {
			err_wrap(&err, "cannot load");
			printf("%s\n", err.msg);
		} else {
			printf("%d bytes\n", n);
		}
	}
	return 0;
}
