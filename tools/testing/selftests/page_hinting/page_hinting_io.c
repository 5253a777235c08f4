// SPDX-License-Identifier: GPL-2.0
/*
 * Page hinting and the interfaces by which programs and the kernel itself get
 * at cached files on ways of their own: io_uring, aio, reads that must not
 * wait, searches for data and holes, copies within the kernel, deduplication,
 * futexes, moved mappings, core dumps, file systems in files, block devices.
 *
 * PAGE_HINTING_DISK names a block device with a small file system, ext4 or xfs,
 * that nobody uses. It is copied to a file, which is mounted, and mounted
 * itself.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define PAGES		256UL
#define SIZE		(PAGES * ph_page)
#define DEPTH		32U

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

/* --- small helpers ------------------------------------------------------ */

static unsigned char *new_gens(size_t size, unsigned char gen)
{
	unsigned char *gens = ph_alloc(size / PH_GRANULE);

	memset(gens, gen, size / PH_GRANULE);
	return gens;
}

static void set_gens(unsigned char *gens, off_t off, size_t len,
		     unsigned char gen)
{
	memset(gens + off / PH_GRANULE, gen, len / PH_GRANULE);
}

static void verify_disk(const struct ph_file *f, const unsigned char *gens)
{
	ph_check(!fsync(f->fd));
	ph_drop_caches();
	ph_verify_fd_gens(f->fd, f->id, f->size, gens);
}

/* What has been taken was missed by somebody, as far as the host takes all */
static void lost_since(const struct ph_counters *before, unsigned long pages)
{
	unsigned long lost = ph_since(before, PH_LOST) +
			     ph_since(before, PH_EVICTED);

	ph_value("pages lost", lost);
	if (ph_host_discards())
		ph_cmp(lost, >=, pages * 9 / 10);
}

/* --- io_uring ----------------------------------------------------------- */

struct ring {
	int fd;
	bool polled;
	unsigned int queued;
	unsigned int *sq_tail, *sq_mask, *sq_flags, *sq_array;
	unsigned int *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void *ring_map(int fd, size_t len, off_t what)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, what);

	ph_check(p != MAP_FAILED);
	return p;
}

static struct ring ring_open(unsigned int flags)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 20 };
	struct ring r = { .polled = flags & IORING_SETUP_SQPOLL };
	char *sq, *cq;

	r.fd = syscall(SYS_io_uring_setup, DEPTH, &p);
	if (r.fd < 0 && (errno == ENOSYS || errno == EPERM))
		ph_skip("no io_uring here");
	ph_check(r.fd >= 0);
	sq = ring_map(r.fd, p.sq_off.array + p.sq_entries * sizeof(int),
		      IORING_OFF_SQ_RING);
	cq = ring_map(r.fd, p.cq_off.cqes + p.cq_entries * sizeof(*r.cqes),
		      IORING_OFF_CQ_RING);
	r.sqes = ring_map(r.fd, p.sq_entries * sizeof(*r.sqes),
			  IORING_OFF_SQES);
	r.sq_tail = (void *)(sq + p.sq_off.tail);
	r.sq_mask = (void *)(sq + p.sq_off.ring_mask);
	r.sq_flags = (void *)(sq + p.sq_off.flags);
	r.sq_array = (void *)(sq + p.sq_off.array);
	r.cq_head = (void *)(cq + p.cq_off.head);
	r.cq_tail = (void *)(cq + p.cq_off.tail);
	r.cq_mask = (void *)(cq + p.cq_off.ring_mask);
	r.cqes = (void *)(cq + p.cq_off.cqes);
	return r;
}

/* The next request. There are never more than DEPTH, so there is room. */
static struct io_uring_sqe *ring_request(struct ring *r)
{
	unsigned int n = (*r->sq_tail + r->queued++) & *r->sq_mask;

	r->sq_array[n] = n;
	memset(&r->sqes[n], 0, sizeof(r->sqes[n]));
	return &r->sqes[n];
}

static void ring_submit(struct ring *r)
{
	unsigned int n = r->queued;

	if (!n)
		return;
	r->queued = 0;
	__atomic_store_n(r->sq_tail, *r->sq_tail + n, __ATOMIC_RELEASE);
	if (!r->polled) {
		ph_cmp(syscall(SYS_io_uring_enter, r->fd, n, 0, 0, NULL, 0), ==,
		       n);
		return;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(r->sq_flags, __ATOMIC_RELAXED) &
	    IORING_SQ_NEED_WAKEUP)
		ph_check(syscall(SYS_io_uring_enter, r->fd, 0, 0,
				 IORING_ENTER_SQ_WAKEUP, NULL, 0) >= 0);
}

