/* Every option of a heap, declared once. The table makes the setters, the
 * reader of GYRE_OPTIONS and the manual page. Design: docs/design/report.md */
#ifndef GYRE_OPTIONS_H
#define GYRE_OPTIONS_H

#include <gyre/status.h>

GYRE_BEGIN_DECLS

struct gyre_heap;

/* X(id, name, unit, default, least, most, changeable, help)
 *   unit        "bytes", "objects", "ms", "us", "percent", "count", "pages"
 *               or "bool"
 *   changeable  1: may be set while the heap is in use
 * 0 means "no limit" where the help says so. */
#define GYRE_OPTION_TABLE(X)                                                   \
    X(MEMORY_HARD_LIMIT, "memory.hard_limit", "bytes", 0, 0, UINT64_MAX, 1,    \
      "memory mapped for blocks; over it allocation fails. 0: no limit")       \
    X(MEMORY_SOFT_LIMIT, "memory.soft_limit", "bytes", 0, 0, UINT64_MAX, 1,    \
      "pages in use; over it collections are urgent, and threads wait for "    \
      "them. 0: no limit")                                                     \
    X(MEMORY_THREAD_CACHE, "memory.thread_cache", "bytes", 1048576, 0,         \
      UINT64_C(1) << 40, 1,                                                    \
      "empty pages a thread keeps for itself, all classes together, those "    \
      "it allocates from included")                                            \
    X(MEMORY_THREAD_CACHE_BLOCKS, "memory.thread_cache_blocks", "count",       \
      UINT64_C(1) << 40, 0, UINT64_C(1) << 40, 1,                              \
      "blocks that fit in the empty pages a thread keeps")                     \
    X(MEMORY_CLASS_CACHE, "memory.class_cache", "bytes", 262144, 0,            \
      UINT64_C(1) << 40, 1,                                                    \
      "empty pages a thread keeps of one kind and size class")                 \
    X(MEMORY_CLASS_CACHE_BLOCKS, "memory.class_cache_blocks", "count",         \
      UINT64_C(1) << 40, 0, UINT64_C(1) << 40, 1,                              \
      "blocks that fit in the empty pages a thread keeps of one class")        \
    X(MEMORY_HEAP_CACHE, "memory.heap_cache", "bytes", 268435456, 0,           \
      UINT64_C(1) << 40, 1,                                                    \
      "empty pages the heap keeps; over it they go to the system at once")     \
    X(MEMORY_RETURN_DELAY, "memory.return_delay", "ms", 250, 0, 86400000, 1,   \
      "time after which empty pages of the heap go to the system, also when "  \
      "no call is made. 0: at once")                                           \
    X(MEMORY_ARENA, "memory.arena", "bytes", 4194304, 4194304,                 \
      UINT64_C(1) << 40, 1,                                                    \
      "address space taken from the system at a time, in segments of 4 MiB")   \
    X(MEMORY_HUGE_PAGES, "memory.huge_pages", "bool", 0, 0, 1, 1,              \
      "ask for huge pages behind new segments")                                \
    X(MEMORY_NUMA, "memory.numa", "bool", 1, 0, 1, 1,                          \
      "on a machine with several memory nodes, give threads pages of "         \
      "segments on their own node")                                            \
    X(GC_AUTOMATIC, "gc.automatic", "bool", 1, 0, 1, 1,                        \
      "collect when a threshold is passed")                                    \
    X(GC_THREAD, "gc.thread", "bool", 1, 0, 1, 0,                              \
      "automatic collections run on a thread of the heap's own, else on the "  \
      "thread that passed the threshold, at its next safepoint")               \
    X(GC_THRESHOLD0, "gc.threshold0", "objects", 50000, 0, UINT64_C(1) << 40,  \
      1, "births less deaths that make a young collection due. 0: never")      \
    X(GC_THRESHOLD1, "gc.threshold1", "count", 10, 0, UINT64_C(1) << 40, 1,    \
      "young collections before a middle one")                                 \
    X(GC_THRESHOLD2, "gc.threshold2", "count", 10, 0, UINT64_C(1) << 40, 1,    \
      "middle collections before an old one, which also waits until a "        \
      "quarter of the old objects is new")                                     \
    X(GC_THRESHOLD_BYTES, "gc.threshold_bytes", "bytes", 16777216, 0,          \
      UINT64_C(1) << 40, 1,                                                    \
      "growth of the pages in use that makes a collection due, of the "        \
      "generation that has its turn. 0: never")                                \
    X(GC_BACKLOG, "gc.backlog", "count", 16, 0, 1000000, 1,                    \
      "times gc.threshold0 births, or gc.threshold_bytes, that may wait for "  \
      "a "                                                                     \
      "collection; over it threads wait for the collector at safepoints, if "  \
      "its last collection found much. 0: no limit")                           \
    X(GC_WAIT, "gc.wait_us", "us", 200, 0, 1000000, 1,                         \
      "longest wait for a collector that is outrun, at one safepoint")         \
    X(GC_SAVE_ALL, "gc.save_all", "bool", 0, 0, 1, 1,                          \
      "put all unreachable objects on the garbage list, free none")            \
    X(GC_CONCURRENT, "gc.concurrent", "bool", 1, 0, 1, 1,                      \
      "collect while the program runs, but for short stops; else in one stop") \
    X(GC_SLICE, "gc.slice_us", "us", 80, 1, 1000000, 1,                        \
      "the collector's time in one of the short stops")                        \
    X(GC_MUTATOR_SHARE, "gc.mutator_share", "percent", 60, 0, 99, 1,           \
      "of the time between the begin of one short stop and that of the next, " \
      "what is left to the program, unless threads wait for the collector")    \
    X(GC_LIMBO_LIMIT, "gc.limbo_limit", "bytes", 268435456, 0,                 \
      UINT64_C(1) << 40, 1,                                                    \
      "dead blocks that may wait for a collection's end before it is "         \
      "abandoned. 0: no limit")                                                \
    X(GC_CHECK, "gc.check", "bool", 0, 0, 1, 1,                                \
      "prove each set of garbage once more with the world stopped before it "  \
      "is freed, and suspect some of the living at random")                    \
    X(THREAD_NUMBERS, "thread.numbers", "count", 65520, 1, 65520, 0,           \
      "threads that may own objects at a time; others attach without a "       \
      "number")                                                                \
    X(THREAD_STOP_TIMEOUT, "thread.stop_timeout", "ms", 10000, 1, 86400000, 1, \
      "how long a stop waits for a thread before it is given up")              \
    X(CASCADE_BUDGET, "cascade.budget", "objects", 0, 0, UINT64_C(1) << 40, 1, \
      "objects one decref frees at most; the rest waits for safepoints. 0: "   \
      "no limit")

