// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: free pages. The host is told of them, but not of those that a
 * CPU keeps for itself for a moment, and what is in use is never unused.
 *
 * page_hinting_free [-l] [TEST|PREFIX*]...	the tests
 * page_hinting_free --loop KIND BYTES TIMES	only allocate and free
 * page_hinting_free --pages FLAG [SECONDS]	runs with a kpageflag, "pfn count",
 *						after so long; once more as
 *						long after saying "end"
 * page_hinting_free --hold BYTES FLAGFILE	lock as much anonymous memory, and a
 *						file of the same size, create
 *						FLAGFILE, wait until it is gone,
 *						and see what is left of both
 *
 * The last three work on any kernel, for a host that wants to compare.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define KB		1024UL
#define MB		(1024 * KB)

/* Fits the lists of a CPU, whatever the machine */
#define SMALL		(128 * KB)

enum { STABLE = 1, UNUSED = 2, STABLE_NODAT = 7 };

/* --- what allocates and frees ------------------------------------------- */

static char *anon_map(size_t size)
{
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ph_check(map != MAP_FAILED);
	return map;
}

/* The page tables stay, so this is about the pages alone */
static void loop_touch(size_t size, unsigned long times)
{
	char *map = anon_map(size);
	size_t off;

	while (times--) {
		for (off = 0; off < size; off += ph_page)
			map[off] = 1;
		ph_check(!madvise(map, size, MADV_DONTNEED));
	}
	munmap(map, size);
}

static void loop_munmap(size_t size, unsigned long times)
{
	size_t off;
	char *map;

	while (times--) {
		map = anon_map(size);
		for (off = 0; off < size; off += ph_page)
			map[off] = 1;
		munmap(map, size);
	}
}

/* Small files by page: large folios bypass the lists of a CPU */
static void loop_file(size_t size, unsigned long times)
{
	size_t step = size > SMALL ? 64 * KB : ph_page;
	char *buf = anon_map(64 * KB);
	char path[PH_PATH];
	size_t off;
	int fd;

	ph_name(path, "loop");
	while (times--) {
		fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		ph_check(fd >= 0);
		for (off = 0; off < size; off += step)
			ph_pwrite(fd, buf, step, off);
		close(fd);
		ph_check(!unlink(path));
	}
	munmap(buf, 64 * KB);
}

static const struct {
	const char *name;
	void (*run)(size_t size, unsigned long times);
} loops[] = {
	{ "touch", loop_touch },
	{ "munmap", loop_munmap },
	{ "file", loop_file },
};

/* Pages given out by the allocator so far, whether they come from a CPU's list or not */
static unsigned long pages_allocated(void)
{
	return ph_vmstat("pgalloc_dma") + ph_vmstat("pgalloc_normal") +
	       ph_vmstat("pgalloc_movable");
}

static int loop_main(char **argv)
{
	unsigned long before;
	size_t i;

	ph_page = sysconf(_SC_PAGESIZE);
	snprintf(ph_dir, sizeof(ph_dir), "%s",
		 getenv("PAGE_HINTING_DIR") ?: "/tmp");
	for (i = 0; i < ARRAY_SIZE(loops); i++) {
		if (strcmp(argv[0], loops[i].name))
			continue;
		ph_pin(sched_getcpu());
		before = pages_allocated();
		loops[i].run(strtoul(argv[1], NULL, 0),
			     strtoul(argv[2], NULL, 0));
		printf("%lu\n", pages_allocated() - before);
		return 0;
	}
	fprintf(stderr, "no loop %s\n", argv[0]);
	return 1;
}

static bool print_pages(int fd, unsigned int flag)
{
	unsigned long pfn = 0, start = 0, flags[512];
	ssize_t i, n;

	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, flags, sizeof(flags))) > 0) {
		for (i = 0; i < n / 8; i++, pfn++) {
			if (flags[i] & (1UL << flag))
				continue;
			if (start < pfn)
				printf("%lu %lu\n", start, pfn - start);
			start = pfn + 1;
		}
	}
	if (start < pfn)
		printf("%lu %lu\n", start, pfn - start);
	return !n;
}

static int pages_main(unsigned int flag, unsigned int seconds)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 1;
	sleep(seconds);
	if (!print_pages(fd, flag))
		return 1;
	if (!seconds)
		return 0;
	printf("end\n");
	fflush(stdout);
	sleep(seconds);
	return !print_pages(fd, flag);
}

