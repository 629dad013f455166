/* How a thread comes by pages with free blocks.
 * Design: docs/design/memory.md .mem.cache .mem.adopt */
#ifndef GYRE_SRC_MEMORY_REFILL_H
#define GYRE_SRC_MEMORY_REFILL_H

#include "memory.h"
#include "remote.h"

/* Free blocks into a page that is the caller's own but closed: brings the
 * page back when that is worth it. */
void gyre_refill_free_closed(struct gyre_thread *self, struct page *page,
                             struct block_chain chain);
/* A current page, empty, is given up. */
void gyre_refill_give_up(struct gyre_thread *self, struct page *page);
/* An available page, empty, is kept or given up. */
void gyre_refill_end_available(struct gyre_thread *self, struct page *page);
/* The same, but given up in any case. */
void gyre_refill_give_available(struct gyre_thread *self, struct page *page);
/* An available page that was just closed goes to those that others freed
 * into. Page lock held. */
void gyre_refill_return(struct gyre_thread *self, struct page *page);
/* A full page of the thread's becomes available. Page lock held. */
void gyre_refill_open_full(struct gyre_thread *self, struct page *page);
/* Pages that others brought back become available. */
void gyre_refill_take_returned(struct gyre_thread *self);
/* Take a page off the list of available ones; NULL: it is empty. */
struct page *gyre_refill_take_available(struct gyre_thread *self,
                                        uint32_t index);
/* The same of those with few free blocks. */
struct page *gyre_refill_take_sparse(struct gyre_thread *self, uint32_t index);
/* Those of them with a free block become available, or end if empty. */
void gyre_refill_open_sparse(struct gyre_thread *self, uint32_t index);
/* The page holds objects of the thread's birth age from now on. */
void gyre_refill_note_stamp(struct gyre_thread *self, struct page *page);

#endif
