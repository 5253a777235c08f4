// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting and file systems: folios of more than one page, reflinks,
 * compression, fs-verity, fscrypt, and disks that have gone bad under a page
 * that the host has discarded.
 *
 * PAGE_HINTING_DISK names a block device with a small ext4 or xfs file system
 * that nobody uses. The tests put a device of the device mapper on it, to make
 * sectors fail, and write to it behind the file system's back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define KB		1024UL
#define MB		(1024 * KB)
#define SECTOR		512UL

/* Shuts down ext4, xfs and others; not in a header for programs */
#define FS_IOC_SHUTDOWN		_IOR('X', 125, __u32)
#define FS_SHUTDOWN_NOLOGFLUSH	2

static void need_control(void)
{
	if (!ph_host_discards())
		ph_skip("needs a host that discards everything");
}

/* Have the content of all that is volatile taken, with the host in any mode */
static void gone(const struct ph_file *f)
{
	ph_make_gone(f->size, PH_IN_PLACE);
}

static void read_all(const struct ph_file *f, size_t chunk)
{
	char *buf = ph_alloc(chunk);
	size_t pos;

	for (pos = 0; pos < f->size; pos += chunk)
		ph_pread(f->fd, buf, chunk, pos);
	munmap(buf, chunk);
}

static struct fiemap_extent extent_at(const struct ph_file *f, off_t off)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} m = {
		.map.fm_start = off,
		.map.fm_length = ph_page,
		.map.fm_extent_count = 1,
	};

	if (ioctl(f->fd, FS_IOC_FIEMAP, &m) || !m.map.fm_mapped_extents)
		ph_fail("cannot find out where on the disk 0x%llx is",
			(unsigned long long)off);
	return m.extent;
}

/* --- frames ------------------------------------------------------------- */

/* The frame of each page of the file */
static unsigned long *frames_of(const struct ph_file *f)
{
	unsigned long *pfns = ph_alloc(f->size / ph_page * sizeof(*pfns));

	ph_file_pfns(f, pfns);
	return pfns;
}

static int open_kpageflags(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		ph_skip("needs /proc/kpageflags");
	return fd;
}

/* How many of these frames have one of these flags? */
static unsigned long frames_with(const unsigned long *pfns, size_t nr, __u64 mask)
{
	int kpageflags = open_kpageflags();
	unsigned long n = 0;
	__u64 flags;
	size_t i;

	for (i = 0; i < nr; i++) {
		ph_pread(kpageflags, &flags, sizeof(flags),
			 pfns[i] * sizeof(flags));
		n += !!(flags & mask);
	}
	close(kpageflags);
	return n;
}

/* --- large folios ------------------------------------------------------- */

/* For each page of the file the order of the folio it is in */
static unsigned char *folio_orders(const struct ph_file *f)
{
	size_t pages = f->size / ph_page, i, start = 0;
	unsigned char *orders = ph_alloc(pages);
	unsigned long *pfns = frames_of(f);
	__u64 flags;
	int kpageflags = open_kpageflags();

	for (i = 0; i < pages; i++) {
		ph_pread(kpageflags, &flags, sizeof(flags),
			 pfns[i] * sizeof(flags));
		if (!(flags & (1ULL << PH_KPF_COMPOUND_TAIL)))
			start = i;
		/* 2^n pages are there once the last of them has been seen */
		while (2UL << orders[start] <= i - start + 1)
			orders[start]++;
	}
	for (i = 0; i < pages; i++)
		if (i && i < start + (1UL << orders[start]))
			orders[i] = orders[start];
		else
			start = i;
	munmap(pfns, pages * sizeof(*pfns));
	close(kpageflags);
	return orders;
}

/* The number of pages in folios of that order at least */
static unsigned long pages_of_order(const struct ph_file *f, unsigned int order)
{
	unsigned char *orders = folio_orders(f);
	unsigned long n = 0;
	size_t i;

	for (i = 0; i < f->size / ph_page; i++)
		n += orders[i] >= order;
	munmap(orders, f->size / ph_page);
	return n;
}

/* A file in large folios: read in by large requests */
static struct ph_file create_large(const char *name, unsigned int id,
				   size_t size)
{
	struct ph_file f = ph_create(name, id, size, 1);

	/* each window has larger folios than the one before */
	ph_set_readahead(128);
	ph_drop_caches();
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	read_all(&f, MB);
	if (!pages_of_order(&f, 2))
		ph_skip("no large folios with this file system");
	return f;
}

static void allow_order(unsigned int order)
{
	if (!ph_set("max_order", "%u", order))
		ph_fail("max_order %u is refused", order);
}

/* A folio above max_order is never volatile, the others are. It is split when it is idle */
static void order_cap(void)
{
	static const unsigned int caps[] = { 0, 2, 3, 5, 8 };
	struct ph_counters before;
	unsigned long above, pages;
	struct ph_file f;
	int i;

	f = create_large("f", 1, 8 * MB);
	pages = f.size / ph_page;
	for (i = 0; i < (int)ARRAY_SIZE(caps); i++) {
		ph_drop_caches();
		read_all(&f, MB);
		above = pages_of_order(&f, caps[i] + 1);
		allow_order(caps[i]);
		ph_drain();
		ph_get_counters(&before);
		ph_pass(2);
		ph_say("max_order %u: %lu of %lu pages in larger folios, %lu became volatile",
		       caps[i], above, pages, ph_since(&before, PH_VOLATILE));
		if (above > pages / 4)
			ph_cmp(ph_since(&before, PH_VOLATILE), <=,
			       pages - above + pages / 20);
		ph_cmp(ph_since(&before, PH_VOLATILE), >=,
		       pages - above - (pages - above) / 20);
		ph_pass(1);
		ph_cmp(ph_since(&before, PH_VOLATILE), >=, pages - pages / 20);
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
	}
	ph_remove(&f);
}

/* The host takes single pages, and knows nothing of folios */
static void one_page_loses_the_folio(void)
{
	struct ph_file f = create_large("f", 2, 4 * MB);
	unsigned long lost, large = 0;
	struct ph_counters before;
	int i;

	if (!ph_host_has_ctl())
		ph_skip("needs a host that can be told what to take");
	allow_order(8);
	ph_check(ph_host_mode("idle"));
	for (i = 0; i < 24; i++) {
		ph_cmp(ph_idle(f.size), >=, f.size / ph_page * 9 / 10);
		/* at the start, where readahead begins, folios are small */
		ph_verify_read(f.fd, f.id, 0, MB, 1);
		ph_get_counters(&before);
		ph_check(ph_host_ask(NULL, 0, "discard volatile count=1"));
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		lost = ph_since(&before, PH_LOST) +
		       ph_since(&before, PH_EVICTED);
		ph_cmp(lost, >=, 1);
		/* a folio as a whole, and it alone */
		ph_cmp(lost & (lost - 1), ==, 0);
		large += lost > 1;
		if (pages_of_order(&f, 2) < f.size / ph_page / 2) {
			ph_drop_caches();
			read_all(&f, MB);
		}
	}
	ph_value("large folios lost by one page", large);
	ph_cmp(large, >=, 1);
	ph_remove(&f);
}

