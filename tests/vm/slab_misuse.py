# SPDX-License-Identifier: GPL-2.0
"""Commits the misuses of slub_misuse.c on caches of the shadow, and compares what
/proc/shadowmm/slab_report says of each with what the running kernel said: slab_misuse.py RECORDED

Addresses are compared as places in an object, or behind the last one. Symbols, CPUs,
processes, ages, taints, nodes and zones are left out, and so are stacks; of a free pointer it
is compared whether it is the end, an object or neither."""
import difflib
import json
import os
import re
import subprocess
import sys

recorded = sys.argv[1]
# An object that was freed is looked for where it was freed: what the scheduler moves to a CPU of another
# node takes one there, and finds nothing.
os.sched_setaffinity(0, {0})


def say(good, name, *seen):
    print("ok" if good else "not ok", f"slab-debug: {name}", flush=True)
    if not good:
        for text in seen:
            for line in str(text).splitlines()[:40]:
                print("    |", line)


def shadowmm(*args):
    return subprocess.run(["shadowmm", *args], capture_output=True, text=True)


class Report:
    """What was said since the last time."""

    def __init__(self):
        self.before = self.read()

    def read(self):
        with open("/proc/shadowmm/slab_report") as file:
            return file.read()

    def new(self):
        now = self.read()
        # The ring forgets its oldest lines.
        keep = self.before
        while keep and not now.startswith(keep):
            keep = keep[keep.index("\n") + 1 :]
        self.before = now
        return now[len(keep) :]


class Cache:
    """A cache, and a process that has objects of it and does what lines say."""

    def __init__(self, name, size, letters, *flags, how=()):
        self.name = name
        made = shadowmm("slab", "create", name, "--size", str(size), "--debug", letters, "--flags",
                        "|".join(("SLAB_NO_MERGE",) + flags), "--json")
        assert made.returncode == 0, made.stderr
        info = json.loads(shadowmm("slab", "show", name, "--json").stdout)
        self.size, self.objects = info["size"], info["objects_per_slab"]
        self.left, self.slab = info["red_left_pad"], 4096 << info["order"]
        self.file = subprocess.Popen(["shadowmm", "slab", "alloc", name, "--interactive", "--json", *how],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True)
        self.first = json.loads(self.file.stdout.readline())["objects"][0]["object"]

    def tell(self, line):
        """Each line is answered by one, be it refused or not."""
        self.file.stdin.write(line + "\n")
        self.file.stdin.flush()
        return self.file.stdout.readline()

    def take(self):
        if self.first:
            object, self.first = self.first, None
            return object
        return json.loads(self.tell("alloc"))["objects"][0]["object"]

    def give(self, object, cache=""):
        """Whosever it is, to whichever cache; refused or not."""
        return self.tell(f"force free {object:#x} {cache}")

    def poke(self, object, offset, *bytes):
        answer = self.tell(f"force write {object:#x} {offset} " + " ".join(map(str, bytes)))
        assert '"written"' in answer, answer

    def end(self):
        self.file.stdin.close()
        self.file.wait()


