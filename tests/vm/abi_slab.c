// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI test: caches and objects, by those who may and by those who may not.
 *
 * What a test has made it destroys; the first of them brings the layer up, before anything is compared.
 */
#include "abi.h"

enum { GFP_DMA = 1 << 0, GFP_DMA32 = 1 << 2 };
enum { SLAB_CONSISTENCY_CHECKS = 1 << 0, SLAB_RED_ZONE = 1 << 1, SLAB_POISON = 1 << 2, SLAB_NO_MERGE = 1 << 12 };

static struct shadowmm_create cache_of(const char *name, __u32 size)
{
	struct shadowmm_create create = REQUEST(shadowmm_create);

	name_it(create.name, name);
	create.object_size = size;
	create.flags = SLAB_NO_MERGE;
	return create;
}

static __u32 make(int fd, const char *name, __u32 size, __u32 flags)
{
	struct shadowmm_create create = cache_of(name, size);

	create.flags = flags;
	accepted("CREATE", fd, SHADOWMM_IOC_CREATE, &create);
	return create.cache;
}

static struct shadowmm_cache with_cache(__u32 op, __u32 cache)
{
	struct shadowmm_cache request = REQUEST(shadowmm_cache);

	request.op = op;
	request.cache = cache;
	return request;
}

static void destroy(int fd, __u32 cache)
{
	struct shadowmm_cache request = with_cache(SHADOWMM_CACHE_DESTROY, cache);

	accepted("DESTROY", fd, SHADOWMM_IOC_CACHE, &request);
}

static struct shadowmm_object object_of(__u32 cache)
{
	struct shadowmm_object object = REQUEST(shadowmm_object);

	object.op = SHADOWMM_OBJECT_ALLOC;
	object.cache = cache;
	object.nid = -1;
	return object;
}

static struct shadowmm_object given(__u32 cache, __u64 address)
{
	struct shadowmm_object object = REQUEST(shadowmm_object);

	object.op = SHADOWMM_OBJECT_FREE;
	object.cache = cache;
	object.object = address;
	return object;
}

static __u64 take(int fd, __u32 cache)
{
	struct shadowmm_object object = object_of(cache);

	accepted("an object is taken", fd, SHADOWMM_IOC_OBJECT, &object);
	return object.object;
}

static void give(int fd, __u32 cache, __u64 address)
{
	struct shadowmm_object object = given(cache, address);

	accepted("an object is given back", fd, SHADOWMM_IOC_OBJECT, &object);
}

static __u64 held(void)
{
	struct shadowmm_rec_slab slab;

	memset(&slab, 0, sizeof(slab));
	if (!records(SHADOWMM_REPORT_SLAB, sizeof(slab), &slab, 1))
		expect("the layer can be looked at", 0);
	return slab.held_objects;
}

static int look(__u32 cache, struct shadowmm_rec_cache *found)
{
	static struct shadowmm_rec_cache all[2048];
	__u32 count = records(SHADOWMM_REPORT_CACHES, sizeof(all[0]), all, 2048);

	for (__u32 i = 0; i < count && i < 2048; i++)
		if (all[i].cache == cache) {
			memcpy(found, &all[i], sizeof(*found));
			return 1;
		}
	return 0;
}

/* --- caches that can't be ------------------------------------------------------------ */

static void bad_names(int fd)
{
	static const char *const names[] = { "", ".", "..", "a/b", "/", "with blank", "tab\tbed", "line\n", "\x7f", "\x01" };
	struct shadowmm_create create;
	struct shadowmm_cache find;

	for (unsigned int i = 0; i < COUNT(names); i++) {
		create = cache_of(names[i], 64);
		refused("CREATE: a name that is none", fd, SHADOWMM_IOC_CREATE, &create, &BadCacheName);
		find = with_cache(SHADOWMM_CACHE_FIND, 0);
		name_it(find.name, names[i]);
		refused("FIND: a name that is none", fd, SHADOWMM_IOC_CACHE, &find, &BadCacheName);
	}
	create = cache_of("", 64);
	memset(create.name, 'x', sizeof(create.name));
	refused("CREATE: a name without an end", fd, SHADOWMM_IOC_CREATE, &create, &BadCacheName);
	create = cache_of("abi_name", 64);
	create.name[SHADOWMM_CACHE_NAME - 1] = 'x';
	refused("CREATE: something behind the name", fd, SHADOWMM_IOC_CREATE, &create, &BadReserved);
	create = cache_of("\xff\xfe", 64);
	refused("CREATE: a name that is not UTF-8", fd, SHADOWMM_IOC_CREATE, &create, &BadText);
	find = with_cache(SHADOWMM_CACHE_FIND, 0);
	name_it(find.name, "abi_nobody");
	refused("FIND: a cache that is not there", fd, SHADOWMM_IOC_CACHE, &find, &NoSuchCache);
	find.cache = 1;
	refused("FIND: a number that it does not need", fd, SHADOWMM_IOC_CACHE, &find, &BadReserved);
}

/* Whatever is refused of geometry, the reason is one of the layer's; here it is that nothing changes. */
static void no_cache(const char *name, int fd, struct shadowmm_create *create)
{
	__u64 state = everything();
	long result = ask(fd, SHADOWMM_IOC_CREATE, create);

	expect(name, result < 0 && create->head.reason && create->cache == 0 && everything() == state);
}

