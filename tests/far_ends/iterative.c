/* One client after another: the others wait in the accept queue. */
#include "far_end.h"

int main(int argc, char **argv) {
    int listener = listen_on(argv[argc - 1], AF_INET6, 1);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        echo(fd);
        close(fd);
    }
}
