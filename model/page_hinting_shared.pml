// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting with page states that are shared with the hypervisor:
 * one byte for each frame, in an array of the guest. The hypervisor (VMM)
 * discards what is volatile, or marks it for the reclaim of its own kernel
 * (MADV_FREE), which then drops clean pages whenever it likes, and tells
 * neither the guest nor the VMM.
 *
 * Only the byte of a folio's first frame is used: state | order << 3.
 *
 *	S -> V		guest	store; flags set, count unfrozen, lock held
 *	V -> S		guest	cmpxchg: kept
 *	V -> T		VMM	cmpxchg
 *	T -> D		VMM	after all of the folio has been discarded, or
 *				if only a part of what it wanted to do worked
 *	T -> L		VMM	after MADV_FREE of all of it
 *	T -> V		VMM	nothing has been done to it, or all undone
 *	L -> T		VMM	cmpxchg, to look what is left of it
 *	D -> S		guest	cmpxchg: lost
 *	L -> S		guest	cmpxchg, then probe each page: find a word
 *				not zero, add 0 to it, still not zero: kept
 *	V, D, L -> S	guest	cmpxchg, when freeing
 *	T -> S		nobody: the guest waits, or does without an answer
 *
 * page_hinting.pml shows that nobody gets past the flags, with a host that
 * takes one step for all that it does. So the guest is reduced here: "hinted"
 * stands for PG_hinted and PG_discard together, nothing is armed, and freeze,
 * flags and unfreeze are one step. What is more detailed is the rest: two
 * frames, what the host's kernel knows of each, the VMM.
 *
 * Head is frame 0. All processes loop for ever and may stop after any
 * operation. A step is at most one access to memory that others see, with the
 * exceptions that page_hinting.pml lists.
 *
 * check.sh has the combinations that are run:
 *   SHARED		this file, and not page_hinting.pml
 *   TAKERS=n FREER OWNER SWITCH	processes
 *   ORDERS		folios of one frame as well, and a split
 *   RESET		SWITCH may also reset the device, or remove first
 *   LIAR		the guest writes to the array what it likes
 *   STRICT		check the structure, not only for damage
 *   PROBE=n		fail where REACHED(n) stands: is this reached at all?
 *   M_...		one mutant
 */

#ifndef TAKERS
#define TAKERS	1
#endif
#ifndef PROBE
#define PROBE	0
#endif
#define REACHED(n)	assert(PROBE != n)
#define REACHED_IF(n, cond)	assert(!(cond) || PROBE != n)

/* The bytes */
#define S		0
#define V		1
#define T		2
#define D		3
#define L		4
#define BYTE(s, o)	((s) | (o) << 3)
#define STATE(b)	((b) & 7)
#define ORDER(b)	((b) >> 3)

/* Content of a frame: 0 is what a drop or a discard leaves. */
#define DATA		1	/* what the owner believes it to be */
#define STALE		2	/* from the disk, but there was a newer one */
#define THEIRS		3	/* of another owner */

/* Who has a frame */
#define NOBODY		0
#define FILE		1
#define FREEING		2	/* count is zero, on its way to the allocator */
#define FOREIGN		3

/*
 * What the kernel of the host knows of each page. "busy": it is being
 * unmapped, and who accesses it waits for that to end, be it by the lock of
 * the page table, or by the notifiers of a secondary MMU.
 */
typedef page {
	byte content = DATA;
	bit present = 1;
	bit lazy;		/* MADV_FREE: not swapbacked */
	bit dirty = 1;		/* of the PTE, or of a secondary MMU */
	bit busy
};
page mem[2];

/* The array; and the device, as the guest sees it */
byte state[2];
bit  array = 1;			/* it exists */
bit  bar = 1;			/* the doorbell is mapped */
bit  quiet;			/* remove or reset has returned */

/* The VMM: one thread, and what handles its queue and doorbell */
bit  region = 1;
bit  vmm_at_it;			/* it is at a batch */
bit  taken;			/* there are frames in T */
byte spinning;			/* guests that wait and never exit */

