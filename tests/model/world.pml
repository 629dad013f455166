/* Attach, detach, return, claim and stop. docs/design/threads.md .thread
 *
 * Participants 0 and 1 are threads; 1 begins GONE and attaches, perhaps in
 * the middle of a stop. The stopper is the collector. Each thread polls,
 * detaches and returns, claims the other while that is away, or takes an
 * object's lock, which it may keep over a safepoint. A stop may be given up.
 *
 * world->lock is a bit; waiting on a condition is: say that you sleep, let
 * go of the lock, sleep until a broadcast. Nobody wakes without one, so a
 * lost wakeup is a deadlock, which Spin reports as an invalid end state. Who
 * is parked, and the stopper, may look around for what they wait for before. A
 * thread that has used up its operations polls for ever: it may end only
 * while nobody wants anything of it.
 *
 * Checked: nobody works, or works under a claim, while the world is stopped;
 * an owner and its claimant never work at once; no deadlock.
 *
 * Bounds: K operations of each thread, STOPS stops.
 *
 * Broken variants, each of which must fail:
 *   LOAD_STORE      the stopper's claim is a load and a store, not an exchange
 *   RETURN_BLINDLY  a returning thread does not look who has it
 *   WAITER_RUNS     a lock waiter does not count as detached
 *   ATTACH_BLINDLY  an attach does not wait for the stop
 *   PARK_UNLOCKED   a thread becomes PARKED without the lock
 *   PARKED_RETURNS  a parked thread leaves PARKED by itself, without the lock
 *   CLEAR_LATE      requests are cleared after they were looked at
 *   NO_RETURNING    who lets a claim go does not look for one who waits
 *   NON_VACUOUS     claims that no stop ever succeeds with work done after */
#ifndef K
#define K 2
#endif
#ifndef STOPS
#define STOPS 2
#endif
#define N 2

#define GONE 0
#define RUNNING 1
#define DETACHED 2
#define PARKED 3
#define HELD 4
#define CLAIMED 5

byte state[N], from[N];
bit returning[N], requests[N];
bit stop_wanted = 0, attention = 0;
bit world_lock = 0;
bit stopper_sleeps = 0, sleeps[N]; /* on `changed`, on `resumed` */
bit object_lock = 0;

/* what is really so */
bit stopped = 0, inside[N];
#ifdef NON_VACUOUS
bit was_stopped = 0;
#endif

inline lock_world() { atomic { !world_lock -> world_lock = 1 } }
inline unlock_world() { world_lock = 0 }
inline wait_resumed(m)
{
    atomic { sleeps[m] = 1; world_lock = 0 };
    atomic { !sleeps[m] && !world_lock -> world_lock = 1 }
}
inline broadcast_changed() { stopper_sleeps = 0 }
inline broadcast_resumed() { atomic { sleeps[0] = 0; sleeps[1] = 0 } }

/* A mutator touches objects; `o` is whose queues and pages it works on. */
inline work(o)
{
    atomic { assert(!stopped && !inside[o]); inside[o] = 1;
#ifdef NON_VACUOUS
        assert(!was_stopped);
#endif
    };
    atomic { assert(!stopped); inside[o] = 0 }
}

inline tell_watchers()
{
    if
    :: attention -> lock_world(); broadcast_changed(); unlock_world()
    :: else
    fi
}

inline detach(m)
{
    state[m] = DETACHED;
    tell_watchers()
}

inline come_back(m)
{
#ifdef RETURN_BLINDLY
    state[m] = RUNNING;
#else
    if
    :: atomic { state[m] == DETACHED -> state[m] = RUNNING }
    :: else ->
        lock_world();
        returning[m] = 1;
        do
        :: atomic { state[m] == DETACHED -> state[m] = RUNNING }; break
        :: atomic { state[m] == RUNNING -> break }
        :: atomic { state[m] != DETACHED && state[m] != RUNNING ->
                sleeps[m] = 1; world_lock = 0 };
            atomic { !sleeps[m] && !world_lock -> world_lock = 1 }
        od;
        returning[m] = 0;
        unlock_world()
    fi
#endif
}

inline park(m)
{
    if
    :: stop_wanted ->
#ifndef PARK_UNLOCKED
        lock_world();
#endif
        if
        :: stop_wanted ->
            state[m] = PARKED;
#ifdef PARKED_RETURNS
            broadcast_changed();
            unlock_world();
            !stop_wanted; /* sees that the stop is over, then moves */
            state[m] = RUNNING
#else
#ifndef PARK_UNLOCKED
            unlock_world();
#endif
            broadcast_changed();
            if
            :: state[m] != PARKED -> skip /* looked around for the resume */
            :: skip -> /* or sleeps */
                lock_world();
                do
                :: state[m] == PARKED -> wait_resumed(m)
                :: else -> break
                od;
                unlock_world()
            fi
#endif
        :: else ->
#ifndef PARK_UNLOCKED
            unlock_world()
#else
            skip
#endif
        fi
    :: else
    fi
}

