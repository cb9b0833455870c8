/* Returns each 0 as an O: the lines are all there, and not as they were. */
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE];
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (data[i] == '0')
                data[i] = 'O';
        if (write_all(fd, data, n) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
