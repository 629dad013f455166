/* Which page a thread takes blocks of a class from.
 *
 * Inline code of programs looks into `current` of the public record. Builds
 * with guards hide there what such code must not take unseen, however its
 * program was compiled. Design: docs/design/memory.md .mem.guard */
#ifndef GYRE_SRC_MEMORY_CURRENT_H
#define GYRE_SRC_MEMORY_CURRENT_H

#include "../heap.h"

static inline struct gyre_page **
memory_current(struct gyre_thread *self, uint32_t index)
{
#if MEMORY_GUARD
    if (GUARD_HIDES(index))
        return &mutator_of(self)->memory.hidden[index];
#endif
    return &self->current[index];
}

#endif
