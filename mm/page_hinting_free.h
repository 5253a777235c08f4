/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_PAGE_HINTING_FREE_H
#define _MM_PAGE_HINTING_FREE_H

#include <linux/jump_label.h>
#include <linux/types.h>

struct list_head;
struct page;

/* page_hinting=off says no. */
extern bool page_hint_unused_at_boot;

#ifdef CONFIG_PAGE_HINTING_FREE
/*
 * What an architecture that selects ARCH_HAS_PAGE_HINTING_FREE has to offer:
 *
 * arch_page_hint() - is there a host that wants to know of free pages?
 *
 * arch_page_unused(page, order) - the content of a block of free pages is worth
 * nothing. The host may discard it without a trace, and what is read after the
 * next arch_page_used() is the old content or zeros.
 *
 * arch_page_used(page, order) - a block of pages is about to be used, whether
 * the host knows it as unused or not. From here on its content is kept.
 *
 * The last two may be called in any context, also in an NMI and under the zone
 * lock. They order all accesses to the content of the pages.
 */
#include <asm/page-hinting.h>

/* Free pages are to become unused. */
DECLARE_STATIC_KEY_FALSE(page_hint_unused_key);
/* Some may be. Set before the above, and never cleared again. */
DECLARE_STATIC_KEY_FALSE(page_hint_unused_used_key);

void page_hint_init(void);
void page_hint_unused_enable(void);
void page_hint_unused_disable(void);
void __page_hint_used_list(struct list_head *list, int count,
			   unsigned int order);

/**
 * page_hint_unused_wanted - is the host told about free pages?
 *
 * Context: Any.
 * Return: true if page_hint_unused() does something.
 */
static inline bool page_hint_unused_wanted(void)
{
	return static_branch_unlikely(&page_hint_unused_key);
}

/**
 * page_hint_unused - pages are about to be put on a free list
 * @page: the first page
 * @order: 1 << @order pages
 *
 * The buddy allocator's lists are meant. What is on the lists of a CPU stays
 * stable, or each page would change its state twice on its way through them.
 *
 * Context: Any, an NMI included. The caller owns the pages. Whoever knows should
 * not hold the zone lock, as there may be many, and the host may be slow.
 */
static inline void page_hint_unused(struct page *page, unsigned int order)
{
	if (page_hint_unused_wanted())
		arch_page_unused(page, order);
}

/**
 * page_hint_used - pages that were on a free list are about to be used
 * @page: the first page
 * @order: 1 << @order pages
 *
 * To be called after the pages have been taken off, and before anybody gets
 * to see their content; harmless if they are stable.
 *
 * Context: As page_hint_unused(), but a single page may be dealt with under the
 * zone lock.
 */
static inline void page_hint_used(struct page *page, unsigned int order)
{
	if (static_branch_unlikely(&page_hint_unused_used_key))
		arch_page_used(page, order);
}

/**
 * page_hint_used_list - page_hint_used() for the last pages of a list
 * @list: list of pages, linked by &page->pcp_list
 * @count: number of entries
 * @order: order of each
 *
 * Context: As page_hint_unused().
 */
static inline void page_hint_used_list(struct list_head *list, int count,
				       unsigned int order)
{
	if (static_branch_unlikely(&page_hint_unused_used_key))
		__page_hint_used_list(list, count, order);
}
#else
static inline void page_hint_init(void)
{
}

static inline void page_hint_unused_enable(void)
{
}

static inline void page_hint_unused_disable(void)
{
}

static inline bool page_hint_unused_wanted(void)
{
	return false;
}

static inline void page_hint_unused(struct page *page, unsigned int order)
{
}

static inline void page_hint_used(struct page *page, unsigned int order)
{
}

static inline void page_hint_used_list(struct list_head *list, int count,
				       unsigned int order)
{
}
#endif /* CONFIG_PAGE_HINTING_FREE */
#endif /* _MM_PAGE_HINTING_FREE_H */