static void bad_geometry(int fd)
{
	static const __u32 sizes[] = { 0, 0x80000000, 0xffffffff, (4 << 20) + 1, 64 << 20 };
	static const __u32 aligns[] = { 24, 48, 1000, 0xffffffff, 0x80000000, 1 << 30 };
	struct shadowmm_create create;

	for (unsigned int i = 0; i < COUNT(sizes); i++) {
		create = cache_of("abi_size", sizes[i]);
		no_cache("CREATE: a size that no object has", fd, &create);
	}
	for (unsigned int i = 0; i < COUNT(aligns); i++) {
		create = cache_of("abi_align", 64);
		create.align = aligns[i];
		no_cache("CREATE: an alignment that is none", fd, &create);
	}
	create = cache_of("abi_align", 64);
	create.align = 3;
	accepted("CREATE: an alignment that is made one", fd, SHADOWMM_IOC_CREATE, &create);
	destroy(fd, create.cache);
	create = cache_of("abi_flags", 64);
	create.flags = 0x80000000;
	refused("CREATE: a flag that Linux has not", fd, SHADOWMM_IOC_CREATE, &create, &BadFlags);
	create = cache_of("abi_ctor", 64);
	create.ctor = 3;
	refused("CREATE: no such constructor", fd, SHADOWMM_IOC_CREATE, &create, &BadKind);
	create.ctor = SHADOWMM_CTOR_NONE;
	create.ctor_arg = 1;
	refused("CREATE: what no constructor needs", fd, SHADOWMM_IOC_CREATE, &create, &BadReserved);
	create.ctor = SHADOWMM_CTOR_FILL;
	create.ctor_arg = 256;
	refused("CREATE: more than a byte", fd, SHADOWMM_IOC_CREATE, &create, &BadParameter);
	create = cache_of("abi_window", 64);
	create.useroffset = 60;
	create.usersize = 8;
	no_cache("CREATE: a window beyond the object", fd, &create);
	create.useroffset = 0xfffffff8;
	create.usersize = 16;
	no_cache("CREATE: a window that goes around", fd, &create);
	create = cache_of("abi_freeptr", 64);
	create.freeptr_offset = 8;
	refused("CREATE: a place of the free pointer without its flag", fd, SHADOWMM_IOC_CREATE, &create, &BadReserved);
	create.head.flags = SHADOWMM_CREATE_FREEPTR;
	create.freeptr_offset = 0xfffffff0;
	no_cache("CREATE: a free pointer far away", fd, &create);
}

static void bad_cache_requests(int fd, __u32 cache)
{
	static const __u32 numbers[] = { 0, 2047, 2048, 0x10000, 0xffffffff };
	static const __u32 ops[] = { SHADOWMM_CACHE_DESTROY, SHADOWMM_CACHE_SHRINK, SHADOWMM_CACHE_VALIDATE, SHADOWMM_CACHE_MIN_PARTIAL };
	struct shadowmm_cache request;

	for (unsigned int op = 0; op < COUNT(ops); op++) {
		for (unsigned int i = 0; i < COUNT(numbers); i++) {
			if (ops[op] == SHADOWMM_CACHE_SHRINK && numbers[i] == 0)
				continue;
			request = with_cache(ops[op], numbers[i]);
			refused("CACHE: a number that no cache has", fd, SHADOWMM_IOC_CACHE, &request, &NoSuchCache);
		}
		request = with_cache(ops[op], cache);
		name_it(request.name, "abi");
		refused("CACHE: a name that it does not need", fd, SHADOWMM_IOC_CACHE, &request, &BadReserved);
		request = with_cache(ops[op], cache);
		request.reserved = 1;
		refused("CACHE: the reserved field", fd, SHADOWMM_IOC_CACHE, &request, &BadReserved);
		request = with_cache(ops[op], cache);
		request.value = 1;
		if (ops[op] != SHADOWMM_CACHE_MIN_PARTIAL)
			refused("CACHE: a value that it does not need", fd, SHADOWMM_IOC_CACHE, &request, &BadReserved);
	}
	request = with_cache(SHADOWMM_CACHE_SHRINK, cache);
	request.capacity = 1;
	refused("SHRINK: room for a text that it does not need", fd, SHADOWMM_IOC_CACHE, &request, &BadReserved);
	request = with_cache(SHADOWMM_CACHE_DESTROY, cache);
	request.capacity = 100;
	request.text = 8;
	refused("DESTROY: a text that goes nowhere", fd, SHADOWMM_IOC_CACHE, &request, &BadPointer);
	request = with_cache(SHADOWMM_CACHE_MIN_PARTIAL, cache);
	request.value = 1ULL << 32;
	refused("MIN_PARTIAL: more than can be counted", fd, SHADOWMM_IOC_CACHE, &request, &BadParameter);
	request = with_cache(5, cache);
	refused("CACHE: no such operation", fd, SHADOWMM_IOC_CACHE, &request, &BadKind);
}

/* --- objects ------------------------------------------------------------------------- */

