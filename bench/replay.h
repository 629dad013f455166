/* gyre-stress replay with fixed rounds and a fixed seed, as some rows measure
 * it. */
#ifndef GYRE_BENCH_REPLAY_H
#define GYRE_BENCH_REPLAY_H

#include "program.h"

#define BENCH_REPLAY "gyre-stress"
#define BENCH_REPLAY_HEAP \
    GYRE_BENCH_SOURCE "/../stress/heaps/node.heapsnapshot.gz"
#ifndef GYRE_BENCH_SOURCE
#define GYRE_BENCH_SOURCE "."
#endif

/* One run, `collector` as in its option; prints JSON. */
void bench_replay(const char *collector, struct bench_program *program);

#endif
