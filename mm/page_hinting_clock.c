// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: the clock that finds idle cache, and the controls.
 *
 * The clock goes round all page frames once per period. What it finds stable,
 * it arms; what it finds still armed one round later has not been taken by
 * anybody for a whole period, and becomes volatile; and what the host has
 * discarded meanwhile is dropped from the page cache, so that the guest's
 * notion of how much it has cached is true again after one period.
 *
 * It rotates nothing, isolates only what it evicts from the swap cache, and
 * uses neither PG_referenced nor the generations of the multi-gen LRU. But for
 * what is said about mapped folios below, reclaim picks the victims that it would
 * have picked without us.
 *
 * Nearly all frames are no candidates. One look at the flags tells, without a
 * reference, and free blocks are skipped as a whole. To arm a page takes one
 * compare-and-swap.
 *
 * Mapped folios cost much more: to find out whether they are used, and not to
 * be fooled next time, takes an rmap walk which clears the young bits, and on
 * s390 the next access to each takes a fault. So these are looked at only in
 * every mapped_every-th round, and the walk ends when it has found enough of
 * them young. What has been found is left to reclaim, and to idle page tracking,
 * by folio_set_young(). As with page_idle, the multi-gen LRU sees that only when
 * it evicts, so a hot mapped folio is kept, but not promoted, in a round that has
 * looked at it.
 */

#define pr_fmt(fmt) "page_hinting: " fmt

#include <linux/completion.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/page_idle.h>
#include <linux/reboot.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "internal.h"
#include "page_hinting.h"

/* What a frame must have and must not have in its flags to be a candidate. */
#define HINT_WANTED	BIT(PG_lru)
#define HINT_UNWANTED	(BIT(PG_locked) | BIT(PG_writeback) | BIT(PG_dirty) | \
			 BIT(PG_swapbacked) | BIT(PG_unevictable) |	     \
			 BIT(PG_checked))
/* Both, or neither. It is not PG_checked for what is backed by swap. */
#define HINT_SWAPCACHE	(BIT(PG_swapbacked) | BIT(PG_swapcache))

/* Young ptes that end the rmap walk: the folio is in use, and by many. */
#define HINT_YOUNG_ENOUGH	4

/* One round is made in this many steps, as far as HINT_STEP_MAX allows. */
#define HINT_STEPS		32
#define HINT_STEP_MAX		HZ
/* And in that many while there is nothing to do: a wake-up may cost a tick. */
#define HINT_STEPS_LAZY		4
/* But no longer than so many periods: others may fill the cache meanwhile. */
#define HINT_LAZY_PERIODS	4
/* Frames of a step at least, or what is lost by rounding adds up. */
#define HINT_STEP_MIN		64

/* Mappings to be remembered that are not eligible */
#define HINT_PASSED_OVER_BITS	8

#define HINT_PERIOD_MIN_MS	10
#define HINT_PERIOD_MAX_MS	(24 * 60 * 60 * 1000)
#define HINT_MAPPED_EVERY_MAX	1000

/* How long a restart waits for all to be stable */
#define HINT_REBOOT_WAIT	(2 * HZ)

/*
 * Protects all below. Folios are armed and made volatile only by its owner, so
 * who owns it has stopped the maker.
 */
static DEFINE_MUTEX(hint_mutex);

static enum page_hinting_mode hint_mode = PAGE_HINTING_UNUSED;
/* Set without the mutex, for its owner to be quick. Never cleared. */
static bool hint_rebooting;
/* Set in any context, and never cleared: the host is not to be trusted. */
static unsigned int hint_failed;
/* The boot parameter says to go on where data may be lost. */
static bool hint_force __ro_after_init;
static unsigned int hint_period_ms = 60 * 1000;
static unsigned int hint_mapped_every = 4;

static struct {
	unsigned long pfn;	/* the next frame to be visited */
	unsigned long rounds;	/* completed ones */
	unsigned long last;	/* jiffies up to which time has been used */
	unsigned long armed;	/* pages, not yet added to the vm events */
	unsigned long work;	/* folios changed in this round */
	bool lazy;		/* the last round has changed nothing */
	struct mem_cgroup *memcg; /* of which protection is, or NULL */
	unsigned long protection; /* pages */
	const void *passed_over[1 << HINT_PASSED_OVER_BITS];
} hint_clock;

