// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting with page states in memory that the hypervisor shares.
 *
 * There is one byte for each frame of 4K, but only that of the first frame of a
 * folio is used. It holds the state of the whole folio, and its order, in frames:
 *
 *	stable	  S	not to be touched by the hypervisor. The byte is 0
 *	volatile  V	may be taken
 *	taking	  T	the hypervisor is about to take it
 *	discarded D	has been taken
 *	lazy	  L	was handed to the host's kernel, which may drop any clean
 *			page of it at any time, and then shows zeros
 *
 *	S -> V	the guest, a release: what it has done with the folio is older
 *	V -> T	the hypervisor, a compare-and-swap
 *	T -> D	the hypervisor, a release: after the content is gone
 *	T -> L	the hypervisor, a release: after the host's kernel has the pages
 *	T -> V	the hypervisor, a release: has changed its mind
 *	L -> T	the hypervisor, a compare-and-swap, to see what has become of it
 *	V -> S	the guest, a compare-and-swap: the content is kept
 *	D -> S	the same: the content is lost
 *	L -> S	the same, and then each page is probed
 *
 * Why it holds: all is in one byte, so either V -> T or V -> S wins. Nothing but
 * the hypervisor leaves T, so it cannot discard what is stable again. It is
 * indispensable for L, too: pages handed over only after the probe would count as
 * clean once more. Nobody exits while nobody takes.
 *
 * One state for the folio will do, as it is stable whenever its order changes or
 * a frame changes its owner, and so are all bytes of its frames then.
 *
 * The probe: the host's kernel drops a page only if nothing has written to it
 * since it was handed over. It looks after it has made the page inaccessible. So a
 * write, of what is there already, either comes before and keeps the page, or
 * finds it gone and replaced by zeros. What was not zero must not be zero after
 * the write. A page of nothing but zeros cannot be told from one that is gone, and
 * counts as that.
 *
 * While the hypervisor takes a folio (T) the guest waits. On a busy host that may
 * be long, if the thread that takes has lost its CPU. So after a short while the
 * guest rings a doorbell, which returns when all is done with that was being
 * taken then. The folio may have been taken again since, so look once more. Whoever
 * cannot wait learns that the folio is busy.
 *
 * What the hypervisor does is trusted, as with all other memory. What it reads, it
 * has to check: this is the guest's memory.
 *
 * Frames without a region, as there is no memory for the array or the hypervisor
 * does not want it, are never told of, and their folios are always found kept. So
 * a region may come when folios are volatile already. It goes when none is: after
 * its memory has gone offline, or after all has been made stable.
 */

#define pr_fmt(fmt) "page_hinting: " fmt

#include <linux/cc_platform.h>
#include <linux/cleanup.h>
#include <linux/crash_dump.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kasan.h>
#include <linux/kprobes.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/page_hinting.h>
#include <linux/rcupdate.h>
#include <linux/sched/clock.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "internal.h"

/*
 * What is lazy is probed page by page with interrupts disabled, and each page may
 * have to be faulted in by the host. So where there is such, folios are smaller.
 */
#define LAZY_MAX_SIZE	SZ_128K

/* So many frames have one array: a section, as memory comes and goes by these. */
#ifdef CONFIG_SPARSEMEM
#define REGION_SHIFT	PFN_SECTION_SHIFT
#else
#define REGION_SHIFT	(27 - PAGE_SHIFT)
#endif

#define FRAMES_SHIFT	(PAGE_SHIFT - PAGE_HINT_FRAME_SHIFT)

/* How long to wait before the doorbell is rung, which takes longer than that. */
#define WAIT_NS		2000
/* The same, if the clock stands still. */
#define WAIT_LOOPS	1000

struct region {
	unsigned long pfn;
	unsigned long nr;
	u8 *states;
	struct region *next;	/* to be freed, too */
	bool leak;		/* but not the states */
};

struct region_table {
	struct rcu_head rcu;
	unsigned long nr;
	struct region __rcu *regions[] __counted_by(nr);
};

/*
 * Changed under the mutex. Looked up with preemption disabled, which is what RCU
 * waits for, and can be done everywhere.
 */
static struct region_table __rcu *region_table;
static struct page_hint_transport __rcu *transport;
static DEFINE_MUTEX(shared_mutex);

