// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting and what btrfs does with files by itself: it rewrites them,
 * moves them to other places of the disk, compares them with their checksums,
 * and describes them to another machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define PAGES		512UL
#define SIZE		(PAGES * ph_page)

static int open_dir(void)
{
	struct statfs sfs;
	int fd;

	ph_check(!statfs(ph_dir, &sfs));
	if ((unsigned int)sfs.f_type != BTRFS_SUPER_MAGIC)
		ph_skip("not btrfs");
	fd = open(ph_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ph_check(fd >= 0);
	return fd;
}

/* In many extents: every other page is written later than its neighbours */
static struct ph_file create_fragmented(const char *name, unsigned int id,
					unsigned char *gens)
{
	struct ph_file f = ph_create(name, id, SIZE, 1);
	size_t per_page = ph_page / PH_GRANULE;
	unsigned int i;

	memset(gens, 1, SIZE / PH_GRANULE);
	for (i = 1; i < PAGES; i += 2) {
		ph_write_gen(f.fd, id, i * ph_page, ph_page, 2);
		memset(gens + i * per_page, 2, per_page);
	}
	ph_check(!fsync(f.fd));
	ph_verify_fd_gens(f.fd, id, SIZE, gens);
	return f;
}

static void verify_both(const struct ph_file *f, const unsigned char *gens)
{
	ph_verify_fd_gens(f->fd, f->id, SIZE, gens);
	ph_drop_caches();
	ph_verify_fd_gens(f->fd, f->id, SIZE, gens);
}

/* Pages are read from the cache, and made dirty */
static void defragmentation(void)
{
	unsigned char *gens = ph_alloc(SIZE / PH_GRANULE);
	struct btrfs_ioctl_defrag_range_args args = {
		.len = (__u64)-1,
		.flags = BTRFS_DEFRAG_RANGE_START_IO,
		.extent_thresh = 32 << 20,
	};
	struct ph_counters before;
	struct ph_file f;
	int where, dir = open_dir();

	for (where = 0; where < PH_WHERES; where++) {
		f = create_fragmented("f", 1, gens);
		ph_get_counters(&before);
		ph_make_gone(SIZE, where);
		ph_check(!ioctl(f.fd, BTRFS_IOC_DEFRAG_RANGE, &args));
		if (ph_host_discards())
			ph_cmp(ph_since(&before, PH_LOST) +
			       ph_since(&before, PH_EVICTED), >=,
			       PAGES * 9 / 10);
		ph_check(!fsync(f.fd));
		verify_both(&f, gens);
		ph_remove(&f);
	}
	close(dir);
}

/*
 * Blocks move on the disk, by way of the cache of an inode that nobody sees.
 * What is cached of the file remains as it is, and is read from the new place
 * if it is gone.
 */
static void balance(void)
{
	unsigned char *gens = ph_alloc(SIZE / PH_GRANULE);
	struct btrfs_ioctl_balance_args *args = ph_alloc(sizeof(*args));
	int dir = open_dir();
	struct ph_file f;

	f = create_fragmented("f", 2, gens);
	ph_make_gone(SIZE, PH_IN_PLACE);
	args->flags = BTRFS_BALANCE_DATA;
	/* the clock looks at what is being moved, too */
	ph_drive_clock(true);
	if (ioctl(dir, BTRFS_IOC_BALANCE_V2, args))
		ph_fail("balance");
	ph_drive_clock(false);
	ph_value("chunks moved", args->stat.completed);
	ph_cmp(args->stat.completed, >=, 1);
	ph_host_discard();
	verify_both(&f, gens);
	ph_remove(&f);
	close(dir);
}

static void scrub(void)
{
	unsigned char *gens = ph_alloc(SIZE / PH_GRANULE);
	struct btrfs_ioctl_scrub_args *args = ph_alloc(sizeof(*args));
	struct btrfs_scrub_progress *p = &args->progress;
	int where, dir = open_dir();
	struct ph_file f;

	for (where = 0; where < PH_WHERES; where++) {
		f = create_fragmented("f", 3, gens);
		ph_make_gone(SIZE, where);
		memset(args, 0, sizeof(*args));
		args->devid = 1;
		args->end = (__u64)-1;
		ph_check(!ioctl(dir, BTRFS_IOC_SCRUB, args));
		ph_value("bytes scrubbed", p->data_bytes_scrubbed);
		ph_cmp(p->data_bytes_scrubbed, >=, SIZE);
		ph_cmp(p->csum_errors + p->read_errors + p->verify_errors +
		       p->super_errors + p->uncorrectable_errors, ==, 0);
		verify_both(&f, gens);
		ph_remove(&f);
	}
	close(dir);
}

/* --- send --------------------------------------------------------------- */

/*
 * The stream, version 1, of which no header for programs tells. It begins with
 * its name and a version; a command has its length without this header (4
 * bytes), what it is (2) and a checksum (4), and consists of attributes: type
 * (2), length (2) and value. Little-endian.
 */
#define STREAM_NAME		"btrfs-stream"
#define STREAM_HEADER		(sizeof(STREAM_NAME) + 4)
#define COMMAND_HEADER		10
#define ATTRIBUTE_HEADER	4
#define CMD_WRITE		15
#define CMD_END			21
#define ATTR_FILE_OFFSET	18
#define ATTR_DATA		19
#define LONGEST			(128UL << 10)

static __u64 number(const char *at, int bytes)
{
	__u64 n = 0;

	while (bytes--)
		n = n << 8 | (unsigned char)at[bytes];
	return n;
}

static void get(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n <= 0)
			ph_fail("the stream ends after %zd of %zu bytes", n,
				len);
		done += n;
	}
}

