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
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define MB		(1024UL * 1024)
#define PAGES		512UL
#define SIZE		(PAGES * ph_page)
#define MOST(n)		((n) * 95 / 100)

#define KPF_VOLATILE	27

static void need_all_taken(void)
{
	if (!ph_host_takes_all() && !ph_host_has_ctl())
		ph_skip("needs a host that discards everything");
}

static char group_root[PH_PATH];

/* A mount of our own, unless there is one */
static bool mount_cgroup2(void)
{
	char line[512], dev[64], at[PH_PATH], type[64];
	FILE *file = fopen("/proc/self/mounts", "re");

	ph_check(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %255s %63s", dev, at, type) == 3 &&
		    !strcmp(type, "cgroup2"))
			snprintf(group_root, sizeof(group_root), "%s", at);
	fclose(file);
	if (!group_root[0]) {
		snprintf(group_root, sizeof(group_root), "/sys/fs/cgroup");
		if (mount("cgroup2", group_root, "cgroup2", 0,
			  "memory_recursiveprot")) {
			group_root[0] = '\0';
			return false;
		}
	}
	return true;
}

/* Sums over all CPUs are made every two seconds, or if somebody asks */
static void sum_up_statistics(void)
{
	char path[2 * PH_PATH], text[4096];

	if (!mount_cgroup2())
		return;
	snprintf(path, sizeof(path), "%s/memory.stat", group_root);
	ph_read_file(path, text, sizeof(text));
}

/* --- refaults ----------------------------------------------------------- */

