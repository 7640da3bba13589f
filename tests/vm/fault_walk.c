// SPDX-License-Identifier: GPL-2.0
/*
 * Makes each request of the ABI, and whatever else reaches the module, again and again, each time in the same
 * state, and in the Nth time has the kernel's Nth chance to fail taken, until there are no more:
 *
 *     fault_walk IDLE none [FILE]...          each once, and nothing fails
 *     fault_walk IDLE memory|copy [FILE]...   the files are read, too
 *     fault_walk IDLE fork                    a window's process forks
 *
 * IDLE is a node that nobody uses.
 *
 * What fails is what the caller has switched on: allocations, or copies from and to the process, which
 * are refused with ENOMEM and EFAULT. A call may also go on in spite of it.
 *
 * Each call is made through a file, and in a window, of its own: they are closed behind it, which undoes what it
 * has done. A call that was refused has left all that can be counted as it was; where it takes something, that
 * holds also when its answer could not be delivered, and where it changes something, that may have been done then
 * (DONE).
 *
 * A line 'ok NAME' or 'not ok NAME: why' for each call, and one with all that was counted. Exits with 1 where
 * something is not as it should be.
 */
#include "fault_walk.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

#include "chance.h"

#define WINDOW (16UL << 20)
/*
 * Chances in one call at most: it would never end where each try makes one more. What is not walked to its end
 * is a failure.
 */
#define MOST 2000

int fd, other, watcher, self, idle;
char *window;
uint64_t area, spot, numbers[64];
char bytes[1 << 16];
union any request;

const char *path;
static int chance, expected, bad, sink;
static bool copies, walked[256];
static unsigned long calls, injected, refused, went_on, unclean;

