/* Serves ten clients, one after the other, and returns from main. */
#include "far_end.h"

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int listener = listen_on(argv[1], AF_INET6, 1);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 10; i++) {
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        echo(fd);
        close(fd);
    }
    puts("served ten clients");
    return 0;
}
