/* What the far ends share: listening, and one echo that is right. Each has one fault, or none; check has to name it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 8192 };

/* A listener on every address of both families, or of IPv4 alone; it ends the process with *failure* if it cannot. */
static inline int listen_on(const char *port, int family, int failure) {
    int fd = socket(family, SOCK_STREAM, 0), on = 1, off = 0, bound;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) {
        struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port)), .sin6_addr = in6addr_any};
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        bound = bind(fd, (struct sockaddr *)&any, sizeof any);
    } else {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_ANY)};
        bound = bind(fd, (struct sockaddr *)&any, sizeof any);
    }
    if (bound < 0 || listen(fd, 1024) < 0) {
        perror("cannot listen");
        exit(failure);
    }
    return fd;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* All of it; -1 if the connection is gone. */
static inline int write_all(int fd, const char *data, size_t n) {
    while (n > 0) {
        ssize_t written = write(fd, data, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        data += written;
        n -= written;
    }
    return 0;
}

/* Return what comes until the end of file. */
static inline void echo(int fd) {
    char data[SIZE];
    ssize_t n;
    while ((n = read(fd, data, sizeof data)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || write_all(fd, data, n) < 0)
            return;
    }
}

static void (*serving)(int);

static inline void *serve_one(void *argument) {
    int fd = (int)(long)argument;
    pthread_detach(pthread_self());
    serving(fd);
    close(fd);
    return NULL;
}

/* A thread for each connection, which *serve* has until it returns. */
static inline void thread_each(int listener, void (*serve)(int)) {
    serving = serve;
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        no_delay(fd);
        if (pthread_create(&thread, NULL, serve_one, (void *)(long)fd) != 0)
            close(fd);
    }
}

/* A process for each connection, which echoes; the parent closes its copy of the descriptor, or forgets to. */
static inline void process_each(int listener, int parent_closes) {
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        if (fork() == 0) {
            close(listener);
            echo(fd);
            exit(0);
        }
        if (parent_closes)
            close(fd);
    }
}

/* What most of them are, but for their fault. */
static inline int run(const char *port, void (*serve)(int)) {
    signal(SIGPIPE, SIG_IGN);
    thread_each(listen_on(port, AF_INET6, 1), serve);
    return 1;
}
