/* Giving back what lies free inside pages that have blocks in use.
 * Design: docs/design/memory.md .mem.trim */
#ifndef GYRE_SRC_MEMORY_TRIM_H
#define GYRE_SRC_MEMORY_TRIM_H

#include "memory.h"

/* Trim the thread's open pages and give up its empty ones. The owner, or who
 * speaks for it. */
void gyre_trim_thread(struct gyre_thread *self);

/* attachment.c: leave an open page of the thread's, in no list, to others. */
void gyre_attachment_leave_open(struct gyre_thread *self, struct page *page);

#endif
