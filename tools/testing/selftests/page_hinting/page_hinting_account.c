// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: what the host takes is accounted for, to whom it belongs.
 *
 * A discarded page that is read again is a refault, a fault on it a major one,
 * and the wait for what was in use a memory stall. Cgroups keep what they have
 * been promised, and pay for a page once.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define MB		(1024UL * 1024)
#define PAGES		512UL
#define SIZE		(PAGES * ph_page)
#define MOST(n)		((n) * 95 / 100)

static void need_all_taken(void)
{
	if (!ph_host_discards())
		ph_skip("needs a host that discards everything");
}

/* Sums over all CPUs are made every two seconds, or if somebody asks */
static void sum_up_statistics(void)
{
	if (ph_group_mount())
		ph_group_stat("", "memory.stat", "file");
}

/* --- refaults ----------------------------------------------------------- */

#define PRESSURE	"/proc/pressure/memory"

/* Microseconds for which some task has waited for memory, or 0 */
static unsigned long memory_stall(void)
{
	char text[256], *total;

	ph_read_file(PRESSURE, text, sizeof(text));
	total = strstr(text, "total=");
	return total ? strtoul(total + 6, NULL, 10) : 0;
}

struct figures {
	unsigned long refault;
	unsigned long activate;
	unsigned long stall;
};

static struct figures figures(void)
{
	bool multigen = ph_read_number("/sys/kernel/mm/lru_gen/enabled") & 1;

	ph_fold_stats();
	return (struct figures) {
		.refault = ph_vmstat("workingset_refault_file"),
		/* the multi-gen LRU counts the former only in faults */
		.activate = ph_vmstat(multigen ? "workingset_restore_file" :
						 "workingset_activate_file"),
		.stall = memory_stall(),
	};
}

/*
 * Read @f so and so many times, have it taken, and read it again. What is to
 * become active competes with what is active, so there must be something: @g,
 * which is dirty and stays.
 */
static struct figures refault(struct ph_file *f, struct ph_file *g,
			      unsigned int reads, enum ph_where where)
{
	struct figures before, after;
	unsigned int i;

	ph_drop_caches();
	ph_check(ph_write_file("/proc/sys/vm/dirty_writeback_centisecs", "0"));
	ph_write_gen(g->fd, g->id, 0, g->size, 1);
	for (i = 0; i < 8; i++)
		ph_verify_read(g->fd, g->id, 0, g->size, 1);
	while (reads--)
		ph_verify_read(f->fd, f->id, 0, SIZE, 1);
	ph_drain();
	sum_up_statistics();
	ph_make_gone(SIZE, where);
	before = figures();
	ph_verify_read(f->fd, f->id, 0, SIZE, 1);
	after = figures();
	after.refault -= before.refault;
	after.activate -= before.activate;
	after.stall -= before.stall;
	ph_value("refaults", after.refault);
	ph_value("of these activated", after.activate);
	ph_value("memory stall (us)", after.stall);
	return after;
}

/* The test is over as far as it does without the figures of PSI */
static void need_psi(void)
{
	if (access(PRESSURE, R_OK))
		ph_skip("no " PRESSURE);
}

/* Read once and idle since: a refault, but nothing to make room for */
static void refault_of_cold(void)
{
	struct ph_file f = ph_create("f", 1, SIZE, 1);
	struct ph_file g = ph_create("g", 5, 2 * SIZE, 1);
	struct ph_file h = ph_create("h", 6, SIZE, 1);
	unsigned long stall = 0;
	struct figures n;
	int where;

	need_all_taken();
	for (where = 0; where < PH_WHERES; where++) {
		n = refault(&f, &g, 1, where);
		ph_cmp(n.refault, >=, MOST(PAGES));
		ph_cmp(n.refault, <=, PAGES + PAGES / 20);
		ph_cmp(n.activate, <=, PAGES / 20);
		stall += n.stall;
	}
	need_psi();
	/* nothing, beside what the same would be if it were hot */
	for (where = 0; where < PH_WHERES; where++) {
		n = refault(&h, &g, 8, where);
		ph_cmp(n.stall, >, 0);
		ph_cmp(stall, <=, n.stall / 20);
	}
	ph_remove(&f);
	ph_remove(&g);
	ph_remove(&h);
}

/* In use, idle for a while, taken: back to where it was, and that is a stall */
static void refault_of_hot(void)
{
	struct ph_file f = ph_create("f", 2, SIZE, 1);
	struct ph_file g = ph_create("g", 5, 2 * SIZE, 1);
	bool psi = !access(PRESSURE, R_OK);
	struct figures n;
	int where;

	need_all_taken();
	for (where = 0; where < PH_WHERES; where++) {
		n = refault(&f, &g, 8, where);
		ph_cmp(n.refault, >=, MOST(PAGES));
		ph_cmp(n.refault, <=, PAGES + PAGES / 20);
		ph_cmp(n.activate, >=, MOST(PAGES));
		if (psi)
			ph_cmp(n.stall, >, 0);
	}
	need_psi();
	ph_remove(&f);
	ph_remove(&g);
}

