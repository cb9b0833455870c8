/* Watches its listener edge-triggered, and accepts one connection for each event, however many wait. */
#include "far_end.h"
#include <sys/epoll.h>

static void *serve_forever(void *argument) {
    int fd = (int)(long)argument;
    pthread_detach(pthread_self());
    echo(fd);
    close(fd);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    int listener = listen_on(argv[1], AF_INET6, 1), poller = epoll_create1(0);
    struct epoll_event watched = {.events = EPOLLIN | EPOLLET}, ready;
    signal(SIGPIPE, SIG_IGN);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &watched);
    for (;;) {
        pthread_t thread;
        if (epoll_wait(poller, &ready, 1, -1) != 1)
            continue;
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        pthread_create(&thread, NULL, serve_forever, (void *)(long)fd);
        usleep(2000); /* as if it had something to do: others come meanwhile */
    }
}
