// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "page_hinting_util.h"

#define SYSFS	"/sys/kernel/mm/page_hinting/"
#define DEBUGFS	"/sys/kernel/debug/page_hinting/"
/* CONFIG_PAGE_HINTING_SIM */
#define SIM	"/sys/kernel/debug/page_hinting_sim/"

/* From linux/ext4.h, which is not installed everywhere yet */
#define EXT4_IOC_CHECKPOINT	_IOW('f', 43, __u32)

size_t ph_page;
int ph_cpus;
char ph_dir[PH_PATH];
bool ph_free_only;

/* The directory of ph_dir, if its file system has data in its journal, or -1 */
static int journal_fd = -1;

static const char *host_path;
static bool host_sim;
static char host_mode[32];
static char host_first_mode[32];
static int interrupted;

static const char * const counter_names[PH_NR_COUNTERS] = {
	[PH_VOLATILE]		= "page_hint_volatile",
	[PH_BUSY]		= "page_hint_busy",
	[PH_STABLE]		= "page_hint_stable",
	[PH_LOST]		= "page_hint_lost",
	[PH_EVICTED]		= "page_hint_evicted",
	[PH_FREED]		= "page_hint_freed",
	[PH_FAULT]		= "page_hint_fault",
	[PH_FAULT_STALE]	= "page_hint_fault_stale",
	[PH_ARMED]		= "page_hint_armed",
	[PH_NR_VOLATILE]	= "nr_volatile",
	[PH_OOM_KILL]		= "oom_kill",
};

/* Of the device with ph_dir, if there is one */
static char readahead_attr[PH_PATH];

/* Put back when the tests are over */
static struct {
	const char *attr;
	char value[128];
} saved[] = {
	{ .attr = SYSFS "period_ms" },
	{ .attr = DEBUGFS "mapped_every" },
	{ .attr = DEBUGFS "max_order" },
	{ .attr = DEBUGFS "block_devices" },
	{ .attr = SYSFS "mode" },
	{ .attr = readahead_attr },
	{ .attr = PH_WORKERS },
	{ .attr = "/proc/sys/vm/dirty_writeback_centisecs" },
	{ .attr = "/proc/sys/kernel/core_pattern" },
	{ .attr = "/proc/sys/kernel/core_uses_pid" },
};

/* --- messages ----------------------------------------------------------- */

void ph_say(const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s\n", text);
}

void ph_value(const char *name, unsigned long value)
{
	ksft_print_msg("%s: %lu\n", name, value);
}

void __ph_fail(const char *file, int line, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s:%d: %s (%s)\n", file, line, text,
		       strerror(saved_errno));
	fflush(stdout);
	_exit(KSFT_FAIL);
}

void ph_skip(const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("skipped: %s\n", text);
	fflush(stdout);
	_exit(KSFT_SKIP);
}