/* The guest: flags, locks, and references besides that of the cache */
bit  hinted;
bit  uptodate = 1;
bit  pg_dirty;
bit  order = 1;
bit  locked;
bit  hash_lock;
byte refs;
byte own[2];
bit  disk = 1;			/* the disk is current */
bit  maker_on = 1;
bit  in_pass;

#if PROBE == 10
bit  rang;			/* in this call already */
#define set_rang(b)	rang = b
#else
#define rang		0
#define set_rang(b)	skip
#endif

/* Who is in a read-side critical section of RCU, or has interrupts off. */
#define READERS		(TAKERS + 2)
#define FREER_ID	TAKERS
#define SWITCH_ID	(TAKERS + 1)
#ifdef SWITCH
bit  reader[READERS];
#define rcu_read_lock(me)	reader[me] = 1
#define rcu_read_unlock(me)	reader[me] = 0
#else
#define rcu_read_lock(me)	skip
#define rcu_read_unlock(me)	skip
#endif

/*
 * Access to pages, of guest or VMM. What is not there is a new page of
 * zeros, which is not lazy. To read does not make dirty. (KVM maps writable
 * and dirty even then, but guests without KVM have the same protocol.)
 */
#define fault(f)	!mem[f].busy -> mem[f].present = 1

inline write_page(f, what)
{
	d_step { fault(f); mem[f].content = what; mem[f].dirty = 1 }
}

/* Reads what must be there. */
inline expect(f, what)
{
	d_step { fault(f); assert(mem[f].content == what) }
}

/*
 * Probe. The content of who asks is never zero here: a page of zeros counts
 * as lost, so there is nothing to be shown about it.
 */
inline scan(f)
{
	d_step { fault(f); found = (mem[f].content != 0) }
}

inline add_zero(f)
{
	d_step { fault(f); mem[f].dirty = 1; found = (mem[f].content != 0) }
}

/* Its callers have bits lost and found, both clear before. */
inline probe(f)
{
#if defined(M_PROBE_ADDS_FIRST)
	add_zero(f);
	scan(f);
#else
	scan(f);
	if
	:: found ->
#if defined(M_PROBE_LOADS)
		scan(f);
#elif defined(M_PROBE_BLIND)
		add_zero(f);
		found = 1;
#else
		add_zero(f);
#endif
		if
		:: !found -> REACHED(1)		/* dropped in between */
		:: else
		fi
	:: else
#ifdef M_PROBE_TRUSTS_ZEROS
		-> add_zero(f); found = 1
#endif
	fi;
#endif
	d_step { lost = !found; found = 0 }
}

/*
 * The host's kernel
 */

/* try_to_unmap_one() on what is not swapbacked */
proctype host_kernel(byte f)
{
#ifdef M_HOST_LOOKS_FIRST
	bit clean;

end:	do
	:: d_step { mem[f].lazy && mem[f].present && !mem[f].dirty -> clean = 1 }
	   d_step { mem[f].busy = 1 }
	   d_step {
		if
		:: clean && mem[f].lazy ->
			mem[f].content = 0;
			mem[f].present = 0;
			mem[f].dirty = 0
		:: else
		fi;
		mem[f].lazy = 0;
		mem[f].busy = 0;
		clean = 0
	   }
	od
#else
end:	do
	:: d_step { mem[f].lazy && mem[f].present -> mem[f].busy = 1 }
	   d_step {
		if
		:: mem[f].dirty -> REACHED(2)		/* swapbacked again */
		:: else -> mem[f].content = 0; mem[f].present = 0
		fi;
		mem[f].lazy = 0;
		mem[f].busy = 0
	   }
	od
#endif
}

/* Both complete before they return: tables, TLBs, secondary MMUs. */
inline madv_dontneed(f)
{
	d_step {
		!mem[f].busy;
		assert(!quiet && f < 2);
		mem[f].content = 0;
		mem[f].present = 0;
		mem[f].lazy = 0;
		mem[f].dirty = 0
	}
}

