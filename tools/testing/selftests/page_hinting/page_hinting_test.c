// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting: whatever the host takes, a file reads as it was written.
 *
 * Each test lets clean pages become volatile, has the host discard them (as
 * far as the host does that, see page_hinting_util.c) and uses the file in one
 * particular way. Contents are right under any host; the counters are looked
 * at where the host's behaviour is known.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define PAGES	256UL
#define SIZE	(PAGES * ph_page)

/* --- small helpers ------------------------------------------------------ */

static unsigned char *new_gens(size_t size, unsigned char gen)
{
	unsigned char *gens = malloc(size / PH_GRANULE);

	ph_check(gens);
	memset(gens, gen, size / PH_GRANULE);
	return gens;
}

static void set_gens(unsigned char *gens, off_t off, size_t len,
		     unsigned char gen)
{
	memset(gens + off / PH_GRANULE, gen, len / PH_GRANULE);
}

/* Write with write(2), and remember only which generation */
static void write_range(const struct ph_file *f, unsigned char *gens, off_t off,
			size_t len, unsigned char gen)
{
	ph_write_gen(f->fd, f->id, off, len, gen);
	set_gens(gens, off, len, gen);
}

/* What the disk has, not the cache */
static void verify_disk(const struct ph_file *f, const unsigned char *gens)
{
	ph_check(!fsync(f->fd));
	ph_drop_caches();
	ph_verify_fd_gens(f->fd, f->id, f->size, gens);
}

static int open_direct(const struct ph_file *f)
{
	int fd = open(f->path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0 && errno == EINVAL)
		ph_skip("no O_DIRECT here");
	ph_check(fd >= 0);
	return fd;
}

static void new_pipe(int p[2], size_t size)
{
	ph_check(!pipe2(p, O_CLOEXEC));
	if (fcntl(p[1], F_SETPIPE_SZ, size) < (int)size)
		ph_skip("no pipe of %zu bytes", size);
}

static void read_all(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n <= 0)
			ph_fail("read: %zd after %zu of %zu", n, done, len);
		done += n;
	}
}

/* --- interface ---------------------------------------------------------- */

static void interface(void)
{
	static const char * const modes[] = { "off", "unused", "on" };
	static const char * const numbers[][2] = {
		{ "period_ms", "12345" },
		{ "mapped_every", "7" },
		{ "max_order", "2" },
		{ "block_devices", "1" },
		{ "block_devices", "0" },
	};
	static const char * const counters[] = {
		"page_hint_volatile ", "page_hint_busy ", "page_hint_stable ",
		"page_hint_lost ", "page_hint_evicted ", "page_hint_fault ",
		"page_hint_fault_stale ", "page_hint_armed ", "nr_volatile ",
	};
	static char vmstat[64 << 10];
	char text[64];
	size_t i;
	FILE *file;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ph_check(ph_set("mode", "%s\n", modes[i]));
		ph_get("mode", text, sizeof(text));
		if (strcmp(text, modes[i]))
			ph_fail("mode %s reads as %s", modes[i], text);
	}
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!ph_set(numbers[i][0], "%s", numbers[i][1]))
			ph_fail("%s refuses %s", numbers[i][0], numbers[i][1]);
		ph_get(numbers[i][0], text, sizeof(text));
		if (strcmp(text, numbers[i][1]))
			ph_fail("%s: %s reads as %s", numbers[i][0],
				numbers[i][1], text);
	}
	ph_check(ph_set("period_ms", "0"));
	ph_check(ph_set("pass", "1"));

	file = fopen("/proc/vmstat", "re");
	ph_check(file);
	vmstat[0] = '\n';
	ph_check(fread(vmstat + 1, 1, sizeof(vmstat) - 2, file) > 0);
	fclose(file);
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		snprintf(text, sizeof(text), "\n%s", counters[i]);
		if (!strstr(vmstat, text))
			ph_fail("no %sin /proc/vmstat", counters[i]);
	}
}

static void refuses_nonsense(void)
{
	static const char * const nonsense[][2] = {
		{ "mode", "volatile" }, { "mode", "ON" }, { "mode", "onn" },
		{ "mode", "o" }, { "mode", "1" }, { "mode", "off on" },
		{ "mode", "\n" }, { "mode", "-" },
		{ "period_ms", "x" }, { "period_ms", "-1" },
		{ "period_ms", "1.5" }, { "period_ms", "10s" },
		{ "period_ms", "\n" }, { "period_ms", "1 2" },
		{ "pass", "x" }, { "pass", "-1" }, { "pass", "\n" },
		{ "mapped_every", "x" }, { "mapped_every", "0" },
		{ "mapped_every", "-1" }, { "mapped_every", "\n" },
		{ "max_order", "x" }, { "max_order", "-1" },
		{ "max_order", "1000" }, { "max_order", "\n" },
		{ "block_devices", "x" }, { "block_devices", "-1" },
		{ "block_devices", "2" }, { "block_devices", "\n" },
	};
	static const char * const large[] = {
		"period_ms", "mapped_every", "max_order",
	};
	char before[64], after[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nonsense); i++) {
		ph_get(nonsense[i][0], before, sizeof(before));
		if (ph_set(nonsense[i][0], "%s", nonsense[i][1]))
			ph_fail("%s takes \"%s\"", nonsense[i][0],
				nonsense[i][1]);
		if (errno != EINVAL)
			ph_fail("%s, \"%s\": not EINVAL", nonsense[i][0],
				nonsense[i][1]);
		ph_get(nonsense[i][0], after, sizeof(after));
		if (strcmp(before, after))
			ph_fail("%s was %s, is %s after \"%s\"",
				nonsense[i][0], before, after, nonsense[i][1]);
	}
	/* what no machine word holds may be out of range instead */
	for (i = 0; i < ARRAY_SIZE(large); i++) {
		ph_get(large[i], before, sizeof(before));
		ph_check(!ph_set(large[i], "99999999999999999999999"));
		ph_check(errno == EINVAL || errno == ERANGE);
		ph_get(large[i], after, sizeof(after));
		ph_check(!strcmp(before, after));
	}
}

/* What the host took is noticed, by the reader or by the clock */
static void lost_pages_are_counted(void)
{
	struct ph_file f = ph_create("f", 1, SIZE, 1);
	unsigned long lost, evicted, gauge;
	struct ph_counters before, c;
	bool gone;

	ph_get_counters(&before);
	ph_cmp(ph_idle(SIZE), >=, PAGES * 95 / 100);
	gone = ph_host_discard();
	ph_get_counters(&c);
	gauge = c.v[PH_NR_VOLATILE] - before.v[PH_NR_VOLATILE];
	ph_value("became volatile", ph_since(&before, PH_VOLATILE));
	ph_value("nr_volatile, more by", gauge);
	ph_cmp(gauge, >=, PAGES * 95 / 100);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	lost = ph_since(&c, PH_LOST);
	evicted = ph_since(&c, PH_EVICTED);
	ph_value("lost", lost);
	ph_value("evicted", evicted);
	ph_value("stable", ph_since(&c, PH_STABLE));
	if (gone) {
		ph_cmp(lost, >=, 1);
		ph_cmp(lost + evicted, >=, PAGES * 95 / 100);
	}
	/* nothing of the file is volatile any more */
	ph_get_counters(&c);
	ph_cmp(c.v[PH_NR_VOLATILE], <=, before.v[PH_NR_VOLATILE]);

	ph_get_counters(&c);
	ph_make_gone(SIZE, PH_CLEANED);
	evicted = ph_since(&c, PH_EVICTED);
	ph_value("evicted by the clock", evicted);
	if (gone)
		ph_cmp(evicted, >=, PAGES * 90 / 100);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_remove(&f);
}

