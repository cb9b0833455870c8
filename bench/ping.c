// One message after another on one connection, polling without sleeping. Usage: ping PORT SIZE COUNT
// Prints the round trip's p50 and p99 in microseconds.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: ping PORT SIZE COUNT\n"); return 2; }
    size_t size = atol(argv[2]);
    int count = atoi(argv[3]), yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char *message = calloc(1, size);
    double *trips = calloc(count, sizeof *trips);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) { perror("ping: connect"); return 1; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    for (int i = 0; i < count; i++) {
        double since = now();
        if (send(fd, message, size, MSG_NOSIGNAL) != (ssize_t)size) { perror("ping: send"); return 1; }
        for (size_t back = 0; back < size;) {
            ssize_t n = recv(fd, message, size - back, MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN) continue;
            if (n <= 0) { perror("ping: recv"); return 1; }
            back += n;
        }
        trips[i] = now() - since;
    }
    qsort(trips, count, sizeof *trips, ascending);
    printf("%.2f %.2f\n", trips[count / 2], trips[(long)count * 99 / 100]);
}