static void bad_objects(int fd, int other, __u32 cache, __u32 second)
{
	static const __u64 addresses[] = { 0, 8, 4096, 0x100000, 1ULL << 44, 1ULL << 63, ~0ULL, ~7ULL };
	static const __s32 nodes[] = { -2, 7, 64, 0x7fffffff, (__s32)0x80000000 };
	static const __u32 gfps[] = { 1u << 31, 1u << 30, GFP_DMA | GFP_DMA32 };
	struct shadowmm_object object;
	__u64 address;

	for (unsigned int i = 0; i < COUNT(nodes); i++) {
		object = object_of(cache);
		object.nid = nodes[i];
		refused("OBJECT: a node that is not there", fd, SHADOWMM_IOC_OBJECT, &object, &NodeOffline);
	}
	for (unsigned int i = 0; i < COUNT(gfps); i++) {
		object = object_of(cache);
		object.gfp = gfps[i];
		refused("OBJECT: flags unknown or against each other", fd, SHADOWMM_IOC_OBJECT, &object, &BadGfp);
	}
	object = object_of(0);
	refused("OBJECT: of no cache", fd, SHADOWMM_IOC_OBJECT, &object, &NoSuchCache);
	object = object_of(2000);
	refused("OBJECT: of a cache that is not there", fd, SHADOWMM_IOC_OBJECT, &object, &NoSuchCache);
	object = object_of(cache);
	object.object = 8;
	refused("OBJECT: an address that it does not need", fd, SHADOWMM_IOC_OBJECT, &object, &BadReserved);
	object = object_of(cache);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	refused("OBJECT: taken by force", fd, SHADOWMM_IOC_OBJECT, &object, &BadFlags);
	object = object_of(cache);
	object.asked = 1u << 31;
	refused("OBJECT: for more bytes than it has", fd, SHADOWMM_IOC_OBJECT, &object, &AskedTooLarge);
	object = object_of(cache);
	object.op = 2;
	refused("OBJECT: no such operation", fd, SHADOWMM_IOC_OBJECT, &object, &BadKind);

	for (unsigned int i = 0; i < COUNT(addresses); i++) {
		object = given(cache, addresses[i]);
		refused("OBJECT: given back without being held", fd, SHADOWMM_IOC_OBJECT, &object, &ObjectNotHeld);
	}
	address = take(fd, cache);
	object = given(cache, address);
	object.nid = -1;
	refused("OBJECT: a node to give it back to", fd, SHADOWMM_IOC_OBJECT, &object, &BadReserved);
	object = given(cache, address);
	object.asked = 1;
	refused("OBJECT: some of it to give back", fd, SHADOWMM_IOC_OBJECT, &object, &BadReserved);
	object = given(cache, address);
	object.head.flags = SHADOWMM_OBJECT_ZERO;
	refused("OBJECT: zeroed when it goes", fd, SHADOWMM_IOC_OBJECT, &object, &BadFlags);
	object = given(cache, address + 8);
	refused("OBJECT: beside its start", fd, SHADOWMM_IOC_OBJECT, &object, &ObjectNotHeld);
	object = given(cache, address);
	refused("OBJECT: given back by another file", other, SHADOWMM_IOC_OBJECT, &object, &ObjectNotHeld);
	object = given(second, address);
	refused("OBJECT: given to another cache", fd, SHADOWMM_IOC_OBJECT, &object, &WrongCache);
	object = given(cache, address);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	refused("OBJECT: by force, without debugging", fd, SHADOWMM_IOC_OBJECT, &object, &NeedsDebugging);
	expect("one object is held", held() == 1);
	give(fd, cache, address);
	object = given(cache, address);
	refused("OBJECT: given back twice", fd, SHADOWMM_IOC_OBJECT, &object, &ObjectNotHeld);
	expect("none is held", held() == 0);
}

static void life_of_objects(int fd, __u32 cache)
{
	static __u64 addresses[1000];
	struct shadowmm_rec_cache record;

	for (unsigned int i = 0; i < COUNT(addresses); i++) {
		struct shadowmm_object object = object_of(cache);

		if (ask(fd, SHADOWMM_IOC_OBJECT, &object) || object.object % 8 || object.object_nid < 0)
			expect("an object of a thousand", 0);
		addresses[i] = object.object;
	}
	expect("a thousand are held", held() == COUNT(addresses));
	expect("the cache knows them", look(cache, &record) && record.active_objects == COUNT(addresses));
	for (unsigned int i = 0; i < COUNT(addresses); i++) {
		struct shadowmm_object object = given(cache, addresses[i * 7 % COUNT(addresses)]);

		if (ask(fd, SHADOWMM_IOC_OBJECT, &object))
			expect("one of a thousand goes back", 0);
	}
	expect("none is held", held() == 0);
	expect("the cache knows that, too", look(cache, &record) && record.active_objects == 0);
}

