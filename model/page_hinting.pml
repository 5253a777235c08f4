// SPDX-License-Identifier: GPL-2.0
/*
 * Guest page hinting: the protocol between those who make a folio of the
 * page cache volatile, those who want its content, and a host that discards
 * volatile frames whenever it likes. See the essay in mm/page_hinting.c,
 * whose names are used here.
 *
 * One folio of one page, which is one frame; one slot in i_pages of one file.
 * All processes loop for ever and may stop after any operation, so a run
 * covers any number of operations, and a task that waits for what never
 * happens shows as an invalid end state.
 *
 * A step (a statement, an atomic or a d_step sequence) is at most one access
 * to memory that others see, with these exceptions:
 *  - taking a lock goes with the access after it, and dropping a lock with
 *    the access before it. Nobody can tell, as every trylock here may also
 *    fail for no reason;
 *  - a compare-and-exchange loop is one conditional step: if it succeeds, all
 *    that was tested on the old word is true at that moment;
 *  - what follows when the count has gone to zero for good is one step after
 *    PG_lru is cleared: only the clock and the host still look at the frame,
 *    and the test of PG_lru keeps the clock off it.
 *
 * check.sh has the combinations that are run:
 *   TAKERS=n CLOCKS=n WRITEBACK RECLAIM OWNER SWITCH	processes
 *   ARRAY		a host that takes the frame, then poisons it
 *   CONTENT_BITS	a host that tells "zero" and not "volatile and zero"
 *   BLOCKS		two blocks per folio, and buffers
 *   STRICT		check the structure and nr_volatile, not only for damage
 *   PROBE=n		fail where REACHED(n) stands: is this reached at all?
 *   M_...		one mutant
 */

#ifndef TAKERS
#define TAKERS	2
#endif
#ifndef CLOCKS
#define CLOCKS	1
#endif
#ifndef PROBE
#define PROBE	0
#endif
#define REACHED(n)	assert(PROBE != n)

/* Page flags: one word, so that one cmpxchg sees and changes all of them. */
#define LRU		1
#define UPTODATE	2
#define DIRTY		4
#define WB		8	/* PG_writeback */
#define HINTED		16	/* takers beware: armed or volatile */
#define VOLATILE	32	/* with HINTED: volatile; without: lost */
#define LOCKED		64
#define PRIVATE		128	/* buffers attached, they hold a reference */

#define HINT_MASK	(HINTED | VOLATILE)
#define HINT_ARMED	((flags & HINT_MASK) == HINTED)
#define HINT_VOLATILE	((flags & HINT_MASK) == HINT_MASK)
#define HINT_LOST	((flags & (HINT_MASK | UPTODATE)) == VOLATILE)

#define CACHE_AND_OWN	2	/* the count that a freeze expects */

/* Who has the frame */
#define NOBODY		0	/* on a free list */
#define FILE		1
#define FOREIGN		2	/* anybody else: anonymous, slab, page table */

/* Usage state, the guest's word to the host */
#define S		0
#define U		1
#define V		2
#define T		3	/* ARRAY: the host has taken the frame */

/*
 * Content is a mask with one bit for each block that is what the owner
 * believes it to be. 0 is what a discard, or a stale disk, leaves.
 */
#ifdef BLOCKS
#define ALL		3
#else
#define ALL		1
#endif
#define THEIRS		4	/* content of the foreign owner */

/* struct folio and i_pages */
byte flags = LRU | UPTODATE;
byte refcount = 1;		/* 0 is frozen, or free */
bit  slot = 1;			/* i_pages has the folio at this index */

/* mm/page_hinting.c */
bit  hash_lock;
bit  maker_on = 1;
byte in_pass;			/* clocks at work */
#ifdef SWITCH
bit  key = 1;			/* the static key */
#define KEY	key
#else
#define KEY	1
#endif

/* The host */
byte usage = S;
bit  zero;			/* no frame and no copy: logically zero */

/* What the checks need to know */
byte owner = FILE;
byte owned = 1;			/* references that somebody really owns */
byte content = ALL;		/* of the frame */
byte disk = ALL;		/* blocks for which the disk is current */
#ifdef BLOCKS
byte bh;			/* blocks that the buffers call uptodate */
#define clear_bh()	bh = 0
#else
#define bh		0
#define clear_bh()	skip
#endif