/* The result of the next request that is done; its @user_data, if wanted */
static int ring_wait(struct ring *r, __u64 *user_data)
{
	const struct io_uring_cqe *cqe;
	int res;

	while (*r->cq_head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
		if (syscall(SYS_io_uring_enter, r->fd, 0, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			ph_check(errno == EINTR);
	cqe = &r->cqes[*r->cq_head & *r->cq_mask];
	res = cqe->res;
	if (user_data)
		*user_data = cqe->user_data;
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
	return res;
}

/* How a file is read */
struct way {
	const char *name;
	unsigned int setup;
	unsigned int op;
	unsigned int flags;	/* of each request */
	unsigned int rw_flags;
};

static const struct way ways[] = {
	{ "read", 0, IORING_OP_READ, 0, 0 },
	{ "readv", 0, IORING_OP_READV, 0, 0 },
	{ "fixed buffers and file", 0, IORING_OP_READ_FIXED,
	  IOSQE_FIXED_FILE, 0 },
	{ "fixed, by a worker", 0, IORING_OP_READ_FIXED,
	  IOSQE_FIXED_FILE | IOSQE_ASYNC, 0 },
	{ "fixed, by a polling thread", IORING_SETUP_SQPOLL,
	  IORING_OP_READ_FIXED, IOSQE_FIXED_FILE, 0 },
	{ "fixed, without waiting first", 0, IORING_OP_READ_FIXED,
	  IOSQE_FIXED_FILE, RWF_NOWAIT },
};

/* Not a multiple of a page, so most requests begin and end within one */
#define CHUNK	(4 * ph_page + 3 * PH_GRANULE)

static struct request {
	off_t off;
	size_t len, done;	/* len 0: free */
	unsigned int rw_flags;
	struct iovec iov;
} requests[DEPTH];

static void ring_register(struct ring *r, const struct ph_file *f, char *bufs)
{
	struct iovec iov[DEPTH];
	unsigned int i;

	for (i = 0; i < DEPTH; i++) {
		iov[i].iov_base = bufs + i * CHUNK;
		iov[i].iov_len = CHUNK;
	}
	ph_check(!syscall(SYS_io_uring_register, r->fd,
			  IORING_REGISTER_BUFFERS, iov, DEPTH));
	ph_check(!syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES,
			  &f->fd, 1));
}

static void queue_read(struct ring *r, const struct way *way,
		       const struct ph_file *f, char *bufs, unsigned int slot)
{
	struct io_uring_sqe *sqe = ring_request(r);
	struct request *q = &requests[slot];

	q->iov.iov_base = bufs + slot * CHUNK + q->done;
	q->iov.iov_len = q->len - q->done;
	sqe->opcode = way->op;
	sqe->flags = way->flags;
	sqe->fd = way->flags & IOSQE_FIXED_FILE ? 0 : f->fd;
	sqe->off = q->off + q->done;
	sqe->rw_flags = q->rw_flags;
	sqe->user_data = slot;
	if (way->op == IORING_OP_READV) {
		sqe->addr = (unsigned long)&q->iov;
		sqe->len = 1;
	} else {
		sqe->addr = (unsigned long)q->iov.iov_base;
		sqe->len = q->iov.iov_len;
	}
	if (way->op == IORING_OP_READ_FIXED)
		sqe->buf_index = slot;
}

/* All of the file, in an order that is none. Returns how often it would wait. */
static unsigned long uring_read_all(struct ring *r, const struct way *way,
				    const struct ph_file *f, char *bufs)
{
	unsigned int count = (f->size + CHUNK - 1) / CHUNK;
	unsigned int next = 0, finished = 0, slot;
	unsigned long again = 0;

	while (finished < count) {
		for (slot = 0; slot < DEPTH && next < count; slot++) {
			struct request *q = &requests[slot];

			if (q->len)
				continue;
			/* a stride prime to the number of requests */
			memset(q, 0, sizeof(*q));
			q->off = next++ * 61UL % count * CHUNK;
			q->len = CHUNK;
			if (q->off + q->len > f->size)
				q->len = f->size - q->off;
			q->rw_flags = way->rw_flags;
			queue_read(r, way, f, bufs, slot);
		}
		ring_submit(r);
		for (;;) {
			__u64 which;
			int res = ring_wait(r, &which);
			struct request *q = &requests[which];

			if (res == -EAGAIN && q->rw_flags) {
				q->rw_flags = 0;
				again++;
			} else if (res <= 0) {
				ph_fail("%s: %d at 0x%llx of 0x%zx", way->name,
					res, (unsigned long long)
					q->off + q->done, f->size);
			} else {
				q->done += res;
			}
			if (q->done == q->len)
				break;
			queue_read(r, way, f, bufs, which);
			ring_submit(r);
		}
		for (slot = 0; slot < DEPTH; slot++) {
			struct request *q = &requests[slot];

			if (!q->len || q->done != q->len)
				continue;
			ph_verify(bufs + slot * CHUNK, f->id, q->off, q->len,
				  1);
			q->len = 0;
			finished++;
		}
	}
	return again;
}

static void uring_reads(void)
{
	struct ph_file f = ph_create("f", 1, SIZE, 1);
	char *bufs = ph_alloc(DEPTH * CHUNK);
	struct ph_counters before;
	unsigned long again;
	int i, where;

	ph_cmp((f.size + CHUNK - 1) / CHUNK % 61, !=, 0);
	for (i = 0; i < (int)ARRAY_SIZE(ways); i++) {
		const struct way *way = &ways[i];
		struct ring r = ring_open(way->setup);

		ring_register(&r, &f, bufs);
		for (where = 0; where < PH_WHERES; where++) {
			ph_get_counters(&before);
			ph_make_gone(f.size, where);
			again = uring_read_all(&r, way, &f, bufs);
			ph_say("%s: %lu would have waited", way->name, again);
			lost_since(&before, PAGES);
		}
		/* taken at random, a part of each request */
		if (ph_host_has_ctl()) {
			ph_make_gone(f.size, PH_IN_PLACE);
			ph_verify_read(f.fd, f.id, 0, f.size, 1);
			ph_idle(f.size);
			ph_check(ph_host_ask(NULL, 0,
					     "discard volatile count=%lu",
					     PAGES / 3));
			uring_read_all(&r, way, &f, bufs);
		}
		close(r.fd);
	}
	ph_remove(&f);
}

/* Parts of blocks that are gone, then fsync, all by the ring */
static void uring_writes(void)
{
	struct ph_file f = ph_create("f", 2, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	char *bufs = ph_alloc(DEPTH * CHUNK);
	struct ring r = ring_open(0);
	struct io_uring_sqe *sqe;
	size_t len = 5 * PH_GRANULE;
	unsigned int slot, page;
	int where, gen = 1;

	ring_register(&r, &f, bufs);
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(f.size, where);
		gen++;
		for (page = 0; page < PAGES; page += DEPTH) {
			for (slot = 0; slot < DEPTH; slot++) {
				off_t off = (page + slot) * ph_page +
					    (1 + slot) * PH_GRANULE;

				ph_fill(bufs + slot * CHUNK, f.id, off, len,
					gen);
				set_gens(gens, off, len, gen);
				sqe = ring_request(&r);
				sqe->opcode = IORING_OP_WRITE_FIXED;
				sqe->flags = IOSQE_FIXED_FILE;
				sqe->addr = (unsigned long)bufs + slot * CHUNK;
				sqe->len = len;
				sqe->off = off;
				sqe->buf_index = slot;
			}
			ring_submit(&r);
			for (slot = 0; slot < DEPTH; slot++)
				ph_cmp(ring_wait(&r, NULL), ==, len);
		}
		sqe = ring_request(&r);
		sqe->opcode = IORING_OP_FSYNC;
		sqe->flags = IOSQE_FIXED_FILE;
		ring_submit(&r);
		ph_cmp(ring_wait(&r, NULL), ==, 0);
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		ph_make_gone(f.size, where);
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
	}
	verify_disk(&f, gens);
	close(r.fd);
	ph_remove(&f);
}

/* From a file that is gone, into parts of the pages of another that is gone */
static void uring_into_mapping(void)
{
	struct ph_file from = ph_create("from", 3, SIZE, 1);
	struct ph_file to = ph_create("to", 4, SIZE, 1);
	char *map = ph_map(&to, PROT_READ | PROT_WRITE, MAP_SHARED);
	size_t half = ph_page / 2, at = 3 * PH_GRANULE;
	struct ring r = ring_open(0);
	struct io_uring_sqe *sqe;
	unsigned int i, slot;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(2 * SIZE, where);
		for (i = 0; i < PAGES; i += DEPTH) {
			for (slot = 0; slot < DEPTH; slot++) {
				sqe = ring_request(&r);
				sqe->opcode = IORING_OP_READ;
				sqe->fd = from.fd;
				sqe->addr = (unsigned long)map + at +
					    (i + slot) * ph_page;
				sqe->len = half;
				sqe->off = (i + slot) * ph_page;
			}
			ring_submit(&r);
			for (slot = 0; slot < DEPTH; slot++)
				ph_cmp(ring_wait(&r, NULL), ==, half);
		}
		for (i = 0; i < PAGES; i++) {
			off_t off = i * ph_page, end = off + at + half;

			ph_verify(map + off, to.id, off, at, 1);
			ph_verify(map + off + at, from.id, off, half, 1);
			ph_verify(map + end, to.id, end, ph_page - at - half, 1);
		}
		ph_verify_read(from.fd, from.id, 0, SIZE, 1);
		ph_fill(map, to.id, 0, SIZE, 1);
		ph_check(!msync(map, SIZE, MS_SYNC));
	}
	close(r.fd);
	munmap(map, SIZE);
	ph_remove(&from);
	ph_remove(&to);
}

/* --- aio ---------------------------------------------------------------- */

static aio_context_t aio_open(void)
{
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, DEPTH, &ctx)) {
		if (errno == ENOSYS)
			ph_skip("no aio here");
		ph_fail("io_setup");
	}
	return ctx;
}

