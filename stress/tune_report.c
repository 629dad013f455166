/* What `tune` found, as text for people and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <gyre/config.h>

#include "tune.h"

#define MIB 1048576.0

/* ---- for people ---- */

void
tune_value_text(enum knob knob, uint64_t value, char *text, size_t size)
{
    const struct gyre_option_info *info = gyre_option_info(knob_option[knob]);
    if (strcmp(info->unit, "bytes") == 0)
        tune_bytes_text(value, text, size);
    else
        snprintf(text, size, "%" PRIu64, value);
}

static void
print_head(const struct tune *tune, const char *what)
{
    printf("\n%-34s", what);
    for (unsigned t = 0; t < tune->thread_counts; t++)
        printf(" %5u thr", tune->threads[t]);
    printf("  peak MiB  end MiB  p99 ns  refills/M\n");
}

static void
print_point(FILE *out, const struct tune *tune, const struct point *point,
            const struct point *base, const char *name, const char *mark)
{
    struct line line = tune_line(tune, point);
    fprintf(out, "%-34.34s", name);
    if (point->refused) {
        fprintf(out, "  memory was refused\n");
        return;
    }
    for (unsigned t = 0; t < tune->thread_counts; t++)
        fprintf(out, " %+7.1f %%",
                (exp(tune_throughput(tune, point, base, t)) - 1) * 100);
    fprintf(out, "  %8.2f %8.2f %7.0f %10.1f%s\n", line.peak / MIB,
            line.end / MIB, line.p99, line.refills, mark);
}

static void
print_sizes(const struct tune *tune, FILE *out)
{
    const struct point *preset = tune_find(tune, TUNE_SIZES, &tune->preset);
    print_head(tune, "cache of a thread / of a class");
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct point *point = &tune->points[i];
        char size[24], part[24], name[64];
        if (point->stage != TUNE_SIZES)
            continue;
        tune_bytes_text(point->setting.value[KNOB_THREAD_CACHE], size,
                        sizeof size);
        tune_bytes_text(point->setting.value[KNOB_CLASS_CACHE], part,
                        sizeof part);
        snprintf(name, sizeof name, "%s / %s", size,
                 tune->fixed[KNOB_CLASS_CACHE] ? "fixed" : part);
        print_point(out, tune, point, preset, name,
                    point == preset        ? "  default"
                    : i == tune->best_size ? "  best"
                                           : "");
    }
}

static void
print_knobs(const struct tune *tune, FILE *out)
{
    const struct point *base = NULL;
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct point *point = &tune->points[i];
        char value[24], name[64];
        if (point->stage != TUNE_KNOBS)
            continue;
        if (point->varied == KNOB_COUNT) {
            base = point;
            print_head(tune, "one option more, at the best size");
            print_point(out, tune, base, base, "none", "");
            continue;
        }
        tune_value_text(point->varied, point->setting.value[point->varied],
                        value, sizeof value);
        snprintf(name, sizeof name, "%s=%s",
                 gyre_option_info(knob_option[point->varied])->name, value);
        print_point(out, tune, point, base, name,
                    point->setting.value[point->varied] ==
                            tune->verdict.candidate.value[point->varied]
                        ? "  taken"
                        : "");
    }
}

static void
print_pairs(const struct tune *tune, FILE *out)
{
    const struct point *preset = tune_find(tune, TUNE_CONFIRM, &tune->preset);
    const struct point *candidate =
        tune_find(tune, TUNE_CONFIRM, &tune->verdict.candidate);
    fprintf(out, "\n%-10s thr  %12s %12s  %s\n", "load", "default M/s",
            "tuned M/s", "difference, 95 % interval");
    for (enum load l = 0; l < LOAD_COUNT; l++) {
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            const struct cell *a = &candidate->cells[l][t];
            const struct cell *b = &preset->cells[l][t];
            struct gain gain = tune_cell_gain(a, b);
            if (a->runs == 0 || b->runs == 0)
                continue;
            fprintf(out,
                    "%-10s %3u  %12.2f %12.2f  %+6.1f %% (%+.1f to %+.1f)\n",
                    load_info[l].name, tune->threads[t],
                    tune_summary(b).throughput / 1e6,
                    tune_summary(a).throughput / 1e6, gain.mean * 100,
                    gain.low * 100, gain.high * 100);
        }
    }
}

static void
print_gain(FILE *out, const char *what, struct gain gain)
{
    fprintf(out, "  %-22s %+6.1f %%  (%+.1f to %+.1f)\n", what, gain.mean * 100,
            gain.low * 100, gain.high * 100);
}