/* One major fault for each page, neither none nor two */
static void major_fault_each(void)
{
	struct ph_file f = ph_create("f", 3, SIZE, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	unsigned long before, own, n;
	int where;

	need_all_taken();
	ph_check(!madvise(map, SIZE, MADV_RANDOM));
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		before = ph_vmstat("pgmajfault");
		own = ph_major_faults();
		ph_verify(map, f.id, 0, SIZE, 1);
		own = ph_major_faults() - own;
		n = ph_vmstat("pgmajfault") - before;
		ph_value("pgmajfault", n);
		ph_value("major faults of this task", own);
		ph_cmp(n, >=, MOST(PAGES));
		ph_cmp(n, <=, PAGES + PAGES / 20);
		ph_cmp(own, >=, MOST(PAGES));
		ph_cmp(own, <=, PAGES + PAGES / 20);
	}
	munmap(map, SIZE);
	ph_remove(&f);
}

/*
 * Two fault on the same page at the same time. Each has a reference, so often
 * none of them can evict it, and one reads it in place. That is a major fault
 * and a refault as well.
 */
static void major_fault_in_place(void)
{
	unsigned long rounds = ph_env("PAGE_HINTING_ROUNDS", 15), pages = 32;
	size_t size = pages * ph_page;
	struct ph_file f = ph_create("f", 4, size, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	unsigned long majors, refaults, now, lost, seen, i;
	struct ph_counters c;
	unsigned long *where;
	pid_t pid;

	need_all_taken();
	if (ph_cpus < 2)
		ph_skip("needs two CPUs");
	/* in single pages: a large folio is read by one major fault */
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED) &&
		 !posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM));
	ph_verify_read(f.fd, f.id, 0, size, 1);
	/* where to go, and where the other one is */
	where = mmap(NULL, ph_page, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ph_check(where != MAP_FAILED);
	ph_check(!madvise(map, size, MADV_RANDOM));
	pid = ph_fork();
	for (now = 0; !pid;) {
		while (__atomic_load_n(&where[0], __ATOMIC_RELAXED) == now)
			;
		now = __atomic_load_n(&where[0], __ATOMIC_RELAXED);
		ph_touch((char *)now, 1);
		__atomic_store_n(&where[1], now, __ATOMIC_RELAXED);
	}
	while (rounds--) {
		ph_make_gone(size, PH_IN_PLACE);
		ph_get_counters(&c);
		refaults = figures().refault;
		seen = 0;
		for (i = 0; i < size; i += ph_page) {
			majors = ph_vmstat("pgmajfault");
			__atomic_store_n(&where[0], (unsigned long)map + i,
					 __ATOMIC_RELAXED);
			ph_verify(map + i, f.id, i, ph_page, 1);
			while (__atomic_load_n(&where[1], __ATOMIC_RELAXED) !=
			       where[0])
				sched_yield();
			seen += ph_vmstat("pgmajfault") != majors;
		}
		refaults = figures().refault - refaults;
		lost = ph_since(&c, PH_LOST);
		ph_say("lost %lu, with major faults %lu, refaults %lu", lost,
		       seen, refaults);
		ph_cmp(lost, >=, MOST(pages));
		ph_cmp(seen, >=, lost);
		ph_cmp(refaults, ==, lost);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(map, size);
	ph_remove(&f);
}

/* --- cgroups ------------------------------------------------------------ */

static void read_in_group(const char *group, const struct ph_file *f)
{
	pid_t pid = ph_fork();

	if (!pid) {
		ph_group_set(group, "cgroup.procs", getpid());
		/* by single pages: a share of few large folios may be any */
		ph_check(!posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM));
		ph_verify_read(f->fd, f->id, 0, f->size, 1);
		_exit(0);
	}
	ph_wait(pid);
}

/* What of the file becomes volatile if nobody uses it? */
static unsigned long becomes_volatile(const struct ph_file *f)
{
	struct ph_counters c;

	/* disarm, and make stable */
	ph_verify_read(f->fd, f->id, 0, f->size, 1);
	ph_drain();
	ph_get_counters(&c);
	ph_pass(4);
	return ph_since(&c, PH_VOLATILE);
}

/* Of a group that was promised half of the file, what it uses beyond that */
static void is_excess(unsigned long n, const char *group)
{
	unsigned long used = ph_group_get(group, "memory.current");
	unsigned long excess;

	/* kernel memory, and what its CPUs have in stock, are used, too */
	ph_cmp(used, >=, MOST(SIZE));
	excess = PAGES - PAGES * (SIZE / 2) / used;
	ph_say("%lu volatile of %lu, used %lu kB: %lu expected", n, PAGES,
	       used >> 10, excess);
	ph_cmp(n, <=, excess + PAGES / 10);
	ph_cmp(n + PAGES / 10, >=, excess);
}

