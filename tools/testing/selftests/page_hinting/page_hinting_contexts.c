// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: accesses to discarded frames, from every context in which
 * they could come. No correct kernel makes any, so CONFIG_PAGE_HINTING_TEST
 * does. It also helps with what else cannot be had from outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/elf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define DEBUG	"/sys/kernel/debug/page_hinting/"
#define FEW	64U			/* pages, for what is done one by one */
#define ID	90
#define MAX_CPUS	64

#define CONTEXT(fn)	PH_TEST_EXPECT(fn, PH_EXPECT_FAULTS)

struct victims {
	struct ph_file f;
	unsigned int nr;
	unsigned long *pfn;
};

static int debug_open(const char *name)
{
	char path[PH_PATH];
	int fd;

	snprintf(path, sizeof(path), DEBUG "%s", name);
	fd = open(path, (strcmp(name, "frames") ? O_WRONLY : O_RDONLY) |
		  O_CLOEXEC);
	if (fd < 0)
		ph_skip("no %s: CONFIG_PAGE_HINTING_TEST and debugfs needed",
			path);
	return fd;
}

/* Return: 0 or errno */
static int debug_do(int fd, unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", pfn);
	return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

static struct victims victims_new(unsigned int nr)
{
	struct victims v = {
		.nr = nr,
		.f = ph_create("f", ID, 0, 1),
		.pfn = ph_alloc(nr * sizeof(*v.pfn)),
	};
	unsigned int i;

	/* one by one, so that no folio has more than one of them */
	for (i = 0; i < nr; i++)
		ph_write_gen(v.f.fd, ID, i * ph_page, ph_page, 1);
	ph_check(!fsync(v.f.fd));
	v.f.size = nr * ph_page;
	ph_file_pfns(&v.f, v.pfn);
	return v;
}

static struct victims victims_create(unsigned int nr)
{
	struct victims v;

	if (!ph_host_takes_all() && !ph_host_has_ctl())
		ph_skip("a host that discards on request needed");
	v = victims_new(nr);
	ph_make_gone(v.f.size, PH_IN_PLACE);
	return v;
}

static void victims_check(struct victims *v)
{
	ph_verify_read(v->f.fd, ID, 0, v->f.size, 1);
}

static void victims_remove(struct victims *v)
{
	victims_check(v);
	ph_remove(&v->f);
}

/* The clock stands still, so it is not the one who evicts */
static void wait_for_eviction(const struct ph_counters *c, unsigned int nr)
{
	double end = ph_now() + 20;

	while (ph_since(c, PH_EVICTED) < nr && ph_now() < end)
		ph_msleep(1);
	ph_cmp(ph_since(c, PH_EVICTED), >=, nr);
}

/* An access to each frame must be refused, and have the page evicted */
static void refused(struct victims *v, const char *name, int expect,
		    bool faults)
{
	int fd = debug_open(name);
	struct ph_counters c;
	unsigned int i;

	ph_get_counters(&c);
	for (i = 0; i < v->nr; i++) {
		ph_cmp(debug_do(fd, v->pfn[i]), ==, expect);
		wait_for_eviction(&c, i + 1);
	}
	ph_cmp(ph_since(&c, PH_FAULT), ==, faults ? v->nr : 0);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 0);
	ph_cmp(ph_since(&c, PH_EVICTED), ==, v->nr);
	/* What is done to a frame that is free now is not our business */
	close(fd);
}

static void kernel_with_fixup(void)
{
	struct victims v = victims_create(FEW);

	refused(&v, "nofault", EFAULT, true);
	victims_remove(&v);
}

static void kernel_with_fixup_no_interrupts(void)
{
	struct victims v = victims_create(FEW);

	refused(&v, "nofault_irq", EFAULT, true);
	victims_remove(&v);
}

/* A lookup that hits the holder of the hash lock finds nothing */
static void lookup_like_nmi(void)
{
	struct victims v = victims_create(FEW);

	refused(&v, "lookup", EAGAIN, false);
	victims_remove(&v);
}