unsigned long ph_env(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

double ph_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void ph_msleep(unsigned int ms)
{
	struct timespec ts = {
		.tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000L,
	};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* Let the calling process run on this CPU only */
void ph_pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	ph_check(!sched_setaffinity(0, sizeof(one), &one));
}

/* xorshift64*; @state must not be 0 */
__u64 ph_random(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dULL >> 11;
}

pid_t ph_fork(void)
{
	pid_t pid = fork();

	ph_check(pid >= 0);
	return pid;
}

void ph_wait(pid_t pid)
{
	int status;

	ph_check(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		ph_fail("child ended with status 0x%x", status);
}

/* --- contents ----------------------------------------------------------- */

#define GRANULE_WORDS	(PH_GRANULE / sizeof(__u64))
#define HEAD_MASK	0x5a17c0de5eedf00dULL
#define STEP		0x9e3779b97f4a7c15ULL

/*
 * The first word of a granule says which one it is, so that a wrong one can
 * be named; the others follow from the first.
 */
static __u64 granule_head(unsigned int id, off_t off, unsigned int gen)
{
	__u64 index = off / PH_GRANULE;

	return (((__u64)(id & 0xffff) << 48) |
		((__u64)(gen & 0xffff) << 32) |
		(index & 0xffffffff)) ^ HEAD_MASK;
}

static __u64 granule_key(__u64 head)
{
	head ^= head >> 31;
	head *= 0xbf58476d1ce4e5b9ULL;
	return head ^ (head >> 29);
}

void ph_fill(void *buf, unsigned int id, off_t off, size_t len,
	     unsigned int gen)
{
	__u64 *word = buf;
	__u64 key;
	size_t pos;
	int i;

	for (pos = 0; pos < len; pos += PH_GRANULE) {
		word[0] = granule_head(id, off + pos, gen);
		key = granule_key(word[0]);
		for (i = 1; i < (int)GRANULE_WORDS; i++)
			word[i] = key += STEP;
		word += GRANULE_WORDS;
	}
}

static bool granule_ok(const __u64 *word, __u64 head)
{
	__u64 key = granule_key(head);
	int i;

	if (word[0] != head)
		return false;
	for (i = 1; i < (int)GRANULE_WORDS; i++) {
		key += STEP;
		if (word[i] != key)
			return false;
	}
	return true;
}

/* Offset of the first wrong granule, or @len */
static size_t first_wrong(const void *buf, unsigned int id, off_t off,
			  size_t len, unsigned int gen)
{
	const __u64 *word = buf;
	size_t pos;

	for (pos = 0; pos < len; pos += PH_GRANULE) {
		if (!granule_ok(word, granule_head(id, off + pos, gen)))
			break;
		word += GRANULE_WORDS;
	}
	return pos;
}

bool ph_equal(const void *buf, unsigned int id, off_t off, size_t len,
	      unsigned int gen)
{
	return first_wrong(buf, id, off, len, gen) == len;
}

/* What is there instead of what was expected? */
static void describe(char *text, size_t len, const __u64 *word)
{
	__u64 head = word[0] ^ HEAD_MASK;
	int i;

	for (i = 1; i < (int)GRANULE_WORDS; i++)
		if (word[i] != word[0])
			break;
	if (i == (int)GRANULE_WORDS)
		snprintf(text, len, "all 0x%016llx",
			 (unsigned long long)word[0]);
	else if (granule_ok(word, word[0]))
		snprintf(text, len, "file %u offset 0x%llx generation %u",
			 (unsigned int)(head >> 48),
			 (unsigned long long)(head & 0xffffffff) * PH_GRANULE,
			 (unsigned int)(head >> 32) & 0xffff);
	else
		snprintf(text, len, "0x%016llx 0x%016llx ...",
			 (unsigned long long)word[0],
			 (unsigned long long)word[1]);
}

void __ph_verify(const char *file, int line, const void *buf, unsigned int id,
		 off_t off, size_t len, unsigned int gen)
{
	size_t pos = first_wrong(buf, id, off, len, gen);
	char text[128];

	if (pos == len)
		return;
	describe(text, sizeof(text), (const void *)((const char *)buf + pos));
	errno = 0;
	__ph_fail(file, line,
		  "WRONG CONTENT: file %u offset 0x%llx generation %u: found %s",
		  id, (unsigned long long)off + pos, gen, text);
}

void __ph_verify_zero(const char *file, int line, const void *buf, size_t len)
{
	const unsigned char *byte = buf;
	size_t pos;

	for (pos = 0; pos < len; pos++) {
		if (!byte[pos])
			continue;
		errno = 0;
		__ph_fail(file, line,
			  "WRONG CONTENT: 0x%02x instead of 0 at 0x%zx of 0x%zx",
			  byte[pos], pos, len);
	}
}

void __ph_verify_gens(const char *file, int line, const void *buf,
		      unsigned int id, off_t off, size_t len,
		      const unsigned char *gens)
{
	const unsigned char *gen = gens + off / PH_GRANULE;
	size_t pos;

	for (pos = 0; pos < len; pos += PH_GRANULE, gen++) {
		const char *at = (const char *)buf + pos;

		if (*gen)
			__ph_verify(file, line, at, id, off + pos, PH_GRANULE,
				    *gen);
		else
			__ph_verify_zero(file, line, at, PH_GRANULE);
	}
}

/* --- files -------------------------------------------------------------- */

void *ph_alloc(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ph_fail("no memory for %zu bytes", len);
	return p;
}

void ph_name(char *path, const char *name)
{
	if (snprintf(path, PH_PATH, "%s/%s", ph_dir, name) >= PH_PATH)
		ph_fail("name too long: %s", name);
}

void ph_pread(int fd, void *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done,
				  off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			ph_fail("pread 0x%zx at 0x%llx: %zd", len,
				(unsigned long long)off, n);
		done += n;
	}
}

void ph_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done,
				   off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			ph_fail("pwrite 0x%zx at 0x%llx: %zd", len,
				(unsigned long long)off, n);
		done += n;
	}
}

#define CHUNK	(64UL << 10)

void ph_write_gen(int fd, unsigned int id, off_t off, size_t len,
		  unsigned int gen)
{
	void *buf = ph_alloc(CHUNK);
	size_t n;

	for (; len; off += n, len -= n) {
		n = len < CHUNK ? len : CHUNK;
		ph_fill(buf, id, off, n, gen);
		ph_pwrite(fd, buf, n, off);
	}
	munmap(buf, CHUNK);
}

void __ph_verify_read(const char *file, int line, int fd, unsigned int id,
		      off_t off, size_t len, unsigned int gen)
{
	void *buf = ph_alloc(CHUNK);
	size_t n;

	for (; len; off += n, len -= n) {
		n = len < CHUNK ? len : CHUNK;
		ph_pread(fd, buf, n, off);
		__ph_verify(file, line, buf, id, off, n, gen);
	}
	munmap(buf, CHUNK);
}

void __ph_verify_fd_gens(const char *file, int line, int fd, unsigned int id,
			 size_t len, const unsigned char *gens)
{
	void *buf = ph_alloc(CHUNK);
	off_t off;
	size_t n;

	for (off = 0; len; off += n, len -= n) {
		n = len < CHUNK ? len : CHUNK;
		ph_pread(fd, buf, n, off);
		__ph_verify_gens(file, line, buf, id, off, n, gens);
	}
	munmap(buf, CHUNK);
}

