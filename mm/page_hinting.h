/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_PAGE_HINTING_H
#define _MM_PAGE_HINTING_H

#include <linux/page_hinting.h>
#include <linux/pagemap.h>

#ifdef CONFIG_PAGE_HINTING
/* Set by the first change to PAGE_HINTING_ON, and never cleared again. */
DECLARE_STATIC_KEY_FALSE(page_hinting_used_key);

/* The states of a folio, see the essay in page_hinting.c. */
#define HINT_ARMED	BIT(PG_hinted)
#define HINT_VOLATILE	(BIT(PG_hinted) | BIT(PG_volatile))
#define HINT_LOST	BIT(PG_volatile)
#define HINT_MASK	(BIT(PG_hinted) | BIT(PG_volatile))

static inline unsigned long folio_hint_state(const struct folio *folio)
{
	return READ_ONCE(folio->flags) & HINT_MASK;
}

/* Found discarded, and not read in again since? */
static inline bool folio_hint_lost(const struct folio *folio)
{
	return (READ_ONCE(folio->flags) & (HINT_MASK | BIT(PG_uptodate))) ==
	       HINT_LOST;
}

extern const struct page_hinting_ops *page_hinting_host;
extern unsigned int page_hinting_max_order;
extern bool page_hinting_block_devices;

void page_hinting_init_host(const struct page_hinting_ops *ops);
bool page_hint_discarded(unsigned long pfn, unsigned long nr);
bool page_hint_eligible(struct folio *folio);
bool page_hint_folio(struct folio *folio);
bool page_hint_evict(struct folio *folio, enum vm_event_item event);

void __page_hint_free(struct folio *folio);
bool __page_hint_recover(struct folio *folio);
void __page_hint_readahead(struct address_space *mapping, pgoff_t index,
			   unsigned long nr);

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
	if (static_branch_unlikely(&page_hinting_used_key) &&
	    folio_test_hinted(folio))
		__page_hint_free(folio);
}

/**
 * page_hint_recover - let readahead refill the slot of a lost folio
 * @folio: a folio that is not uptodate, with a reference of the caller
 *
 * Reading a lost folio in place reads nothing but this folio. If it is
 * evicted instead, the caller finds an empty slot, as in a cold cache, and
 * does what it does there. A folio is lost once only, so this cannot loop.
 *
 * Context: Process context, no locks on the folio.
 * Return: true if the folio has been evicted; the caller's reference is gone
 * then.
 */
static inline bool page_hint_recover(struct folio *folio)
{
	return static_branch_unlikely(&page_hinting_key) &&
	       folio_hint_lost(folio) && __page_hint_recover(folio);
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
 * Context: Process context, neither the invalidate lock of @mapping nor the
 * lock of a folio is needed.
 */
static inline void page_hint_readahead(struct address_space *mapping,
				       pgoff_t index, unsigned long nr)
{
	if (static_branch_unlikely(&page_hinting_key))
		__page_hint_readahead(mapping, index, nr);
}
#else
static inline void page_hint_free(struct folio *folio)
{
}

static inline bool page_hint_recover(struct folio *folio)
{
	return false;
}

static inline void page_hint_readahead(struct address_space *mapping,
				       pgoff_t index, unsigned long nr)
{
}
#endif /* CONFIG_PAGE_HINTING */
#endif /* _MM_PAGE_HINTING_H */