/* What was a large folio comes back as one */
static void large_again(void)
{
	struct ph_file f = create_large("f", 3, 8 * MB);
	unsigned long cold, again;
	int where;

	need_control();
	allow_order(8);
	ph_drop_caches();
	read_all(&f, MB);
	cold = pages_of_order(&f, 4);
	if (cold < f.size / ph_page / 2)
		ph_skip("no large folios with this file system");
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(f.size, where);
		read_all(&f, MB);
		again = pages_of_order(&f, 4);
		ph_say("pages in folios of order 4 and above: cold %lu, %s %lu",
		       cold, where == PH_CLEANED ? "cleaned up" : "discarded",
		       again);
		ph_cmp(again, >=, cold * 9 / 10);
	}
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&f);
}

static void split_all(void)
{
	if (!ph_write_file("/sys/kernel/debug/split_huge_pages", "1"))
		ph_skip("needs debugfs and transparent huge pages");
}

/* A volatile folio is split by somebody who did not look it up */
static void split_of_volatile(void)
{
	const __u64 compound = 1ULL << PH_KPF_COMPOUND_HEAD |
			       1ULL << PH_KPF_COMPOUND_TAIL;
	struct ph_file f = create_large("f", 4, 4 * MB);
	unsigned long pages = f.size / ph_page, large, left;
	struct ph_counters before;
	unsigned long *pfns;
	int round;

	allow_order(8);
	for (round = 0; round < 3; round++) {
		ph_drop_caches();
		read_all(&f, MB);
		pfns = frames_of(&f);
		large = frames_with(pfns, pages, compound);
		ph_cmp(large, >=, pages / 2);
		if (round)
			gone(&f);
		else
			ph_cmp(ph_idle(f.size), >=, pages * 9 / 10);
		/* volatile as large folios, and nobody has looked them up */
		ph_cmp(frames_with(pfns, pages, compound), ==, large);
		ph_get_counters(&before);
		split_all();
		/* in the same frames, as single pages, all of them stable */
		left = frames_with(pfns, pages, compound);
		ph_say("pages in large folios: %lu, then %lu; stable %lu, lost %lu",
		       large, left, ph_since(&before, PH_STABLE),
		       ph_since(&before, PH_LOST));
		ph_cmp(left, <=, large / 10);
		ph_cmp(ph_since(&before, PH_STABLE) +
		       ph_since(&before, PH_LOST), >=, large * 9 / 10);
		if (round && ph_host_has_ctl())
			ph_cmp(ph_since(&before, PH_LOST), >=, large * 9 / 10);
		if (round == 1)
			ph_host_discard();
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		munmap(pfns, pages * sizeof(*pfns));
	}
	ph_remove(&f);
}

/* The end of the file moves into the middle of a large folio, and back */
static void truncate_in_large(void)
{
	static const size_t ends[] = {
		3 * MB + 4096 * 5 + 64, 2 * MB + 4096, 2 * MB - 64,
		MB + 64 * KB + 320, 8192, 64,
	};
	struct ph_file f;
	int i, take;
	char *map;

	for (take = 0; take < 3; take++) {
		f = create_large("f", 5, 4 * MB);
		allow_order(8);
		for (i = 0; i < (int)ARRAY_SIZE(ends); i++) {
			/* all of it is in the cache, behind the end as zeros */
			ph_cmp(ph_idle(f.size), >=, f.size / ph_page * 9 / 10);
			if (take)
				ph_host_discard();
			ph_check(!ftruncate(f.fd, ends[i]));
			if (take == 2)
				ph_host_discard();
			ph_check(!ftruncate(f.fd, f.size));
			ph_verify_read(f.fd, f.id, 0, ends[i], 1);
			map = ph_map(&f, PROT_READ, MAP_SHARED);
			ph_verify(map, f.id, 0, ends[i], 1);
			ph_verify_zero(map + ends[i], f.size - ends[i]);
			munmap(map, f.size);
			ph_check(!fsync(f.fd));
		}
		ph_remove(&f);
	}
}

/* --- copies, compression ------------------------------------------------ */

static void reflinks(void)
{
	struct ph_file f = ph_create("f", 6, 4 * MB, 1), copy = f;
	unsigned char *gens = ph_alloc(f.size / PH_GRANULE);
	unsigned int gen;
	off_t off;

	ph_name(copy.path, "copy");
	copy.fd = open(copy.path, O_RDWR | O_CREAT, 0600);
	ph_check(copy.fd >= 0);
	if (ioctl(copy.fd, FICLONE, f.fd))
		ph_skip("the file system cannot share blocks");
	memset(gens, 1, f.size / PH_GRANULE);

	for (gen = 2; gen < 6; gen++) {
		/* both in the cache, each with folios of its own */
		ph_drop_caches();
		read_all(&f, 64 * KB);
		read_all(&copy, 64 * KB);
		ph_make_gone(2 * f.size, gen & 1);
		/* parts of blocks and whole ones, in shared and own blocks */
		for (off = gen * 64; off + 12288 < (off_t)f.size;
		     off += 256 * KB + 4096 * gen) {
			size_t len = gen & 1 ? 8192 : 320;

			ph_write_gen(copy.fd, copy.id, off, len, gen);
			memset(gens + off / PH_GRANULE, gen, len / PH_GRANULE);
		}
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		ph_verify_fd_gens(copy.fd, copy.id, f.size, gens);
		ph_check(!fsync(copy.fd));
		ph_drop_caches();
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		ph_verify_fd_gens(copy.fd, copy.id, f.size, gens);
	}

	/* clone from a source that is gone, over a target that is gone */
	read_all(&f, 64 * KB);
	read_all(&copy, 64 * KB);
	ph_idle(2 * f.size);
	ph_host_discard();
	ph_check(!ioctl(copy.fd, FICLONE, f.fd));
	ph_verify_read(copy.fd, f.id, 0, f.size, 1);
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&copy);
	ph_remove(&f);
}

/* A page that compresses: one granule over and over */
static void fill_simple(char *buf, unsigned int id, off_t off, unsigned int gen)
{
	size_t pos;

	ph_fill(buf, id, off, PH_GRANULE, gen);
	for (pos = PH_GRANULE; pos < ph_page; pos += PH_GRANULE)
		memcpy(buf + pos, buf, PH_GRANULE);
}

