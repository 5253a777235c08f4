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
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/page_idle.h>
#include <linux/reboot.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#include "internal.h"
#include "page_alloc.h"
#include "page_hinting.h"
#include "page_hinting_free.h"

/* What a frame must have and must not have in its flags to be a candidate. */
#define PAGE_HINT_WANTED	BIT(PG_lru)
#define PAGE_HINT_UNWANTED	(BIT(PG_locked) | BIT(PG_writeback) | \
				 BIT(PG_dirty) | BIT(PG_swapbacked) |   \
				 BIT(PG_unevictable) | BIT(PG_checked))
/* Both, or neither. It is not PG_checked for what is backed by swap. */
#define PAGE_HINT_SWAPCACHE	(BIT(PG_swapbacked) | BIT(PG_swapcache))

/* Young ptes that end the rmap walk: the folio is in use, and by many. */
#define PAGE_HINT_YOUNG_ENOUGH	4

/* One round is made in this many steps, as far as PAGE_HINT_STEP_MAX allows. */
#define PAGE_HINT_STEPS		32
#define PAGE_HINT_STEP_MAX	HZ
/* And in that many while there is nothing to do: a wake-up may cost a tick. */
#define PAGE_HINT_STEPS_LAZY		4
/*
 * But so many periods after the last round, the rest of this one is made in any
 * case: while the CPU that waits for its next step sleeps, others may fill the
 * cache.
 */
#define PAGE_HINT_LAZY_PERIODS	4
/* Frames of a step at least, or what is lost by rounding adds up. */
#define PAGE_HINT_STEP_MIN		64

/* Mappings to be remembered that are not eligible */
#define PAGE_HINT_PASSED_OVER_BITS	8

#define PAGE_HINT_PERIOD_MIN_MS	10
#define PAGE_HINT_PERIOD_MAX_MS	(24 * 60 * 60 * 1000)
#define PAGE_HINT_MAPPED_EVERY_MAX	1000

/* How long a restart waits for all to be stable */
#define PAGE_HINT_REBOOT_WAIT	(2 * HZ)
/* And a suspend, as for a task that does not freeze */
#define PAGE_HINT_SLEEP_WAIT	(20 * HZ)

/*
 * Protects all below. Folios are armed and made volatile only by its owner, so
 * who owns it has stopped the maker.
 */
static DEFINE_MUTEX(page_hint_mutex);

static enum page_hint_mode page_hint_mode = PAGE_HINT_MODE_UNUSED;
/* What was asked for, if it is possible. */
enum page_hint_mode page_hint_wanted = PAGE_HINT_MODE_UNUSED;
/* There is a host now. */
static bool page_hint_present;
/* The machine is being suspended, or its image is being taken or restored. */
static bool page_hint_sleeping;
/* By then it has to be done, in jiffies. */
static unsigned long page_hint_sleep_by;
/* The host is not to be trusted, and hinting is not off yet. */
static bool page_hint_failing;
/* Set without the mutex, for its owner to be quick. Never cleared. */
static bool page_hint_rebooting;
/* Set in any context, and never cleared: the host is not to be trusted. */
static unsigned int page_hint_has_failed;
/* The boot parameter says to go on where data may be lost. */
static bool page_hint_force __ro_after_init;
static unsigned int page_hint_period_ms = 60 * 1000;
static unsigned int page_hint_mapped_every = 4;

static struct {
	unsigned long pfn;	/* the next frame to be visited */
	unsigned long rounds;	/* completed ones */
	unsigned long last;	/* jiffies up to which time has been used */
	unsigned long ended;	/* jiffies when the last round did */
	unsigned long armed;	/* pages, not yet added to the vm events */
	unsigned long work;	/* folios changed in this round */
	bool lazy;		/* the last round has changed nothing */
	struct mem_cgroup *memcg; /* of which protection is, or NULL */
	unsigned long protection; /* pages */
	unsigned long passed_over[1 << PAGE_HINT_PASSED_OVER_BITS];
} page_hint_clock;

static void page_hint_clock_step(struct work_struct *work);
static DECLARE_DELAYED_WORK(page_hint_clock_work, page_hint_clock_step);
/* Does not wake this CPU if it is idle, but waits until something else does. */
static DECLARE_DEFERRABLE_WORK(page_hint_clock_lazy_work, page_hint_clock_step);

struct page_hint_walk {
	unsigned int young;
	bool keep;
};

