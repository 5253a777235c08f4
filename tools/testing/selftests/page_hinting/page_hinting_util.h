/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Common part of the page hinting tests: computed file contents, the clock,
 * the counters, the channel to the test host and a small test runner.
 */
#ifndef PAGE_HINTING_UTIL_H
#define PAGE_HINTING_UTIL_H

#include <linux/types.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "../kselftest.h"

/* Is an access to a page that is not young a fault, or noted by the hardware? */
#ifdef __s390__
#define PH_YOUNG_FAULTS	true
#else
#define PH_YOUNG_FAULTS	false
#endif

/* Contents are computed in units of this many bytes */
#define PH_GRANULE		64UL

#define PH_PATH			256

/* Bits of /proc/kpageflags */
#define PH_KPF_UPTODATE		3
#define PH_KPF_DIRTY		4
#define PH_KPF_BUDDY		10
#define PH_KPF_SWAPCACHE	13
#define PH_KPF_COMPOUND_HEAD	15
#define PH_KPF_COMPOUND_TAIL	16
#define PH_KPF_VOLATILE		27

/* Where in the page cache a test wants to find the content gone */
enum ph_where {
	PH_IN_PLACE,	/* volatile, and discarded if the host does that */
	PH_CLEANED,	/* as above, and visited by the clock since */
	PH_WHERES,
};

enum ph_counter {
	PH_VOLATILE,
	PH_BUSY,
	PH_STABLE,
	PH_LOST,
	PH_EVICTED,
	PH_FREED,
	PH_FAULT,
	PH_FAULT_STALE,
	PH_ARMED,
	PH_NR_VOLATILE,
	PH_OOM_KILL,
	PH_NR_COUNTERS,
};

struct ph_counters {
	unsigned long v[PH_NR_COUNTERS];
};

/* Of the block device of ph_dir */
struct ph_disk_stat {
	unsigned long reads;
	unsigned long sectors;
	unsigned long asked;	/* kB, of all disks, with those that fail */
};

struct ph_file {
	char path[PH_PATH];
	int fd;
	unsigned int id;
	size_t size;
};

/* A loop device, which goes with its last user */
struct ph_loop {
	char path[32];
	int fd;
};

struct ph_test {
	const char *name;
	void (*run)(void);
	unsigned int expect;
};

/* What a test does on purpose, and would fail for otherwise */
#define PH_EXPECT_FAULTS	1U	/* accesses to discarded frames */
#define PH_EXPECT_OOPS		2U

#define PH_TEST(fn) { #fn, fn }
#define PH_TEST_EXPECT(fn, expect) { #fn, fn, expect }

/* Of the machine, set up by ph_main() */
extern size_t ph_page;
extern int ph_cpus;
extern char ph_dir[PH_PATH];

/* Set by who can do without the hinting of page cache */
extern bool ph_free_only;

/* The runner */
int ph_main(int argc, char **argv, const struct ph_test *tests, int count);
__printf(1, 2) void ph_say(const char *fmt, ...);
void ph_value(const char *name, unsigned long value);
__printf(3, 4) __noreturn
void __ph_fail(const char *file, int line, const char *fmt, ...);
__printf(1, 2) __noreturn void ph_skip(const char *fmt, ...);
unsigned long ph_env(const char *name, unsigned long otherwise);
double ph_now(void);
void ph_msleep(unsigned int ms);
__u64 ph_random(__u64 *state);
pid_t ph_fork(void);
void ph_pin(int cpu);
void ph_wait(pid_t pid);

#define ph_fail(...) __ph_fail(__FILE__, __LINE__, __VA_ARGS__)

