// SPDX-License-Identifier: GPL-2.0
/* The ABI test: maps for the next boot, good ones and bad ones, and crash kernels. */
#include "abi.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

enum { RAM = 1, RESERVED = 2 };

/* A small machine of one node; each test changes what it is about. */
static struct shadowmm_e820 *e820;
static struct shadowmm_affinity memory[4];
static struct shadowmm_cpu *cpus;
static __u8 distances[64 * 64];
static char *text;

static struct shadowmm_map machine(void)
{
	static const struct shadowmm_e820 pc[] = {
		{ 0, 0x9fc00, RAM, 0 }, { 0x9fc00, 0x400, RESERVED, 0 }, { MIB, 2047 * MIB, RAM, 0 },
	};
	struct shadowmm_map map = REQUEST(shadowmm_map);

	memcpy(e820, pc, sizeof(pc));
	map.source = SHADOWMM_MAP_LOG;
	map.nr_e820 = 3;
	map.e820 = address(e820);
	return map;
}

/* The same with its memory on two nodes, which have a CPU each. */
static struct shadowmm_map two_nodes(void)
{
	static const struct shadowmm_affinity halves[] = { { 0, GIB, 0, 0 }, { GIB, GIB, 1, 0 } };
	static const __u8 near_and_far[] = { 10, 21, 21, 10 };
	static const struct shadowmm_cpu one_each[] = { { 0, 0 }, { 1, 1 } };
	struct shadowmm_map map = machine();

	memcpy(memory, halves, sizeof(halves));
	memcpy(cpus, one_each, sizeof(one_each));
	memcpy(distances, near_and_far, sizeof(near_and_far));
	map.nr_memory = map.nr_cpus = map.nr_nodes = 2;
	map.memory = address(memory);
	map.cpus = address(cpus);
	map.distances = address(distances);
	return map;
}

static void no_map(const char *name, int fd, struct shadowmm_map *map, const struct reason *why)
{
	refused(name, fd, SHADOWMM_IOC_MAP, map, why);
}

/* --- maps that are refused ------------------------------------------------------ */

static void one_entry(const char *name, int fd, __u64 addr, __u64 size, __u32 type, const struct reason *why)
{
	struct shadowmm_map map = machine();
	struct shadowmm_e820 entry = { addr, size, type, 0 };

	e820[1] = entry;
	no_map(name, fd, &map, why);
}

static void bad_entries(int fd)
{
	static const __u32 types[] = { 0, 6, 8, 11, 13, 20, 0xf0000000, 0xffffffff };
	struct shadowmm_map map;

	map = machine();
	map.nr_e820 = 0;
	no_map("MAP: without entries", fd, &map, &MapEmpty);
	map = machine();
	for (int i = 0; i < 3; i++)
		e820[i].type = RESERVED;
	no_map("MAP: without RAM", fd, &map, &MapEmpty);
	map = machine();
	e820[1] = (struct shadowmm_e820){ 0, 4 * GIB, RESERVED, 0 };
	no_map("MAP: all RAM is overlapped", fd, &map, &MapEmpty);
	one_entry("MAP: an entry of no length", fd, 0x9fc00, 0, RESERVED, &MapEntryEmpty);
	one_entry("MAP: an entry over the end", fd, ~0ULL, 2, RESERVED, &MapEntryOverflow);
	one_entry("MAP: half and half of the address space", fd, 1ULL << 63, 1ULL << 63, RAM, &MapEntryOverflow);
	one_entry("MAP: all of the address space", fd, 1, ~0ULL, RAM, &MapEntryOverflow);
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		one_entry("MAP: an unknown type", fd, 0x9fc00, 0x400, types[i], &MapUnknownType);
	one_entry("MAP: holes without end", fd, 1ULL << 62, MIB, RAM, &MapTooSparse);
	map = machine();
	e820[2].reserved = 1;
	no_map("MAP: a reserved field of an entry", fd, &map, &BadReserved);
	for (__u32 source = 3; source; source <<= 9) {
		map = machine();
		map.source = source;
		no_map("MAP: an unknown source", fd, &map, &BadKind);
	}
}

