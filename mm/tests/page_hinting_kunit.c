// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests for guest page hinting: the test is the hypervisor, and reads and
 * writes the states that it shares with the guest. It has a file system of its
 * own, which counts how often it is asked for what is in a file.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/page_hinting.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/pseudo_fs.h>
#include <linux/random.h>

#include "../internal.h"
#include "../page_hinting.h"
#include "../page_hinting_sim.h"

#define TEST_MAGIC	0x70686b75
#define TEST_POISON	0xa5
#define TEST_PAGES	BIT(8)

#define FRAMES_SHIFT	(PAGE_SHIFT - PAGE_HINT_FRAME_SHIFT)

struct test_region {
	u64 frame;
	u64 nr;
	u8 *states;
};

struct test_host {
	struct page_hint_transport transport;
	struct vfsmount *mnt;
	struct inode *inode;
	struct test_region *regions;
	int max_regions;
	int nr_regions;
	/* Removed with something in them that is not stable */
	int unsettled;
	/*
	 * What the doorbell finds being taken, and makes of it. But as often as
	 * "retakes" says it is being taken again before the doorbell returns.
	 */
	u8 *taking;
	u8 answer;
	int retakes;
	int doorbells;
	/* What was asked for before the test */
	enum page_hint_mode wanted;
	/* Folios that were read */
	atomic_t reads;
};

/* Which folio is this of? There is one in use at a time. */
static struct test_host *test_current;

static u64 test_word(pgoff_t index, unsigned int i)
{
	return ((u64)index + 1) << 32 | i;
}

static int test_read_folio(struct file *file, struct folio *folio)
{
	unsigned int i, page, words = PAGE_SIZE / sizeof(u64);
	u64 *addr;

	for (page = 0; page < folio_nr_pages(folio); page++) {
		addr = folio_address(folio) + page * PAGE_SIZE;
		for (i = 0; i < words; i++)
			addr[i] = test_word(folio->index + page, i);
	}
	atomic_inc(&test_current->reads);
	folio_mark_uptodate(folio);
	folio_unlock(folio);
	return 0;
}

/* Return: the number of words that are not what they should be. */
static unsigned int test_compare(struct folio *folio)
{
	unsigned int i, page, wrong = 0, words = PAGE_SIZE / sizeof(u64);
	u64 *addr;

	for (page = 0; page < folio_nr_pages(folio); page++) {
		addr = folio_address(folio) + page * PAGE_SIZE;
		for (i = 0; i < words; i++)
			wrong += READ_ONCE(addr[i]) !=
				 test_word(folio->index + page, i);
	}
	return wrong;
}

static const struct address_space_operations test_aops = {
	.read_folio	= test_read_folio,
};

static int test_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, TEST_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type test_fs_type = {
	.name			= "page_hinting_kunit",
	.init_fs_context	= test_init_fs_context,
	.kill_sb		= kill_anon_super,
};

/* As a hypervisor does, after what it has done to the content. */
static void test_set(u8 *state, u8 byte)
{
	/* Pairs with the compare-and-swap that makes the folio stable. */
	smp_store_release(state, byte);
}

static int test_add(struct page_hint_transport *transport, u64 frame, u64 nr,
		    u8 *states)
{
	struct test_host *host = container_of(transport, struct test_host,
					      transport);

	if (host->nr_regions == host->max_regions)
		return -EINVAL;
	host->regions[host->nr_regions++] = (struct test_region) {
		.frame = frame, .nr = nr, .states = states,
	};
	return 0;
}

static int test_remove(struct page_hint_transport *transport, u64 frame, u64 nr,
		       u8 *states)
{
	struct test_host *host = container_of(transport, struct test_host,
					      transport);

	if (memchr_inv(states, 0, nr))
		host->unsettled++;
	host->nr_regions--;
	return 0;
}

static void test_doorbell(struct page_hint_transport *transport)
{
	struct test_host *host = container_of(transport, struct test_host,
					      transport);

	host->doorbells++;
	if (host->taking && host->doorbells > host->retakes) {
		test_set(host->taking, (*host->taking & ~PAGE_HINT_STATE_MASK) |
				       host->answer);
		host->taking = NULL;
	}
}