static void hint_clock_step(struct work_struct *work);
static DECLARE_DELAYED_WORK(hint_clock_work, hint_clock_step);
/* Does not wake this CPU if it is idle, but waits until something else does. */
static DECLARE_DEFERRABLE_WORK(hint_clock_lazy_work, hint_clock_step);

struct hint_walk {
	unsigned int young;
	bool keep;
};

static bool hint_clear_young_one(struct folio *folio,
				 struct vm_area_struct *vma,
				 unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	struct hint_walk *walk = arg;

	/*
	 * The text of running programs may be needed to get the rest back, as
	 * that of a path daemon, so let be what has been used of it. The rest
	 * takes mlockall(). Locked memory is not volatile.
	 */
	if (vma->vm_flags & (VM_EXEC | VM_LOCKED)) {
		walk->keep = true;
		return false;
	}

	while (page_vma_mapped_walk(&pvmw)) {
		if (pvmw.pte) {
			if (ptep_clear_young_notify(vma, pvmw.address, pvmw.pte))
				walk->young++;
		} else if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)) {
			if (pmdp_clear_young_notify(vma, pvmw.address, pvmw.pmd))
				walk->young++;
		}
	}
	return walk->young < HINT_YOUNG_ENOUGH;
}

/* Return: true if @folio may be armed, or was found idle. */
static bool hint_test_clear_young(struct folio *folio, bool *young)
{
	struct hint_walk walk = {};
	struct rmap_walk_control rwc = {
		.arg = &walk,
		.rmap_one = hint_clear_young_one,
		.try_lock = true,
	};

	rmap_walk(folio, &rwc);
	if (walk.young) {
		/* What page_idle and reclaim would have found in the ptes. */
		folio_clear_idle(folio);
		folio_set_young(folio);
	}
	*young = walk.young;
	return !walk.keep && !rwc.contended;
}

static bool hint_mapped_turn(unsigned long pfn)
{
	return (pfn + hint_clock.rounds) % hint_mapped_every == 0;
}

/*
 * Does memory.min or memory.low of its cgroup, or of one above, keep @folio
 * stable? Reclaim leaves a cgroup alone that uses no more than its protection,
 * and puts less pressure on one which uses more, in proportion to the excess.
 * The host could take all that is volatile at once, so here the proportion is
 * one of frames, and always the same ones. As usage goes down with what the
 * host has taken, so does the share of frames that may become volatile.
 *
 * Reclaim overrides memory.low when nothing else is left. There is no telling
 * whether this is so for the host, hence not here.
 */
static bool hint_memcg_protected(struct folio *folio)
{
	struct mem_cgroup *memcg = folio_memcg(folio);
	u32 place;

	if (!memcg)
		return false;
	if (memcg != hint_clock.memcg) {
		hint_clock.protection = page_hint_protection(memcg);
		hint_clock.memcg = memcg;
	}
	if (likely(!hint_clock.protection))
		return false;
	place = hash_long(folio_pfn(folio), 32);
	return mul_u64_u32_shr(mem_cgroup_size(memcg), place, 32) <
	       hint_clock.protection;
}

/*
 * Where a folio was found whose mapping is not eligible, for the rest of the
 * round. To look at each of its folios would take a reference and the lock. The
 * address is compared and not used, so the mapping may be gone; if another one
 * has taken its place, that has to wait for the next round.
 */
static const void **hint_passed_over(const struct address_space *mapping)
{
	return &hint_clock.passed_over[hash_ptr(mapping, HINT_PASSED_OVER_BITS)];
}

static bool hint_pass_over(const struct page *page)
{
	const struct address_space *mapping = READ_ONCE(page->mapping);

	return mapping && *hint_passed_over(mapping) == mapping;
}