/*
 * Host
 */

/* The frame is touched by a CPU or by DMA: the guest must have said so. */
inline touch()
{
	assert(usage == S);
	zero = 0
}

/* What "set stable" takes for discarded */
#ifdef CONTENT_BITS
#define GONE	zero
#else
#define GONE	(zero && usage == V)
#endif

/* A host that takes and poisons in two steps makes "set stable" wait. */
#if defined(ARRAY) && !defined(M_ARRAY_NOWAIT)
#define HOST_READY	(usage != T)
#else
#define HOST_READY	true
#endif

/* What "get" tells */
#define DISCARDED	(usage == V && zero)

proctype host()
{
#ifdef ARRAY
	do
	:: d_step { usage == V && !zero -> usage = T }
	   d_step {
		content = 0;		/* poison, whoever has it by now */
		zero = 1;
		if
		:: usage == T -> usage = V
		:: else
		fi
	   }
	:: break
	od
#else
end:	do
	:: d_step { (usage == V || usage == U) && !zero ->
		zero = 1;
		content = 0
	   }
	od
#endif
}

/* nr_volatile of this one page */
#ifdef STRICT
byte nr_volatile;
#define ACCOUNT(delta)	nr_volatile = nr_volatile + delta; assert(nr_volatile <= 1)
#else
#define ACCOUNT(delta)	skip
#endif

/*
 * References. "owned" is the truth; the count must agree whenever it is not
 * frozen.
 */

#define TRY_GET		refcount > 0 -> assert(refcount == owned); \
			refcount++; owned++

inline get_unconditionally()
{
	refcount++;
	owned++
}

inline unfreeze(n)
{
	assert(owned == n);	/* else somebody's reference is overwritten */
	refcount = n
}

inline drop()
{
	assert(refcount == owned && refcount > 0);
	refcount--;
	owned--
}

/*
 * free_pages_prepare() and what follows. It tests the flag, not the key, and
 * needs no hash lock. The frame goes to a per-CPU list as it is, or to the
 * buddy lists: then it is set unused *before* it is inserted.
 */
inline free_frame()
{
	d_step {
		assert(refcount == 0 && owned == 0 && owner != NOBODY);
		if
#if defined(M_FREE_NO_STABLE)
		:: false
#elif defined(M_FREE_TESTS_KEY) || defined(M_WALK_ONCE_FREE_TESTS_KEY)
		:: HINT_VOLATILE && KEY -> usage = S; ACCOUNT(-1)
#else
		:: HINT_VOLATILE -> REACHED(9); usage = S; ACCOUNT(-1)
#endif
		:: else
		fi;
		flags = 0;
		owner = NOBODY
	}
}

/* Last put: __page_cache_release() takes it off the LRU, then it is freed. */
inline release()
{
	flags = flags & ~LRU;
#ifdef ARRAY
	atomic { HOST_READY -> free_it() }
#else
	atomic { free_it() }
#endif
#ifdef M_UNUSED_LATE
	if
	:: usage = U		/* after the insertion: whose is it now? */
	:: true
	fi
#endif
}

inline free_it()
{
#ifndef M_UNUSED_LATE
	if
	:: true -> free_frame()
	:: true -> free_frame(); usage = U
	fi
#else
	free_frame()
#endif
}

/* Off the free list; stable before anybody sees it. */
inline alloc_frame(who)
{
	assert(refcount == 0 && owned == 0 && !(flags & HINT_MASK));
	owner = who;
	if
	:: usage == U -> usage = S
	:: else
	fi;
	refcount = 1;
	owned = 1
}

