/* The malloc library's own parts, for one another. Nothing here is exported;
 * gyre's sources are compiled into the library anew, and hidden as well.
 * Design: docs/design/malloc.md .malloc */
#ifndef GYRE_MALLOC_MALLOC_H
#define GYRE_MALLOC_MALLOC_H

#include <stdbool.h>

#include <gyre/gyre.h>

/* What a program may call, against the rest of the tree, which is hidden. */
#define MALLOC_API __attribute__((visibility("default")))

/* The calling thread's record, or one that has no page and owns nothing, so
 * that the inlined paths need no test for a thread that is not attached. */
extern __thread struct gyre_thread *gyre_malloc_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* thread.c: bracket work on the heap. False: this thread is attaching, or
 * the heap is being made, or a fork is under way: there is the bootstrap
 * arena alone, and gyre_malloc_exit() is not called. */
bool gyre_malloc_enter(void);
void gyre_malloc_exit(void);

/* malloc.c: what the operators are made of; NULL and errno. */
void *gyre_malloc_aligned(size_t alignment, size_t size);

/* bootstrap.c: blocks from before there is a heap. They are never reused.
 * Any thread. */
void *gyre_bootstrap_alloc(size_t alignment, size_t size);
bool gyre_bootstrap_owns(const void *block);
size_t gyre_bootstrap_size(const void *block);

#endif