/* A clean file: written, on the disk, and not dirty any more */
struct ph_file ph_create(const char *name, unsigned int id, size_t size,
			 unsigned int gen)
{
	struct ph_file f = { .id = id, .size = size };

	ph_name(f.path, name);
	f.fd = open(f.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (f.fd < 0)
		ph_fail("cannot create %s", f.path);
	ph_write_gen(f.fd, id, 0, size, gen);
	ph_check(!fsync(f.fd));
	return f;
}

void ph_remove(struct ph_file *f)
{
	close(f->fd);
	f->fd = -1;
	unlink(f->path);
}

void *ph_map(const struct ph_file *f, int prot, int flags)
{
	void *map = mmap(NULL, f->size, prot, flags, f->fd, 0);

	if (map == MAP_FAILED)
		ph_fail("cannot map %s", f->path);
	return map;
}

void ph_touch(const void *map, size_t len)
{
	size_t pos;

	for (pos = 0; pos < len; pos += ph_page)
		(void)__atomic_load_n((const char *)map + pos,
				      __ATOMIC_RELAXED);
}

/* Pages of the file that are in the page cache, as mincore() sees it */
size_t ph_resident(const struct ph_file *f)
{
	size_t pages = f->size / ph_page, count = 0, i;
	unsigned char *vec = ph_alloc(pages);
	void *map = ph_map(f, PROT_READ, MAP_SHARED);

	ph_check(!mincore(map, f->size, vec));
	for (i = 0; i < pages; i++)
		count += vec[i] & 1;
	munmap(map, f->size);
	munmap(vec, pages);
	return count;
}

void ph_disk_stat(struct ph_disk_stat *ds)
{
	char path[PH_PATH], text[256];
	struct stat st;

	ph_check(!stat(ph_dir, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat",
		 major(st.st_dev), minor(st.st_dev));
	ph_read_file(path, text, sizeof(text));
	if (sscanf(text, "%lu %*u %lu", &ds->reads, &ds->sectors) != 2)
		ph_skip("no statistics of the block device");
	ds->asked = ph_vmstat("pgpgin");
}

/* From what ph_disk_stat() has put there to what has been done since */
void ph_disk_since(struct ph_disk_stat *ds)
{
	struct ph_disk_stat now;

	ph_disk_stat(&now);
	ds->reads = now.reads - ds->reads;
	ds->sectors = now.sectors - ds->sectors;
	ds->asked = now.asked - ds->asked;
}

/* @direct: nothing of the file is cached on behalf of the device */
struct ph_loop ph_loop_new(int fd, bool direct)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	struct ph_loop l;
	int ctl, nr;

	ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (ctl < 0)
		ph_skip("no loop devices here");
	nr = ioctl(ctl, LOOP_CTL_GET_FREE);
	close(ctl);
	ph_check(nr >= 0);
	snprintf(l.path, sizeof(l.path), "/dev/loop%d", nr);
	l.fd = open(l.path, O_RDWR | O_CLOEXEC);
	ph_check(l.fd >= 0);
	ph_check(!ioctl(l.fd, LOOP_SET_FD, fd));
	ph_check(!ioctl(l.fd, LOOP_SET_STATUS64, &info));
	if (direct && ioctl(l.fd, LOOP_SET_DIRECT_IO, 1))
		ph_skip("no loop device with direct I/O here");
	return l;
}

void ph_loop_remove(struct ph_loop *l)
{
	ph_check(!ioctl(l->fd, LOOP_CLR_FD, 0));
	close(l->fd);
}

/* --- kernel ------------------------------------------------------------- */

static bool write_string(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	err = errno;
	close(fd);
	errno = err;
	return n == (ssize_t)strlen(text);
}

bool ph_write_file(const char *path, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return write_string(path, text);
}

/* The first line of a file, empty if there is none */
void ph_read_file(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, buf, len - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

/* What there is of a control: in sysfs, or, for tests and tuning, in debugfs */
static void control_path(char *path, const char *attr)
{
	snprintf(path, PH_PATH, SYSFS "%s", attr);
	if (access(path, F_OK))
		snprintf(path, PH_PATH, DEBUGFS "%s", attr);
}

/* Is there more than the hinting of free pages? */
bool ph_control(void)
{
	return !access(SYSFS "mode", F_OK);
}

bool ph_set(const char *attr, const char *fmt, ...)
{
	char path[PH_PATH], text[128];
	va_list args;

	control_path(path, attr);
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return write_string(path, text);
}

void ph_get(const char *attr, char *buf, size_t len)
{
	char path[PH_PATH];

	control_path(path, attr);
	ph_read_file(path, buf, len);
}

/* What is read at once, and so how large folios get, differs between devices */
void ph_set_readahead(unsigned int kilobytes)
{
	ph_write_file(readahead_attr, "%u", kilobytes);
}

/* Gauges are summed up from per-CPU differences: fold these */
void ph_fold_stats(void)
{
	char dummy[16];

	ph_read_file("/proc/sys/vm/stat_refresh", dummy, sizeof(dummy));
}

void ph_get_counters(struct ph_counters *c)
{
	char line[128], name[64];
	unsigned long value;
	FILE *file;
	int i;

	ph_fold_stats();
	memset(c, 0, sizeof(*c));
	file = fopen("/proc/vmstat", "re");
	if (!file)
		ph_fail("no /proc/vmstat");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %lu", name, &value) != 2)
			continue;
		for (i = 0; i < PH_NR_COUNTERS; i++)
			if (!strcmp(name, counter_names[i]))
				c->v[i] = value;
	}
	fclose(file);
}

unsigned long ph_since(const struct ph_counters *c, enum ph_counter which)
{
	struct ph_counters now;

	ph_get_counters(&now);
	return now.v[which] - c->v[which];
}

/* In bytes */
unsigned long ph_meminfo(const char *key)
{
	size_t len = strlen(key);
	unsigned long kb = 0;
	char line[128];
	FILE *file;

	file = fopen("/proc/meminfo", "re");
	if (!file)
		ph_fail("no /proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, len) && line[len] == ':')
			sscanf(line + len + 1, "%lu", &kb);
	fclose(file);
	return kb << 10;
}

unsigned long ph_read_number(const char *path)
{
	char text[64];

	ph_read_file(path, text, sizeof(text));
	return strtoul(text, NULL, 0);
}

/* A line of /proc/vmstat: an event, or a gauge after ph_fold_stats() */
unsigned long ph_vmstat(const char *key)
{
	char line[128], name[64];
	unsigned long value, found = 0;
	FILE *file;

	file = fopen("/proc/vmstat", "re");
	if (!file)
		ph_fail("no /proc/vmstat");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %lu", name, &value) == 2 &&
		    !strcmp(name, key))
			found = value;
	fclose(file);
	return found;
}

/* Of the calling process */
unsigned long ph_minor_faults(void)
{
	struct rusage usage;

	ph_check(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

unsigned long ph_major_faults(void)
{
	struct rusage usage;

	ph_check(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_majflt;
}

/* The frame that is mapped there, or 0 */
unsigned long ph_pfn(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (fd < 0)
		ph_skip("no /proc/self/pagemap");
	if (pread(fd, &entry, sizeof(entry),
		  (unsigned long)addr / ph_page * sizeof(entry)) !=
	    sizeof(entry))
		ph_fail("cannot read /proc/self/pagemap");
	close(fd);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* The frames of what is mapped from @map on, all of which is read for that */
void ph_pfns(const char *map, size_t len, unsigned long *pfn)
{
	size_t i;

	ph_touch(map, len);
	for (i = 0; i < len / ph_page; i++) {
		pfn[i] = ph_pfn(map + i * ph_page);
		if (!pfn[i])
			ph_fail("page %zu is not mapped", i);
	}
}

/* The frames of a file, which is not mapped any more then */
void ph_file_pfns(const struct ph_file *f, unsigned long *pfn)
{
	char *map = ph_map(f, PROT_READ, MAP_SHARED);

	ph_pfns(map, f->size, pfn);
	munmap(map, f->size);
}

__u64 ph_kpageflags(unsigned long pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags;

	if (fd < 0)
		ph_skip("no /proc/kpageflags");
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) !=
	    sizeof(flags))
		ph_fail("cannot read /proc/kpageflags");
	close(fd);
	return flags;
}

/* How large is the folio that begins with this frame? 0: it does not begin here */
unsigned long ph_folio_pages(unsigned long pfn)
{
	__u64 flags = ph_kpageflags(pfn);
	unsigned long n = 1;

	if (flags >> PH_KPF_COMPOUND_TAIL & 1)
		return 0;
	if (flags >> PH_KPF_COMPOUND_HEAD & 1)
		while (ph_kpageflags(pfn + n) >> PH_KPF_COMPOUND_TAIL & 1)
			n++;
	return n;
}

void ph_drop_caches(void)
{
	sync();
	ph_check(ph_write_file("/proc/sys/vm/drop_caches", "1"));
}

/*
 * A folio that has just been read in is held by a per-CPU batch until that
 * fills up, and no folio with a foreign reference becomes volatile. Empty the
 * batches of all CPUs, so that the small files of the tests count in full.
 */
void ph_drain(void)
{
	cpu_set_t all, one;
	void *p;
	int cpu;

	p = ph_alloc(ph_page);
	memset(p, 1, ph_page);
	if (sched_getaffinity(0, sizeof(all), &all))
		CPU_ZERO(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (!sched_setaffinity(0, sizeof(one), &one))
			madvise(p, ph_page, MADV_COLD);
	}
	sched_setaffinity(0, sizeof(all), &all);
	munmap(p, ph_page);
}

void ph_pass(unsigned int n)
{
	while (n--)
		if (!ph_set("pass", "1"))
			ph_fail("cannot start a pass");
}

/* That the clock has completed, of its own and by ph_pass() */
unsigned long ph_rounds(void)
{
	char text[32];

	ph_get("pass", text, sizeof(text));
	return strtoul(text, NULL, 10);
}

/* Whatever is idle becomes volatile now, and is not counted later */
void ph_settle(void)
{
	ph_drain();
	if (ph_control())
		ph_pass(4);
}

/* Is ph_dir on an ext4 with data=journal? */
static void find_journal(void)
{
	char path[PH_PATH], text[PH_PATH], line[128], *name;
	struct stat st;
	FILE *file;
	ssize_t n;

	ph_check(!stat(ph_dir, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u",
		 major(st.st_dev), minor(st.st_dev));
	n = readlink(path, text, sizeof(text) - 1);
	if (n < 0)
		return;
	text[n] = '\0';
	name = strrchr(text, '/');
	snprintf(path, sizeof(path), "/proc/fs/ext4%s/options", name ?: "");
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		if (!strcmp(line, "data=journal\n"))
			journal_fd = open(ph_dir, O_RDONLY | O_CLOEXEC);
	fclose(file);
}

/* What has been written to the journal only is not idle, even after an fsync */
static void flush_journal(void)
{
	__u32 flags = 0;

	if (journal_fd < 0)
		return;
	ph_check(!ioctl(journal_fd, EXT4_IOC_CHECKPOINT, &flags));
	ph_check(!syncfs(journal_fd));
}

/*
 * Let @len bytes, all there is that can become volatile, become so. No more
 * passes than that takes: the next one evicts what the host took. Returns
 * the number of pages that became volatile.
 */
unsigned long ph_idle(size_t len)
{
	unsigned long goal = len / ph_page - len / ph_page / 20;
	unsigned long done = 0;
	struct ph_counters c;
	int i;

	flush_journal();
	ph_drain();
	ph_get_counters(&c);
	for (i = 0; i < 8 && done < goal; i++) {
		/* on a busy machine, I/O may be under way for a while */
		if (i >= 4)
			ph_msleep(100);
		ph_pass(1);
		done = ph_since(&c, PH_VOLATILE);
	}
	return done;
}

void __ph_make_gone(const char *file, int line, size_t len, enum ph_where where)
{
	unsigned long pages = len / ph_page, done = ph_idle(len);

	if (done < pages - pages / 20)
		__ph_fail(file, line, "%lu pages of %lu became volatile", done,
			  pages);
	ph_host_discard();
	if (where == PH_CLEANED)
		ph_pass(1);
}

/*
 * A process of its own drives the clock until it is told to stop, or until
 * the test ends: the runner kills the whole process group then.
 */
void ph_drive_clock(bool on)
{
	static pid_t driver;

	if (on) {
		driver = fork();
		if (driver < 0)
			ph_fail("cannot fork");
		while (!driver) {
			ph_pass(1);
			ph_msleep(1);
		}
	} else {
		kill(driver, SIGKILL);
		waitpid(driver, NULL, 0);
	}
}

/* --- cgroups ------------------------------------------------------------ */

static char group_root[PH_PATH];
bool ph_group_recursive;

/* A mount of our own, unless there is one */
bool ph_group_mount(void)
{
	char line[1024], dev[64], at[PH_PATH], type[64], options[512];
	FILE *file = fopen("/proc/self/mounts", "re");

	ph_check(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %255s %63s %511s", dev, at, type,
			   options) != 4 || strcmp(type, "cgroup2"))
			continue;
		snprintf(group_root, sizeof(group_root), "%s", at);
		ph_group_recursive = strstr(options, "memory_recursiveprot");
	}
	fclose(file);
	if (!group_root[0]) {
		snprintf(group_root, sizeof(group_root), "/sys/fs/cgroup");
		if (mount("cgroup2", group_root, "cgroup2", 0,
			  "memory_recursiveprot")) {
			group_root[0] = '\0';
			return false;
		}
		ph_group_recursive = true;
	}
	return true;
}

void ph_need_cgroup2(void)
{
	char path[2 * PH_PATH];

	if (!ph_group_mount())
		ph_skip("no cgroup2");
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", group_root);
	if (!ph_write_file(path, "+memory"))
		ph_skip("no memory controller");
}

static char *group_path(const char *group, const char *file)
{
	static char path[3 * PH_PATH];

	snprintf(path, sizeof(path), "%s/%s/%s", group_root, group, file);
	return path;
}

void ph_group_remove(const char *group)
{
	rmdir(group_path(group, ""));
}

/* Of a group within a group, the name has a slash and ends in "b" */
void ph_group_new(const char *group)
{
	char name[64], *slash;

	snprintf(name, sizeof(name), "%s", group);
	slash = strchr(name, '/');
	/* there may be one of a test that has failed */
	if (!slash) {
		strcat(name, "/b");
		ph_group_remove(name);
	} else {
		*slash = '\0';
		if (!ph_write_file(group_path(name, "cgroup.subtree_control"),
				   "+memory"))
			ph_fail("no memory controller within %s", name);
	}
	ph_group_remove(group);
	if (mkdir(group_path(group, ""), 0755))
		ph_fail("cannot create cgroup %s", group);
}

void ph_group_set(const char *group, const char *file, unsigned long value)
{
	if (!ph_write_file(group_path(group, file), "%lu", value))
		ph_fail("cannot write %s of cgroup %s", file, group);
}

unsigned long ph_group_get(const char *group, const char *file)
{
	return ph_read_number(group_path(group, file));
}

/* A line of memory.stat, memory.events */
unsigned long ph_group_stat(const char *group, const char *file,
			    const char *key)
{
	unsigned long value, found = 0;
	char line[128], name[64];
	FILE *f = fopen(group_path(group, file), "re");

	ph_check(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lu", name, &value) == 2 &&
		    !strcmp(name, key))
			found = value;
	fclose(f);
	return found;
}

/* --- host --------------------------------------------------------------- */

bool ph_host_has_ctl(void)
{
	return host_path;
}

bool ph_host_is(const char *what)
{
	return !strcmp(host_mode, what);
}

/* Is every volatile page discarded without being asked for? */
bool ph_host_takes_all(void)
{
	return ph_host_is("instant");
}

/* Does ph_host_discard() do it? */
bool ph_host_discards(void)
{
	return ph_host_takes_all() || ph_host_has_ctl() || host_sim;
}

/* The next line of the host, as much of it as fits. Return: its length */
static int host_line(struct pollfd *pfd, char *line, int size)
{
	int n = 0;

	for (;;) {
		if (poll(pfd, 1, 60000) <= 0 || read(pfd->fd, line + n, 1) != 1)
			ph_fail("no answer of the host");
		if (line[n] == '\n')
			break;
		if (line[n] != '\r' && n < size - 1)
			n++;
	}
	line[n] = '\0';
	return n;
}

/* One line there, one line back, without its "ok" */
bool ph_host_ask(char *reply, size_t len, const char *fmt, ...)
{
	struct pollfd pfd = { .events = POLLIN };
	double end = ph_now() + 60;
	static unsigned int asked;
	char line[4096], ours[32], *answer;
	va_list args;
	int size, tag, n;

	if (!host_path)
		return false;

	/* one at a time: busy while somebody else asks */
	do {
		pfd.fd = open(host_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (pfd.fd < 0)
			ph_msleep(10);
	} while (pfd.fd < 0 && errno == EBUSY && ph_now() < end);
	if (pfd.fd < 0)
		ph_fail("cannot open %s", host_path);

	/* a task that was killed has left its answer, or the end of it */
	tag = snprintf(line, sizeof(line), "#%d.%u ", getpid(), ++asked);
	memcpy(ours, line, tag);
	va_start(args, fmt);
	size = tag + vsnprintf(line + tag, sizeof(line) - tag - 1, fmt, args);
	va_end(args);
	line[size++] = '\n';
	if (write(pfd.fd, line, size) != size)
		ph_fail("cannot write to the host");

	do {
		n = host_line(&pfd, line, sizeof(line));
	} while (n < tag || memcmp(line, ours, tag));
	close(pfd.fd);
	answer = line + tag;
	if (strncmp(answer, "ok", 2)) {
		ph_say("the host says: %s", answer);
		return false;
	}
	if (reply)
		snprintf(reply, len, "%s", answer + 2 + (answer[2] == ' '));
	return true;
}

/* The names that a host which is simulated by the kernel has for its modes */
static const char *sim_mode(const char *mode)
{
	if (!strcmp(mode, "idle"))
		return "off";
	return strcmp(mode, "instant") ? mode : "sweep";
}

/* idle is not the host's name for it: a pager that has no reason to page */
bool ph_host_mode(const char *mode)
{
	bool idle = !strcmp(mode, "idle");

	if (host_sim) {
		if (!ph_write_file(SIM "mode", "%s", sim_mode(mode)))
			return false;
		snprintf(host_mode, sizeof(host_mode), "%s", mode);
		return true;
	}
	if (!ph_host_ask(NULL, 0, "set mode=%s%s", idle ? "pager" : mode,
			 idle ? " resident-limit=0" : ""))
		return false;
	snprintf(host_mode, sizeof(host_mode), "%s", mode);
	return true;
}

/* Returns whether everything volatile is gone for sure */
bool ph_host_discard(void)
{
	if (ph_host_has_ctl())
		return ph_host_ask(NULL, 0, "discard volatile");
	if (host_sim)
		return ph_write_file(SIM "discard", "1");
	/* leave it a moment */
	ph_msleep(10);
	return ph_host_takes_all();
}

/* The host shall take only what it is told to take, or the test makes no sense */
void ph_need_idle_host(void)
{
	if (ph_host_is("idle"))
		return;
	if (!ph_host_has_ctl() && !host_sim)
		ph_skip("needs a host that does not discard");
	ph_check(ph_host_mode("idle"));
}

/* What stands behind "key=" in a line of such, or NULL */
static const char *value_of(const char *line, const char *key)
{
	size_t len = strlen(key);

	while (line) {
		if (!strncmp(line, key, len) && line[len] == '=')
			return line + len + 1;
		line = strchr(line, ' ');
		if (line)
			line++;
	}
	return NULL;
}

bool ph_host_stat(const char *key, unsigned long *value)
{
	const char *text = NULL;
	char reply[4096];

	if (ph_host_ask(reply, sizeof(reply), "stats"))
		text = value_of(reply, key);
	if (text)
		*value = strtoul(text, NULL, 0);
	return text;
}

/* How often the guest has used each order code of ESSA */
bool ph_host_essa(unsigned long n[8])
{
	const char *text;
	char reply[4096];
	int i;

	if (!ph_host_ask(reply, sizeof(reply), "stats"))
		return false;
	for (i = 0; i < 8; i++) {
		char key[] = { 'n', '0' + i, '\0' };

		text = value_of(reply, key);
		if (!text)
			return false;
		n[i] = strtoul(text, NULL, 0);
	}
	return true;
}

/* Is this what the host has been told about a frame? */
bool ph_host_usage(unsigned long pfn, const char *usage)
{
	char reply[128], *text;

	if (!ph_host_ask(reply, sizeof(reply), "blocks 0x%lx 1", pfn * ph_page))
		ph_fail("the host does not tell about frame 0x%lx", pfn);
	text = strchr(reply, 'x');
	return text && !strncmp(text + 1, usage, strlen(usage)) &&
	       text[1 + strlen(usage)] == '/';
}

/*
 * What the host knows about each of these frames: the first letter of what it
 * has been told, a capital one if the content is gone.
 */
void ph_host_states(const unsigned long *pfn, unsigned long n, char *states)
{
	unsigned long i = 0, end, run;
	char reply[4096], *text;
	char usage, content;
	int used;

	while (i < n) {
		for (end = i + 1; end < n && end < i + 64; end++)
			if (pfn[end] != pfn[end - 1] + 1)
				break;
		if (!ph_host_ask(reply, sizeof(reply), "blocks 0x%lx %lu",
				 pfn[i] * ph_page, end - i))
			ph_fail("the host does not tell about frame 0x%lx",
				pfn[i]);
		for (text = reply; i < end; text += used, i += run) {
			if (sscanf(text, "%lux%c%*[^/]/%c%*s%n", &run, &usage,
				   &content, &used) != 3 || !run ||
			    run > end - i)
				ph_fail("no sense in what the host says: %s",
					reply);
			if (content == 'z')
				usage += 'A' - 'a';
			memset(states + i, usage, run);
		}
	}
}

static void host_open(void)
{
	const char *path = getenv("PAGE_HINTING_CTL");
	const char *mode = getenv("PAGE_HINTING_HOST");
	unsigned long limit = 0;
	char reply[4096];

	snprintf(host_mode, sizeof(host_mode), "%s", mode ? mode : "unknown");
	host_sim = (!path || !*path) && !access(SIM "mode", F_OK);
	if (host_sim) {
		ph_read_file(SIM "mode", reply, sizeof(reply));
		mode = !strcmp(reply, "off") ? "idle" :
		       !strcmp(reply, "sweep") ? "instant" : reply;
		snprintf(host_mode, sizeof(host_mode), "%.31s", mode);
		snprintf(host_first_mode, sizeof(host_first_mode), "%s", host_mode);
	}
	if (!path || !*path)
		return;
	host_path = path;
	if (ph_host_ask(reply, sizeof(reply), "stats")) {
		mode = value_of(reply, "mode");
		if (mode)
			sscanf(mode, "%31s", host_mode);
		ph_host_stat("resident_limit", &limit);
		if (ph_host_is("pager") && !limit)
			snprintf(host_mode, sizeof(host_mode), "idle");
	}
	snprintf(host_first_mode, sizeof(host_first_mode), "%s", host_mode);
}

/* --- runner ------------------------------------------------------------- */

static void interrupt(int sig)
{
	__atomic_store_n(&interrupted, sig, __ATOMIC_RELAXED);
}

static void clean_dir(void)
{
	char path[2 * PH_PATH];
	struct dirent *entry;
	DIR *dir;

	dir = opendir(ph_dir);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", ph_dir, entry->d_name);
		unlink(path);
	}
	closedir(dir);
}

static unsigned long kernel_taint(void)
{
	char text[32];

	ph_read_file("/proc/sys/kernel/tainted", text, sizeof(text));
	return strtoul(text, NULL, 0);
}

static void restore(void)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(saved); i++)
		if (saved[i].value[0])
			write_string(saved[i].attr, saved[i].value);
}