enum gyre_option {
#define GYRE_OPTION_ID(id, ...) GYRE_OPT_##id,
    GYRE_OPTION_TABLE(GYRE_OPTION_ID)
#undef GYRE_OPTION_ID
        GYRE_OPTION_COUNT
};

struct gyre_option_info {
    const char *name;
    const char *unit;
    uint64_t preset, least, most;
    int changeable;
    const char *help;
};

/* Constant; NULL when `option` is none. Any thread. */
GYRE_API const struct gyre_option_info *gyre_option_info(
    enum gyre_option option);

/* Set one option of a heap. GYRE_OK; GYRE_ERR_ARGUMENT: out of bounds, the
 * old value stays; GYRE_ERR_STATE: fixed at creation; GYRE_ERR_UNKNOWN. Any
 * thread. */
GYRE_API enum gyre_status gyre_option_set(struct gyre_heap *heap,
                                          enum gyre_option option,
                                          uint64_t value);
GYRE_API uint64_t gyre_option_get(struct gyre_heap *heap,
                                  enum gyre_option option);

/* Set options from text, "name=value,name=value": numbers take the suffixes
 * k, m and g (powers of 1024) where the unit is bytes; bools are 0, 1, no,
 * yes. All or none is set. */
GYRE_API enum gyre_status gyre_options_parse(struct gyre_heap *heap,
                                             const char *text);

/* What was wrong with the calling thread's last refused option: its name,
 * the value, unit and bounds, one line; "" when there was none. */
GYRE_API const char *gyre_option_error(void);

GYRE_END_DECLS

#endif
