/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM page_hinting

#if !defined(_TRACE_PAGE_HINTING_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PAGE_HINTING_H

#include <linux/mm.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(page_hinting_folio,

	TP_PROTO(struct folio *folio),

	TP_ARGS(folio),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned long, index)
		__field(unsigned char, order)
	),

	TP_fast_assign(
		__entry->pfn = folio_pfn(folio);
		__entry->index = folio->index;
		__entry->order = folio_order(folio);
	),

	TP_printk("pfn=0x%lx index=0x%lx order=%u",
		  __entry->pfn, __entry->index, __entry->order)
);

DEFINE_EVENT(page_hinting_folio, made_volatile,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

DEFINE_EVENT(page_hinting_folio, made_stable,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

DEFINE_EVENT(page_hinting_folio, lost,
	TP_PROTO(struct folio *folio), TP_ARGS(folio));

#endif /* _TRACE_PAGE_HINTING_H */

#include <trace/define_trace.h>