/* The clock is the tests' own, and mapped pages are as quick as the others */
static void defaults(void)
{
	restore();
	if (!ph_control())
		return;
	ph_set("period_ms", "0");
	ph_set("mapped_every", "1");
	ph_set("mode", "on");
}

static void prepare_control(void)
{
	char text[32];
	int i;

	if (access(DEBUGFS "pass", F_OK) &&
	    (mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL) ||
	     access(DEBUGFS "pass", F_OK)))
		ksft_exit_skip("needs debugfs\n");
	for (i = 0; i < (int)ARRAY_SIZE(saved); i++)
		ph_read_file(saved[i].attr, saved[i].value,
			     sizeof(saved[i].value));
	ph_get("mode", text, sizeof(text));
	if (!strcmp(text, "off"))
		ksft_exit_skip("page hinting is off, and not ours to switch on\n");
	if (!ph_set("mode", "on"))
		ksft_exit_skip("page hinting cannot be switched on: %s\n",
			       strerror(errno));
	ph_get("mode", text, sizeof(text));
	if (strcmp(text, "on"))
		ksft_exit_skip("page hinting stays %s\n", text);
}

/*
 * Hinting of free pages alone has no control, and nothing that could be read.
 * The kernel must have it, and the host be one that can be asked.
 */
static bool free_pages_are_hinted(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	bool found = false;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, " __page_hint_used_list\n");
	if (file)
		fclose(file);
	return found && ph_host_has_ctl();
}