/* Microseconds for which some task has waited for memory, or 0 */
static unsigned long memory_stall(void)
{
	char text[256], *total;

	ph_read_file("/proc/pressure/memory", text, sizeof(text));
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
	ph_fold_stats();
	return (struct figures) {
		.refault = ph_vmstat("workingset_refault_file"),
		.activate = ph_vmstat("workingset_activate_file"),
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

/* Read once and idle since: a refault, but nothing to make room for */
static void refault_of_cold(void)
{
	struct ph_file f = ph_create("f", 1, SIZE, 1);
	struct ph_file g = ph_create("g", 5, 2 * SIZE, 1);
	struct figures n;
	int where;

	need_all_taken();
	for (where = 0; where < PH_WHERES; where++) {
		n = refault(&f, &g, 1, where);
		ph_cmp(n.refault, >=, MOST(PAGES));
		ph_cmp(n.refault, <=, PAGES + PAGES / 20);
		ph_cmp(n.activate, <=, PAGES / 20);
	}
	ph_remove(&f);
	ph_remove(&g);
}

/* In use, idle for a while, taken: back to where it was, and that is a stall */
static void refault_of_hot(void)
{
	struct ph_file f = ph_create("f", 2, SIZE, 1);
	bool psi = !access("/proc/pressure/memory", R_OK);
	struct ph_file g = ph_create("g", 5, 2 * SIZE, 1);
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
	if (!psi)
		ph_say("no /proc/pressure/memory");
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

static void need_cgroup2(void)
{
	char path[2 * PH_PATH];

	if (!mount_cgroup2())
		ph_skip("no cgroup2");
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", group_root);
	if (!ph_write_file(path, "+memory"))
		ph_skip("no memory controller");
}

static char *group_path(const char *group, const char *file)
{
	static char path[3 * PH_PATH];

	snprintf(path, sizeof(path), "%s/%s/%s", group_root, group, file);
	return path;
}

static void new_group(const char *group)
{
	char child[64];

	/* there may be one of a test that has failed */
	if (!strchr(group, '/')) {
		snprintf(child, sizeof(child), "%s/b", group);
		rmdir(group_path(child, ""));
	}
	rmdir(group_path(group, ""));
	if (mkdir(group_path(group, ""), 0755))
		ph_fail("cannot create cgroup %s", group);
}

static void group_set(const char *group, const char *file, unsigned long value)
{
	if (!ph_write_file(group_path(group, file), "%lu", value))
		ph_fail("cannot write %s of cgroup %s", file, group);
}

static unsigned long group_get(const char *group, const char *file)
{
	char text[64];

	ph_read_file(group_path(group, file), text, sizeof(text));
	return strtoul(text, NULL, 10);
}

/* A line of memory.stat, memory.events */
static unsigned long group_stat(const char *group, const char *file,
				const char *key)
{
	unsigned long value, found = 0;
	char line[128], name[64];
	FILE *f = fopen(group_path(group, file), "re");

	ph_check(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lu", name, &value) == 2 &&
		    !strcmp(name, key))
			found = value;
	fclose(f);
	return found;
}

static void read_in_group(const char *group, const struct ph_file *f)
{
	pid_t pid = ph_fork();

	if (!pid) {
		group_set(group, "cgroup.procs", getpid());
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

static void keeps(const char *low)
{
	struct ph_file f = ph_create("f", 10, SIZE, 1);
	unsigned long n;

	ph_need_idle_host();
	need_cgroup2();
	new_group("ph-a");
	ph_check(ph_write_file(group_path("ph-a", "cgroup.subtree_control"),
			       "+memory"));
	new_group("ph-a/b");
	ph_drop_caches();
	ph_settle();
	read_in_group("ph-a/b", &f);

	n = becomes_volatile(&f);
	ph_say("no protection: %lu volatile", n);
	ph_cmp(n, >=, MOST(PAGES));

	/* its own, and as much of its parent's */
	group_set("ph-a", low, 2 * SIZE);
	group_set("ph-a/b", low, 2 * SIZE);
	n = becomes_volatile(&f);
	ph_say("all protected: %lu volatile", n);
	ph_cmp(n, ==, 0);

	/* a promise that the parent has no means to keep */
	group_set("ph-a", low, 0);
	n = becomes_volatile(&f);
	ph_say("parent not protected: %lu volatile", n);
	ph_cmp(n, >=, MOST(PAGES));

	/* half of it */
	group_set("ph-a", low, SIZE / 2);
	n = becomes_volatile(&f);
	ph_say("half of it protected: %lu volatile", n);
	ph_cmp(n, <=, PAGES * 60 / 100);
	ph_cmp(n, >=, PAGES * 30 / 100);

	group_set("ph-a", low, 0);
	group_set("ph-a/b", low, 0);
	n = becomes_volatile(&f);
	ph_cmp(n, >=, MOST(PAGES));
	ph_remove(&f);
	rmdir(group_path("ph-a/b", ""));
	rmdir(group_path("ph-a", ""));
}

static void memory_low(void)
{
	keeps("memory.low");
}

static void memory_min(void)
{
	keeps("memory.min");
}

/* Whatever the host takes, and however often, what was promised remains */
static void protection_holds(void)
{
	size_t size = 8 * SIZE, low = 4 * SIZE;
	struct ph_file f = ph_create("f", 11, size, 1);
	unsigned long left;
	int i;

	need_all_taken();
	need_cgroup2();
	new_group("ph-a");
	ph_drop_caches();
	group_set("ph-a", "memory.low", low);
	read_in_group("ph-a", &f);
	for (i = 0; i < 6; i++) {
		ph_drain();
		ph_pass(2);
		ph_host_discard();
		ph_pass(2);
		left = group_get("ph-a", "memory.current");
		ph_value("left in the cgroup (kB)", left >> 10);
	}
	ph_cmp(left, >=, low / 100 * 85);
	ph_cmp(left, <=, low / 100 * 115);
	ph_remove(&f);
	rmdir(group_path("ph-a", ""));
}

/* A page is charged to one cgroup at a time, and once */
static void charged_once(void)
{
	struct ph_file f = ph_create("f", 12, 4 * SIZE, 1);
	unsigned long before, after, other;
	int where;

	need_all_taken();
	need_cgroup2();
	new_group("ph-a");
	new_group("ph-b");
	ph_drop_caches();
	read_in_group("ph-a", &f);
	before = group_stat("ph-a", "memory.stat", "file");
	ph_value("file cache of the cgroup (kB)", before >> 10);
	ph_cmp(before, >=, MOST(f.size));
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(f.size, where);
		after = group_stat("ph-a", "memory.stat", "file");
		if (where == PH_CLEANED)
			ph_cmp(after, <=, f.size / 10);
		read_in_group("ph-a", &f);
		after = group_stat("ph-a", "memory.stat", "file");
		ph_value("after the loss (kB)", after >> 10);
		ph_cmp(after, >=, MOST(f.size));
		ph_cmp(after, <=, f.size + f.size / 20);
	}
	ph_value("refaults",
		 group_stat("ph-a", "memory.stat", "workingset_refault_file"));
	ph_cmp(group_stat("ph-a", "memory.stat", "workingset_refault_file"), >=,
	       MOST(2 * f.size / ph_page));

	/* who reads it pays for it */
	ph_make_gone(f.size, PH_IN_PLACE);
	read_in_group("ph-b", &f);
	after = group_stat("ph-a", "memory.stat", "file");
	other = group_stat("ph-b", "memory.stat", "file");
	ph_say("read by another cgroup: %lu kB and %lu kB", after >> 10,
	       other >> 10);
	ph_cmp(after, <=, f.size / 20);
	ph_cmp(other, >=, MOST(f.size));
	ph_cmp(after + other, <=, f.size + f.size / 20);
	ph_remove(&f);
	rmdir(group_path("ph-a", ""));
	rmdir(group_path("ph-b", ""));
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
	need_cgroup2();
	new_group("ph-a");
	group_set("ph-a", "memory.max", limit);
	ph_drop_caches();
	ph_get_counters(&c);
	pid = ph_fork();
	if (!pid) {
		group_set("ph-a", "cgroup.procs", getpid());
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
		 group_stat("ph-a", "memory.events", "max"));
	ph_cmp(taken, >=, 4 * MB / ph_page);
	ph_cmp(group_stat("ph-a", "memory.events", "max"), >, 0);
	ph_cmp(group_stat("ph-a", "memory.events", "oom"), ==, 0);
	ph_cmp(group_stat("ph-a", "memory.events", "oom_kill"), ==, 0);
	ph_cmp(group_get("ph-a", "memory.current"), <=, limit);
	ph_remove(&f);
	rmdir(group_path("ph-a", ""));
}

/* --- what is to be seen ------------------------------------------------- */

static bool kpf_volatile(unsigned long pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags;

	if (fd < 0)
		ph_skip("no /proc/kpageflags");
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) !=
	    sizeof(flags))
		ph_fail("cannot read /proc/kpageflags");
	close(fd);
	return flags >> KPF_VOLATILE & 1;
}

/* The bit in /proc/kpageflags says what the host has been told */
static void kpageflags(void)
{
	struct ph_file f = ph_create("f", 20, 128 * ph_page, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	unsigned long pfn[128], n = 0, i;
	bool set;

	ph_need_idle_host();
	ph_touch(map, f.size);
	for (i = 0; i < 128; i++) {
		pfn[i] = ph_pfn(map + i * ph_page);
		ph_check(pfn[i]);
		ph_check(!kpf_volatile(pfn[i]));
	}
	munmap(map, f.size);
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

/* The gauge of the nodes adds up to that of the machine */
static void node_gauge(void)
{
	struct ph_file f = ph_create("f", 21, SIZE, 1);
	char path[PH_PATH], line[128], name[64];
	unsigned long sum = 0, value, all;
	FILE *file;
	int node;

	if (access("/sys/devices/system/node/node0/vmstat", R_OK))
		ph_skip("no nodes in sysfs");
	ph_need_idle_host();
	ph_cmp(ph_idle(SIZE), >=, MOST(PAGES));
	ph_fold_stats();
	all = ph_vmstat("nr_volatile");
	for (node = 0; node < 64; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/vmstat", node);
		file = fopen(path, "re");
		if (!file)
			continue;
		while (fgets(line, sizeof(line), file))
			if (sscanf(line, "%63s %lu", name, &value) == 2 &&
			    !strcmp(name, "nr_volatile"))
				sum += value;
		fclose(file);
	}
	ph_value("nr_volatile", all);
	ph_value("of all nodes", sum);
	ph_cmp(all, >=, MOST(PAGES));
	ph_cmp(sum, ==, all);
	ph_remove(&f);
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
			if (errno != EINVAL)
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

static const struct ph_test tests[] = {
	PH_TEST(refault_of_cold),
	PH_TEST(refault_of_hot),
	PH_TEST(major_fault_each),
	PH_TEST(major_fault_in_place),
	PH_TEST(memory_low),
	PH_TEST(memory_min),
	PH_TEST(protection_holds),
	PH_TEST(charged_once),
	PH_TEST(tight_limit),
	PH_TEST(kpageflags),
	PH_TEST(node_gauge),
	PH_TEST(nonsense),
	PH_TEST(ranges),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
