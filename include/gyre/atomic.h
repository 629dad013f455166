/* Atomic operations whose name carries their memory order.
 *
 * Macros over the compiler's builtins, because they serve C11 and C++17
 * alike and work on plain fields. Each call site says why its order is
 * enough. */
#ifndef GYRE_ATOMIC_H
#define GYRE_ATOMIC_H

#include <gyre/config.h>

#define gyre_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define gyre_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define gyre_load_seq_cst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)

#define gyre_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define gyre_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define gyre_store_seq_cst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define gyre_exchange_relaxed(p, v) \
    __atomic_exchange_n((p), (v), __ATOMIC_RELAXED)
#define gyre_exchange_acquire(p, v) \
    __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define gyre_exchange_acq_rel(p, v) \
    __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define gyre_exchange_seq_cst(p, v) \
    __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

#define gyre_fetch_add_relaxed(p, v) \
    __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define gyre_fetch_sub_relaxed(p, v) \
    __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define gyre_fetch_add_seq_cst(p, v) \
    __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define gyre_fetch_sub_seq_cst(p, v) \
    __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define gyre_fetch_or_relaxed(p, v) \
    __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define gyre_fetch_or_acq_rel(p, v) \
    __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define gyre_fetch_or_seq_cst(p, v) \
    __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define gyre_fetch_and_relaxed(p, v) \
    __atomic_fetch_and((p), (v), __ATOMIC_RELAXED)
#define gyre_fetch_and_release(p, v) \
    __atomic_fetch_and((p), (v), __ATOMIC_RELEASE)
#define gyre_fetch_and_acq_rel(p, v) \
    __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)

/* Compare-and-swap: `e` points to the expected value and receives the found
 * one on failure. The weak forms may fail for no reason and belong in loops.
 * On failure the order is relaxed (acquire for acq_rel and seq_cst forms,
 * whose callers go on to read what the winner wrote). */
#define gyre_cas_weak_relaxed(p, e, v)                              \
    __atomic_compare_exchange_n((p), (e), (v), 1, __ATOMIC_RELAXED, \
                                __ATOMIC_RELAXED)
#define gyre_cas_weak_release(p, e, v)                              \
    __atomic_compare_exchange_n((p), (e), (v), 1, __ATOMIC_RELEASE, \
                                __ATOMIC_RELAXED)
#define gyre_cas_weak_acquire(p, e, v)                              \
    __atomic_compare_exchange_n((p), (e), (v), 1, __ATOMIC_ACQUIRE, \
                                __ATOMIC_RELAXED)
#define gyre_cas_weak_acq_rel(p, e, v)                              \
    __atomic_compare_exchange_n((p), (e), (v), 1, __ATOMIC_ACQ_REL, \
                                __ATOMIC_ACQUIRE)
#define gyre_cas_acquire(p, e, v)                                   \
    __atomic_compare_exchange_n((p), (e), (v), 0, __ATOMIC_ACQUIRE, \
                                __ATOMIC_RELAXED)
#define gyre_cas_acq_rel(p, e, v)                                   \
    __atomic_compare_exchange_n((p), (e), (v), 0, __ATOMIC_ACQ_REL, \
                                __ATOMIC_ACQUIRE)
#define gyre_cas_seq_cst(p, e, v)                                   \
    __atomic_compare_exchange_n((p), (e), (v), 0, __ATOMIC_SEQ_CST, \
                                __ATOMIC_SEQ_CST)

#endif