static void
print_verdict(const struct tune *tune, FILE *out)
{
    const struct verdict *verdict = &tune->verdict;
    char options[1024], candidate[1024];
    tune_options_text(tune, &tune->preset, options, sizeof options);
    tune_options_text(tune, &verdict->candidate, candidate, sizeof candidate);
    fprintf(out, "\n%s\n", verdict->why);
    if (verdict->measured) {
        fprintf(out, "%s against the defaults, %u pairs, 95 %% intervals:\n",
                verdict->keep ? candidate : "What it buys", tune->pairs);
        print_gain(out, "throughput", verdict->throughput);
        print_gain(out, "peak resident memory", verdict->peak);
        print_gain(out, "memory at the end", verdict->end);
        print_gain(out, "p99 of an allocation", verdict->p99);
        print_gain(out, "page refills", verdict->refills);
    }
    fprintf(out, "\nrecommended: GYRE_OPTIONS=%s%s\n",
            verdict->keep ? options : candidate,
            verdict->keep ? "   (the defaults)" : "");
}

void
tune_report_table(const struct tune *tune, FILE *out)
{
    fprintf(out, "machine  %s, %u processor%s, %.1f GiB, %s\n",
            tune->machine.processor, tune->machine.processors,
            tune->machine.processors == 1 ? "" : "s",
            (double)tune->machine.memory / (1024 * MIB), tune->machine.system);
    fprintf(out, "heap     %s: %" PRIu32 " nodes, %" PRIu32 " edges\n",
            tune->heap_file, tune->node_count, tune->edge_count);
    fprintf(out,
            "run      %u measurements of %.2g s in %.0f s, by %s, seed "
            "%" PRIu64 "; differences below %.1f %% are taken for noise\n",
            tune->measurements, tune->seconds, tune->took,
            tune->processor_time ? "processor time" : "the wall clock",
            tune->seed, (exp(tune->tolerance) - 1) * 100);
    if (tune->options[0] != '\0')
        fprintf(out, "options  %s, in all measurements\n", tune->options);
    print_sizes(tune, out);
    if (tune->knobs)
        print_knobs(tune, out);
    if (tune->verdict.measured)
        print_pairs(tune, out);
    print_verdict(tune, out);
}

/* ---- JSON ---- */

/* The length of the UTF-8 sequence that begins there, 0: it is none. */
static unsigned
utf8_length(const unsigned char *at)
{
    unsigned length = *at < 0x80   ? 1
                      : *at < 0xc2 ? 0
                      : *at < 0xe0 ? 2
                      : *at < 0xf0 ? 3
                      : *at < 0xf5 ? 4
                                   : 0;
    for (unsigned i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
        (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f))
        return 0;
    return length;
}

/* A string. What means something in HTML is escaped too, so that the text
 * may stand in a page's script; bytes that are no UTF-8 are replaced. */
static void
put_text(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    putc('"', out);
    while (*at != '\0') {
        unsigned length = utf8_length(at);
        if (length == 0) {
            fputs("\\ufffd", out);
            length = 1;
        } else if (length > 1) {
            fwrite(at, 1, length, out);
        } else if (*at < 0x20 || *at == 0x7f || strchr("\"\\<>&", *at)) {
            fprintf(out, "\\u%04x", *at);
        } else {
            putc(*at, out);
        }
        at += length;
    }
    putc('"', out);
}

static void
put_key(FILE *out, const char *key)
{
    fprintf(out, "\"%s\":", key);
}

static void
put_member_text(FILE *out, const char *key, const char *text)
{
    put_key(out, key);
    put_text(out, text);
    putc(',', out);
}

static void
put_number(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, "%.10g", value);
    else
        fputs("null", out);
}

static void
put_member(FILE *out, const char *key, double value)
{
    put_key(out, key);
    put_number(out, value);
    putc(',', out);
}

static void
put_gain(FILE *out, const char *key, struct gain gain)
{
    put_key(out, key);
    putc('{', out);
    put_member(out, "mean", gain.mean);
    put_member(out, "low", gain.low);
    put_key(out, "high");
    put_number(out, gain.high);
    fputs("},", out);
}

static void
put_cell(FILE *out, const struct tune *tune, const struct point *point,
         enum load l, unsigned t)
{
    const struct cell *cell = &point->cells[l][t];
    struct summary s = tune_summary(cell);
    putc('{', out);
    put_member_text(out, "load", load_info[l].name);
    put_member(out, "threads", tune->threads[t]);
    put_member(out, "runs", cell->runs);
    put_member(out, "throughput_per_second", s.throughput);
    put_member(out, "throughput_slowest", s.slowest);
    put_member(out, "throughput_fastest", s.fastest);
    put_member(out, "peak_bytes", s.peak);
    put_member(out, "end_bytes", s.end);
    put_member(out, "p50_ns", s.p50);
    put_member(out, "p99_ns", s.p99);
    put_member(out, "p999_ns", s.p999);
    put_key(out, "refills_per_million");
    put_number(out, s.refills);
    putc('}', out);
}

static void
put_setting(FILE *out, const struct setting *setting)
{
    put_key(out, "values");
    putc('{', out);
    for (enum knob k = 0; k < KNOB_COUNT; k++)
        fprintf(out, "%s\"%s\":%" PRIu64, k ? "," : "",
                gyre_option_info(knob_option[k])->name, setting->value[k]);
    fputs("},", out);
}

