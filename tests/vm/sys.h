/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls, and lines of text, without a C library: the test program is built for 64 and for
 * 32 bits from the same source, and the compiler's 32-bit library is not needed for that.
 *
 * Every call returns what the kernel does: a negative errno when it fails.
 */
#ifndef SYS_H
#define SYS_H

#include <linux/types.h>

enum { EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, ENXIO = 6, E2BIG = 7, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19,
       EINVAL = 22, ENOTTY = 25, ENOSPC = 28, ERANGE = 34, EOVERFLOW = 75, ENODATA = 61, EOPNOTSUPP = 95, EALREADY = 114 };
enum { O_RDONLY = 0, O_RDWR = 2, PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, PAGE = 4096 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20 };

long sys_open(const char *path, int flags);
long sys_close(int fd);
long sys_read(int fd, void *buf, unsigned long len);
long sys_write(int fd, const void *buf, unsigned long len);
long sys_ioctl(int fd, unsigned int request, unsigned long arg);
long sys_fork(void);
long sys_wait(long pid, int *status);
long sys_setuid_for_good(unsigned int uid);
long sys_mmap(void *at, unsigned long len, int prot, int flags, int fd, unsigned long offset);
long sys_munmap(void *at, unsigned long len);
long sys_mprotect(void *at, unsigned long len, int prot);
void sys_exit(int status) __attribute__((noreturn));

/* Pages of zeros, or the end of the program. */
void *sys_pages(unsigned long pages);

void *memset(void *at, int byte, unsigned long len);
void *memcpy(void *to, const void *from, unsigned long len);
int same_text(const char *a, const char *b);

/* Lines on stdout: a line is put together from pieces and then written at once. */
void put(const char *text);
void put_number(__s64 number);
void put_line(void);

/* The program itself. */
int run(void);

#endif