static void prepare(void)
{
	const char *where = getenv("PAGE_HINTING_DIR");
	char full[PH_PATH - 32];
	struct statfs sfs;
	struct stat st;

	if (geteuid())
		ksft_exit_skip("must be root\n");
	if (!where || !*where)
		where = ".";
	if (!stat(where, &st))
		snprintf(readahead_attr, sizeof(readahead_attr),
			 "/sys/class/bdi/%u:%u/read_ahead_kb",
			 major(st.st_dev), minor(st.st_dev));
	host_open();
	if (ph_control())
		prepare_control();
	else if (!ph_free_only || !free_pages_are_hinted())
		ksft_exit_skip("this kernel has no page hinting\n");
	if (!realpath(where, full) || statfs(full, &sfs))
		ksft_exit_fail_msg("cannot use %s: %s\n", where,
				   strerror(errno));
	switch ((unsigned int)sfs.f_type) {
	case 0xef53:		/* ext2, ext4 */
	case 0x58465342:	/* xfs */
	case 0x9123683e:	/* btrfs */
		break;
	default:
		restore();
		ksft_exit_skip("%s: a file system without page hinting\n",
			       full);
	}
	snprintf(ph_dir, sizeof(ph_dir), "%s/page_hinting.XXXXXX", full);
	if (!mkdtemp(ph_dir))
		ksft_exit_fail_msg("cannot create %s: %s\n", ph_dir,
				   strerror(errno));
	find_journal();
}

