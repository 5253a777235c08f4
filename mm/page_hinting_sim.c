// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: a thread that plays the hypervisor.
 *
 * It shares the array of mm/page_hinting_shared.c as a hypervisor does, and
 * discards what is volatile by overwriting it. So the memory management of any
 * architecture can be run with hinting, on whatever it runs otherwise, and
 * whoever uses content without having made it stable finds a pattern which is
 * not in any file.
 *
 * What it takes is in a list, under a spin lock, which is given up in between:
 * then the others meet a folio that is being taken. The doorbell finishes what is
 * in the list, so nobody depends on when this thread runs again.
 *
 * A host kernel that was handed a page drops it if it has not been written to.
 * There is no way to know that from here, so what is lazy is dropped while it is
 * being taken, and lazy again after that. The probe finds the zeros all the same.
 */

#define pr_fmt(fmt) "page_hinting_sim: " fmt

#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/page_hinting.h>
#include <linux/panic.h>
#include <linux/pfn.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "page_hinting_sim.h"

#define FRAME_SIZE	BIT(PAGE_HINT_FRAME_SHIFT)

/* Folios, and frames if there is more than one folio, to be taken in one go. */
#define SIM_BATCH	32
#define SIM_FRAMES	512

/* Between two rounds */
#define SIM_PAUSE_US	1000
/* The longest time that a folio is being taken, unless somebody wants it. */
#define SIM_DWELL_US	2000

/* What the bytes of a folio become that is discarded */
#define SIM_POISON	0x5a

struct sim_region {
	struct list_head list;
	u64 frame;
	u64 nr;
	u8 *states;
};

struct sim_take {
	u8 *state;
	u8 order;
	bool lazy;
	bool random;
	u64 frame;
};

/* Protects the list of regions, which remain as long as it is held. */
static DEFINE_MUTEX(sim_mutex);
static LIST_HEAD(sim_regions);
static struct task_struct *sim_task;

/* Protects all below. Taken in any context, inside of everything. */
static DEFINE_RAW_SPINLOCK(sim_lock);
static struct sim_take sim_takes[SIM_BATCH];
static unsigned int sim_nr_takes;
static u64 sim_frames;
static struct page_hint_sim_stats sim_stats;
static struct rnd_state sim_rnd;

static enum page_hint_sim_mode sim_mode;

static notrace bool sim_one_in(u32 n)
{
	return !(prandom_u32_state(&sim_rnd) % n);
}

static notrace void *sim_address(u64 frame)
{
	unsigned long pfn = frame >> (PAGE_SHIFT - PAGE_HINT_FRAME_SHIFT);

	return page_address(pfn_to_page(pfn)) +
	       offset_in_page(frame << PAGE_HINT_FRAME_SHIFT);
}

static notrace void sim_set(struct sim_take *take, u8 state)
{
	/* After what was done with the content. Pairs with who makes it stable. */
	smp_store_release(take->state,
			  state | take->order << PAGE_HINT_STATE_ORDER_SHIFT);
}

static notrace void sim_discard(struct sim_take *take)
{
	memset(sim_address(take->frame), SIM_POISON, FRAME_SIZE << take->order);
	sim_stats.taken++;
	sim_set(take, PAGE_HINT_STATE_DISCARDED);
}

/* A host kernel drops none, one, or all pages, and may know of it or not. */
static notrace void sim_finish_lazy(struct sim_take *take)
{
	u64 frame = prandom_u32_state(&sim_rnd) & (BIT(take->order) - 1);

	if (sim_one_in(4)) {
		sim_discard(take);
		return;
	}
	if (sim_one_in(2)) {
		memset(sim_address(take->frame + frame), 0, FRAME_SIZE);
		sim_stats.dropped++;
	}
	sim_set(take, PAGE_HINT_STATE_LAZY);
}

static notrace void sim_finish_one(struct sim_take *take)
{
	if (!take->random) {
		sim_discard(take);
	} else if (take->lazy) {
		sim_finish_lazy(take);
	} else if (sim_one_in(2)) {
		sim_discard(take);
	} else if (sim_one_in(4)) {
		sim_stats.gave_up++;
		sim_set(take, PAGE_HINT_STATE_VOLATILE);
	} else {
		sim_stats.lazied++;
		sim_set(take, PAGE_HINT_STATE_LAZY);
	}
}

static notrace void sim_finish(void)
{
	lockdep_assert_held(&sim_lock);

	while (sim_nr_takes)
		sim_finish_one(&sim_takes[--sim_nr_takes]);
	sim_frames = 0;
}

/*
 * What this reads may be nonsense, and is in a real hypervisor whatever a guest
 * likes to write there.
 */
