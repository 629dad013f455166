/* The oracle: births, deaths, finalizers and callbacks, and their failures.
 *
 * Called from every thread of a run, from gyre's callbacks too; calls
 * nothing of gyre. */
#include "oracle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHARE_RECORDS 256
#define SHARE_SLOTS 4096
#define SHARE_WEAKS 128
#define LEAKS_NAMED 5

struct oracle oracle;
const uint8_t *_Atomic oracle_reachable;
void (*oracle_on_failure)(void);

static _Atomic uint64_t failures[FAILURE_LIBRARY + 1];
static _Atomic int ending;

/* ---- room ---- */

/* Zeroed, and not there until it is written. */
static void *
room_map(uint64_t count, size_t size)
{
    void *room = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room == MAP_FAILED ? NULL : room;
}

bool
oracle_create(const struct graph *graph, uint32_t records, uint64_t slots,
              uint32_t weaks)
{
    if (slots > SHADOW_WEAK || records > SHADOW_WEAK || weaks > SHADOW_WEAK)
        return false;
    memset(&oracle, 0, sizeof oracle);
    oracle.graph = graph;
    oracle.record_room = records;
    oracle.slot_room = (uint32_t)slots;
    oracle.weak_room = weaks;
    oracle.records = room_map(records, sizeof *oracle.records);
    oracle.slots = room_map(slots, sizeof *oracle.slots);
    oracle.weaks = room_map(weaks, sizeof *oracle.weaks);
    oracle.record_next = oracle.weak_next = 1;
    return oracle.records && oracle.slots && oracle.weaks;
}

static void
room_touch(void *room, uint64_t bytes)
{
    volatile char *at = room;
    for (uint64_t i = 0; i < bytes; i += 4096)
        at[i] = 0;
}

void
oracle_populate(void)
{
    room_touch(oracle.records, oracle.record_room * sizeof *oracle.records);
    room_touch(oracle.slots, oracle.slot_room * sizeof *oracle.slots);
    room_touch(oracle.weaks, oracle.weak_room * sizeof *oracle.weaks);
}

void
oracle_destroy(void)
{
    munmap(oracle.records, oracle.record_room * sizeof *oracle.records);
    munmap(oracle.slots, oracle.slot_room * sizeof *oracle.slots);
    munmap(oracle.weaks, oracle.weak_room * sizeof *oracle.weaks);
    oracle.records = NULL;
}

void
oracle_next_round(void)
{
    uint32_t records = oracle.record_next, weaks = oracle.weak_next;
    memset(oracle.records, 0, records * sizeof *oracle.records);
    memset(oracle.slots, 0, oracle.slot_next * sizeof *oracle.slots);
    memset(oracle.weaks, 0, weaks * sizeof *oracle.weaks);
    oracle.base += records;
    oracle.rounds++;
    oracle.record_next = oracle.weak_next = 1;
    oracle.slot_next = 0;
}

/* `count` entries in a row of the thread's share, which is renewed in lumps;
 * UINT32_MAX when the room is used up. */
static uint32_t
share_take(struct share *share, _Atomic uint32_t *next, uint32_t room,
           uint32_t count, uint32_t lump)
{
    uint32_t at;
    if (count > share->end - share->next) {
        uint32_t size = count > lump ? count : lump;
        /* relaxed: hands out numbers, nothing else */
        at = atomic_load_explicit(next, memory_order_relaxed);
        do {
            if (size > room - at)
                return UINT32_MAX;
            /* relaxed: as above */
        } while (!atomic_compare_exchange_weak_explicit(
            next, &at, at + size, memory_order_relaxed, memory_order_relaxed));
        share->next = at;
        share->end = at + size;
    }
    at = share->next;
    share->next += count;
    return at;
}

/* ---- births ---- */

