/* Sends its FIN, and never closes the descriptor. */
#include "far_end.h"

static void serve(int fd) {
    echo(fd);
    shutdown(fd, SHUT_WR);
    dup(fd);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