static void many(int fd, __u32 cache, __u32 second)
{
	static __u64 addresses[SHADOWMM_MAX_OBJECTS + 1];
	static const __u32 counts[] = { 0, SHADOWMM_MAX_OBJECTS + 1, 0x80000000, 0xffffffff };
	struct shadowmm_objects objects;
	__u64 odd;

	for (unsigned int i = 0; i < COUNT(counts); i++)
		for (__u32 op = 0; op < 2; op++) {
			struct shadowmm_objects bad = REQUEST(shadowmm_objects);

			bad.op = op;
			bad.cache = cache;
			bad.nid = op ? 0 : -1;
			bad.count = counts[i];
			bad.objects = address(addresses);
			refused("OBJECTS: a count that is none", fd, SHADOWMM_IOC_OBJECTS, &bad, &BadObjectCount);
		}
	objects = (struct shadowmm_objects)REQUEST(shadowmm_objects);
	objects.cache = cache;
	objects.nid = -1;
	objects.count = SHADOWMM_MAX_OBJECTS;
	objects.objects = 8;
	refused("OBJECTS: addresses that go nowhere", fd, SHADOWMM_IOC_OBJECTS, &objects, &BadPointer);
	objects.objects = address(addresses);
	objects.reserved = 1;
	refused("OBJECTS: the reserved field", fd, SHADOWMM_IOC_OBJECTS, &objects, &BadReserved);
	objects.reserved = 0;
	objects.op = 2;
	refused("OBJECTS: no such operation", fd, SHADOWMM_IOC_OBJECTS, &objects, &BadKind);
	objects.op = SHADOWMM_OBJECT_ALLOC;
	objects.cache = 0;
	refused("OBJECTS: of no cache", fd, SHADOWMM_IOC_OBJECTS, &objects, &NoSuchCache);
	objects.cache = cache;
	accepted("OBJECTS: as many as can be asked for", fd, SHADOWMM_IOC_OBJECTS, &objects);
	expect("all are there", objects.done == SHADOWMM_MAX_OBJECTS && held() == SHADOWMM_MAX_OBJECTS);

	/* Up to the first that can't go. */
	odd = take(fd, second);
	objects.op = SHADOWMM_OBJECT_FREE;
	objects.nid = 0;
	objects.count = 3;
	addresses[SHADOWMM_MAX_OBJECTS] = addresses[2];
	addresses[2] = odd;
	accepted("OBJECTS: one of another cache among them", fd, SHADOWMM_IOC_OBJECTS, &objects);
	expect("those before it went", objects.done == 2 && objects.stopped == WrongCache.code);
	refused("OBJECTS: none that can go", fd, SHADOWMM_IOC_OBJECTS, &objects, &ObjectNotHeld);
	objects.cache = 0;
	objects.objects = address(&addresses[2]);
	objects.count = 2;
	addresses[3] = addresses[SHADOWMM_MAX_OBJECTS];
	/* The one in the place of addresses[3] stays until the file is closed. */
	accepted("OBJECTS: of whatever cache", fd, SHADOWMM_IOC_OBJECTS, &objects);
	expect("both went", objects.done == 2 && objects.stopped == 0);
	objects.cache = cache;
	objects.objects = address(&addresses[4]);
	objects.count = SHADOWMM_MAX_OBJECTS - 4;
	addresses[5] = addresses[4];
	accepted("OBJECTS: one twice", fd, SHADOWMM_IOC_OBJECTS, &objects);
	expect("it went once", objects.done == 1 && objects.stopped == ObjectNotHeld.code);
	objects.objects = address(&addresses[6]);
	objects.count = SHADOWMM_MAX_OBJECTS - 6;
	accepted("OBJECTS: all that are left", fd, SHADOWMM_IOC_OBJECTS, &objects);
	expect("all of them went", objects.done == SHADOWMM_MAX_OBJECTS - 6 && objects.stopped == 0);
	expect("two are held by addresses that were lost", held() == 2);
}

/* --- bytes by their number ------------------------------------------------------------ */

static struct shadowmm_kmalloc sized(__u32 op, __u64 size, __u64 object)
{
	struct shadowmm_kmalloc request = REQUEST(shadowmm_kmalloc);

	request.op = op;
	request.size = size;
	request.object = object;
	if (op <= SHADOWMM_KMALLOC_REALLOC)
		request.nid = -1;
	return request;
}

