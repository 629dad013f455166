/* Grace periods of a library without readers: they are over at once. What
 * rcu.h has, for builds with GYRE_RAW_ONLY. Design: docs/design/threads.md
 * .thread.raw */
#ifndef GYRE_THREADS_NO_RCU_H
#define GYRE_THREADS_NO_RCU_H

struct rcu_member {
    bool registered_here; /* never */
};

static inline void
rcu_member_unneeded(struct rcu_member *member)
{
    member->registered_here = false;
}

#define rcu_member_join rcu_member_unneeded
#define rcu_member_leave rcu_member_unneeded
#define rcu_member_offline rcu_member_unneeded
#define rcu_member_online rcu_member_unneeded
#define rcu_member_offline_begin rcu_member_unneeded
#define rcu_member_offline_end rcu_member_unneeded
#define rcu_member_online_early rcu_member_unneeded
#define rcu_member_quiescent rcu_member_unneeded
#define rcu_member_waited_for rcu_member_unneeded
#define rcu_member_forget rcu_member_unneeded

static inline void
rcu_wait_for_readers(void)
{
}

static inline bool
rcu_process_reader_pause(void)
{
    return false;
}

static inline void
rcu_process_reader_resume(bool paused)
{
    (void)paused;
}

#endif