/* A folio that takes more than a look. Locked, with a reference of ours. */
static void hint_visit_folio(struct folio *folio)
{
	unsigned long state = folio_hint_state(folio);
	long nr = folio_nr_pages(folio);
	struct address_space *mapping;
	bool young = false;

	if (state == HINT_VOLATILE || folio_hint_lost(folio)) {
		if (page_hint_evict(folio, PAGE_HINT_EVICTED))
			hint_clock.work++;
		return;
	}
	if (!page_hint_eligible(folio)) {
		/* None if it is anonymous, as memory given up by MADV_FREE is. */
		mapping = folio_mapping(folio);
		if (mapping && !folio_test_swapbacked(folio) &&
		    !page_hint_mapping_eligible(mapping))
			*hint_passed_over(mapping) = mapping;
		return;
	}
	if (hint_memcg_protected(folio))
		return;
	if (folio_mapped(folio)) {
		if (!hint_mapped_turn(folio_pfn(folio) >> folio_order(folio)))
			return;
		if (!hint_test_clear_young(folio, &young))
			return;
	}
	if (state != HINT_ARMED) {
		set_mask_bits(&folio->flags, HINT_MASK, HINT_ARMED);
		hint_clock.armed += nr;
		hint_clock.work++;
	} else if (young || page_hint_folio(folio)) {
		hint_clock.work++;
	}
}

static unsigned long hint_visit_slow(struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned long nr = 1;

	if (!folio_try_get(folio))
		return nr;
	if (page_folio(page) == folio && &folio->page == page &&
	    folio_test_lru(folio)) {
		nr = folio_nr_pages(folio);
		if (folio_trylock(folio)) {
			hint_visit_folio(folio);
			folio_unlock(folio);
		}
	}
	folio_put(folio);
	return nr;
}

/*
 * Volatile pages come in crowds, and an idle guest has little else. Asking the
 * host for all of a run at once makes such a visit as cheap as any other.
 *
 * Return: the number of volatile pages from @page on, all of which are visited.
 */
static unsigned long hint_visit_volatile(struct page *page, unsigned long pfn,
					 unsigned long max)
{
	const unsigned long mask = HINT_WANTED | HINT_UNWANTED | HINT_MASK |
				   BIT(PG_head) | BIT(PG_uptodate);
	const unsigned long want = HINT_WANTED | HINT_VOLATILE |
				   BIT(PG_uptodate);
	unsigned long nr = 1, i;

	while (nr < max && (READ_ONCE(page[nr].flags) & mask) == want)
		nr++;
	if (page_hint_discarded(pfn, nr)) {
		for (i = 0; i < nr; i++) {
			if (page_hint_discarded(pfn + i, 1))
				hint_visit_slow(page + i);
		}
	}
	return nr;
}

/*
 * Visit @page, and as many after it, up to @max, as can be done in one go.
 *
 * Return: the number of frames that this visit has covered.
 */
static unsigned long hint_visit(struct page *page, unsigned long pfn,
				unsigned long max)
{
	unsigned long flags = READ_ONCE(page->flags);
	unsigned long type = flags & (HINT_WANTED | HINT_UNWANTED);
	unsigned int order;

	if (type == (HINT_WANTED | HINT_SWAPCACHE)) {
		if (flags & BIT(PG_head) || atomic_read(&page->_mapcount) >= 0)
			return 1;
	} else if (type != HINT_WANTED) {
		if (!PageBuddy(page))
			return 1;
		/* May have changed meanwhile: this is about speed only. */
		order = buddy_order_unsafe(page);
		return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
	}
	if (!(flags & BIT(PG_volatile)) && hint_pass_over(page))
		return clamp(compound_nr(page), 1UL, max);
	if (flags & BIT(PG_head))
		return hint_visit_slow(page);
	if (!(flags & BIT(PG_uptodate))) {
		if ((flags & HINT_MASK) == HINT_LOST)
			hint_visit_slow(page);
		return 1;
	}

	switch (flags & HINT_MASK) {
	case HINT_VOLATILE:
		return hint_visit_volatile(page, pfn, max);
	case HINT_ARMED:
		if (atomic_read(&page->_mapcount) < 0 || hint_mapped_turn(pfn))
			hint_visit_slow(page);
		break;
	default:
		if (atomic_read(&page->_mapcount) >= 0) {
			if (hint_mapped_turn(pfn))
				hint_visit_slow(page);
		} else if (try_cmpxchg(&page->flags, &flags,
				       (flags & ~HINT_MASK) | HINT_ARMED)) {
			hint_clock.armed++;
			hint_clock.work++;
		}
	}
	return 1;
}

