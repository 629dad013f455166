/* malloc and its family, as the program finds them: this one is linked with
 * libgyre-malloc, so that every call of it and of the C library comes there.
 * Design: docs/design/malloc.md */
#define _GNU_SOURCE 1 /* dladdr, reallocarray */
/* cmocka.h wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the compiler must not reason about. */
static void *(*volatile malloc_it)(size_t) = malloc;
static void *(*volatile calloc_it)(size_t, size_t) = calloc;
static void *(*volatile realloc_it)(void *, size_t) = realloc;
static void *(*volatile reallocarray_it)(void *, size_t, size_t) = reallocarray;
static void *(*volatile aligned_it)(size_t, size_t) = aligned_alloc;
static void *(*volatile memalign_it)(size_t, size_t) = memalign;
static void *(*volatile valloc_it)(size_t) = valloc;
static void *(*volatile pvalloc_it)(size_t) = pvalloc;
static int (*volatile posix_it)(void **, size_t, size_t) = posix_memalign;

static const size_t too_large = (size_t)PTRDIFF_MAX + 1;

static bool
is_filled(const unsigned char *block, int value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != (unsigned char)value)
            return false;
    return true;
}

/* ---- the functions ---- */

/* Covers docs/design/malloc.md .malloc: the names are taken over as a whole. */
static void
test_every_name_is_the_librarys(void **state)
{
    static const char *const names[] = {"malloc",
                                        "calloc",
                                        "realloc",
                                        "reallocarray",
                                        "memalign",
                                        "posix_memalign",
                                        "aligned_alloc",
                                        "valloc",
                                        "pvalloc",
                                        "free",
                                        "malloc_usable_size",
                                        "malloc_trim"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Dl_info info;
        void *address = dlsym(RTLD_DEFAULT, names[i]);
        assert_non_null(address);
        assert_int_not_equal(dladdr(address, &info), 0);
        if (strstr(info.dli_fname, "libgyre-malloc") == NULL)
            fail_msg("%s is that of %s", names[i], info.dli_fname);
    }
}

/* Every size to 70000 in steps, some larger: aligned, usable as a whole, and
 * not another's. */
static void
test_blocks_are_aligned_and_their_callers_alone(void **state)
{
    enum { COUNT = 700 };
    static unsigned char *blocks[COUNT];
    static size_t sizes[COUNT];
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        sizes[i] = i < 500 ? i : i < 690 ? i * 100 : (i - 689) * 999999;
        blocks[i] = malloc_it(sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(malloc_usable_size(blocks[i]) >= sizes[i]);
        memset(blocks[i], (int)i, malloc_usable_size(blocks[i]));
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(
            is_filled(blocks[i], (int)i, malloc_usable_size(blocks[i])));
        free(blocks[i]);
    }
    assert_int_equal(malloc_usable_size(NULL), 0);
}

/* Covers docs/design/malloc.md .malloc.errors: a zero size. */
static void
test_zero_bytes_are_a_block_of_their_own(void **state)
{
    void *a = malloc_it(0), *b = malloc_it(0), *c = calloc_it(0, 5);
    (void)state;
    assert_true(a != NULL && b != NULL && c != NULL && a != b && b != c);
    free(a);
    free(b);
    free(c);
}

/* Zeroed, though what was there before was not. */
static void
test_calloc_clears(void **state)
{
    static const size_t sizes[] = {1,     16,    100,     4096,
                                   32768, 32769, 1 << 20, 5 << 20};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int round = 0; round < 5; round++) {
            unsigned char *block = calloc_it(1, sizes[i]);
            assert_non_null(block);
            assert_true(is_filled(block, 0, sizes[i]));
            memset(block, 0xff, sizes[i]);
            free(block);
        }
    }
}

/* Covers docs/design/malloc.md .malloc.errors: sizes that no object can have,
 * and products that overflow. */
