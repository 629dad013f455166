/* OPEN's and CLOSE's handshakes, limbo, and what the collector may read and
 * write between and after them. docs/design/concurrent.md .open.shake
 * .open.leave .close.order, memory.md .mem.limbo
 *
 * Two threads make and drop objects in BLOCKS blocks, poll, detach and return,
 * leave and attach, and push entries to each other's merge queue. The
 * collector goes through CYCLES cycles: it looks at each block and remembers
 * those that carry a candidate's age, frees some of them as garbage, gives
 * others up as armed survivors, closes, restamps. A cycle may be abandoned.
 *
 * Checked: a block that was looked at is not reused before CLOSE, unless the
 * collector itself freed it; what was queued when OPEN began is drained when
 * it ends; nobody's-word and age are written to no object born since; the
 * next birth stamp is on no object; in the end nothing waits in limbo.
 * Memory is sequentially consistent.
 *
 * Bounds: K and K1 operations of the threads, BLOCKS, CYCLES.
 *
 * Broken variants, each of which must fail:
 *   ANNOUNCE_FIRST a safepoint stores its ack before it takes over and drains
 *   AGES_FIRST     it takes the ages over, then reads the phase
 *   REUSE_AT_ONCE  the dead do not wait in limbo
 *   LEAVE_FLUSHES  a leaving thread frees what waits
 *   LOAD_FIRST     one that attaches or returns reads ages and birth stamp
 *                  before its state says running
 *   NO_CLAIM       threads that are away are not waited for, nor worked for
 *   LEFT_EARLY     what leavers left is freed before limbo ends, not as it
 *                  ends, under the lock
 *   UNARM_LATE     survivors become nobody's when limbo has ended
 *   KEEP_FREED     a member that RECLAIM freed is still taken for one
 *   RESTAMP_STORE  survivors are restamped by a store
 *   RESTAMP_EARLY  they are restamped before limbo ends
 *   NON_VACUOUS    claims that no dead block is ever seen in limbo */
#ifndef K
#define K 2
#endif
#ifndef K1
#define K1 2
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef CYCLES
#define CYCLES 2
#endif

#define GONE 0
#define RUNNING 1
#define DETACHED 2
#define CLAIMED 3

/* word 0 of a block: 0 free, 1 to 3 the birth stamps, 4 an older age */
#define OLDER 4
#define AGE(w) (1 << (w))
#define NEXT_STAMP(s) (((s) % 3) + 1)

/* the heap's */
byte birth = 1, ages = 0, phase = 0, limbo_left = 0;
/* the threads' */
byte state[2], my_birth[2], my_ages[2], ack[2], limbo[2];
bit queue[2];
/* the blocks' */
byte word[BLOCKS];
bit live[BLOCKS];
/* what is really so */
bit looked[BLOCKS], fresh[BLOCKS], old[2];

#define BIT(b) (1 << (b))

/* Put all of a list of blocks on the free list. */
inline free_all(list)
{
    atomic {
        b = 0;
        do
        :: b < BLOCKS ->
            if
            :: list & BIT(b) ->
                assert(!looked[b] && !live[b]);
                word[b] = 0
            :: else
            fi;
            b++
        :: else -> break
        od;
        list = 0; b = 0
    }
}

/* The part of a thread that is done at a safepoint, or under a claim. */
inline take_over(m)
{
    my_birth[m] = birth;
    my_ages[m] = ages;
    if
    :: my_ages[m] == 0 && limbo[m] != 0 -> free_all(limbo[m])
    :: else
    fi
}
inline drain(m) { atomic { queue[m] = 0; old[m] = 0 } }

inline safepoint(m)
{
#ifdef AGES_FIRST
    take_over(m);
#endif
    p = phase;
    if
    :: p != ack[m] ->
#ifdef ANNOUNCE_FIRST
        ack[m] = p;
        take_over(m);
        drain(m)
#else
#ifndef AGES_FIRST
        take_over(m);
#endif
        drain(m);
        ack[m] = p
#endif
    :: else
    fi;
    p = 0
}

inline come_back(m, away)
{
#ifdef LOAD_FIRST
    s = birth; p = ages;
    atomic { state[m] == away -> state[m] = RUNNING };
    atomic { my_birth[m] = s; my_ages[m] = p; s = 0; p = 0 };
    if
    :: my_ages[m] == 0 && limbo[m] != 0 -> free_all(limbo[m])
    :: else
    fi
#else
    atomic { state[m] == away -> state[m] = RUNNING };
    take_over(m)
#endif
}

inline hand_over(m)
{
#ifdef LEAVE_FLUSHES
    if :: limbo[m] != 0 -> free_all(limbo[m]) :: else fi
#else
    atomic { /* under the page lock */
        if
        :: limbo[m] != 0 && ages != 0 ->
            limbo_left = limbo_left | limbo[m];
            limbo[m] = 0
        :: limbo[m] != 0 && ages == 0 -> free_all(limbo[m])
        :: else
        fi
    }
#endif
}

#define SOME_BLOCK(b) b = 0; do :: b < BLOCKS - 1 -> b++ :: break od

