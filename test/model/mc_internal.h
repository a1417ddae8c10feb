/* SPDX-License-Identifier: MIT */
/* The inside of the model checker: the world that it searches, and its own memory. */
#ifndef TEST_MODEL_MC_INTERNAL_H
#define TEST_MODEL_MC_INTERNAL_H

#include <setjmp.h>

#include "test/model/mc.h"

/*
 * All memory of the world lies at fixed addresses, so that pointers in it are the same in each run.
 * The program's own data and bss are part of it; the checker itself has no variables there.
 */
#define MC_WORLD_AT 0x10000000000
#define MC_ARENA_AT 0x10000100000
#define MC_STACKS_AT 0x10000200000
#define MC_CHECKER_AT 0x20000000000
#define MC_CHECKER_SIZE ((size_t)1 << 17)

/*
 * Each thread has a part of the arena, and setup the first one: so where an object lies does not
 * depend on what other threads do meanwhile, and two states are not taken for different by that
 * alone.
 */
#define MC_PARTS (1 + MC_THREADS)
#define MC_PART_SIZE ((size_t)1 << 16)
#define MC_ARENA_SIZE (MC_PARTS * MC_PART_SIZE)
#define MC_GRAIN 16 /* bytes of the arena per byte of its map */
#define MC_STACK_SIZE ((size_t)1 << 16)
#define MC_TLS_SIZE 640

enum mc_state {
	MC_UNUSED,
	MC_READY,   /* stands at a point, and may go on */
	MC_BLOCKED, /* until ready(ready_arg) */
	MC_ASLEEP,  /* in a futex */
	MC_OVER,
};

/* What a thread does next, for traces. */
struct mc_place {
	const char *what;
	const void *at; /* memory */
	const void *pc; /* code */
};

struct mc_thread {
	enum mc_state state;
	void *sp;
	char name[16];
	void (*fn)(void *arg);
	void *arg;
	bool (*ready)(void *arg);
	void *ready_arg;
	const void *futex;
	int64_t deadline_ns; /* 0: none */
	bool woken, timed_out, may_wait;
	void *specific; /* of pthread_setspecific */
	struct mc_place place;
	char tls[MC_TLS_SIZE];
};

/* What a state consists of, beside the program's variables, the arena and the stacks. */
struct mc_world {
	struct mc_thread threads[MC_THREADS];
	int64_t now_ns;
	unsigned timeouts_left;
	bool counts_idle;     /* see mc_count_idle */
	int64_t idle_ns;      /* then only */
	bool counts_switches; /* see mc_set_switches */
	int last;             /* the thread that went on last; then only */
	unsigned switches_left;
	void (*at_end)(void *specific);              /* of pthread_key_create */
	size_t arena_used[MC_PARTS];                 /* of each part */
	unsigned char map[MC_ARENA_SIZE / MC_GRAIN]; /* is it allocated? */
};
#define W (*(struct mc_world *)MC_WORLD_AT)

#define MC_ARGS 32 /* of the program */

/* The checker's own. */
struct mc_checker {
	int current; /* thread; -1: the checker */
	void *checker_sp;
	bool quiet; /* what runs now is the checker's: no points */
	char failure[1024];
	bool has_failed, has_given_up; /* a fault; or the checker's own limits */
	jmp_buf *on_failure;           /* where the checker goes on, if what it looks at fails */
	/* The choices within a step: those that are given, and what was asked. */
	unsigned n_given, n_asked;
	unsigned char given[32], asked[32];
	void *weak;            /* the memory of a walk, see mc_weak.c; NULL: this is a search */
	uint64_t random;       /* of a walk; 0: this is a search */
	void *trace;           /* of a walk, see mc_walk.c; NULL: none is asked for */
	bool is_out_of_order;  /* in a walk: what this step reads or writes is not the last store */
	char *low[MC_THREADS]; /* below this a stack is all zero */
	const void *no_point[64]; /* see mc_no_point */
	unsigned n_no_point;
	const void *tried[4]; /* see mc_tried */
	unsigned n_tried;
	/* The scenario that is searched, and the program's arguments. */
	const struct mc_scenario *scenario;
	char **args;
	bool is_asked_for[MC_ARGS]; /* those arguments */
};
#define C (*(struct mc_checker *)MC_CHECKER_AT)

/* mc_world.c */
void mc_world_init(void);
/* Can it go on? timed: if a deadline passes. */
bool mc_is_enabled(const struct mc_thread *t);
bool mc_can_time_out(const struct mc_thread *t);
/* Runs thread i up to its next point. */
void mc_step(int i, bool times_out);
uint64_t mc_hash(void);
size_t mc_save(char *to);
void mc_restore(const char *from);
/* Leaves the current thread to the checker; returns when it is to go on. */
void mc_leave(void);

/* Memory of the checker's own. */
void *mc_map(size_t size);
/* 0 to n - 1. In a walk. */
unsigned mc_random(unsigned n);
/* What the threads can do next; timed: whether their deadlines count. */
struct mc_way {
	unsigned char thread;
	bool times_out;
};
int mc_ways(struct mc_way *ways, unsigned char *stuck);
void mc_check_end(void);
void mc_check_always(void);

/* mc_walk.c: so many random runs. */
void mc_walk(unsigned long runs);
/* How the last one went; nothing without trace=1. */
void mc_walk_print(void);
/* A line of a trace: without its end. Addresses of code are for the script, which knows their lines. */
void mc_print_step(size_t number, const char *thread, const struct mc_place *place);

/* mc_access.c: a point, before an access of the current thread. */
void mc_point(const char *what, const volatile void *at, const void *pc);
bool mc_is_tried(const void *lock);
/* Has the program code that is calm? */
bool mc_is_coarse(void);
/* Other accesses of it, by functions that are not instrumented. */
void mc_read_memory(const void *p, size_t n);
void mc_write_memory(const void *p, size_t n);
/* Aborts if that memory is nobody's any more. */
void mc_touch(const volatile void *at, size_t size);

#endif
