/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the driver share. Each part is one file of the kernel with
 * what surrounds it; the headers of one would not suit the other.
 */
#ifndef SHADOWMM_DRIVER_H
#define SHADOWMM_DRIVER_H

typedef unsigned long long num;

/* Numbers and texts are folded into one number as they come. */
void fold(num word);
/* A line of the kernel's log, as its vsnprintf() has it. */
void kernel_print(const char *fmt, ...);
/* Ends the operation, and the episode: Linux is at a BUG. */
void stop_here(void) __attribute__((noreturn));

/* An operation by its name; false if it is the other part's. */
_Bool e820_run(const char *op, const num *a, num *value);
_Bool numa_run(const char *op, const num *a, num *value);
void e820_fold_state(void);
void numa_fold_state(void);

/* The e820 table's RAM, entry by entry, for the other part. */
_Bool e820_ram(int i, num *start, num *size);

#endif
