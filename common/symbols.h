/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses of code (runtime.FuncForPC), from the symbol tables of the mapped ELF files.
 * For a process that is about to end: it uses neither malloc nor a lock of libc, since a stopped
 * thread may hold one. One thread at a time.
 */
#ifndef COMMON_SYMBOLS_H
#define COMMON_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

/* Mapped files with code in them: the program and its libraries. */
#define SYMBOLS_FILES_MAX 64
#define SYMBOLS_PATH_MAX 128

struct symbols_file {
	uintptr_t start, end; /* of the code */
	uintptr_t offset;     /* in the file, of start */
	char path[SYMBOLS_PATH_MAX];
	const char *image; /* the file; mapped at the first need; NULL if that fails */
	size_t image_size;
	int looked; /* whether it has been tried to map image */
};

/* The result for pc, kept because the threads of a pool stand at the same places. */
struct symbols_found {
	uintptr_t pc, address, begin; /* address as in the file; begin of the function */
	const char *name;             /* in the file's image; NULL: none */
	struct symbols_file *file;    /* NULL: none */
};

#define SYMBOLS_CACHE 1024

struct symbols {
	struct symbols_file files[SYMBOLS_FILES_MAX];
	size_t n_files;
	struct symbols_found cache[SYMBOLS_CACHE];
};

/* Reads /proc/self/maps. If it cannot read all, some addresses have no names. */
void symbols_load(struct symbols *s);
/*
 * Writes "topic_message_pump+0x1f nsqd+0x12345" to buf: the function, then the file and the address
 * for addr2line. Parts that are not known are left out. Returns buf.
 */
const char *symbols_format(struct symbols *s, uintptr_t pc, char *buf, size_t size);

#endif
