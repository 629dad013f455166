/* Reading V8 heap snapshots (.heapsnapshot, plain or gzip). */
#ifndef GYRE_STRESS_SNAPSHOT_H
#define GYRE_STRESS_SNAPSHOT_H

#include <stdbool.h>

#include "graph.h"

/* Load `path` into `graph`. Streams the file: memory beyond the graph is a
 * buffer. On any flaw of the file writes one line to standard error that
 * names the file and the place, leaves `graph` empty and returns false. */
bool snapshot_load(const char *path, struct graph *graph);

#endif
