/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_PAGE_HINTING_H
#define _LINUX_PAGE_HINTING_H

#include <linux/jump_label.h>
#include <linux/page-flags.h>

/**
 * struct page_hint_ops - what a host has to offer
 * @name:	  for the boot log
 * @set_volatile: allow the host to discard the content of a range of frames
 * @set_stable:	  forbid it again, and tell whether the host has already
 *		  discarded any of the frames. Test and change are one atomic
 *		  step: a frame is never reported as kept and then discarded.
 * @is_discarded: tell whether the host has discarded any of the frames, and
 *		  change nothing
 * @enable:	  called each time before the first folio may become volatile;
 *		  an error if that is not possible, and -EOPNOTSUPP if the host
 *		  is not known to keep its promises, unless the argument, force,
 *		  is true
 *
 * A range is given as first page frame number and number of frames. Those of
 * @is_discarded may be any frames, others belong to one folio, or are not there
 * at all, which is the same as a host that does not do as it is told. All but
 * @enable are called in any context, also with interrupts disabled and locks
 * held, and must be notrace. @set_stable and @set_volatile order all accesses to
 * the content of the frames. If the host does not do as it is told, they ask
 * again a few times, call page_hint_failed(), and report what is not known to
 * be kept as discarded. A frame that could not be made stable will be used all
 * the same.
 */
struct page_hint_ops {
	const char *name;
	void (*set_volatile)(unsigned long pfn, unsigned long nr);
	bool (*set_stable)(unsigned long pfn, unsigned long nr);
	bool (*is_discarded)(unsigned long pfn, unsigned long nr);
	int (*enable)(bool force);
};

/**
 * enum page_hint_mode - how much the host is told
 * @PAGE_HINT_MODE_OFF:	   nothing
 * @PAGE_HINT_MODE_UNUSED: which frames are free
 * @PAGE_HINT_MODE_ON:	   and which ones hold idle, clean page cache
 */
enum page_hint_mode {
	PAGE_HINT_MODE_OFF,
	PAGE_HINT_MODE_UNUSED,
	PAGE_HINT_MODE_ON,
};

#ifdef CONFIG_PAGE_HINTING
DECLARE_STATIC_KEY_FALSE(page_hint_key);

int page_hint_register(const struct page_hint_ops *ops);
void page_hint_failed(void);
bool page_hint_fault(unsigned long pfn);
void page_hint_leave(void);
bool __folio_make_stable(struct folio *folio);

/**
 * folio_make_stable - get a folio ready for use of its content
 * @folio: the folio
 *
 * Whoever has just taken a reference to a folio of the page cache, and wants
 * to use the content, calls this before testing folio_test_uptodate(). If the
 * host has discarded the content, the folio is no longer uptodate
 * afterwards, and the caller goes on as after a failed read.
 *
 * Context: Any. The caller holds a reference. Does not sleep.
 * Return: false if the state of the folio could not be found out, which only
 * happens with interrupts disabled. The content must not be touched then.
 */
static inline bool folio_make_stable(struct folio *folio)
{
	if (!static_branch_unlikely(&page_hint_key))
		return true;
	if (likely(!folio_test_hinted(folio)))
		return true;
	return __folio_make_stable(folio);
}
#else
static inline bool folio_make_stable(struct folio *folio)
{
	return true;
}

static inline void page_hint_leave(void)
{
}
#endif /* CONFIG_PAGE_HINTING */
#endif /* _LINUX_PAGE_HINTING_H */
