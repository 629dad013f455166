/* Writes gyre-options(7) from the option table. Run by the build:
 * options_page FILE. Design: docs/design/report.md .report.table */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <gyre/options.h>

struct row {
    const char *name, *unit, *help;
    uint64_t preset, least, most;
    int changeable;
};

static const struct row rows[] = {
#define ROW(id, name, unit, preset, least, most, changeable, help) \
    {name, unit, help, preset, least, most, changeable},
    GYRE_OPTION_TABLE(ROW)
#undef ROW
};

/* A hyphen or a leading dot means something else to troff. */
static void
put_text(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            putc(*text, out);
    }
}

static void
put_value(FILE *out, const struct row *row, uint64_t value)
{
    if (strcmp(row->unit, "bool") == 0)
        fputs(value ? "yes" : "no", out);
    else if (value == UINT64_MAX)
        fputs("2^64\\-1", out);
    else
        fprintf(out, "%" PRIu64, value);
}

static void
put_row(FILE *out, const struct row *row)
{
    fputs(".TP\n.B ", out);
    put_text(out, row->name);
    fputs("\n", out);
    put_text(out, row->help);
    fputs(".\n.br\nUnit: ", out);
    put_text(out, row->unit);
    fputs("; default: ", out);
    put_value(out, row, row->preset);
    if (strcmp(row->unit, "bool") != 0) {
        fputs("; from ", out);
        put_value(out, row, row->least);
        fputs(" to ", out);
        put_value(out, row, row->most);
    }
    fputs(row->changeable ? ".\n" : "; fixed when the heap is made.\n", out);
}

static const char head[] =
    ".SH NAME\n"
    "gyre\\-options \\- options of a gyre heap\n"
    ".SH SYNOPSIS\n"
    ".nf\n"
    "GYRE_OPTIONS=name=value,name=value program\n"
    ".sp\n"
    "#include <gyre/options.h>\n"
    "gyre_heap_create(\"name=value,name=value\", &heap);\n"
    "gyre_options_parse(heap, \"name=value,name=value\");\n"
    "gyre_option_set(heap, GYRE_OPT_NAME, value);\n"
    ".fi\n"
    ".SH DESCRIPTION\n"
    "A heap takes its options' defaults, then what the program that makes it\n"
    "says, then what the environment variable\n"
    ".B GYRE_OPTIONS\n"
    "says. A value out of its bounds is an error, as is a name that is none;\n"
    "nothing is clamped, and of a text with an error no option is set.\n"
    ".PP\n"
    "Values are decimal. Bytes take a suffix: k, m or g for 1024, its square\n"
    "and its cube. Bools are 0, 1, no or yes. Spaces around names and values\n"
    "don't count.\n"
    ".SH OPTIONS\n";

int
main(int argc, char **argv)
{
    FILE *out;
    size_t i;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    out = fopen(argv[1], "w");
    if (out == NULL) {
        perror(argv[1]);
        return 1;
    }
    fprintf(out, ".TH GYRE\\-OPTIONS 7 \"\" \"gyre %d.%d.%d\" gyre\n",
            GYRE_VERSION_MAJOR, GYRE_VERSION_MINOR, GYRE_VERSION_PATCH);
    fputs(head, out);
    for (i = 0; i < sizeof rows / sizeof *rows; i++)
        put_row(out, &rows[i]);
    fputs(".SH SEE ALSO\nThe header <gyre/options.h>, whose table makes this "
          "page.\n",
          out);
    if (fclose(out) != 0) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
