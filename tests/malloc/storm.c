/* Many threads that allocate and pass blocks on, while some of them fork, in
 * children allocate from several threads and fork again, and while others
 * start programs by fork and exec. Prints what it did, the same each time.
 * Knows nothing of gyre: run with and without it preloaded.
 *   storm [ROUNDS]    rounds of each forking thread: 40 */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 3
#define FORKERS 2
#define STALLS 128

static _Atomic(unsigned char *) stalls[STALLS];
static atomic_bool over;
static int rounds = 40;

static void
demand(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "storm: pid %d: %s\n", (int)getpid(), what);
    _exit(9);
}

static unsigned
next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* A block's first and last bytes say which it is. */
static unsigned char *
make(unsigned *seed)
{
    unsigned dice = next_random(seed) % 1000;
    size_t size = 16 + (dice == 0  ? next_random(seed) % 4000000
                        : dice < 9 ? next_random(seed) % 100000
                                   : next_random(seed) % 600);
    unsigned char *block;
    switch (dice % 4) {
    case 0:
        block = calloc(1, size);
        demand(block != NULL && block[0] == 0 && block[size - 1] == 0,
               "calloc does not clear");
        break;
    case 1:
        block = realloc(malloc(size / 2 + 1), size);
        break;
    default:
        block = malloc(size);
    }
    demand(block != NULL, "no memory");
    memcpy(block, &size, sizeof size);
    block[size - 1] = (unsigned char)(size | 1);
    return block;
}

static void
end(unsigned char *block)
{
    size_t size;
    if (block == NULL)
        return;
    memcpy(&size, block, sizeof size);
    demand(block[size - 1] == (unsigned char)(size | 1), "content changed");
    free(block);
}

static void
trade(unsigned *seed)
{
    end(atomic_exchange(&stalls[next_random(seed) % STALLS], make(seed)));
}

static void *
work(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg * 7919;
    while (!atomic_load_explicit(&over, memory_order_relaxed))
        trade(&seed);
    return NULL;
}

static void *
work_a_little(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg * 31337;
    for (int i = 0; i < 300; i++)
        trade(&seed);
    return NULL;
}

static void
wait_for(pid_t pid, int expected)
{
    int status = 0;
    demand(pid > 0, "fork failed");
    demand(waitpid(pid, &status, 0) == pid, "no child");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
        fprintf(stderr, "storm: child %d ended with %x\n", (int)pid, status);
        _exit(8);
    }
}

/* In a child: what the parent's threads had for sale can be freed, new
 * threads come and go, and it forks itself. */
static void
live_in_child(unsigned seed)
{
    pthread_t threads[3];
    pid_t pid;
    for (int i = 0; i < 500; i++)
        trade(&seed);
    for (size_t i = 0; i < 3; i++)
        demand(pthread_create(&threads[i], NULL, work_a_little,
                              (void *)(i + seed)) == 0,
               "no thread");
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 500; i++)
            trade(&seed);
        _exit(6);
    }
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    wait_for(pid, 6);
    for (size_t i = 0; i < STALLS; i++)
        end(atomic_exchange(&stalls[i], NULL));
    _exit(7);
}

static void *
fork_often(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg * 104729;
    for (int i = 0; i < rounds; i++) {
        pid_t pid;
        trade(&seed);
        pid = fork();
        if (pid == 0)
            live_in_child(seed);
        wait_for(pid, 7);
    }
    return NULL;
}

/* By fork and exec, and as the C library does it, without handlers. */
static void *
exec_often(void *arg)
{
    char *const words[] = {"sh", "-c", "exit 5", NULL};
    unsigned seed = (unsigned)(size_t)arg * 611953;
    for (int i = 0; i < rounds; i++) {
        pid_t pid;
        trade(&seed);
        if (i % 2 == 0) {
            demand(posix_spawn(&pid, "/bin/sh", NULL, NULL, words, environ) ==
                       0,
                   "no program");
        } else if ((pid = fork()) == 0) {
            execv("/bin/sh", words);
            _exit(1);
        }
        wait_for(pid, 5);
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t workers[WORKERS], forkers[FORKERS], starter;
    if (argc > 1)
        rounds = atoi(argv[1]);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, (void *)(i + 1));
    for (size_t i = 0; i < FORKERS; i++)
        pthread_create(&forkers[i], NULL, fork_often, (void *)(i + 1));
    pthread_create(&starter, NULL, exec_often, (void *)9);
    for (size_t i = 0; i < FORKERS; i++)
        pthread_join(forkers[i], NULL);
    pthread_join(starter, NULL);
    atomic_store(&over, true);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    for (size_t i = 0; i < STALLS; i++)
        end(atomic_exchange(&stalls[i], NULL));
    printf("storm: %d children, each with one of its own, and %d programs\n",
           FORKERS * rounds, rounds);
    return 0;
}
