// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting under load: several threads use several files in every way
 * there is while the clock runs, and check every byte they see.
 *
 * A file is divided into stripes with a lock each: a thread that changes a
 * range has its stripes to itself, one that reads them shares them with other
 * readers. So what a range contains is always known. Advice and the like come
 * without any lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define FILES		5
#define STRIPE		(64UL << 10)
#define STRIPES		24
#define SIZE		(STRIPES * STRIPE)
#define LONGEST		(2 * STRIPE)
#define MAX_THREADS	16

struct target {
	struct ph_file f;
	int direct;
	char *map;
	/* read: somebody uses the file, write: its size changes */
	pthread_rwlock_t size;
	pthread_rwlock_t stripe[STRIPES];
	unsigned char gens[SIZE / PH_GRANULE];
};

struct worker {
	pthread_t thread;
	__u64 random;
	char *buf;
	int scratch;
	int pipe[2];
};

struct range {
	struct target *t;
	off_t off;
	size_t len;
};

static struct target targets[FILES];
static struct worker workers[MAX_THREADS];
static bool stop;

static unsigned int pick(struct worker *w, unsigned int n)
{
	return ph_random(&w->random) % n;
}

static unsigned char pick_gen(struct worker *w)
{
	return 1 + pick(w, 250);
}

/* Short ones more often than long ones */
static struct range pick_range(struct worker *w, size_t align)
{
	struct range r = { .t = &targets[pick(w, FILES)] };
	size_t longest = LONGEST >> pick(w, 6);

	if (longest < align)
		longest = align;
	r.len = (1 + pick(w, longest / align)) * align;
	r.off = pick(w, (SIZE - r.len) / align + 1) * align;
	return r;
}

static void lock_range(const struct range *r, bool write)
{
	size_t i;

	pthread_rwlock_rdlock(&r->t->size);
	for (i = r->off / STRIPE; i <= (r->off + r->len - 1) / STRIPE; i++) {
		if (write)
			pthread_rwlock_wrlock(&r->t->stripe[i]);
		else
			pthread_rwlock_rdlock(&r->t->stripe[i]);
	}
}

static void unlock_range(const struct range *r)
{
	size_t i;

	for (i = r->off / STRIPE; i <= (r->off + r->len - 1) / STRIPE; i++)
		pthread_rwlock_unlock(&r->t->stripe[i]);
	pthread_rwlock_unlock(&r->t->size);
}

static void set_gens(const struct range *r, unsigned char gen)
{
	memset(r->t->gens + r->off / PH_GRANULE, gen, r->len / PH_GRANULE);
}

static void verify(const void *buf, const struct range *r)
{
	ph_verify_gens(buf, r->t->f.id, r->off, r->len, r->t->gens);
}

/* --- operations --------------------------------------------------------- */

static void op_read(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);

	lock_range(&r, false);
	ph_pread(r.t->f.fd, w->buf, r.len, r.off);
	verify(w->buf, &r);
	unlock_range(&r);
}

static void op_write(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);
	unsigned char gen = pick_gen(w);

	lock_range(&r, true);
	ph_fill(w->buf, r.t->f.id, r.off, r.len, gen);
	ph_pwrite(r.t->f.fd, w->buf, r.len, r.off);
	set_gens(&r, gen);
	unlock_range(&r);
}

static void op_map_read(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);

	lock_range(&r, false);
	verify(r.t->map + r.off, &r);
	unlock_range(&r);
}

static void op_map_write(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);
	unsigned char gen = pick_gen(w);

	lock_range(&r, true);
	ph_fill(r.t->map + r.off, r.t->f.id, r.off, r.len, gen);
	set_gens(&r, gen);
	unlock_range(&r);
}