/* The byte of a folio, or NULL. */
static u8 *test_state(struct test_host *host, struct folio *folio)
{
	u64 frame = (u64)folio_pfn(folio) << FRAMES_SHIFT;
	struct test_region *region;
	int i;

	for (i = 0; i < host->nr_regions; i++) {
		region = &host->regions[i];
		if (frame >= region->frame && frame < region->frame + region->nr)
			return region->states + (frame - region->frame);
	}
	return NULL;
}

static u8 test_byte(struct folio *folio, u8 state)
{
	return state | (folio_order(folio) + FRAMES_SHIFT) <<
		       PAGE_HINT_STATE_ORDER_SHIFT;
}

/* A folio in the page cache with a reference, and what it takes to read it. */
static struct folio *test_get(struct kunit *test, unsigned int order)
{
	struct test_host *host = test->priv;
	struct address_space *mapping = host->inode->i_mapping;
	struct folio *folio;

	mapping_set_folio_order_range(mapping, order, order);
	folio = read_mapping_folio(mapping, 0, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_ASSERT_EQ(test, folio_order(folio), order);
	KUNIT_EXPECT_EQ(test, test_compare(folio), 0);
	return folio;
}

/* Have the test as the host, and switch on. */
static void test_begin(struct kunit *test, unsigned int granule)
{
	struct test_host *host = test->priv;
	int err;

	host->transport.granule = granule;
	err = page_hint_shared_register(&host->transport);
	if (err == -EBUSY)
		kunit_skip(test, "there is a host");
	KUNIT_ASSERT_EQ(test, err, 0);
	/* Nothing is shared before somebody wants it. */
	if (page_hint_wanted != PAGE_HINT_MODE_ON)
		KUNIT_EXPECT_EQ(test, host->nr_regions, 0);
	KUNIT_ASSERT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_ON), 0);
	KUNIT_EXPECT_GT(test, host->nr_regions, 0);
}

/*
 * Two visits of the clock. Return: the state of the folio, which is volatile.
 * There is no reference to the folio, but nobody else is here to free it.
 */
static u8 *test_volatile(struct kunit *test, struct folio *folio)
{
	struct test_host *host = test->priv;
	u8 *state = test_state(host, folio);
	unsigned int tries;

	KUNIT_ASSERT_NOT_NULL(test, state);
	KUNIT_EXPECT_EQ(test, *state, 0);
	folio_put(folio);
	/* Others may have a reference for a moment, as compaction has. */
	for (tries = 0; tries < 10; tries++) {
		KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
		KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
		if (*state)
			break;
	}
	KUNIT_ASSERT_EQ(test, *state,
			test_byte(folio, PAGE_HINT_STATE_VOLATILE));
	KUNIT_EXPECT_EQ(test, page_hint_state(folio), __PG_VOLATILE);
	return state;
}

static u8 *test_prepare(struct kunit *test, unsigned int order,
			struct folio **foliop)
{
	*foliop = test_get(test, order);
	return test_volatile(test, *foliop);
}

/* Have the folio again, and tell whether it was read. */
static int test_again(struct kunit *test, unsigned int order, u8 *state)
{
	struct test_host *host = test->priv;
	int reads = atomic_read(&host->reads);
	struct folio *folio = test_get(test, order);

	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, page_hint_state(folio), 0);
	folio_put(folio);
	return atomic_read(&host->reads) - reads;
}

static void test_discard(struct folio *folio, u8 *state)
{
	memset(folio_address(folio), TEST_POISON, folio_size(folio));
	test_set(state, test_byte(folio, PAGE_HINT_STATE_DISCARDED));
}

static const unsigned int test_orders[] = {
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	2, 5, 8,
#endif
	0,
};

static void test_order_desc(const unsigned int *order, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "order %u", *order);
}

KUNIT_ARRAY_PARAM(test_order, test_orders, test_order_desc);

static unsigned int test_order(struct kunit *test)
{
	return *(const unsigned int *)test->param_value;
}

static void page_hint_kept(struct kunit *test)
{
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 0);
}

static void page_hint_lost_is_read(struct kunit *test)
{
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	test_discard(folio, state);
	KUNIT_EXPECT_TRUE(test, page_hint_discarded(folio_pfn(folio),
						    folio_nr_pages(folio)));
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 1);
}

