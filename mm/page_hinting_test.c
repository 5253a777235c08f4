// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: access volatile frames where no correct code does.
 *
 * The files in debugfs take a page frame number and do with that frame what
 * the page hinting code promises to survive, or not to survive. Some make a
 * race happen that is rare otherwise. For the selftests; who writes to "deref"
 * gets an oops, and "corrupt" is the last thing that a kernel can do.
 */

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/folio_batch.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "internal.h"
#include "page_hinting.h"

static void *test_frame(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	return page ? page_address(page) : NULL;
}

/* Kernel mode with an entry in the exception table: -EFAULT if discarded. */
static int test_nofault(void *data, u64 pfn)
{
	unsigned long value, *frame = test_frame(pfn);

	if (!frame)
		return -ENXIO;
	return copy_from_kernel_nofault(&value, frame, sizeof(value));
}
DEFINE_DEBUGFS_ATTRIBUTE(test_nofault_fops, NULL, test_nofault, "%llu\n");

/* The same with interrupts disabled. */
static int test_nofault_irq(void *data, u64 pfn)
{
	unsigned long flags;
	int err;

	local_irq_save(flags);
	err = test_nofault(data, pfn);
	local_irq_restore(flags);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_nofault_irq_fops, NULL, test_nofault_irq,
			 "%llu\n");

/* Kernel mode without one: an oops if discarded. */
static int test_deref(void *data, u64 pfn)
{
	unsigned long *frame = test_frame(pfn);

	if (!frame)
		return -ENXIO;
	READ_ONCE(*frame);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_deref_fops, NULL, test_deref, "%llu\n");

/* The handler's decision alone: -EFAULT if the access cannot be repeated. */
static int test_fault(void *data, u64 pfn)
{
	return page_hint_fault(pfn) ? -EFAULT : 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_fault_fops, NULL, test_fault, "%llu\n");

/* The folio that a frame belongs to, with a reference; NULL if there is none. */
static struct folio *test_get_folio(u64 pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;

	if (!page)
		return NULL;
	folio = page_folio(page);
	return folio_try_get(folio) ? folio : NULL;
}

/*
 * A lookup from an NMI that has hit the holder of the hash lock. -EAGAIN if
 * the folio was not handed out, -EUCLEAN if it was, and 0 if it is not there.
 */