/* The same, and nothing was lost: it must stay as it is */
static void lookup_like_nmi_kept(void)
{
	int fd = debug_open("lookup");
	struct victims v;
	struct ph_counters c;
	unsigned int i;

	if (!ph_host_has_ctl() || !ph_host_mode("pager"))
		ph_skip("a host that can be told not to discard needed");
	v = victims_new(FEW);
	ph_cmp(ph_idle(v.f.size), >=, FEW * 95 / 100);
	ph_get_counters(&c);
	for (i = 0; i < FEW; i++)
		ph_cmp(debug_do(fd, v.pfn[i]), ==, EAGAIN);
	ph_msleep(100);
	ph_cmp(ph_since(&c, PH_EVICTED), ==, 0);
	ph_cmp(ph_since(&c, PH_NR_VOLATILE), ==, 0);
	victims_check(&v);
	ph_cmp(ph_since(&c, PH_STABLE), >=, FEW);
	ph_cmp(ph_since(&c, PH_LOST), ==, 0);
	close(fd);
	victims_remove(&v);
}

/*
 * A search for dirty folios takes one that the clock has locked for dirty, and it
 * is written to without another lookup. So it must not be volatile any more.
 */
static void found_while_locked(void)
{
	int fd = debug_open("lookup_dirty"), err;
	struct victims v = victims_new(FEW);
	struct ph_counters c;
	unsigned int i, done = 0;

	ph_cmp(ph_idle(v.f.size), >=, FEW * 95 / 100);
	ph_get_counters(&c);
	for (i = 0; i < FEW; i++) {
		err = debug_do(fd, v.pfn[i]);
		if (err && err != EAGAIN)
			ph_fail("page %u: %s", i, strerror(err));
		done += !err;
	}
	ph_cmp(done, >=, FEW * 95 / 100);
	ph_cmp(ph_since(&c, PH_STABLE) + ph_since(&c, PH_LOST), >=, done);
	close(fd);
	victims_remove(&v);
}

/*
 * Between the last look that the clock takes at a folio and the moment when it
 * has the reference count to itself
 */
static void race(const char *name, bool hinted)
{
	int fd = debug_open(name);
	struct ph_counters c;
	struct victims v;
	unsigned int i;

	if (ph_cpus < 2)
		ph_skip("more than one CPU needed");
	v = victims_new(FEW);
	/* read and not written, so without buffers, which know what is dirty */
	ph_drop_caches();
	ph_verify_read(v.f.fd, ID, 0, v.f.size, 1);
	ph_file_pfns(&v.f, v.pfn);
	ph_drain();
	ph_get_counters(&c);
	for (i = 0; i < FEW; i++)
		ph_cmp(debug_do(fd, v.pfn[i]), ==, 0);
	ph_cmp(ph_since(&c, PH_NR_VOLATILE), ==, hinted ? FEW : 0);
	close(fd);
	victims_remove(&v);
}

static void race_nothing(void)
{
	race("race_nothing", true);
}

static void race_held(void)
{
	race("race_held", false);
}

static void race_dirtied(void)
{
	race("race_dirtied", false);
}

/*
 * To switch off, all folios must be stable first. Reclaim may sit on one of
 * them for as long as some other I/O takes. Who waits for that can be killed,
 * and then it is as if nothing had been written.
 */
static void frozen_when_switched_off(void)
{
	struct victims v = victims_create(FEW);
	int fd = debug_open("freeze"), status;
	char mode[16];
	pid_t pid;

	ph_cmp(debug_do(fd, v.pfn[FEW / 2]), ==, 0);
	pid = ph_fork();
	if (!pid)
		_exit(!ph_set("mode", "off"));
	ph_msleep(500);
	ph_cmp(waitpid(pid, &status, WNOHANG), ==, 0);
	ph_check(!kill(pid, SIGKILL));
	ph_check(waitpid(pid, &status, 0) == pid);
	ph_check(WIFSIGNALED(status));
	ph_get("mode", mode, sizeof(mode));
	ph_check(!strncmp(mode, "on", 2));
	if (ph_host_has_ctl())
		ph_check(ph_host_usage(v.pfn[FEW / 2], "volatile"));
	close(fd);
	ph_check(ph_set("mode", "off"));
	ph_check(ph_set("mode", "on"));
	victims_remove(&v);
}

/* --- marks that must not stay ------------------------------------------- */

static unsigned long refaults(void)
{
	ph_fold_stats();
	return ph_vmstat("workingset_refault_file");
}

/* Nobody can evict them as long as they are held: they are read in place */
static int *hold_all(const struct victims *v)
{
	int *fds = ph_alloc(v->nr * sizeof(*fds));
	unsigned int i;

	for (i = 0; i < v->nr; i++) {
		fds[i] = debug_open("hold");
		ph_cmp(debug_do(fds[i], v->pfn[i]), ==, 0);
	}
	return fds;
}

static void let_go(const struct victims *v, int *fds)
{
	unsigned int i;

	for (i = 0; i < v->nr; i++)
		close(fds[i]);
}

