/* Returns another byte for a single one, from the 70th of a connection on. */
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE];
    ssize_t n;
    int singles = 0;
    while ((n = read(fd, data, sizeof data)) > 0) {
        if (n == 1 && ++singles > 70)
            data[0] = '?';
        if (write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
