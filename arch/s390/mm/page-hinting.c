// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting with the ESSA instruction, as z/VM offers it.
 *
 * The host keeps a state for each frame of the guest. ESSA changes it, and
 * returns what it was. Volatile and zero, that is without content, means
 * discarded; zero alone is also a stable frame that was never written to.
 *
 * An access to a discarded frame is program interruption 0x1a with its
 * absolute address. No access by the kernel gets there, see the essay in
 * mm/page_hinting.c; the handler is a safety net.
 */

#define KMSG_COMPONENT "page_hinting"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/page_hinting.h>
#include <linux/panic.h>
#include <linux/printk.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <asm/extable.h>
#include <asm/fault.h>
#include <asm/page-states.h>
#include <asm/setup.h>
#include <asm/uv.h>
#include "../kernel/entry.h"

/*
 * For frames that have content: essa() does not keep the compiler from moving
 * accesses to memory across it. As to the CPU, each change of state comes
 * between two compare-and-swaps, of the hash lock or the flags, which serialise.
 */
static __always_inline unsigned long essa_ordered(unsigned long paddr,
						  unsigned char cmd)
{
	unsigned long state;

	barrier();
	state = essa(paddr, cmd);
	barrier();
	return state;
}

static __always_inline bool essa_was_discarded(unsigned long state)
{
	return (state & (ESSA_USAGE_MASK | ESSA_CONTENT_MASK)) ==
	       (ESSA_USAGE_VOLATILE | ESSA_CONTENT_ZERO);
}

static notrace void essa_set_unused(unsigned long pfn, unsigned long nr)
{
	unsigned long paddr = PFN_PHYS(pfn);

	for (; nr; nr--, paddr += PAGE_SIZE)
		essa_ordered(paddr, ESSA_SET_UNUSED);
}
NOKPROBE_SYMBOL(essa_set_unused);

static notrace void essa_set_volatile(unsigned long pfn, unsigned long nr)
{
	unsigned long paddr = PFN_PHYS(pfn);

	for (; nr; nr--, paddr += PAGE_SIZE)
		essa_ordered(paddr, ESSA_SET_VOLATILE);
}
NOKPROBE_SYMBOL(essa_set_volatile);

static notrace bool essa_set_stable(unsigned long pfn, unsigned long nr)
{
	unsigned long state, paddr = PFN_PHYS(pfn);
	bool lost = false;

	/* Without facility 147, code 7 would be a specification exception. */
	for (; nr; nr--, paddr += PAGE_SIZE) {
		if (cmma_flag < 2)
			state = essa_ordered(paddr, ESSA_SET_STABLE);
		else
			state = essa_ordered(paddr, ESSA_SET_STABLE_NODAT);
		lost |= essa_was_discarded(state);
	}
	return lost;
}
NOKPROBE_SYMBOL(essa_set_stable);

static notrace bool essa_is_discarded(unsigned long pfn, unsigned long nr)
{
	unsigned long paddr = PFN_PHYS(pfn);

	for (; nr; nr--, paddr += PAGE_SIZE) {
		if (essa_was_discarded(essa_ordered(paddr, ESSA_GET_STATE)))
			return true;
	}
	return false;
}
NOKPROBE_SYMBOL(essa_is_discarded);

/* Does the host do what the manual says, as far as one block can tell? */
static bool essa_self_test(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned long paddr, state;
	bool good;

	if (!page)
		return false;
	paddr = page_to_phys(page);
	essa(paddr, ESSA_SET_VOLATILE);
	state = essa(paddr, ESSA_GET_STATE);
	good = (state & ESSA_USAGE_MASK) == ESSA_USAGE_VOLATILE;
	state = essa(paddr, ESSA_SET_STABLE);
	good &= (state & ESSA_USAGE_MASK) == ESSA_USAGE_VOLATILE;
	state = essa(paddr, ESSA_GET_STATE);
	good &= (state & ESSA_USAGE_MASK) == ESSA_USAGE_STABLE;
	__free_page(page);
	return good;
}

/*
 * KVM records the states, but forgets that a block was discarded as soon as
 * anything in the host touches it, and the guest takes zeros for data. There
 * is no way to find that out from here.
 */
static int essa_enable(void)
{
	if (!essa_self_test()) {
		pr_err("ESSA does not behave as expected, no page becomes volatile\n");
		return -EIO;
	}
	if (MACHINE_IS_KVM) {
		pr_warn_once("volatile pages are not safe under KVM, data may be lost\n");
		add_taint(TAINT_CPU_OUT_OF_SPEC, LOCKDEP_STILL_OK);
	}
	return 0;
}

static struct page_hinting_ops essa_ops __ro_after_init = {
	.name		= "ESSA",
	.set_unused	= essa_set_unused,
	.set_volatile	= essa_set_volatile,
	.set_stable	= essa_set_stable,
	.is_discarded	= essa_is_discarded,
	.enable		= essa_enable,
};

/* Called before any memory becomes free. */
void __init page_hinting_essa_init(void)
{
	if (is_prot_virt_guest()) {
		pr_info("not available to a protected guest\n");
		return;
	}
	/* Secure pages belong to the ultravisor, which knows no volatile ones. */
	if (is_prot_virt_host()) {
		pr_info("not available to a host of protected guests\n");
		return;
	}
	if (!cmma_flag) {
		pr_info("not available, the host has no ESSA or cmma= is off\n");
		return;
	}
	if (MACHINE_IS_VM)
		essa_ops.name = "ESSA of z/VM, where 'on' has not been tried but may be";
	page_hinting_register(&essa_ops);
}

void do_discard_exception(struct pt_regs *regs)
{
	/* An absolute address, and the low bits are not those of a TEID. */
	unsigned long paddr = regs->int_parm_long & PAGE_MASK;

	if (kprobe_page_fault(regs, 0x1a))
		return;
	/* Not discarded any more: the instruction was nullified, repeat it. */
	if (!page_hinting_fault(PHYS_PFN(paddr)))
		return;
	if (user_mode(regs)) {
		report_user_fault(regs, SIGBUS, 0);
		force_sig_fault(SIGBUS, BUS_ADRERR,
				(void __user *)regs->psw.addr);
	} else if (!fixup_exception(regs)) {
		pr_alert("access to discarded frame at 0x%016lx\n", paddr);
		die(regs, "block-volatility exception");
	}
}
NOKPROBE_SYMBOL(do_discard_exception);