/* End the test as failed, unless @cond holds; errno is shown */
#define ph_check(cond)							\
	do {								\
		if (!(cond))						\
			ph_fail("%s", #cond);				\
	} while (0)

/* The same for a comparison, with the two values */
#define ph_cmp(a, op, b)						\
	do {								\
		unsigned long __a = (a), __b = (b);			\
									\
		if (!(__a op __b))					\
			ph_fail("%s %s %s: %lu, %lu", #a, #op, #b,	\
				__a, __b);				\
	} while (0)

/*
 * Computed contents; @off and @len are multiples of PH_GRANULE. @gens holds
 * the generation of each granule, from offset 0 of the file on; generation 0
 * is a hole.
 */
void ph_fill(void *buf, unsigned int id, off_t off, size_t len,
	     unsigned int gen);
void __ph_verify(const char *file, int line, const void *buf, unsigned int id,
		 off_t off, size_t len, unsigned int gen);
void __ph_verify_zero(const char *file, int line, const void *buf, size_t len);
void __ph_verify_read(const char *file, int line, int fd, unsigned int id,
		      off_t off, size_t len, unsigned int gen);
void __ph_verify_gens(const char *file, int line, const void *buf,
		      unsigned int id, off_t off, size_t len,
		      const unsigned char *gens);
void __ph_verify_fd_gens(const char *file, int line, int fd, unsigned int id,
			 size_t len, const unsigned char *gens);
bool ph_equal(const void *buf, unsigned int id, off_t off, size_t len,
	      unsigned int gen);

#define ph_verify(...) __ph_verify(__FILE__, __LINE__, __VA_ARGS__)
#define ph_verify_zero(...) __ph_verify_zero(__FILE__, __LINE__, __VA_ARGS__)
#define ph_verify_gens(...) __ph_verify_gens(__FILE__, __LINE__, __VA_ARGS__)
#define ph_verify_fd_gens(...) \
	__ph_verify_fd_gens(__FILE__, __LINE__, __VA_ARGS__)
#define ph_verify_read(...) __ph_verify_read(__FILE__, __LINE__, __VA_ARGS__)

/* Files, all below ph_dir */
void *ph_alloc(size_t len);
void ph_name(char *path, const char *name);
void ph_pread(int fd, void *buf, size_t len, off_t off);
void ph_pwrite(int fd, const void *buf, size_t len, off_t off);
void ph_write_gen(int fd, unsigned int id, off_t off, size_t len,
		  unsigned int gen);
struct ph_file ph_create(const char *name, unsigned int id, size_t size,
			 unsigned int gen);
void ph_remove(struct ph_file *f);
void *ph_map(const struct ph_file *f, int prot, int flags);
void ph_touch(const void *map, size_t len);
size_t ph_resident(const struct ph_file *f);
void ph_disk_stat(struct ph_disk_stat *ds);
void ph_disk_since(struct ph_disk_stat *ds);
struct ph_loop ph_loop_new(int fd, bool direct);
void ph_loop_remove(struct ph_loop *l);

/* The kernel's side */
#define PH_WORKERS	"/sys/devices/virtual/workqueue/cpumask"

__printf(2, 3) bool ph_write_file(const char *path, const char *fmt, ...);
void ph_read_file(const char *path, char *buf, size_t len);
unsigned long ph_read_number(const char *path);
bool ph_control(void);
__printf(2, 3) bool ph_set(const char *attr, const char *fmt, ...);
void ph_get(const char *attr, char *buf, size_t len);
void ph_set_readahead(unsigned int kilobytes);
void ph_get_counters(struct ph_counters *c);
unsigned long ph_since(const struct ph_counters *c, enum ph_counter which);
unsigned long ph_meminfo(const char *key);
void ph_fold_stats(void);
unsigned long ph_vmstat(const char *key);
unsigned long ph_minor_faults(void);
unsigned long ph_major_faults(void);
unsigned long ph_pfn(const void *addr);
void ph_pfns(const char *map, size_t len, unsigned long *pfn);
void ph_file_pfns(const struct ph_file *f, unsigned long *pfn);
__u64 ph_kpageflags(unsigned long pfn);
unsigned long ph_folio_pages(unsigned long pfn);
void ph_drop_caches(void);
void ph_drain(void);
void ph_pass(unsigned int n);
unsigned long ph_rounds(void);
void ph_settle(void);
unsigned long ph_idle(size_t len);
void __ph_make_gone(const char *file, int line, size_t len,
		    enum ph_where where);
#define ph_make_gone(...) __ph_make_gone(__FILE__, __LINE__, __VA_ARGS__)
void ph_drive_clock(bool on);

/* Control groups, below the root of a cgroup2 mount, and their memory */
extern bool ph_group_recursive;		/* mounted with memory_recursiveprot */
bool ph_group_mount(void);
void ph_need_cgroup2(void);
void ph_group_new(const char *group);
void ph_group_remove(const char *group);
void ph_group_set(const char *group, const char *file, unsigned long value);
unsigned long ph_group_get(const char *group, const char *file);
unsigned long ph_group_stat(const char *group, const char *file,
			    const char *key);

/* The host's side */
bool ph_host_is(const char *what);
bool ph_host_has_ctl(void);
__printf(3, 4) bool ph_host_ask(char *reply, size_t len, const char *fmt, ...);
bool ph_host_mode(const char *mode);
void ph_need_idle_host(void);
bool ph_host_takes_all(void);
bool ph_host_discards(void);
bool ph_host_discard(void);
bool ph_host_stat(const char *key, unsigned long *value);
bool ph_host_essa(unsigned long n[8]);
bool ph_host_usage(unsigned long pfn, const char *usage);
void ph_host_states(const unsigned long *pfn, unsigned long n, char *states);

#endif