/* The clock finds what is gone, and gives the memory back. */
static void page_hint_lost_is_evicted(struct kunit *test)
{
	struct test_host *host = test->priv;
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	test_discard(folio, state);
	KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, host->inode->i_mapping->nrpages, 0);
}

static void page_hint_lazy_kept(struct kunit *test)
{
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	test_set(state, test_byte(folio, PAGE_HINT_STATE_LAZY));
	KUNIT_EXPECT_FALSE(test, page_hint_discarded(folio_pfn(folio),
						     folio_nr_pages(folio)));
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 0);
}

/* One frame of it is gone: the first, the last, or one in the middle. */
static void page_hint_lazy_lost(struct kunit *test)
{
	unsigned int order = test_order(test) + FRAMES_SHIFT, i;
	unsigned long frames[] = { 0, (1UL << order) / 2, (1UL << order) - 1 };
	struct folio *folio;
	u8 *state;

	for (i = 0; i < ARRAY_SIZE(frames); i++) {
		state = test_prepare(test, test_order(test), &folio);
		memset(folio_address(folio) +
		       (frames[i] << PAGE_HINT_FRAME_SHIFT), 0,
		       BIT(PAGE_HINT_FRAME_SHIFT));
		test_set(state, test_byte(folio, PAGE_HINT_STATE_LAZY));
		KUNIT_EXPECT_EQ(test, 1,
				test_again(test, test_order(test), state));
	}
}

/* Nobody reads memory that has failed to find out what is left there. */
static void page_hint_poisoned(struct kunit *test)
{
	unsigned int order = test_order(test);
	struct folio *folio;
	struct page *page;
	u8 *state;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_MEMORY_FAILURE");
	state = test_prepare(test, order, &folio);
	test_set(state, test_byte(folio, PAGE_HINT_STATE_LAZY));
	page = folio_page(folio, folio_nr_pages(folio) - 1);
	SetPageHWPoison(page);
	folio_get(folio);
	KUNIT_EXPECT_TRUE(test, folio_make_stable(folio));
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, page_hint_state(folio), __PG_LOST);
	KUNIT_EXPECT_FALSE(test, folio_test_uptodate(folio));
	ClearPageHWPoison(page);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, test_again(test, order, state), 1);
}

/* What is lost and has failed goes nowhere but to memory_failure(). */
static void page_hint_poisoned_remains(struct kunit *test)
{
	unsigned int order = test_order(test);
	struct test_host *host = test->priv;
	struct folio *folio;
	u8 *state;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_MEMORY_FAILURE");
	state = test_prepare(test, order, &folio);
	test_discard(folio, state);
	if (order)
		folio_set_has_hwpoisoned(folio);
	else
		SetPageHWPoison(&folio->page);
	KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
	KUNIT_EXPECT_EQ(test, host->inode->i_mapping->nrpages, 1UL << order);
	if (order)
		folio_clear_has_hwpoisoned(folio);
	else
		ClearPageHWPoison(&folio->page);
	KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
	KUNIT_EXPECT_EQ(test, host->inode->i_mapping->nrpages, 0);
}

/*
 * A frame that is kept because it has failed is not volatile any more, be it that
 * the host has taken it before or not.
 */
static void page_hint_memory_failure(struct kunit *test)
{
	static const u8 states[] = {
		PAGE_HINT_STATE_VOLATILE, PAGE_HINT_STATE_LAZY,
		PAGE_HINT_STATE_DISCARDED,
	};
	struct test_host *host = test->priv;
	struct folio *folio;
	unsigned long pfn;
	unsigned int i;
	u8 *state;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_MEMORY_FAILURE");
	test_begin(test, PAGE_HINT_FRAME_SHIFT);
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = test_prepare(test, 0, &folio);
		pfn = folio_pfn(folio);
		test_set(state, test_byte(folio, states[i]));
		KUNIT_EXPECT_EQ(test, memory_failure(pfn, MF_SW_SIMULATED), 0);
		KUNIT_EXPECT_EQ(test, *state, 0);
		KUNIT_EXPECT_EQ(test, host->inode->i_mapping->nrpages, 0);
		KUNIT_EXPECT_EQ(test, unpoison_memory(pfn), 0);
	}
}

/*
 * What is being taken makes its taker wait, until the doorbell has been rung, and
 * as often as it takes.
 */
