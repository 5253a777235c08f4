/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_S390_PAGE_HINTING_H
#define _ASM_S390_PAGE_HINTING_H

#include <asm/page-states.h>

struct page;

/* Free pages, see mm/page_hinting_free.h. */
static inline bool arch_page_hint(void)
{
	return cmma_flag;
}

void arch_page_unused(struct page *page, unsigned int order);
void arch_page_used(struct page *page, unsigned int order);

#endif