static void aio_reads(void)
{
	static const int flags[] = { 0, RWF_NOWAIT };
	unsigned int count = (SIZE + CHUNK - 1) / CHUNK, i, n, e, turn;
	struct ph_file f = ph_create("f", 5, SIZE, 1);
	char *bufs = ph_alloc(DEPTH * CHUNK);
	aio_context_t ctx = aio_open();
	struct iocb cb[DEPTH], *cbs[DEPTH];
	struct io_event event[DEPTH];
	struct ph_counters before;
	unsigned long again = 0;
	int where;

	for (turn = 0; turn < 2 * PH_WHERES; turn++) {
		where = turn / 2;
		ph_get_counters(&before);
		ph_make_gone(f.size, where);
		for (i = 0; i < count; i += n) {
			for (n = 0; n < DEPTH && i + n < count; n++) {
				off_t off = (i + n) * 61UL % count * CHUNK;

				memset(&cb[n], 0, sizeof(cb[n]));
				cbs[n] = &cb[n];
				cb[n].aio_lio_opcode = IOCB_CMD_PREAD;
				cb[n].aio_fildes = f.fd;
				cb[n].aio_buf = (unsigned long)bufs + n * CHUNK;
				cb[n].aio_nbytes = off + CHUNK > f.size ?
						   f.size - off : CHUNK;
				cb[n].aio_offset = off;
				cb[n].aio_rw_flags = flags[turn & 1];
				cb[n].aio_data = n;
			}
			ph_cmp(syscall(SYS_io_submit, ctx, n, cbs), ==, n);
			ph_cmp(syscall(SYS_io_getevents, ctx, n, n, event,
				       NULL), ==, n);
			for (e = 0; e < n; e++) {
				struct iocb *c = &cb[event[e].data];
				__s64 res = event[e].res;
				char *buf = (char *)(unsigned long)c->aio_buf;

				if (res == -EAGAIN && c->aio_rw_flags) {
					again++;
					res = 0;
				} else if (res <= 0) {
					ph_fail("%lld at 0x%llx", res,
						c->aio_offset);
				}
				/* a read may end early, where it would wait */
				res -= res % PH_GRANULE;
				ph_pread(f.fd, buf + res, c->aio_nbytes - res,
					 c->aio_offset + res);
				ph_verify(buf, f.id, c->aio_offset,
					  c->aio_nbytes, 1);
			}
		}
		lost_since(&before, PAGES);
	}
	ph_value("would have waited", again);
	syscall(SYS_io_destroy, ctx);
	ph_remove(&f);
}

/* --- reads that must not wait ------------------------------------------- */

/* Number of bytes, or the error as a negative number */
typedef ssize_t (*reader_t)(const struct ph_file *f, void *buf, size_t len,
			    off_t off);

static ssize_t read_preadv2(const struct ph_file *f, void *buf, size_t len,
			    off_t off)
{
	struct iovec iov = { buf, len };
	ssize_t n = preadv2(f->fd, &iov, 1, off, RWF_NOWAIT);

	return n < 0 ? -errno : n;
}

static ssize_t read_aio(const struct ph_file *f, void *buf, size_t len,
			off_t off)
{
	static aio_context_t ctx;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = f->fd,
		.aio_buf = (unsigned long)buf,
		.aio_nbytes = len,
		.aio_offset = off,
		.aio_rw_flags = RWF_NOWAIT,
	}, *cbs = &cb;
	struct io_event event;

	if (!ctx)
		ctx = aio_open();
	if (syscall(SYS_io_submit, ctx, 1, &cbs) != 1)
		return -errno;
	ph_cmp(syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL), ==, 1);
	return event.res;
}

static ssize_t read_uring(const struct ph_file *f, void *buf, size_t len,
			  off_t off)
{
	static struct ring r;
	struct io_uring_sqe *sqe;

	if (!r.sqes)
		r = ring_open(0);
	sqe = ring_request(&r);
	sqe->opcode = IORING_OP_READ;
	sqe->fd = f->fd;
	sqe->addr = (unsigned long)buf;
	sqe->len = len;
	sqe->off = off;
	sqe->rw_flags = RWF_NOWAIT;
	ring_submit(&r);
	return ring_wait(&r, NULL);
}

/*
 * What there is at @off without waiting: a positive number of bytes, all of
 * them right, or nothing for now, which is 0 here.
 */
static size_t now(const struct ph_file *f, reader_t reader, size_t len,
		  off_t off)
{
	static char *buf;
	ssize_t n;

	if (!buf)
		buf = ph_alloc(64 << 10);
	memset(buf, 0xa5, len);
	n = reader(f, buf, len, off);
	if (n == -EOPNOTSUPP)
		ph_skip("this file system always waits");
	if (n == -EAGAIN)
		return 0;
	if (n <= 0 || n > (ssize_t)len)
		ph_fail("%zd at 0x%llx of 0x%zx", n, (unsigned long long)off,
			f->size);
	n -= n % PH_GRANULE;
	ph_cmp(n, >, 0);
	ph_verify(buf, f->id, off, n, 1);
	return n;
}

/*
 * All of the file, @len bytes at a time. Where nothing can be had, read a page
 * as anybody does. Returns how often that was so.
 */
static unsigned long read_now(const struct ph_file *f, reader_t reader,
			      size_t len)
{
	unsigned long again = 0;
	size_t n;
	off_t off;

	for (off = 0; off < (off_t)f->size; off += n) {
		n = len < f->size - off ? len : f->size - off;
		n = now(f, reader, n, off);
		if (n)
			continue;
		again++;
		n = ph_page - off % ph_page;
		ph_verify_read(f->fd, f->id, off, n, 1);
	}
	return again;
}

static void nowait(reader_t reader)
{
	struct ph_file f = ph_create("f", 6, SIZE, 1);
	struct ph_counters before;
	unsigned long again, done;
	bool *had = ph_alloc(PAGES * sizeof(*had));
	unsigned int i, round;
	double end;

	ph_verify_read(f.fd, f.id, 0, f.size, 1);
	ph_cmp(read_now(&f, reader, ph_page), ==, 0);
	for (round = 0; round < 4; round++) {
		ph_get_counters(&before);
		ph_make_gone(f.size, round & 1);
		again = read_now(&f, reader, round & 2 ? 64 << 10 : ph_page);
		ph_value("would have waited", again);
		lost_since(&before, PAGES);
		/* once it has been read, it is there */
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		ph_cmp(read_now(&f, reader, ph_page), ==, 0);
	}

	/*
	 * Nobody reads it but those who do not wait. They have readahead begin
	 * with it, as they do where nothing is cached.
	 */
	for (round = 0; round < 4; round++) {
		ph_make_gone(f.size, round & 1);
		memset(had, 0, PAGES * sizeof(*had));
		if (round & 2)
			ph_check(!posix_fadvise(f.fd, 0, f.size,
						POSIX_FADV_WILLNEED));
		end = ph_now() + 30;
		for (done = 0; done < PAGES;) {
			for (i = 0; i < PAGES; i++) {
				if (had[i] ||
				    now(&f, reader, ph_page, i * ph_page) <
				    ph_page)
					continue;
				had[i] = true;
				done++;
			}
			if (ph_now() > end)
				ph_fail("%lu pages of %lu, and no more", done,
					PAGES);
			ph_msleep(5);
		}
	}
	ph_remove(&f);
}

static void nowait_preadv2(void)
{
	nowait(read_preadv2);
}

static void nowait_aio(void)
{
	nowait(read_aio);
}

static void nowait_uring(void)
{
	nowait(read_uring);
}

/* What the host has left alone can be read at once */
static void nowait_kept(void)
{
	static const reader_t readers[] = { read_preadv2, read_aio, read_uring };
	struct ph_file f = ph_create("f", 7, SIZE, 1);
	struct ph_counters before;
	unsigned long again;
	int i;

	ph_need_idle_host();
	for (i = 0; i < (int)ARRAY_SIZE(readers); i++) {
		ph_verify_read(f.fd, f.id, 0, f.size, 1);
		ph_cmp(ph_idle(f.size), >=, PAGES * 95 / 100);
		ph_get_counters(&before);
		ph_cmp(read_now(&f, readers[i], ph_page), ==, 0);
		ph_cmp(ph_since(&before, PH_STABLE), >=, PAGES * 95 / 100);
		ph_cmp(ph_since(&before, PH_LOST), ==, 0);
		if (!ph_host_has_ctl())
			continue;
		ph_cmp(ph_idle(f.size), >=, PAGES * 95 / 100);
		ph_check(ph_host_ask(NULL, 0, "discard volatile count=%lu",
				     PAGES / 4));
		ph_get_counters(&before);
		again = read_now(&f, readers[i], 64 << 10);
		ph_value("would have waited", again);
		ph_cmp(ph_since(&before, PH_LOST), >=, 1);
	}
	ph_remove(&f);
}