static void page_hint_busy(struct kunit *test)
{
	static const struct {
		u8 answer;
		int reads;
		int retakes;
	} cases[] = {
		{ PAGE_HINT_STATE_VOLATILE, 0, 0 },
		{ PAGE_HINT_STATE_LAZY, 0, 0 },
		{ PAGE_HINT_STATE_DISCARDED, 1, 0 },
		{ PAGE_HINT_STATE_DISCARDED, 1, 10 },
	};
	struct test_host *host = test->priv;
	struct folio *folio;
	unsigned int i;
	u8 *state;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		state = test_prepare(test, test_order(test), &folio);
		host->doorbells = 0;
		host->taking = state;
		host->answer = cases[i].answer;
		host->retakes = cases[i].retakes;
		test_set(state, test_byte(folio, PAGE_HINT_STATE_TAKING));
		if (cases[i].reads)
			memset(folio_address(folio), TEST_POISON,
			       folio_size(folio));
		KUNIT_EXPECT_FALSE(test, page_hint_discarded(folio_pfn(folio),
							     folio_nr_pages(folio)));
		KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state),
				cases[i].reads);
		KUNIT_EXPECT_EQ(test, host->doorbells, cases[i].retakes + 1);
	}
}

/* With interrupts disabled, nobody waits, and nobody gets it. */
static void page_hint_busy_irqs_off(struct kunit *test)
{
	struct test_host *host = test->priv;
	struct address_space *mapping = host->inode->i_mapping;
	struct folio *folio, *found;
	unsigned long flags;
	u8 *state = test_prepare(test, test_order(test), &folio);

	test_set(state, test_byte(folio, PAGE_HINT_STATE_TAKING));
	local_irq_save(flags);
	found = filemap_get_folio(mapping, 0);
	local_irq_restore(flags);
	KUNIT_EXPECT_TRUE(test, IS_ERR(found));
	KUNIT_EXPECT_EQ(test, host->doorbells, 0);
	KUNIT_EXPECT_EQ(test, *state, test_byte(folio, PAGE_HINT_STATE_TAKING));

	test_set(state, test_byte(folio, PAGE_HINT_STATE_VOLATILE));
	local_irq_save(flags);
	found = filemap_get_folio(mapping, 0);
	local_irq_restore(flags);
	KUNIT_EXPECT_PTR_EQ(test, found, folio);
	KUNIT_EXPECT_EQ(test, *state, 0);
	if (!IS_ERR(found))
		folio_put(found);
}

/* No frame is freed that is not stable. What is being taken is waited for. */
static void page_hint_freed(struct kunit *test)
{
	static const u8 states[] = {
		PAGE_HINT_STATE_VOLATILE, PAGE_HINT_STATE_DISCARDED,
		PAGE_HINT_STATE_LAZY, PAGE_HINT_STATE_TAKING,
	};
	struct test_host *host = test->priv;
	struct folio *folio;
	unsigned int i;
	u8 *state;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = test_prepare(test, test_order(test), &folio);
		host->doorbells = 0;
		host->taking = NULL;
		if (states[i] == PAGE_HINT_STATE_TAKING)
			host->taking = state;
		host->answer = PAGE_HINT_STATE_DISCARDED;
		host->retakes = 10;
		test_set(state, test_byte(folio, states[i]));
		truncate_inode_pages(host->inode->i_mapping, 0);
		KUNIT_EXPECT_EQ(test, *state, 0);
		KUNIT_EXPECT_EQ(test, host->doorbells,
				states[i] == PAGE_HINT_STATE_TAKING ? 11 : 0);
	}
}

static int test_references;

static bool test_is_discarded(unsigned long pfn, unsigned long nr)
{
	test_references = folio_ref_count(pfn_folio(pfn));
	return false;
}

/*
 * Who takes a reference may be left with the last one, and a fault comes in
 * places where nothing can be freed.
 */
