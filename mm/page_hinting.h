/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_PAGE_HINTING_H
#define _MM_PAGE_HINTING_H

#include <linux/page_hinting.h>
#include <linux/pagemap.h>

#ifdef CONFIG_PAGE_HINTING
/* Set by the first change to PAGE_HINT_MODE_ON, and never cleared again. */
DECLARE_STATIC_KEY_FALSE(page_hint_used_key);

/* The states of a folio, see the essay in page_hinting.c. */
#define __PG_ARMED	BIT(PG_hinted)
#define __PG_VOLATILE	(BIT(PG_hinted) | BIT(PG_discard))
#define __PG_LOST	BIT(PG_discard)

/*
 * What is true of one frame of such a block is true of all: it is there, and
 * online, or not. A hole or a device may be smaller than a pageblock.
 */
#ifdef CONFIG_SPARSEMEM
#define PAGE_HINT_BLOCK	min(pageblock_nr_pages, PAGES_PER_SUBSECTION)
#else
#define PAGE_HINT_BLOCK	pageblock_nr_pages
#endif

static inline unsigned long page_hint_state(const struct folio *folio)
{
	return READ_ONCE(folio->flags.f) & __PG_HINTING;
}

/*
 * Found discarded, and not read in again since? What is filled in parts gets
 * private data first, which nothing has that becomes volatile.
 */
static inline bool __page_hint_lost(const struct folio *folio)
{
	return (READ_ONCE(folio->flags.f) & (__PG_HINTING | BIT(PG_uptodate) |
					   BIT(PG_private))) == __PG_LOST;
}

/**
 * page_hint_ready - is a folio stable, uptodate, and not marked for readahead?
 * @folio: the folio, with a reference
 *
 * Reads of the page cache look at the other two flags of each folio anyway.
 * This looks at all of them in one go, so that readers do not pay for hinting.
 * It has to be one look: PG_uptodate seen before PG_hinted was found clear may
 * have gone with it.
 *
 * Context: Any.
 * Return: true if a reader may use the folio and go on to the next one. If not,
 * it has to be made stable before anything else is done with it.
 */
static inline bool page_hint_ready(const struct folio *folio)
{
	const unsigned long mask = BIT(PG_uptodate) | BIT(PG_readahead) |
				   BIT(PG_hinted);

	if (unlikely((READ_ONCE(folio->flags.f) & mask) != BIT(PG_uptodate)))
		return false;
	/* Pairs with smp_wmb() in folio_mark_uptodate() */
	smp_rmb();
	return true;
}

extern const struct page_hint_ops *page_hint_host;
extern unsigned int page_hint_min_order;
extern unsigned int page_hint_max_order;
extern unsigned int page_hint_block_devices;
extern enum page_hint_mode page_hint_wanted;
extern struct dentry *page_hint_debugfs;

void page_hint_init_host(const struct page_hint_ops *ops);
int page_hint_change_mode(enum page_hint_mode mode);
int page_hint_pass(void);
bool page_hint_discarded(unsigned long pfn, unsigned long nr);
bool page_hint_mapping_eligible(struct address_space *mapping);
bool page_hint_eligible(struct folio *folio);
bool page_hint_folio(struct folio *folio);
bool page_hint_settle_folio(struct folio *folio);
bool page_hint_evict(struct folio *folio, enum vm_event_item event);

raw_spinlock_t *page_hint_lock(struct folio *folio);

#ifdef CONFIG_MEMCG
unsigned long page_hint_usage(struct mem_cgroup *memcg);
unsigned long page_hint_protection(struct mem_cgroup *memcg);

/* To be compared, and not to be used: the cgroup may be gone. 0 if none. */
static inline unsigned long page_hint_charged_to(const struct page *page)
{
	return READ_ONCE(page->memcg_data);
}
#else
static inline unsigned long page_hint_usage(struct mem_cgroup *memcg)
{
	return 0;
}

static inline unsigned long page_hint_protection(struct mem_cgroup *memcg)
{
	return 0;
}

static inline unsigned long page_hint_charged_to(const struct page *page)
{
	return 0;
}
#endif

void __page_hint_free(struct folio *folio);
bool __page_hint_recover(struct folio *folio);
bool __page_hint_refault(struct folio *folio);
void *workingset_discard(struct folio *folio);
void __page_hint_readahead(struct address_space *mapping, pgoff_t index,
			   unsigned long nr);
bool __page_hint_swapin(swp_entry_t entry, struct folio **foliop);
void __page_hint_swap_free(struct folio *folio);

/**
 * page_hint_free - a folio is on its way to the page allocator
 * @folio: the folio, without references
 *
 * No frame may reach its next owner volatile. Tests the flag and not whether
 * hinting is switched on: what is flagged needs care in any case.
 *
 * Context: Any, interrupts may be disabled.
 */