/* --- reading ------------------------------------------------------------ */

static void read_sequential(void)
{
	struct ph_file f = ph_create("f", 2, SIZE, 1);
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	}
	ph_remove(&f);
}

/*
 * A read takes folios from the page cache in batches of this many. What is gone
 * is the last one of a batch, and none before it.
 */
#define BATCH	31

static void read_end_of_batch(void)
{
	struct ph_file f = ph_create("f", 30, BATCH * ph_page, 1);
	char *buf = ph_alloc(f.size), state[BATCH];
	unsigned long pfn[BATCH], round;

	if (!ph_host_has_ctl() || !ph_host_mode("idle"))
		ph_skip("needs a host that can be told what to take");
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM));
	/* it takes the page that comes next in memory, of those it may take */
	for (round = 0; round < 20 * BATCH; round++) {
		ph_file_pfns(&f, pfn);
		ph_idle(f.size);
		ph_check(ph_host_ask(NULL, 0, "discard volatile count=1"));
		ph_host_states(pfn, BATCH, state);
		ph_pread(f.fd, buf, f.size, 0);
		ph_verify(buf, f.id, 0, f.size, 1);
		if (state[BATCH - 1] == 'V' && !memchr(state, 'V', BATCH - 1))
			break;
	}
	ph_value("rounds", round);
	ph_cmp(round, <, 20 * BATCH);
	ph_remove(&f);
}

static void read_random(void)
{
	struct ph_file f = ph_create("f", 3, SIZE, 1);
	unsigned char *all = ph_alloc(SIZE), *buf = ph_alloc(SIZE);
	unsigned int i;
	int where;

	ph_fill(all, f.id, 0, SIZE, 1);
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM));
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		/* a stride prime to the number of pages meets all of them */
		for (i = 0; i < PAGES; i++) {
			off_t off = i * 197 % PAGES * ph_page + i % ph_page;
			size_t len = 1 + i * 37 % (2 * ph_page);

			if (off + len > SIZE)
				len = SIZE - off;
			ph_pread(f.fd, buf, len, off);
			if (memcmp(buf, all + off, len))
				ph_fail("WRONG CONTENT: 0x%zx at 0x%llx", len,
					(unsigned long long)off);
		}
	}
	ph_remove(&f);
}

/* Mapped before it goes, mapped after, forwards and backwards */
static void mmap_read(void)
{
	struct ph_file f = ph_create("f", 4, SIZE, 1);
	static const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	char *map;
	size_t i;
	off_t off;
	int where;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		for (where = 0; where < PH_WHERES; where++) {
			ph_make_gone(SIZE, where);
			map = ph_map(&f, PROT_READ, flags[i]);
			ph_verify(map, f.id, 0, SIZE, 1);
			/* still mapped, but idle */
			ph_make_gone(SIZE, where);
			for (off = SIZE - ph_page; off >= 0; off -= ph_page)
				ph_verify(map + off, f.id, off, ph_page, 1);
			munmap(map, SIZE);
		}
	}
	ph_remove(&f);
}

static void small_files(void)
{
	enum { FILES = 48 };
	size_t size = ph_page + ph_page / 2, more = ph_page / 4;
	struct ph_file f[FILES];
	int i, where;

	for (i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		f[i] = ph_create(name, 100 + i, size, 1);
	}
	/* Where a page has many blocks, the last one is not up to date yet */
	if (ph_page > 4096) {
		ph_drop_caches();
		for (i = 0; i < FILES; i++)
			ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
	}
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(2 * FILES * ph_page, where);
		for (i = 0; i < FILES; i++)
			ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
		/* append to a block that is gone */
		ph_make_gone(2 * FILES * ph_page, where);
		for (i = 0; i < FILES; i++) {
			ph_write_gen(f[i].fd, f[i].id, f[i].size, more, 1);
			f[i].size += more;
			ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
			ph_check(!fsync(f[i].fd));
		}
	}
	for (i = 0; i < FILES; i++)
		ph_remove(&f[i]);
}

static void advice(void)
{
	struct ph_file f = ph_create("f", 5, SIZE, 1);
	unsigned int round;
	char *map;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		for (round = 0; round < 6; round++) {
			ph_make_gone(SIZE, where);
			map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
			switch (round) {
			case 0:
				ph_check(!posix_fadvise(f.fd, 0, SIZE,
							POSIX_FADV_WILLNEED));
				break;
			case 1:
				ph_check(!readahead(f.fd, 0, SIZE));
				break;
			case 2:
				ph_check(!madvise(map, SIZE, MADV_WILLNEED));
				break;
			case 3:
				ph_check(!madvise(map, SIZE,
						  MADV_POPULATE_READ) ||
					 errno == EINVAL);
				break;
			case 4:
				ph_check(!madvise(map, SIZE,
						  MADV_POPULATE_WRITE) ||
					 errno == EINVAL);
				break;
			case 5:
				/* the cleaning up must not trip over it */
				ph_check(!posix_fadvise(f.fd, 0, SIZE,
							POSIX_FADV_DONTNEED));
				break;
			}
			if (round & 1)
				ph_verify(map, f.id, 0, SIZE, 1);
			ph_verify_read(f.fd, f.id, 0, SIZE, 1);
			munmap(map, SIZE);
			ph_check(!fsync(f.fd));
		}
	}
	ph_remove(&f);
}

static void drop_caches(void)
{
	struct ph_file f = ph_create("f", 6, SIZE, 1);
	struct ph_counters before, c;

	ph_get_counters(&before);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_drop_caches();
	ph_get_counters(&c);
	ph_cmp(c.v[PH_NR_VOLATILE], <=, before.v[PH_NR_VOLATILE]);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);

	/* the other half stays */
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify_read(f.fd, f.id, 0, SIZE / 2, 1);
	ph_drop_caches();
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_remove(&f);
}

/* --- writing ------------------------------------------------------------ */

/*
 * Write into pages that are gone, as @write does, and read before and after
 * they go again.
 */
static void write_to_gone(struct ph_file *f, unsigned char *gens,
			  void (*write)(const struct ph_file *f,
					unsigned char *gens, int where))
{
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		write(f, gens, where);
		ph_verify_fd_gens(f->fd, f->id, SIZE, gens);
		ph_check(!fsync(f->fd));
		ph_make_gone(SIZE, where);
		ph_verify_fd_gens(f->fd, f->id, SIZE, gens);
	}
}

static void write_parts(const struct ph_file *f, unsigned char *gens, int where)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		write_range(f, gens, i * ph_page + (1 + i % 60) * PH_GRANULE,
			    PH_GRANULE, 2 + where);
}