static void op_private(struct worker *w)
{
	struct range r = pick_range(w, ph_page);
	unsigned char gen = pick_gen(w);
	char *map;

	lock_range(&r, false);
	map = mmap(NULL, r.len, PROT_READ | PROT_WRITE, MAP_PRIVATE, r.t->f.fd,
		   r.off);
	ph_check(map != MAP_FAILED);
	/* a part of the first page is its own, the others are the file's */
	ph_fill(map, r.t->f.id, r.off, PH_GRANULE, gen);
	ph_msleep(pick(w, 10));
	ph_verify(map, r.t->f.id, r.off, PH_GRANULE, gen);
	ph_verify_gens(map + PH_GRANULE, r.t->f.id, r.off + PH_GRANULE,
		       r.len - PH_GRANULE, r.t->gens);
	munmap(map, r.len);
	unlock_range(&r);
}

static void op_punch(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);

	lock_range(&r, true);
	if (!fallocate(r.t->f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       r.off, r.len))
		set_gens(&r, 0);
	else
		ph_check(errno == EOPNOTSUPP);
	unlock_range(&r);
}

/* Down, and up again at once, so that nobody finds the file too short */
static void op_truncate(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE);

	r.len = SIZE - r.off;
	pthread_rwlock_wrlock(&r.t->size);
	ph_check(!ftruncate(r.t->f.fd, r.off));
	ph_check(!ftruncate(r.t->f.fd, SIZE));
	set_gens(&r, 0);
	pthread_rwlock_unlock(&r.t->size);
}

static void op_direct_read(struct worker *w)
{
	struct range r = pick_range(w, ph_page);

	if (r.t->direct < 0)
		return;
	lock_range(&r, false);
	ph_pread(r.t->direct, w->buf, r.len, r.off);
	verify(w->buf, &r);
	unlock_range(&r);
}

static void op_direct_write(struct worker *w)
{
	struct range r = pick_range(w, ph_page);
	unsigned char gen = pick_gen(w);

	if (r.t->direct < 0)
		return;
	lock_range(&r, true);
	ph_fill(w->buf, r.t->f.id, r.off, r.len, gen);
	ph_pwrite(r.t->direct, w->buf, r.len, r.off);
	set_gens(&r, gen);
	unlock_range(&r);
}

/* Pages of the cache, held by a pipe for a while */
static void op_pipe(struct worker *w)
{
	struct range r = pick_range(w, PH_GRANULE), got = r;
	loff_t off = r.off;
	size_t done;
	ssize_t n;

	lock_range(&r, false);
	n = splice(r.t->f.fd, &off, w->pipe[1], NULL, r.len, 0);
	if (n <= 0)
		ph_fail("splice: %zd", n);
	ph_msleep(pick(w, 20));
	for (done = 0; done < (size_t)n;) {
		ssize_t m = read(w->pipe[0], w->buf + done, n - done);

		ph_check(m > 0);
		done += m;
	}
	/* as much as there is room for in a pipe, in whole pages */
	got.len = n & ~(PH_GRANULE - 1);
	verify(w->buf, &got);
	unlock_range(&r);
}

/* Pages of the cache, pinned for output */
static void op_pin_for_write(struct worker *w)
{
	struct range r = pick_range(w, ph_page);

	if (w->scratch < 0)
		return;
	lock_range(&r, false);
	ph_pwrite(w->scratch, r.t->map + r.off, r.len, 0);
	ph_pread(w->scratch, w->buf, r.len, 0);
	verify(w->buf, &r);
	unlock_range(&r);
}

/*
 * btrfs, with page hinting or without, refuses with EUCLEAN to write back a
 * folio that was cleaned while pinned and is dirtied when its pin goes.
 */
static bool dirty_when_pinned(const struct target *t)
{
	struct statfs sfs;

	ph_check(!fstatfs(t->f.fd, &sfs));
	return (unsigned int)sfs.f_type != 0x9123683e;
}

/* Pages of the cache, pinned for input, which makes them dirty */
static void op_pin_for_read(struct worker *w)
{
	struct range r = pick_range(w, ph_page);
	unsigned char gen = pick_gen(w);

	if (w->scratch < 0 || !dirty_when_pinned(r.t))
		return;
	lock_range(&r, true);
	ph_fill(w->buf, r.t->f.id, r.off, r.len, gen);
	ph_pwrite(w->scratch, w->buf, r.len, 0);
	ph_pread(w->scratch, r.t->map + r.off, r.len, 0);
	set_gens(&r, gen);
	verify(r.t->map + r.off, &r);
	unlock_range(&r);
}