static void
test_sizes_that_are_too_large_are_refused(void **state)
{
    void *block = malloc_it(10), *out = block;
    (void)state;
    strcpy(block, "untouched");
#define REFUSED(call)                    \
    do {                                 \
        errno = 0;                       \
        assert_null(call);               \
        assert_int_equal(errno, ENOMEM); \
    } while (0)
    REFUSED(malloc_it(too_large));
    REFUSED(malloc_it(SIZE_MAX));
    REFUSED(malloc_it((size_t)PTRDIFF_MAX));
    REFUSED(calloc_it(too_large, 1));
    REFUSED(calloc_it(SIZE_MAX / 2, 3));
    REFUSED(realloc_it(NULL, too_large));
    REFUSED(realloc_it(block, too_large));
    REFUSED(realloc_it(block, SIZE_MAX - 5));
    REFUSED(reallocarray_it(block, SIZE_MAX / 4, 5));
    REFUSED(aligned_it(64, too_large));
    REFUSED(aligned_it(4096, SIZE_MAX));
    REFUSED(valloc_it(SIZE_MAX - 1));
    REFUSED(pvalloc_it(SIZE_MAX - 1));
    errno = 77;
    assert_int_equal(posix_it(&out, 64, SIZE_MAX), ENOMEM);
    assert_ptr_equal(out, block);
    assert_int_equal(errno, 77);
    assert_string_equal(block, "untouched");
    free(block);
}

static void
test_realloc_keeps_the_content(void **state)
{
    unsigned char *block = realloc_it(NULL, 1);
    size_t size = 1;
    (void)state;
    block[0] = 9;
    while (size < 20000000) {
        size_t grown = size + size / 3 + 1;
        memset(block, (int)size, size);
        block = realloc_it(block, grown);
        assert_non_null(block);
        assert_true(is_filled(block, (int)size, size));
        size = grown;
    }
    while (size > 1) {
        memset(block, (int)size, size / 2);
        block = realloc_it(block, size / 2);
        assert_non_null(block);
        assert_true(is_filled(block, (int)size, size / 2));
        size /= 2;
    }
    assert_null(realloc_it(block, 0)); /* frees it, as the C library does */
    block = reallocarray_it(NULL, 100, 7);
    assert_true(malloc_usable_size(block) >= 700);
    free(block);
}

/* Covers docs/design/malloc.md .malloc.errors: alignments. */
static void
test_alignment_is_kept_or_refused(void **state)
{
    static const size_t sizes[] = {0, 1, 24, 5000, 40000, 3000000};
    void *block;
    (void)state;
    for (size_t alignment = 1; alignment <= 1 << 21; alignment *= 2) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            block = aligned_it(alignment, sizes[i]);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % alignment, 0);
            assert_true(malloc_usable_size(block) >= sizes[i]);
            memset(block, 3, malloc_usable_size(block));
            if (i % 2 == 0) {
                block = realloc_it(block, sizes[i] + 3000);
                assert_true(is_filled(block, 3, sizes[i]));
            }
            free(block);
            if (alignment < sizeof(void *)) {
                assert_int_equal(posix_it(&block, alignment, 8), EINVAL);
                continue;
            }
            assert_int_equal(posix_it(&block, alignment, sizes[i]), 0);
            assert_int_equal((uintptr_t)block % alignment, 0);
            free(block);
        }
    }
    errno = 0;
    assert_null(aligned_it(48, 100));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(memalign_it(0, 100));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(posix_it(&block, 24, 8), EINVAL);
    assert_int_equal(posix_it(&block, 0, 8), EINVAL);
}

static void
test_pages_begin_pages(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *a = valloc(10), *b = pvalloc(page + 1);
    (void)state;
    assert_int_equal((uintptr_t)a % page, 0);
    assert_int_equal((uintptr_t)b % page, 0);
    assert_true(malloc_usable_size(b) >= 2 * page);
    free(a);
    free(b);
}

/* As POSIX wants it since 2024. */
static void
test_free_leaves_errno_alone(void **state)
{
    (void)state;
    errno = 4711;
    free(NULL);
    for (size_t size = 1; size < 100000000; size *= 5)
        free(malloc_it(size));
    assert_int_equal(errno, 4711);
}