/* page_hint_set_stable(). The caller has a reference. */
inline page_hint_set_stable()
{
	atomic { !hash_lock -> hash_lock = 1 }
	if
#ifdef M_NO_RETEST
	:: true ->
#else
	:: !HINT_VOLATILE -> REACHED(4); hash_lock = 0
	:: else ->
#endif
		/* ESSA set stable: returns the old state */
		atomic {
			HOST_READY;
			if
			:: GONE -> gone = 1
			:: else -> gone = 0
			fi;
			usage = S
		}
#ifdef M_FLAG_BEFORE_UPTODATE
		flags = flags & ~HINTED;
#endif
		/* all flags at once */
		d_step {
			if
#ifndef M_NO_CLEAR_UPTODATE
			:: gone -> flags = flags & ~(HINTED | UPTODATE)
#endif
			:: else -> flags = flags & ~HINT_MASK
			fi;
			gone = 0;
			ACCOUNT(-1);
			hash_lock = 0
		}
	fi
}

/*
 * folio_make_stable(), the takers' hook. The caller has a reference since
 * before the flag is tested.
 */
inline folio_make_stable()
{
	if
	:: !KEY				/* static branch */
	:: KEY ->
		do
		:: !(flags & HINTED) -> break
		:: HINT_ARMED ->		/* page_hint_disarm() */
#ifdef M_DISARM_BLIND
			flags = flags & ~HINT_MASK; break
#else
			atomic {
				if
				:: HINT_ARMED -> flags = flags & ~HINTED; break
				:: HINT_VOLATILE -> REACHED(11)
				:: else -> REACHED(3)
				fi
			}
#endif
		:: HINT_VOLATILE ->
#ifdef M_CLEAR_ONLY
			flags = flags & ~HINT_MASK;
#else
			page_hint_set_stable();
#endif
			break
		od
	fi
}

/*
 * filemap_release_folio() with the folio lock. If there are dirty buffers, it
 * goes to "unlock".
 */
inline release_buffers()
{
	atomic {
		if
		:: !(flags & PRIVATE)
		:: (flags & PRIVATE) && (flags & (DIRTY | WB)) -> goto unlock
		:: else ->
			flags = flags & ~PRIVATE;
			clear_bh();
			drop()
		fi
	}
}

/*
 * page_hint_evict() with the folio lock and a reference: drops the folio from
 * the cache if its content is gone. If not, it goes to "unlock".
 */
inline page_hint_evict(probe)
{
	if
#ifdef M_EVICT_NO_RECHECK
	:: true
#else
	:: HINT_VOLATILE ->
		if
		:: DISCARDED -> page_hint_set_stable()
		:: else -> goto unlock
		fi
	:: else
	fi;
	if
	:: HINT_LOST
	:: else -> goto unlock
#endif
	fi;
	/* mapping_evict_folio() */
	atomic {
		if
		:: !slot || (flags & (DIRTY | WB)) -> goto unlock
		:: else
		fi
	}
	release_buffers();
	/* remove_mapping() */
	atomic {
		if
		:: refcount == CACHE_AND_OWN ->
			refcount = 0;
			/* what is evicted has no content any more */
			assert(DISCARDED || !(flags & UPTODATE));
			REACHED(probe)
		:: else -> goto unlock
		fi
	}
	atomic {
		if
		:: (flags & DIRTY) -> unfreeze(CACHE_AND_OWN); goto unlock
		:: else -> slot = 0; owned--
		fi
	}
	d_step { unfreeze(1) }
}

/*
 * A task that looks the folio up and wants its content: read(2), a fault,
 * write(2), a direct store by whoever holds a plain reference.
 */
