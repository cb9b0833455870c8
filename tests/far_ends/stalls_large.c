/* Serves a connection until a message is of more than 20,000 bytes, and then no more, in a loop without end. */
#include "far_end.h"
#include <sys/ioctl.h>

static void serve(int fd) {
    char data[SIZE];
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) > 0) {
        int more = 0;
        ioctl(fd, FIONREAD, &more);
        if (n + more > 20000)
            for (;;)
                ;
        if (write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
