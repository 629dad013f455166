/* Teams of threads, and what a process and a thread need. See work.h. */
#include "work.h"

#include "peer.h"

#define TEAM 16u /* threads at most */

#ifdef BENCH_MALLOC

void
WORK(begin)(void)
{
}

void
WORK(attach)(bool raw)
{
    (void)raw;
}

void
WORK(leave)(void)
{
}

void
WORK(join)(pthread_t thread)
{
    pthread_join(thread, NULL);
}

/* There is no count that all of them keep. */
void
WORK(expect_blocks)(uint64_t expected)
{
    (void)expected;
}

void
WORK(trim)(void)
{
    bench_peer_trim();
}

#else

/* Constant once begin() is over. */
static struct gyre_heap *heap;

void
WORK(begin)(void)
{
    heap = bench_heap()->heap;
}

void
WORK(attach)(bool raw)
{
    struct gyre_thread *self;
    enum gyre_status status;
    if (!raw) {
        bench_attach(heap);
        return;
    }
    status = gyre_thread_attach_raw(heap, &self);
    if (status != GYRE_OK)
        bench_fail("attach for raw memory: %s", gyre_status_text(status));
}

void
WORK(leave)(void)
{
    gyre_thread_leave(gyre_self);
}

void
WORK(join)(pthread_t thread)
{
    bench_join(gyre_self, thread);
}

void
WORK(expect_blocks)(uint64_t expected)
{
    struct gyre_statistics statistics;
    uint64_t live;
    if (gyre_quiesce(heap) != GYRE_OK)
        bench_fail("the heap did not come to rest");
    gyre_statistics_get(heap, &statistics);
    live = statistics.blocks_in_use[GYRE_PAGE_RAW];
    if (live != expected)
        bench_fail("%llu blocks in use after it instead of %llu",
                   (unsigned long long)live, (unsigned long long)expected);
}

void
WORK(trim)(void)
{
    gyre_heap_trim(heap);
}

#endif

/* ---- teams ---- */

struct member {
    unsigned index;
    double (*body)(unsigned index);
    double figure;
};

static pthread_barrier_t meeting;
static unsigned team_size; /* constant while a team runs */

void
WORK(meet)(void)
{
    if (team_size > 1)
        pthread_barrier_wait(&meeting);
}

static void *
member_main(void *arg)
{
    struct member *member = arg;
    bench_pin((int)member->index);
    WORK(attach)(false);
    member->figure = member->body(member->index);
    WORK(leave)();
    return NULL;
}

double
WORK(team)(unsigned threads, double (*body)(unsigned index))
{
    struct member members[TEAM];
    pthread_t ids[TEAM];
    double greatest;
    if (threads == 0 || threads > TEAM)
        bench_fail("a team of %u threads", threads);
    team_size = threads;
    pthread_barrier_init(&meeting, NULL, threads);
    for (unsigned i = 1; i < threads; i++) {
        members[i] = (struct member){.index = i, .body = body};
        ids[i] = bench_thread(member_main, &members[i]);
    }
    greatest = body(0);
    for (unsigned i = 1; i < threads; i++) {
        WORK(join)(ids[i]);
        if (members[i].figure > greatest)
            greatest = members[i].figure;
    }
    pthread_barrier_destroy(&meeting);
    return greatest;
}