proctype taker()
{
	bit gone;

idle:	if
	:: goto done
	:: slot -> skip			/* xas_load() */
	:: !slot -> goto fill
	fi;

	/* filemap_get_entry() */
#ifdef M_TEST_BEFORE_GET
	if
	:: (flags & HINTED) -> gone = 1
	:: else
	fi;
#endif
	atomic {
		if
		:: TRY_GET
		:: else -> gone = 0; goto idle	/* frozen or free: again */
		fi
	}
#ifndef M_NO_SLOT_RECHECK
	if
	:: slot
	:: !slot -> goto put
	fi;
#endif
#ifdef M_TEST_BEFORE_GET
	if
	:: gone -> gone = 0
	:: else -> goto use
	fi;
#endif
	if
	:: goto put			/* mincore, truncate: only looking */
	:: HINT_VOLATILE || HINT_LOST -> goto evict	/* page_hint_readahead() */
	:: skip
	fi;
#ifndef M_NO_HOOK
	if
	:: HINT_VOLATILE && hash_lock -> goto put	/* irqs off: must not wait */
	:: skip
	fi;
	folio_make_stable();
#endif

use:	if
	:: (flags & UPTODATE) ->	/* read it */
		d_step {
			touch();
			assert(owner == FILE);
			assert(content == ALL);
			assert(flags & UPTODATE)
		}
		goto put
	:: (flags & UPTODATE) ->	/* write without the folio lock */
		d_step {
			touch();
			assert(owner == FILE);
			content = ALL;
			if
			:: slot -> disk = 0
			:: else
			fi
		}
		d_step {
			assert(flags & UPTODATE);
			flags = flags | DIRTY
		}
		goto put
	:: HINT_LOST -> goto evict	/* page_hint_recover() */
	:: skip				/* all else is done under the lock */
	:: goto put
	fi;

	/* folio_lock(), and is it still ours? */
	atomic {
		!(flags & LOCKED) -> flags = flags | LOCKED;
		if
		:: slot
		:: else -> goto unlock
		fi
	}
	if
	:: (flags & UPTODATE) ->	/* write(2) */
		d_step {
			touch();
			assert(owner == FILE && content == ALL);
			disk = 0
		}
		d_step {
			assert(flags & UPTODATE);
			flags = (flags | DIRTY) & ~LOCKED
		}
#ifdef BLOCKS
		goto put
	:: (flags & UPTODATE) && !(flags & PRIVATE) ->
		/* buffers attached, e.g. for a write that then fails */
		d_step {
			flags = flags | PRIVATE;
			bh = ALL;
			get_unconditionally()
		}
		goto unlock
	:: !(flags & UPTODATE) ->
		/* write one whole block: no need to read the other one */
		d_step {
			touch();
			if
			:: !(flags & PRIVATE) ->
				flags = flags | PRIVATE;
				get_unconditionally()
			:: else
			fi;
			bh = bh | 1;
			content = content | 1;
			disk = disk & ~1
		}
		REACHED(8);
		d_step { flags = (flags | DIRTY) & ~LOCKED }
#endif
		goto put
	:: d_step { touch() }		/* zero what a truncate cut off */
		goto unlock
	:: !(flags & UPTODATE) ->	/* read it in */
read_in:	atomic {
			touch();
			assert(owner == FILE);
			content = (content & bh) | (disk & ~bh);
#ifdef BLOCKS
			if
			:: (flags & PRIVATE) -> bh = ALL
			:: else
			fi
#endif
		}
		/* folio_end_read() flips both bits */
		d_step {
			assert(!(flags & UPTODATE) && (flags & LOCKED));
			flags = flags ^ (UPTODATE | LOCKED);
			REACHED(1)
		}
		goto use
	fi;

evict:	atomic {
		if
		:: !(flags & LOCKED) -> flags = flags | LOCKED
		:: goto put
		fi
	}
	page_hint_evict(7);
unlock:	flags = flags & ~LOCKED;

put:	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto idle
		fi
	}
	release();
	goto idle;

fill:	atomic {			/* filemap_add_folio(), locked */
		if
		:: owner == NOBODY && !slot -> alloc_frame(FILE)
		:: else -> goto idle
		fi;
		flags = LOCKED
	}
	d_step {
		get_unconditionally();
		slot = 1;
		flags = flags | LRU
	}
	goto read_in;
done:	skip
}

/*
 * The clock: arms, makes volatile, and evicts what it finds discarded. It
 * comes by frame number and has no reference at first.
 */
#ifdef M_KEEP_BUFFERS
#define EXPECTED	(CACHE_AND_OWN + ((flags & PRIVATE) != 0))
#else
#define EXPECTED	CACHE_AND_OWN
#endif

