/* Closes a connection that says nothing for 2 seconds. */
#include "far_end.h"

static void serve(int fd) {
    struct timeval patience = {2, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    echo(fd);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
