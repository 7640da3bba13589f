// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads, each on a CPU of its own, that do the same to one page for so many seconds:
 *
 *     races plain|once|references SECONDS
 *
 * They write a byte of it, plainly or as WRITE_ONCE() does (MISUSE), or take references and give them up.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "shadowmm.h"

static int fd, references;
static unsigned int how;
static unsigned long pfn;
static time_t end;

static void request(const char *name, unsigned long number, void *made)
{
	if (ioctl(fd, number, made)) {
		perror(name);
		exit(1);
	}
}

static void write_once(unsigned int byte)
{
	struct shadowmm_misuse misuse = { .head.size = sizeof(misuse), .addr = pfn * 4096, .byte = byte, .how = how };

	request("MISUSE", SHADOWMM_IOC_MISUSE, &misuse);
}

static void reference(void)
{
	struct shadowmm_block block = { .head.size = sizeof(block), .op = SHADOWMM_BLOCK_GET, .pfn = pfn };

	request("BLOCK GET", SHADOWMM_IOC_BLOCK, &block);
	block.op = SHADOWMM_BLOCK_PUT;
	block.order = block.count = 0;
	request("BLOCK PUT", SHADOWMM_IOC_BLOCK, &block);
}

static void *work(void *cpu)
{
	unsigned long number = (unsigned long)cpu;
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(number, &here);
	if (sched_setaffinity(0, sizeof(here), &here)) {
		perror("sched_setaffinity");
		exit(1);
	}
	for (unsigned int turn = 0; time(NULL) < end; turn++) {
		if (references)
			reference();
		else
			write_once((turn + number) & 0xff);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct shadowmm_alloc alloc = { .head.size = sizeof(alloc), .nid = -1, .gfp = 0xcc0 };
	pthread_t other;

	if (argc != 3) {
		fprintf(stderr, "usage: races plain|once|references SECONDS\n");
		return 2;
	}
	references = !strcmp(argv[1], "references");
	how = strcmp(argv[1], "plain") ? SHADOWMM_MISUSE_ONCE : SHADOWMM_MISUSE_PLAIN;
	end = time(NULL) + atoi(argv[2]);
	fd = open(SHADOWMM_DEVICE, O_RDWR);
	request("ALLOC", SHADOWMM_IOC_ALLOC, &alloc);
	pfn = alloc.pfn;
	if (pthread_create(&other, NULL, work, (void *)1))
		return 1;
	work((void *)0);
	pthread_join(other, NULL);
	return 0;
}