/* ---- threads ---- */

#define MANY 20000
static void *many[MANY];

static void *
free_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < MANY; i++)
        free(many[i]);
    return NULL;
}

static void
read_pages(unsigned long *mapped, unsigned long *resident)
{
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", mapped, resident), 2);
    fclose(file);
}

static size_t
pages_mapped(void)
{
    unsigned long mapped, resident;
    read_pages(&mapped, &resident);
    return mapped;
}

static size_t
pages_resident(void)
{
    unsigned long mapped, resident;
    read_pages(&mapped, &resident);
    return resident;
}

static void
run_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Covers docs/design/malloc.md .malloc.thread: the first call of a thread is
 * free, and so are all others. */
static void
test_a_thread_that_only_frees_does_not_grow_the_heap(void **state)
{
    size_t before = 0;
    (void)state;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MANY; i++)
            many[i] = malloc_it(100);
        run_thread(free_many, NULL);
        if (round == 2)
            before = pages_mapped();
    }
    assert_in_range(pages_mapped(), 0, before + 1024);
}

static void *
allocate_some(void *arg)
{
    for (int i = 0; i < 100; i++)
        free(malloc_it((size_t)i * 20));
    *(void **)arg = strdup("of a thread that left");
    return NULL;
}

/* One block in 64 stays, and so does little more than that. */
static void
test_trimming_gives_back_what_lies_between_blocks(void **state)
{
    enum { COUNT = 200000, SIZE = 96 };
    static char *blocks[COUNT];
    size_t before;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = malloc_it(SIZE);
        memset(blocks[i], i, SIZE);
    }
    before = pages_resident();
    for (int i = 0; i < COUNT; i++)
        if (i % 64 != 0)
            free(blocks[i]);
    assert_int_equal(malloc_trim(0), 1);
    assert_true(pages_resident() < before - COUNT * SIZE / 4096 / 4);
    for (int i = 0; i < COUNT; i += 64) {
        assert_true(is_filled((unsigned char *)blocks[i], i & 255, SIZE));
        free(blocks[i]);
    }
}

/* Threads that live for 100 allocations leave nothing behind. */
static void
test_threads_that_come_and_go_grow_nothing(void **state)
{
    size_t before = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        void *text;
        run_thread(allocate_some, &text);
        assert_string_equal(text, "of a thread that left");
        free(text);
        if (i == 300)
            before = pages_mapped();
    }
    assert_in_range(pages_mapped(), 0, before + 1024);
}

/* ---- after a thread left ---- */

static pthread_key_t late_key;
static int late_calls;

/* Runs in every round of destructors that there is, and so after ours. */
static void
allocate_late(void *value)
{
    char *text = value;
    assert_string_equal(text, "kept");
    free(text);
    late_calls++;
    text = malloc_it(5);
    strcpy(text, "kept");
    free(calloc_it(3, 1000));
    free(aligned_it(256, 256));
    text = realloc_it(text, 100);
    pthread_setspecific(late_key, text);
}

static void *
live_with_destructor(void *arg)
{
    char *text = malloc_it(5);
    (void)arg;
    strcpy(text, "kept");
    pthread_setspecific(late_key, text);
    return NULL;
}

/* Covers docs/design/malloc.md .malloc.thread: destructors that allocate and
 * free after the thread left the heap. */
static void
test_destructors_may_allocate_after_the_thread_left(void **state)
{
    size_t before = 0;
    (void)state;
    assert_int_equal(pthread_key_create(&late_key, allocate_late), 0);
    for (int i = 0; i < 500; i++) {
        run_thread(live_with_destructor, NULL);
        if (i == 100)
            before = pages_mapped();
    }
    assert_int_equal(late_calls, 500 * 4); /* PTHREAD_DESTRUCTOR_ITERATIONS */
    assert_in_range(pages_mapped(), 0, before + 1024);
    pthread_key_delete(late_key);
}

