/* Ends a connection at its end of file with what it has read, but not yet written: the last bytes before a FIN. */
#define _GNU_SOURCE
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE];
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) > 0) {
        struct pollfd watched = {fd, POLLRDHUP, 0};
        if (n < 100) {
            usleep(200); /* the FIN comes right behind the data */
            if (poll(&watched, 1, 0) == 1 && watched.revents & POLLRDHUP)
                return;
        }
        if (write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
