// SPDX-License-Identifier: GPL-2.0
/* See sys.h. */
#include "sys.h"

#ifdef __x86_64__
enum { NR_read = 0, NR_write = 1, NR_open = 2, NR_close = 3, NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11,
       NR_ioctl = 16, NR_fork = 57, NR_exit = 60, NR_wait4 = 61, NR_setresuid = 117 };

asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall start\n");

static long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}
#define syscall(nr, a, b, c, d) syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

long sys_mmap(void *at, unsigned long len, int prot, int flags, int fd, unsigned long offset)
{
	return syscall6(NR_mmap, (long)at, (long)len, prot, flags, fd, (long)offset);
}
#else
enum { NR_exit = 1, NR_fork = 2, NR_read = 3, NR_write = 4, NR_open = 5, NR_close = 6, NR_ioctl = 54,
       NR_mmap = 90, NR_munmap = 91, NR_wait4 = 114, NR_mprotect = 125, NR_setresuid = 208 };

asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %esp\n\tcall start\n");

static long syscall4(long nr, long a, long b, long c, long d)
{
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return result;
}
#define syscall(nr, a, b, c, d) syscall4(nr, (long)(a), (long)(b), (long)(c), (long)(d))

long sys_mmap(void *at, unsigned long len, int prot, int flags, int fd, unsigned long offset)
{
	/* The old call, which takes its six arguments from memory. */
	unsigned long arguments[6] = { (unsigned long)at, len, (unsigned long)prot, (unsigned long)flags, (unsigned long)fd, offset };

	return syscall(NR_mmap, arguments, 0, 0, 0);
}
#endif

__attribute__((used, noreturn)) void start(void)
{
	sys_exit(run());
}

long sys_open(const char *path, int flags) { return syscall(NR_open, path, flags, 0, 0); }
long sys_close(int fd) { return syscall(NR_close, fd, 0, 0, 0); }
long sys_read(int fd, void *buf, unsigned long len) { return syscall(NR_read, fd, buf, len, 0); }
long sys_write(int fd, const void *buf, unsigned long len) { return syscall(NR_write, fd, buf, len, 0); }
long sys_ioctl(int fd, unsigned int request, unsigned long arg) { return syscall(NR_ioctl, fd, request, arg, 0); }
long sys_fork(void) { return syscall(NR_fork, 0, 0, 0, 0); }
long sys_wait(long pid, int *status) { return syscall(NR_wait4, pid, status, 0, 0); }
long sys_setuid_for_good(unsigned int uid) { return syscall(NR_setresuid, uid, uid, uid, 0); }
long sys_munmap(void *at, unsigned long len) { return syscall(NR_munmap, at, len, 0, 0); }
long sys_mprotect(void *at, unsigned long len, int prot) { return syscall(NR_mprotect, at, len, prot, 0); }

void sys_exit(int status)
{
	for (;;)
		syscall(NR_exit, status, 0, 0, 0);
}

void *sys_pages(unsigned long pages)
{
	long at = sys_mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0 && at > -PAGE) {
		put("not ok abi: no memory for the test itself");
		put_line();
		sys_exit(1);
	}
	return (void *)at;
}

void *memset(void *at, int byte, unsigned long len)
{
	unsigned char *place = at;

	while (len--)
		*place++ = (unsigned char)byte;
	return at;
}

void *memcpy(void *to, const void *from, unsigned long len)
{
	unsigned char *place = to;
	const unsigned char *source = from;

	while (len--)
		*place++ = *source++;
	return to;
}

int same_text(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static char line[1024];
static unsigned long length;

void put(const char *text)
{
	while (*text && length < sizeof(line) - 1)
		line[length++] = *text++;
}

void put_number(__s64 number)
{
	/* Hexadecimal: a division of 64 bits needs the compiler's library on 32. */
	const char *digits = "0123456789abcdef";
	char text[20], *at = &text[19];
	__u64 rest = number < 0 ? -(__u64)number : (__u64)number;

	*at = 0;
	if (rest < 1000) {
		unsigned int small = (unsigned int)rest;

		do
			*--at = digits[small % 10];
		while (small /= 10);
	} else {
		do
			*--at = digits[rest & 15];
		while (rest >>= 4);
		*--at = 'x';
		*--at = '0';
	}
	if (number < 0)
		put("-");
	put(at);
}

void put_line(void)
{
	line[length++] = '\n';
	sys_write(1, line, length);
	length = 0;
}