/* Content that nobody can read from elsewhere, to be moved while it is locked */
static int hold_main(size_t size, const char *flag)
{
	struct ph_file f = { .id = 2, .size = size };
	char *anon, *file;
	int fd;

	ph_page = sysconf(_SC_PAGESIZE);
	snprintf(ph_dir, sizeof(ph_dir), "%s",
		 getenv("PAGE_HINTING_DIR") ?: "/tmp");
	ph_name(f.path, "hold");
	f.fd = open(f.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ph_check(f.fd >= 0 && !ftruncate(f.fd, size));
	anon = anon_map(size);
	file = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	ph_fill(anon, 1, 0, size, 1);
	ph_fill(file, f.id, 0, size, 1);
	ph_check(!mlock(anon, size) && !mlock(file, size));
	fd = open(flag, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ph_check(fd >= 0);
	close(fd);
	while (!access(flag, F_OK))
		ph_msleep(20);
	ph_verify(anon, 1, 0, size, 1);
	ph_verify(file, f.id, 0, size, 1);
	ph_remove(&f);
	return 0;
}

/* --- what it costs ------------------------------------------------------ */

struct cost {
	unsigned long n[8];
	unsigned long pages;
};

static void cost_start(struct cost *c)
{
	if (!ph_host_essa(c->n))
		ph_skip("needs a host that can be asked");
	c->pages = pages_allocated();
}

/* ESSAs per 1000 pages allocated and freed */
static unsigned long cost_end(struct cost *c, const char *what)
{
	unsigned long n[8], pages = pages_allocated() - c->pages, per_mille;

	ph_check(ph_host_essa(n));
	per_mille = (n[STABLE] - c->n[STABLE] +
		     n[UNUSED] - c->n[UNUSED] +
		     n[STABLE_NODAT] - c->n[STABLE_NODAT]) * 1000 / pages;
	ph_say("%s: %lu pages, unused %lu, stable %lu, per page %lu.%03lu",
	       what, pages, n[UNUSED] - c->n[UNUSED],
	       n[STABLE] - c->n[STABLE] + n[STABLE_NODAT] - c->n[STABLE_NODAT],
	       per_mille / 1000, per_mille % 1000);
	return per_mille;
}

static void cost_within_cpu_lists(void)
{
	struct cost c;

	ph_pin(sched_getcpu());
	loop_touch(SMALL, 20);
	cost_start(&c);
	loop_touch(SMALL, 1000);
	ph_cmp(cost_end(&c, "anonymous, 128 KB"), <=, 100);
}

/* Here page tables come and go, too, and each is marked as such */
static void cost_small_mappings(void)
{
	struct cost c;

	ph_pin(sched_getcpu());
	loop_munmap(SMALL, 20);
	cost_start(&c);
	loop_munmap(SMALL, 500);
	ph_cmp(cost_end(&c, "mapping, 128 KB"), <=, 200);
}

static void cost_small_files(void)
{
	struct cost c;

	ph_pin(sched_getcpu());
	loop_file(SMALL, 20);
	cost_start(&c);
	loop_file(SMALL, 200);
	ph_cmp(cost_end(&c, "file, 128 KB"), <=, 200);
}

/* Once to unused and once to stable, as often as without these lists at most */
static void cost_large(void)
{
	static const unsigned int sizes[] = { 1, 4, 16, 64 };
	char text[32];
	struct cost c;
	size_t i;

	ph_pin(sched_getcpu());
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i] * MB > ph_meminfo("MemAvailable") / 2)
			break;
		cost_start(&c);
		loop_touch(sizes[i] * MB, 64 / sizes[i]);
		snprintf(text, sizeof(text), "anonymous, %u MB", sizes[i]);
		ph_cmp(cost_end(&c, text), <=, 2100);
	}
}

/* --- what the host sees -------------------------------------------------- */

/*
 * What is free is unused, and nothing else is. Pages which a CPU keeps for
 * itself are no longer counted as free.
 */
static void check_unused(const char *when)
{
	unsigned long free, unused, far;
	int i;

	for (i = 0; i < 10; i++) {
		/* fold what the CPUs have counted */
		ph_write_file("/proc/sys/vm/stat_refresh", "1");
		free = ph_vmstat("nr_free_pages");
		ph_check(ph_host_stat("unused", &unused));
		far = free > unused ? free - unused : unused - free;
		if (far <= 64)
			break;
		ph_msleep(100);
	}
	ph_say("%s: free %lu, unused %lu", when, free, unused);
	ph_cmp(far, <=, 64 + free / 200);
}

static void free_is_unused(void)
{
	size_t off, size = ph_meminfo("MemAvailable") / 2 & ~(ph_page - 1);
	unsigned long unused;
	char *map;

	if (!ph_host_stat("unused", &unused))
		ph_skip("needs a host that can be asked");
	check_unused("before");
	map = anon_map(size);
	for (off = 0; off < size; off += ph_page)
		map[off] = 1;
	check_unused("allocated");
	munmap(map, size);
	check_unused("freed");
}

/* --- what was free and is in use keeps its content ----------------------- */