/* Return: the number of frames that are dealt with, or are not there. */
static unsigned long hint_visit_block(unsigned long pfn, unsigned long nr)
{
	unsigned long end = min(pfn + nr, ALIGN(pfn + 1, pageblock_nr_pages));
	unsigned long start = pfn, covered;
	struct page *page;

	/* The memory map must not go away below us. */
	get_online_mems();
	page = pfn_to_online_page(start);
	if (!page)
		pfn = end;
	for (; pfn < end; pfn += covered, page += covered)
		covered = hint_visit(page, pfn, end - pfn);
	put_online_mems();
	return pfn - start;
}

/* Visit the next @nr frames. Return: 0, or -EINTR if somebody wants it to end. */
static int hint_advance(unsigned long nr)
{
	unsigned long done;

	lockdep_assert_held(&hint_mutex);

	hint_clock.memcg = NULL;
	/* What is still in a batch of this CPU is held by that batch. */
	lru_add_drain();
	while (nr) {
		done = hint_visit_block(hint_clock.pfn,
					min(nr, max_pfn - hint_clock.pfn));
		nr -= min(nr, done);
		hint_clock.pfn += done;
		if (hint_clock.pfn >= max_pfn) {
			hint_clock.pfn = 0;
			hint_clock.rounds++;
			hint_clock.lazy = !hint_clock.work;
			hint_clock.work = 0;
			memset(hint_clock.passed_over, 0,
			       sizeof(hint_clock.passed_over));
		}
		count_vm_events(PAGE_HINT_ARMED, hint_clock.armed);
		hint_clock.armed = 0;
		/* What it was may be another one by now. */
		hint_clock.memcg = NULL;
		cond_resched();
		if (fatal_signal_pending(current) || READ_ONCE(hint_rebooting) ||
		    READ_ONCE(hint_failed))
			return -EINTR;
	}
	return 0;
}

static void hint_clock_start(void)
{
	unsigned long delay;

	lockdep_assert_held(&hint_mutex);

	if (hint_mode != PAGE_HINTING_ON || !hint_period_ms)
		return;
	delay = msecs_to_jiffies(hint_period_ms);
	if (hint_clock.lazy && !hint_clock.work) {
		mod_delayed_work(system_unbound_wq, &hint_clock_lazy_work,
				 max(delay / HINT_STEPS_LAZY, 1UL));
		delay *= HINT_LAZY_PERIODS;
	} else {
		delay = clamp(delay / HINT_STEPS, 1UL, HINT_STEP_MAX);
	}
	mod_delayed_work(system_unbound_wq, &hint_clock_work, delay);
}

/* Things are not as they were when this round began. */
static void hint_clock_afresh(void)
{
	lockdep_assert_held(&hint_mutex);

	hint_clock.last = jiffies;
	hint_clock.lazy = false;
	/* What is left of this round says nothing about the next one. */
	hint_clock.work = 1;
	memset(hint_clock.passed_over, 0, sizeof(hint_clock.passed_over));
	hint_clock_start();
}

static void hint_clock_step(struct work_struct *work)
{
	unsigned long period, elapsed, longest, nr;

	mutex_lock(&hint_mutex);
	if (hint_mode == PAGE_HINTING_ON && hint_period_ms) {
		/*
		 * Time that was missed makes the round longer. To visit more
		 * frames for it would bring their next visit forward.
		 */
		period = max(msecs_to_jiffies(hint_period_ms), 1UL);
		longest = max(period / HINT_STEPS_LAZY, 1UL);
		elapsed = min(jiffies - hint_clock.last, longest);
		nr = mult_frac(max_pfn, elapsed, period);
		if (nr >= HINT_STEP_MIN) {
			hint_clock.last = jiffies;
			hint_advance(nr);
		}
		hint_clock_start();
	}
	mutex_unlock(&hint_mutex);
}

