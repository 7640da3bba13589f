// SPDX-License-Identifier: GPL-2.0
/* The test of /dev/shadowmm's ABI: what its parts share, and their order. See abi.h. */
#include "abi.h"

#define DEFINE(name, code, error) const struct reason name = { code, error, #name };
REASONS(DEFINE)

int watcher;

static int failures;

int open_device(void)
{
	long fd = sys_open(SHADOWMM_DEVICE, O_RDWR);

	if (fd < 0) {
		put("not ok abi: the device cannot be opened: ");
		put_number(fd);
		put_line();
		sys_exit(1);
	}
	return (int)fd;
}

long ask(int fd, unsigned int request, void *arg)
{
	return sys_ioctl(fd, request, (unsigned long)arg);
}

static void begin(const char *name, int good)
{
	put(good ? "ok " : "not ok ");
	put(sizeof(long) == 8 ? "abi: " : "abi, 32 bits: ");
	put(name);
	failures += !good;
}

void expect(const char *name, int holds)
{
	begin(name, holds);
	put_line();
}

void accepted(const char *name, int fd, unsigned int request, void *arg)
{
	const struct shadowmm_head *head = arg;
	long result = ask(fd, request, arg);

	begin(name, result == 0 && head->reason == 0);
	if (result || head->reason) {
		put(": got ");
		put_number(result);
		put(", reason ");
		put_number(head->reason);
	}
	put_line();
}

/* --- what can be seen ---------------------------------------------------------- */

__u32 records(__u32 kind, __u32 record_size, void *buf, __u32 capacity)
{
	struct shadowmm_report report = REQUEST(shadowmm_report);

	report.kind = kind;
	report.record_size = record_size;
	report.capacity = capacity;
	report.buf = address(buf);
	return ask(watcher, SHADOWMM_IOC_REPORT, &report) ? 0 : report.count;
}

void status(struct shadowmm_rec_status *status)
{
	if (!records(SHADOWMM_REPORT_STATUS, sizeof(*status), status, 1))
		expect("the status can be read", 0);
}

/* FNV-1a. */
static __u64 mix(__u64 hash, const void *bytes, unsigned long len)
{
	const unsigned char *at = bytes;

	while (len--)
		hash = (hash ^ *at++) * 0x100000001b3ULL;
	return hash;
}

static __u64 mix_file(__u64 hash, const char *path)
{
	static char text[PAGE];
	long fd = sys_open(path, O_RDONLY);
	long len;

	while ((len = sys_read((int)fd, text, sizeof(text))) > 0)
		hash = mix(hash, text, (unsigned long)len);
	sys_close((int)fd);
	return mix(hash, &len, sizeof(len));
}

__u64 everything(void)
{
	static const char *const files[] = {
		"/proc/shadowmm/e820", "/proc/shadowmm/iomem", "/proc/shadowmm/memblock",
		"/proc/shadowmm/nodes", "/proc/shadowmm/buddyinfo",
	};
	struct shadowmm_reclaim drain = REQUEST(shadowmm_reclaim);
	struct shadowmm_rec_status now;
	__u64 hash = 0xcbf29ce484222325ULL;
	unsigned int i;

	/* What CPUs keep is in no free list. Before the last stage there is nothing, and this is refused. */
	drain.nid = -1;
	ask(watcher, SHADOWMM_IOC_RECLAIM, &drain);
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		hash = mix_file(hash, files[i]);
	status(&now);
	/* Not the time that a stage took: a boot that starts anew takes another. */
	memset(now.ns, 0, sizeof(now.ns));
	return mix(hash, &now, sizeof(now));
}

/* --- refusals ------------------------------------------------------------------ */

#define MAX_REASONS 160

struct counters {
	struct shadowmm_rec_counter all[MAX_REASONS];
	__u32 count;
};

static void count_refusals(struct counters *counters)
{
	__u32 size = sizeof(counters->all[0]);

	counters->count = records(SHADOWMM_REPORT_REFUSALS, size, counters->all, MAX_REASONS);
}

/* Whether one counter, that of `why`, has become one more. */
static int counted_once(const struct counters *before, const struct counters *after, const struct reason *why)
{
	int seen = 0;
	__u32 i;

	if (before->count == 0 || before->count != after->count || before->count > MAX_REASONS)
		return 0;
	for (i = 0; i < before->count; i++) {
		int this_one = same_text(after->all[i].name, why->name);

		if (after->all[i].value != before->all[i].value + (this_one ? 1 : 0))
			return 0;
		seen += this_one;
	}
	return seen == 1;
}

void refused_at(const char *name, int fd, unsigned int request, unsigned long at,
		const struct shadowmm_head *head, const struct reason *why)
{
	static struct counters before, after;
	__u64 state = everything();
	int counted, unchanged;
	long result;

	count_refusals(&before);
	result = sys_ioctl(fd, request, at);
	count_refusals(&after);
	counted = counted_once(&before, &after, why);
	unchanged = everything() == state;

	begin(name, result == -why->error && (!head || head->reason == why->code) && counted && unchanged);
	if (result != -why->error || (head && head->reason != why->code)) {
		put(": got ");
		put_number(result);
		if (head) {
			put(", reason ");
			put_number(head->reason);
		}
		put(", not ");
		put_number(-why->error);
		put(", reason ");
		put_number(why->code);
	}
	if (!counted)
		put(": not counted once");
	if (!unchanged)
		put(": something has changed");
	put_line();
}

void refused_call(const char *name, long (*call)(int fd), int fd, const struct reason *why)
{
	static struct counters before, after;
	__u64 state = everything();
	int counted, unchanged;
	long result;

	count_refusals(&before);
	result = call(fd);
	count_refusals(&after);
	counted = counted_once(&before, &after, why);
	unchanged = everything() == state;
	begin(name, result == -why->error && counted && unchanged);
	if (result != -why->error) {
		put(": got ");
		put_number(result);
	}
	if (!counted)
		put(": not counted once");
	if (!unchanged)
		put(": something has changed");
	put_line();
}

void refused(const char *name, int fd, unsigned int request, void *arg, const struct reason *why)
{
	refused_at(name, fd, request, (unsigned long)arg, arg, why);
}

void stage(const char *name, int fd, __u32 op, __u32 reached)
{
	struct shadowmm_stage request = REQUEST(shadowmm_stage);

	request.op = op;
	accepted(name, fd, SHADOWMM_IOC_STAGE, &request);
	if (request.stage != reached)
		expect("the stage that was reached", 0);
}

int run(void)
{
	__u64 start;

	watcher = open_device();
	start = everything();
	test_requests();
	test_pages();
	test_many();
	test_reports();
	test_slab();
	test_mm();
	test_maps();
	expect("in the end all is as it was", everything() == start);
	return failures != 0;
}
