// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: tell the host which pages are free.
 *
 * What is on the lists of the buddy allocator is unused: its content is worth
 * nothing, and the host may take it without a trace. Two rules make this safe.
 *
 * 1. Whoever puts pages on such a list makes them unused before, outside the
 *    zone lock. He owns them then, nobody else changes their state, and all
 *    that he has written to them (zeros, say) is older. After it, another CPU
 *    could have taken and filled them already. The list of what was freed where
 *    the zone lock could not be had, trylock_free_pages, is such a list: what is
 *    on it gets to the others under the lock.
 *
 * 2. Whoever takes pages off to use them makes them stable after that, and
 *    before anybody else gets them. Between the two operations there are the
 *    release and the acquisition of the zone lock.
 *
 * So a frame which is not on a list, nor on its way between list and owner, is
 * stable, unless nobody is to use it: guard pages, bad pages, offline memory,
 * which becomes stable when it comes online. The converse does not hold, and
 * need not: a page on a list may be stable, for it costs no more than the host's
 * chance. So put_page_back_buddy() needs no hook, nor does who frees where not
 * even an attempt at a lock may be made, nor do those who put back what they
 * have taken off and not used (page reporting, page isolation), or change the
 * order or migrate type of what remains free.
 *
 * free_pages_nolock() and alloc_pages_nolock() may be called in an NMI, and by
 * what runs inside of the page allocator itself (a BPF program at one of its
 * trace points), so even under the zone lock. They do as all others: the state
 * of a page is its owner's business, no lock is needed to change it, and no
 * page is ever in the hands of two.
 *
 * The hooks are for the meanings, and not in the functions that link and unlink,
 * as those serve merging and splitting as well, under the zone lock.
 *
 * Pages on the lists of a CPU are stable. They become unused or stable in
 * batches, when the buddy allocator gets or gives them, and not at all if they
 * are soon used again. What becomes unused is on none of these lists any more.
 * Free pages in the hands of compaction are unused or stable; they are made
 * stable when it gives them to somebody.
 *
 * It begins at boot, before the first page is free. To begin with it later
 * takes two static keys, the one for rule 2 first: who inserts an unused page
 * has seen the other key set, so who removes it, and looks at the key after
 * that, makes it stable. The key for rule 2 is never cleared. There is no point
 * in time when all unused pages have been seen: they may be in the hands of page
 * reporting or compaction, or in memory that is offline. So after switching off,
 * a page is still made stable when it is taken off a list, at one operation per
 * page.
 */

#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>

#include "page_hinting_free.h"

DEFINE_STATIC_KEY_FALSE(page_hint_unused_key);
DEFINE_STATIC_KEY_FALSE(page_hint_unused_used_key);

bool page_hint_unused_at_boot __initdata = true;

/**
 * __page_hint_used_list - slow path of page_hint_used_list()
 * @list: list of pages
 * @count: number of entries at its end
 * @order: order of each
 *
 * Context: Any. The caller owns the pages.
 */
void __page_hint_used_list(struct list_head *list, int count,
			   unsigned int order)
{
	struct page *page;

	list_for_each_entry_reverse(page, list, pcp_list) {
		if (!count--)
			break;
		arch_page_used(page, order);
	}
}

/**
 * page_hint_unused_enable - make pages unused from now on, as they become free
 *
 * Context: May sleep. Or early during boot.
 */
void page_hint_unused_enable(void)
{
	/* Page poisoning would take zeros for corruption. */
	if (!arch_page_hint() || page_poisoning_enabled_static())
		return;
	/* In this order: nothing is unused that nobody would make stable. */
	static_branch_enable(&page_hint_unused_used_key);
	static_branch_enable(&page_hint_unused_key);
}

/**
 * page_hint_unused_disable - leave pages stable from now on
 *
 * Context: May sleep.
 */
void page_hint_unused_disable(void)
{
	static_branch_disable(&page_hint_unused_key);
}

/**
 * page_hint_init - hint on free pages from now on, if there is a host for it
 *
 * Context: Early during boot, before any memory is given to the page
 * allocator, or what is free already would not be unused until it has been
 * used. After it is known whether free pages are poisoned.
 */
void __init page_hint_init(void)
{
	if (page_hint_unused_at_boot)
		page_hint_unused_enable();
}
