/* Takes one line each time it is told that the descriptor is ready; the lines behind it wait in its own buffer. */
#include "far_end.h"

static void serve(int fd) {
    char data[1 << 16];
    size_t held = 0;
    ssize_t n;
    while ((n = read(fd, data + held, sizeof data - held)) > 0) {
        char *newline;
        size_t first;
        held += n;
        newline = memchr(data, '\n', held);
        first = newline == NULL || held == sizeof data ? held : (size_t)(newline - data) + 1;
        if (write_all(fd, data, first) < 0)
            return;
        memmove(data, data + first, held - first);
        held -= first;
    }
    write_all(fd, data, held);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
