/* Loads on the allocator that `tune` measures: what is measured of one, and
 * the mixes of allocations beside the replay. */
#ifndef GYRE_STRESS_LOAD_H
#define GYRE_STRESS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

enum load {
    LOAD_REPLAY, /* stress/replay.c; the others are in stress/load.c */
    LOAD_SMALL,
    LOAD_MIXED,
    LOAD_REMOTE,
    LOAD_CHURN,
    LOAD_COUNT
};

struct load_info {
    const char *name;
    const char *unit; /* of throughput: millions of these a second */
    const char *what; /* for people, one sentence */
    unsigned threads_least;
};
extern const struct load_info load_info[LOAD_COUNT];

/* What a measurement is of. */
struct trial {
    enum load load;
    unsigned threads;
    bool pinned;     /* thread i on processor i */
    double seconds;  /* of the mixes */
    uint64_t rounds; /* of the replay */
    uint64_t seed;
    bool processor_time; /* throughput by the process's processor time */
    const char *options; /* the value of GYRE_OPTIONS */
};

struct measurement {
    bool ok;
    bool refused;      /* not ok, as memory was refused */
    char reason[200];  /* when it is not */
    double seconds;    /* measured, set-up and verification left out */
    double throughput; /* operations or allocations a second, all threads */
    double processor_seconds; /* of all threads, likewise */
    uint64_t operations;
    uint64_t allocations;
    uint64_t refills; /* current pages exchanged */
    /* resident bytes over what the process had before its heap */
    uint64_t peak;
    uint64_t end;     /* all freed, threads still there */
    uint64_t samples; /* of allocation times, ns */
    uint64_t p50, p99, p999;
};

/* Nanoseconds of processor time that this process had so far. */
uint64_t load_processor_ns(void);
/* Operations a second: by the clock as it is given, or, for a machine that
 * others use too, as if every thread had had a processor of its own. */
double load_throughput(const struct trial *trial, double operations,
                       double seconds, double processor_seconds);

/* Run a mix (not the replay) in this process, which has nothing else to do
 * afterwards: heap and threads are left as they are. */
void load_run(const struct trial *trial, struct measurement *out);

#endif
