/* Reads on, whether or not its peer does: what it cannot write it keeps in memory. */
#include "queue.h"

static void serve(int fd) {
    queueing(fd, 0, 0);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
