// SPDX-License-Identifier: GPL-2.0
/*
 * Digests of a tree of files, and changes to it that can be computed anywhere.
 *
 *   tree digest DIR          "DIGEST SIZE PATH" of every regular file
 *   tree digest DIR SEED     the same as it must be after "tree change DIR SEED", computed from
 *                            the unchanged tree without touching it
 *   tree change DIR SEED     rewrite, overwrite in part, truncate, extend and delete some files
 *
 * One source, built for the host and for the guest: the host computes what the guest must find.
 * What happens to a file, and what is written, depends on its path and SEED alone. Half of the
 * files are read with read(2), half through mmap(2), so that both paths are covered.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#define XXH_INLINE_ALL
#include "xxhash.h"

#include <err.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum fate { KEEP, DELETE, REWRITE, OVERWRITE, TRUNCATE, EXTEND, FATES };

static const char * const fate_name[FATES] = {
	"kept", "deleted", "rewritten", "overwritten", "truncated", "extended"
};

#define CHUNK (64 * 1024)

static bool change, expect;		/* "change", "digest" with SEED */
static uint64_t seed;
static size_t root_len;
static unsigned long count[FATES];

struct plan {
	enum fate fate;
	off_t size;			/* new size of the file */
	off_t from, to;			/* range with new content */
	uint64_t key;
};

/* What SEED does to the file: about one file in twelve is changed. */
static struct plan plan_for(const char *path, off_t size)
{
	uint64_t h = XXH64(path, strlen(path), seed);
	struct plan p = { .fate = KEEP, .size = size, .key = h };

	if (h % 64 < FATES)
		p.fate = h % 64;
	h /= 64;
	switch (p.fate) {
	case REWRITE:
		p.to = size;
		break;
	case OVERWRITE:			/* 1 to 6000 bytes, anywhere: partial and whole blocks */
		p.from = size ? h % size : 0;
		p.to = p.from + 1 + (h >> 32) % 6000;
		if (p.to > size)
			p.to = size;
		break;
	case TRUNCATE:
		p.size = size ? h % size : 0;
		break;
	case EXTEND:
		p.from = size;
		p.to = p.size = size + 1 + h % 6000;
		break;
	default:
		break;
	}
	return p;
}

/* New content: a function of the file's key and the offset, the same on every machine. */
static unsigned char pattern(uint64_t key, off_t off)
{
	uint64_t x = key + ((uint64_t)off / 8 + 1) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return x >> (off % 8 * 8);
}

static void fill(const struct plan *p, unsigned char *buf, off_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (off + (off_t)i >= p->from && off + (off_t)i < p->to)
			buf[i] = pattern(p->key, off + i);
}

static uint64_t digest_read(int fd, const char *path, const struct plan *p)
{
	static unsigned char buf[CHUNK];
	static XXH64_state_t state;
	off_t off = 0;

	XXH64_reset(&state, 0);
	while (off < p->size) {
		size_t want = p->size - off < CHUNK ? p->size - off : CHUNK;
		ssize_t got = pread(fd, buf, want, off);

		if (got < 0)
			err(1, "read %s at %lld", path, (long long)off);
		if ((size_t)got < want) {
			if (!expect)
				errx(1, "%s is too short", path);
			memset(buf + got, 0, want - got);
		}
		fill(p, buf, off, want);
		XXH64_update(&state, buf, want);
		off += want;
	}
	return XXH64_digest(&state);
}

static uint64_t digest_mmap(int fd, const char *path, off_t size)
{
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t digest;

	if (map == MAP_FAILED)
		err(1, "mmap %s", path);
	digest = XXH64(map, size, 0);
	munmap(map, size);
	return digest;
}

static void do_digest(const char *path, const char *rel, const struct plan *p)
{
	int fd = open(path, O_RDONLY);
	uint64_t digest;

	if (fd < 0)
		err(1, "open %s", path);
	if (!expect && p->size && p->key & 1 << 20)
		digest = digest_mmap(fd, path, p->size);
	else
		digest = digest_read(fd, path, p);
	close(fd);
	printf("%016llx %lld %s\n", (unsigned long long)digest, (long long)p->size, rel);
}

static void do_change(const char *path, const struct plan *p)
{
	static unsigned char buf[CHUNK];
	int fd;

	if (p->fate == DELETE) {
		if (unlink(path))
			err(1, "unlink %s", path);
		return;
	}
	fd = open(path, O_RDWR);
	if (fd < 0)
		err(1, "open %s", path);
	if (p->fate == TRUNCATE && ftruncate(fd, p->size))
		err(1, "truncate %s", path);
	for (off_t off = p->from; off < p->to; ) {
		size_t len = p->to - off < CHUNK ? p->to - off : CHUNK;

		fill(p, buf, off, len);
		if (pwrite(fd, buf, len, off) != (ssize_t)len)
			err(1, "write %s at %lld", path, (long long)off);
		off += len;
	}
	if (close(fd))
		err(1, "close %s", path);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *rel = path + root_len + 1;
	struct plan p;

	(void)ftw;
	if (type == FTW_DNR || type == FTW_NS)
		errx(1, "cannot read %s", path);
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;

	p = plan_for(rel, st->st_size);
	if (!change && !expect) {
		p.fate = KEEP;
		p.size = st->st_size;
		p.from = p.to = 0;
	}
	count[p.fate]++;
	if (change) {
		if (p.fate != KEEP)
			do_change(path, &p);
	} else if (p.fate != DELETE) {
		do_digest(path, rel, &p);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static char out[CHUNK];

	if (argc >= 3 && !strcmp(argv[1], "change") && argc == 4)
		change = true;
	else if (argc >= 3 && !strcmp(argv[1], "digest") && argc <= 4)
		expect = argc == 4;
	else
		errx(2, "usage: %s digest DIR [SEED] | change DIR SEED", argv[0]);
	if (argc == 4)
		seed = strtoull(argv[3], NULL, 0);

	setvbuf(stdout, out, _IOFBF, sizeof(out));
	root_len = strlen(argv[2]);
	if (nftw(argv[2], visit, 64, FTW_PHYS))
		err(1, "%s", argv[2]);
	if (change)
		for (int i = 0; i < FATES; i++)
			printf("%s=%lu%c", fate_name[i], count[i], i + 1 < FATES ? ' ' : '\n');
	if (fflush(stdout))
		err(1, "output");
	return 0;
}
