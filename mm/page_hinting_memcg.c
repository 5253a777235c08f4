// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: what memory.min and memory.low say about all of memory.
 */

#include <linux/memcontrol.h>
#include <linux/page_counter.h>

#include "page_hinting.h"

/* Protected by the mutex of the clock, and too large for the stack. */
static struct page_counter page_hint_counters[2];

/*
 * What has been calculated last becomes the parent of a copy of @memcg, so that
 * its effective protection can be calculated without a change to @memcg.
 */
static void page_hint_calculate(struct mem_cgroup *memcg,
				struct page_counter *copy,
				struct page_counter *parent)
{
	struct page_counter *counter = &memcg->memory;
	bool recursive = cgrp_dfl_root.flags & CGRP_ROOT_MEMORY_RECURSIVE_PROT;

	copy->parent = parent;
	copy->emin = 0;
	copy->elow = 0;
	copy->min = READ_ONCE(counter->min);
	copy->low = READ_ONCE(counter->low);
	atomic_long_set(&copy->usage, page_counter_read(counter));
	atomic_long_set(&copy->children_min_usage,
			atomic_long_read(&counter->children_min_usage));
	atomic_long_set(&copy->children_low_usage,
			atomic_long_read(&counter->children_low_usage));
	page_counter_calculate_protection(&root_mem_cgroup->memory, copy,
					  recursive);
}

/* The one of @memcg and its ancestors that is next below @above */
static struct mem_cgroup *page_hint_next_below(struct mem_cgroup *memcg,
					       struct mem_cgroup *above)
{
	while (parent_mem_cgroup(memcg) != above)
		memcg = parent_mem_cgroup(memcg);
	return memcg;
}

/**
 * page_hint_usage - memory usage of a cgroup
 * @memcg: the memory cgroup
 *
 * Context: Under RCU, which keeps @memcg.
 * Return: the number of pages charged to @memcg and all below it.
 */
unsigned long page_hint_usage(struct mem_cgroup *memcg)
{
	return page_counter_read(&memcg->memory);
}

/**
 * page_hint_protection - effective protection, as reclaim of all memory sees it
 * @memcg: the memory cgroup
 *
 * mem_cgroup_calculate_protection() stores its results in the cgroups, where
 * they are relative to whatever is being reclaimed. Somebody else may be in the
 * middle of that, for a subtree that has reached its limit. So this does the
 * same to copies, from the top to @memcg, whose results the next level needs.
 *
 * Context: Under RCU, which keeps @memcg, and with the mutex of the clock held.
 * Return: the number of pages of @memcg that are protected.
 */
unsigned long page_hint_protection(struct mem_cgroup *memcg)
{
	struct page_counter *parent = &root_mem_cgroup->memory;
	struct page_counter *copy = NULL;
	struct mem_cgroup *below = root_mem_cgroup;

	/* Most often nobody has asked for any. */
	if (!atomic_long_read(&parent->children_min_usage) &&
	    !atomic_long_read(&parent->children_low_usage))
		return 0;
	while (below != memcg) {
		below = page_hint_next_below(memcg, below);
		copy = &page_hint_counters[parent == &page_hint_counters[0]];
		page_hint_calculate(below, copy, parent);
		parent = copy;
	}
	return copy ? max(copy->emin, copy->elow) : 0;
}
