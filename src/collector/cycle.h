/* One collection from OPEN to CLOSE, as its phases see it.
 *
 *   IDLE -> OPEN -> SUSPECT -----------------------> COMMIT -> RECLAIM -> CLOSE
 *                     | a finalizer is to run           ^
 *                     '-> ARM -> FINALIZE -> PROVE -----'
 *
 *  phase     world     true on entry                       mutators may
 *  OPEN      stopped   queues are drained                  nothing
 *  SUSPECT   stopped   candidates have side tables         nothing
 *  ARM       stopped   the set is garbage                  nothing
 *  FINALIZE  running   every member is armed, its exact    run; a change of a
 *                      count recorded; limbo is on         member clears ARMED
 *  PROVE     stopped   finalizers ran once                 nothing
 *  COMMIT    stopped   the set is garbage                  nothing
 *  RECLAIM   running   members are DYING, none is named    run
 *                      by anything outside
 *  CLOSE     running   members are freed                   run
 * From OPEN's stop to COMMIT everything happens in one stop when no
 * finalizer is to run, else in two. Design: docs/design/cycle.md .cycle
 *
 * With gc.concurrent the world runs in all of them but for ARM's short stops:
 *
 *   OPEN -> SUSPECT -> ARM -> PROVE -----------------------> COMMIT -> ...
 *                       ^      | ^  finalizers ran, or touched | |
 *                       '------' '------------------------------'
 * docs/design/concurrent.md */
#ifndef GYRE_SRC_CYCLE_H
#define GYRE_SRC_CYCLE_H

#include "../heap.h"

/* Side table: one word a block of a page with candidates.
 *   bit 31     LIVE: reached from outside the candidates, or dropped
 *   bit 30     CANDIDATE: tracked, alive, of a collected generation
 *   bits 0-29  edges into it from candidates; stuck at the top
 * A member of the garbage set is a CANDIDATE that is not LIVE. With
 * gc.concurrent the lowest bits of a member are its place among the suspects
 * once there are some, and LIVE alone is an object that is not tracked, or dead
 * and not freed: no candidate, but it ages. */
#define GC_LIVE (UINT32_C(1) << 31)
#define GC_CANDIDATE (UINT32_C(1) << 30)
#define GC_EDGES (GC_CANDIDATE - 1)

/* Growing array in mapped memory, so that a collection of a full heap does
 * not take from the pages it collects. */
struct cycle_table {
    void **items;
    size_t count, capacity;
};

/* A suspect, while the world runs. */
struct suspect {
    struct gyre_object *obj;
    uint32_t armed;  /* its count when it was armed */
    uint32_t edges;  /* of this pass, from members */
    uint32_t parent; /* union-find; or what became of it */
    uint32_t next;   /* of the same component */
};
#define SUSPECT_DROPPED UINT32_MAX
#define SUSPECT_COMMITTED (UINT32_MAX - 1)
#define SUSPECT_TOUCHED (UINT32_MAX - 2) /* dropped for a weak get */
#define SUSPECTS_MOST GC_EDGES

static inline bool
suspect_is_member(const struct suspect *suspect)
{
    return suspect->parent < SUSPECT_TOUCHED;
}

struct cycle {
    struct gyre_heap *heap;
    struct mutator *self;
    enum gyre_generation generation;
    bool automatic;           /* nobody waits for it to be thorough */
    uint32_t stamps;          /* ages of the candidates */
    struct cycle_table pages; /* struct page *, those with candidates */
    uint32_t *tables;         /* all side tables, one mapping */
    size_t table_words, tables_bytes;
    struct cycle_table marks; /* SUSPECT's stack: live, not yet traced */
    struct cycle_table garbage_pages; /* struct page *, those with members */
    struct cycle_table set;           /* the members, when `lists_set` */
    struct cycle_table finalizable;   /* members, each with a reference */
    bool pinned, limbo;
    /* Members are asked about one by one before they are freed: they may
     * have finalizers, be weakly referenced, shared, unclearable. Else their
     * side-table words are all there is to know. */
    bool lists_set;
    /* The word that SUSPECT's sweep is at: what is marked beyond it is traced
     * when the sweep gets there, what lies before it goes on `marks`. */
    const uint32_t *cursor;
    unsigned next_age; /* survivors' */
    uint32_t traits;   /* of all candidates' types, together */
    uint32_t flags;    /* rc_shared of what is not held, together */
    uint64_t candidates, survivors, members;
    int64_t net_at_open; /* the collector's `net` when they were chosen */
    bool stopped;        /* the world is */

