// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting and swap: anonymous memory and shmem whose copy in the swap
 * cache the host has taken.
 *
 * PAGE_HINTING_SWAP names a block device to swap to; its content is lost.
 * Without it, it is a swap file in the test directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define SIZE		(8UL << 20)
#define PAGES		(SIZE / ph_page)
#define SWAP_SIZE	(64UL << 20)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE	0x10000
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

#define KSM		"/sys/kernel/mm/ksm/"
#define ZRAM		"/dev/zram"

static char swap_path[PH_PATH];

/* --- swap --------------------------------------------------------------- */

static void make_swap(int fd, size_t size)
{
	unsigned int info[2] = { 1, size / ph_page - 1 };
	char *header = ph_alloc(ph_page);

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + ph_page - 10, "SWAPSPACE2", 10);
	ph_pwrite(fd, header, ph_page, 0);
	ph_check(!fsync(fd));
	munmap(header, ph_page);
}

static void swap_on(void)
{
	const char *device = getenv("PAGE_HINTING_SWAP");
	int fd;

	if (device && *device) {
		snprintf(swap_path, sizeof(swap_path), "%s", device);
		/* what a failed test has left behind */
		swapoff(swap_path);
		fd = open(swap_path, O_WRONLY | O_CLOEXEC);
	} else {
		ph_name(swap_path, "swap");
		fd = open(swap_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		ph_fail("cannot open %s", swap_path);
	if (!device || !*device)
		ph_write_gen(fd, 1, 0, SWAP_SIZE, 1);
	make_swap(fd, SWAP_SIZE);
	close(fd);
	if (swapon(swap_path, 0)) {
		if (errno == ENOSYS)
			ph_skip("no swap in this kernel");
		ph_fail("swapon %s", swap_path);
	}
	/* what was written to the device or file just now does not count */
	ph_drop_caches();
	ph_settle();
}

static void swap_off(void)
{
	if (swapoff(swap_path))
		ph_fail("swapoff %s", swap_path);
}

/* Some of what is free is kept by each CPU, and counts as used */
static unsigned long swap_used(void)
{
	return ph_meminfo("SwapTotal") - ph_meminfo("SwapFree");
}

/* How many pages of [mem, mem + len) are swapped out, as this process sees it */
static unsigned long swapped(const void *mem, size_t len)
{
	unsigned long pages = len / ph_page, count = 0, i;
	__u64 *entry = ph_alloc(pages * sizeof(*entry));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	ph_check(fd >= 0);
	ph_pread(fd, entry, pages * sizeof(*entry),
		 (unsigned long)mem / ph_page * sizeof(*entry));
	for (i = 0; i < pages; i++)
		count += entry[i] >> 62 & 1;
	close(fd);
	munmap(entry, pages * sizeof(*entry));
	return count;
}

static void *anon(size_t len)
{
	void *mem = ph_alloc(len);

	/* Large folios are not to become volatile, they would spoil figures */
	madvise(mem, len, MADV_NOHUGEPAGE);
	return mem;
}

/*
 * Swap out. What has been written stays in the swap cache for a while, but
 * nothing becomes volatile before it has been.
 */
static void page_out(void *mem, size_t len)
{
	int i;

	for (i = 0; i < 100; i++) {
		ph_drain();
		ph_check(!madvise(mem, len, MADV_PAGEOUT));
		if (swapped(mem, len) >= len / ph_page * 99 / 100 &&
		    !ph_meminfo("Writeback"))
			return;
		ph_msleep(50);
	}
	ph_fail("%lu pages of %lu swapped out", swapped(mem, len),
		len / ph_page);
}

/* Swapped out, and not in the swap cache any more either */
static void make_cold(void *mem, size_t len)
{
	page_out(mem, len);
	ph_make_gone(len, PH_CLEANED);
}

/* Is any block device at work? That of the swap device may have another below. */
static bool devices_busy(void)
{
	unsigned int reads, writes, sum = 0;
	glob_t all;
	size_t i;

	ph_check(!glob("/sys/block/*/inflight", 0, NULL, &all));
	for (i = 0; i < all.gl_pathc; i++) {
		FILE *file = fopen(all.gl_pathv[i], "re");

		/* a device may go at any time */
		if (file && fscanf(file, "%u %u", &reads, &writes) == 2)
			sum += reads + writes;
		if (file)
			fclose(file);
	}
	globfree(&all);
	return sum;
}

static void will_need(void *mem, size_t len)
{
	int looks = 0;

	ph_check(!madvise(mem, len, MADV_WILLNEED));
	/* the last reads may still be on their way; others' may never end */
	do {
		ph_msleep(200);
	} while (devices_busy() && ++looks < 50);
}

/* --- anonymous memory --------------------------------------------------- */

static void anon_lost(enum ph_where where)
{
	unsigned long faults, refaults, pages = PAGES;
	struct ph_counters before;
	char *mem = anon(SIZE);

	swap_on();
	ph_fill(mem, 10, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_get_counters(&before);
	ph_make_gone(SIZE, where);
	if (where == PH_CLEANED)
		ph_cmp(ph_since(&before, PH_EVICTED), >=, pages * 9 / 10);
	ph_cmp(swap_used(), >=, SIZE * 99 / 100);

	faults = ph_vmstat("pgmajfault");
	refaults = ph_vmstat("workingset_refault_anon");
	ph_verify(mem, 10, 0, SIZE, 1);
	faults = ph_vmstat("pgmajfault") - faults;
	refaults = ph_vmstat("workingset_refault_anon") - refaults;
	ph_value("refaults", refaults);
	ph_cmp(refaults, >=, pages * 9 / 10);
	if (where == PH_IN_PLACE)
		ph_cmp(ph_since(&before, PH_LOST), >=, pages * 9 / 10);
	/* with readahead, but each of them by a major fault */
	ph_value("major faults", faults);
	ph_cmp(faults, >=, pages / 16);
	ph_cmp(faults, <=, pages / 4);
	swap_off();
	ph_verify(mem, 10, 0, SIZE, 1);
}

static void swapped_out(void)
{
	anon_lost(PH_IN_PLACE);
}

static void swapped_out_and_cleaned(void)
{
	anon_lost(PH_CLEANED);
}

/* What is not discarded is found where it is, without a read */
static void kept(void)
{
	struct ph_counters before;
	char *mem = anon(SIZE);
	unsigned long in;

	if (!ph_host_has_ctl() || !ph_host_mode("idle"))
		ph_skip("the host cannot be told to leave pages alone");
	swap_on();
	ph_fill(mem, 11, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_get_counters(&before);
	ph_cmp(ph_idle(SIZE), >=, PAGES * 95 / 100);
	in = ph_vmstat("pswpin");
	ph_verify(mem, 11, 0, SIZE, 1);
	ph_cmp(ph_vmstat("pswpin") - in, <=, PAGES / 20);
	ph_cmp(ph_since(&before, PH_STABLE), >=, PAGES * 9 / 10);
	ph_cmp(ph_since(&before, PH_LOST), ==, 0);
	swap_off();
	ph_verify(mem, 11, 0, SIZE, 1);
}

/* Reading some of each mapping reads more than that, which stays unmapped */
static void left_by_readahead(void)
{
	size_t part = 32 * ph_page, step = 2 * part, off;
	struct ph_counters before;
	char *mem = anon(SIZE);
	unsigned long n;

	swap_on();
	/* separate mappings, as each may have its own readahead window */
	for (off = part; off < SIZE; off += step)
		ph_check(!mprotect(mem + off, part, PROT_NONE));
	for (off = 0; off < SIZE; off += step) {
		ph_fill(mem + off, 12, off, part, 1);
		page_out(mem + off, part);
	}
	ph_make_gone(SIZE / 2, PH_CLEANED);

	ph_get_counters(&before);
	for (off = 0; off < SIZE; off += step)
		ph_verify(mem + off, 12, off, 13 * ph_page, 1);
	ph_drain();
	ph_pass(3);
	n = ph_since(&before, PH_VOLATILE);
	ph_value("volatile", n);
	ph_cmp(n, >=, SIZE / step);
	ph_host_discard();
	for (off = 0; off < SIZE; off += step)
		ph_verify(mem + off, 12, off, part, 1);
	ph_cmp(ph_since(&before, PH_LOST) + ph_since(&before, PH_EVICTED), >=,
	       n * 9 / 10);
	swap_off();
}

static void left_by_willneed(void)
{
	struct ph_counters before;
	char *mem = anon(SIZE);

	swap_on();
	ph_fill(mem, 13, 0, SIZE, 1);
	make_cold(mem, SIZE);
	will_need(mem, SIZE);
	ph_get_counters(&before);
	ph_make_gone(SIZE, PH_IN_PLACE);
	/* advice finds out, too, and has them read again */
	will_need(mem, SIZE / 2);
	ph_cmp(ph_since(&before, PH_LOST), >=, PAGES / 2 * 9 / 10);
	ph_make_gone(SIZE / 2, PH_IN_PLACE);
	ph_verify(mem, 13, 0, SIZE, 1);
	swap_off();
	ph_verify(mem, 13, 0, SIZE, 1);
}

/* A store to a part of a lost page must find the rest as it was */
static void stores(void)
{
	size_t granules = SIZE / PH_GRANULE, step = ph_page / PH_GRANULE, i;
	unsigned char *gens = ph_alloc(granules);
	char *mem = anon(SIZE);
	int round;

	swap_on();
	memset(gens, 1, granules);
	ph_fill(mem, 14, 0, SIZE, 1);
	for (round = 2; round < 6; round++) {
		page_out(mem, SIZE);
		ph_make_gone(SIZE, round & 1 ? PH_CLEANED : PH_IN_PLACE);
		for (i = round; i < granules; i += step) {
			ph_fill(mem + i * PH_GRANULE, 14, i * PH_GRANULE,
				PH_GRANULE, round);
			gens[i] = round;
		}
		ph_verify_gens(mem, 14, 0, SIZE, gens);
	}
	swap_off();
	ph_verify_gens(mem, 14, 0, SIZE, gens);
}

/* Several processes refer to the same slots, and fault at once */
static void forked(void)
{
	unsigned int children = ph_cpus + 1, i;
	char *mem = anon(SIZE);
	int status, go[2];
	pid_t pid[64];
	char byte;

	if (children > ARRAY_SIZE(pid))
		children = ARRAY_SIZE(pid);
	swap_on();
	ph_fill(mem, 15, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_check(!pipe2(go, O_CLOEXEC));
	for (i = 0; i < children; i++) {
		pid[i] = fork();
		ph_check(pid[i] >= 0);
		if (pid[i])
			continue;
		close(go[1]);
		ph_check(!read(go[0], &byte, 1));
		ph_verify(mem, 15, 0, SIZE, 1);
		ph_fill(mem, 15, 0, SIZE, 2 + i);
		madvise(mem, SIZE / 2, MADV_PAGEOUT);
		ph_verify(mem, 15, 0, SIZE, 2 + i);
		_exit(0);
	}
	ph_make_gone(SIZE, PH_IN_PLACE);
	close(go[1]);
	ph_verify(mem, 15, 0, SIZE, 1);
	for (i = 0; i < children; i++) {
		ph_check(waitpid(pid[i], &status, 0) == pid[i]);
		ph_cmp(status, ==, 0);
	}
	ph_verify(mem, 15, 0, SIZE, 1);
	swap_off();
	ph_verify(mem, 15, 0, SIZE, 1);
}

/* The last one to refer to a slot gives it up, and what was lost goes, too */
static void slots_are_freed(void)
{
	unsigned long used;
	char *mem;
	int status;
	pid_t pid;

	swap_on();
	used = swap_used();
	mem = anon(SIZE);
	ph_fill(mem, 16, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_check(!madvise(mem, SIZE / 4, MADV_DONTNEED));
	ph_verify_zero(mem, SIZE / 4);
	ph_check(!madvise(mem + SIZE / 4, SIZE / 4, MADV_FREE));
	ph_verify_zero(mem + SIZE / 4, SIZE / 4);
	ph_verify(mem + SIZE / 2, 16, SIZE / 2, SIZE / 4, 1);
	munmap(mem, SIZE);
	ph_msleep(100);
	ph_cmp(swap_used(), <=, used + SIZE / 4);

	mem = anon(SIZE);
	ph_fill(mem, 17, 0, SIZE, 1);
	page_out(mem, SIZE);
	pid = fork();
	ph_check(pid >= 0);
	if (!pid) {
		ph_make_gone(SIZE, PH_IN_PLACE);
		_exit(0);
	}
	munmap(mem, SIZE);
	ph_check(waitpid(pid, &status, 0) == pid);
	ph_cmp(status, ==, 0);
	ph_msleep(100);
	ph_cmp(swap_used(), <=, used + SIZE / 4);
	swap_off();
}

/*
 * A page that has been given up while somebody has a reference, as reclaim may.
 * It is no page of the swap cache any more, so it must not remain volatile, nor
 * without content: reclaim could have it swapped out.
 */
static void freed_while_held(void)
{
	static const char hold[] = "/sys/kernel/debug/page_hinting/hold";
	unsigned int n, i;
	unsigned long pfn[64];
	__u64 flags[512];
	int held[64], fd;
	ssize_t len;
	char *mem;
	off_t at;

	if (access(hold, W_OK))
		ph_skip("no %s: CONFIG_PAGE_HINTING_TEST needed", hold);
	swap_on();
	mem = anon(SIZE);
	ph_fill(mem, 18, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);

	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	ph_check(fd >= 0);
	for (n = 0, at = 0; (len = read(fd, flags, sizeof(flags))) > 0;
	     at += len / sizeof(*flags))
		for (i = 0; i < len / sizeof(*flags) && n < ARRAY_SIZE(pfn); i++)
			if (flags[i] >> PH_KPF_VOLATILE & 1 &&
			    flags[i] >> PH_KPF_SWAPCACHE & 1)
				pfn[n++] = at + i;
	close(fd);
	ph_cmp(n, ==, ARRAY_SIZE(pfn));
	for (i = 0; i < n; i++) {
		held[i] = open(hold, O_WRONLY | O_CLOEXEC);
		ph_check(held[i] >= 0);
		ph_check(dprintf(held[i], "%lu", pfn[i]) > 0);
	}

	ph_check(!madvise(mem, SIZE, MADV_DONTNEED));
	for (i = 0; i < n; i++) {
		flags[0] = ph_kpageflags(pfn[i]);
		ph_check(!(flags[0] >> PH_KPF_SWAPCACHE & 1));
		ph_check(!(flags[0] >> PH_KPF_VOLATILE & 1));
		ph_check(flags[0] >> PH_KPF_UPTODATE & 1);
		if (ph_host_has_ctl())
			ph_check(ph_host_usage(pfn[i], "stable"));
		close(held[i]);
	}
	ph_verify_zero(mem, SIZE);
	munmap(mem, SIZE);
	swap_off();
}

/* --- shmem -------------------------------------------------------------- */

static struct ph_file shmem_file(unsigned int id)
{
	struct ph_file f = { .path = "shmem", .id = id, .size = SIZE };

	f.fd = syscall(SYS_memfd_create, "page_hinting", 1);
	if (f.fd < 0)
		ph_skip("no shmem here");
	ph_write_gen(f.fd, id, 0, SIZE, 1);
	return f;
}

/* Of a file that is not mapped otherwise, the swap count is the only trace */
static void shmem_out(struct ph_file *f)
{
	void *map = ph_map(f, PROT_READ | PROT_WRITE, MAP_SHARED);
	unsigned long used = swap_used();
	int i;

	for (i = 0; i < 20; i++) {
		ph_drain();
		ph_touch(map, SIZE);
		ph_check(!madvise(map, SIZE, MADV_PAGEOUT));
		ph_msleep(50);
		if (swap_used() - used >= SIZE * 99 / 100)
			break;
	}
	ph_cmp(swap_used() - used, >=, SIZE * 99 / 100);
	munmap(map, SIZE);
}

static void shmem_gone(struct ph_file *f, enum ph_where where)
{
	struct ph_counters before;

	shmem_out(f);
	ph_get_counters(&before);
	ph_make_gone(SIZE, where);
	if (where == PH_CLEANED)
		ph_cmp(ph_since(&before, PH_EVICTED), >=, PAGES * 9 / 10);
}

static void shmem_read(void)
{
	struct ph_counters before;
	struct ph_file f;
	char *map;

	swap_on();
	f = shmem_file(20);
	shmem_gone(&f, PH_IN_PLACE);
	ph_get_counters(&before);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_cmp(ph_since(&before, PH_LOST), >=, PAGES * 9 / 10);

	shmem_gone(&f, PH_CLEANED);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);

	shmem_gone(&f, PH_CLEANED);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	will_need(map, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify(map, f.id, 0, SIZE, 1);
	swap_off();
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);
	close(f.fd);
}

static void shmem_write(void)
{
	size_t off, half = ph_page / 2;
	struct ph_file f;

	swap_on();
	f = shmem_file(21);
	shmem_gone(&f, PH_IN_PLACE);
	for (off = 0; off < SIZE; off += ph_page)
		ph_write_gen(f.fd, f.id, off, half, 2);
	for (off = 0; off < SIZE; off += ph_page) {
		ph_verify_read(f.fd, f.id, off, half, 2);
		ph_verify_read(f.fd, f.id, off + half, half, 1);
	}
	swap_off();
	close(f.fd);
}

static void shmem_truncation(void)
{
	/* within a page each */
	off_t end = SIZE / 2 + PH_GRANULE, hole = SIZE / 4 + PH_GRANULE;
	size_t len = SIZE / 8;
	struct ph_file f;
	char *buf = ph_alloc(SIZE);

	swap_on();
	f = shmem_file(22);
	shmem_gone(&f, PH_IN_PLACE);
	ph_check(!ftruncate(f.fd, end));
	ph_check(!ftruncate(f.fd, SIZE));
	ph_check(!fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    hole, len));
	ph_pread(f.fd, buf, SIZE, 0);
	ph_verify(buf, f.id, 0, hole, 1);
	ph_verify_zero(buf + hole, len);
	ph_verify(buf + hole + len, f.id, hole + len, end - hole - len, 1);
	ph_verify_zero(buf + end, SIZE - end);

	/* and all of them */
	ph_write_gen(f.fd, f.id, 0, SIZE, 1);
	shmem_gone(&f, PH_IN_PLACE);
	ph_check(!ftruncate(f.fd, 0));
	ph_msleep(100);
	ph_cmp(swap_used(), <=, SIZE / 4);
	swap_off();
	close(f.fd);
}

/* mincore() tells what is in the swap cache, and leaves it there */
static void mincore_looks_only(void)
{
	unsigned long there, volatiles, i;
	struct ph_counters before;
	struct ph_file f;
	unsigned char *vec;
	char *map, *mem;

	if (!ph_host_has_ctl() || !ph_host_mode("idle"))
		ph_skip("the host cannot be told to leave pages alone");
	swap_on();
	f = shmem_file(23);
	shmem_out(&f);
	mem = anon(SIZE);
	ph_fill(mem, 24, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_cmp(ph_idle(2 * SIZE), >=, PAGES * 19 / 10);
	ph_get_counters(&before);
	volatiles = before.v[PH_NR_VOLATILE];
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	vec = ph_alloc(PAGES);
	for (there = 0; map; map = map == mem ? NULL : mem) {
		ph_check(!mincore(map, SIZE, vec));
		for (i = 0; i < PAGES; i++)
			there += vec[i] & 1;
	}
	ph_cmp(there, >=, PAGES * 19 / 10);
	ph_get_counters(&before);
	ph_cmp(before.v[PH_NR_VOLATILE], >=, volatiles - PAGES / 50);
	ph_verify(mem, 24, 0, SIZE, 1);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	swap_off();
	close(f.fd);
}

/* --- the rest of memory management -------------------------------------- */

/* Nothing of it is in memory, and all of it must come back */
static void swapoff_reads_back(void)
{
	struct ph_counters before;
	struct ph_file f;
	char *mem, *own;
	int status;
	pid_t pid;

	swap_on();
	f = shmem_file(30);
	shmem_out(&f);
	mem = anon(SIZE);
	own = anon(SIZE);
	ph_fill(mem, 31, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_fill(own, 32, 0, SIZE, 1);
	page_out(own, SIZE);
	pid = fork();
	ph_check(pid >= 0);
	if (!pid) {
		raise(SIGSTOP);
		ph_verify(mem, 31, 0, SIZE, 1);
		ph_verify(own, 32, 0, SIZE, 1);
		_exit(0);
	}
	ph_check(waitpid(pid, &status, WUNTRACED) == pid);
	munmap(own, SIZE);
	ph_get_counters(&before);
	ph_make_gone(3 * SIZE, PH_IN_PLACE);
	swap_off();
	ph_cmp(ph_since(&before, PH_LOST), >=, PAGES * 27 / 10);
	ph_cmp(swapped(mem, SIZE), ==, 0);
	ph_verify(mem, 31, 0, SIZE, 1);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	kill(pid, SIGCONT);
	ph_check(waitpid(pid, &status, 0) == pid);
	ph_cmp(status, ==, 0);
	close(f.fd);
}

/*
 * A page that is found lost by moving it is still lost when it has moved.
 * Compaction moves pages from the low end of memory to the high one, so spread
 * them all over it.
 */
static void compaction(void)
{
	size_t occupied = ph_meminfo("MemFree"), margin = 48UL << 20;
	size_t step, off, hole;
	unsigned long migrated;
	struct ph_counters lost;
	char *hog, *mem;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		ph_skip("nothing to compact memory with");
	swap_on();
	occupied = occupied > margin + SIZE ? occupied - margin : SIZE;
	step = occupied / PAGES & ~(ph_page - 1);
	hog = anon(step * PAGES);
	mem = anon(SIZE);
	for (off = 0; off < SIZE; off += ph_page) {
		ph_fill(mem + off, 33, off, ph_page, 1);
		for (hole = 0; hole < step; hole += ph_page)
			hog[off / ph_page * step + hole] = 1;
	}
	munmap(hog, step * PAGES);
	page_out(mem, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_get_counters(&lost);
	migrated = ph_vmstat("pgmigrate_success");
	ph_check(ph_write_file("/proc/sys/vm/compact_memory", "1"));
	migrated = ph_vmstat("pgmigrate_success") - migrated;
	ph_value("moved", migrated);
	ph_value("of these lost, at most", ph_since(&lost, PH_LOST));
	ph_cmp(ph_since(&lost, PH_LOST), >, 0);
	ph_verify(mem, 33, 0, SIZE, 1);
	swap_off();
	ph_verify(mem, 33, 0, SIZE, 1);
}

/* What is swapped out changes its address, not its slot */
static void moved_by_mremap(void)
{
	char *mem = anon(SIZE), *old;
	int where;

	swap_on();
	for (where = 0; where < PH_WHERES; where++) {
		ph_fill(mem, 44, 0, SIZE, where + 1);
		page_out(mem, SIZE);
		ph_make_gone(SIZE, where);
		old = mem;
		mem = mremap(old, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED |
			     MREMAP_DONTUNMAP, ph_alloc(SIZE));
		ph_check(mem != MAP_FAILED);
		ph_verify_zero(old, SIZE);
		munmap(old, SIZE);
		ph_verify(mem, 44, 0, SIZE, where + 1);
	}
	swap_off();
	ph_verify(mem, 44, 0, SIZE, where);
}

static int userfault_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MOVE,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		ph_skip("no userfaultfd that moves pages");
	return fd;
}

/* The same page by page, and the swap cache is told */
static void moved_by_userfaultfd(void)
{
	char *mem = anon(SIZE), *old;
	struct ph_counters before;
	int where, fd;

	swap_on();
	fd = userfault_open();
	for (where = 0; where < PH_WHERES; where++) {
		struct uffdio_register reg = {
			.mode = UFFDIO_REGISTER_MODE_MISSING,
			.range.len = SIZE,
		};
		struct uffdio_move arg = {};

		ph_fill(mem, 45, 0, SIZE, where + 1);
		page_out(mem, SIZE);
		ph_get_counters(&before);
		ph_make_gone(SIZE, where);
		old = mem;
		mem = anon(SIZE);
		reg.range.start = (unsigned long)mem;
		ph_check(!ioctl(fd, UFFDIO_REGISTER, &reg));
		arg.dst = (unsigned long)mem;
		arg.src = (unsigned long)old;
		arg.len = SIZE;
		/* whoever holds the lock of a page has it tried again */
		while (ioctl(fd, UFFDIO_MOVE, &arg)) {
			ph_check(errno == EAGAIN);
			if (arg.move > 0) {
				arg.dst += arg.move;
				arg.src += arg.move;
				arg.len -= arg.move;
			}
		}
		ph_cmp(arg.move, ==, arg.len);
		ph_check(!ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
		ph_cmp(swapped(mem, SIZE), >=, PAGES * 9 / 10);
		ph_verify_zero(old, SIZE);
		munmap(old, SIZE);
		/* back and forth: reclaim finds it where it is now */
		ph_verify(mem, 45, 0, SIZE / 2, where + 1);
		page_out(mem, SIZE / 2);
		ph_verify(mem, 45, 0, SIZE, where + 1);
		ph_cmp(ph_since(&before, PH_LOST) +
		       ph_since(&before, PH_EVICTED), >=, PAGES * 9 / 10);
	}
	close(fd);
	swap_off();
	ph_verify(mem, 45, 0, SIZE, where);
}

/* What was lost while it was on is remembered when it is off */
static void switched_off(void)
{
	struct ph_counters c;
	char *mem = anon(SIZE);

	swap_on();
	ph_fill(mem, 34, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_check(ph_set("mode", "unused"));
	ph_get_counters(&c);
	ph_cmp(c.v[PH_NR_VOLATILE], ==, 0);
	ph_verify(mem, 34, 0, SIZE, 1);
	ph_check(ph_set("mode", "on"));
	swap_off();
	ph_verify(mem, 34, 0, SIZE, 1);
}

/* Zeros need no slot to be read from, and zswap gives its copy away */
static void zeros(void)
{
	struct ph_counters before;
	char *mem = anon(SIZE);

	swap_on();
	memset(mem, 1, SIZE);
	memset(mem, 0, SIZE);
	page_out(mem, SIZE);
	will_need(mem, SIZE);
	ph_get_counters(&before);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify_zero(mem, SIZE);
	ph_cmp(ph_since(&before, PH_LOST), >=, PAGES * 9 / 10);
	swap_off();
}

/* --- what is left alone -------------------------------------------------- */

/* What shares a page with others is compared without the swap cache's help */
static void ksm(void)
{
	unsigned long merged = 0, done, i;
	char *mem = anon(SIZE), *same;

	swap_on();
	same = anon(SIZE);
	ph_fill(mem, 36, 0, SIZE, 1);
	ph_fill(same, 36, 0, SIZE, 1);
	if (madvise(mem, SIZE, MADV_MERGEABLE) ||
	    madvise(same, SIZE, MADV_MERGEABLE))
		ph_skip("no KSM in this kernel");
	ph_check(ph_write_file(KSM "pages_to_scan", "%lu", 4 * PAGES));
	ph_check(ph_write_file(KSM "sleep_millisecs", "20"));
	ph_check(ph_write_file(KSM "run", "1"));
	for (i = 0; i < 300 && merged < PAGES * 99 / 100; i++) {
		ph_msleep(100);
		merged = ph_read_number(KSM "pages_sharing");
	}
	ph_check(ph_write_file(KSM "run", "0"));
	ph_value("merged", merged);
	ph_cmp(merged, >=, PAGES * 99 / 100);
	/* what several processes map is not swapped out on demand */
	munmap(same, SIZE);
	page_out(mem, SIZE);
	done = ph_idle(SIZE);
	ph_value("volatile", done);
	ph_cmp(done, <=, PAGES / 20);
	ph_host_discard();
	ph_verify(mem, 36, 0, SIZE, 1);

	/* read again, they are pages as any other */
	ph_check(ph_write_file(KSM "run", "2"));
	ph_verify(mem, 36, 0, SIZE, 1);
	page_out(mem, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify(mem, 36, 0, SIZE, 1);
	ph_check(ph_write_file(KSM "run", "0"));
	swap_off();
	ph_verify(mem, 36, 0, SIZE, 1);
}

/* Its faults go past the swap cache, and its pages are memory of the guest */
static void synchronous_device(void)
{
	char *mem = anon(SIZE);
	unsigned long done;
	int round, fd;

	fd = open(ZRAM "0", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ph_skip("no zram here");
	ph_write_file("/sys/block/zram0/reset", "1");
	if (!ph_write_file("/sys/block/zram0/disksize", "%lu", SWAP_SIZE))
		ph_fail("cannot set the size of zram0");
	make_swap(fd, SWAP_SIZE);
	close(fd);
	ph_check(!swapon(ZRAM "0", 0));
	ph_fill(mem, 37, 0, SIZE, 1);
	for (round = 0; round < 2; round++) {
		page_out(mem, SIZE);
		/* into the swap cache, and not mapped */
		will_need(mem, SIZE);
		ph_cmp(ph_meminfo("SwapCached"), >=, SIZE * 9 / 10);
		done = ph_idle(SIZE);
		ph_value("volatile", done);
		ph_cmp(done, <=, PAGES / 20);
		ph_host_discard();
		ph_verify(mem, 37, 0, SIZE, 1);
	}
	ph_check(!swapoff(ZRAM "0"));
	ph_verify(mem, 37, 0, SIZE, 1);
	ph_check(ph_write_file("/sys/block/zram0/reset", "1"));
}

/* --- control groups ----------------------------------------------------- */

/* Little room, the host takes all, and each page is charged for once */
static void tight_limit(void)
{
	size_t limit = SIZE / 2, len = 2 * SIZE, off, step = SIZE / 8;
	struct ph_counters before;
	unsigned long swap, now;
	int round, status;
	char *mem;
	pid_t pid;

	ph_need_cgroup2();
	swap_on();
	ph_group_new("ph-swap");
	ph_group_set("ph-swap", "memory.max", limit);
	ph_get_counters(&before);
	pid = ph_fork();
	if (!pid) {
		ph_group_set("ph-swap", "cgroup.procs", getpid());
		mem = anon(len);
		for (round = 1; round < 4; round++) {
			for (off = 0; off < len; off += step) {
				if (round > 1)
					ph_verify(mem + off, 38, off, step,
						  round - 1);
				ph_fill(mem + off, 38, off, step, round);
				ph_drain();
				madvise(mem, off + step, MADV_PAGEOUT);
				ph_pass(2);
				ph_host_discard();
			}
		}
		raise(SIGSTOP);
		ph_verify(mem, 38, 0, len, round - 1);
		_exit(0);
	}
	ph_check(waitpid(pid, &status, WUNTRACED) == pid);
	ph_check(WIFSTOPPED(status));
	swap = ph_group_get("ph-swap", "memory.swap.current");
	now = ph_group_get("ph-swap", "memory.current");
	ph_value("charged for memory (kB)", now >> 10);
	ph_value("charged for swap (kB)", swap >> 10);
	ph_cmp(now, <=, limit);
	ph_cmp(swap, >=, len - limit);
	/* each CPU keeps some of what is free */
	ph_cmp(swap, <=, len + ph_cpus * 128 * ph_page);
	kill(pid, SIGCONT);
	ph_wait(pid);
	now = ph_since(&before, PH_LOST) + ph_since(&before, PH_EVICTED);
	ph_value("pages lost or evicted", now);
	ph_cmp(now, >=, len / ph_page);
	ph_cmp(ph_group_stat("ph-swap", "memory.events", "oom_kill"), ==, 0);
	swap_off();
	ph_cmp(ph_group_get("ph-swap", "memory.swap.current"), ==, 0);
	ph_cmp(ph_group_get("ph-swap", "memory.current"), <=, limit / 4);
	ph_group_remove("ph-swap");
}

/* --- loop devices ------------------------------------------------------- */

/*
 * The file of the device is cached as well, and gone from there, too. A thread
 * of the device reads it on behalf of the one that reads from swap.
 */
static void loop_device(void)
{
	struct ph_file f = ph_create("swap", 1, 2 * SIZE, 1);
	struct ph_counters before;
	char *mem = anon(SIZE);
	struct ph_loop loop;
	int where;

	make_swap(f.fd, f.size);
	loop = ph_loop_new(f.fd, false);
	ph_check(!swapon(loop.path, 0));
	ph_drop_caches();
	ph_settle();
	for (where = 0; where < PH_WHERES; where++) {
		ph_fill(mem, 43, 0, SIZE, where + 1);
		page_out(mem, SIZE);
		ph_check(!fsync(f.fd));
		ph_get_counters(&before);
		ph_make_gone(SIZE, where);
		ph_value("pages gone", ph_since(&before, PH_VOLATILE));
		/* by readahead, then what that has left in either cache */
		will_need(mem, SIZE / 2);
		ph_make_gone(SIZE / 2, where);
		ph_verify(mem, 43, 0, SIZE, where + 1);
		ph_cmp(ph_since(&before, PH_LOST) +
		       ph_since(&before, PH_EVICTED), >=, PAGES * 9 / 10);
	}
	ph_fill(mem, 43, 0, SIZE, where);
	page_out(mem, SIZE);
	ph_check(!fsync(f.fd));
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_check(!swapoff(loop.path));
	ph_verify(mem, 43, 0, SIZE, where);
	ph_loop_remove(&loop);
	ph_remove(&f);
}

static sigjmp_buf bus_env;

static void bus(int sig)
{
	siglongjmp(bus_env, 1);
}

static bool readable(const char *at)
{
	if (sigsetjmp(bus_env, 1))
		return false;
	(void)*(const volatile char *)at;
	return true;
}

/* A loop device whose file becomes shorter than what has been written to it */
static void bad_sectors(void)
{
	size_t good = 0, bad = 0, again = 0, size = 2 * SIZE, off;
	struct sigaction action = { .sa_handler = bus };
	char *mem = anon(SIZE);
	struct ph_loop loop;
	struct ph_file f;

	f = ph_create("swap", 1, size, 1);
	make_swap(f.fd, size);
	loop = ph_loop_new(f.fd, false);
	ph_check(!swapon(loop.path, 0));

	ph_fill(mem, 40, 0, SIZE, 1);
	ph_drop_caches();
	ph_settle();
	page_out(mem, SIZE);
	ph_check(!fsync(f.fd));
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_check(!ftruncate(f.fd, SIZE / 2));

	ph_check(!sigaction(SIGBUS, &action, NULL));
	for (off = 0; off < SIZE; off += ph_page) {
		if (readable(mem + off)) {
			ph_verify(mem + off, 40, off, ph_page, 1);
			good++;
		} else {
			again += readable(mem + off);
			bad++;
		}
	}
	ph_value("pages read", good);
	ph_value("pages not to be read", bad);
	ph_cmp(good, >, 0);
	ph_cmp(bad, >, 0);
	ph_cmp(again, ==, 0);
	munmap(mem, SIZE);
	ph_check(!swapoff(loop.path));
	ph_loop_remove(&loop);
	ph_remove(&f);
}

/* --- all at once -------------------------------------------------------- */

#define AREAS		2		/* anonymous, and shmem */
#define STRIPE		(16 * 4096UL)
#define STRIPES		64
#define AREA		(STRIPES * STRIPE)
#define MAX_THREADS	16

struct area {
	char *mem;
	unsigned int id;
	pthread_rwlock_t stripe[STRIPES];
	unsigned char gens[AREA / PH_GRANULE];
};

static struct area areas[AREAS];
static bool stop;
static bool compressible;
static unsigned long operations;
static pid_t hog_pid;

static void verify_area(struct area *a, off_t off, size_t len)
{
	ph_verify_gens(a->mem + off, a->id, off, len, a->gens);
}

static void store(struct area *a, off_t off, size_t len, unsigned char gen)
{
	/* the rest stays zero, for zswap to be able to compress it */
	if (compressible && len > PH_GRANULE)
		len = PH_GRANULE;
	ph_fill(a->mem + off, a->id, off, len, gen);
	memset(a->gens + off / PH_GRANULE, gen, len / PH_GRANULE);
}

/* The child has a copy of its own of the memory and of what is known of it */
static void fork_one(struct area *a, off_t off, size_t len,
		     pthread_rwlock_t *lock)
{
	pid_t pid = fork();
	int status;

	ph_check(pid >= 0);
	if (!pid) {
		verify_area(a, off, len);
		store(a, off, ph_page, 251);
		verify_area(a, off, len);
		_exit(0);
	}
	pthread_rwlock_unlock(lock);
	ph_check(waitpid(pid, &status, 0) == pid);
	ph_cmp(status, ==, 0);
}

static void one(struct area *a, __u64 *random)
{
	unsigned int n = ph_random(random) % STRIPES;
	off_t off = n * STRIPE, page = off + ph_random(random) % 16 * 4096;
	unsigned char gen = 1 + ph_random(random) % 250;
	unsigned int what = ph_random(random) % 40;
	pthread_rwlock_t *lock = &a->stripe[n];

	switch (what) {
	case 0 ... 9:
		madvise(a->mem + off, STRIPE, MADV_PAGEOUT);
		return;
	case 10 ... 13:
		madvise(a->mem + off, STRIPE, MADV_WILLNEED);
		return;
	case 14 ... 23:
		pthread_rwlock_rdlock(lock);
		verify_area(a, page, 4096);
		break;
	case 24:
		pthread_rwlock_rdlock(lock);
		verify_area(a, off, STRIPE);
		break;
	case 25:
		pthread_rwlock_rdlock(lock);
		if (a == &areas[0]) {
			fork_one(a, off, STRIPE, lock);
			return;
		}
		break;
	case 26:
		pthread_rwlock_wrlock(lock);
		if (madvise(a->mem + page, 4096,
			    a == &areas[0] ? MADV_DONTNEED : MADV_REMOVE))
			ph_fail("madvise");
		memset(a->gens + page / PH_GRANULE, 0, 4096 / PH_GRANULE);
		break;
	case 27:
		pthread_rwlock_wrlock(lock);
		if (a == &areas[0] && !compressible) {
			madvise(a->mem + page, 4096, MADV_FREE);
			store(a, page, 4096, gen);
		}
		break;
	case 28 ... 33:
		pthread_rwlock_wrlock(lock);
		store(a, page, 4096, gen);
		break;
	default:
		pthread_rwlock_wrlock(lock);
		store(a, page + ph_random(random) % (4096 / PH_GRANULE) *
			 PH_GRANULE, PH_GRANULE, gen);
	}
	pthread_rwlock_unlock(lock);
}

static void *work(void *arg)
{
	__u64 random = (unsigned long)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		one(&areas[ph_random(&random) % AREAS], &random);
		__atomic_add_fetch(&operations, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void stress(void (*beside)(__u64 *random))
{
	unsigned long seed = ph_env("PAGE_HINTING_SEED", 1);
	unsigned int count = ph_cpus + 2, i, j;
	pthread_t threads[MAX_THREADS];
	struct ph_counters before;
	struct ph_file f;
	__u64 random;
	double end, latest;
	pid_t clock;

	if (ph_page != 4096)
		ph_skip("made for pages of 4096 bytes");
	if (count > MAX_THREADS)
		count = MAX_THREADS;
	swap_on();
	f = shmem_file(51);
	ph_check(!ftruncate(f.fd, 0) && !ftruncate(f.fd, AREA));
	f.size = AREA;
	areas[0].mem = anon(AREA);
	areas[1].mem = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (i = 0; i < AREAS; i++) {
		areas[i].id = 50 + i;
		for (j = 0; j < STRIPES; j++)
			pthread_rwlock_init(&areas[i].stripe[j], NULL);
		for (j = 0; j < AREA / ph_page; j++)
			store(&areas[i], j * ph_page, ph_page, 1);
	}
	ph_get_counters(&before);
	/* not as fast as it can, as it would find most losses itself */
	clock = fork();
	ph_check(clock >= 0);
	while (!clock) {
		ph_pass(1);
		ph_msleep(30);
	}
	for (i = 0; i < count; i++)
		ph_check(!pthread_create(&threads[i], NULL, work,
					 (void *)(seed * 1000003 + 7 * i + 1)));
	/* a guest that hardly gets a processor needs longer to lose something */
	end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 20);
	latest = end + 5 * ph_env("PAGE_HINTING_SECONDS", 20);
	random = seed * 77 + 5;
	while (ph_now() < end ||
	       (!compressible && !ph_since(&before, PH_LOST) &&
		ph_now() < latest)) {
		ph_msleep(20);
		beside(&random);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	kill(clock, SIGKILL);
	waitpid(clock, NULL, 0);
	/* swapoff needs the memory */
	if (hog_pid) {
		ph_check(!waitpid(hog_pid, NULL, WNOHANG));
		kill(hog_pid, SIGKILL);
		waitpid(hog_pid, NULL, 0);
	}
	for (i = 0; i < AREAS; i++)
		verify_area(&areas[i], 0, AREA);
	swap_off();
	for (i = 0; i < AREAS; i++)
		verify_area(&areas[i], 0, AREA);
	ph_value("operations", operations);
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	ph_value("lost", ph_since(&before, PH_LOST));
	if (!compressible)
		ph_cmp(ph_since(&before, PH_LOST), >, 0);
}

static void nothing(__u64 *random)
{
}

static void random_operations(void)
{
	stress(nothing);
}

/* Everything comes back while others want it, and goes out again */
static void off_and_on(__u64 *random)
{
	ph_msleep(ph_random(random) % 300);
	if (ph_random(random) & 1) {
		swap_off();
		ph_check(!swapon(swap_path, 0));
	} else {
		ph_write_file("/proc/sys/vm/compact_memory", "1");
	}
}

static void with_swapoff(void)
{
	stress(off_and_on);
}

/* More memory is wanted than there is, so reclaim swaps as well */
static void with_memory_pressure(void)
{
	size_t len = ph_meminfo("MemFree") + ph_meminfo("Cached"), off;
	char *mem;

	len = (len + SWAP_SIZE / 4) & ~(ph_page - 1);
	hog_pid = fork();
	ph_check(hog_pid >= 0);
	if (!hog_pid) {
		mem = anon(len);
		for (;;) {
			for (off = 0; off < len; off += ph_page)
				ph_fill(mem + off, 60, off, PH_GRANULE, 1);
			for (off = 0; off < len; off += ph_page)
				ph_verify(mem + off, 60, off, PH_GRANULE, 1);
		}
	}
	stress(nothing);
}

#define ZSWAP	"/sys/module/zswap/parameters/enabled"

static void with_zswap(void)
{
	unsigned long out = ph_vmstat("zswpout");

	if (!ph_write_file(ZSWAP, "Y"))
		ph_skip("no zswap here");
	compressible = true;
	stress(nothing);
	ph_check(ph_write_file(ZSWAP, "N"));
	ph_value("pages that zswap took", ph_vmstat("zswpout") - out);
	ph_cmp(ph_vmstat("zswpout"), >, out);
}

static const struct ph_test tests[] = {
	PH_TEST(swapped_out),
	PH_TEST(swapped_out_and_cleaned),
	PH_TEST(kept),
	PH_TEST(left_by_readahead),
	PH_TEST(left_by_willneed),
	PH_TEST(stores),
	PH_TEST(forked),
	PH_TEST(slots_are_freed),
	PH_TEST(freed_while_held),
	PH_TEST(shmem_read),
	PH_TEST(shmem_write),
	PH_TEST(shmem_truncation),
	PH_TEST(mincore_looks_only),
	PH_TEST(swapoff_reads_back),
	PH_TEST(compaction),
	PH_TEST(moved_by_mremap),
	PH_TEST(moved_by_userfaultfd),
	PH_TEST(switched_off),
	PH_TEST(zeros),
	PH_TEST(ksm),
	PH_TEST(synchronous_device),
	PH_TEST(tight_limit),
	PH_TEST(loop_device),
	PH_TEST(bad_sectors),
	PH_TEST(random_operations),
	PH_TEST(with_swapoff),
	PH_TEST(with_zswap),
	PH_TEST(with_memory_pressure),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
