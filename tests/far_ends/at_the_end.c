/* Keeps what comes until the end of file, as a program with standard I/O does whose buffer is not full. */
#include "far_end.h"

static void serve(int fd) {
    size_t held = 0, room = SIZE;
    char *data = malloc(room);
    ssize_t n;
    while ((n = read(fd, data + held, room - held)) > 0)
        if ((held += n) == room)
            data = realloc(data, room *= 2);
    write_all(fd, data, held);
    free(data);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