static void sim_take(struct sim_region *region, u64 i, bool random)
{
	u8 *state = region->states + i;
	u8 old = READ_ONCE(*state), order = old >> PAGE_HINT_STATE_ORDER_SHIFT;
	u64 frame = region->frame + i, nr = 1ULL << order;

	lockdep_assert_held(&sim_lock);

	switch (old & PAGE_HINT_STATE_MASK) {
	case PAGE_HINT_STATE_VOLATILE:
	case PAGE_HINT_STATE_LAZY:
		break;
	case PAGE_HINT_STATE_STABLE:
		if (!old)
			return;
		fallthrough;
	default:
		sim_stats.invalid++;
		return;
	case PAGE_HINT_STATE_DISCARDED:
		return;
	}
	if (nr > region->nr - i || frame & (nr - 1)) {
		sim_stats.invalid++;
		return;
	}
	/* Pairs with the release that made it volatile, and with who takes it back. */
	if (cmpxchg(state, old, (old & ~PAGE_HINT_STATE_MASK) |
				PAGE_HINT_STATE_TAKING) != old)
		return;
	sim_takes[sim_nr_takes++] = (struct sim_take) {
		.state	= state,
		.order	= order,
		.lazy	= (old & PAGE_HINT_STATE_MASK) == PAGE_HINT_STATE_LAZY,
		.random	= random,
		.frame	= frame,
	};
	sim_frames += nr;
}

/* Others may come in here, and find what is being taken. */
static void sim_dwell(void)
{
	u32 us;

	scoped_guard(raw_spinlock_irqsave, &sim_lock)
		us = sim_one_in(8) ? prandom_u32_state(&sim_rnd) % SIM_DWELL_US : 0;
	if (us > 100)
		usleep_range(us, us + 100);
	else
		udelay(us);
}

static void sim_finish_batch(bool random)
{
	if (random)
		sim_dwell();
	scoped_guard(raw_spinlock_irqsave, &sim_lock)
		sim_finish();
}

static void sim_visit(struct sim_region *region, bool random)
{
	bool full;
	u64 i;

	for (i = 0; i < region->nr; i++) {
		if (!READ_ONCE(region->states[i]))
			continue;
		scoped_guard(raw_spinlock_irqsave, &sim_lock) {
			if (!random || sim_one_in(4))
				sim_take(region, i, random);
			full = sim_nr_takes == SIM_BATCH ||
			       sim_frames >= SIM_FRAMES;
		}
		if (full)
			sim_finish_batch(random);
		cond_resched();
	}
	sim_finish_batch(random);
}

static int sim_thread(void *data)
{
	enum page_hint_sim_mode mode;
	struct sim_region *region;

	while (!kthread_should_stop()) {
		mutex_lock(&sim_mutex);
		list_for_each_entry(region, &sim_regions, list) {
			mode = READ_ONCE(sim_mode);
			if (mode != PAGE_HINT_SIM_OFF)
				sim_visit(region, mode == PAGE_HINT_SIM_RANDOM);
		}
		mutex_unlock(&sim_mutex);
		usleep_range(SIM_PAUSE_US, 2 * SIM_PAUSE_US);
	}
	return 0;
}

static int sim_add(struct page_hint_transport *transport, u64 frame, u64 nr,
		   u8 *states)
{
	struct sim_region *region = kmalloc_obj(*region);

	if (!region)
		return -EINVAL;
	region->frame = frame;
	region->nr = nr;
	region->states = states;
	scoped_guard(mutex, &sim_mutex)
		list_add_tail(&region->list, &sim_regions);
	return 0;
}

static int sim_remove(struct page_hint_transport *transport, u64 frame, u64 nr,
		      u8 *states)
{
	struct sim_region *region;

	/* Whoever has the mutex has finished what he has taken. */
	guard(mutex)(&sim_mutex);
	list_for_each_entry(region, &sim_regions, list) {
		if (region->states == states) {
			list_del(&region->list);
			kfree(region);
			return 0;
		}
	}
	return -ENOENT;
}

static notrace void sim_doorbell(struct page_hint_transport *transport)
{
	unsigned long flags;

	if (!raw_spin_trylock_irqsave(&sim_lock, flags)) {
		/* Whoever has it may have been stopped for good. */
		if (panic_in_progress())
			return;
		raw_spin_lock_irqsave(&sim_lock, flags);
	}
	sim_stats.doorbells++;
	sim_finish();
	raw_spin_unlock_irqrestore(&sim_lock, flags);
}

static struct page_hint_transport sim_transport = {
	.name		= "a simulation",
	.granule	= PAGE_HINT_FRAME_SHIFT,
	.add		= sim_add,
	.remove		= sim_remove,
	.doorbell	= sim_doorbell,
};