/*
 * What was lost, and has been read or overwritten since, is like any other: if
 * the file system drops it, that is not the host's doing.
 */
static void dropped_by_file_system(void)
{
	int fd = debug_open("not_uptodate"), *held;
	struct victims v = victims_create(FEW);
	unsigned long before;
	unsigned int i, way;

	for (way = 0; way < 2; way++) {
		if (way)
			ph_make_gone(v.f.size, PH_IN_PLACE);
		held = hold_all(&v);
		before = refaults();
		if (way)
			ph_write_gen(v.f.fd, ID, 0, v.f.size, 1);
		else
			victims_check(&v);
		ph_cmp(refaults() - before, ==, way ? 0 : FEW);
		ph_check(!fsync(v.f.fd));
		let_go(&v, held);

		for (i = 0; i < v.nr; i++)
			ph_cmp(debug_do(fd, v.pfn[i]), ==, 0);
		before = refaults();
		victims_check(&v);
		ph_cmp(refaults() - before, ==, 0);
	}
	close(fd);
	victims_remove(&v);
}

#define FAIL	"/sys/kernel/debug/fail_make_request/"

/* Reads of this process, of the disk that @f is on, fail, or do not any more */
static void fail_reads(const struct ph_file *f, bool fail)
{
	char path[PH_PATH];
	struct stat st;

	ph_check(!fstat(f->fd, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/make-it-fail",
		 major(st.st_dev), minor(st.st_dev));
	if (!ph_write_file(FAIL "task-filter", "1") ||
	    !ph_write_file(path, "%d", fail))
		ph_skip("CONFIG_FAIL_MAKE_REQUEST needed");
	ph_check(ph_write_file(FAIL "verbose", "0"));
	ph_check(ph_write_file(FAIL "times", "-1"));
	ph_check(ph_write_file(FAIL "probability", "%d", fail ? 100 : 0));
	ph_check(ph_write_file("/proc/self/make-it-fail", "%d", fail));
}

/* It is taken once, however often it takes until it is back */
static void failed_in_place(void)
{
	struct victims v = victims_create(FEW);
	char *buf = ph_alloc(ph_page);
	unsigned int i, attempt;
	unsigned long before;
	int *held;

	held = hold_all(&v);
	fail_reads(&v.f, true);
	for (attempt = 0; attempt < 3; attempt++) {
		before = refaults();
		for (i = 0; i < v.nr; i++)
			ph_check(pread(v.f.fd, buf, ph_page, i * ph_page) < 0 &&
				 errno == EIO);
		ph_cmp(refaults() - before, ==, attempt ? 0 : FEW);
	}
	fail_reads(&v.f, false);
	before = refaults();
	victims_check(&v);
	ph_cmp(refaults() - before, ==, 0);
	let_go(&v, held);
	victims_remove(&v);
}

/*
 * Caches that the file system has in inodes of its own, as ext4's of what is
 * free, are not content of files, whatever these inodes look like
 */
static void internal_inodes(void)
{
	struct victims v = victims_new(1);
	int fd = debug_open("internal");

	/* to write the file took a look at what is free */
	ph_cmp(debug_do(fd, v.pfn[0]), ==, 0);
	close(fd);
	victims_remove(&v);
}

/* /proc/kcore: zeros */
static void read_kcore(void)
{
	struct victims v = victims_create(FEW);
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	char *buf = ph_alloc(ph_page);
	struct ph_counters c;
	unsigned int i, n, done = 0;
	unsigned long at;
	struct elf64_hdr e;
	struct elf64_phdr p;

	if (fd < 0)
		ph_skip("no /proc/kcore");
	ph_pread(fd, &e, sizeof(e), 0);
	ph_get_counters(&c);
	for (i = 0; i < v.nr; i++) {
		for (n = 0; n < e.e_phnum; n++) {
			ph_pread(fd, &p, sizeof(p),
				 e.e_phoff + n * sizeof(p));
			at = v.pfn[i] * ph_page - p.p_paddr;
			if (p.p_type == PT_LOAD && p.p_paddr != -1UL &&
			    v.pfn[i] * ph_page >= p.p_paddr &&
			    at < p.p_filesz)
				break;
		}
		if (n == e.e_phnum)
			continue;
		memset(buf, 1, ph_page);
		ph_check(pread(fd, buf, ph_page, p.p_offset + at) ==
			 (ssize_t)ph_page);
		ph_verify_zero(buf, ph_page);
		done++;
		wait_for_eviction(&c, done);
	}
	ph_cmp(done, >, 0);
	ph_cmp(ph_since(&c, PH_FAULT), >=, done);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 0);
	close(fd);
	victims_remove(&v);
}

