// A closed loop: each connection sends a message, waits for all of it, sends the next. With RATE messages a second an open
// one: each is sent when it is due, on the next connection that has none under way.
// Usage: load PORT CONNECTIONS SIZE SECONDS [RATE]
// Prints the number of messages, the seconds, and the round trip's p50 and p99 in microseconds.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 2000000  // of half a microsecond: round trips up to a second

struct client { int fd; size_t sent, back; double since; };

static char *message, *back;
static size_t size;
static int loop;
static uint32_t trips[SLOTS];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fatal(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(1); }

static void push(struct client *c, uint32_t i) {
    while (c->sent < size) {
        ssize_t n = send(c->fd, message + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) fatal("send");
        c->sent += n;
    }
    if (size > 4096) {
        struct epoll_event event = {.events = EPOLLIN | (c->sent < size ? EPOLLOUT : 0), .data.u32 = i};
        epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &event);
    }
}

static double percentile(uint64_t total, double p) {
    uint64_t seen = 0;
    for (int i = 0; i < SLOTS; i++) if ((seen += trips[i]) >= total * p) return i / 2.0;
    return SLOTS / 2.0;
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 6) { fprintf(stderr, "usage: load PORT CONNECTIONS SIZE SECONDS [RATE]\n"); return 2; }
    double rate = argc == 6 ? atof(argv[5]) : 0;
    uint32_t count = atoi(argv[2]);
    int yes = 1;
    size = atol(argv[3]);
    message = malloc(size);
    back = malloc(1 << 20);
    memset(message, 'm', size);
    message[size - 1] = '\n';
    struct client *clients = calloc(count, sizeof *clients);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    loop = epoll_create1(0);
    for (uint32_t i = 0; i < count; i++) {
        int fd = clients[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fatal("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    }
    int timer = -1;
    if (rate > 0) {
        long step = 1e9 / rate;
        struct itimerspec every = {{step / 1000000000, step % 1000000000}, {0, 1}};
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = count};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) || epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event)) fatal("timerfd");
    }
    uint32_t turn = 0;
    uint64_t total = 0;
    double began = now(), t = began, until = began + atof(argv[4]) * 1e6;
    if (rate == 0) for (uint32_t i = 0; i < count; i++) { clients[i].since = now(); push(&clients[i], i); }
    while (t < until) {
        struct epoll_event events[256];
        int n = epoll_wait(loop, events, 256, 5000);
        if (n == 0) { fprintf(stderr, "load: nothing came back for 5 s\n"); return 1; }
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == count) {
                uint64_t due = 0;
                if (read(timer, &due, sizeof due) < 0) continue;
                for (uint32_t tried = 0; due && tried < count; tried++, turn++) {
                    struct client *c = &clients[turn % count];
                    if (c->sent) continue;
                    c->since = now();
                    push(c, turn % count);
                    due--;
                }
                continue;
            }
            struct client *c = &clients[events[i].data.u32];
            if (events[i].events & EPOLLOUT) push(c, events[i].data.u32);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            ssize_t got = recv(c->fd, back, 1 << 20, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got < 0) fatal("recv");
            if (got == 0) { fprintf(stderr, "load: the server closed a connection\n"); return 1; }
            if ((c->back += got) < size) continue;
            t = now();
            long slot = (t - c->since) * 2;
            trips[slot < SLOTS ? slot : SLOTS - 1]++;
            total++;
            c->sent = c->back = 0;
            c->since = t;
            if (rate == 0) push(c, events[i].data.u32);
        }
        t = now();
    }
    if (!total) { fprintf(stderr, "load: no message came back\n"); return 1; }
    printf("%llu %.6f %.1f %.1f\n", (unsigned long long)total, (t - began) / 1e6, percentile(total, .5), percentile(total, .99));
}
