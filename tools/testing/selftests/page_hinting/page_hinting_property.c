// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: what can be relied on, with the host asked for the state of
 * each page. Locked memory is never volatile; a store through a shared mapping
 * is never lost; a minor fault changes the state of volatile pages only.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT	4
#endif

#define PAGES	64UL
#define SIZE	(PAGES * ph_page)

/* --- locked memory ------------------------------------------------------ */

/*
 * All of the range is there, and stays there. That is what /proc/self/pagemap
 * and the host say, before and after the clock has come by as often as it may
 * take. No fault is needed to see the content.
 */
static void stays_stable(char *map, size_t size, unsigned int id)
{
	unsigned long pages = size / ph_page, i;
	unsigned long pfn[PAGES];
	struct ph_counters c;
	struct rusage r[2];

	for (i = 0; i < pages; i++) {
		pfn[i] = ph_pfn(map + i * ph_page);
		if (!pfn[i])
			ph_fail("page %lu is locked, but not mapped", i);
	}
	ph_drain();
	ph_get_counters(&c);
	ph_pass(6);
	ph_host_discard();
	for (i = 0; i < pages; i++) {
		if (ph_pfn(map + i * ph_page) != pfn[i])
			ph_fail("page %lu is locked, but has moved", i);
		if (ph_host_has_ctl() && !ph_host_usage(pfn[i], "stable"))
			ph_fail("page %lu is locked, but not stable", i);
	}
	ph_value("made volatile", ph_since(&c, PH_VOLATILE));
	ph_check(!getrusage(RUSAGE_SELF, &r[0]));
	ph_verify(map, id, 0, size, 1);
	ph_check(!getrusage(RUSAGE_SELF, &r[1]));
	ph_cmp(r[1].ru_majflt - r[0].ru_majflt, ==, 0);
}

enum lock { LOCK, LOCK_ONFAULT, LOCK_ALL, LOCK_ALL_ONFAULT, LOCKS };

/* Returns false if one has to wait for the fault */
static bool lock(enum lock how, const void *map, size_t size)
{
	int err = 0;

	switch (how) {
	case LOCK:
		err = mlock(map, size);
		break;
	case LOCK_ONFAULT:
		err = mlock2(map, size, MLOCK_ONFAULT);
		break;
	case LOCK_ALL:
		err = mlockall(MCL_CURRENT | MCL_FUTURE);
		break;
	case LOCK_ALL_ONFAULT:
		err = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
		break;
	case LOCKS:
		break;
	}
	if (err)
		ph_skip("no locked memory: %s", strerror(errno));
	return how == LOCK || how == LOCK_ALL;
}

static void mlocked(int prot, int flags)
{
	struct ph_file f = ph_create("f", 1, SIZE, 1);
	int how, gone;
	char *map;

	for (how = 0; how < LOCKS; how++) {
		for (gone = 0; gone < 2; gone++) {
			map = ph_map(&f, prot, flags);
			ph_touch(map, SIZE);
			if (gone)
				ph_make_gone(SIZE, PH_IN_PLACE);
			if (!lock(how, map, SIZE))
				ph_touch(map, SIZE);
			ph_say("way %d, %s:", how,
			       gone ? "discarded before" : "resident before");
			stays_stable(map, SIZE, f.id);
			ph_check(!munlockall());
			munmap(map, SIZE);
		}
	}
	/* as idle as any other once it is unlocked */
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_remove(&f);
}

static void mlocked_shared(void)
{
	mlocked(PROT_READ, MAP_SHARED);
}