proctype clock()
{
	bit gone;
#ifdef M_NO_FOLIO_LOCK
	bit unlocked;
#endif

idle:	if
	:: goto done
#ifdef M_MAKER_NOT_STOPPED
	:: in_pass++
#else
	:: atomic { maker_on -> in_pass++ }
#endif
	fi;
	/* page_hint_visit(): one look at the flags, no reference */
	atomic {
		if
		:: (flags & (LRU | DIRTY | WB | LOCKED)) != LRU -> goto out
		:: else
		fi;
		if
		:: HINT_LOST -> goto dead
		:: !(flags & UPTODATE) -> goto out
		:: else
		fi;
		if
		:: HINT_VOLATILE -> goto look
		:: HINT_ARMED -> goto armed
#ifdef M_ARM_BLIND
		:: else
		fi
	}
	flags = flags | HINTED;
	goto out;
#else
#ifdef M_ARM_KEEPS_LOST
		:: else -> flags = flags | HINTED; goto out
#else
		:: else -> flags = (flags & ~HINT_MASK) | HINTED; goto out
#endif
		fi
	}
#endif

armed:	/* nobody disarmed it since the last visit */
	atomic {
		if
		:: TRY_GET
		:: else -> goto out
		fi
	}
	atomic {
		if
#ifdef M_NO_FOLIO_LOCK
		:: unlocked = 1
#else
		:: !(flags & LOCKED) -> flags = flags | LOCKED
#endif
		:: goto put
		fi;
		/* page_hint_eligible() */
		if
		:: !slot || (flags & (UPTODATE | DIRTY | WB)) != UPTODATE || !HINT_ARMED ->
			goto unlock
		:: else
		fi
	}
	/* page_hint_folio() */
#ifndef M_KEEP_BUFFERS
	release_buffers();
#endif
	/* page_hint_set_volatile() */
	atomic {
		!hash_lock -> hash_lock = 1;
		if
		:: refcount == EXPECTED ->
#ifndef M_NO_FREEZE
			refcount = 0
#endif
		:: else -> REACHED(2); hash_lock = 0; goto unlock
		fi
	}
	/* the comment in __remove_mapping() says who may have dirtied it */
	atomic {
		if
#ifndef M_NO_DIRTY_RECHECK
		:: (flags & (DIRTY | WB)) -> REACHED(5); goto thaw
#endif
#ifndef M_NO_ARMED_RECHECK
		:: !HINT_ARMED -> REACHED(6); goto thaw
#endif
		:: else
		fi
	}
#if defined(M_FLAG_AFTER_ESSA)
	d_step { unfreeze(EXPECTED) }
	usage = V;
	d_step { flags = flags | HINT_MASK; hash_lock = 0 };
#elif defined(M_FLAG_AFTER_UNFREEZE)
	d_step { unfreeze(EXPECTED) }
	flags = flags | HINT_MASK;
	d_step { usage = V; hash_lock = 0 };
#elif defined(M_BEWARE_AFTER_UNFREEZE)
	flags = flags | VOLATILE;
	d_step { unfreeze(EXPECTED) }
	flags = flags | HINTED;
	d_step { usage = V; hash_lock = 0 };
#else
#if defined(M_VOLATILE_ONLY)
	flags = flags | VOLATILE;	/* trusts that it is still armed */
#elif defined(M_TWO_STEPS_FROZEN)
	flags = flags | VOLATILE;
	flags = flags | HINTED;
#else
	d_step { flags = flags | HINT_MASK; ACCOUNT(1) }
#endif
#ifndef M_NO_FREEZE
	d_step { unfreeze(EXPECTED) }
#endif
#ifdef M_ESSA_OUTSIDE
	hash_lock = 0;
	usage = V;
#else
	d_step { usage = V; hash_lock = 0 };
#endif
#endif
	goto unlock;

thaw:	atomic {
#ifndef M_NO_FREEZE
		unfreeze(EXPECTED);
#endif
		hash_lock = 0
	}
	goto unlock;

look:	/* no reference: ask the host first, then again with the lock */
	if
	:: DISCARDED
	:: else -> goto out
	fi;
dead:	atomic {
		if
		:: TRY_GET
		:: else -> goto out
		fi
	}
	atomic {
		if
		:: !(flags & LOCKED) -> flags = flags | LOCKED
		:: goto put
		fi
	}
	page_hint_evict(10);