/* In a group within a group that has not been promised anything yet */
static void read_in_nested_group(const struct ph_file *f)
{
	unsigned long n;

	ph_group_new("ph-a");
	ph_group_new("ph-a/b");
	ph_drop_caches();
	ph_settle();
	read_in_group("ph-a/b", f);
	n = becomes_volatile(f);
	ph_say("no protection: %lu volatile", n);
	ph_cmp(n, >=, MOST(PAGES));
}

static void keeps(const char *low)
{
	struct ph_file f = ph_create("f", 10, SIZE, 1);
	unsigned long n;

	ph_need_idle_host();
	ph_need_cgroup2();
	read_in_nested_group(&f);

	/* its own, and as much of its parent's */
	ph_group_set("ph-a", low, 2 * SIZE);
	ph_group_set("ph-a/b", low, 2 * SIZE);
	n = becomes_volatile(&f);
	ph_say("all protected: %lu volatile", n);
	ph_cmp(n, ==, 0);

	/* a promise that the parent has no means to keep */
	ph_group_set("ph-a", low, 0);
	n = becomes_volatile(&f);
	ph_say("parent not protected: %lu volatile", n);
	ph_cmp(n, >=, MOST(PAGES));

	/* half of it */
	ph_group_set("ph-a", low, SIZE / 2);
	n = becomes_volatile(&f);
	ph_say("half of it protected: %lu volatile", n);
	is_excess(n, "ph-a/b");

	ph_group_set("ph-a", low, 0);
	ph_group_set("ph-a/b", low, 0);
	n = becomes_volatile(&f);
	ph_cmp(n, >=, MOST(PAGES));
	ph_remove(&f);
	ph_group_remove("ph-a/b");
	ph_group_remove("ph-a");
}

static void memory_low(void)
{
	keeps("memory.low");
}

static void memory_min(void)
{
	keeps("memory.min");
}

/* What the parent is promised and no child claims is for all of them */
static void recursive_protection(void)
{
	static const char * const files[] = { "memory.low", "memory.min" };
	struct ph_file f = ph_create("f", 14, SIZE, 1);
	unsigned long n;
	size_t i;

	ph_need_idle_host();
	ph_need_cgroup2();
	if (!ph_group_recursive)
		ph_skip("mounted without memory_recursiveprot");
	read_in_nested_group(&f);

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		ph_cmp(ph_group_get("ph-a/b", files[i]), ==, 0);
		ph_group_set("ph-a", files[i], 2 * SIZE);
		n = becomes_volatile(&f);
		ph_say("%s of the parent: %lu volatile", files[i], n);
		ph_cmp(n, ==, 0);

		ph_group_set("ph-a", files[i], SIZE / 2);
		n = becomes_volatile(&f);
		ph_say("%s of the parent, half of it: %lu volatile", files[i],
		       n);
		is_excess(n, "ph-a/b");

		ph_group_set("ph-a", files[i], 0);
		n = becomes_volatile(&f);
		ph_cmp(n, >=, MOST(PAGES));
	}
	ph_remove(&f);
	ph_group_remove("ph-a/b");
	ph_group_remove("ph-a");
}

/* Whatever the host takes, and however often, what was promised remains */
static void protection_holds(void)
{
	size_t size = 8 * SIZE, low = 4 * SIZE;
	struct ph_file f = ph_create("f", 11, size, 1);
	unsigned long left;
	int i;

	need_all_taken();
	ph_need_cgroup2();
	ph_group_new("ph-a");
	ph_drop_caches();
	ph_group_set("ph-a", "memory.low", low);
	read_in_group("ph-a", &f);
	for (i = 0; i < 6; i++) {
		ph_drain();
		ph_pass(2);
		ph_host_discard();
		ph_pass(2);
		left = ph_group_get("ph-a", "memory.current");
		ph_value("left in the cgroup (kB)", left >> 10);
	}
	ph_cmp(left, >=, low / 100 * 85);
	ph_cmp(left, <=, low / 100 * 115);
	ph_remove(&f);
	ph_group_remove("ph-a");
}