static void verify_simple(const struct ph_file *f, const unsigned char *gens)
{
	char *expect = ph_alloc(ph_page), *buf = ph_alloc(ph_page);
	off_t off;

	for (off = 0; off < (off_t)f->size; off += ph_page) {
		fill_simple(expect, f->id, off, gens[off / ph_page]);
		ph_pread(f->fd, buf, ph_page, off);
		if (memcmp(expect, buf, ph_page))
			ph_fail("WRONG CONTENT: offset 0x%llx, generation %u",
				(unsigned long long)off, gens[off / ph_page]);
	}
	munmap(expect, ph_page);
	munmap(buf, ph_page);
}

static void compressed(const char *how)
{
	struct ph_file f = { .id = 7, .size = 2 * MB };
	unsigned char *gens = ph_alloc(f.size / ph_page);
	char *buf = ph_alloc(ph_page);
	unsigned int gen;
	off_t off;
	int step;

	ph_name(f.path, how);
	f.fd = open(f.path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ph_check(f.fd >= 0);
	if (fsetxattr(f.fd, "btrfs.compression", how, strlen(how), 0))
		ph_skip("no compression with this file system");
	for (gen = 1; gen < 6; gen++) {
		step = gen == 1 ? 1 : gen + 3;
		for (off = 0; off < (off_t)f.size; off += step * ph_page) {
			fill_simple(buf, f.id, off, gen);
			ph_pwrite(f.fd, buf, ph_page, off);
			gens[off / ph_page] = gen;
		}
		ph_check(!fsync(f.fd));
		if (gen == 1)
			ph_check(extent_at(&f, 0).fe_flags &
				 FIEMAP_EXTENT_ENCODED);
		ph_drop_caches();
		read_all(&f, 64 * KB);
		ph_make_gone(f.size, gen & 1);
		verify_simple(&f, gens);
		gone(&f);
	}
	verify_simple(&f, gens);
	ph_remove(&f);
}

static void compressed_zstd(void)
{
	compressed("zstd");
}

static void compressed_lzo(void)
{
	compressed("lzo");
}

/* --- reads of a file that is gone, without readahead --------------------- */

/* Readahead knows nothing of what has been read before */
static void forget_reads(struct ph_file *f, bool advise_random)
{
	int mode = fcntl(f->fd, F_GETFL) & O_ACCMODE;

	close(f->fd);
	f->fd = open(f->path, mode | O_CLOEXEC);
	ph_check(f->fd >= 0);
	ph_check(!advise_random ||
		 !posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM));
}

/* Each 13th page, in an order that is none; 7919 is a prime */
static void read_random(const struct ph_file *f, bool mapped, bool advised)
{
	size_t pages = f->size / ph_page, i;
	char *map, *buf = ph_alloc(ph_page);

	if (mapped) {
		map = ph_map(f, PROT_READ, MAP_SHARED);
		ph_check(!advised || !madvise(map, f->size, MADV_RANDOM));
	}
	for (i = 0; i < pages / 13; i++) {
		off_t off = i * 7919 % (pages / 13) * 13 * ph_page;

		if (mapped) {
			ph_verify(map + off, f->id, off, ph_page, 1);
		} else {
			ph_pread(f->fd, buf, ph_page, off);
			ph_verify(buf, f->id, off, ph_page, 1);
		}
	}
	if (mapped)
		munmap(map, f->size);
	munmap(buf, ph_page);
}

/*
 * @advised: the kernel has been told so. Otherwise it looks in the page cache
 * for what precedes a page, to find out whether this is a sequential read.
 */
static void random_reads(bool mapped, bool advised)
{
	struct ph_file f = ph_create("f", 8, 16 * MB, 1);
	struct ph_disk_stat cold, now;
	int where;

	need_control();
	allow_order(8);
	ph_drop_caches();
	/* the map of the file's blocks is read once */
	ph_pread(f.fd, &where, sizeof(where), 0);
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED));
	forget_reads(&f, advised);
	ph_disk_stat(&cold);
	read_random(&f, mapped, advised);
	ph_disk_since(&cold);
	ph_say("cold: %lu requests, %lu sectors", cold.reads, cold.sectors);
	for (where = 0; where < PH_WHERES; where++) {
		forget_reads(&f, false);
		read_all(&f, MB);
		ph_make_gone(f.size, where);
		forget_reads(&f, advised);
		ph_disk_stat(&now);
		read_random(&f, mapped, advised);
		ph_disk_since(&now);
		ph_say("%s: %lu requests, %lu sectors",
		       where == PH_CLEANED ? "cleaned up" : "discarded",
		       now.reads, now.sectors);
		ph_cmp(now.sectors, >, 0);
		ph_cmp(now.sectors, <=, cold.sectors + cold.sectors / 20);
		ph_cmp(now.reads, <=, cold.reads + cold.reads / 20);
	}
	ph_remove(&f);
}

static void random_reads_by_read(void)
{
	random_reads(false, false);
}

static void random_reads_advised(void)
{
	random_reads(false, true);
}

static void random_reads_by_mmap(void)
{
	random_reads(true, true);
}

/* --- a disk of our own -------------------------------------------------- */

/*
 * On top the device with the file system. A page of it that fails is on the
 * second one, which counts each request that gets that far; a device counts
 * what it passes on, but not what it refuses. The third one refuses.
 */
#define DM_TEST_NAME	"page_hinting_test"
#define DM_COUNT_NAME	"page_hinting_count"
#define DM_ERROR_NAME	"page_hinting_error"

static struct {
	const char *path;	/* of the disk */
	unsigned long sectors;
	unsigned int count;	/* minor number of the device that counts */
	int raw;		/* for access behind the file system's back */
	char mnt[PH_PATH];
} disk;

struct dm_args {
	struct dm_ioctl io;
	char data[2048];
};

