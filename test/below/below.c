/* SPDX-License-Identifier: MIT */
/*
 * Faults from below: a library that is loaded in front of libc (LD_PRELOAD). It counts the system
 * calls of a process, and makes chosen ones fail, be short, or be slow. No Go file. Any thread.
 *
 * BELOW says what is to happen: "KIND[@PLACE]:N:ACTION[:K]", several with commas between them. The
 * N-th call of the kind and the K-1 calls behind it (K is 1 unless said otherwise) meet the action:
 *
 *   ENOSPC, EAI_AGAIN ...  the call is not made, and fails with this code (close is made, too)
 *   short                  it is made with half of its bytes
 *   slow=MS                it is made so many milliseconds later
 *
 * PLACE is where the call comes from: MODULE.OFFSET, as in the record. N then counts the calls from
 * there only. That number hardly depends on what other threads do.
 *
 * BELOW_RECORD names a file, which the process and the runner share (struct record). It says how
 * often each kind was called, from which place, and what has failed. It says which descriptors are
 * open, and which calls met a descriptor that is none. What is there stays if the process dies.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What can be told to fail. The runner reads this list, in this order. */
/* clang-format off */
#define KINDS(X) \
	X(open) X(fopen) X(opendir) X(readdir) X(getdents64) X(close) \
	X(read) X(pread) X(write) X(pwrite) X(pwritev) X(getdelim) X(fgets) \
	X(fsync) X(fdatasync) X(ftruncate) X(rename) X(unlink) X(link) X(flock) X(lseek) \
	X(openat) X(fdopendir) X(mkdirat) X(renameat) X(unlinkat) X(fallocate) \
	X(stat) X(fstat) X(lstat) X(readlink) X(fcntl) \
	X(mmap) X(madvise) X(pthread_create) X(futex) X(nanosleep) \
	X(socket) X(bind) X(listen) X(accept4) X(connect) X(shutdown) \
	X(setsockopt) X(getsockopt) X(getsockname) X(send) X(sendmsg) X(recv) X(poll) X(ppoll) \
	X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) X(eventfd_read) X(eventfd_write) \
	X(timerfd_create) X(timerfd_settime) \
	X(getrandom) X(getaddrinfo) X(gethostname) X(getservbyname_r) X(getrlimit) X(setrlimit) \
	X(getrusage) X(prctl) X(sched_getaffinity)

enum kind {
#define ENUM(name) KIND_##name,
	KINDS(ENUM)
#undef ENUM
	N_KINDS
};
/* clang-format on */

static const char *const kind_names[N_KINDS] = {
#define NAME(name) #name,
	KINDS(NAME)
#undef NAME
};

/* --- the record: run.py has the same layout (class Record) ------------------------------------ */

#define N_PLACES 1024
#define N_EVENTS 64
#define N_FDS 4096
#define N_MODULES 64
#define N_KINDS_MAX 96

struct place {
	_Atomic uint64_t key; /* kind + 1, module, offset: 8, 8 and 48 bits; 0: free */
	_Atomic uint64_t count;
};

/* A call that was made to fail, or that met a descriptor which is not open. */
struct event {
	uint64_t key; /* as of place */
	uint64_t nth; /* of its kind */
	int32_t phase;
	int32_t code; /* why it fails; 0: it was short, or slow */
	char thread[16];
	char what[208]; /* "ENOSPC /path/of/the/file" */
};

struct record {
	char modules[N_MODULES][64]; /* file names; 0 is the program itself */
	_Atomic uint64_t kinds[N_KINDS_MAX];
	_Atomic int32_t phase; /* the runner writes it: each event has the phase in which it was */
	_Atomic uint32_t n_faults, n_bad;
	uint32_t unused;
	struct event faults[N_EVENTS], bad[N_EVENTS];
	_Atomic uint64_t opened[N_FDS]; /* key of the place that has opened the descriptor, or 0 */
	struct place places[N_PLACES];
};