/* A page is charged to one cgroup at a time, and once */
static void charged_once(void)
{
	struct ph_file f = ph_create("f", 12, 4 * SIZE, 1);
	unsigned long before, after, other;
	int where;

	need_all_taken();
	ph_need_cgroup2();
	ph_group_new("ph-a");
	ph_group_new("ph-b");
	ph_drop_caches();
	read_in_group("ph-a", &f);
	before = ph_group_stat("ph-a", "memory.stat", "file");
	ph_value("file cache of the cgroup (kB)", before >> 10);
	ph_cmp(before, >=, MOST(f.size));
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(f.size, where);
		after = ph_group_stat("ph-a", "memory.stat", "file");
		if (where == PH_CLEANED)
			ph_cmp(after, <=, f.size / 10);
		read_in_group("ph-a", &f);
		after = ph_group_stat("ph-a", "memory.stat", "file");
		ph_value("after the loss (kB)", after >> 10);
		ph_cmp(after, >=, MOST(f.size));
		ph_cmp(after, <=, f.size + f.size / 20);
	}
	after = ph_group_stat("ph-a", "memory.stat", "workingset_refault_file");
	ph_value("refaults", after);
	ph_cmp(after, >=, MOST(2 * f.size / ph_page));

	/* who reads it pays for it */
	ph_make_gone(f.size, PH_IN_PLACE);
	read_in_group("ph-b", &f);
	after = ph_group_stat("ph-a", "memory.stat", "file");
	other = ph_group_stat("ph-b", "memory.stat", "file");
	ph_say("read by another cgroup: %lu kB and %lu kB", after >> 10,
	       other >> 10);
	ph_cmp(after, <=, f.size / 20);
	ph_cmp(other, >=, MOST(f.size));
	ph_cmp(after + other, <=, f.size + f.size / 20);
	ph_remove(&f);
	ph_group_remove("ph-a");
	ph_group_remove("ph-b");
}

/* Little room, and the host takes all of it again and again */
static void tight_limit(void)
{
	size_t limit = 4 * MB;
	struct ph_file f = ph_create("f", 13, 4 * limit, 1);
	unsigned long reads = 0, taken;
	struct ph_counters c;
	char *map;
	pid_t pid;
	size_t off;

	need_all_taken();
	ph_need_cgroup2();
	ph_group_new("ph-a");
	ph_group_set("ph-a", "memory.max", limit);
	ph_drop_caches();
	ph_get_counters(&c);
	pid = ph_fork();
	if (!pid) {
		ph_group_set("ph-a", "cgroup.procs", getpid());
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		for (reads = 0; reads < 4; reads++) {
			for (off = 0; off < f.size; off += MB) {
				if (reads & 1)
					ph_verify(map + off, f.id, off, MB, 1);
				else
					ph_verify_read(f.fd, f.id, off, MB, 1);
				if (off % (2 * MB))
					continue;
				ph_pass(2);
				ph_host_discard();
				/* and back once more */
				ph_verify_read(f.fd, f.id, off, MB, 1);
			}
		}
		_exit(0);
	}
	ph_wait(pid);
	taken = ph_since(&c, PH_LOST) + ph_since(&c, PH_EVICTED);
	ph_value("pages lost or evicted", taken);
	ph_value("limit reached",
		 ph_group_stat("ph-a", "memory.events", "max"));
	ph_cmp(taken, >=, 4 * MB / ph_page);
	ph_cmp(ph_group_stat("ph-a", "memory.events", "max"), >, 0);
	ph_cmp(ph_group_stat("ph-a", "memory.events", "oom"), ==, 0);
	ph_cmp(ph_group_stat("ph-a", "memory.events", "oom_kill"), ==, 0);
	ph_cmp(ph_group_get("ph-a", "memory.current"), <=, limit);
	ph_remove(&f);
	ph_group_remove("ph-a");
}

/* --- what is to be seen ------------------------------------------------- */

static bool kpf_volatile(unsigned long pfn)
{
	return ph_kpageflags(pfn) >> PH_KPF_VOLATILE & 1;
}

/* The bit in /proc/kpageflags says what the host has been told */
static void kpageflags(void)
{
	struct ph_file f = ph_create("f", 20, 128 * ph_page, 1);
	unsigned long pfn[128], n = 0, i;
	bool set;

	ph_need_idle_host();
	ph_file_pfns(&f, pfn);
	for (i = 0; i < 128; i++)
		ph_check(!kpf_volatile(pfn[i]));
	/* armed, which is something else */
	ph_drain();
	ph_pass(1);
	for (i = 0; i < 128; i++)
		if (kpf_volatile(pfn[i]))
			ph_fail("page %lu: visited once, shown as volatile", i);
	ph_pass(2);
	for (i = 0; i < 128; i++) {
		set = kpf_volatile(pfn[i]);
		n += set;
		if (ph_host_has_ctl() &&
		    set != ph_host_usage(pfn[i], "volatile"))
			ph_fail("page %lu: the host is told something else", i);
	}
	ph_value("shown as volatile", n);
	ph_cmp(n, >=, MOST(128));
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	for (i = 0; i < 128; i++)
		if (kpf_volatile(pfn[i]))
			ph_fail("page %lu: stable, but shown as volatile", i);
	ph_remove(&f);
}

/* nr_volatile of one node in sysfs; @value is added to */
static bool add_node(int node, unsigned long *value)
{
	char path[PH_PATH], line[128], name[64];
	bool found = false;
	unsigned long n;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/vmstat",
		 node);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %lu", name, &n) != 2 ||
		    strcmp(name, "nr_volatile"))
			continue;
		*value += n;
		found = true;
	}
	fclose(file);
	return found;
}

