/* Leaves Nagle's algorithm on: the second of two small writes waits for the acknowledgement of the first. */
#include "far_end.h"

static void serve(int fd) {
    int off = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &off, sizeof off);
    echo(fd);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
