/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_PAGE_HINTING_H
#define _LINUX_PAGE_HINTING_H

#include <linux/jump_label.h>
#include <linux/page-flags.h>
#include <uapi/linux/page_hinting.h>

/**
 * struct page_hint_ops - what a host has to offer
 * @name:	  for the boot log
 * @set_volatile: allow the host to discard the content of a range of frames
 * @set_stable:	  forbid it again, and tell whether the host has already
 *		  discarded any of the frames. Test and change are one atomic
 *		  step: a frame is never reported as kept and then discarded.
 *		  0 if all are kept, 1 if not, and -EBUSY if the host is just
 *		  taking them, in which case nothing has changed
 * @set_free:	  the same for frames whose content nobody wants any more: if it
 *		  is still there need not be found out. 0 or -EBUSY. NULL for
 *		  @set_stable to be used
 * @wait:	  wait until the host is done with what made the other two busy:
 *		  a short while if it may be so by itself, and then ask for it.
 *		  It may have become busy once more since. NULL if they never are
 * @is_discarded: tell whether the host has discarded any of the frames, and
 *		  change nothing
 * @enable:	  called each time before the first folio may become volatile;
 *		  an error if that is not possible, and -EOPNOTSUPP if the host
 *		  is not known to keep its promises, unless the argument, force,
 *		  is true
 * @min_order:	  smaller folios do not become volatile, as the host cannot take
 *		  them. Changes only while the host is not registered
 * @max_order:	  larger folios do not become volatile but are split, unless an
 *		  administrator says otherwise. For hosts that take single frames
 *		  of a folio; UINT_MAX for others
 *
 * A range is given as first page frame number and number of frames. Those of
 * @is_discarded may be any frames, others belong to one folio, or are not there
 * at all, which is the same as a host that does not do as it is told. All but
 * @enable are called in any context, also with interrupts disabled and locks
 * held, and must be notrace. @wait is called without the hash lock, and with
 * interrupts disabled only if a folio is freed so, or in a panic.
 *
 * @set_stable and @set_volatile order all accesses to the content of the frames.
 * If the host does not do as it is told, they ask again a few times, call
 * page_hint_failed(), and report what is not known to be kept as discarded. A
 * frame that could not be made stable will be used all the same.
 */
struct page_hint_ops {
	const char *name;
	void (*set_volatile)(unsigned long pfn, unsigned long nr);
	int (*set_stable)(unsigned long pfn, unsigned long nr);
	int (*set_free)(unsigned long pfn, unsigned long nr);
	void (*wait)(unsigned long pfn);
	bool (*is_discarded)(unsigned long pfn, unsigned long nr);
	int (*enable)(bool force);
	unsigned int min_order;
	unsigned int max_order;
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
bool page_hint_unregister(void);
void page_hint_failed(void);
bool page_hint_fault(unsigned long pfn);
void page_hint_leave(void);
void page_hint_leave_range(unsigned long pfn, unsigned long end);
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

/**
 * struct page_hint_transport - how to tell a hypervisor about page states
 * @name:	 for the boot log
 * @granule:	 log2 of the number of bytes that the hypervisor can take at once,
 *		 at least PAGE_HINT_FRAME_SHIFT. It never takes a smaller folio
 * @lazy:	 the hypervisor may make folios lazy
 * @add:	 share a region: its first frame, the number of frames, both in
 *		 units of 4K, and an array with a byte for each. -EINVAL if the
 *		 hypervisor refuses; after any other error, it may have the array.
 *		 May sleep
 * @remove:	 share it no longer. When this returns, no folio of the region is
 *		 being taken, and the hypervisor does not look at the array any
 *		 more. Or an error, if that is not known. May sleep
 * @doorbell:	 returns when each folio is done with that was being taken when it
 *		 was called. Others, or the same once more, may be being taken by
 *		 then. Called in any context, without locks of page hinting
 */
struct page_hint_transport {
	const char *name;
	unsigned int granule;
	bool lazy;
	int (*add)(struct page_hint_transport *transport, u64 frame, u64 nr,
		   u8 *states);
	int (*remove)(struct page_hint_transport *transport, u64 frame, u64 nr,
		      u8 *states);
	void (*doorbell)(struct page_hint_transport *transport);
};

bool page_hint_shared_possible(void);
int page_hint_shared_register(struct page_hint_transport *transport);
void page_hint_shared_unregister(struct page_hint_transport *transport);
#else
static inline bool folio_make_stable(struct folio *folio)
{
	return true;
}

static inline void page_hint_leave(void)
{
}

static inline void page_hint_leave_range(unsigned long pfn, unsigned long end)
{
}
#endif /* CONFIG_PAGE_HINTING */
#endif /* _LINUX_PAGE_HINTING_H */
