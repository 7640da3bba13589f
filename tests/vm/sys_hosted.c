// SPDX-License-Identifier: GPL-2.0
/* The system calls of sys.h through a C library, whose names a preloaded library can take (faults.c). */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int run(void);

static long result(long value)
{
	return value == -1 ? -errno : value;
}

long sys_open(const char *path, int flags) { return result(open(path, flags)); }
long sys_close(int fd) { return result(close(fd)); }
long sys_read(int fd, void *buf, unsigned long len) { return result(read(fd, buf, len)); }
long sys_write(int fd, const void *buf, unsigned long len) { return result(write(fd, buf, len)); }
long sys_ioctl(int fd, unsigned int request, unsigned long arg) { return result(ioctl(fd, request, arg)); }
long sys_fork(void) { return result(fork()); }
long sys_wait(long pid, int *status) { return result(waitpid((pid_t)pid, status, 0)); }
long sys_setuid_for_good(unsigned int uid) { return result(setresuid(uid, uid, uid)); }
long sys_munmap(void *at, unsigned long len) { return result(munmap(at, len)); }
long sys_mprotect(void *at, unsigned long len, int prot) { return result(mprotect(at, len, prot)); }

void sys_exit(int status)
{
	_exit(status);
}

long sys_mmap(void *at, unsigned long len, int prot, int flags, int fd, unsigned long offset)
{
	return result((long)mmap(at, len, prot, flags, fd, (off_t)offset));
}

int main(void)
{
	return run();
}