proctype Thread(byte m; byte limit)
{
    byte n = 0, b = 0, p = 0, s = 0;
    do
    :: atomic { n < limit -> n++; SOME_BLOCK(b) };
        if
        :: atomic { word[b] == 0 -> /* an object is born */
                assert(!looked[b] && !live[b]);
                word[b] = my_birth[m]; live[b] = 1; fresh[b] = 1; b = 0 }
        :: atomic { live[b] -> live[b] = 0 }; /* one dies */
            atomic {
                if
#ifndef REUSE_AT_ONCE
                :: my_ages[m] & AGE(word[b]) -> limbo[m] = limbo[m] | BIT(b)
#endif
                :: else -> word[b] = 0
                fi;
                b = 0 }
        :: skip -> b = 0; safepoint(m)
        :: skip -> b = 0;
            state[m] = DETACHED;
            come_back(m, DETACHED)
        :: skip -> b = 0;
            hand_over(m);
            state[m] = GONE;
            come_back(m, GONE)
        :: atomic { !queue[1 - m] -> queue[1 - m] = 1; b = 0 }
        fi
    :: n >= limit -> /* has no more to do than to poll, or leaves */
        if
        :: skip ->
end:        do
            :: phase != ack[m] -> safepoint(m)
            od
        :: skip -> hand_over(m); state[m] = GONE; break
        fi
    od
}

/* ---- the collector ---- */

inline handshake()
{
    m = 0;
    do
    :: m < 2 ->
        if
        :: atomic { state[m] == RUNNING && ack[m] == phase -> m++ }
#ifdef NO_CLAIM
        :: atomic { state[m] != RUNNING -> m++ }
#else
        :: atomic { state[m] != RUNNING && ack[m] == phase -> m++ }
        :: atomic { (state[m] == DETACHED || state[m] == GONE) &&
                ack[m] != phase ->
                s = state[m]; state[m] = CLAIMED };
            take_over(m);
            drain(m);
            ack[m] = phase;
            atomic { state[m] = s; s = 0; m++ }
#endif
        fi
    :: else -> break
    od;
    m = 0
}

/* Armed survivors become nobody's: a store to the owner word. */
inline unarm()
{
    do
    :: b < BLOCKS ->
        if
        :: atomic { (members & BIT(b)) -> assert(!fresh[b]) }
        :: else
        fi;
        b++
    :: else -> b = 0; break
    od
}

inline restamp()
{
    do
    :: b < BLOCKS ->
        s = word[b];
        if
        :: s != 0 && (collected & AGE(s)) ->
#ifdef RESTAMP_STORE
            atomic { assert(word[b] == s); word[b] = OLDER; s = 0 }
#else
            atomic {
                if
                :: word[b] == s ->
                    assert(!fresh[b]);
                    word[b] = OLDER
                :: else
                fi;
                s = 0 }
#endif
        :: else -> s = 0
        fi;
        b++
    :: else -> b = 0; break
    od
}

proctype Collector()
{
    byte n = 0, m = 0, b = 0, s = 0, collected = 0, members = 0;
    bit abandoned = 0;
    do
    :: n < CYCLES -> n++;
        /* OPEN, where no object carries the next stamp */
        atomic {
            s = NEXT_STAMP(birth);
            b = 0;
            do
            :: b < BLOCKS && word[b] != s -> b++
            :: b < BLOCKS && word[b] == s -> s = 0; break
            :: b >= BLOCKS -> break
            od;
            b = 0
        };
        if
        :: s == 0
        :: s != 0 ->
            collected = (AGE(1) | AGE(2) | AGE(3)) & ~AGE(s);
            birth = s; s = 0;
            ages = collected;
            atomic { phase++; old[0] = queue[0]; old[1] = queue[1] };
            handshake();
            assert(!old[0] && !old[1]);
            /* SUSPECT and ARM: candidates are what carries their age */
            do
            :: b < BLOCKS ->
                atomic {
                    if
                    :: word[b] != 0 && (collected & AGE(word[b])) ->
                        looked[b] = 1; fresh[b] = 0;
                        members = members | BIT(b);
#ifdef NON_VACUOUS
                        assert(live[b]);
#endif
                    :: else
                    fi };
                b++
            :: else -> b = 0; break
            od;
            if
            :: abandoned = 1
            :: skip -> /* RECLAIM: garbage is freed at once */
                do
                :: atomic { b < BLOCKS && live[b] && looked[b] ->
                        live[b] = 0 };
#ifdef KEEP_FREED
                    atomic { looked[b] = 0; word[b] = 0; b++ }
#else
                    atomic { looked[b] = 0; word[b] = 0;
                        members = members & ~BIT(b); b++ }
#endif
                :: b < BLOCKS -> b++
                :: b >= BLOCKS -> b = 0; break
                od
            fi;
            /* CLOSE */
#ifndef UNARM_LATE
            unarm();
#endif
#ifdef RESTAMP_EARLY
            if :: !abandoned -> restamp() :: else fi;
#endif
            atomic {
                do :: b < BLOCKS -> looked[b] = 0; b++ :: else -> break od;
                b = 0;
            };
#ifdef LEFT_EARLY
            free_all(limbo_left);
            ages = 0;
#else
            atomic { ages = 0; free_all(limbo_left) };
#endif
            phase++;
#ifdef UNARM_LATE
            unarm();
#endif
            /* The handshake is waited for by the next OPEN at the latest,
             * restamping goes on beside it. */
#ifndef RESTAMP_EARLY
            if :: !abandoned -> restamp() :: else fi;
#endif
            handshake();
            assert(abandoned || (collected & AGE(word[0])) == 0);
            assert(limbo_left == 0 && limbo[0] == 0 && limbo[1] == 0);
            atomic { abandoned = 0; members = 0; collected = 0 }
        fi
    :: else -> break
    od
}

init
{
    atomic {
        state[0] = RUNNING; my_birth[0] = 1;
        state[1] = RUNNING; my_birth[1] = 1;
        word[0] = 1; live[0] = 1;
        if :: skip :: queue[0] = 1 fi;
        run Thread(0, K); run Thread(1, K1); run Collector()
    }
}