/* All that is unused is gone, without anything else being touched */
static void take_unused(void)
{
	char reply[128];

	if (!ph_host_ask(reply, sizeof(reply), "discard unused"))
		ph_skip("needs a host that can be told to discard");
}

static void fill(char *map, size_t size, unsigned int gen)
{
	ph_fill(map, 1, 0, size, gen);
}

/* New memory reads as zero, and what is written stays */
static void content_anonymous(void)
{
	unsigned int gen, rounds = ph_env("PAGE_HINTING_ROUNDS", 6);
	size_t size = 16 * MB, half = size / 2;
	char *map = anon_map(size);

	for (gen = 1; gen <= rounds; gen++) {
		fill(map, size, gen);
		take_unused();
		ph_verify(map, 1, 0, size, gen);
		ph_check(!madvise(map + half, half, MADV_DONTNEED));
		take_unused();
		ph_verify(map, 1, 0, half, gen);
		ph_verify_zero(map + half, half);
	}
	munmap(map, size);
}

/* Short-lived pages that never get as far as the buddy lists */
static void content_within_cpu_lists(void)
{
	char *map = anon_map(SMALL);
	unsigned int gen;

	ph_pin(sched_getcpu());
	for (gen = 1; gen <= 40; gen++) {
		ph_verify_zero(map, SMALL);
		fill(map, SMALL, gen);
		take_unused();
		ph_verify(map, 1, 0, SMALL, gen);
		ph_check(!madvise(map, SMALL, MADV_DONTNEED));
	}
	munmap(map, SMALL);
}

/* Orders that are not on the lists of a CPU: the queue of io_uring is one */
static void content_large_order(void)
{
	unsigned int gen, entries = 4096;
	size_t size = entries * sizeof(struct io_uring_sqe);
	struct io_uring_params p;
	void *map;
	int fd;

	for (gen = 1; gen <= 10; gen++) {
		memset(&p, 0, sizeof(p));
		fd = syscall(__NR_io_uring_setup, entries, &p);
		if (fd < 0)
			ph_skip("no io_uring: %s", strerror(errno));
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   IORING_OFF_SQES);
		ph_check(map != MAP_FAILED);
		take_unused();
		ph_verify_zero(map, size);
		fill(map, size, gen);
		take_unused();
		ph_verify(map, 1, 0, size, gen);
		munmap(map, size);
		close(fd);
	}
}

/*
 * Compaction takes pages off the lists, fills some of them with the content of
 * others, and puts the rest back.
 */
static void content_compaction(void)
{
	size_t off, size = ph_meminfo("MemAvailable") / 2 & ~(MB - 1);
	unsigned int round, rounds = ph_env("PAGE_HINTING_ROUNDS", 3);
	unsigned long before;
	char *map;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		ph_skip("no compaction");
	map = anon_map(size);
	before = ph_vmstat("pgmigrate_success");
	for (round = 1; round <= rounds; round++) {
		fill(map, size, round);
		/* leave holes */
		for (off = 0; off < size; off += 4 * ph_page)
			ph_check(!madvise(map + off, ph_page, MADV_DONTNEED));
		take_unused();
		ph_check(ph_write_file("/proc/sys/vm/compact_memory", "1"));
		take_unused();
		for (off = 0; off < size; off += 4 * ph_page)
			ph_verify(map + off + ph_page, 1, off + ph_page,
				  3 * ph_page, round);
	}
	ph_value("pages migrated", ph_vmstat("pgmigrate_success") - before);
	ph_cmp(ph_vmstat("pgmigrate_success"), >, before);
	munmap(map, size);
}

#define THP	"/sys/kernel/mm/transparent_hugepage/"

/* Choose one of the words that a file offers. Return: the one chosen before */
static char *choose(const char *path, const char *word)
{
	char text[128], *old;

	ph_read_file(path, text, sizeof(text));
	old = strchr(text, '[');
	ph_check(old);
	old = strdup(old + 1);
	ph_check(old);
	old[strcspn(old, "]")] = '\0';
	ph_check(ph_write_file(path, "%s", word));
	return old;
}

/*
 * A huge page for which compaction had to make room: it gets what was freed
 * last without a detour by the lists.
 */