static void bad_nodes(int fd)
{
	static const __s32 nodes[] = { -1, 64, 0x7fffffff, (__s32)0x80000000 };
	struct shadowmm_map map;

	for (unsigned int i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		map = two_nodes();
		memory[1].nid = nodes[i];
		no_map("MAP: memory on a node that cannot be", fd, &map, &MapBadNode);
		map = two_nodes();
		cpus[1].nid = nodes[i];
		no_map("MAP: a CPU on a node that cannot be", fd, &map, &MapBadNode);
	}
	map = two_nodes();
	memory[1].addr -= MIB;
	no_map("MAP: two nodes claim the same memory", fd, &map, &MapNodeOverlap);
	map = two_nodes();
	memory[1].size = 0;
	no_map("MAP: an affinity of no length", fd, &map, &MapEntryEmpty);
	map = two_nodes();
	memory[1].size = -GIB + 1;
	no_map("MAP: an affinity over the end", fd, &map, &MapEntryOverflow);
	map = two_nodes();
	memory[1].flags = 2;
	no_map("MAP: an unknown flag of an affinity", fd, &map, &BadFlags);
	for (int i = 0; i < 4; i++) {
		map = two_nodes();
		distances[i] = i == 0 || i == 3 ? 11 : 9;
		no_map("MAP: a distance that cannot be", fd, &map, &MapBadDistance);
	}
	map = two_nodes();
	map.nr_nodes = 65;
	no_map("MAP: distances of too many nodes", fd, &map, &MapBadNode);
	map.nr_nodes = 0x10000;
	no_map("MAP: distances that overflow 32 bits", fd, &map, &MapBadNode);
	map.nr_nodes = 0xffffffff;
	no_map("MAP: distances of all nodes that can be said", fd, &map, &MapBadNode);
}

static void huge_counts(int fd)
{
	static const __u32 counts[] = { 1000, 0x10000000, 0x15555556, 0xffffffff };

	for (unsigned int i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct shadowmm_map map = machine();

		for (int entry = 3; entry < 1000; entry++)
			e820[entry] = (struct shadowmm_e820){ (__u64)entry << 32, PAGE, RESERVED, 0 };
		map.nr_e820 = counts[i];
		no_map("MAP: more entries than any machine has", fd, &map, &MapTooManyEntries);
		map = two_nodes();
		for (int cpu = 2; cpu < 1000; cpu++)
			cpus[cpu] = (struct shadowmm_cpu){ 1, 1 };
		map.nr_cpus = counts[i];
		no_map("MAP: more CPUs than any machine has", fd, &map, &MapTooManyEntries);
	}
	struct shadowmm_map map = two_nodes();

	cpus[1].cpu = 512;
	no_map("MAP: a CPU of too large a number", fd, &map, &MapTooManyEntries);
	cpus[1].cpu = 0xffffffff;
	no_map("MAP: a CPU of the largest number", fd, &map, &MapTooManyEntries);
}

static void bad_pointers(int fd)
{
	static const __u64 nowhere[] = { 0, 8, 0xffff888000000000, 0xfffffffffffff000, ~0ULL };

	for (unsigned int i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		struct shadowmm_map map = two_nodes();

		map.e820 = nowhere[i];
		no_map("MAP: no entries at e820", fd, &map, &BadPointer);
		map = two_nodes();
		map.memory = nowhere[i];
		no_map("MAP: no affinities at memory", fd, &map, &BadPointer);
		map = two_nodes();
		map.cpus = nowhere[i];
		no_map("MAP: no CPUs at cpus", fd, &map, &BadPointer);
		map = two_nodes();
		map.distances = nowhere[i];
		no_map("MAP: no distances", fd, &map, &BadPointer);
		if (nowhere[i] == 0)
			continue;
		map = two_nodes();
		map.crashkernel = nowhere[i];
		no_map("MAP: no text at crashkernel", fd, &map, &BadPointer);
	}
	/* On 32 bits, a pointer is not cut to what would lead to memory. */
	struct shadowmm_map map = machine();

	map.e820 += 1ULL << 52;
	no_map("MAP: entries beyond all memory", fd, &map, &BadPointer);
}

/* --- crash kernels ------------------------------------------------------------------ */

static __u64 size_of(const char *resource)
{
	static struct shadowmm_rec_resource all[64];
	__u32 count = records(SHADOWMM_REPORT_RESOURCES, sizeof(all[0]), all, 64);

	for (__u32 i = 0; i < count && i < 64; i++)
		if (same_text(all[i].name, resource))
			return all[i].end - all[i].start + 1;
	return 0;
}

static void say(const char *crashkernel)
{
	char *to = text;

	while ((*to++ = *crashkernel++))
		;
}

