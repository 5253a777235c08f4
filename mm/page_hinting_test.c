// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: access volatile frames where no correct code does.
 *
 * The files in debugfs take a page frame number and do with that frame what
 * the page hinting code promises to survive, or not to survive. For the
 * selftests; who writes to "deref" gets an oops.
 */

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

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
	return page_hinting_fault(pfn) ? -EFAULT : 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(test_fault_fops, NULL, test_fault, "%llu\n");

/*
 * A lookup from an NMI that has hit the holder of the hash lock. -EAGAIN if
 * the folio was not handed out, -EUCLEAN if it was, and 0 if it is not there.
 */
static int test_lookup(void *data, u64 pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct address_space *mapping;
	struct folio *folio, *found;
	raw_spinlock_t *lock;
	unsigned long flags;
	pgoff_t index;
	int err = 0;

	if (!page)
		return -ENXIO;
	folio = page_folio(page);
	if (!folio_try_get(folio))
		return -ENXIO;
	/* Unlocked, but the test has the file open. */
	mapping = folio_mapping(folio);
	index = folio->index;
	lock = page_hint_lock(folio);

	raw_spin_lock_irqsave(lock, flags);
	if (mapping && folio_hint_state(folio) == HINT_VOLATILE) {
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

static int __init page_hinting_test_init(void)
{
	struct dentry *dir = debugfs_create_dir("page_hinting", NULL);

	debugfs_create_file_unsafe("nofault", 0200, dir, NULL,
				   &test_nofault_fops);
	debugfs_create_file_unsafe("nofault_irq", 0200, dir, NULL,
				   &test_nofault_irq_fops);
	debugfs_create_file_unsafe("deref", 0200, dir, NULL, &test_deref_fops);
	debugfs_create_file_unsafe("fault", 0200, dir, NULL, &test_fault_fops);
	debugfs_create_file_unsafe("lookup", 0200, dir, NULL,
				   &test_lookup_fops);
	debugfs_create_file_unsafe("frames", 0400, dir, NULL,
				   &test_frames_fops);
	return 0;
}
late_initcall(page_hinting_test_init);
