/* Version, visibility and the few compiler words the headers need.
 * Included by every other header; includes nothing of gyre. */
#ifndef GYRE_CONFIG_H
#define GYRE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#define GYRE_VERSION_MAJOR 0
#define GYRE_VERSION_MINOR 1
#define GYRE_VERSION_PATCH 0

#if defined(__GNUC__)
/* Empty where all of it is compiled into a library that exports other names. */
#ifndef GYRE_API
#define GYRE_API __attribute__((visibility("default")))
#endif
#define GYRE_LIKELY(x) __builtin_expect(!!(x), 1)
#define GYRE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define GYRE_INLINE static inline __attribute__((always_inline))
#define GYRE_COLD __attribute__((cold, noinline))
#define GYRE_NOINLINE __attribute__((noinline))
#else
#error "gyre needs the GNU dialect of C: gcc or clang"
#endif

/* The library must sit in the program's initial set of shared objects, so
 * that thread-locals are one load away. A program that links gyre statically
 * may define GYRE_TLS_MODEL as "local-exec" before the first include and
 * saves that load as well. */
#ifndef GYRE_TLS_MODEL
#define GYRE_TLS_MODEL "initial-exec"
#endif
#define GYRE_THREAD_LOCAL __thread __attribute__((tls_model(GYRE_TLS_MODEL)))

/* 1: the inline operations check what they are given and name a misuse.
 * Set by the library's debug, sanitizer and stress builds for their users
 * too; the ABI does not depend on it. */
#ifndef GYRE_CHECKING
#define GYRE_CHECKING 0
#endif

/* 1: the links of free blocks are encoded, blocks are handed out in random
 * order, and pages end in one that can't be touched. Part of the ABI: the
 * same in the library and its users. */
#ifndef GYRE_HARDENED
#define GYRE_HARDENED 0
#endif

/* A program and a library that differ in that do not link. */
#if GYRE_HARDENED
#define gyre_heap_create gyre_heap_create_hardened
#define gyre_thread_attach gyre_thread_attach_hardened
#define gyre_thread_attach_raw gyre_thread_attach_raw_hardened
#endif

#ifdef __cplusplus
#define GYRE_BEGIN_DECLS extern "C" {
#define GYRE_END_DECLS }
#define GYRE_STATIC_ASSERT static_assert
#else
#define GYRE_BEGIN_DECLS
#define GYRE_END_DECLS
#define GYRE_STATIC_ASSERT _Static_assert
#endif

GYRE_BEGIN_DECLS

/* "major.minor.patch" of the library linked, which a program may compare
 * with the macros it was compiled with. Any thread. */
GYRE_API const char *gyre_version(void);

GYRE_END_DECLS

#endif