static int test_lookup(void *data, u64 pfn)
{
	struct address_space *mapping;
	struct folio *folio, *found;
	raw_spinlock_t *lock;
	unsigned long flags;
	pgoff_t index;
	int err = 0;

	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	/* Unlocked, but the test has the file open. */
	mapping = folio_mapping(folio);
	index = folio->index;
	lock = page_hint_lock(folio);

	raw_spin_lock_irqsave(lock, flags);
	if (mapping && page_hint_state(folio) == __PG_VOLATILE) {
		found = filemap_get_folio(mapping, index);
		if (IS_ERR(found)) {
			err = -EAGAIN;
		} else {
			err = -EUCLEAN;
			folio_put(found);
		}
	}
	raw_spin_unlock_irqrestore(lock, flags);
	folio_put(folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_lookup_fops, NULL, test_lookup, "%llu\n");

/*
 * A search for dirty folios, while the clock has this one locked, gets it as if it
 * were dirty, and nobody looks it up again. 0 if it is stable by then, -EUCLEAN
 * if not, and -EAGAIN if it was not volatile before.
 */
static int test_lookup_dirty(void *data, u64 pfn)
{
	struct folio_batch fbatch;
	struct folio *folio;
	int err = -EAGAIN;
	pgoff_t index;

	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	folio_batch_init(&fbatch);
	folio_lock(folio);
	if (folio->mapping && !folio_test_swapbacked(folio) &&
	    page_hint_state(folio) == __PG_VOLATILE) {
		index = folio->index;
		if (!filemap_get_folios_dirty(folio->mapping, &index, index,
					      &fbatch))
			err = -ENOENT;
		else if (page_hint_state(folio) == __PG_VOLATILE)
			err = -EUCLEAN;
		else
			err = 0;
	}
	folio_unlock(folio);
	folio_batch_release(&fbatch);
	folio_put(folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_lookup_dirty_fops, NULL, test_lookup_dirty,
			 "%llu\n");

/* What happens between the clock's last look at a folio and the freeze. */
enum test_meanwhile { TEST_NOTHING, TEST_HELD, TEST_DIRTIED };

struct test_race {
	struct work_struct work;
	struct completion ready;
	struct folio *folio;
	enum test_meanwhile meanwhile;
	bool go;
	bool started;
	bool eligible;
	bool hinted;
};

/* The part of the clock, on another CPU. */
static void test_race_clock(struct work_struct *work)
{
	struct test_race *race = container_of(work, struct test_race, work);
	struct folio *folio = race->folio;

	folio_lock(folio);
	folio_make_stable(folio);
	/* Buffers that are clean would take a dirty flag from their folio. */
	race->eligible = page_hint_eligible(folio) &&
			 filemap_release_folio(folio, GFP_KERNEL);
	if (race->eligible)
		set_mask_bits(&folio->flags.f, __PG_HINTING, __PG_ARMED);
	complete(&race->ready);
	while (!READ_ONCE(race->go))
		cond_resched();
	WRITE_ONCE(race->started, true);
	if (race->eligible) {
		race->hinted = page_hint_folio(folio);
		if (race->meanwhile == TEST_DIRTIED)
			folio_clear_dirty(folio);
	}
	folio_unlock(folio);
}

/*
 * The clock makes a folio volatile, and waits for the hash lock. Meanwhile
 * somebody takes a reference and keeps it, or dirties the folio and puts it
 * again. 0 if that has kept it from becoming volatile, -EUCLEAN if not, and
 * -EAGAIN if the folio was not suitable. Nobody may change the mode meanwhile.
 */
static int test_race(void *data, u64 pfn)
{
	struct test_race race = { .meanwhile = (unsigned long)data };
	raw_spinlock_t *lock;
	unsigned long flags;
	unsigned int cpu;
	int i;

	if (!static_key_enabled(&page_hint_key))
		return -EOPNOTSUPP;
	race.folio = test_get_folio(pfn);
	if (!race.folio)
		return -ENXIO;
	lock = page_hint_lock(race.folio);
	init_completion(&race.ready);
	INIT_WORK_ONSTACK(&race.work, test_race_clock);

	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	if (cpu >= nr_cpu_ids) {
		migrate_enable();
		destroy_work_on_stack(&race.work);
		folio_put(race.folio);
		return -ENODEV;
	}
	queue_work_on(cpu, system_highpri_wq, &race.work);
	wait_for_completion(&race.ready);

	raw_spin_lock_irqsave(lock, flags);
	WRITE_ONCE(race.go, true);
	for (i = 0; i < 10000 && !READ_ONCE(race.started); i++)
		udelay(1);
	/* Ample time to get as far as the lock. */
	mdelay(1);
	if (race.meanwhile != TEST_NOTHING)
		folio_get(race.folio);
	if (race.meanwhile == TEST_DIRTIED) {
		if (race.eligible)
			folio_set_dirty(race.folio);
		folio_put(race.folio);
	}
	raw_spin_unlock_irqrestore(lock, flags);

	flush_work(&race.work);
	destroy_work_on_stack(&race.work);
	migrate_enable();

	if (race.meanwhile == TEST_HELD)
		folio_put(race.folio);
	folio_put(race.folio);
	if (!race.eligible)
		return -EAGAIN;
	return race.hinted == (race.meanwhile == TEST_NOTHING) ? 0 : -EUCLEAN;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_race_fops, NULL, test_race, "%llu\n");

/*
 * Somebody has a reference, and looks at nothing, or has frozen the reference
 * count of a volatile folio, until the file is closed.
 */
struct test_hold {
	struct folio *folio;
	bool frozen;
};

static void test_hold_end(struct test_hold *hold)
{
	struct folio *folio = hold->folio;

	if (hold->frozen)
		folio_ref_unfreeze(folio, folio_nr_pages(folio) + 1);
	folio_put(folio);
	kfree(hold);
}

static ssize_t test_hold_write(struct file *file, const char __user *buf,
			       size_t count, loff_t *pos)
{
	bool freeze = file_inode(file)->i_private;
	struct test_hold *hold;
	struct folio *folio;
	unsigned long pfn;
	int err;

	err = kstrtoul_from_user(buf, count, 0, &pfn);
	if (err)
		return err;
	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	hold = kmalloc_obj(*hold);
	if (!hold) {
		folio_put(folio);
		return -ENOMEM;
	}
	hold->folio = folio;
	hold->frozen = freeze && page_hint_state(folio) == __PG_VOLATILE &&
		       folio_ref_freeze(folio, folio_nr_pages(folio) + 1);
	if (hold->frozen != freeze ||
	    cmpxchg(&file->private_data, NULL, hold)) {
		test_hold_end(hold);
		return -EBUSY;
	}
	return count;
}

static int test_hold_release(struct inode *inode, struct file *file)
{
	if (file->private_data)
		test_hold_end(file->private_data);
	return 0;
}

static const struct file_operations test_hold_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.write = test_hold_write,
	.release = test_hold_release,
};

/*
 * The last part of the clock, and then all of it, which must not wait for
 * i_mmap_rwsem.
 */
static void test_unmap_clock(struct work_struct *work)
{
	struct test_race *race = container_of(work, struct test_race, work);
	struct folio *folio = race->folio;

	folio_lock(folio);
	folio_make_stable(folio);
	race->eligible = page_hint_eligible(folio) && folio_mapped(folio);
	if (race->eligible) {
		set_mask_bits(&folio->flags.f, __PG_HINTING, __PG_ARMED);
		race->hinted = page_hint_folio(folio);
	}
	folio_unlock(folio);
	page_hint_pass();
	complete(&race->ready);
}

/*
 * Somebody changes what the file is mapped to. 0 if the clock has gone on
 * without its folios, -ETIMEDOUT if it waits, -EAGAIN if the folio was not
 * suitable.
 */
static int test_unmap(void *data, u64 pfn)
{
	struct address_space *mapping;
	struct test_race race = {};
	int err = -ENXIO;

	race.folio = test_get_folio(pfn);
	if (!race.folio)
		return -ENXIO;
	/* Unlocked, but the test has the file open. */
	mapping = folio_mapping(race.folio);
	if (!mapping)
		goto out;
	init_completion(&race.ready);
	INIT_WORK_ONSTACK(&race.work, test_unmap_clock);

	i_mmap_lock_write(mapping);
	queue_work(system_dfl_wq, &race.work);
	err = wait_for_completion_timeout(&race.ready, 20 * HZ) ? 0 : -ETIMEDOUT;
	i_mmap_unlock_write(mapping);

	flush_work(&race.work);
	destroy_work_on_stack(&race.work);
	if (!err && !race.eligible)
		err = -EAGAIN;
	else if (!err && race.hinted)
		err = -EUCLEAN;
out:
	folio_put(race.folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_unmap_fops, NULL, test_unmap, "%llu\n");

/*
 * Reclaim unmaps a folio that is armed, and has second thoughts. The caller may
 * not flush for long after that. 0 if the folio has been disarmed, -EUCLEAN if
 * not, and -EAGAIN if it was not suitable, or there was nothing to be flushed.
 * -1 flushes, so that each file after it leaves something to be done.
 */
static int test_flush_pending(void *data, u64 pfn)
{
	struct folio *folio;
	int err = -EAGAIN;

	if (!IS_ENABLED(CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH) ||
	    !static_key_enabled(&page_hint_key))
		return -EOPNOTSUPP;
	if (pfn == U64_MAX) {
		try_to_unmap_flush();
		return 0;
	}
	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	folio_lock(folio);
	folio_make_stable(folio);
	if (page_hint_eligible(folio) && folio_mapped(folio)) {
		set_mask_bits(&folio->flags.f, __PG_HINTING, __PG_ARMED);
		try_to_unmap(folio, TTU_SYNC | TTU_BATCH_FLUSH);
#ifdef CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH
		if (current->tlb_ubc.flush_required)
			err = page_hint_state(folio) ? -EUCLEAN : 0;
#endif
	}
	folio_unlock(folio);
	folio_put(folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_flush_pending_fops, NULL, test_flush_pending,
			 "%llu\n");

/*
 * The memory cgroup of a frame, as the reclaim of its parent sees it: "protect"
 * calculates how much of it is protected, and "protected" tells whether that is
 * still so, or -EUCLEAN.
 */
static int test_protect(void *data, u64 pfn)
{
	static unsigned long old_min, old_low;
	struct mem_cgroup *memcg, *parent;
	unsigned long min, low, usage;
	struct folio *folio;
	int err = -ENXIO;

	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	folio_lock(folio);
	rcu_read_lock();
	memcg = folio_memcg(folio);
	parent = memcg ? parent_mem_cgroup(memcg) : NULL;
	if (!parent)
		goto out;
	if (!data) {
		mem_cgroup_calculate_protection(parent, memcg);
		mem_cgroup_protection(parent, memcg, &old_min, &old_low, &usage);
		err = old_min || old_low ? 0 : -ENODATA;
	} else {
		mem_cgroup_protection(parent, memcg, &min, &low, &usage);
		err = min == old_min && low == old_low ? 0 : -EUCLEAN;
	}
out:
	rcu_read_unlock();
	folio_unlock(folio);
	folio_put(folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_protect_fops, NULL, test_protect, "%llu\n");

/* A folio of an absurd size, as in a panic for such a reason. Have one next. */
static int test_corrupt(void *data, u64 pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	if (!page || pfn_to_online_page(pfn + 1) != page + 1)
		return -ENXIO;
	((struct folio *)page)->_nr_pages = UINT_MAX;
	set_bit(PG_head, &page->flags.f);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_corrupt_fops, NULL, test_corrupt, "%llu\n");

/* The file system has second thoughts about what it has read or written. */
static int test_not_uptodate(void *data, u64 pfn)
{
	struct folio *folio;
	int err = -EBUSY;

	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	folio_make_stable(folio);
	folio_lock(folio);
	if (folio->mapping && filemap_release_folio(folio, GFP_KERNEL)) {
		folio_clear_uptodate(folio);
		err = 0;
	}
	folio_unlock(folio);
	folio_put(folio);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_not_uptodate_fops, NULL, test_not_uptodate,
			 "%llu\n");

/*
 * Make the inode look like a regular file, by all that is not the mapping, and
 * count the folios that could become volatile, and those that could if they were
 * in a regular file.
 */
static void test_dress_up(struct inode *inode, int *seen, int *eligible)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t size = i_size_read(inode);
	umode_t mode = inode->i_mode;
	struct folio_batch fbatch;
	struct folio *folio;
	pgoff_t index = 0;
	int i;

	folio_batch_init(&fbatch);
	while (filemap_get_folios(mapping, &index, ULONG_MAX, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			folio = fbatch.folios[i];
			folio_lock(folio);
			if (folio->mapping == mapping &&
			    folio_test_uptodate(folio) &&
			    !folio_test_dirty(folio)) {
				++*seen;
				inode->i_mode = S_IFREG | 0600;
				i_size_write(inode, MAX_LFS_FILESIZE);
				if (page_hint_eligible(folio))
					++*eligible;
				i_size_write(inode, size);
				inode->i_mode = mode;
			}
			folio_unlock(folio);
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}
}

/*
 * All that is no regular file in the file system of a folio. 0 if none of it is
 * taken for one, -EUCLEAN if some is, and -ENOENT if there is nothing to see.
 */
static int test_internal(void *data, u64 pfn)
{
	struct inode *inode, *previous = NULL;
	int seen = 0, eligible = 0;
	struct super_block *sb;
	struct folio *folio;

	folio = test_get_folio(pfn);
	if (!folio)
		return -ENXIO;
	/* Unlocked, but the test has the file open. */
	sb = folio_mapping(folio) ? folio_mapping(folio)->host->i_sb : NULL;
	folio_put(folio);
	if (!sb)
		return -ENXIO;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		spin_lock(&inode->i_lock);
		if (inode_state_read(inode) & (I_FREEING | I_WILL_FREE | I_NEW) ||
		    (S_ISREG(inode->i_mode) && !inode_unhashed(inode)) ||
		    mapping_empty(inode->i_mapping)) {
			spin_unlock(&inode->i_lock);
			continue;
		}
		__iget(inode);
		spin_unlock(&inode->i_lock);
		spin_unlock(&sb->s_inode_list_lock);
		/* It keeps the place in the list, until there is a next one. */
		iput(previous);
		previous = inode;
		test_dress_up(inode, &seen, &eligible);
		spin_lock(&sb->s_inode_list_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
	iput(previous);

	if (eligible)
		return -EUCLEAN;
	return seen ? 0 : -ENOENT;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_internal_fops, NULL, test_internal, "%llu\n");

/* User mode: map any frames. The offset is the page frame number. */
static int test_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long len = vma->vm_end - vma->vm_start;

	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (!pfn_valid(vma->vm_pgoff) ||
	    !pfn_valid(vma->vm_pgoff + (len >> PAGE_SHIFT) - 1))
		return -ENXIO;
	return remap_pfn_range(vma, vma->vm_start, vma->vm_pgoff, len,
			       vma->vm_page_prot);
}

static const struct file_operations test_frames_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.mmap = test_mmap,
};

static int __init page_hint_test_init(void)
{
	struct dentry *dir = page_hint_debugfs;

	debugfs_create_file_unsafe("nofault", 0200, dir, NULL,
				   &test_nofault_fops);
	debugfs_create_file_unsafe("nofault_irq", 0200, dir, NULL,
				   &test_nofault_irq_fops);
	debugfs_create_file_unsafe("deref", 0200, dir, NULL, &test_deref_fops);
	debugfs_create_file_unsafe("fault", 0200, dir, NULL, &test_fault_fops);
	debugfs_create_file_unsafe("lookup", 0200, dir, NULL,
				   &test_lookup_fops);
	debugfs_create_file_unsafe("lookup_dirty", 0200, dir, NULL,
				   &test_lookup_dirty_fops);
	debugfs_create_file_unsafe("race_nothing", 0200, dir,
				   (void *)TEST_NOTHING, &test_race_fops);
	debugfs_create_file_unsafe("race_held", 0200, dir, (void *)TEST_HELD,
				   &test_race_fops);
	debugfs_create_file_unsafe("race_dirtied", 0200, dir,
				   (void *)TEST_DIRTIED, &test_race_fops);
	debugfs_create_file_unsafe("hold", 0200, dir, NULL, &test_hold_fops);
	debugfs_create_file_unsafe("freeze", 0200, dir, (void *)1UL,
				   &test_hold_fops);
	debugfs_create_file_unsafe("unmap", 0200, dir, NULL, &test_unmap_fops);
	debugfs_create_file_unsafe("flush_pending", 0200, dir, NULL,
				   &test_flush_pending_fops);
	debugfs_create_file_unsafe("protect", 0200, dir, NULL,
				   &test_protect_fops);
	debugfs_create_file_unsafe("protected", 0200, dir, (void *)1UL,
				   &test_protect_fops);
	debugfs_create_file_unsafe("corrupt", 0200, dir, NULL,
				   &test_corrupt_fops);
	debugfs_create_file_unsafe("not_uptodate", 0200, dir, NULL,
				   &test_not_uptodate_fops);
	debugfs_create_file_unsafe("internal", 0200, dir, NULL,
				   &test_internal_fops);
	debugfs_create_file_unsafe("frames", 0400, dir, NULL,
				   &test_frames_fops);
	return 0;
}
late_initcall(page_hint_test_init);