static void by_size(int fd, int other)
{
	static const __u64 sizes[] = { 1, 8, 9, 64, 65, 96, 97, 192, 193, 1000, 4096, 8192, 8193, 100000, 4 << 20 };
	static const __u64 huge[] = { (4 << 20) + 1, 1ULL << 32, 1ULL << 63, ~0ULL };
	struct shadowmm_kmalloc request, second;

	for (unsigned int i = 0; i < COUNT(sizes); i++) {
		second = sized(SHADOWMM_KMALLOC_ROUNDUP, sizes[i], 0);
		accepted("ROUNDUP", fd, SHADOWMM_IOC_KMALLOC, &second);
		request = sized(SHADOWMM_KMALLOC_ALLOC, sizes[i], 0);
		accepted("kmalloc", fd, SHADOWMM_IOC_KMALLOC, &request);
		expect("it has as many bytes as were said", request.usable == second.usable && request.usable >= sizes[i]);
		second = sized(SHADOWMM_KMALLOC_SIZE, 0, request.object);
		accepted("ksize", fd, SHADOWMM_IOC_KMALLOC, &second);
		expect("it still has", second.usable == request.usable);
		second = sized(SHADOWMM_KMALLOC_SIZE, 0, request.object);
		refused("ksize of another file's", other, SHADOWMM_IOC_KMALLOC, &second, &ObjectNotHeld);
		second = sized(SHADOWMM_KMALLOC_FREE, 0, request.object);
		refused("kfree by another file", other, SHADOWMM_IOC_KMALLOC, &second, &ObjectNotHeld);
		second = sized(SHADOWMM_KMALLOC_FREE, 0, request.object);
		accepted("kfree", fd, SHADOWMM_IOC_KMALLOC, &second);
		second = sized(SHADOWMM_KMALLOC_FREE, 0, request.object);
		refused("kfree twice", fd, SHADOWMM_IOC_KMALLOC, &second, &ObjectNotHeld);
	}
	for (unsigned int i = 0; i < COUNT(huge); i++) {
		request = sized(SHADOWMM_KMALLOC_ALLOC, huge[i], 0);
		refused("kmalloc of more than can be", fd, SHADOWMM_IOC_KMALLOC, &request, &AllocTooLarge);
	}
	request = sized(SHADOWMM_KMALLOC_ALLOC, 0, 0);
	accepted("kmalloc of nothing", fd, SHADOWMM_IOC_KMALLOC, &request);
	expect("is nothing", request.object == 0 && request.usable == 0 && request.object_nid == -1);
	request = sized(SHADOWMM_KMALLOC_ALLOC, 8, 8);
	refused("kmalloc of an object", fd, SHADOWMM_IOC_KMALLOC, &request, &BadReserved);
	request = sized(SHADOWMM_KMALLOC_FREE, 8, 8);
	refused("kfree of a size", fd, SHADOWMM_IOC_KMALLOC, &request, &BadReserved);
	request = sized(SHADOWMM_KMALLOC_ROUNDUP, 8, 8);
	refused("ROUNDUP of an object", fd, SHADOWMM_IOC_KMALLOC, &request, &BadReserved);
	request = sized(5, 0, 0);
	refused("KMALLOC: no such operation", fd, SHADOWMM_IOC_KMALLOC, &request, &BadKind);
	request = sized(SHADOWMM_KMALLOC_ALLOC, 8, 0);
	request.gfp = GFP_DMA | GFP_DMA32;
	refused("kmalloc with flags against each other", fd, SHADOWMM_IOC_KMALLOC, &request, &BadGfp);
	request = sized(SHADOWMM_KMALLOC_ALLOC, 8, 0);
	request.nid = 9;
	refused("kmalloc on a node that is not there", fd, SHADOWMM_IOC_KMALLOC, &request, &NodeOffline);
}

static void content(int fd, __u64 object, __u32 op, __s64 offset, void *buf, __u64 len, const struct reason *why)
{
	struct shadowmm_bytes bytes = REQUEST(shadowmm_bytes);

	bytes.op = op;
	bytes.object = object;
	bytes.offset = offset;
	bytes.len = len;
	bytes.buf = address(buf);
	if (why)
		refused("BYTES", fd, SHADOWMM_IOC_BYTES, &bytes, why);
	else
		accepted("BYTES", fd, SHADOWMM_IOC_BYTES, &bytes);
}

static int all(const char *bytes, unsigned int len, char wanted)
{
	for (unsigned int i = 0; i < len; i++)
		if (bytes[i] != wanted)
			return 0;
	return 1;
}

static void resized(int fd)
{
	static char in[9000], out[9000];
	struct shadowmm_kmalloc request = sized(SHADOWMM_KMALLOC_REALLOC, 100, 0), second;
	__u64 first;

	accepted("krealloc of nothing", fd, SHADOWMM_IOC_KMALLOC, &request);
	expect("is kmalloc", request.object && request.usable == 128);
	first = request.object;
	memset(in, 0x5a, sizeof(in));
	content(fd, first, SHADOWMM_BYTES_WRITE, 0, in, 100, 0);
	request = sized(SHADOWMM_KMALLOC_REALLOC, 120, first);
	accepted("krealloc within its bytes", fd, SHADOWMM_IOC_KMALLOC, &request);
	expect("is the same object", request.object == first);
	request = sized(SHADOWMM_KMALLOC_REALLOC, 9000, first);
	accepted("krealloc to more", fd, SHADOWMM_IOC_KMALLOC, &request);
	expect("is another object", request.object && request.object != first && request.usable >= 9000);
	second = sized(SHADOWMM_KMALLOC_FREE, 0, first);
	refused("the first one is gone", fd, SHADOWMM_IOC_KMALLOC, &second, &ObjectNotHeld);
	content(fd, request.object, SHADOWMM_BYTES_READ, 0, out, 100, 0);
	expect("what was in it is in the other", all(out, 100, 0x5a));
	second = sized(SHADOWMM_KMALLOC_REALLOC, (4 << 20) + 1, request.object);
	refused("krealloc to more than can be", fd, SHADOWMM_IOC_KMALLOC, &second, &AllocTooLarge);
	expect("one is held", held() == 1);
	second = sized(SHADOWMM_KMALLOC_REALLOC, 0, request.object);
	accepted("krealloc to nothing", fd, SHADOWMM_IOC_KMALLOC, &second);
	expect("frees it", second.object == 0 && held() == 0);
	second = sized(SHADOWMM_KMALLOC_REALLOC, 8, request.object);
	refused("krealloc of what is gone", fd, SHADOWMM_IOC_KMALLOC, &second, &ObjectNotHeld);
}

