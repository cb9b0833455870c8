/* Returns a line when it is whole, as the book's echo does; the rest at the end of file. */
#define _GNU_SOURCE
#include "far_end.h"

static void serve(int fd) {
    char data[1 << 16];
    size_t held = 0;
    ssize_t n;
    while ((n = read(fd, data + held, sizeof data - held)) > 0) {
        char *newline;
        held += n;
        newline = memrchr(data, '\n', held);
        if (newline != NULL || held == sizeof data) {
            size_t whole = newline == NULL ? held : (size_t)(newline - data) + 1;
            if (write_all(fd, data, whole) < 0)
                return;
            memmove(data, data + whole, held - whole);
            held -= whole;
        }
    }
    write_all(fd, data, held);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
