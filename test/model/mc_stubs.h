/* SPDX-License-Identifier: MIT */
/* What scenarios may set in mc_stubs.c. */
#ifndef TEST_MODEL_MC_STUBS_H
#define TEST_MODEL_MC_STUBS_H

/* So many times there may be no thread for wait_group_wrap. From setup. */
extern int mc_thread_failures;

#endif
