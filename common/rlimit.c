/* SPDX-License-Identifier: MIT */
/*
 * The limit of descriptors. Mirrors Go's syscall/rlimit.go, except that this daemon starts no
 * programs that need the old limit back. Main thread, and accept loops.
 */
#include "common/rlimit.h"

#include <limits.h>
#include <sys/resource.h>

#include "common/check.h"

void rlimit_raise_nofile(void)
{
	struct rlimit lim;
	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur == lim.rlim_max)
		return;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

int rlimit_nofile(void)
{
	struct rlimit lim;
	CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	return lim.rlim_cur < INT_MAX ? (int)lim.rlim_cur : INT_MAX;
}