/* nr_volatile of all nodes in /proc/zoneinfo, which is there without NUMA */
static unsigned long sum_of_nodes(int *nodes)
{
	unsigned long value, sum = 0;
	char line[128], name[64];
	bool of_node = false;
	FILE *file;

	*nodes = 0;
	file = fopen("/proc/zoneinfo", "re");
	if (!file)
		ph_skip("no /proc/zoneinfo");
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Node ", 5))
			of_node = false;
		else if (strstr(line, "per-node stats"))
			of_node = true;
		if (sscanf(line, "%63s %lu", name, &value) != 2 ||
		    strcmp(name, "nr_volatile"))
			continue;
		if (!of_node)
			ph_fail("nr_volatile of a zone");
		++*nodes;
		sum += value;
	}
	fclose(file);
	return sum;
}

/* The gauge of the nodes adds up to that of the machine, at any time */
static void gauges(unsigned long *all)
{
	unsigned long sum, of_nodes = 0;
	int nodes, node, found = 0;

	ph_fold_stats();
	*all = ph_vmstat("nr_volatile");
	sum = sum_of_nodes(&nodes);
	for (node = 0; node < 64; node++)
		found += add_node(node, &of_nodes);
	ph_say("nr_volatile %lu, of %d nodes %lu, of %d in sysfs %lu", *all,
	       nodes, sum, found, of_nodes);
	ph_cmp(nodes, >=, 1);
	ph_cmp(sum, ==, *all);
	if (!access("/sys/devices/system/node/node0/vmstat", F_OK)) {
		ph_cmp(found, >=, 1);
		ph_cmp(of_nodes, ==, *all);
	}
}

static void node_gauge(void)
{
	struct ph_file f = ph_create("f", 21, SIZE, 1);
	unsigned long before, idle, after;

	ph_need_idle_host();
	gauges(&before);
	ph_cmp(ph_idle(SIZE), >=, MOST(PAGES));
	gauges(&idle);
	ph_cmp(idle, >=, before + MOST(PAGES));
	ph_cmp(idle, <=, before + PAGES + PAGES / 20);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	gauges(&after);
	ph_cmp(after, <=, before);
	ph_remove(&f);
}

enum way { CUT, UNLINK, DONTNEED, WAYS };

/* Freed while volatile: not used, not missed, and counted as neither */
static void freed_while_volatile(void)
{
	static const char * const names[] = { "cut", "unlinked", "dropped" };
	unsigned long *pfn = ph_alloc(PAGES * sizeof(*pfn));
	unsigned long n, i, gauge;
	struct ph_counters c;
	struct ph_file f;
	int way, gone;

	ph_need_idle_host();
	for (way = 0; way < WAYS; way++) {
		for (gone = 0; gone < 1 + ph_host_has_ctl(); gone++) {
			f = ph_create("f", 22, SIZE, 1);
			ph_file_pfns(&f, pfn);
			ph_cmp(ph_idle(SIZE), >=, MOST(PAGES));
			for (n = 0, i = 0; i < PAGES; i++)
				n += kpf_volatile(pfn[i]);
			ph_cmp(n, >=, MOST(PAGES));
			if (gone)
				ph_check(ph_host_discard());
			ph_get_counters(&c);
			if (way == CUT)
				ph_check(!ftruncate(f.fd, 0));
			else if (way == DONTNEED)
				ph_check(!posix_fadvise(f.fd, 0, 0,
							POSIX_FADV_DONTNEED));
			ph_remove(&f);
			gauge = ph_since(&c, PH_NR_VOLATILE);
			ph_say("%s%s: volatile %lu, freed %lu, nr_volatile %+ld",
			       names[way], gone ? ", discarded before" : "", n,
			       ph_since(&c, PH_FREED), (long)gauge);
			ph_cmp(ph_since(&c, PH_FREED), ==, n);
			ph_cmp(ph_since(&c, PH_STABLE), ==, 0);
			ph_cmp(ph_since(&c, PH_LOST), ==, 0);
			ph_cmp(ph_since(&c, PH_EVICTED), ==, 0);
			ph_cmp(gauge, ==, -n);
			for (i = 0; i < PAGES; i++)
				ph_check(!kpf_volatile(pfn[i]));
		}
	}
}

/* --- trace points ------------------------------------------------------- */

#define TRACED	128UL

enum event { MADE_VOLATILE, MADE_STABLE, LOST, EVENTS };

static const char * const event_names[EVENTS] = {
	[MADE_VOLATILE]	= "page_hint_volatile",
	[MADE_STABLE]	= "page_hint_stable",
	[LOST]		= "page_hint_lost",
};

static struct {
	char dir[PH_PATH];	/* a buffer of our own */
	struct ph_file f;
	struct stat stat;
	unsigned long pfn[TRACED];
	unsigned int size[TRACED];	/* of the folio, 0 if not its first */
	char state[TRACED];		/* what the host says */
	/* what was counted when the buffer was not yet, or just empty */
	struct ph_counters outer, inner;
	unsigned int seen[EVENTS][TRACED];
	unsigned long pages[EVENTS];	/* with those of other files */
} trace;

