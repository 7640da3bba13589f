// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that have the module allocate and free objects, many at once:
 *
 *     slab_storm PROCESSES SECONDS SEED
 *
 * Each asks again and again, at random, for what BENCH_SLAB does on the shadow alone: a cache is created,
 * objects of it or of kmalloc's are taken, one by one or in one call, and go back in some order, on the
 * CPU that took them or on another; many are taken, most of them go, the cache is shrunk; it is destroyed.
 * Some are killed in the middle and started anew. The exit status is 0 when nothing was refused but for
 * want of memory, or of the CPU that was named.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shadowmm.h"

#define BLOCKS 8

static unsigned int seed;

static unsigned int dice(unsigned int sides)
{
	/* xorshift */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % sides;
}

static void ask(int fd, unsigned int cpus)
{
	static const unsigned int sizes[] = { 8, 16, 24, 64, 96, 100, 192, 256, 700, 1024, 2048, 4096, 8192 };
	uint64_t ticks[BLOCKS];
	struct shadowmm_bench_slab request = {
		.head = { .size = sizeof(request), .flags = SHADOWMM_BENCH_NO_HOST },
		.shape = dice(SHADOWMM_BENCH_SLAB_PAGES_LEFT + 1),
		.size = sizes[dice(sizeof(sizes) / sizeof(*sizes))],
		.blocks = 1 + dice(BLOCKS),
		.shadow_ticks = (uintptr_t)ticks,
	};

	if (request.shape == SHADOWMM_BENCH_SLAB_REMOTE || request.shape == SHADOWMM_BENCH_SLAB_EXCHANGE)
		request.cpu = dice(cpus);
	if (ioctl(fd, SHADOWMM_IOC_BENCH_SLAB, &request) && errno != ENOMEM && !(request.cpu && errno == EINVAL)) {
		fprintf(stderr, "slab_storm: shape %u, %u bytes, on CPU %u: %s, reason %u\n", request.shape,
			request.size, request.cpu, strerror(errno), request.head.reason);
		exit(1);
	}
}

static pid_t start(unsigned int cpus, time_t end)
{
	pid_t child = fork();
	int fd;

	if (child)
		return child;
	seed = seed * 2654435761u + (unsigned int)getpid();
	seed += !seed;
	fd = open(SHADOWMM_DEVICE, O_RDWR);
	if (fd < 0) {
		perror("slab_storm: " SHADOWMM_DEVICE);
		exit(1);
	}
	while (time(NULL) < end)
		ask(fd, cpus);
	exit(0);
}

int main(int argc, char **argv)
{
	unsigned int processes, kills = 0, ends = 0;
	unsigned int cpus = (unsigned int)sysconf(_SC_NPROCESSORS_CONF);
	pid_t children[64];
	time_t end;

	if (argc != 4)
		return 2;
	processes = (unsigned int)atoi(argv[1]);
	seed = (unsigned int)atoi(argv[3]) * 2654435761u + 1;
	if (!processes || processes > 64)
		return 2;
	end = time(NULL) + atoi(argv[2]);
	for (unsigned int i = 0; i < processes; i++)
		children[i] = start(cpus, end);
	while (ends < processes) {
		unsigned int victim = dice(processes);
		int status;
		pid_t child;

		usleep(50000 + dice(200000));
		if (time(NULL) < end - 2 && children[victim] > 0) {
			kill(children[victim], SIGKILL);
			waitpid(children[victim], &status, 0);
			if (!WIFSIGNALED(status) && WEXITSTATUS(status))
				return 1;
			kills++;
			children[victim] = start(cpus, end);
		}
		if (time(NULL) < end)
			continue;
		child = waitpid(-1, &status, 0);
		if (child < 0)
			break;
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			return 1;
		ends++;
	}
	printf("slab_storm: %u processes, %u were killed\n", processes + kills, kills);
	return 0;
}