static void op_mlock(struct worker *w)
{
	struct range r = pick_range(w, ph_page);

	lock_range(&r, false);
	if (!mlock(r.t->map + r.off, r.len)) {
		ph_msleep(pick(w, 10));
		verify(r.t->map + r.off, &r);
		munlock(r.t->map + r.off, r.len);
	}
	unlock_range(&r);
}

static void op_fork(struct worker *w)
{
	struct range r = pick_range(w, ph_page);
	int status;
	pid_t pid;

	lock_range(&r, false);
	pid = fork();
	ph_check(pid >= 0);
	if (!pid) {
		verify(r.t->map + r.off, &r);
		_exit(0);
	}
	ph_check(waitpid(pid, &status, 0) == pid);
	if (status)
		ph_fail("child ended with status 0x%x", status);
	unlock_range(&r);
}

static void op_advise(struct worker *w)
{
	struct range r = pick_range(w, ph_page);
	char *at = r.t->map + r.off;
	unsigned char vec[LONGEST / 4096];

	switch (pick(w, 10)) {
	case 0:
		posix_fadvise(r.t->f.fd, r.off, r.len, POSIX_FADV_WILLNEED);
		break;
	case 1:
		posix_fadvise(r.t->f.fd, r.off, r.len, POSIX_FADV_DONTNEED);
		break;
	case 2:
		readahead(r.t->f.fd, r.off, r.len);
		break;
	case 3:
		madvise(at, r.len, MADV_WILLNEED);
		break;
	case 4:
		madvise(at, r.len, MADV_DONTNEED);
		break;
	case 5:
		madvise(at, r.len, MADV_COLD);
		break;
	case 6:
		madvise(at, r.len, MADV_PAGEOUT);
		break;
	case 7:
		mincore(at, r.len, vec);
		break;
	case 8:
		msync(at, r.len, MS_SYNC);
		break;
	case 9:
		sync_file_range(r.t->f.fd, r.off, r.len,
				SYNC_FILE_RANGE_WAIT_BEFORE |
				SYNC_FILE_RANGE_WRITE |
				SYNC_FILE_RANGE_WAIT_AFTER);
		break;
	}
}

static void op_fsync(struct worker *w)
{
	ph_check(!fsync(targets[pick(w, FILES)].f.fd));
}

static void op_sleep(struct worker *w)
{
	ph_msleep(pick(w, 30));
}

static const struct {
	const char *name;
	void (*run)(struct worker *w);
	unsigned int weight;
} ops[] = {
	{ "read", op_read, 20 },
	{ "write", op_write, 8 },
	{ "map_read", op_map_read, 12 },
	{ "map_write", op_map_write, 6 },
	{ "private", op_private, 4 },
	{ "punch", op_punch, 2 },
	{ "truncate", op_truncate, 1 },
	{ "direct_read", op_direct_read, 3 },
	{ "direct_write", op_direct_write, 3 },
	{ "pipe", op_pipe, 5 },
	{ "pin_for_write", op_pin_for_write, 3 },
	{ "pin_for_read", op_pin_for_read, 3 },
	{ "mlock", op_mlock, 2 },
	{ "fork", op_fork, 1 },
	{ "advise", op_advise, 8 },
	{ "fsync", op_fsync, 4 },
	{ "sleep", op_sleep, 15 },
};

static unsigned long op_count[ARRAY_SIZE(ops)];

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int total = 0, n;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		n = pick(w, total);
		for (i = 0; n >= ops[i].weight; i++)
			n -= ops[i].weight;
		ops[i].run(w);
		__atomic_fetch_add(&op_count[i], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* --- the load ----------------------------------------------------------- */

/*
 * Two passes make volatile what is idle. A third one evicts what the host has
 * taken; most of that shall be found by the others.
 */
static void *drive(void *arg)
{
	__u64 state = (unsigned long)arg;
	unsigned int i, round = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		/* refused while a test has switched it off */
		for (i = ph_random(&state) % 3; i < 3; i++)
			ph_set("pass", "1");
		if (!(round++ % 16)) {
			ph_set("mapped_every", "%u",
			       1 + (unsigned int)(ph_random(&state) % 4));
			ph_host_discard();
		}
		ph_msleep(ph_random(&state) % 100);
	}
	return NULL;
}