static void write_part_of_block(void)
{
	struct ph_file f = ph_create("f", 10, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	unsigned int i;

	write_to_gone(&f, gens, write_parts);
	/* across the border of two */
	for (i = 1; i < PAGES; i += 2)
		write_range(&f, gens, i * ph_page - 3 * PH_GRANULE,
			    7 * PH_GRANULE, 9);
	verify_disk(&f, gens);
	ph_remove(&f);
}

static void write_every_other(const struct ph_file *f, unsigned char *gens,
			      int where)
{
	unsigned int i;

	for (i = where; i < PAGES; i += 2)
		write_range(f, gens, i * ph_page, ph_page, 2 + where);
}

static void write_whole_block(void)
{
	struct ph_file f = ph_create("f", 11, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);

	write_to_gone(&f, gens, write_every_other);
	verify_disk(&f, gens);
	ph_remove(&f);
}

/* The kernel reads from the mapping of a page that is gone */
static void write_from_mapping(void)
{
	struct ph_file from = ph_create("from", 12, SIZE, 1);
	struct ph_file to = ph_create("to", 12, SIZE, 2);
	char *map = ph_map(&from, PROT_READ, MAP_SHARED);
	int where;

	/* one large write may make one large folio */
	ph_set("max_order", "8");
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(2 * SIZE, where);
		ph_pwrite(to.fd, map, SIZE, 0);
		ph_verify_read(to.fd, to.id, 0, SIZE, 1);
		ph_write_gen(to.fd, to.id, 0, SIZE, 2);
		ph_check(!fsync(to.fd));
	}
	/* and a file from itself, shifted by a page */
	ph_make_gone(2 * SIZE, PH_IN_PLACE);
	ph_pwrite(from.fd, map + ph_page, ph_page, 0);
	ph_verify_read(from.fd, from.id, ph_page, SIZE - ph_page, 1);
	ph_verify(map + ph_page, from.id, ph_page, SIZE - ph_page, 1);
	ph_verify_read(to.fd, to.id, 0, SIZE, 2);
	munmap(map, SIZE);
	ph_remove(&from);
	ph_remove(&to);
}

/* A clean page may be mapped writable and go; no store into it gets lost */
static void mmap_shared_write(void)
{
	struct ph_file f = ph_create("f", 13, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	char *map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	unsigned int i, gen = 1;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		gen++;
		for (i = 0; i < PAGES; i++) {
			off_t off = i * ph_page + i % 64 * PH_GRANULE;

			ph_fill(map + off, f.id, off, PH_GRANULE, gen);
			set_gens(gens, off, PH_GRANULE, gen);
		}
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		/* dirty, and the clock comes by */
		ph_pass(3);
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		ph_check(!msync(map, SIZE, MS_SYNC));
		/* clean, still mapped writable, and taken */
		ph_make_gone(SIZE, where);
		gen++;
		for (i = 0; i < PAGES; i += 3) {
			ph_fill(map + i * ph_page, f.id, i * ph_page, ph_page,
				gen);
			set_gens(gens, i * ph_page, ph_page, gen);
		}
		ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
		ph_check(!msync(map, SIZE, MS_SYNC));
	}
	verify_disk(&f, gens);
	ph_verify_gens(map, f.id, 0, SIZE, gens);
	munmap(map, SIZE);
	ph_remove(&f);
}

static void mmap_private_write(void)
{
	struct ph_file f = ph_create("f", 14, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	unsigned int i;
	char *map;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		memset(gens, 1, SIZE / PH_GRANULE);
		map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		for (i = where; i < PAGES; i += 2) {
			off_t off = i * ph_page + i % 64 * PH_GRANULE;

			ph_fill(map + off, f.id, off, PH_GRANULE, 2);
			set_gens(gens, off, PH_GRANULE, 2);
		}
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		ph_pass(3);
		ph_host_discard();
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		munmap(map, SIZE);
	}
	ph_remove(&f);
}

/* What is not on the disk yet is not offered to anybody */
static void dirty_pages_stay(void)
{
	struct ph_file f = ph_create("f", 15, SIZE, 1);
	struct ph_counters before;
	char *map;

	/* put back by the runner */
	ph_check(ph_write_file("/proc/sys/vm/dirty_writeback_centisecs", "0"));
	ph_settle();
	ph_write_gen(f.fd, f.id, 0, SIZE / 2, 2);
	map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	ph_fill(map + SIZE / 2, f.id, SIZE / 2, SIZE / 2, 3);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(6);
	ph_host_discard();
	ph_value("dirty pages made volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_verify(map, f.id, 0, SIZE / 2, 2);
	ph_verify(map + SIZE / 2, f.id, SIZE / 2, SIZE / 2, 3);
	ph_check(!fsync(f.fd));
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify_read(f.fd, f.id, 0, SIZE / 2, 2);
	ph_verify_read(f.fd, f.id, SIZE / 2, SIZE / 2, 3);
	munmap(map, SIZE);
	ph_remove(&f);
}

/* --- changing the file -------------------------------------------------- */

static void truncation(void)
{
	struct ph_file f = ph_create("f", 20, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	unsigned int round, i;
	char *map;
	off_t cut;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		for (round = 0; round < 3; round++) {
			ph_make_gone(SIZE, where);
			cut = SIZE - round * 50 * ph_page -
			      (round * 7 + 5) * PH_GRANULE;
			ph_check(!ftruncate(f.fd, cut));
			if (round & 1) {
				/* what lies behind the end reads as zero */
				map = ph_map(&f, PROT_READ, MAP_SHARED);
				i = cut % ph_page;
				ph_verify_zero(map + cut, ph_page - i);
				munmap(map, SIZE);
				ph_pass(3);
				ph_host_discard();
			}
			ph_check(!ftruncate(f.fd, SIZE));
			set_gens(gens, cut, SIZE - cut, 0);
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
			ph_check(!fsync(f.fd));
			ph_make_gone(SIZE, where);
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
			write_range(&f, gens, 0, SIZE, 1);
			ph_check(!fsync(f.fd));
		}
	}
	verify_disk(&f, gens);
	ph_check(!ftruncate(f.fd, 0));
	ph_remove(&f);
}

static void hole_punch(void)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
	};
	struct ph_file f = ph_create("f", 21, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	unsigned int i;
	size_t mode;
	int where;

	for (mode = 0; mode < ARRAY_SIZE(modes); mode++) {
		for (where = 0; where < PH_WHERES; where++) {
			ph_make_gone(SIZE, where);
			for (i = 0; i + 8 < PAGES; i += 8) {
				off_t off = i * ph_page +
					    i / 8 % 3 * 5 * PH_GRANULE;
				size_t len = (1 + i / 8 % 4) * ph_page +
					     i / 8 % 2 * 9 * PH_GRANULE;

				if (fallocate(f.fd, modes[mode], off, len)) {
					if (errno == EOPNOTSUPP)
						continue;
					ph_fail("fallocate %d", modes[mode]);
				}
				set_gens(gens, off, len, 0);
			}
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
			ph_check(!fsync(f.fd));
			ph_make_gone(SIZE, where);
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
			write_range(&f, gens, 0, SIZE, 1);
			ph_check(!fsync(f.fd));
		}
	}
	verify_disk(&f, gens);
	ph_remove(&f);
}