static char *trace_path(const char *file)
{
	static char path[2 * PH_PATH];

	snprintf(path, sizeof(path), "%s/%s", trace.dir, file);
	return path;
}

static void trace_events(const char *on)
{
	char file[PH_PATH];
	int event;

	for (event = 0; event < EVENTS; event++) {
		snprintf(file, sizeof(file), "events/page_hinting/%s/enable",
			 event_names[event]);
		ph_check(ph_write_file(trace_path(file), on));
	}
}

static void trace_open(void)
{
	static const char * const at[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[PH_PATH];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		snprintf(path, sizeof(path), "%s/events/page_hinting/enable",
			 at[i]);
		if (!access(path, W_OK))
			break;
	}
	if (i == ARRAY_SIZE(at))
		ph_skip("no trace points of page hinting");
	snprintf(trace.dir, sizeof(trace.dir), "%s/instances/page_hinting",
		 at[i]);
	/* there may be one of a test that has failed */
	rmdir(trace.dir);
	ph_check(!mkdir(trace.dir, 0700));
	trace_events("1");
}

static void trace_close(void)
{
	trace_events("0");
	ph_check(!rmdir(trace.dir));
}

/* Where the file is now, in pages and folios */
static void trace_file(void)
{
	unsigned long i;

	ph_file_pfns(&trace.f, trace.pfn);
	for (i = 0; i < TRACED; i++)
		trace.size[i] = ph_folio_pages(trace.pfn[i]);
	/* nothing but whole folios */
	for (i = 0; i < TRACED; i += trace.size[i])
		ph_cmp(trace.size[i], >, 0);
	ph_cmp(i, ==, TRACED);
}

static void trace_start(void)
{
	int fd;

	ph_get_counters(&trace.outer);
	/* this empties the buffer */
	fd = open(trace_path("trace"), O_WRONLY | O_TRUNC | O_CLOEXEC);
	ph_check(fd >= 0);
	close(fd);
	ph_get_counters(&trace.inner);
}

static void trace_line(const char *line)
{
	const char *values = strstr(line, ": dev "), *name = values;
	unsigned int order, major, minor;
	unsigned long pfn, index, i;
	unsigned long long ino;
	size_t len;
	int event;

	if (!values ||
	    sscanf(values, ": dev %u:%u ino %llu pfn=0x%lx index=0x%lx order=%u",
		   &major, &minor, &ino, &pfn, &index, &order) != 6)
		ph_fail("no sense in this line: %s", line);
	while (name > line && name[-1] != ' ')
		name--;
	len = values - name;
	for (event = 0; event < EVENTS; event++)
		if (len == strlen(event_names[event]) &&
		    !strncmp(name, event_names[event], len))
			break;
	if (event == EVENTS)
		ph_fail("an unknown event: %s", line);
	trace.pages[event] += 1UL << order;
	for (i = 0; i < TRACED; i++) {
		if (pfn != trace.pfn[i])
			continue;
		if (index != i || 1U << order != trace.size[i])
			ph_fail("index %lu, %u pages, not %s", i,
				trace.size[i], line);
		if (makedev(major, minor) != trace.stat.st_dev ||
		    ino != trace.stat.st_ino)
			ph_fail("not of the file: %s", line);
		trace.seen[event][i]++;
	}
}

/*
 * Compare what was traced with what was counted. Somebody else's file may have
 * been traced and not counted, but what was counted was traced.
 */
static void trace_stop(const char *when)
{
	unsigned long counted[EVENTS], at_most[EVENTS], in, written;
	struct ph_counters now;
	char line[512];
	FILE *file;
	int i;

	ph_get_counters(&now);
	for (i = 0; i < PH_NR_COUNTERS; i++)
		trace.inner.v[i] = now.v[i] - trace.inner.v[i];
	memset(trace.seen, 0, sizeof(trace.seen));
	memset(trace.pages, 0, sizeof(trace.pages));
	file = fopen(trace_path("trace"), "re");
	ph_check(file);
	while (fgets(line, sizeof(line), file)) {
		if (*line != '#')
			trace_line(line);
		else if (sscanf(line, "# entries-in-buffer/entries-written: %lu/%lu",
				&in, &written) == 2 && in != written)
			ph_fail("too many events: %s", line);
	}
	fclose(file);
	ph_get_counters(&now);
	for (i = 0; i < PH_NR_COUNTERS; i++)
		trace.outer.v[i] = now.v[i] - trace.outer.v[i];

	counted[MADE_VOLATILE] = trace.inner.v[PH_VOLATILE];
	counted[MADE_STABLE] = trace.inner.v[PH_STABLE];
	counted[LOST] = trace.inner.v[PH_LOST] + trace.inner.v[PH_EVICTED];
	at_most[MADE_VOLATILE] = trace.outer.v[PH_VOLATILE];
	at_most[MADE_STABLE] = trace.outer.v[PH_STABLE];
	at_most[LOST] = trace.outer.v[PH_LOST] + trace.outer.v[PH_EVICTED];
	for (i = 0; i < EVENTS; i++) {
		ph_say("%s: %s: traced %lu, counted %lu", when, event_names[i],
		       trace.pages[i], counted[i]);
		ph_cmp(trace.pages[i], >=, counted[i]);
		ph_cmp(trace.pages[i], <=, at_most[i]);
	}
}

