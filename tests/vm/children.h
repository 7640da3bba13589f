/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that begin together. To be included once in a program.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* As fork(); the child ends with its parent. */
static pid_t fork_child(void)
{
	pid_t child = fork();

	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

/*
 * Waits for all children: 0 when each has ended as it should. Where they go on for ever, the first that ends
 * has failed, and all others end with the caller.
 */
static int wait_for_children(int forever)
{
	int failed = 0, status;

	while (wait(&status) > 0) {
		if (forever)
			return 1;
		failed |= status != 0;
	}
	return failed;
}
