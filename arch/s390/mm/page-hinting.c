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

#define pr_fmt(fmt) "page_hinting: " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/page_hinting.h>
#include <linux/panic.h>
#include <linux/printk.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <asm/asm-extable.h>
#include <asm/extable.h>
#include <asm/fault.h>
#include <asm/machine.h>
#include <asm/page-hinting.h>
#include <asm/page-states.h>
#include <asm/setup.h>
#include <asm/uv.h>
#include "../kernel/entry.h"

/* Of what ESSA returns: there is no such frame, and nothing has been done. */
#define ESSA_EXCEPTION		0x10
/* How often to ask for something again that the host has not done. */
#define ESSA_TRIES		16
/*
 * One page lost loses the folio. With one page in a hundred taken by the host,
 * 27 % of the folios of order 5 are lost, and 92 % of those of order 8.
 */
#define ESSA_MAX_ORDER		5

/*
 * Unlike essa(), this keeps the compiler from moving accesses to memory across
 * it. As to the CPU, each change of state comes between two compare-and-swaps,
 * of the hash lock or the flags, which serialise. An addressing exception gives
 * the same result as the indication of one: in a panic, the frame may come from
 * a memory map that is not right any more.
 */
static __always_inline unsigned long essa_once(unsigned long paddr,
					       unsigned char cmd)
{
	unsigned long state = ESSA_EXCEPTION;

	asm volatile("0:	.insn	rrf,0xb9ab0000,%[state],%[paddr],%[cmd],0\n"
		     "1:	nopr	%%r7\n"
		     "2:\n"
		     EX_TABLE(0b, 2b)
		     EX_TABLE(1b, 2b)
		     : [state] "+d" (state)
		     : [paddr] "d" (paddr), [cmd] "i" (cmd)
		     : "memory");
	return state;
}

/*
 * A host that does not know one of its frames is not one to be trusted. But what
 * has been hinted already must be made stable, so do not give up at once.
 */
static __always_inline unsigned long essa_ordered(unsigned long paddr,
						  unsigned char cmd)
{
	unsigned long state = essa_once(paddr, cmd);
	int tries = ESSA_TRIES;

	while (unlikely(state & ESSA_EXCEPTION) && --tries) {
		page_hint_failed();
		state = essa_once(paddr, cmd);
	}
	return state;
}

/* No answer is not the answer that the content is still there. */
static __always_inline bool essa_was_discarded(unsigned long state)
{
	return (state & (ESSA_USAGE_MASK | ESSA_CONTENT_MASK)) ==
	       (ESSA_USAGE_VOLATILE | ESSA_CONTENT_ZERO) ||
	       unlikely(state & ESSA_EXCEPTION);
}

notrace void arch_page_unused(struct page *page, unsigned int order)
{
	unsigned long paddr = page_to_phys(page), nr = 1UL << order;

	for (; nr; nr--, paddr += PAGE_SIZE)
		essa_ordered(paddr, ESSA_SET_UNUSED);
}
NOKPROBE_SYMBOL(arch_page_unused);

static notrace void essa_set_volatile(unsigned long pfn, unsigned long nr)
{
	unsigned long paddr = PFN_PHYS(pfn);

	for (; nr; nr--, paddr += PAGE_SIZE)
		essa_ordered(paddr, ESSA_SET_VOLATILE);
}
NOKPROBE_SYMBOL(essa_set_volatile);

/* Without facility 147, code 7 would be a specification exception. */
static __always_inline unsigned long essa_stable(unsigned long paddr)
{
	if (cmma_flag < 2)
		return essa_ordered(paddr, ESSA_SET_STABLE);
	return essa_ordered(paddr, ESSA_SET_STABLE_NODAT);
}

static notrace int essa_set_stable(unsigned long pfn, unsigned long nr)
{
	unsigned long paddr = PFN_PHYS(pfn);
	bool lost = false;

	for (; nr; nr--, paddr += PAGE_SIZE)
		lost |= essa_was_discarded(essa_stable(paddr));
	return lost;
}
NOKPROBE_SYMBOL(essa_set_stable);

notrace void arch_page_used(struct page *page, unsigned int order)
{
	essa_set_stable(page_to_pfn(page), 1UL << order);
}
NOKPROBE_SYMBOL(arch_page_used);

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