/* One such event for each folio that has such a page, and for no other one */
static void trace_expect(enum event event, const char *of)
{
	unsigned long head, i, n = 0;
	bool expected;

	for (head = 0; head < TRACED; head += trace.size[head]) {
		expected = false;
		for (i = head; i < head + trace.size[head]; i++)
			if (strchr(of, trace.state[i]))
				expected = true;
		/* lost as a whole */
		if (event == MADE_STABLE)
			for (i = head; i < head + trace.size[head]; i++)
				if (trace.state[i] == 'V')
					expected = false;
		if (trace.seen[event][head] != expected)
			ph_fail("page %lu, \"%c\": %s traced %u times", head,
				trace.state[head], event_names[event],
				trace.seen[event][head]);
		n += expected;
	}
	ph_say("%s: %lu folios of the file", event_names[event], n);
}

/* With what the host says as a witness for each page of a file */
static void tracepoints(void)
{
	unsigned long volatiles, gone = 0, i;
	int turn;

	if (!ph_host_has_ctl())
		ph_skip("needs a host that tells states");
	ph_need_idle_host();
	trace.f = ph_create("f", 23, TRACED * ph_page, 1);
	ph_check(!stat(trace.f.path, &trace.stat));
	trace_open();
	trace_file();

	trace_start();
	ph_cmp(ph_idle(trace.f.size), >=, MOST(TRACED));
	trace_stop("idle");
	ph_host_states(trace.pfn, TRACED, trace.state);
	trace_expect(MADE_VOLATILE, "v");
	trace_expect(MADE_STABLE, "");
	trace_expect(LOST, "");

	/* the host takes a part, and all of it is read */
	for (turn = 0; turn < 64 && gone < TRACED / 4; turn++) {
		ph_check(ph_host_ask(NULL, 0, "discard volatile count=8"));
		ph_host_states(trace.pfn, TRACED, trace.state);
		for (gone = 0, i = 0; i < TRACED; i++)
			gone += trace.state[i] == 'V';
	}
	for (volatiles = 0, i = 0; i < TRACED; i++)
		volatiles += trace.state[i] == 'v';
	ph_say("discarded %lu, kept %lu", gone, volatiles);
	ph_cmp(gone, >=, TRACED / 4);
	ph_cmp(volatiles, >=, TRACED / 4);
	trace_start();
	ph_verify_read(trace.f.fd, trace.f.id, 0, trace.f.size, 1);
	trace_stop("read");
	trace_expect(MADE_VOLATILE, "");
	trace_expect(MADE_STABLE, "v");
	trace_expect(LOST, "V");
	ph_cmp(trace.pages[LOST], >=, gone);

	/* all of it, and the clock comes by */
	trace_file();
	ph_cmp(ph_idle(trace.f.size), >=, MOST(TRACED));
	ph_check(ph_host_discard());
	ph_host_states(trace.pfn, TRACED, trace.state);
	trace_start();
	ph_pass(1);
	trace_stop("evicted");
	trace_expect(MADE_STABLE, "");
	trace_expect(LOST, "V");
	ph_cmp(trace.pages[LOST], >=, MOST(TRACED));

	/* without being used or missed */
	ph_verify_read(trace.f.fd, trace.f.id, 0, trace.f.size, 1);
	trace_file();
	ph_cmp(ph_idle(trace.f.size), >=, MOST(TRACED));
	trace_start();
	ph_remove(&trace.f);
	trace_stop("freed");
	for (i = 0; i < EVENTS; i++)
		trace_expect(i, "");
	trace_close();
}

/* --- the controls refuse nonsense --------------------------------------- */

static void nonsense(void)
{
	static const char * const files[] = {
		"mode", "period_ms", "pass", "mapped_every", "max_order",
		"block_devices",
	};
	static const char * const values[] = {
		"\n", " ", "x", "-1", "-", "+", "1x", "1 1", "1,", "1.0", "0x",
		"08", "one", "yes", "true", "y1", "4294967296", "4294967297",
		"18446744073709551616", "99999999999999999999999", "1\n1",
		"on on", "offf", "unuse", "unused,on", "\xff",
	};
	char before[64], after[64];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		for (j = 0; j < ARRAY_SIZE(values); j++) {
			ph_get(files[i], before, sizeof(before));
			if (ph_set(files[i], "%s", values[j]))
				ph_fail("%s takes \"%s\"", files[i], values[j]);
			/* debugfs tells what no machine word holds */
			if (errno != EINVAL && errno != ERANGE)
				ph_fail("%s, \"%s\": not EINVAL", files[i],
					values[j]);
			ph_get(files[i], after, sizeof(after));
			if (strcmp(before, after))
				ph_fail("%s was %s, is %s after \"%s\"",
					files[i], before, after, values[j]);
		}
	}
}