static sigjmp_buf jump;
static int code;

static void sigbus(int sig, siginfo_t *info, void *context)
{
	__atomic_store_n(&code, info->si_code, __ATOMIC_RELAXED);
	siglongjmp(jump, 1);
}

/* Through a mapping of page frames, which nobody unmaps */
static void user_mode(void)
{
	struct sigaction action = {
		.sa_sigaction = sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	struct victims v = victims_create(FEW);
	int fd = debug_open("frames");
	void *map;
	struct ph_counters c;
	unsigned int i;

	sigaction(SIGBUS, &action, NULL);
	ph_get_counters(&c);
	for (i = 0; i < v.nr; i++) {
		map = mmap(NULL, ph_page, PROT_READ, MAP_SHARED, fd,
			   v.pfn[i] * ph_page);
		ph_check(map != MAP_FAILED);
		__atomic_store_n(&code, 0, __ATOMIC_RELAXED);
		if (!sigsetjmp(jump, 1)) {
			ph_touch(map, ph_page);
			ph_fail("page %u: no SIGBUS", i);
		}
		ph_cmp(__atomic_load_n(&code, __ATOMIC_RELAXED), ==,
		       BUS_ADRERR);
		wait_for_eviction(&c, i + 1);
		/* Somebody has made the frame stable: there is content now */
		if (sigsetjmp(jump, 1))
			ph_fail("page %u: SIGBUS for a frame in use", i);
		ph_touch(map, ph_page);
		munmap(map, ph_page);
	}
	ph_cmp(ph_since(&c, PH_FAULT), ==, v.nr);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 0);
	signal(SIGBUS, SIG_DFL);
	close(fd);
	victims_remove(&v);
}

struct hammer {
	const unsigned long *pfn;
	unsigned int nr;
	unsigned long refused;
	bool stop;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	int fd = debug_open("nofault");
	unsigned long refused = 0;
	unsigned int i = 0;

	while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
		switch (debug_do(fd, h->pfn[i++ % h->nr])) {
		case 0:
			/* leave the CPU to the one who discards */
			usleep(100);
			break;
		case EFAULT:
			refused++;
			break;
		default:
			__atomic_store_n(&h->refused, -1UL, __ATOMIC_RELAXED);
			goto out;
		}
	}
	__atomic_add_fetch(&h->refused, refused, __ATOMIC_RELAXED);
out:
	close(fd);
	return NULL;
}

/*
 * Faults from all CPUs, while the pages are made stable and read again
 * (@remove unset), or truncated and their frames used for something else
 */
static void storm(bool remove)
{
	double start = ph_now();
	double end = start + 5 * ph_env("PAGE_HINTING_SECONDS", 4);
	unsigned int nr = 16, cpus = ph_cpus, rounds = 0, i;
	struct victims v = victims_create(nr);
	struct hammer h = { .pfn = v.pfn, .nr = nr };
	pthread_t threads[MAX_CPUS];
	struct ph_counters c;
	unsigned long faults;

	close(debug_open("nofault"));
	if (cpus < 2)
		ph_skip("more than one CPU needed");
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	ph_get_counters(&c);
	for (i = 0; i < cpus; i++)
		ph_check(!pthread_create(&threads[i], NULL, hammer, &h));
	do {
		if (remove) {
			ph_remove(&v.f);
			v.f = ph_create("f", ID, nr * ph_page, 1);
			ph_file_pfns(&v.f, v.pfn);
		} else {
			victims_check(&v);
			if (rounds % 16 == 0)
				ph_file_pfns(&v.f, v.pfn);
		}
		ph_idle(v.f.size);
		ph_host_discard();
		rounds++;
	} while (ph_now() < end && (rounds < 10 || !ph_since(&c, PH_FAULT)));
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	faults = ph_since(&c, PH_FAULT);
	ph_say("%u rounds in %.1f s, %lu faults, %lu refused, %lu stale",
	       rounds, ph_now() - start, faults, h.refused,
	       ph_since(&c, PH_FAULT_STALE));
	ph_cmp(h.refused, !=, -1UL);
	ph_cmp(h.refused + ph_since(&c, PH_FAULT_STALE), ==, faults);
	ph_cmp(faults, >, 0);
	victims_remove(&v);
}

