// SPDX-License-Identifier: GPL-2.0
/*
 * A file whose filesystem takes as long as it likes, mapped in a window: who waits for it keeps nobody
 * else waiting, and goes on where he was when it answers. The filesystem is a process of this
 * program, that speaks FUSE and answers a READ only when it is told to.
 */
#include "mm.h"

#include <dirent.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#define DIR_ "/run/slow"
#define PAGES 64
/* What a part takes at most that waits for nobody, in seconds. */
#define SOON 60

/* --- the filesystem ---------------------------------------------------------------- */

/* Commands to it: what it does with each READ from then on. */
#define HOLD 'h'
#define ANSWER 'a'
#define FAIL 'e'

static int device, orders[2], arrived[2];

static void reply(uint64_t unique, int error, const void *data, size_t len)
{
	static char out[sizeof(struct fuse_out_header) + PAGES * PAGE];
	struct fuse_out_header head = { .len = sizeof(head) + len, .error = error, .unique = unique };

	memcpy(out, &head, sizeof(head));
	if (len)
		memcpy(out + sizeof(head), data, len);
	if (write(device, out, head.len) < 0 && errno != ENOENT)
		perror("a reply");
}

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .mode = S_IFDIR | 0755, .blksize = PAGE };

	if (node != FUSE_ROOT_ID) {
		attr.mode = S_IFREG | 0644;
		attr.size = PAGES * PAGE;
	}
	return attr;
}

static void answer_read(uint64_t unique, const struct fuse_read_in *in, bool fail)
{
	static char data[PAGES * PAGE];
	size_t end = in->offset + in->size;

	if (fail)
		return reply(unique, -EIO, NULL, 0);
	if (end > PAGES * PAGE)
		end = PAGES * PAGE;
	for (size_t at = in->offset; at < end; at++)
		data[at - in->offset] = at / PAGE + 1;
	reply(unique, 0, data, end > in->offset ? end - in->offset : 0);
}