/* As documented, and not one more or less */
static void ranges(void)
{
	static const struct {
		const char *file;
		long good[3];
		long bad[4];
	} limits[] = {
		{ "period_ms", { 0, 10, 86400000 }, { 1, 9, 86400001, -10 } },
		{ "mapped_every", { 1, 2, 1000 }, { 0, 1001, -1, 1 << 30 } },
		{ "max_order", { 0, 1, 5 }, { 64, 100, -1, 1 << 30 } },
		{ "block_devices", { 0, 1, 0 }, { 2, 3, -1, 10 } },
	};
	char text[64];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		for (j = 0; j < ARRAY_SIZE(limits[i].good); j++) {
			if (!ph_set(limits[i].file, "%ld", limits[i].good[j]))
				ph_fail("%s refuses %ld", limits[i].file,
					limits[i].good[j]);
			ph_get(limits[i].file, text, sizeof(text));
			ph_cmp(strtoul(text, NULL, 10), ==,
			       (unsigned long)limits[i].good[j]);
		}
		for (j = 0; j < ARRAY_SIZE(limits[i].bad); j++) {
			if (ph_set(limits[i].file, "%ld", limits[i].bad[j]))
				ph_fail("%s takes %ld", limits[i].file,
					limits[i].bad[j]);
			if (errno != EINVAL)
				ph_fail("%s, %ld: not EINVAL", limits[i].file,
					limits[i].bad[j]);
		}
	}
}

/* Up to the largest folio that the page cache can have, and not beyond */
static void largest_order(void)
{
	unsigned long huge, order = 0, n;
	char text[64];

	for (n = 0; n < 64; n++) {
		if (!ph_set("max_order", "%lu", n)) {
			if (errno != EINVAL)
				ph_fail("max_order, %lu: not EINVAL", n);
			break;
		}
		ph_get("max_order", text, sizeof(text));
		ph_cmp(strtoul(text, NULL, 10), ==, n);
	}
	ph_value("largest max_order", n - 1);
	/* the default must be possible */
	ph_cmp(n - 1, >=, 5);
	ph_read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
		     text, sizeof(text));
	huge = strtoul(text, NULL, 10) / ph_page;
	while (huge >> (order + 1))
		order++;
	/* what a node of an XArray can hold is another limit */
	if (huge && order < 11)
		ph_cmp(n - 1, ==, order);
	for (; n < 64; n++) {
		if (ph_set("max_order", "%lu", n))
			ph_fail("max_order takes %lu", n);
		ph_cmp(errno, ==, EINVAL);
	}
}

/* One pass for "1", nothing for any other number, and only if it is on */
static void pass_values(void)
{
	static const char * const bad[] = { "0", "2", "-1", "10", "11", "12" };
	static const char * const modes[] = { "on", "unused", "off" };
	unsigned long before;
	size_t mode, i;

	for (mode = 0; mode < ARRAY_SIZE(modes); mode++) {
		ph_check(ph_set("mode", "%s", modes[mode]));
		before = ph_rounds();
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			if (ph_set("pass", "%s", bad[i]))
				ph_fail("mode %s: pass takes %s", modes[mode],
					bad[i]);
			if (errno != EINVAL)
				ph_fail("mode %s: pass, %s: not EINVAL",
					modes[mode], bad[i]);
		}
		ph_cmp(ph_rounds(), ==, before);
		if (!mode) {
			ph_check(ph_set("pass", "1"));
			ph_cmp(ph_rounds(), ==, before + 1);
			ph_check(ph_set("pass", "1\n"));
			ph_cmp(ph_rounds(), ==, before + 2);
			continue;
		}
		if (ph_set("pass", "1"))
			ph_fail("mode %s: pass takes 1", modes[mode]);
		if (errno != EOPNOTSUPP)
			ph_fail("mode %s: not EOPNOTSUPP", modes[mode]);
		ph_cmp(ph_rounds(), ==, before);
	}
}

static const struct ph_test tests[] = {
	PH_TEST(refault_of_cold),
	PH_TEST(refault_of_hot),
	PH_TEST(major_fault_each),
	PH_TEST(major_fault_in_place),
	PH_TEST(memory_low),
	PH_TEST(memory_min),
	PH_TEST(recursive_protection),
	PH_TEST(protection_holds),
	PH_TEST(charged_once),
	PH_TEST(tight_limit),
	PH_TEST(kpageflags),
	PH_TEST(node_gauge),
	PH_TEST(freed_while_volatile),
	PH_TEST(tracepoints),
	PH_TEST(nonsense),
	PH_TEST(ranges),
	PH_TEST(largest_order),
	PH_TEST(pass_values),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