static void collapse_range(void)
{
	struct ph_file f = ph_create("f", 22, SIZE, 1);
	char *buf = ph_alloc(SIZE);

	ph_make_gone(SIZE, PH_IN_PLACE);
	if (fallocate(f.fd, FALLOC_FL_COLLAPSE_RANGE, 16 * ph_page,
		      32 * ph_page))
		ph_skip("no FALLOC_FL_COLLAPSE_RANGE here");
	ph_pread(f.fd, buf, SIZE - 32 * ph_page, 0);
	ph_verify(buf, f.id, 0, 16 * ph_page, 1);
	ph_verify(buf + 16 * ph_page, f.id, 48 * ph_page,
		  SIZE - 48 * ph_page, 1);
	ph_check(!fsync(f.fd));
	ph_make_gone(SIZE - 32 * ph_page, PH_IN_PLACE);
	ph_check(!fallocate(f.fd, FALLOC_FL_INSERT_RANGE, 16 * ph_page,
			    32 * ph_page));
	ph_pread(f.fd, buf, SIZE, 0);
	ph_verify(buf, f.id, 0, 16 * ph_page, 1);
	ph_verify_zero(buf + 16 * ph_page, 32 * ph_page);
	ph_verify(buf + 48 * ph_page, f.id, 48 * ph_page,
		  SIZE - 48 * ph_page, 1);
	ph_remove(&f);
}

static void rename_and_delete(void)
{
	struct ph_counters before, c;
	struct ph_file f, g;
	char path[PH_PATH];
	char *mem;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_get_counters(&before);
		f = ph_create("f", 23, SIZE, 1);
		g = ph_create("g", 24, SIZE, 1);
		ph_name(path, "h");
		ph_make_gone(2 * SIZE, where);
		ph_check(!rename(f.path, path));
		snprintf(f.path, sizeof(f.path), "%s", path);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);

		/* one over the other */
		ph_make_gone(SIZE, where);
		ph_check(!rename(g.path, f.path));
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_verify_read(g.fd, g.id, 0, SIZE, 1);
		snprintf(g.path, sizeof(g.path), "%s", path);

		/* no name, still open */
		ph_make_gone(2 * SIZE, where);
		ph_check(!unlink(g.path));
		ph_verify_read(g.fd, g.id, 0, SIZE, 1);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);

		/* gone for good, and the frames find new owners */
		ph_make_gone(2 * SIZE, where);
		close(f.fd);
		close(g.fd);
		mem = ph_alloc(4 * SIZE);
		ph_verify_zero(mem, 4 * SIZE);
		ph_fill(mem, 25, 0, 4 * SIZE, 1);
		ph_pass(3);
		ph_host_discard();
		ph_verify(mem, 25, 0, 4 * SIZE, 1);
		munmap(mem, 4 * SIZE);
		ph_get_counters(&c);
		ph_cmp(c.v[PH_NR_VOLATILE], <=, before.v[PH_NR_VOLATILE]);
	}
}

/* --- other ways to the content ------------------------------------------ */

static void send_and_splice(void)
{
	struct ph_file from = ph_create("from", 30, SIZE, 1);
	struct ph_file to = ph_create("to", 30, SIZE, 2);
	size_t chunk = 16 * ph_page, done;
	loff_t in, out;
	ssize_t n;
	int p[2], how, where;

	new_pipe(p, chunk);
	for (where = 0; where < PH_WHERES; where++) {
		for (how = 0; how < 3; how++) {
			ph_make_gone(2 * SIZE, where);
			for (done = 0; done < SIZE; done += n) {
				in = done;
				out = done;
				switch (how) {
				case 0:
					ph_check(lseek(to.fd, done, SEEK_SET) >=
						 0);
					n = sendfile(to.fd, from.fd, &in,
						     SIZE - done);
					break;
				case 1:
					n = copy_file_range(from.fd, &in, to.fd,
							    &out, SIZE - done,
							    0);
					break;
				default:
					n = splice(from.fd, &in, p[1], NULL,
						   chunk, 0);
					ph_check(n > 0);
					n = splice(p[0], NULL, to.fd, &out, n,
						   0);
					break;
				}
				if (n <= 0)
					ph_fail("way %d: %zd", how, n);
			}
			ph_verify_read(to.fd, to.id, 0, SIZE, 1);
			/* a copy that shares the blocks has read none */
			ph_verify_read(from.fd, from.id, 0, SIZE, 1);
			ph_write_gen(to.fd, to.id, 0, SIZE, 2);
			ph_check(!fsync(to.fd));
		}
	}
	ph_remove(&from);
	ph_remove(&to);
}

/* O_DIRECT beside the cache, in both directions */
static void direct_io(void)
{
	struct ph_file f = ph_create("f", 31, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	size_t chunk = 16 * ph_page;
	char *buf = ph_alloc(chunk);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	int fd = open_direct(&f);
	int where, gen = 1;
	off_t off;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_pread(fd, buf, chunk, off);
			ph_verify_gens(buf, f.id, off, chunk, gens);
			/* every other one is in the cache again */
			if (off / chunk & 1)
				ph_verify_read(f.fd, f.id, off, chunk, gen);
		}
		gen++;
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_fill(buf, f.id, off, chunk, gen);
			ph_pwrite(fd, buf, chunk, off);
		}
		set_gens(gens, 0, SIZE, gen);
		ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
		ph_make_gone(SIZE, where);
		/* cached write, direct read */
		ph_write_gen(f.fd, f.id, 0, SIZE / 2, gen + 1);
		set_gens(gens, 0, SIZE / 2, gen + 1);
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_pread(fd, buf, chunk, off);
			ph_verify_gens(buf, f.id, off, chunk, gens);
		}
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		ph_write_gen(f.fd, f.id, 0, SIZE, gen);
		set_gens(gens, 0, SIZE, gen);
		ph_check(!fsync(f.fd));
	}
	close(fd);
	munmap(map, SIZE);
	verify_disk(&f, gens);
	ph_remove(&f);
}

static void lock_or_skip(const void *map, size_t len)
{
	if (!mlock(map, len))
		return;
	if (errno == ENOMEM || errno == EPERM || errno == EAGAIN)
		ph_skip("no mlock of %zu bytes", len);
	ph_fail("mlock");
}

static void mlock_before(void)
{
	struct ph_file f = ph_create("f", 32, SIZE, 1);
	char *map = ph_map(&f, PROT_READ, MAP_SHARED);
	struct ph_counters before;

	lock_or_skip(map, SIZE);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(6);
	ph_host_discard();
	ph_value("mlocked pages made volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_verify(map, f.id, 0, SIZE, 1);
	/* as idle as any other once it is unlocked */
	munlock(map, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);
	ph_remove(&f);
}

static void mlock_after(void)
{
	struct ph_file f = ph_create("f", 33, SIZE, 1);
	unsigned char *vec = ph_alloc(PAGES);
	struct ph_counters before;
	unsigned int i;
	char *map;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_touch(map, SIZE);
		ph_make_gone(SIZE, where);
		lock_or_skip(map, SIZE);
		/* locked is there and mapped: no fault any more, at all */
		ph_check(!mincore(map, SIZE, vec));
		for (i = 0; i < PAGES; i++)
			if (!(vec[i] & 1))
				ph_fail("page %u locked, but not there", i);
		ph_drain();
		ph_get_counters(&before);
		ph_pass(6);
		ph_host_discard();
		ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
		ph_verify(map, f.id, 0, SIZE, 1);
		munmap(map, SIZE);
	}
	ph_remove(&f);
}