uint32_t
oracle_birth(struct shares *shares, uint32_t node, uint32_t slots,
             unsigned writer)
{
    struct record *record;
    uint32_t index, at = 0;
    if (slots > 0)
        at = share_take(&shares->slots, &oracle.slot_next, oracle.slot_room,
                        slots, SHARE_SLOTS);
    if (at == UINT32_MAX)
        return 0;
    index = share_take(&shares->records, &oracle.record_next,
                       oracle.record_room, 1, SHARE_RECORDS);
    if (index == UINT32_MAX)
        return 0;
    record = record_of(index);
    record->node = node;
    record->slots_at = at;
    record->slot_count = 0;
    oracle_set_writer(index, writer);
    return index;
}

void
oracle_born(uint32_t index, void *where)
{
    struct record *record = record_of(index);
    record->where = where;
    /* relaxed: the object reaches other threads with what gyre orders */
    atomic_store_explicit(&record->state, ORACLE_ALIVE, memory_order_relaxed);
    oracle_take(index);
}

void
oracle_unborn(uint32_t index)
{
    /* relaxed: nobody else knows this index */
    atomic_store_explicit(&record_of(index)->state, ORACLE_UNBORN,
                          memory_order_relaxed);
}

uint32_t
oracle_weak_birth(struct shares *shares, uint32_t target, bool callback)
{
    struct weak_record *weak;
    uint32_t index = share_take(&shares->weaks, &oracle.weak_next,
                                oracle.weak_room, 1, SHARE_WEAKS);
    if (index == UINT32_MAX)
        return 0;
    weak = &oracle.weaks[index];
    weak->target = target;
    weak->has_callback = callback;
    oracle_note_weak(target);
    return index;
}

/* ---- callbacks ---- */

uint32_t
oracle_identify(uint64_t serial, const void *where)
{
    /* relaxed: an index beyond it is wrong whatever else happens */
    uint32_t next =
        atomic_load_explicit(&oracle.record_next, memory_order_relaxed);
    uint32_t index = (uint32_t)(serial - oracle.base);
    if (serial <= oracle.base || serial - oracle.base >= next) {
        oracle_fail(FAILURE_EARLY, 0,
                    "a block holds serial %" PRIu64
                    ", which is none of this round's",
                    serial);
        return 0;
    }
    if (record_of(index)->where != where)
        oracle_fail(FAILURE_EARLY, index, "its serial is in another block");
    return index;
}

void
oracle_mistaken(uint32_t index, uint64_t serial)
{
    oracle_fail(FAILURE_EARLY, index,
                "its block holds serial %" PRIu64 " instead", serial);
}

void
oracle_too_early(uint32_t index, const char *what)
{
    oracle_fail(FAILURE_EARLY, index, "%s, but it is %s", what,
                oracle_state(index) == ORACLE_DEAD ? "dead" : "unborn");
}

uint32_t
oracle_finalizes(uint64_t serial, const void *where)
{
    uint32_t index = oracle_identify(serial, where);
    struct record *record = record_of(index);
    const uint8_t *reachable;
    uint32_t held;
    /* relaxed: one exchange decides who was first */
    unsigned was = atomic_exchange_explicit(&record->state, ORACLE_FINALIZED,
                                            memory_order_relaxed);
    if (was != ORACLE_ALIVE)
        oracle_fail(FAILURE_ORDER, index, "its finalizer runs %s",
                    was == ORACLE_DEAD ? "after its death" : "a second time");
    /* relaxed: of the one who dropped the last reference, seen by that */
    held =
        held_count(atomic_load_explicit(&record->held, memory_order_relaxed));
    /* A weak reference may have taken it again since; nothing else can. */
    if (held > 0 && !atomic_load_explicit(&record->weak, memory_order_relaxed))
        oracle_fail(FAILURE_ORDER, index,
                    "its finalizer runs while %" PRIu32 " references are held",
                    held);
    /* relaxed: set by this thread, or while no other runs */
    reachable = atomic_load_explicit(&oracle_reachable, memory_order_relaxed);
    if (reachable != NULL && reachable[index])
        oracle_fail(FAILURE_ORDER, index,
                    "its finalizer runs while it is reachable");
    return index;
}