static bool matches(const char *name, const char *pattern)
{
	size_t len = strlen(pattern);

	if (len && pattern[len - 1] == '*')
		return !strncmp(name, pattern, len - 1);
	return !strcmp(name, pattern);
}

static bool selected(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (matches(name, argv[i]))
			return true;
	return argc < 2;
}

/* Return: the first argument that is the name of no test, or NULL. */
static const char *unknown(const struct ph_test *tests, int count, int argc,
			   char **argv)
{
	int i, arg;

	for (arg = 1; arg < argc; arg++) {
		for (i = 0; i < count; i++)
			if (matches(tests[i].name, argv[arg]))
				break;
		if (i == count)
			return argv[arg];
	}
	return NULL;
}

/*
 * What has become volatile is so now, or has left that state in one of four
 * ways. What is being counted just now, on behalf of processes that are dying
 * for example, needs a moment to come right.
 */
static bool balanced(const char *name)
{
	static unsigned long known;
	double end = ph_now() + 3;
	struct ph_counters c;
	unsigned long off;

	for (;;) {
		ph_get_counters(&c);
		off = c.v[PH_VOLATILE] - c.v[PH_STABLE] - c.v[PH_LOST] -
		      c.v[PH_EVICTED] - c.v[PH_FREED] - c.v[PH_NR_VOLATILE];
		if (off == known)
			return true;
		if (ph_now() > end)
			break;
		ph_msleep(20);
	}
	ph_say("%s: made volatile: %lu, missing of these: %ld, before: %ld",
	       name, c.v[PH_VOLATILE], (long)off, (long)known);
	ph_say("stable %lu, lost %lu, evicted %lu, freed %lu, still volatile %lu",
	       c.v[PH_STABLE], c.v[PH_LOST], c.v[PH_EVICTED], c.v[PH_FREED],
	       c.v[PH_NR_VOLATILE]);
	/* do not blame the next test */
	known = off;
	return false;
}