static void content_after_compaction(void)
{
	size_t off, huge, holes, size = ph_meminfo("MemAvailable") / 4;
	char *room, *map, *at, *others, *enabled, *defrag;
	unsigned long before, success;
	unsigned int gen;

	if (access(THP "enabled", W_OK))
		ph_skip("no huge pages");
	enabled = choose(THP "enabled", "madvise");
	defrag = choose(THP "defrag", "madvise");
	huge = ph_read_number(THP "hpage_pmd_size");
	size &= ~(huge - 1);
	room = anon_map(size + huge);
	map = (char *)(((unsigned long)room + huge - 1) & ~(huge - 1));
	ph_check(!madvise(map, size, MADV_HUGEPAGE));
	before = ph_vmstat("compact_success");
	for (gen = 1; gen <= 2; gen++) {
		/* no free range is as large as a huge page */
		holes = ph_meminfo("MemFree") & ~(MB - 1);
		others = anon_map(holes);
		for (off = 0; off < holes && ph_meminfo("MemFree") > 16 * MB;
		     off += MB)
			memset(others + off, 1, MB);
		for (holes = off, off = 0; off < holes; off += 2 * ph_page)
			ph_check(!madvise(others + off, ph_page,
					  MADV_DONTNEED));
		for (at = map; at < map + size; at += huge)
			fill(at, huge, gen);
		take_unused();
		for (at = map; at < map + size; at += huge)
			ph_verify(at, 1, 0, huge, gen);
		munmap(others, holes);
		ph_check(!madvise(map, size, MADV_DONTNEED));
	}
	success = ph_vmstat("compact_success") - before;
	munmap(room, size + huge);
	choose(THP "enabled", enabled);
	choose(THP "defrag", defrag);
	ph_value("allocations that compaction made possible", success);
	ph_cmp(success, >, 0);
}

/* Many CPUs allocate and free at once, the host takes what it can meanwhile */
static void content_many(void)
{
	size_t size = ph_meminfo("MemAvailable") / (4 * ph_cpus) & ~(MB - 1);
	unsigned int gen, seed;
	int i, status, left = ph_cpus;
	char *map;

	if (size > 16 * MB)
		size = 16 * MB;
	take_unused();
	for (i = 0; i < ph_cpus; i++) {
		pid_t pid = fork();

		ph_check(pid >= 0);
		if (pid)
			continue;
		map = anon_map(size);
		seed = i;
		for (gen = 1; gen <= 30; gen++) {
			size_t part = (rand_r(&seed) % (size / ph_page) + 1) *
				      ph_page;

			fill(map, part, gen);
			ph_verify(map, 1, 0, part, gen);
			ph_check(!madvise(map, part, MADV_DONTNEED));
			ph_verify_zero(map, ph_page);
		}
		_exit(KSFT_PASS);
	}
	while (left) {
		take_unused();
		while (left && waitpid(-1, &status, WNOHANG) > 0) {
			left--;
			if (!WIFEXITED(status) || WEXITSTATUS(status))
				ph_fail("one of them failed");
		}
	}
}

static void need_control(void)
{
	if (!ph_control())
		ph_skip("this kernel hints free pages, always");
}

/* While free pages are no longer hinted, those that still are must be found */
static void content_switching(void)
{
	static const char * const modes[] = { "off", "unused", "off", "on" };
	size_t size = 16 * MB;
	unsigned int gen;
	char *map;

	need_control();
	for (gen = 1; gen <= 8; gen++) {
		ph_check(ph_set("mode", "%s", modes[gen % ARRAY_SIZE(modes)]));
		take_unused();
		map = anon_map(size);
		ph_verify_zero(map, size);
		fill(map, size, gen);
		take_unused();
		ph_verify(map, 1, 0, size, gen);
		munmap(map, size);
	}
}

static void off_stops_it(void)
{
	/* more than what can stay on the lists of a CPU, an eighth */
	size_t size = ph_meminfo("MemFree") / 4 & ~(MB - 1);
	unsigned long n[8], before[8];

	need_control();
	ph_check(ph_set("mode", "off"));
	if (!ph_host_essa(before))
		ph_skip("needs a host that can be asked");
	loop_touch(size, 2);
	ph_check(ph_host_essa(n));
	ph_cmp(n[UNUSED], ==, before[UNUSED]);
	ph_check(ph_set("mode", "on"));
	loop_touch(size, 1);
	ph_check(ph_host_essa(n));
	ph_cmp(n[UNUSED] - before[UNUSED], >, size / ph_page / 4);
}

static const struct ph_test tests[] = {
	PH_TEST(cost_within_cpu_lists),
	PH_TEST(cost_small_mappings),
	PH_TEST(cost_small_files),
	PH_TEST(cost_large),
	PH_TEST(free_is_unused),
	PH_TEST(content_anonymous),
	PH_TEST(content_within_cpu_lists),
	PH_TEST(content_large_order),
	PH_TEST(content_compaction),
	PH_TEST(content_after_compaction),
	PH_TEST(content_many),
	PH_TEST(content_switching),
	PH_TEST(off_stops_it),
};

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--loop"))
		return loop_main(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "--hold"))
		return hold_main(strtoul(argv[2], NULL, 0), argv[3]);
	if (argc >= 3 && !strcmp(argv[1], "--pages"))
		return pages_main(atoi(argv[2]), argc > 3 ? atoi(argv[3]) : 0);
	ph_free_only = true;
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