inline madv_free(f)
{
	d_step {
		!mem[f].busy;
		assert(!quiet && f < 2);
		if
		:: mem[f].present -> mem[f].dirty = 0; mem[f].lazy = 1
		:: else
		fi
	}
}

/*
 * The VMM
 */

/* It may look at the array, until it has said that it will not any more. */
#define may_look()	assert(array && !quiet)

/* It believes nothing: no folio of two begins at frame 1, there is no 2. */
#ifdef M_NO_VALIDATION
#define VALID(f, b)	(true)
#else
#define ALIGNED(f, o)	(((f) & ((1 << (o)) - 1)) == 0)
#define VALID(f, b)	(STATE(b) <= L && ORDER(b) <= 1 && ALIGNED(f, ORDER(b)))
#endif

/* The first mutants do without T: they work first, and compare last. */
#if defined(M_DISCARD_NO_T) || defined(M_LAZY_NO_T)
#define TAKEN(b)	(b)
#else
#define TAKEN(b)	BYTE(T, ORDER(b))
#endif

/*
 * Out of T. The worst host there is runs the VMM only while no guest spins,
 * so who waits must exit.
 */
inline untake(s)
{
	d_step {
		!spinning;
		may_look();
#if defined(M_DISCARD_NO_T) || defined(M_LAZY_NO_T)
		if
		:: state[f] == old -> state[f] = BYTE(s, ORDER(old))
		:: else
		fi;
#elif defined(M_RESET_LEAVES_T)
		if
		:: region -> state[f] = BYTE(s, ORDER(old))
		:: else
		fi;
#elif defined(M_EARLY_D) || defined(M_EARLY_L) || defined(M_HARVEST_NO_T)
		if
		:: taken -> state[f] = BYTE(s, ORDER(old))
#ifdef M_HARVEST_NO_T
		:: !taken && state[f] == old -> state[f] = BYTE(s, ORDER(old))
#endif
		:: else
		fi;
#else
		state[f] = BYTE(s, ORDER(old));
#endif
		taken = 0
	}
}

/* For each page of the folio; not nested, and i is 0 outside. */
#define EACH_PAGE	do ::
#define END_EACH	if :: i < ORDER(old) -> i++ :: else -> break fi od; i = 0

proctype vmm()
{
	byte f, old, i;
	bit found, lost;

idle:	if
	:: goto done
	:: atomic { region -> vmm_at_it = 1 }
	fi;
	atomic {
		if
		:: f = 0
#if defined(LIAR) || defined(M_TAIL_BYTES)
		:: f = 1
#endif
		fi;
		may_look();
		old = state[f];
		if
		:: VALID(f, old) && (STATE(old) == V || STATE(old) == L)
		:: else -> goto out
		fi
	}
#ifdef M_HARVEST_NO_T
	if
	:: STATE(old) == L -> goto harvest
	:: else
	fi;
#endif
	atomic {
		may_look();
		if
#if defined(M_TAKE_BY_STORE)
		:: true
#elif defined(M_TAKE_OTHER_ORDER)
		:: STATE(state[f]) == STATE(old)
#else
		:: state[f] == old
#endif
			-> state[f] = TAKEN(old); taken = 1
		:: else -> REACHED(3); goto out
		fi
	}
	if
#ifndef M_LAZY_NO_T
	:: goto discard
#endif
#ifndef M_DISCARD_NO_T
	:: goto lazy
#endif
	:: STATE(old) == V -> untake(V); goto out
	:: STATE(old) == L -> goto harvest
	:: STATE(old) == L -> goto unlazy
	fi;

discard:
#ifdef M_EARLY_D
	untake(D);
#endif
	EACH_PAGE
		atomic {
			madv_dontneed(f + i);
			if
#ifdef M_DISCARD_HEAD_ONLY
			:: break
#else
			:: goto failed			/* with the next page */
			:: true
#endif
			fi
		}
	END_EACH;
	untake(D);
	goto out;

lazy:
#ifdef M_EARLY_L
	untake(L);
#endif
	EACH_PAGE
		atomic {
			madv_free(f + i);
			if
			:: goto failed
			:: true
			fi
		}
	END_EACH;
	untake(L);
	goto out;

failed:	/* what has been done cannot be undone */
	i = 0;
#ifdef M_FAILED_GIVES_UP
	untake(V);
#elif defined(M_FAILED_IS_LAZY)
	untake(L);
#else
	untake(D);
#endif
	goto out;

harvest:				/* pagemap */
	EACH_PAGE
		d_step { !mem[f + i].busy -> lost = lost | !mem[f + i].present }
	END_EACH;
	if
	:: lost -> REACHED(5); untake(D)
#ifdef M_HARVEST_GIVES_UP
	:: !lost -> untake(V)
#else
	:: !lost -> untake(L)
#endif
	fi;
	goto out;

unlazy:	/* before migration and the like: nothing may be dropped half-way */
	EACH_PAGE
		probe(f + i);
		if
		:: lost -> break
		:: else
		fi;
	END_EACH;
	if
	:: lost -> untake(D)
	:: else -> REACHED(4); untake(V)
	fi;

out:	atomic { f = 0; old = 0; lost = 0; vmm_at_it = 0 };
	goto idle;
done:	skip
}

