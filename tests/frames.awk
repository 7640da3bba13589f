# SPDX-License-Identifier: GPL-2.0
#
# The functions whose frame on the stack is larger than 'limit' bytes, one a line with its size, of
# what 'objdump -d --no-show-raw-insn' says of x86-64's code. The frame is the deepest that the stack
# pointer goes below the return address: registers that are pushed, room that is taken by sub, add or
# lea, and what aligning it may cost.
#
# Where the compiler probes its room page by page (none does for a kernel, which has a guard page), it says in a register how
# deep it will go, and takes pages in a loop until it is there:
#
#     mov    %rsp,%r11
#     sub    $0xa000,%r11           or both at once: lea -0xa000(%rsp),%r11
#     sub    $0x1000,%rsp           once in the text, ten times when it runs
#     movq   $0x0,(%rsp)
#     cmp    %r11,%rsp
#     jne    ...
#
# Behind a return the depth is that of who jumps there; where that is not known, the deepest so far.

function number(text,    digits, value, i) {
    sub(/^.*0x/, "", text)
    sub(/[^0-9a-f].*$/, "", text)
    digits = length(text)
    if (digits == 16) {
        # A negative number: 32 bits of it are enough, and all that a double of awk's takes.
        text = substr(text, 9)
    }
    for (i = 1; i <= length(text); i++) {
        value = value * 16 + index("123456789abcdef", substr(text, i, 1))
    }
    return digits == 16 ? value - 4294967296 : value
}

function go(to) {
    depth = to
    if (depth > deepest) {
        deepest = depth
    }
}

function tell() {
    if (unknown || deepest > limit) {
        print deepest " " name (unknown ? ", and what is only known when it runs: " unknown : "")
    }
}

/^[0-9a-f]+ <.*>:$/ {
    tell()
    name = $2
    for (i = 3; i <= NF; i++) {
        name = name " " $i
    }
    sub(/:$/, "", name)
    depth = deepest = has_returned = 0
    unknown = ""
    split("", at)
    split("", aim)
    next
}

$1 !~ /^[0-9a-f]+:$/ { next }

{
    here = substr($1, 1, length($1) - 1)
    if (here in at) {
        depth = at[here]
    } else if (has_returned) {
        depth = deepest
    }
    has_returned = 0
}

$2 ~ /^j/ {
    at[$3] = depth
    has_returned = $2 ~ /^jmp/
}
$2 ~ /^ret/ { has_returned = 1 }
$2 ~ /^push/ { go(depth + 8) }
$2 ~ /^pop/ { go(depth - 8) }
$2 == "leave" { go(0) }
$2 == "mov" && $3 ~ /^%rsp,%r/ { aim[substr($3, 6)] = depth }
$2 == "sub" && $3 ~ /^\$/ && substr($3, index($3, ",") + 1) in aim {
    aim[substr($3, index($3, ",") + 1)] += number($3)
}
$2 == "cmp" && $3 ~ /,%rsp$/ {
    register = substr($3, 1, index($3, ",") - 1)
    if (register in aim) {
        go(aim[register])
    }
}
$2 == "lea" && $3 ~ /^-0x[0-9a-f]+\(%rsp\),%r/ && $3 !~ /,%rsp$/ {
    aim[substr($3, index($3, "),") + 2)] = depth + number($3)
}

# What is left is what writes to the stack pointer.
$3 !~ /,%rsp$/ || $2 ~ /^(cmp|test|jmp|call|push|pop)/ { next }
$2 == "sub" && $3 ~ /^\$/ { go(depth + number($3)); next }
$2 == "add" && $3 ~ /^\$/ { go(depth - number($3)); next }
$2 == "and" && $3 ~ /^\$/ { go(depth - number($3) - 8); next }
$2 == "lea" && $3 ~ /^-0x[0-9a-f]+\(%rsp\),/ { go(depth + number($3)); next }
$2 == "lea" && $3 ~ /^0x[0-9a-f]+\(%rsp\),/ { go(depth - number($3)); next }
# Back to what was pushed, before a return: from the frame's register.
$2 == "lea" && $3 ~ /^-0x[0-9a-f]+\(%rbp\),/ && "%rbp" in aim { go(aim["%rbp"] + number($3)); next }
$2 == "mov" && substr($3, 1, 4) in aim { go(aim[substr($3, 1, 4)]); next }
{ unknown = $2 " " $3 }

END { tell() }