static void fork_with_mappings(void)
{
	struct ph_file f = ph_create("f", 34, SIZE, 1);
	char *shared = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *private = ph_map(&f, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	size_t half = SIZE / 2;
	pid_t pid;
	int where;

	/* one half of the private mapping is its own */
	ph_fill(private + half, f.id, half, half, 7);
	for (where = 0; where < PH_WHERES; where++) {
		ph_touch(shared, SIZE);
		ph_touch(private, SIZE);
		ph_make_gone(SIZE, where);
		pid = ph_fork();
		if (!pid) {
			ph_verify(shared, f.id, 0, SIZE, 1);
			ph_verify(private, f.id, 0, half, 1);
			ph_verify(private + half, f.id, half, half, 7);
			ph_fill(private, f.id, 0, SIZE, 8);
			ph_pass(3);
			ph_host_discard();
			ph_verify(private, f.id, 0, SIZE, 8);
			ph_verify(shared, f.id, 0, SIZE, 1);
			_exit(0);
		}
		ph_wait(pid);
		ph_verify(private, f.id, 0, half, 1);
		ph_verify(private + half, f.id, half, half, 7);

		/* forked while it is mapped, gone for both */
		ph_touch(shared, SIZE);
		pid = ph_fork();
		if (!pid) {
			ph_idle(SIZE);
			ph_host_discard();
			ph_verify(shared, f.id, 0, SIZE, 1);
			ph_fill(shared, f.id, 0, half, 2);
			_exit(0);
		}
		ph_wait(pid);
		ph_verify(shared, f.id, 0, half, 2);
		ph_verify(shared + half, f.id, half, half, 1);
		ph_verify(private, f.id, 0, half, 2);
		ph_fill(shared, f.id, 0, half, 1);
		ph_check(!msync(shared, SIZE, MS_SYNC));
	}
	munmap(shared, SIZE);
	munmap(private, SIZE);
	ph_remove(&f);
}

/* Another process and the kernel look into a mapping that is gone */
static void remote_access(void)
{
	struct ph_file f = ph_create("f", 35, SIZE, 1);
	char *map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *buf = ph_alloc(SIZE);
	struct iovec local = { buf, SIZE }, remote = { map, SIZE };
	struct timespec ts = { .tv_nsec = 1000000 };
	unsigned int i;
	__u32 value;
	ssize_t n;
	pid_t pid;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_touch(map, SIZE);
		ph_make_gone(SIZE, where);
		pid = ph_fork();
		if (!pid) {
			pause();
			_exit(1);
		}
		n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
		if (n >= 0) {
			ph_cmp(n, ==, SIZE);
			ph_verify(buf, f.id, 0, SIZE, 1);
		} else {
			ph_say("process_vm_readv: %s", strerror(errno));
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);

		/* a futex has the value that the file has */
		ph_touch(map, SIZE);
		ph_make_gone(SIZE, where);
		for (i = 0; i < PAGES; i += 5) {
			ph_fill(buf, f.id, i * ph_page, PH_GRANULE, 1);
			memcpy(&value, buf, sizeof(value));
			ph_check(syscall(SYS_futex, map + i * ph_page,
					 FUTEX_WAIT, value, &ts, NULL, 0) < 0);
			if (errno != ETIMEDOUT)
				ph_fail("futex in page %u", i);
		}
		ph_verify(map, f.id, 0, SIZE, 1);
		/* it takes a futex for something to be written to */
		ph_check(!msync(map, SIZE, MS_SYNC));
	}
	munmap(map, SIZE);
	ph_remove(&f);
}

/* --- programs ----------------------------------------------------------- */

extern const char __executable_start[], etext[];

static unsigned long text_sum(void)
{
	const char *byte;
	unsigned long sum = 0;

	for (byte = __executable_start; byte < etext; byte++)
		sum = sum * 31 + __atomic_load_n(byte, __ATOMIC_RELAXED);
	return sum;
}

/* What the copy of this program does: show the sum of its text @n times */
static int print_text_sum(int n)
{
	while (n-- > 0) {
		unsigned long sum = text_sum();

		if (write(STDOUT_FILENO, &sum, sizeof(sum)) != sizeof(sum))
			return 1;
	}
	return 0;
}

