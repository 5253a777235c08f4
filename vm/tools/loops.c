// SPDX-License-Identifier: GPL-2.0
/*
 * Loops over the paths that page hinting has hooks in, timed with the guest's clock.
 *
 *   loops DIR [LOOP...]	run all loops, or those named; DIR is on the file system under test
 *   loops -l			list them
 *
 * Under QEMU's -icount with one instruction a nanosecond, the clock counts instructions. Each loop
 * is run in batches that are short against a timer tick; the smallest batch is one without a tick,
 * and comes out the same each time, while the mean has in it what happens only now and then.
 *
 * Output, a line for each loop: NAME UNITS SMALLEST MEDIAN MEAN C1 ... C7
 * that is the number of units of work in all batches, nanoseconds per unit, and, where the host can
 * be asked, how often it was called in all of them: each order code of ESSA, or with page states
 * that are shared with it, the doorbell (C1).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "util.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define AROUND "/sys/kernel/debug/fault_around_bytes"
#define FILE_SIZE (8 * MB)
#define TREE_DIRS 8
#define TREE_FILES 32
#define MAX_BATCHES 200
#define SETTLE 60			/* seconds */

struct loop {
	const char *name;
	unsigned int batches;
	unsigned int rounds;		/* calls of run in a batch */
	unsigned int units;		/* of work in one of them */
	void (*setup)(void);
	void (*run)(void);
	void (*teardown)(void);
};

static const char *dir;
static char path[4096];
static char *buf;
static int fd = -1, null_fd = -1;
static char *map;
static size_t map_len;
static const char *self;
static int64_t waited;			/* in a batch, for what does not count */

/* --- a cached file ---------------------------------------------------------------------------- */

/* In an order that readahead understands, so that folios are as large as they get */
static void read_file(void)
{
	for (size_t off = 0; off < FILE_SIZE; off += MB)
		must(pread(fd, buf, MB, off) == (ssize_t)MB, "read");
}

static void file_setup(void)
{
	snprintf(path, sizeof(path), "%s/loops.file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0, path);
	memset(buf, 'x', MB);
	for (size_t off = 0; off < FILE_SIZE; off += MB)
		must(pwrite(fd, buf, MB, off) == (ssize_t)MB, "write");
	must(!fsync(fd), "fsync");
	must(!posix_fadvise(fd, 0, FILE_SIZE, POSIX_FADV_DONTNEED), "fadvise");
	read_file();
}

static void file_teardown(void)
{
	close(fd);
	fd = -1;
	unlink(path);
}

static void read_same_4k(void)
{
	must(pread(fd, buf, 4 * KB, 0) == 4 * KB, "read");
}

static void read_same_64k(void)
{
	must(pread(fd, buf, 64 * KB, 0) == 64 * KB, "read");
}

static off_t walk_at;

static void walk_setup(void)
{
	file_setup();
	walk_at = 0;
}

static void walk(size_t len)
{
	must(pread(fd, buf, len, walk_at) == (ssize_t)len, "read");
	walk_at = (walk_at + len) % FILE_SIZE;
}

static void read_walk_4k(void)
{
	walk(4 * KB);
}

static void read_walk_64k(void)
{
	walk(64 * KB);
}

static void write_4k(void)
{
	must(pwrite(fd, buf, 4 * KB, 0) == 4 * KB, "write");
}

static void null_setup(void)
{
	file_setup();
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	must(null_fd >= 0, "/dev/null");
}

static void null_teardown(void)
{
	close(null_fd);
	file_teardown();
}

static void sendfile_64k(void)
{
	off_t off = 0;

	must(sendfile(null_fd, fd, &off, 64 * KB) == 64 * KB, "sendfile");
}

/* --- page faults ------------------------------------------------------------------------------ */

static void touch(char *p, size_t len, bool write)
{
	for (size_t i = 0; i < len; i += PAGE) {
		if (write)
			*(volatile char *)(p + i) = 1;
		else
			(void)*(volatile char *)(p + i);
	}
}

static void set_around(const char *bytes)
{
	int f = open(AROUND, O_WRONLY | O_CLOEXEC);

	must(f >= 0 && write(f, bytes, strlen(bytes)) > 0, AROUND);
	close(f);
}

static void around_setup(void)
{
	file_setup();
	set_around("65536");
}

static void alone_setup(void)
{
	file_setup();
	set_around("4096");
}

static void alone_teardown(void)
{
	set_around("65536");
	file_teardown();
}

/* Not from the start of a large folio, or a single fault may map all of it, as its alignment permits */
static void fault_file(void)
{
	char *p = mmap(NULL, MB, PROT_READ, MAP_SHARED, fd, PAGE);

	must(p != MAP_FAILED, "mmap");
	touch(p, MB, false);
	munmap(p, MB);
}

static void scan_setup(void)
{
	file_setup();
	map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	must(map != MAP_FAILED, "mmap");
	touch(map, FILE_SIZE, false);
}

static void scan(void)
{
	touch(map, FILE_SIZE, false);
}

static void scan_teardown(void)
{
	munmap(map, FILE_SIZE);
	file_teardown();
}

static void anon_setup(size_t len)
{
	map_len = len;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(map != MAP_FAILED, "mmap");
	madvise(map, len, MADV_NOHUGEPAGE);
}

/* What one CPU's lists hold in any configuration */
static void anon_64k_setup(void)
{
	anon_setup(64 * KB);
}

static void anon_1m_setup(void)
{
	anon_setup(MB);
}

static void anon_32m_setup(void)
{
	anon_setup(32 * MB);
}

static void anon(void)
{
	touch(map, map_len, true);
	must(!madvise(map, map_len, MADV_DONTNEED), "madvise");
}

static void anon_teardown(void)
{
	munmap(map, map_len);
}

/*
 * How soon a disk has written something is not ours, and whether a page is still in the swap cache when it is wanted
 * again depends on it. So when all is written, it is read, and paged out once more, which takes no I/O. None of this counts.
 */
static void swap(void)
{
	int64_t start;

	touch(map, map_len, true);
	must(!madvise(map, map_len, MADV_PAGEOUT), "madvise");
	start = now();
	usleep(100000);
	touch(map, map_len, false);
	must(!madvise(map, map_len, MADV_PAGEOUT), "madvise");
	waited += now() - start;
}

/* --- processes and files ---------------------------------------------------------------------- */

static void spawn(bool exec)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0, "fork");
	if (!pid) {
		if (exec)
			execl(self, self, "-e", NULL);
		_exit(exec);
	}
	must(waitpid(pid, &status, 0) == pid && !status, "child");
}

