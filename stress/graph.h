/* The graph of a heap snapshot: nodes, and edges in compressed rows.
 *
 * Plain data, constant once loaded, read by every thread of a run. Knows
 * nothing of gyre. */
#ifndef GYRE_STRESS_GRAPH_H
#define GYRE_STRESS_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#define GRAPH_EDGE_WEAK (UINT32_C(1) << 31)
#define GRAPH_NODES_MOST (UINT32_C(1) << 28)
#define GRAPH_EDGES_MOST (UINT32_C(1) << 30)
#define GRAPH_SIZE_MOST (UINT32_C(1) << 30)

struct graph {
    uint32_t node_count;
    uint32_t edge_count;
    uint32_t synthetic_count;
    uint32_t weak_count;
    uint32_t longest; /* edges of the node that has most */
    /* by node */
    uint32_t *first; /* its first edge; first[node_count] ends the last */
    uint32_t *size;  /* self_size, bytes */
    uint64_t *id;
    uint8_t *type; /* index of type_names */
    /* by edge: the node it leads to, with GRAPH_EDGE_WEAK */
    uint32_t *to;
    char **type_names;
    uint32_t type_count;
    uint32_t synthetic_type; /* UINT32_MAX: no such type */
};

static inline uint32_t
graph_edges_of(const struct graph *graph, uint32_t node)
{
    return graph->first[node + 1] - graph->first[node];
}

static inline bool
graph_is_synthetic(const struct graph *graph, uint32_t node)
{
    return graph->type[node] == graph->synthetic_type;
}

static inline const char *
graph_type_name(const struct graph *graph, uint32_t node)
{
    return graph->type_names[graph->type[node]];
}

void graph_free(struct graph *graph);

#endif
