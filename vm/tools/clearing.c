// SPDX-License-Identifier: GPL-2.0
/*
 * What clearing a page costs that the host has just cleared, beside the fault that it takes to get it back.
 * On the host: gcc -O2 -o /tmp/clearing vm/tools/clearing.c && /tmp/clearing
 *
 *   clearing [MB]		nanoseconds per page, the median of 101 rounds over so much memory (default: 2)
 *
 * A guest that gets a page which the host had discarded clears what is zero already. This is run on the host, whose
 * process is the guest for this purpose: MADV_DONTNEED discards, the first write to a page is the fault, and then comes
 * the clearing that one could skip. Few pages at a time, as a guest clears each page when it gets it: in the cache.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "util.h"

#define ROUNDS 101

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? strtoul(argv[1], NULL, 0) : 2) * MB, pages = size / PAGE;
	double fault[ROUNDS], clear[ROUNDS];
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(pages && mem != MAP_FAILED && !madvise(mem, size, MADV_NOHUGEPAGE), "memory");
	for (int round = 0; round < ROUNDS; round++) {
		fault[round] = clear[round] = 0;
		must(!madvise(mem, size, MADV_DONTNEED), "discard");
		for (size_t i = 0; i < pages; i++) {
			volatile char *page = mem + i * PAGE;
			int64_t start = now(), there;

			*page = 0;
			there = now();
			memset((char *)page, 0, PAGE);
			asm volatile("" ::: "memory");
			clear[round] += (double)(now() - there) / pages;
			fault[round] += (double)(there - start) / pages;
		}
	}
	qsort(fault, ROUNDS, sizeof(*fault), ascending);
	qsort(clear, ROUNDS, sizeof(*clear), ascending);
	printf("fault %.0f\nclear %.0f\n", fault[ROUNDS / 2], clear[ROUNDS / 2]);
	return 0;
}
