/* Raw blocks that wait in limbo. Design: docs/design/memory.md .mem.retire */
#ifndef GYRE_SRC_MEMORY_RETIRE_H
#define GYRE_SRC_MEMORY_RETIRE_H

#include "memory.h"

/* Free what the thread retired. Limbo is off. */
void gyre_retired_free(struct gyre_thread *self);

#endif
