// SPDX-License-Identifier: GPL-2.0
/*
 * What a visit of the page hinting clock costs, by what it finds.
 *
 *   clock DIR kinds MB		frames of each kind, MB of them
 *   clock DIR sharing N	pages that N processes have mapped and use
 *   clock DIR mapped EVERY	hot and idle mapped pages, visited every EVERY-th round
 *   clock DIR share MB		share of idle cache that is volatile after 0, 1, 2, ... visits
 *   clock DIR orders MB	by order of folio; DIR is on a file system with large folios
 *
 * Under QEMU's -icount with one instruction a nanosecond, all times are in instructions. A pass
 * visits all frames of the guest, so what is said of a kind is the difference to a pass
 * over the same guest without them. Output: lines of "WHAT VALUE".
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "util.h"

#define SYSFS "/sys/kernel/mm/page_hinting/"
#define DEBUGFS "/sys/kernel/debug/page_hinting/"

static const char *dir;
static char path[4096];
static char *buf;

static void set(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && write(fd, value, strlen(value)) > 0, file);
	close(fd);
}

/* Duration of a pass */
static int64_t pass(void)
{
	int64_t start = now();

	set(DEBUGFS "pass", "1");
	return now() - start;
}

/* The least of some, without any change in between */
static int64_t still_pass(void)
{
	int64_t least = pass();

	for (int i = 0; i < 4; i++) {
		int64_t t = pass();

		if (t < least)
			least = t;
	}
	return least;
}

/* Of the files that look like /proc/vmstat and /proc/meminfo */
static unsigned long value_of(const char *file, const char *key)
{
	unsigned long value = 0;
	char line[256];
	FILE *f = fopen(file, "re");

	must(f, file);
	while (fgets(line, sizeof(line), f)) {
		size_t len = strlen(key);

		if (!strncmp(line, key, len) && (line[len] == ' ' || line[len] == ':'))
			value = strtoul(line + len + 1, NULL, 10);
	}
	fclose(f);
	return value;
}

static unsigned long vmstat(const char *key)
{
	return value_of("/proc/vmstat", key);
}

static void print(const char *what, double value)
{
	printf("%s %.3f\n", what, value);
	fflush(stdout);
}

static void drop_caches(void)
{
	sync();
	set("/proc/sys/vm/drop_caches", "3");
}

/* --- files ------------------------------------------------------------------------------------ */

