// SPDX-License-Identifier: GPL-2.0
/*
 * Loads a module again and again, and in the Nth time has the kernel's Nth chance to fail taken, until there are
 * no more: fault_load MODULE.KO NAME PARAMETERS [FIRST STEP]
 *
 * With FIRST and STEP only every STEPth chance is taken, from FIRST on.
 *
 * The CMA areas have as many pages after each load as before the first. The last load, which nothing has
 * happened to, stays. Prints what came of it: LOADS REFUSED SURVIVED.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "chance.h"

static long available(void)
{
	glob_t areas;
	long sum = 0;
	size_t i;

	if (glob("/sys/kernel/mm/cma/*/available_pages", 0, NULL, &areas))
		return 0;
	for (i = 0; i < areas.gl_pathc; i++) {
		FILE *file = fopen(areas.gl_pathv[i], "r");
		long pages = 0;

		if (!file || fscanf(file, "%ld", &pages) != 1)
			exit(2);
		sum += pages;
		fclose(file);
	}
	globfree(&areas);
	return sum;
}

int main(int argc, char **argv)
{
	unsigned int nth = 1, step = 1, loads = 0, refused = 0, survived = 0, bad = 0;
	long before = available();
	int chance;

	if (argc == 6) {
		nth = atoi(argv[4]);
		step = atoi(argv[5]);
	}
	if ((argc != 4 && argc != 6) || !nth || !step)
		return 2;
	chance = open_chance();
	for (;; nth += step) {
		int file = open(argv[1], O_RDONLY | O_CLOEXEC), taken, error;
		long result, after;

		if (chance < 0 || file < 0)
			return 2;
		set_chance(chance, nth);
		result = syscall(SYS_finit_module, file, argv[3], 0);
		error = errno;
		loads++;
		taken = was_taken(chance);
		set_chance(chance, 0);
		close(file);
		if (!taken && result == 0)
			break;
		if (result == 0) {
			survived++;
			if (syscall(SYS_delete_module, argv[2], O_NONBLOCK)) {
				printf("load %u: it does not go: %s\n", nth, strerror(errno));
				return 1;
			}
		} else if (!taken || (error != ENOMEM && error != EFAULT)) {
			printf("load %u: %s%s\n", nth, strerror(error), taken ? "" : ", of nothing");
			bad++;
			if (!taken)
				return 1;
		} else {
			refused++;
		}
		after = available();
		if (after != before) {
			printf("load %u: %ld pages are missing from the CMA areas\n", nth, before - after);
			return 1;
		}
	}
	printf("%u %u %u\n", loads, refused, survived);
	return bad != 0;
}