static void serve(void)
{
	static char room[1 << 20];
	static struct { uint64_t unique; struct fuse_read_in in; } held[64];
	struct pollfd files[] = { { .fd = device, .events = POLLIN }, { .fd = orders[0], .events = POLLIN } };
	unsigned int nr = 0;
	char order = ANSWER;

	for (;;) {
		poll(files, 2, -1);
		if (files[1].revents) {
			if (read(orders[0], &order, 1) != 1)
				exit(0);
			while (order != HOLD && nr > 0) {
				nr--;
				answer_read(held[nr].unique, &held[nr].in, order == FAIL);
			}
			continue;
		}
		ssize_t got = read(device, room, sizeof(room));

		if (got < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (got < (ssize_t)sizeof(struct fuse_in_header))
			exit(0);
		struct fuse_in_header *head = (void *)room;
		void *in = head + 1;

		switch (head->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
						     .max_readahead = 0, .max_write = 4096, .time_gran = 1 };

			reply(head->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_LOOKUP: {
			struct fuse_entry_out out = { .nodeid = 2, .entry_valid = 1000, .attr_valid = 1000, .attr = attr_of(2) };

			reply(head->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr_valid = 1000, .attr = attr_of(head->nodeid) };

			reply(head->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };

			reply(head->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
			if (order == HOLD && nr < sizeof(held) / sizeof(*held)) {
				held[nr].unique = head->unique;
				memcpy(&held[nr++].in, in, sizeof(held->in));
				if (write(arrived[1], "r", 1) != 1)
					exit(1);
			} else {
				answer_read(head->unique, in, order == FAIL);
			}
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			reply(head->unique, 0, NULL, 0);
			break;
		default:
			reply(head->unique, -ENOSYS, NULL, 0);
		}
	}
}

static void order(char what)
{
	if (write(orders[1], &what, 1) != 1)
		exit(1);
}

/* Waits until somebody waits for the filesystem. */
static bool somebody_waits(void)
{
	struct pollfd file = { .fd = arrived[0], .events = POLLIN };
	char byte;

	return poll(&file, 1, SOON * 1000) == 1 && read(arrived[0], &byte, 1) == 1;
}

static void forget_arrivals(void)
{
	struct pollfd file = { .fd = arrived[0], .events = POLLIN };
	char byte;

	while (poll(&file, 1, 0) == 1 && read(arrived[0], &byte, 1) == 1)
		;
}

/* --- who waits for it ----------------------------------------------------------------- */

static int fd, file;
static char *window;

static char *map_file(unsigned int page, unsigned int pages, int flags)
{
	return w_mmap_of(fd, NULL, pages * PAGE, RW, MAP_PRIVATE | flags, file, page * PAGE);
}

/* How somebody comes to wait; two pages of the file each. */
static const struct way {
	const char *name;
	/* errno where the filesystem says EIO; SIGBUS for -1 */
	int broken;
} ways[] = {
	{ "a load", -1 },
	{ "a store", -1 },
	{ "MAP_POPULATE", 0 },
	{ "mlock", ENOMEM },
	{ "MADV_POPULATE_READ", EFAULT },
	{ "MADV_POPULATE_WRITE", EFAULT },
	{ "/proc/self/mem", EIO },
};
#define WAYS (sizeof(ways) / sizeof(*ways))

struct waiter {
	unsigned int way, page;
	char *at;	/* where the pages are mapped, but for MAP_POPULATE */
	int error;
	char found[2];
};

static void *wait_for_it(void *arg)
{
	struct waiter *w = arg;
	long done = 0;
	char byte;

	switch (w->way) {
	case 0:
		(void)*(volatile char *)w->at;
		break;
	case 1:
		((volatile char *)w->at)[7] = 99;
		break;
	case 2:
		w->at = map_file(w->page, 2, MAP_POPULATE);
		done = w->at == MAP_FAILED ? -1 : 0;
		break;
	case 3:
		done = w_lock(fd, SHADOWMM_MM_MLOCK, w->at, 2 * PAGE, 0);
		break;
	case 4:
		done = w_madvise(fd, w->at, 2 * PAGE, MADV_POPULATE_READ);
		break;
	case 5:
		done = w_madvise(fd, w->at, 2 * PAGE, MADV_POPULATE_WRITE);
		break;
	case 6: {
		int mem = open("/proc/self/mem", O_RDONLY);

		done = pread(mem, &byte, 1, (uintptr_t)w->at) == 1 ? 0 : -1;
		close(mem);
		break;
	}
	}
	w->error = done ? errno : 0;
	return NULL;
}

/* How many seconds something takes. */
static double since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - then->tv_sec + (now.tv_nsec - then->tv_nsec) / 1e9;
}

/* Whether a child ends soon, and how. */
static bool ends_soon(pid_t child, int *status)
{
	struct timespec began;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (since(&began) < SOON) {
		if (waitpid(child, status, WNOHANG) == child)
			return true;
		usleep(10000);
	}
	return false;
}

/* Children that were to end soon and did not, maybe because they wait for the filesystem, too. */
static pid_t late[16];
static unsigned int nr_late;

/* Has a child do something, and says whether it has done it soon. */
static bool does_soon(bool (*what)(void))
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(!what());
	if (ends_soon(child, &status))
		return WIFEXITED(status) && !WEXITSTATUS(status);
	kill(child, SIGKILL);
	late[nr_late++] = child;
	return false;
}

/* Once the filesystem answers. */
static void wait_for_late(void)
{
	while (nr_late > 0)
		waitpid(late[--nr_late], NULL, 0);
}

/* Writes to the shadow's state, which all others that wait for it wait behind. */
static bool reset(void)
{
	struct shadowmm_stage stage = { .op = SHADOWMM_STAGE_RESET };
	int own = open_device();

	return ASK(own, SHADOWMM_IOC_STAGE, stage) && errno == EBUSY;
}

static bool turn_knob(void)
{
	FILE *knob = fopen("/proc/shadowmm/vm/watermark_scale_factor", "r+");
	char value[32];

	return knob && fgets(value, sizeof(value), knob) && !fseek(knob, 0, SEEK_SET) &&
	       fputs(value, knob) >= 0 && !fclose(knob);
}

static bool another_window(void)
{
	int own = open_device();

	w_configure(own, SHADOWMM_MM_BARE);
	char *place = open_window(own, WINDOW);
	char *p = w_mmap(own, NULL, 4 * PAGE, RW, PRIVATE);

	if (p < place || p >= place + WINDOW)
		return false;
	p[0] = 1;
	return w_space(own).rss[1] == 1 && !w_munmap(own, p, 4 * PAGE);
}

/* The child of a fork, with the same window. */
static bool a_fork(void)
{
	char *p = w_mmap(fd, NULL, PAGE, RW, PRIVATE);

	if (p == MAP_FAILED)
		return false;
	p[0] = 1;
	return !w_munmap(fd, p, PAGE);
}

static bool all_reports(void)
{
	/* The child itself, so that nobody is left where it is killed. */
	execlp("sh", "sh", "-c", "exec cat /proc/shadowmm/mm/*/smaps /proc/shadowmm/mm/*/status "
	       "/proc/shadowmm/meminfo /proc/shadowmm/vmstat >/dev/null", NULL);
	return false;
}

static void nobody_waits_behind(const char *way)
{
	static const struct { const char *name; bool (*what)(void); } others[] = {
		{ "who begins the boot anew is refused", reset },
		{ "a knob is turned", turn_knob },
		{ "another window is there, and touched", another_window },
		{ "the window is forked, mapped and touched", a_fork },
		{ "all is reported", all_reports },
	};
	char name[128];

	for (unsigned int i = 0; i < sizeof(others) / sizeof(*others); i++) {
		snprintf(name, sizeof(name), "while %s waits for a file, %s", way, others[i].name);
		expect(name, does_soon(others[i].what));
	}
}

/* What another thread of the same process does. */
static void *maps_and_touches(void *arg)
{
	for (int i = 0; i < 20; i++) {
		char *p = w_mmap(fd, NULL, 4 * PAGE, RW, PRIVATE);
		char *host = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || host == MAP_FAILED)
			return NULL;
		p[PAGE] = host[0] = 1;
		if (w_munmap(fd, p, 4 * PAGE) || munmap(host, PAGE))
			return NULL;
	}
	return arg;
}

