/* Memory nodes of the machine, and which one is near.
 * Design: docs/design/memory.md .mem.numa */
#ifndef GYRE_SRC_MEMORY_NUMA_H
#define GYRE_SRC_MEMORY_NUMA_H

#include "memory.h"

/* The node near the calling thread, below MEMORY_NODES: 0 on a machine with
 * one, and when the heap's option memory.numa is off. Nodes beyond share. */
unsigned gyre_numa_here(const struct gyre_heap *heap);
/* Whether threads are given pages of their own nodes. */
bool gyre_numa_matters(const struct gyre_heap *heap);
/* Let fresh memory come from the calling thread's node, whoever touches it
 * first; from others when that has none. A hint. */
void gyre_numa_bind(const struct gyre_heap *heap, void *address, size_t bytes);
/* For tests: the machine has `nodes` nodes (0: as many as it has), and the
 * calling thread is at `here`. */
void gyre_numa_inject(unsigned nodes, unsigned here);

#endif