void die(const char *what)
{
	printf("not ok faults: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- requests that nothing happens to -------------------------------------------------------------------- */

int ask(int file, unsigned int number, void *arg)
{
	return ioctl(file, number, arg);
}

void must(int file, const char *name, unsigned int number, void *arg)
{
	if (ask(file, number, arg))
		die(name);
}
static uint32_t records(uint32_t kind, uint32_t size, void *buf, uint32_t capacity)
{
	struct shadowmm_report report = { .head.size = sizeof(report), .kind = kind, .record_size = size,
					  .capacity = capacity, .buf = (uintptr_t)buf };

	/* Before the last stage there is nothing of most kinds. */
	return ask(watcher, SHADOWMM_IOC_REPORT, &report) ? 0 : report.count;
}

/* --- what can be counted --------------------------------------------------------------------------------- */

struct look {
	uint64_t held_pages, open_files, held_objects, caches, spaces, stage;
	uint64_t total_vm, locked_vm, data_vm, stack_vm, map_count, brk, file_pages, pages, shared_pages;
	uint64_t policy, config;
};

static const char *const look_names[] = {
	"pages held", "open files", "objects held", "caches", "address spaces", "the stage",
	"total_vm", "locked_vm", "data_vm", "stack_vm", "map_count", "brk", "a file's pages in the window", "pages in the window",
	"shared pages in the window",
	"the policy", "the configuration",
};

static struct look look(void)
{
	struct shadowmm_rec_status status = { 0 };
	struct shadowmm_rec_slab slab = { 0 };
	struct look now = { 0 };

	records(SHADOWMM_REPORT_STATUS, sizeof(status), &status, 1);
	records(SHADOWMM_REPORT_SLAB, sizeof(slab), &slab, 1);
	now.held_pages = status.held_pages;
	now.open_files = status.open_files;
	now.stage = status.stage;
	now.held_objects = slab.held_objects;
	now.caches = slab.caches;
	now.spaces = records(SHADOWMM_REPORT_SPACES, sizeof(struct shadowmm_rec_space), NULL, 0);
	if (fd >= 0) {
		struct shadowmm_policy policy = { .head.size = sizeof(policy) };
		struct shadowmm_mm_config config = { .head.size = sizeof(config) };

		if (ask(fd, SHADOWMM_IOC_POLICY, &policy) || ask(fd, SHADOWMM_IOC_MM_CONFIG, &config))
			die("a look");
		now.policy = (uint64_t)policy.mode << 32 | policy.nodes;
		now.config = (uint64_t)config.tree << 32 | config.layout;
	}
	if (window) {
		struct shadowmm_mm_info info = { .head.size = sizeof(info) };

		if (ask(fd, SHADOWMM_IOC_MM_INFO, &info))
			die("a look at the window");
		now.total_vm = info.space.total_vm;
		now.locked_vm = info.space.locked_vm;
		now.data_vm = info.space.data_vm;
		now.stack_vm = info.space.stack_vm;
		now.map_count = info.space.map_count;
		now.brk = info.space.brk;
		now.file_pages = info.space.rss[0];
		now.pages = info.space.rss[1];
		now.shared_pages = info.space.rss[3];
	}
	return now;
}

/* The first that differs, or NULL. */
static const char *differs(const struct look *a, const struct look *b)
{
	const uint64_t *before = (const uint64_t *)a, *after = (const uint64_t *)b;

	_Static_assert(sizeof(struct look) == sizeof(look_names), "each has a name");
	for (unsigned int i = 0; i < sizeof(*a) / sizeof(*before); i++)
		if (before[i] != after[i])
			return look_names[i];
	return NULL;
}

/* --- calls ----------------------------------------------------------------------------------------------- */

static void open_all(unsigned int needs)
{
	fd = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(SHADOWMM_DEVICE);
	if (needs & OTHER) {
		other = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);
		if (other < 0)
			die(SHADOWMM_DEVICE);
	}
	if (!(needs & WINDOWED))
		return;
	window = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (window == MAP_FAILED)
		die("a window");
	area = MUST(fd, MM_MMAP, .mm_mmap.len = 16 * PAGE, .mm_mmap.prot = 3, .mm_mmap.fd = -1,
		    .mm_mmap.flags = MAP_PRIVATE | MAP_ANONYMOUS).mm_mmap.addr;
	*(volatile char *)area = 1;
	spot = area + 9 * PAGE;
}

uint64_t fresh_place(void)
{
	return ((uintptr_t)window + WINDOW / 2) & -(2UL << 20);
}

void map_area(uint64_t len, uint32_t prot, uint32_t flags, int file)
{
	area = MUST(fd, MM_MMAP, .mm_mmap.addr = fresh_place(), .mm_mmap.len = len, .mm_mmap.prot = prot, .mm_mmap.fd = file,
		    .mm_mmap.flags = flags | MAP_FIXED | (file < 0 ? MAP_ANONYMOUS : 0)).mm_mmap.addr;
	spot = area + 9 * PAGE;
}

void fresh_area(union any *r)
{
	(void)r;
	map_area(16 * PAGE, 3, MAP_PRIVATE, -1);
}

void advise(uint64_t addr, uint64_t len, uint32_t advice)
{
	MUST(fd, MM_MADVISE, .mm_range = { .addr = addr, .len = len, .arg = advice });
}

bool is_huge(uint64_t addr)
{
	struct shadowmm_mm_walk found = MUST(fd, MM_WALK, .mm_walk.addr = addr).mm_walk;

	/* PS, in the pmd's entry. */
	return found.levels == 3 && (found.entry[2] & 1 << 7);
}

static pid_t child;
static int leash[2];

void with_child(void)
{
	char byte;

	if (pipe(leash))
		die("a pipe");
	child = fork();
	if (child < 0)
		die("a child");
	if (child == 0) {
		close(leash[1]);
		_exit(read(leash[0], &byte, 1) != 0);
	}
	close(leash[0]);
}

void end_child(bool done)
{
	int status;

	(void)done;
	close(leash[1]);
	if (waitpid(child, &status, 0) != child || status)
		not_so("the child has not come to its end");
}

void close_all(void)
{
	if (window && munmap(window, WINDOW))
		die("the window does not go");
	window = NULL;
	if (other >= 0)
		close(other);
	if (fd >= 0)
		close(fd);
	fd = other = -1;
}

static void complain(const char *name, unsigned int nth, const char *what, const char *more)
{
	printf("not ok faults: %s, chance %u: %s%s\n", name, nth, what, more);
	unclean++;
}

static const char *current;
static unsigned int current_nth;

void not_so(const char *what)
{
	complain(current, current_nth, what, "");
}

/* What nobody has anything of: compared with when a call is over. */
static struct look nothing;

/* The first object brings the layer of caches up, which stays. */
static void with_objects(void)
{
	open_all(WINDOWED);
	MUST(fd, KMALLOC, .kmalloc = { .size = 100, .nid = -1 });
	close_all();
}

void begin_anew(void)
{
	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RESET);
	MUST(watcher, STAGE, .stage.op = SHADOWMM_STAGE_RUN);
}