static int dm_call(const char *name, unsigned long cmd, struct dm_args *args,
		   unsigned int flags)
{
	int fd, ret, err;

	fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ph_skip("needs the device mapper");
	args->io.version[0] = DM_VERSION_MAJOR;
	args->io.data_size = sizeof(*args);
	args->io.data_start = offsetof(struct dm_args, data);
	args->io.flags = flags;
	snprintf(args->io.name, sizeof(args->io.name), "%s", name);
	ret = ioctl(fd, cmd, args);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

__printf(5, 6)
static void dm_target(struct dm_args *args, const char *type,
		      unsigned long start, unsigned long len,
		      const char *fmt, ...)
{
	size_t size = sizeof(struct dm_target_spec) + PH_PATH;
	struct dm_target_spec *spec;
	va_list ap;

	if (!len)
		return;
	spec = (void *)(args->data + args->io.target_count++ * size);
	spec->sector_start = start;
	spec->length = len;
	spec->next = size;
	snprintf(spec->target_type, sizeof(spec->target_type), "%s", type);
	va_start(ap, fmt);
	vsnprintf((char *)(spec + 1), PH_PATH, fmt, ap);
	va_end(ap);
}

static void dm_linear(struct dm_args *args, unsigned long start,
		      unsigned long len)
{
	dm_target(args, "linear", start, len, "%s %lu", disk.path, start);
}

static void dm_use(const char *name, struct dm_args *args)
{
	ph_check(!dm_call(name, DM_TABLE_LOAD, args, 0));
	memset(args, 0, sizeof(*args));
	ph_check(!dm_call(name, DM_DEV_SUSPEND, args,
			  DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG));
	memset(args, 0, sizeof(*args));
	ph_check(!dm_call(name, DM_DEV_SUSPEND, args, 0));
}

/* Returns its minor number */
static unsigned int dm_create(const char *name)
{
	struct dm_args args = {};

	if (dm_call(name, DM_DEV_CREATE, &args, 0))
		ph_fail("cannot create a device");
	return minor(args.io.dev);
}

/* From now on these sectors, counted from the start of the disk, fail */
static void disk_fails(unsigned long start, unsigned long len)
{
	struct dm_args args = {};

	dm_linear(&args, 0, start);
	dm_target(&args, "error", start, len, "%s", "");
	dm_linear(&args, start + len, disk.sectors - start - len);
	dm_use(DM_TEST_NAME, &args);
}

/* The same for a page, and disk_bad_reads() counts */
static void disk_page_fails(off_t where)
{
	unsigned long start = where / SECTOR, len = ph_page / SECTOR;
	struct dm_args args = {};

	dm_linear(&args, 0, start);
	dm_target(&args, "linear", start, len, "/dev/dm-%u 0", disk.count);
	dm_linear(&args, start + len, disk.sectors - start - len);
	dm_use(DM_TEST_NAME, &args);
}

/* Requests for the page that fails */
static unsigned long disk_bad_reads(void)
{
	char path[PH_PATH];

	snprintf(path, sizeof(path), "/sys/block/dm-%u/stat", disk.count);
	return ph_read_number(path);
}

/* These sectors cannot be written, but read */
static void disk_writes_fail(unsigned long start, unsigned long len)
{
	struct dm_args args = {};

	dm_linear(&args, 0, start);
	dm_target(&args, "flakey", start, len, "%s %lu 0 3600 1 error_writes",
		  disk.path, start);
	dm_linear(&args, start + len, disk.sectors - start - len);
	dm_use(DM_TEST_NAME, &args);
}

static void disk_works(void)
{
	disk_fails(0, 0);
}

/* Also what a test that has failed has left behind */
static void disk_down(void)
{
	static const char * const names[] = {
		DM_TEST_NAME, DM_COUNT_NAME, DM_ERROR_NAME,
	};
	int i;

	snprintf(disk.mnt, sizeof(disk.mnt), "/tmp/%s", DM_TEST_NAME);
	while (!umount(disk.mnt))
		;
	for (i = 0; i < (int)ARRAY_SIZE(names); i++) {
		struct dm_args args = {};

		if (dm_call(names[i], DM_DEV_REMOVE, &args, 0) &&
		    errno != ENXIO)
			ph_fail("cannot remove %s", names[i]);
	}
}

static void disk_mount(const char *node)
{
	if (mount(node, disk.mnt, "ext4", MS_NOATIME, NULL) &&
	    mount(node, disk.mnt, "xfs", MS_NOATIME, NULL))
		ph_fail("cannot mount %s", disk.path);
}

/* Returns its device node */
static const char *disk_up(void)
{
	static char node[PH_PATH];
	struct dm_args args = {};
	unsigned long long bytes;
	unsigned int error;

	need_control();
	disk.path = getenv("PAGE_HINTING_DISK");
	if (!disk.path)
		ph_skip("needs a disk, PAGE_HINTING_DISK");
	disk_down();
	disk.raw = open(disk.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk.raw < 0 || ioctl(disk.raw, BLKGETSIZE64, &bytes))
		ph_fail("cannot use %s", disk.path);
	disk.sectors = bytes / SECTOR;

	error = dm_create(DM_ERROR_NAME);
	dm_target(&args, "error", 0, ph_page / SECTOR, "%s", "");
	dm_use(DM_ERROR_NAME, &args);
	disk.count = dm_create(DM_COUNT_NAME);
	memset(&args, 0, sizeof(args));
	dm_target(&args, "linear", 0, ph_page / SECTOR, "/dev/dm-%u 0", error);
	dm_use(DM_COUNT_NAME, &args);
	snprintf(node, sizeof(node), "/dev/dm-%u", dm_create(DM_TEST_NAME));
	disk_works();
	mkdir(disk.mnt, 0700);
	disk_mount(node);
	/* the files of this test are there */
	snprintf(ph_dir, sizeof(ph_dir), "%s", disk.mnt);
	ph_settle();
	return node;
}

/* Where on the disk is this part of the file? In bytes */
static off_t disk_offset(const struct ph_file *f, off_t off)
{
	struct fiemap_extent extent = extent_at(f, off);

	if (extent.fe_flags &
	    ~(FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED |
	      FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_ENCODED))
		ph_fail("0x%llx is not in blocks of its own",
			(unsigned long long)off);
	return extent.fe_physical + off - extent.fe_logical;
}

/* --- bad sectors -------------------------------------------------------- */

static sigjmp_buf bus_error;
static int bus_errors;

/* Since the last call */
static unsigned int count_bus_errors(void)
{
	return __atomic_exchange_n(&bus_errors, 0, __ATOMIC_RELAXED);
}

static void on_bus_error(int sig)
{
	__atomic_add_fetch(&bus_errors, 1, __ATOMIC_RELAXED);
	siglongjmp(bus_error, sig);
}

/* Returns whether the page could be read, and then it was right */
static bool read_page(const struct ph_file *f, off_t off, const char *map)
{
	static char *buf;

	if (!buf)
		buf = ph_alloc(ph_page);
	if (!map) {
		ssize_t n = pread(f->fd, buf, ph_page, off);

		if (n < 0) {
			ph_cmp(errno, ==, EIO);
			return false;
		}
		ph_cmp(n, ==, ph_page);
		ph_verify(buf, f->id, off, ph_page, 1);
		return true;
	}
	if (sigsetjmp(bus_error, 1))
		return false;
	ph_verify(map + off, f->id, off, ph_page, 1);
	return true;
}

/*
 * Which pages are read before the bad one, from where on (in pages, relative
 * to it) and how many. A page that is read without history is read alone; the
 * one after it begins a window of 4 pages. A fault begins one of 32 pages, 16
 * before it. So the bad page is the first, the last or somewhere between in
 * its window.
 */
static const struct bad_order {
	const char *where;
	int start;
	int nr;
} bad_orders[2][5] = {
	{
		{ "alone", 0, 0 },
		{ "first in the window", -1, 1 },
		{ "in the middle", -3, 3 },
		{ "last", -4, 4 },
		{ "after some windows", -16, 16 },
	}, {
		{ "where the fault is", 0, 0 },
		{ "first in the window", 16, 1 },
		{ "in the middle", 5, 1 },
		{ "last", -15, 1 },
		{ "after some faults", -16, 16 },
	},
};

struct bad_cost {
	struct ph_disk_stat ds;
	/* requests for the bad page: on the way there, first and second try */
	unsigned long way, first, second;
};

/*
 * Read as told, then the bad page, and try it once more. What that costs is
 * compared with a cold cache.
 */
static void meet_bad_page(const struct ph_file *f, off_t bad, const char *map,
			  const struct bad_order *order, struct bad_cost *cost)
{
	unsigned long reads;
	int i;

	ph_disk_stat(&cost->ds);
	reads = disk_bad_reads();
	for (i = 0; i < order->nr; i++) {
		off_t off = bad + (order->start + i) * (off_t)ph_page;

		/* a bad page may take along others in its folio */
		read_page(f, off, map);
	}
	cost->way = disk_bad_reads() - reads;
	count_bus_errors();
	reads = disk_bad_reads();
	ph_check(!read_page(f, bad, map));
	cost->first = disk_bad_reads() - reads;
	reads = disk_bad_reads();
	ph_check(!read_page(f, bad, map));
	cost->second = disk_bad_reads() - reads;
	ph_cmp(count_bus_errors(), ==, map ? 2 : 0);
	ph_disk_since(&cost->ds);
}

static void say_bad_cost(const char *what, const struct bad_order *order,
			 const struct bad_cost *cost)
{
	ph_say("%s, bad page %s: %lu requests, %lu sectors, %lu kB asked for; for it %lu, %lu, %lu",
	       what, order->where, cost->ds.reads, cost->ds.sectors,
	       cost->ds.asked, cost->way, cost->first, cost->second);
}

static void bad_sector(bool mapped)
{
	struct sigaction action = { .sa_handler = on_bus_error };
	struct bad_cost cold, now;
	struct ph_counters before;
	struct ph_file f;
	off_t bad, where;
	char *map = NULL;
	int i, state;

	disk_up();
	sigaction(SIGBUS, &action, NULL);
	f = ph_create("f", 30, 2 * MB, 1);
	bad = MB + 21 * ph_page;
	where = disk_offset(&f, bad);

	for (i = 0; i < (int)ARRAY_SIZE(bad_orders[0]); i++) {
		const struct bad_order *order = &bad_orders[mapped][i];

		forget_reads(&f, false);
		if (mapped)
			map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_drop_caches();
		disk_page_fails(where);
		meet_bad_page(&f, bad, map, order, &cold);
		say_bad_cost("cold", order, &cold);
		/* a fault tries with VMA lock, with mmap lock, and once more */
		ph_cmp(cold.way, <=, 1 + 3 * order->nr);
		ph_cmp(cold.first, >=, 1);
		ph_cmp(cold.second, >=, 1);
		ph_cmp(cold.second, <=, mapped ? 3 : 1);
		disk_works();
		ph_check(read_page(&f, bad, map));

		for (state = 0; state < PH_WHERES; state++) {
			if (map)
				munmap(map, f.size);
			ph_drop_caches();
			read_all(&f, 64 * KB);
			ph_cmp(ph_idle(f.size), >=, f.size / ph_page * 9 / 10);
			disk_page_fails(where);
			ph_host_discard();
			if (state == PH_CLEANED)
				ph_pass(1);
			forget_reads(&f, false);
			if (mapped)
				map = ph_map(&f, PROT_READ, MAP_SHARED);
			ph_get_counters(&before);
			meet_bad_page(&f, bad, map, order, &now);
			say_bad_cost(state ? "cleaned up" : "discarded", order,
				     &now);
			ph_value("lost", ph_since(&before, PH_LOST));
			/* as many requests for it as there were, no more */
			ph_cmp(now.way, ==, cold.way);
			ph_cmp(now.first, ==, cold.first);
			ph_cmp(now.second, ==, cold.second);
			/* what shares a folio is read again by block */
			ph_cmp(now.ds.reads, <=, cold.ds.reads + 16);
			ph_cmp(now.ds.asked, <=, cold.ds.asked + 64);
			ph_cmp(now.ds.asked, >=, 4);
			disk_works();
			ph_check(read_page(&f, bad, map));
			ph_verify_read(f.fd, f.id, 0, f.size, 1);
		}
		if (map)
			munmap(map, f.size);
	}

	/* part of a block is written, the rest of which cannot be read */
	ph_drop_caches();
	read_all(&f, 64 * KB);
	gone(&f);
	disk_page_fails(where);
	ph_cmp(pwrite(f.fd, &f, PH_GRANULE, bad + 64), ==, -1UL);
	ph_cmp(errno, ==, EIO);
	/* a whole block needs nothing of what was there */
	ph_write_gen(f.fd, f.id, bad, ph_page, 1);
	ph_verify_read(f.fd, f.id, bad, ph_page, 1);
	disk_works();
	ph_check(!fsync(f.fd));
	ph_drop_caches();
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&f);
	disk_down();
}