/* Those of the folio at @pfn, or NULL. Preemption is disabled. */
static __always_inline struct region *find_region(unsigned long pfn,
						  unsigned long nr)
{
	struct region_table *table = rcu_dereference_raw(region_table);
	unsigned long i = pfn >> REGION_SHIFT;
	struct region *region;

	if (unlikely(!table || i >= table->nr))
		return NULL;
	region = rcu_dereference_raw(table->regions[i]);
	if (unlikely(!region || pfn < region->pfn ||
		     pfn + nr > region->pfn + region->nr))
		return NULL;
	return region;
}

static __always_inline u8 *state_of(struct region *region, unsigned long pfn)
{
	return region->states + ((pfn - region->pfn) << FRAMES_SHIFT);
}

static __always_inline u8 *find_state(unsigned long pfn, unsigned long nr)
{
	struct region *region = find_region(pfn, nr);

	if (unlikely(!region))
		return NULL;
	return state_of(region, pfn);
}

static notrace void shared_set_volatile(unsigned long pfn, unsigned long nr)
{
	u8 order = ilog2(nr) + FRAMES_SHIFT;
	u8 *state;

	BUILD_BUG_ON(MAX_PAGECACHE_ORDER + FRAMES_SHIFT >
		     U8_MAX >> PAGE_HINT_STATE_ORDER_SHIFT);

	preempt_disable_notrace();
	state = find_state(pfn, nr);
	if (state) {
		/*
		 * Pairs with the hypervisor's compare-and-swap to T: it discards
		 * after all that was done with the content.
		 */
		smp_store_release(state, PAGE_HINT_STATE_VOLATILE |
					 order << PAGE_HINT_STATE_ORDER_SHIFT);
	}
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(shared_set_volatile);

/*
 * Write something of a frame without changing it. Nobody else writes to it, and
 * nobody reads it before the flags tell him that it is stable.
 */
static __always_inline bool probe_frame(atomic_long_t *word)
{
	atomic_long_t *end = word + BIT(PAGE_HINT_FRAME_SHIFT) / sizeof(*word);

	while (!atomic_long_read(word)) {
		if (++word == end)
			return false;
	}
	/*
	 * Atomic is what makes it a write in any case, and the value returned is
	 * the one that the write has met.
	 */
	return atomic_long_fetch_add(0, word);
}

/* The host may have smaller pages than we have, so each frame. */
static __always_inline bool probe_page(struct page *page)
{
	void *addr = page_address(page), *end = addr + PAGE_SIZE;

	/* To read it may be fatal. It is as good as gone. */
	if (unlikely(PageHWPoison(page)))
		return false;
	for (; addr < end; addr += BIT(PAGE_HINT_FRAME_SHIFT)) {
		if (!probe_frame(addr))
			return false;
	}
	return true;
}

static notrace bool probe_folio(unsigned long pfn, unsigned long nr)
{
	struct page *page = pfn_to_page(pfn), *end = page + nr;

	for (; page < end; page++) {
		if (!probe_page(page))
			return false;
	}
	return true;
}
NOKPROBE_SYMBOL(probe_folio);

static __always_inline int shared_make_stable(unsigned long pfn,
					      unsigned long nr, bool probe)
{
	u8 *state, old;
	int lost = 0;

	preempt_disable_notrace();
	state = find_state(pfn, nr);
	if (unlikely(!state))
		goto out;
	old = READ_ONCE(*state);
	/*
	 * Fully ordered: the content is not accessed before. Pairs with the
	 * hypervisor's release of D or L, after which it does not touch it.
	 */
	do {
		switch (old & PAGE_HINT_STATE_MASK) {
		case PAGE_HINT_STATE_STABLE:
			goto out;
		case PAGE_HINT_STATE_TAKING:
			lost = -EBUSY;
			goto out;
		}
	} while (!try_cmpxchg(state, &old, PAGE_HINT_STATE_STABLE));

	switch (old & PAGE_HINT_STATE_MASK) {
	case PAGE_HINT_STATE_VOLATILE:
		break;
	case PAGE_HINT_STATE_LAZY:
		lost = probe && !probe_folio(pfn, nr);
		break;
	default:
		/* There is no such state. */
		page_hint_failed();
		fallthrough;
	case PAGE_HINT_STATE_DISCARDED:
		lost = 1;
	}
out:
	preempt_enable_notrace();
	return lost;
}

static notrace int shared_set_stable(unsigned long pfn, unsigned long nr)
{
	return shared_make_stable(pfn, nr, true);
}
NOKPROBE_SYMBOL(shared_set_stable);

static notrace int shared_set_free(unsigned long pfn, unsigned long nr)
{
	int err = shared_make_stable(pfn, nr, false);

	return err < 0 ? err : 0;
}
NOKPROBE_SYMBOL(shared_set_free);

/*
 * Any frames: they may be in more than one region, and in none. Of a folio that
 * is not stable, the first one speaks for all.
 */
static notrace bool shared_is_discarded(unsigned long pfn, unsigned long nr)
{
	unsigned long end = pfn + nr, stop;
	struct region *region;
	bool discarded = false;
	u8 state;

	preempt_disable_notrace();
	while (pfn < end && !discarded) {
		region = find_region(pfn, 1);
		stop = region ? min(end, region->pfn + region->nr) : pfn + 1;
		do {
			state = region ? READ_ONCE(*state_of(region, pfn)) : 0;
			discarded = (state & PAGE_HINT_STATE_MASK) ==
				    PAGE_HINT_STATE_DISCARDED;
			pfn += max(BIT(state >> PAGE_HINT_STATE_ORDER_SHIFT) >>
				   FRAMES_SHIFT, 1UL);
		} while (pfn < stop && !discarded);
	}
	preempt_enable_notrace();
	return discarded;
}
NOKPROBE_SYMBOL(shared_is_discarded);

static notrace void shared_wait(unsigned long pfn)
{
	struct page_hint_transport *t;
	int loops = WAIT_LOOPS;
	u64 start;
	u8 *state;

	preempt_disable_notrace();
	state = find_state(pfn, 1);
	start = local_clock();
	while (state && (READ_ONCE(*state) & PAGE_HINT_STATE_MASK) ==
			PAGE_HINT_STATE_TAKING) {
		cpu_relax();
		if (--loops && local_clock() - start < WAIT_NS)
			continue;
		t = rcu_dereference_raw(transport);
		if (t)
			t->doorbell(t);
		break;
	}
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(shared_wait);

/*
 * Have the hypervisor forget a region. Return: the region, if nobody new can
 * find it any more, or NULL.
 */
static struct region *remove_region(struct region_table *table, unsigned long i,
				    bool keep)
{
	struct page_hint_transport *t =
		rcu_dereference_protected(transport,
					  lockdep_is_held(&shared_mutex));
	struct region *region =
		rcu_dereference_protected(table->regions[i],
					  lockdep_is_held(&shared_mutex));
	int err;

	if (!region)
		return NULL;
	err = t->remove(t, (u64)region->pfn << FRAMES_SHIFT,
			(u64)region->nr << FRAMES_SHIFT, region->states);
	if (keep)
		return NULL;
	region->leak = err;
	RCU_INIT_POINTER(table->regions[i], NULL);
	return region;
}

static void free_regions(struct region *regions)
{
	unsigned long leaks = 0;
	struct region *region;

	if (!regions)
		return;
	/* Nobody has a folio there that is volatile, but some may be looking. */
	synchronize_rcu();
	while (regions) {
		region = regions;
		regions = region->next;
		if (region->leak)
			leaks++;
		else
			free_pages_exact(region->states,
					 region->nr << FRAMES_SHIFT);
		kfree(region);
	}
	if (leaks)
		pr_warn("the host may still use the states of %lu regions, not freed\n",
			leaks);
}

/* Of what is memory in a section, the largest piece. Most often it is all. */
static int find_piece(unsigned long pfn, unsigned long nr, void *data)
{
	struct region *region = data;

	if (nr > region->nr) {
		region->pfn = pfn;
		region->nr = nr;
	}
	return 0;
}

/* What is to be told of it. Return: 1 if it is, 0 if there is nothing, or an error. */
static int add_region(struct region_table *table, unsigned long i)
{
	struct page_hint_transport *t =
		rcu_dereference_protected(transport,
					  lockdep_is_held(&shared_mutex));
	unsigned long pfn = i << REGION_SHIFT, size;
	struct region *region;
	int err = -ENOMEM;

	/* The host has it since the last time that hinting was switched on. */
	if (rcu_access_pointer(table->regions[i]))
		return 1;
	region = kzalloc_obj(*region);
	if (!region)
		return -ENOMEM;
	walk_system_ram_range(pfn, BIT(REGION_SHIFT), region, find_piece);
	if (!region->nr) {
		kfree(region);
		return 0;
	}
	size = region->nr << FRAMES_SHIFT;
	region->states = alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO |
						 __GFP_NORETRY | __GFP_NOWARN);
	if (!region->states)
		goto free;
	err = t->add(t, (u64)region->pfn << FRAMES_SHIFT, size, region->states);
	if (err)
		goto free_states;
	/* Pairs with the dependency in find_region(). */
	rcu_assign_pointer(table->regions[i], region);
	return 1;

free_states:
	/* If it has not been refused, the host may have it. */
	if (err == -EINVAL)
		free_pages_exact(region->states, size);
free:
	kfree(region);
	return err;
}

/* A table that reaches up to @nr regions. It is not published. */
static struct region_table *grow_table(struct region_table *old,
				       unsigned long nr)
{
	struct region_table *table = kvzalloc(struct_size(table, regions, nr),
					      GFP_KERNEL);
	struct region *region;
	unsigned long i;

	if (!table)
		return NULL;
	table->nr = nr;
	for (i = 0; old && i < old->nr; i++) {
		region = rcu_dereference_protected(old->regions[i],
						   lockdep_is_held(&shared_mutex));
		RCU_INIT_POINTER(table->regions[i], region);
	}
	return table;
}

/* Memory that is about to come online is not yet so. */
static bool region_is_online(unsigned long i)
{
#ifdef CONFIG_SPARSEMEM
	return online_section_nr(i);
#else
	return true;
#endif
}

/* Return: how many of them the host has got. */
static unsigned long add_regions(unsigned long pfn, unsigned long end,
				 bool online)
{
	unsigned long i, nr, known = 0;
	struct region_table *table, *old;
	int err = 0, ret;

	lockdep_assert_held(&shared_mutex);

	nr = DIV_ROUND_UP(end, BIT(REGION_SHIFT));
	old = rcu_dereference_protected(region_table,
					lockdep_is_held(&shared_mutex));
	table = old;
	if (!old || nr > old->nr) {
		table = grow_table(old, nr);
		if (!table) {
			pr_warn("no memory to tell the host about more of it\n");
			return 0;
		}
		/* Pairs with the dependency in find_region(). */
		rcu_assign_pointer(region_table, table);
		if (old)
			kvfree_rcu(old, rcu);
	}
	for (i = pfn >> REGION_SHIFT; i < nr; i++) {
		if (online && !region_is_online(i))
			continue;
		ret = add_region(table, i);
		if (ret >= 0)
			known += ret;
		else
			err = ret;
		/* A host that does not answer may have the array: it is lost. */
		if (ret < 0 && ret != -EINVAL && ret != -ENOMEM)
			break;
		cond_resched();
	}
	if (err)
		pr_warn("the host knows of %lu regions, and not of all (error %d)\n",
			known, err);
	return known;
}

static void remove_regions(unsigned long pfn, unsigned long end, bool keep)
{
	struct region_table *table =
		rcu_dereference_protected(region_table,
					  lockdep_is_held(&shared_mutex));
	struct region *region, *removed = NULL;
	unsigned long i;

	lockdep_assert_held(&shared_mutex);

	if (!table)
		return;
	/* There is no rounding up of ULONG_MAX. */
	end = min(((end - 1) >> REGION_SHIFT) + 1, table->nr);
	for (i = pfn >> REGION_SHIFT; i < end; i++) {
		region = remove_region(table, i, keep);
		if (region) {
			region->next = removed;
			removed = region;
		}
	}
	free_regions(removed);
}

/*
 * Memory comes or goes by whole regions. What is offline is stable. An array that
 * was allocated in the memory that it is about would keep that from going again.
 */
static int shared_memory(struct notifier_block *nb, unsigned long action,
			 void *data)
{
	const struct memory_notify *arg = data;
	unsigned long pfn = arg->start_pfn, end = pfn + arg->nr_pages;

	guard(mutex)(&shared_mutex);
	if (!rcu_access_pointer(transport) || !rcu_access_pointer(region_table))
		return NOTIFY_OK;
	if (action == MEM_GOING_ONLINE)
		add_regions(pfn, end, false);
	else if (action == MEM_CANCEL_ONLINE || action == MEM_OFFLINE)
		remove_regions(pfn, end, false);
	return NOTIFY_OK;
}

static int __init shared_init(void)
{
	hotplug_memory_notifier(shared_memory, DEFAULT_CALLBACK_PRI);
	return 0;
}
core_initcall(shared_init);

/* Nobody pays for it before that, neither memory nor requests. */
static int shared_enable(bool force)
{
	unsigned long known;

	get_online_mems();
	mutex_lock(&shared_mutex);
	known = add_regions(0, max_pfn, true);
	mutex_unlock(&shared_mutex);
	put_online_mems();
	return known ? 0 : -EOPNOTSUPP;
}

/* The orders depend on the transport. */
static struct page_hint_ops shared_ops = {
	.name		= "page states shared with the hypervisor",
	.set_volatile	= shared_set_volatile,
	.set_stable	= shared_set_stable,
	.set_free	= shared_set_free,
	.is_discarded	= shared_is_discarded,
	.wait		= shared_wait,
	.enable		= shared_enable,
};

/* Who comes and who goes, from beginning to end. Outside of everything. */
static DEFINE_MUTEX(register_mutex);

static void stop_sharing(bool keep)
{
	struct region_table *table;

	get_online_mems();
	mutex_lock(&shared_mutex);
	remove_regions(0, ULONG_MAX, keep);
	RCU_INIT_POINTER(transport, NULL);
	table = rcu_dereference_protected(region_table,
					  lockdep_is_held(&shared_mutex));
	if (!keep)
		RCU_INIT_POINTER(region_table, NULL);
	mutex_unlock(&shared_mutex);
	put_online_mems();

	/* The last one may be ringing the doorbell. */
	synchronize_rcu();
	if (!keep)
		kvfree(table);
}

/**
 * page_hint_shared_possible - would it be right to share page states?
 *
 * Not if the hypervisor has no way to the memory, or if what it discards is more
 * than the content. And not in a kernel that is there to save a dump.
 *
 * Context: Any.
 * Return: true if a transport may be registered.
 */
bool page_hint_shared_possible(void)
{
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT) || is_kdump_kernel())
		return false;