/*
 * Have a frame without the flag. Return: false if its folio cannot be
 * referenced. Then somebody has it frozen, and may give it back as it is.
 */
static bool hint_settle(struct page *page)
{
	unsigned long flags = READ_ONCE(page->flags);
	struct folio *folio;

	while (flags & BIT(PG_hinted)) {
		folio = page_folio(page);
		if ((flags & HINT_MASK) == HINT_ARMED) {
			try_cmpxchg(&page->flags, &flags, flags & ~HINT_MASK);
		} else if (folio_try_get(folio)) {
			if (page_folio(page) == folio)
				__folio_make_stable(folio);
			folio_put(folio);
		} else {
			return false;
		}
		flags = READ_ONCE(page->flags);
	}
	return true;
}

/* Settle the frames from @pfn to @end. Return: the first one that was not. */
static unsigned long hint_settle_block(unsigned long pfn, unsigned long end)
{
	struct page *page;

	get_online_mems();
	page = pfn_to_online_page(pfn);
	if (!page)
		pfn = end;
	while (pfn < end && hint_settle(page)) {
		pfn++;
		page++;
	}
	put_online_mems();
	return pfn;
}

/*
 * Nobody makes folios volatile any more. Make stable those that are.
 *
 * A folio is soon given back by whoever has it frozen, but for reclaim: it sits
 * on what it is about to free until other I/O is done, and that may be never.
 * Memory hotplug must not have to wait for that. A task gives up if it is killed,
 * and a restart must not depend on it, either, and waits for a second in all.
 *
 * Return: false if some may still be volatile.
 */
static bool hint_settle_all(void)
{
	unsigned int ticks = HZ;
	unsigned long pfn = 0;
	unsigned long end;

	lockdep_assert_held(&hint_mutex);

	while (pfn < max_pfn) {
		end = min(max_pfn, ALIGN(pfn + 1, pageblock_nr_pages));
		pfn = hint_settle_block(pfn, end);
		cond_resched();
		if (pfn == end)
			continue;
		if (READ_ONCE(hint_rebooting) ? !ticks-- :
						fatal_signal_pending(current))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/* In this order: nothing becomes unused that nobody would make stable again. */
static void hint_unused_enable(void)
{
	/* Zeros would be taken for corruption. */
	if (page_poisoning_enabled_static())
		return;
	static_branch_enable(&page_hinting_unused_used_key);
	static_branch_enable(&page_hinting_unused_key);
}

/*
 * To switch off takes two steps. If the takers were to stop looking first,
 * they would read what the host has discarded.
 */
static int hint_set_mode(enum page_hinting_mode mode)
{
	enum page_hinting_mode old = hint_mode;
	int err;

	lockdep_assert_held(&hint_mutex);

	if (mode == old)
		return 0;
	if (mode > old && READ_ONCE(hint_failed))
		return -EIO;
	if (mode == PAGE_HINTING_ON) {
		err = page_hinting_host->enable(hint_force);
		if (err)
			return err;
		static_branch_enable(&page_hinting_used_key);
		static_branch_enable(&page_hinting_key);
	}
	hint_mode = mode;
	if (old == PAGE_HINTING_ON) {
		/* Takers go on for as long as there may be a volatile folio. */
		if (hint_settle_all()) {
			static_branch_disable(&page_hinting_key);
		} else if (!READ_ONCE(hint_rebooting)) {
			hint_mode = old;
			return -EINTR;
		}
	}
	if (mode == PAGE_HINTING_OFF)
		static_branch_disable(&page_hinting_unused_key);
	else
		hint_unused_enable();

	hint_clock_afresh();
	return 0;
}

static DECLARE_COMPLETION(hint_reboot_done);

static void hint_reboot_work(struct work_struct *work)
{
	mutex_lock(&hint_mutex);
	if (hint_mode == PAGE_HINTING_ON)
		hint_set_mode(PAGE_HINTING_UNUSED);
	mutex_unlock(&hint_mutex);
	complete(&hint_reboot_done);
}

static DECLARE_WORK(hint_reboot_do, hint_reboot_work);

/*
 * What comes next, a new kernel or the loader of one, has no idea of volatile
 * frames. This must not hang, whatever the owner of the mutex, or memory hotplug,
 * is waiting for. page_hinting_leave() does what could not be done in time.
 */
static int hint_reboot(struct notifier_block *nb, unsigned long action,
		       void *data)
{
	WRITE_ONCE(hint_rebooting, true);
	queue_work(system_unbound_wq, &hint_reboot_do);
	wait_for_completion_timeout(&hint_reboot_done, HINT_REBOOT_WAIT);
	return NOTIFY_DONE;
}

static struct notifier_block hint_reboot_nb = {
	.notifier_call = hint_reboot,
};

/*
 * If it does not make a frame stable, even when asked again and again, there is
 * nothing left that could be done about that: the frame will be used, and the host
 * may take it at any time.
 */
static void hint_failed_work(struct work_struct *work)
{
	pr_err("the host has refused to change the state of a frame, and is not told anything any more\n");
	mutex_lock(&hint_mutex);
	hint_set_mode(PAGE_HINTING_OFF);
	mutex_unlock(&hint_mutex);
}

static DECLARE_WORK(hint_failed_do, hint_failed_work);

static void hint_failed_raise(struct irq_work *work)
{
	queue_work(system_unbound_wq, &hint_failed_do);
}

static DEFINE_IRQ_WORK(hint_failed_irq_work, hint_failed_raise);

/**
 * page_hinting_failed - the host has not done what it was asked for
 *
 * For backends. Hinting is switched off soon, and for good. The backend has to
 * report what it could not make stable as discarded.
 *
 * Context: Any.
 */
notrace void page_hinting_failed(void)
{
	if (!xchg(&hint_failed, 1))
		irq_work_queue(&hint_failed_irq_work);
}

static const char * const hint_mode_names[] = {
	[PAGE_HINTING_OFF]	= "off",
	[PAGE_HINTING_UNUSED]	= "unused",
	[PAGE_HINTING_ON]	= "on",
};

static ssize_t mode_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", hint_mode_names[READ_ONCE(hint_mode)]);
}

static ssize_t mode_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t count)
{
	int mode = sysfs_match_string(hint_mode_names, buf);
	int err;

	if (mode < 0)
		return mode;
	if (mutex_lock_killable(&hint_mutex))
		return -EINTR;
	err = hint_rebooting ? -EBUSY : hint_set_mode(mode);
	mutex_unlock(&hint_mutex);
	return err ?: count;
}

