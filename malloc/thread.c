/* The process's heap, and how its threads come and go. A thread attaches at
 * its first call and leaves by the destructor of a thread-specific key; what
 * it calls after that, from destructors that run later, attaches and leaves
 * once each. Design: docs/design/malloc.md .malloc.thread */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../src/heap.h"
#include "malloc.h"

/*  NEW ----> ENTERED <----> LEFT
 *   |  fails    ^  |(at each call)
 *   v           |  v
 *  LEFT      ATTACHED ---> LEFT
 *        (first call)  (key's destructor)
 * FORKING stands in front of ATTACHED between a fork's handlers. */
enum stage {
    STAGE_NEW,
    STAGE_ENTERED, /* inside the library, but not to be called again */
    STAGE_ATTACHED,
    STAGE_LEFT
};

static const struct gyre_thread unattached = {
    .frees_to = GYRE_FREES_NOWHERE,
    .current = {[0 ... GYRE_ALLOC_INDEXES - 1] =
                    (struct gyre_page *)&gyre_page_none}};

__thread struct gyre_thread *gyre_malloc_self =
    (struct gyre_thread *)&unattached;

struct thread_state {
    uint8_t stage;   /* enum stage */
    uint8_t forking; /* between the handlers of a fork by this thread */
    uint8_t rounds;  /* of key destructors that were let pass */
};
static __thread struct thread_state state
    __attribute__((tls_model("initial-exec")));

static pthread_mutex_t create_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gyre_heap *heap; /* atomic; stored under create_lock */
static pthread_key_t leave_key;

/* ---- the heap ---- */

static void
warn(const char *what)
{
    char text[256];
    int length = snprintf(text, sizeof text, "libgyre-malloc: %s\n", what);
    if (length > (int)sizeof text - 1)
        length = (int)sizeof text - 1;
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        return; /* nowhere to say it */
}

/* The C library ends a process with its last thread: the heap's own must not
 * keep it alive when no other is left. */
static void
leave(void)
{
    struct gyre_heap *left = gyre_self->heap;
    gyre_thread_leave(gyre_self);
    /* relaxed: a count; of those that leave last one finds it zero, and one
     * that comes now starts the thread again when it needs it */
    if (gyre_load_relaxed(&left->raw.attached) == 0)
        gyre_scavenger_dismiss(left);
}

/* Destructors of other keys may allocate still, and run in any order: let a
 * round of them pass. What comes later yet is served all the same. */
static void
leave_at_exit(void *value)
{
    if (state.rounds++ == 0) {
        pthread_setspecific(leave_key, value);
        return;
    }
    if (state.stage != STAGE_ATTACHED)
        return;
    state.stage = STAGE_ENTERED;
    gyre_malloc_self = (struct gyre_thread *)&unattached;
    leave();
    state.stage = STAGE_LEFT;
}

/* These run between those of the heap, which hold its locks: prepare handlers
 * run last registered first, the others first registered first. */
static void
before_fork(void)
{
    state.forking = 1;
}

static void
after_fork(void)
{
    state.forking = 0;
}

static struct gyre_heap *
create_heap(void)
{
    struct gyre_heap *made;
    enum gyre_status status = gyre_heap_create(NULL, &made);
    if (status != GYRE_OK && status != GYRE_ERR_NOMEM) {
        warn(gyre_option_error());
        warn("GYRE_OPTIONS is ignored");
        gyre_options_ignore_environment();
        status = gyre_heap_create(NULL, &made);
    }
    if (status != GYRE_OK)
        return NULL;
    pthread_key_create(&leave_key, leave_at_exit);
    pthread_atfork(before_fork, after_fork, after_fork);
    return made;
}

static struct gyre_heap *
get_heap(void)
{
    /* acquire; pairs: get_heap(). Whoever finds it finds it made. */
    struct gyre_heap *now = gyre_load_acquire(&heap);
    if (GYRE_LIKELY(now != NULL))
        return now;
    pthread_mutex_lock(&create_lock);
    now = gyre_load_relaxed(&heap); /* under the lock */
    if (now == NULL) {
        now = create_heap();
        /* release; pairs: get_heap(). As above. */
        gyre_store_release(&heap, now);
    }
    pthread_mutex_unlock(&create_lock);
    return now;
}

/* ---- threads ---- */

static bool
attach(void)
{
    struct gyre_heap *into = get_heap();
    struct gyre_thread *self;
    return into != NULL && gyre_thread_attach_raw(into, &self) == GYRE_OK;
}

GYRE_COLD static bool
enter_slowly(void)
{
    enum stage before = (enum stage)state.stage;
    if (before == STAGE_ENTERED || state.forking)
        return false;
    state.stage = STAGE_ENTERED;
    if (!attach()) {
        state.stage = (uint8_t)before;
        return false;
    }
    if (before == STAGE_NEW) {
        gyre_malloc_self = gyre_self;
        state.stage = STAGE_ATTACHED;
        /* May allocate: hence last. Without memory for it the thread's pages
         * stay its own until the next thread of the process. */
        pthread_setspecific(leave_key, &state);
    }
    return true;
}

bool
gyre_malloc_enter(void)
{
    if (GYRE_LIKELY(state.stage == STAGE_ATTACHED && !state.forking))
        return true;
    return enter_slowly();
}

void
gyre_malloc_exit(void)
{
    if (GYRE_UNLIKELY(state.stage == STAGE_ENTERED)) {
        leave();
        state.stage = STAGE_LEFT;
    }
}

/* So that the heap's handlers of forks are registered before the program's
 * own, which may allocate then. */
__attribute__((constructor)) static void
begin(void)
{
    if (gyre_malloc_enter())
        gyre_malloc_exit();
}
