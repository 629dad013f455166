/* GCBench's measures, of J. Ellis, P. Kovac and H. Boehm: trees of two
 * references and two integers a node, built from the top and from the bottom,
 * beside a tree and an array that live long. The same work over gyre
 * (gcbench.c) and over libgc (gcbench_libgc.c). */
#ifndef GYRE_BENCH_GCBENCH_H
#define GYRE_BENCH_GCBENCH_H

#include <stddef.h>

#define GCBENCH_STRETCH 18    /* depth of the first tree, dropped at once */
#define GCBENCH_LONG_LIVED 16 /* depth of the tree that stays */
#define GCBENCH_ARRAY 500000u /* doubles */
#define GCBENCH_LEAST 4       /* depths of the trees that are made and */
#define GCBENCH_MOST 16       /* dropped: each second one */
#define GCBENCH_THREADS_MOST 16u

/* Nodes of a tree. */
static inline size_t
gcbench_tree_size(int depth)
{
    return ((size_t)1 << (depth + 1)) - 1;
}

/* Trees of a depth to make, so that it is as many nodes at every depth. */
static inline size_t
gcbench_trees(int depth)
{
    return 2 * gcbench_tree_size(GCBENCH_STRETCH) / gcbench_tree_size(depth);
}

#endif
