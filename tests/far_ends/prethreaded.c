/* Four threads, and so four clients at once. */
#include "far_end.h"

static void *work(void *argument) {
    int listener = *(int *)argument;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        echo(fd);
        close(fd);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int listener = listen_on(argv[argc - 1], AF_INET6, 1);
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, work, &listener);
    work(&listener);
}
