/* The one place that names liburcu: QSBR grace periods, and what a thread
 * sanitizer must be told of them.
 *
 * liburcu orders by fences, which thread sanitizers don't follow, so each
 * member has a token of its own: released where the thread promises to hold
 * no pointer any more, acquired by who waited for that. QSBR is process-wide
 * while heaps are many, and a program may use it as well: a thread is
 * registered by whoever comes first. Design: docs/design/threads.md .thread.rcu
 */
#ifndef GYRE_THREADS_RCU_H
#define GYRE_THREADS_RCU_H

#include <stdbool.h>

#include <gyre/atomic.h>

/* 1: every thread of the library is attached for raw memory alone, so there
 * are no readers and nothing of liburcu is needed. For libgyre-malloc. */
#ifndef GYRE_RAW_ONLY
#define GYRE_RAW_ONLY 0
#endif

#if defined(__SANITIZE_THREAD__)
#define GYRE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GYRE_TSAN 1
#endif
#endif
#ifndef GYRE_TSAN
#define GYRE_TSAN 0
#endif

#if GYRE_RAW_ONLY
#include "no_rcu.h"
#else
#include <urcu-qsbr.h>
#include <urcu/static/urcu-qsbr.h> /* struct urcu_qsbr_reader */

#if GYRE_TSAN
#include <sanitizer/tsan_interface.h>
#define RCU_TOKEN_RELEASE(token) __tsan_release(token)
#define RCU_TOKEN_ACQUIRE(token) __tsan_acquire(token)
#else
#define RCU_TOKEN_RELEASE(token) ((void)(token))
#define RCU_TOKEN_ACQUIRE(token) ((void)(token))
#endif

struct rcu_member {
    bool registered_here; /* so that leaving unregisters; owner only */
    bool was_online;      /* before, when registered by another; owner only */
    struct urcu_qsbr_reader *reader; /* the thread's own, for fork */
    char token;                      /* its address only */
};

static inline void
rcu_member_join(struct rcu_member *member)
{
    member->reader = &URCU_TLS(urcu_qsbr_reader);
    member->registered_here = !member->reader->registered;
    member->was_online = rcu_read_ongoing();
    if (member->registered_here)
        rcu_register_thread();
    else
        rcu_thread_online();
}

static inline void
rcu_member_leave(struct rcu_member *member)
{
    RCU_TOKEN_RELEASE(&member->token);
    if (member->registered_here)
        rcu_unregister_thread();
    else if (!member->was_online)
        rcu_thread_offline();
    member->registered_here = false;
}

static inline void
rcu_member_offline(struct rcu_member *member)
{
    RCU_TOKEN_RELEASE(&member->token);
    rcu_thread_offline();
}

static inline void
rcu_member_online(struct rcu_member *member)
{
    (void)member;
    rcu_thread_online();
}

/* The same two for callers that make a sequentially consistent exchange on
 * a word of their own in between `begin` and `end`, or after `online`. On
 * x86-64 such an exchange is the full barrier that liburcu would make, so
 * one locked instruction does for three; what is stored and looked at is
 * what liburcu's own inline functions store and look at. */
#if defined(__x86_64__) && !GYRE_TSAN
static inline void
rcu_member_offline_begin(struct rcu_member *member)
{
    (void)member;
    /* release; pairs: rcu_wait_for_readers(). What this thread read under RCU
     * was read before. */
    gyre_store_release(&URCU_TLS(urcu_qsbr_reader).ctr, 0);
}

static inline void
rcu_member_offline_end(struct rcu_member *member)
{
    (void)member;
    urcu_qsbr_wake_up_gp();
}

static inline void
rcu_member_online_early(struct rcu_member *member)
{
    (void)member;
    /* relaxed: the exchange that follows is the barrier */
    gyre_store_relaxed(&URCU_TLS(urcu_qsbr_reader).ctr,
                       CMM_LOAD_SHARED(urcu_qsbr_gp.ctr));
}
#else
static inline void
rcu_member_offline_begin(struct rcu_member *member)
{
    rcu_member_offline(member);
}

static inline void
rcu_member_offline_end(struct rcu_member *member)
{
    (void)member;
}

static inline void
rcu_member_online_early(struct rcu_member *member)
{
    rcu_member_online(member);
}
#endif

static inline void
rcu_member_quiescent(struct rcu_member *member)
{
    RCU_TOKEN_RELEASE(&member->token);
    rcu_quiescent_state();
}

/* The caller is offline or no reader at all. */
static inline void
rcu_wait_for_readers(void)
{
    synchronize_rcu();
}

/* After a wait: what `member` did before its last promise happened before. */
static inline void
rcu_member_waited_for(struct rcu_member *member)
{
    RCU_TOKEN_ACQUIRE(&member->token);
}

/* Whether the calling thread, a member or not, held up grace periods; it
 * does so no more until rcu_process_reader_resume(). */
static inline bool
rcu_process_reader_pause(void)
{
    struct urcu_qsbr_reader *reader = &URCU_TLS(urcu_qsbr_reader);
    if (!reader->registered || !rcu_read_ongoing())
        return false;
    rcu_thread_offline();
    return true;
}

static inline void
rcu_process_reader_resume(bool paused)
{
    if (paused)
        rcu_thread_online();
}

/* In a forked child: the thread behind `member` does not exist here, and its
 * node in liburcu's list lies in memory that a new thread may be given. The
 * child has one thread, so nobody walks the list meanwhile. */
static inline void
rcu_member_forget(struct rcu_member *member)
{
    if (member->registered_here)
        cds_list_del(&member->reader->node);
    member->registered_here = false;
}

#endif /* GYRE_RAW_ONLY */

#endif