static void held(unsigned int way)
{
	struct waiter w = { .way = way, .page = 4 * way };
	pthread_t thread, other;
	char name[128];
	struct timespec soon;
	bool is_late = false;
	void *done = NULL;

	if (way != 2)
		w.at = map_file(w.page, 2, 0);
	forget_arrivals();
	order(HOLD);
	pthread_create(&thread, NULL, wait_for_it, &w);
	snprintf(name, sizeof(name), "%s reads a file", ways[way].name);
	expect(name, somebody_waits());
	/* Who reads a process's memory has its mmap lock meanwhile, and it does not fork. */
	if (way != 6) {
		nobody_waits_behind(ways[way].name);
		pthread_create(&other, NULL, maps_and_touches, &w);
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_sec += SOON;
		snprintf(name, sizeof(name), "while %s waits for a file, its process maps and touches", ways[way].name);
		is_late = pthread_timedjoin_np(other, &done, &soon);
		expect(name, !is_late && done == &w);
	}
	order(ANSWER);
	pthread_join(thread, NULL);
	if (is_late)
		pthread_join(other, NULL);
	wait_for_late();
	snprintf(name, sizeof(name), "%s has what it waited for", ways[way].name);
	same(name, 0, w.error);
	if (way == 1)
		same("what was stored", 99, w.at[7]);
	snprintf(name, sizeof(name), "%s: both pages", ways[way].name);
	same(name, 2 * w.page + 3, w.at[0] + w.at[2 * PAGE - 1]);
	w_lock(fd, SHADOWMM_MM_MUNLOCK, w.at, 2 * PAGE, 0);
	w_munmap(fd, w.at, 2 * PAGE);
}

