/* SPDX-License-Identifier: MIT */
/* Base64 with padding (encoding/base64, StdEncoding). */
#ifndef COMMON_BASE64_H
#define COMMON_BASE64_H

#include <stddef.h>

#include "common/strbuf.h"

/* Appends data[0..n). */
void base64_add(struct strbuf *out, const void *data, size_t n);

#endif