static int make_file(size_t size)
{
	int fd;

	snprintf(path, sizeof(path), "%s/clock.file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0, path);
	for (size_t off = 0; off < size; off += MB)
		must(pwrite(fd, buf, MB, off) == (ssize_t)MB, "write");
	must(!fsync(fd), "fsync");
	drop_caches();
	return fd;
}

static void remove_file(int fd)
{
	close(fd);
	unlink(path);
}

static int64_t read_file(int fd, size_t size, size_t chunk)
{
	int64_t start = now();

	for (size_t off = 0; off < size; off += chunk)
		must(pread(fd, buf, chunk, off) == (ssize_t)chunk, "read");
	return now() - start;
}

/* When reads have made active what they make active */
static int64_t warm_read(int fd, size_t size)
{
	for (int i = 0; i < 3; i++)
		read_file(fd, size, 64 * KB);
	return read_file(fd, size, 64 * KB);
}

static char *map_file(int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static int64_t touch(const char *p, size_t size)
{
	int64_t start = now();

	for (size_t i = 0; i < size; i += PAGE)
		(void)*(volatile const char *)(p + i);
	return now() - start;
}

static unsigned long faults(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_minflt;
}

/* --- a cgroup --------------------------------------------------------------------------------- */

#define CGROUPS "/clock.cgroup"

static void protected_group(void)
{
	must(!mkdir(CGROUPS, 0700), CGROUPS);
	must(!mount("cgroup", CGROUPS, "cgroup2", 0, NULL), "mount");
	set(CGROUPS "/cgroup.subtree_control", "+memory");
	must(!mkdir(CGROUPS "/clock", 0700), "mkdir");
	set(CGROUPS "/clock/memory.low", "max");
	set(CGROUPS "/clock/cgroup.procs", "0");
}

static void leave_group(void)
{
	set(CGROUPS "/cgroup.procs", "0");
	must(!rmdir(CGROUPS "/clock"), "rmdir");
	must(!umount(CGROUPS), "umount");
	rmdir(CGROUPS);
}

/* --- what there is to measure ----------------------------------------------------------------- */

static void kinds(size_t size)
{
	double frames = size / PAGE, n;
	int64_t none, plain, t;
	unsigned long was;
	char *p;
	int fd;

	set(DEBUGFS "mapped_every", "1");
	drop_caches();
	pass();
	none = still_pass();
	n = value_of("/proc/meminfo", "MemFree") * KB / PAGE;
	print("frames_free", n);
	print("pass_of_an_empty_guest", none);

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED, "mmap");
	memset(p, 1, size);
	print("anonymous", (still_pass() - none) / frames);
	munmap(p, size);

	/* Inodes and directory entries of a file system in memory */
	was = value_of("/proc/meminfo", "Slab");
	must(!mkdir("/tmp/clock", 0700), "mkdir");
	for (int i = 0; i < 60000; i++) {
		char name[64];

		snprintf(name, sizeof(name), "/tmp/clock/%d", i);
		fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		must(fd >= 0, name);
		close(fd);
	}
	n = (value_of("/proc/meminfo", "Slab") - was) * KB / PAGE;
	print("slab", (still_pass() - none) / n);
	for (int i = 0; i < 60000; i++) {
		char name[64];

		snprintf(name, sizeof(name), "/tmp/clock/%d", i);
		unlink(name);
	}
	rmdir("/tmp/clock");
	drop_caches();
	none = still_pass();

	/* In use: each round finds them disarmed, and arms them */
	fd = make_file(size);
	none = still_pass();
	plain = warm_read(fd, size);
	t = pass();
	print("read_cache_hot", (t - none) / frames);
	t = read_file(fd, size, 64 * KB);
	print("read_cache_hot_disarm", (t - plain) / frames);

	/* Idle: armed, split if they are too large, then made volatile, then left alone */
	pass();
	was = vmstat("page_hint_volatile");
	t = pass();
	n = vmstat("page_hint_volatile") - was;
	if (n < frames / 2) {
		print("split", (t - none) / frames);
		was += n;
		t = pass();
		n = vmstat("page_hint_volatile") - was;
	}
	print("made_volatile_pages", n);
	print("made_volatile", (t - none) / n);
	t = still_pass();
	print("volatile", (t - none) / frames);
	t = read_file(fd, size, 64 * KB);
	print("made_stable", (t - plain) / frames);

	/* The same for a mapped file */
	p = map_file(fd, size);
	touch(p, size);
	plain = touch(p, size);
	pass();
	touch(p, size);
	t = pass();
	print("mapped_hot", (t - none) / frames);
	was = faults();
	t = touch(p, size);
	print("mapped_hot_fault", (t - plain) / frames);
	print("mapped_hot_faults", (faults() - was) / frames);
	pass();
	was = vmstat("page_hint_volatile");
	t = pass();
	n = vmstat("page_hint_volatile") - was;
	print("mapped_made_volatile_pages", n);
	print("mapped_made_volatile", (t - none) / n);
	munmap(p, size);
	remove_file(fd);

	/* What must not become volatile: cache of a block device, as of any network file system */
	fd = open("/dev/rawswap", O_RDONLY | O_CLOEXEC);
	must(fd >= 0, "/dev/rawswap");
	none = still_pass();
	read_file(fd, size, 64 * KB);
	pass();
	pass();
	print("not_eligible", (still_pass() - none) / frames);
	close(fd);

	/* Nor what memory.low protects */
	fd = make_file(size);
	none = still_pass();
	protected_group();
	read_file(fd, size, 64 * KB);
	pass();
	pass();
	was = vmstat("nr_volatile");
	print("protected", (still_pass() - none) / frames);
	must(was < frames / 100, "memory.low does not protect");
	leave_group();
	remove_file(fd);
}

static void sharing(unsigned int processes)
{
	size_t size = MB;
	double frames = size / PAGE;
	int fd, go[2], done[2];
	unsigned long was = 0;
	int64_t none, t = 0;
	char *p, byte = 0;

	set(DEBUGFS "mapped_every", "1");
	fd = make_file(size);
	none = still_pass();
	read_file(fd, size, 64 * KB);
	p = map_file(fd, size);
	must(!pipe(go) && !pipe(done), "pipe");
	for (unsigned int i = 0; i < processes; i++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		while (!pid) {
			if (read(go[0], &byte, 1) != 1 || byte)
				_exit(0);
			touch(p, size);
			must(write(done[1], &byte, 1) == 1, "write");
		}
	}
	for (int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < processes; i++) {
			must(write(go[1], "", 1) == 1, "write");
			must(read(done[0], &byte, 1) == 1, "read");
		}
		if (round == 1)
			was = vmstat("pgfault");
		if (round < 2)
			t = pass();
	}
	print("processes", processes);
	print("pass_per_page", (t - none) / frames);
	print("faults_per_page_and_round", (vmstat("pgfault") - was) / frames);
	for (unsigned int i = 0; i < processes; i++)
		must(write(go[1], "x", 1) == 1, "write");
	while (wait(NULL) > 0)
		;
	munmap(p, size);
	remove_file(fd);
}