/* Is it the file, the whole file, and nothing but the file? */
static void verify_stream(int fd, unsigned int id, const unsigned char *gens)
{
	char header[STREAM_HEADER], *buf = ph_alloc(LONGEST);
	char *part = ph_alloc(LONGEST);
	size_t total = 0, len, pos, size;
	unsigned int cmd, type;
	off_t off = -1;

	get(fd, header, STREAM_HEADER);
	ph_check(!memcmp(header, STREAM_NAME, sizeof(STREAM_NAME)));
	ph_cmp(number(header + sizeof(STREAM_NAME), 4), ==, 1);
	for (;;) {
		get(fd, header, COMMAND_HEADER);
		len = number(header, 4);
		cmd = number(header + 4, 2);
		ph_cmp(len, <=, LONGEST);
		get(fd, buf, len);
		if (cmd == CMD_END)
			break;
		for (pos = 0; cmd == CMD_WRITE && pos < len; pos += size) {
			type = number(buf + pos, 2);
			size = number(buf + pos + 2, 2);
			pos += ATTRIBUTE_HEADER;
			if (type == ATTR_FILE_OFFSET)
				off = number(buf + pos, 8);
			if (type != ATTR_DATA)
				continue;
			ph_check(off >= 0 && off + size <= SIZE);
			/* to where words are aligned */
			memcpy(part, buf + pos, size);
			ph_verify_gens(part, id, off, size, gens);
			total += size;
		}
	}
	ph_cmp(total, ==, SIZE);
	munmap(part, LONGEST);
	munmap(buf, LONGEST);
}

/* Read-only, with all that is in it. Its files are cached as files of their own */
static int snapshot(int dir, int subvolume)
{
	struct btrfs_ioctl_vol_args_v2 args = {
		.fd = subvolume,
		.flags = BTRFS_SUBVOL_RDONLY,
		.name = "snapshot",
	};
	char path[PH_PATH];
	int fd;

	ph_check(!ioctl(dir, BTRFS_IOC_SNAP_CREATE_V2, &args));
	ph_name(path, "snapshot");
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ph_check(fd >= 0);
	return fd;
}

static void delete_subvolume(int dir, const char *name)
{
	struct btrfs_ioctl_vol_args args = {};

	snprintf(args.name, sizeof(args.name), "%s", name);
	ph_check(!ioctl(dir, BTRFS_IOC_SNAP_DESTROY, &args));
}

static void send_stream(void)
{
	unsigned char *gens = ph_alloc(SIZE / PH_GRANULE);
	struct btrfs_ioctl_vol_args volume = { .name = "volume" };
	int where, sub, snap, p[2], dir = open_dir();
	struct btrfs_ioctl_send_args args = {};
	struct ph_file f, sent;
	char path[PH_PATH];
	pid_t pid;

	ph_check(!ioctl(dir, BTRFS_IOC_SUBVOL_CREATE, &volume));
	ph_name(path, "volume");
	sub = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ph_check(sub >= 0);
	f = create_fragmented("volume/f", 4, gens);
	for (where = 0; where < PH_WHERES; where++) {
		snap = snapshot(dir, sub);
		sent = f;
		ph_name(sent.path, "snapshot/f");
		sent.fd = open(sent.path, O_RDONLY | O_CLOEXEC);
		ph_check(sent.fd >= 0);
		ph_drop_caches();
		/* the first time cached by others, then by the one who sends */
		ph_verify_fd_gens(sent.fd, sent.id, SIZE, gens);
		ph_make_gone(SIZE, where);
		ph_check(!pipe2(p, O_CLOEXEC));
		pid = ph_fork();
		if (!pid) {
			close(p[1]);
			verify_stream(p[0], sent.id, gens);
			_exit(0);
		}
		close(p[0]);
		args.send_fd = p[1];
		if (ioctl(snap, BTRFS_IOC_SEND, &args))
			ph_fail("send");
		close(p[1]);
		ph_wait(pid);
		ph_verify_fd_gens(sent.fd, sent.id, SIZE, gens);
		close(sent.fd);
		close(snap);
		delete_subvolume(dir, "snapshot");
	}
	verify_both(&f, gens);
	ph_remove(&f);
	close(sub);
	delete_subvolume(dir, "volume");
	close(dir);
}

static const struct ph_test tests[] = {
	PH_TEST(defragmentation),
	PH_TEST(balance),
	PH_TEST(scrub),
	PH_TEST(send_stream),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
