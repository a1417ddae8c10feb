/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses of code. Mirrors, in small, runtime/symtab.go. Thread: the one that prints
 * the stacks, "signals".
 *
 * Why not backtrace_symbols or dladdr: they take the dynamic linker's lock, and know no static
 * function. The files are input: every offset in them is checked.
 */
#include "common/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- /proc/self/maps -------------------------------------------------------------------------- */

/* "start-end r-xp offset dev inode   /path" */
static void add_line(struct symbols *s, const char *line)
{
	unsigned long start, end, offset;
	char perms[5];
	int at = 0;
	if (s->n_files == SYMBOLS_FILES_MAX ||
		sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &start, &end, perms, &offset, &at) < 4)
		return;
	if (perms[2] != 'x' || line[at] != '/')
		return;
	struct symbols_file *f = &s->files[s->n_files++];
	*f = (struct symbols_file){.start = start, .end = end, .offset = offset};
	snprintf(f->path, sizeof(f->path), "%s", line + at);
}

void symbols_load(struct symbols *s)
{
	char buf[4096];
	size_t have = 0;
	ssize_t n;
	s->n_files = 0;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		have += (size_t)n;
		buf[have] = '\0';
		char *line = buf, *newline;
		while ((newline = strchr(line, '\n')) != NULL) {
			*newline = '\0';
			add_line(s, line);
			line = newline + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)
			have = 0; /* a path of 4 KB: no name for it */
	}
	close(fd);
}

/* --- ELF -------------------------------------------------------------------------------------- */

/* Opens the daemon's own file by /proc/self/exe: its path may be the next version by now. */
static int open_file(const char *path)
{
	char exe[SYMBOLS_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n > 0) {
		exe[n] = '\0';
		if (strcmp(exe, path) == 0)
			path = "/proc/self/exe";
	}
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* The file's bytes; NULL: it is gone, or no ELF file of our kind. */
static const char *map_file(struct symbols_file *f)
{
	struct stat st;
	if (f->looked)
		return f->image;
	f->looked = 1;
	int fd = open_file(f->path);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size > sizeof(ElfW(Ehdr))) {
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		const ElfW(Ehdr) *head = p;
		f->image_size = (size_t)st.st_size;
		if (p != MAP_FAILED && memcmp(head->e_ident, ELFMAG, SELFMAG) == 0 &&
			head->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
			f->image = p;
	}
	close(fd);
	return f->image;
}

/* n things of size bytes at offset of the file; NULL if they are not in it. */
static const void *at(const struct symbols_file *f, uint64_t offset, uint64_t n, uint64_t size)
{
	if (n > f->image_size / size || offset > f->image_size - n * size)
		return NULL;
	return f->image + offset;
}

/* The linker's address of this place of the file: symbols and addr2line use it. */
static uintptr_t file_address(const struct symbols_file *f, uintptr_t offset)
{
	const ElfW(Ehdr) *head = (const void *)f->image;
	const ElfW(Phdr) *p = at(f, head->e_phoff, head->e_phnum, sizeof(*p));
	for (size_t i = 0; p && i < head->e_phnum; i++) {
		if (p[i].p_type == PT_LOAD && offset >= p[i].p_offset &&
			offset - p[i].p_offset < p[i].p_filesz)
			return offset - p[i].p_offset + p[i].p_vaddr;
	}
	return offset;
}

/* The function at address, from one symbol table and its strings. */
static const char *look_in_table(const struct symbols_file *f, const ElfW(Shdr) * table,
	const ElfW(Shdr) * strings, uintptr_t address, uintptr_t *begin)
{
	size_t n = table->sh_size / sizeof(ElfW(Sym));
	const ElfW(Sym) *sym = at(f, table->sh_offset, n, sizeof(*sym));
	const char *names = at(f, strings->sh_offset, strings->sh_size, 1);
	if (!sym || !names || strings->sh_size == 0 || names[strings->sh_size - 1] != '\0')
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if ((sym[i].st_info & 0xf) == STT_FUNC && address >= sym[i].st_value &&
			address - sym[i].st_value < sym[i].st_size &&
			sym[i].st_name < strings->sh_size) {
			*begin = sym[i].st_value;
			return names + sym[i].st_name;
		}
	}
	return NULL;
}

/* The same from the full table or, in a stripped library, from the table of exports. */
static const char *look_up(const struct symbols_file *f, uintptr_t address, uintptr_t *begin)
{
	const ElfW(Ehdr) *head = (const void *)f->image;
	const ElfW(Shdr) *sections = at(f, head->e_shoff, head->e_shnum, sizeof(*sections));
	const char *name = NULL;
	for (size_t i = 0; sections && i < head->e_shnum && !name; i++) {
		const ElfW(Shdr) *s = &sections[i];
		if ((s->sh_type == SHT_SYMTAB || s->sh_type == SHT_DYNSYM) &&
			s->sh_link < head->e_shnum)
			name = look_in_table(f, s, &sections[s->sh_link], address, begin);
	}
	return name;
}

static struct symbols_found find(struct symbols *s, uintptr_t pc)
{
	struct symbols_found found = {.pc = pc};
	for (size_t i = 0; i < s->n_files && !found.file; i++) {
		if (pc >= s->files[i].start && pc < s->files[i].end)
			found.file = &s->files[i];
	}
	if (!found.file)
		return found;
	found.address = pc - found.file->start + found.file->offset;
	if (map_file(found.file)) {
		found.address = file_address(found.file, found.address);
		found.name = look_up(found.file, found.address, &found.begin);
	}
	return found;
}

const char *symbols_format(struct symbols *s, uintptr_t pc, char *buf, size_t size)
{
	struct symbols_found *f = &s->cache[pc % SYMBOLS_CACHE];
	if (f->pc != pc)
		*f = find(s, pc);
	const char *slash = f->file ? strrchr(f->file->path, '/') : NULL;
	unsigned long address = f->address, begin = f->begin;
	if (!slash)
		snprintf(buf, size, "%#lx", (unsigned long)pc);
	else if (!f->name)
		snprintf(buf, size, "? %s+%#lx", slash + 1, address);
	else
		snprintf(
			buf, size, "%s+%#lx %s+%#lx", f->name, address - begin, slash + 1, address);
	return buf;
}