/* A part of a block that is gone cannot be written without waiting, either */
static void nowait_writes(void)
{
	struct ph_file f = ph_create("f", 8, SIZE, 1);
	unsigned char *gens = new_gens(SIZE, 1);
	char *buf = ph_alloc(ph_page);
	struct iovec iov = { buf, 0 };
	unsigned int i, round;
	unsigned long again = 0;
	ssize_t n;
	off_t off;

	for (round = 0; round < 4; round++) {
		ph_make_gone(f.size, round & 1);
		iov.iov_len = round & 2 ? ph_page : 7 * PH_GRANULE;
		for (i = 0; i < PAGES; i += 2) {
			off = i * ph_page + (round & 2 ? 0 : 9 * PH_GRANULE);
			ph_fill(buf, f.id, off, iov.iov_len, round + 2);
			n = pwritev2(f.fd, &iov, 1, off, RWF_NOWAIT);
			if (n < 0 && errno == EOPNOTSUPP)
				ph_skip("this file system always waits");
			if (n < 0 && errno == EAGAIN) {
				again++;
				n = pwrite(f.fd, buf, iov.iov_len, off);
			}
			ph_cmp(n, ==, iov.iov_len);
			set_gens(gens, off, iov.iov_len, round + 2);
		}
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		ph_check(!fsync(f.fd));
	}
	ph_value("would have waited", again);
	verify_disk(&f, gens);
	ph_remove(&f);
}

/* --- data and holes ----------------------------------------------------- */

/* Larger than any block or cluster */
#define STRIPE		(128UL << 10)
#define STRIPES		16UL

