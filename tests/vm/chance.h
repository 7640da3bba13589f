/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Nth chance of this thread to have something fail in the kernel. By system calls, for who includes it may
 * have the C library's names.
 */
#ifndef CHANCE_H
#define CHANCE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_chance(void)
{
	return (int)syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC, 0);
}

/* 0 for none. */
static void set_chance(int file, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	/* To end it is a chance, too. */
	while (syscall(SYS_pwrite64, file, text, (size_t)len, 0L) != len)
		;
}

/* Whether the chance that was set was taken. Reading that is a chance itself, of which EFAULT tells. */
static bool was_taken(int file)
{
	char text[16] = "";

	return syscall(SYS_pread64, file, text, sizeof(text) - 1, 0L) > 0 && atoi(text) == 0;
}

#endif