static struct record nothing, *record = &nothing;
static uintptr_t module_begin[N_MODULES], module_end[N_MODULES], module_base[N_MODULES];
static int n_modules;

/* --- what is to happen ------------------------------------------------------------------------ */

enum action { FAIL, SHORT, SLOW };

struct order {
	enum kind kind;
	bool at_place;
	unsigned module;
	uint64_t offset, first, count;
	enum action action;
	int value; /* errno or EAI_*, or milliseconds */
	char name[32];
};

static struct order orders[16];
static int n_orders;

/* A call that is being made. */
struct call {
	enum kind kind;
	void *from;
	int fd;           /* -1: none */
	const char *path; /* NULL: none */
	bool is_short;    /* set by meets() */
	int code;         /* likewise: why it fails */
	uint64_t key;
};

static _Noreturn void give_up(const char *why)
{
	dprintf(STDERR_FILENO, "below: %s\n", why);
	_exit(99);
}

static int code_of(const char *name)
{
	static const struct {
		const char *name;
		int code;
	} eai[] = {{"EAI_AGAIN", EAI_AGAIN}, {"EAI_MEMORY", EAI_MEMORY}, {"EAI_FAIL", EAI_FAIL}};
	for (size_t i = 0; i < sizeof(eai) / sizeof(*eai); i++) {
		if (strcmp(eai[i].name, name) == 0)
			return eai[i].code;
	}
	for (int code = 1; code < 200; code++) {
		const char *known = strerrorname_np(code);
		if (known && strcmp(known, name) == 0)
			return code;
	}
	give_up("BELOW names no error");
}

static enum kind kind_of(const char *name)
{
	for (int i = 0; i < N_KINDS; i++) {
		if (strcmp(kind_names[i], name) == 0)
			return (enum kind)i;
	}
	give_up("BELOW names no call");
}

static void parse_order(char *text, struct order *o)
{
	char kind[32], action[32];
	unsigned long long n = 0, k = 1;
	if (sscanf(text, "%31[^:]:%llu:%31[^:]:%llu", kind, &n, action, &k) < 3)
		give_up("BELOW is KIND[@MODULE.OFFSET]:N:ACTION[:K]");
	char *at = strchr(kind, '@');
	if (at) {
		*at = '\0';
		o->at_place = true;
		o->module = (unsigned)strtoul(at + 1, &at, 10);
		o->offset = strtoull(at + 1, NULL, 16);
	}
	o->kind = kind_of(kind);
	o->first = n;
	o->count = k;
	snprintf(o->name, sizeof(o->name), "%s", action);
	o->action = strcmp(action, "short") == 0       ? SHORT
		    : strncmp(action, "slow=", 5) == 0 ? SLOW
						       : FAIL;
	o->value = o->action == FAIL ? code_of(action) : o->action == SLOW ? atoi(action + 5) : 0;
}

static int note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	if (n_modules == N_MODULES)
		return 1;
	uintptr_t begin = UINTPTR_MAX, end = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;
		if (p->p_type != PT_LOAD)
			continue;
		begin = start < begin ? start : begin;
		end = start + p->p_memsz > end ? start + p->p_memsz : end;
	}
	module_begin[n_modules] = begin;
	module_end[n_modules] = end;
	module_base[n_modules] = info->dlpi_addr;
	const char *slash = strrchr(info->dlpi_name, '/');
	snprintf(record->modules[n_modules++], sizeof(record->modules[0]), "%s",
		slash ? slash + 1 : info->dlpi_name);
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("BELOW_RECORD"), *text = getenv("BELOW");
	if (path) {
		int fd = (int)syscall(
			SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || syscall(SYS_ftruncate, fd, sizeof(struct record)) != 0)
			give_up("cannot write BELOW_RECORD");
		void *p = (void *)syscall(SYS_mmap, NULL, sizeof(struct record),
			PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			give_up("cannot map BELOW_RECORD");
		syscall(SYS_close, fd);
		record = p;
	}
	dl_iterate_phdr(note_module, NULL);
	char *copy = strdup(text ? text : ""), *rest = copy;
	for (char *one; (one = strsep(&rest, ",")) && *one;) {
		if (n_orders == sizeof(orders) / sizeof(*orders))
			give_up("BELOW is too long");
		parse_order(one, &orders[n_orders++]);
	}
	free(copy);
}

