/* The page of `tune`: the template with its places filled in.
 *
 * Everything that is put in is escaped for where it stands: text for HTML,
 * the data for a script of JSON (tune_report.c), the plots' library for a
 * script. The page names nothing outside itself. */
#define _GNU_SOURCE /* open_memstream */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <gyre/config.h>

#include "tune.h"

/* Made of stress/tune_page.html by the build. */
extern const unsigned char tune_page_template[];
extern const size_t tune_page_template_size;

#define MIB 1048576.0

/* ---- escaping ---- */

static void
put_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            /* no control character means anything here */
            putc((unsigned char)*text < 0x20 ? ' ' : *text, out);
        }
    }
}

/* Format, then escape all of it. */
static void put_format(FILE *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
put_format(FILE *out, const char *format, ...)
{
    char text[1536];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_escaped(out, text);
}

/* A script inside a page ends at "</script", wherever that stands, and reads
 * differently after "<!--". Code has them in strings only, where a backslash
 * before such a character means nothing. */
static void
put_script(FILE *out, const char *script, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        size_t left = size - i;
        putc(script[i], out);
        if (script[i] == '<' &&
            ((left > 8 && strncasecmp(script + i, "</script", 8) == 0) ||
             (left > 4 && strncmp(script + i, "<!--", 4) == 0)))
            putc('\\', out);
    }
}

/* ---- Chart.js ---- */

static char *
read_chart(size_t *size)
{
    FILE *file = fopen(GYRE_CHART_JS, "re");
    char *text = NULL, *copy;
    size_t length = 0, room;
    FILE *memory;
    int c;
    if (file == NULL) {
        fprintf(stderr,
                "gyre-stress: --html: cannot read %s: %s; the plots need "
                "Debian's package libjs-chart.js\n",
                GYRE_CHART_JS, strerror(errno));
        return NULL;
    }
    memory = open_memstream(&text, &room);
    while (memory != NULL && (c = getc(file)) != EOF) {
        putc(c, memory);
        length++;
    }
    fclose(file);
    if (memory == NULL || fclose(memory) != 0 || length == 0) {
        fprintf(stderr, "gyre-stress: --html: cannot read %s\n", GYRE_CHART_JS);
        free(text);
        return NULL;
    }
    copy = text;
    *size = length;
    return copy;
}

bool
tune_page_possible(void)
{
    size_t size;
    char *chart = read_chart(&size);
    free(chart);
    return chart != NULL;
}

/* ---- the recommendation ---- */

/* "+4.2 %", or "twice" where per cents say less. */
static void
put_change(FILE *out, double change)
{
    if (change >= 1)
        put_format(out, "%.3g times", change + 1);
    else
        put_format(out, "%+.1f %%", change * 100);
}

static void
put_tile(FILE *out, const char *what, struct gain gain, bool more_is_better)
{
    bool up = gain.low > 0, down = gain.high < 0;
    const char *class = up == down               ? ""
                        : (up == more_is_better) ? " class=\"good\""
                                                 : " class=\"bad\"";
    fprintf(out, "<div class=\"tile\"><span>%s</span><b%s>", what, class);
    put_change(out, gain.mean);
    fputs("</b><span>", out);
    if (!isfinite(gain.high))
        fputs("one pair: no interval", out);
    else
        put_format(out, "%s%.1f to %+.1f %%%s", gain.low < 0 ? "" : "+",
                   gain.low * 100, gain.high * 100,
                   up || down ? "" : ", within noise");
    fputs("</span></div>\n", out);
}