inline safepoint(m)
{
    if
    :: requests[m] ->
#ifdef CLEAR_LATE
        if :: stop_wanted -> park(m) :: else fi;
        requests[m] = 0
#else
        requests[m] = 0;
        park(m)
#endif
    :: else
    fi
}

/* A pusher found `o` away: do its work for it. */
inline proxy(o)
{
    if
    :: atomic { state[o] == DETACHED || state[o] == GONE ->
            from[o] = state[o]; state[o] = CLAIMED };
        work(o);
        state[o] = from[o];
#ifndef NO_RETURNING
        if
        :: returning[o] ->
            lock_world(); broadcast_resumed(); unlock_world()
        :: else
        fi;
#endif
        tell_watchers()
    :: else
    fi
}

inline take_object_lock(m)
{
    do
    :: atomic { !object_lock -> object_lock = 1 }; break
    :: else ->
#ifdef WAITER_RUNS
        !object_lock
#else
        detach(m);
        !object_lock;
        come_back(m)
#endif
    od
}

inline attach(m)
{
    lock_world();
#ifndef ATTACH_BLINDLY
    do
    :: stop_wanted -> wait_resumed(m)
    :: else -> break
    od;
#endif
    do
    :: atomic { state[m] == GONE -> state[m] = RUNNING }; break
    :: else -> /* a proxy has the number: another would be taken, wait here */
        unlock_world();
        state[m] == GONE;
        lock_world();
#ifndef ATTACH_BLINDLY
        do
        :: stop_wanted -> wait_resumed(m)
        :: else -> break
        od
#endif
    od;
    unlock_world()
}

inline leave(m)
{
    lock_world();
    state[m] = GONE;
    broadcast_changed();
    unlock_world()
}

proctype Thread(byte m)
{
    byte n = 0;
    if :: m == 1 -> attach(m) :: else fi;
    do
    :: n < K -> n++;
        work(m);
        if
        :: skip -> safepoint(m)
        :: skip -> safepoint(m); detach(m); come_back(m); safepoint(m)
        :: skip -> proxy(1 - m)
        :: skip ->
            take_object_lock(m);
            work(m);
            safepoint(m);
            object_lock = 0
        fi
    :: m == 1 && n >= K -> leave(m); break
    :: m == 0 && n >= K ->
end:    if
        :: atomic { requests[m] -> skip };
            safepoint(m)
        fi
    od
}

inline hold_all()
{
    all = 1;
    i = 0;
    do
    :: i < N ->
        if
#ifdef LOAD_STORE
        :: state[i] == DETACHED -> state[i] = HELD
#else
        :: atomic { state[i] == DETACHED -> state[i] = HELD }
#endif
        :: state[i] == PARKED || state[i] == HELD || state[i] == GONE
        :: atomic { state[i] == RUNNING || state[i] == CLAIMED -> all = 0 }
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline let_go()
{
    stop_wanted = 0;
    i = 0;
    do
    :: i < N ->
        if
#ifndef PARKED_RETURNS
        :: state[i] == PARKED -> state[i] = RUNNING
#endif
        :: state[i] == HELD && returning[i] -> state[i] = RUNNING
        :: state[i] == HELD && !returning[i] -> state[i] = DETACHED
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

proctype Stopper()
{
    byte n = 0, i = 0;
    bit all = 0;
    do
    :: n < STOPS -> n++;
        lock_world();
        attention = 1;
        stop_wanted = 1;
        requests[0] = 1;
        requests[1] = 1;
        do
        :: skip ->
            hold_all();
            if
            :: all -> break
            :: !all -> /* look around, without the lock */
                unlock_world();
                lock_world()
            :: !all -> /* wait on `changed` */
                atomic { stopper_sleeps = 1; world_lock = 0 };
                atomic { !stopper_sleeps && !world_lock -> world_lock = 1 }
            :: n == 1 && !all -> break /* timed out: given up */
            fi
        od;
        attention = 0;
        if
        :: all ->
            unlock_world();
            atomic { assert(!inside[0] && !inside[1]); stopped = 1 };
            atomic { stopped = 0;
#ifdef NON_VACUOUS
                was_stopped = 1
#endif
            };
            lock_world();
            let_go();
            unlock_world();
            broadcast_resumed()
        :: else ->
            let_go();
            unlock_world();
            broadcast_resumed()
        fi
    :: else -> break
    od
}

init
{
    atomic {
        state[0] = RUNNING; state[1] = GONE;
        run Thread(0); run Thread(1); run Stopper()
    }
}
