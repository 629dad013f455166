/* What /proc and the scheduler say about this machine and this process. */
#define _GNU_SOURCE /* CPU_SET */
#include "machine.h"

#include <ctype.h>
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static uint64_t peak_sampled;
static bool peak_kept; /* the system notes the peak from where we said */

/* ---- memory ---- */

/* A line "Key:   123 kB", in bytes; 0: there is none. */
static uint64_t
kilobytes(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[128];
    uint64_t kib = 0;
    size_t length = strlen(key);
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            kib = strtoull(line + length + 1, NULL, 10);
    }
    fclose(file);
    return kib * 1024;
}

uint64_t
machine_resident(void)
{
    return kilobytes("/proc/self/status", "VmRSS");
}

uint64_t
machine_resident_exact(void)
{
    uint64_t bytes = kilobytes("/proc/self/smaps_rollup", "Rss");
    return bytes != 0 ? bytes : machine_resident();
}

void
machine_peak_restart(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (file != NULL) {
        peak_kept = fputs("5\n", file) >= 0;
        peak_kept = fclose(file) == 0 && peak_kept;
    }
}

uint64_t
machine_peak(void)
{
    uint64_t now = machine_resident();
    if (now > peak_sampled)
        peak_sampled = now;
    return peak_kept ? kilobytes("/proc/self/status", "VmHWM") : peak_sampled;
}

/* ---- processors ---- */

bool
machine_pin(unsigned index)
{
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return false;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &mask) || index-- != 0)
            continue;
        CPU_ZERO(&mask);
        CPU_SET(cpu, &mask);
        return sched_setaffinity(0, sizeof mask, &mask) == 0;
    }
    return false;
}

static unsigned
processors(void)
{
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return 1;
    return (unsigned)CPU_COUNT(&mask);
}

static unsigned
memory_nodes(void)
{
    DIR *directory = opendir("/sys/devices/system/node");
    struct dirent *entry;
    unsigned count = 0;
    if (directory == NULL)
        return 1;
    while ((entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, "node", 4) == 0 &&
            isdigit((unsigned char)entry->d_name[4]))
            count++;
    }
    closedir(directory);
    return count > 0 ? count : 1;
}

static void
processor_name(char *name, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        found = strncmp(line, "model name", 10) == 0 && colon != NULL;
        if (found) {
            colon += 1 + strspn(colon + 1, " \t");
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(name, size, "%s", colon);
        }
    }
    if (file != NULL)
        fclose(file);
}

void
machine_describe(struct machine *machine)
{
    struct utsname system;
    memset(machine, 0, sizeof *machine);
    machine->processors = processors();
    machine->nodes = memory_nodes();
    machine->memory = kilobytes("/proc/meminfo", "MemTotal");
    snprintf(machine->processor, sizeof machine->processor, "unknown");
    if (uname(&system) == 0) {
        snprintf(machine->system, sizeof machine->system, "%.40s %.40s",
                 system.sysname, system.release);
        snprintf(machine->processor, sizeof machine->processor, "%.64s",
                 system.machine);
    }
    processor_name(machine->processor, sizeof machine->processor);
}
