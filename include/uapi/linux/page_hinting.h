/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
#ifndef _UAPI_LINUX_PAGE_HINTING_H
#define _UAPI_LINUX_PAGE_HINTING_H

/*
 * The byte of a folio's first frame, which guest and hypervisor share: its state,
 * and log2 of its number of frames. Linux has the protocol at the top of
 * mm/page_hinting_shared.c.
 */
#define PAGE_HINT_STATE_STABLE		0
#define PAGE_HINT_STATE_VOLATILE	1
#define PAGE_HINT_STATE_TAKING		2
#define PAGE_HINT_STATE_DISCARDED	3
#define PAGE_HINT_STATE_LAZY		4
#define PAGE_HINT_STATE_MASK		7
#define PAGE_HINT_STATE_ORDER_SHIFT	3

/* A frame has 4K, whatever the size of a page is. */
#define PAGE_HINT_FRAME_SHIFT		12

#endif /* _UAPI_LINUX_PAGE_HINTING_H */