static void start_worker(struct worker *w, unsigned int id, __u64 seed)
{
	char path[PH_PATH], name[16];
	struct ph_file scratch;

	w->random = seed + id * 0x9e3779b97f4a7c15ULL;
	w->buf = ph_alloc(LONGEST);
	ph_check(!pipe2(w->pipe, O_CLOEXEC));
	snprintf(name, sizeof(name), "scratch%u", id);
	scratch = ph_create(name, 900 + id, LONGEST, 1);
	close(scratch.fd);
	ph_name(path, name);
	w->scratch = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ph_check(!pthread_create(&w->thread, NULL, work, w));
}

static void verify_all(void)
{
	struct target *t;

	for (t = targets; t < targets + FILES; t++) {
		ph_verify_fd_gens(t->f.fd, t->f.id, SIZE, t->gens);
		ph_verify_gens(t->map, t->f.id, 0, SIZE, t->gens);
	}
}

static struct ph_counters at_start;

static void prepare(void)
{
	unsigned int i;
	struct target *t;
	char name[16];
	size_t s;

	ph_get_counters(&at_start);
	for (i = 0; i < FILES; i++) {
		t = &targets[i];
		snprintf(name, sizeof(name), "target%u", i);
		t->f = ph_create(name, 800 + i, SIZE, 1);
		t->direct = open(t->f.path, O_RDWR | O_DIRECT | O_CLOEXEC);
		t->map = ph_map(&t->f, PROT_READ | PROT_WRITE, MAP_SHARED);
		memset(t->gens, 1, sizeof(t->gens));
		pthread_rwlock_init(&t->size, NULL);
		for (s = 0; s < STRIPES; s++)
			pthread_rwlock_init(&t->stripe[s], NULL);
	}
}

/*
 * Run the load, and @beside once in a while next to it, for as long as the
 * environment says, and @beside at least so many @times.
 */
static void load(void (*beside)(__u64 *random), unsigned int times)
{
	__u64 seed = ph_env("PAGE_HINTING_SEED", time(NULL));
	unsigned int count = ph_cpus + 2, i;
	char text[512], *at = text;
	pthread_t driver;
	double end;
	size_t op;

	if (count > MAX_THREADS)
		count = MAX_THREADS;
	ph_value("PAGE_HINTING_SEED", seed);
	seed |= 1;
	end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 20);
	ph_check(!pthread_create(&driver, NULL, drive, (void *)seed));
	for (i = 0; i < count; i++)
		start_worker(&workers[i], i + 1, seed);
	for (i = 0; ph_now() < end || i < times; i++) {
		if (beside)
			beside(&seed);
		ph_msleep(20);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_join(driver, NULL);

	for (op = 0; op < ARRAY_SIZE(ops); op++)
		at += snprintf(at, text + sizeof(text) - at, " %s %lu",
			       ops[op].name, op_count[op]);
	ph_say("operations:%s", text);
	ph_value("made volatile", ph_since(&at_start, PH_VOLATILE));
	ph_value("lost", ph_since(&at_start, PH_LOST));
	ph_value("evicted", ph_since(&at_start, PH_EVICTED));
	ph_value("made stable", ph_since(&at_start, PH_STABLE));
}

/* In the cache, in the cache after another discard, and on the disk */
static void check(void)
{
	ph_check(ph_set("mode", "on"));
	verify_all();
	sync();
	ph_pass(8);
	ph_host_discard();
	verify_all();
	ph_drop_caches();
	verify_all();
	ph_cmp(ph_since(&at_start, PH_OOM_KILL), ==, 0);
}

static void stress(void (*beside)(__u64 *random), unsigned int times)
{
	prepare();
	load(beside, times);
	check();
}