static void fork_exit(void)
{
	spawn(false);
}

static void fork_exec_exit(void)
{
	spawn(true);
}

static void create_write_delete(void)
{
	int f;

	snprintf(path, sizeof(path), "%s/loops.new", dir);
	f = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(f >= 0, path);
	must(write(f, buf, 16 * KB) == 16 * KB, "write");
	close(f);
	must(!unlink(path), "unlink");
}

static void tree_name(unsigned int d, int f)
{
	int n = snprintf(path, sizeof(path), "%s/loops.tree%u", dir, d);

	if (f >= 0)
		snprintf(path + n, sizeof(path) - n, "/file%d", f);
}

static void tree_setup(void)
{
	for (unsigned int d = 0; d < TREE_DIRS; d++) {
		tree_name(d, -1);
		must(!mkdir(path, 0700), path);
		for (int f = 0; f < TREE_FILES; f++) {
			int file;

			tree_name(d, f);
			file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
			must(file >= 0, path);
			must(write(file, buf, 4 * KB * (1 + f % 4)) > 0, path);
			must(!fsync(file), path);
			close(file);
		}
	}
}

static void tree_teardown(void)
{
	for (unsigned int d = 0; d < TREE_DIRS; d++) {
		for (int f = 0; f < TREE_FILES; f++) {
			tree_name(d, f);
			unlink(path);
		}
		tree_name(d, -1);
		rmdir(path);
	}
}

static void stat_open(void)
{
	struct stat st;

	for (int f = 0; f < TREE_FILES; f++) {
		int file;

		tree_name(f % TREE_DIRS, f);
		must(!stat(path, &st), path);
		file = open(path, O_RDONLY | O_CLOEXEC);
		must(file >= 0, path);
		close(file);
	}
}

/* The real job: walk a tree, open each file and look for a word in it. */
static void search_tree(void)
{
	for (unsigned int d = 0; d < TREE_DIRS; d++) {
		struct dirent *e;
		DIR *list;

		tree_name(d, -1);
		list = opendir(path);
		must(list, path);
		while ((e = readdir(list))) {
			int file = openat(dirfd(list), e->d_name, O_RDONLY | O_CLOEXEC);
			ssize_t n;

			must(file >= 0, e->d_name);
			while ((n = read(file, buf, 64 * KB)) > 0)
				must(!memmem(buf, n, "needle", 6), "not found");
			close(file);
		}
		closedir(list);
	}
}