/* Of these stripes of the file, each has data if its letter is not '.' */
static void verify_map(const struct ph_file *f, const char *expect)
{
	off_t pos = 0, data, hole;
	char found[STRIPES + 1];
	size_t i;

	memset(found, '.', STRIPES);
	found[STRIPES] = '\0';
	while (pos < (off_t)f->size) {
		data = lseek(f->fd, pos, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		ph_check(data >= pos);
		hole = lseek(f->fd, data, SEEK_HOLE);
		ph_check(hole > data && hole <= (off_t)f->size);
		for (i = data / STRIPE; i <= (hole - 1) / STRIPE; i++)
			found[i] = 'D';
		pos = hole;
	}
	for (i = 0; i < STRIPES; i++)
		if (expect[i] != '?' && found[i] != expect[i])
			ph_fail("data %s, found %s", expect, found);
}

/* As programs do that copy no holes */
static void copy_by_map(const struct ph_file *f, const char *to,
			const unsigned char *gens)
{
	off_t data, hole, off;
	struct ph_file copy = *f;
	char *buf = ph_alloc(STRIPE);
	ssize_t n;

	ph_name(copy.path, to);
	copy.fd = open(copy.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ph_check(copy.fd >= 0);
	ph_check(!ftruncate(copy.fd, f->size));
	for (hole = 0;;) {
		data = lseek(f->fd, hole, SEEK_DATA);
		if (data < 0)
			break;
		hole = lseek(f->fd, data, SEEK_HOLE);
		for (off = data; off < hole; off += n) {
			n = hole - off < (off_t)STRIPE ? hole - off : STRIPE;
			n = pread(f->fd, buf, n, off);
			ph_check(n > 0);
			ph_pwrite(copy.fd, buf, n, off);
		}
	}
	ph_check(errno == ENXIO);
	ph_verify_fd_gens(copy.fd, copy.id, copy.size, gens);
	ph_remove(&copy);
	munmap(buf, STRIPE);
}

static void seek_holes(void)
{
	static const char map[] = "D.D..DD...D.D...";
	struct ph_file f = { .id = 9, .size = STRIPES * STRIPE };
	unsigned char *gens = ph_alloc(f.size / PH_GRANULE);
	struct ph_counters before;
	size_t i;
	int where;

	ph_name(f.path, "f");
	f.fd = open(f.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ph_check(f.fd >= 0);
	ph_check(!ftruncate(f.fd, f.size));
	for (i = 0; i < STRIPES; i++) {
		if (map[i] != 'D')
			continue;
		ph_write_gen(f.fd, f.id, i * STRIPE, STRIPE, 1);
		set_gens(gens, i * STRIPE, STRIPE, 1);
	}
	ph_check(!fsync(f.fd));
	for (where = 0; where < PH_WHERES; where++) {
		/* holes are cached as any other part of the file */
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		ph_get_counters(&before);
		ph_make_gone(f.size, where);
		verify_map(&f, map);
		copy_by_map(&f, "copy", gens);
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		lost_since(&before, f.size / ph_page);
	}
	ph_remove(&f);
}

/*
 * Where blocks have been allocated, but not written, the page cache says what
 * is data. What is dirty there is data, whatever becomes of the rest.
 */
static void seek_unwritten(void)
{
	static const char dirty[] = "?D?DD???????DD?D";
	struct ph_file f = { .id = 10, .size = STRIPES * STRIPE };
	unsigned char *gens = ph_alloc(f.size / PH_GRANULE);
	size_t i, clean = 0;
	int round;

	ph_name(f.path, "f");
	f.fd = open(f.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ph_check(f.fd >= 0);
	if (fallocate(f.fd, 0, 0, f.size))
		ph_skip("blocks cannot be allocated in advance");
	ph_check(!fsync(f.fd));
	/* no large folios, which would be partly dirty */
	ph_check(!posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM));
	ph_write_file("/proc/sys/vm/dirty_writeback_centisecs", "0");
	for (round = 0; round < 4; round++) {
		/* all of it is in the cache, and zero where it is new */
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		for (i = clean = 0; i < STRIPES; i++) {
			if (dirty[i] == '?') {
				clean += STRIPE;
				continue;
			}
			ph_write_gen(f.fd, f.id, i * STRIPE, STRIPE, round + 1);
			set_gens(gens, i * STRIPE, STRIPE, round + 1);
		}
		ph_make_gone(clean, round & 1);
		verify_map(&f, dirty);
		copy_by_map(&f, "copy", gens);
		ph_verify_fd_gens(f.fd, f.id, f.size, gens);
		/* the second time, blocks that have been written before */
		ph_check(!fsync(f.fd));
		verify_map(&f, dirty);
	}
	ph_remove(&f);
}

/* --- copies within the kernel ------------------------------------------- */

/* To other offsets, not aligned to anything, of files that are gone both */
static void copy_range(void)
{
	static const struct { size_t from, to, len; } parts[] = {
		{ 0, 64, 4096 * 9 },
		{ 4096 * 40 + 64, 4096 * 30 + 1920, 4096 * 17 + 320 },
		{ 4096 * 100, 4096 * 60, 4096 * 16 },
		{ 4096 * 128 + 4032, 4096 * 200, 4096 * 32 + 64 },
	};
	struct ph_file from = ph_create("from", 11, SIZE, 1);
	struct ph_file to = ph_create("to", 12, SIZE, 1);
	char *buf = ph_alloc(SIZE);
	loff_t in, out;
	int i, where;
	ssize_t n;

	if (ph_page != 4096)
		ph_skip("made for pages of 4096 bytes");
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(2 * SIZE, where);
		for (i = 0; i < (int)ARRAY_SIZE(parts); i++) {
			size_t left = parts[i].len;

			in = parts[i].from;
			out = parts[i].to;
			for (; left; left -= n) {
				n = copy_file_range(from.fd, &in, to.fd, &out,
						    left, 0);
				ph_check(n > 0);
			}
		}
		ph_pread(to.fd, buf, SIZE, 0);
		ph_verify(buf, to.id, 0, parts[0].to, 1);
		for (i = 0; i < (int)ARRAY_SIZE(parts); i++) {
			size_t end = parts[i].to + parts[i].len;
			size_t next = i + 1 < (int)ARRAY_SIZE(parts) ?
				      parts[i + 1].to : SIZE;

			ph_verify(buf + parts[i].to, from.id, parts[i].from,
				  parts[i].len, 1);
			ph_verify(buf + end, to.id, end, next - end, 1);
		}
		ph_verify_read(from.fd, from.id, 0, SIZE, 1);

		/* within one file */
		ph_check(!fsync(to.fd));
		ph_drop_caches();
		ph_verify_read(from.fd, from.id, 0, SIZE, 1);
		ph_make_gone(SIZE, where);
		in = 0;
		out = SIZE / 2 + 64;
		for (; in < (off_t)SIZE / 4;) {
			n = copy_file_range(from.fd, &in, from.fd, &out,
					    SIZE / 4 - in, 0);
			ph_check(n > 0);
		}
		ph_pread(from.fd, buf, SIZE, 0);
		ph_verify(buf, from.id, 0, SIZE / 2 + 64, 1);
		ph_verify(buf + SIZE / 2 + 64, from.id, 0, SIZE / 4, 1);
		ph_verify(buf + SIZE * 3 / 4 + 64, from.id, SIZE * 3 / 4 + 64,
			  SIZE / 4 - 64, 1);

		ph_write_gen(from.fd, from.id, 0, SIZE, 1);
		ph_write_gen(to.fd, to.id, 0, SIZE, 1);
		ph_check(!fsync(from.fd) && !fsync(to.fd));
	}
	ph_remove(&from);
	ph_remove(&to);
}

/* Blocks become common to both, without a copy */
static void clone_range(void)
{
	struct ph_file from = ph_create("from", 13, SIZE, 1);
	struct ph_file to = ph_create("to", 14, SIZE, 1);
	struct file_clone_range arg = {
		.src_fd = from.fd,
		.src_offset = SIZE / 2,
		.src_length = SIZE / 4,
		.dest_offset = SIZE / 4,
	};
	char *buf = ph_alloc(SIZE);
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(2 * SIZE, where);
		if (ioctl(to.fd, FICLONERANGE, &arg))
			ph_skip("the file system cannot share blocks");
		ph_pread(to.fd, buf, SIZE, 0);
		ph_verify(buf, to.id, 0, SIZE / 4, 1);
		ph_verify(buf + SIZE / 4, from.id, SIZE / 2, SIZE / 4, 1);
		ph_verify(buf + SIZE / 2, to.id, SIZE / 2, SIZE / 2, 1);
		ph_verify_read(from.fd, from.id, 0, SIZE, 1);
		ph_write_gen(to.fd, to.id, SIZE / 4, SIZE / 4, 1);
		ph_check(!fsync(to.fd));
		ph_verify_read(to.fd, to.id, 0, SIZE, 1);
		ph_verify_read(from.fd, from.id, 0, SIZE, 1);
	}
	ph_remove(&from);
	ph_remove(&to);
}

/* Returns what the kernel says to each of @count files */
static void dedupe(const struct ph_file *f, const struct ph_file *to,
		   __s32 *status)
{
	struct {
		struct file_dedupe_range range;
		struct file_dedupe_range_info info[2];
	} arg = {
		.range.src_length = f->size,
		.range.dest_count = 2,
	};
	int i;

	for (i = 0; i < 2; i++)
		arg.info[i].dest_fd = to[i].fd;
	if (ioctl(f->fd, FIDEDUPERANGE, &arg) ||
	    arg.info[0].status == -EOPNOTSUPP)
		ph_skip("the file system cannot share blocks");
	for (i = 0; i < 2; i++) {
		status[i] = arg.info[i].status;
		if (status[i] == FILE_DEDUPE_RANGE_SAME)
			ph_cmp(arg.info[i].bytes_deduped, ==, f->size);
		else if (status[i] < 0)
			ph_fail("file %d: %s", i, strerror(-status[i]));
	}
}

/*
 * The kernel compares what is in the cache. Pages that are gone are all alike,
 * so who does not notice merges what is different.
 */
static void deduplication(void)
{
	struct ph_file f, to[2];
	unsigned char *gens = new_gens(SIZE, 1);
	__s32 status[2];
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		/* the same content takes the same number */
		f = ph_create("f", 15, SIZE, 1);
		to[0] = ph_create("same", 15, SIZE, 1);
		to[1] = ph_create("other", 15, SIZE, 1);
		set_gens(gens, SIZE - 2 * PH_GRANULE, PH_GRANULE, 2);
		ph_write_gen(to[1].fd, 15, SIZE - 2 * PH_GRANULE, PH_GRANULE, 2);
		ph_check(!fsync(to[1].fd));
		ph_make_gone(3 * SIZE, where);
		dedupe(&f, to, status);
		ph_cmp(status[0], ==, FILE_DEDUPE_RANGE_SAME);
		ph_cmp(status[1], ==, FILE_DEDUPE_RANGE_DIFFERS);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_verify_read(to[0].fd, f.id, 0, SIZE, 1);
		ph_verify_fd_gens(to[1].fd, f.id, SIZE, gens);
		/* and each of them can be written to again */
		ph_drop_caches();
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_verify_read(to[0].fd, f.id, 0, SIZE, 1);
		ph_verify_fd_gens(to[1].fd, f.id, SIZE, gens);
		ph_make_gone(3 * SIZE, where);
		ph_write_gen(to[0].fd, f.id, SIZE / 2 + PH_GRANULE, PH_GRANULE,
			     3);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_check(!fsync(to[0].fd));
		ph_verify_read(to[0].fd, f.id, SIZE / 2, PH_GRANULE, 1);
		ph_verify_read(to[0].fd, f.id, SIZE / 2 + PH_GRANULE,
			       PH_GRANULE, 3);
		ph_remove(&f);
		ph_remove(&to[0]);
		ph_remove(&to[1]);
	}
}

/* --- futexes ------------------------------------------------------------ */

static long futex(void *at, int op, __u32 value, unsigned long value2,
		  void *at2, __u32 value3)
{
	return syscall(SYS_futex, at, op, value, value2, at2, value3);
}

#define WAITERS		8U

static pid_t start_waiter(char *at, __u32 value)
{
	struct timespec ts = { .tv_sec = 60 };
	pid_t pid = ph_fork();
	double end = ph_now() + 30;

	if (!pid)
		_exit(futex(at, FUTEX_WAIT, value, (unsigned long)&ts, NULL, 0)
		      ? 1 : 0);
	/* it waits if it can be moved from there to there */
	while (futex(at, FUTEX_REQUEUE, 0, 1, at, 0) != 1) {
		ph_check(ph_now() < end);
		ph_msleep(5);
	}
	return pid;
}

/*
 * Who waits has no reference to the page: a futex in a file is known by its
 * inode and offset, so the page may go, and come back.
 */