static void mapped(unsigned int every)
{
	size_t size = 16 * MB;
	double frames = size / PAGE;
	unsigned int rounds = 4 * every;
	unsigned long was, volatile_was;
	int64_t none, sum = 0, use = 0, plain;
	char text[16], *p;
	int fd;

	snprintf(text, sizeof(text), "%u", every);
	set(DEBUGFS "mapped_every", text);
	fd = make_file(size);
	none = still_pass();
	read_file(fd, size, 64 * KB);
	p = map_file(fd, size);
	touch(p, size);
	plain = touch(p, size);
	was = faults();
	volatile_was = vmstat("page_hint_volatile");
	for (unsigned int i = 0; i < rounds; i++) {
		sum += pass() - none;
		use += touch(p, size) - plain;
	}
	print("mapped_every", every);
	print("hot_pass_per_page_and_round", sum / frames / rounds);
	print("hot_use_per_page_and_round", use / frames / rounds);
	print("hot_faults_per_page_and_round", (faults() - was) / frames / rounds);
	print("hot_made_volatile", vmstat("page_hint_volatile") - volatile_was);
	for (unsigned int i = 0; i <= 3 * every; i++) {
		printf("idle_share_after_%u %.4f\n", i, vmstat("nr_volatile") / frames);
		pass();
	}
	munmap(p, size);
	remove_file(fd);
}

static void share(size_t size)
{
	int fd = make_file(size);

	read_file(fd, size, 64 * KB);
	for (int i = 0; i < 5; i++) {
		printf("share_after_%d %.4f\n", i, vmstat("nr_volatile") / (double)(size / PAGE));
		pass();
	}
	remove_file(fd);
}

/* Readahead makes folios as large as what is asked for. */
static void orders(size_t size)
{
	for (unsigned int order = 0; order <= 5; order++) {
		size_t chunk = PAGE << order;
		int64_t none, plain, t;
		unsigned long was;
		double n;
		int fd;

		fd = make_file(size);
		none = still_pass();
		/* The first write of a size makes a folio of that size. */
		must(!ftruncate(fd, 0), "truncate");
		for (size_t off = 0; off < size; off += chunk)
			must(pwrite(fd, buf, chunk, off) == (ssize_t)chunk, "write");
		must(!fsync(fd), "fsync");
		plain = warm_read(fd, size);
		pass();
		read_file(fd, size, 64 * KB);
		t = pass();
		printf("order%u_arm %.1f\n", order, (t - none) / (size / chunk * 1.0));
		was = vmstat("page_hint_volatile");
		t = pass();
		n = (vmstat("page_hint_volatile") - was) / (double)(1 << order);
		printf("order%u_folios %.1f\n", order, n);
		printf("order%u_made_volatile %.1f\n", order, n ? (t - none) / n : 0);
		t = still_pass();
		printf("order%u_volatile %.1f\n", order, n ? (t - none) / n : 0);
		t = read_file(fd, size, 64 * KB);
		printf("order%u_made_stable %.1f\n", order, n ? (t - plain) / n : 0);
		fflush(stdout);
		remove_file(fd);
	}
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 4 ? strtoul(argv[3], NULL, 0) : 0;

	if (!n)
		errx(2, "usage: clock DIR kinds|sharing|mapped|share|orders NUMBER");
	dir = argv[1];
	buf = malloc(MB);
	must(buf, "malloc");
	memset(buf, 'x', MB);
	set(SYSFS "period_ms", "0");
	if (!strcmp(argv[2], "kinds"))
		kinds(n * MB);
	else if (!strcmp(argv[2], "sharing"))
		sharing(n);
	else if (!strcmp(argv[2], "mapped"))
		mapped(n);
	else if (!strcmp(argv[2], "share"))
		share(n * MB);
	else if (!strcmp(argv[2], "orders"))
		orders(n * MB);
	else
		errx(2, "unknown: %s", argv[2]);
	return 0;
}
