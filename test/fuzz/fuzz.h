/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. A target is a program: libFuzzer calls LLVMFuzzerTestOneInput with
 * one input after the other, in one thread. It must leave nothing behind: an input has to do alone
 * what it does after a million others.
 *
 * The first byte of an input is a set of flags, where a target has some; each file says which.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/check.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input. */
struct input {
	const uint8_t *p;
	size_t n;
};

/* The next byte, or 0 behind the end. */
static inline uint8_t input_byte(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* The next n bytes, or what is left. */
static inline struct input input_take(struct input *in, size_t n)
{
	struct input part = {in->p, n < in->n ? n : in->n};
	in->p += part.n;
	in->n -= part.n;
	return part;
}

/* The bytes before the next c, which is skipped; without one all of them. */
static inline struct input input_until(struct input *in, uint8_t c)
{
	const uint8_t *end = in->n > 0 ? memchr(in->p, c, in->n) : NULL;
	struct input part = input_take(in, end ? (size_t)(end - in->p) : in->n);
	if (end)
		(void)input_byte(in);
	return part;
}

/* As a C string, which the caller frees; it ends at a zero byte. */
char *input_string(struct input in);

/* --- the process (process.c) ------------------------------------------------------------------- */

/* The same as main() does first. To be called once, from LLVMFuzzerInitialize. */
void fuzz_process_init(void);
/*
 * A directory in memory, made at the first call: below $FUZZ_SCRATCH, or /dev/shm. It is removed
 * with all that is in it when the process exits.
 */
const char *fuzz_dir(void);
/* Its entry of that name; a static buffer, of which there are four. */
const char *fuzz_path(const char *name);
/* Writes such a file. */
void fuzz_write_file(const char *path, const void *data, size_t n);
/* Removes all that is in the directory. */
void fuzz_empty_dir(const char *dir);
/*
 * After each input: there are no more descriptors and threads than after any before. Waits for those
 * that are about to go.
 */
void fuzz_check_resources(void);

#endif
