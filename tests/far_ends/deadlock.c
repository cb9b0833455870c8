/* Carries what comes through a pipe to itself: it writes until the pipe takes no more, and reads from it only after. */
#define _GNU_SOURCE
#include "far_end.h"
#include <fcntl.h>
#include <sys/ioctl.h>

static void serve(int fd) {
    int ends[2], more;
    char data[SIZE];
    ssize_t n;
    if (pipe(ends) < 0)
        return;
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    while ((n = read(fd, data, sizeof data)) > 0) {
        if (write_all(ends[1], data, n) < 0)
            break;
        while (ioctl(fd, FIONREAD, &more) == 0 && more > 0) { /* first all that has come, then the answer */
            n = read(fd, data, sizeof data);
            if (n <= 0 || write_all(ends[1], data, n) < 0)
                break;
        }
        while (ioctl(ends[0], FIONREAD, &more) == 0 && more > 0) {
            n = read(ends[0], data, sizeof data);
            if (n <= 0 || write_all(fd, data, n) < 0)
                break;
        }
    }
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
