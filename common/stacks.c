/* SPDX-License-Identifier: MIT */
/*
 * The stacks of all threads. Mirrors runtime/traceback.go (tracebackothers) and the end of
 * sighandler in runtime/signal_unix.go. Threads: stacks_print is called by "signals", on_signal
 * runs in every other one.
 *
 * Different from Go: the runtime can walk the stack of a goroutine that stands still. Here each
 * thread walks its own stack, and writes to a slot of its own. So a thread that does not answer
 * spoils nothing. (Under ThreadSanitizer sleeping threads do not answer: it keeps their signals
 * until they wake up.) From glibc 2.35 on, libgcc's unwinder finds its tables without a lock.
 */
#include "common/stacks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#include "common/clock.h"
#include "common/gothread.h"
#include "common/sanitize.h"
#include "common/symbols.h"

#define THREADS_MAX 65536
#define FRAMES_MAX 64
#define ANSWER_NS NSEC_PER_SEC
#define NAMES_NS (100 * NSEC_PER_MSEC)

/* One thread. That thread alone writes frames, until it has answered. */
struct slot {
	char name[GOTHREAD_NAME_SIZE]; /* "": the kernel knows one */
	_Atomic bool answered;
	bool ended;
	int n_frames;
	uintptr_t frames[FRAMES_MAX];
};

/* All three are immutable once signals are sent: a slot and a thread id for each of n_tids. */
static struct slot *slots;
static pid_t tids[THREADS_MAX];
static size_t n_tids;

/* The text that stacks_print gathers before it writes. Static: the stack of a thread is small. */
static struct {
	int fd;
	int64_t deadline_ns;
	size_t len;
	char buf[8192];
	struct symbols symbols;
} out;

/* --- one's own stack -------------------------------------------------------------------------- */

struct walk {
	struct slot *slot;
	bool interrupted; /* past the handler's own calls */
};

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	int before_instruction = 0;
	uintptr_t pc = _Unwind_GetIPInfo(context, &before_instruction);
	/* In a frame that a signal interrupted, pc is not a return address. */
	w->interrupted |= before_instruction != 0;
	if (w->interrupted && pc != 0)
		w->slot->frames[w->slot->n_frames++] = pc - (before_instruction ? 0 : 1);
	return w->slot->n_frames < FRAMES_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void walk_own_stack(struct slot *s, bool interrupted)
{
	struct walk w = {.slot = s, .interrupted = interrupted};
	_Unwind_Backtrace(on_frame, &w);
	atomic_store(&s->answered, true);
}

static struct slot *find_slot(pid_t tid)
{
	for (size_t i = 0; i < n_tids; i++) {
		if (tids[i] == tid)
			return &slots[i];
	}
	return NULL;
}

static void on_signal(int signum)
{
	(void)signum;
	struct slot *s = find_slot(gettid());
	if (s && !atomic_load(&s->answered))
		walk_own_stack(s, SANITIZE_THREAD); /* it calls handlers from its own code */
	for (;;)
		pause();
}

/* --- all threads ------------------------------------------------------------------------------ */

/* The kernel's struct linux_dirent64, which libc keeps to itself. */
struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

/* Fills tids with the threads of /proc/self/task. Not by opendir, which calls malloc. */
static void list_threads(void)
{
	_Alignas(struct entry) char buf[4096];
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;
	while (fd >= 0 && (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(buf + at);
			int tid = atoi(e->name); /* 0: . and .. */
			if (tid > 0 && n_tids < THREADS_MAX)
				tids[n_tids++] = tid;
			at += e->length;
		}
	}
	if (fd >= 0)
		close(fd);
}

static void set_name(void *arg, const char *name, int tid)
{
	struct slot *s = find_slot(tid);
	(void)arg;
	if (s)
		snprintf(s->name, sizeof(s->name), "%s", name);
}

/* True: all have answered. */
static bool all_answered(void)
{
	for (size_t i = 0; i < n_tids; i++) {
		if (!slots[i].ended && !atomic_load(&slots[i].answered))
			return false;
	}
	return true;
}

static void ask_threads(pid_t self)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	int64_t deadline = clock_mono_ns() + ANSWER_NS;
	sigfillset(&action.sa_mask);
	if (sigaction(STACKS_SIGNAL, &action, NULL) != 0)
		return;
	for (size_t i = 0; i < n_tids; i++) {
		if (tids[i] == self)
			walk_own_stack(&slots[i], true);
		else if (syscall(SYS_tgkill, getpid(), tids[i], STACKS_SIGNAL) != 0)
			slots[i].ended = true;
	}
	while (!all_answered() && clock_mono_ns() < deadline) {
		const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
		nanosleep(&pause, NULL);
	}
}

/* --- printing --------------------------------------------------------------------------------- */

/* Writes the gathered text, or the part of it that the reader takes before the deadline. */
static void flush(void)
{
	const char *p = out.buf;
	while (out.len > 0) {
		struct pollfd pfd = {.fd = out.fd, .events = POLLOUT};
		int rc = poll(&pfd, 1, clock_msec_until(out.deadline_ns));
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0)
			break;
		/* No more than a writable pipe takes at once. */
		ssize_t n = write(out.fd, p, out.len < PIPE_BUF ? out.len : PIPE_BUF);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			break;
		if (n > 0) {
			p += n;
			out.len -= (size_t)n;
		}
	}
	out.len = 0;
}

static void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void print(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line))
		n = sizeof(line) - 1;
	if (out.len + (size_t)n > sizeof(out.buf))
		flush();
	memcpy(out.buf + out.len, line, (size_t)n);
	out.len += (size_t)n;
}

/* Reads the kernel's line about a thread, "tid (name) state ...", and cuts out name and state. */
static bool read_stat(pid_t tid, char *buf, size_t size, char **name, char **state)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (fd >= 0)
		close(fd);
	buf[n < 0 ? 0 : n] = '\0';
	char *begin = strchr(buf, '('), *end = strrchr(buf, ')');
	if (!begin || !end || end[1] != ' ')
		return false;
	*end = '\0';
	*name = begin + 1;
	*state = end + 2;
	return true;
}

static void print_thread(pid_t tid, const struct slot *s)
{
	char text[512], *kernel_name, *state;
	if (s->ended || !read_stat(tid, text, sizeof(text), &kernel_name, &state))
		return;
	print("\nthread %d [%s]:\n", (int)tid, *s->name ? s->name : kernel_name);
	if (!atomic_load(&s->answered)) {
		print("\tdoes not answer; its state is %c\n", *state);
		return;
	}
	for (int i = 0; i < s->n_frames; i++)
		print("\t%s\n", symbols_format(&out.symbols, s->frames[i], text, sizeof(text)));
}

void stacks_print(int fd, const char *title, int64_t deadline_ns)
{
	/* Untouched pages cost nothing. */
	void *p = mmap(NULL, THREADS_MAX * sizeof(struct slot), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	out.fd = fd;
	out.deadline_ns = deadline_ns;
	print("%s\n", title);
	if (p == MAP_FAILED) {
		print("no memory for the stacks\n");
		flush();
		return;
	}
	slots = p;
	list_threads();
	(void)gothread_try_each(set_name, NULL, clock_mono_ns() + NAMES_NS);
	ask_threads(gettid());
	symbols_load(&out.symbols);
	for (size_t i = 0; i < n_tids; i++)
		print_thread(tids[i], &slots[i]);
	flush();
}