static void futexes(void)
{
	struct ph_file f = ph_create("f", 16, SIZE, 1);
	char *map = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	size_t step = PAGES / WAITERS * ph_page;
	char expect[PH_GRANULE];
	pid_t pid[WAITERS];
	__u32 value;
	unsigned int i;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		for (i = 0; i < WAITERS; i++) {
			ph_fill(expect, f.id, i * step, PH_GRANULE, 1);
			memcpy(&value, expect, sizeof(value));
			pid[i] = start_waiter(map + i * step, value);
		}
		/* a futex is for somebody to write to, so its page is dirty */
		ph_check(!msync(map, SIZE, MS_SYNC));
		ph_touch(map, SIZE);
		ph_make_gone(SIZE, where);
		for (i = 0; i < WAITERS; i++) {
			char *at = map + i * step;

			ph_fill(expect, f.id, i * step, PH_GRANULE, 1);
			memcpy(&value, expect, sizeof(value));
			if (i & 1) {
				/* the kernel writes to the page, and compares */
				ph_cmp(futex(map + i * step + ph_page,
					     FUTEX_WAKE_OP, 1, 1, at,
					     FUTEX_OP(FUTEX_OP_XOR, 0x5a5,
						      FUTEX_OP_CMP_NE, 0)),
				       ==, 1);
				*(__u32 *)at ^= 0x5a5;
			} else {
				ph_cmp(futex(at, FUTEX_WAKE, 1, 0, NULL, 0),
				       ==, 1);
			}
			ph_wait(pid[i]);
		}
		ph_verify(map, f.id, 0, SIZE, 1);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_check(!msync(map, SIZE, MS_SYNC));
	}

	/* from one page that is gone to another */
	memcpy(&value, map, sizeof(value));
	pid[0] = start_waiter(map, value);
	ph_check(!msync(map, SIZE, MS_SYNC));
	ph_touch(map, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_cmp(futex(map, FUTEX_CMP_REQUEUE, 0, 1, map + SIZE / 2, value), ==,
	       1);
	ph_check(!msync(map, SIZE, MS_SYNC));
	ph_touch(map, SIZE);
	ph_make_gone(SIZE, PH_IN_PLACE);
	ph_cmp(futex(map, FUTEX_WAKE, 1, 0, NULL, 0), ==, 0);
	ph_cmp(futex(map + SIZE / 2, FUTEX_WAKE, 1, 0, NULL, 0), ==, 1);
	ph_wait(pid[0]);
	ph_verify(map, f.id, 0, SIZE, 1);
	munmap(map, SIZE);
	ph_remove(&f);
}

/* --- files of other kinds ----------------------------------------------- */

static void tmpfile_without_name(void)
{
	struct ph_file f = { .id = 17, .size = SIZE };
	unsigned char *gens = new_gens(SIZE, 1);
	char path[64], *map;
	unsigned int i;
	struct stat st;
	int where;

	ph_name(f.path, "linked");
	f.fd = open(ph_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (f.fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		ph_skip("no O_TMPFILE here");
	ph_check(f.fd >= 0);
	ph_write_gen(f.fd, f.id, 0, SIZE, 1);
	ph_check(!fsync(f.fd));
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(SIZE, where);
		ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
		ph_make_gone(SIZE, where);
		for (i = 0; i < PAGES; i += 3) {
			off_t off = i * ph_page + PH_GRANULE;

			ph_write_gen(f.fd, f.id, off, PH_GRANULE, where + 2);
			set_gens(gens, off, PH_GRANULE, where + 2);
		}
		map = ph_map(&f, PROT_READ, MAP_SHARED);
		ph_verify_gens(map, f.id, 0, SIZE, gens);
		munmap(map, SIZE);
		ph_check(!fsync(f.fd));
	}
	/* it gets a name while it is gone */
	ph_make_gone(SIZE, PH_IN_PLACE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f.fd);
	ph_check(!linkat(AT_FDCWD, path, AT_FDCWD, f.path, AT_SYMLINK_FOLLOW));
	ph_check(!fstat(f.fd, &st));
	ph_cmp(st.st_nlink, ==, 1);
	close(f.fd);
	f.fd = open(f.path, O_RDWR | O_CLOEXEC);
	ph_check(f.fd >= 0);
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	verify_disk(&f, gens);
	ph_remove(&f);
}

static void tiny_gone(size_t len, unsigned int round)
{
	if (round & 1) {
		ph_idle(len);
		ph_host_discard();
		ph_pass(1);
	} else {
		ph_make_gone(len, PH_IN_PLACE);
	}
}

/* So small that they may be kept where the inode is */
static void tiny_files(void)
{
	enum { FILES = 32 };
	struct ph_file f[FILES];
	unsigned int i, round;
	char name[16], *map;

	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		f[i] = ph_create(name, 200 + i, (1 + i % 2) * PH_GRANULE, 1);
	}
	for (round = 0; round < 6; round++) {
		/*
		 * Where a block is smaller than a page, one of which a part has
		 * been written is not uptodate before it has been read.
		 */
		if (!(round & 1))
			ph_drop_caches();
		for (i = 0; i < FILES; i++)
			ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
		tiny_gone(FILES * ph_page, round);
		for (i = 0; i < FILES; i++) {
			if (i % 3)
				ph_verify_read(f[i].fd, f[i].id, 0, f[i].size,
					       1);
			if (i % 3 == 1)
				continue;
			map = ph_map(&f[i], PROT_READ, MAP_SHARED);
			ph_verify(map, f[i].id, 0, f[i].size, 1);
			ph_verify_zero(map + f[i].size, ph_page - f[i].size);
			munmap(map, f[i].size);
		}
		/* they grow, and do not fit any more, or are cut */
		tiny_gone(FILES * ph_page, round);
		for (i = round % 2; i < FILES; i += 2) {
			if (round == 3) {
				f[i].size = PH_GRANULE;
				ph_check(!ftruncate(f[i].fd, f[i].size));
			} else {
				ph_write_gen(f[i].fd, f[i].id, f[i].size,
					     PH_GRANULE, 1);
				f[i].size += PH_GRANULE;
			}
		}
		sync();
	}
	ph_drop_caches();
	for (i = 0; i < FILES; i++) {
		ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
		ph_remove(&f[i]);
	}
}

/* --- mappings ----------------------------------------------------------- */

static void *move(void *old, size_t old_len, size_t len, int flags, void *to)
{
	void *map = mremap(old, old_len, len, flags, to);

	if (map == MAP_FAILED)
		ph_fail("mremap");
	return map;
}

