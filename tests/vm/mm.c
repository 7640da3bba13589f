// SPDX-License-Identifier: GPL-2.0
/*
 * Windows from inside: what processes do in them, and what comes of it. Each argument is a part;
 * without one, all parts that need nothing of the machine's.
 */
#include "mm.h"

#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <pthread.h>


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

/* Who may have a window, and what the host's own calls do to it. */
static void refused(const char *name, int prot, int flags, off_t offset, int want)
{
	int file = open_device();
	void *got = mmap(NULL, 1 << 20, prot, flags, file, offset);

	same(name, want, got == MAP_FAILED ? errno : 0);
	if (got != MAP_FAILED)
		munmap(got, 1 << 20);
	close(file);
}

static void part_windows(void)
{
	refused("a private window", RW, MAP_PRIVATE, 0, EINVAL);
	refused("an executable window", RW | PROT_EXEC, MAP_SHARED, 0, EPERM);
	refused("a window that is not written to", PROT_READ, MAP_SHARED, 0, EACCES);
	refused("a window that is not accessed", PROT_NONE, MAP_SHARED, 0, EACCES);
	refused("a window with an offset", RW, MAP_SHARED, PAGE, EINVAL);
	refused("a window", RW, MAP_SHARED, 0, 0);
	FAILS("a second window through the same file", EBUSY, mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0));

	int other = open_device();

	FAILS("a request without a window", ENXIO, w_mmap(other, NULL, PAGE, RW, PRIVATE));
	same("its reason", 230, reason);
	char *second = open_window(other, 1 << 30);
	char *p = w_mmap(other, NULL, PAGE, RW, PRIVATE);

	expect("another file has another window", p >= second && p < second + (1 << 30));
	*p = 1;
	close(other);
	same("a window stays when its file is closed", 1, *p);
	same("and ends with munmap", 0, munmap(second, 1 << 30));
	faults("nothing is there then", p, false, SIGSEGV, SEGV_MAPERR);

	p = w_mmap(fd, NULL, 4 * PAGE, RW, PRIVATE);
	memset(p, 5, 4 * PAGE);
	FAILS("munmap of a part", EINVAL, munmap(p, PAGE));
	FAILS("munmap of the first part", EINVAL, munmap(window, WINDOW / 2));
	FAILS("munmap of the last part", EINVAL, munmap(window + WINDOW / 2, WINDOW / 2));
	FAILS("mprotect", EACCES, mprotect(window, WINDOW, PROT_READ));
	FAILS("mprotect of a part", EACCES, mprotect(p, PAGE, PROT_NONE));
	FAILS("mprotect to what it is", 0, mprotect(window, WINDOW, RW));
	FAILS("mprotect to be executed", EACCES, mprotect(window, WINDOW, RW | PROT_EXEC));
	/* Not every CPU has keys. */
	int key = pkey_alloc(0, 0);

	if (key >= 0) {
		FAILS("pkey_mprotect with a key", EACCES, pkey_mprotect(window, WINDOW, RW, key));
		FAILS("pkey_mprotect of a part", EACCES, pkey_mprotect(p, PAGE, RW, key));
		FAILS("pkey_mprotect with a key and no access", EACCES, pkey_mprotect(window, WINDOW, PROT_NONE, key));
		FAILS("pkey_mprotect with the key that it has", 0, pkey_mprotect(window, WINDOW, RW, 0));
		FAILS("which mprotect leaves it", 0, mprotect(window, WINDOW, RW));
		pkey_free(key);
	}
	FAILS("mremap to be smaller", EINVAL, mremap(window, WINDOW, WINDOW / 2, 0));
	FAILS("mremap to be larger", EFAULT, mremap(window, WINDOW, 2 * WINDOW, MREMAP_MAYMOVE));
	char *place = mmap(NULL, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FAILS("mremap to somewhere else", EINVAL, mremap(window, WINDOW, WINDOW, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	FAILS("mremap of a part", EINVAL, mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	munmap(place, WINDOW);
	FAILS("something else in the middle", EINVAL,
	      mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	FAILS("madvise", EINVAL, madvise(p, PAGE, MADV_DONTNEED));
	FAILS("MADV_KEEPONFORK", 0, madvise(window, WINDOW, MADV_KEEPONFORK));
	same("what is in it is as it was", 5, p[0]);
	int status;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		p[1] = 6;
		_exit(p[0] != 5 || w_space(fd).map_count != 1);
	}
	waitpid(child, &status, 0);
	same("a child has its copy", 0, status);
	same("and this process its own", 5, p[1]);
	same("munmap of all", 0, munmap(window, WINDOW));
	faults("a window that is gone", p, true, SIGSEGV, SEGV_MAPERR);
	FAILS("a request to it", ENXIO, w_munmap(fd, p, PAGE));
	window = open_window(fd, WINDOW);
	expect("another one can be had", w_mmap(fd, NULL, PAGE, RW, PRIVATE) != MAP_FAILED);
}

/* Huge pages at a fixed place: they can't be had, but what was there is gone. */
static void fixed_huge(void)
{
	const size_t huge = 2 << 20;
	const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED;
	const int beside = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED_NOREPLACE;
	char *all = w_mmap(fd, NULL, 3 * huge, RW, PRIVATE), *host_all = mmap(NULL, 3 * huge, RW, ANON, -1, 0);
	/* The first of two huge pages in each. */
	char *p = (char *)(((uintptr_t)all + huge - 1) & ~(huge - 1));
	char *q = (char *)(((uintptr_t)host_all + huge - 1) & ~(huge - 1));
	unsigned char vec[1];

	BOTH("MAP_HUGETLB at no huge page's start", w_mmap(fd, p + PAGE, PAGE, RW, fixed), mmap(q + PAGE, PAGE, RW, fixed, -1, 0));
	BOTH("MAP_HUGETLB at no huge page's start, on something", w_mmap(fd, p + PAGE, PAGE, RW, beside),
	     mmap(q + PAGE, PAGE, RW, beside, -1, 0));
	BOTH("MAP_HUGETLB on something", w_mmap(fd, p, PAGE, RW, beside), mmap(q, PAGE, RW, beside, -1, 0));
	FAILS("which is there", 0, w_mincore(fd, p, PAGE, vec));
	BOTH("MAP_HUGETLB in place of something", w_mmap(fd, p, PAGE, RW, fixed), mmap(q, PAGE, RW, fixed, -1, 0));
	BOTH("which is gone", w_mincore(fd, p, PAGE, vec), mincore(q, PAGE, vec));
	BOTH("up to its end", w_mincore(fd, p + huge - PAGE, PAGE, vec), mincore(q + huge - PAGE, PAGE, vec));
	BOTH("but no further", w_mincore(fd, p + huge, PAGE, vec), mincore(q + huge, PAGE, vec));
	BOTH("MAP_HUGETLB from the middle of a huge page on", w_mmap_of(fd, p + huge, PAGE, RW, fixed, -1, PAGE),
	     mmap(q + huge, PAGE, RW, fixed, -1, PAGE));
	BOTH("what was there is gone, too", w_mincore(fd, p + huge, PAGE, vec), mincore(q + huge, PAGE, vec));
	w_munmap(fd, all, 3 * huge);
	munmap(host_all, 3 * huge);
}

static void part_errno(void)
{
	/* Sixteen pages, a hole of sixteen, sixteen more; the same of the host's. */
	char *p = w_mmap(fd, NULL, 48 * PAGE, RW, PRIVATE), *q = mmap(NULL, 48 * PAGE, RW, ANON, -1, 0);
	/* No size, 2 MiB, 1 GiB, which not all CPUs have, sizes that nobody has, kinds that there are none of. */
	const unsigned int huge_flags[] = {
		PRIVATE, PRIVATE | 21 << 26, PRIVATE | 30 << 26, PRIVATE | 13 << 26, PRIVATE | 63U << 26, PRIVATE | MAP_GROWSDOWN,
		MAP_SHARED, MAP_SHARED | 13 << 26, MAP_SHARED_VALIDATE, MAP_SHARED_VALIDATE | 1 << 10, 0, 8,
	};
	unsigned char vec[64], host_vec[64];
	size_t huge = (size_t)1 << 62;

	w_munmap(fd, p + 16 * PAGE, 16 * PAGE);
	munmap(q + 16 * PAGE, 16 * PAGE);
	BOTH("mmap of nothing", w_mmap(fd, NULL, 0, RW, PRIVATE), mmap(NULL, 0, RW, ANON, -1, 0));
	BOTH("mmap of too much", w_mmap(fd, NULL, huge, RW, PRIVATE), mmap(NULL, huge, RW, ANON, -1, 0));
	BOTH("mmap that overflows", w_mmap(fd, NULL, -PAGE + 1, RW, PRIVATE), mmap(NULL, -PAGE + 1, RW, ANON, -1, 0));
	BOTH("MAP_SHARED_VALIDATE of no file", w_mmap(fd, NULL, PAGE, RW, MAP_SHARED_VALIDATE),
	     mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
	BOTH("mmap of no type", w_mmap(fd, NULL, PAGE, RW, 0), mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0));
	BOTH("mmap at no page's start", w_mmap(fd, p + 1, PAGE, RW, PRIVATE | MAP_FIXED), mmap(q + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0));
	BOTH("MAP_FIXED_NOREPLACE on something", w_mmap(fd, p, PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE),
	     mmap(q, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	BOTH("mmap of no file", w_mmap_of(fd, NULL, PAGE, RW, PRIVATE, -1, 0), mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0));
	BOTH("mmap of a file's offset in a page", w_mmap_of(fd, NULL, PAGE, RW, PRIVATE, 0, 1), mmap(NULL, PAGE, RW, MAP_PRIVATE, 0, 1));
	/* A guest has no pool of huge pages either. */
	for (unsigned int i = 0; i < sizeof(huge_flags) / sizeof(*huge_flags); i++)
		BOTH("MAP_HUGETLB", w_mmap(fd, NULL, PAGE, RW, MAP_HUGETLB | huge_flags[i]),
		     mmap(NULL, PAGE, RW, MAP_ANONYMOUS | MAP_HUGETLB | huge_flags[i], -1, 0));
	fixed_huge();
	FAILS("MAP_FIXED outside of the window", ENOMEM, w_mmap(fd, q, PAGE, RW, PRIVATE | MAP_FIXED));
	FAILS("MAP_FIXED across its end", ENOMEM, w_mmap(fd, window + WINDOW - PAGE, 2 * PAGE, RW, PRIVATE | MAP_FIXED));

	BOTH("munmap at no page's start", w_munmap(fd, p + 1, PAGE), munmap(q + 1, PAGE));
	BOTH("munmap of nothing", w_munmap(fd, p, 0), munmap(q, 0));
	BOTH("munmap that overflows", w_munmap(fd, p, huge), munmap(q, huge));
	BOTH("munmap of a hole", w_munmap(fd, p + 17 * PAGE, PAGE), munmap(q + 17 * PAGE, PAGE));
	FAILS("munmap outside of the window", EINVAL, w_munmap(fd, q, PAGE));

	BOTH("mprotect at no page's start", w_mprotect(fd, p + 1, PAGE, RW), mprotect(q + 1, PAGE, RW));
	BOTH("mprotect of nothing", w_mprotect(fd, p, 0, RW), mprotect(q, 0, RW));
	BOTH("mprotect that overflows", w_mprotect(fd, p, -PAGE, RW), mprotect(q, -PAGE, RW));
	BOTH("mprotect of a hole", w_mprotect(fd, p + 17 * PAGE, PAGE, RW), mprotect(q + 17 * PAGE, PAGE, RW));
	BOTH("mprotect into a hole", w_mprotect(fd, p + 15 * PAGE, 2 * PAGE, PROT_READ), mprotect(q + 15 * PAGE, 2 * PAGE, PROT_READ));
	BOTH("mprotect with bits", w_mprotect(fd, p, PAGE, 0x100), mprotect(q, PAGE, 0x100));
	BOTH("mprotect PROT_GROWSDOWN of no stack", w_mprotect(fd, p, PAGE, RW | PROT_GROWSDOWN), mprotect(q, PAGE, RW | PROT_GROWSDOWN));

	BOTH("mremap at no page's start", w_mremap(fd, p + 1, PAGE, PAGE, 0, NULL), mremap(q + 1, PAGE, PAGE, 0));
	BOTH("mremap to nothing", w_mremap(fd, p, PAGE, 0, 0, NULL), mremap(q, PAGE, 0, 0));
	BOTH("mremap of a hole", w_mremap(fd, p + 17 * PAGE, PAGE, 2 * PAGE, 0, NULL), mremap(q + 17 * PAGE, PAGE, 2 * PAGE, 0));
	BOTH("mremap across a hole", w_mremap(fd, p + 14 * PAGE, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, NULL), mremap(q + 14 * PAGE, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE));
	BOTH("mremap with no room", w_mremap(fd, p, PAGE, 2 * PAGE, 0, NULL), mremap(q, PAGE, 2 * PAGE, 0));
	BOTH("mremap with bits", w_mremap(fd, p, PAGE, PAGE, 0x100, NULL), mremap(q, PAGE, PAGE, 0x100));
	BOTH("MREMAP_FIXED alone", w_mremap(fd, p, PAGE, PAGE, MREMAP_FIXED, p + 40 * PAGE), mremap(q, PAGE, PAGE, MREMAP_FIXED, q + 40 * PAGE));
	BOTH("MREMAP_FIXED on itself", w_mremap(fd, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE),
	     mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGE));
	BOTH("MREMAP_DONTUNMAP of another size", w_mremap(fd, p, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL),
	     mremap(q, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));

	BOTH("madvise at no page's start", w_madvise(fd, p + 1, PAGE, MADV_DONTNEED), madvise(q + 1, PAGE, MADV_DONTNEED));
	BOTH("madvise of nothing", w_madvise(fd, p, 0, MADV_DONTNEED), madvise(q, 0, MADV_DONTNEED));
	BOTH("madvise that is none", w_madvise(fd, p, PAGE, 99), madvise(q, PAGE, 99));
	BOTH("madvise of a hole", w_madvise(fd, p + 17 * PAGE, PAGE, MADV_DONTNEED), madvise(q + 17 * PAGE, PAGE, MADV_DONTNEED));
	BOTH("madvise across a hole", w_madvise(fd, p + 14 * PAGE, 20 * PAGE, MADV_DONTNEED), madvise(q + 14 * PAGE, 20 * PAGE, MADV_DONTNEED));
	BOTH("MADV_POPULATE_WRITE of read-only memory", w_madvise(fd, p + 15 * PAGE, PAGE, MADV_POPULATE_WRITE), madvise(q + 15 * PAGE, PAGE, MADV_POPULATE_WRITE));

	BOTH("mincore at no page's start", w_mincore(fd, p + 1, PAGE, vec), mincore(q + 1, PAGE, vec));
	BOTH("mincore of a hole", w_mincore(fd, p + 17 * PAGE, PAGE, vec), mincore(q + 17 * PAGE, PAGE, vec));
	BOTH("mincore to nowhere", w_mincore(fd, p, PAGE, (void *)8), mincore(q, PAGE, (void *)8));
	BOTH("mincore", w_mincore(fd, p, 16 * PAGE, vec), mincore(q, 16 * PAGE, vec));
	memset(vec, 9, sizeof(vec));
	memset(host_vec, 9, sizeof(host_vec));
	BOTH("mincore that overflows", w_mincore(fd, p, -PAGE, vec), mincore(q, -PAGE, host_vec));
	BOTH("mincore of a hole, to where no process has memory", w_mincore(fd, p + 17 * PAGE, PAGE, (void *)-PAGE),
	     mincore(q + 17 * PAGE, PAGE, (void *)-PAGE));
	same("neither tells anything", 9, vec[0]);
	BOTH("mincore into a hole", w_mincore(fd, p + 14 * PAGE, 4 * PAGE, vec), mincore(q + 14 * PAGE, 4 * PAGE, host_vec));
	same("what is before the hole is told", 0, memcmp(vec, host_vec, sizeof(vec)));
	same("and no more", 9, vec[2]);
	BOTH("mlock of a hole", w_lock(fd, SHADOWMM_MM_MLOCK, p + 17 * PAGE, PAGE, 0), mlock(q + 17 * PAGE, PAGE));
	BOTH("mlock", w_lock(fd, SHADOWMM_MM_MLOCK, p, PAGE, 0), mlock(q, PAGE));
	BOTH("mlock2 with bits", w_lock(fd, SHADOWMM_MM_MLOCK, p, PAGE, 2), mlock2(q, PAGE, 2));
	BOTH("MADV_DONTNEED of locked memory", w_madvise(fd, p, PAGE, MADV_DONTNEED), madvise(q, PAGE, MADV_DONTNEED));
	BOTH("munlock", w_lock(fd, SHADOWMM_MM_MUNLOCK, p, PAGE, 0), munlock(q, PAGE));
	BOTH("mlockall of nothing", w_lock(fd, SHADOWMM_MM_MLOCKALL, 0, 0, 0), mlockall(0));
	BOTH("mlockall with bits", w_lock(fd, SHADOWMM_MM_MLOCKALL, 0, 0, 8), mlockall(8));
	BOTH("msync of a hole", w_msync(fd, p + 17 * PAGE, PAGE, MS_SYNC), msync(q + 17 * PAGE, PAGE, MS_SYNC));
	BOTH("msync of both", w_msync(fd, p, PAGE, MS_SYNC | MS_ASYNC), msync(q, PAGE, MS_SYNC | MS_ASYNC));
	BOTH("msync with bits", w_msync(fd, p, PAGE, 0x100), msync(q, PAGE, 0x100));
	BOTH("msync at no page's start", w_msync(fd, p + 1, PAGE, MS_SYNC), msync(q + 1, PAGE, MS_SYNC));

	same("a limit", 0, w_limit(fd, SHADOWMM_MM_LIMIT_AS, 64 * PAGE));
	FAILS("beyond RLIMIT_AS", ENOMEM, w_mmap(fd, NULL, 64 * PAGE, RW, PRIVATE));
	same("no limit", 0, w_limit(fd, SHADOWMM_MM_LIMIT_AS, -1));
	uintptr_t brk = w_brk(fd, 0);

	same("brk", (long)(brk + 4 * PAGE), (long)w_brk(fd, brk + 4 * PAGE));
	memset((void *)brk, 1, 4 * PAGE);
	same("brk back", (long)brk, (long)w_brk(fd, brk));
	same("brk to nonsense", (long)brk, (long)w_brk(fd, 1));
	munmap(q, 48 * PAGE);
}

static void file_errno(const char *name)
{
	const int unknown = 1 << 10, shared[] = { MAP_SHARED, MAP_SHARED_VALIDATE };
	int reads = open(name, O_RDONLY), writes = open(name, O_WRONLY), both = open(name, O_RDWR);
	int directory = open("/", O_RDONLY), path = open(name, O_PATH);

	BOTH_OF("nothing of a file", 0, PROT_READ, 0, writes);
	BOTH_OF("a file of no type", PAGE, PROT_READ, 0, writes);
	BOTH_OF("a file that is droppable", PAGE, PROT_READ, 8, reads);
	BOTH_OF("a file that can't be read", PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, writes);
	BOTH_OF("a file that grows", PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, reads);
	BOTH_OF("a file that is not open", PAGE, PROT_READ, MAP_PRIVATE, path);
	BOTH_OF("a file with MAP_HUGETLB", PAGE, PROT_READ, MAP_PRIVATE | MAP_HUGETLB, reads);
	BOTH_OF("a shared file with MAP_HUGETLB", PAGE, PROT_READ, MAP_SHARED | MAP_HUGETLB, writes);
	BOTH_OF("a directory with MAP_HUGETLB", PAGE, PROT_READ, MAP_PRIVATE | MAP_HUGETLB, directory);
	BOTH_OF("nothing of a directory", 0, PROT_READ, MAP_PRIVATE, directory);
	BOTH_OF("a directory of no type", PAGE, PROT_READ, 0, directory);
	BOTH_OF("a directory", PAGE, RW, MAP_PRIVATE, directory);
	BOTH_OF("a directory that grows", PAGE, RW, MAP_PRIVATE | MAP_GROWSDOWN, directory);
	BOTH_OF("a directory, shared", PAGE, PROT_READ, MAP_SHARED, directory);
	BOTH_OF("a directory, shared, that is written to", PAGE, RW, MAP_SHARED, directory);
	for (int i = 0; i < 2; i++) {
		BOTH_OF("a shared file that can't be read", PAGE, RW, shared[i], writes);
		BOTH_OF("a shared file that can't be written", PAGE, RW, shared[i], reads);
		/* Here they come apart: what is shared with others is not the shadow's. */
		FAILS("a shared file", ENODEV, w_mmap_of(fd, NULL, PAGE, RW, shared[i], both, 0));
		FAILS("a shared file that is read", ENODEV, w_mmap_of(fd, NULL, PAGE, PROT_READ, shared[i], reads, 0));
	}
	BOTH_OF("MAP_SHARED_VALIDATE with an unknown flag", PAGE, RW, MAP_SHARED_VALIDATE | unknown, both);
	BOTH_OF("which comes first", PAGE, RW, MAP_SHARED_VALIDATE | unknown, writes);
	BOTH_OF("and is ignored with MAP_SHARED", PAGE, RW, MAP_SHARED | unknown, writes);
	close(reads);
	close(writes);
	close(both);
	close(directory);
	close(path);
}

/* What has no pages is refused: content that is made when it is read. */
static void no_pages(const char *name)
{
	int file = open(name, O_RDONLY);

	expect("a file without pages is there", file >= 0);
	BOTH_OF(name, PAGE, PROT_READ, MAP_PRIVATE, file);
	BOTH_OF("and to be written to", PAGE, RW, MAP_PRIVATE, file);
	BOTH_OF("and to be executed", PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file);
	FAILS("it can't be mapped", ENODEV, w_mmap_of(fd, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
	close(file);
}

/* Somebody who listens by fanotify lets nobody read a file. */
static void guarded(const char *name)
{
	int guard = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
	int file;
	pid_t child;
	char byte;

	/* Debian's kernel has it, those for tests alone have not. */
	if (guard < 0 && errno == ENOSYS)
		return;
	/* The child reads no file. */
	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct fanotify_event_metadata event;

		while (read(guard, &event, sizeof(event)) >= (ssize_t)sizeof(event)) {
			struct fanotify_response no = { .fd = event.fd, .response = FAN_DENY };

			if (write(guard, &no, sizeof(no)) != sizeof(no))
				_exit(1);
			close(event.fd);
		}
		_exit(1);
	}
	same("a file has a guard", 0, fanotify_mark(guard, FAN_MARK_ADD, FAN_ACCESS_PERM, AT_FDCWD, name));
	file = open(name, O_RDONLY);
	FAILS("who lets nobody read it", EPERM, pread(file, &byte, 1, 0));
	FAILS("nor a window have it", EPERM, w_mmap_of(fd, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
	same("for that reason", 241, reason);
	same("until he goes", 0, fanotify_mark(guard, FAN_MARK_FLUSH, 0, AT_FDCWD, NULL));
	close(guard);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	char *p = w_mmap_of(fd, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);

	expect("it is mapped again", p != MAP_FAILED);
	if (p != MAP_FAILED)
		w_munmap(fd, p, PAGE);
	close(file);
}

static void part_file(void)
{
	char name[] = "/tmp/mm-XXXXXX", text[3 * PAGE], there[PAGE];
	int file = mkstemp(name);

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i * 7 + i / 256;
	same("a file", (long)(2 * PAGE + 100), write(file, text, 2 * PAGE + 100));
	char *p = w_mmap_of(fd, NULL, 4 * PAGE, RW, MAP_PRIVATE, file, 0);

	expect("is mapped", p != MAP_FAILED);
	same("its content", 0, memcmp(p, text, 2 * PAGE + 100));
	same("zeroes behind its end", 0, p[2 * PAGE + 200]);
	faults("the page behind", p + 3 * PAGE, false, SIGBUS, BUS_ADRERR);
	p[0] = ~text[0];
	same("pread", (long)PAGE, pread(file, there, PAGE, 0));
	same("the file has not changed", text[0], there[0]);
	same("resident of the file", 2, w_space(fd).rss[0]);
	same("resident of its own", 1, w_space(fd).rss[1]);
	close(file);
	same("when it is closed", text[PAGE], p[PAGE]);
	file_errno(name);
	guarded(name);
	unlink(name);
	no_pages("/sys/kernel/uevent_seqnum");
	no_pages("/proc/self/maps");
}

/* Has the kernel take a page of a file for broken: 0, or an errno. The file keeps it. */
static int poison(int file, off_t offset)
{
	int status;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		signal(SIGBUS, SIG_DFL);
		volatile char *q = mmap(NULL, PAGE, RW, MAP_SHARED, file, offset);

		if (q == MAP_FAILED)
			_exit(errno);
		(void)*q;
		/* Who has it mapped is told, too, and dies of that. */
		_exit(madvise((void *)q, PAGE, MADV_HWPOISON) ? errno : 0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS ? 0 : WEXITSTATUS(status);
}

/* A page of a file in memory that is broken. The kernel never has that memory again. */
static void part_poisoned(void)
{
	char text[3 * PAGE], byte;
	int file = memfd_create("poisoned", MFD_CLOEXEC), error;

	memset(text, 7, sizeof(text));
	same("a file in memory", (long)sizeof(text), write(file, text, sizeof(text)));
	char *early = w_mmap_of(fd, NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0);

	same("its page is in the window", 7, early[PAGE]);
	error = poison(file, PAGE);
	if (error == EINVAL || error == EPERM) {
		printf("# no page can be poisoned here\n");
		return;
	}
	same("a page is poisoned", 0, error);
	same("which the file has still", -1, pread(file, &byte, 1, PAGE));
	same("but nobody may read", EIO, errno);
	char *p = w_mmap_of(fd, NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0);
	char *q = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0);
	int mem = open("/proc/self/mem", O_RDONLY);

	faults("a poisoned page that is read, the host's", q + PAGE, false, SIGBUS, BUS_MCEERR_AR);
	faults("a poisoned page that is read, the window's", p + PAGE, false, SIGBUS, BUS_MCEERR_AR);
	faults("a poisoned page that is written, the host's", q + PAGE, true, SIGBUS, BUS_MCEERR_AR);
	faults("a poisoned page that is written, the window's", p + PAGE, true, SIGBUS, BUS_MCEERR_AR);
	same("nor is it read by /proc/self/mem", -1, pread(mem, &byte, 1, (uintptr_t)p + PAGE));
	same("its errno", EIO, errno);
	same("its neighbours are there", 14, p[0] + p[2 * PAGE]);
	same("and nothing else is resident of the second mapping", 3, w_space(fd).rss[0]);
	same("what was copied before stays", 7, early[PAGE]);
	close(mem);
	munmap(q, 3 * PAGE);
	close(file);
}

static void part_others(void)
{
	char *p = w_mmap(fd, NULL, 4 * PAGE, RW, PRIVATE), text[8] = "";
	int mem = open("/proc/self/mem", O_RDWR), status;

	memcpy(p + PAGE - 3, "abcdef", 6);
	same("/proc/PID/mem is read", 6, pread(mem, text, 6, (uintptr_t)p + PAGE - 3));
	same("what was read", 0, memcmp(text, "abcdef", 6));
	same("is written", 6, pwrite(mem, "ghijkl", 6, (uintptr_t)p + 2 * PAGE - 3));
	same("what was written", 0, memcmp(p + 2 * PAGE - 3, "ghijkl", 6));
	same("not where nothing is", -1, pread(mem, text, 1, (uintptr_t)p + 8 * PAGE));
	same("its errno", EIO, errno);
	close(mem);
	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(p[0] != 'Z');
	}
	waitpid(child, &status, 0);
	same("ptrace reads", 0, memcmp("abc", &(long){ ptrace(PTRACE_PEEKDATA, child, p + PAGE - 3, 0) }, 3));
	same("ptrace writes", 0, ptrace(PTRACE_POKEDATA, child, p, (void *)(long)'Z'));
	ptrace(PTRACE_CONT, child, 0, 0);
	waitpid(child, &status, 0);
	same("what it wrote", 0, status);
	same("to the child alone", 0, p[0]);
}

static void *toucher(void *arg)
{
	volatile char *place = arg;

	for (int i = 0; i < 2000; i++)
		place[i * PAGE] = 1;
	return NULL;
}

static void part_threads(void)
{
	pthread_t threads[4];
	char *p = w_mmap(fd, NULL, 8000 * PAGE, RW, PRIVATE);

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, toucher, p + i * 2000 * PAGE);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	struct shadowmm_rec_space space = w_space(fd);

	same("every page is there", 8000, space.rss[1]);
	same("no fault has taken the mmap lock", 0, space.faults_mmap_lock);
	same("MADV_DONTNEED", 0, w_madvise(fd, p, 8000 * PAGE, MADV_DONTNEED));
	same("nothing is there", 0, w_space(fd).rss[1]);
}

static volatile sig_atomic_t ticks;

static void tick(int number)
{
	(void)number;
	ticks++;
}

static void part_signals(void)
{
	struct sigaction action = { .sa_handler = tick };
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 500000 }, { 0, 500000 } };
	char *p = w_mmap(fd, NULL, 64 * PAGE, RW, PRIVATE);
	long sum = 0;

	sigaction(SIGUSR1, &action, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &often, NULL);
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 64; i++)
			p[i * PAGE] = 1;
		for (int i = 0; i < 64; i++)
			sum += p[i * PAGE];
		w_madvise(fd, p, 64 * PAGE, MADV_DONTNEED);
	}
	timer_delete(timer);
	same("nothing is lost by signals", 200 * 64, sum);
	expect("there were signals", ticks > 0);

	/* A signal that is blocked or ignored is forced, as the host does. */
	for (int how = 0; how < 2; how++) {
		int status;

		fflush(stdout);
		pid_t child = fork();

		if (child == 0) {
			sigset_t set;

			w_mprotect(fd, p, PAGE, PROT_READ);
			sigemptyset(&set);
			sigaddset(&set, SIGSEGV);
			if (how)
				signal(SIGSEGV, SIG_IGN);
			else
				sigprocmask(SIG_BLOCK, &set, NULL);
			*(volatile char *)p = 1;
			_exit(0);
		}
		waitpid(child, &status, 0);
		expect(how ? "SIGSEGV that is ignored" : "SIGSEGV that is blocked",
		       WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

static void part_many(void)
{
	char *p = w_mmap(fd, NULL, 20000 * PAGE, RW, PRIVATE);
	int bad = 0;

	for (int i = 0; i < 20000; i += 2)
		bad += w_mprotect(fd, p + i * PAGE, PAGE, PROT_READ) != 0;
	same("10,000 times mprotect", 0, bad);
	same("as many VMAs", 20000, w_space(fd).map_count);
	for (int i = 1; i < 20000; i += 2)
		p[i * PAGE] = 1;
	struct shadowmm_rec_vma *all = malloc(20000 * sizeof(*all));

	same("all are told", 20000, w_vmas(fd, all, 20000));
	bad = 0;
	for (int i = 0; i < 20000; i++)
		bad += all[i].start != (uintptr_t)p + i * PAGE || all[i].end != all[i].start + PAGE;
	same("in order", 0, bad);
	free(all);
	same("back", 0, w_mprotect(fd, p, 20000 * PAGE, RW));
	/* Each page that was written to had no neighbour with an anonymous region: it has its own. */
	same("each merges with a neighbour that nobody has written to", 10000, w_space(fd).map_count);
	same("munmap", 0, w_munmap(fd, p, 20000 * PAGE));
}

/* Processes that fork and write, two at a time, `depth` deep. */
static int bomb(char *p, int depth)
{
	int bad = 0, status;

	for (int i = 0; i < 2 && depth; i++) {
		pid_t child = fork();

		if (child == 0) {
			memset(p + depth * PAGE, depth, PAGE);
			_exit(p[0] != 42 || bomb(p, depth - 1));
		}
		if (child < 0 || waitpid(child, &status, 0) != child)
			bad++;
		else
			bad += status != 0;
	}
	return bad;
}

static void part_forks(void)
{
	char *p = w_mmap(fd, NULL, 16 * PAGE, RW, PRIVATE);
	int status;

	memset(p, 42, 16 * PAGE);
	fflush(stdout);
	same("126 processes, one from another", 0, bomb(p, 6));
	same("this one has what it had", 42, p[6 * PAGE]);

	/* One that is killed in the middle, and one that becomes another program. */
	fflush(stdout);
	pid_t child = fork();

	if (child == 0)
		for (;;)
			memset(p, 1, 16 * PAGE), w_madvise(fd, p, 16 * PAGE, MADV_DONTNEED);
	usleep(50000);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	expect("kill -9", WIFSIGNALED(status));
	child = fork();
	if (child == 0)
		execl("/bin/true", "true", NULL);
	waitpid(child, &status, 0);
	same("exec", 0, status);
	same("this address space is left", 1, w_spaces(fd));
}

/* --- the first stack ---------------------------------------------------------------- */

/* The line of the window's maps with this in it, or "". */
static const char *maps_line(const char *what)
{
	static char line[512];
	char name[64];
	FILE *maps;

	snprintf(name, sizeof(name), "/proc/shadowmm/mm/%u/maps", w_space(fd).id);
	maps = fopen(name, "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, what))
			continue;
		fclose(maps);
		return line;
	}
	if (maps)
		fclose(maps);
	return "";
}

/* What /proc/FILE says of a line: KiB, or -1. */
static long told(const char *file, const char *name)
{
	char line[256];
	long value = -1;
	FILE *text = fopen(file, "r");

	while (text && fgets(line, sizeof(line), text)) {
		size_t len = strlen(name);

		if (!strncmp(line, name, len) && (line[len] == ':' || line[len] == ' ')) {
			value = atol(line + len + 1);
			break;
		}
	}
	if (text)
		fclose(text);
	return value;
}

static long status(const char *name)
{
	char file[64];

	snprintf(file, sizeof(file), "/proc/shadowmm/mm/%u/status", w_space(fd).id);
	return told(file, name);
}

static void part_stack(void)
{
	struct shadowmm_rec_space space = w_space(fd);
	unsigned long start, end;
	char mode[8];
	uintptr_t brk;

	same("a window begins with one VMA", 1, space.map_count);
	same("which is [stack]", 3, sscanf(maps_line("[stack]"), "%lx-%lx %7s", &start, &end, mode));
	same("as large as after exec", 132 << 10, end - start);
	expect("its permissions", !strcmp(mode, "rw-p"));
	same("it ends with the window", (long)(window + WINDOW), (long)end);
	expect("start_stack is in it", space.start_stack >= start && space.start_stack < end);
	same("VmStk", 132, status("VmStk"));
	same("VmData", 0, status("VmData"));
	same("VmExe", 0, status("VmExe"));
	same("nothing of it is there", 0, status("VmRSS"));
	faults("it is written to", (char *)end - 64, true, 0, 0);
	faults("and grows", (char *)start - 40 * PAGE, true, 0, 0);
	same("to where it was written to", 132 + 160, status("VmStk"));
	faults("not below its limit", (char *)end - (9 << 20), true, SIGSEGV, SEGV_MAPERR);
	brk = w_brk(fd, 0);
	w_brk(fd, brk + 3 * PAGE);
	expect("the heap is [heap]", sscanf(maps_line("[heap]"), "%lx-%lx", &start, &end) == 2 &&
	       start == brk && end == brk + 3 * PAGE);
	same("VmData has it", 12, status("VmData"));
	same("what a process has may go", 0, w_munmap(fd, window, WINDOW));
	same("and nothing is left", 0, w_space(fd).map_count);
}

/* --- limits ----------------------------------------------------------------------- */

static void set_limit(int which, rlim_t value)
{
	struct rlimit limit;

	getrlimit(which, &limit);
	limit.rlim_cur = value;
	if (setrlimit(which, &limit))
		perror("setrlimit");
}

/* How the window and the process's own memory come out with a limit of the process's. */
static void grows_to(const char *name, size_t below, bool good)
{
	char *place[2], text[128];

	place[0] = w_mmap(fd, NULL, 4096 * PAGE, PROT_NONE, PRIVATE);
	place[1] = mmap(NULL, 4096 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w_munmap(fd, place[0], 4096 * PAGE);
	munmap(place[1], 4096 * PAGE);
	w_mmap(fd, place[0] + 4095 * PAGE, PAGE, RW, PRIVATE | MAP_FIXED | MAP_GROWSDOWN);
	mmap(place[1] + 4095 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	for (int i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "%s, %s", name, i ? "the host's" : "the window's");
		same(text, good ? 0 : SIGSEGV, touch(place[i] + 4095 * PAGE - below, true));
	}
	w_munmap(fd, place[0], 4096 * PAGE);
	munmap(place[1], 4096 * PAGE);
}

static void drop_cap_ipc_lock(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps))
		perror("capget");
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &head, caps))
		perror("capset");
}