/* What is given up with zeros asked for, and got back so, has them. */
static void resized_with_zeros(int fd)
{
	static char in[64], out[1000];
	static const __u64 sizes[] = { 40, 64, 1000 };
	struct shadowmm_kmalloc request = sized(SHADOWMM_KMALLOC_ALLOC, 64, 0);
	__u64 object;

	accepted("kmalloc", fd, SHADOWMM_IOC_KMALLOC, &request);
	object = request.object;
	memset(in, 0xff, sizeof(in));
	content(fd, object, SHADOWMM_BYTES_WRITE, 0, in, 64, 0);
	for (unsigned int i = 0; i < COUNT(sizes); i++) {
		request = sized(SHADOWMM_KMALLOC_REALLOC, sizes[i], object);
		request.head.flags = SHADOWMM_OBJECT_ZERO;
		accepted("krealloc with zeros", fd, SHADOWMM_IOC_KMALLOC, &request);
		expect("stays where it has the size", (request.object == object) == (sizes[i] <= 64));
		object = request.object;
		memset(out, 0x5a, sizeof(out));
		content(fd, object, SHADOWMM_BYTES_READ, 0, out, sizes[i], 0);
		expect("has what was kept", all(out, 40, (char)0xff));
		expect("and zeros behind it", all(out + 40, sizes[i] - 40, 0));
	}
	request = sized(SHADOWMM_KMALLOC_FREE, 0, object);
	accepted("kfree", fd, SHADOWMM_IOC_KMALLOC, &request);
}

/* --- what is in objects ---------------------------------------------------------------- */

static void bytes_of_objects(int fd, int other, __u32 cache)
{
	static char in[64], out[64];
	struct shadowmm_object zeroed = object_of(cache);
	struct shadowmm_bytes forced = REQUEST(shadowmm_bytes);
	__u64 object;

	memset(in, 0xc3, sizeof(in));
	memset(out, 0xff, sizeof(out));
	object = take(fd, cache);
	content(fd, object, SHADOWMM_BYTES_WRITE, 0, in, 64, 0);
	content(fd, object, SHADOWMM_BYTES_READ, 0, out, 64, 0);
	expect("what was written is read", all(out, 64, (char)0xc3));
	content(fd, object, SHADOWMM_BYTES_WRITE, 3, "abcdefghijk", 11, 0);
	content(fd, object, SHADOWMM_BYTES_READ, 2, out, 13, 0);
	expect("also across words", out[0] == (char)0xc3 && out[1] == 'a' && out[11] == 'k' && out[12] == (char)0xc3);

	content(fd, object, SHADOWMM_BYTES_READ, 0, out, 0, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, 0, out, 65, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, 64, out, 1, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, -1, out, 1, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, 0x7fffffffffffffffLL, out, 64, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, 0, out, ~0ULL, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_READ, 0, 0, 8, &BadPointer);
	content(fd, object, SHADOWMM_BYTES_WRITE, 0, 0, 8, &BadPointer);
	content(fd, object, 2, 0, out, 8, &BadKind);
	content(fd, object + 8, SHADOWMM_BYTES_READ, 0, out, 8, &ObjectNotHeld);
	content(fd, object, SHADOWMM_BYTES_WRITE, 1 << 20, in, 1, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_WRITE, -(1 << 20), in, 1, &OutsideObject);
	content(fd, object, SHADOWMM_BYTES_WRITE, -0x7fffffffffffffffLL - 1, in, 1, &OutsideObject);
	content(other, object, SHADOWMM_BYTES_READ, 0, out, 8, &ObjectNotHeld);
	content(other, object, SHADOWMM_BYTES_WRITE, 0, in, 8, &ObjectNotHeld);
	forced.op = SHADOWMM_BYTES_WRITE;
	forced.cache = cache;
	forced.object = object;
	forced.len = 8;
	forced.buf = address(in);
	refused("BYTES: a cache that it does not need", fd, SHADOWMM_IOC_BYTES, &forced, &BadReserved);
	forced.head.flags = SHADOWMM_OBJECT_FORCE;
	refused("BYTES: by force, without debugging", fd, SHADOWMM_IOC_BYTES, &forced, &NeedsDebugging);
	forced.op = SHADOWMM_BYTES_READ;
	refused("BYTES: read by force", fd, SHADOWMM_IOC_BYTES, &forced, &BadFlags);
	give(fd, cache, object);
	content(fd, object, SHADOWMM_BYTES_READ, 0, out, 8, &ObjectNotHeld);
	content(fd, object, SHADOWMM_BYTES_WRITE, 0, in, 8, &ObjectNotHeld);

	zeroed.head.flags = SHADOWMM_OBJECT_ZERO;
	accepted("an object of zeros", fd, SHADOWMM_IOC_OBJECT, &zeroed);
	content(fd, zeroed.object, SHADOWMM_BYTES_READ, 0, out, 64, 0);
	expect("has zeros", all(out, 64, 0));
	give(fd, cache, zeroed.object);
}

