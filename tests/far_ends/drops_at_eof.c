/* Takes the end of file for the end of the connection: what it has not written yet is dropped. */
#include "queue.h"

static void serve(int fd) {
    queueing(fd, 1 << 18, 1);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
