/* Keeping a run's figures. The commit is asked of git at the time of the
 * run, not of the build: it is "unknown" away from the source tree. */
#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "table.h"

#ifndef GYRE_BENCH_SOURCE
#define GYRE_BENCH_SOURCE "."
#endif
#ifndef GYRE_BENCH_FLAGS
#define GYRE_BENCH_FLAGS "unknown"
#endif

/* First line of a command's output, or "". */
static void
first_line_of(const char *command, char *line, int size)
{
    FILE *pipe = popen(command, "re");
    line[0] = '\0';
    if (pipe == NULL)
        return;
    if (fgets(line, size, pipe) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    pclose(pipe);
}

static void
cpu_model(char *model, int size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(model, (size_t)size, "unknown");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, "model name", 10) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(model, (size_t)size, "%s", colon + 2);
            break;
        }
    }
    fclose(file);
}

static void
print_text(FILE *to, const char *key, const char *text)
{
    fprintf(to, "  \"%s\": \"", key);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if ((unsigned char)*text >= ' ')
            fputc(*text, to);
    }
    fputs("\",\n", to);
}

static void
print_peers(FILE *to)
{
    const char *separator = "";
    fputs("  \"peers\": {", to);
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        if (!bench_peers[i].found)
            continue;
        fprintf(to, "%s\"%s\": \"%s\"", separator, bench_peers[i].name,
                bench_peers[i].version);
        separator = ", ";
    }
    fputs("},\n  \"peers_left_out\": [", to);
    separator = "";
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        if (bench_peers[i].found)
            continue;
        fprintf(to, "%s\"%s\"", separator, bench_peers[i].name);
        separator = ", ";
    }
    fputs("],\n", to);
}

static void
print_record(FILE *to, const char *date, const char *commit, bool dirty,
             const struct bench_tally *tallies, size_t count)
{
    const char *separator = "";
    struct utsname system;
    char model[128];
    cpu_model(model, sizeof model);
    uname(&system);
    fputs("{\n", to);
    print_text(to, "date", date);
    print_text(to, "commit", commit[0] == '\0' ? "unknown" : commit);
    fprintf(to, "  \"changed_since_commit\": %s,\n", dirty ? "true" : "false");
    print_text(to, "cpu", model);
    fprintf(to, "  \"cpus\": %ld,\n", sysconf(_SC_NPROCESSORS_ONLN));
    print_text(to, "kernel", system.release);
#ifdef __clang__
    print_text(to, "compiler", __VERSION__);
#else
    print_text(to, "compiler", "gcc " __VERSION__);
#endif
    print_text(to, "flags", GYRE_BENCH_FLAGS);
    fprintf(to, "  \"pinned\": %s,\n",
            bench_settings.pinned ? "true" : "false");
    print_text(to, "clock", bench_settings.clock == BENCH_CPU ? "cpu" : "wall");
    if (bench_needs_peers(tallies, count))
        print_peers(to);
    fputs("  \"rows\": [", to);
    for (size_t i = 0; i < count; i++) {
        if (!tallies[i].selected || tallies[i].own.runs == 0)
            continue;
        fprintf(to, "%s\n    ", separator);
        bench_print_json(to, tallies, count, &tallies[i]);
        separator = ",";
    }
    fputs("\n  ]\n}\n", to);
}

bool
bench_record(const char *directory, const struct bench_tally *tallies,
             size_t count)
{
    char commit[64], changes[64], stamp[32], date[32], path[512];
    time_t now = time(NULL);
    struct tm utc;
    FILE *file;
    bool written;
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    first_line_of("git -C '" GYRE_BENCH_SOURCE "' rev-parse --verify -q HEAD "
                  "2>/dev/null",
                  commit, sizeof commit);
    first_line_of("git -C '" GYRE_BENCH_SOURCE "' status --porcelain "
                  "2>/dev/null",
                  changes, sizeof changes);
    snprintf(path, sizeof path, "%s/%s-%.8s.json", directory, stamp,
             commit[0] == '\0' ? "unknown" : commit);
    file = fopen(path, "wxe");
    if (file == NULL) {
        fprintf(stderr, "gyre-bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    print_record(file, date, commit, changes[0] != '\0', tallies, count);
    written = ferror(file) == 0;
    if (fclose(file) != 0 || !written) {
        fprintf(stderr, "gyre-bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(stderr, "gyre-bench: figures kept in %s\n", path);
    return true;
}