/*
 * The race is rare. So ask the handler alone, too: whatever the frame was when
 * the fault occurred, only what it is now counts.
 */
static void stale_decision(void)
{
	struct victims v = victims_create(FEW);
	int fd = debug_open("fault");
	struct ph_counters c;
	unsigned int i;

	ph_get_counters(&c);
	for (i = 0; i < v.nr; i++)
		ph_cmp(debug_do(fd, v.pfn[i]), ==, EFAULT);
	ph_cmp(ph_since(&c, PH_FAULT), ==, v.nr);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 0);

	/* read again, so stable, and in the page cache; wherever that is now */
	victims_check(&v);
	ph_file_pfns(&v.f, v.pfn);
	ph_get_counters(&c);
	for (i = 0; i < v.nr; i++)
		ph_cmp(debug_do(fd, v.pfn[i]), ==, 0);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, v.nr);

	/* truncated: the frame is free, or somebody else's */
	ph_check(!ftruncate(v.f.fd, 0));
	for (i = 0; i < v.nr; i++)
		ph_cmp(debug_do(fd, v.pfn[i]), ==, 0);
	ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 2 * v.nr);
	close(fd);
	ph_remove(&v.f);
}

static void read_meanwhile(void)
{
	storm(false);
}

static void freed_meanwhile(void)
{
	storm(true);
}

/*
 * A frame that is free when the handler looks at it has no folio to take a
 * reference of. Whoever has freed it has made it stable, so the access can be
 * repeated. The handler must not change its state: the next owner may have made
 * it volatile by then, and would not learn that it was discarded.
 *
 * Return: how many of the frames that a file had are free at the access.
 */
static unsigned int fault_when_free(int fd)
{
	struct victims v = victims_create(FEW);
	unsigned int i, found = 0;
	struct ph_counters c;
	size_t size = 4096 * ph_page;
	char *others;

	/* what is freed later has the lists of this CPU give back ours */
	others = ph_alloc(size);
	memset(others, 1, size);
	ph_check(!ftruncate(v.f.fd, 0));
	munmap(others, size);
	for (i = 0; i < v.nr; i++) {
		/* not those which a CPU has kept, or has used again */
		if (!ph_host_usage(v.pfn[i], "unused"))
			continue;
		ph_get_counters(&c);
		ph_cmp(debug_do(fd, v.pfn[i]), ==, 0);
		/* still free, or somebody else has changed its state */
		if (!(ph_kpageflags(v.pfn[i]) >> PH_KPF_BUDDY & 1))
			continue;
		ph_check(ph_host_usage(v.pfn[i], "unused"));
		ph_cmp(ph_since(&c, PH_FAULT), ==, 1);
		ph_cmp(ph_since(&c, PH_FAULT_STALE), ==, 1);
		if (++found == 8)
			break;
	}
	ph_remove(&v.f);
	return found;
}

static void free_frame(void)
{
	int fd = debug_open("fault");
	unsigned int tries, found = 0;

	if (!ph_host_has_ctl())
		ph_skip("a host that can be asked needed");
	/* all of them may be in use again at once, of whoever else runs */
	for (tries = 0; !found && tries < 10; tries++)
		found = fault_when_free(fd);
	ph_value("free frames", found);
	ph_cmp(found, >, 0);
	close(fd);
}

/*
 * Each CPU belongs to a thread of ours, so nobody else, such as the worker that
 * evicts, comes between their accesses.
 */
struct race {
	unsigned int cpus;
	unsigned int arrived;
	const struct victims *v;
	unsigned long refused;
	bool stuck;
	unsigned long pfn;
	int result[MAX_CPUS];
};

struct racer {
	struct race *race;
	unsigned int me;
	int cpu;
};

static void own_cpu(const struct racer *r)
{
	const struct sched_param param = { .sched_priority = 1 };

	ph_pin(r->cpu);
	ph_check(!sched_setscheduler(0, SCHED_FIFO, &param));
}

/* Wait for the others, for the @times-th time, and keep the CPU meanwhile */
static void meet(struct race *race, unsigned int times)
{
	__atomic_add_fetch(&race->arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&race->arrived, __ATOMIC_SEQ_CST) <
	       times * race->cpus)
		;
}