static void crash_kernels(int fd)
{
	static const char *const malformed[] = {
		"M", "64X", "64M@16M,high", "-64M", "64M,middle", "1G-:", "1G-512M:64M", "512M-2G:64M,", "0x", "panic=5",
	};
	struct shadowmm_map map = machine();
	struct shadowmm_rec_status now;
	unsigned int i;

	map.crashkernel = address(text);
	for (i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		say(malformed[i]);
		put("# crashkernel=");
		put(malformed[i]);
		put_line();
		no_map("MAP: a malformed crash kernel", fd, &map, &BadParameter);
	}
	memset(text, 'M', 256 * PAGE);
	no_map("MAP: a text of a MiB", fd, &map, &BadText);
	memset(text, ' ', 256 * PAGE);
	text[0] = '6', text[1] = '4', text[2] = 'M', text[256 * PAGE - 1] = 0;
	no_map("MAP: a text whose beginning alone would do", fd, &map, &BadText);
	say("64M");
	text[1] = (char)0xff;
	no_map("MAP: a text that is not UTF-8", fd, &map, &BadText);
	map.crashkernel = address(text + 256 * PAGE - 3);
	text[256 * PAGE - 1] = text[256 * PAGE - 2] = text[256 * PAGE - 3] = '1';
	no_map("MAP: a text that runs into what is no memory", fd, &map, &BadPointer);

	/* One for which there is no room is left out, as Linux does, and the status says why. */
	map = machine();
	say("64M@0xd0000000");
	map.crashkernel = address(text);
	accepted("MAP: a crash kernel beyond the RAM", fd, SHADOWMM_IOC_MAP, &map);
	stage("STAGE: boot without it", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	status(&now);
	expect("why there is none", now.crash_reason == CrashKernelNoRoom.code && size_of("Crash kernel") == 0);
	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	map = machine();
	say("2G");
	map.crashkernel = address(text);
	no_map("MAP: a crash kernel as large as the machine", fd, &map, &BadParameter);
	say("");
	accepted("MAP: no crash kernel", fd, SHADOWMM_IOC_MAP, &map);
	stage("STAGE: boot without one", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	status(&now);
	expect("there is none, for no reason", now.crash_reason == 0 && size_of("Crash kernel") == 0);
	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
}

/* --- maps that are taken ------------------------------------------------------------ */

static void sound(const char *name, int fd, __u32 nodes)
{
	struct shadowmm_validate validate = REQUEST(shadowmm_validate);
	struct shadowmm_rec_status now;

	accepted(name, fd, SHADOWMM_IOC_VALIDATE, &validate);
	status(&now);
	expect("it is sound, and has its nodes", validate.what[0] == 0 && now.nr_nodes == nodes && now.free_pages > 1000 &&
	       now.free_pages == now.managed_pages);
}

static void good_maps(int fd)
{
	static struct shadowmm_rec_e820 shown[16];
	struct shadowmm_map map = two_nodes();
	struct shadowmm_rec_status now;
	struct shadowmm_rec_node nodes[2];

	say("128M");
	map.crashkernel = address(text);
	accepted("MAP: two nodes", fd, SHADOWMM_IOC_MAP, &map);
	stage("STAGE: boot two nodes", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	sound("VALIDATE: two nodes", fd, 2);
	expect("the distances are the map's", records(SHADOWMM_REPORT_NODES, sizeof(nodes[0]), nodes, 2) == 2 &&
	       nodes[0].distance[1] == 21 && nodes[1].fallback[0] == 1 && nodes[1].fallback[1] == 0);
	status(&now);
	/* A sixteenth of the machine, as a sixteenth of the shadow, whatever it is rounded to. */
	expect("the crash kernel is there, in proportion", size_of("Crash kernel") > 0 &&
	       size_of("Crash kernel") / PAGE >= (now.ram_pages >> 5) && size_of("Crash kernel") / PAGE <= (now.ram_pages >> 3));

	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	map = machine();
	/* What is reserved wins, as in e820__update_table(). */
	e820[1] = (struct shadowmm_e820){ GIB, GIB / 2, RESERVED, 0 };
	accepted("MAP: ranges that overlap", fd, SHADOWMM_IOC_MAP, &map);
	__u32 count = records(SHADOWMM_REPORT_E820, sizeof(shown[0]), shown, 16), hole = 0;

	for (__u32 i = 1; i < count && i < 16; i++) {
		if (shown[i].addr < shown[i - 1].addr + shown[i - 1].size)
			hole = 100;
		hole += shown[i].type == RESERVED && shown[i - 1].type == RAM && shown[i + 1].type == RAM;
	}
	expect("the overlap is settled", hole == 1);
	stage("STAGE: boot it", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	sound("VALIDATE: ranges that overlap", fd, 1);

	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	map = machine();
	e820[2].size = (1ULL << 63) - MIB;
	say("1M");
	map.crashkernel = address(text);
	accepted("MAP: half of the address space", fd, SHADOWMM_IOC_MAP, &map);
	stage("STAGE: boot it", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	sound("VALIDATE: half of the address space", fd, 1);
	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);

	/* Nothing is read for the built-in map. The crash kernel is the module's default again. */
	map = (struct shadowmm_map)REQUEST(shadowmm_map);
	say("2G-64G:256M,64G-:512M");
	map.crashkernel = address(text);
	map.source = SHADOWMM_MAP_BUILTIN;
	map.nr_e820 = map.nr_memory = map.nr_cpus = map.nr_nodes = 5;
	accepted("MAP: the built-in one", fd, SHADOWMM_IOC_MAP, &map);
	stage("STAGE: boot it", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
}

void test_maps(void)
{
	__u64 before = everything();
	int fd = open_device();

	e820 = sys_pages(8);
	cpus = sys_pages(4);
	text = sys_pages(256 + 1);
	sys_munmap(text + 256 * PAGE, PAGE);
	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	bad_entries(fd);
	bad_nodes(fd);
	huge_counts(fd);
	bad_pointers(fd);
	crash_kernels(fd);
	good_maps(fd);
	sys_close(fd);
	expect("the built-in map gives what it gave at first", everything() == before);
}
