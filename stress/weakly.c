/* The operations on weak references, and what their answers must be. */
#include "mixes.h"
#include "random.h"

/* Ask `weakref`, of which the caller has a reference. A target in `h` is
 * held; false: NULL. */
static bool
weak_ask(struct gyre_object *weakref, uint32_t weak, struct handle *h)
{
    uint32_t target = oracle.weaks[weak].target;
    uint32_t before = oracle_held(target);
    struct gyre_object *obj = gyre_weakref_get(weakref);
    uint32_t after = oracle_held(target);
    tally_add(TALLY_OPERATIONS, 1);
    if (obj == NULL) {
        if (held_throughout(before, after))
            oracle_fail(FAILURE_WEAK, target,
                        "a weak reference answers NULL while %u references "
                        "are held",
                        held_count(before));
        tally_add(TALLY_WEAK_NULL, 1);
        return false;
    }
    oracle_check_alive(target, "a weak reference gives it");
    node_expect(obj, target);
    oracle_take(target);
    tally_add(TALLY_WEAK_HIT, 1);
    *h = (struct handle){obj, target};
    return true;
}

/* The object may be garbage otherwise, with its finalizer and those of what
 * it refers to running right now: so it is looked at, and given up or set
 * aside, but not walked into. */
static void
weak_answer(struct worker *w, struct handle h)
{
    if (w->kept_count < KEPT_MOST && random_next(&w->random) % 16 == 0)
        w->kept[w->kept_count++] = h;
    else
        handle_drop(h.obj, h.index);
}

static void
weak_remove(struct worker *w, unsigned at)
{
    w->weaks[at] = w->weaks[--w->weak_count];
}

void
op_weak_new(struct worker *w)
{
    struct handle h;
    unsigned i;
    uint32_t weak;
    struct gyre_object *weakref;
    if (!pick_handle(w, &h, &i))
        return;
    weakref = weak_new(w, h, &weak);
    if (weakref != NULL)
        weak_add(w, weakref, weak);
}

void
op_weak_get(struct worker *w)
{
    struct weak_handle ask;
    struct handle h;
    if (random_next(&w->random) % 2 == 0) {
        const struct worker *other =
            run.workers[random_below(&w->random, run.settings.threads)];
        if (other->open_count == 0)
            return;
        ask = other->open[random_below(&w->random, other->open_count)];
    } else {
        if (w->weak_count == 0)
            return;
        ask = w->weaks[random_below(&w->random, w->weak_count)];
    }
    if (weak_ask(ask.weakref, ask.weak, &h))
        weak_answer(w, h);
}

void
op_weak_drop(struct worker *w)
{
    struct weak_handle gone;
    struct handle h;
    unsigned at;
    if (w->weak_count == 0)
        return;
    at = random_below(&w->random, w->weak_count);
    gone = w->weaks[at];
    weak_remove(w, at);
    if (random_next(&w->random) % 2 == 0 &&
        weak_ask(gone.weakref, gone.weak, &h)) {
        /* its target is held meanwhile, so it dies first for certain */
        oracle_weak_gone(gone.weak, WEAK_GONE_FIRST);
        gyre_decref(gone.weakref);
        tally_add(TALLY_OPERATIONS, 1);
        tally_add(TALLY_WEAK_FIRST, 1);
        weak_answer(w, h);
    } else {
        weak_drop(gone.weakref, gone.weak);
    }
}

void
op_weak_send(struct worker *w)
{
    unsigned to = random_below(&w->random, run.settings.threads);
    struct ring *ring = run_ring(w->id, to);
    unsigned at;
    struct ring_entry entry;
    op_receive(w);
    if (w->weak_count == 0 || ring_count(ring) == RING_ENTRIES)
        return;
    at = random_below(&w->random, w->weak_count);
    entry =
        (struct ring_entry){w->weaks[at].weakref, w->weaks[at].weak, RING_WEAK};
    weak_remove(w, at);
    ring_push(ring, entry);
    tally_add(TALLY_WEAK_SENT, 1);
    tally_add(TALLY_OPERATIONS, 1);
}

/* A weak edge of the snapshot, where the walk finds one: ask it, or put
 * another weak reference in its place. */
void
op_weak_slot(struct worker *w)
{
    struct pick p;
    struct handle h;
    uint32_t first, weak = 0;
    unsigned i;
    if (!pick_holder(w, &p))
        return;
    first = random_below(&w->random, p.record->slot_count);
    for (i = 0; i < 8 && i < p.record->slot_count; i++) {
        p.slot = (first + i) % p.record->slot_count;
        p.shadow = &oracle.slots[p.record->slots_at + p.slot];
        if (*p.shadow & SHADOW_WEAK) {
            weak = *p.shadow & ~SHADOW_WEAK;
            break;
        }
    }
    if (weak == 0)
        return;
    p.at = node_slot(p.holder, p.slot);
    if (random_next(&w->random) % 4 != 0) {
        struct gyre_object *weakref = gyre_slot_get(p.at);
        if (weakref == NULL) {
            oracle_fail(FAILURE_SLOT, p.index,
                        "slot %u has lost its weak reference", p.slot);
            return;
        }
        if (weak_ask(weakref, weak, &h))
            weak_answer(w, h);
        gyre_decref(weakref);
    } else if (pick_handle(w, &h, &i)) {
        uint32_t made;
        struct gyre_object *weakref = weak_new(w, h, &made);
        if (weakref == NULL)
            return;
        oracle_weak_gone(weak, WEAK_GONE);
        *p.shadow = made | SHADOW_WEAK;
        gyre_slot_move(p.holder, p.at, weakref);
        tally_add(TALLY_OPERATIONS, 1);
    }
}

void
weak_open(struct worker *w)
{
    while (w->open_count > 0) {
        struct weak_handle h = w->open[--w->open_count];
        weak_drop(h.weakref, h.weak);
    }
    if (!(run.settings.mix & MIX_WEAK))
        return;
    while (w->open_count < OPEN_WEAKS) {
        struct handle h;
        unsigned i;
        uint32_t weak;
        struct gyre_object *weakref;
        if (!pick_handle(w, &h, &i))
            return;
        weakref = weak_new(w, h, &weak);
        if (weakref == NULL)
            return;
        w->open[w->open_count++] = (struct weak_handle){weakref, weak};
    }
}
