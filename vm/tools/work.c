// SPDX-License-Identifier: GPL-2.0
/*
 * What a small server does, for so long, and how long each request took.
 *
 *   work make DIR FILES_MB DB_MB		make its files in DIR
 *   work load DIR				read all, and have the database in memory (/tmp)
 *   work run DIR SECONDS SEED		serve requests
 *   work cache DIR			which frames are clean page cache: "FIRST NUMBER" a line
 *
 * A request reads a piece of 64 KB of the files, the n-th most popular of them with a probability
 * of 1/n, and changes eight records of the database, which is anonymous memory. Each sixteenth
 * writes a record to a journal and waits until it is on the disk, each sixty-fourth compresses what
 * it has read, in a process of its own. The number of each page and
 * record that is read is checked.
 *
 * Output of run: "requests N", and "at MICROSECONDS N" for each class of durations, a quarter of
 * a power of two wide.
 */
#define _GNU_SOURCE
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "util.h"

#define PIECE (64 * KB)
#define DB "/tmp/db"
#define JOURNAL_SIZE MB

static const char *dir;
static char path[4096];
static char *buf;
static uint64_t state;

/* xorshift */
static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static const char *in(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static size_t size_of(const char *file)
{
	struct stat st;

	must(!stat(file, &st), file);
	return st.st_size;
}

/* What is in a page of the files or the database: its number, and what follows from that */
static void fill(char *page, uint64_t number)
{
	uint64_t x = number + 1;

	for (size_t i = 0; i < PAGE / sizeof(x); i++) {
		((uint64_t *)page)[i] = i ? x : number;
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
	}
}

static void check(const char *page, uint64_t number, const char *what)
{
	if (memcmp(page, &number, sizeof(number)))
		errx(1, "%s: page %llu is wrong", what, (unsigned long long)number);
}

static void make_file(const char *file, size_t size)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0, file);
	for (size_t at = 0; at < size; at += PIECE) {
		for (size_t i = 0; i < PIECE; i += PAGE)
			fill(buf + i, (at + i) / PAGE);
		must(write(fd, buf, PIECE) == PIECE, file);
	}
	must(!fsync(fd), file);
	close(fd);
}

static void read_file(const char *from, const char *to)
{
	int fd = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	ssize_t n;

	must(fd >= 0, from);
	if (to) {
		out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		must(out >= 0, to);
	}
	while ((n = read(fd, buf, PIECE)) > 0)
		must(!to || write(out, buf, n) == n, to);
	must(!n, from);
	close(fd);
	if (to)
		close(out);
}

static void compress_piece(void)
{
	int fd, status;
	pid_t pid;

	fd = open("/tmp/piece", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, buf, PIECE) == PIECE && !lseek(fd, 0, SEEK_SET), "/tmp/piece");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		dup2(fd, 0);
		dup2(open("/dev/null", O_WRONLY), 1);
		execl("/bin/gzip", "gzip", "-1", NULL);
		_exit(1);
	}
	must(waitpid(pid, &status, 0) == pid && !status, "gzip");
	close(fd);
}

/* A quarter of a power of two of nanoseconds */
static unsigned int class_of(uint64_t ns)
{
	unsigned int log = 63 - __builtin_clzll(ns | 4);

	return 4 * log + (ns >> (log - 2) & 3);
}

static double end_of_class(unsigned int n)
{
	return (double)(1ULL << n / 4) / 4 * (n % 4 + 5) / 1000;
}

static void run(int seconds)
{
	unsigned long classes[4 * 64] = { 0 }, requests = 0;
	int64_t end = now() + seconds * 1000000000LL;
	int files = open(in("files"), O_RDONLY | O_CLOEXEC);
	int journal = open(in("journal"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	size_t pieces = size_of(in("files")) / PIECE, records = size_of(DB) / PAGE;
	double *share = malloc(pieces * sizeof(*share)), sum = 0;
	int db = open(DB, O_RDWR | O_CLOEXEC);
	char *records_at;

	must(files >= 0 && journal >= 0 && db >= 0 && share, "set-up");
	records_at = mmap(NULL, records * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, db, 0);
	must(records_at != MAP_FAILED, "mmap");
	for (size_t i = 0; i < pieces; i++)
		share[i] = sum += 1.0 / (i + 1);
	while (now() < end) {
		double wanted = (draw() >> 11) * 0x1p-53 * sum;
		size_t low = 0, high = pieces - 1, piece;
		int64_t start = now();

		while (low < high) {
			size_t mid = (low + high) / 2;

			if (share[mid] < wanted)
				low = mid + 1;
			else
				high = mid;
		}
		/* popular ones are not neighbours; the factor is a prime */
		piece = low * 7919 % pieces;
		must(pread(files, buf, PIECE, piece * PIECE) == PIECE, "read");
		for (size_t i = 0; i < PIECE; i += PAGE)
			check(buf + i, (piece * PIECE + i) / PAGE, "files");
		for (int i = 0; i < 8; i++) {
			size_t record = draw() % records;

			check(records_at + record * PAGE, record, "database");
			records_at[record * PAGE + 8 + draw() % (PAGE - 8)]++;
		}
		if (requests % 16 == 15) {
			off_t at = requests * 256 % JOURNAL_SIZE;

			must(pwrite(journal, buf, PAGE, at) == PAGE && !fdatasync(journal), "journal");
		}
		if (requests % 64 == 63)
			compress_piece();
		requests++;
		classes[class_of(now() - start)]++;
	}
	printf("requests %lu\n", requests);
	for (unsigned int i = 0; i < 4 * 64; i++) {
		if (classes[i])
			printf("at %.3f %lu\n", end_of_class(i), classes[i]);
	}
}

/* Cache that the guest can read again, whether or not it is idle */
static void clean_cache(void)
{
	const uint64_t lru = 1ULL << KPF_LRU;
	const uint64_t other = 1ULL << KPF_DIRTY | 1ULL << KPF_WRITEBACK | 1ULL << KPF_ANON | 1ULL << KPF_SWAPBACKED;
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t *flags = (uint64_t *)buf;
	unsigned long first = 0, number = 0, pfn = 0;
	ssize_t n;

	must(fd >= 0, "/proc/kpageflags");
	while ((n = read(fd, flags, PIECE)) > 0) {
		for (size_t i = 0; i < n / sizeof(*flags); i++, pfn++) {
			if ((flags[i] & lru) && !(flags[i] & other)) {
				if (!number)
					first = pfn;
				number++;
			} else if (number) {
				printf("%lu %lu\n", first, number);
				number = 0;
			}
		}
	}
	if (number)
		printf("%lu %lu\n", first, number);
	close(fd);
}

int main(int argc, char **argv)
{
	buf = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(buf != MAP_FAILED, "mmap");
	if (argc < 3)
		goto usage;
	dir = argv[2];
	if (!strcmp(argv[1], "make") && argc == 5) {
		make_file(in("files"), atoi(argv[3]) * MB);
		make_file(in("db"), atoi(argv[4]) * MB);
	} else if (!strcmp(argv[1], "load") && argc == 3) {
		read_file(in("db"), DB);
		read_file(in("files"), NULL);
	} else if (!strcmp(argv[1], "run") && argc == 5) {
		state = strtoull(argv[4], NULL, 0) * 0x9e3779b97f4a7c15ULL | 1;
		run(atoi(argv[3]));
	} else if (!strcmp(argv[1], "cache") && argc == 3) {
		clean_cache();
	} else {
		goto usage;
	}
	return 0;

usage:
	errx(2, "usage: work make DIR FILES_MB DB_MB, work load DIR, work run DIR SECONDS SEED, work cache DIR");
}
