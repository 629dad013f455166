/* C++'s operators new and delete, by the names that the compilers of Linux
 * give them, so that the library needs no C++ runtime: it finds the
 * program's, if there is one, when memory is out.
 *
 * Where no memory is had the program's new-handler is called and it is tried
 * again; without a handler std::bad_alloc is thrown, or NULL returned by the
 * variants that do not throw. A handler that throws out of those ends in
 * std::terminate(), as out of any function that does not throw.
 * Design: docs/design/malloc.md .malloc.operators */
#define _GNU_SOURCE 1 /* RTLD_NOLOAD */
#include <dlfcn.h>
#include <stdlib.h>

#include "malloc.h"

GYRE_STATIC_ASSERT(sizeof(size_t) == sizeof(unsigned long),
                   "the names below say size_t is unsigned long");

typedef void (*handler_fn)(void);

/* std::get_new_handler(), std::__throw_bad_alloc(): there when the program
 * was started with a C++ runtime. */
extern handler_fn get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
    __attribute__((weak));
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
    __attribute__((weak, noreturn));

/* In a runtime that was loaded later, with a plugin. */
static void *
find_in_runtime(const char *name)
{
    void *runtime = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
    return runtime != NULL ? dlsym(runtime, name) : NULL;
}

static handler_fn
current_handler(void)
{
    handler_fn (*get)(void) = get_new_handler;
    if (get == NULL)
        *(void **)&get = find_in_runtime("_ZSt15get_new_handlerv");
    return get != NULL ? get() : NULL;
}

static void
throw_it(void)
{
    void (*thrower)(void) = throw_bad_alloc;
    if (thrower == NULL)
        *(void **)&thrower = find_in_runtime("_ZSt17__throw_bad_allocv");
    if (thrower != NULL)
        thrower();
    gyre_fatal("operator new: out of memory, and no C++ runtime to say so");
}

GYRE_COLD static void *
new_again(size_t alignment, size_t size, bool throws)
{
    for (;;) {
        handler_fn handler = current_handler();
        void *block;
        if (handler == NULL) {
            if (throws)
                throw_it();
            return NULL;
        }
        handler();
        block = gyre_malloc_aligned(alignment, size);
        if (block != NULL)
            return block;
    }
}

GYRE_INLINE void *
new_plain(size_t size, bool throws)
{
    void *block = malloc(size);
    return GYRE_LIKELY(block != NULL) ? block : new_again(16, size, throws);
}

GYRE_INLINE void *
new_aligned(size_t size, size_t alignment, bool throws)
{
    void *block = gyre_malloc_aligned(alignment, size);
    return GYRE_LIKELY(block != NULL) ? block
                                      : new_again(alignment, size, throws);
}

/* `nothrow` is std::nothrow, of which nothing is read. */
#define NEW(name, mangled)                               \
    MALLOC_API void *name(size_t size) __asm__(mangled); \
    MALLOC_API void *name(size_t size)                   \
    {                                                    \
        return new_plain(size, true);                    \
    }
#define NEW_NOTHROW(name, mangled)                                            \
    MALLOC_API void *name(size_t size, const void *nothrow) __asm__(mangled); \
    MALLOC_API void *name(size_t size, const void *nothrow)                   \
    {                                                                         \
        (void)nothrow;                                                        \
        return new_plain(size, false);                                        \
    }
#define NEW_ALIGNED(name, mangled)                                         \
    MALLOC_API void *name(size_t size, size_t alignment) __asm__(mangled); \
    MALLOC_API void *name(size_t size, size_t alignment)                   \
    {                                                                      \
        return new_aligned(size, alignment, true);                         \
    }
#define NEW_ALIGNED_NOTHROW(name, mangled)                                    \
    MALLOC_API void *name(size_t size, size_t alignment,                      \
                          const void *nothrow) __asm__(mangled);              \
    MALLOC_API void *name(size_t size, size_t alignment, const void *nothrow) \
    {                                                                         \
        (void)nothrow;                                                        \
        return new_aligned(size, alignment, false);                           \
    }

NEW(operator_new, "_Znwm")
NEW(operator_new_array, "_Znam")
NEW_NOTHROW(operator_new_nothrow, "_ZnwmRKSt9nothrow_t")
NEW_NOTHROW(operator_new_array_nothrow, "_ZnamRKSt9nothrow_t")
NEW_ALIGNED(operator_new_aligned, "_ZnwmSt11align_val_t")
NEW_ALIGNED(operator_new_array_aligned, "_ZnamSt11align_val_t")
NEW_ALIGNED_NOTHROW(operator_new_aligned_nothrow,
                    "_ZnwmSt11align_val_tRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(operator_new_array_aligned_nothrow,
                    "_ZnamSt11align_val_tRKSt9nothrow_t")

/* The page knows the size and the alignment: what the program says of them
 * is not needed, in whichever order it is said. */
#define DELETE(name, mangled)                           \
    MALLOC_API void name(void *block) __asm__(mangled); \
    MALLOC_API void name(void *block)                   \
    {                                                   \
        free(block);                                    \
    }

DELETE(operator_delete, "_ZdlPv")
DELETE(operator_delete_array, "_ZdaPv")
DELETE(operator_delete_sized, "_ZdlPvm")
DELETE(operator_delete_array_sized, "_ZdaPvm")
DELETE(operator_delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(operator_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(operator_delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(operator_delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(operator_delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE(operator_delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
DELETE(operator_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(operator_delete_array_aligned_nothrow,
       "_ZdaPvSt11align_val_tRKSt9nothrow_t")