/**
 * page_hint_sim_start - begin to play the hypervisor
 * @mode: how
 *
 * Context: Process context, may sleep. One at a time.
 * Return: 0, or an error, -EBUSY if there is a hypervisor.
 */
int page_hint_sim_start(enum page_hint_sim_mode mode)
{
	struct task_struct *task;
	int err;

	if (sim_task)
		return -EBUSY;
	prandom_seed_state(&sim_rnd, get_random_u64());
	memset(&sim_stats, 0, sizeof(sim_stats));
	WRITE_ONCE(sim_mode, mode);
	err = page_hint_shared_register(&sim_transport);
	if (err)
		return err;
	task = kthread_run(sim_thread, NULL, "page_hinting_sim");
	if (IS_ERR(task)) {
		page_hint_shared_unregister(&sim_transport);
		return PTR_ERR(task);
	}
	sim_task = task;
	return 0;
}

/**
 * page_hint_sim_stop - end it
 *
 * Context: Process context, may sleep.
 */
void page_hint_sim_stop(void)
{
	page_hint_shared_unregister(&sim_transport);
	kthread_stop(sim_task);
	sim_task = NULL;
}

/**
 * page_hint_sim_stats - what has been done since the start
 * @stats: where to put it
 *
 * Context: Any.
 */
void page_hint_sim_stats(struct page_hint_sim_stats *stats)
{
	guard(raw_spinlock_irqsave)(&sim_lock);
	*stats = sim_stats;
}

static const char * const sim_mode_names[] = {
	[PAGE_HINT_SIM_OFF]	= "off",
	[PAGE_HINT_SIM_SWEEP]	= "sweep",
	[PAGE_HINT_SIM_RANDOM]	= "random",
};

static ssize_t sim_mode_read(struct file *file, char __user *buf, size_t count,
			     loff_t *pos)
{
	const char *name = sim_mode_names[READ_ONCE(sim_mode)];
	char line[16];
	int len = scnprintf(line, sizeof(line), "%s\n", name);

	return simple_read_from_buffer(buf, count, pos, line, len);
}

static ssize_t sim_mode_write(struct file *file, const char __user *buf,
			      size_t count, loff_t *pos)
{
	char line[16] = {};
	int mode;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, count))
		return -EFAULT;
	mode = sysfs_match_string(sim_mode_names, line);
	if (mode < 0)
		return mode;
	WRITE_ONCE(sim_mode, mode);
	return count;
}

static const struct file_operations sim_mode_fops = {
	.open	= simple_open,
	.read	= sim_mode_read,
	.write	= sim_mode_write,
};

/* Whatever the mode is, discard all that is volatile or lazy now. */
static int sim_discard_all(void *data, u64 value)
{
	struct sim_region *region;

	guard(mutex)(&sim_mutex);
	list_for_each_entry(region, &sim_regions, list)
		sim_visit(region, false);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(sim_discard_fops, NULL, sim_discard_all, "%llu\n");

/* What page_hinting_sim= has asked for */
static int sim_boot_mode __initdata = -1;

static int __init sim_setup(char *str)
{
	sim_boot_mode = match_string(sim_mode_names, ARRAY_SIZE(sim_mode_names),
				     str);
	if (sim_boot_mode < 0)
		pr_warn("page_hinting_sim=%s is not one of off, sweep, random\n",
			str);
	return 1;
}
__setup("page_hinting_sim=", sim_setup);

static int __init sim_init(void)
{
	struct dentry *dir;
	int err;

	if (sim_boot_mode < 0)
		return 0;
	err = page_hint_sim_start(sim_boot_mode);
	if (err) {
		pr_err("cannot start (error %d)\n", err);
		return 0;
	}
	dir = debugfs_create_dir("page_hinting_sim", NULL);
	debugfs_create_file("mode", 0600, dir, NULL, &sim_mode_fops);
	debugfs_create_file("discard", 0200, dir, NULL, &sim_discard_fops);
	debugfs_create_ulong("taken", 0400, dir, &sim_stats.taken);
	debugfs_create_ulong("lazied", 0400, dir, &sim_stats.lazied);
	debugfs_create_ulong("dropped", 0400, dir, &sim_stats.dropped);
	debugfs_create_ulong("gave_up", 0400, dir, &sim_stats.gave_up);
	debugfs_create_ulong("doorbells", 0400, dir, &sim_stats.doorbells);
	debugfs_create_ulong("invalid", 0400, dir, &sim_stats.invalid);
	return 0;
}
late_initcall(sim_init);
