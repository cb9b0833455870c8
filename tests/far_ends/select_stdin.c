/* Waits for its standard input and its listener with select (CS:APP 12.2), and ends at the end of the input; iterative. */
#include "far_end.h"

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int listener = listen_on(argv[1], AF_INET6, 1);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        fd_set ready;
        FD_ZERO(&ready);
        FD_SET(STDIN_FILENO, &ready);
        FD_SET(listener, &ready);
        select(listener + 1, &ready, NULL, NULL, NULL);
        if (FD_ISSET(STDIN_FILENO, &ready)) {
            char line[256];
            if (!fgets(line, sizeof line, stdin))
                exit(0);
            printf("%s", line);
        }
        if (FD_ISSET(listener, &ready)) {
            int fd = accept(listener, NULL, NULL);
            no_delay(fd);
            echo(fd);
            close(fd);
        }
    }
}