static void
put_recommendation(FILE *out, const struct tune *tune)
{
    const struct verdict *verdict = &tune->verdict;
    char options[1024], candidate[1024];
    tune_options_text(tune, verdict->keep ? &tune->preset : &verdict->candidate,
                      options, sizeof options);
    tune_options_text(tune, &verdict->candidate, candidate, sizeof candidate);
    fputs("<h2 style=\"margin-top:0\">", out);
    fputs(verdict->keep ? "Keep the defaults</h2>\n"
                        : "Recommended for this machine and load</h2>\n",
          out);
    if (options[0] != '\0') {
        fputs("<pre id=\"line\">GYRE_OPTIONS=", out);
        put_escaped(out, options);
        fputs("</pre>\n<button class=\"copy\" id=\"copy\" "
              "type=\"button\">copy</button>\n",
              out);
    }
    fputs("<p>", out);
    put_escaped(out, verdict->why);
    fputs("</p>\n", out);
    if (!verdict->measured)
        return;
    fputs("<p class=\"note\">", out);
    if (verdict->keep) {
        fputs("Tried: <code>", out);
        put_escaped(out, candidate);
        fputs("</code>. ", out);
    }
    put_format(out,
               "Against the defaults, %u pairs of runs of every load and "
               "number of threads, by turns one and the other first; 95 %% "
               "intervals.",
               tune->pairs);
    fputs("</p>\n<div class=\"tiles\">\n", out);
    put_tile(out, "throughput", verdict->throughput, true);
    put_tile(out, "peak memory", verdict->peak, false);
    put_tile(out, "memory at the end", verdict->end, false);
    put_tile(out, "p99 of an allocation", verdict->p99, false);
    put_tile(out, "page refills", verdict->refills, false);
    fputs("</div>\n", out);
}

static void
put_apply(FILE *out, const struct tune *tune)
{
    const struct verdict *verdict = &tune->verdict;
    char options[1024];
    tune_options_text(tune, verdict->keep ? &tune->preset : &verdict->candidate,
                      options, sizeof options);
    if (options[0] == '\0') {
        fputs("<p>There is nothing to set: leave <code>GYRE_OPTIONS</code> "
              "unset. A line to try would be given in one of these ways.</p>",
              out);
        snprintf(options, sizeof options, "memory.thread_cache=4m");
    } else {
        fputs("<p>In the environment of the program, which wins over what "
              "the program says:</p>",
              out);
    }
    fputs("<pre>GYRE_OPTIONS=", out);
    put_escaped(out, options);
    fputs(" program</pre>\n<p>Or where the program makes its heap, or on a "
          "heap that runs:</p>\n<pre>gyre_heap_create(&quot;",
          out);
    put_escaped(out, options);
    fputs("&quot;, &amp;heap);\ngyre_options_parse(heap, &quot;", out);
    put_escaped(out, options);
    fputs("&quot;);</pre>\n<p>Measure again when the machine, the number of "
          "threads or the load changes: the line is for what was measured "
          "here. <code>gyre-options(7)</code> tells each option's unit and "
          "bounds.</p>\n",
          out);
}

/* ---- tables ---- */

static void
put_columns(FILE *out, const struct tune *tune)
{
    for (unsigned t = 0; t < tune->thread_counts; t++)
        fprintf(out, "<th>%u thread%s</th>", tune->threads[t],
                tune->threads[t] == 1 ? "" : "s");
    fputs("<th>peak, MiB</th><th>end, MiB</th><th>p99, ns</th>"
          "<th>refills / million</th></tr></thead>\n<tbody>\n",
          out);
}

static void
put_row(FILE *out, const struct tune *tune, const struct point *point,
        const struct point *base, const char *name, const char *mark)
{
    struct line line = tune_line(tune, point);
    fprintf(out, "<tr%s><td>", mark[0] ? " class=\"mark\"" : "");
    put_format(out, mark[0] ? "%s (%s)" : "%s", name, mark);
    fputs("</td>", out);
    if (point->refused) {
        fprintf(out, "<td colspan=\"%u\">memory was refused</td></tr>\n",
                tune->thread_counts + 4);
        return;
    }
    for (unsigned t = 0; t < tune->thread_counts; t++)
        fprintf(out, "<td>%+.1f %%</td>",
                (exp(tune_throughput(tune, point, base, t)) - 1) * 100);
    fprintf(out, "<td>%.2f</td><td>%.2f</td><td>%.0f</td><td>%.1f</td></tr>\n",
            line.peak / MIB, line.end / MIB, line.p99, line.refills);
}