    /* with gc.concurrent */
    bool beside;              /* the world runs */
    bool over_limbo;          /* abandoned, for limbo's bound */
    enum gyre_status status;  /* not GYRE_OK: the cycle is abandoned */
    struct cycle_table later; /* objects to be traced in a stop */
    struct suspect *suspects; /* in the order of their addresses */
    uint32_t suspect_count;   /* once there are suspects */
    size_t suspects_bytes;
    bool counted; /* edges among suspects, once at least */
    bool parts;   /* components are known: a member is WEAK */
    uint64_t slice_began_ns, slice_took_ns;
    uint64_t slice_looked_ns, slice_stride_ns; /* looks at the clock */
    uint32_t slice_steps;
    bool waited;     /* threads did, for its end */
    uint32_t closed; /* shards whose locks are held, as bits */
};

/* pacing.c: the cycle has come to its end: births, bytes and waits are counted
 * anew. */
void gyre_pacing_collected(const struct cycle *cycle);

/* Rounds in which everyone drains, until one moves nothing, or `most` of them
 * have moved something. `patient`: and until all that threads had to release
 * once everything was published, in the first round, is released, or somebody
 * forks, or part of the time for a stop is over. */
struct drain_rounds {
    uint64_t activity;
    unsigned most;
    bool awaits;
    uint64_t until_ns; /* 0: not patient */
};
struct drain_rounds gyre_drain_rounds(struct gyre_heap *heap, unsigned most,
                                      bool patient);
void gyre_drain_published(struct drain_rounds *rounds, struct gyre_heap *heap);
bool gyre_drain_again(struct drain_rounds *rounds, struct gyre_heap *heap);

bool gyre_cycle_table_grow(struct cycle *cycle, struct cycle_table *table);

static inline bool
cycle_table_push(struct cycle *cycle, struct cycle_table *table, void *item)
{
    if (GYRE_UNLIKELY(table->count == table->capacity) &&
        !gyre_cycle_table_grow(cycle, table))
        return false;
    table->items[table->count++] = item;
    return true;
}

/* What an edge has to know of the page it points into, in 8 bytes, so that
 * those of a whole heap stay in the first caches: a page's record has 128, and
 * records lie alike in every segment, so that they crowd each other out.
 * All 0 between collections. They lie behind the records in page 0, shifted
 * by the segment's number for the caches' sake. */
struct cycle_page {
    uint32_t base; /* place in `tables` plus one; CYCLE_PAGE_ASK; 0: none */
    uint32_t reciprocal;
};
/* A page of a span, or a place too high for 32 bits: ask the page's record. */
#define CYCLE_PAGE_ASK UINT32_MAX

#define CYCLE_PAGES \
    (GYRE_SEGMENT_RECORDS + GYRE_SEGMENT_PAGES * GYRE_PAGE_RECORD_BYTES)
#define CYCLE_PAGES_BYTES (GYRE_SEGMENT_PAGES * sizeof(struct cycle_page))
GYRE_STATIC_ASSERT(CYCLE_PAGES + GYRE_SEGMENT_PAGES * CYCLE_PAGES_BYTES <=
                       GYRE_PAGE_BYTES,
                   "they fit in page 0, which has no blocks");

