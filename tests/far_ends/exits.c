/* Calls exit at any error, as the book's wrappers do: a client's reset ends the server. */
#include "far_end.h"

static void serve(int fd) {
    char data[SIZE];
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) != 0)
        if (n < 0 || write_all(fd, data, n) < 0) {
            perror("Rio_writen error");
            exit(0);
        }
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
