/* The graph of a heap snapshot: its end. snapshot.c makes it. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

void
graph_free(struct graph *graph)
{
    for (uint32_t i = 0; i < graph->type_count; i++)
        free(graph->type_names[i]);
    free(graph->type_names);
    free(graph->first);
    free(graph->size);
    free(graph->id);
    free(graph->type);
    free(graph->to);
    memset(graph, 0, sizeof *graph);
}
