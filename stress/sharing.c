/* The operations on holders that all threads use: slots that they exchange,
 * get and set, and holders whose slots they write plainly under the object's
 * own lock. */
#include <sched.h>

#include "mixes.h"
#include "random.h"

static void
count(enum tally_id id)
{
    tally_add(id, 1);
    tally_add(TALLY_OPERATIONS, 1);
}

/* ---- shared slots ---- */

static uint32_t
pick_shared(struct worker *w)
{
    uint64_t chance = random_next(&w->random);
    uint32_t most = run.shared_count;
    if (most > 16 && chance % 2 == 0)
        most = 16;
    return random_below(&w->random, most);
}

/* Every fourth slot has one writer, with gyre_slot_set_shared(), which does
 * not tell what it replaced; all others are exchanged by everybody. */
static bool
is_set_only(uint32_t slot)
{
    return slot % 4 == 3;
}

/* Keep or give up what came out of a shared slot. */
static void
shared_got(struct worker *w, struct gyre_object *ref, uint32_t index)
{
    oracle_check_alive(index, "it was in a shared slot");
    oracle_take(index);
    if (random_next(&w->random) % 2 == 0)
        handle_add(w, ref, index);
    else
        handle_drop(ref, index);
}

void
op_shared_exchange(struct worker *w)
{
    uint32_t slot, index = 0;
    struct record *record;
    struct gyre_object *got;
    struct handle h = {NULL, 0};
    unsigned i;
    if (run.shared_count == 0)
        return;
    slot = pick_shared(w);
    if (is_set_only(slot))
        return;
    if (random_next(&w->random) % 8 != 0 && !pick_handle(w, &h, &i))
        return;
    /* the log's place first: what is exchanged cannot be taken back */
    if (!shadow_log_add(&w->log, slot, h.index, 0))
        return;
    record = record_of(run.shared[slot].holder);
    if (h.obj != NULL)
        gyre_incref(h.obj);
    got = gyre_slot_exchange_shared(
        record->where, node_slot(record->where, run.shared[slot].slot), h.obj);
    count(TALLY_SHARED_EXCHANGE);
    if (got != NULL)
        index = oracle_identify(node_serial(got), got);
    w->log.entries[w->log.count - 1].got = index;
    if (got != NULL)
        shared_got(w, got, index);
}

void
op_shared_get(struct worker *w)
{
    uint32_t slot;
    struct record *record;
    struct gyre_object *got;
    if (run.shared_count == 0)
        return;
    slot = pick_shared(w);
    record = record_of(run.shared[slot].holder);
    got = gyre_slot_get_shared(record->where,
                               node_slot(record->where, run.shared[slot].slot));
    count(TALLY_SHARED_GET);
    if (got != NULL)
        shared_got(w, got, oracle_identify(node_serial(got), got));
}

void
op_shared_set(struct worker *w)
{
    unsigned threads = run.settings.threads, i;
    struct handle h = {NULL, 0};
    struct record *record;
    uint32_t slot;
    if (run.shared_count == 0)
        return;
    slot = pick_shared(w);
    if (!is_set_only(slot) || slot / 4 % threads != w->id)
        return;
    if (random_next(&w->random) % 8 != 0 && !pick_handle(w, &h, &i))
        return;
    record = record_of(run.shared[slot].holder);
    gyre_slot_set_shared(
        record->where, node_slot(record->where, run.shared[slot].slot), h.obj);
    run.shared[slot].content = h.index;
    oracle.slots[record->slots_at + run.shared[slot].slot] = h.index;
    count(TALLY_SHARED_SET);
}

/* ---- under the lock ---- */

/* The lock lets one thread write slots and shadow at a time; taking it may
 * be a safepoint, so nothing is borrowed before. */
static struct handle
pick_locked(struct worker *w)
{
    uint32_t most = run.locked_count;
    if (most > 2 && random_next(&w->random) % 2 == 0)
        most = 2;
    return run.locked[random_below(&w->random, most)];
}

void
op_locked(struct worker *w)
{
    struct handle holder, h;
    struct gyre_object *old;
    uint32_t *shadow, index;
    struct gyre_slot *slot;
    uint32_t i;
    unsigned at;
    if (run.locked_count == 0 || !pick_handle(w, &h, &at))
        return;
    holder = pick_locked(w);
    gyre_lock(holder.obj);
    i = random_below(&w->random, record_of(holder.index)->slot_count);
    shadow = &oracle.slots[record_of(holder.index)->slots_at + i];
    slot = node_slot(holder.obj, i);
    index = *shadow;
    if (index != 0)
        oracle_check_alive(index, "a slot names it");
    if (random_next(&w->random) % 2 == 0) {
        old = gyre_slot_get(slot);
    } else {
        gyre_incref(h.obj);
        old = gyre_slot_exchange(holder.obj, slot, h.obj);
        *shadow = h.index;
    }
    gyre_unlock(holder.obj);
    count(TALLY_LOCKED);
    if (index == 0) {
        if (old != NULL)
            oracle_fail(FAILURE_SLOT, holder.index, "slot %u should be empty",
                        i);
        return;
    }
    node_expect(old, index);
    oracle_take(index);
    handle_drop(old, index);
}

/* Keep a lock for so long that others have to wait for it. */
void
op_locked_long(struct worker *w)
{
    struct handle holder;
    if (run.locked_count == 0)
        return;
    holder = pick_locked(w);
    gyre_lock(holder.obj);
    for (unsigned i = 0; i < 8; i++)
        sched_yield();
    gyre_unlock(holder.obj);
    count(TALLY_LOCKED);
}
