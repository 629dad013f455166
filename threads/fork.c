/* The gate before collections while a thread forks. A fork needs every heap's
 * collector lock at once; threads that collect again and again would hardly
 * ever leave all of them free, so new collections wait until it is done.
 * Design: docs/design/heap.md .heap.fork */
#include "threads.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* a leaf lock */
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static uint32_t forks; /* written under `gate`, atomic: threads that fork */

void
gyre_fork_gate_close(void)
{
    pthread_mutex_lock(&gate);
    /* relaxed: one who misses it collects once more before the fork */
    gyre_store_relaxed(&forks, gyre_load_relaxed(&forks) + 1);
    pthread_mutex_unlock(&gate);
}

void
gyre_fork_gate_open(void)
{
    pthread_mutex_lock(&gate);
    gyre_store_relaxed(&forks, gyre_load_relaxed(&forks) - 1);
    pthread_cond_broadcast(&gate_opened);
    pthread_mutex_unlock(&gate);
}

bool
gyre_fork_gate_is_closed(void)
{
    /* relaxed: as above */
    return gyre_load_relaxed(&forks) != 0;
}

void
gyre_fork_gate_wait(void)
{
    pthread_mutex_lock(&gate);
    while (gyre_fork_gate_is_closed())
        pthread_cond_wait(&gate_opened, &gate);
    pthread_mutex_unlock(&gate);
}

void
gyre_fork_gate_after_child(void)
{
    pthread_mutex_init(&gate, NULL);
    pthread_cond_init(&gate_opened, NULL);
    gyre_store_relaxed(&forks, 0);
}
