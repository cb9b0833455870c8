// The reference to be timed beside: one epoll loop, no log, no limits. Usage: epoll_echo PORT
// What a peer does not take is kept, and nothing more is read from it until it has.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK 65536
#define MOST 65536

struct rest { char *data; size_t start, end; };
static struct rest rests[MOST];
static int loop;

static void interest(int how, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(loop, how, fd, &event);
}

static void end(int fd) {
    rests[fd].start = rests[fd].end = 0;
    close(fd);
}

static void readable(int fd) {
    static char block[BLOCK];
    ssize_t n = recv(fd, block, BLOCK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { end(fd); return; }
    ssize_t sent = send(fd, block, n, MSG_NOSIGNAL);
    if (sent == n) return;
    if (sent < 0) {
        if (errno != EAGAIN) { end(fd); return; }
        sent = 0;
    }
    struct rest *rest = &rests[fd];
    if (!rest->data && !(rest->data = malloc(BLOCK))) { end(fd); return; }
    rest->start = 0;
    rest->end = n - sent;
    memcpy(rest->data, block + sent, rest->end);
    interest(EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void writable(int fd) {
    struct rest *rest = &rests[fd];
    ssize_t sent = send(fd, rest->data + rest->start, rest->end - rest->start, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) end(fd);
        return;
    }
    rest->start += sent;
    if (rest->start == rest->end) {
        rest->start = rest->end = 0;
        interest(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
}

static void arrived(int listener) {
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= MOST) { close(fd); return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    interest(EPOLL_CTL_ADD, fd, EPOLLIN);
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "usage: epoll_echo PORT\n"); return 2; }
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) { perror("epoll_echo"); return 2; }
    loop = epoll_create1(EPOLL_CLOEXEC);
    interest(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) arrived(fd);
            else if (rests[fd].end) writable(fd);
            else readable(fd);
        }
    }
}