static struct kobj_attribute mode_attr = __ATTR_RW(mode);

/* Set a number, and have the clock go by it from now on. */
static int hint_store(const char *buf, unsigned int *number, bool or_zero,
		      unsigned int min, unsigned int max)
{
	unsigned int value;

	/* Out of the range of an integer is out of range, too. */
	if (kstrtouint(buf, 0, &value))
		return -EINVAL;
	if ((value < min || value > max) && !(or_zero && !value))
		return -EINVAL;
	if (mutex_lock_killable(&hint_mutex))
		return -EINTR;
	WRITE_ONCE(*number, value);
	hint_clock_afresh();
	mutex_unlock(&hint_mutex);
	return 0;
}

static ssize_t period_ms_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(hint_period_ms));
}

static ssize_t period_ms_store(struct kobject *kobj,
			       struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	int err = hint_store(buf, &hint_period_ms, true, HINT_PERIOD_MIN_MS,
			     HINT_PERIOD_MAX_MS);

	return err ?: count;
}

static struct kobj_attribute period_ms_attr = __ATTR_RW(period_ms);

static ssize_t pass_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(hint_clock.rounds));
}

static ssize_t pass_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t count)
{
	int err = -EOPNOTSUPP;

	if (!sysfs_streq(buf, "1"))
		return -EINVAL;
	/* Who asks for each frame means those in the other CPUs' batches, too. */
	lru_add_drain_all();
	if (mutex_lock_killable(&hint_mutex))
		return -EINTR;
	if (hint_mode == PAGE_HINTING_ON) {
		err = hint_advance(max_pfn);
		hint_clock.last = jiffies;
	}
	mutex_unlock(&hint_mutex);
	return err ?: count;
}

