// SPDX-License-Identifier: GPL-2.0
/* The ABI test: reports, the room for their records, and the stage from which on each is there. */
#include "abi.h"

static const struct kind {
	const char *name;
	__u32 kind, size, from;
} kinds[] = {
	{ "STATUS", SHADOWMM_REPORT_STATUS, sizeof(struct shadowmm_rec_status), SHADOWMM_STAGE_DETECT },
	{ "SEGMENTS", SHADOWMM_REPORT_SEGMENTS, sizeof(struct shadowmm_rec_segment), SHADOWMM_STAGE_DETECT },
	{ "E820", SHADOWMM_REPORT_E820, sizeof(struct shadowmm_rec_e820), SHADOWMM_STAGE_DETECT },
	{ "RESOURCES", SHADOWMM_REPORT_RESOURCES, sizeof(struct shadowmm_rec_resource), SHADOWMM_STAGE_DETECT },
	{ "MEMBLOCK", SHADOWMM_REPORT_MEMBLOCK, sizeof(struct shadowmm_rec_memblock), SHADOWMM_STAGE_MEMBLOCK },
	{ "NODES", SHADOWMM_REPORT_NODES, sizeof(struct shadowmm_rec_node), SHADOWMM_STAGE_ZONES },
	{ "ZONES", SHADOWMM_REPORT_ZONES, sizeof(struct shadowmm_rec_zone), SHADOWMM_STAGE_ZONES },
	{ "ACCOUNTING", SHADOWMM_REPORT_ACCOUNTING, sizeof(struct shadowmm_rec_account), SHADOWMM_STAGE_HANDOFF },
	{ "VMSTAT", SHADOWMM_REPORT_VMSTAT, sizeof(struct shadowmm_rec_counter), SHADOWMM_STAGE_HANDOFF },
	{ "REFUSALS", SHADOWMM_REPORT_REFUSALS, sizeof(struct shadowmm_rec_counter), SHADOWMM_STAGE_DETECT },
	{ "SECTIONS", SHADOWMM_REPORT_SECTIONS, sizeof(struct shadowmm_rec_section), SHADOWMM_STAGE_PAGING },
	{ "PAGESETS", SHADOWMM_REPORT_PAGESETS, sizeof(struct shadowmm_rec_pageset), SHADOWMM_STAGE_HANDOFF },
	{ "PAGETYPES", SHADOWMM_REPORT_PAGETYPES, sizeof(struct shadowmm_rec_pagetype), SHADOWMM_STAGE_ZONES },
	{ "FRAGMENTATION", SHADOWMM_REPORT_FRAGMENTATION, sizeof(struct shadowmm_rec_fragmentation), SHADOWMM_STAGE_ZONES },
	{ "NUMASTAT", SHADOWMM_REPORT_NUMASTAT, sizeof(struct shadowmm_rec_numastat), SHADOWMM_STAGE_HANDOFF },
	{ "FALLBACKS", SHADOWMM_REPORT_FALLBACKS, sizeof(struct shadowmm_rec_fallback), SHADOWMM_STAGE_HANDOFF },
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))
#define ROOM_PAGES 64

static unsigned char *room;

static struct shadowmm_report request_for(const struct kind *kind, __u32 capacity)
{
	struct shadowmm_report report = REQUEST(shadowmm_report);

	report.kind = kind->kind;
	report.record_size = kind->size;
	report.capacity = capacity;
	report.buf = address(room);
	return report;
}

static void name(const char *text)
{
	put("# ");
	put(text);
	put_line();
}

/* Whether all of the room from `from` on is as it was painted. */
static int untouched(unsigned long from)
{
	for (; from < ROOM_PAGES * PAGE; from++)
		if (room[from] != 0xa5)
			return 0;
	return 1;
}

