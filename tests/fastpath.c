/* Counts the instructions that the fast paths execute, as gcc compiled them
 * for release: a child is single-stepped through one call of each.
 *
 *   fastpath            count, and compare with the limits
 *   fastpath --trace    print the address of each instruction as well, as
 *                       offsets in this file: scripts/count-instructions.py
 *
 * Covers docs/design/report.md .report.instructions */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gyre/gyre.h>

/* ---- the paths ---- */

struct pair {
    struct gyre_object head;
    struct gyre_slot first, second;
};

static const uint32_t pair_slots[] = {offsetof(struct pair, first),
                                      offsetof(struct pair, second)};
static struct gyre_type pair_type = {.name = "pair",
                                     .size = sizeof(struct pair),
                                     .slot_count = 2,
                                     .slots = pair_slots};

#define PROBE __attribute__((noinline))

PROBE static void
probe_incref(struct gyre_object *obj)
{
    gyre_incref(obj);
}

PROBE static void
probe_decref(struct gyre_object *obj)
{
    gyre_decref(obj);
}

PROBE static void
probe_poll(struct gyre_thread *self)
{
    gyre_safepoint(self);
}

PROBE static struct pair *
probe_new(void)
{
    return GYRE_NEW(struct pair, &pair_type);
}

/* The last reference, to an object with empty slots. */
PROBE static void
probe_death(struct gyre_object *obj)
{
    gyre_decref(obj);
}

/* The instructions on the path, without the final ret, that this much work
 * may take. Set once from the first assembly; they only go down. */
static const struct probe {
    const char *name;
    void (*call)(void);
    unsigned limit;
} probes[] = {
    /* load, compare with the own number, branch, add, branch on overflow,
     * store */
    {"incref", (void (*)(void))probe_incref, 6},
    {"decref", (void (*)(void))probe_decref, 6},
    /* load, test, branch. Hoped for were 2: gcc compares no atomic in place,
     * though the processor runs test and branch as one. */
    {"safepoint poll", (void (*)(void))probe_poll, 3},
    /* thread, class, page, block: 4 loads; empty? 2; unlink 2; count 1;
     * clear 2; two header words, each from the thread's record, which a stop
     * may change: 5; the result 2. Hoped for were 12, with a free list for
     * each thread and neither a count in the page nor a birth stamp. */
    {"allocate", (void (*)(void))probe_new, 18},
    /* One call of the library: the count 5, nobody else has a word in it 6,
     * what kind of type 5, two empty slots 10, dead 3, whose page and back on
     * its list 16, and the calls between. Hoped for were 14, which is the
     * last part. */
    {"death", (void (*)(void))probe_death, 50},
};
#define PROBES (sizeof probes / sizeof *probes)

/* ---- the child ---- */

static struct pair *volatile kept[2];

static void
call_all(struct gyre_thread *self)
{
    /* through a volatile pointer, so that nothing is known of the argument */
    kept[1] = probe_new();
    probe_incref(&kept[1]->head);
    probe_decref(&kept[1]->head);
    probe_poll(self);
    probe_death(&kept[1]->head);
}

static void
child(void)
{
    struct gyre_heap *heap;
    struct gyre_thread *self;
    if (gyre_type_ready(&pair_type) != GYRE_OK ||
        gyre_heap_create("gc.automatic=0", &heap) != GYRE_OK ||
        gyre_thread_attach(heap, &self) != GYRE_OK)
        _exit(1);
    kept[0] = probe_new(); /* its page stays in use */
    call_all(self);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(2);
    raise(SIGSTOP);
    call_all(self);
    _exit(0);
}

/* ---- the parent ---- */

extern const char __executable_start[];

static bool trace;

static const struct probe *
probe_at(uintptr_t address)
{
    size_t i;
    for (i = 0; i < PROBES; i++)
        if ((uintptr_t)probes[i].call == address)
            return &probes[i];
    return NULL;
}

/* One instruction on; false when the child has ended. */
static bool
step(pid_t pid, struct user_regs_struct *regs)
{
    int status;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 ||
        waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return false;
    return ptrace(PTRACE_GETREGS, pid, NULL, regs) == 0;
}

/* endbr64 marks where a branch may land; it does no work. */
static bool
is_endbr(pid_t pid, uintptr_t address)
{
    long word = ptrace(PTRACE_PEEKTEXT, pid, (void *)address, NULL);
    return (uint32_t)word == UINT32_C(0xfa1e0ff3);
}

/* From the probe's first instruction to its return. */
static unsigned
count_call(pid_t pid, struct user_regs_struct *regs)
{
    uintptr_t back =
        (uintptr_t)ptrace(PTRACE_PEEKDATA, pid, (void *)regs->rsp, NULL);
    uintptr_t outside = regs->rsp + 8;
    unsigned count = 0;
    do {
        if (trace)
            printf("%lx\n",
                   (unsigned long)(regs->rip - (uintptr_t)__executable_start));
        if (!is_endbr(pid, regs->rip))
            count++;
        if (!step(pid, regs))
            return 0;
    } while (regs->rip != back || regs->rsp != outside);
    return count - 1; /* the ret */
}

static int
count_all(pid_t pid)
{
    struct user_regs_struct regs;
    size_t seen = 0;
    int failed = 0;
    while (seen < PROBES && step(pid, &regs)) {
        const struct probe *probe = probe_at(regs.rip);
        unsigned count;
        bool over;
        if (probe == NULL)
            continue;
        if (trace)
            printf("%s:\n", probe->name);
        count = count_call(pid, &regs);
        over = count == 0 || count > probe->limit;
        printf("%-16s %3u instructions, limit %2u%s\n", probe->name, count,
               probe->limit, over ? ": too many" : "");
        failed |= over;
        seen++;
    }
    if (seen < PROBES)
        printf("only %zu of %zu paths were seen\n", seen, PROBES);
    return failed || seen < PROBES;
}

int
main(int argc, char **argv)
{
    pid_t pid;
    int status, failed;
    trace = argc > 1 && strcmp(argv[1], "--trace") == 0;
    pid = fork();
    if (pid == 0)
        child();
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        fprintf(stderr, "fastpath: no child to step through: %s\n",
                pid < 0 ? strerror(errno) : "it did not stop");
        return 1;
    }
    failed = count_all(pid);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return failed;
}