static void mlocked_writable(void)
{
	mlocked(PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void mlocked_private(void)
{
	mlocked(PROT_READ, MAP_PRIVATE);
}

/* Locked by one, mapped by another which does not use it, and read by both */
static void mlocked_by_another(void)
{
	struct ph_file f = ph_create("f", 2, SIZE, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	int p[2], q[2];
	pid_t pid;
	char c = 0;

	ph_touch(map, SIZE);
	ph_check(!pipe(p) && !pipe(q));
	pid = ph_fork();
	if (!pid) {
		if (mlock(map, SIZE))
			_exit(1);
		ph_check(write(p[1], &c, 1) == 1);
		ph_check(read(q[0], &c, 1) == 1);
		_exit(0);
	}
	ph_check(read(p[0], &c, 1) == 1);
	ph_touch(map, SIZE);
	stays_stable(map, SIZE, f.id);
	ph_check(write(q[1], &c, 1) == 1);
	ph_wait(pid);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);
	ph_remove(&f);
}

/*
 * A large folio of which one page is locked, by itself or with the others
 * mapped, too: all of it stays, and only it.
 */
static void mlocked_in_part(void)
{
	unsigned long pfn[PAGES], first, nr, i, others;
	struct ph_file f;
	char *map, *page;
	int alone;

	ph_check(ph_set("max_order", "5"));
	for (alone = 0; alone < 2; alone++) {
		/* what is read again may be in smaller folios */
		f = ph_create("f", 3, SIZE, 1);
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_pfns(map, SIZE, pfn);
		/* the first folio that is large, but not too large */
		for (first = 0; first < PAGES; first += nr ? nr : 1) {
			nr = ph_folio_pages(pfn[first]);
			if (nr > 1 && nr <= 32 && first + nr <= PAGES)
				break;
		}
		if (first >= PAGES)
			ph_skip("no large folios");
		ph_say("%s: page %lu of a folio of %lu pages is locked",
		       alone ? "nothing else mapped" : "all mapped",
		       first + nr / 2, nr);
		page = map + (first + nr / 2) * ph_page;
		if (mlock(page, ph_page))
			ph_skip("no locked memory: %s", strerror(errno));
		if (alone) {
			if (page > map)
				munmap(map, page - map);
			munmap(page + ph_page, map + SIZE - page - ph_page);
		}
		ph_drain();
		ph_pass(6);
		for (others = 0, i = 0; i < PAGES; i++) {
			bool is = ph_kpageflags(pfn[i]) >> PH_KPF_VOLATILE & 1;

			if (ph_host_has_ctl() &&
			    is != ph_host_usage(pfn[i], "volatile"))
				ph_fail("page %lu: the host is told something else",
					i);
			if (i < first || i >= first + nr)
				others += is;
			else if (is)
				ph_fail("page %lu of this folio is volatile",
					i - first);
		}
		ph_host_discard();
		ph_value("others volatile", others);
		if (ph_host_is("idle"))
			ph_cmp(others, >=, (PAGES - nr) * 75 / 100);
		ph_check(ph_pfn(page) == pfn[first + nr / 2]);
		i = ph_major_faults();
		ph_verify(page, f.id, (first + nr / 2) * ph_page, ph_page, 1);
		ph_cmp(ph_major_faults(), ==, i);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_check(!munlockall());
		if (alone)
			munmap(page, ph_page);
		else
			munmap(map, SIZE);
		/* nothing is left of it */
		ph_make_gone(SIZE, PH_CLEANED);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_remove(&f);
	}
}

/* --- stores ------------------------------------------------------------- */

static unsigned int seed = 1;

static unsigned int pick(unsigned int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

enum {
	STORE_MSYNC	= 1,	/* write back every now and then */
	STORE_UNMAP	= 2,	/* and map again */
	STORE_FORK	= 4,	/* a child stores, too */
	STORE_CUT	= 8,	/* and the file gets shorter and longer */
};

/*
 * Stores here and there while the clock runs and the host takes what it gets.
 * Pages are clean, dirty, mapped writable, mapped and not, volatile and gone
 * at any of these moments.
 */
static void store(unsigned int what)
{
	struct ph_file f = ph_create("f", 10, SIZE, 1);
	unsigned long granules = SIZE / PH_GRANULE, gone = 0;
	unsigned char *gens;
	struct ph_counters c;
	unsigned int i, n, gen;
	char *map;
	off_t off;

	/* a child's stores are to be known here */
	gens = mmap(NULL, granules, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ph_check(gens != MAP_FAILED);
	memset(gens, 1, granules);
	map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	ph_get_counters(&c);
	for (i = 0; i < 60; i++) {
		pid_t pid = what & STORE_FORK && i % 3 == 1 ? ph_fork() : -1;

		gen = 2 + i % 200;
		if (pid <= 0) {
			for (n = 0; n < 20; n++) {
				off = pick(granules) * PH_GRANULE;
				ph_fill(map + off, f.id, off, PH_GRANULE, gen);
				gens[off / PH_GRANULE] = gen;
			}
			if (!pid)
				_exit(0);
		} else {
			ph_wait(pid);
			/* other places next time */
			pick(2);
		}
		switch (pick(6)) {
		case 0:
			ph_drain();
			ph_pass(1);
			break;
		case 1:
			ph_drain();
			ph_pass(3);
			ph_host_discard();
			break;
		case 2:
			if (what & STORE_MSYNC)
				ph_check(!msync(map, SIZE, MS_SYNC));
			break;
		case 3:
			/* clean, volatile, and gone */
			if (what & STORE_MSYNC)
				ph_check(!msync(map, SIZE, MS_SYNC));
			else
				sync();
			ph_drain();
			ph_pass(2);
			ph_host_discard();
			ph_pass(pick(2));
			gone++;
			break;
		case 4:
			if (what & STORE_UNMAP) {
				munmap(map, SIZE);
				ph_pass(1);
				map = ph_map(&f, PROT_READ | PROT_WRITE,
					     MAP_SHARED);
			}
			break;
		case 5:
			if (what & STORE_CUT) {
				off = SIZE / 2 + pick(granules / 2) * PH_GRANULE;
				ph_check(!ftruncate(f.fd, off));
				ph_check(!ftruncate(f.fd, SIZE));
				memset(gens + off / PH_GRANULE, 0,
				       granules - off / PH_GRANULE);
			}
			break;
		}
		if (i % 4 == 3)
			ph_verify_gens(map, f.id, 0, SIZE, gens);
	}
	ph_value("lost or evicted", ph_since(&c, PH_LOST) +
		 ph_since(&c, PH_EVICTED));
	ph_value("times all was written back and taken", gone);
	if (ph_host_discards())
		ph_cmp(ph_since(&c, PH_LOST) + ph_since(&c, PH_EVICTED), >=,
		       PAGES);
	ph_verify_gens(map, f.id, 0, SIZE, gens);
	munmap(map, SIZE);
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	ph_drop_caches();
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	ph_remove(&f);
}

static void store_and_msync(void)
{
	store(STORE_MSYNC);
}

static void store_without_msync(void)
{
	store(0);
}

static void store_and_unmap(void)
{
	store(STORE_MSYNC | STORE_UNMAP);
}

static void store_and_fork(void)
{
	store(STORE_MSYNC | STORE_FORK | STORE_UNMAP);
}

static void store_and_truncate(void)
{
	store(STORE_MSYNC | STORE_UNMAP | STORE_CUT);
}

/* One stores all the time while another drives the clock and the host */
static void store_while_taken(void)
{
	struct ph_file f = ph_create("f", 11, SIZE, 1);
	char *map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	unsigned long i, granules = SIZE / PH_GRANULE, rounds = 0;
	unsigned char *gens = malloc(granules);
	double end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 4) / 2.0;
	pid_t pid;

	ph_check(gens);
	memset(gens, 1, granules);
	pid = ph_fork();
	while (!pid) {
		/* what is clean just now is volatile soon, and gone */
		ph_check(!fdatasync(f.fd));
		ph_pass(2);
		ph_host_discard();
	}
	do {
		for (i = rounds % 7; i < granules; i += 7) {
			gens[i] = 2 + (rounds + i) % 200;
			ph_fill(map + i * PH_GRANULE, f.id, i * PH_GRANULE,
				PH_GRANULE, gens[i]);
		}
		/* leave the pages alone for long enough */
		ph_msleep(20);
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		rounds++;
	} while (ph_now() < end);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ph_value("rounds", rounds);
	ph_verify_gens(map, f.id, 0, SIZE, gens);
	ph_check(!msync(map, SIZE, MS_SYNC));
	ph_drop_caches();
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	munmap(map, SIZE);
	ph_remove(&f);
}

/* --- minor faults ------------------------------------------------------- */

static void fault_again(char *map, size_t size, bool write)
{
	size_t off;

	ph_check(!madvise(map, size, MADV_DONTNEED));
	for (off = 0; off < size; off += ph_page) {
		if (write)
			__atomic_fetch_or(map + off, 0, __ATOMIC_RELAXED);
		else
			ph_touch(map + off, ph_page);
	}
}

/*
 * Faults on stable pages, for reading and for writing, make no use of ESSA at
 * all; what there is of it comes from whoever else allocates and frees. And
 * the state of each page is after them what it was before.
 */
static void minor_faults_leave_states(void)
{
	static const char * const names[] = {
		"read", "read at random", "private", "written",
	};
	struct ph_file f = ph_create("f", 20, 4 * SIZE, 1);
	unsigned long before[8], after[8], faults, most = 0, sum = 0, i;
	char old[4 * PAGES], new[4 * PAGES];
	unsigned long pfn[4 * PAGES], now;
	unsigned int how, n, tries;
	struct ph_counters c;
	bool essa = false;
	char *map;

	if (!ph_host_has_ctl())
		ph_skip("needs a host that tells states");
	for (how = 0; how < ARRAY_SIZE(names); how++) {
		map = ph_map(&f, PROT_READ | (how == 3 ? PROT_WRITE : 0),
			     how == 2 ? MAP_PRIVATE : MAP_SHARED);
		if (how == 1 || how == 3)
			ph_check(!madvise(map, f.size, MADV_RANDOM));
		/* page tables, and no page that is armed */
		ph_touch(map, f.size);
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		ph_pfns(map, f.size, pfn);
		ph_drain();
		ph_host_states(pfn, ARRAY_SIZE(pfn), old);
		for (i = 0; i < ARRAY_SIZE(pfn); i++)
			if (old[i] != 's')
				ph_fail("page %lu is in state '%c'", i, old[i]);
		/* Somebody else may be busy once, or even twice. */
		for (tries = 0; tries < 3; tries++) {
			ph_get_counters(&c);
			essa = ph_host_essa(before);
			faults = ph_minor_faults();
			for (n = 0; n < 50; n++)
				fault_again(map, f.size, how == 3);
			faults = ph_minor_faults() - faults;
			ph_say("%s: %lu faults", names[how], faults);
			ph_cmp(faults, >=, 50 * f.size / ph_page / 16);
			ph_cmp(ph_since(&c, PH_VOLATILE), ==, 0);
			ph_cmp(ph_since(&c, PH_STABLE), ==, 0);
			ph_cmp(ph_since(&c, PH_LOST), ==, 0);
			if (!essa)
				break;
			ph_check(ph_host_essa(after));
			for (sum = 0, i = 1; i < 8; i++)
				sum += after[i] - before[i];
			ph_say("%lu ESSA", sum);
			ph_cmp(after[3] - before[3] + after[4] - before[4],
			       ==, 0);
			/*
			 * What is written is written back some time. Page
			 * tables come and go by batches of some 60 pages.
			 */
			most = 150 + faults / (how == 3 ? 5 : 20);
			if (sum <= most)
				break;
		}
		if (essa)
			ph_cmp(sum, <=, most);
		ph_host_states(pfn, ARRAY_SIZE(pfn), new);
		for (i = 0; i < ARRAY_SIZE(pfn); i++) {
			now = ph_pfn(map + i * ph_page);
			if (now != pfn[i])
				ph_fail("page %lu has moved from 0x%lx to 0x%lx",
					i, pfn[i], now);
			if (new[i] != old[i])
				ph_fail("page %lu, '%c' before, is '%c'", i,
					old[i], new[i]);
		}
		munmap(map, f.size);
		ph_check(!fsync(f.fd));
	}
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&f);
}

/*
 * Stable, dirty and volatile folios in turn, in one range, and faults on every
 * other page of it: a volatile page is stable if it has been mapped, and no
 * other page is anything but what it was.
 */
static void faults_on_a_mixture(void)
{
	enum { VOLATILE, STABLE, DIRTY, KINDS };
	static const char * const names[] = {
		"read", "read at random", "private", "writable",
	};
	struct ph_file f = ph_create("f", 22, SIZE, 1);
	unsigned long granules = SIZE / PH_GRANULE;
	unsigned long pfn[PAGES], head, nr, i;
	unsigned char *gens = malloc(granules);
	unsigned long kinds[KINDS], changed;
	char old[PAGES], new[PAGES];
	char *map, *buf = ph_alloc(SIZE);
	unsigned int how, kind;

	if (!ph_host_has_ctl())
		ph_skip("needs a host that tells states");
	ph_need_idle_host();
	ph_check(gens);
	memset(gens, 1, granules);
	ph_check(ph_write_file("/proc/sys/vm/dirty_writeback_centisecs", "0"));
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM));
	for (how = 0; how < ARRAY_SIZE(names); how++) {
		ph_check(!fsync(f.fd));
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_pfns(map, SIZE, pfn);
		munmap(map, SIZE);
		ph_cmp(ph_idle(SIZE), >=, PAGES * 95 / 100);
		for (kind = 0, head = 0; head < PAGES; head += nr, kind++) {
			nr = ph_folio_pages(pfn[head]);
			ph_check(nr && head + nr <= PAGES);
			if (kind % KINDS == STABLE) {
				ph_pread(f.fd, buf, ph_page, head * ph_page);
			} else if (kind % KINDS == DIRTY) {
				ph_write_gen(f.fd, f.id, head * ph_page,
					     ph_page, 2 + how);
				memset(gens + head * ph_page / PH_GRANULE,
				       2 + how, ph_page / PH_GRANULE);
			}
		}
		ph_host_states(pfn, PAGES, old);
		memset(kinds, 0, sizeof(kinds));
		for (i = 0; i < PAGES; i++) {
			if (ph_kpageflags(pfn[i]) >> PH_KPF_DIRTY & 1) {
				if (old[i] != 's')
					ph_fail("page %lu is dirty and '%c'", i,
						old[i]);
				kinds[DIRTY]++;
			} else {
				kinds[old[i] == 'v' ? VOLATILE : STABLE]++;
			}
		}
		ph_say("%s: %lu stable, %lu dirty, %lu volatile", names[how],
		       kinds[STABLE], kinds[DIRTY], kinds[VOLATILE]);
		for (i = 0; i < KINDS; i++)
			ph_cmp(kinds[i], >=, PAGES / 8);

		map = ph_map(&f, PROT_READ | (how == 3 ? PROT_WRITE : 0),
			     how == 2 ? MAP_PRIVATE : MAP_SHARED);
		if (how == 1)
			ph_check(!madvise(map, SIZE, MADV_RANDOM));
		/* each other page, with fault-around, of one half */
		for (i = 0; i < PAGES / 2; i += 2)
			ph_touch(map + i * ph_page, ph_page);
		ph_host_states(pfn, PAGES, new);
		for (changed = 0, i = 0; i < PAGES; i++) {
			unsigned long now = ph_pfn(map + i * ph_page);

			if (now && now != pfn[i])
				ph_fail("page %lu has moved", i);
			if (now && new[i] != 's')
				ph_fail("page %lu is mapped and '%c'", i,
					new[i]);
			if (new[i] == old[i])
				continue;
			changed++;
			if (old[i] != 'v' || new[i] != 's')
				ph_fail("page %lu, '%c' before, is '%c'", i,
					old[i], new[i]);
			if (i >= PAGES / 2 + 16)
				ph_fail("page %lu, far from any fault, is '%c'",
					i, new[i]);
		}
		ph_value("volatile pages that have become stable", changed);
		ph_cmp(changed, >, 0);
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		munmap(map, SIZE);
	}
	ph_drop_caches();
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	ph_remove(&f);
}

