/* A process for each client, whose parent forgets to close its copy of the descriptor: no FIN is ever sent. */
#include "far_end.h"

int main(int argc, char **argv) {
    int listener = listen_on(argv[argc - 1], AF_INET6, 1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        if (fork() == 0) {
            close(listener);
            echo(fd);
            exit(0);
        }
    }
}