static void moved_mappings(void)
{
	struct ph_file f = ph_create("f", 18, SIZE, 1);
	size_t half = SIZE / 2;
	char *shared, *private, *twin;
	int where;

	for (where = 0; where < PH_WHERES; where++) {
		shared = ph_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
		private = ph_map(&f, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		ph_touch(shared, SIZE);
		ph_touch(private, SIZE);
		ph_fill(private + half, f.id, half, half, 7);

		/* gone, then moved; a second one of the same pages */
		ph_make_gone(SIZE, where);
		shared = move(shared, SIZE, SIZE,
			      MREMAP_MAYMOVE | MREMAP_FIXED, ph_alloc(SIZE));
		private = move(private, SIZE, SIZE,
			       MREMAP_MAYMOVE | MREMAP_FIXED, ph_alloc(SIZE));
		twin = move(shared, 0, SIZE, MREMAP_MAYMOVE, NULL);
		ph_verify(twin, f.id, 0, SIZE, 1);
		ph_verify(shared, f.id, 0, SIZE, 1);
		ph_verify(private, f.id, 0, half, 1);
		ph_verify(private + half, f.id, half, half, 7);

		/* moved, then gone */
		munmap(twin, SIZE);
		twin = move(shared, SIZE, SIZE,
			    MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
			    ph_alloc(SIZE));
		ph_make_gone(SIZE, where);
		ph_verify(twin, f.id, 0, SIZE, 1);
		ph_verify(shared, f.id, 0, SIZE, 1);

		/* smaller, and as large as before */
		ph_make_gone(SIZE, where);
		twin = move(twin, SIZE, half, 0, NULL);
		twin = move(twin, half, SIZE, MREMAP_MAYMOVE, NULL);
		ph_verify(twin, f.id, 0, SIZE, 1);
		ph_verify(private, f.id, 0, half, 1);
		ph_verify(private + half, f.id, half, half, 7);

		/* written to by one, moved while it is dirty */
		ph_fill(twin, f.id, 0, half, 2);
		twin = move(twin, SIZE, SIZE,
			    MREMAP_MAYMOVE | MREMAP_FIXED, ph_alloc(SIZE));
		ph_check(!msync(twin, SIZE, MS_SYNC));
		ph_make_gone(SIZE, where);
		ph_verify(twin, f.id, 0, half, 2);
		ph_verify(shared, f.id, 0, half, 2);
		ph_verify(twin + half, f.id, half, half, 1);
		ph_fill(twin, f.id, 0, half, 1);
		ph_check(!msync(twin, SIZE, MS_SYNC));
		munmap(twin, SIZE);
		munmap(shared, SIZE);
		munmap(private, SIZE);
	}
	ph_remove(&f);
}

/* --- core dumps --------------------------------------------------------- */

/* What was at @addr according to the core; all of it must be there */
static void from_core(int core, const void *addr, void *buf, size_t len)
{
	unsigned long at = (unsigned long)addr;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	int i;

	ph_pread(core, &ehdr, sizeof(ehdr), 0);
	ph_check(!memcmp(ehdr.e_ident, ELFMAG, SELFMAG));
	ph_cmp(ehdr.e_type, ==, ET_CORE);
	for (i = 0; i < ehdr.e_phnum; i++) {
		ph_pread(core, &phdr, sizeof(phdr),
			 ehdr.e_phoff + i * sizeof(phdr));
		if (phdr.p_type != PT_LOAD || phdr.p_vaddr > at ||
		    phdr.p_vaddr + phdr.p_memsz < at + len)
			continue;
		ph_cmp(phdr.p_filesz, ==, phdr.p_memsz);
		ph_pread(core, buf, len, phdr.p_offset + at - phdr.p_vaddr);
		return;
	}
	ph_fail("the core does not have 0x%lx", at);
}

/* The kernel reads on behalf of a process that is dying */
static void core_dump(void)
{
	static const char pattern[] = "/proc/sys/kernel/core_pattern";
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct ph_file f = ph_create("f", 19, SIZE, 1);
	struct ph_file g = ph_create("g", 20, SIZE, 1);
	size_t half = SIZE / 2;
	char path[PH_PATH], *shared, *private, *unused;
	char *buf = ph_alloc(SIZE);
	int where, core, status;
	struct ph_counters before;
	pid_t pid;

	if (access(pattern, W_OK))
		ph_skip("no core dumps here");
	ph_name(path, "core");
	ph_cmp(strlen(path), <, 120);
	ph_check(ph_write_file(pattern, "%s", path));
	ph_check(ph_write_file("/proc/sys/kernel/core_uses_pid", "0"));
	for (where = 0; where < PH_WHERES; where++) {
		shared = ph_map(&f, PROT_READ, MAP_SHARED);
		private = ph_map(&g, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		/* a mapping that has not been used at all */
		unused = ph_map(&f, PROT_READ, MAP_PRIVATE);
		pid = ph_fork();
		if (!pid) {
			ph_check(!setrlimit(RLIMIT_CORE, &unlimited));
			ph_check(ph_write_file("/proc/self/coredump_filter",
					       "0xf"));
			signal(SIGABRT, SIG_DFL);
			ph_touch(shared, SIZE);
			ph_fill(private + half, g.id, half, half, 2);
			raise(SIGSTOP);
			abort();
		}
		ph_check(waitpid(pid, &status, WUNTRACED) == pid);
		ph_check(WIFSTOPPED(status));
		munmap(shared, SIZE);
		munmap(private, SIZE);
		munmap(unused, SIZE);
		ph_verify_read(f.fd, f.id, 0, SIZE, 1);
		ph_verify_read(g.fd, g.id, 0, SIZE, 1);
		ph_get_counters(&before);
		ph_make_gone(2 * SIZE, where);
		kill(pid, SIGCONT);
		ph_check(waitpid(pid, &status, 0) == pid);
		ph_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		ph_check(WCOREDUMP(status));
		lost_since(&before, 3 * PAGES / 2);

		core = open(path, O_RDONLY | O_CLOEXEC);
		ph_check(core >= 0);
		from_core(core, shared, buf, SIZE);
		ph_verify(buf, f.id, 0, SIZE, 1);
		from_core(core, unused, buf, SIZE);
		ph_verify(buf, f.id, 0, SIZE, 1);
		from_core(core, private, buf, SIZE);
		ph_verify(buf, g.id, 0, half, 1);
		ph_verify(buf + half, g.id, half, half, 2);
		close(core);
		unlink(path);
	}
	ph_remove(&f);
	ph_remove(&g);
}

/* --- file systems in files ---------------------------------------------- */

#define MOUNT	"/tmp/page_hinting_io"

/* Also what a test that has failed has left behind */
static const char *need_disk(void)
{
	const char *path = getenv("PAGE_HINTING_DISK");

	if (!path || !*path)
		ph_skip("needs a disk, PAGE_HINTING_DISK");
	while (!umount(MOUNT))
		;
	mkdir(MOUNT, 0700);
	return path;
}

/* The files of this test are there from now on */
static void mount_there(const char *device)
{
	if (mount(device, MOUNT, "ext4", MS_NOATIME, NULL) &&
	    mount(device, MOUNT, "xfs", MS_NOATIME, NULL))
		ph_fail("cannot mount %s", device);
	snprintf(ph_dir, sizeof(ph_dir), "%s", MOUNT);
}

/* A file with all that is on the disk */
static struct ph_file copy_disk(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *buf = ph_alloc(STRIPE), *zero = ph_alloc(STRIPE);
	struct ph_file image;
	off_t off;
	ssize_t n;

	image = ph_create("image", 0, 0, 1);
	ph_check(fd >= 0);
	for (off = 0; (n = pread(fd, buf, STRIPE, off)) > 0; off += n)
		if (memcmp(buf, zero, n))
			ph_pwrite(image.fd, buf, n, off);
	ph_check(!n);
	image.size = off;
	ph_check(!ftruncate(image.fd, image.size) && !fsync(image.fd));
	close(fd);
	return image;
}

/*
 * The file system in the file, and the file, are both cached. A page that is
 * gone from the one is read from the other by a thread of the loop device, and
 * is gone there, too.
 */
static void in_a_file(bool direct)
{
	struct ph_file image = copy_disk(need_disk()), f;
	struct ph_loop loop = ph_loop_new(image.fd, direct);
	unsigned char *gens = new_gens(SIZE, 1);
	size_t both = direct ? SIZE : 2 * SIZE;
	unsigned int i;
	int where;
	off_t off;

	/* the device writes as much as it can at once, to large folios */
	if (!ph_set("max_order", "8"))
		ph_fail("max_order 8 is refused");
	mount_there(loop.path);
	ph_drop_caches();
	ph_settle();
	f = ph_create("f", 21, SIZE, 1);
	for (where = 0; where < PH_WHERES; where++) {
		ph_make_gone(both, where);
		ph_verify_fd_gens(f.fd, f.id, SIZE, gens);

		/* only that below */
		if (!direct) {
			ph_drop_caches();
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
			ph_check(!posix_fadvise(f.fd, 0, 0,
						POSIX_FADV_DONTNEED));
			ph_cmp(ph_resident(&f), ==, 0);
			ph_make_gone(SIZE, where);
			ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
		}

		/* parts of blocks, which may be parts of pages below */
		ph_make_gone(SIZE, where);
		for (i = 0; i < PAGES; i++) {
			off = i * ph_page + (3 + i % 50) * PH_GRANULE;
			ph_write_gen(f.fd, f.id, off, PH_GRANULE, where + 2);
			set_gens(gens, off, PH_GRANULE, where + 2);
		}
		ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
		/* after this, all of it is in both caches again */
		verify_disk(&f, gens);
	}
	ph_remove(&f);
	ph_check(!umount(MOUNT));
	ph_loop_remove(&loop);
	ph_remove(&image);
}

static void loop_mount(void)
{
	in_a_file(false);
}

static void loop_mount_direct(void)
{
	in_a_file(true);
}

/* --- block devices ------------------------------------------------------ */

static int open_raw(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		ph_fail("cannot open %s", path);
	return fd;
}

static void cache_devices(void)
{
	if (!ph_set("block_devices", "1"))
		ph_fail("block_devices cannot be set");
}

/* Two who use the device: one by the cache, that is gone, one past it */
static void device_and_raw(void)
{
	struct ph_file f = ph_create("f", 22, SIZE, 1), dev = f;
	unsigned char *gens = new_gens(SIZE, 1);
	struct ph_loop loop = ph_loop_new(f.fd, true);
	size_t chunk = 16 * ph_page;
	char *buf = ph_alloc(chunk);
	int where, raw, gen = 1;
	off_t off;
	pid_t pid;

	cache_devices();
	ph_drop_caches();
	ph_settle();
	dev.fd = loop.fd;
	raw = open_raw(loop.path);
	for (where = 0; where < PH_WHERES; where++) {
		ph_verify_fd_gens(dev.fd, f.id, SIZE, gens);
		ph_make_gone(SIZE, where);
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_pread(raw, buf, chunk, off);
			ph_verify_gens(buf, f.id, off, chunk, gens);
		}
		ph_verify_fd_gens(dev.fd, f.id, SIZE, gens);

		/* written past the cache, of which it is not read any more */
		ph_make_gone(SIZE, where);
		gen++;
		for (off = 0; off < (off_t)SIZE; off += 2 * chunk) {
			ph_fill(buf, f.id, off, chunk, gen);
			ph_pwrite(raw, buf, chunk, off);
			set_gens(gens, off, chunk, gen);
		}
		ph_verify_fd_gens(dev.fd, f.id, SIZE, gens);

		/* parts of what is gone from the cache are written, and read */
		ph_make_gone(SIZE, where);
		gen++;
		for (off = 9 * PH_GRANULE; off < (off_t)SIZE; off += ph_page) {
			ph_write_gen(dev.fd, f.id, off, PH_GRANULE, gen);
			set_gens(gens, off, PH_GRANULE, gen);
		}
		ph_check(!fsync(dev.fd));
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_pread(raw, buf, chunk, off);
			ph_verify_gens(buf, f.id, off, chunk, gens);
		}
	}

	/* all at the same time, with the clock */
	pid = ph_fork();
	while (!pid)
		ph_verify_fd_gens(dev.fd, f.id, SIZE, gens);
	ph_drive_clock(true);
	for (where = 0; where < 4; where++) {
		ph_host_discard();
		for (off = 0; off < (off_t)SIZE; off += chunk) {
			ph_pread(raw, buf, chunk, off);
			ph_verify_gens(buf, f.id, off, chunk, gens);
		}
		ph_verify_fd_gens(dev.fd, f.id, SIZE, gens);
		ph_check(!waitpid(pid, NULL, WNOHANG));
	}
	ph_drive_clock(false);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(raw);
	ph_loop_remove(&loop);
	ph_drop_caches();
	ph_verify_fd_gens(f.fd, f.id, SIZE, gens);
	ph_remove(&f);
}