#ifdef LIAR
/* A guest that writes anything at any time harms nobody but itself. */
proctype liar()
{
	byte f;

end:	do
	:: f = 1 - f
	:: atomic {
		if
		:: state[f] = BYTE(V, 0)
		:: state[f] = BYTE(V, 1)
		:: state[f] = BYTE(V, 2)	/* beyond its memory */
		:: state[f] = BYTE(L, 1)
		:: state[f] = BYTE(T, 0)
		:: state[f] = BYTE(7, 0)
		fi
	   }
	od
}
#else

/*
 * The guest
 */

inline guest_store(b)
{
	assert(array);
	state[0] = b
}

/*
 * Waits for T to end. A write to the doorbell returns when the VMM has
 * nothing in T. It may have taken the folio again since.
 */
inline wait_taken(me)
{
#ifdef M_NO_DOORBELL
	spinning++;
	atomic { STATE(state[0]) != T -> spinning--; rcu_read_unlock(me) }
#else
	atomic { !taken -> assert(bar); rcu_read_unlock(me) }
#endif
}

#ifdef M_ONE_KEPT_IS_ENOUGH
#define DECIDED	!lost
#else
#define DECIDED	lost
#endif

inline probe_folio()
{
	EACH_PAGE
		probe(i);
		if
		:: DECIDED -> break
		:: else
		fi;
#ifdef M_PROBE_HEAD_ONLY
		break;
#endif
	END_EACH
}

/*
 * folio_make_stable(), the caller has a reference. If irqs_off is set, it
 * waits for nothing, and may go to "unknown". Begins at "hook".
 */