static void run_child(const struct ph_test *test)
{
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	setpgid(0, 0);
	alarm(ph_env("PAGE_HINTING_TIMEOUT", 900));
	ph_settle();
	test->run();
	fflush(stdout);
	_exit(KSFT_PASS);
}

static int run(const struct ph_test *test)
{
	struct ph_counters before, after;
	unsigned long taint = kernel_taint();
	double start = ph_now();
	int status, result;
	pid_t pid;

	defaults();
	ph_get_counters(&before);
	ph_say("%s: starts", test->name);
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_msg("cannot fork: %s\n", strerror(errno));
	if (!pid)
		run_child(test);
	while (waitpid(pid, &status, 0) < 0)
		if (__atomic_load_n(&interrupted, __ATOMIC_RELAXED))
			kill(pid, SIGKILL);
	/* what it may have started itself */
	kill(-pid, SIGKILL);

	if (WIFEXITED(status)) {
		result = WEXITSTATUS(status);
	} else {
		ph_say("%s: killed by signal %d", test->name,
		       WTERMSIG(status));
		result = KSFT_FAIL;
	}
	clean_dir();
	if (ph_host_has_ctl() || host_sim)
		ph_host_mode(host_first_mode);

	ph_get_counters(&after);
	ph_say("%s: %.1f s, volatile %lu, stable %lu, lost %lu, evicted %lu, freed %lu, busy %lu",
	       test->name, ph_now() - start,
	       after.v[PH_VOLATILE] - before.v[PH_VOLATILE],
	       after.v[PH_STABLE] - before.v[PH_STABLE],
	       after.v[PH_LOST] - before.v[PH_LOST],
	       after.v[PH_EVICTED] - before.v[PH_EVICTED],
	       after.v[PH_FREED] - before.v[PH_FREED],
	       after.v[PH_BUSY] - before.v[PH_BUSY]);

	if (!balanced(test->name))
		result = KSFT_FAIL;

	/* Whoever wants a page asks first: nobody runs into a discarded one */
	if (!(test->expect & PH_EXPECT_FAULTS) &&
	    (after.v[PH_FAULT] != before.v[PH_FAULT] ||
	     after.v[PH_FAULT_STALE] != before.v[PH_FAULT_STALE])) {
		ph_say("%s: %lu faults on discarded pages, %lu stale ones",
		       test->name, after.v[PH_FAULT] - before.v[PH_FAULT],
		       after.v[PH_FAULT_STALE] - before.v[PH_FAULT_STALE]);
		result = KSFT_FAIL;
	}
	if (kernel_taint() != taint && !(test->expect & PH_EXPECT_OOPS)) {
		ph_say("%s: the kernel warned, taint %lx now, %lx before",
		       test->name, kernel_taint(), taint);
		result = KSFT_FAIL;
	}
	return result;
}

