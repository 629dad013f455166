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
#define GYRE_YIELD_POINT(name) gyre_yield_here(name)
#else
#define GYRE_YIELD_POINT(name) ((void)0)
#endif

#endif
