/* Texts of statuses, the version, and the way out for what must not happen.
 * Any thread; needs no heap. Design: docs/design/report.md .report.fatal */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <gyre/config.h>
#include <gyre/status.h>

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *
gyre_version(void)
{
    return VERSION(GYRE_VERSION_MAJOR, GYRE_VERSION_MINOR, GYRE_VERSION_PATCH);
}

const char *
gyre_status_text(enum gyre_status status)
{
    switch (status) {
    case GYRE_OK:
        return "success";
    case GYRE_ERR_NOMEM:
        return "out of memory";
    case GYRE_ERR_STATE:
        return "not possible in this state";
    case GYRE_ERR_ARGUMENT:
        return "argument out of bounds";
    case GYRE_ERR_UNKNOWN:
        return "no such option";
    case GYRE_ERR_TIMEOUT:
        return "a thread reached no safepoint in time";
    case GYRE_STATUS_COUNT:
        break;
    }
    return "unknown status";
}

/* ---- fatal errors ---- */

static pthread_mutex_t hook_lock = PTHREAD_MUTEX_INITIALIZER;
/* under hook_lock */
static gyre_fatal_fn hook_fn; /* NULL: the default */
static void *hook_arg;

void
gyre_set_fatal_hook(gyre_fatal_fn hook, void *arg)
{
    pthread_mutex_lock(&hook_lock);
    hook_fn = hook;
    hook_arg = arg;
    pthread_mutex_unlock(&hook_lock);
}

void
gyre_fatal(const char *format, ...)
{
    char message[512];
    va_list args;
    gyre_fatal_fn fn;
    void *arg;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    /* Copied out, as the hook may longjmp and may come back here. */
    pthread_mutex_lock(&hook_lock);
    fn = hook_fn;
    arg = hook_arg;
    pthread_mutex_unlock(&hook_lock);
    if (fn != NULL)
        fn(message, arg);
    else
        fprintf(stderr, "gyre: fatal: %s\n", message);
    abort();
}