static bool page_hint_clear_young_one(struct folio *folio,
				      struct vm_area_struct *vma,
				      unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	struct page_hint_walk *walk = arg;

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
			if (test_and_clear_young_ptes_notify(vma, pvmw.address,
							     pvmw.pte, 1))
				walk->young++;
		} else if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)) {
			if (pmdp_test_and_clear_young_notify(vma, pvmw.address,
							     pvmw.pmd))
				walk->young++;
		}
	}
	return walk->young < PAGE_HINT_YOUNG_ENOUGH;
}

/* Return: true if @folio may be armed, or was found idle. */
static bool page_hint_test_clear_young(struct folio *folio, bool *young)
{
	struct page_hint_walk walk = {};
	struct rmap_walk_control rwc = {
		.arg = &walk,
		.rmap_one = page_hint_clear_young_one,
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

static bool page_hint_mapped_turn(unsigned long pfn)
{
	return (pfn + page_hint_clock.rounds) % page_hint_mapped_every == 0;
}

/*
 * Where a folio was found whose mapping is not eligible, or whose cgroup uses no
 * more than is protected, for the rest of the round. To look at each of their
 * folios would take a reference and the lock. The address is compared and not
 * used, so what was there may be gone; if something else has taken its place,
 * that has to wait for the next round.
 */
static unsigned long *page_hint_passed_over(unsigned long what)
{
	unsigned int i = hash_long(what, PAGE_HINT_PASSED_OVER_BITS);

	return &page_hint_clock.passed_over[i];
}

static void page_hint_set_passed_over(unsigned long what)
{
	*page_hint_passed_over(what) = what;
}

static bool page_hint_is_passed_over(unsigned long what)
{
	return what && *page_hint_passed_over(what) == what;
}

static bool page_hint_pass_over(const struct page *page, unsigned long flags)
{
	if (page_hint_is_passed_over((unsigned long)READ_ONCE(page->mapping)))
		return true;
	/* Of those that take no more than a look, nobody asks. */
	return (flags & (BIT(PG_head) | BIT(PG_hinted))) &&
	       page_hint_is_passed_over(page_hint_charged_to(page));
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
static bool page_hint_memcg_protected(struct folio *folio)
{
	struct mem_cgroup *memcg;
	unsigned long usage;
	u32 place;

	/* The cgroup may go, and leave the folio to its parent, lock or not. */
	guard(rcu)();
	memcg = folio_memcg(folio);
	if (!memcg)
		return false;
	if (memcg != page_hint_clock.memcg) {
		page_hint_clock.protection = page_hint_protection(memcg);
		page_hint_clock.memcg = memcg;
	}
	if (likely(!page_hint_clock.protection))
		return false;
	usage = page_hint_usage(memcg);
	if (usage <= page_hint_clock.protection) {
		page_hint_set_passed_over(page_hint_charged_to(&folio->page));
		return true;
	}
	place = hash_long(folio_pfn(folio), 32);
	return mul_u64_u32_shr(usage, place, 32) < page_hint_clock.protection;
}

static void page_hint_arm(struct folio *folio)
{
	set_mask_bits(&folio->flags.f, __PG_HINTING, __PG_ARMED);
	page_hint_clock.armed += folio_nr_pages(folio);
}

/*
 * A folio is lost as a whole, and one above max_order would be lost with the
 * first of many frames. Nobody has wanted it for a period, so it need not remain
 * in one piece: take it apart, which removes its mappings. The parts are as idle
 * as it was, and are armed: this one here, and the others as the clock gets to
 * them. Waits for no I/O, and for the lock of the mapping only if somebody gets in
 * between.
 */
static bool page_hint_split(struct folio *folio)
{
	unsigned int order = READ_ONCE(page_hint_max_order), flags;
	struct address_space *mapping = folio->mapping;
	int err;

	/* The mapping is one, as none of the swap cache is that large. */
	if (folio_order(folio) <= order)
		return false;
	order = max(order, mapping_min_folio_order(mapping));
	/* In one piece it is as good as it would be in pieces, to this host. */
	if (order < page_hint_min_order)
		return false;
	if (folio_order(folio) <= order ||
	    !filemap_release_folio(folio, GFP_NOWAIT) ||
	    !i_mmap_trylock_read(mapping))
		return false;
	i_mmap_unlock_read(mapping);
	flags = memalloc_noio_save();
	err = split_folio_to_order(folio, order);
	memalloc_noio_restore(flags);
	if (!err)
		page_hint_arm(folio);
	return !err;
}

/* A folio that takes more than a look. Locked, with a reference of ours. */
static void page_hint_visit_folio(struct folio *folio)
{
	unsigned long state = page_hint_state(folio);
	struct address_space *mapping;
	bool young = false;

	if (state == __PG_VOLATILE || __page_hint_lost(folio)) {
		if (page_hint_evict(folio, PAGE_HINT_EVICTED))
			page_hint_clock.work++;
		return;
	}
	if (folio_order(folio) < page_hint_min_order)
		return;
	if (!page_hint_eligible(folio)) {
		/* None if it is anonymous, as memory given up by MADV_FREE is. */
		mapping = folio_mapping(folio);
		if (mapping && !folio_test_swapbacked(folio) &&
		    !page_hint_mapping_eligible(mapping))
			page_hint_set_passed_over((unsigned long)mapping);
		return;
	}
	if (page_hint_memcg_protected(folio))
		return;
	if (folio_mapped(folio)) {
		if (!page_hint_mapped_turn(folio_pfn(folio) >>
					   folio_order(folio)))
			return;
		if (!page_hint_test_clear_young(folio, &young))
			return;
	}
	if (state != __PG_ARMED) {
		page_hint_arm(folio);
		page_hint_clock.work++;
	} else if (young || page_hint_folio(folio) || page_hint_split(folio)) {
		page_hint_clock.work++;
	}
}

static unsigned long page_hint_visit_slow(struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned long nr = 1;

	if (!folio_try_get(folio))
		return nr;
	if (page_folio(page) == folio && &folio->page == page &&
	    folio_test_lru(folio)) {
		nr = folio_nr_pages(folio);
		if (folio_trylock(folio)) {
			page_hint_visit_folio(folio);
			/* If it has been split, the other parts come next. */
			nr = folio_nr_pages(folio);
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
static unsigned long page_hint_visit_volatile(struct page *page,
					      unsigned long pfn,
					      unsigned long max)
{
	const unsigned long mask = PAGE_HINT_WANTED | PAGE_HINT_UNWANTED |
				   __PG_HINTING | BIT(PG_head) | BIT(PG_uptodate);
	const unsigned long want = PAGE_HINT_WANTED | __PG_VOLATILE |
				   BIT(PG_uptodate);
	unsigned long nr = 1, i;

	while (nr < max && (READ_ONCE(page[nr].flags.f) & mask) == want)
		nr++;
	if (page_hint_discarded(pfn, nr)) {
		for (i = 0; i < nr; i++) {
			if (page_hint_discarded(pfn + i, 1))
				page_hint_visit_slow(page + i);
		}
	}
	return nr;
}

/*
 * Visit @page, and as many after it, up to @max, as can be done in one go.
 *
 * Return: the number of frames that this visit has covered.
 */
static unsigned long page_hint_visit(struct page *page, unsigned long pfn,
				     unsigned long max)
{
	unsigned long flags = READ_ONCE(page->flags.f);
	unsigned long type = flags & (PAGE_HINT_WANTED | PAGE_HINT_UNWANTED);
	unsigned int order;

	if (type == (PAGE_HINT_WANTED | PAGE_HINT_SWAPCACHE)) {
		if (flags & BIT(PG_head) || atomic_read(&page->_mapcount) >= 0)
			return 1;
	} else if (type != PAGE_HINT_WANTED) {
		if (!PageBuddy(page))
			return 1;
		/* May have changed meanwhile: this is about speed only. */
		order = buddy_order_unsafe(page);
		return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
	}
	if (!(flags & BIT(PG_discard)) && page_hint_pass_over(page, flags))
		return clamp(compound_nr(page), 1UL, max);
	if (flags & BIT(PG_head))
		return page_hint_visit_slow(page);
	if (page_hint_min_order && !(flags & BIT(PG_discard)))
		return 1;
	if (!(flags & BIT(PG_uptodate))) {
		if ((flags & __PG_HINTING) == __PG_LOST)
			page_hint_visit_slow(page);
		return 1;
	}

	switch (flags & __PG_HINTING) {
	case __PG_VOLATILE:
		return page_hint_visit_volatile(page, pfn, max);
	case __PG_ARMED:
		if (atomic_read(&page->_mapcount) < 0 ||
		    page_hint_mapped_turn(pfn))
			page_hint_visit_slow(page);
		break;
	default:
		if (atomic_read(&page->_mapcount) >= 0) {
			if (page_hint_mapped_turn(pfn))
				page_hint_visit_slow(page);
		} else if (try_cmpxchg(&page->flags.f, &flags,
				       (flags & ~__PG_HINTING) | __PG_ARMED)) {
			page_hint_clock.armed++;
			page_hint_clock.work++;
		}
	}
	return 1;
}

/* Return: the number of frames that are dealt with, or are not there. */
static unsigned long page_hint_visit_block(unsigned long pfn, unsigned long nr)
{
	unsigned long end = min(pfn + nr, ALIGN(pfn + 1, PAGE_HINT_BLOCK));
	unsigned long start = pfn, covered;
	struct page *page;

	/* The memory map must not go away below us. */
	get_online_mems();
	page = pfn_to_online_page(start);
	if (!page)
		pfn = end;
	for (; pfn < end; pfn += covered, page += covered)
		covered = page_hint_visit(page, pfn, end - pfn);
	put_online_mems();
	return pfn - start;
}

/*
 * Whoever defers the flush of a TLB may keep stale entries for as long as it
 * likes, but disarms the folio: what is still armed at its next visit has lost
 * its mappings, if it had any, before it was armed. A flush between the two
 * visits is one that the folio needs, whether it comes to that later or not. If
 * nothing has been armed in this round, the last one has flushed for all.
 */
static void page_hint_flush_deferred(void)
{
	if (IS_ENABLED(CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH) &&
	    page_hint_clock.work)
		flush_tlb_all();
}

/* Visit the next @nr frames. Return: 0, or -EINTR if somebody wants it to end. */
static int page_hint_advance(unsigned long nr)
{
	unsigned long done;

	lockdep_assert_held(&page_hint_mutex);

	page_hint_clock.memcg = NULL;
	/* What is still in a batch of this CPU is held by that batch. */
	lru_add_drain();
	while (nr) {
		done = page_hint_visit_block(page_hint_clock.pfn,
					     min(nr, max_pfn -
						 page_hint_clock.pfn));
		nr -= min(nr, done);
		page_hint_clock.pfn += done;
		if (page_hint_clock.pfn >= max_pfn) {
			page_hint_clock.pfn = 0;
			page_hint_clock.rounds++;
			page_hint_clock.lazy = !page_hint_clock.work;
			page_hint_clock.ended = jiffies;
			page_hint_flush_deferred();
			page_hint_clock.work = 0;
			memset(page_hint_clock.passed_over, 0,
			       sizeof(page_hint_clock.passed_over));
		}
		count_vm_events(PAGE_HINT_ARMED, page_hint_clock.armed);
		page_hint_clock.armed = 0;
		/* What it was may be another one by now. */
		page_hint_clock.memcg = NULL;
		cond_resched();
		if (fatal_signal_pending(current) ||
		    READ_ONCE(page_hint_rebooting) ||
		    READ_ONCE(page_hint_has_failed))
			return -EINTR;
	}
	return 0;
}

static void page_hint_clock_start(void)
{
	unsigned long period, delay;

	lockdep_assert_held(&page_hint_mutex);

	if (page_hint_mode != PAGE_HINT_MODE_ON || !page_hint_period_ms)
		return;
	period = msecs_to_jiffies(page_hint_period_ms);
	if (page_hint_clock.lazy && !page_hint_clock.work) {
		delay = DIV_ROUND_UP(period, PAGE_HINT_STEPS_LAZY);
		mod_delayed_work(system_dfl_wq, &page_hint_clock_lazy_work,
				 delay);
		delay = max_t(long, delay, page_hint_clock.ended - jiffies +
					   period * PAGE_HINT_LAZY_PERIODS);
	} else {
		delay = clamp(period / PAGE_HINT_STEPS, 1UL, PAGE_HINT_STEP_MAX);
	}
	mod_delayed_work(system_dfl_wq, &page_hint_clock_work, delay);
}

/* Things are not as they were when this round began. */
static void page_hint_clock_afresh(void)
{
	lockdep_assert_held(&page_hint_mutex);

	page_hint_clock.last = jiffies;
	page_hint_clock.lazy = false;
	/* What is left of this round says nothing about the next one. */
	page_hint_clock.work = 1;
	memset(page_hint_clock.passed_over, 0,
	       sizeof(page_hint_clock.passed_over));
	page_hint_clock_start();
}

static void page_hint_clock_step(struct work_struct *work)
{
	unsigned long period, longest, elapsed, nr;

	mutex_lock(&page_hint_mutex);
	if (page_hint_mode == PAGE_HINT_MODE_ON && page_hint_period_ms) {
		/*
		 * Time that was missed makes the round longer. To visit more
		 * frames for it would bring their next visit forward.
		 */
		period = msecs_to_jiffies(page_hint_period_ms);
		longest = DIV_ROUND_UP(period, PAGE_HINT_STEPS_LAZY);
		elapsed = min(jiffies - page_hint_clock.last, longest);
		nr = mult_frac(max_pfn, elapsed, period);
		if (nr >= PAGE_HINT_STEP_MIN) {
			page_hint_clock.last = jiffies;
			page_hint_advance(nr);
		}
		page_hint_clock_start();
	}
	mutex_unlock(&page_hint_mutex);
}

/*
 * Have a frame without the flag. Return: false if its folio cannot be
 * referenced, as somebody has it frozen, and may give it back as it is, or if
 * the host does not get done with it.
 */
static bool page_hint_settle(struct page *page)
{
	unsigned long flags = READ_ONCE(page->flags.f);
	struct folio *folio;
	bool settled;

	while (flags & BIT(PG_hinted)) {
		folio = page_folio(page);
		if ((flags & __PG_HINTING) == __PG_ARMED) {
			try_cmpxchg(&page->flags.f, &flags,
				    flags & ~__PG_HINTING);
		} else if (folio_try_get(folio)) {
			settled = page_folio(page) != folio ||
				  page_hint_settle_folio(folio);
			folio_put(folio);
			if (!settled)
				return false;
		} else {
			return false;
		}
		flags = READ_ONCE(page->flags.f);
	}
	return true;
}

/* Settle the frames from @pfn to @end. Return: the first one that was not. */
static unsigned long page_hint_settle_block(unsigned long pfn,
					    unsigned long end)
{
	struct page *page;

	get_online_mems();
	page = pfn_to_online_page(pfn);
	if (!page)
		pfn = end;
	while (pfn < end && page_hint_settle(page)) {
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
 * on what it is about to free until other I/O is done, and that may be never. So
 * may be what the host takes for a folio, if it has died or its device is gone.
 * Memory hotplug must not have to wait for that. A task gives up if it is killed.
 * A restart must not depend on it, either, and waits for a second in all, as does
 * who will try again, and who wants to suspend for as long as he would for a task
 * that does not freeze.
 *
 * Return: false if some may still be volatile.
 */
static bool page_hint_settle_all(void)
{
	unsigned long pfn = 0;
	unsigned int ticks = HZ;
	unsigned long end;

	lockdep_assert_held(&page_hint_mutex);

	while (pfn < max_pfn) {
		end = min(max_pfn, ALIGN(pfn + 1, PAGE_HINT_BLOCK));
		pfn = page_hint_settle_block(pfn, end);
		cond_resched();
		if (pfn == end)
			continue;
		if (fatal_signal_pending(current))
			return false;
		if ((READ_ONCE(page_hint_rebooting) || page_hint_failing) &&
		    !ticks--)
			return false;
		if (page_hint_sleeping &&
		    time_after(jiffies, page_hint_sleep_by))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/*
 * To switch off takes two steps. If the takers were to stop looking first,
 * they would read what the host has discarded.
 */
static int page_hint_set_mode(enum page_hint_mode mode)
{
	enum page_hint_mode old = page_hint_mode;
	int err;

	lockdep_assert_held(&page_hint_mutex);

	if (mode == old)
		return 0;
	if (mode > old && READ_ONCE(page_hint_has_failed))
		return -EIO;
	if (mode > old && !page_hint_present)
		return -ENODEV;
	if (mode == PAGE_HINT_MODE_ON && page_hint_sleeping)
		return -EBUSY;
	if (mode == PAGE_HINT_MODE_ON) {
		err = page_hint_host->enable(page_hint_force);
		if (err)
			return err;
		static_branch_enable(&page_hint_used_key);
		static_branch_enable(&page_hint_key);
	}
	page_hint_mode = mode;
	if (old == PAGE_HINT_MODE_ON) {
		/* Takers go on for as long as there may be a volatile folio. */
		if (page_hint_settle_all()) {
			static_branch_disable(&page_hint_key);
		} else if (!READ_ONCE(page_hint_rebooting)) {
			page_hint_mode = old;
			return page_hint_sleeping ? -EBUSY : -EINTR;
		}
	}
	if (mode == PAGE_HINT_MODE_OFF)
		page_hint_unused_disable();
	else
		page_hint_unused_enable();

	page_hint_clock_afresh();
	return 0;
}

static DECLARE_COMPLETION(page_hint_reboot_done);

static void page_hint_reboot_work(struct work_struct *work)
{
	mutex_lock(&page_hint_mutex);
	if (page_hint_mode == PAGE_HINT_MODE_ON)
		page_hint_set_mode(PAGE_HINT_MODE_UNUSED);
	mutex_unlock(&page_hint_mutex);
	complete(&page_hint_reboot_done);
}

static DECLARE_WORK(page_hint_reboot_do, page_hint_reboot_work);

/*
 * What comes next, a new kernel or the loader of one, has no idea of volatile
 * frames. page_hint_leave() will see to that, but with interrupts off, and it
 * takes a while if much is volatile. So do it now, if it can be done: this must
 * not hang, whatever the owner of the mutex, or memory hotplug, is waiting for.
 * What could not be done in time is left to page_hint_leave(), or, if page
 * states are shared with a device, to its reset: it forgets them then.
 */
static int page_hint_reboot(struct notifier_block *nb, unsigned long action,
			    void *data)
{
	WRITE_ONCE(page_hint_rebooting, true);
	queue_work(system_dfl_wq, &page_hint_reboot_do);
	wait_for_completion_timeout(&page_hint_reboot_done,
				    PAGE_HINT_REBOOT_WAIT);
	return NOTIFY_DONE;
}

static struct notifier_block page_hint_reboot_nb = {
	.notifier_call = page_hint_reboot,
};

/* Who has the mutex may wait for reclaim. Return: false if that takes too long. */
static bool page_hint_lock_by(unsigned long end)
{
	while (!mutex_trylock(&page_hint_mutex)) {
		if (fatal_signal_pending(current) || time_after(jiffies, end))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/*
 * An image of memory must not be taken or restored with frames in it that the
 * host may take, or has taken: it knows nothing of the image. Nor does it of a
 * machine whose devices are about to be suspended. This is early, while tasks
 * still run, so that what reclaim has under way can end. If it is a kexec that
 * will come back, nobody tells us, but then there is the device. It waits for
 * reclaim without a limit.
 */
static int page_hint_pm(struct notifier_block *nb, unsigned long action,
			void *data)
{
	unsigned long end = jiffies + PAGE_HINT_SLEEP_WAIT;
	int err = 0;

	switch (action) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		if (!page_hint_lock_by(end))
			return notifier_from_errno(-EBUSY);
		page_hint_sleeping = true;
		page_hint_sleep_by = end;
		if (page_hint_mode == PAGE_HINT_MODE_ON)
			err = page_hint_set_mode(PAGE_HINT_MODE_UNUSED);
		if (err)
			page_hint_sleeping = false;
		mutex_unlock(&page_hint_mutex);
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_SUSPEND:
	case PM_POST_RESTORE:
		mutex_lock(&page_hint_mutex);
		page_hint_sleeping = false;
		if (page_hint_present && !READ_ONCE(page_hint_rebooting))
			page_hint_set_mode(page_hint_wanted);
		mutex_unlock(&page_hint_mutex);
		break;
	}
	return notifier_from_errno(err);
}

static int __init page_hint_pm_init(void)
{
	pm_notifier(page_hint_pm, 0);
	return 0;
}
late_initcall(page_hint_pm_init);

/*
 * If it does not make a frame stable, even when asked again and again, there is
 * nothing left that could be done about that: the frame will be used, and the host
 * may take it at any time. It may never be done with taking a frame, either, while
 * others want the mutex, so this waits without it.
 */
static void page_hint_failed_work(struct work_struct *work)
{
	int err;

	pr_err_once("the host has refused to change the state of a frame, and is not told anything any more\n");
	mutex_lock(&page_hint_mutex);
	page_hint_failing = true;
	err = page_hint_set_mode(PAGE_HINT_MODE_OFF);
	page_hint_failing = false;
	mutex_unlock(&page_hint_mutex);
	if (err)
		queue_delayed_work(system_dfl_wq, to_delayed_work(work), HZ);
}

static DECLARE_DELAYED_WORK(page_hint_failed_do, page_hint_failed_work);

static void page_hint_failed_raise(struct irq_work *work)
{
	queue_delayed_work(system_dfl_wq, &page_hint_failed_do, 0);
}

static DEFINE_IRQ_WORK(page_hint_failed_irq_work, page_hint_failed_raise);

/**
 * page_hint_failed - the host has not done what it was asked for
 *
 * For backends. Hinting is switched off soon, and for good. The backend has to
 * report what it could not make stable as discarded.
 *
 * Context: Any.
 */
notrace void page_hint_failed(void)
{
	if (!xchg(&page_hint_has_failed, 1))
		irq_work_queue(&page_hint_failed_irq_work);
}

static const char * const page_hint_mode_names[] = {
	[PAGE_HINT_MODE_OFF]	= "off",
	[PAGE_HINT_MODE_UNUSED]	= "unused",
	[PAGE_HINT_MODE_ON]	= "on",
};

static ssize_t mode_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  page_hint_mode_names[READ_ONCE(page_hint_mode)]);
}

/**
 * page_hint_change_mode - change how much the host is told
 * @mode: the new mode
 *
 * Context: Process context, may sleep.
 * Return: 0, or why it is as it was.
 */
int page_hint_change_mode(enum page_hint_mode mode)
{
	int err;

	if (mutex_lock_killable(&page_hint_mutex))
		return -EINTR;
	err = page_hint_rebooting ? -EBUSY : page_hint_set_mode(mode);
	if (!err)
		page_hint_wanted = mode;
	mutex_unlock(&page_hint_mutex);
	return err;
}

static ssize_t mode_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t count)
{
	int mode = sysfs_match_string(page_hint_mode_names, buf);
	int err;

	if (mode < 0)
		return mode;
	err = page_hint_change_mode(mode);
	return err ?: count;
}

static struct kobj_attribute mode_attr = __ATTR_RW(mode);

/* Set a number, and have the clock go by it from now on. */
static int page_hint_set_number(unsigned int *number, unsigned int value)
{
	if (mutex_lock_killable(&page_hint_mutex))
		return -EINTR;
	WRITE_ONCE(*number, value);
	page_hint_clock_afresh();
	mutex_unlock(&page_hint_mutex);
	return 0;
}

static ssize_t period_ms_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(page_hint_period_ms));
}

static ssize_t period_ms_store(struct kobject *kobj,
			       struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	unsigned int value;

	/* Out of the range of an integer is out of range, too. */
	if (kstrtouint(buf, 0, &value))
		return -EINVAL;
	if (value && (value < PAGE_HINT_PERIOD_MIN_MS ||
		      value > PAGE_HINT_PERIOD_MAX_MS))
		return -EINVAL;
	return page_hint_set_number(&page_hint_period_ms, value) ?: count;
}

static struct kobj_attribute period_ms_attr = __ATTR_RW(period_ms);

static struct attribute *page_hint_attrs[] = {
	&mode_attr.attr,
	&period_ms_attr.attr,
	NULL,
};

static const struct attribute_group page_hint_attr_group = {
	.name = "page_hinting",
	.attrs = page_hint_attrs,
};

/* What tests and tuning need is in debugfs: it is not there to be relied on. */
struct dentry *page_hint_debugfs;

struct page_hint_number {
	unsigned int *number;
	unsigned int min;
	unsigned int max;
};

static int number_get(void *data, u64 *value)
{
	const struct page_hint_number *n = data;

	*value = READ_ONCE(*n->number);
	return 0;
}

static int number_set(void *data, u64 value)
{
	const struct page_hint_number *n = data;

	if (value < n->min || value > n->max)
		return -EINVAL;
	return page_hint_set_number(n->number, value);
}

DEFINE_DEBUGFS_ATTRIBUTE(number_fops, number_get, number_set, "%llu\n");

static int pass_get(void *data, u64 *rounds)
{
	*rounds = READ_ONCE(page_hint_clock.rounds);
	return 0;
}

/**
 * page_hint_pass - have the clock visit each frame once, now
 *
 * Context: Process context, may sleep.
 * Return: 0, -EOPNOTSUPP if nothing is to become volatile, or -EINTR.
 */
int page_hint_pass(void)
{
	int err = -EOPNOTSUPP;

	/* Who asks for each frame means those in the other CPUs' batches, too. */
	lru_add_drain_all();
	if (mutex_lock_killable(&page_hint_mutex))
		return -EINTR;
	if (page_hint_mode == PAGE_HINT_MODE_ON) {
		err = page_hint_advance(max_pfn);
		page_hint_clock.last = jiffies;
		page_hint_clock_start();
	}
	mutex_unlock(&page_hint_mutex);
	return err;
}

static int pass_set(void *data, u64 value)
{
	return value == 1 ? page_hint_pass() : -EINVAL;
}

DEFINE_DEBUGFS_ATTRIBUTE(pass_fops, pass_get, pass_set, "%llu\n");

/* Whether there is a host or not: it may come later. */
static int __init page_hint_create_debugfs(void)
{
	static struct page_hint_number mapped_every = {
		&page_hint_mapped_every, 1, PAGE_HINT_MAPPED_EVERY_MAX,
	};
	static struct page_hint_number max_order = { &page_hint_max_order };
	static struct page_hint_number block_devices = {
		&page_hint_block_devices, 0, 1,
	};
	struct dentry *dir = debugfs_create_dir("page_hinting", NULL);

	max_order.max = MAX_PAGECACHE_ORDER;
	debugfs_create_file_unsafe("pass", 0600, dir, NULL, &pass_fops);
	debugfs_create_file_unsafe("mapped_every", 0600, dir, &mapped_every,
				   &number_fops);
	debugfs_create_file_unsafe("max_order", 0600, dir, &max_order,
				   &number_fops);
	debugfs_create_file_unsafe("block_devices", 0600, dir, &block_devices,
				   &number_fops);
	page_hint_debugfs = dir;
	return 0;
}
fs_initcall(page_hint_create_debugfs);

/* What page_hinting= asked for; without it, the default is chosen. */
static int page_hint_boot_mode __ro_after_init = -1;

static int __init page_hint_setup(char *str)
{
	int mode = -1;

	if (!str)
		return -EINVAL;
	page_hint_force = !strcmp(str, "force");
	if (page_hint_force) {
		mode = PAGE_HINT_MODE_ON;
	} else if (strcmp(str, "auto")) {
		mode = match_string(page_hint_mode_names,
				    ARRAY_SIZE(page_hint_mode_names), str);
		if (mode < 0) {
			pr_warn("page_hinting=%s is not one of off, unused, on, force, auto\n",
				str);
			return 0;
		}
	}
	page_hint_boot_mode = mode;
	page_hint_mode = mode == PAGE_HINT_MODE_OFF ? PAGE_HINT_MODE_OFF :
					       PAGE_HINT_MODE_UNUSED;
	page_hint_wanted = mode < 0 ? page_hint_mode : mode;
	if (IS_ENABLED(CONFIG_PAGE_HINTING_FREE))
		page_hint_unused_at_boot = mode != PAGE_HINT_MODE_OFF;
	return 0;
}
early_param("page_hinting", page_hint_setup);

/**
 * page_hint_register - a host with hinting has been found
 * @ops: what it has to offer
 *
 * Switches on what was asked for, by the boot parameter or in sysfs while there
 * was a host before, or else hints on free pages only, and makes the controls
 * appear in sysfs. There can be one host at a time, and only one of its kind.
 *
 * Context: Process context, after postcore_initcall.
 * Return: 0, -EBUSY if there is a host already, or the error of sysfs.
 */
int page_hint_register(const struct page_hint_ops *ops)
{
	int err;

	mutex_lock(&page_hint_mutex);
	if (page_hint_present || (page_hint_host && page_hint_host != ops)) {
		mutex_unlock(&page_hint_mutex);
		return -EBUSY;
	}
	page_hint_init_host(ops);
	page_hint_min_order = ops->min_order;
	page_hint_present = true;
	mutex_unlock(&page_hint_mutex);

	err = sysfs_create_group(mm_kobj, &page_hint_attr_group);
	if (err) {
		mutex_lock(&page_hint_mutex);
		page_hint_present = false;
		mutex_unlock(&page_hint_mutex);
		return err;
	}
	register_reboot_notifier(&page_hint_reboot_nb);

	mutex_lock(&page_hint_mutex);
	/* When the machine is awake again, it is set by page_hint_pm(). */
	if (READ_ONCE(page_hint_rebooting))
		err = -EBUSY;
	else if (!page_hint_sleeping)
		err = page_hint_set_mode(page_hint_wanted);
	pr_info("%s, mode %s (%s)\n", ops->name,
		page_hint_mode_names[page_hint_mode],
		page_hint_sleeping ? "until all is awake again" :
		err ? "not able to do what was asked for" :
		page_hint_boot_mode == page_hint_wanted ? "boot parameter" :
		page_hint_wanted == PAGE_HINT_MODE_UNUSED ? "default" :
							    "as before");
	if (IS_ENABLED(CONFIG_PAGE_HINTING_FREE) &&
	    page_poisoning_enabled_static())
		pr_info("free pages are poisoned, and are not hinted\n");
	mutex_unlock(&page_hint_mutex);
	return 0;
}

/* A worker gets no signals that would make it give up. */
static void page_hint_unregister_work(struct work_struct *work)
{
	mutex_lock(&page_hint_mutex);
	if (page_hint_mode == PAGE_HINT_MODE_ON)
		page_hint_set_mode(PAGE_HINT_MODE_UNUSED);
	page_hint_present = false;
	mutex_unlock(&page_hint_mutex);
}

static DECLARE_WORK(page_hint_unregister_do, page_hint_unregister_work);

/**
 * page_hint_unregister - the host is about to go
 *
 * Makes all folios stable. For hosts that hint on no free pages: nobody knows
 * where these are. What has been asked for is remembered for the next one.
 *
 * Context: Process context, may sleep, and waits for reclaim to finish what it
 * has begun. Must not be called by two, nor by who holds memory hotplug off.
 * Return: true if no folio is volatile, and none will be. False if a restart
 * could not wait for all of them: then the host's operations may still be called.
 */
bool page_hint_unregister(void)
{
	sysfs_remove_group(mm_kobj, &page_hint_attr_group);
	unregister_reboot_notifier(&page_hint_reboot_nb);
	queue_work(system_dfl_wq, &page_hint_unregister_do);
	flush_work(&page_hint_unregister_do);
	return !static_key_enabled(&page_hint_key);
}