/* What debugging finds, and who may misuse. */
static void forced(int fd, int other)
{
	__u32 cache = make(fd, "abi_debug", 64, SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_POISON);
	struct shadowmm_object object;
	struct shadowmm_bytes write = REQUEST(shadowmm_bytes);
	__u64 address_of_it = take(fd, cache);
	int status;
	long child;

	object = given(cache, address_of_it);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	refused("by force, another file's", other, SHADOWMM_IOC_OBJECT, &object, &ObjectNotHeld);
	child = sys_fork();
	if (child == 0) {
		/* Without the right to, force is refused, and so is a write beyond the object. */
		write.op = SHADOWMM_BYTES_WRITE;
		write.object = address_of_it;
		write.offset = 64;
		write.len = 1;
		write.buf = address("x");
		if (sys_setuid_for_good(65534) || ask(fd, SHADOWMM_IOC_OBJECT, &object) != -EPERM ||
		    object.head.reason != NotPermitted.code || ask(fd, SHADOWMM_IOC_BYTES, &write) != -EPERM ||
		    write.head.reason != NotPermitted.code)
			sys_exit(1);
		sys_exit(0);
	}
	sys_wait(child, &status);
	expect("force is for those who may", status == 0);

	give(fd, cache, address_of_it);
	object = given(cache, address_of_it);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	expect("given back twice by force is found out", ask(fd, SHADOWMM_IOC_OBJECT, &object) < 0 && object.head.reason == ObjectFree.code);
	object = given(cache, address_of_it + 8);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	expect("so is an address inside it", ask(fd, SHADOWMM_IOC_OBJECT, &object) < 0 && object.head.reason);
	object = given(cache, 0x1000);
	object.head.flags = SHADOWMM_OBJECT_FORCE;
	expect("so is one that is no object's", ask(fd, SHADOWMM_IOC_OBJECT, &object) < 0 && object.head.reason);
	destroy(fd, cache);
}

/* --- a cache that is in use, and one with two names ------------------------------------- */

static void in_use(int fd, __u32 cache)
{
	static char text[4096], little[8];
	struct shadowmm_cache request = with_cache(SHADOWMM_CACHE_DESTROY, cache);
	struct shadowmm_cache shrink = with_cache(SHADOWMM_CACHE_SHRINK, cache);
	struct shadowmm_stage reset = REQUEST(shadowmm_stage);
	__u64 object = take(fd, cache);

	/* What nobody uses goes back also where the rest can't. */
	accepted("SHRINK", fd, SHADOWMM_IOC_CACHE, &shrink);
	request.capacity = sizeof(text);
	request.text = address(text);
	refused("DESTROY: in use", fd, SHADOWMM_IOC_CACHE, &request, &CacheBusy);
	expect("what is alive is said", text[0] != 0 && text[sizeof(text) - 1] == 0);
	memset(little, 'x', sizeof(little));
	request.capacity = sizeof(little) - 1;
	request.text = address(little);
	refused("DESTROY: in use, and little room to say so", fd, SHADOWMM_IOC_CACHE, &request, &CacheBusy);
	expect("the text is cut", little[5] && little[6] == 0 && little[7] == 'x');
	request = with_cache(SHADOWMM_CACHE_DESTROY, cache);
	refused("DESTROY: in use, and no room", fd, SHADOWMM_IOC_CACHE, &request, &CacheBusy);
	reset.op = SHADOWMM_STAGE_RESET;
	refused("RESET: objects are held", fd, SHADOWMM_IOC_STAGE, &reset, &ObjectsHeld);
	give(fd, cache, object);
}

static void names(int fd)
{
	struct shadowmm_create create = cache_of("abi_name", 72), second;
	struct shadowmm_cache find = with_cache(SHADOWMM_CACHE_FIND, 0);

	create.flags = 0;
	accepted("CREATE", fd, SHADOWMM_IOC_CREATE, &create);
	second = cache_of("abi_name", 80);
	refused("CREATE: a name that is taken", fd, SHADOWMM_IOC_CREATE, &second, &CacheExists);
	name_it(find.name, "abi_name");
	accepted("FIND", fd, SHADOWMM_IOC_CACHE, &find);
	expect("it is that one", find.cache == create.cache);
	second = cache_of("abi_second_name", 72);
	second.flags = 0;
	accepted("CREATE: one that is like it", fd, SHADOWMM_IOC_CREATE, &second);
	expect("is the same cache", second.cache == create.cache && second.aliases >= 1);
	destroy(fd, create.cache);
	give(fd, create.cache, take(fd, create.cache));
	destroy(fd, create.cache);
	find = with_cache(SHADOWMM_CACHE_DESTROY, create.cache);
	refused("DESTROY: once more than it was made", fd, SHADOWMM_IOC_CACHE, &find, &NoSuchCache);
}

/* --- pairs of a cache here and one of the kernel's ----------------------------------- */

static const struct shadowmm_diff_cache twin = { .name = "diff-abi", .object_size = 100 };
static struct shadowmm_diff_geometry geometry;

static struct shadowmm_diff_caches pair_of_caches(void)
{
	struct shadowmm_diff_caches caches = REQUEST(shadowmm_diff_caches);

	caches.op = SHADOWMM_DIFF_PAIR;
	caches.nr = 1;
	caches.caches = address(&twin);
	caches.geometries = address(&geometry);
	return caches;
}