static void part_limits(void)
{
	struct shadowmm_mm_limits follow = { .op = SHADOWMM_MM_LIMITS_FOLLOW, .limit = SHADOWMM_MM_LIMIT_AS };
	char *p = w_mmap(fd, NULL, 64 * PAGE, RW, PRIVATE);
	char *q = mmap(NULL, 64 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set_limit(RLIMIT_AS, 4 * PAGE);
	BOTH("mmap beyond RLIMIT_AS, set after the window", w_mmap(fd, NULL, PAGE, RW, PRIVATE), mmap(NULL, PAGE, RW, ANON, -1, 0));
	BOTH("mremap beyond it", w_mremap(fd, p, 32 * PAGE, 128 * PAGE, MREMAP_MAYMOVE, NULL), mremap(q, 32 * PAGE, 128 * PAGE, MREMAP_MAYMOVE));
	same("a limit of the window's own", 0, w_limit(fd, SHADOWMM_MM_LIMIT_AS, 1 << 30));
	same("is its own", 0, w_mmap(fd, NULL, PAGE, RW, PRIVATE) == MAP_FAILED);
	same("until it follows again", 0, ASK(fd, SHADOWMM_IOC_MM_LIMITS, follow));
	FAILS("then it is the process's", ENOMEM, w_mmap(fd, NULL, PAGE, RW, PRIVATE));
	set_limit(RLIMIT_AS, RLIM_INFINITY);
	same("RLIMIT_AS is raised", 0, w_mmap(fd, NULL, PAGE, RW, PRIVATE) == MAP_FAILED);

	set_limit(RLIMIT_DATA, PAGE);
	BOTH("mmap beyond RLIMIT_DATA", w_mmap(fd, NULL, PAGE, RW, PRIVATE), mmap(NULL, PAGE, RW, ANON, -1, 0));
	BOTH("what is no data", w_mmap(fd, NULL, PAGE, PROT_READ, PRIVATE), mmap(NULL, PAGE, PROT_READ, ANON, -1, 0));
	uintptr_t brk = w_brk(fd, 0);

	same("the heap beyond it", (long)brk, (long)w_brk(fd, brk + 8 * PAGE));
	set_limit(RLIMIT_DATA, RLIM_INFINITY);
	same("the heap without", (long)(brk + 8 * PAGE), (long)w_brk(fd, brk + 8 * PAGE));

	set_limit(RLIMIT_STACK, 64 << 10);
	grows_to("a stack up to RLIMIT_STACK", 32 << 10, true);
	grows_to("a stack beyond RLIMIT_STACK", 128 << 10, false);
	set_limit(RLIMIT_STACK, 8 << 20);
	grows_to("a stack when it was raised", 128 << 10, true);

	set_limit(RLIMIT_MEMLOCK, 4 * PAGE);
	BOTH("mlock with CAP_IPC_LOCK", w_lock(fd, SHADOWMM_MM_MLOCK, p, 8 * PAGE, 0), mlock(q, 8 * PAGE));
	BOTH("munlock", w_lock(fd, SHADOWMM_MM_MUNLOCK, p, 8 * PAGE, 0), munlock(q, 8 * PAGE));
	drop_cap_ipc_lock();
	BOTH("mlock beyond RLIMIT_MEMLOCK", w_lock(fd, SHADOWMM_MM_MLOCK, p, 8 * PAGE, 0), mlock(q, 8 * PAGE));
	BOTH("mlock within", w_lock(fd, SHADOWMM_MM_MLOCK, p, 2 * PAGE, 0), mlock(q, 2 * PAGE));
	BOTH("MAP_LOCKED beyond", w_mmap(fd, NULL, 8 * PAGE, RW, PRIVATE | MAP_LOCKED), mmap(NULL, 8 * PAGE, RW, ANON | MAP_LOCKED, -1, 0));
	set_limit(RLIMIT_MEMLOCK, 0);
	BOTH("mlock without any", w_lock(fd, SHADOWMM_MM_MLOCK, p, PAGE, 0), mlock(q, PAGE));
	munmap(q, 64 * PAGE);
}

/* --- what meminfo and vmstat tell --------------------------------------------------- */

#define MEMINFO "/proc/shadowmm/meminfo"
#define VMSTAT "/proc/shadowmm/vmstat"

struct counts {
	long anon, huge, shmem, mapped, tables, locked, faults;
};

static struct counts counts(void)
{
	return (struct counts){
		.anon = told(MEMINFO, "AnonPages"),
		.huge = told(MEMINFO, "AnonHugePages"),
		.shmem = told(MEMINFO, "Shmem"),
		.mapped = told(MEMINFO, "Mapped"),
		.tables = told(MEMINFO, "PageTables"),
		.locked = told(MEMINFO, "Mlocked"),
		.faults = told(VMSTAT, "pgfault"),
	};
}

static void part_memory(void)
{
	size_t huge = 2 << 20;
	struct counts before = counts(), now;
	char *p = w_mmap(fd, NULL, 256 * PAGE, RW, PRIVATE);
	char *s = w_mmap(fd, NULL, 64 * PAGE, RW, MAP_SHARED);
	char *h = w_mmap(fd, NULL, 2 * huge, RW, PRIVATE);
	long allocs = told(VMSTAT, "thp_fault_alloc");
	int pid, end;

	w_madvise(fd, p, 256 * PAGE, MADV_NOHUGEPAGE);
	memset(p, 1, 256 * PAGE);
	now = counts();
	same("AnonPages", 1024, now.anon - before.anon);
	same("pgfault", 256, now.faults - before.faults);
	same("VmPTE and the top table are PageTables", status("VmPTE") + 4, now.tables - before.tables);
	same("the window's own minor faults", 256, w_space(fd).min_flt);
	pid = fork();
	if (!pid) {
		now = counts();
		if (now.anon - before.anon != 1024)
			_exit(1);
		memset(p, 2, 16 * PAGE);
		now = counts();
		_exit(now.anon - before.anon != 1024 + 64);
	}
	waitpid(pid, &end, 0);
	same("a page counts once after a fork, and its copy, too", 0, end);
	same("and a child's go with it", 1024, counts().anon - before.anon);
	memset(s, 1, 64 * PAGE);
	now = counts();
	same("Shmem", 256, now.shmem - before.shmem);
	same("Mapped", 256, now.mapped - before.mapped);
	w_madvise(fd, s, 64 * PAGE, MADV_DONTNEED);
	now = counts();
	same("Shmem when nobody maps it", 256, now.shmem - before.shmem);
	same("Mapped when nobody does", 0, now.mapped - before.mapped);
	same("what of shared memory is read again", 1, s[5 * PAGE]);
	same("mlock", 0, w_lock(fd, SHADOWMM_MM_MLOCK, p, 128 * PAGE, 0));
	same("Mlocked", 512, counts().locked - before.locked);
	same("VmLck", 512, status("VmLck"));
	same("munlock of a part", 0, w_lock(fd, SHADOWMM_MM_MUNLOCK, p, 64 * PAGE, 0));
	same("Mlocked then", 256, counts().locked - before.locked);
	h = (char *)(((uintptr_t)h + huge - 1) & ~(huge - 1));
	w_madvise(fd, h, huge, MADV_HUGEPAGE);
	h[0] = 1;
	now = counts();
	if (told(VMSTAT, "thp_fault_alloc") > allocs) {
		same("AnonHugePages", 2048, now.huge - before.huge);
		same("AnonPages has them, too", 1024 + 2048, now.anon - before.anon);
		w_munmap(fd, h, huge / 2);
		now = counts();
		same("no AnonHugePages when half is gone", 0, now.huge - before.huge);
		same("and half of AnonPages", 1024 + 1024, now.anon - before.anon);
	} else {
		same("AnonHugePages without a block", 0, now.huge - before.huge);
	}
	same("nodes have what all have", told(MEMINFO, "AnonPages"), told(VMSTAT, "nr_anon_pages") * 4);
	w_munmap(fd, window, WINDOW);
	now = counts();
	same("AnonPages at the end", 0, now.anon - before.anon);
	same("AnonHugePages at the end", 0, now.huge - before.huge);
	same("Shmem at the end", 0, now.shmem - before.shmem);
	same("Mapped at the end", 0, now.mapped - before.mapped);
	same("Mlocked at the end", 0, now.locked - before.locked);
}

/* Writes to pages that were somebody else's, too, or could not be written to for a while. */
static void part_reuse(void)
{
	const size_t small = 64 * PAGE, huge = 2 << 20;
	char *p = w_mmap(fd, NULL, small, RW, PRIVATE), *h = w_mmap(fd, NULL, 2 * huge, RW, PRIVATE);
	long reuses = told(VMSTAT, "pgreuse"), allocs = told(VMSTAT, "thp_fault_alloc"), anon;
	int ends[2], status;

	w_madvise(fd, p, small, MADV_NOHUGEPAGE);
	memset(p, 1, small);
	same("mprotect", 0, w_mprotect(fd, p, small, PROT_READ));
	same("what is read meanwhile", 1, p[5 * PAGE]);
	same("mprotect back", 0, w_mprotect(fd, p, small, RW));
	memset(p, 2, small);
	same("which finds no page to be reused", 0, told(VMSTAT, "pgreuse") - reuses);

	h = (char *)(((uintptr_t)h + huge - 1) & ~(huge - 1));
	w_madvise(fd, h, huge, MADV_HUGEPAGE);
	memset(h, 1, huge);
	if (told(VMSTAT, "thp_fault_alloc") == allocs)
		return; /* no block was left */
	same("pipe", 0, pipe(ends));
	fflush(stdout);
	pid_t child = fork();

	if (!child) {
		char byte;

		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	close(ends[0]);
	h[0] = 2;
	anon = told(MEMINFO, "AnonPages");
	close(ends[1]);
	waitpid(child, &status, 0);
	same("a child that had them, too", 0, status);
	memset(h, 3, huge);
	same("parts of 2 MiB are written to in place", anon, told(MEMINFO, "AnonPages"));
	same("each is reused", 511, told(VMSTAT, "pgreuse") - reuses);
	same("what is there then", 0, memcmp(h, h + 1, huge - 1));
}

/* --- maps and smaps in pieces ----------------------------------------------------------- */

/* 5,000 VMAs of smaps, twice. */
#define TEXT (10L << 20)

static int open_text(int of, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/shadowmm/mm/%u/%s", w_space(of).id, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* What is still to be read, in pieces: how much there is, or -1. There is room for half of TEXT. */
static long read_on(int text, char *to, long piece)
{
	ssize_t got = 0;
	long len = 0;

	while (len + piece <= TEXT / 2 && (got = read(text, to + len, piece)) > 0)
		len += got;
	return got ? -1 : len;
}

/* How many lines begin with this. */
static int lines(const char *text, long len, const char *with)
{
	int count = 0;

	for (const char *at = text; at < text + len; at = (char *)memchr(at, '\n', text + len - at) + 1)
		count += !strncmp(at, with, strlen(with));
	return count;
}

/* That pieces of every size, and from every place, are pieces of the whole. */
static void in_pieces(const char *file, const char *with, int vmas, long least)
{
	char *whole = calloc(1, TEXT + 1), *again = calloc(1, TEXT + 1), name[128];
	int text = open_text(fd, file), bad = 0;
	long len = read_on(text, whole, 4096);
	const long pieces[] = { least, 1000, 65537 };

	snprintf(name, sizeof(name), "%s has all VMAs", file);
	same(name, vmas, lines(whole, len, with));
	for (unsigned int i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		memset(again, 0, TEXT);
		bad += lseek(text, 0, SEEK_SET) != 0;
		snprintf(name, sizeof(name), "%s in pieces of %ld bytes", file, pieces[i]);
		same(name, len, read_on(text, again, pieces[i]));
		same("is the same", 0, memcmp(whole, again, TEXT));
	}
	for (long at = len - 1; at > 0; at -= len / 9) {
		ssize_t got = pread(text, again, 1000, at);

		bad += got <= 0 || memcmp(whole + at, again, got);
		bad += lseek(text, at, SEEK_SET) != at;
		got = read(text, again, 77);
		bad += got <= 0 || memcmp(whole + at, again, got);
	}
	snprintf(name, sizeof(name), "%s from every place on", file);
	same(name, 0, bad);
	same("nothing is at its end", 0, pread(text, again, 1000, len));
	same("nor behind it", 0, pread(text, again, 1000, len + 5000));
	close(text);
	free(whole);
	free(again);
}

static void part_texts(void)
{
	const int few = 5000, many = 20000;
	char *p = w_mmap(fd, NULL, few * PAGE, RW, PRIVATE), *whole = malloc(TEXT), *again = malloc(TEXT), byte;
	int bad = 0, text, texts[20];

	for (int i = 0; i < few; i += 2)
		bad += w_mprotect(fd, p + i * PAGE, PAGE, PROT_READ) != 0;
	memset(p + PAGE, 1, PAGE);
	same("as many times mprotect as it takes", 0, bad);
	same("5,000 VMAs", few, w_space(fd).map_count);
	in_pieces("maps", "", few, 1);
	in_pieces("smaps", "VmFlags: ", few, 127);

	/* VMAs that go while they are told of. */
	text = open_text(fd, "maps");
	long len = read_on(text, whole, 4096);

	close(text);
	text = open_text(fd, "maps");
	same("the first piece", 100, read(text, again, 100));
	same("munmap of most", 0, w_munmap(fd, p, (few - 100) * PAGE));
	long rest = read_on(text, again + 100, 4096);

	expect("what is left is told", rest > 0 && rest < len / 2);
	same("to the last line", 0, memcmp(whole + len - 4000, again + 100 + rest - 4000, 4000));
	close(text);

	/* A window that goes. */
	int own = open_device();

	w_configure(own, SHADOWMM_MM_BARE);
	char *place = open_window(own, WINDOW);
	char *q = w_mmap(own, NULL, 400 * PAGE, RW, PRIVATE);

	for (int i = 0; i < 400; i += 2)
		w_mprotect(own, q + i * PAGE, PAGE, PROT_READ);
	text = open_text(own, "maps");
	same("a byte of another window's", 1, read(text, &byte, 1));
	munmap(place, WINDOW);
	close(own);
	errno = 0;
	same("the rest when it is gone", -1, read_on(text, again, 4096));
	expect("its errno", errno == ESRCH || errno == EIO);
	close(text);

	/* Nobody holds what nobody has read. */
	char *r = w_mmap(fd, NULL, many * PAGE, RW, PRIVATE);

	for (int i = 0; i < many; i += 2)
		bad += w_mprotect(fd, r + i * PAGE, PAGE, PROT_READ) != 0;
	expect("20,000 VMAs", !bad && w_space(fd).map_count >= (unsigned int)many);
	long before = told("/proc/meminfo", "MemAvailable");

	for (int i = 0; i < 20; i++) {
		texts[i] = open_text(fd, i % 2 ? "maps" : "smaps");
		bad += read(texts[i], &byte, 1) != 1;
	}
	long now = told("/proc/meminfo", "MemAvailable");

	same("20 descriptors, a byte of each", 0, bad);
	printf("# they have %ld KiB\n", before - now);
	expect("they have less than 16 MiB", before > 0 && now > 0 && before - now < 16 << 10);
	for (int i = 0; i < 20; i++)
		close(texts[i]);
	free(whole);
	free(again);
}

/* Stays until stdin ends, for others to look at. */
static void part_hold(void)
{
	char *p = w_mmap(fd, NULL, 16 * PAGE, RW, PRIVATE), byte;

	memset(p, 1, 8 * PAGE);
	printf("%u %p\n", w_space(fd).id, (void *)p);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
		bool asked;	/* only when it is named */
		bool stack;	/* with the stack that a window has otherwise */
	} parts[] = {
		{ "basic", part_basic, false, false },
		{ "fork", part_fork, false, false },
		{ "windows", part_windows, false, false },
		{ "errno", part_errno, false, false },
		{ "file", part_file, false, false },
		{ "others", part_others, false, false },
		{ "threads", part_threads, false, false },
		{ "signals", part_signals, false, false },
		{ "many", part_many, false, false },
		{ "forks", part_forks, false, false },
		{ "stack", part_stack, false, true },
		{ "memory", part_memory, false, false },
		{ "reuse", part_reuse, false, false },
		{ "texts", part_texts, false, false },
		/* It gives up what it may, and stays so. */
		{ "limits", part_limits, false, false },
		/* For root, and each time for a page of the machine's. */
		{ "poisoned", part_poisoned, true, false },
		{ "hold", part_hold, true, false },
	};

	catch();
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		bool wanted = argc == 1 && !parts[i].asked;

		for (int j = 1; j < argc; j++)
			wanted |= !strcmp(argv[j], parts[i].name);
		if (!wanted)
			continue;
		fd = open_device();
		if (!parts[i].stack)
			w_configure(fd, SHADOWMM_MM_BARE);
		window = open_window(fd, WINDOW);
		parts[i].run();
		munmap(window, WINDOW);
		close(fd);
	}
	return failures != 0;
}