inline folio_make_stable(me)
{
	if
	:: hinted
	:: !hinted -> goto stable
	fi;
	atomic {
		if
		:: !hash_lock -> hash_lock = 1
		:: hash_lock && irqs_off -> goto unknown
		fi;
#ifndef M_NO_RETEST
		if
		:: hinted
		:: !hinted -> REACHED(6); hash_lock = 0; goto stable
		fi
#endif
	}
#ifdef M_PROBE_BEFORE
	old = state[0];
	if
	:: STATE(old) == L -> probe_folio()
	:: else
	fi;
	atomic {
		if
		:: STATE(old) == L && state[0] == old -> state[0] = S; goto known
		:: STATE(old) == L && state[0] != old ->
			lost = 0;
			hash_lock = 0;
			goto hook
		:: else -> old = 0
		fi
	}
#endif
	atomic {
		assert(array);
		old = state[0];
		if
#if defined(M_T_IS_KEPT)
		:: STATE(old) == T -> goto known
#elif !defined(M_STEAL_T)
		:: STATE(old) == T && irqs_off -> old = 0; hash_lock = 0; goto unknown
		:: STATE(old) == T && !irqs_off ->
			REACHED(7);
			REACHED_IF(10, rang);
			old = 0;
#ifndef M_RING_NO_RCU
			rcu_read_lock(me);
#endif
#ifndef M_WAIT_WITH_LOCK
			hash_lock = 0;
#endif
			goto busy
#endif
		:: else
		fi;
#ifndef M_STABLE_BY_STORE
		REACHED_IF(8, STATE(old) == S);
		state[0] = S
#endif
	}
#ifdef M_STABLE_BY_STORE
	state[0] = S;
#endif
#ifdef M_FLAG_BEFORE_PROBE
	hinted = 0;
#endif
#ifdef M_PROBE_OUTSIDE_LOCK
	hash_lock = 0;
#endif
	if
#ifndef M_NO_PROBE
	:: STATE(old) == L -> probe_folio()
#endif
#ifndef M_D_IS_KEPT
	:: STATE(old) == D || STATE(old) == T -> lost = 1
#endif
	:: else
	fi;
#if defined(M_PROBE_BEFORE) || defined(M_T_IS_KEPT)
known:
#endif
	atomic {		/* the flags, all at once, then the lock */
		REACHED_IF(11, lost && order && mem[0].content != mem[1].content);
		if
		:: lost -> uptodate = 0
		:: else
		fi;
		hinted = 0;
		old = 0;
		lost = 0;
		set_rang(0);
		hash_lock = 0
	}
	goto stable;
#if !defined(M_T_IS_KEPT) && !defined(M_STEAL_T)
busy:
	wait_taken(me);
	set_rang(1);
#ifdef M_WAIT_WITH_LOCK
	hash_lock = 0;
#endif
	goto hook;
#endif
stable:	skip
}

/* A page of the folio, any. */
#define ANY_PAGE(f)	if :: f = 0 :: order -> f = 1 fi

/*
 * Who looks the folio up: reads, writes, writes back, reads in what is lost
 * and what is new.
 */
proctype taker(byte me)
{
	byte old, i;
	bit found, lost, irqs_off;

idle:	if
	:: goto done
	:: atomic { own[0] == FILE -> refs++ }
	:: atomic {			/* filemap_add_folio() */
#ifdef ORDERS
		own[0] == NOBODY ->
		if
		:: own[1] == NOBODY -> own[1] = FILE; order = 1
		:: order = 0
		fi;
#else
		own[0] == NOBODY && own[1] == NOBODY ->
		own[1] = FILE;
		order = 1;
#endif
		own[0] = FILE;
		locked = 1;
		refs = 1;
		goto read_in
	   }
	fi;
	if
	:: skip
	:: atomic {
		irqs_off = 1;
#ifndef M_PEEK_NO_RCU
		rcu_read_lock(me)
#endif
	   }
	fi;
hook:	folio_make_stable(me);
	if
	:: irqs_off -> atomic { irqs_off = 0; rcu_read_unlock(me) }
	:: else
	fi;

use:	atomic {
		if
		:: uptodate -> ANY_PAGE(i); expect(i, DATA); i = 0; goto put
		:: uptodate -> ANY_PAGE(i)		/* write */
		:: true -> goto lock
		:: goto put
		fi;
		write_page(i, DATA);
		i = 0;
		disk = 0
	}
	pg_dirty = 1;
	goto put;

lock:	atomic {
		!locked -> locked = 1;
		if
		:: !uptodate && own[0] == FILE -> goto read_in
		:: uptodate && pg_dirty -> pg_dirty = 0	/* writeback */
		:: else -> goto unlock
		fi
	}
	atomic { ANY_PAGE(i); expect(i, DATA); i = 0; disk = 1 }
	goto unlock;

read_in:
	atomic { write_page(0, (disk -> DATA : STALE)) };
	if
	:: order -> atomic { write_page(1, (disk -> DATA : STALE)) }
	:: else
	fi;
	uptodate = 1;
unlock:	locked = 0;
put:	refs--;
	goto idle;

unknown:			/* asks the host, changes nothing */
	atomic {
		assert(array);
		irqs_off = 0;
		rcu_read_unlock(me)
	}
	goto put;
done:	skip
}

