// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting and FUSE: a server that answers reads with the pages of a file
 * itself, by splice(). While they are in the pipe, the clock visits them. It
 * must not keep them from being moved into the page cache of FUSE.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define ID		120
#define PAGES		16UL
#define SIZE		(PAGES * ph_page)
#define NAME		"file"
#define FILE_NODE	2U
#define REQUEST_MAX	(256UL * 1024)

/* What the clock does between the two halves of the splice */
enum visit { VISIT_NONE, VISIT_ARM, VISIT_YOUNG };

static void reply(int dev, const struct fuse_in_header *in, int error,
		  const void *out, size_t len)
{
	struct fuse_out_header header = {
		.len = sizeof(header) + len,
		.error = -error,
		.unique = in->unique,
	};
	struct iovec iov[] = {
		{ &header, sizeof(header) },
		{ (void *)out, len },
	};

	/*
	 * Nobody waits for the answer to a release: the file system may have
	 * been unmounted by now, which ends all requests.
	 */
	ph_check(writev(dev, iov, len ? 2 : 1) == (ssize_t)header.len ||
		 (in->opcode == FUSE_RELEASE && errno == ENOENT));
}

static struct fuse_attr attributes(__u64 node)
{
	struct fuse_attr attr = {
		.ino = node,
		.nlink = 1,
		.mode = S_IFDIR | 0755,
		.blksize = ph_page,
	};

	if (node == FILE_NODE) {
		attr.mode = S_IFREG | 0444;
		attr.size = SIZE;
		attr.blocks = SIZE / 512;
	}
	return attr;
}

/* The pages of the file that are in the pipe get a visit, and have no other */
static void visit(const struct ph_file *f, size_t off, size_t len,
		  enum visit how)
{
	struct ph_counters c;
	char *map = NULL;

	if (how == VISIT_YOUNG) {
		map = mmap(NULL, len, PROT_READ, MAP_SHARED, f->fd, off);
		ph_check(map != MAP_FAILED);
		ph_touch(map, len);
	}
	ph_get_counters(&c);
	if (how != VISIT_NONE) {
		ph_pass(1);
		ph_cmp(ph_since(&c, PH_ARMED), >=, len / ph_page);
	}
	if (map)
		munmap(map, len);
	/* neither has a batch of some CPU a reference */
	ph_drain();
}

static void serve_read(int dev, const struct fuse_in_header *in,
		       const struct ph_file *f, enum visit how)
{
	const struct fuse_read_in *arg = (const void *)(in + 1);
	struct fuse_out_header header = { .unique = in->unique };
	size_t off = arg->offset, len = arg->size, done;
	loff_t at = off;
	int fds[2];
	ssize_t n;

	if (off > SIZE)
		off = SIZE;
	if (len > SIZE - off)
		len = SIZE - off;
	header.len = sizeof(header) + len;

	ph_check(!pipe(fds));
	ph_check(fcntl(fds[1], F_SETPIPE_SZ, SIZE * 4) > 0);
	ph_check(write(fds[1], &header, sizeof(header)) == sizeof(header));
	for (done = 0; done < len; done += n) {
		n = splice(f->fd, &at, fds[1], NULL, len - done, 0);
		ph_check(n > 0);
	}
	if (len)
		visit(f, off, len, how);
	n = splice(fds[0], NULL, dev, NULL, header.len, SPLICE_F_MOVE);
	ph_check(n == (ssize_t)header.len);
	close(fds[0]);
	close(fds[1]);
}

static void serve(int dev, const struct ph_file *f, enum visit how)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = REQUEST_MAX,
		.max_write = ph_page,
		.time_gran = 1,
	};
	struct fuse_entry_out entry = { .entry_valid = 60, .attr_valid = 60 };
	struct fuse_attr_out attr = { .attr_valid = 60 };
	struct fuse_open_out opened = {};
	struct fuse_in_header *in = ph_alloc(REQUEST_MAX);

	for (;;) {
		if (read(dev, in, REQUEST_MAX) < 0) {
			if (errno == EINTR || errno == EAGAIN ||
			    errno == ENOENT)
				continue;
			/* unmounted */
			ph_check(errno == ENODEV);
			return;
		}
		switch (in->opcode) {
		case FUSE_INIT:
			reply(dev, in, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			entry.nodeid = FILE_NODE;
			entry.attr = attributes(FILE_NODE);
			if (strcmp((char *)(in + 1), NAME))
				reply(dev, in, ENOENT, NULL, 0);
			else
				reply(dev, in, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			attr.attr = attributes(in->nodeid);
			reply(dev, in, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			reply(dev, in, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			serve_read(dev, in, f, how);
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			reply(dev, in, 0, NULL, 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_DESTROY:
			reply(dev, in, 0, NULL, 0);
			return;
		default:
			reply(dev, in, EOPNOTSUPP, NULL, 0);
		}
	}
}

/* Read all of it through FUSE, and find it in the frames that it was in */
static void move_pages(enum visit how)
{
	struct ph_file f = ph_create("f", ID, SIZE, 1), m = f;
	unsigned long *from = ph_alloc(PAGES * sizeof(*from));
	unsigned long *to = ph_alloc(PAGES * sizeof(*to)), i, n = 0;
	char dir[PH_PATH], options[128];
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t server;

	if (dev < 0)
		ph_skip("no /dev/fuse");
	ph_name(dir, "fuse");
	/* a test that failed has left it */
	ph_check(!mkdir(dir, 0700) || errno == EEXIST);
	/* however this ends, the mount ends with it */
	ph_check(!unshare(CLONE_NEWNS));
	ph_check(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	ph_check(!mount("page_hinting", dir, "fuse", MS_NOSUID | MS_NODEV, options));
	server = ph_fork();
	if (!server) {
		serve(dev, &f, how);
		_exit(0);
	}
	close(dev);

	/* without the traces of having been written */
	ph_drop_caches();
	ph_file_pfns(&f, from);
	ph_drain();
	ph_name(m.path, "fuse/" NAME);
	m.fd = open(m.path, O_RDONLY | O_CLOEXEC);
	ph_check(m.fd >= 0);
	ph_verify_read(m.fd, m.id, 0, SIZE, 1);
	ph_file_pfns(&m, to);
	for (i = 0; i < PAGES; i++)
		n += from[i] == to[i];
	ph_value("pages that are in the same frame", n);
	ph_cmp(n, ==, PAGES);
	/* the clock goes on there, and in the file, which has lost them */
	ph_pass(2);
	ph_verify_read(m.fd, m.id, 0, SIZE, 1);
	ph_verify_read(f.fd, f.id, 0, SIZE, 1);
	close(m.fd);
	ph_check(!umount2(dir, 0));
	ph_wait(server);
	ph_check(!rmdir(dir));
	ph_remove(&f);
}

/* Does the server move pages at all? */
static void move_unvisited(void)
{
	move_pages(VISIT_NONE);
}

static void move_armed(void)
{
	move_pages(VISIT_ARM);
}

/* The clock has seen that it is in use, and has left a note for reclaim */
static void move_young(void)
{
	move_pages(VISIT_YOUNG);
}

static const struct ph_test tests[] = {
	PH_TEST(move_unvisited),
	PH_TEST(move_armed),
	PH_TEST(move_young),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
