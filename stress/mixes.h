/* What the files of the mixes share. */
#ifndef GYRE_STRESS_MIXES_H
#define GYRE_STRESS_MIXES_H

#include "node.h"
#include "run.h"

/* A slot that the worker may write, its holder borrowed or held. */
struct pick {
    struct gyre_object *holder;
    uint32_t index;
    struct record *record;
    uint32_t slot;
    uint32_t *shadow;
    struct gyre_slot *at;
};

bool pick_handle(struct worker *w, struct handle *h, unsigned *at);
bool pick_holder(struct worker *w, struct pick *p);
void handle_remove(struct worker *w, unsigned at);
void op_receive(struct worker *w);

/* ---- sharing.c ---- */
void op_shared_exchange(struct worker *w);
void op_shared_get(struct worker *w);
void op_shared_set(struct worker *w);
void op_locked(struct worker *w);
void op_locked_long(struct worker *w);

/* ---- swallow.c ---- */
void op_swallow(struct worker *w);

/* ---- weakly.c ---- */
void op_weak_new(struct worker *w);
void op_weak_get(struct worker *w);
void op_weak_drop(struct worker *w);
void op_weak_send(struct worker *w);
void op_weak_slot(struct worker *w);
/* The weak references that all threads ask in this phase. Before a meeting. */
void weak_open(struct worker *w);

#endif