static void bad_sector_by_read(void)
{
	bad_sector(false);
}

static void bad_sector_by_mmap(void)
{
	bad_sector(true);
}

/* All of the disk has gone, while nothing of the file was there */
static void disk_gone(void)
{
	struct sigaction action = { .sa_handler = on_bus_error };
	unsigned long attempts;
	struct ph_disk_stat now;
	struct ph_file f;
	off_t off;
	char *map;

	disk_up();
	sigaction(SIGBUS, &action, NULL);
	f = ph_create("f", 31, 2 * MB, 1);
	ph_drop_caches();
	read_all(&f, 64 * KB);
	gone(&f);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	disk_fails(0, disk.sectors);
	ph_disk_stat(&now);
	for (off = 0; off < (off_t)f.size; off += 16 * ph_page) {
		ph_check(!read_page(&f, off, NULL));
		ph_check(!read_page(&f, off + ph_page, map));
	}
	ph_disk_since(&now);
	attempts = f.size / ph_page / 8;
	ph_say("%lu attempts, %lu kB asked for", attempts, now.asked);
	/* each asks for readahead, and once more for its page */
	ph_cmp(now.asked, <=, attempts * (256 + 16));
	ph_cmp(now.asked, >=, attempts * 4);
	disk_works();
	ph_verify(map, f.id, 0, f.size, 1);
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	munmap(map, f.size);
	ph_remove(&f);
	disk_down();
}