def comparable(text, poisons, slab, size, left, objects):
    def place(addr):
        if addr == 0:
            return "NULL"
        at = addr % slab
        if at >= objects * size:
            return f"PADDING+{at - objects * size}"
        return f"OBJECT+{(at - left) % size}"

    # Of which slab it is told, where that is told: what garbage is read as could be a place in another one.
    told = {int(addr, 16) // slab for addr in re.findall(r"0x([0-9a-f]{16}) @offset=", text)}

    def pointer(match):
        addr = int(match[1], 16)
        at = addr % slab - left
        if addr == 0:
            return "fp=NULL"
        if told and addr // slab not in told:
            return "fp=GARBAGE"
        return "fp=OBJECT" if at % size == 0 and 0 <= at // size < objects else "fp=GARBAGE"

    out = []
    for line in text.splitlines():
        if line.startswith(" "):
            continue
        line = re.sub(r"^BUG (\S+) \([^)]*\): ", r"BUG \1 (TAINT): ", line)
        line = re.sub(r" in \S.* age=\d+ cpu=\d+ pid=\d+$", " in SYMBOL", line)
        line = re.sub(r"^Slab 0x[0-9a-f]{16}", "Slab", line)
        line = re.sub(r"flags=0x[0-9a-f]+\(", "flags=(", line)
        line = re.sub(r"node=\d+\|zone=\d+", "node|zone", line)
        line = re.sub(r"\bfp=0x([0-9a-f]{16})", pointer, line)
        if not poisons:
            # There is what was there before.
            line = re.sub(r"^(Padding +[0-9a-f]{16}:).*", r"\1", line)
        line = re.sub(r"^(Bytes b4 [0-9a-f]{16}: .{24}).*", r"\1", line)
        line = re.sub(r"(?:0x|(?<![0-9A-Za-z]))([0-9a-f]{16})\b", lambda match: place(int(match[1], 16)), line)
        line = re.sub(r"@offset=(\d+)", lambda match: "@" + place(slab + int(match[1])), line)
        out.append(line.rstrip())
    return "\n".join(out)


def misuse(name, size, letters, commit, *flags, how=()):
    report = Report()
    cache = Cache("misused-" + name.replace("_", "-"), size, letters, *flags, how=how)
    # Where a new slab's objects begin is drawn by lot, and before its first, without a red zone, is nothing to be shown.
    while not cache.left and cache.first % cache.slab <= 16:
        cache.end()
        shadowmm("slab", "destroy", cache.name)
        cache = Cache(cache.name, size, letters, *flags, how=how)
    try:
        commit(cache)
        said = report.new().replace(cache.name, "misused")
    finally:
        cache.end()
    with open(os.path.join(recorded, name + ".txt")) as file:
        # What dump_stack() shows is not in it.
        there = file.read().split("\n", 1)[1]
    shape = "P" in letters, cache.slab, cache.size, cache.left, cache.objects
    here, there = comparable(said, *shape), comparable(there, *shape)
    differ = difflib.unified_diff(there.splitlines(), here.splitlines(), "the running kernel", "here", n=0, lineterm="")
    say(here == there, name, "\n".join(list(differ)[2:]), "------ here:", here, "------ the running kernel:", there)
    # One whose slab was given up, and one whose objects were lost, stay.
    shadowmm("slab", "destroy", cache.name)


def right_redzone(cache):
    object = cache.take()
    cache.poke(object, 64, 0x12)
    cache.poke(object, 66, 0x34)
    cache.give(object)
    cache.give(object)


def left_redzone(cache):
    object = cache.take()
    cache.poke(object, -2, 0x12)
    cache.give(object)


def both_redzones(cache):
    object = cache.take()
    cache.poke(object, -1, 0x12)
    cache.poke(object, 64, 0x12)
    cache.give(object)


def kmalloc_redzone(cache):
    object = cache.take()
    cache.poke(object, 18, 0xAB)
    cache.poke(object, 20, 0xAB)
    cache.give(object)


def use_after_free(cache):
    object = cache.take()
    cache.give(object)
    cache.poke(object, 8, 0x12, ord("x"))
    cache.take()


def end_poison(cache):
    object = cache.take()
    cache.give(object)
    cache.poke(object, 63, 0x6B)
    cache.take()


def poison_validated(cache):
    object = cache.take()
    cache.give(object)
    cache.poke(object, 0, 0)
    validated = shadowmm("slab", "validate", cache.name)
    say(validated.returncode == 1, "slab validate says that something was found",
        validated.stdout, validated.stderr)


def object_padding(cache):
    object = cache.take()
    cache.poke(object, 150, 0x12)
    cache.give(object)


def alignment_padding(cache):
    object = cache.take()
    cache.poke(object, 61, 0x12)
    cache.give(object)


def slab_padding(cache):
    object = cache.take()
    start = object - object % 4096
    cache.poke(object, start + 4095 - object, 0x12)
    cache.poke(object, start + 4090 - object, 0x13)
    cache.give(object)


def freepointer(cache):
    object = cache.take()
    cache.give(object)
    cache.poke(object, 72, 1, 2, 3, 4, 5, 6, 7, 8)
    cache.take()


def freechain(cache):
    a, b, c = cache.take(), cache.take(), cache.take()
    cache.give(a)
    cache.give(b)
    cache.poke(b, 72, 1, 2, 3, 4, 5, 6, 7, 8)
    cache.give(c)


def freelist_cycle(cache):
    # There the free pointers were written, which nobody can read here. Without F a second free
    # comes through, if it is not the next one: a leads to b, and b to a.
    a, b, _ = cache.take(), cache.take(), cache.take()
    cache.give(a)
    cache.give(b)
    cache.give(a)
    validated = shadowmm("slab", "validate", cache.name)
    say(validated.returncode == 1, "a circle of free objects is found", validated.stdout, validated.stderr)


def double_free(cache):
    object = cache.take()
    cache.give(object)
    say("free already" in cache.give(object), "a second free is refused")


def already_free(cache):
    object = cache.take()
    cache.take()
    cache.give(object)
    cache.give(object)


def disabled(cache):
    object, second = cache.take(), cache.take()
    cache.give(second)
    cache.poke(second, 0, 0)
    cache.take()
    cache.give(object)


def misaligned(cache):
    object = cache.take()
    cache.give(object + 8)
    cache.give(object)


def wrong_cache(cache):
    made = shadowmm("slab", "create", "other", "--size", "64", "--debug", "FU", "--flags", "SLAB_NO_MERGE")
    assert made.returncode == 0, made.stderr
    object = cache.take()
    cache.give(object, "other")
    cache.give(object)
    shadowmm("slab", "destroy", "other")


def not_slab(cache):
    cache.take()
    cache.give(0x100000)


def traced(cache):
    cache.give(cache.take())


def remaining(cache):
    cache.take()
    cache.take()
    shadowmm("slab", "destroy", cache.name)


def full():
    """What a cache has in full slabs keeps it from going, and is not told (free_partial())."""
    report = Report()
    cache = Cache("misused-full", 64, "FZPU")
    for _ in range(cache.objects):
        cache.take()
    refused = shadowmm("slab", "destroy", cache.name, "--json")
    said = report.new()
    say(refused.returncode == 1 and json.loads(refused.stdout)["alive"] == said == "",
        "nothing is told of full slabs", refused.stdout, refused.stderr, said)
    cache.take()
    refused = shadowmm("slab", "destroy", cache.name, "--json")
    say(json.loads(refused.stdout)["alive"].count("Object 0x") == 1, "but of the one behind them",
        refused.stdout, refused.stderr)
    cache.end()
    gone = shadowmm("slab", "destroy", cache.name)
    say(gone.returncode == 0, "it goes when all are back", gone.stdout, gone.stderr)


misuse("right_redzone", 64, "FZPU", right_redzone)
misuse("left_redzone", 64, "FZPU", left_redzone)
misuse("both_redzones", 64, "FZPU", both_redzones)
misuse("kmalloc_redzone", 32, "FZU", kmalloc_redzone, "SLAB_KMALLOC", how=("--asked", "18", "--zero"))
misuse("use_after_free", 64, "FZPU", use_after_free)
misuse("end_poison", 64, "FZP", end_poison)
misuse("poison_validated", 64, "FZPU", poison_validated)
misuse("object_padding", 64, "FZPU", object_padding)
misuse("alignment_padding", 60, "FP", alignment_padding)
misuse("slab_padding", 100, "FP", slab_padding)
misuse("freepointer", 64, "FZP", freepointer)
misuse("freechain", 64, "FZP", freechain)
misuse("freelist_cycle", 64, "ZP", freelist_cycle)
misuse("double_free", 64, "FZPU", double_free)
misuse("already_free", 64, "FZPU", already_free)
misuse("disabled", 64, "FZP", disabled)
misuse("misaligned", 64, "FZPU", misaligned)
misuse("wrong_cache", 64, "FU", wrong_cache)
misuse("not_slab", 64, "F", not_slab)
misuse("traced", 64, "T", traced, how=("--zero",))
misuse("remaining", 64, "FZPU", remaining)
full()