static void broken(unsigned int way)
{
	struct waiter w = { .way = way, .page = 4 * way + 2 };
	char name[128];
	int status;

	order(FAIL);
	if (way != 2)
		w.at = map_file(w.page, 2, 0);
	pid_t child = fork();

	if (!child) {
		wait_for_it(&w);
		_exit(w.error);
	}
	waitpid(child, &status, 0);
	snprintf(name, sizeof(name), "%s where the file can't be read", ways[way].name);
	if (ways[way].broken < 0)
		same(name, SIGBUS, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
	else
		same(name, ways[way].broken, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	order(ANSWER);
	/* It can be again. */
	if (way != 2) {
		same("and again when it can", w.page + 1, w.at[0]);
		w_munmap(fd, w.at, 2 * PAGE);
	}
}

/* Touches a page of the file in a window of its own. */
static char first_byte(unsigned int page)
{
	int own = open_device();

	w_configure(own, SHADOWMM_MM_BARE);
	open_window(own, WINDOW);
	return *(volatile char *)w_mmap_of(own, NULL, PAGE, RW, MAP_PRIVATE, file, page * PAGE);
}

/* The state of a process, as ps has it. */
static char state_of(pid_t pid)
{
	char path[64], state = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stat = fopen(path, "r");
	/* Its name has no bracket. */
	if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (stat)
		fclose(stat);
	return state;
}

/* Waits until a process has slept, and nothing but its end would wake it, for a tenth of a second. */
static bool sleeps_deeply(pid_t pid)
{
	struct timespec began;
	unsigned int seen = 0;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (seen < 10 && since(&began) < SOON) {
		seen = state_of(pid) == 'D' ? seen + 1 : 0;
		usleep(10000);
	}
	return seen == 10;
}

/*
 * Who comes second for a page waits for the first, and not for the filesystem: a signal ends him before
 * it has answered. The first can't be ended: FUSE waits for an answer to what it has asked.
 */
static void second(void)
{
	const unsigned int page = 48;
	pid_t first, second;
	int status;
	bool ended;

	forget_arrivals();
	order(HOLD);
	first = fork();
	if (!first)
		_exit(first_byte(page));
	expect("a process reads a file", somebody_waits());
	second = fork();
	if (!second)
		_exit(first_byte(page));
	expect("another waits for the same page", sleeps_deeply(second));
	kill(second, SIGKILL);
	ended = ends_soon(second, &status);
	expect("it can be killed before the file is read",
	       ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	same("while the first waits", 0, waitpid(first, NULL, WNOHANG));
	order(ANSWER);
	if (!ended)
		waitpid(second, &status, 0);
	waitpid(first, &status, 0);
	same("who has what it waited for", page + 1, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* The window goes while one of its threads waits for a file; another's end, too. */
static void *touch(void *at)
{
	(void)*(volatile char *)at;
	return NULL;
}

static void gone(bool killed)
{
	unsigned int page = killed ? 40 : 44;
	pid_t child;
	int status;

	forget_arrivals();
	order(HOLD);
	child = fork();
	if (!child) {
		int own = open_device();
		pthread_t thread;

		signal(SIGSEGV, SIG_DFL);
		w_configure(own, SHADOWMM_MM_BARE);
		char *place = open_window(own, WINDOW);
		char *at = w_mmap_of(own, NULL, PAGE, RW, MAP_PRIVATE, file, page * PAGE);

		pthread_create(&thread, NULL, touch, at);
		if (killed)
			pause();
		if (!somebody_waits())
			_exit(2);
		if (munmap(place, WINDOW) || close(own))
			_exit(3);
		order(ANSWER);
		pthread_join(thread, NULL);
		_exit(4);
	}
	if (killed) {
		expect("a thread waits for a file", somebody_waits());
		kill(child, SIGKILL);
		usleep(100000);
		order(ANSWER);
	}
	waitpid(child, &status, 0);
	same(killed ? "who is killed while it reads a file dies when it is answered" : "the window goes while a thread of it waits for a file",
	     killed ? SIGKILL : SIGSEGV, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

/* --- who reads about a window into a page of the file ---------------------------------- */

/* A window of a process of its own: its directory is there, until the process is told to end. */
static pid_t window_of_another(unsigned int *id, int *end)
{
	int told[2], ending[2];
	char byte;
	pid_t child;

	if (pipe2(told, O_CLOEXEC) || pipe2(ending, O_CLOEXEC)) {
		perror("pipe");
		exit(1);
	}
	child = fork();
	if (!child) {
		int own = open_device();
		char *p;

		close(ending[1]);
		w_configure(own, SHADOWMM_MM_BARE);
		open_window(own, WINDOW);
		p = w_mmap(own, NULL, PAGE, RW, PRIVATE);
		*id = w_space(own).id;
		if (p == MAP_FAILED || write(told[1], id, sizeof(*id)) != sizeof(*id))
			_exit(1);
		_exit(read(ending[0], &byte, 1) != 0);
	}
	close(told[1]);
	close(ending[0]);
	*id = 0;
	if (read(told[0], id, sizeof(*id)) != sizeof(*id))
		*id = 0;
	close(told[0]);
	*end = ending[1];
	return child;
}

/* Whether it is in the list, which one loses first. */
static bool has_directory(unsigned int id)
{
	DIR *all = opendir("/proc/shadowmm/mm");
	struct dirent *entry;
	bool found = false;

	while (all && (entry = readdir(all)))
		found |= strtoul(entry->d_name, NULL, 10) == id;
	if (all)
		closedir(all);
	return found;
}

static bool directory_goes(unsigned int id)
{
	struct timespec began;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (has_directory(id)) {
		if (since(&began) > SOON)
			return false;
		usleep(10000);
	}
	return true;
}

/*
 * Who reads /proc/shadowmm/mm/ID into memory that the filesystem has yet to deliver has that file for
 * as long as it takes. The directory of a window that ends waits for him, and none else does.
 */
static void reader(void)
{
	const unsigned int page = 52;
	unsigned int id, others[3];
	pid_t owner, child;
	char path[64], name[128];
	int end, status;

	owner = window_of_another(&id, &end);
	expect("a window has its directory", id && has_directory(id));
	snprintf(path, sizeof(path), "/proc/shadowmm/mm/%u/maps", id);
	forget_arrivals();
	order(HOLD);
	child = fork();
	if (!child) {
		close(end);
		int maps = open(path, O_RDONLY);
		char *to = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, page * PAGE);
		ssize_t got = read(maps, to, 64);

		/* An address first, and behind what was read the file's own. */
		_exit(got <= 12 || !memchr(to, '-', got) || to[PAGE - 1] != (char)(page + 1));
	}
	expect("a process reads maps into a file", somebody_waits());
	close(end);
	waitpid(owner, &status, 0);
	same("whose window ends meanwhile", 0, status);
	/* It is out of the list before its readers are waited for. */
	expect("and so does its directory", directory_goes(id));
	for (unsigned int i = 0; i < sizeof(others) / sizeof(*others); i++) {
		owner = window_of_another(&others[i], &end);
		snprintf(name, sizeof(name), "window %u behind it has a directory", i + 1);
		expect(name, others[i] && has_directory(others[i]));
		close(end);
		waitpid(owner, &status, 0);
		snprintf(name, sizeof(name), "which goes with window %u", i + 1);
		expect(name, directory_goes(others[i]));
	}
	same("while the first waits", 0, waitpid(child, NULL, WNOHANG));
	order(ANSWER);
	waitpid(child, &status, 0);
	same("who has what he has read", 0, status);
}

/* A cache's number, of a name that is free; 0 where it can't be made. */
static unsigned int create(int device, const char *name)
{
	/* SLAB_NO_MERGE: of a shared cache it would be a link. */
	struct shadowmm_create request = { .head.size = sizeof(request), .object_size = 24, .flags = 1 << 12 };

	strcpy(request.name, name);
	return ioctl(device, SHADOWMM_IOC_CREATE, &request) ? 0 : request.cache;
}

static int destroy(int device, unsigned int cache)
{
	struct shadowmm_cache request = { .head.size = sizeof(request), .op = SHADOWMM_CACHE_DESTROY, .cache = cache };

	return ioctl(device, SHADOWMM_IOC_CACHE, &request);
}

/* The same with a file of a cache: who destroys that waits for a moment, and its name may be given again. */
static void reader_of_cache(void)
{
	const unsigned int page = 56;
	const char *path = "/proc/shadowmm/slab/slow-reader/object_size";
	int own = open_device(), status;
	unsigned int cache = create(own, "slow-reader");
	struct timespec began;
	pid_t child;

	expect("a cache has its directory", cache && !access(path, R_OK));
	forget_arrivals();
	order(HOLD);
	child = fork();
	if (!child) {
		int size = open(path, O_RDONLY);
		char *to = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, page * PAGE);
		ssize_t got = read(size, to, 64);

		_exit(got != 3 || memcmp(to, "24\n", 3) || to[PAGE - 1] != (char)(page + 1));
	}
	expect("a process reads its size into a file", somebody_waits());
	clock_gettime(CLOCK_MONOTONIC, &began);
	same("it is destroyed meanwhile", 0, destroy(own, cache));
	expect("and its directory goes", access(path, F_OK) && errno == ENOENT);
	cache = create(own, "slow-reader");
	/* Its directory is not seen behind the other's, which a reader has. */
	expect("another one of the name is made", cache);
	same("and goes", 0, destroy(own, cache));
	expect("nobody has waited for long", since(&began) < SOON);
	same("while the first reader waits", 0, waitpid(child, NULL, WNOHANG));
	order(ANSWER);
	waitpid(child, &status, 0);
	same("who has what he has read, too", 0, status);
	cache = create(own, "slow-reader");
	clock_gettime(CLOCK_MONOTONIC, &began);
	while (access(path, R_OK) && since(&began) < SOON)
		usleep(10000);
	expect("a third one has a directory", cache && !access(path, R_OK));
	same("which goes with it", 0, destroy(own, cache));
	close(own);
}

/* Windows of this process, not as large as others, each with a thread that reads its maps into the file's page. */
#define READERS 264
#define SMALL_WINDOW (1UL << 30)

static struct reading {
	int file;
	unsigned int id;
	char *window, *to;
	pthread_t thread;
	_Atomic pid_t tid;
	bool good;
} readings[READERS];

static void *read_maps(void *arg)
{
	struct reading *r = arg;
	char path[64];
	int maps;

	snprintf(path, sizeof(path), "/proc/shadowmm/mm/%u/maps", r->id);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	r->tid = gettid();
	r->good = maps >= 0 && read(maps, r->to, 64) > 12;
	close(maps);
	return NULL;
}

/* Waits until all of them have slept for a fifth of a second. */
static bool all_sleep(void)
{
	struct timespec began;
	unsigned int seen = 0;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (seen < 20 && since(&began) < SOON) {
		bool sleep = true;

		for (unsigned int i = 0; sleep && i < READERS; i++)
			sleep = readings[i].tid && (state_of(readings[i].tid) == 'D' || state_of(readings[i].tid) == 'S');
		seen = sleep ? seen + 1 : 0;
		usleep(10000);
	}
	return seen == 20;
}

/* Whether a window that is made now has a directory, and can be used. */
static bool one_more(bool *named)
{
	int own = open_device();
	char *place, *p;
	bool good;

	w_configure(own, SHADOWMM_MM_BARE);
	place = open_window(own, WINDOW);
	p = w_mmap(own, NULL, PAGE, RW, PRIVATE);
	good = p != MAP_FAILED;
	if (good)
		p[0] = 1;
	*named = has_directory(w_space(own).id);
	munmap(place, WINDOW);
	close(own);
	return good;
}

/*
 * Windows whose directories have readers that don't go on are more than anybody may have, one after the
 * other: those that come behind them have no directories, or there would be no end of what is kept.
 */
static void many_readers(void)
{
	const unsigned int page = 60;
	struct timespec began;
	unsigned int cache, good = 0;
	int own;
	bool named;
	char *to = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, page * PAGE);

	forget_arrivals();
	order(HOLD);
	for (unsigned int i = 0; i < READERS; i++) {
		struct reading *r = &readings[i];

		r->file = open_device();
		w_configure(r->file, SHADOWMM_MM_BARE);
		r->window = open_window(r->file, SMALL_WINDOW);
		w_mmap(r->file, NULL, PAGE, RW, PRIVATE);
		r->id = w_space(r->file).id;
		r->to = to;
		if (pthread_create(&r->thread, NULL, read_maps, r))
			exit(1);
	}
	expect("many read maps of windows into a file", somebody_waits() && all_sleep());
	for (unsigned int i = 0; i < READERS; i++) {
		munmap(readings[i].window, SMALL_WINDOW);
		close(readings[i].file);
	}
	expect("another window is there when theirs are gone", one_more(&named));
	expect("but has no directory", !named);
	own = open_device();
	clock_gettime(CLOCK_MONOTONIC, &began);
	cache = create(own, "many-readers");
	expect("a cache is made meanwhile", cache);
	same("and goes with its directory", 0, destroy(own, cache));
	expect("nobody has waited for long, either", since(&began) < SOON);
	close(own);
	order(ANSWER);
	for (unsigned int i = 0; i < READERS; i++) {
		pthread_join(readings[i].thread, NULL);
		good += readings[i].good;
	}
	same("all have what they have read", READERS, good);
	clock_gettime(CLOCK_MONOTONIC, &began);
	while (one_more(&named) && !named && since(&began) < SOON)
		usleep(100000);
	expect("and windows have directories again", named);
	munmap(to, PAGE);
}

int main(void)
{
	char options[128];
	pid_t server;

	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		perror("/dev/fuse");
		return 1;
	}
	if (pipe2(orders, O_CLOEXEC) || pipe2(arrived, O_CLOEXEC)) {
		perror("pipe");
		return 1;
	}
	mkdir(DIR_, 0755);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (mount("slow", DIR_, "fuse", MS_NOSUID | MS_NODEV, options)) {
		perror("mount");
		return 1;
	}
	server = fork();
	if (!server) {
		close(orders[1]);
		close(arrived[0]);
		serve();
	}
	close(device);
	close(orders[0]);
	close(arrived[1]);
	file = open(DIR_ "/file", O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		perror("the file");
		return 1;
	}
	fd = open_device();
	w_configure(fd, SHADOWMM_MM_BARE);
	window = open_window(fd, WINDOW);
	for (unsigned int way = 0; way < WAYS; way++) {
		held(way);
		broken(way);
	}
	munmap(window, WINDOW);
	close(fd);
	second();
	gone(true);
	gone(false);
	reader();
	reader_of_cache();
	many_readers();
	close(file);
	if (umount2(DIR_, MNT_DETACH))
		perror("umount");
	close(orders[1]);
	waitpid(server, NULL, 0);
	return failures != 0;
}