static void page_hint_fault_takes_no_reference(struct kunit *test)
{
	static struct page_hint_ops counting;
	const struct page_hint_ops *ops;
	struct folio *folio;

	test_begin(test, PAGE_HINT_FRAME_SHIFT);
	folio = folio_alloc(GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	ops = page_hint_host;
	counting = *ops;
	counting.is_discarded = test_is_discarded;
	WRITE_ONCE(page_hint_host, &counting);
	KUNIT_EXPECT_FALSE(test, page_hint_fault(folio_pfn(folio)));
	WRITE_ONCE(page_hint_host, ops);
	KUNIT_EXPECT_EQ(test, test_references, 1);
	folio_put(folio);
}

/* Switching off makes all stable, and forgets nothing that is lost. */
static void page_hint_off_and_on(struct kunit *test)
{
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	KUNIT_ASSERT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_UNUSED), 0);
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, page_hint_pass(), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 0);

	KUNIT_ASSERT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_ON), 0);
	state = test_prepare(test, test_order(test), &folio);
	test_discard(folio, state);
	KUNIT_ASSERT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_UNUSED), 0);
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 1);
}

/*
 * Whoever settles does not wait for a host that does not get done, as memory
 * hotplug is off meanwhile, but tries again later.
 */
static void page_hint_settling_ends(struct kunit *test)
{
	struct test_host *host = test->priv;
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);

	host->doorbells = 0;
	host->taking = state;
	host->answer = PAGE_HINT_STATE_DISCARDED;
	host->retakes = 150;
	memset(folio_address(folio), TEST_POISON, folio_size(folio));
	test_set(state, test_byte(folio, PAGE_HINT_STATE_TAKING));
	KUNIT_ASSERT_TRUE(test, folio_try_get(folio));
	KUNIT_EXPECT_FALSE(test, page_hint_settle_folio(folio));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, host->doorbells, 100);
	KUNIT_EXPECT_EQ(test, *state, test_byte(folio, PAGE_HINT_STATE_TAKING));

	KUNIT_ASSERT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_UNUSED), 0);
	KUNIT_EXPECT_EQ(test, host->doorbells, 151);
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 1);
}

/* The host may go and come back. */
static void page_hint_host_goes(struct kunit *test)
{
	struct test_host *host = test->priv;
	struct folio *folio;
	u8 *state = test_prepare(test, test_order(test), &folio);
	int reads = atomic_read(&host->reads);

	test_discard(folio, state);
	page_hint_shared_unregister(&host->transport);
	KUNIT_EXPECT_EQ(test, host->nr_regions, 0);
	KUNIT_EXPECT_EQ(test, host->unsettled, 0);
	KUNIT_EXPECT_EQ(test, page_hint_pass(), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, -ENODEV,
			page_hint_change_mode(PAGE_HINT_MODE_ON));
	folio_put(test_get(test, test_order(test)));
	KUNIT_EXPECT_EQ(test, atomic_read(&host->reads) - reads, 1);

	KUNIT_ASSERT_EQ(test, page_hint_shared_register(&host->transport), 0);
	KUNIT_EXPECT_EQ(test, -EBUSY,
			page_hint_shared_register(&host->transport));
	/* The mode is what it was. */
	state = test_prepare(test, test_order(test), &folio);
	KUNIT_EXPECT_EQ(test, test_again(test, test_order(test), state), 0);
}

/* What the host cannot take does not become volatile, and is not told of. */
static void page_hint_granule(struct kunit *test)
{
	const unsigned int bad[] = {
		0, PAGE_HINT_FRAME_SHIFT - 1,
		PAGE_SHIFT + MAX_PAGECACHE_ORDER + 1,
	};
	unsigned int order = test_order(test), i;
	struct test_host *host = test->priv;
	struct folio *folio;
	u8 *state;

	page_hint_shared_unregister(&host->transport);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		host->transport.granule = bad[i];
		KUNIT_EXPECT_NE(test, 0,
				page_hint_shared_register(&host->transport));
		KUNIT_EXPECT_EQ(test, host->nr_regions, 0);
	}

	test_begin(test, PAGE_SHIFT + order);
	state = test_prepare(test, order, &folio);
	KUNIT_EXPECT_EQ(test, test_again(test, order, state), 0);
	page_hint_shared_unregister(&host->transport);

	/* No folio would be large enough, which is refused, see above. */
	if (order == MAX_PAGECACHE_ORDER)
		return;
	test_begin(test, PAGE_SHIFT + order + 1);
	folio = test_get(test, order);
	state = test_state(host, folio);
	KUNIT_ASSERT_NOT_NULL(test, state);
	folio_put(folio);
	for (i = 0; i < 4; i++)
		KUNIT_ASSERT_EQ(test, page_hint_pass(), 0);
	KUNIT_EXPECT_EQ(test, *state, 0);
	KUNIT_EXPECT_NE(test, page_hint_state(folio), __PG_VOLATILE);
}

