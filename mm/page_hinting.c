// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: tell the host which page cache it may take.
 *
 * The problem
 *
 * A host with more guest memory than real memory pages out frames whose
 * content it does not know. Much of it is clean page cache, which the guest
 * could read again from its own disk. Writing that to the paging device, and
 * reading it back, is I/O for nothing; asking the guest to shrink its cache
 * means to wait until the guest has run.
 *
 * The idea
 *
 * The guest says beforehand what it can do without. A folio is made volatile
 * while reclaim could free it without I/O: idle, clean, unmapped, and held by
 * the page cache alone. The host may then discard its content, without I/O
 * and without running the guest. A discard is reclaim that is done by the
 * host, when and if the host needs it. The folio stays in the cache, and most
 * often the guest will find it there, untouched.
 *
 * The states of a folio
 *
 *	PG_hinted PG_discard
 *	    0	      0		stable: the content is the guest's alone
 *	    1	      0		armed: stable, nobody took it since it was armed
 *	    1	      1		volatile: the host may have discarded it
 *	    0	      1		lost: stable, was found discarded; the content is
 *				worthless until read again, which is what
 *				!PG_uptodate says. Once uptodate again, or with
 *				private data, which tells what parts of it are,
 *				this is the same as 00. The mark goes when the
 *				page cache starts to read, or if PG_uptodate is
 *				cleared by anybody else: then it is a failed
 *				read. The read of a writer, who wants a part,
 *				may leave it: if it fails, the next attempt
 *				counts as one more refault, and that is all.
 *
 *		    clock, 1st visit	       clock, 2nd visit
 *	    stable ------------------> armed ------------------> volatile
 *	      ^ ^------------------------'			   |  |
 *	      |		 taker					   |  |
 *	      |--------------------------------------------------'  |
 *	      |		 taker: content kept			   |
 *	      `----- read ----- lost <-----------------------------'
 *				     taker, clock: content discarded
 *
 * A taker is who looks up a folio in the page cache for its content. It calls
 * folio_make_stable(), which costs one test of PG_hinted if there is nothing
 * to do. Its call disarms an armed folio, so the takers tell the clock what is
 * idle; there is no other record of accesses through system calls. (Not all
 * of them call folio_mark_accessed(), and what that one does depends on the
 * LRU in use.) Who only looks, like mincore(), is no taker.
 *
 * The clock (page_hinting_clock.c) visits each frame once per period. It is
 * the only one to arm folios and to make them volatile.
 *
 * Who may change what
 *
 * Both flags are in one word, and change together by one compare-and-swap.
 * stable -> armed: the clock; armed -> stable: anyone. No lock. A folio on its
 * way to the page allocator loses PG_lru, which is in the same word, so that the
 * arming of one without a reference fails; the flag may also get lost in a plain
 * store of somebody who owns the last reference. It is a hint as long as
 * PG_discard is clear.
 * armed -> volatile: holder of the folio lock and of a hash lock, with the
 * reference count frozen (page_hint_folio()).
 * volatile -> stable or lost: holder of a reference and of the hash lock, or
 * owner of a folio whose reference count has dropped to zero.
 * The state which the host keeps changes with PG_discard, under the same
 * hash lock, or by the owner of a frame that nobody else has a reference to:
 * when it is freed, and on the way to another kernel. The hash locks nest
 * inside everything.
 *
 * Why nobody can use volatile content
 *
 * 1. Through a reference. folio_ref_freeze() and folio_try_get() are atomic
 *    operations on one counter. If a taker's comes first, the freeze finds a
 *    reference too many and fails. If the freeze comes first, the taker gets
 *    its reference from the unfreezing store, which is a release, and sees the
 *    flags set before it. It then waits for the hash lock, which is dropped
 *    only after the host has been told, and takes the frame back. Its use of
 *    the content ends before it puts the reference, so it comes before the
 *    next freeze that can succeed.
 *
 * 2. Without one. Writeback holds folios by PG_writeback alone, and takes
 *    unconditional references when it ends, khugepaged and readahead do so
 *    under the folio lock. A freeze under them would lose a reference. The
 *    folio lock is held from the test of PG_writeback to the unfreeze, and
 *    keeps all three away.
 *
 * 3. Through a page table. A folio that is mapped is not made volatile, and to
 *    map it takes a reference or its lock. This is why fork, COW, GUP and
 *    secondary MMUs need no changes: they start from a mapping. What is left is
 *    an entry in a TLB which outlives the mapping. The clock's own unmapping is
 *    complete when it returns. Most architectures keep the reference of whoever
 *    else unmaps until all CPUs have flushed (mmu_gather), so the freeze fails.
 *    s390 puts it at once: the entries of all CPUs go together with that of the
 *    table, unless the mm is attached to no CPU but this one. That is in the
 *    kernel then, and flushes when the gathering ends, or as soon as a task of
 *    this mm, on whatever CPU, is switched to. What was invalid already, as an
 *    entry not used lately is on s390, had its flush when it became so. An mm
 *    that is being torn down has no task that could be switched to.
 *    An interrupt or NMI in between that reads user memory without faults (perf,
 *    BPF) may use such a stale entry. So it may without page hinting, and find
 *    content of the next owner. Here, it finds what has been in the page, zeros,
 *    or an exception for which it has an entry in the exception table.
 *    Reclaim, migration and khugepaged may defer the flush for many folios, and
 *    give up lock and reference of some before it (TTU_BATCH_FLUSH, where there
 *    is ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH). When it comes, only they know. But
 *    whoever defers it disarms the folio after its entry has been cleared
 *    (page_hint_flush_pending()), so it can only be volatile if it has been
 *    armed later than that. Between arming a folio and making it volatile, the
 *    clock goes past the end of memory once, and flushes the TLB of all CPUs
 *    there. That is one flush in each period in which any folio was armed.
 *
 * 4. Dirty. Who holds a plain reference may dirty a folio without its lock,
 *    and put it, between our test and the freeze; see the comment in
 *    __remove_mapping(). fs-verity sets PG_checked the same way. The tests are
 *    repeated while frozen.
 *
 * Why lost content is not used either
 *
 * The content is current if PG_uptodate is set. Who sees PG_hinted clear, sees
 * PG_uptodate as it was at that time or later, as both are in one word. The
 * content is accessed after the barrier in folio_test_uptodate(), so after
 * the frame has been made stable.
 *
 * PG_uptodate is cleared here without the folio lock. folio_end_read() sets it
 * with an exclusive-or that relies on nobody else changing it. This works
 * because a volatile folio is uptodate, so no read of it is in flight, and
 * because no read can start before PG_uptodate is cleared.
 *
 * A taker which has waited for the hash lock must look again. The winner may
 * have read and dirtied the folio meanwhile; clearing PG_uptodate once more
 * would lose data.
 *
 * A lost folio remains where it is: clean, unmapped, not uptodate, as after a
 * failed read. Every file system reads such a folio again when it is wanted,
 * and if that fails it is an ordinary I/O error. So lookups under RCU need
 * neither sleep nor restart. To get readahead back into the game, places that
 * may sleep evict lost folios instead (page_hint_recover(),
 * page_hint_readahead()), and so does a worker for places that must not even
 * wait for the hash lock (page_hint_report()).
 *
 * Swap cache
 *
 * A folio of the swap cache that is clean, not under writeback, and not locked
 * by anybody else has a copy on swap: it has been written or read, and zswap,
 * which gives its copy away, leaves it dirty. The slot stays allocated as long
 * as the folio is in the swap cache. So such folios become volatile in the
 * same way, whether they belong to anonymous memory or to shmem. Only those
 * that nobody has mapped: mainly what swap readahead brought in for nothing.
 *
 * A lost one is read in place, too, but where a folio that is not uptodate has
 * no second chance, the read must be started by the lookup. Nobody gets hold
 * of a lost folio in order to use it: swap_cache_get_folio() reports a miss, and
 * where a new folio would be added and read, page_hint_swapin() offers the lost
 * one to be read. Since the caller has a reference by then, it will not be lost
 * again. It never waits for the lock of a folio, as the caller may have others
 * locked whose reads are not yet submitted. The caller looks again later, and
 * finds the folio uptodate, being read, gone, or still lost; whoever holds the
 * lock of a lost folio waits for no other one.
 *
 * To whoever only looks (swap_cache_peek_folio()) volatile and lost folios are
 * there. He may change what a folio belongs to, but not take it out of the swap
 * cache before page_hint_swap_free() has made it stable.
 *
 * Here, too, the mark goes when the read starts, under the folio lock. From then
 * on it is like any folio that has just been added: if the read fails, that is
 * final.
 */

#define pr_fmt(fmt) "page_hinting: " fmt

#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/irq_work.h>
#include <linux/kprobes.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/clock.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "internal.h"
#include "page_hinting.h"
#include "swap.h"

#define CREATE_TRACE_POINTS
#include <trace/events/page_hinting.h>

#define PAGE_HINT_LOCK_BITS	6

struct page_hint_lock {
	raw_spinlock_t lock;
} ____cacheline_aligned_in_smp;

static struct page_hint_lock page_hint_locks[1 << PAGE_HINT_LOCK_BITS];

/* Once set, it remains: a host that has gone may still be asked. */
const struct page_hint_ops *page_hint_host;

DEFINE_STATIC_KEY_FALSE(page_hint_key);

DEFINE_STATIC_KEY_FALSE(page_hint_used_key);

unsigned int page_hint_min_order;
unsigned int page_hint_max_order;
unsigned int page_hint_block_devices;

static int __init page_hint_locks_init(void)
{
	int i;

	/* Not ARRAY_SIZE(): without SMP, a lock may have no size. */
	for (i = 0; i < 1 << PAGE_HINT_LOCK_BITS; i++)
		raw_spin_lock_init(&page_hint_locks[i].lock);
	return 0;
}
core_initcall(page_hint_locks_init);

/**
 * page_hint_init_host - set what is asked from now on
 * @ops: what the host has to offer
 *
 * If it is as it was the last time, what an administrator has set remains.
 *
 * Context: Process context. No folio is volatile.
 */
void page_hint_init_host(const struct page_hint_ops *ops)
{
	static unsigned int max_order;

	if (ops->max_order != max_order)
		WRITE_ONCE(page_hint_max_order,
			   min(ops->max_order, MAX_PAGECACHE_ORDER));
	max_order = ops->max_order;
	page_hint_host = ops;
}

/**
 * page_hint_lock - the hash lock of a folio
 * @folio: the folio
 *
 * For tests that hold it. All other users are in this file.
 *
 * Context: Any.
 * Return: the lock that serialises changes of the state of @folio.
 */
notrace raw_spinlock_t *page_hint_lock(struct folio *folio)
{
	return &page_hint_locks[hash_ptr(folio, PAGE_HINT_LOCK_BITS)].lock;
}

static notrace void page_hint_account(struct folio *folio,
				      enum vm_event_item event,
				      long nr, long delta)
{
	count_vm_events(event, nr);
	mod_node_page_state(folio_pgdat(folio), NR_VOLATILE, delta);
}

/* What does not hold any more when the content is lost. */
#define __PG_GONE	(BIT(PG_hinted) | BIT(PG_uptodate) | BIT(PG_readahead))
/* And the same for files only: for swap, these bits mean other things. */
#define __PG_GONE_FILE	(BIT(PG_checked) | BIT(PG_mappedtodisk))

enum page_hint_result {
	PAGE_HINT_KEPT,
	PAGE_HINT_WAS_LOST,
	PAGE_HINT_RACED,	/* somebody else made it stable */
	PAGE_HINT_UNKNOWN,	/* lock not available, or host busy */
};

/* So often is a host asked to be done that does what it promises, at most. */
#define PAGE_HINT_TRIES	1000

struct page_hint_waiting {
	unsigned int tries;
	u64 start;
};

/* As often as it takes, and for somebody who can try later */
#define PAGE_HINT_NO_LIMIT	0
#define PAGE_HINT_TRIES_SETTLE	100

/* The host was busy. The lock is not held, as others may want what hashes to it. */
static notrace void page_hint_wait(unsigned long pfn,
				   struct page_hint_waiting *waiting)
{
	if (!waiting->tries)
		waiting->start = local_clock();
	if (++waiting->tries == PAGE_HINT_TRIES)
		page_hint_failed();
	page_hint_host->wait(pfn);
}
NOKPROBE_SYMBOL(page_hint_wait);

static __always_inline void page_hint_waited(unsigned long pfn,
					     struct page_hint_waiting *waiting)
{
	if (unlikely(waiting->tries))
		trace_page_hint_waited(pfn, local_clock() - waiting->start);
}

/*
 * Not to be traced or probed: a BPF program with the build ID of a user stack
 * looks up the page cache, and would meet the lock held on this very CPU. For
 * the same reason callers with interrupts disabled must not wait.
 *
 * Nor do they wait for a host that is just taking the folio. Others do, @tries
 * times, without the lock, which others may want that hash to it.
 */
static noinline notrace enum page_hint_result
page_hint_set_stable(struct folio *folio, enum vm_event_item lost_event,
		     unsigned int tries)
{
	raw_spinlock_t *lock = page_hint_lock(folio);
	enum page_hint_result result = PAGE_HINT_RACED;
	long nr = folio_nr_pages(folio);
	bool may_wait = !irqs_disabled();
	unsigned long gone = __PG_GONE;
	struct page_hint_waiting waiting = {};
	unsigned long flags;
	int answer;

	if (!folio_test_swapbacked(folio))
		gone |= __PG_GONE_FILE;

again:
	if (!raw_spin_trylock_irqsave(lock, flags)) {
		if (!may_wait)
			return PAGE_HINT_UNKNOWN;
		raw_spin_lock_irqsave(lock, flags);
	}
	if (page_hint_state(folio) == __PG_VOLATILE) {
		VM_WARN_ON_ONCE_FOLIO(folio_mapped(folio), folio);
		VM_WARN_ON_ONCE_FOLIO(folio_test_dirty(folio), folio);
		VM_WARN_ON_ONCE_FOLIO(folio_test_private(folio), folio);
		VM_WARN_ON_ONCE_FOLIO(!folio_test_uptodate(folio), folio);
		/*
		 * One fully ordered operation changes all flags, so nobody can
		 * find PG_hinted clear and PG_uptodate still set. It comes
		 * after the frames have been made stable, which pairs with the
		 * barrier in folio_test_uptodate(): the content is not
		 * accessed before that.
		 */
		answer = page_hint_host->set_stable(folio_pfn(folio), nr);
		if (unlikely(answer == -EBUSY)) {
			raw_spin_unlock_irqrestore(lock, flags);
			if (!may_wait || (tries != PAGE_HINT_NO_LIMIT &&
					  waiting.tries >= tries))
				return PAGE_HINT_UNKNOWN;
			/* The caller's reference keeps the folio what it is. */
			page_hint_wait(folio_pfn(folio), &waiting);
			goto again;
		}
		if (answer) {
			/*
			 * What comes next is in other memory, of whose caches the
			 * architecture knows nothing.
			 */
			flush_dcache_folio(folio);
			set_mask_bits(&folio->flags.f, gone, 0);
			page_hint_account(folio, lost_event, nr, -nr);
			result = PAGE_HINT_WAS_LOST;
		} else {
			set_mask_bits(&folio->flags.f, __PG_HINTING, 0);
			page_hint_account(folio, PAGE_HINT_STABLE, nr, -nr);
			result = PAGE_HINT_KEPT;
		}
	}
	raw_spin_unlock_irqrestore(lock, flags);
	page_hint_waited(folio_pfn(folio), &waiting);
	return result;
}
NOKPROBE_SYMBOL(page_hint_set_stable);

static notrace int page_hint_try_free(unsigned long pfn, unsigned long nr)
{
	const struct page_hint_ops *host = page_hint_host;

	return host->set_free ? host->set_free(pfn, nr) :
				host->set_stable(pfn, nr);
}
NOKPROBE_SYMBOL(page_hint_try_free);

/*
 * What becomes of the frames does not matter, but a host that is still taking
 * them would take what their next owner has in them. So this waits for as long as
 * it takes, as for a page that the host has to page in. A host that has not been
 * done in time gets nothing more to take.
 */
static notrace void page_hint_set_free(unsigned long pfn, unsigned long nr)
{
	struct page_hint_waiting waiting = {};

	while (page_hint_try_free(pfn, nr) == -EBUSY)
		page_hint_wait(pfn, &waiting);
	page_hint_waited(pfn, &waiting);
}
NOKPROBE_SYMBOL(page_hint_set_free);

/* On the way out of the kernel: that must not hang, whatever the host does. */
static notrace void page_hint_set_free_bounded(unsigned long pfn,
					       unsigned long nr)
{
	unsigned int tries;

	for (tries = 0; tries < PAGE_HINT_TRIES; tries++) {
		if (page_hint_try_free(pfn, nr) != -EBUSY)
			return;
		page_hint_host->wait(pfn);
	}
}
NOKPROBE_SYMBOL(page_hint_set_free_bounded);

/* The other half, under the same rules. @expected is the reference count. */
static noinline notrace bool
page_hint_set_volatile(struct folio *folio, int expected)
{
	raw_spinlock_t *lock = page_hint_lock(folio);
	long nr = folio_nr_pages(folio);
	bool done = false;
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	if (!folio_ref_freeze(folio, expected)) {
		count_vm_events(PAGE_HINT_BUSY, nr);
		goto unlock;
	}
	/* Whoever held a reference until now may have changed it, see 4. above */
	if (!folio_test_dirty(folio) && !folio_test_writeback(folio) &&
	    !folio_test_private(folio) && folio_test_uptodate(folio) &&
	    folio_test_checked(folio) == folio_test_swapcache(folio) &&
	    page_hint_state(folio) == __PG_ARMED) {
		set_mask_bits(&folio->flags.f, 0, __PG_VOLATILE);
		done = true;
	}
	/* A release: whoever gets a reference after this sees the flags. */
	folio_ref_unfreeze(folio, expected);
	/*
	 * Takers spin while the count is frozen, so do not ask the host to do
	 * anything before this point.
	 */
	if (done) {
		page_hint_host->set_volatile(folio_pfn(folio), nr);
		page_hint_account(folio, PAGE_HINT_VOLATILE, nr, nr);
	}
unlock:
	raw_spin_unlock_irqrestore(lock, flags);
	return done;
}
NOKPROBE_SYMBOL(page_hint_set_volatile);

/*
 * Frames that were found discarded where nothing could be done about it. A
 * frame that finds no room here is left to its next taker or the clock.
 */
#define PAGE_HINT_REPORTS	16

static unsigned long page_hint_reports[PAGE_HINT_REPORTS];

/*
 * A frame in the list may have been freed and used again since. So take a
 * reference first, and then ask the host whether the content is gone now:
 * page_hint_evict() does that with the folio locked.
 */
static void page_hint_reports_drain(struct work_struct *work)
{
	unsigned long pfn;
	struct folio *folio;
	struct page *page;
	int i;

	get_online_mems();
	for (i = 0; i < PAGE_HINT_REPORTS; i++) {
		pfn = xchg(&page_hint_reports[i], 0);
		page = pfn ? pfn_to_online_page(pfn) : NULL;
		folio = page ? page_folio(page) : NULL;
		if (!folio || !folio_try_get(folio))
			continue;
		if (page_folio(page) == folio && folio_test_lru(folio) &&
		    folio_trylock(folio)) {
			page_hint_evict(folio, PAGE_HINT_EVICTED);
			folio_unlock(folio);
		}
		folio_put(folio);
	}
	put_online_mems();
}

static DECLARE_WORK(page_hint_reports_work, page_hint_reports_drain);

/* Work cannot be queued in an NMI, or with a lock of the scheduler held. */
static void page_hint_reports_raise(struct irq_work *work)
{
	queue_work(system_dfl_wq, &page_hint_reports_work);
}

static DEFINE_IRQ_WORK(page_hint_reports_irq_work, page_hint_reports_raise);

/* Any context. */
static void page_hint_report(unsigned long pfn)
{
	int i;

	for (i = 0; i < PAGE_HINT_REPORTS; i++) {
		unsigned long old = cmpxchg(&page_hint_reports[i], 0, pfn);

		if (!old || old == pfn) {
			irq_work_queue(&page_hint_reports_irq_work);
			return;
		}
	}
}

/*
 * Return: true if @folio is stable now, without the host being asked. A folio
 * that has become volatile meanwhile makes the compare-and-swap fail.
 */
static bool page_hint_disarm(struct folio *folio)
{
	unsigned long old = READ_ONCE(folio->flags.f);

	do {
		if (!(old & BIT(PG_hinted)))
			return true;
		if (old & BIT(PG_discard))
			return false;
	} while (!try_cmpxchg(&folio->flags.f, &old, old & ~BIT(PG_hinted)));
	return true;
}

static bool page_hint_make_stable(struct folio *folio, unsigned int tries)
{
	if (page_hint_disarm(folio))
		return true;

	switch (page_hint_set_stable(folio, PAGE_HINT_LOST, tries)) {
	case PAGE_HINT_KEPT:
		trace_page_hint_stable(folio);
		break;
	case PAGE_HINT_WAS_LOST:
		trace_page_hint_lost(folio);
		break;
	case PAGE_HINT_RACED:
		break;
	case PAGE_HINT_UNKNOWN:
		if (page_hint_discarded(folio_pfn(folio), folio_nr_pages(folio)))
			page_hint_report(folio_pfn(folio));
		return false;
	}
	return true;
}

/**
 * __folio_make_stable - slow path of folio_make_stable()
 * @folio: a folio that was found hinted
 *
 * Context: Any, see folio_make_stable().
 * Return: false if the state of the folio could not be found out.
 */
bool __folio_make_stable(struct folio *folio)
{
	return page_hint_make_stable(folio, PAGE_HINT_NO_LIMIT);
}

/**
 * page_hint_settle_folio - make a folio stable for somebody who can try later
 * @folio: the folio, with a reference of the caller
 *
 * Context: Process context. Does not sleep, and does not wait long for the host.
 * Return: false if the host is still taking it.
 */
bool page_hint_settle_folio(struct folio *folio)
{
	return page_hint_make_stable(folio, PAGE_HINT_TRIES_SETTLE);
}

/**
 * __page_hint_free - slow path of page_hint_free()
 * @folio: a hinted folio without references
 *
 * There are no takers left to race with, so no hash lock is needed.
 *
 * Context: Any, interrupts may be disabled.
 */
void __page_hint_free(struct folio *folio)
{
	unsigned long state = page_hint_state(folio);
	long nr = folio_nr_pages(folio);

	VM_WARN_ON_ONCE_FOLIO(folio_ref_count(folio), folio);

	if (state == __PG_VOLATILE) {
		page_hint_set_free(folio_pfn(folio), nr);
		page_hint_account(folio, PAGE_HINT_FREED, nr, -nr);
	}
	set_mask_bits(&folio->flags.f, __PG_HINTING, 0);
}

/**
 * page_hint_mapping_eligible - can a file system read its pages again?
 * @mapping: the address space
 *
 * That a folio is clean and uptodate does not say so: there are mappings whose
 * folios hold pointers, or what took long to compute. So this is an opt-in, of
 * each mapping: what an inode is for cannot be told from its mode, as one that
 * nobody is to see may have none, or that of the inode which was there before.
 *
 * Context: Any. The caller holds the lock of a folio of @mapping.
 * Return: true if what is in @mapping may become volatile.
 */
bool page_hint_mapping_eligible(struct address_space *mapping)
{
	struct inode *inode = mapping->host;

	VM_WARN_ON_ONCE((unsigned long)mapping & FOLIO_MAPPING_FLAGS);

	if (!mapping_page_hinting(mapping) &&
	    (!READ_ONCE(page_hint_block_devices) || !inode ||
	     !sb_is_blkdev_sb(inode->i_sb)))
		return false;
	if (mapping_exiting(mapping) || mapping_unevictable(mapping) ||
	    mapping_release_always(mapping) || dax_mapping(mapping))
		return false;
	/* The cache may be all that is left of data that failed to be written */
	if (test_bit(AS_EIO, &mapping->flags) ||
	    test_bit(AS_ENOSPC, &mapping->flags) ||
	    filemap_check_wb_err(mapping, 0))
		return false;
	return true;
}

/*
 * Memory that was read from swap, but that nobody has wanted yet, or nobody
 * wants any more. What is clean can be read from there once more.
 */
static bool page_hint_swap_eligible(struct folio *folio)
{
	unsigned long flags;

	if (!folio_test_swapcache(folio) || folio_mapped(folio))
		return false;
	/* KSM compares content, and has other ways to find its folios. */
	if (folio_test_ksm(folio))
		return false;
	/* A large one cannot be read if parts of it are in zswap, or zero. */
	if (folio_test_large(folio))
		return false;
	/*
	 * A synchronous device has no readahead, and what is read from there
	 * is given up at once; its memory is most often our own, anyway. Not
	 * while the device is being emptied, either.
	 */
	flags = data_race(__swap_entry_to_info(folio->swap)->flags);
	return (flags & (SWP_WRITEOK | SWP_SYNCHRONOUS_IO)) == SWP_WRITEOK;
}

/**
 * page_hint_eligible - could this folio become volatile, if it is idle?
 * @folio: the folio
 *
 * Changes nothing. The folio may be mapped, and have private data that its
 * file system would release.
 *
 * Context: The caller holds the folio lock and a reference.
 * Return: true if it is worth trying.
 */
bool page_hint_eligible(struct folio *folio)
{
	struct address_space *mapping = folio->mapping;

	if (!folio_test_uptodate(folio) || folio_test_dirty(folio) ||
	    folio_test_writeback(folio) || folio_test_unevictable(folio) ||
	    folio_test_mlocked(folio) || folio_test_private_2(folio) ||
	    folio_contain_hwpoisoned_page(folio))
		return false;
	if (folio_test_swapbacked(folio))
		return page_hint_swap_eligible(folio);
	if (!mapping || (unsigned long)mapping & FOLIO_MAPPING_FLAGS)
		return false;
	/* fs-verity takes this for "verified", and it would survive the loss. */
	if (folio_test_checked(folio))
		return false;
	if (!page_hint_mapping_eligible(mapping))
		return false;
	/*
	 * What is cached beyond the end of a file is not of the file: fs-verity's
	 * Merkle tree has readers of its own, with ideas of their own about what
	 * it means not to be uptodate.
	 */
	return folio->index < DIV_ROUND_UP(i_size_read(mapping->host), PAGE_SIZE);
}

/*
 * The clock must not wait for whoever changes what a file is mapped to: it has
 * more to do. Without TTU_BATCH_FLUSH, this leaves no stale TLB entry behind.
 */
static bool page_hint_unmap(struct folio *folio)
{
	enum ttu_flags flags = TTU_SYNC | TTU_RMAP_LOCKED;
	struct address_space *mapping = folio->mapping;

	if (folio_test_pmd_mappable(folio))
		flags |= TTU_SPLIT_HUGE_PMD;
	if (!i_mmap_trylock_read(mapping))
		return false;
	try_to_unmap(folio, flags);
	i_mmap_unlock_read(mapping);
	return !folio_mapped(folio);
}

/**
 * page_hint_folio - make an armed folio volatile
 * @folio: an eligible folio of the page or swap cache that is idle
 *
 * Unmaps the folio, has its private data released, and makes it volatile if
 * nobody but the page cache and the caller has a reference, and it is still
 * armed then.
 *
 * Context: Process context, may sleep. The caller holds the folio lock and
 * one reference.
 * Return: true if the folio is volatile now.
 */
bool page_hint_folio(struct folio *folio)
{
	int expected = folio_nr_pages(folio) + 1;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	if (folio_order(folio) > READ_ONCE(page_hint_max_order))
		return false;
	/* Do not take apart what somebody has pinned, it would be in vain. */
	if (folio_ref_count(folio) != folio_expected_ref_count(folio) + 1) {
		count_vm_events(PAGE_HINT_BUSY, folio_nr_pages(folio));
		return false;
	}
	if (folio_mapped(folio) && !page_hint_unmap(folio))
		return false;
	if (folio_test_dirty(folio))
		return false;
	if (!filemap_release_folio(folio, GFP_NOWAIT))
		return false;
	if (!page_hint_set_volatile(folio, expected))
		return false;
	trace_page_hint_volatile(folio);
	return true;
}

/**
 * page_hint_discarded - has the host discarded any of these frames?
 * @pfn: the first frame
 * @nr: the number of frames
 *
 * Asks the host and changes nothing. Unless the folio is locked, the answer
 * may be out of date.
 *
 * Context: Any.
 * Return: true if the content of any of them is gone.
 */
bool page_hint_discarded(unsigned long pfn, unsigned long nr)
{
	return page_hint_host->is_discarded(pfn, nr);
}

/*
 * What leaves the swap cache may take its memory cgroup's charge over to the
 * slot, so it must not be on the LRU any more.
 */
static bool page_hint_evict_swap(struct folio *folio)
{
	if (!folio_isolate_lru(folio))
		return false;
	/* To isolate takes a reference, but removal expects the caller's only. */
	folio_put(folio);
	if (!mapping_evict_folio(folio_mapping(folio), folio)) {
		folio_add_lru(folio);
		return false;
	}
	/* No list to be taken off when it is freed, which would clear this. */
	folio_clear_active(folio);
	return true;
}

/**
 * page_hint_evict - drop a folio from its cache if its content is gone
 * @folio: the folio
 * @event: what to count, if it was not yet known to be gone
 *
 * The shadow entry that it leaves is that of workingset_discard(). The slot of
 * a folio of the swap cache is freed only if nobody refers to it.
 *
 * Context: Process context. The caller holds the folio lock and one reference.
 * Return: true if the folio has been removed from the page or swap cache.
 */
bool page_hint_evict(struct folio *folio, enum vm_event_item event)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	if (page_hint_state(folio) == __PG_VOLATILE &&
	    page_hint_discarded(folio_pfn(folio), folio_nr_pages(folio)) &&
	    page_hint_set_stable(folio, event, PAGE_HINT_NO_LIMIT) ==
	    PAGE_HINT_WAS_LOST)
		trace_page_hint_lost(folio);
	if (!__page_hint_lost(folio))
		return false;
	/* Reclaim leaves it alone, too: of a large one, all pages would be used again. */
	if (folio_contain_hwpoisoned_page(folio))
		return false;
	if (folio_test_swapcache(folio))
		return page_hint_evict_swap(folio);
	return mapping_evict_folio(folio->mapping, folio);
}

/**
 * __page_hint_recover - slow path of page_hint_recover()
 * @folio: a lost folio, with a reference of the caller
 *
 * Context: Process context, does not wait.
 * Return: true if the folio and the caller's reference are gone.
 */
bool __page_hint_recover(struct folio *folio)
{
	bool evicted;

	if (!folio_trylock(folio))
		return false;
	evicted = page_hint_evict(folio, PAGE_HINT_LOST);
	folio_unlock(folio);
	if (evicted)
		folio_put(folio);
	return evicted;
}

/**
 * __page_hint_refault - slow path of page_hint_refault()
 * @folio: a lost folio, of a file or of the swap cache, locked
 *
 * It has kept its place on the LRU list, so there is nothing to be restored.
 *
 * Context: Process context.
 * Return: true if waiting for it is a memory stall.
 */
bool __page_hint_refault(struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	/* From here on, not to be uptodate means a failed read. */
	clear_bit(PG_discard, &folio->flags.f);
	lruvec_stat_mod_folio(folio, WORKINGSET_REFAULT_BASE +
			      folio_is_file_lru(folio), folio_nr_pages(folio));
	/* As workingset_discard() would say. It tells all who wait for it. */
	if (folio_test_active(folio))
		folio_set_workingset(folio);
	return folio_test_workingset(folio);
}

/**
 * __page_hint_readahead - slow path of page_hint_readahead()
 * @mapping: the address space
 * @index: start of the window
 * @nr: number of pages in the window
 *
 * Context: Process context, does not wait.
 */
void __page_hint_readahead(struct address_space *mapping, pgoff_t index,
			   unsigned long nr)
{
	XA_STATE(xas, &mapping->i_pages, index);
	struct folio *folio;

	if (!nr)
		return;
	rcu_read_lock();
	xas_for_each(&xas, folio, index + nr - 1) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		if (page_hint_state(folio) != __PG_VOLATILE &&
		    !__page_hint_lost(folio))
			continue;
		if (!folio_try_get(folio))
			continue;
		if (unlikely(folio != xas_reload(&xas))) {
			folio_put(folio);
			continue;
		}
		xas_pause(&xas);
		rcu_read_unlock();
		if (folio_trylock(folio)) {
			page_hint_evict(folio, PAGE_HINT_LOST);
			folio_unlock(folio);
		}
		folio_put(folio);
		cond_resched();
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/**
 * __page_hint_swapin - slow path of page_hint_swapin()
 * @entry: the swap entry
 * @foliop: where to put the folio
 *
 * Context: Process context. Does not wait for the lock of the folio.
 * Return: true if there is a folio to be read.
 */
bool __page_hint_swapin(swp_entry_t entry, struct folio **foliop)
{
	struct folio *folio = swap_cache_peek_folio(entry);

	if (!folio)
		return false;
	if (!__page_hint_lost(folio)) {
		folio_put(folio);
		return false;
	}
	if (!folio_trylock(folio)) {
		folio_put(folio);
		/* Whoever has it locked will not have it for long. */
		schedule_timeout_uninterruptible(1);
		return false;
	}
	if (folio_matches_swap_entry(folio, entry) && __page_hint_lost(folio)) {
		__page_hint_refault(folio);
		*foliop = folio;
		return true;
	}
	folio_unlock(folio);
	folio_put(folio);
	return false;
}

/**
 * __page_hint_swap_free - slow path of page_hint_swap_free()
 * @folio: the folio
 *
 * It will be dirty, which a volatile folio must not be. If it has been lost,
 * nobody will ever miss the content, but for as long as somebody has a
 * reference it passes for anonymous memory. That is never without content:
 * reclaim would even try to swap it out.
 */
void __page_hint_swap_free(struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);

	folio_make_stable(folio);
	if (__page_hint_lost(folio))
		folio_mark_uptodate(folio);
}

/**
 * page_hint_fault - an access has met a discarded frame
 * @pfn: the frame
 *
 * For the architecture's handler of such faults. No correct kernel gets here,
 * as nothing maps or uses a volatile folio; this tells a fault that is real
 * from one that has been dealt with since it was raised.
 *
 * No reference is needed to ask, and to put the last one may not be possible
 * here: a lock of the page allocator may be held. Whoever has the right to the
 * content has made it stable, and keeps it so by a reference. So if the frame is
 * discarded now, the access has none, whoever owns the frame meanwhile.
 *
 * Context: Any. Does not sleep.
 * Return: true if the frame is discarded, and the access cannot be repeated.
 */
bool page_hint_fault(unsigned long pfn)
{
	bool discarded = false;

	count_vm_event(PAGE_HINT_FAULT);
	if (!page_hint_host)
		return true;
	if (pfn_to_online_page(pfn)) {
		discarded = page_hint_discarded(pfn, 1);
	} else {
		/* Memory of a crashed kernel: nobody else will make it stable. */
		page_hint_set_free_bounded(pfn, 1);
	}
	if (discarded)
		page_hint_report(pfn);
	else
		count_vm_event(PAGE_HINT_FAULT_STALE);
	return discarded;
}

/**
 * page_hint_leave - make stable what is volatile, on the way out of the kernel
 *
 * For restarts without reboot notifiers, or which could not wait for all folios:
 * whoever loads the next kernel, or takes a dump, may not know of volatile
 * frames. The flags remain as they are. In a panic they may be wrong, and so may
 * the size of a folio: to make too much stable does no harm, and the backend has
 * to cope with frames that are not there.
 *
 * Context: Any, takes no locks. All other CPUs have been stopped, for good.
 */
void page_hint_leave(void)
{
	unsigned long pfn, nr;
	struct page *page;

	if (!static_key_enabled(&page_hint_key))
		return;
	for (pfn = 0; pfn < max_pfn; pfn++) {
		page = pfn_to_online_page(pfn);
		if (!page) {
			/* There may be much more room than memory. */
			pfn |= PAGE_HINT_BLOCK - 1;
			continue;
		}
		/* The flags are set before a frame is volatile, and as long. */
		if ((READ_ONCE(page->flags.f) & __PG_HINTING) != __PG_VOLATILE)
			continue;
		nr = 1;
		if (pfn_to_online_page(pfn + 1) == page + 1)
			nr = clamp(compound_nr(page), 1UL,
				   1UL << MAX_PAGECACHE_ORDER);
		page_hint_set_free_bounded(pfn, nr);
	}
}

/**
 * page_hint_leave_range - make frames stable that another kernel is about to use
 * @pfn: the first one
 * @end: the one after the last
 *
 * For a crash kernel that gets memory which this kernel has used for page cache
 * (crashkernel=...,cma). Looks at no page, as these may be wrong in a panic.
 * Whatever folio there is in the range is all in it.
 *
 * Context: Any, takes no locks. All other CPUs have been stopped, for good.
 */
void page_hint_leave_range(unsigned long pfn, unsigned long end)
{
	if (!static_key_enabled(&page_hint_used_key))
		return;
	for (; pfn < end; pfn++)
		page_hint_set_free_bounded(pfn, 1);
}