static void run_copy(const char *path, unsigned long expect, int times,
		     bool clock)
{
	unsigned long sum;
	char count[16];
	pid_t pid;
	int p[2], i;

	snprintf(count, sizeof(count), "%d", times);
	ph_check(!pipe(p));
	pid = ph_fork();
	if (!pid) {
		dup2(p[1], STDOUT_FILENO);
		close(p[0]);
		close(p[1]);
		execl(path, path, "--text-sum", count, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	for (i = 0; i < times; i++) {
		if (clock) {
			ph_pass(1);
			ph_host_discard();
		}
		read_all(p[0], &sum, sizeof(sum));
		if (sum != expect)
			ph_fail("WRONG CONTENT: text sums up to %lx, not %lx",
				sum, expect);
	}
	close(p[0]);
	ph_wait(pid);
}

/* A program's pages are not all used: have all of them in the cache */
static void read_through(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[4096];

	ph_check(fd >= 0);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void execute(void)
{
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	unsigned long expect = text_sum();
	struct stat st, copied;
	char path[PH_PATH];
	ssize_t n = 0;
	int out, i, where;
	off_t done;

	ph_name(path, "program");
	out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	ph_check(in >= 0 && out >= 0 && !fstat(in, &st));
	for (done = 0; done < st.st_size; done += n) {
		n = sendfile(out, in, NULL, st.st_size - done);
		ph_check(n > 0);
	}
	ph_check(!fsync(out) && !fstat(out, &copied));
	ph_cmp(copied.st_size, ==, st.st_size);
	close(out);

	run_copy(path, expect, 1, false);
	for (where = 0; where < PH_WHERES; where++) {
		for (i = 0; i < 3; i++) {
			unsigned long pages;

			read_through(path);
			pages = ph_idle(st.st_size);
			ph_value("pages of the program gone", pages);
			ph_cmp(pages, >=, st.st_size / ph_page * 8 / 10);
			ph_host_discard();
			if (where == PH_CLEANED)
				ph_pass(1);
			run_copy(path, expect, 1, false);
		}
	}
	/* it runs while the clock does */
	run_copy(path, expect, 20, true);
	unlink(path);
	close(in);
}

/* --- references that the clock has to respect --------------------------- */

#define HELD	64UL

/*
 * A pipe holds references, not copies. Without the frozen reference count
 * these pages become volatile under the pipe, and there is no taker between
 * the pipe and its reader to notice.
 */
static void held_in_pipe(void)
{
	size_t size = HELD * ph_page;
	struct ph_file f = ph_create("f", 40, size, 1);
	char *buf = ph_alloc(size);
	struct ph_counters before;
	size_t done;
	loff_t off;
	int p[2], where;
	ssize_t n;

	new_pipe(p, size);
	for (where = 0; where < PH_WHERES; where++) {
		/* from pages that are there, and from pages that are gone */
		ph_drain();
		ph_get_counters(&before);
		for (done = 0; done < size; done += n) {
			off = done;
			n = splice(f.fd, &off, p[1], NULL, size - done,
				   SPLICE_F_NONBLOCK);
			if (n <= 0)
				ph_fail("splice: %zd at %zu", n, done);
		}
		ph_pass(5);
		ph_host_discard();
		ph_value("held pages made volatile",
			 ph_since(&before, PH_VOLATILE));
		ph_value("held pages found busy", ph_since(&before, PH_BUSY));
		read_all(p[0], buf, size);
		ph_verify(buf, f.id, 0, size, 1);
		ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
		/* let go, they are as idle as others */
		ph_make_gone(size, where);
	}
	ph_verify_read(f.fd, f.id, 0, size, 1);
	ph_remove(&f);
}

static void held_by_vmsplice(void)
{
	size_t size = HELD * ph_page;
	struct ph_file f = ph_create("f", 41, size, 1);
	char *buf = ph_alloc(size);
	struct ph_counters before;
	struct iovec iov;
	size_t done;
	char *map;
	int p[2], where;
	ssize_t n;

	new_pipe(p, size);
	for (where = 0; where < PH_WHERES; where++) {
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_drain();
		ph_get_counters(&before);
		for (done = 0; done < size; done += n) {
			iov.iov_base = map + done;
			iov.iov_len = size - done;
			n = vmsplice(p[1], &iov, 1, SPLICE_F_NONBLOCK);
			if (n <= 0)
				ph_fail("vmsplice: %zd at %zu", n, done);
		}
		/* the second time the mapping stays */
		if (where == PH_IN_PLACE)
			munmap(map, size);
		ph_pass(5);
		ph_host_discard();
		ph_value("held pages made volatile",
			 ph_since(&before, PH_VOLATILE));
		read_all(p[0], buf, size);
		ph_verify(buf, f.id, 0, size, 1);
		ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
		if (where != PH_IN_PLACE)
			munmap(map, size);
		ph_make_gone(size, where);
	}
	ph_verify_read(f.fd, f.id, 0, size, 1);
	ph_remove(&f);
}

/*
 * Direct I/O from and to the pages of another file's mapping: pinned for as
 * long as it takes, while another process drives the clock. What is read into
 * the mapping makes pages dirty by a plain reference, without any lock.
 */
static void pinned_by_direct_io(void)
{
	size_t size = 128 * ph_page;
	struct ph_file cached = ph_create("cached", 42, size, 1);
	struct ph_file disk = ph_create("disk", 42, size, 1);
	int fd = open_direct(&disk);
	unsigned int gen = 1, round;
	char *buf = ph_alloc(size);
	double end;
	char *map;

	map = ph_map(&cached, PROT_READ | PROT_WRITE, MAP_SHARED);
	ph_drive_clock(true);
	end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 20) / 4.0;
	for (round = 0; round < 3 || ph_now() < end; round++) {
		/* from the cache to the disk */
		ph_pwrite(fd, map, size, 0);
		ph_pread(fd, buf, size, 0);
		ph_verify(buf, cached.id, 0, size, gen);
		ph_msleep(5);
		/* from the disk to the cache */
		gen = gen % 1000 + 1;
		ph_fill(buf, cached.id, 0, size, gen);
		ph_pwrite(fd, buf, size, 0);
		ph_pread(fd, map, size, 0);
		ph_msleep(round % 8);
		ph_verify(map, cached.id, 0, size, gen);
		if (round & 1)
			ph_check(!fsync(cached.fd));
		ph_msleep(5);
		ph_verify_read(cached.fd, cached.id, 0, size, gen);
	}
	ph_drive_clock(false);
	ph_value("rounds", round);
	ph_check(!fsync(cached.fd));
	ph_drop_caches();
	ph_verify(map, cached.id, 0, size, gen);
	munmap(map, size);
	close(fd);
	ph_remove(&cached);
	ph_remove(&disk);
}

/* --- looking is not touching -------------------------------------------- */

static void look(struct ph_file *f, bool cachestat)
{
#ifndef SYS_cachestat
#define SYS_cachestat	451
#endif
	struct { __u64 off, len; } range = { 0, f->size };
	__u64 cs[5] = { 0 };

	if (!cachestat)
		ph_value("resident, says mincore", ph_resident(f));
	else if (!syscall(SYS_cachestat, f->fd, &range, cs, 0))
		ph_value("cached, says cachestat", cs[0]);
	else
		ph_skip("no cachestat");
}

static void look_does_not_touch(bool cachestat)
{
	struct ph_file f = ph_create("f", 50, SIZE, 1);
	struct ph_counters before, c;

	/* armed, and stays armed: the next visit makes it volatile */
	ph_settle();
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(1);
	ph_value("armed", ph_since(&before, PH_ARMED));
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	look(&f, cachestat);
	ph_pass(1);
	ph_value("volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(ph_since(&before, PH_VOLATILE), >=, PAGES * 95 / 100);

	/* volatile, and stays volatile */
	ph_get_counters(&before);
	look(&f, cachestat);
	ph_get_counters(&c);
	ph_cmp(c.v[PH_NR_VOLATILE], ==, before.v[PH_NR_VOLATILE]);
	ph_cmp(c.v[PH_STABLE], ==, before.v[PH_STABLE]);
	ph_cmp(c.v[PH_LOST], ==, before.v[PH_LOST]);
	ph_host_discard();
	look(&f, cachestat);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_remove(&f);
}

static void mincore_looks_only(void)
{
	look_does_not_touch(false);
}

static void cachestat_looks_only(void)
{
	look_does_not_touch(true);
}

/* --- the rest of memory management -------------------------------------- */

/*
 * Volatile pages move to other frames. Compaction moves pages from the low end
 * of memory to its high end, and memory is given away from the high end first.
 * So have that occupied while the files are written, and free afterwards.
 */
static void compaction(void)
{
	size_t occupied = ph_meminfo("MemFree") & ~(ph_page - 1);
	size_t margin = (20UL << 20) + 1024 * ph_page;
	struct ph_counters before;
	unsigned long migrated;
	unsigned int round;
	struct ph_file f;
	char *mem = NULL;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		ph_skip("nothing to compact memory with");
	occupied = occupied > margin ? occupied - margin : 0;
	for (round = 0; round < 2; round++) {
		if (occupied) {
			mem = mmap(NULL, occupied, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				   -1, 0);
			ph_check(mem != MAP_FAILED);
		}
		f = ph_create("f", 61, SIZE, 1);
		if (occupied)
			munmap(mem, occupied);
		ph_make_gone(SIZE, PH_IN_PLACE);
		migrated = ph_vmstat("pgmigrate_success");
		ph_get_counters(&before);
		ph_check(ph_write_file("/proc/sys/vm/compact_memory", "1"));
		ph_value("migrated", ph_vmstat("pgmigrate_success") - migrated);
		ph_value("volatile before", ph_since(&before, PH_LOST) +
					    ph_since(&before, PH_STABLE));
		ph_pass(1);
		ph_host_discard();
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_remove(&f);
	}
}

/* How much of the mapping that begins at @map is mapped by huge pages */
static size_t huge_mapped(const char *map)
{
	unsigned long start, end, kb = 0;
	bool inside = false;
	char line[512];
	FILE *file;

	ph_touch(map, 1);
	file = fopen("/proc/self/smaps", "re");
	ph_check(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start == (unsigned long)map;
		else if (inside)
			sscanf(line, "FilePmdMapped: %lu kB", &kb);
	}
	fclose(file);
	return kb << 10;
}

/*
 * Map @size bytes of a file that nobody writes to, and have huge pages
 * there. A page that is gone, or that somebody holds for a moment, keeps them
 * from being made: read the file, and try again. It must not take long.
 */
static void make_huge(const struct ph_file *f, char *map, size_t size)
{
	unsigned int tries = 1;

	ph_check(mmap(map, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, f->fd,
		      0) == map);
	while (madvise(map, size, MADV_COLLAPSE)) {
		if (errno == EINVAL)
			ph_skip("no huge pages with this file system");
		ph_say("attempt %u: %s", tries, strerror(errno));
		if (tries++ == 10)
			ph_fail("no huge pages");
		ph_msleep(tries);
		ph_verify_read(f->fd, f->id, 0, size, 1);
	}
	ph_touch(map, size);
	ph_cmp(huge_mapped(map), ==, size);
	ph_verify(map, f->id, 0, size, 1);
}

static void unmap_huge(char *map, size_t size)
{
	ph_check(mmap(map, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		      MAP_FIXED, -1, 0) == map);
}

/* Let huge pages become volatile */
static void huge_idle(size_t size)
{
	unsigned long done = ph_idle(size);

	ph_value("volatile, with huge pages", done);
	ph_cmp(done, >=, size / ph_page);
}

/* Make them, and let them go, mapped or not */
static void make_huge_gone(const struct ph_file *f, char *map, size_t size,
			   enum ph_where where, bool mapped)
{
	make_huge(f, map, size);
	if (!mapped)
		unmap_huge(map, size);
	huge_idle(size);
	ph_host_discard();
	if (where == PH_CLEANED)
		ph_pass(1);
}

/* Says the host that a frame which was mapped at @map has this usage? */
static void check_usage(const unsigned long *pfn, unsigned int n,
			const char *usage)
{
	while (n-- && ph_host_has_ctl())
		if (!ph_host_usage(pfn[n], usage))
			ph_fail("huge page %u is not %s", n, usage);
}

/* Huge pages become volatile and go as a whole, or are split if they are too large */
static void huge_pages_go(const struct ph_file *f, char *map, size_t huge,
			  enum ph_where where)
{
	unsigned int order = __builtin_ctzl(huge / ph_page), i, n;
	unsigned long done, pages = f->size / ph_page;
	struct ph_counters c;
	unsigned long pfn[2];
	bool gone;

	make_huge(f, map, f->size);
	n = f->size / huge;
	ph_cmp(n, <=, ARRAY_SIZE(pfn));
	/* any frame, the last one for instance */
	for (i = 0; i < n; i++)
		pfn[i] = ph_pfn(map + (i + 1) * huge - ph_page);
	unmap_huge(map, f->size);

	/* when they are idle, they are split */
	ph_check(ph_set("max_order", "%u", order - 1));
	ph_pass(2);
	check_usage(pfn, n, "stable");
	huge_idle(f->size);
	check_usage(pfn, n, "volatile");
	ph_host_discard();
	ph_verify_read(f->fd, f->id, 0, f->size, 1);

	ph_check(ph_set("max_order", "%u", order));
	make_huge(f, map, f->size);
	for (i = 0; i < n; i++)
		pfn[i] = ph_pfn(map + (i + 1) * huge - ph_page);
	unmap_huge(map, f->size);
	huge_idle(f->size);
	check_usage(pfn, n, "volatile");
	ph_get_counters(&c);
	gone = ph_host_discard();
	if (where == PH_CLEANED)
		ph_pass(1);
	ph_verify_read(f->fd, f->id, 0, f->size, 1);
	done = ph_since(&c, PH_LOST) + ph_since(&c, PH_EVICTED);
	ph_value("found gone", done);
	if (gone)
		ph_cmp(done, >=, pages);
}

static size_t huge_page_size(void)
{
	size_t huge = ph_read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");

	if (!huge)
		ph_skip("no huge pages");
	if (huge > 4UL << 20)
		ph_skip("huge pages of %zu bytes are too large for this", huge);
	ph_check(ph_set("max_order", "%d", __builtin_ctzl(huge / ph_page)));
	return huge;
}

/*
 * Room for @size bytes where huge pages may be mapped. MADV_COLLAPSE makes no
 * page tables above those it replaces, so have some around it that need them.
 */
static char *huge_room(size_t size, size_t huge)
{
	char *mem = ph_alloc(size + 3 * huge);
	char *room = (char *)(((unsigned long)mem + 2 * huge - 1) & ~(huge - 1));

	room[-1] = 1;
	room[size] = 1;
	return room;
}

/* What they are made of must be clean */
static struct ph_file create_for_huge(unsigned int id, size_t size)
{
	struct ph_file f = ph_create("f", id, size, 1);

	close(f.fd);
	f.fd = open(f.path, O_RDONLY | O_CLOEXEC);
	ph_check(f.fd >= 0);
	ph_drop_caches();
	return f;
}

/*
 * Pages that are gone become part of a huge one, as program text may, and the
 * huge one may go as a whole, and be split then.
 */
static void huge_pages(void)
{
	static const char split[] = "/sys/kernel/debug/split_huge_pages";
	size_t huge = huge_page_size(), size = 2 * huge;
	char *map = huge_room(size, huge);
	unsigned char *gens;
	struct ph_file f;
	int where;
	off_t off;

	for (where = 0; where < PH_WHERES; where++) {
		gens = new_gens(size, 1);
		f = create_for_huge(62, size);

		/* from small pages that are gone */
		ph_verify_read(f.fd, f.id, 0, size, 1);
		ph_make_gone(size, where);
		make_huge(&f, map, size);
		unmap_huge(map, size);

		huge_pages_go(&f, map, huge, where);

		/* mapped when they go */
		make_huge_gone(&f, map, size, where, true);
		ph_verify(map, f.id, 0, size, 1);
		unmap_huge(map, size);

		/* mapped again without a look at what is in them */
		make_huge_gone(&f, map, size, where, false);
		/* when nobody looks for such pages any more */
		if (where == PH_IN_PLACE)
			ph_check(ph_set("mode", "off"));
		ph_check(mmap(map, size, PROT_READ, MAP_PRIVATE | MAP_FIXED,
			      f.fd, 0) == map);
		if (madvise(map, size, MADV_COLLAPSE))
			ph_say("huge pages that are gone: %s", strerror(errno));
		ph_verify(map, f.id, 0, size, 1);
		ph_check(ph_set("mode", "on"));
		ph_verify(map, f.id, 0, size, 1);
		unmap_huge(map, size);

		/* split, as they are and when they are gone */
		if (!access(split, W_OK)) {
			make_huge(&f, map, size);
			unmap_huge(map, size);
			ph_check(ph_write_file(split, "%s,0x0,0x%lx", f.path,
					       size / ph_page));
			ph_check(mmap(map, size, PROT_READ,
				      MAP_PRIVATE | MAP_FIXED, f.fd, 0) == map);
			ph_touch(map, size);
			ph_cmp(huge_mapped(map), ==, 0);
			ph_verify(map, f.id, 0, size, 1);
			unmap_huge(map, size);

			make_huge_gone(&f, map, size, where, false);
			ph_check(ph_write_file(split, "%s,0x0,0x%lx", f.path,
					       size / ph_page));
			ph_verify_read(f.fd, f.id, 0, size, 1);
		} else {
			ph_say("nothing to split huge pages with");
		}

		/* the end of the file moves into one, and back */
		make_huge_gone(&f, map, size, where, false);
		off = size - huge / 4 - PH_GRANULE;
		ph_check(!truncate(f.path, off));
		set_gens(gens, off, size - off, 0);
		ph_verify_fd_gens(f.fd, f.id, off, gens);
		ph_check(!truncate(f.path, size));
		ph_verify_fd_gens(f.fd, f.id, size, gens);
		/* there may be zeros that are not written yet */
		ph_check(!fsync(f.fd));

		/* the other gets a hole, and is written to */
		make_huge_gone(&f, map, huge, where, false);
		close(f.fd);
		f.fd = open(f.path, O_RDWR | O_CLOEXEC);
		ph_check(f.fd >= 0);
		off = huge / 4 + PH_GRANULE;
		if (!fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       off, huge / 4))
			set_gens(gens, off, huge / 4, 0);
		else if (errno != EOPNOTSUPP)
			ph_fail("cannot punch a hole");
		write_range(&f, gens, huge - huge / 8 + PH_GRANULE, PH_GRANULE,
			    2);
		ph_verify_fd_gens(f.fd, f.id, size, gens);
		verify_disk(&f, gens);
		ph_remove(&f);
		free(gens);
	}
}

/* They are made, and split, while pages go */
static void huge_pages_race(void)
{
	double end = ph_now() + ph_env("PAGE_HINTING_SECONDS", 20) / 2.0;
	size_t huge = huge_page_size(), size = 2 * huge;
	struct ph_file f = create_for_huge(63, size);
	char *map = huge_room(size, huge);
	unsigned int round, made = 0;
	struct ph_counters before;

	ph_get_counters(&before);
	ph_drive_clock(true);
	for (round = 0; round < 8 || ph_now() < end; round++) {
		/* from small pages, from what is left, or from huge ones */
		if (round % 3 == 0)
			ph_check(!posix_fadvise(f.fd, 0, size,
						POSIX_FADV_DONTNEED));
		if (round % 2 == 0)
			ph_verify_read(f.fd, f.id, 0, size, 1);
		ph_check(mmap(map, size, PROT_READ, MAP_PRIVATE | MAP_FIXED,
			      f.fd, 0) == map);
		/* a fast host and a busy clock leave nothing to make them of */
		if (round % 4 == 0) {
			ph_drive_clock(false);
			ph_verify(map, f.id, 0, size, 1);
		}
		made += !madvise(map, size, MADV_COLLAPSE);
		if (round % 4 == 0)
			ph_drive_clock(true);
		if (round % 4 < 2)
			ph_host_discard();
		ph_verify(map, f.id, 0, size, 1);
		unmap_huge(map, size);
		if (round % 5 == 0)
			ph_write_file("/sys/kernel/debug/split_huge_pages",
				      "%s,0x0,0x%lx", f.path, size / ph_page);
		ph_msleep(round % 8);
		ph_verify_read(f.fd, f.id, 0, size, 1);
	}
	ph_drive_clock(false);
	ph_value("rounds", round);
	ph_value("with huge pages", made);
	ph_value("volatile", ph_since(&before, PH_VOLATILE));
	ph_cmp(made, >=, 1);
	ph_cmp(ph_since(&before, PH_VOLATILE), >=, 1);
	ph_verify_read(f.fd, f.id, 0, size, 1);
	ph_remove(&f);
}

/* Off is off: nothing stays volatile, and nothing discarded is forgotten */
static void switch_off_and_on(void)
{
	static const char * const off[] = { "off", "unused" };
	struct ph_file f = ph_create("f", 60, SIZE, 1);
	struct ph_counters c;
	unsigned int round;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		for (round = 0; round < 4; round++) {
			ph_make_gone(SIZE, where);
			ph_check(ph_set("mode", "%s", off[round & 1]));
			ph_get_counters(&c);
			ph_cmp(c.v[PH_NR_VOLATILE], ==, 0);
			ph_verify_read(f.fd, f.id, 0, SIZE, 1);

			/* the clock does nothing now, asked or not */
			ph_set("pass", "1");
			ph_set("pass", "1");
			ph_set("pass", "1");
			ph_host_discard();
			ph_cmp(ph_since(&c, PH_VOLATILE), ==, 0);
			ph_cmp(ph_since(&c, PH_NR_VOLATILE), ==, 0);
			if (round & 2) {
				/* on again before anybody looks */
				ph_check(ph_set("mode", "on"));
				ph_make_gone(SIZE, where);
				ph_check(ph_set("mode", "off"));
			}
			ph_check(ph_set("mode", "on"));
			ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		}
	}
	ph_remove(&f);
}

/* The clock runs by itself, and stops */
static void period(void)
{
	struct ph_file f = ph_create("f", 61, SIZE, 1);
	struct ph_counters before;
	unsigned long n = 0;
	double end;

	ph_drain();
	ph_get_counters(&before);
	ph_check(ph_set("period_ms", "200"));
	end = ph_now() + 60;
	while (n < PAGES * 95 / 100 && ph_now() < end) {
		ph_msleep(100);
		n = ph_since(&before, PH_VOLATILE);
	}
	ph_value("volatile by the clock alone", n);
	ph_cmp(n, >=, PAGES * 95 / 100);
	ph_check(ph_set("period_ms", "0"));
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	ph_get_counters(&before);
	ph_msleep(2000);
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_remove(&f);
}

static const struct ph_test tests[] = {
	PH_TEST(interface),
	PH_TEST(refuses_nonsense),
	PH_TEST(lost_pages_are_counted),
	PH_TEST(read_sequential),
	PH_TEST(read_end_of_batch),
	PH_TEST(read_random),
	PH_TEST(mmap_read),
	PH_TEST(small_files),
	PH_TEST(advice),
	PH_TEST(drop_caches),
	PH_TEST(write_part_of_block),
	PH_TEST(write_whole_block),
	PH_TEST(write_from_mapping),
	PH_TEST(mmap_shared_write),
	PH_TEST(mmap_private_write),
	PH_TEST(dirty_pages_stay),
	PH_TEST(truncation),
	PH_TEST(hole_punch),
	PH_TEST(collapse_range),
	PH_TEST(rename_and_delete),
	PH_TEST(send_and_splice),
	PH_TEST(direct_io),
	PH_TEST(mlock_before),
	PH_TEST(mlock_after),
	PH_TEST(fork_with_mappings),
	PH_TEST(remote_access),
	PH_TEST(execute),
	PH_TEST(held_in_pipe),
	PH_TEST(held_by_vmsplice),
	PH_TEST(pinned_by_direct_io),
	PH_TEST(mincore_looks_only),
	PH_TEST(cachestat_looks_only),
	PH_TEST(compaction),
	PH_TEST(huge_pages),
	PH_TEST(huge_pages_race),
	PH_TEST(switch_off_and_on),
	PH_TEST(period),
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--text-sum"))
		return print_text_sum(atoi(argv[2]));
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
