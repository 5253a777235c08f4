/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_PAGE_HINTING_SIM_H
#define _MM_PAGE_HINTING_SIM_H

#include <linux/types.h>

/**
 * enum page_hint_sim_mode - what the simulated hypervisor takes
 * @PAGE_HINT_SIM_OFF:	  nothing
 * @PAGE_HINT_SIM_SWEEP:  all that is volatile, at once
 * @PAGE_HINT_SIM_RANDOM: some of it, at any time; with all the ways it has to
 *			  do so, and so slowly that others have to wait
 */
enum page_hint_sim_mode {
	PAGE_HINT_SIM_OFF,
	PAGE_HINT_SIM_SWEEP,
	PAGE_HINT_SIM_RANDOM,
};

/**
 * struct page_hint_sim_stats - what it has done so far, in folios
 * @taken:     discarded
 * @lazied:    handed over to a host kernel that does not exist
 * @dropped:   of those, what that one has dropped a page of
 * @gave_up:   left volatile
 * @doorbells: somebody did not want to wait any longer. Not folios
 * @invalid:   states that make no sense, and were ignored
 */
struct page_hint_sim_stats {
	unsigned long taken;
	unsigned long lazied;
	unsigned long dropped;
	unsigned long gave_up;
	unsigned long doorbells;
	unsigned long invalid;
};

int page_hint_sim_start(enum page_hint_sim_mode mode);
void page_hint_sim_stop(void);
void page_hint_sim_stats(struct page_hint_sim_stats *stats);

#endif