uint32_t
oracle_dies(uint64_t serial, const void *where, bool has_finalizer)
{
    uint32_t index = oracle_identify(serial, where);
    struct record *record = record_of(index);
    uint32_t held;
    /* relaxed: one exchange decides who was first */
    unsigned was = atomic_exchange_explicit(&record->state, ORACLE_DEAD,
                                            memory_order_relaxed);
    if (was == ORACLE_DEAD || was == ORACLE_UNBORN)
        oracle_fail(FAILURE_ORDER, index, "it dies %s",
                    was == ORACLE_DEAD ? "a second time" : "unborn");
    if (has_finalizer && was == ORACLE_ALIVE)
        oracle_fail(FAILURE_ORDER, index, "it dies without its finalizer");
    /* relaxed: of the one who dropped the last reference, seen by that */
    held =
        held_count(atomic_load_explicit(&record->held, memory_order_relaxed));
    if (held > 0)
        oracle_fail(FAILURE_EARLY, index,
                    "it dies while %" PRIu32 " references are held", held);
    return index;
}

uint32_t
oracle_weak_called(uint64_t token)
{
    uint32_t index = (uint32_t)token;
    struct weak_record *weak = &oracle.weaks[index];
    if (token >> 32 != oracle.rounds || index == 0 ||
        index >= oracle.weak_room) {
        oracle_fail(FAILURE_WEAK, 0,
                    "the callback of a weak reference of an earlier round");
        return 0;
    }
    /* relaxed: one addition decides who was first */
    if (atomic_fetch_add_explicit(&weak->called, 1, memory_order_relaxed) != 0)
        oracle_fail(FAILURE_WEAK, weak->target,
                    "a weak reference's callback runs a second time");
    /* relaxed: see oracle_weak_gone() */
    if (atomic_load_explicit(&weak->state, memory_order_relaxed) ==
        WEAK_GONE_FIRST)
        oracle_fail(FAILURE_WEAK, weak->target,
                    "the callback of a weak reference that died first runs");
    return index;
}

/* ---- failures ---- */

static void
failure_line(uint32_t index, const char *format, va_list args)
{
    char what[200];
    vsnprintf(what, sizeof what, format, args);
    if (index == 0) {
        fprintf(stderr, "gyre-stress: failed: %s\n", what);
        return;
    }
    uint32_t node = record_of(index)->node;
    fprintf(stderr,
            "gyre-stress: failed: node %" PRIu32 " (id %" PRIu64
            ", type %s, serial %" PRIu64 "): %s\n",
            node, oracle.graph->id[node], graph_type_name(oracle.graph, node),
            oracle_serial(index), what);
}

void
oracle_fail(enum failure failure, uint32_t index, const char *format, ...)
{
    va_list args;
    /* relaxed: counts; the report is made by who counts, or after a join */
    uint64_t before =
        atomic_fetch_add_explicit(&failures[failure], 1, memory_order_relaxed);
    if (failure == FAILURE_LEAK && before >= LEAKS_NAMED)
        return;
    /* seq_cst: the first one speaks and ends the program; the others wait
     * for that, since what they found may be its consequence */
    if (failure != FAILURE_LEAK &&
        atomic_exchange_explicit(&ending, 1, memory_order_seq_cst) != 0)
        for (;;)
            pause();
    va_start(args, format);
    failure_line(index, format, args);
    va_end(args);
    if (failure != FAILURE_LEAK) {
        if (oracle_on_failure != NULL)
            oracle_on_failure();
        _exit(1);
    }
}

void
oracle_bug(uint32_t index, const char *what)
{
    fprintf(stderr, "gyre-stress: its own fault: index %" PRIu32 ": %s\n",
            index, what);
    abort();
}

uint64_t
oracle_failures(enum failure failure)
{
    /* relaxed: a count */
    return atomic_load_explicit(&failures[failure], memory_order_relaxed);
}

uint64_t
oracle_failures_all(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= FAILURE_LIBRARY; i++)
        sum += oracle_failures((enum failure)i);
    return sum;
}
