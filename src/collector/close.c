/* CLOSE: limbo is emptied, side tables go, pages may be reused.
 * Design: docs/design/cycle.md .cycle.close .mem.limbo */
#include "cycle.h"

#include "../../threads/yield.h"

static void
take_tables(struct cycle *cycle)
{
    gyre_memory_pages_listed(cycle->heap, false);
    for (size_t i = 0; i < cycle->pages.count; i++) {
        struct page *page = cycle->pages.items[i];
        struct cycle_page *compact = cycle_page_of(page->blocks);
        for (unsigned k = 0; k < page->span_pages || k == 0; k++) {
            ((struct page *)((char *)page + (size_t)k * GYRE_PAGE_RECORD_BYTES))
                ->gc = NULL;
            compact[k] = (struct cycle_page){0, 0};
        }
    }
    gyre_spare_give(cycle->heap, SPARE_WORDS, cycle->tables,
                    cycle->tables_bytes);
    cycle->tables = NULL;
}

/* Limbo belongs to its thread, which empties it at its next safepoint; no
 * block in it is read by anybody any more. */
static void
limbo_off(struct cycle *cycle)
{
    struct participant *part;
    gyre_memory_limbo_end(&cycle->self->fast);
    /* acquire; pairs: list_participant() */
    part = gyre_load_acquire(&cycle->heap->world.participants);
    for (; part != NULL; part = part->next)
        gyre_participant_request(part, REQUEST_PENDING);
}

void
gyre_phase_close(struct cycle *cycle)
{
    take_tables(cycle);
    if (cycle->limbo)
        limbo_off(cycle);
    if (cycle->pinned)
        gyre_memory_unpin(cycle->heap);
}

/* ---- with the world running ---- */

/* Armed survivors are nobody's again. Their dead still wait in limbo, so
 * each is what it was, or dead. */
static void
disarm(struct cycle *cycle)
{
    if (cycle_committed_all(cycle))
        return;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct gyre_object *obj = cycle->suspects[i].obj;
        uint32_t armed = GYRE_RC_ARMED;
        if (cycle->suspects[i].parent == SUSPECT_COMMITTED)
            continue;
        if (i + 8 < cycle->suspect_count)
            __builtin_prefetch(cycle->suspects[i + 8].obj, 1);
        /* relaxed: a reader that still sees ARMED takes the slow way, which
         * is right for any merged object. Weak: an owner word of another is
         * left alone, and a spurious failure is tried again. */
        while (armed == GYRE_RC_ARMED &&
               !gyre_cas_weak_relaxed(&obj->rc_local, &armed, GYRE_RC_NOBODY))
            ;
        if (armed == GYRE_RC_ARMED)
            gyre_fetch_and_relaxed(&obj->rc_shared,
                                   ~(uint32_t)GYRE_RC_IS_ARMED);
    }
}

/* One word 0 takes the next age, whatever else happens to it meanwhile: its
 * lock, late tracking, its death. Returns its age, as a bit. */
static uint32_t
age(const struct cycle *cycle, struct gyre_object *obj)
{
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    while (word0_is_object(word0) &&
           (cycle->stamps & (1u << word0_stamp(word0))) != 0) {
        uint64_t aged = word0_with_stamp(word0, cycle->next_age);
        if (aged == word0)
            break;
        /* release; pairs: gyre_memory_free(). One that sees the new age does
         * not put the block in limbo, so this is where our reads end for it.
         * No ABA: what is born in the block meanwhile carries the birth
         * stamp, which is not collected. */
        if (gyre_cas_weak_release(&obj->word0, &word0, aged))
            word0 = aged;
    }
    return word0_is_object(word0) ? 1u << word0_stamp(word0) : 0;
}

/* By the side table: what is not LIVE there is free, or was born meanwhile and
 * has an age that is not collected. */
static void
age_page(const struct cycle *cycle, struct page *page)
{
    uint32_t fresh = gyre_load_relaxed(&page->fresh), seen = 0;
    unsigned char *block = page->blocks;
    for (uint32_t i = 0; i < fresh; i++, block += page->fast.block_size)
        if (page->gc[i] & GC_LIVE)
            seen |= age(cycle, (struct gyre_object *)block);
    page_stamps_add(page, seen & 1u << cycle->next_age);
    page_stamps_keep(page, ~cycle->stamps | seen);
}

/* What waits with threads that are away is freed now, a little at a time: they
 * may come back. */
static void
follow_for_absent(struct cycle *cycle)
{
    /* acquire; pairs: list_participant() */
    struct participant *part =
        gyre_load_acquire(&cycle->heap->world.participants);
    for (; part != NULL; part = part->next) {
        struct mutator *other = mutator_of_part(part);
        bool more = part != &cycle->self->part;
        while (more && gyre_participant_claim(part)) {
            more = false;
            /* relaxed: ours by the claim */
            if (gyre_load_relaxed(&part->claimed_from) == PART_DETACHED) {
                gyre_collector_follow(other);
                more = gyre_memory_limbo_drain(&other->fast);
            }
            gyre_participant_release(part);
            gyre_merge_look_again(other, cycle->self);
        }
    }
}

void
gyre_phase_close_beside(struct cycle *cycle)
{
    GYRE_YIELD_POINT("close");
    disarm(cycle);
    if (cycle->limbo) {
        limbo_off(cycle);
        follow_for_absent(cycle);
    }
    /* Nothing is read of bodies any more, so the dead need not wait. */
    if (cycle->status == GYRE_OK && cycle->limbo)
        for (size_t i = 0; i < cycle->pages.count; i++) {
            age_page(cycle, cycle->pages.items[i]);
            rcu_member_quiescent(&cycle->self->part.rcu);
        }
    gyre_spare_give(cycle->heap, SPARE_SUSPECTS, cycle->suspects,
                    cycle->suspects_bytes);
    cycle->suspects = NULL;
    take_tables(cycle);
    if (cycle->pinned)
        gyre_memory_unpin(cycle->heap);
}