/* The CPUs for the racers; the caller goes where the last one will be */
static unsigned int racers_prepare(struct racer *racers)
{
	unsigned int cpus = ph_cpus > MAX_CPUS ? MAX_CPUS : ph_cpus;
	unsigned int found = 0, cpu;
	cpu_set_t online;

	close(debug_open("nofault"));
	if (cpus < 2)
		ph_skip("more than one CPU needed");
	ph_check(!sched_getaffinity(0, sizeof(online), &online));
	ph_cmp(CPU_COUNT(&online), >=, cpus);
	for (cpu = 0; found < cpus; cpu++)
		if (CPU_ISSET(cpu, &online))
			racers[found++].cpu = cpu;
	ph_pin(racers[cpus - 1].cpu);
	return cpus;
}

static void racers_run(struct racer *racers, struct race *race,
		       void *(*run)(void *arg))
{
	pthread_t threads[MAX_CPUS];
	unsigned int i;

	for (i = 0; i < race->cpus; i++) {
		racers[i].race = race;
		racers[i].me = i;
		ph_check(!pthread_create(&threads[i], NULL, run, &racers[i]));
	}
	for (i = 0; i < race->cpus; i++)
		pthread_join(threads[i], NULL);
}

/* All but one run into discarded frames, this one makes them stable */
static void *race_stale(void *arg)
{
	struct racer *r = arg;
	struct race *race = r->race;
	const struct victims *v = race->v;
	unsigned long refused = 0;
	int fd = debug_open("nofault");
	unsigned int i, tries;
	char buf[64];
	struct iovec iov = { buf, sizeof(buf) };
	double start;

	own_cpu(r);
	for (i = 0; i < v->nr; i++) {
		meet(race, 2 * i + 1);
		if (r->me == race->cpus - 1) {
			start = ph_now();
			while (ph_now() < start + i % 16 / 1e5)
				;
			/* looks it up, finds it lost, and waits for nothing */
			preadv2(v->f.fd, &iov, 1, i * ph_page, RWF_NOWAIT);
		} else {
			for (tries = 0; debug_do(fd, v->pfn[i]); tries++) {
				refused++;
				if (tries < 1000000)
					continue;
				race->stuck = true;
				break;
			}
		}
		meet(race, 2 * i + 2);
	}
	__atomic_add_fetch(&race->refused, refused, __ATOMIC_RELAXED);
	close(fd);
	return NULL;
}

/*
 * The frame is discarded when the access is made, but not any more when the
 * handler looks at it.
 */
static void stale_fault(void)
{
	double start = ph_now();
	double end = start + 5 * ph_env("PAGE_HINTING_SECONDS", 4);
	struct victims v = victims_create(FEW);
	struct racer racers[MAX_CPUS] = {};
	unsigned long faults, stale;
	struct race race = { .v = &v };
	struct ph_counters c;

	race.cpus = racers_prepare(racers);
	/* no more than what is asked for: the others shall stay as they are */
	ph_check(!posix_fadvise(v.f.fd, 0, 0, POSIX_FADV_RANDOM));
	ph_get_counters(&c);
	for (;;) {
		race.arrived = 0;
		racers_run(racers, &race, race_stale);
		ph_check(!race.stuck);
		victims_check(&v);
		faults = ph_since(&c, PH_FAULT);
		stale = ph_since(&c, PH_FAULT_STALE);
		ph_say("after %.1f s: %lu faults, %lu refused, %lu stale",
		       ph_now() - start, faults, race.refused, stale);
		ph_cmp(race.refused + stale, ==, faults);
		if (stale || ph_now() > end)
			break;
		ph_file_pfns(&v.f, v.pfn);
		ph_make_gone(v.f.size, PH_IN_PLACE);
	}
	ph_cmp(race.refused, >, 0);
	ph_cmp(stale, >, 0);
	victims_remove(&v);
}

static void *race_one(void *arg)
{
	struct racer *r = arg;
	int fd = debug_open("nofault");

	own_cpu(r);
	meet(r->race, 1);
	r->race->result[r->me] = debug_do(fd, r->race->pfn);
	meet(r->race, 2);
	close(fd);
	return NULL;
}