static void play(const char *name, int fd, __u32 op)
{
	struct shadowmm_diff_objects_step step = { op, 0, 0, 8 };
	struct shadowmm_diff_objects objects = REQUEST(shadowmm_diff_objects);

	objects.nr = 1;
	objects.steps = address(&step);
	accepted(name, fd, SHADOWMM_IOC_DIFF_OBJECTS, &objects);
	expect("all of them", objects.failed == 0);
}

/* Whether /proc/shadowmm/slab has the pair's. */
static int has_directory(void)
{
	long fd = sys_open("/proc/shadowmm/slab/diff-abi", O_RDONLY);

	sys_close((int)fd);
	return fd >= 0;
}

/* The boot is a new one, and has no cache yet. */
static void pairs(int fd, int other)
{
	struct shadowmm_diff_caches caches = pair_of_caches();
	struct shadowmm_stage reset = REQUEST(shadowmm_stage);
	struct shadowmm_create create = cache_of("abi_beside", 100);
	struct shadowmm_cache find = with_cache(SHADOWMM_CACHE_FIND, 0);
	struct shadowmm_object object = object_of(0);
	struct shadowmm_objects objects = REQUEST(shadowmm_objects);
	struct shadowmm_rec_cache found;
	__u64 taken[2];

	objects.op = SHADOWMM_OBJECT_ALLOC;
	objects.nid = -1;
	objects.count = 2;
	objects.objects = address(taken);
	reset.op = SHADOWMM_STAGE_RESET;
	name_it(find.name, "diff-abi");
	accepted("DIFF_CACHES", fd, SHADOWMM_IOC_DIFF_CACHES, &caches);
	expect("the kernel has made its own", geometry.asked == SHADOWMM_DIFF_CREATED);
	play("DIFF_OBJECTS: take", fd, SHADOWMM_DIFF_TAKE);
	refused("RESET: a pair has objects", other, SHADOWMM_IOC_STAGE, &reset, &ObjectsHeld);
	/* From the first one that is made so on, caches have directories, and those that are there get theirs. */
	create.flags = 0;
	accepted("CREATE: one like a pair's", other, SHADOWMM_IOC_CREATE, &create);
	accepted("FIND", other, SHADOWMM_IOC_CACHE, &find);
	expect("is not the pair's", create.aliases == 0 && create.cache != find.cache);
	/* It could not go while somebody else had objects of it. */
	object.cache = objects.cache = find.cache;
	refused("OBJECT: of a pair's", other, SHADOWMM_IOC_OBJECT, &object, &CacheNeeded);
	refused("OBJECTS: of a pair's", other, SHADOWMM_IOC_OBJECTS, &objects, &CacheNeeded);
	destroy(other, create.cache);
	expect("the pair's has a directory", has_directory());
	play("DIFF_OBJECTS: give", fd, SHADOWMM_DIFF_GIVE);
	refused("RESET: there is a pair", other, SHADOWMM_IOC_STAGE, &reset, &ObjectsHeld);

	caches.op = SHADOWMM_DIFF_DROP;
	caches.nr = 0;
	accepted("DIFF_CACHES: drop", fd, SHADOWMM_IOC_DIFF_CACHES, &caches);
	expect("the pair's cache is gone", !look(find.cache, &found));
	expect("and its directory", !has_directory());

	/* Once more, and left to whoever closes the file. */
	caches = pair_of_caches();
	accepted("DIFF_CACHES, once more", fd, SHADOWMM_IOC_DIFF_CACHES, &caches);
	play("DIFF_OBJECTS: take at once", fd, SHADOWMM_DIFF_TAKE_BULK);
}

void test_slab(void)
{
	int fd = open_device(), other = open_device(), third;
	__u32 cache = make(fd, "abi_cache", 64, SLAB_NO_MERGE), second = make(fd, "abi_other", 200, SLAB_NO_MERGE);
	struct shadowmm_cache shrink = with_cache(SHADOWMM_CACHE_SHRINK, 0);
	struct shadowmm_cache find = with_cache(SHADOWMM_CACHE_FIND, 0);

	name_it(find.name, "diff-abi");
	bad_names(fd);
	bad_geometry(fd);
	bad_cache_requests(fd, cache);
	bad_objects(fd, other, cache, second);
	life_of_objects(fd, cache);
	third = open_device();
	many(third, cache, second);
	sys_close(third);
	expect("what a file had goes back when it is closed", held() == 0);
	by_size(fd, other);
	resized(fd);
	resized_with_zeros(fd);
	bytes_of_objects(fd, other, cache);
	forced(fd, other);
	in_use(fd, cache);
	destroy(fd, cache);
	destroy(fd, second);
	names(fd);
	accepted("SHRINK of all", fd, SHADOWMM_IOC_CACHE, &shrink);
	/* The layer keeps pages of its own until a new boot. */
	stage("RESET, with nothing held", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	stage("RUN", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	third = open_device();
	pairs(third, fd);
	sys_close(third);
	refused("FIND: a pair's, when its file is closed", fd, SHADOWMM_IOC_CACHE, &find, &NoSuchCache);
	expect("its directory is gone, too", !has_directory());
	stage("RESET, without a pair", fd, SHADOWMM_STAGE_RESET, SHADOWMM_STAGE_DETECT);
	stage("RUN", fd, SHADOWMM_STAGE_RUN, SHADOWMM_STAGE_HANDOFF);
	sys_close(other);
	sys_close(fd);
}