/* A fault on one volatile page makes it and its neighbours stable, no others */
static void fault_on_volatile(void)
{
	struct ph_file f = ph_create("f", 21, SIZE, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	unsigned long pfn[PAGES], i, n, stable = 0, around = 16;

	if (!ph_host_has_ctl())
		ph_skip("needs a host that tells states");
	ph_check(ph_host_mode("idle"));
	ph_pfns(map, SIZE, pfn);
	ph_cmp(ph_idle(SIZE), >=, PAGES * 95 / 100);
	ph_touch(map + PAGES / 2 * ph_page, ph_page);
	for (i = 0; i < PAGES; i++) {
		/* a window may be in two folios */
		n = ph_folio_pages(pfn[i]);
		if (2 * n > around && n > 1)
			around = 2 * n;
		if (!ph_host_usage(pfn[i], "stable"))
			continue;
		stable++;
		if (ph_pfn(map + i * ph_page) != pfn[i] && stable > 4)
			ph_fail("page %lu is stable, but not mapped", i);
	}
	ph_value("stable after one fault", stable);
	ph_check(ph_host_usage(pfn[PAGES / 2], "stable"));
	/* 64K around, folios as a whole, and what was not volatile before */
	ph_cmp(stable, <=, around + PAGES / 20 + 1);
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);
	ph_remove(&f);
}

static const struct ph_test tests[] = {
	PH_TEST(mlocked_shared),
	PH_TEST(mlocked_writable),
	PH_TEST(mlocked_private),
	PH_TEST(mlocked_by_another),
	PH_TEST(mlocked_in_part),
	PH_TEST(store_and_msync),
	PH_TEST(store_without_msync),
	PH_TEST(store_and_unmap),
	PH_TEST(store_and_fork),
	PH_TEST(store_and_truncate),
	PH_TEST(store_while_taken),
	PH_TEST(minor_faults_leave_states),
	PH_TEST(faults_on_a_mixture),
	PH_TEST(fault_on_volatile),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