/* The host has seen no access to a page that it had taken */
static void host_violations(unsigned long n[2])
{
	n[0] = 0;
	n[1] = 0;
	ph_host_stat("cpu_violations", &n[0]);
	ph_host_stat("dma_violations", &n[1]);
}

int ph_main(int argc, char **argv, const struct ph_test *tests, int count)
{
	struct sigaction action = { .sa_handler = interrupt };
	unsigned long before[2], after[2];
	const char *wrong;
	int i, chosen = 0;

	ph_page = sysconf(_SC_PAGESIZE);
	ph_cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (argc > 1 && !strcmp(argv[1], "-l")) {
		for (i = 0; i < count; i++)
			printf("%s\n", tests[i].name);
		return 0;
	}
	wrong = unknown(tests, count, argc, argv);
	if (wrong) {
		fprintf(stderr, "no test: %s\nusage: %s [-l] [TEST|PREFIX*]...\n",
			wrong, argv[0]);
		return KSFT_FAIL;
	}
	for (i = 0; i < count; i++)
		chosen += selected(tests[i].name, argc, argv);

	ksft_print_header();
	prepare();
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);

	/* this program's own file does not count */
	mlockall(MCL_CURRENT);

	ksft_set_plan(chosen + ph_host_has_ctl());
	ph_say("host: %s, CPUs: %d, directory: %s", host_mode, ph_cpus, ph_dir);
	if (ph_host_has_ctl())
		host_violations(before);
	for (i = 0; i < count && !interrupted; i++)
		if (selected(tests[i].name, argc, argv))
			ksft_test_result_code(run(&tests[i]), tests[i].name,
					      NULL);
	if (ph_host_has_ctl()) {
		host_violations(after);
		ksft_test_result_code(before[0] == after[0] &&
				      before[1] == after[1] ?
				      KSFT_PASS : KSFT_FAIL,
				      "host_saw_no_violation", NULL);
	}
	restore();
	rmdir(ph_dir);
	ksft_finished();
}
