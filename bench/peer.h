/* The allocators that are measured beside gyre: each does the same work
 * through malloc() and free() in a process that has it loaded. */
#ifndef GYRE_BENCH_PEER_H
#define GYRE_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_PEERS 5
#define BENCH_GYRE "gyre" /* the name of the column that is no peer */

struct bench_peer {
    /* const */
    const char *name;
    const char *libraries[2]; /* the first that loads is taken */
    bool beside;  /* the library lies in our build: a path from our place */
    bool is_gyre; /* a column of its own, that no goal is compared with */
    const char *package; /* Debian's, that has it */
    /* from bench_peers_find() on */
    bool found;
    char preload[512]; /* what LD_PRELOAD gets; "": nothing */
    char version[64];
};

extern struct bench_peer bench_peers[BENCH_PEERS];

/* Take only the peers of this list, "glibc,mimalloc"; "no" takes none. False:
 * no peer has such a name. */
bool bench_peers_choose(const char *names);
/* See which of them are installed, by loading each into a worker. */
void bench_peers_find(void);
/* By name; NULL: none. */
const struct bench_peer *bench_peer_of(const char *name);

/* ---- in a worker ---- */

/* Fail the run unless malloc() and its family come from that peer. */
void bench_peer_check(const struct bench_peer *peer);
/* Answer with its version, or fail with the library that malloc() is of. */
void bench_peer_probe(const struct bench_peer *peer) __attribute__((noreturn));
/* Ask the allocator that is loaded to give back what it can. */
void bench_peer_trim(void);

#endif