/* The next host need not be like the last one. */
static void page_hint_another_host(struct kunit *test)
{
	struct test_host *host = test->priv;
	int i;

	for (i = 0; i < 4; i++) {
		host->transport.lazy = i % 2;
		test_begin(test, PAGE_HINT_FRAME_SHIFT);
		KUNIT_EXPECT_EQ(test, page_hint_max_order,
				host->transport.lazy ? get_order(SZ_128K) :
						       MAX_PAGECACHE_ORDER);
		page_hint_shared_unregister(&host->transport);
	}
}

static int page_hint_init_test(struct kunit *test)
{
	struct test_host *host;

	host = kunit_kzalloc(test, sizeof(*host), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, host);
	/* They have 128 MiB, or more. */
	host->max_regions = DIV_ROUND_UP(max_pfn, BIT(27 - PAGE_SHIFT));
	host->regions = kunit_kcalloc(test, host->max_regions,
				      sizeof(*host->regions), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, host->regions);
	host->transport.name = "a KUnit test";
	host->transport.add = test_add;
	host->transport.remove = test_remove;
	host->transport.doorbell = test_doorbell;
	host->wanted = page_hint_wanted;
	test->priv = host;
	test_current = host;

	host->mnt = kern_mount(&test_fs_type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(host->mnt));
	host->inode = new_inode(host->mnt->mnt_sb);
	KUNIT_ASSERT_NOT_NULL(test, host->inode);
	host->inode->i_mode = S_IFREG | 0600;
	host->inode->i_mapping->a_ops = &test_aops;
	i_size_write(host->inode, TEST_PAGES << PAGE_SHIFT);
	mapping_set_page_hinting(host->inode->i_mapping);

	if (test->param_value)
		test_begin(test, PAGE_HINT_FRAME_SHIFT);
	return 0;
}

static void page_hint_exit_test(struct kunit *test)
{
	struct test_host *host = test->priv;

	if (!host)
		return;
	page_hint_shared_unregister(&host->transport);
	KUNIT_EXPECT_EQ(test, host->unsettled, 0);
	KUNIT_EXPECT_EQ(test, host->nr_regions, 0);
	page_hint_wanted = host->wanted;
	if (!IS_ERR_OR_NULL(host->mnt)) {
		iput(host->inode);
		kern_unmount(host->mnt);
	}
}

#define STRESS_THREADS	4
#define STRESS_FOLIOS	256
#define STRESS_MS	3000

struct stress_thread {
	struct kunit *test;
	struct task_struct *task;
	unsigned int order;
	unsigned long looks;
	unsigned long unknown;
	unsigned long wrong;
};

static void stress_look(struct stress_thread *thread, struct folio *folio)
{
	if (folio_test_uptodate(folio)) {
		thread->looks++;
		thread->wrong += !!test_compare(folio);
	}
	folio_put(folio);
}

/* Read, look without waiting, free. */
static int stress_thread(void *data)
{
	struct stress_thread *thread = data;
	struct test_host *host = thread->test->priv;
	struct address_space *mapping = host->inode->i_mapping;
	struct rnd_state rnd;
	struct folio *folio;
	unsigned long flags;
	pgoff_t index;
	u32 dice;

	prandom_seed_state(&rnd, get_random_u64());
	while (!kthread_should_stop()) {
		dice = prandom_u32_state(&rnd);
		/* Most of them are left alone for long enough. */
		index = prandom_u32_state(&rnd) % STRESS_FOLIOS;
		index <<= thread->order;
		switch (dice % 64) {
		case 0:
			invalidate_mapping_pages(mapping, index, index + 7);
			break;
		case 1 ... 15:
			local_irq_save(flags);
			folio = filemap_get_folio(mapping, index);
			local_irq_restore(flags);
			if (IS_ERR(folio))
				thread->unknown++;
			else
				stress_look(thread, folio);
			break;
		default:
			folio = read_mapping_folio(mapping, index, NULL);
			if (!IS_ERR(folio))
				stress_look(thread, folio);
		}
		if (!(dice & (7 << 16)))
			usleep_range(1000, 20000);
		cond_resched();
	}
	return 0;
}