unlock:
#ifdef M_NO_FOLIO_LOCK
	if
	:: unlocked -> unlocked = 0; goto put
	:: else
	fi;
#endif
	flags = flags & ~LOCKED;
put:	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto out
		fi
	}
	release();
out:	in_pass--;
	goto idle;
done:	skip
}

#ifdef WRITEBACK
/*
 * Comes by tag, which may be stale, so it may meet a volatile folio: it
 * locks and tests dirty, and has no hook. While the I/O is under way only
 * PG_writeback keeps the folio; its end takes a reference unconditionally.
 */
proctype writeback()
{
idle:	if
	:: goto done
	:: slot -> skip
	fi;
	atomic {
		if
		:: TRY_GET
		:: else -> goto idle
		fi
	}
	if
	:: slot
	:: !slot -> goto put
	fi;
	atomic {
		!(flags & LOCKED) -> flags = flags | LOCKED;
		if
		:: slot && (flags & (DIRTY | WB)) == DIRTY
		:: else -> goto unlock
		fi
	}
	flags = flags & ~DIRTY;		/* folio_clear_dirty_for_io() */
	d_step { flags = (flags | WB) & ~LOCKED };
	d_step { drop(); assert(refcount > 0) };
	d_step {
		touch();		/* the device reads the frame */
		assert(owner == FILE);
		if
		:: (flags & UPTODATE) -> assert(content == ALL); disk = ALL
		:: else -> assert(bh && (content & bh) == bh); disk = disk | bh
		fi
	}
	d_step { get_unconditionally() };	/* folio_end_writeback() */
	flags = flags & ~WB;
	goto put;

unlock:	flags = flags & ~LOCKED;
put:	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto idle
		fi
	}
	release();
	goto idle;
done:	skip
}
#endif

#ifdef RECLAIM
/* Reclaim, truncation and migration. Only the last one has the hook. */
proctype reclaim()
{
	bit gone;

idle:	if
	:: goto done
	:: atomic {		/* vmscan isolates */
		(flags & LRU) && TRY_GET;
		flags = flags & ~LRU
	   }
	:: slot -> goto truncate
	fi;

	atomic {
		if
		:: !(flags & LOCKED) -> flags = flags | LOCKED
		:: goto putback
		fi;
		if
		:: !slot || (flags & WB) -> goto unlock
		:: else
		fi
	}
	if
	:: goto migrate
	:: skip
	fi;
	atomic {
		if
		:: (flags & DIRTY) -> goto unlock
		:: else
		fi
	}
	release_buffers();
	/* __remove_mapping(): stays frozen until it is free */
	atomic {
		if
		:: refcount == CACHE_AND_OWN -> refcount = 0
		:: else -> goto unlock
		fi
	}
	atomic {
		if
		:: (flags & DIRTY) -> unfreeze(CACHE_AND_OWN); goto unlock
		:: else -> slot = 0
		fi
	}
	d_step { assert(owned == 2); owned = 0; flags = flags & ~LOCKED };
	goto free;

migrate:
	folio_make_stable();
	atomic {
		if
		:: refcount == CACHE_AND_OWN -> refcount = 0
		:: else -> goto unlock
		fi
	}
	d_step {		/* copies, then gives up, to stay with one frame */
		touch();
		assert(owner == FILE);
		assert(!(flags & UPTODATE) || content == ALL)
	}
	d_step { unfreeze(CACHE_AND_OWN) };

unlock:	flags = flags & ~LOCKED;
putback:
	flags = flags | LRU;
	goto put;

truncate:		/* find_lock_entries(), truncate_inode_folio() */
	atomic {
		if
		:: TRY_GET
		:: else -> goto idle
		fi
	}
	atomic {
		if
		:: slot && !(flags & LOCKED) -> flags = flags | LOCKED
		:: goto put
		fi
	}
	atomic {
		!(flags & WB);
		if
		:: (flags & PRIVATE) -> flags = flags & ~PRIVATE; clear_bh(); drop()
		:: else
		fi
	}
	flags = flags & ~DIRTY;
	d_step { slot = 0; disk = ALL };	/* what was there is cut off */
	d_step { drop(); assert(refcount > 0) };
	flags = flags & ~LOCKED;

put:	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto idle
		fi
	}
