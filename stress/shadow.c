/* What the shadow slots say at a quiescent point. */
#include "shadow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LOG_MOST (UINT32_C(1) << 22)

static uint8_t *reached, *weak_reached;
static uint32_t *stack, stack_depth;
static int32_t *net;

static void *
room(uint64_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

bool
shadow_create(void)
{
    reached = room(oracle.record_room);
    weak_reached = room(oracle.weak_room);
    stack = room(oracle.record_room * sizeof *stack);
    net = room(oracle.record_room * sizeof *net);
    return reached && weak_reached && stack && net;
}

void
shadow_destroy(void)
{
    munmap(reached, oracle.record_room);
    munmap(weak_reached, oracle.weak_room);
    munmap(stack, oracle.record_room * sizeof *stack);
    munmap(net, oracle.record_room * sizeof *net);
}

/* ---- reachability ---- */

void
shadow_mark_begin(void)
{
    memset(reached, 0, oracle.record_next);
    memset(weak_reached, 0, oracle.weak_next);
    stack_depth = 0;
}

void
shadow_mark(uint32_t index)
{
    if (index != 0 && !reached[index]) {
        reached[index] = 1;
        stack[stack_depth++] = index;
    }
}

void
shadow_mark_weak(uint32_t weak)
{
    weak_reached[weak] = 1;
}

void
shadow_mark_end(void)
{
    while (stack_depth > 0) {
        const struct record *record = record_of(stack[--stack_depth]);
        const uint32_t *slot = &oracle.slots[record->slots_at];
        for (uint32_t i = 0; i < record->slot_count; i++) {
            if (slot[i] & SHADOW_WEAK)
                shadow_mark_weak(slot[i] & ~SHADOW_WEAK);
            else
                shadow_mark(slot[i]);
        }
    }
}

bool
shadow_reached(uint32_t index)
{
    return reached[index];
}

bool
shadow_weak_reached(uint32_t weak)
{
    return weak_reached[weak];
}

const uint8_t *
shadow_reach(void)
{
    return reached;
}

/* ---- checks ---- */

/* A leak, with the two words of the object's header, for whoever has to find
 * out why it was not freed. */
static void
leaked(uint32_t index, const char *what)
{
    uint64_t words[2];
    memcpy(words, record_of(index)->where, sizeof words);
    oracle_fail(FAILURE_LEAK, index,
                "%s (header %016" PRIx64 " %016" PRIx64 ")", what, words[0],
                words[1]);
}

/* In-degrees from what is alive; false when that names something dead. */
static bool
count_degrees(bool speak)
{
    bool good = true;
    uint32_t end = oracle.record_next;
    for (uint32_t index = 1; index < end; index++)
        record_of(index)->in_degree = 0;
    for (uint32_t index = 1; index < end; index++) {
        const struct record *record = record_of(index);
        const uint32_t *slot = &oracle.slots[record->slots_at];
        if (!oracle_is_alive(index))
            continue;
        for (uint32_t i = 0; i < record->slot_count; i++) {
            if (slot[i] == 0 || slot[i] & SHADOW_WEAK)
                continue;
            record_of(slot[i])->in_degree++;
            if (oracle_is_alive(slot[i]))
                continue;
            good = false;
            if (speak)
                oracle_fail(FAILURE_EARLY, slot[i],
                            "it is dead, but slot %" PRIu32
                            " of serial %" PRIu64 " names it (reachable: %s)",
                            i, oracle_serial(index),
                            reached[index] ? "yes" : "no");
        }
    }
    return good;
}

bool
shadow_check_before(bool speak)
{
    uint32_t end = oracle.record_next;
    bool good = count_degrees(speak);
    for (uint32_t index = 1; index < end; index++) {
        bool alive = oracle_is_alive(index);
        if (reached[index] && !alive) {
            good = false;
            if (speak)
                oracle_fail(FAILURE_EARLY, index, "it is dead, but reachable");
        }
        if (alive && !reached[index] && record_of(index)->in_degree == 0) {
            good = false;
            if (speak)
                leaked(index, "nothing refers to it, but it is alive before "
                              "any collection");
        }
    }
    return good;
}

void
shadow_check_after(bool exact, struct shadow_census *census)
{
    uint32_t end = oracle.record_next;
    memset(census, 0, sizeof *census);
    count_degrees(true);
    for (uint32_t index = 1; index < end; index++) {
        bool alive = oracle_is_alive(index);
        if (alive) {
            census->alive++;
            if (graph_edges_of(oracle.graph, record_of(index)->node) == 0)
                census->leaves++;
        }
        if (reached[index] && !alive)
            oracle_fail(FAILURE_EARLY, index,
                        "it is dead after a collection, but reachable");
        if (alive && !reached[index] && exact)
            leaked(index, "it is unreachable, but alive after a full "
                          "collection");
    }
    for (uint32_t weak = 1; weak < oracle.weak_next; weak++)
        census->weaks += weak_reached[weak];
}

enum { UNSETTLED = 0, SETTLED = 1, DOOMED = 2 };

static unsigned
times_called(const struct weak_record *weak)
{
    /* relaxed: nothing runs */
    return atomic_load_explicit(&weak->called, memory_order_relaxed);
}

void
shadow_weaks_before(void)
{
    uint32_t end = oracle.weak_next;
    for (uint32_t i = 1; i < end; i++) {
        struct weak_record *weak = &oracle.weaks[i];
        if (weak->target == 0 || weak->settled == SETTLED ||
            !oracle_is_alive(weak->target))
            continue;
        if (times_called(weak) > 0)
            oracle_fail(FAILURE_WEAK, weak->target,
                        "a weak reference's callback ran, but it is alive");
        if (!weak_reached[i] && !reached[weak->target])
            weak->settled = DOOMED;
    }
}

void
shadow_weaks_after(bool exact)
{
    uint32_t end = oracle.weak_next;
    for (uint32_t i = 1; i < end; i++) {
        struct weak_record *weak = &oracle.weaks[i];
        bool alive;
        unsigned due;
        if (weak->target == 0 || weak->settled == SETTLED)
            continue;
        alive = oracle_is_alive(weak->target);
        due = !alive && weak->has_callback;
        if (weak_reached[i]) {
            if (times_called(weak) != due)
                oracle_fail(FAILURE_WEAK, weak->target,
                            "a weak reference's callback ran %u times, not %u",
                            times_called(weak), due);
            weak->settled = UNSETTLED;
        } else if (alive) {
            /* the weak reference is dead, so it may never be called */
            if (exact)
                oracle_weak_gone(i, WEAK_GONE_FIRST);
        } else {
            if (weak->settled == DOOMED && times_called(weak) > 0)
                oracle_fail(FAILURE_WEAK, weak->target,
                            "the callback of a weak reference that died in "
                            "the same set ran");
            weak->settled = SETTLED;
        }
    }
}

/* ---- shared slots ---- */

bool
shadow_log_add(struct shadow_log *log, uint32_t slot, uint32_t put,
               uint32_t got)
{
    if (log->count == log->room) {
        uint32_t larger = log->room == 0 ? 4096 : log->room * 2;
        struct shadow_entry *entries;
        if (larger > LOG_MOST)
            return false;
        entries = realloc(log->entries, larger * sizeof *entries);
        if (entries == NULL)
            return false;
        log->entries = entries;
        log->room = larger;
    }
    log->entries[log->count++] = (struct shadow_entry){slot, put, got};
    return true;
}

/* The one content of `slot` that the entries from `first` on leave. */
static uint32_t
slot_content(const struct shadow_shared *slot,
             const struct shadow_entry *entries, const uint32_t *next,
             uint32_t first)
{
    uint32_t content = UINT32_MAX;
    net[slot->content]++;
    for (uint32_t i = first; i != UINT32_MAX; i = next[i]) {
        net[entries[i].put]++;
        net[entries[i].got]--;
    }
    if (net[slot->content] == 1)
        content = slot->content;
    net[slot->content] = net[slot->content] == 1 ? 0 : net[slot->content];
    for (uint32_t i = first; i != UINT32_MAX; i = next[i]) {
        const uint32_t both[2] = {entries[i].put, entries[i].got};
        for (unsigned k = 0; k < 2; k++) {
            int32_t *left = &net[both[k]];
            if (*left == 0)
                continue;
            if (*left != 1 || content != UINT32_MAX)
                oracle_fail(FAILURE_SLOT, both[k],
                            "shared slot %" PRIu32 " of serial %" PRIu64
                            ": puts less gets is %" PRId32,
                            slot->slot, oracle_serial(slot->holder), *left);
            content = both[k];
            *left = 0;
        }
    }
    if (content == UINT32_MAX)
        oracle_fail(FAILURE_SLOT, slot->holder,
                    "shared slot %" PRIu32 ": puts less gets leave nothing",
                    slot->slot);
    return content;
}

bool
shadow_merge(struct shadow_log *const *logs, unsigned log_count,
             struct shadow_shared *slots, uint32_t slot_count)
{
    uint64_t total = 0;
    struct shadow_entry *all;
    uint32_t *next, *head, at = 0;
    for (unsigned i = 0; i < log_count; i++)
        total += logs[i]->count;
    if (total == 0)
        return true;
    all = malloc(total * sizeof *all);
    next = malloc(total * sizeof *next);
    head = malloc(slot_count * sizeof *head);
    if (all == NULL || next == NULL || head == NULL || total >= UINT32_MAX) {
        free(all);
        free(next);
        free(head);
        return false;
    }
    memset(head, 0xff, slot_count * sizeof *head);
    for (unsigned i = 0; i < log_count; i++) {
        for (uint32_t k = 0; k < logs[i]->count; k++, at++) {
            all[at] = logs[i]->entries[k];
            next[at] = head[all[at].slot];
            head[all[at].slot] = at;
        }
        logs[i]->count = 0;
    }
    for (uint32_t i = 0; i < slot_count; i++) {
        const struct record *record = record_of(slots[i].holder);
        if (head[i] == UINT32_MAX)
            continue;
        slots[i].content = slot_content(&slots[i], all, next, head[i]);
        oracle.slots[record->slots_at + slots[i].slot] = slots[i].content;
    }
    free(all);
    free(next);
    free(head);
    return true;
}