static inline void page_hint_free(struct folio *folio)
{
	if (static_branch_unlikely(&page_hint_used_key) &&
	    folio_test_hinted(folio))
		__page_hint_free(folio);
}

/**
 * page_hint_flush_pending - a folio was unmapped, and the TLB is flushed later
 * @folio: the folio
 *
 * Disarms it, so that the clock passes its end once between this and the folio
 * becoming volatile, and flushes there. To be called after the page table entry
 * has been cleared.
 *
 * Context: Process context. The caller holds the folio lock.
 */
static inline void page_hint_flush_pending(struct folio *folio)
{
	if (!static_branch_unlikely(&page_hint_key))
		return;
	/*
	 * Either the clock, which arms without a lock, finds the entry cleared
	 * when it flushes, or this finds the folio armed. Pairs with the full
	 * barriers of the compare-and-swap in page_hint_visit() and of
	 * set_mask_bits() in page_hint_arm().
	 */
	smp_mb();
	folio_make_stable(folio);
}

/**
 * page_hint_recover - let readahead refill the slot of a lost folio
 * @folio: a folio that is not uptodate, with a reference of the caller
 *
 * Reading a lost folio in place reads nothing but this folio. If it is
 * evicted instead, the caller finds an empty slot, as in a cold cache, and
 * does what it does there. What takes the slot then is not lost, so this cannot
 * loop.
 *
 * Context: Process context, no locks on the folio.
 * Return: true if the folio has been evicted; the caller's reference is gone
 * then.
 */
static inline bool page_hint_recover(struct folio *folio)
{
	return static_branch_unlikely(&page_hint_key) &&
	       __page_hint_lost(folio) && __page_hint_recover(folio);
}

/**
 * page_hint_lost - has the content been found discarded?
 * @folio: the folio, made stable by its lookup
 *
 * What is lost remains so when hinting is switched off.
 *
 * Context: Any. The caller holds a reference, so that a folio which is not
 * lost will not be.
 * Return: true if the content has to be read again because the host took it. If
 * it is not true, a folio that is not uptodate is either being read, or has
 * failed to be.
 */
static inline bool page_hint_lost(const struct folio *folio)
{
	return static_branch_unlikely(&page_hint_used_key) &&
	       __page_hint_lost(folio);
}

/**
 * page_hint_unread - is there something in a folio of a file that is no content?
 * @folio: the folio, made stable by its lookup
 *
 * For who would go by the presence of a folio, and not look at PG_uptodate. What
 * was lost may have failed to be read again, or may have been read in parts.
 *
 * Context: Any. The caller holds a reference and the folio lock.
 * Return: true if the folio must not be mapped.
 */
static inline bool page_hint_unread(const struct folio *folio)
{
	return static_branch_unlikely(&page_hint_used_key) &&
	       !folio_test_swapbacked(folio) && !folio_test_uptodate(folio);
}

/**
 * page_hint_drop - evict a folio whose content was found discarded
 * @folio: the folio, locked, with one reference of the caller
 *
 * Context: Process context.
 * Return: true if the folio was lost, and has been removed from the page cache.
 */
static inline bool page_hint_drop(struct folio *folio)
{
	return page_hint_lost(folio) && page_hint_evict(folio, PAGE_HINT_LOST);
}

/**
 * page_hint_shadow - what to leave behind in the page cache
 * @mapping: where it is
 * @folio: the folio that is being removed, not by reclaim
 *
 * Context: The folio is locked and frozen, under the lock of the page cache.
 * Return: a shadow entry if the host has taken the content, or else NULL.
 */
static inline void *page_hint_shadow(struct address_space *mapping,
				     struct folio *folio)
{
	/* What has failed is charged to nobody any more. */
	if (page_hint_lost(folio) && !mapping_exiting(mapping) &&
	    !folio_contain_hwpoisoned_page(folio))
		return workingset_discard(folio);
	return NULL;
}

/**
 * page_hint_refault - note that a folio is about to be read, maybe again
 * @folio: the folio, locked
 *
 * For lost folios that are still in place. For those that have been evicted,
 * workingset_refault() does it.
 *
 * Context: Process context.
 * Return: true if waiting for a lost folio is a memory stall.
 */
static inline bool page_hint_refault(struct folio *folio)
{
	return page_hint_lost(folio) && __page_hint_refault(folio);
}

/**
 * page_hint_readahead - make room where readahead is about to read
 * @mapping: the address space
 * @index: start of the window
 * @nr: number of pages in the window
 *
 * Readahead skips what is cached. Evict the folios in the window that are
 * only seemingly so, as the host has discarded their content.
 *
 * Context: Process context. The invalidate lock of @mapping may be held, but
 * need not, nor the lock of a folio.
 */