static void room_for(int fd, const struct kind *kind)
{
	struct shadowmm_report report = request_for(kind, 0);
	__u32 count, part;

	name(kind->name);
	report.buf = 0;
	accepted("REPORT: only the number", fd, SHADOWMM_IOC_REPORT, &report);
	count = report.count;
	expect("there are records, and room for them", count > 0 && count * kind->size < ROOM_PAGES * PAGE);

	for (part = 0; part <= count + 1; part += part + 1 < count && part > 2 ? count - 1 - part : 1) {
		__u32 written = part < count ? part : count;

		memset(room, 0xa5, ROOM_PAGES * PAGE);
		report = request_for(kind, part);
		accepted("REPORT: as many as fit", fd, SHADOWMM_IOC_REPORT, &report);
		expect("the number is of all", report.count == count);
		expect("no more than that is written", untouched(written * kind->size));
	}
	report = request_for(kind, 0xffffffff);
	accepted("REPORT: a capacity beyond memory, of which little is needed", fd, SHADOWMM_IOC_REPORT, &report);
	expect("the number is what there are", report.count == count);
	if (kind->kind != SHADOWMM_REPORT_REFUSALS) {
		/* Records that run into what is no memory. */
		sys_mprotect(room, PAGE, PROT_NONE);
		report = request_for(kind, count);
		refused("REPORT: no memory at buf", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
		sys_mprotect(room, PAGE, PROT_READ);
		refused("REPORT: read-only memory at buf", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
		sys_mprotect(room, PAGE, PROT_READ | PROT_WRITE);
	}
	report = request_for(kind, 1);
	report.buf = 0;
	refused("REPORT: buf is NULL", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
	report.buf = 0xffff888000000000;
	refused("REPORT: buf is the kernel's", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
	report.buf = address(room) + (1ULL << 63);
	refused("REPORT: buf is beyond all memory", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
	report.buf = address(room + ROOM_PAGES * PAGE) - kind->size + 1;
	refused("REPORT: memory ends inside a record", fd, SHADOWMM_IOC_REPORT, &report, &BadPointer);
}

static void wrong_sizes(int fd, const struct kind *kind)
{
	const __u32 sizes[] = { 0, 1, kind->size - 1, kind->size + 1, kind->size + 8, 0xffffffff };

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct shadowmm_report report = request_for(kind, 1);

		report.record_size = sizes[i];
		refused("REPORT: records of another size", fd, SHADOWMM_IOC_REPORT, &report, &BadSize);
		report = request_for(kind, 0);
		report.record_size = sizes[i];
		refused("REPORT: the number of records of another size", fd, SHADOWMM_IOC_REPORT, &report, &BadSize);
	}
}

static void unknown_kinds(int fd)
{
	static const __u32 unknown[] = { NR_KINDS, 64, 0x80000000, 0xffffffff };

	for (unsigned int i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		struct shadowmm_report report = request_for(&kinds[0], 1);

		report.kind = unknown[i];
		refused("REPORT: an unknown kind", fd, SHADOWMM_IOC_REPORT, &report, &BadKind);
	}
}

/* --- the stages, in their order ------------------------------------------------- */

static void at_stage(int fd, __u32 now)
{
	struct shadowmm_alloc alloc = REQUEST(shadowmm_alloc);
	struct shadowmm_free free = REQUEST(shadowmm_free);
	struct shadowmm_page page = REQUEST(shadowmm_page);
	struct shadowmm_validate validate = REQUEST(shadowmm_validate);
	struct shadowmm_map map = REQUEST(shadowmm_map);
	struct shadowmm_rec_status rec;

	status(&rec);
	expect("the status names the stage", rec.stage == now);
	for (unsigned int i = 0; i < NR_KINDS; i++) {
		struct shadowmm_report report = request_for(&kinds[i], 0);

		name(kinds[i].name);
		if (now < kinds[i].from)
			refused("REPORT: before its stage", fd, SHADOWMM_IOC_REPORT, &report, &StageOrder);
		else
			accepted("REPORT: from its stage on", fd, SHADOWMM_IOC_REPORT, &report);
	}
	if (now < SHADOWMM_STAGE_HANDOFF) {
		alloc.nid = -1;
		refused("ALLOC: before the hand-off", fd, SHADOWMM_IOC_ALLOC, &alloc, &StageOrder);
		free.pfn = 4096;
		refused("FREE: before the hand-off", fd, SHADOWMM_IOC_FREE, &free, &StageOrder);
		refused("PAGE: before the hand-off", fd, SHADOWMM_IOC_PAGE, &page, &StageOrder);
		refused("VALIDATE: before the hand-off", fd, SHADOWMM_IOC_VALIDATE, &validate, &StageOrder);
	}
	if (now > SHADOWMM_STAGE_DETECT)
		refused("MAP: behind the first stage", fd, SHADOWMM_IOC_MAP, &map, &StageOrder);
}

static void stages(int fd)
{
	struct shadowmm_stage request = REQUEST(shadowmm_stage);
	__u64 before = everything();

	stage("STAGE: only ask", fd, SHADOWMM_STAGE_GET, SHADOWMM_STAGE_HANDOFF);
	request.op = SHADOWMM_STAGE_NEXT;
	refused("STAGE: on from the last", fd, SHADOWMM_IOC_STAGE, &request, &StageDone);
	request.op = SHADOWMM_STAGE_RUN;
	refused("STAGE: to the last from there", fd, SHADOWMM_IOC_STAGE, &request, &StageDone);
	for (__u32 op = 4; op; op <<= 7) {
		request.op = op;
		refused("STAGE: an unknown operation", fd, SHADOWMM_IOC_STAGE, &request, &BadKind);
	}
	stage("STAGE: back", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	stage("STAGE: back from the first", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	for (__u32 now = SHADOWMM_STAGE_DETECT; now <= SHADOWMM_STAGE_HANDOFF; now++) {
		at_stage(fd, now);
		if (now < SHADOWMM_STAGE_HANDOFF)
			stage("STAGE: on", fd, SHADOWMM_STAGE_NEXT, now + 1);
	}
	expect("the same map gives the same memory", everything() == before);
	stage("STAGE: back again", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	stage("STAGE: two on", fd, SHADOWMM_STAGE_NEXT, SHADOWMM_STAGE_MEMBLOCK);
	stage("STAGE: the rest", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	expect("in whatever steps", everything() == before);
}

void test_reports(void)
{
	int fd = open_device();

	/* The last page of the room is taken away: what would run beyond it faults. */
	room = sys_pages(ROOM_PAGES + 1);
	sys_munmap(room + ROOM_PAGES * PAGE, PAGE);
	for (unsigned int i = 0; i < NR_KINDS; i++) {
		room_for(fd, &kinds[i]);
		wrong_sizes(fd, &kinds[i]);
	}
	unknown_kinds(fd);
	stages(fd);
	sys_close(fd);
}