/* Makes it volatile. Nobody else has a reference, and it holds the lock. */
proctype clock()
{
idle:	if
	:: goto done
#ifdef M_MAKER_NOT_STOPPED
	:: in_pass = 1
#else
	:: atomic { maker_on -> in_pass = 1 }
#endif
	fi;
	atomic {
		if
		:: own[0] == FILE && !locked && uptodate && !pg_dirty && !hinted ->
			locked = 1;
			refs++
		:: else -> goto out
		fi
	}
	atomic {
		!hash_lock -> hash_lock = 1;
		if
		:: refs == 1 && uptodate && !pg_dirty && !hinted
		:: else -> hash_lock = 0; goto unlock
		fi;
#ifndef M_STATE_BEFORE_FLAG
		hinted = 1
#endif
	}
#ifdef M_STATE_OUTSIDE_LOCK
	hash_lock = 0;
#endif
	d_step {
		assert(array);
		state[0] = BYTE(V, order);
#ifdef M_TAIL_BYTES
		state[1] = (order -> BYTE(V, 0) : state[1]);
#endif
#ifndef M_STATE_BEFORE_FLAG
		hash_lock = 0
#endif
	}
#ifdef M_STATE_BEFORE_FLAG
	d_step { hinted = 1; hash_lock = 0 }
#endif
unlock:	atomic { locked = 0; refs-- }
out:	in_pass = 0;
	goto idle;
done:	skip
}

#ifdef FREER
/* Reclaim and truncation. To wait may be with interrupts off. */
proctype freer()
{
#ifdef ORDERS
	byte old, i;
	bit found, lost, irqs_off;
#endif

idle:	if
	:: goto done
	:: atomic {
		own[0] == FILE && refs == 0 && !locked ->
		own[0] = FREEING;
		pg_dirty = 0;
		disk = 1
	   }
#ifdef ORDERS
	:: atomic {
		own[0] == FILE && order && !locked ->
		locked = 1;
		refs++;
		goto split
	   }
#endif
	fi;
#ifndef M_FREE_AS_IS
	/* __page_hint_free(), whatever the content */
	if
	:: !hinted -> goto free
	:: else
	fi;
#ifdef M_FREE_FLAG_FIRST
	hinted = 0;
#endif
#ifdef M_FREE_BY_STORE
	if
	:: STATE(state[0]) != T
	fi;
	state[0] = S;
#else
	do
	:: atomic {
		assert(array);
		if
		:: STATE(state[0]) != T -> state[0] = S; break
		:: else -> REACHED(9)
#ifdef M_FREE_NO_WAIT
			-> break
#endif
		fi
	   }
	   wait_taken(FREER_ID)
	od;
#endif
#endif
free:	atomic {
		hinted = 0;
		uptodate = 0;
		own[0] = NOBODY;
		own[1] = (order -> NOBODY : own[1]);
		order = 0
	}
	goto idle;

#ifdef ORDERS
split:	/* The second page is cut off; the first one stays. */
#ifndef M_SPLIT_AS_IS
hook:	folio_make_stable(FREER_ID);
#endif
	atomic {
		if
		:: refs == 1 -> order = 0; own[1] = NOBODY
		:: else
		fi;
		refs--;
		locked = 0
	}
	goto idle;
unknown:
	assert(false);
#endif
done:	skip
}
#endif

