/* The option table: names, bounds, setters and the reader of text.
 *
 * Any thread, but for gyre_options_init(), which runs before a heap is
 * shared. Values are single words, read and written relaxed. Design:
 * docs/design/report.md .report.table */
#define _GNU_SOURCE 1 /* strchrnul, secure_getenv */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../heap.h"

static const struct gyre_option_info table[GYRE_OPTION_COUNT] = {
#define ROW(id, name, unit, preset, least, most, changeable, help) \
    [GYRE_OPT_##id] = {name, unit, preset, least, most, changeable, help},
    GYRE_OPTION_TABLE(ROW)
#undef ROW
};

/* ---- what was wrong ---- */

static GYRE_THREAD_LOCAL char error_text[192];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error_text, sizeof error_text, format, args);
    va_end(args);
}

const char *
gyre_option_error(void)
{
    return error_text;
}

static bool
is_bool(const struct gyre_option_info *info)
{
    return strcmp(info->unit, "bool") == 0;
}

/* Name the option, the value as it was given, its unit and bounds. */
static enum gyre_status
refuse(const struct gyre_option_info *info, const char *value, int length)
{
    if (is_bool(info))
        say("%s=%.*s: must be 0, 1, no or yes", info->name, length, value);
    else
        say("%s=%.*s: must be a number from %" PRIu64 " to %" PRIu64
            ", unit: %s",
            info->name, length, value, info->least, info->most, info->unit);
    return GYRE_ERR_ARGUMENT;
}

static enum gyre_status
refuse_fixed(const struct gyre_option_info *info)
{
    say("%s: fixed when the heap is made", info->name);
    return GYRE_ERR_STATE;
}

/* ---- text ---- */

struct piece {
    const char *at;
    size_t length;
};

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static struct piece
trimmed(const char *from, const char *to)
{
    struct piece piece;
    while (from < to && is_space(*from))
        from++;
    while (to > from && is_space(to[-1]))
        to--;
    piece.at = from;
    piece.length = (size_t)(to - from);
    return piece;
}

static bool
piece_is(struct piece piece, const char *text)
{
    return strlen(text) == piece.length &&
           memcmp(piece.at, text, piece.length) == 0;
}

/* As a length for printf, and short enough to leave room for the rest. */
static int
piece_width(struct piece piece)
{
    return piece.length < 40 ? (int)piece.length : 40;
}

static bool
read_bool(struct piece text, uint64_t *out)
{
    *out = piece_is(text, "1") || piece_is(text, "yes");
    return *out || piece_is(text, "0") || piece_is(text, "no");
}

/* Decimal digits, then perhaps one of k, m, g. False: not that, or 2^64 and
 * more. */
static bool
read_number(struct piece text, bool suffixes, uint64_t *out)
{
    uint64_t value = 0, unit = 1;
    size_t i, digits = text.length;
    if (suffixes && digits > 0) {
        const char *letters = "kmg", *letter;
        letter = strchr(letters, text.at[digits - 1]);
        if (letter != NULL) {
            unit = UINT64_C(1) << (10 * (letter - letters + 1));
            digits--;
        }
    }
    if (digits == 0)
        return false;
    for (i = 0; i < digits; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.at[i] - '0'), &value))
            return false;
    }
    return !__builtin_mul_overflow(value, unit, out);
}

static bool
within(const struct gyre_option_info *info, uint64_t value)
{
    return value >= info->least && value <= info->most;
}

static bool
read_value(const struct gyre_option_info *info, struct piece text,
           uint64_t *out)
{
    if (is_bool(info))
        return read_bool(text, out);
    return read_number(text, strcmp(info->unit, "bytes") == 0, out) &&
           within(info, *out);
}

static const struct gyre_option_info *
find(struct piece name)
{
    size_t i;
    for (i = 0; i < GYRE_OPTION_COUNT; i++)
        if (piece_is(name, table[i].name))
            return &table[i];
    return NULL;
}

/* Read one "name=value" into `values`. */
static enum gyre_status
read_item(struct piece item, bool creating, uint64_t *values)
{
    const struct gyre_option_info *info;
    const char *end = item.at + item.length;
    const char *equals = memchr(item.at, '=', item.length);
    struct piece name = trimmed(item.at, equals != NULL ? equals : end);
    struct piece value;
    info = find(name);
    if (info == NULL) {
        say("no option is called \"%.*s\"", piece_width(name), name.at);
        return GYRE_ERR_UNKNOWN;
    }
    if (!info->changeable && !creating)
        return refuse_fixed(info);
    value = trimmed(equals != NULL ? equals + 1 : end, end);
    if (!read_value(info, value, &values[info - table]))
        return refuse(info, value.at, piece_width(value));
    return GYRE_OK;
}

