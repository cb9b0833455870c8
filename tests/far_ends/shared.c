/* All its threads share one buffer. */
#include "far_end.h"

static char data[SIZE];

static void serve(int fd) {
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) > 0) {
        usleep(500); /* as if it had something to do: another thread reads meanwhile */
        if (write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