static void
put_sizes(FILE *out, const struct tune *tune)
{
    const struct point *preset = tune_find(tune, TUNE_SIZES, &tune->preset);
    fputs("<table><thead><tr><th>cache of a thread / of a class</th>", out);
    put_columns(out, tune);
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct point *point = &tune->points[i];
        char size[24], part[24], name[64];
        if (point->stage != TUNE_SIZES)
            continue;
        tune_value_text(KNOB_THREAD_CACHE,
                        point->setting.value[KNOB_THREAD_CACHE], size,
                        sizeof size);
        tune_value_text(KNOB_CLASS_CACHE,
                        point->setting.value[KNOB_CLASS_CACHE], part,
                        sizeof part);
        snprintf(name, sizeof name, "%s / %s", size,
                 tune->fixed[KNOB_CLASS_CACHE] ? "fixed" : part);
        put_row(out, tune, point, preset, name,
                i == tune->best_size
                    ? point == preset ? "default, best" : "best"
                : point == preset ? "default"
                                  : "");
    }
    fputs("</tbody></table>\n<p class=\"note\">Throughput over all loads, "
          "against the defaults; memory as a "
          "mean, p99 and refills as geometric means.</p>",
          out);
}

static void
put_knobs(FILE *out, const struct tune *tune)
{
    const struct point *base = NULL;
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct point *point = &tune->points[i];
        char value[24], name[96];
        if (point->stage != TUNE_KNOBS)
            continue;
        if (point->varied == KNOB_COUNT) {
            base = point;
            fputs("<h2>The other options, one at a time</h2>\n<p>Each alone, "
                  "beside the best cache size. What lies in the shaded band "
                  "cannot be told from noise.</p>\n<figure class=\"card\">"
                  "<div class=\"plot tall\"><canvas id=\"options\" "
                  "role=\"img\" aria-label=\"Other options\"></canvas></div>"
                  "</figure>\n<div class=\"scroll card\" "
                  "style=\"margin-top:1rem\"><table><thead><tr><th>option</th>",
                  out);
            put_columns(out, tune);
            put_row(out, tune, base, base, "none more", "");
            continue;
        }
        tune_value_text(point->varied, point->setting.value[point->varied],
                        value, sizeof value);
        snprintf(name, sizeof name, "%s=%s",
                 gyre_option_info(knob_option[point->varied])->name, value);
        put_row(out, tune, point, base, name,
                point->setting.value[point->varied] ==
                        tune->verdict.candidate.value[point->varied]
                    ? "taken"
                    : "");
    }
    if (base != NULL)
        fputs("</tbody></table></div>\n", out);
}

static void
put_pairs(FILE *out, const struct tune *tune)
{
    const struct point *preset = tune_find(tune, TUNE_CONFIRM, &tune->preset);
    const struct point *tuned =
        tune_find(tune, TUNE_CONFIRM, &tune->verdict.candidate);
    if (!tune->verdict.measured)
        return;
    fputs("<h2>Against the defaults, load by load</h2>\n"
          "<div class=\"scroll card\"><table><thead><tr><th>load</th>"
          "<th>threads</th><th>defaults, million/s</th>"
          "<th>tuned, million/s</th><th>difference</th>"
          "<th>95 % interval</th><th>peak, MiB</th><th>end, MiB</th>"
          "<th>p99, ns</th></tr></thead><tbody>\n",
          out);
    for (enum load l = 0; l < LOAD_COUNT; l++) {
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            struct summary a = tune_summary(&tuned->cells[l][t]);
            struct summary b = tune_summary(&preset->cells[l][t]);
            struct gain gain =
                tune_cell_gain(&tuned->cells[l][t], &preset->cells[l][t]);
            if (preset->cells[l][t].runs == 0)
                continue;
            fprintf(out, "<tr><td>%s</td><td>%u</td><td>%.2f</td><td>%.2f</td>",
                    load_info[l].name, tune->threads[t], b.throughput / 1e6,
                    a.throughput / 1e6);
            fprintf(out, "<td%s>%+.1f %%</td><td>%+.1f to %+.1f %%</td>",
                    gain.low > 0    ? " class=\"good\""
                    : gain.high < 0 ? " class=\"bad\""
                                    : "",
                    gain.mean * 100, gain.low * 100, gain.high * 100);
            fprintf(out,
                    "<td>%.2f &rarr; %.2f</td><td>%.2f &rarr; %.2f</td>"
                    "<td>%.0f &rarr; %.0f</td></tr>\n",
                    b.peak / MIB, a.peak / MIB, b.end / MIB, a.end / MIB, b.p99,
                    a.p99);
        }
    }
    fputs("</tbody></table>\n<p class=\"note\">Memory and p99: defaults "
          "&rarr; tuned. Green and red: beyond noise.</p></div>\n",
          out);
}

