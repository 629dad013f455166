/* Merge queues, their staged chunks, and who drains them for an owner that
 * is away. docs/design/refcount.md .rc.queue .rc.orphan
 *
 * One owner, two pushers, a stopper. A pusher gathers entries in a chunk of
 * its own and publishes the chunk when it is full, at a safepoint, before it
 * detaches and before it ends; then it looks at the owner's state and drains
 * for one that is away, under a claim. The owner polls, in portions, detaches, returns,
 * leaves, and looks at its queue each time after it has published that it is
 * away. The stopper holds an owner that is away and lets it go again, without
 * draining: a walk, a fork, a stop given up.
 *
 * Checked: never two drain at once, nor one beside a running owner; at the
 * end, with everyone away, no queue and no chunk has an entry.
 *
 * Bounds: ENTRIES entries of each pusher, CHUNK entries in a chunk, AWAY
 * times that the owner goes away and comes back, HOLDS holds.
 *
 * Broken variants, each of which must fail:
 *   LOOK_FIRST      the owner's state is looked at before the push
 *   RELEASE_BLINDLY no look at the queue after a claim is released
 *   DETACH_BLINDLY  no look at the queue after DETACHED or GONE is published
 *   RESUME_BLINDLY  no look at the queue of one that a stop lets go
 *   KEEP_CHUNK      a pusher detaches with a chunk of its own
 *   PUBLISH_ONCE    publishing may drain, and draining may stage an entry:
 *                   what was staged meanwhile is not published
 *   TAKEN_BLINDLY   the owner goes away with what it took off its queue
 *   RETURN_BLINDLY  the owner returns under a claim
 *   NON_VACUOUS     claims that nobody ever drains for another */
#ifndef ENTRIES
#define ENTRIES 2
#endif
#ifndef CHUNK
#define CHUNK 2
#endif
#ifndef AWAY
#define AWAY 1
#endif
#ifndef HOLDS
#define HOLDS 1
#endif

#define RUNNING 0
#define DETACHED 1
#define CLAIMED 2
#define HELD 3
#define GONE 4

byte state = RUNNING;
byte queue = 0;       /* entries in the owner's queue */
byte taken = 0;       /* off it, and not merged yet: the owner's portions */
byte staged[2];       /* entries in each pusher's chunk */
byte draining = 0;    /* who is inside */
bit more = 1;         /* a drain that lets an object die which refers to one
                       * of the owner's: happens once */
byte ended = 0;

/* Take all, merge them. `p`: 0, 1 a pusher; 2 the owner or stopper, who
 * stage nothing for themselves here. */
inline drain(p)
{
    atomic { draining++; assert(draining == 1) };
    atomic {
        if
        :: p < 2 && queue > 0 && more -> more = 0; staged[p]++
        :: skip
        fi;
        queue = 0;
        taken = 0
    };
    draining--
}

/* A safepoint of the owner's: all, or some of what is taken off the queue. */
inline poll()
{
    if
    :: drain(2)
    :: atomic { draining++; assert(draining == 1) };
        atomic {
            if
            :: taken == 0 -> taken = queue; queue = 0
            :: else
            fi;
            if
            :: taken > 0 -> taken--
            :: else
            fi
        };
        draining--
    fi
}

/* Before it is away: what it has taken is its own alone. */
inline finish()
{
    skip;
#ifndef TAKEN_BLINDLY
    if
    :: taken > 0 -> drain(2)
    :: else
    fi
#endif
}

inline drain_for(p)
{
    do
    :: queue > 0 ->
        if
        :: atomic { state == DETACHED || state == GONE ->
                back = state; state = CLAIMED };
#ifdef NON_VACUOUS
            assert(false);
#endif
            drain(p);
            state = back
#ifdef RELEASE_BLINDLY
            ; break
#endif
        :: else -> break
        fi
    :: else -> break
    od
}

inline publish(p)
{
    do
    :: staged[p] > 0 ->
#ifdef LOOK_FIRST
        seen = state;
        atomic { queue = queue + staged[p]; staged[p] = 0 };
        if :: seen == DETACHED || seen == GONE -> drain_for(p) :: else fi;
#else
        atomic { queue = queue + staged[p]; staged[p] = 0 };
        drain_for(p);
#endif
#ifdef PUBLISH_ONCE
        break
#endif
    :: else -> break
    od
}

proctype Pusher(byte p)
{
    byte n = 0, back = 0, seen = 0;
    do
    :: n < ENTRIES -> n++;
        if
        :: staged[p] == CHUNK -> publish(p)
        :: else
        fi;
        atomic { staged[p]++ };
        if
        :: skip
        :: publish(p) /* a safepoint */
        fi
    :: else -> break
    od;
#ifndef KEEP_CHUNK
    publish(p);
#endif
    ended++
}

/* Away: look again; what is found is done as a running thread. */
inline look_again(away)
{
#ifndef DETACH_BLINDLY
    do
    :: queue > 0 ->
        if
        :: atomic { state == away -> state = RUNNING };
            drain(2);
            state = away
        :: else -> break
        fi
    :: else -> break
    od
#else
    skip
#endif
}

proctype Owner()
{
    byte n = 0;
    do
    :: n < AWAY -> n++;
        poll();
        if
        :: finish();
            state = DETACHED;
            look_again(DETACHED);
#ifdef RETURN_BLINDLY
            state = RUNNING
#else
            atomic { state == DETACHED -> state = RUNNING }
#endif
        :: finish();
            state = GONE;
            look_again(GONE);
            /* the number is given to another thread */
            atomic { state == GONE -> state = RUNNING }
        fi
    :: n >= AWAY ->
        poll();
        if
        :: finish(); state = DETACHED; look_again(DETACHED)
        :: finish(); state = GONE; look_again(GONE)
        fi;
        break
    od;
    ended++
}

proctype Stopper()
{
    byte n = 0, back = 0;
    do
    :: n < HOLDS -> n++;
        if
        :: atomic { state == DETACHED -> state = HELD };
            state = DETACHED;
#ifndef RESUME_BLINDLY
            drain_for(2)
#endif
        :: skip
        fi
    :: else -> break
    od;
    ended++
}

init
{
    atomic { run Owner(); run Pusher(0); run Pusher(1); run Stopper() };
    ended == 4;
    assert(queue == 0 && taken == 0 && staged[0] == 0 && staged[1] == 0)
}
