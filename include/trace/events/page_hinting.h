/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM page_hinting

#if !defined(_TRACE_PAGE_HINTING_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PAGE_HINTING_H

#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/tracepoint.h>

#ifdef CREATE_TRACE_POINTS
/* NULL for the swap cache, and for a folio that has left the page cache. */
static inline const struct inode *page_hint_inode(const struct folio *folio)
{
	struct address_space *mapping = READ_ONCE(folio->mapping);

	if ((unsigned long)mapping & FOLIO_MAPPING_FLAGS)
		return NULL;
	return mapping ? mapping->host : NULL;
}
#endif

DECLARE_EVENT_CLASS(page_hint_template,

	TP_PROTO(struct folio *folio),

	TP_ARGS(folio),

	TP_STRUCT__entry(
		__field(u64, ino)
		__field(unsigned long, pfn)
		__field(unsigned long, index)
		__field(dev_t, dev)
		__field(unsigned char, order)
	),

	TP_fast_assign(
		const struct inode *inode;

		/* The folio may be unlocked, but inodes are freed by RCU. */
		rcu_read_lock();
		inode = page_hint_inode(folio);
		__entry->ino = inode ? inode->i_ino : 0;
		__entry->dev = inode ? inode->i_sb->s_dev : 0;
		rcu_read_unlock();
		__entry->pfn = folio_pfn(folio);
		__entry->index = folio->index;
		__entry->order = folio_order(folio);
	),

	TP_printk("dev %d:%d ino %llu pfn=0x%lx index=0x%lx order=%u",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino,
		  __entry->pfn, __entry->index, __entry->order)
);

DEFINE_EVENT(page_hint_template, page_hint_volatile,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

DEFINE_EVENT(page_hint_template, page_hint_stable,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

DEFINE_EVENT(page_hint_template, page_hint_lost,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

TRACE_EVENT(page_hint_waited,

	TP_PROTO(unsigned long pfn, u64 ns),

	TP_ARGS(pfn, ns),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->ns = ns;
	),

	TP_printk("pfn=0x%lx ns=%llu", __entry->pfn, __entry->ns)
);

#endif /* _TRACE_PAGE_HINTING_H */

#include <trace/define_trace.h>