/* --- what goes on beside ------------------------------------------------ */

static void random_operations(void)
{
	stress(NULL, 0);
}

static void compact(__u64 *random)
{
	switch (ph_random(random) % 8) {
	case 0:
		ph_write_file("/proc/sys/vm/drop_caches", "1");
		break;
	case 1:
	case 2:
		ph_write_file("/proc/sys/vm/compact_memory", "1");
		break;
	}
}

static void with_compaction(void)
{
	if (access("/proc/sys/vm/compact_memory", W_OK))
		ph_say("no compaction here, caches are dropped only");
	stress(compact, 0);
}

static unsigned int switches, switches_with_volatile;

static void check_nothing_volatile(const char *when)
{
	struct ph_counters c;
	unsigned long n = 0;

	ph_get_counters(&c);
	if (c.v[PH_NR_VOLATILE])
		ph_fail("%lu pages volatile %s", c.v[PH_NR_VOLATILE], when);
	/* the host has the last word */
	ph_host_stat("volatile", &n);
	if (n)
		ph_fail("%lu pages volatile for the host %s", n, when);
}

static void switch_mode(__u64 *random)
{
	struct ph_counters c;

	/* armed, volatile, in between: whatever the last switch has left */
	ph_set("pass", "1");
	ph_set("pass", "1");
	ph_msleep(ph_random(random) % 20);
	ph_get_counters(&c);
	switches_with_volatile += c.v[PH_NR_VOLATILE] > 0;
	ph_check(ph_set("mode", ph_random(random) & 1 ? "off" : "unused"));
	check_nothing_volatile("after switching off");
	if (!(ph_random(random) % 8)) {
		ph_msleep(ph_random(random) % 50);
		check_nothing_volatile("while switched off");
	}
	ph_check(ph_set("mode", "on"));
	switches++;
}

/* The clock's own timer, and passes on demand, at the same time */
static void with_period(void)
{
	ph_check(ph_set("period_ms", "20"));
	stress(NULL, 0);
}

/*
 * A process that takes most of the memory and uses it, and one that reads
 * a file larger than the rest of the memory.
 */
static void hog(size_t leave, int ready)
{
	size_t step = 1UL << 20, have = 0, i;
	char *mem[4096];

	ph_write_file("/proc/self/oom_score_adj", "1000");
	while (have < ARRAY_SIZE(mem) &&
	       ph_meminfo("MemAvailable") > leave + step) {
		mem[have] = ph_alloc(step);
		ph_fill(mem[have], 700, have * step, step, 1);
		have++;
	}
	ph_value("MB held", have);
	ph_value("MB left", ph_meminfo("MemAvailable") >> 20);
	ph_check(write(ready, "", 1) == 1);
	for (;;) {
		for (i = 0; i < have; i++) {
			ph_verify(mem[i], 700, i * step, step, 1);
			ph_msleep(1);
		}
	}
}

/* The load while memory is short */
static void squeeze(void (*beside)(__u64 *random), unsigned int times)
{
	size_t total = ph_meminfo("MemTotal"), leave;
	pid_t hog_pid, reader_pid;
	struct ph_file f;
	int status, p[2];
	char byte;

	leave = total / 8;
	if (leave < 32UL << 20)
		leave = 32UL << 20;
	f = ph_create("stream", 701, leave & ~(ph_page - 1), 1);
	prepare();
	ph_check(!pipe2(p, O_CLOEXEC));
	hog_pid = fork();
	ph_check(hog_pid >= 0);
	if (!hog_pid)
		hog(leave, p[1]);
	close(p[1]);
	if (read(p[0], &byte, 1) != 1)
		ph_fail("the hog has not got its memory");
	close(p[0]);
	reader_pid = fork();
	ph_check(reader_pid >= 0);
	while (!reader_pid)
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
	load(beside, times);
	if (waitpid(hog_pid, &status, WNOHANG) ||
	    waitpid(reader_pid, &status, WNOHANG))
		ph_fail("hog or reader ended with status 0x%x", status);
	kill(hog_pid, SIGKILL);
	kill(reader_pid, SIGKILL);
	waitpid(hog_pid, NULL, 0);
	waitpid(reader_pid, NULL, 0);
	check();
}