free:	release();
	goto idle;
done:	skip
}
#endif

#ifdef OWNER
/* Whoever gets the frame next. Knows nothing of hints. */
proctype new_owner()
{
idle:	if
	:: goto done
	:: atomic { owner == NOBODY -> alloc_frame(FOREIGN) }
	fi;
	d_step {
		touch();
		assert(!(flags & HINT_MASK));
		content = THEIRS;
		flags = flags | UPTODATE
	}
	d_step {
		touch();
		assert(owner == FOREIGN && content == THEIRS && !(flags & HINT_MASK))
	}
	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto idle	/* a stale lookup puts it */
		fi
	}
	release();
	goto idle;
done:	skip
}
#endif

#ifdef SWITCH
/*
 * Off: stop the maker and wait for it; walk the frames until each was seen
 * without the flag; only then the key. On: the key, then the maker.
 */
proctype switcher()
{
	bit gone;

off:	if
	:: goto done
	:: skip
	fi;
#ifdef M_KEY_FIRST
	key = 0;
#endif
	maker_on = 0;
#if !defined(M_MAKER_NOT_WAITED) && !defined(M_MAKER_NOT_STOPPED)
	in_pass == 0;
#endif

walk:	/* page_hint_settle(): no reference is needed to disarm */
	atomic {
		if
		:: !(flags & HINTED) -> goto clean
#ifdef M_SETTLE_BLIND
		:: HINT_ARMED -> goto disarm
#else
		:: HINT_ARMED -> flags = flags & ~HINTED; goto walk
#endif
		:: else
		fi;
#if defined(M_WALK_ONCE) || defined(M_WALK_ONCE_FREE_TESTS_KEY)
		if
		:: TRY_GET
		:: else -> goto clean
		fi
	}
#else
	}
	/* frozen or on its way to the free list: wait, and look again */
	atomic {
		if
		:: TRY_GET
		:: !HINT_VOLATILE -> goto walk
		fi
	}
#endif
	folio_make_stable();
	atomic {
		drop();
		if
		:: refcount == 0
		:: else -> goto walk
		fi
	}
	release();
	goto walk;

#ifdef M_SETTLE_BLIND
disarm:	flags = flags & ~HINT_MASK;
	goto walk;
#endif

clean:	key = 0;
	if
	:: goto done
	:: skip
	fi;
#ifdef M_ON_MAKER_FIRST
	maker_on = 1;
	key = 1;
#else
	key = 1;
	maker_on = 1;
#endif
	goto off;
done:	skip
}
#endif

#ifdef STRICT
/*
 * The structure that the argument rests on. Not for mutants, as these have to
 * do real damage, unless all they do is to get nr_volatile wrong.
 */
#define IMPLIES(a, b)	(!(a) || (b))
#define SOUND	(IMPLIES(usage == V || usage == T, HINT_VOLATILE) && \
		 IMPLIES(usage == U, owner == NOBODY) && \
		 IMPLIES(HINT_VOLATILE, (flags & (UPTODATE | DIRTY | WB | PRIVATE)) == UPTODATE) && \
		 IMPLIES(flags & DIRTY, usage == S) && \
		 IMPLIES(owner != FILE, !(flags & HINT_MASK)) && \
		 nr_volatile == HINT_VOLATILE)

proctype monitor()
{
end:	atomic { !SOUND -> assert(SOUND) }
}
#endif

init {
	atomic {
		byte n;

		if			/* where the clock may have left it */
		:: skip
		:: flags = flags | HINTED
		:: flags = flags | HINT_MASK; usage = V; ACCOUNT(1)
		fi;
		for (n : 1 .. TAKERS) {
			run taker()
		}
		for (n : 1 .. CLOCKS) {
			run clock()
		}
		run host();
#ifdef WRITEBACK
		run writeback();
#endif
#ifdef RECLAIM
		run reclaim();
#endif
#ifdef OWNER
		run new_owner();
#endif
#ifdef SWITCH
		run switcher();
#endif
#ifdef STRICT
		run monitor();
#endif
	}
}
