/* SPDX-License-Identifier: MIT */
/* What scenarios may set in mc_stubs.c. */
#ifndef TEST_MODEL_MC_STUBS_H
#define TEST_MODEL_MC_STUBS_H

/* So many times there may be no thread for wait_group_wrap. From setup. */
extern int mc_thread_failures;
/*
 * So many times a random number is another one than 0, with which a select tries its cases in their
 * order. From setup; else: -1, any number of times.
 */
extern int mc_draws;

#endif