/* What the call has is given back: nothing of it is left. */
static void over(const struct call *call, unsigned int nth)
{
	struct look after;
	const char *what;

	close_all();
	after = look();
	what = differs(&nothing, &after);
	if (what)
		complain(call->name, nth, "something is left: ", what);
	nothing = after;
}

/* One try: whether there was a chance number `nth`. */
static bool try_once(const struct call *call, unsigned int nth)
{
	struct look before, after;
	const char *what;
	bool taken;
	long result;

	if (!(call->needs & ALONE))
		open_all(call->needs);
	else if (call->needs & BOOTS)
		fd = watcher;
	request = (union any){ .head.size = call->size };
	current = call->name;
	current_nth = nth;
	if (call->before)
		call->before(&request);
	before = look();
	if (nth)
		set_chance(chance, nth);
	if (call->make) {
		result = call->make();
	} else {
		result = ioctl(fd, call->number, &request);
		result = result < 0 ? -errno : result;
	}
	taken = nth && was_taken(chance);
	if (nth)
		set_chance(chance, 0);
	injected += taken;
	after = look();
	if (result < 0 && !taken) {
		complain(call->name, nth, "refused, and nothing has failed: ", strerror((int)-result));
	} else if (result < 0) {
		refused += result == -expected;
		if (result != -expected)
			complain(call->name, nth, "refused otherwise: ", strerror((int)-result));
		what = differs(&before, &after);
		if (what && !(call->needs & (BOOTS | PARTLY)) && !(copies && call->needs & DONE))
			complain(call->name, nth, "refused, and something has changed: ", what);
	} else {
		went_on += taken;
	}
	if (call->after)
		call->after(result >= 0);
	/* The boot is begun anew by the next of its kind itself. */
	if (call->needs & BOOTS)
		fd = -1;
	else
		over(call, nth);
	return taken;
}

void walk(const struct call *call)
{
	unsigned long was = unclean, had = injected, went = went_on;
	unsigned int nth, most = call->most ? call->most : MOST;

	if (call->number)
		walked[_IOC_NR(call->number)] = true;
	calls++;
	nothing = look();
	try_once(call, 0);
	for (nth = 1; expected && nth <= most && try_once(call, nth); nth++)
		;
	if (call->needs & BOOTS) {
		begin_anew();
		with_objects();
		over(call, nth);
	}
	if (expected && nth > most && call->most)
		printf("# %s: there are more than %u chances\n", call->name, most);
	else if (expected && nth > most)
		complain(call->name, nth, "there are more chances", "");
	if (was == unclean)
		printf("ok faults: %s (%lu, %lu went on)\n", call->name, injected - had, went_on - went);
	else
		bad = 1;
	fflush(stdout);
}

/* --- what is no request ---------------------------------------------------------------------------------- */

static long make_open(void)
{
	int file = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC), error = errno;

	if (file >= 0)
		close(file);
	return file < 0 ? -error : 0;
}

static long make_window(void)
{
	char *at = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int error = errno;

	if (at == MAP_FAILED)
		return -error;
	return munmap(at, WINDOW) ? -errno : 0;
}

static sigjmp_buf jump;

static void caught(int signal)
{
	(void)signal;
	siglongjmp(jump, 1);
}

long touch(void)
{
	if (sigsetjmp(jump, 1))
		return -expected;
	*(volatile char *)spot = 1;
	return 0;
}

long touch_to_read(void)
{
	if (sigsetjmp(jump, 1))
		return -expected;
	(void)*(volatile char *)spot;
	return 0;
}

/* EFAULT is all that read(2) and write(2) say. */
static long told(long got)
{
	return got == 100 ? 0 : got < 0 && errno != EFAULT ? -errno : -expected;
}

long touch_by_read(void)
{
	return told(pread(self, (void *)spot, 100, 0));
}

/* Into what has its memory already. */
long touch_by_write(void)
{
	return told(pwrite(sink, (void *)spot, 100, 0));
}