/* With a hypervisor that takes what it can, nobody finds wrong content. */
static void page_hint_sim_stress(struct kunit *test)
{
	unsigned int order = IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? 2 : 0;
	struct test_host *host = test->priv;
	struct stress_thread *threads;
	struct page_hint_sim_stats stats;
	unsigned long end, looks = 0, unknown = 0;
	int i, err;

	threads = kunit_kcalloc(test, STRESS_THREADS, sizeof(*threads),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, threads);
	i_size_write(host->inode, (loff_t)STRESS_FOLIOS << (PAGE_SHIFT + 2));

	err = page_hint_sim_start(PAGE_HINT_SIM_RANDOM);
	if (err == -EBUSY)
		kunit_skip(test, "there is a host");
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, page_hint_change_mode(PAGE_HINT_MODE_ON), 0);
	if (order)
		mapping_set_folio_order_range(host->inode->i_mapping, order,
					      order);
	for (i = 0; i < STRESS_THREADS; i++) {
		threads[i].test = test;
		threads[i].order = order;
		threads[i].task = kthread_run(stress_thread, &threads[i],
					      "page_hint_stress/%d", i);
	}
	end = jiffies + msecs_to_jiffies(STRESS_MS);
	while (time_before(jiffies, end)) {
		KUNIT_EXPECT_EQ(test, page_hint_pass(), 0);
		/* Off and on, as anybody may do, with folios being taken. */
		if (!(jiffies & 7)) {
			err = page_hint_change_mode(PAGE_HINT_MODE_UNUSED) ?:
			      page_hint_change_mode(PAGE_HINT_MODE_ON);
			KUNIT_EXPECT_EQ(test, err, 0);
		}
		cond_resched();
	}
	for (i = 0; i < STRESS_THREADS; i++) {
		if (IS_ERR_OR_NULL(threads[i].task)) {
			KUNIT_FAIL(test, "no thread");
			continue;
		}
		kthread_stop(threads[i].task);
		looks += threads[i].looks;
		unknown += threads[i].unknown;
		KUNIT_EXPECT_EQ(test, threads[i].wrong, 0);
	}
	page_hint_sim_stats(&stats);
	page_hint_sim_stop();
	kunit_info(test, "%lu looks, %lu not to be had, %d reads\n", looks,
		   unknown, atomic_read(&host->reads));
	kunit_info(test, "%lu taken, %lu lazy, %lu dropped, %lu left, %lu doorbells\n",
		   stats.taken, stats.lazied, stats.dropped, stats.gave_up,
		   stats.doorbells);
	KUNIT_EXPECT_GT(test, stats.taken, 0);
	KUNIT_EXPECT_GT(test, stats.lazied, 0);
	KUNIT_EXPECT_GT(test, stats.dropped, 0);
	KUNIT_EXPECT_GT(test, stats.doorbells, 0);
	KUNIT_EXPECT_EQ(test, stats.invalid, 0);
}

static struct kunit_case page_hint_test_cases[] = {
	KUNIT_CASE_PARAM(page_hint_kept, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_lost_is_read, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_lost_is_evicted, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_lazy_kept, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_lazy_lost, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_poisoned, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_poisoned_remains, test_order_gen_params),
	KUNIT_CASE(page_hint_memory_failure),
	KUNIT_CASE_PARAM(page_hint_busy, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_busy_irqs_off, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_freed, test_order_gen_params),
	KUNIT_CASE(page_hint_fault_takes_no_reference),
	KUNIT_CASE_PARAM(page_hint_off_and_on, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_settling_ends, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_host_goes, test_order_gen_params),
	KUNIT_CASE_PARAM(page_hint_granule, test_order_gen_params),
	KUNIT_CASE(page_hint_another_host),
	KUNIT_CASE_SLOW(page_hint_sim_stress),
	{}
};

static struct kunit_suite page_hint_test_suite = {
	.name = "page_hinting",
	.init = page_hint_init_test,
	.exit = page_hint_exit_test,
	.test_cases = page_hint_test_cases,
};

kunit_test_suite(page_hint_test_suite);