static inline struct cycle_page *
cycle_page_of(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    uintptr_t segment = address & ~(uintptr_t)(GYRE_SEGMENT_BYTES - 1);
    uintptr_t shift =
        (address >> GYRE_SEGMENT_SHIFT) & (GYRE_SEGMENT_PAGES - 1);
    uintptr_t index = (address >> GYRE_PAGE_SHIFT) & (GYRE_SEGMENT_PAGES - 1);
    return (struct cycle_page *)(segment + CYCLE_PAGES +
                                 shift * CYCLE_PAGES_BYTES) +
           index;
}

/* The side-table word of a block, or NULL: not on a page with candidates. */
static inline uint32_t *
cycle_word(const struct gyre_object *obj)
{
    struct page *page = (struct page *)gyre_page_record(obj);
    if (page->gc == NULL)
        return NULL;
    return &page->gc[page_block_index(page, obj)];
}

/* The same, by the compact way; `tables` is the cycle's. */
static inline uint32_t *
cycle_word_in(uint32_t *tables, const struct gyre_object *obj)
{
    struct cycle_page page = *cycle_page_of(obj);
    uint64_t granule = ((uintptr_t)obj & (GYRE_PAGE_BYTES - 1)) >> 4;
    if (GYRE_UNLIKELY(page.base - 1 >= CYCLE_PAGE_ASK - 1))
        return page.base == 0 ? NULL : cycle_word(obj);
    return tables + (page.base - 1) + ((granule * page.reciprocal) >> 31);
}

static inline bool
cycle_is_member(const struct gyre_object *obj)
{
    const uint32_t *word = cycle_word(obj);
    return word != NULL && (*word & (GC_LIVE | GC_CANDIDATE)) == GC_CANDIDATE;
}

/* The phases, one file each; NOMEM abandons the cycle with the heap intact. */
enum gyre_status gyre_phase_open(struct cycle *cycle);
enum gyre_status gyre_phase_suspect(struct cycle *cycle);
enum gyre_status gyre_phase_arm(struct cycle *cycle);
void gyre_phase_finalize(struct cycle *cycle);
enum gyre_status gyre_phase_prove(struct cycle *cycle);
/* A member is anybody's again: resurrected, saved, or the cycle abandoned. */
void gyre_prove_disarm(struct cycle *cycle, struct gyre_object *obj);
/* The set can't be committed: its members are anybody's again. In a stop. */
void gyre_prove_give_up(struct cycle *cycle);
enum gyre_status gyre_phase_commit(struct cycle *cycle);
void gyre_phase_reclaim(struct cycle *cycle);
void gyre_phase_close(struct cycle *cycle);

/* SUSPECT's parts, which PROVE uses on the set alone. */
void gyre_suspect_count_edges(struct cycle *cycle, struct gyre_object *obj);
bool gyre_suspect_mark_live(struct cycle *cycle, struct gyre_object *obj);
/* References that no candidate's slot explains. Fatal in checking builds when
 * slots explain more than there are. */
bool gyre_suspect_is_held(const struct cycle *cycle,
                          const struct gyre_object *obj, uint32_t word);
/* Drop from `set` what is LIVE. */
void gyre_suspect_compact(struct cycle *cycle);

/* In a stop: a survivor takes the next age, its page knows. */
void gyre_generation_promote(struct cycle *cycle, struct gyre_object *obj);
/* In a stop: no object of `page` has a collected age any more. */
void gyre_generation_forget(struct cycle *cycle, struct page *page);
/* In a stop: the members are as good as freed; their pages no longer hold
 * the collected ages. */
void gyre_generation_forget_set(struct cycle *cycle);
/* In a stop: the cycle is abandoned half-way; its pages know again which ages
 * they hold, survivors that have aged already and garbage that stays. */
void gyre_generation_recall(struct cycle *cycle);

/* ---- with the world running ---- */