static void
put_cell_row(FILE *out, const struct tune *tune, const struct point *point,
             enum load l, unsigned t)
{
    static const char *const stages[] = {"sizes", "options", "pairs"};
    struct summary s = tune_summary(&point->cells[l][t]);
    char options[1024];
    tune_options_text(tune, &point->setting, options, sizeof options);
    fprintf(out, "<tr><td>%s</td><td class=\"left wide\"><code>",
            stages[point->stage]);
    put_escaped(out, options[0] ? options : "(defaults)");
    fprintf(out,
            "</code></td><td class=\"left\">%s</td><td>%u</td><td>%u</td>"
            "<td>%.2f</td><td>%.2f to %.2f</td><td>%.2f</td><td>%.2f</td>"
            "<td>%.0f</td><td>%.0f</td><td>%.0f</td><td>%.1f</td></tr>\n",
            load_info[l].name, tune->threads[t], point->cells[l][t].runs,
            s.throughput / 1e6, s.slowest / 1e6, s.fastest / 1e6, s.peak / MIB,
            s.end / MIB, s.p50, s.p99, s.p999, s.refills);
}

static void
put_cells(FILE *out, const struct tune *tune)
{
    fputs("<table><thead><tr><th>stage</th><th class=\"left\">GYRE_OPTIONS</th>"
          "<th class=\"left\">load</th><th>threads</th><th>runs</th>"
          "<th>million/s</th><th>slowest to fastest</th><th>peak, MiB</th>"
          "<th>end, MiB</th><th>p50, ns</th><th>p99, ns</th><th>p99.9, ns</th>"
          "<th>refills / million</th></tr></thead><tbody>\n",
          out);
    for (unsigned i = 0; i < tune->point_count; i++) {
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            for (unsigned t = 0; t < tune->thread_counts; t++) {
                if (tune->points[i].cells[l][t].runs > 0)
                    put_cell_row(out, tune, &tune->points[i], l, t);
            }
        }
    }
    fputs("</tbody></table>\n", out);
}

/* ---- words ---- */

static void
put_machine(FILE *out, const struct tune *tune)
{
    put_format(out, "%s, %u processor%s, %.1f GiB of memory, %s",
               tune->machine.processor, tune->machine.processors,
               tune->machine.processors == 1 ? "" : "s",
               (double)tune->machine.memory / (1024 * MIB),
               tune->machine.system);
}

static void
put_loads(FILE *out, const struct tune *tune)
{
    for (enum load l = 0; l < LOAD_COUNT; l++) {
        fprintf(out, "<dt>%s</dt><dd>", load_info[l].name);
        put_escaped(out, load_info[l].what);
        if (!tune_has_cell(tune, l, tune->thread_counts - 1))
            put_format(out, " (not measured: needs %u threads)",
                       load_info[l].threads_least);
        fputs("</dd>\n", out);
    }
}