/* Errors are fine after that, wrong content is not */
static void shut_down(void)
{
	struct sigaction action = { .sa_handler = on_bus_error };
	__u32 how = FS_SHUTDOWN_NOLOGFLUSH;
	unsigned long read = 0, mapped = 0;
	const char *node = disk_up();
	struct ph_file f;
	char *map;
	off_t off;

	sigaction(SIGBUS, &action, NULL);
	f = ph_create("f", 32, 2 * MB, 1);
	sync();
	ph_drop_caches();
	read_all(&f, 64 * KB);
	ph_idle(f.size);
	map = ph_map(&f, PROT_READ, MAP_SHARED);
	if (ioctl(f.fd, FS_IOC_SHUTDOWN, &how))
		ph_skip("the file system cannot be shut down");
	/* idle before that, and after that */
	ph_host_discard();
	for (off = 0; off < (off_t)f.size; off += ph_page) {
		read += read_page(&f, off, NULL);
		mapped += read_page(&f, off, map);
	}
	munmap(map, f.size);
	ph_say("after the shutdown: %lu pages read, %lu mapped", read, mapped);
	ph_drain();
	ph_pass(2);
	ph_host_discard();
	ph_pass(1);
	for (off = 0; off < (off_t)f.size; off += ph_page)
		read_page(&f, off, NULL);
	close(f.fd);
	ph_check(!umount(disk.mnt));
	disk_mount(node);
	f.fd = open(f.path, O_RDWR);
	ph_check(f.fd >= 0);
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_remove(&f);
	disk_down();
}

/*
 * What could not be written is clean afterwards, as far as its flags tell, and
 * the only copy there is. It must not become volatile.
 */
static void write_back_fails(void)
{
	const __u64 dirty = 1ULL << PH_KPF_DIRTY;
	const __u64 uptodate = 1ULL << PH_KPF_UPTODATE;
	const __u64 is_volatile = 1ULL << PH_KPF_VOLATILE;
	struct ph_counters before;
	unsigned long pages;
	struct ph_file f;
	const char *node;
	off_t at, off;
	unsigned long *pfns;
	char *page;

	node = disk_up();
	page = ph_alloc(ph_page);
	f = ph_create("f", 34, 256 * KB, 1);
	pages = f.size / ph_page;
	at = disk_offset(&f, 0);
	for (off = 0; off < (off_t)f.size; off += ph_page)
		ph_cmp(disk_offset(&f, off), ==, at + off);
	/* until then it is a file like others */
	gone(&f);
	ph_verify_read(f.fd, f.id, 0, f.size, 1);

	disk_writes_fail(at / SECTOR, f.size / SECTOR);
	ph_write_gen(f.fd, f.id, 0, f.size, 2);
	ph_check(fsync(f.fd) && errno == EIO);
	pfns = frames_of(&f);
	ph_drain();
	ph_get_counters(&before);
	ph_pass(4);
	ph_cmp(frames_with(pfns, pages, dirty), ==, 0);
	ph_cmp(frames_with(pfns, pages, uptodate), ==, pages);
	ph_cmp(frames_with(pfns, pages, is_volatile), ==, 0);
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_host_discard();
	ph_verify_read(f.fd, f.id, 0, f.size, 2);
	for (off = 0; off < (off_t)f.size; off += ph_page) {
		ph_pread(disk.raw, page, ph_page, at + off);
		ph_verify(page, f.id, off, ph_page, 1);
	}

	/* nor later, when it has been written, until the error is forgotten */
	disk_works();
	ph_write_gen(f.fd, f.id, 0, f.size, 3);
	ph_check(!fsync(f.fd));
	ph_get_counters(&before);
	ph_settle();
	ph_cmp(ph_since(&before, PH_VOLATILE), ==, 0);
	ph_host_discard();
	ph_verify_read(f.fd, f.id, 0, f.size, 3);
	close(f.fd);
	ph_check(!umount(disk.mnt));
	disk_mount(node);
	f.fd = open(f.path, O_RDWR | O_CLOEXEC);
	ph_check(f.fd >= 0);
	ph_verify_read(f.fd, f.id, 0, f.size, 3);
	gone(&f);
	ph_verify_read(f.fd, f.id, 0, f.size, 3);
	ph_remove(&f);
	munmap(pfns, pages * sizeof(*pfns));
	munmap(page, ph_page);
	disk_down();
}