/* --- counting --------------------------------------------------------------------------------- */

/* The bits of struct place.key. The offset is that of the call, not of the place behind it. */
static uint64_t key_of(const struct call *c)
{
	uintptr_t at = (uintptr_t)c->from - 1;
	for (int i = 0; i < n_modules; i++) {
		if (at >= module_begin[i] && at < module_end[i])
			return (uint64_t)(c->kind + 1) << 56 | (uint64_t)i << 48 |
			       (at - module_base[i]);
	}
	return (uint64_t)(c->kind + 1) << 56 | (uint64_t)(N_MODULES - 1) << 48;
}

/* Counts the call at its place: the number of this one. 0: there are too many places. */
static uint64_t count_at_place(uint64_t key)
{
	size_t i = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 54);
	for (size_t turns = 0; turns < N_PLACES; turns++, i = (i + 1) % N_PLACES) {
		struct place *p = &record->places[i];
		uint64_t seen = 0;
		if (atomic_compare_exchange_strong(&p->key, &seen, key) || seen == key)
			return atomic_fetch_add(&p->count, 1) + 1;
	}
	return 0;
}

static void describe(struct event *e, const struct call *c, const char *action)
{
	char path[160] = "", name[32];
	if (c->path)
		snprintf(path, sizeof(path), "%s", c->path);
	else if (c->fd >= 0) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", c->fd);
		long n = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof(path) - 1);
		if (n < 0)
			snprintf(path, sizeof(path), "descriptor %d", c->fd);
	}
	snprintf(e->what, sizeof(e->what), "%s %s", action, path);
}

static void note_event(_Atomic uint32_t *n, struct event *events, const struct call *c,
	uint64_t nth, const char *action, int code)
{
	int saved = errno;
	uint32_t i = atomic_fetch_add(n, 1);
	if (i < N_EVENTS) {
		struct event *e = &events[i];
		e->nth = nth;
		e->phase = atomic_load(&record->phase);
		e->code = code;
		syscall(SYS_prctl, PR_GET_NAME, e->thread);
		describe(e, c, action);
		e->key = c->key; /* last: the runner reads those that have one */
	}
	errno = saved;
}

static void wait_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	while (syscall(SYS_nanosleep, &ts, &ts) != 0 && errno == EINTR)
		;
}

/* True: the call is not to be made, and fails with c->code, which errno has as well. */
static bool meets(struct call *c, size_t size)
{
	int saved = errno;
	c->key = key_of(c);
	uint64_t nth = atomic_fetch_add(&record->kinds[c->kind], 1) + 1;
	uint64_t nth_here = count_at_place(c->key);
	for (int i = 0; i < n_orders; i++) {
		const struct order *o = &orders[i];
		uint64_t n = o->at_place ? nth_here : nth;
		uint64_t key =
			(uint64_t)(o->kind + 1) << 56 | (uint64_t)o->module << 48 | o->offset;
		if (o->kind != c->kind || (o->at_place && key != c->key) || n < o->first ||
			n - o->first >= o->count || (o->action == SHORT && size < 2))
			continue;
		c->code = o->action == FAIL ? o->value : 0;
		note_event(&record->n_faults, record->faults, c, nth, o->name, c->code);
		if (o->action == SLOW)
			wait_ms(o->value);
		c->is_short = o->action == SHORT;
		errno = c->code ? c->code : saved;
		return c->code != 0;
	}
	errno = saved;
	return false;
}

