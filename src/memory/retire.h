/* Raw blocks that wait in limbo. Design: docs/design/memory.md .mem.retire */
#ifndef GYRE_SRC_MEMORY_RETIRE_H
#define GYRE_SRC_MEMORY_RETIRE_H

#include "memory.h"

/* Free a list that nobody has any more. */
void gyre_retired_free_list(struct gyre_thread *self,
                            struct limbo_chunk *chunk);

/* So many bytes wait in limbo from now on. limbo.c */
void gyre_limbo_note(struct gyre_thread *self, uint64_t bytes);
/* The thread leaves: what waits is the heap's while limbo is on. */
void gyre_limbo_leave(struct gyre_thread *self);

#endif
