// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: which pages become volatile, which never do, and what it
 * costs. Everything is counted, nothing is timed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define MB	(1024UL * 1024)

static size_t whole_pages(size_t size)
{
	return size & ~(ph_page - 1);
}

/* As much as was asked for, or as fits */
static size_t file_size(size_t wish, unsigned int percent)
{
	size_t fits = ph_meminfo("MemAvailable") / 100 * percent;

	return whole_pages(wish < fits ? wish : fits);
}

static void need_disk(size_t size)
{
	struct statvfs sv;

	ph_check(!statvfs(ph_dir, &sv));
	if (sv.f_bavail * sv.f_frsize < size + size / 16 + 4 * MB)
		ph_skip("%lu MB of disk needed", size / MB + 4);
}

/* One read(2) after the other, one granule of each page is looked at */
static void read_file(const struct ph_file *f, size_t chunk)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	char *buf = ph_alloc(chunk);
	size_t off, pos, n;

	ph_check(fd >= 0);
	for (off = 0; off < f->size; off += n) {
		n = f->size - off < chunk ? f->size - off : chunk;
		ph_pread(fd, buf, n, off);
		for (pos = 0; pos < n; pos += ph_page)
			ph_verify(buf + pos, f->id, off + pos, PH_GRANULE, 1);
	}
	munmap(buf, chunk);
	close(fd);
}

static void map_file(const struct ph_file *f)
{
	char *map = ph_map(f, PROT_READ, MAP_SHARED);
	size_t off;

	for (off = 0; off < f->size; off += ph_page)
		ph_verify(map + off, f->id, off, PH_GRANULE, 1);
	munmap(map, f->size);
}

static void share(const char *what, unsigned long part, unsigned long whole)
{
	ph_say("%s: %lu of %lu (%lu.%02lu %%)", what, part, whole,
	       part * 100 / whole, part * 10000 / whole % 100);
}

/* ESSA as the host counts it, where it can be asked */
struct essa {
	bool known;
	unsigned long n[8];
};

static void essa_start(struct essa *e)
{
	e->known = ph_host_essa(e->n);
}

/*
 * None made a page volatile, and none of the others has to do with the @uses
 * of pages: they are noise, what is allocated and freed meanwhile by whoever
 * else runs. (Order code 0 only looks: the clock visits what is volatile
 * already.)
 */
static void essa_none(const struct essa *e, unsigned long uses)
{
	unsigned long now[8], sum = 0;
	int i;

	if (!e->known || !ph_host_essa(now))
		return;
	for (i = 1; i < 8; i++)
		sum += now[i] - e->n[i];
	ph_value("ESSA, set volatile", now[3] - e->n[3] + now[4] - e->n[4]);
	ph_value("ESSA, all but get", sum);
	ph_cmp(now[3] - e->n[3] + now[4] - e->n[4], ==, 0);
	ph_cmp(sum, <=, 128 + uses / 8);
}

/* --- what becomes volatile ---------------------------------------------- */

static void volatile_on_second_visit(void)
{
	struct ph_file f = ph_create("f", 1, file_size(16 * MB, 25), 1);
	unsigned long pages = f.size / ph_page, n;
	struct ph_counters before;

	ph_drain();
	ph_get_counters(&before);
	ph_pass(1);
	ph_value("armed by the first visit", ph_since(&before, PH_ARMED));
	n = ph_since(&before, PH_VOLATILE);
	share("volatile after the first visit", n, pages);
	ph_cmp(n, ==, 0);
	ph_pass(1);
	n = ph_since(&before, PH_VOLATILE);
	share("volatile after the second visit", n, pages);
	ph_cmp(n, >=, pages * 95 / 100);
	ph_remove(&f);
}

static void read_n_times(unsigned int times)
{
	struct ph_file f = ph_create("f", 2, file_size(64 * MB, 40), 1);
	unsigned long pages = f.size / ph_page, n;
	struct ph_counters before;

	ph_drop_caches();
	while (times--)
		read_file(&f, 64 << 10);
	ph_get_counters(&before);
	ph_pass(3);
	n = ph_since(&before, PH_VOLATILE);
	share("volatile after three visits", n, pages);
	ph_cmp(n, >=, pages * 95 / 100);
	ph_remove(&f);
}