/* After the call: a descriptor that is none, or none of this sort, is a fault of the program's. */
static void look_for_bad(const struct call *c, bool failed)
{
	if (failed && c->fd >= 0 && (errno == EBADF || errno == ENOTSOCK))
		note_event(&record->n_bad, record->bad, c, 0, strerrorname_np(errno), errno);
}

static int opened(const struct call *c, int fd)
{
	if (fd >= 0 && fd < N_FDS)
		atomic_store(&record->opened[fd], c->key);
	return fd;
}

/* --- the calls -------------------------------------------------------------------------------- */

/* libc's function of this name, or a sanitizer's in front of it. */
#define REAL(name)                                                                                 \
	({                                                                                         \
		static void *_Atomic real_;                                                        \
		if (!real_)                                                                        \
			real_ = dlsym(RTLD_NEXT, #name);                                           \
		(__typeof__(&name))real_;                                                          \
	})

#define CALL(name_, fd_, path_)                                                                    \
	struct call c = {.kind = KIND_##name_,                                                     \
		.from = __builtin_return_address(0),                                               \
		.fd = (fd_),                                                                       \
		.path = (path_)}

/* A call that returns a number, and -1 with errno set. */
#define PLAIN(type, name, fd, path, params, args)                                                  \
	type name params                                                                           \
	{                                                                                          \
		CALL(name, fd, path);                                                              \
		if (meets(&c, 0))                                                                  \
			return -1;                                                                 \
		type rc = REAL(name) args;                                                         \
		look_for_bad(&c, rc == -1);                                                        \
		return rc;                                                                         \
	}

/* One that returns a new descriptor. */
#define OPENS(name, fd, path, params, args)                                                        \
	int name params                                                                            \
	{                                                                                          \
		CALL(name, fd, path);                                                              \
		if (meets(&c, 0))                                                                  \
			return -1;                                                                 \
		int rc = opened(&c, REAL(name) args);                                              \
		look_for_bad(&c, rc == -1);                                                        \
		return rc;                                                                         \
	}

/* One that moves n bytes, or some of them. */
#define MOVES(name, fd, n, params, args)                                                           \
	ssize_t name params                                                                        \
	{                                                                                          \
		CALL(name, fd, NULL);                                                              \
		if (meets(&c, n))                                                                  \
			return -1;                                                                 \
		if (c.is_short)                                                                    \
			n /= 2;                                                                    \
		ssize_t rc = REAL(name) args;                                                      \
		look_for_bad(&c, rc == -1);                                                        \
		return rc;                                                                         \
	}

PLAIN(int, fsync, fd, NULL, (int fd), (fd))
PLAIN(int, fdatasync, fd, NULL, (int fd), (fd))
PLAIN(int, ftruncate, fd, NULL, (int fd, off_t length), (fd, length))
PLAIN(int, rename, -1, from, (const char *from, const char *to), (from, to))
PLAIN(int, unlink, -1, path, (const char *path), (path))
PLAIN(int, link, -1, from, (const char *from, const char *to), (from, to))
PLAIN(int, mkdirat, dir, name, (int dir, const char *name, mode_t mode), (dir, name, mode))
PLAIN(int, renameat, -1, from, (int dir, const char *from, int dir_to, const char *to),
	(dir, from, dir_to, to))
PLAIN(int, unlinkat, dir, name, (int dir, const char *name, int flags), (dir, name, flags))
PLAIN(int, fallocate, fd, NULL, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
PLAIN(int, flock, fd, NULL, (int fd, int op), (fd, op))
PLAIN(off_t, lseek, fd, NULL, (int fd, off_t at, int whence), (fd, at, whence))
PLAIN(int, stat, -1, path, (const char *restrict path, struct stat *restrict st), (path, st))
PLAIN(int, lstat, -1, path, (const char *restrict path, struct stat *restrict st), (path, st))
PLAIN(int, fstat, fd, NULL, (int fd, struct stat *st), (fd, st))
PLAIN(ssize_t, readlink, -1, path, (const char *restrict path, char *restrict buf, size_t size),
	(path, buf, size))
PLAIN(int, madvise, -1, NULL, (void *p, size_t size, int advice), (p, size, advice))
PLAIN(int, nanosleep, -1, NULL, (const struct timespec *ts, struct timespec *left), (ts, left))
PLAIN(int, bind, fd, NULL, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
PLAIN(int, listen, fd, NULL, (int fd, int backlog), (fd, backlog))
PLAIN(int, connect, fd, NULL, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
PLAIN(int, shutdown, fd, NULL, (int fd, int how), (fd, how))
PLAIN(int, setsockopt, fd, NULL, (int fd, int level, int name, const void *value, socklen_t len),
	(fd, level, name, value, len))
PLAIN(int, getsockopt, fd, NULL,
	(int fd, int level, int name, void *restrict value, socklen_t *restrict len),
	(fd, level, name, value, len))
PLAIN(int, getsockname, fd, NULL, (int fd, struct sockaddr *restrict sa, socklen_t *restrict len),
	(fd, sa, len))
PLAIN(int, poll, -1, NULL, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))
PLAIN(int, ppoll, -1, NULL,
	(struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
	(fds, n, timeout, mask))
PLAIN(int, epoll_ctl, fd, NULL, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e))
PLAIN(int, epoll_wait, fd, NULL, (int fd, struct epoll_event *events, int n, int ms),
	(fd, events, n, ms))
PLAIN(int, eventfd_read, fd, NULL, (int fd, eventfd_t *value), (fd, value))
PLAIN(int, eventfd_write, fd, NULL, (int fd, eventfd_t value), (fd, value))
PLAIN(int, timerfd_settime, fd, NULL,
	(int fd, int flags, const struct itimerspec *when, struct itimerspec *old),
	(fd, flags, when, old))
PLAIN(int, gethostname, -1, NULL, (char *name, size_t size), (name, size))
PLAIN(int, getrlimit, -1, NULL, (__rlimit_resource_t what, struct rlimit *r), (what, r))
PLAIN(int, setrlimit, -1, NULL, (__rlimit_resource_t what, const struct rlimit *r), (what, r))
PLAIN(int, getrusage, -1, NULL, (__rusage_who_t of, struct rusage *usage), (of, usage))
PLAIN(int, sched_getaffinity, -1, NULL, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
PLAIN(ssize_t, getdelim, -1, NULL,
	(char **restrict line, size_t *restrict size, int delimiter, FILE *restrict f),
	(line, size, delimiter, f))

OPENS(socket, -1, NULL, (int family, int type, int protocol), (family, type, protocol))
OPENS(accept4, fd, NULL, (int fd, struct sockaddr *restrict sa, socklen_t *restrict len, int flags),
	(fd, sa, len, flags))
OPENS(epoll_create1, -1, NULL, (int flags), (flags))
OPENS(eventfd, -1, NULL, (unsigned value, int flags), (value, flags))
OPENS(timerfd_create, -1, NULL, (clockid_t clock, int flags), (clock, flags))

MOVES(read, fd, n, (int fd, void *buf, size_t n), (fd, buf, n))
MOVES(pread, fd, n, (int fd, void *buf, size_t n, off_t at), (fd, buf, n, at))
MOVES(write, fd, n, (int fd, const void *buf, size_t n), (fd, buf, n))
MOVES(pwrite, fd, n, (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at))
MOVES(recv, fd, n, (int fd, void *buf, size_t n, int flags), (fd, buf, n, flags))
MOVES(send, fd, n, (int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags))
MOVES(getrandom, -1, n, (void *buf, size_t n, unsigned flags), (buf, n, flags))

static size_t size_of(const struct iovec *iov, size_t n)
{
	size_t size = 0;
	for (size_t i = 0; i < n; i++)
		size += iov[i].iov_len;
	return size;
}

/* A copy of the vector, cut to half of its bytes; *n: its parts. The caller frees it. */
static struct iovec *halved(const struct iovec *iov, size_t *n)
{
	struct iovec *copy = malloc(*n * sizeof(*copy));
	size_t left = size_of(iov, *n) / 2, i = 0;
	if (!copy)
		give_up("no memory");
	memcpy(copy, iov, *n * sizeof(*copy));
	for (; copy[i].iov_len < left; i++)
		left -= copy[i].iov_len;
	copy[i].iov_len = left;
	*n = i + 1;
	return copy;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	CALL(pwritev, fd, NULL);
	size_t parts = (size_t)n;
	if (meets(&c, size_of(iov, parts)))
		return -1;
	struct iovec *less = c.is_short ? halved(iov, &parts) : NULL;
	ssize_t rc = REAL(pwritev)(fd, less ? less : iov, (int)parts, at);
	look_for_bad(&c, rc == -1);
	free(less);
	return rc;
}

/*
 * Has this socket no room? Now and then that is so for three writes: that of a thread which must not
 * wait, of one which may, and the one after that.
 */
static bool is_full(int fd)
{
	enum { EVERY = 16, FIRST = 3, LAST = 5 };
	static _Atomic int sends[2];
	int domain;
	socklen_t len = sizeof(domain);
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0)
		return false;
	int n = sends[domain == AF_UNIX]++ % EVERY;
	return n >= FIRST && n <= LAST;
}

ssize_t sendmsg(int fd, const struct msghdr *mh, int flags)
{
	CALL(sendmsg, fd, NULL);
	struct msghdr shown = *mh;
	if (meets(&c, size_of(mh->msg_iov, mh->msg_iovlen)))
		return -1;
	if (is_full(fd)) {
		errno = EAGAIN;
		return -1;
	}
	struct iovec *less = c.is_short ? halved(mh->msg_iov, &shown.msg_iovlen) : NULL;
	if (less)
		shown.msg_iov = less;
	ssize_t rc = REAL(sendmsg)(fd, &shown, flags);
	look_for_bad(&c, rc == -1);
	free(less);
	return rc;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = va_arg(ap, mode_t);
	va_end(ap);
	CALL(open, -1, path);
	return meets(&c, 0) ? -1 : opened(&c, REAL(open)(path, flags, mode));
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = va_arg(ap, mode_t);
	va_end(ap);
	CALL(openat, -1, path);
	return meets(&c, 0) ? -1 : opened(&c, REAL(openat)(dir, path, flags, mode));
}

/* A descriptor is gone whatever close returns. Its number may be another's before this returns. */
int close(int fd)
{
	CALL(close, fd, NULL);
	bool fails = meets(&c, 0);
	if (fd >= 0 && fd < N_FDS)
		atomic_store(&record->opened[fd], 0);
	int rc = REAL(close)(fd);
	look_for_bad(&c, rc == -1);
	errno = fails ? c.code : errno;
	return fails ? -1 : rc;
}

FILE *fopen(const char *restrict path, const char *restrict mode)
{
	CALL(fopen, -1, path);
	return meets(&c, 0) ? NULL : REAL(fopen)(path, mode);
}

char *fgets(char *restrict line, int size, FILE *restrict f)
{
	CALL(fgets, -1, NULL);
	return meets(&c, 0) ? NULL : REAL(fgets)(line, size, f);
}

DIR *opendir(const char *path)
{
	CALL(opendir, -1, path);
	return meets(&c, 0) ? NULL : REAL(opendir)(path);
}

/* The descriptor is closed by closedir, which is libc's own business. */
DIR *fdopendir(int fd)
{
	CALL(fdopendir, fd, NULL);
	if (meets(&c, 0))
		return NULL;
	if (fd >= 0 && fd < N_FDS)
		atomic_store(&record->opened[fd], 0);
	return REAL(fdopendir)(fd);
}

struct dirent *readdir(DIR *d)
{
	CALL(readdir, -1, NULL);
	return meets(&c, 0) ? NULL : REAL(readdir)(d);
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	CALL(mmap, fd, NULL);
	return meets(&c, 0) ? MAP_FAILED : REAL(mmap)(at, size, prot, flags, fd, offset);
}

/* Returns its error. */
int pthread_create(pthread_t *restrict id, const pthread_attr_t *restrict attr, void *(*fn)(void *),
	void *restrict arg)
{
	CALL(pthread_create, -1, NULL);
	return meets(&c, 0) ? c.code : REAL(pthread_create)(id, attr, fn, arg);
}

int getaddrinfo(const char *restrict host, const char *restrict port,
	const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	CALL(getaddrinfo, -1, host);
	if (meets(&c, 0))
		return c.code < 0 ? c.code : EAI_SYSTEM;
	return REAL(getaddrinfo)(host, port, hints, list);
}

int getservbyname_r(const char *restrict name, const char *restrict protocol,
	struct servent *restrict entry, char *restrict buf, size_t size,
	struct servent **restrict found)
{
	CALL(getservbyname_r, -1, name);
	if (!meets(&c, 0))
		return REAL(getservbyname_r)(name, protocol, entry, buf, size, found);
	*found = NULL;
	return c.code;
}

int fcntl(int fd, int op, ...)
{
	va_list ap;
	va_start(ap, op);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	CALL(fcntl, fd, NULL);
	if (meets(&c, 0))
		return -1;
	int rc = REAL(fcntl)(fd, op, arg);
	if (op == F_DUPFD || op == F_DUPFD_CLOEXEC)
		opened(&c, rc);
	/* F_GETFD is how one asks whether it is a descriptor. */
	look_for_bad(&c, rc == -1 && op != F_GETFD);
	return rc;
}

int prctl(int op, ...)
{
	unsigned long a[4];
	va_list ap;
	va_start(ap, op);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	CALL(prctl, -1, NULL);
	return meets(&c, 0) ? -1 : REAL(prctl)(op, a[0], a[1], a[2], a[3]);
}

/* Those without a function of their own: waits at a futex, and the list of a directory. */
long syscall(long number, ...)
{
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	/* In here it is called as well, before there is a record, and for the record. */
	struct call c = {.from = __builtin_return_address(0), .fd = -1};
	bool waits = number == SYS_futex && (a[1] & 0xf) == 9; /* FUTEX_WAIT_BITSET */
	c.kind = waits ? KIND_futex : KIND_getdents64;
	if ((waits || number == SYS_getdents64) && meets(&c, 0))
		return -1;
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The names that libc's headers give to some of them: getline, and what _FORTIFY_SOURCE adds. */
ssize_t __getdelim(char **restrict line, size_t *restrict size, int delimiter, FILE *restrict f);
ssize_t __getdelim(char **restrict line, size_t *restrict size, int delimiter, FILE *restrict f)
{
	CALL(getdelim, -1, NULL);
	return meets(&c, 0) ? -1 : REAL(getdelim)(line, size, delimiter, f);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
	CALL(open, -1, path);
	return meets(&c, 0) ? -1 : opened(&c, REAL(open)(path, flags, 0));
}

ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
ssize_t __read_chk(int fd, void *buf, size_t n, size_t size)
{
	CALL(read, fd, NULL);
	if (n > size)
		give_up("read beyond its buffer");
	return meets(&c, n) ? -1 : REAL(read)(fd, buf, c.is_short ? n / 2 : n);
}

ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t size);
ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t size)
{
	CALL(pread, fd, NULL);
	if (n > size)
		give_up("pread beyond its buffer");
	return meets(&c, n) ? -1 : REAL(pread)(fd, buf, c.is_short ? n / 2 : n, at);
}

ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags)
{
	CALL(recv, fd, NULL);
	if (n > size)
		give_up("recv beyond its buffer");
	return meets(&c, n) ? -1 : REAL(recv)(fd, buf, c.is_short ? n / 2 : n, flags);
}