/* All that is cached of the device is gone before, and afterwards */
static void compare_device(int dev, int raw, enum ph_where where)
{
	char *buf = ph_alloc(STRIPE), *expect = ph_alloc(STRIPE);
	off_t off, len = 4L << 20;

	ph_check(ph_write_file("/proc/sys/vm/drop_caches", "3"));
	ph_settle();
	for (off = 0; off < len; off += STRIPE)
		ph_pread(dev, buf, STRIPE, off);
	ph_make_gone(len, where);
	for (off = 0; off < len; off += STRIPE) {
		ph_pread(raw, expect, STRIPE, off);
		ph_pread(dev, buf, STRIPE, off);
		if (memcmp(buf, expect, STRIPE))
			ph_fail("WRONG CONTENT of the device at 0x%llx",
				(unsigned long long)off);
	}
	ph_make_gone(len, where);
}

/*
 * The metadata of ext4 is in the cache of its device. Somebody looks at the
 * device through that and past it, while the file system holds still.
 */
static void device_below_mount(void)
{
	enum { FILES = 64 };
	const char *path = need_disk();
	int where, raw, dev, dir, i, status;
	struct ph_file f[FILES];
	char name[16];
	pid_t pid;

	mount_there(path);
	dir = open(MOUNT, O_RDONLY | O_CLOEXEC);
	raw = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	dev = open(path, O_RDONLY | O_CLOEXEC);
	ph_check(dir >= 0 && raw >= 0 && dev >= 0);
	cache_devices();
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		f[i] = ph_create(name, 300 + i, 2 * ph_page, 1);
		close(f[i].fd);
	}
	for (where = 0; where < PH_WHERES; where++) {
		/* whatever happens meanwhile, it will not remain frozen */
		ph_check(!ioctl(dir, FIFREEZE, 0));
		pid = ph_fork();
		if (!pid) {
			compare_device(dev, raw, where);
			_exit(0);
		}
		ph_check(waitpid(pid, &status, 0) == pid);
		ph_check(!ioctl(dir, FITHAW, 0));
		ph_cmp(status, ==, 0);
		/* the file system finds its own metadata gone, and no inode */
		for (i = 0; i < FILES; i++) {
			f[i].fd = open(f[i].path, O_RDWR | O_CLOEXEC);
			ph_check(f[i].fd >= 0);
			ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
			ph_write_gen(f[i].fd, f[i].id, f[i].size, ph_page, 1);
			f[i].size += ph_page;
			ph_check(!fsync(f[i].fd));
			close(f[i].fd);
		}
	}
	close(dir);
	ph_check(!umount(MOUNT));
	mount_there(path);
	for (i = 0; i < FILES; i++) {
		f[i].fd = open(f[i].path, O_RDONLY | O_CLOEXEC);
		ph_check(f[i].fd >= 0);
		ph_verify_read(f[i].fd, f[i].id, 0, f[i].size, 1);
		ph_remove(&f[i]);
	}
	close(raw);
	close(dev);
	ph_check(!umount(MOUNT));
}

static const struct ph_test tests[] = {
	PH_TEST(uring_reads),
	PH_TEST(uring_writes),
	PH_TEST(uring_into_mapping),
	PH_TEST(aio_reads),
	PH_TEST(nowait_preadv2),
	PH_TEST(nowait_aio),
	PH_TEST(nowait_uring),
	PH_TEST(nowait_kept),
	PH_TEST(nowait_writes),
	PH_TEST(seek_holes),
	PH_TEST(seek_unwritten),
	PH_TEST(copy_range),
	PH_TEST(clone_range),
	PH_TEST(deduplication),
	PH_TEST(futexes),
	PH_TEST(tmpfile_without_name),
	PH_TEST(tiny_files),
	PH_TEST(moved_mappings),
	PH_TEST(core_dump),
	PH_TEST(loop_mount),
	PH_TEST(loop_mount_direct),
	PH_TEST(device_and_raw),
	PH_TEST(device_below_mount),
};

int main(int argc, char **argv)
{
	return ph_main(argc, argv, tests, ARRAY_SIZE(tests));
}