/* The whole of a file, or the first error; of a pagemap, which goes on for ever, what is of the area. */
long read_file(void)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	long got;

	if (file < 0)
		return -errno;
	if (strstr(path, "/pagemap"))
		got = pread(file, bytes, 16 * 8, (off_t)(area / PAGE * 8));
	else
		while ((got = read(file, bytes, sizeof(bytes))) > 0)
			;
	got = got < 0 ? -errno : 0;
	close(file);
	return got;
}

long write_text(const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	long got;

	if (file < 0)
		return -errno;
	got = write(file, text, strcspn(text, "\n")) < 0 ? -errno : 0;
	close(file);
	return got;
}

/* What it says is written to it. */
static long write_knob(void)
{
	long got = read_file();

	return got < 0 ? got : write_text(bytes);
}

/* Its own address space's files. */
static char own_path[64];
static const char *const own_files[] = { "maps", "smaps", "smaps_rollup", "status", "pagemap" };
static unsigned int own_file;
static void own(union any *r)
{
	struct shadowmm_mm_info info = { .head.size = sizeof(info) };

	(void)r;
	must(fd, "MM_INFO", SHADOWMM_IOC_MM_INFO, &info);
	snprintf(own_path, sizeof(own_path), "/proc/shadowmm/mm/%u/%s", info.space.id, own_files[own_file]);
	path = own_path;
}

/* A child, whose window is its own, or is not there: then it has nothing of its parent's. */
static long make_fork(void)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (!child) {
		if (sigsetjmp(jump, 1))
			_exit(2);
		_exit(*(volatile char *)area == 1 ? 0 : 1);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == 1)
		return -EIO;
	return WEXITSTATUS(status) ? -expected : 0;
}

static const struct call others[] = {
	{ .name = "open", .make = make_open },
	{ .name = "a window", .make = make_window },
};

static const struct call a_file = { .needs = ALONE, .make = read_file };
static const struct call a_knob = { .needs = ALONE, .make = write_knob };
static const struct call an_own_file = { .needs = WINDOWED, .before = own, .make = read_file };
static const struct call a_fork = { .name = "fork", .needs = WINDOWED, .make = make_fork };

/* Whatever request the module knows is one of those above. */
static void none_missing(void)
{
	for (unsigned int i = 0; i < 256; i++) {
		if (walked[i] || (ioctl(watcher, _IO(SHADOWMM_IOC_MAGIC, i), NULL) < 0 && errno == ENOTTY))
			continue;
		printf("not ok faults: request 0x%02x is not walked\n", i);
		bad = 1;
	}
}

static void all_files(char **paths, int count)
{
	struct call call = an_own_file;

	for (own_file = 0; own_file < COUNT(own_files); own_file++) {
		call.name = own_files[own_file];
		walk(&call);
	}
	while (count--) {
		path = *paths++;
		call = access(path, W_OK) || strncmp(path, "/proc/shadowmm/vm/", 18) ? a_file : a_knob;
		call.name = path;
		walk(&call);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER };
	const char *mode = argc > 2 ? argv[2] : "";

	if (argc < 3)
		return 2;
	idle = atoi(argv[1]);
	copies = !strcmp(mode, "copy");
	if (copies)
		expected = EFAULT;
	else if (strcmp(mode, "none"))
		expected = ENOMEM;
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	fd = other = -1;
	watcher = open(SHADOWMM_DEVICE, O_RDWR | O_CLOEXEC);
	self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	sink = memfd_create("sink", MFD_CLOEXEC);
	if (pwrite(sink, bytes, PAGE, 0) != PAGE)
		die("a file in memory");
	chance = expected ? open_chance() : -1;
	if (watcher < 0 || self < 0 || (expected && chance < 0))
		die("what is needed");
	with_objects();
	if (!strcmp(mode, "fork")) {
		walk(&a_fork);
	} else {
		walk_pages();
		walk_windows();
		walk_objects();
		walk_faults();
		for (unsigned int i = 0; i < COUNT(others); i++)
			walk(&others[i]);
		all_files(argv + 3, argc - 3);
		walk_boot();
		none_missing();
	}
	printf("# %s: %lu calls, %lu faults injected: %lu refused with %s, %lu went on, %lu not clean\n", mode, calls,
	       injected, refused, copies ? "EFAULT" : "ENOMEM", went_on, unclean);
	return bad;
}