#ifdef OWNER
/* The next owner of a frame. It writes before it reads, and knows of nothing. */
proctype new_owner()
{
	byte f;

idle:	if
	:: goto done
	:: atomic { own[0] == NOBODY -> own[0] = FOREIGN; f = 0 }
	:: atomic { own[1] == NOBODY -> own[1] = FOREIGN; f = 1 }
	fi;
	write_page(f, THEIRS);
	expect(f, THEIRS);
	d_step { own[f] = NOBODY; f = 0 }
	goto idle;
done:	skip
}
#endif

#ifdef SWITCH
/*
 * Off: stop the maker and wait for it, walk, remove the region, wait for
 * who may still look at the array or ring the doorbell, free both.
 */
inline remove_region()
{
	region = 0;
#ifndef M_REMOVE_NO_WAIT
	!vmm_at_it;
#endif
	d_step { quiet = 1; assert(STATE(state[0]) != T && STATE(state[1]) != T) }
}

inline synchronize_rcu()
{
	for (i : 0 .. READERS - 1) {
		!reader[i]
	}
	i = 0
}

proctype switcher()
{
	byte old, i;
	bit found, lost, irqs_off;

on:	if
	:: goto done
	:: skip
#ifdef RESET
	:: remove_region();		/* suspend, reset: whatever the states */
	   if
	   :: goto add			/* resume */
	   :: skip			/* the driver is unbound */
	   fi
#endif
	fi;
#ifdef M_ARRAY_FREED_FIRST
	goto free_array;
#endif
	maker_on = 0;
#ifndef M_MAKER_NOT_STOPPED
	!in_pass;
#endif

walk:	if
	:: atomic { hinted && own[0] == FILE -> refs++ }
	:: !hinted -> goto clean
	fi;
#ifdef M_WALK_SKIPS_T
	irqs_off = 1;
#endif
hook:	folio_make_stable(SWITCH_ID);
	refs--;
	goto walk;

unknown:			/* M_WALK_SKIPS_T */
	atomic { refs--; irqs_off = 0 }

clean:	if
	:: quiet
	:: !quiet -> remove_region()
	fi;
	synchronize_rcu();
free_array:
	atomic { array = 0; bar = 0 };
	if
	:: goto done
	:: skip
	fi;
	d_step { array = 1; bar = 1; state[0] = S; state[1] = S };
add:	atomic { quiet = 0; region = 1; maker_on = 1 };
	goto on;
done:	skip
}
#endif
#endif /* LIAR */

#ifdef STRICT
/*
 * What the argument rests on. Clean and lazy is what may be dropped: that is
 * for volatile folios in T, L or D, and for content that is worth nothing.
 */
#define IMPLIES(a, b)	(!(a) || (b))
#define DROPPABLE(f)	(mem[f].lazy && !mem[f].dirty)
#define IN_USE		(own[0] == FILE && uptodate && !hinted)
#define IS_V		(STATE(state[0]) == V)
#define SOUND	(IMPLIES(state[0] != 0, hinted && ORDER(state[0]) == order) && \
		 IMPLIES(hinted, uptodate && !pg_dirty) && \
		 state[1] == 0 && \
		 IMPLIES(IS_V || IN_USE, !DROPPABLE(0)) && \
		 IMPLIES((IS_V || IN_USE) && order, !DROPPABLE(1)) && \
		 IMPLIES(IS_V, mem[0].content == DATA) && \
		 IMPLIES(IS_V && order, mem[1].content == DATA))

proctype monitor()
{
end:	atomic { !SOUND -> assert(SOUND) }
}
#endif

init {
	atomic {
		byte n;

		run vmm();
#ifdef LIAR
		run liar();
#else
		run host_kernel(0);
		run host_kernel(1);
		own[0] = FILE;
		own[1] = FILE;
		do
		:: n < TAKERS -> run taker(n); n++
		:: else -> break
		od;
		run clock();
#ifdef FREER
		run freer();
#endif
#ifdef OWNER
		run new_owner();
#endif
#ifdef SWITCH
		run switcher();
#endif
#endif
#ifdef STRICT
		run monitor();
#endif
	}
}
