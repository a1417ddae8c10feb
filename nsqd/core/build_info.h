/* SPDX-License-Identifier: MIT */
/* How this binary was built, and what it runs with: the lines of --version=long. */
#ifndef NSQD_BUILD_INFO_H
#define NSQD_BUILD_INFO_H

#include "common/strbuf.h"

/*
 * Appends lines "what: text": this daemon's name and version, compiler, machine, flags, and each
 * library with the version that was there at the build and the one that is there now. The same
 * sources and flags give the same lines in any folder, at any time. Any thread; never blocks.
 */
void build_info_print(struct strbuf *out);

#endif