/* Change the state of a block, and see the right ones before and after. */
static __always_inline bool essa_expect(unsigned long paddr, unsigned char cmd,
					unsigned long before,
					unsigned long after, bool *kept)
{
	const unsigned long mask = ESSA_USAGE_MASK | ESSA_EXCEPTION;
	unsigned long old = essa_once(paddr, cmd);
	unsigned long now = essa_once(paddr, ESSA_GET_STATE);

	*kept = !essa_was_discarded(old);
	return (old & mask) == before && (now & mask) == after;
}

/* The same with the code that makes the block stable. */
static bool essa_expect_stable(unsigned long paddr, unsigned long before,
			       bool *kept)
{
	if (cmma_flag < 2)
		return essa_expect(paddr, ESSA_SET_STABLE, before,
				   ESSA_USAGE_STABLE, kept);
	return essa_expect(paddr, ESSA_SET_STABLE_NODAT, before,
			   ESSA_USAGE_STABLE, kept);
}

/*
 * Does the host do what the manual says, as far as one block can tell? With all
 * codes that are used, and what it says to have kept must be there.
 */
static bool essa_self_test(void)
{
	unsigned long *block = (unsigned long *)__get_free_page(GFP_KERNEL);
	unsigned long paddr;
	bool good, kept;
	int i;

	if (!block)
		return false;
	paddr = __pa(block);
	memset64((u64 *)block, paddr, PAGE_SIZE / sizeof(u64));
	good = essa_expect(paddr, ESSA_SET_STABLE, ESSA_USAGE_STABLE,
			   ESSA_USAGE_STABLE, &kept) && kept;
	good = good && essa_expect(paddr, ESSA_SET_VOLATILE, ESSA_USAGE_STABLE,
				   ESSA_USAGE_VOLATILE, &kept);
	good = good && essa_expect_stable(paddr, ESSA_USAGE_VOLATILE, &kept);
	for (i = 0; good && kept && i < PAGE_SIZE / sizeof(*block); i++)
		good = block[i] == paddr;
	good = good && essa_expect(paddr, ESSA_SET_UNUSED, ESSA_USAGE_STABLE,
				   ESSA_USAGE_UNUSED, &kept);
	good = good && essa_expect_stable(paddr, ESSA_USAGE_UNUSED, &kept);
	/* Whatever has gone wrong, the page must be fit for use. */
	essa_set_stable(PHYS_PFN(paddr), 1);
	free_page((unsigned long)block);
	return good;
}

/*
 * KVM records the states, but forgets that a block was discarded as soon as
 * anything in the host touches it, and the guest takes zeros for data. There
 * is no way to find that out from here. So only a host that is known to do it
 * right will do, or somebody who knows better.
 */
static int essa_enable(bool force)
{
	if (!machine_is_vm()) {
		if (!force) {
			pr_err("this host may lose data, so no page becomes volatile\n");
			return -EOPNOTSUPP;
		}
		pr_warn_once("volatile pages are not safe on this host, data may be lost\n");
		add_taint(TAINT_CPU_OUT_OF_SPEC, LOCKDEP_STILL_OK);
	}
	if (!essa_self_test()) {
		pr_err("ESSA does not behave as expected, no page becomes volatile\n");
		return -EIO;
	}
	return 0;
}

static struct page_hint_ops essa_ops __ro_after_init = {
	.name		= "ESSA",
	.set_volatile	= essa_set_volatile,
	.set_stable	= essa_set_stable,
	.is_discarded	= essa_is_discarded,
	.enable		= essa_enable,
	.max_order	= ESSA_MAX_ORDER,
};

static int __init essa_init(void)
{
	if (is_prot_virt_guest()) {
		pr_info("not available to a protected guest\n");
		return 0;
	}
	/* Secure pages belong to the ultravisor, which knows no volatile ones. */
	if (is_prot_virt_host()) {
		pr_info("not available to a host of protected guests\n");
		return 0;
	}
	if (!cmma_flag) {
		pr_info("not available, the host has no ESSA or cmma= is off\n");
		return 0;
	}
	if (machine_is_vm())
		essa_ops.name = "ESSA of z/VM, where 'on' has not been tried but may be";
	return page_hint_register(&essa_ops);
}
subsys_initcall(essa_init);

void do_discard_exception(struct pt_regs *regs)
{
	/* An absolute address, and the low bits are not those of a TEID. */
	unsigned long paddr = regs->int_parm_long & PAGE_MASK;

	if (kprobe_page_fault(regs, 0x1a))
		return;
	/* Not discarded any more: the instruction was nullified, repeat it. */
	if (!page_hint_fault(PHYS_PFN(paddr)))
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
