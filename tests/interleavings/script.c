/* Acts at yield points, and what most tests have them do. */
#include "interleavings/script.h"

#include <sched.h>
#include <string.h>

#include <threads/yield.h>

#define OPTIONS \
    "gc.automatic=0,gc.thread=0,gc.concurrent=1,thread.stop_timeout=3000"

#define SCRIPTS 8
static struct script {
    const char *point; /* NULL: none */
    unsigned nth, seen;
    void (*act)(void);
    pthread_t thread;
} scripts[SCRIPTS];
static pthread_mutex_t scripts_lock = PTHREAD_MUTEX_INITIALIZER;

struct cast cast;

/* The act of the calling thread that is due, or NULL. */
static void (*due_at(const char *point, unsigned *index))(void)
{
    void (*act)(void) = NULL;
    pthread_mutex_lock(&scripts_lock);
    for (; act == NULL && *index < SCRIPTS; ++*index) {
        struct script *script = &scripts[*index];
        if (script->point == NULL || strcmp(script->point, point) != 0 ||
            !pthread_equal(script->thread, pthread_self()))
            continue;
        if (script->nth == 0 || ++script->seen == script->nth)
            act = script->act;
        if (script->nth != 0 && act != NULL)
            script->point = NULL;
    }
    pthread_mutex_unlock(&scripts_lock);
    return act;
}

static void
come_to(const char *point)
{
    unsigned index = 0;
    void (*act)(void);
    while ((act = due_at(point, &index)) != NULL)
        act();
}

void
script_plan(const char *point, unsigned nth, void (*act)(void))
{
    unsigned i = 0;
    pthread_mutex_lock(&scripts_lock);
    while (i < SCRIPTS - 1 && scripts[i].point != NULL)
        i++;
    SCRIPT_MUST(scripts[i].point == NULL);
    scripts[i] = (struct script){point, nth, 0, act, pthread_self()};
    pthread_mutex_unlock(&scripts_lock);
}

void
script_end(void)
{
    struct script left = {0};
    /* Other threads may be at a point at this moment. */
    pthread_mutex_lock(&scripts_lock);
    for (unsigned i = 0; i < SCRIPTS; i++)
        if (scripts[i].point != NULL && scripts[i].nth != 0)
            left = scripts[i];
    memset(scripts, 0, sizeof scripts);
    pthread_mutex_unlock(&scripts_lock);
    if (left.point != NULL)
        fail_msg("came to \"%s\" %u times, not %u", left.point, left.seen,
                 left.nth);
}

int
script_setup(void **state)
{
    static struct fixture fx;
    memset(scripts, 0, sizeof scripts);
    memset(&cast, 0, sizeof cast);
    fixture_open(&fx, OPTIONS);
    *state = &fx;
    gyre_yield_watch(come_to);
    return 0;
}

int
script_teardown(void **state)
{
    gyre_yield_watch(NULL);
    if (cast.weak != NULL)
        gyre_decref(cast.weak);
    fixture_close(*state);
    return 0;
}

/* ---- two threads meet ---- */

void
script_wait(const uint32_t *flag)
{
    while (gyre_load_acquire(flag) == 0) /* pairs: script_say() */
        sched_yield();
}

void
script_poll_until(struct gyre_thread *self, const uint32_t *flag)
{
    while (gyre_load_acquire(flag) == 0) { /* pairs: script_say() */
        gyre_safepoint(self);
        sched_yield();
    }
}

void
script_say(uint32_t *flag)
{
    gyre_store_release(flag, 1); /* pairs: script_wait() */
}

/* ---- the cast ---- */

static void
name_weakly(struct node *named, struct node *mate)
{
    cast.named = named;
    cast.mate = mate;
    assert_int_equal(gyre_weakref_new(&named->head, NULL, NULL, &cast.weak),
                     GYRE_OK);
    node_drop(named);
    node_drop(mate);
}

void
cast_ring(struct node *named, struct node *mate)
{
    gyre_slot_set(&named->head, &named->left, &mate->head);
    gyre_slot_set(&mate->head, &mate->left, &named->head);
    name_weakly(named, mate);
}

void
cast_loop_with_tail(struct node *named, struct node *mate)
{
    gyre_slot_set(&named->head, &named->left, &mate->head);
    gyre_slot_set(&named->head, &named->right, &named->head);
    name_weakly(named, mate);
}

void
cast_get(void)
{
    cast.held = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(cast.held == &cast.named->head);
}

void
cast_get_and_take_mate(void)
{
    struct gyre_object *got = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(got == &cast.named->head);
    cast.held = gyre_slot_take(got, &cast.named->left);
    SCRIPT_MUST(cast.held == &cast.mate->head);
    gyre_decref(got);
}

void
cast_get_and_let_it_die(void)
{
    struct gyre_object *got = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(got == &cast.named->head);
    gyre_slot_set(&cast.mate->head, &cast.mate->left, NULL);
    gyre_decref(got);
}

void
script_collect(struct fixture *fx)
{
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    script_end();
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

void
script_collect_the_rest(struct fixture *fx)
{
    if (cast.held != NULL)
        gyre_decref(cast.held);
    cast.held = NULL;
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    if (cast.weak != NULL)
        assert_null(gyre_weakref_get(cast.weak));
}
