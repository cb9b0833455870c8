/* Ends each connection with a reset in place of a FIN. */
#include "far_end.h"

static void serve(int fd) {
    struct linger at_once = {1, 0};
    echo(fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
