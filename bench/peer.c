/* Finding the other allocators, and what each wants to be asked by. */
#define _GNU_SOURCE
#include "peer.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "harness.h"
#include "program.h"

#ifndef BENCH_HAS_PEERS
#define BENCH_HAS_PEERS 1
#endif

struct bench_peer bench_peers[BENCH_PEERS] = {
    {.name = "gyre-malloc",
     .libraries = {"../libgyre-malloc.so", "../malloc/libgyre-malloc.so"},
     .beside = true,
     .is_gyre = true},
    {.name = "glibc", .libraries = {"libc.so.6"}, .package = "libc6"},
    {.name = "mimalloc",
     .libraries = {"libmimalloc.so.2"},
     .package = "libmimalloc2.0"},
    {.name = "jemalloc",
     .libraries = {"libjemalloc.so.2"},
     .package = "libjemalloc2"},
    {.name = "tcmalloc",
     .libraries = {"libtcmalloc.so.4", "libtcmalloc_minimal.so.4"},
     .package = "libgoogle-perftools4"},
};
#define GLIBC 1 /* is there without being loaded */

static bool chosen[BENCH_PEERS] = {true, true, true, true, true};

const struct bench_peer *
bench_peer_of(const char *name)
{
    for (size_t i = 0; i < BENCH_PEERS; i++)
        if (strcmp(bench_peers[i].name, name) == 0)
            return &bench_peers[i];
    return NULL;
}

bool
bench_peers_choose(const char *names)
{
    memset(chosen, 0, sizeof chosen);
    if (strcmp(names, "no") == 0)
        return true;
    for (;;) {
        const char *end = strchrnul(names, ',');
        char name[32];
        const struct bench_peer *peer;
        snprintf(name, sizeof name, "%.*s", (int)(end - names), names);
        peer = bench_peer_of(name);
        if (peer == NULL)
            return false;
        chosen[peer - bench_peers] = true;
        if (*end == '\0')
            return true;
        names = end + 1;
    }
}

/* ---- which are there ---- */

/* Load it into a worker. False, with the reason. */
static bool
loads(struct bench_peer *peer, const char *library, char *answer)
{
    struct bench_child child;
    double none;
    if (peer == &bench_peers[GLIBC])
        peer->preload[0] = '\0';
    else if (!peer->beside)
        snprintf(peer->preload, sizeof peer->preload, "%s", library);
    else if (!bench_path_beside("", library, peer->preload,
                                sizeof peer->preload)) {
        snprintf(answer, BENCH_REASON, "it is not built");
        return false;
    }
    if (!bench_child_exec(&child, peer->name, "probe", peer->preload, answer) ||
        !bench_child_finish(&child, &none, answer))
        return false;
    snprintf(peer->version, sizeof peer->version, "%.60s", answer);
    return true;
}

static void
find(struct bench_peer *peer)
{
    char reason[BENCH_REASON] = "";
    for (size_t l = 0; l < 2 && !peer->found; l++)
        if (peer->libraries[l] != NULL)
            peer->found = loads(peer, peer->libraries[l], reason);
    if (peer->found)
        return;
    fprintf(stderr, "gyre-bench: %s is left out: %s", peer->name, reason);
    if (peer->package != NULL)
        fprintf(stderr, "; it is in Debian's package %s", peer->package);
    fputc('\n', stderr);
}

void
bench_peers_find(void)
{
    if (!BENCH_HAS_PEERS)
        fprintf(stderr, "gyre-bench: no peers in a sanitized build\n");
    for (size_t i = 0; BENCH_HAS_PEERS && i < BENCH_PEERS; i++)
        if (chosen[i])
            find(&bench_peers[i]);
}

/* ---- in a worker ---- */

static const char *
name_of_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool
is_of(const struct bench_peer *peer, const char *path)
{
    for (size_t l = 0; l < 2; l++)
        if (peer->libraries[l] != NULL &&
            strcmp(name_of_path(peer->libraries[l]), name_of_path(path)) == 0)
            return true;
    return false;
}

void
bench_peer_check(const struct bench_peer *peer)
{
    static const char *const family[] = {"malloc", "calloc", "realloc", "free"};
    for (size_t i = 0; i < sizeof family / sizeof family[0]; i++) {
        void *function = dlsym(RTLD_DEFAULT, family[i]);
        Dl_info info;
        if (function == NULL || dladdr(function, &info) == 0)
            bench_fail("%s() is of no library", family[i]);
        if (!is_of(peer, info.dli_fname))
            bench_fail("%s() is of %.200s, not of %s", family[i],
                       info.dli_fname, peer->name);
    }
}

typedef int (*mallctl_fn)(const char *name, void *old, size_t *old_size,
                          void *new, size_t new_size);

/* Each names itself in its own way. */
static void
find_version(char *version, size_t size)
{
    /* The language gives no cast from an object's to a function's pointer. */
    union {
        void *object;
        int (*mimalloc)(void);
        mallctl_fn jemalloc;
        const char *(*tcmalloc)(int *, int *, const char **);
    } call;
    snprintf(version, size, "glibc %s", gnu_get_libc_version());
    if ((call.object = dlsym(RTLD_DEFAULT, "mi_version")) != NULL) {
        int number = call.mimalloc();
        snprintf(version, size, "mimalloc %d.%d.%d", number / 100,
                 number / 10 % 10, number % 10);
    } else if ((call.object = dlsym(RTLD_DEFAULT, "mallctl")) != NULL) {
        const char *text = NULL;
        size_t bytes = sizeof text;
        if (call.jemalloc("version", &text, &bytes, NULL, 0) == 0)
            snprintf(version, size, "jemalloc %.*s", (int)strcspn(text, "-"),
                     text);
    } else if ((call.object = dlsym(RTLD_DEFAULT, "tc_version")) != NULL) {
        int major, minor;
        const char *patch;
        snprintf(version, size, "%s", call.tcmalloc(&major, &minor, &patch));
    }
}

void
bench_peer_probe(const struct bench_peer *peer)
{
    char version[64];
    bench_peer_check(peer);
    if (peer->is_gyre)
        snprintf(version, sizeof version, "this build");
    else
        find_version(version, sizeof version);
    bench_child_end(0, version);
}

void
bench_peer_trim(void)
{
    union {
        void *object;
        void (*mimalloc)(bool);
        mallctl_fn jemalloc;
        void (*tcmalloc)(void);
    } call;
    if ((call.object = dlsym(RTLD_DEFAULT, "mi_collect")) != NULL) {
        call.mimalloc(true);
    } else if ((call.object = dlsym(RTLD_DEFAULT, "mallctl")) != NULL) {
        call.jemalloc("thread.tcache.flush", NULL, NULL, NULL, 0);
        /* 4096 is its number for all arenas */
        if (call.jemalloc("arena.4096.purge", NULL, NULL, NULL, 0) != 0)
            bench_fail("jemalloc refused to purge");
    } else if ((call.object =
                    dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory")) !=
               NULL) {
        call.tcmalloc();
    } else {
        malloc_trim(0);
    }
}
