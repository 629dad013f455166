/* Numbers, lengths of time and seeds from the command line. */
#include "arguments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "random.h"

uint64_t
argument_number(struct argp_state *state, const char *text, uint64_t least,
                uint64_t most, const char *what)
{
    char *end;
    unsigned long long value;
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' ||
        value < least || value > most)
        argp_error(state,
                   "%s: '%s' is not a number from %" PRIu64 " to %" PRIu64,
                   what, text, least, most);
    return value;
}

double
argument_seconds(struct argp_state *state, const char *text, const char *what)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds > 0) || seconds > 1e9)
        argp_error(state, "%s: '%s' is no length of time", what, text);
    return seconds;
}

uint64_t
argument_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return random_mix((uint64_t)now.tv_sec * 1000000007u +
                      (uint64_t)now.tv_nsec) >>
           32;
}