static void *
outlive_main(void *arg)
{
    pthread_t *others = arg;
    pthread_join(*others, NULL);
    for (size_t i = 0; i < 100; i++)
        many[i] = malloc_it(60000);
    for (size_t i = 0; i < 100; i++)
        free(many[i]);
    return NULL;
}

/* Covers docs/design/malloc.md .malloc.thread: a process ends with the last
 * of its own threads; that which returns memory does not keep it. */
static void
test_a_process_ends_with_its_last_thread(void **state)
{
    int status;
    pid_t pid = fork();
    (void)state;
    if (pid == 0) {
        static pthread_t first;
        pthread_t thread;
        alarm(30); /* the test has failed then */
        first = pthread_self();
        pthread_create(&thread, NULL, outlive_main, &first);
        free(malloc_it(3000000));
        pthread_exit(NULL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- fork ---- */

static void *in_prepare, *in_parent, *in_child;

static void
prepare(void)
{
    in_prepare = malloc_it(3000);
    free(malloc_it(100000));
}

static void
parent(void)
{
    in_parent = malloc_it(3000);
    free(in_prepare);
}

static void
child(void)
{
    in_child = calloc_it(1, 3000);
    free(in_prepare);
}

/* Covers docs/design/malloc.md .malloc.fork: handlers of the program's run
 * when the heap's locks are not held. */
static void
test_fork_handlers_may_allocate(void **state)
{
    (void)state;
    assert_int_equal(pthread_atfork(prepare, parent, child), 0);
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            free(in_child);
            free(malloc_it(70000));
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        free(in_parent);
    }
}

/* ---- memory that is out ---- */

/* Covers docs/design/malloc.md .malloc.errors: a limit that is reached. The
 * options are read by a program that is started with them. */
static void
test_a_hard_limit_is_enomem_and_not_the_end(void **state)
{
    (void)state;
    assert_int_equal(
        system("GYRE_OPTIONS=memory.hard_limit=64m " TEST_MALLOC_LIMIT), 0);
}

/* A line of options that are refused is named, and ignored. */
static void
test_wrong_options_are_named_and_ignored(void **state)
{
    char line[200] = "";
    FILE *pipe = popen("GYRE_OPTIONS=memory.no_such=1 " TEST_MALLOC_LIMIT
                       " 2>&1 >/dev/null",
                       "r");
    (void)state;
    assert_non_null(pipe);
    assert_non_null(fgets(line, sizeof line, pipe));
    while (fgetc(pipe) != EOF)
        continue;
    pclose(pipe);
    assert_non_null(strstr(line, "libgyre-malloc: GYRE_OPTIONS"));
    assert_non_null(strstr(line, "memory.no_such"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_name_is_the_librarys),
        cmocka_unit_test(test_blocks_are_aligned_and_their_callers_alone),
        cmocka_unit_test(test_zero_bytes_are_a_block_of_their_own),
        cmocka_unit_test(test_calloc_clears),
        cmocka_unit_test(test_sizes_that_are_too_large_are_refused),
        cmocka_unit_test(test_realloc_keeps_the_content),
        cmocka_unit_test(test_alignment_is_kept_or_refused),
        cmocka_unit_test(test_pages_begin_pages),
        cmocka_unit_test(test_free_leaves_errno_alone),
        cmocka_unit_test(test_a_thread_that_only_frees_does_not_grow_the_heap),
        cmocka_unit_test(test_trimming_gives_back_what_lies_between_blocks),
        cmocka_unit_test(test_threads_that_come_and_go_grow_nothing),
        cmocka_unit_test(test_destructors_may_allocate_after_the_thread_left),
        cmocka_unit_test(test_a_process_ends_with_its_last_thread),
        cmocka_unit_test(test_fork_handlers_may_allocate),
        cmocka_unit_test(test_a_hard_limit_is_enomem_and_not_the_end),
        cmocka_unit_test(test_wrong_options_are_named_and_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
