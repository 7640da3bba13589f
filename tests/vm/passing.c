// SPDX-License-Identifier: GPL-2.0
/*
 * An open file on its way: a child opens the device, allocates, sends the descriptor over a socket
 * (SCM_RIGHTS) and ends. The pages must be there until the receiver closes what it got. Where the
 * descriptor is never received, they go with the socket.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "passing.h"
#include "shadowmm.h"

static int watcher, failed;

static void expect(const char *name, int holds)
{
	printf("%s passing: %s\n", holds ? "ok" : "not ok", name);
	failed |= !holds;
}

static unsigned long held(void)
{
	struct shadowmm_rec_status status = { 0 };
	struct shadowmm_report report = { .head.size = sizeof(report), .kind = SHADOWMM_REPORT_STATUS,
					  .record_size = sizeof(status), .capacity = 1,
					  .buf = (unsigned long)&status };

	if (ioctl(watcher, SHADOWMM_IOC_REPORT, &report))
		expect("the status can be read", 0);
	return status.held_pages;
}

static int allocate(int fd, unsigned int order)
{
	struct shadowmm_alloc request = { .head.size = sizeof(request), .order = order, .nid = -1 };

	return ioctl(fd, SHADOWMM_IOC_ALLOC, &request);
}

static void child_that_sends(int to, unsigned int order)
{
	int status = 1;

	if (fork() == 0) {
		int fd = open(SHADOWMM_DEVICE, O_RDWR);

		if (fd < 0 || allocate(fd, order))
			_exit(2);
		send_file(to, fd);
		_exit(0);
	}
	wait(&status);
	expect("the child allocated, sent its file and ended", status == 0);
}

int main(void)
{
	int ends[2], fd;

	watcher = open(SHADOWMM_DEVICE, O_RDWR);
	expect("nothing is held at first", watcher >= 0 && held() == 0);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		return 2;

	child_that_sends(ends[0], 5);
	expect("the pages are held while the file is under way", held() == 32);
	fd = receive_file(ends[1]);
	expect("the file arrives, with its pages", fd >= 0 && held() == 32);
	expect("its new owner may allocate with it", allocate(fd, 0) == 0 && held() == 33);
	close(fd);
	expect("closing it gives all of them back", held() == 0);

	child_that_sends(ends[0], 5);
	close(ends[0]);
	close(ends[1]);
	expect("a file that nobody received gives them back too", held() == 0);
	return failed;
}