static const struct loop loops[] = {
	{ "read_same_4k", 40, 1000, 1, file_setup, read_same_4k, file_teardown },
	{ "read_same_64k", 40, 100, 1, file_setup, read_same_64k, file_teardown },
	{ "read_walk_4k", 40, 1024, 1, walk_setup, read_walk_4k, file_teardown },
	{ "read_walk_64k", 40, 64, 1, walk_setup, read_walk_64k, file_teardown },
	{ "sendfile_64k", 40, 100, 1, null_setup, sendfile_64k, null_teardown },
	{ "write_4k", 40, 500, 1, file_setup, write_4k, file_teardown },
	{ "fault_file_around", 40, 4, MB / PAGE, around_setup, fault_file, file_teardown },
	{ "fault_file_alone", 40, 2, MB / PAGE, alone_setup, fault_file, alone_teardown },
	{ "mmap_scan", 40, 4, FILE_SIZE / PAGE, scan_setup, scan, scan_teardown },
	{ "anon_64k", 100, 20, 64 * KB / PAGE, anon_64k_setup, anon, anon_teardown },
	{ "anon_1m", 40, 2, MB / PAGE, anon_1m_setup, anon, anon_teardown },
	{ "anon_32m", 10, 1, 32 * MB / PAGE, anon_32m_setup, anon, anon_teardown },
	{ "fork_exit", 100, 5, 1, NULL, fork_exit, NULL },
	{ "fork_exec_exit", 100, 2, 1, NULL, fork_exec_exit, NULL },
	{ "create_write_delete", 100, 10, 1, NULL, create_write_delete, NULL },
	{ "stat_open", 40, 10, TREE_FILES, tree_setup, stat_open, tree_teardown },
	{ "search_tree", 40, 1, TREE_DIRS * TREE_FILES, tree_setup, search_tree, tree_teardown },
	{ "swap_out_in", 100, 1, MB / PAGE, anon_1m_setup, swap, anon_teardown },
};

/* --- measuring -------------------------------------------------------------------------------- */

/* How often the host was called, by order code of ESSA; false if there is nobody to ask */
static bool calls(unsigned long n[8])
{
	char text[4096], *at;

	if (!host_ask("stats\n", text, sizeof(text)))
		return false;
	at = strstr(text, " syncs=");
	if (at) {
		n[1] = strtoul(at + 7, NULL, 10);
		return true;
	}
	for (int i = 0; i < 8; i++) {
		char key[] = { ' ', 'n', '0' + i, '=', 0 };

		at = strstr(text, key);
		if (!at)
			return false;
		n[i] = strtoul(at + 4, NULL, 10);
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const struct loop *l)
{
	unsigned long before[8] = { 0 }, after[8] = { 0 };
	double units = (double)l->rounds * l->units;
	uint64_t took[MAX_BATCHES], sum = 0;

	if (l->setup)
		l->setup();
	/* what has been freed leaves the lists of the CPU, a bit each second */
	sleep(SETTLE);
	/* the host may have taken it meanwhile */
	if (fd >= 0)
		read_file();
	for (unsigned int i = 0; i < 3 * l->rounds; i++)
		l->run();
	calls(before);
	for (unsigned int b = 0; b < l->batches; b++) {
		uint64_t start = now();

		waited = 0;
		for (unsigned int i = 0; i < l->rounds; i++)
			l->run();
		took[b] = now() - start - waited;
		sum += took[b];
	}
	calls(after);
	if (l->teardown)
		l->teardown();
	qsort(took, l->batches, sizeof(took[0]), compare);
	printf("%s %.0f %.4f %.4f %.4f", l->name, units * l->batches, took[0] / units,
	       took[l->batches / 2] / units, sum / units / l->batches);
	for (int i = 1; i < 8; i++)
		printf(" %lu", after[i] - before[i]);
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	size_t count = sizeof(loops) / sizeof(loops[0]);

	if (argc == 2 && !strcmp(argv[1], "-e"))
		return 0;		/* what fork_exec_exit executes */
	if (argc == 2 && !strcmp(argv[1], "-l")) {
		for (size_t i = 0; i < count; i++)
			puts(loops[i].name);
		return 0;
	}
	if (argc < 2)
		errx(2, "usage: loops DIR [LOOP...], loops -l");
	self = "/proc/self/exe";
	dir = argv[1];
	buf = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(buf != MAP_FAILED, "mmap");
	memset(buf, 'x', MB);
	for (size_t i = 0; i < count; i++) {
		bool wanted = argc == 2;

		for (int a = 2; a < argc; a++)
			wanted |= !strcmp(argv[a], loops[i].name);
		if (wanted)
			measure(&loops[i]);
	}
	return 0;
}
