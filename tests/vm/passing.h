/* SPDX-License-Identifier: GPL-2.0 */
/* An open file goes over a socket (SCM_RIGHTS). */
#ifndef PASSING_H
#define PASSING_H

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	char room[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static inline void send_file(int to, int fd)
{
	union control control = { 0 };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.room,
				  .msg_controllen = sizeof(control.room) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &fd, sizeof(int));
	if (sendmsg(to, &message, 0) != 1)
		_exit(3);
}

static inline int receive_file(int from)
{
	union control control = { 0 };
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.room,
				  .msg_controllen = sizeof(control.room) };
	struct cmsghdr *part;
	int fd = -1;

	if (recvmsg(from, &message, 0) == 1 && (part = CMSG_FIRSTHDR(&message)))
		memcpy(&fd, CMSG_DATA(part), sizeof(int));
	return fd;
}

#endif