/* All CPUs at once, and one eviction. The kernel may still have other plans */
static void all_cpus_on_one_frame(void)
{
	struct victims v = victims_create(FEW);
	struct racer racers[MAX_CPUS] = {};
	unsigned int all = 0, cpus, i, n, page;
	struct ph_counters c;

	cpus = racers_prepare(racers);
	for (page = 0; page < v.nr && all < 3; page++) {
		struct race race = { .cpus = cpus, .pfn = v.pfn[page] };

		ph_get_counters(&c);
		racers_run(racers, &race, race_one);
		for (i = 0, n = 0; i < cpus; i++) {
			if (race.result[i])
				ph_cmp(race.result[i], ==, EFAULT);
			n += race.result[i] == EFAULT;
		}
		ph_cmp(n, >, 0);
		wait_for_eviction(&c, 1);
		ph_msleep(1);
		ph_cmp(ph_since(&c, PH_EVICTED), ==, 1);
		ph_cmp(ph_since(&c, PH_FAULT), ==,
		       n + ph_since(&c, PH_FAULT_STALE));
		all += n == cpus;
	}
	ph_say("all %u CPUs found the same frame discarded, %u times of %u",
	       cpus, all, page);
	ph_cmp(all, ==, 3);
	victims_remove(&v);
}

/*
 * Memory given up by MADV_FREE looks like page cache that is clean, but has no
 * file. The kernel would say so, if it took one for the other.
 */
static void given_up_memory(void)
{
	size_t size = 4 << 20, i;
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ph_check(mem != MAP_FAILED);
	ph_check(ph_set("mapped_every", "1"));
	ph_check(ph_set("block_devices", "1"));
	memset(mem, 1, size);
	ph_check(!madvise(mem, size, MADV_FREE));
	ph_pass(3);
	for (i = 0; i < size; i += ph_page)
		ph_check(!mem[i] || mem[i] == 1);
	munmap(mem, size);
}

/* Who changes what a file is mapped to keeps a page, but not the clock */
static void unmap_does_not_wait(void)
{
	struct victims v = victims_new(FEW);
	int fd = debug_open("unmap");
	unsigned int i, err, done = 0;
	struct ph_file f;
	unsigned long *pfn;
	char *map;

	for (i = 0; i < FEW; i++) {
		map = ph_map(&v.f, PROT_READ, MAP_SHARED);
		ph_touch(map, v.f.size);
		err = debug_do(fd, v.pfn[i]);
		munmap(map, v.f.size);
		if (err != EAGAIN)
			ph_cmp(err, ==, 0);
		done += !err;
	}
	ph_cmp(done, >, FEW / 2);

	/* Nor does it wait to split what is large and idle */
	f = ph_create("g", ID, 2UL << 20, 1);
	pfn = ph_alloc(f.size / ph_page * sizeof(*pfn));
	ph_drop_caches();
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	ph_verify_read(f.fd, ID, 0, f.size, 1);
	ph_file_pfns(&f, pfn);
	ph_check(ph_set("max_order", "0"));
	ph_pass(1);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	ph_touch(map, ph_page);
	err = debug_do(fd, pfn[0]);
	if (err != EAGAIN)
		ph_cmp(err, ==, 0);
	munmap(map, f.size);
	ph_remove(&f);
	close(fd);
	victims_remove(&v);
}

struct stale {
	struct victims *v;
	const char *map;
	bool stop;
	unsigned long rounds;
	unsigned int wrong;
};

