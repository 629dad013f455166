/* A library whose constructor registers handlers of forks before libgyre-malloc
 * does, so that they run while the heap's locks are held. They allocate. To be
 * preloaded behind it. Covers docs/design/malloc.md .malloc.fork */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *made[3];

static void
use_malloc(void)
{
    /* from the thread's own page, or no page at all */
    static const size_t sizes[] = {100, 5000, 40000};
    for (int i = 0; i < 3; i++) {
        made[i] = calloc(1, sizes[i]);
        if (made[i] == NULL || made[i][sizes[i] - 1] != 0)
            _exit(20);
        made[i] = realloc(made[i], sizes[i] + 5000);
        if (made[i] == NULL)
            _exit(21);
        memset(made[i], i, sizes[i] + 5000);
    }
}

static void
use_free(void)
{
    for (int i = 0; i < 3; i++)
        free(made[i]);
    free(strdup("and once more"));
}

__attribute__((constructor)) static void
begin(void)
{
    pthread_atfork(use_malloc, use_free, use_free);
}