static struct kobj_attribute pass_attr = __ATTR_RW(pass);

static ssize_t mapped_every_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(hint_mapped_every));
}

static ssize_t mapped_every_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	int err = hint_store(buf, &hint_mapped_every, false, 1,
			     HINT_MAPPED_EVERY_MAX);

	return err ?: count;
}

static struct kobj_attribute mapped_every_attr = __ATTR_RW(mapped_every);

static ssize_t max_order_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(page_hinting_max_order));
}

static ssize_t max_order_store(struct kobject *kobj,
			       struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	int err = hint_store(buf, &page_hinting_max_order, false, 0,
			     MAX_PAGECACHE_ORDER);

	return err ?: count;
}

static struct kobj_attribute max_order_attr = __ATTR_RW(max_order);

static ssize_t block_devices_show(struct kobject *kobj,
				  struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(page_hinting_block_devices));
}

static ssize_t block_devices_store(struct kobject *kobj,
				   struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	int err = hint_store(buf, &page_hinting_block_devices, false, 0, 1);

	return err ?: count;
}

static struct kobj_attribute block_devices_attr = __ATTR_RW(block_devices);

static struct attribute *hint_attrs[] = {
	&mode_attr.attr,
	&period_ms_attr.attr,
	&pass_attr.attr,
	&mapped_every_attr.attr,
	&max_order_attr.attr,
	&block_devices_attr.attr,
	NULL,
};

static const struct attribute_group hint_attr_group = {
	.name = "page_hinting",
	.attrs = hint_attrs,
};

/* What page_hinting= asked for; without it, the default is chosen. */
static int hint_boot_mode __initdata = -1;

static int __init hint_setup(char *str)
{
	int mode = -1;

	if (!str)
		return -EINVAL;
	hint_force = !strcmp(str, "force");
	if (hint_force) {
		mode = PAGE_HINTING_ON;
	} else if (strcmp(str, "auto")) {
		mode = match_string(hint_mode_names,
				    ARRAY_SIZE(hint_mode_names), str);
		if (mode < 0) {
			pr_warn("page_hinting=%s is not one of off, unused, on, force, auto\n",
				str);
			return 0;
		}
	}
	hint_boot_mode = mode;
	hint_mode = mode == PAGE_HINTING_OFF ? PAGE_HINTING_OFF :
					       PAGE_HINTING_UNUSED;
	return 0;
}
early_param("page_hinting", hint_setup);

/**
 * page_hinting_register - a host with hinting has been found
 * @ops: what it has to offer
 *
 * Hints on free pages from now on, unless the boot parameter says no. What
 * else it asks for has to wait until the controls can appear in sysfs. There
 * can be one host.
 *
 * Context: Early during boot, before any memory is given to the page
 * allocator, or what is free already will not be unused until it has been used.
 * Return: 0, or -EBUSY if there is a host already.
 */
int __init page_hinting_register(const struct page_hinting_ops *ops)
{
	if (page_hinting_host)
		return -EBUSY;
	page_hinting_init_host(ops);
	if (hint_mode != PAGE_HINTING_OFF)
		hint_unused_enable();
	return 0;
}

static int __init hint_init(void)
{
	enum page_hinting_mode mode = hint_mode;
	int err;

	if (!page_hinting_host)
		return 0;
	err = sysfs_create_group(mm_kobj, &hint_attr_group);
	if (err)
		return err;
	register_reboot_notifier(&hint_reboot_nb);

	if (hint_boot_mode >= 0)
		mode = hint_boot_mode;
	mutex_lock(&hint_mutex);
	err = hint_set_mode(mode);
	pr_info("%s, mode %s (%s)\n", page_hinting_host->name,
		hint_mode_names[hint_mode],
		err ? "not able to do what the boot parameter asks for" :
		hint_boot_mode >= 0 ? "boot parameter" : "default");
	mutex_unlock(&hint_mutex);
	if (page_poisoning_enabled_static())
		pr_info("free pages are poisoned, and are not hinted\n");
	return 0;
}
subsys_initcall(hint_init);
