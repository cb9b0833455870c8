/* Calls recv once, answers, and closes: the server of many a first example. */
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE];
    ssize_t n = read(fd, data, sizeof data);
    if (n > 0)
        write_all(fd, data, n);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