/* Looks at the first bytes of each page, and never enters the kernel for it */
static void *stale_reader(void *arg)
{
	unsigned char good[FEW][PH_GRANULE];
	struct stale *s = arg;
	unsigned int i;

	for (i = 0; i < FEW; i++)
		ph_fill(good[i], ID, i * ph_page, PH_GRANULE, 1);
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < FEW; i++)
			if (memcmp(s->map + i * ph_page, good[i], PH_GRANULE))
				s->wrong++;
		__atomic_add_fetch(&s->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Wait until the reader has been round once more */
static void stale_round(struct stale *s)
{
	unsigned long from = __atomic_load_n(&s->rounds, __ATOMIC_RELAXED);
	double end = ph_now() + 60;

	while (__atomic_load_n(&s->rounds, __ATOMIC_RELAXED) < from + 2 &&
	       ph_now() < end)
		usleep(100);
}

/*
 * Who reclaims unmaps pages, and keeps the entries in the TLB of another CPU for
 * later. They must be gone before the host takes what they lead to.
 */
static void flush_is_pending(void)
{
	struct victims v = victims_new(FEW);
	int fd = debug_open("flush_pending");
	struct stale s = { .v = &v };
	unsigned int i, err, done = 0, round;
	pthread_t thread;

	if (ph_cpus < 2)
		ph_skip("needs two CPUs");
	s.map = ph_map(&v.f, PROT_READ, MAP_SHARED);
	ph_touch(s.map, v.f.size);
	ph_check(!pthread_create(&thread, NULL, stale_reader, &s));
	for (round = 0; round < 8; round++) {
		stale_round(&s);
		/* What is left of the last round; of this one, all of it is */
		debug_do(fd, -1);
		for (i = 0; i < FEW; i++) {
			err = debug_do(fd, v.pfn[i]);
			if (err == EOPNOTSUPP)
				break;
			if (err != EAGAIN)
				ph_cmp(err, ==, 0);
			done += !err;
		}
		ph_pass(3);
		ph_host_discard();
		stale_round(&s);
		/* What the host has taken is read to somewhere else */
		ph_file_pfns(&v.f, v.pfn);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	ph_check(!pthread_join(thread, NULL));
	munmap((void *)s.map, v.f.size);
	ph_cmp(s.wrong, ==, 0);
	if (err == EOPNOTSUPP)
		ph_skip("nobody defers the flush of a TLB here");
	ph_say("flushes left to be done: %u", done);
	ph_cmp(done, >=, FEW);
	close(fd);
	victims_remove(&v);
}

/*
 * The clock asks what is protected from reclaim of all memory. It must not be
 * in the way of who reclaims a part of it, where something else may be.
 */
static void protection_is_not_changed(void)
{
	int protect = debug_open("protect"), protected = debug_open("protected");
	struct victims v = victims_new(FEW);
	pid_t pid;

	ph_need_cgroup2();
	ph_group_new("ph-a");
	ph_group_new("ph-a/b");
	ph_drop_caches();
	pid = ph_fork();
	if (!pid) {
		ph_group_set("ph-a/b", "cgroup.procs", getpid());
		ph_verify_read(v.f.fd, ID, 0, v.f.size, 1);
		_exit(0);
	}
	ph_wait(pid);
	ph_file_pfns(&v.f, v.pfn);
	/* Nothing for reclaim of all memory, as there is none for the parent */
	ph_group_set("ph-a/b", "memory.min", v.f.size / 2);
	ph_cmp(debug_do(protect, v.pfn[0]), ==, 0);
	ph_pass(2);
	ph_cmp(debug_do(protected, v.pfn[0]), ==, 0);
	/* And some for both: the clock does ask. For all memory it is less */
	ph_group_set("ph-a", "memory.min", v.f.size / 4);
	ph_cmp(debug_do(protect, v.pfn[0]), ==, 0);
	ph_pass(2);
	ph_cmp(debug_do(protected, v.pfn[0]), ==, 0);
	close(protect);
	close(protected);
	victims_remove(&v);
	ph_group_remove("ph-a/b");
	ph_group_remove("ph-a");
}

/* Kernel mode without fixup: whoever does that does not survive it */
static void oops(void)
{
	struct victims v = victims_create(FEW);
	int fd = debug_open("deref"), status;
	struct ph_counters c;
	pid_t pid;

	ph_get_counters(&c);
	pid = fork();
	if (!pid)
		_exit(debug_do(fd, v.pfn[FEW / 2]));
	ph_check(waitpid(pid, &status, 0) == pid);
	ph_check(WIFSIGNALED(status));
	wait_for_eviction(&c, 1);
	ph_cmp(ph_since(&c, PH_FAULT), ==, 1);
	close(fd);
	victims_remove(&v);
}

static const struct ph_test tests[] = {
	CONTEXT(kernel_with_fixup),
	CONTEXT(kernel_with_fixup_no_interrupts),
	CONTEXT(read_kcore),
	CONTEXT(user_mode),
	PH_TEST(lookup_like_nmi),
	PH_TEST(lookup_like_nmi_kept),
	PH_TEST(found_while_locked),
	PH_TEST(race_nothing),
	PH_TEST(race_held),
	PH_TEST(race_dirtied),
	PH_TEST(frozen_when_switched_off),
	PH_TEST(dropped_by_file_system),
	PH_TEST(failed_in_place),
	PH_TEST(internal_inodes),
	CONTEXT(stale_decision),
	CONTEXT(stale_fault),
	CONTEXT(read_meanwhile),
	CONTEXT(freed_meanwhile),
	CONTEXT(free_frame),
	CONTEXT(all_cpus_on_one_frame),
	PH_TEST(given_up_memory),
	PH_TEST(unmap_does_not_wait),
	PH_TEST(flush_is_pending),
	PH_TEST(protection_is_not_changed),
};

static const struct ph_test oops_tests[] = {
	PH_TEST_EXPECT(oops, PH_EXPECT_FAULTS | PH_EXPECT_OOPS),
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--oops"))
		return ph_main(1, argv, oops_tests, ARRAY_SIZE(oops_tests));
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
