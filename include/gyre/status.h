/* What a call that can fail returns, and the hook for what must not happen. */
#ifndef GYRE_STATUS_H
#define GYRE_STATUS_H

#include <gyre/config.h>

GYRE_BEGIN_DECLS

enum gyre_status {
    GYRE_OK = 0,
    GYRE_ERR_NOMEM,    /* the system or the heap's hard limit gave no memory */
    GYRE_ERR_STATE,    /* not in this state: attached twice, heap in use, ... */
    GYRE_ERR_ARGUMENT, /* a value out of its bounds */
    GYRE_ERR_UNKNOWN,  /* no option of that name */
    GYRE_ERR_TIMEOUT,  /* a thread did not reach a safepoint in time */
    GYRE_STATUS_COUNT
};

/* A short English text, constant for the life of the process. Any thread. */
GYRE_API const char *gyre_status_text(enum gyre_status status);

/* The status of the calling thread's last allocation that returned NULL.
 * Not cleared by success. Any thread. */
GYRE_API enum gyre_status gyre_last_status(void);

/* Called with one line that names the misuse or the corruption. Must not
 * return: it may longjmp in a test, or end the process. */
typedef void (*gyre_fatal_fn)(const char *message, void *arg);

/* Replace the hook of the process; NULL puts the default back, which prints
 * to standard error and aborts. Any thread; takes effect for later errors. */
GYRE_API void gyre_set_fatal_hook(gyre_fatal_fn hook, void *arg);

/* Report a fatal error through the hook, printf-style. For inline checks of
 * the headers and for runtimes that want the same way out. Does not return:
 * when a hook returns, the process aborts. */
GYRE_API void gyre_fatal(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn, cold));

/* Always on: misuse of the API and corruption. */
#define GYRE_CHECK(condition, ...)       \
    do {                                 \
        if (GYRE_UNLIKELY(!(condition))) \
            gyre_fatal(__VA_ARGS__);     \
    } while (0)

/* On in checking builds; the expression is compiled in all. */
#define GYRE_ASSERT(condition)                                       \
    do {                                                             \
        if (GYRE_CHECKING && GYRE_UNLIKELY(!(condition)))            \
            gyre_fatal("%s:%d: %s", __FILE__, __LINE__, #condition); \
    } while (0)

GYRE_END_DECLS

#endif