static void with_memory_pressure(void)
{
	squeeze(NULL, 0);
}

static void with_switching(void)
{
	unsigned int times = ph_env("PAGE_HINTING_SWITCHES", 1);

	squeeze(switch_mode, times);
	ph_value("switched off and on", switches);
	ph_value("with something volatile", switches_with_volatile);
	ph_cmp(switches, >=, times);
	ph_cmp(switches_with_volatile, >=, switches / 2);
}

/* --- all of them at once at the same pages ------------------------------ */

static struct ph_file shared_file;
static char *shared_map;
static pthread_barrier_t barrier;
static bool last_round;

static void *meet(void *arg)
{
	unsigned long id = (unsigned long)arg;
	size_t size = shared_file.size, off, i;
	char *buf = ph_alloc(ph_page);

	for (;;) {
		pthread_barrier_wait(&barrier);
		if (__atomic_load_n(&last_round, __ATOMIC_RELAXED))
			return NULL;
		for (i = 0; i < size / ph_page; i++) {
			off = i * ph_page;
			if ((i + id) & 1) {
				ph_pread(shared_file.fd, buf, ph_page, off);
				ph_verify(buf, shared_file.id, off, ph_page, 1);
			} else {
				ph_verify(shared_map + off, shared_file.id, off,
					  ph_page, 1);
			}
		}
		ph_verify_read(shared_file.fd, shared_file.id, 0, size, 1);
		pthread_barrier_wait(&barrier);
	}
}

/* @pages are gone, all threads want them, and meanwhile @beside happens */
static void at_once(unsigned int pages, void (*beside)(unsigned int round))
{
	unsigned int count = ph_cpus + 1, rounds = 0, i;
	size_t size = pages * ph_page;
	pthread_t threads[MAX_THREADS];
	struct ph_counters before;
	double end;

	if (count > MAX_THREADS)
		count = MAX_THREADS;
	shared_file = ph_create("shared", 600, size, 1);
	shared_map = ph_map(&shared_file, PROT_READ, MAP_SHARED);
	ph_check(!posix_fadvise(shared_file.fd, 0, 0, POSIX_FADV_RANDOM));
	ph_check(!madvise(shared_map, size, MADV_RANDOM));
	ph_check(!pthread_barrier_init(&barrier, NULL, count + 1));
	for (i = 0; i < count; i++)
		ph_check(!pthread_create(&threads[i], NULL, meet,
					 (void *)(unsigned long)i));
	ph_get_counters(&before);
	end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 20) / 2.0;
	while (ph_now() < end) {
		ph_idle(size);
		ph_host_discard();
		pthread_barrier_wait(&barrier);
		beside(rounds++);
		pthread_barrier_wait(&barrier);
	}
	__atomic_store_n(&last_round, true, __ATOMIC_RELAXED);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	ph_value("rounds", rounds);
	ph_value("made volatile", ph_since(&before, PH_VOLATILE));
	ph_value("lost", ph_since(&before, PH_LOST));
	munmap(shared_map, size);
	ph_remove(&shared_file);
}

/* A pass or two while they are at it */
static void pass_beside(unsigned int round)
{
	ph_pass(round % 3);
}

static void same_pages_at_once(void)
{
	at_once(32, pass_beside);
}

/*
 * Who comes while it is being switched off, and after it has been, must still
 * find out what is gone.
 */
static void off_beside(unsigned int round)
{
	ph_msleep(round % 5);
	ph_check(ph_set("mode", round & 1 ? "off" : "unused"));
	ph_check(ph_set("mode", "on"));
}

static void switched_off_in_use(void)
{
	at_once(128, off_beside);
}

static const struct ph_test tests[] = {
	PH_TEST(same_pages_at_once),
	PH_TEST(switched_off_in_use),
	PH_TEST(random_operations),
	PH_TEST(with_period),
	PH_TEST(with_compaction),
	PH_TEST(with_switching),
	PH_TEST(with_memory_pressure),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