static void read_once(void)
{
	read_n_times(1);
}

static void read_twice(void)
{
	read_n_times(2);
}

static void stays_mapped(void)
{
	struct ph_file f = ph_create("f", 3, file_size(64 * MB, 40), 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	unsigned long pages = f.size / ph_page, n;
	struct ph_counters before;
	unsigned int i;

	ph_check(ph_set("mapped_every", "4"));
	ph_drop_caches();
	ph_touch(map, f.size);
	ph_get_counters(&before);
	for (i = 1; i <= 10; i++) {
		ph_pass(1);
		n = ph_since(&before, PH_VOLATILE);
		ph_say("volatile after visit %u: %lu", i, n);
	}
	share("volatile after ten visits", n, pages);
	ph_cmp(n, >=, pages * 95 / 100);
	ph_verify(map, f.id, 0, f.size, 1);
	munmap(map, f.size);
	ph_remove(&f);
}

/* --- what never becomes volatile ---------------------------------------- */

#define PERIODS	8
#define USES	1000

static void read_in_each_period(void)
{
	struct ph_file f = ph_create("f", 4, file_size(8 * MB, 25), 1);
	unsigned long pages = f.size / ph_page;
	char *buf = ph_alloc(ph_page);
	struct ph_counters before;
	struct essa essa;
	unsigned int how, i;
	size_t off;

	for (how = 0; how < 2; how++) {
		read_file(&f, 64 << 10);
		ph_drain();
		ph_get_counters(&before);
		essa_start(&essa);
		for (i = 0; i < PERIODS; i++) {
			/* one read of each page, or two small ones */
			for (off = 0; off < f.size; off += ph_page) {
				if (!how) {
					ph_pread(f.fd, buf, ph_page, off);
					continue;
				}
				ph_pread(f.fd, buf, 100, off + 3);
				ph_pread(f.fd, buf, 100, off + 2000);
			}
			ph_pass(1);
		}
		ph_value("pages used", pages * PERIODS);
		ph_value("armed", ph_since(&before, PH_ARMED));
		ph_value("made volatile", ph_since(&before, PH_VOLATILE));
		essa_none(&essa, pages * PERIODS);
		ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
		ph_cmp(ph_since(&before, PH_STABLE), ==, 0);
	}
	ph_remove(&f);
}

/* The same page through the same open file: no other trace of its use */
static void one_page_read_over_and_over(void)
{
	struct ph_file f = ph_create("f", 5, ph_page, 1);
	char *buf = ph_alloc(ph_page);
	struct ph_counters before;
	struct essa essa;
	unsigned int i, j;

	ph_drain();
	ph_get_counters(&before);
	essa_start(&essa);
	for (i = 0; i < 32; i++) {
		for (j = 0; j < USES; j++) {
			ph_pread(f.fd, buf, ph_page, 0);
			ph_verify(buf, f.id, 0, ph_page, 1);
		}
		ph_pass(1);
	}
	ph_value("periods", i);
	ph_value("armed", ph_since(&before, PH_ARMED));
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	essa_none(&essa, i * USES);
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_cmp(ph_since(&before, PH_STABLE), ==, 0);
	ph_remove(&f);
}

static void used_through_a_mapping(void)
{
	static const unsigned int every[] = { 1, 2, 4 };
	struct ph_file f = ph_create("f", 6, file_size(8 * MB, 25), 1);
	unsigned long pages = f.size / ph_page, faults;
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	struct ph_counters before;
	unsigned int i, visits;
	struct essa essa;
	size_t how;

	for (how = 0; how < ARRAY_SIZE(every); how++) {
		ph_check(ph_set("mapped_every", "%u", every[how]));
		ph_touch(map, f.size);
		ph_drain();
		ph_get_counters(&before);
		essa_start(&essa);
		faults = ph_minor_faults();
		visits = PERIODS * every[how];
		for (i = 0; i < visits; i++) {
			ph_touch(map, f.size);
			ph_pass(1);
		}
		/* see what the last pass has done, too */
		ph_touch(map, f.size);
		faults = ph_minor_faults() - faults;
		ph_say("mapped_every %u: made volatile %lu", every[how],
		       ph_since(&before, PH_VOLATILE));
		ph_say("mapped_every %u: faults per page and visit %lu.%02lu",
		       every[how], faults / pages / visits,
		       faults * 100 / pages / visits % 100);
		essa_none(&essa, pages * visits);
		/* each page has had its turn once in so many rounds */
		if (PH_YOUNG_FAULTS)
			ph_cmp(faults, >=, pages * PERIODS * 95 / 100);
		ph_cmp(faults, <=, pages * PERIODS *
				   (PH_YOUNG_FAULTS ? 105 : 5) / 100);
		ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
		ph_cmp(ph_since(&before, PH_STABLE), ==, 0);
	}
	munmap(map, f.size);
	ph_remove(&f);
}

/* Idle, and nothing to gain or too much to lose */
static void program_text(void)
{
	struct ph_file f = ph_create("f", 7, file_size(4 * MB, 25), 1);
	char *map = ph_map(&f, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	struct ph_counters before;

	ph_touch(map, f.size);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(10);
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_verify(map, f.id, 0, f.size, 1);
	munmap(map, f.size);
	ph_remove(&f);
}

static void shared_memory(void)
{
	size_t size = file_size(4 * MB, 25);
	struct ph_counters before;
	char *map;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ph_check(map != MAP_FAILED);
	ph_fill(map, 8, 0, size, 1);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(10);
	ph_host_discard();
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_verify(map, 8, 0, size, 1);
	munmap(map, size);
}

#define EXTENTS	64

struct extents {
	struct fiemap map;
	struct fiemap_extent extent[EXTENTS];
};

/* Where on the block device is the file? */
static void find_extents(const struct ph_file *f, struct extents *e)
{
	const unsigned int bad = FIEMAP_EXTENT_UNKNOWN |
		FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
		FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_NOT_ALIGNED;
	unsigned int i;
	size_t sum = 0;

	memset(e, 0, sizeof(*e));
	e->map.fm_length = f->size;
	e->map.fm_flags = FIEMAP_FLAG_SYNC;
	e->map.fm_extent_count = EXTENTS;
	if (ioctl(f->fd, FS_IOC_FIEMAP, &e->map))
		ph_skip("the file system does not tell where a file is");
	for (i = 0; i < e->map.fm_mapped_extents; i++) {
		if (e->extent[i].fe_flags & bad)
			ph_skip("the file is not on the block device as it is");
		sum += e->extent[i].fe_length;
	}
	ph_cmp(sum, >=, f->size);
}

/* The content of the file, through the cache of the block device */
static void read_device(int fd, const struct ph_file *f,
			const struct extents *e)
{
	char *buf = ph_alloc(64 << 10);
	unsigned int i;

	for (i = 0; i < e->map.fm_mapped_extents; i++) {
		const struct fiemap_extent *x = &e->extent[i];
		size_t pos, end, n;

		/* there may be room for more behind the end of the file */
		end = f->size - x->fe_logical;
		if (end > x->fe_length)
			end = x->fe_length;
		for (pos = 0; pos < end; pos += n) {
			n = end - pos < 64 << 10 ? end - pos : 64 << 10;
			ph_pread(fd, buf, n, x->fe_physical + pos);
			ph_verify(buf, f->id, x->fe_logical + pos, n, 1);
		}
	}
	munmap(buf, 64 << 10);
}

/*
 * As much of it as any file, or none. The blocks are those of a file that is
 * not in the cache, so nobody else is interested in them.
 */
static void block_device(void)
{
	struct ph_file f = ph_create("f", 13, file_size(8 * MB, 25), 1);
	unsigned long pages = f.size / ph_page, n, lost;
	struct ph_counters before;
	char path[PH_PATH];
	struct extents e;
	struct stat st;
	int fd, knob;
	bool gone;

	ph_check(!stat(ph_dir, &st));
	ph_name(path, "device");
	if (!major(st.st_dev) || mknod(path, S_IFBLK | 0600, st.st_dev))
		ph_skip("no block device");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ph_skip("cannot open the block device");
	find_extents(&f, &e);
	for (knob = 0; knob < 2; knob++) {
		ph_check(ph_set("block_devices", "%d", knob));
		ph_drop_caches();
		ph_settle();
		read_device(fd, &f, &e);
		ph_drain();
		ph_get_counters(&before);
		ph_pass(4);
		n = ph_since(&before, PH_VOLATILE);
		ph_say("block_devices %d: made volatile %lu of %lu", knob, n,
		       pages);
		if (knob)
			ph_cmp(n, >=, pages * 95 / 100);
		else
			ph_cmp(n, ==, 0);

		gone = ph_host_discard();
		read_device(fd, &f, &e);
		/* including what a host has taken that does so by itself */
		lost = ph_since(&before, PH_LOST) +
		       ph_since(&before, PH_EVICTED);
		ph_say("block_devices %d: lost %lu", knob, lost);
		if (!knob)
			ph_cmp(lost, ==, 0);
		else if (gone)
			ph_cmp(lost, >=, pages * 95 / 100);
	}

	/* the clock finds it, too */
	ph_cmp(ph_idle(f.size), >=, pages * 95 / 100);
	gone = ph_host_discard();
	ph_get_counters(&before);
	ph_pass(1);
	ph_value("block_devices 1: evicted", ph_since(&before, PH_EVICTED));
	if (gone)
		ph_cmp(ph_since(&before, PH_EVICTED), >=, pages * 95 / 100);
	read_device(fd, &f, &e);
	close(fd);
	unlink(path);
	ph_remove(&f);
}

/* Nothing happens where nothing has happened */
static void idle_passes(void)
{
	struct ph_file f = ph_create("f", 9, file_size(8 * MB, 25), 1);
	struct ph_counters before;
	struct essa essa;

	/* what is taken meanwhile is work, too */
	ph_settle();
	if (ph_host_has_ctl())
		ph_check(ph_host_mode("idle"));
	ph_pass(1);
	ph_get_counters(&before);
	essa_start(&essa);
	ph_pass(8);
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	ph_value("made stable", ph_since(&before, PH_STABLE));
	essa_none(&essa, f.size / ph_page * 8);
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_cmp(ph_since(&before, PH_STABLE), ==, 0);
	ph_remove(&f);
}

/*
 * Keep one CPU from sleeping, wake another one now and then, and tell how far
 * the clock has got in 8 seconds
 */
static unsigned long rounds_of_busy_cpu(int cpu, int woken, unsigned int ms)
{
	unsigned long *n = mmap(NULL, ph_page, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double start = ph_now();
	pid_t pid, waker;
	unsigned long sum;

	ph_check(n != MAP_FAILED);
	waker = ph_fork();
	if (!waker) {
		ph_pin(woken);
		while (ph_now() < start + 9)
			ph_msleep(ms);
		_exit(0);
	}
	pid = ph_fork();
	if (!pid) {
		ph_pin(cpu);
		/* until all the others have fallen asleep */
		while (ph_now() < start + 1)
			;
		*n = ph_rounds();
		while (ph_now() < start + 9)
			;
		*n = ph_rounds() - *n;
		_exit(0);
	}
	ph_wait(pid);
	ph_wait(waker);
	sum = *n;
	munmap(n, ph_page);
	return sum;
}

/*
 * While there is nothing to do, the clock does not wake a CPU that sleeps, for
 * four periods. Then it makes a round, be it on another one that is awake.
 */
static void clock_needs_one_cpu(void)
{
	unsigned long n, start;
	struct ph_counters before;
	bool late = false, lazy = true;
	int cpu, i, cpus[2];
	cpu_set_t all;
	double end;

	ph_check(!sched_getaffinity(0, sizeof(all), &all));
	for (i = 0, cpu = 0; i < 2; cpu = (cpu + 1) % CPU_SETSIZE)
		if (CPU_ISSET(cpu, &all))
			cpus[i++] = cpu;
	ph_settle();
	ph_get_counters(&before);
	start = ph_rounds();
	ph_check(ph_set("period_ms", "200"));
	/* the first one is not whole, then two with nothing to do */
	end = ph_now() + 10;
	while (ph_rounds() < start + 3 && ph_now() < end)
		ph_msleep(200);
	ph_value("rounds before", ph_rounds() - start);

	for (i = 0; i < 2; i++) {
		/* one word of the mask is enough to try it */
		if (cpus[!i] < 32)
			ph_check(ph_write_file(PH_WORKERS, "%x",
					       1U << cpus[!i]));
		/* hardly ever, and once in the four periods */
		n = rounds_of_busy_cpu(cpus[i], cpus[!i], i ? 700 : 9000);
		ph_say("CPU %d alone busy for 8 s: %lu rounds of 0.2 s",
		       cpus[i], n);
		/* one in each second, but for those that the guest is late */
		late |= n < 5;
		/* five in each if nobody is asleep */
		lazy &= n < 30 || cpus[0] == cpus[1];
	}
	/* or the clock was not lazy */
	ph_value("armed meanwhile", ph_since(&before, PH_ARMED));
	ph_value("made volatile meanwhile", ph_since(&before, PH_VOLATILE));
	if (late)
		ph_fail("the clock waits for a CPU that sleeps");
	if (!lazy)
		ph_fail("the clock wakes a CPU that sleeps");
}

/* --- what a discarded page costs ---------------------------------------- */

static void refault(const char *name, size_t chunk)
{
	size_t size = file_size(ph_env("PAGE_HINTING_MB", 200) * MB, 50);
	struct ph_disk_stat cold, gone;
	struct ph_counters before;
	struct ph_file f;
	unsigned long n;
	int where;

	if (!ph_host_discards())
		ph_skip("needs a host that discards everything");
	need_disk(size);
	f = ph_create("f", 10, size, 1);
	ph_drop_caches();

	ph_disk_stat(&cold);
	chunk ? read_file(&f, chunk) : map_file(&f);
	ph_disk_since(&cold);
	ph_say("%s: %lu MB cold: %lu requests, %lu sectors", name, size / MB,
	       cold.reads, cold.sectors);
	ph_cmp(cold.sectors, >=, size / 512);

	for (where = 0; where < PH_WHERES; where++) {
		ph_get_counters(&before);
		n = ph_idle(size);
		ph_cmp(n, >=, size / ph_page * 95 / 100);
		ph_host_discard();
		if (where == PH_CLEANED) {
			/* some may have been, while others were split */
			ph_pass(1);
			share("evicted by the clock",
			      ph_since(&before, PH_EVICTED), n);
			ph_cmp(ph_since(&before, PH_EVICTED), >=, n * 95 / 100);
		}
		ph_disk_stat(&gone);
		chunk ? read_file(&f, chunk) : map_file(&f);
		ph_disk_since(&gone);
		ph_say("%s: %s: %lu requests (%lu.%02lu of cold), %lu sectors",
		       name, where == PH_CLEANED ? "cleaned up" : "discarded",
		       gone.reads, gone.reads / cold.reads,
		       gone.reads * 100 / cold.reads % 100, gone.sectors);
		ph_value("lost", ph_since(&before, PH_LOST));
		/* all of it was gone, and it came back in large requests */
		ph_cmp(gone.sectors, >=, cold.sectors * 90 / 100);
		/* above 1 MB on average, it is chance how they are merged */
		if (gone.sectors / gone.reads < MB / 512)
			ph_cmp(gone.reads * 100, <=, cold.reads * 105 + 1000);
	}
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&f);
}

static void refault_by_read(void)
{
	refault("read(2) of 64K", 64 << 10);
}

static void refault_by_small_read(void)
{
	refault("read(2) of a page", ph_page);
}

static void refault_by_mmap(void)
{
	refault("mmap", 0);
}

/* The cache figures tell the truth after the next visit */
static void clock_cleans_up(void)
{
	size_t size = file_size(32 * MB, 25);
	struct ph_file f = ph_create("f", 11, size, 1);
	unsigned long cached, n;
	struct ph_counters before;
	bool gone;

	ph_settle();
	read_file(&f, 64 << 10);
	n = ph_idle(size);
	gone = ph_host_discard();
	ph_get_counters(&before);
	cached = ph_meminfo("Cached");
	ph_pass(1);
	ph_value("volatile", n);
	ph_value("evicted", ph_since(&before, PH_EVICTED));
	ph_value("Cached before (kB)", cached >> 10);
	ph_value("Cached after (kB)", ph_meminfo("Cached") >> 10);
	if (!gone)
		ph_skip("needs a host that discards everything");
	ph_cmp(ph_since(&before, PH_EVICTED), >=, n * 95 / 100);
	ph_cmp(ph_meminfo("Cached"), <=, cached - size / 100 * 90);
	ph_cmp(ph_resident(&f), <=, size / ph_page / 20);
	ph_remove(&f);
}

/* --- what a page that is kept costs ------------------------------------- */

static void faults_on_kept_pages(void)
{
	struct ph_file f = ph_create("f", 12, file_size(32 * MB, 25), 1);
	unsigned long pages = f.size / ph_page, stable, kept, n;
	struct ph_counters before;
	char *map;

	ph_need_idle_host();
	ph_settle();
	read_file(&f, 64 << 10);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	stable = ph_minor_faults();
	ph_touch(map, f.size);
	stable = ph_minor_faults() - stable;
	munmap(map, f.size);

	n = ph_idle(f.size);
	share("volatile", n, pages);
	ph_cmp(n, >=, pages * 95 / 100);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	ph_get_counters(&before);
	n = ph_major_faults();
	kept = ph_minor_faults();
	ph_touch(map, f.size);
	kept = ph_minor_faults() - kept;
	n = ph_major_faults() - n;
	ph_value("minor faults, stable", stable);
	ph_value("minor faults, volatile and kept", kept);
	ph_value("major faults", n);
	ph_value("made stable", ph_since(&before, PH_STABLE));
	ph_cmp(kept, <=, stable);
	ph_cmp(n, ==, 0);
	ph_verify(map, f.id, 0, f.size, 1);
	munmap(map, f.size);
	ph_remove(&f);
}

/* --- reclaim ------------------------------------------------------------ */

struct residents {
	unsigned long first;
	unsigned long second;
};

static struct residents reclaim_round(const char *mode, struct ph_file f[3])
{
	unsigned long pages = f[0].size / ph_page;
	struct ph_counters before;
	struct residents r;

	ph_check(ph_set("mode", "%s", mode));
	ph_drop_caches();
	ph_get_counters(&before);
	read_file(&f[0], 64 << 10);
	read_file(&f[1], 64 << 10);
	ph_drain();
	if (!strcmp(mode, "on"))
		ph_pass(3);
	ph_value("volatile before", ph_since(&before, PH_VOLATILE));
	read_file(&f[2], 64 << 10);
	r.first = ph_resident(&f[0]) * 100 / pages;
	r.second = ph_resident(&f[1]) * 100 / pages;
	ph_say("mode %s: of the first file %lu %% are left, of the second %lu %%",
	       mode, r.first, r.second);
	return r;
}

/*
 * Read one file, then another, leave both idle, read more than fits: the
 * first goes first, whether its pages were volatile or not.
 */
static void same_victims(void)
{
	unsigned long available;
	struct residents off, on;
	struct ph_file f[3];

	ph_need_idle_host();
	ph_drop_caches();
	available = ph_meminfo("MemAvailable");
	ph_value("MemTotal (MB)", ph_meminfo("MemTotal") / MB);
	ph_value("MemAvailable (MB)", available / MB);
	need_disk(available / 100 * 130);
	f[0] = ph_create("f0", 20, whole_pages(available / 100 * 25), 1);
	f[1] = ph_create("f1", 21, f[0].size, 1);
	f[2] = ph_create("f2", 22, whole_pages(available / 100 * 70), 1);

	/* the first round after boot is not like the others */
	reclaim_round("off", f);
	off = reclaim_round("off", f);
	on = reclaim_round("on", f);
	ph_cmp(on.first, <=, off.first + 10);
	ph_cmp(on.second + 10, >=, off.second);
	ph_cmp(on.first, <=, on.second);
	ph_remove(&f[0]);
	ph_remove(&f[1]);
	ph_remove(&f[2]);
}

static const struct ph_test tests[] = {
	PH_TEST(volatile_on_second_visit),
	PH_TEST(read_once),
	PH_TEST(read_twice),
	PH_TEST(stays_mapped),
	PH_TEST(read_in_each_period),
	PH_TEST(one_page_read_over_and_over),
	PH_TEST(used_through_a_mapping),
	PH_TEST(program_text),
	PH_TEST(shared_memory),
	PH_TEST(block_device),
	PH_TEST(idle_passes),
	PH_TEST(clock_needs_one_cpu),
	PH_TEST(clock_cleans_up),
	PH_TEST(refault_by_read),
	PH_TEST(refault_by_small_read),
	PH_TEST(refault_by_mmap),
	PH_TEST(faults_on_kept_pages),
	PH_TEST(same_victims),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