static void
put_point(FILE *out, const struct tune *tune, const struct point *point)
{
    static const char *const stages[] = {"sizes", "knobs", "confirm"};
    char options[1024];
    const char *comma = "";
    tune_options_text(tune, &point->setting, options, sizeof options);
    putc('{', out);
    put_member_text(out, "stage", stages[point->stage]);
    put_member_text(out, "options", options);
    put_setting(out, &point->setting);
    put_key(out, "varied");
    if (point->varied == KNOB_COUNT)
        fputs("null,", out);
    else
        fprintf(out, "\"%s\",",
                gyre_option_info(knob_option[point->varied])->name);
    fprintf(out, "\"refused\":%s,\"cells\":[",
            point->refused ? "true" : "false");
    for (enum load l = 0; l < LOAD_COUNT && !point->refused; l++) {
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            if (point->cells[l][t].runs == 0)
                continue;
            fputs(comma, out);
            put_cell(out, tune, point, l, t);
            comma = ",";
        }
    }
    fputs("]}", out);
}

static void
put_machine(FILE *out, const struct tune *tune)
{
    fputs("\"machine\":{", out);
    put_member_text(out, "processor", tune->machine.processor);
    put_member_text(out, "system", tune->machine.system);
    put_member(out, "processors", tune->machine.processors);
    put_member(out, "memory_nodes", tune->machine.nodes);
    put_key(out, "memory_bytes");
    fprintf(out, "%" PRIu64 "},\"heap\":{", tune->machine.memory);
    put_member_text(out, "file", tune->heap_file);
    fprintf(out, "\"nodes\":%" PRIu32 ",\"edges\":%" PRIu32 "},",
            tune->node_count, tune->edge_count);
}

static void
put_names(FILE *out, const struct tune *tune)
{
    fputs("\"threads\":[", out);
    for (unsigned t = 0; t < tune->thread_counts; t++)
        fprintf(out, "%s%u", t ? "," : "", tune->threads[t]);
    fputs("],\"loads\":[", out);
    for (enum load l = 0; l < LOAD_COUNT; l++) {
        fputs(l ? ",{" : "{", out);
        put_member_text(out, "name", load_info[l].name);
        put_member_text(out, "unit", load_info[l].unit);
        put_member_text(out, "what", load_info[l].what);
        fprintf(out, "\"threads_least\":%u}", load_info[l].threads_least);
    }
    fputs("],\"knobs\":[", out);
    for (enum knob k = 0; k < KNOB_COUNT; k++) {
        const struct gyre_option_info *info = gyre_option_info(knob_option[k]);
        fputs(k ? ",{" : "{", out);
        put_member_text(out, "name", info->name);
        put_member_text(out, "unit", info->unit);
        put_member_text(out, "help", info->help);
        fprintf(out, "\"fixed\":%s,\"preset\":%" PRIu64 "}",
                tune->fixed[k] ? "true" : "false", info->preset);
    }
    fputs("],", out);
}

static void
put_verdict(FILE *out, const struct tune *tune)
{
    const struct verdict *verdict = &tune->verdict;
    char options[1024];
    fputs("\"recommended\":{", out);
    tune_options_text(tune, verdict->keep ? &tune->preset : &verdict->candidate,
                      options, sizeof options);
    put_member_text(out, "options", options);
    tune_options_text(tune, &verdict->candidate, options, sizeof options);
    put_member_text(out, "candidate", options);
    put_setting(out, &verdict->candidate);
    fprintf(out, "\"keep_defaults\":%s,\"confirmed\":%s,",
            verdict->keep ? "true" : "false",
            verdict->measured ? "true" : "false");
    if (verdict->measured) {
        put_gain(out, "throughput", verdict->throughput);
        put_gain(out, "peak", verdict->peak);
        put_gain(out, "end", verdict->end);
        put_gain(out, "p99", verdict->p99);
        put_gain(out, "refills", verdict->refills);
    }
    put_key(out, "why");
    put_text(out, verdict->why);
    putc('}', out);
}

void
tune_report_json(const struct tune *tune, FILE *out)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", GYRE_VERSION_MAJOR,
             GYRE_VERSION_MINOR, GYRE_VERSION_PATCH);
    putc('{', out);
    put_member_text(out, "program", "gyre-stress tune");
    put_member_text(out, "version", version);
    put_member_text(out, "date", tune->date);
    put_machine(out, tune);
    put_key(out, "seed");
    fprintf(out, "%" PRIu64 ",", tune->seed);
    put_member(out, "seconds", tune->seconds);
    put_member(out, "took_seconds", tune->took);
    put_member(out, "measurements", tune->measurements);
    put_member_text(out, "clock", tune->processor_time ? "cpu" : "wall");
    put_member(out, "passes", tune->passes);
    put_member(out, "pairs", tune->pairs);
    put_member(out, "tolerance", exp(tune->tolerance) - 1);
    put_member_text(out, "options", tune->options);
    put_names(out, tune);
    fputs("\"points\":[", out);
    for (unsigned i = 0; i < tune->point_count; i++) {
        fputs(i ? ",\n" : "\n", out);
        put_point(out, tune, &tune->points[i]);
    }
    fputs("\n],", out);
    put_verdict(out, tune);
    fputs("}\n", out);
}