static void remount_read_only(void)
{
	struct ph_file f;

	disk_up();
	f = ph_create("f", 33, 4 * MB, 1);
	close(f.fd);
	f.fd = open(f.path, O_RDONLY);
	ph_check(f.fd >= 0);
	gone(&f);
	ph_check(!mount(NULL, disk.mnt, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	gone(&f);
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_check(!mount(NULL, disk.mnt, NULL, MS_REMOUNT, NULL));
	ph_remove(&f);
	disk_down();
}

/* --- fs-verity ---------------------------------------------------------- */

#define HASH		32UL
#define VERITY_SIZE	(2 * MB)
#define SMALL_BLOCK	1024U

/* ext4 has the tree behind the file, from the next multiple of this on */
#define EXT4_TREE_ALIGN	(64 * KB)

/*
 * Which pages of the tree can become volatile?
 *
 * With blocks of a page, PG_checked says that the hashes in that page have been
 * verified; with smaller blocks, that the bits which say so for each block are
 * valid. In both cases to trust a page after its content was lost would be
 * fatal, and none with PG_checked is ever volatile. What has been read ahead, or
 * for somebody who wants to see the tree, has no such mark. But it is beyond the
 * end of the file, where nothing is volatile: not all file systems would read it
 * again. Data pages carry no mark; they are verified whenever they are read.
 */

static struct ph_file create_verity_size(unsigned int id, unsigned int block,
					 size_t size)
{
	struct fsverity_enable_arg arg = {
		.version = 1,
		.hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
		.block_size = block,
	};
	struct ph_file f = ph_create("v", id, size, 1);

	close(f.fd);
	f.fd = open(f.path, O_RDONLY | O_CLOEXEC);
	ph_check(f.fd >= 0);
	if (ioctl(f.fd, FS_IOC_ENABLE_VERITY, &arg))
		ph_skip("no fs-verity with this file system and blocks of %u",
			block);
	return f;
}

static struct ph_file create_verity(unsigned int id, unsigned int block)
{
	return create_verity_size(id, block, VERITY_SIZE);
}

/* Where in the file, and behind its end, is the hash of the block at @off? */
static off_t hash_offset(const struct ph_file *f, unsigned int block, off_t off)
{
	size_t arity = block / HASH, blocks = f->size / block, before = 0, n;

	/* the root comes first, the hashes of data last */
	for (n = (blocks + arity - 1) / arity; n > 1;) {
		n = (n + arity - 1) / arity;
		before += n;
	}
	ph_cmp(before, >, 0);
	return (f->size + EXT4_TREE_ALIGN - 1) / EXT4_TREE_ALIGN *
	       EXT4_TREE_ALIGN + before * block + off / block * HASH;
}

/* Start of its page */
static off_t page_start(off_t off)
{
	return off & ~(off_t)(ph_page - 1);
}

/* Read, and have all gone, tree and data, as far as the kernel lets it go */
static void verity_gone(const struct ph_file *f)
{
	ph_drop_caches();
	read_all(f, 64 * KB);
	gone(f);
}

static void verity_check(const struct ph_file *f)
{
	char *map;
	int i;

	for (i = 0; i < 4; i++) {
		verity_gone(f);
		if (i & 1) {
			map = ph_map(f, PROT_READ, MAP_SHARED);
			ph_verify(map, f->id, 0, f->size, 1);
			munmap(map, f->size);
		}
		ph_verify_read(f->fd, f->id, 0, f->size, 1);
		gone(f);
		ph_verify_read(f->fd, f->id, 0, f->size, 1);
	}
}

static void verity_is_right(void)
{
	struct ph_file f;

	disk_up();
	f = create_verity(40, ph_page);
	verity_check(&f);
	ph_remove(&f);
	disk_down();
}

static void verity_small_blocks_right(void)
{
	struct ph_file f;

	disk_up();
	f = create_verity(42, SMALL_BLOCK);
	verity_check(&f);
	ph_remove(&f);
	disk_down();
}

/* Who reads the tree itself has it cached, and nothing there is verified */
static bool read_tree(const struct ph_file *f, char *tree, size_t len)
{
	struct fsverity_read_metadata_arg arg = {
		.metadata_type = FS_VERITY_METADATA_TYPE_MERKLE_TREE,
		.length = len,
		.buf_ptr = (unsigned long)tree,
	};
	int done = ioctl(f->fd, FS_IOC_READ_VERITY_METADATA, &arg);

	/* not everywhere */
	if (done < 0 && errno == ENOTTY)
		return false;
	ph_cmp(done, ==, len);
	return true;
}

static void tree_stays(const struct ph_file *f)
{
	size_t len = f->size / ph_page * HASH;
	char *tree = ph_alloc(len), *again = ph_alloc(len);
	int i;

	for (i = 0; i < 3; i++) {
		ph_drop_caches();
		if (!read_tree(f, tree, len))
			break;
		ph_cmp(ph_idle(len), ==, 0);
		ph_host_discard();
		read_tree(f, again, len);
		ph_check(!memcmp(tree, again, len));
	}
}

/* On the file system of the other tests; btrfs has the tree in items */
static void verity_in_place(void)
{
	struct ph_file f;

	need_control();
	f = create_verity(43, ph_page);
	verity_check(&f);
	ph_need_idle_host();
	tree_stays(&f);
	ph_remove(&f);
}

/*
 * On the disk, page VICTIM becomes a copy of page MODEL, or its hash becomes
 * that of MODEL, or both: a forgery that only the rest of the tree can tell.
 */
#define VICTIM		21
#define MODEL		50

static void verity_corrupted(unsigned int block, bool data, bool tree)
{
	struct sigaction action = { .sa_handler = on_bus_error };
	char *page = ph_alloc(ph_page), *saved_data = ph_alloc(ph_page);
	char *saved_tree = ph_alloc(ph_page);
	off_t data_at, tree_at, bad, hash, model;
	size_t hashes = ph_page / block * HASH;
	struct ph_counters before;
	struct ph_file f;
	char *map;
	int i;

	disk_up();
	sigaction(SIGBUS, &action, NULL);
	f = create_verity(41, block);
	bad = VICTIM * ph_page;
	data_at = disk_offset(&f, bad);
	hash = hash_offset(&f, block, bad);
	model = hash_offset(&f, block, MODEL * ph_page);
	tree_at = disk_offset(&f, page_start(hash));
	sync();
	ph_pread(disk.raw, saved_data, ph_page, data_at);
	ph_verify(saved_data, f.id, bad, ph_page, 1);
	ph_pread(disk.raw, saved_tree, ph_page, tree_at);
	for (i = 0; i < 2; i++) {
		verity_gone(&f);
		if (data) {
			ph_pread(disk.raw, page, ph_page,
				 disk_offset(&f, MODEL * ph_page));
			ph_verify(page, f.id, MODEL * ph_page, ph_page, 1);
			ph_pwrite(disk.raw, page, ph_page, data_at);
		}
		if (tree) {
			char forged[HASH * 4];

			ph_pread(disk.raw, page, ph_page,
				 disk_offset(&f, page_start(model)));
			memcpy(forged, page + (model - page_start(model)),
			       hashes);
			memcpy(page, saved_tree, ph_page);
			memcpy(page + (hash - page_start(hash)), forged,
			       hashes);
			ph_cmp(memcmp(page, saved_tree, ph_page), !=, 0);
			ph_pwrite(disk.raw, page, ph_page, tree_at);
		}
		/* the second time, nothing of the tree is in the cache */
		if (i)
			ph_drop_caches();
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		if (data || i) {
			ph_check(!read_page(&f, bad, NULL));
			ph_check(!read_page(&f, bad, map));
			ph_check(!read_page(&f, bad, NULL));
		} else {
			/*
			 * The page of the tree has served to verify others, so
			 * it has PG_checked, was not volatile, and is still
			 * there. The data has gone, and comes from the disk.
			 */
			ph_get_counters(&before);
			ph_check(read_page(&f, bad, NULL));
			ph_cmp(ph_since(&before, PH_LOST), >=, 1);
			ph_check(read_page(&f, bad, map));
		}
		/* others are not touched by bad data, and are by a bad tree */
		if (!tree)
			ph_check(read_page(&f, bad + ph_page, NULL));
		ph_check(read_page(&f, f.size - ph_page, NULL));
		ph_check(read_page(&f, f.size - 2 * ph_page, map));
		munmap(map, f.size);

		ph_pwrite(disk.raw, saved_data, ph_page, data_at);
		ph_pwrite(disk.raw, saved_tree, ph_page, tree_at);
		ph_drop_caches();
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
	}
	ph_remove(&f);
	disk_down();
}

static void verity_bad_data(void)
{
	verity_corrupted(ph_page, true, false);
}

static void verity_bad_tree(void)
{
	verity_corrupted(ph_page, false, true);
}

static void verity_forged(void)
{
	verity_corrupted(ph_page, true, true);
}

static void verity_small_blocks_bad_tree(void)
{
	verity_corrupted(SMALL_BLOCK, false, true);
}

static void verity_small_blocks_forged(void)
{
	verity_corrupted(SMALL_BLOCK, true, true);
}

/* Pages of the tree that were read ahead, and the bad one among them */
#define LEAVES		8UL
#define BAD_LEAF	5UL

static void verity_tree_read_ahead(void)
{
	unsigned long per_leaf = ph_page / HASH;
	char *page = ph_alloc(ph_page), *saved = ph_alloc(ph_page);
	off_t tree_at, bad, hash;
	struct ph_file f;
	int i;

	disk_up();
	ph_need_idle_host();
	f = create_verity_size(44, ph_page, LEAVES * per_leaf * ph_page);
	bad = (BAD_LEAF * per_leaf + VICTIM) * ph_page;
	hash = hash_offset(&f, ph_page, bad);
	tree_at = disk_offset(&f, page_start(hash));
	sync();
	ph_pread(disk.raw, saved, ph_page, tree_at);
	memcpy(page, saved, ph_page);
	memset(page + (hash - page_start(hash)), 0, HASH);

	/* read ahead; all verified: it stays in the cache, whole as it was */
	for (i = 0; i < 2; i++) {
		forget_reads(&f, false);
		ph_drop_caches();
		if (!i)
			ph_verify_read(f.fd, f.id, 0, 64 * KB, 1);
		else
			read_all(&f, 64 * KB);
		/* of the file, only the tree stays in the cache */
		ph_check(!posix_fadvise(f.fd, 0, f.size, POSIX_FADV_DONTNEED));
		ph_cmp(ph_resident(&f), ==, 0);
		ph_cmp(ph_idle((LEAVES - 1) * ph_page), ==, 0);
		ph_check(ph_host_discard());
		ph_pwrite(disk.raw, page, ph_page, tree_at);
		/* how far ahead of the file the tree is read differs */
		if (!read_page(&f, bad, NULL)) {
			ph_cmp(i, ==, 0);
			ph_say("the tree is not read ahead");
		}
		ph_check(read_page(&f, bad - per_leaf * ph_page, NULL));
		ph_pwrite(disk.raw, saved, ph_page, tree_at);
	}
	ph_drop_caches();
	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	tree_stays(&f);
	ph_remove(&f);
	disk_down();
}

/* --- fscrypt ------------------------------------------------------------ */

static void add_key(struct fscrypt_key_specifier *spec)
{
	struct {
		struct fscrypt_add_key_arg arg;
		__u8 raw[64];
	} key = {
		.arg.key_spec.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER,
		.arg.raw_size = sizeof(key.raw),
	};
	int fd = open(disk.mnt, O_RDONLY | O_CLOEXEC);

	ph_fill(key.raw, 50, 0, sizeof(key.raw), 1);
	ph_check(fd >= 0);
	if (ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY, &key))
		ph_skip("no fscrypt with this file system");
	*spec = key.arg.key_spec;
	close(fd);
}

/* Returns whether the key has gone for good: no file that needs it is open */
static bool remove_key(const struct fscrypt_key_specifier *spec)
{
	struct fscrypt_remove_key_arg arg = { .key_spec = *spec };
	int fd = open(disk.mnt, O_RDONLY | O_CLOEXEC);

	ph_check(fd >= 0);
	ph_check(!ioctl(fd, FS_IOC_REMOVE_ENCRYPTION_KEY, &arg));
	close(fd);
	return !(arg.removal_status_flags &
		 FSCRYPT_KEY_REMOVAL_STATUS_FLAG_FILES_BUSY);
}

static void encrypted(void)
{
	struct fscrypt_policy_v2 policy = {
		.version = FSCRYPT_POLICY_V2,
		.contents_encryption_mode = FSCRYPT_MODE_AES_256_XTS,
		.filenames_encryption_mode = FSCRYPT_MODE_AES_256_CTS,
		.flags = FSCRYPT_POLICY_FLAGS_PAD_32,
	};
	struct fscrypt_key_specifier spec;
	unsigned char *gens;
	char *page = ph_alloc(ph_page), dir[PH_PATH + 8];
	struct ph_file f;
	int fd, i;

	disk_up();
	add_key(&spec);
	memcpy(policy.master_key_identifier, spec.u.identifier,
	       FSCRYPT_KEY_IDENTIFIER_SIZE);
	snprintf(dir, sizeof(dir), "%s/enc", disk.mnt);
	rmdir(dir);
	ph_check(!mkdir(dir, 0700));
	fd = open(dir, O_RDONLY | O_CLOEXEC);
	ph_check(fd >= 0);
	if (ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, &policy))
		ph_skip("no fscrypt with this file system");
	close(fd);

	f = ph_create("enc/f", 51, 2 * MB, 1);
	gens = ph_alloc(f.size / PH_GRANULE);
	memset(gens, 1, f.size / PH_GRANULE);
	/* it is encrypted indeed */
	ph_pread(disk.raw, page, ph_page, disk_offset(&f, 0));
	ph_check(!ph_equal(page, f.id, 0, PH_GRANULE, 1));

	for (i = 0; i < 4; i++) {
		off_t off = MB + i * 5 * ph_page + 64;

		ph_make_gone(f.size, i & 1);
		/* a part of a block that is gone is decrypted, and written */
		ph_write_gen(f.fd, f.id, off, 320, i + 2);
		memset(gens + off / PH_GRANULE, i + 2, 320 / PH_GRANULE);
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		ph_check(!fsync(f.fd));
	}

	/* who has it open goes on without the key, also when all is gone */
	gone(&f);
	ph_check(!remove_key(&spec));
	ph_verify_fd_gens(f.fd, f.id, f.size, gens);
	gone(&f);
	ph_verify_fd_gens(f.fd, f.id, f.size, gens);
	gone(&f);
	close(f.fd);
	ph_check(remove_key(&spec));
	f.fd = open(f.path, O_RDWR | O_CLOEXEC);
	ph_check(f.fd < 0);
	ph_check(errno == ENOKEY || errno == ENOENT);
	add_key(&spec);
	f.fd = open(f.path, O_RDWR | O_CLOEXEC);
	ph_check(f.fd >= 0);
	ph_verify_fd_gens(f.fd, f.id, f.size, gens);
	ph_remove(&f);
	rmdir(dir);
	disk_down();
}

static const struct ph_test tests[] = {
	PH_TEST(order_cap),
	PH_TEST(one_page_loses_the_folio),
	PH_TEST(large_again),
	PH_TEST(split_of_volatile),
	PH_TEST(truncate_in_large),
	PH_TEST(reflinks),
	PH_TEST(compressed_zstd),
	PH_TEST(compressed_lzo),
	PH_TEST(random_reads_by_read),
	PH_TEST(random_reads_advised),
	PH_TEST(random_reads_by_mmap),
	PH_TEST(bad_sector_by_read),
	PH_TEST(bad_sector_by_mmap),
	PH_TEST(disk_gone),
	PH_TEST(shut_down),
	PH_TEST(write_back_fails),
	PH_TEST(remount_read_only),
	PH_TEST(verity_is_right),
	PH_TEST(verity_bad_data),
	PH_TEST(verity_bad_tree),
	PH_TEST(verity_forged),
	PH_TEST(verity_small_blocks_right),
	PH_TEST(verity_small_blocks_bad_tree),
	PH_TEST(verity_small_blocks_forged),
	PH_TEST(verity_tree_read_ahead),
	PH_TEST(verity_in_place),
	PH_TEST(encrypted),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