static inline void page_hint_readahead(struct address_space *mapping,
				       pgoff_t index, unsigned long nr)
{
	if (static_branch_unlikely(&page_hint_key))
		__page_hint_readahead(mapping, index, nr);
}

/**
 * page_hint_gap - does an entry of the page cache look like a gap to readahead?
 * @xas: where it was found
 * @entry: what xas_prev() has found there, not a value entry
 *
 * Readahead takes what is cached before a page for the traces of somebody who
 * reads sequentially. What has been idle for so long that it is volatile, or
 * is even lost, is no such trace. Looks only, and changes nothing.
 *
 * Context: Any, a reference to the folio is not needed.
 * Return: true if the entry is a folio that is volatile or lost.
 */
static inline bool page_hint_gap(const struct xa_state *xas, void *entry)
{
	if (!static_branch_unlikely(&page_hint_key))
		return false;
	/* In the middle of a large folio, xas_prev() does not find the folio. */
	if (xa_is_internal(entry))
		entry = xa_load(xas->xa, xas->xa_index);
	return entry && !xa_is_value(entry) &&
	       (page_hint_state(entry) == __PG_VOLATILE ||
		__page_hint_lost(entry));
}

/**
 * page_hint_swap_take - get a folio of the swap cache ready for use of its content
 * @folio: the folio, with a reference, or NULL
 *
 * Where a folio that is not uptodate has no second chance, a lost one must not
 * be seen. A miss makes all callers go to where page_hint_swapin() is.
 *
 * Context: Process context.
 * Return: @folio, or NULL if there is none, or its content is lost. The
 * reference is gone then.
 */
static inline struct folio *page_hint_swap_take(struct folio *folio)
{
	if (!folio)
		return NULL;
	if (likely(folio_make_stable(folio) && !page_hint_lost(folio)))
		return folio;
	folio_put(folio);
	return NULL;
}

/**
 * page_hint_swapin - have a lost folio of the swap cache read again
 * @entry: a swap entry which has a folio, although looking it up was a miss
 * @foliop: where to put the folio
 *
 * Context: Process context. May sleep, but does not wait for the lock of the
 * folio: the caller may have others locked whose reads are not yet submitted.
 * Return: true if the folio is now locked, and is to be read by the caller as
 * if it had just been added to the swap cache. Otherwise look it up again.
 */
static inline bool page_hint_swapin(swp_entry_t entry, struct folio **foliop)
{
	return static_branch_unlikely(&page_hint_used_key) &&
	       __page_hint_swapin(entry, foliop);
}

/**
 * page_hint_swap_free - a folio is about to leave the swap cache, not by reclaim
 * @folio: the folio
 *
 * Context: Process context. The caller holds the folio lock. Most often nobody
 * uses the slot any more, and the folio becomes dirty.
 */
static inline void page_hint_swap_free(struct folio *folio)
{
	if (static_branch_unlikely(&page_hint_used_key))
		__page_hint_swap_free(folio);
}

/**
 * page_hint_swap_migrate - a folio takes the place of another one
 * @newfolio: the folio that is about to be put into the swap cache
 * @folio: the folio that it will replace, with its reference count frozen
 *
 * Context: Any. The caller holds the lock of both folios.
 */
static inline void page_hint_swap_migrate(struct folio *newfolio,
					  const struct folio *folio)
{
	if (page_hint_lost(folio))
		set_bit(PG_discard, &newfolio->flags.f);
}
#else
static inline bool page_hint_ready(const struct folio *folio)
{
	return false;
}

static inline void page_hint_free(struct folio *folio)
{
}

static inline void page_hint_flush_pending(struct folio *folio)
{
}

static inline bool page_hint_recover(struct folio *folio)
{
	return false;
}

static inline bool page_hint_lost(const struct folio *folio)
{
	return false;
}

static inline bool page_hint_unread(const struct folio *folio)
{
	return false;
}

static inline bool page_hint_drop(struct folio *folio)
{
	return false;
}

static inline void *page_hint_shadow(struct address_space *mapping,
				     struct folio *folio)
{
	return NULL;
}

static inline bool page_hint_refault(struct folio *folio)
{
	return false;
}

static inline void page_hint_readahead(struct address_space *mapping,
				       pgoff_t index, unsigned long nr)
{
}

static inline bool page_hint_gap(const struct xa_state *xas, void *entry)
{
	return false;
}

static inline bool page_hint_swapin(swp_entry_t entry, struct folio **foliop)
{
	return false;
}

static inline void page_hint_swap_free(struct folio *folio)
{
}

static inline void page_hint_swap_migrate(struct folio *newfolio,
					  const struct folio *folio)
{
}
#endif /* CONFIG_PAGE_HINTING */
#endif /* _MM_PAGE_HINTING_H */