/* The phases. False: the cycle is to be abandoned, `status` says why. */
bool gyre_phase_open_beside(struct cycle *cycle);
bool gyre_phase_suspect_beside(struct cycle *cycle);
/* Arm the suspects that are left; with `again` those that were touched. */
bool gyre_phase_arm_beside(struct cycle *cycle, bool again);
bool gyre_phase_prove_beside(struct cycle *cycle);
/* In a stop: arm a member that is not. */
void gyre_arm_again(struct cycle *cycle, uint32_t index);
/* Each suspect was given up: there is nobody to be looked after. */
static inline bool
cycle_committed_all(const struct cycle *cycle)
{
    return cycle->members == cycle->suspect_count;
}

/* Once COMMIT is over: try once more what weak gets kept. */
bool gyre_closed_try(struct cycle *cycle);
/* Before user code runs, or others are waited for: release the weak locks. */
void gyre_closed_open(struct cycle *cycle);
/* Run finalizers of members. `*unproved`: some did, or were not needed any
 * more; then ARM and PROVE are due again. */
bool gyre_phase_finalize_beside(struct cycle *cycle, bool *unproved);
void gyre_finalize_count_resurrected(struct cycle *cycle);
bool gyre_phase_commit_beside(struct cycle *cycle);
void gyre_phase_close_beside(struct cycle *cycle);

bool gyre_cycle_give_up(struct cycle *cycle, enum gyre_status status);
/* Between pages and batches: a quiescent state, and what others wait for of
 * this thread. False: the cycle is to be abandoned. */
bool gyre_cycle_goes_on(struct cycle *cycle);
enum gyre_status gyre_cycle_stop(struct cycle *cycle);
void gyre_cycle_resume(struct cycle *cycle);
/* A short stop; its end waits so long that others keep their share. */
bool gyre_slice_begin(struct cycle *cycle);
void gyre_slice_end(struct cycle *cycle);
bool gyre_slice_is_over(struct cycle *cycle);
/* Call `trace` for what waits in `later`, in short stops. */
bool gyre_slices_trace(struct cycle *cycle,
                       void (*trace)(void *arg, struct gyre_object *obj),
                       void *arg);

/* Call `act` for each member, in short stops. */
bool gyre_slices_suspects(struct cycle *cycle,
                          void (*act)(struct cycle *cycle, uint32_t index));

/* set.c: edges among members. */
bool gyre_set_count(struct cycle *cycle);
/* Out of the set, with what it reaches as far as that is seen. */
void gyre_set_drop(struct cycle *cycle, uint32_t index);
bool gyre_set_drop_reached(struct cycle *cycle);
uint32_t gyre_set_root(struct suspect *suspects, uint32_t index);
/* gc.check: the proof once more, with the world stopped. */
bool gyre_set_check(struct cycle *cycle);
/* The same for what was committed: where a stop could not be had before. */
bool gyre_set_check_committed(struct cycle *cycle);
/* Take a reference to a member that nobody has touched. */
bool gyre_set_take(struct gyre_object *obj);

/* NULL: it died, and its block waits in limbo. What was a member may have been
 * touched since it was proved, and be dead by now. */
static inline const struct gyre_type *
suspect_type(const struct gyre_object *obj)
{
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    return word0_is_object(word0)
               ? (const struct gyre_type *)(uintptr_t)(word0 & GYRE_WORD0_TYPE)
               : NULL;
}

/* Whether `trace` has to wait for a stop. */
static inline bool
cycle_type_waits(const struct cycle *cycle, const struct gyre_type *type)
{
    return GYRE_UNLIKELY((type->traits & TYPE_TRACE_STOPPED) != 0) &&
           cycle->beside;
}

/* Call `edge` for each edge of `obj`. What its type's `trace` reports that is
 * no object of the heap is left out; in checking builds it is fatal. */
void gyre_cycle_trace(const struct cycle *cycle, struct gyre_object *obj,
                      const struct gyre_type *type, gyre_edge_fn edge,
                      void *arg);

#endif
