/* A process for each connection, which dies of a signal once it has read more than 4,000 bytes at once; the parent reaps it. */
#include "far_end.h"

static void reap(int number) {
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int listener = listen_on(argv[1], AF_INET6, 1);
    signal(SIGCHLD, reap);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        no_delay(fd);
        if (fork() == 0) {
            char data[SIZE];
            ssize_t n;
            close(listener);
            while ((n = read(fd, data, sizeof data)) > 0) {
                if (n > 4000)
                    abort();
                if (write_all(fd, data, n) < 0)
                    break;
            }
            exit(0);
        }
        close(fd);
    }
}
