/* An object's own lock: two bits of word 0, and a parking place elsewhere.
 *
 * A waiter is detached while it sleeps, so the world can stop without it;
 * it says that it waits (CONTENDED) before that, since nobody writes word 0
 * of a stopped world but the collector. Design: docs/design/object.md .lock */
#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"

#define PARKING_PLACES 64
#define SPINS 64

static struct parking_place {
    pthread_mutex_t lock; /* leaf lock, held by the detached and for moments */
    pthread_cond_t unlocked;
} parking[PARKING_PLACES];
static pthread_once_t parking_once = PTHREAD_ONCE_INIT;

static void
make_parking(void)
{
    for (unsigned i = 0; i < PARKING_PLACES; i++) {
        pthread_mutex_init(&parking[i].lock, NULL);
        pthread_cond_init(&parking[i].unlocked, NULL);
    }
}

void
gyre_lock_after_fork_child(void)
{
    /* One who waited here may have held the place for a moment, and counts
     * among those to be woken for ever. */
    make_parking();
}

static struct parking_place *
place_of(const struct gyre_object *obj)
{
    uint64_t hash =
        ((uint64_t)(uintptr_t)obj >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    pthread_once(&parking_once, make_parking);
    return &parking[hash >> 58];
}

int
gyre_trylock(struct gyre_object *obj)
{
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    if (GYRE_CHECKING)
        gyre_check_reference(obj, "lock");
    while (!(word0 & GYRE_WORD0_LOCKED)) {
        /* acquire; pairs: gyre_unlock() */
        if (gyre_cas_weak_acquire(&obj->word0, &word0,
                                  word0 | GYRE_WORD0_LOCKED))
            return 1;
    }
    return 0;
}

/* Sleep until somebody unlocks. Attached and a safepoint at both ends. */
static void
wait_for_unlock(struct gyre_object *obj)
{
    struct mutator *self = mutator_of(gyre_self);
    struct parking_place *place = place_of(obj);
    const uint64_t both = GYRE_WORD0_LOCKED | GYRE_WORD0_CONTENDED;
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    do {
        if (!(word0 & GYRE_WORD0_LOCKED))
            return;
        /* relaxed: the unlocker's exchange finds the bit or comes first */
    } while (!gyre_cas_weak_relaxed(&obj->word0, &word0,
                                    word0 | GYRE_WORD0_CONTENDED));
    count_one(&self->object.counters.lock_waits);
    if (!FAULT(FAULT_WAITER_RUNS))
        gyre_detach_for_wait(self);
    pthread_mutex_lock(&place->lock);
    GYRE_YIELD_POINT("lock wait");
    /* relaxed: looked at under the place's lock, which the unlocker takes
     * after it took CONTENDED away, so it wakes us after this. */
    while ((gyre_load_relaxed(&obj->word0) & both) == both)
        pthread_cond_wait(&place->unlocked, &place->lock);
    pthread_mutex_unlock(&place->lock);
    if (!FAULT(FAULT_WAITER_RUNS))
        gyre_return_from_wait(self);
}

void
gyre_lock(struct gyre_object *obj)
{
    while (!gyre_trylock(obj)) {
        unsigned spins = 0;
        while (spins < SPINS &&
               (gyre_load_relaxed(&obj->word0) & GYRE_WORD0_LOCKED))
            spins++;
        if (spins == SPINS)
            wait_for_unlock(obj);
    }
}

void
gyre_unlock(struct gyre_object *obj)
{
    uint64_t word0;
    if (GYRE_CHECKING)
        gyre_check_reference(obj, "unlock");
    /* release; pairs: gyre_trylock() */
    word0 = gyre_fetch_and_release(&obj->word0,
                                   ~(GYRE_WORD0_LOCKED | GYRE_WORD0_CONTENDED));
    GYRE_CHECK(word0 & GYRE_WORD0_LOCKED, "unlock: %s object %p is not locked",
               gyre_type_of(obj)->name, (void *)obj);
    if (word0 & GYRE_WORD0_CONTENDED) {
        struct parking_place *place = place_of(obj);
        pthread_mutex_lock(&place->lock);
        pthread_cond_broadcast(&place->unlocked);
        pthread_mutex_unlock(&place->lock);
    }
}