#ifdef CONFIG_ARM64_MTE
	/* The tags would be lost, too, and a folio keeps its flag for them. */
	if (system_supports_mte())
		return false;
#endif
	return !kasan_hw_tags_enabled();
}
EXPORT_SYMBOL_GPL(page_hint_shared_possible);

/**
 * page_hint_shared_register - share page states with the hypervisor from now on
 * @t: the way to tell it
 *
 * When hinting is switched on for page cache, now or later, calls @t->add() for
 * all memory, and then for memory that comes online.
 *
 * Context: Process context, may sleep. Nothing is held that @t->add() needs, nor
 * memory hotplug off.
 * Return: 0, -EOPNOTSUPP if it is not possible or of no use, -EBUSY if there is a
 * host already, or one was left behind by a restart, or another error.
 */
int page_hint_shared_register(struct page_hint_transport *t)
{
	int err;

	if (!page_hint_shared_possible())
		return -EOPNOTSUPP;
	if (t->granule < PAGE_HINT_FRAME_SHIFT)
		return -EINVAL;
	/* No folio is that large. */
	if (t->granule > PAGE_SHIFT + MAX_PAGECACHE_ORDER)
		return -EOPNOTSUPP;
	guard(mutex)(&register_mutex);
	/*
	 * If there is a table but no transport, a restart did not wait for all
	 * folios. What has been taken of them must still be known to be.
	 */
	if (rcu_access_pointer(transport) || rcu_access_pointer(region_table))
		return -EBUSY;
	shared_ops.min_order = max(t->granule, PAGE_SHIFT) - PAGE_SHIFT;
	shared_ops.max_order = t->lazy ? max(shared_ops.min_order,
					     get_order(LAZY_MAX_SIZE)) :
					 UINT_MAX;
	scoped_guard(mutex, &shared_mutex)
		rcu_assign_pointer(transport, t);
	err = page_hint_register(&shared_ops);
	if (err)
		stop_sharing(false);
	else
		pr_info("shared by way of %s\n", t->name);
	return err;
}
EXPORT_SYMBOL_GPL(page_hint_shared_register);

/**
 * page_hint_shared_unregister - do not share page states any longer
 * @t: what was registered, or has failed to be
 *
 * Makes all folios stable, and calls @t->remove() for all memory. If a restart is
 * under way that did not wait for that, it leaves the array behind, so that what
 * has been taken is still known to be.
 *
 * Context: As page_hint_shared_register().
 */
void page_hint_shared_unregister(struct page_hint_transport *t)
{
	bool settled;

	guard(mutex)(&register_mutex);
	if (rcu_access_pointer(transport) != t)
		return;
	settled = page_hint_unregister();
	stop_sharing(!settled);
}
EXPORT_SYMBOL_GPL(page_hint_shared_unregister);