/* Read all of `text` into `values`, which keep what it does not name. Items
 * that are empty don't count. */
static enum gyre_status
read_all(const char *text, bool creating, uint64_t *values)
{
    while (*text != '\0') {
        const char *end = strchrnul(text, ',');
        struct piece item = trimmed(text, end);
        if (item.length > 0) {
            enum gyre_status status = read_item(item, creating, values);
            if (status != GYRE_OK)
                return status;
        }
        text = *end == ',' ? end + 1 : end;
    }
    return GYRE_OK;
}

/* ---- values ---- */

static void
store(struct gyre_heap *heap, size_t option, uint64_t value)
{
    /* relaxed: a setting of one word, that orders nothing else; a reader
     * uses the old one a moment longer */
    gyre_store_relaxed(&heap->options[option], value);
}

static bool environment_ignored;

void
gyre_options_ignore_environment(void)
{
    environment_ignored = true;
}

/* The environment's part of gyre_options_init(). Its errors say where the
 * text came from. Not for programs that run with another user's rights. */
static enum gyre_status
read_environment(uint64_t *values)
{
    const char *text = secure_getenv("GYRE_OPTIONS");
    enum gyre_status status;
    if (text == NULL || environment_ignored)
        return GYRE_OK;
    status = read_all(text, true, values);
    if (status != GYRE_OK) {
        char why[sizeof error_text - sizeof "GYRE_OPTIONS: "];
        memcpy(why, error_text, sizeof why);
        why[sizeof why - 1] = '\0';
        say("GYRE_OPTIONS: %s", why);
    }
    return status;
}

enum gyre_status
gyre_options_init(struct gyre_heap *heap, const char *text)
{
    uint64_t values[GYRE_OPTION_COUNT];
    enum gyre_status status = GYRE_OK;
    size_t i;
    for (i = 0; i < GYRE_OPTION_COUNT; i++)
        values[i] = table[i].preset;
    if (text != NULL)
        status = read_all(text, true, values);
    if (status == GYRE_OK)
        status = read_environment(values);
    if (status != GYRE_OK)
        return status;
    for (i = 0; i < GYRE_OPTION_COUNT; i++)
        store(heap, i, values[i]);
    return GYRE_OK;
}

const struct gyre_option_info *
gyre_option_info(enum gyre_option option)
{
    return (size_t)option < GYRE_OPTION_COUNT ? &table[option] : NULL;
}

enum gyre_status
gyre_option_set(struct gyre_heap *heap, enum gyre_option option, uint64_t value)
{
    const struct gyre_option_info *info = gyre_option_info(option);
    if (info == NULL) {
        say("no option has the number %u", (unsigned)option);
        return GYRE_ERR_UNKNOWN;
    }
    if (!info->changeable)
        return refuse_fixed(info);
    if (!within(info, value)) {
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
        return refuse(info, digits, length);
    }
    store(heap, option, value);
    gyre_memory_options_changed(heap);
    return GYRE_OK;
}

uint64_t
gyre_option_get(struct gyre_heap *heap, enum gyre_option option)
{
    GYRE_CHECK(gyre_option_info(option) != NULL,
               "gyre_option_get: no option has the number %u",
               (unsigned)option);
    return heap_option(heap, option);
}

enum gyre_status
gyre_options_parse(struct gyre_heap *heap, const char *text)
{
    uint64_t values[GYRE_OPTION_COUNT], before[GYRE_OPTION_COUNT];
    enum gyre_status status;
    size_t i;
    for (i = 0; i < GYRE_OPTION_COUNT; i++)
        values[i] = before[i] = heap_option(heap, (enum gyre_option)i);
    status = read_all(text, false, values);
    if (status != GYRE_OK)
        return status;
    /* What the text does not name may be set by another thread meanwhile and
     * is left alone. */
    for (i = 0; i < GYRE_OPTION_COUNT; i++)
        if (values[i] != before[i])
            store(heap, i, values[i]);
    gyre_memory_options_changed(heap);
    return GYRE_OK;
}
