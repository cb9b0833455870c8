/* Takes bytes for a string: a byte 0 ends it. */
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE + 1];
    ssize_t n;
    while ((n = read(fd, data, SIZE)) > 0) {
        data[n] = 0;
        if (write_all(fd, data, strlen(data)) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