static void
put_method(FILE *out, const struct tune *tune)
{
    put_format(
        out,
        "%u measurements of %.2g s each, in %.0f s, by %s, each in a process "
        "of its own with threads on processors of their own where "
        "there are enough. Settings were taken in random order (seed "
        "%" PRIu64 "), so that a slow minute of the machine falls on "
        "all alike. The replay runs whole rounds, and the time that "
        "its oracle takes at quiescent points is left out. Memory is "
        "the resident memory of the process over what it had before "
        "its heap. Differences in throughput below %.1f %% were taken "
        "for noise when the best was chosen: of what is equally fast, "
        "the setting with least memory.",
        tune->measurements, tune->seconds, tune->took,
        tune->processor_time ? "processor time" : "wall clock", tune->seed,
        (exp(tune->tolerance) - 1) * 100);
    if (tune->options[0] != '\0')
        put_format(out, " All measurements had these options: %s.",
                   tune->options);
}

/* ---- the page ---- */

struct page {
    const struct tune *tune;
    const char *chart;
    size_t chart_size;
};

static void
put_data(FILE *out, const struct tune *tune)
{
    tune_report_json(tune, out);
}

/* What a place of the template is filled with; false: there is no such. */
static bool
put_place(FILE *out, const struct page *page, const char *name, size_t length)
{
    static const struct {
        const char *name;
        void (*put)(FILE *out, const struct tune *tune);
    } places[] = {
        {"machine", put_machine}, {"recommendation", put_recommendation},
        {"apply", put_apply},     {"sizes", put_sizes},
        {"knobs", put_knobs},     {"pairs", put_pairs},
        {"cells", put_cells},     {"loads", put_loads},
        {"method", put_method},   {"data", put_data},
    };
    const struct tune *tune = page->tune;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strlen(places[i].name) == length &&
            memcmp(places[i].name, name, length) == 0) {
            places[i].put(out, tune);
            return true;
        }
    }
#define IS(text) (length == sizeof text - 1 && memcmp(name, text, length) == 0)
    if (IS("machine_short"))
        put_escaped(out, tune->machine.processor);
    else if (IS("heap"))
        put_format(out, "heap %s: %" PRIu32 " nodes, %" PRIu32 " edges",
                   tune->heap_file, tune->node_count, tune->edge_count);
    else if (IS("date"))
        put_escaped(out, tune->date);
    else if (IS("passes"))
        put_format(out, tune->passes == 1 ? "one run" : "%u runs",
                   tune->passes);
    else if (IS("version"))
        put_format(out, "%d.%d.%d", GYRE_VERSION_MAJOR, GYRE_VERSION_MINOR,
                   GYRE_VERSION_PATCH);
    else if (IS("chart"))
        put_script(out, page->chart, page->chart_size);
    else
        return false;
#undef IS
    return true;
}

static void
put_page(FILE *out, const struct page *page)
{
    const char *at = (const char *)tune_page_template;
    const char *end = at + tune_page_template_size;
    while (at < end) {
        const char *open = memmem(at, (size_t)(end - at), "{{", 2);
        const char *close =
            open ? memmem(open, (size_t)(end - open), "}}", 2) : NULL;
        if (close == NULL)
            break;
        fwrite(at, 1, (size_t)(open - at), out);
        if (!put_place(out, page, open + 2, (size_t)(close - open - 2)))
            fwrite(open, 1, (size_t)(close + 2 - open), out);
        at = close + 2;
    }
    fwrite(at, 1, (size_t)(end - at), out);
}

bool
tune_page_write(const struct tune *tune)
{
    struct page page = {.tune = tune};
    char *chart = read_chart(&page.chart_size);
    FILE *out;
    bool written;
    if (chart == NULL)
        return false;
    page.chart = chart;
    out = fopen(tune->html_file, "we");
    written = out != NULL;
    if (written) {
        put_page(out, &page);
        written = !ferror(out);
        written = fclose(out) == 0 && written;
    }
    if (!written)
        fprintf(stderr, "gyre-stress: cannot write %s: %s\n", tune->html_file,
                strerror(errno));
    free(chart);
    return written;
}
