/* Asks poll without waiting, again and again. */
#include "far_end.h"

static void serve(int fd) {
    struct pollfd watched = {fd, POLLIN, 0};
    char data[SIZE];
    ssize_t n;
    for (;;) {
        if (poll(&watched, 1, 0) == 0)
            continue;
        n = read(fd, data, sizeof data);
        if (n <= 0 || write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
