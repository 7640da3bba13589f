// SPDX-License-Identifier: GPL-2.0
/*
 * Linux's e820.c and numa_memblks.c as a filter: operations come in on stdin,
 * one to a line, and for each a line goes out that says what it returned and,
 * as one number, what the table and the nodes' ranges are now.
 *
 *	add 1000 2000 1			v 0 9e3779b97f4a7c15
 *	update				v 0 ...
 *
 * Letters of an answer: v, a value; b, Linux would have stopped at a BUG and
 * the state is void.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static num digest;
static jmp_buf stop;
static bool aloud;

void fold(num word)
{
	digest = (digest ^ word) * 0x100000001b3ULL;
	digest ^= digest >> 29;
}

void stop_here(void)
{
	longjmp(stop, 'b');
}

/* %#x of the kernel has its 0x before a zero, too; L is its long long. */
void kernel_print(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	while (*fmt) {
		char spec[16], buf[80] = { *fmt, 0 };
		const char *text = buf;
		int len = 0;

		if (*fmt++ == '%') {
			bool wide = false;

			do {
				wide |= *fmt == 'L' || *fmt == 'l';
				spec[len++] = *fmt;
			} while (!strchr("sdxu", *fmt++) && len < 14);
			spec[len] = 0;
			if (spec[len - 1] == 's') {
				text = va_arg(args, const char *);
			} else {
				num value = wide ? va_arg(args, num) : va_arg(args, unsigned int);
				int width = spec[0] == '#' && spec[1] == '0' ? atoi(spec + 2) : 0;

				if (spec[0] == '#')
					snprintf(buf, sizeof(buf), "0x%0*llx", width ? width - 2 : 1, value);
				else if (spec[len - 1] == 'd')
					snprintf(buf, sizeof(buf), "%d", (int)value);
				else
					snprintf(buf, sizeof(buf), "%llu", value);
			}
		}
		for (const char *c = text; *c; c++)
			fold((unsigned char)*c);
		if (aloud)
			fputs(text, stdout);
	}
	va_end(args);
}

int main(void)
{
	static char line[512], out[1 << 16];

	setvbuf(stdout, out, _IOFBF, sizeof(out));
	while (fgets(line, sizeof(line), stdin)) {
		char *at = strchr(line, ' ');
		num value = 0, args[8] = { 0 };
		int letter;

		if (at)
			*at++ = 0;
		else
			line[strcspn(line, "\n")] = 0;
		for (int i = 0; at && i < 8; i++)
			args[i] = strtoull(at, &at, 16);
		digest = 0;
		aloud = !strcmp(line, "print_aloud");
		letter = setjmp(stop);
		if (!letter) {
			letter = 'v';
			bool known = e820_run(aloud ? "print" : line, args, &value);

			/* Both have a reset. */
			known |= numa_run(line, args, &value);
			if (!known) {
				fprintf(stderr, "driver: what is '%s'?\n", line);
				return 1;
			}
		}
		e820_fold_state();
		numa_fold_state();
		printf("%c %llx %llx\n", letter, value, digest);
	}
	return 0;
}
