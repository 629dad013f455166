/* A page's blocks, freed by its owner and by others: how it is closed and
 * opened, and who gives it away. docs/design/memory.md .mem.remote .mem.settle
 *
 * One page of BLOCKS blocks, its owner, two pushers to whom the owner hands
 * blocks, and which push all they have at once. What the owner does by itself
 * (allocate, free, hand over, settle, take back what was returned) is by
 * chance, ACTS times; then it settles once more, as the scavenger asks for.
 *
 * Checked: the page goes once, with no block in use, and nobody looks at it
 * afterwards; no block is lost or there twice; at the end, when nothing is in
 * use, it went.
 *
 * Broken variants, each of which must fail:
 *   TOUCH_LATER    the owner writes to the page after it has closed it
 *   CLOSE_BLINDLY  the page is closed by a store, whatever was pushed
 *   PUSH_UNLOCKED  the push of a closed page's last blocks takes no lock
 *   KEEP_OPEN      nothing is settled
 *   OPEN_BLINDLY   a page is opened without the lock
 *   NON_VACUOUS_1  claims that no pusher ever gives the page away
 *   NON_VACUOUS_2  claims that no page is closed with room */
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef ACTS
#define ACTS 5
#endif

#define OPEN 0
#define FULL 1
#define RETURNED 2

/* the word that all may exchange */
bit closed = 0, notify = 0;
byte pushed = 0;   /* on its list */
byte in_use = 0;   /* closed: blocks in use when it was */
/* plain */
byte state = OPEN; /* under the lock but where open */
byte used = 0;     /* as the owner knows */
byte room = BLOCKS;
bit gone = 0;
bit has = 1;       /* the owner allocates from it, or would: it is open */

bit lock = 0;
byte held = 0;     /* blocks in the owner's hands */
byte chain[2];     /* and in each pusher's */
byte ended = 0;

#define touch() assert(!gone)
#define acquire() atomic { lock == 0 -> lock = 1 }
#define release() lock = 0

inline give_away()
{
    atomic {
        touch();
        assert(held + chain[0] + chain[1] == 0);
        assert(used == 0 && pushed == 0 && room == BLOCKS);
        gone = 1
    }
}

inline take()
{
    atomic {
        touch();
        assert(!closed);
        room = room + pushed; used = used - pushed; pushed = 0
    }
}

/* The exchange that opens it, and what comes with it. Lock held. */
inline open_it()
{
    atomic {
        touch();
        assert(closed);
        closed = 0; notify = 0;
        room = room + pushed; used = used - pushed; pushed = 0;
        state = OPEN
    }
}

/* Lock held. `done`: nothing was pushed meanwhile. */
inline close_it(told, next)
{
    atomic {
        touch();
        assert(used > 0);
#ifdef CLOSE_BLINDLY
        pushed = 0;
#endif
        done = (pushed == 0);
        if
        :: done -> closed = 1; notify = told; in_use = used; has = 0
        :: else
        fi
    };
    if
    :: done -> state = next
    :: else
    fi
}

inline allocate()
{
    if
    :: !has -> skip /* it would go on with another page */
    :: else ->
        if
        :: room == 0 -> take()
        :: else
        fi;
        if
        :: room > 0 -> atomic { room--; used++; held++ }
        :: else ->
            acquire();
            close_it(1, FULL);
#ifndef TOUCH_LATER
            touch();
#endif
            release();
#ifdef TOUCH_LATER
            if
            :: done -> touch()
            :: else
            fi
#endif
        fi
    fi
}

/* The owner's free: it holds a block, so the page is there. */
inline free_own()
{
    if
    :: held > 0 ->
        touch();
        if
        :: closed ->
#ifndef OPEN_BLINDLY
            acquire();
#endif
            open_it();
            has = 1;
#ifndef OPEN_BLINDLY
            release()
#endif
        :: else
        fi;
        atomic { held--; room++; used-- };
        look()
    :: else
    fi
}

/* All that is in use was pushed by others: it is empty. */
inline look()
{
    if
    :: used == pushed -> take()
    :: else
    fi;
    if
    :: used == 0 && has -> give_away()
    :: else
    fi
}

inline settle()
{
    do
    :: !gone && has && pushed > 0 ->
        take();
        if
        :: used == 0 -> give_away(); break
        :: else ->
            acquire();
            close_it(0, RETURNED);
            release();
#ifdef NON_VACUOUS_2
            assert(!done || room == 0);
#endif
            if
            :: done -> break
            :: else
            fi
        fi
    :: else -> break
    od
}

inline take_returned()
{
    acquire();
    if
    :: !gone && state == RETURNED ->
        open_it(); has = 1; release(); look()
    :: else -> release()
    fi
}

proctype owner()
{
    byte acts = 0;
    bit done;
    do
    :: acts < ACTS && !gone ->
        acts++;
        if
        :: true -> allocate()
        :: true -> free_own()
        :: atomic { held > 0 && chain[0] == 0 -> held--; chain[0]++ }
        :: atomic { held > 1 && chain[1] == 0 -> held = held - 2;
                    chain[1] = 2 }
        :: atomic { held > 0 && chain[1] == 0 -> held--; chain[1]++ }
#ifndef KEEP_OPEN
        :: true -> settle()
#endif
        :: true -> take_returned()
        fi
    :: else -> break
    od;
    ended++;
    ended == 3;
#ifndef KEEP_OPEN
    settle();
#endif
    assert(gone || held > 0 || (used == 0 && has && room == BLOCKS));
    assert(gone || held + room + pushed == BLOCKS)
}

/* The compare-and-swap of what was read: `swapped`. */
inline swap(p)
{
    atomic {
        touch();
        swapped = (closed == was_closed && notify == was_notify &&
                   pushed == was_pushed && (!closed || in_use == was_in_use));
        if
        :: swapped ->
            pushed = pushed + chain[p]; chain[p] = 0; notify = 0
        :: else
        fi
    }
}

inline read_word()
{
    atomic {
        touch();
        was_closed = closed; was_notify = notify; was_pushed = pushed;
        was_in_use = in_use
    }
}

#define ends(p) (was_closed && was_pushed + chain[p] == was_in_use)

/* After the push that emptied a closed page: it is nobody's. */
inline end_closed()
{
    touch();
    open_it();
#ifdef NON_VACUOUS_1
    assert(false);
#endif
    give_away()
}

inline push_locked(p)
{
    acquire();
    do
    :: read_word();
        last = ends(p);
        swap(p);
        if
        :: swapped -> break
        :: else
        fi
    od;
    if
    :: last -> end_closed()
    :: !last && was_notify -> touch(); state = RETURNED
    :: else
    fi;
    release()
}

proctype pusher(byte me)
{
    bit was_closed, was_notify, swapped, last;
    byte was_pushed, was_in_use;
    do
    :: chain[me] > 0 ->
        read_word();
        if
#ifndef PUSH_UNLOCKED
        :: was_notify || ends(me) -> push_locked(me)
#else
        :: was_notify && !ends(me) -> push_locked(me)
        :: ends(me) ->
            swap(me);
            if
            :: swapped -> end_closed()
            :: else
            fi
#endif
        :: else -> swap(me)
        fi
    :: chain[me] == 0 && ended > 0 && (ended > 1 || me == 0) ->
        if
        :: chain[me] == 0 -> break
        :: else
        fi
    od;
    ended++
}

init
{
    atomic { run owner(); run pusher(0); run pusher(1) }
}
