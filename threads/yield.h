/* Points at which a stress build may lose the processor, so that rare
 * interleavings become common. Seeded: the same seed gives each thread the
 * same delays. Nothing in other builds. */
#ifndef GYRE_THREADS_YIELD_H
#define GYRE_THREADS_YIELD_H

#include <gyre/config.h>

#ifndef GYRE_YIELD
#define GYRE_YIELD 0
#endif

#if GYRE_YIELD
/* `point` says where we are, for debuggers: a string constant. */
void gyre_yield_here(const char *point);
/* Seed for threads that reach their first point after this; 1 before. */
GYRE_API void gyre_yield_seed(uint64_t seed);
/* Call `watch` at each point from now on, on the thread that has come to it;
 * NULL: no more. Tests make one certain interleaving of it. Set while no other
 * thread is at a point. */
typedef void (*gyre_yield_fn)(const char *point);
void gyre_yield_watch(gyre_yield_fn watch);
#define GYRE_YIELD_POINT(name) gyre_yield_here(name)
#else
#define GYRE_YIELD_POINT(name) ((void)0)
#endif

#endif
