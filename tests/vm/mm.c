// SPDX-License-Identifier: GPL-2.0
/*
 * Windows from inside: what processes do in them, and what comes of it. Each argument is a part;
 * without one, all parts that need nothing of the machine's.
 */
#include "mm.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <pthread.h>
#include <ucontext.h>

#define RW (PROT_READ | PROT_WRITE)
#define PRIVATE MAP_PRIVATE

static int fd;
static char *window;

/* --- signals that an access gets --------------------------------------------------- */

static sigjmp_buf back;
static volatile sig_atomic_t caught, code;
static void *volatile where;

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	caught = number;
	code = info->si_code;
	where = info->si_addr;
	siglongjmp(back, 1);
}

static void catch(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* Reads or writes a byte: the signal that came of it, or 0. */
static int touch(volatile char *place, bool write)
{
	caught = code = 0;
	where = NULL;
	if (sigsetjmp(back, 1))
		return caught;
	if (write)
		*place = 1;
	else
		(void)*place;
	return 0;
}

static void faults(const char *name, volatile char *place, bool write, int signal, int si_code)
{
	int got = touch(place, write);
	char text[200];

	snprintf(text, sizeof(text), "%s: signal", name);
	same(text, signal, got);
	snprintf(text, sizeof(text), "%s: si_code", name);
	same(text, si_code, code);
	snprintf(text, sizeof(text), "%s: si_addr", name);
	expect(text, !signal || where == place);
}

/* --- parts --------------------------------------------------------------------------- */

static void part_basic(void)
{
	char *p = w_mmap(fd, NULL, 16 * PAGE, RW, PRIVATE);

	expect("mmap says where", p != MAP_FAILED && p >= window && p < window + WINDOW);
	if (p == MAP_FAILED)
		return;
	same("untouched memory is zero", 0, p[5 * PAGE]);
	p[0] = 1;
	p[PAGE - 1] = 2;
	p[15 * PAGE] = 3;
	same("what was written is there", 6, p[0] + p[PAGE - 1] + p[15 * PAGE]);
	same("and nothing beside it", 0, p[1] + p[14 * PAGE]);

	struct shadowmm_rec_space space = w_space(fd);

	same("two pages are resident", 2, space.rss[1]);
	same("sixteen are mapped", 16, space.total_vm);
	same("in one VMA", 1, space.map_count);
	same("no fault has taken the mmap lock", 0, space.faults_mmap_lock);

	struct shadowmm_mm_walk walk = w_walk(fd, p);

	same("a walk goes through four levels", 4, walk.levels);
	expect("and ends at a page", walk.pfn != ~0ULL && walk.mapped && (walk.entry[3] & 3) == 3);
	walk = w_walk(fd, p + 20 * PAGE);
	expect("where nothing is there is no page", walk.pfn == ~0ULL && !walk.mapped);

	/* System calls that copy. */
	int pipe_fds[2];
	char text[8] = "";

	same("pipe", 0, pipe(pipe_fds));
	memcpy(p + 2 * PAGE - 4, "windows", 8);
	same("write from the window", 8, write(pipe_fds[1], p + 2 * PAGE - 4, 8));
	same("read into it", 8, read(pipe_fds[0], p + 4 * PAGE - 4, 8));
	same("what was read", 0, memcmp(p + 4 * PAGE - 4, "windows", 8));
	same("read into what is not mapped", -1, (write(pipe_fds[1], "x", 1), read(pipe_fds[0], p + 20 * PAGE, 1)));
	same("its errno", EFAULT, errno);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	(void)text;

	same("munmap of the middle", 0, w_munmap(fd, p + 4 * PAGE, 4 * PAGE));
	same("two VMAs then", 2, w_space(fd).map_count);
	faults("a read where nothing is", p + 5 * PAGE, false, SIGSEGV, SEGV_MAPERR);
	faults("a write where nothing is", p + 5 * PAGE, true, SIGSEGV, SEGV_MAPERR);
	same("mprotect", 0, w_mprotect(fd, p, PAGE, PROT_READ));
	faults("a read of what is read-only", p, false, 0, 0);
	faults("a write to what is read-only", p, true, SIGSEGV, SEGV_ACCERR);
	same("mprotect to nothing", 0, w_mprotect(fd, p, PAGE, PROT_NONE));
	faults("a read of what is not to be accessed", p, false, SIGSEGV, SEGV_ACCERR);
	same("mprotect back", 0, w_mprotect(fd, p, PAGE, RW));
	same("its content is still there", 1, p[0]);
	same("all away", 0, w_munmap(fd, p, 16 * PAGE));
	same("nothing is mapped", 0, w_space(fd).total_vm);
	same("nothing is resident", 0, w_space(fd).rss[1]);
	same("there are no tables", 0, w_space(fd).pgtables_bytes / PAGE > 1);
}

static void part_fork(void)
{
	char *p = w_mmap(fd, NULL, 8 * PAGE, RW, PRIVATE);
	char *shared = w_mmap(fd, NULL, 4 * PAGE, RW, MAP_SHARED);
	char *kept = w_mmap(fd, NULL, 2 * PAGE, RW, PRIVATE);
	char *wiped = w_mmap(fd, NULL, 2 * PAGE, RW, PRIVATE);
	int status;

	memset(p, 1, 8 * PAGE);
	memset(shared, 1, 4 * PAGE);
	memset(kept, 1, 2 * PAGE);
	memset(wiped, 1, 2 * PAGE);
	same("MADV_DONTFORK", 0, w_madvise(fd, kept, 2 * PAGE, MADV_DONTFORK));
	same("MADV_WIPEONFORK", 0, w_madvise(fd, wiped, 2 * PAGE, MADV_WIPEONFORK));
	unsigned int parent = w_space(fd).id;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		failures = 0;
		struct shadowmm_rec_space space = w_space(fd);

		expect("the child has an address space of its own", space.id && space.id != parent);
		same("it is the child's", getpid(), space.pid);
		same("it sees its parent's memory", 1, p[0]);
		p[0] = 2;
		same("and writes to its own", 2, p[0]);
		same("shared memory is the same", 1, shared[0]);
		shared[PAGE] = 7;
		same("what is to be wiped is empty", 0, wiped[0]);
		faults("what is not to be copied is not there", kept, false, SIGSEGV, SEGV_MAPERR);
		same("what it maps", 0, w_mmap(fd, NULL, PAGE, RW, PRIVATE) == MAP_FAILED);
		_exit(failures != 0);
	}
	waitpid(child, &status, 0);
	same("the child's end", 0, status);
	same("the parent's memory is as it was", 1, p[0]);
	same("what the child wrote to shared memory", 7, shared[PAGE]);
	same("what the child had not", 1, kept[0]);
	same("what the child had empty", 1, wiped[0]);
	p[0] = 3;
	same("written to again", 3, p[0]);
	w_munmap(fd, p, 8 * PAGE);
	w_munmap(fd, shared, 4 * PAGE);
	w_munmap(fd, kept, 2 * PAGE);
	w_munmap(fd, wiped, 2 * PAGE);
	same("nothing is left", 0, w_space(fd).map_count);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "basic", part_basic },
		{ "fork", part_fork },
	};

	catch();
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		bool wanted = argc == 1;

		for (int j = 1; j < argc; j++)
			wanted |= !strcmp(argv[j], parts[i].name);
		if (!wanted)
			continue;
		fd = open_device();
		window = open_window(fd, WINDOW);
		parts[i].run();
		munmap(window, WINDOW);
		close(fd);
	}
	return failures != 0;
}
